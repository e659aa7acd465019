"""Calibration, training and evaluation data, streamed.

Three forms, one meaning: an ``.npz`` file, a folder of ``.npy`` files, or a function. Each holds
one array per input (or ``x`` when there is one input) and, for labelled data, ``y``; the first
axis is the sample. Nothing is loaded whole, nothing is unpickled, and a Dataset can be iterated
again and handed to a child process.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.model import TensorSpec
from edgekit.core.user_code import absolute_reference, check_reference, is_reference, load_function

LABELS = "y"
ONLY_INPUT = "x"
_CHUNK_BYTES = 8 * 2**20
_MAX_FORTRAN_BYTES = 2**30

Column = tuple[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: arrays as the model's inputs want them, and its label."""

    inputs: dict[str, NDArray[Any]]
    label: Any = None


@dataclass(frozen=True)
class Dataset:
    """Samples for a model's signature.

    Attributes:
        source: The file, folder or ``module.py:function``, or arrays in memory.
        specs: The inputs that the samples are for.
        count: Number of samples, None where only iterating can tell.
        has_labels: Whether each sample comes with a label; None where unknown beforehand.
        token: Identifies this Dataset also in the child, where results on it are remembered.
    """

    source: "Source"
    specs: tuple[TensorSpec, ...]
    count: int | None
    has_labels: bool | None
    token: str = field(default_factory=lambda: uuid4().hex)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.source.name

    def samples(self, limit: int | None = None) -> Iterator[Sample]:
        """Each sample in turn, checked and shaped for the inputs.

        Raises:
            EdgekitError: Wrong names, shapes, dtypes or counts; values that are not finite;
                no sample at all.
        """
        seen = 0
        for chunk in self.source.chunks():
            columns = {name: np.asarray(array) for name, array in chunk.items()}
            _check_columns(self.name, self.specs,
                           {n: (a.shape, a.dtype) for n, a in columns.items()})
            for sample in self._split(columns, seen):
                if limit is not None and seen >= limit:
                    return
                seen += 1
                yield sample
        if seen == 0:
            raise EdgekitError(f"{self.name} holds no samples")

    def _split(self, columns: Mapping[str, NDArray[Any]], first: int) -> Iterator[Sample]:
        keys = _keys(self.specs, columns)
        arrays = {spec.name: _cast(self.name, spec, columns[keys[spec.name]])
                  for spec in self.specs}
        for name, array in arrays.items():
            _refuse_nonfinite(self.name, name, array, first)
        labels = columns.get(LABELS)
        for i in range(next(iter(arrays.values())).shape[0]):
            inputs = {spec.name: arrays[spec.name][i].reshape(_one(spec)) for spec in self.specs}
            yield Sample(inputs, None if labels is None else labels[i])


class Source:
    """Where the columns of a Dataset come from."""

    name: str

    def header(self) -> dict[str, Column] | None:
        """Shape and dtype of each column, or None where only iterating can tell."""
        raise NotImplementedError  # pragma: no cover - abstract

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        """The columns, a few rows at a time."""
        raise NotImplementedError  # pragma: no cover - abstract


@dataclass(frozen=True)
class NpzSource(Source):
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
            total = _equal_rows(self.name, header)
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
class FolderSource(Source):
    """A folder of ``.npy`` files, one per column, memory-mapped."""

    path: Path
    name: str

    def header(self) -> dict[str, Column]:
        return {name: (array.shape, array.dtype) for name, array in self._arrays().items()}

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        arrays = self._arrays()
        header = self.header()
        rows_at_once = _rows_per_chunk(header)
        for start in range(0, _equal_rows(self.name, header), rows_at_once):
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
class FunctionSource(Source):
    """``module.py:function``: called anew for each pass, gives chunks of rows.

    The function returns an iterable of mappings from input name (or ``x``) to arrays whose
    first axis is the sample, with ``y`` for labels.
    """

    reference: str
    name: str

    def header(self) -> None:
        return None

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        for chunk in load_function(self.reference)():
            if not isinstance(chunk, Mapping):
                raise EdgekitError(
                    f"{self.name} gave a {type(chunk).__name__}",
                    "yield mappings: {'x': array of shape (n, ...), 'y': labels of shape (n,)}",
                )
            yield chunk


@dataclass(frozen=True)
class ArraySource(Source):
    """Arrays in memory, from the Python interface."""

    arrays: Mapping[str, NDArray[Any]]
    name: str = "the arrays given as data"

    def header(self) -> dict[str, Column]:
        return {name: (np.shape(a), np.asarray(a).dtype) for name, a in self.arrays.items()}

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        _equal_rows(self.name, self.header())
        yield self.arrays


def open_dataset(
    given: str | Path | Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec]
) -> Dataset:
    """A Dataset for a signature, checked as far as headers tell.

    Args:
        given: ``FILE.npz``, a folder, ``module.py:function``, or arrays by name.
        specs: The inputs of the model.

    Raises:
        EdgekitError: It does not exist, is damaged, or does not fit the signature.
    """
    source = _source(given)
    header = source.header()
    if header is None:
        return Dataset(source, tuple(specs), None, None)
    _check_columns(source.name, specs, header)
    count = _equal_rows(source.name, header)
    if count == 0:
        raise EdgekitError(f"{source.name} holds no samples")
    return Dataset(source, tuple(specs), count, LABELS in header)


def peek(given: str | Path | Mapping[str, NDArray[Any]]) -> None:
    """See that data exists and has a readable header, without a signature to hold it against.

    Raises:
        EdgekitError: It does not exist, is damaged, or holds no samples.
    """
    source = _source(given)
    if isinstance(source, FunctionSource):
        check_reference(source.reference)
        return
    header = source.header()
    assert header is not None
    if _equal_rows(source.name, header) == 0:
        raise EdgekitError(f"{source.name} holds no samples")


def _source(given: str | Path | Mapping[str, NDArray[Any]]) -> Source:
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


def _equal_rows(name: str, header: Mapping[str, Column]) -> int:
    counts = {column: (shape[0] if shape else 0) for column, (shape, _) in header.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{column} {count}" for column, count in counts.items())
        raise EdgekitError(f"{name}: arrays differ in their number of samples: {listed}")
    return next(iter(counts.values()), 0)


def _keys(specs: Sequence[TensorSpec], columns: Mapping[str, Any]) -> dict[str, str]:
    """The column of each input."""
    if len(specs) == 1 and ONLY_INPUT in columns and specs[0].name not in columns:
        return {specs[0].name: ONLY_INPUT}
    return {spec.name: spec.name for spec in specs}


def _check_columns(name: str, specs: Sequence[TensorSpec], header: Mapping[str, Column]) -> None:
    keys = _keys(specs, header)
    for spec in specs:
        key = keys[spec.name]
        if key not in header:
            wanted = ONLY_INPUT if len(specs) == 1 else spec.name
            raise EdgekitError(
                f"{name} has no array '{wanted}' for input '{spec.name}'",
                f"it has: {', '.join(header) or 'nothing'}; did you mean to rename one?",
            )
        _check_column(name, spec, key, *header[key])
    extra = set(header) - set(keys.values()) - {LABELS}
    if extra:
        unknown = min(extra)
        raise EdgekitError(f"{name}: '{unknown}' is neither an input nor the labels ('y')",
                           did_you_mean(unknown, [spec.name for spec in specs]))


def _one(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of one sample as the model takes it; open sizes stay -1 (one at most)."""
    return spec.shape


def _check_column(
    name: str, spec: TensorSpec, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    sample = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape
    rest = tuple(shape[1:])
    fits = rest == spec.shape or (len(rest) == len(sample) and all(
        want in (-1, got) for got, want in zip(rest, sample, strict=True)))
    if not shape or not fits:
        raise EdgekitError(
            f"{name}: '{key}' has shape {list(shape)}; input '{spec.name}' takes "
            f"{list(spec.shape)}",
            f"give an array of shape [samples, {', '.join(map(str, sample))}]",
        )
    if not _castable(dtype, spec):
        hint = f"convert it the way the model was trained, then .astype('{spec.dtype}')"
        raise EdgekitError(
            f"{name}: '{key}' is {dtype.name}; input '{spec.name}' is {spec.dtype}", hint
        )


def _castable(dtype: np.dtype[Any], spec: TensorSpec) -> bool:
    """Same dtype or a conversion within the kind; never pixels to unit floats by surprise."""
    if dtype.name == spec.dtype:
        return True
    if spec.scale is not None:  # a quantized input: real values are quantized on the way in
        return dtype.kind == "f"
    wanted = np.dtype(spec.dtype)
    return dtype.kind == wanted.kind and dtype.kind in "fiu"


def _cast(name: str, spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    if spec.scale is not None:
        from edgekit.core.fidelity import to_input

        _refuse_nonfinite(name, spec.name, array, 0)
        return to_input(spec, array)
    if array.dtype.name == spec.dtype:
        return array
    cast = array.astype(spec.dtype)
    if array.dtype.kind in "iu" and not np.array_equal(cast.astype(array.dtype), array):
        raise EdgekitError(f"{name}: values for '{spec.name}' do not fit {spec.dtype}")
    return cast


def _refuse_nonfinite(name: str, column: str, array: NDArray[Any], first: int) -> None:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(array.reshape(array.shape[0], -1)).all(axis=1))[0])
    raise EdgekitError(
        f"{name}: sample {first + bad} of '{column}' has NaN or infinite values",
        "clean the data: a range with NaN in it quantizes to nothing",
    )
