"""Editing a flatbuffer: to objects, and back to bytes.

LiteRT's own ``flatbuffer_utils`` reads the whole file into objects; weights stay views of the
source, so the cost is that of the structure, not of the weights.
"""

from collections import Counter
from typing import Any

from edgekit.core.graph import Buffer


def to_objects(data: Buffer) -> Any:  # noqa: ANN401 - ModelT of the generated schema
    """The file as ``ModelT``; its weights must not be written to in place."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(data)


def to_bytes(model: Any) -> bytes:  # noqa: ANN401
    """``ModelT`` as a file."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def name_of(tensor: Any) -> str:  # noqa: ANN401 - TensorT
    """A tensor's name as text."""
    raw = tensor.name
    return raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else (raw or "")


def make_names_unique(model: Any) -> int:  # noqa: ANN401
    """Rename tensors that share a name with an earlier one in their subgraph.

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
                continue
            unique = name if seen[name] == 1 else f"{name}_{seen[name]}"
            while unique in taken:
                seen[name] += 1
                unique = f"{name}_{seen[name]}"
            taken.add(unique)
            tensor.name = unique
            renamed += 1
    return renamed
