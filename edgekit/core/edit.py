"""Editing a flatbuffer: to objects, and back to bytes.

LiteRT's own ``flatbuffer_utils`` reads the whole file into objects; weights stay views of the
source, so the cost is that of the structure, not of the weights.
"""

from collections import Counter
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Buffer


def to_objects(data: Buffer) -> Any:  # noqa: ANN401 - ModelT of the generated schema
    """The file as ``ModelT``; its weights must not be written to in place.

    Files written before 2020 have an operator's code in the deprecated 8-bit field only; here
    both fields say the same.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(data)
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    return model


def packed(objects: Any) -> memoryview:  # noqa: ANN401 - ModelT
    """``ModelT`` as a file whose constants begin at multiples of 16 bytes.

    The schema demands it (``Buffer.data``, ``force_align: 16``), the generated Python code does
    4, and kernels on microcontrollers load vectors from there: TFLM has a tool of its own
    (``tflite_flatbuffer_align``) to mend such files.

    Raises:
        EdgekitError: More than 2 GB.
    """
    import flatbuffers
    import numpy as np
    from flatbuffers.builder import BuilderSizeError

    class Builder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
            alignment = 16 if elemSize == 1 else alignment
            return int(super().StartVector(elemSize, numElems, alignment))

    for buffer in objects.buffers:
        if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
            # A view of a file with offsets; the generated code would write it byte by byte.
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    # Room for all of it at once: a builder that grows copies everything each time it doubles.
    constants = sum(len(buffer.data) for buffer in objects.buffers if buffer.data is not None)
    builder = Builder(constants + constants // 16 + 65_536)
    try:
        builder.Finish(objects.Pack(builder), file_identifier=b"TFL3")
    except BuilderSizeError as error:
        raise EdgekitError("the model is larger than 2 GB, the most that a TFLite file can be"
                           ) from error
    return memoryview(builder.Bytes)[builder.Head() :]


def to_bytes(objects: Any) -> bytes:  # noqa: ANN401 - ModelT
    """``packed``, as bytes of their own."""
    return bytes(packed(objects))


def name_of(tensor: Any) -> str:  # noqa: ANN401 - TensorT
    """A tensor's name as text."""
    raw = tensor.name
    return raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else (raw or "")


def make_names_unique(model: Any) -> int:  # noqa: ANN401
    """Give each tensor a name of its own in its subgraph, in sound UTF-8.

    The quantizer keys everything by tensor name: two tensors of one name would share a range.

    Returns:
        How many were renamed.
    """
    renamed = 0
    for subgraph in model.subgraphs:
        seen: Counter[str] = Counter()
        taken = {name_of(tensor) for tensor in subgraph.tensors}
        for position, tensor in enumerate(subgraph.tensors):
            name = name_of(tensor) or f"tensor_{position}"
            seen[name] += 1
            if seen[name] == 1 and name_of(tensor):
                if "\ufffd" in name:  # bytes that are no text became this mark
                    tensor.name = name
                    renamed += 1
                continue
            unique = name if seen[name] == 1 else f"{name}_{seen[name]}"
            while unique in taken:
                seen[name] += 1
                unique = f"{name}_{seen[name]}"
            taken.add(unique)
            tensor.name = unique
            renamed += 1
    return renamed
