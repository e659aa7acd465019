"""Where the columns of a Dataset come from: an ``.npz``, a folder, a function, or memory.

Columns are given a few rows at a time. Nothing is unpickled; what is damaged is an error that names
the array.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.core.user_code import absolute_reference, is_reference, load_function

_CHUNK_BYTES = 8 * 2**20

Column = tuple[tuple[int, ...], np.dtype[Any]]


class Source(Protocol):
    """Where the columns of a Dataset come from."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def header(self) -> dict[str, Column] | None:
        """Shape and dtype of each column, or None where only iterating can tell."""

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        """The columns, a few rows at a time."""


@dataclass(frozen=True)
class NpzSource:
    """An ``.npz`` file, read row by row through its compression."""

    path: Path
    name: str

    def header(self) -> dict[str, Column]:
        with self._open() as archive:
            header: dict[str, Column] = {}
            for name in _members(archive):
                column, stream = self._column(archive, name)
                stream.close()
                header[name] = column
            return header

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        header = self.header()
        rows_at_once = _rows_per_chunk(header)
        with self._open() as archive, ExitStack() as open_streams:
            streams = {name: self._column(archive, name) for name in header}
            for _, stream in streams.values():
                open_streams.enter_context(stream)
            total = equal_rows(self.name, header)
            for start in range(0, total, rows_at_once):
                rows = min(rows_at_once, total - start)
                yield {name: self._rows(name, column, stream, rows)
                       for name, (column, stream) in streams.items()}

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except FileNotFoundError as error:
            raise EdgekitError(f"{self.name} does not exist") from error
        except (zipfile.BadZipFile, OSError) as error:
            raise EdgekitError(
                f"{self.name} is not an .npz file, or it is damaged: {error}",
                "write it with numpy.savez_compressed(file, x=inputs, y=labels)",
            ) from error

    def _column(self, archive: zipfile.ZipFile, name: str) -> tuple[Column, IO[bytes]]:
        """A column's header, and its stream behind the header."""
        try:
            stream = archive.open(f"{name}.npy")
            try:
                return self._checked_header(name, stream), stream
            except BaseException:
                stream.close()
                raise
        except (ValueError, zipfile.BadZipFile, OSError, RuntimeError, KeyError,
                NotImplementedError) as error:  # fmt: skip
            raise EdgekitError(f"{self.name}: array '{name}' is damaged: {error}") from error

    def _checked_header(self, name: str, stream: IO[bytes]) -> Column:
        version = np.lib.format.read_magic(stream)
        read = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                else np.lib.format.read_array_header_2_0)
        shape, fortran, dtype = read(stream)
        if dtype.hasobject:
            raise EdgekitError(
                f"{self.name}: array '{name}' holds pickled Python objects, which are not loaded",
                "store plain numbers: numpy.savez_compressed(file, x=inputs.astype('float32'))",
            )
        if fortran and len(shape) > 1:
            raise EdgekitError(
                f"{self.name}: array '{name}' is in Fortran order and cannot be streamed",
                "store numpy.ascontiguousarray(array)",
            )
        return shape, dtype

    def _rows(self, name: str, column: Column, stream: IO[bytes], rows: int) -> NDArray[Any]:
        shape, dtype = column
        wanted = rows * dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        try:
            raw = stream.read(wanted)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
            raise EdgekitError(f"{self.name}: array '{name}' is damaged: {error}") from error
        if len(raw) != wanted:
            raise EdgekitError(f"{self.name}: array '{name}' ends before its last row")
        return np.frombuffer(raw, dtype=dtype).reshape(rows, *shape[1:])


@dataclass(frozen=True)
class FolderSource:
    """A folder of ``.npy`` files, one per column, memory-mapped."""

    path: Path
    name: str

    def header(self) -> dict[str, Column]:
        return {name: (array.shape, array.dtype) for name, array in self._arrays().items()}

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        arrays = self._arrays()
        header = self.header()
        rows_at_once = _rows_per_chunk(header)
        for start in range(0, equal_rows(self.name, header), rows_at_once):
            yield {name: array[start : start + rows_at_once] for name, array in arrays.items()}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        files = sorted(self.path.glob("*.npy"))
        if not files:
            raise EdgekitError(f"{self.name} holds no .npy files", "one file per input, x.npy "
                               "when there is one input, labels in y.npy")
        try:
            return {f.stem: np.load(f, mmap_mode="r", allow_pickle=False) for f in files}
        except (ValueError, OSError, EOFError) as error:
            hint = "store plain numbers with numpy.save; pickled objects are not loaded"
            raise EdgekitError(f"{self.name}: {error}", hint) from error


@dataclass(frozen=True)
class FunctionSource:
    """``module.py:function``: called anew for each pass, gives chunks of rows.

    The function returns an iterable of mappings from input name (or ``x``) to arrays whose
    first axis is the sample, with ``y`` for labels.
    """

    reference: str
    name: str

    def header(self) -> None:
        return None

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        for chunk in self._given():
            if not isinstance(chunk, Mapping):
                raise EdgekitError(
                    f"{self.name} gave a {type(chunk).__name__}",
                    "yield mappings: {'x': array of shape (n, ...), 'y': labels of shape (n,)}",
                )
            yield chunk

    def _given(self) -> Iterator[Any]:
        """What the function yields; an exception in it is the function's, and says so."""
        try:
            yield from load_function(self.reference)()
        except EdgekitError:
            raise
        except Exception as error:
            raise EdgekitError(f"{self.name} failed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class ArraySource:
    """Arrays in memory, from the Python interface."""

    arrays: Mapping[str, NDArray[Any]]
    name: str = "the arrays given as data"

    def header(self) -> dict[str, Column]:
        return {name: (np.shape(a), np.asarray(a).dtype) for name, a in self.arrays.items()}

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        equal_rows(self.name, self.header())
        yield self.arrays


def find_source(given: str | Path | Mapping[str, NDArray[Any]]) -> Source:
    """The source that a user's ``--data`` names, or arrays in memory.

    Raises:
        EdgekitError: It does not exist, or is no kind of data.
    """
    if isinstance(given, Mapping):
        return ArraySource(given)
    text = str(given)
    path = Path(text).absolute()  # the child may have another working folder
    if path.is_dir():
        return FolderSource(path, text)
    if is_reference(text):
        return FunctionSource(absolute_reference(text), text)
    if path.suffix == ".npz":
        return NpzSource(path, text)
    if not path.exists():
        raise EdgekitError(f"{text} does not exist", "data is an .npz file, a folder of .npy "
                           "files, or module.py:function")
    raise EdgekitError(f"{text} is no kind of data that edgekit reads", "data is an .npz file, "
                       "a folder of .npy files, or module.py:function")


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]


def _rows_per_chunk(header: Mapping[str, Column]) -> int:
    row = sum(int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
              for shape, dtype in header.values())
    return max(1, _CHUNK_BYTES // max(1, row))


def equal_rows(name: str, header: Mapping[str, Column]) -> int:
    """Number of samples, which all columns must agree on.

    Raises:
        EdgekitError: They do not.
    """
    counts = {column: (shape[0] if shape else 0) for column, (shape, _) in header.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{column} {count}" for column, count in counts.items())
        raise EdgekitError(f"{name}: arrays differ in their number of samples: {listed}")
    return next(iter(counts.values()), 0)
