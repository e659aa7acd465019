"""Runs in the child process: dropping what the runtime does not read; see ``steps/strip.py``.

It executes nothing: it is here because the file's bytes are, and the quantizer's imports.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from edgekit.core import edit
from edgekit.core.sandbox import map_file

# Written by converters for their own statistics.
_CONVERTER_METADATA = frozenset({"CONVERSION_METADATA"})


def strip(path: str, out: str, *, keep_names: bool) -> int:
    """Write the model at ``path`` to ``out`` without what the runtime does not read.

    Returns:
        How many constants had been stored more than once.
    """
    objects = edit.to_objects(map_file(Path(path)))
    if not keep_names:
        _drop_names(objects)
    _drop_ranges(objects)
    _drop_converter_metadata(objects)
    duplicates = _share_equal_buffers(objects)
    Path(out).write_bytes(edit.packed(objects))
    return duplicates


def _drop_names(objects: Any) -> None:  # noqa: ANN401 - ModelT
    objects.description = None
    for subgraph in objects.subgraphs:
        subgraph.name = None
        border = {*subgraph.inputs, *subgraph.outputs} if subgraph is objects.subgraphs[0] else ()
        for index, tensor in enumerate(subgraph.tensors):
            if index not in border:
                tensor.name = None


def _drop_ranges(objects: Any) -> None:  # noqa: ANN401
    """Min and max are for the quantizer; kernels read scales and zero points."""
    for subgraph in objects.subgraphs:
        for tensor in subgraph.tensors:
            quantization = tensor.quantization
            if quantization is None:
                continue
            quantization.min = quantization.max = None
            empty = quantization.scale is None or len(quantization.scale) == 0
            if empty and not quantization.detailsType:
                tensor.quantization = None


def _drop_converter_metadata(objects: Any) -> None:  # noqa: ANN401
    kept = []
    for metadata in objects.metadata or []:
        name = metadata.name.decode() if isinstance(metadata.name, bytes) else metadata.name
        if name in _CONVERTER_METADATA:
            objects.buffers[metadata.buffer].data = None
        else:
            kept.append(metadata)
    objects.metadata = kept or None


class _Buffers:
    """The buffers that the stripped file needs: none twice, none that nobody names."""

    def __init__(self, buffers: list[Any]) -> None:
        self.old = buffers
        self.kept = [buffers[0]]
        self.duplicates = 0
        self._new_index: dict[int, int] = {0: 0}
        self._by_content: dict[tuple[int, bytes], int] = {}
        sizes = Counter(len(b.data) for b in buffers if b.data is not None)
        # Only constants of one length can be equal: the large weights need no hash.
        self._ambiguous = {size for size, count in sizes.items() if count > 1}

    def place(self, index: int, *, share: bool) -> int:
        """The new index of an old buffer."""
        if index not in self._new_index:
            self._new_index[index] = self._place(self.old[index], share=share)
        return self._new_index[index]

    def _place(self, buffer: Any, *, share: bool) -> int:  # noqa: ANN401 - BufferT
        if buffer.data is None or len(buffer.data) == 0:
            return 0
        if not share or len(buffer.data) not in self._ambiguous:
            self.kept.append(buffer)
            return len(self.kept) - 1
        key = (len(buffer.data), hashlib.sha256(memoryview(buffer.data)).digest())
        if key in self._by_content:
            self.duplicates += 1
        else:
            self.kept.append(buffer)
            self._by_content[key] = len(self.kept) - 1
        return self._by_content[key]


def _share_equal_buffers(objects: Any) -> int:  # noqa: ANN401 - ModelT
    """Point tensors with equal constants at one buffer, and leave unnamed buffers out.

    Variables keep a buffer of their own: the runtime writes to them.

    Returns:
        How many constants had been stored more than once.
    """
    buffers = _Buffers(objects.buffers)
    for subgraph in objects.subgraphs:
        for tensor in subgraph.tensors:
            tensor.buffer = buffers.place(tensor.buffer, share=not tensor.isVariable)
    for metadata in objects.metadata or []:
        metadata.buffer = buffers.place(metadata.buffer, share=False)
    objects.buffers = buffers.kept
    return buffers.duplicates
