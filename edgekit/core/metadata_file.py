"""Where TFLite Metadata stands in a file: a buffer of the model, and an archive behind it.

The metadata flatbuffer is the model's buffer ``TFLITE_METADATA``; associated files (labels,
vocabularies) are a zip archive appended to the ``.tflite``. Specification of the archive:
MediaPipe's ``metadata_populator.cc`` (writes) and ``zip_utils.cc`` (reads, stored entries only).
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from edgekit.core.edit import to_bytes, to_objects
from edgekit.core.errors import EdgekitError, GuardError
from edgekit.core.graph import MAX_FILE_BYTES, Buffer, Graph, Operator, Tensor, read_graph

METADATA_NAME = "TFLITE_METADATA"

MAX_APPENDED_FILES = 1_000
MAX_APPENDED_BYTES = 256 * 2**20
_END_RECORD = b"PK\5\6"
_END_RECORD_BYTES = 22  # and a comment of up to 65,535
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can express

# What zipfile raises on damaged, encrypted and exotic archives.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError,
               NotImplementedError, ValueError, OverflowError)  # fmt: skip


def split_appended(data: bytes | memoryview) -> tuple[bytes | memoryview, dict[str, bytes]]:
    """Separate the flatbuffer from the files appended to it; ``attach`` is the inverse.

    The archive is untrusted: number, names and sizes are checked before anything is unpacked.

    Returns:
        The flatbuffer (``data`` itself when nothing is appended) and the files by name.

    Raises:
        EdgekitError: The archive is damaged, encrypted, too large, or has names that lead out
            of a folder.
    """
    if not _ends_like_a_zip(data):
        return data, {}
    try:
        with zipfile.ZipFile(_View(data)) as archive:
            entries = archive.infolist()
            start = min((entry.header_offset for entry in entries), default=archive.start_dir)
            if _belongs_to_a_constant(data, start):
                return data, {}
            return memoryview(data)[:start], _unpack(archive, entries)
    except _ZIP_ERRORS as error:
        raise EdgekitError(
            f"the files appended to the model are damaged: {error}",
            "copy the .tflite again, or write its metadata again with the tool that made it",
        ) from error


def _ends_like_a_zip(data: Buffer) -> bool:
    tail = bytes(memoryview(data)[-(_END_RECORD_BYTES + 65_535) :])
    at = tail.rfind(_END_RECORD)
    if at < 0 or len(tail) - at < _END_RECORD_BYTES:
        return False
    # Weights may hold the mark by chance; the comment's length must also lead to the end.
    return int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail) - at - _END_RECORD_BYTES


def _belongs_to_a_constant(data: Buffer, start: int) -> bool:
    """Whether the archive is inside a constant that happens to stand last in the file.

    Raises:
        EdgekitError: The model reaches into the archive, or the other way round.
    """
    try:
        read_graph(memoryview(data)[: max(start, 0)])
    except EdgekitError:
        spans = read_graph(data).buffer_spans
        if any(begin <= start and begin + size == len(data) for begin, size in spans):
            return True
        raise
    return False


class _View(io.RawIOBase):
    """A file over bytes that are not copied."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        if base + offset < 0:
            raise ValueError("an offset points in front of the file")
        self._at = base + offset
        return self._at

    def readinto(self, target: Any, /) -> int:  # noqa: ANN401 - any writable buffer
        piece = self._data[self._at : self._at + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _unpack(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> dict[str, bytes]:
    wanted = [entry for entry in entries if not entry.is_dir()]
    total = sum(entry.file_size for entry in wanted)
    if len(entries) > MAX_APPENDED_FILES or total > MAX_APPENDED_BYTES:
        raise EdgekitError(
            f"{len(entries)} files of {total} bytes are appended to the model; "
            f"edgekit takes {MAX_APPENDED_FILES} of {MAX_APPENDED_BYTES} bytes in all"
        )
    files: dict[str, bytes] = {}
    for entry in wanted:
        _check_name(entry.orig_filename)
        if entry.filename in files:
            raise zipfile.BadZipFile(f"'{entry.filename}' is in it twice")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"'{entry.filename}' is packed by an unusual method")
        with archive.open(entry) as stream:
            # With a size, the stream unpacks no more than that; without one it unpacks all.
            files[entry.filename] = stream.read(entry.file_size)
        if len(files[entry.filename]) != entry.file_size:
            raise zipfile.BadZipFile(f"'{entry.filename}' is cut off")
    return files


def _check_name(name: str) -> None:
    """Refuse a name that would leave the folder that somebody unpacks it into."""
    parts = name.split("/")
    plain = name.isprintable() and not set(name) & {"\\", ":"} and len(name) <= 255
    if not plain or any(part in ("", ".", "..") for part in parts):
        raise EdgekitError(f"a file appended to the model has the unsafe name {name!r}",
                           "names are plain: no '..', no leading '/', no backslash")


def attach(data: Buffer, files: Mapping[str, bytes]) -> Buffer:
    """Append files to a flatbuffer; without any, the flatbuffer itself.

    Entries are stored, because MediaPipe refuses compressed ones; offsets count from the start of
    the whole file, and nothing is aligned, as its populator and ``zipfile`` in append mode write
    them. Order and times are fixed: the same files give the same bytes.

    Args:
        data: The flatbuffer, with nothing appended.
        files: Contents by name.

    Raises:
        EdgekitError: An unsafe name, or more than 2 GB in all.
    """
    if not files:
        return data
    if len(data) + sum(map(len, files.values())) > MAX_FILE_BYTES:
        raise EdgekitError("with its appended files the model is larger than 2 GB")
    whole = io.BytesIO()
    whole.write(data)
    # Mode "w" and not "a": that would look for an archive to extend, and overwrite what it finds.
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            _check_name(name)
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, whatever this machine is
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return whole.getvalue()


def metadata_of(graph: Graph) -> bytes | None:
    """The raw ``TFLITE_METADATA`` flatbuffer, or None."""
    if METADATA_NAME not in graph.metadata_names:
        return None
    from ai_edge_litert import schema_py_generated as schema

    entry = schema.Model.GetRootAs(graph.data, 0).Metadata(
        graph.metadata_names.index(METADATA_NAME))
    if not 0 <= entry.Buffer() < len(graph.buffer_spans):
        raise EdgekitError("the model's TFLITE_METADATA names a buffer that does not exist")
    start, size = graph.buffer_spans[entry.Buffer()]
    return bytes(memoryview(graph.data)[start : start + size]) or None


def with_metadata(data: Buffer, metadata: bytes | None) -> bytes:
    """The same model with this metadata flatbuffer, or with none.

    Other entries (``min_runtime_version``, an offline memory plan) stay. Constants that stand
    behind the flatbuffer come into it.

    Raises:
        EdgekitError: The model would be larger than 2 GB.
        GuardError: The file that came out is not the same model.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    objects = to_objects(data)
    _drop_metadata(objects)
    if metadata is not None:
        objects.buffers.append(schema.BufferT(data=np.frombuffer(metadata, np.uint8)))
        objects.metadata = [
            *(objects.metadata or []),
            schema.MetadataT(name=METADATA_NAME, buffer=len(objects.buffers) - 1),
        ]
    packed = to_bytes(objects)
    if not _same_model(read_graph(data), read_graph(packed)):
        raise GuardError("writing metadata into the model changed the model",
                         "this is a bug in edgekit; leave labels and descriptions out")
    return packed


def _same_model(before: Graph, after: Graph) -> bool:
    """Equal operators, tensors and constants: packaging comes after the last test run."""
    if before.signatures != after.signatures or len(before.subgraphs) != len(after.subgraphs):
        return False
    for old, new in zip(before.subgraphs, after.subgraphs, strict=True):
        if (old.inputs, old.outputs) != (new.inputs, new.outputs) or (
                [_operator(o) for o in old.operators] != [_operator(o) for o in new.operators]
                or [_tensor(t) for t in old.tensors] != [_tensor(t) for t in new.tensors]
                or any(before.raw(a) != after.raw(b)
                       for a, b in zip(old.tensors, new.tensors, strict=True))):
            return False
    return True


def _operator(operator: Operator) -> tuple[object, ...]:
    options = operator.options
    return (operator.name, operator.version, operator.inputs, operator.outputs,
            operator.intermediates, type(options), repr(vars(options)) if options else "")


def _tensor(tensor: Tensor) -> tuple[object, ...]:
    scales = tensor.quantization
    return (tensor.name, tensor.dtype, tensor.shape, tensor.shape_signature, tensor.is_variable,
            scales and (scales.scales.tobytes(), scales.zero_points.tobytes(), scales.axis))


def _drop_metadata(objects: Any) -> None:  # noqa: ANN401 - ModelT
    entries = objects.metadata or []
    dropped = {entry.buffer for entry in entries if _is_ours(entry)}
    objects.metadata = [entry for entry in entries if not _is_ours(entry)] or None
    used = {tensor.buffer for subgraph in objects.subgraphs for tensor in subgraph.tensors}
    used |= {entry.buffer for entry in objects.metadata or []}
    for index in dropped - used - {0}:
        objects.buffers[index].data = None
    # Only from the end: indices elsewhere stay what they are.
    while len(objects.buffers) - 1 in dropped - used - {0}:
        objects.buffers.pop()


def _is_ours(entry: Any) -> bool:  # noqa: ANN401 - MetadataT
    return entry.name in (METADATA_NAME, METADATA_NAME.encode())


def is_packed(graph: Graph) -> bool:
    """Whether all constants stand inside the flatbuffer, at multiples of 16 bytes."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(graph.data, 0)
    inside = all(model.Buffers(index).Offset() <= 1 for index in range(len(graph.buffer_spans)))
    return inside and all(start % 16 == 0 for start, size in graph.buffer_spans if size)
