"""Edits that make a ``.tflite`` keep the design's promises: one signature, static shapes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.edit import make_names_unique, to_bytes, to_objects
from edgekit.core.graph import Buffer
from edgekit.core.model import Model, Provenance
from edgekit.core.sandbox import sandbox

# Options that name other subgraphs: IF, WHILE, CALL_ONCE, CALL and the StableHLO composites.
_SUBGRAPH_FIELDS = (
    "thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex",
    "initSubgraphIndex", "subgraph", "decompositionSubgraphIndex",
)  # fmt: skip


def keep_signature(data: Buffer, key: str) -> bytes:
    """Keep one signature and the subgraphs it reaches; its own becomes subgraph 0."""
    model = to_objects(data)
    chosen = next(s for s in model.signatureDefs if _text(s.signatureKey) == key)
    order = _reachable(model, chosen.subgraphIndex)
    new_index = {old: new for new, old in enumerate(order)}
    model.subgraphs = [model.subgraphs[old] for old in order]
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            _renumber(operator, new_index)
    chosen.subgraphIndex = 0
    model.signatureDefs = [chosen]
    _drop_unused_buffers(model)
    return to_bytes(model)


def make_workable(data: Buffer) -> tuple[bytes, list[str]]:
    """What steps rely on in a float model: unique names, a signature, operator codes in full.

    Returns:
        The file, and a note for each thing that was changed.
    """
    model = to_objects(data)  # which also completes the operator codes of old files
    notes = []
    if renamed := make_names_unique(model):
        notes.append(f"{renamed} tensors had no name of their own and were given one")
    if not model.signatureDefs:
        model.signatureDefs = [_signature_of(model)]
        notes.append("the file had no signature; it was given one with its tensors' names")
    return to_bytes(model), notes


def _signature_of(model: Any) -> Any:  # noqa: ANN401
    from ai_edge_litert import schema_py_generated as schema

    implied = Model(to_bytes(model), "model", Provenance("tflite", "model")).signature
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = implied.key, implied.subgraph
    for names, field in ((implied.inputs, "inputs"), (implied.outputs, "outputs")):
        entries = []
        for name, index in names.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            entries.append(entry)
        setattr(made, field, entries)
    return made


def _drop_unused_buffers(model: Any) -> None:  # noqa: ANN401
    """Empty the buffers that no tensor and no metadata names any more."""
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {metadata.buffer for metadata in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def _text(raw: bytes | str | None) -> str:
    return raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else (raw or "")


def _references(operator: Any) -> list[tuple[Any, str, int]]:  # noqa: ANN401
    """(options, field, subgraph index) for each subgraph that an operator names."""
    found = []
    for options in (operator.builtinOptions, operator.builtinOptions2):
        for field in _SUBGRAPH_FIELDS:
            value = getattr(options, field, None)
            if isinstance(value, int) and value >= 0:
                found.append((options, field, value))
    return found


def _reachable(model: Any, start: int) -> list[int]:  # noqa: ANN401
    order, waiting = [], [start]
    while waiting:
        index = waiting.pop(0)
        if index in order or index >= len(model.subgraphs):
            continue
        order.append(index)
        for operator in model.subgraphs[index].operators:
            waiting += [value for _, _, value in _references(operator)]
    return order


def _renumber(operator: Any, new_index: Mapping[int, int]) -> None:  # noqa: ANN401
    for options, field, value in _references(operator):
        setattr(options, field, new_index.get(value, value))


def fix_shapes(data: Buffer, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Fix open dimensions of inputs, and write the shapes that follow into every tensor.

    The runtime is asked which shapes follow, so that sizes and MACs read from the file are true.
    """
    probe = Model(data, "model", Provenance("tflite", "model"))
    indices = {name: probe.signature.inputs[name] for name in shapes}
    path = sandbox().new_path(".tflite")
    path.write_bytes(data)
    known: dict[int, tuple[int, ...]] = sandbox().call(
        "edgekit.core._runtime_worker:shapes_after_resize", "resizing its inputs",
        path=str(path), shapes={indices[name]: shape for name, shape in shapes.items()},
    )  # fmt: skip
    Path(path).unlink()
    model = to_objects(data)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        if index in known and tensor.buffer < len(model.buffers):
            if model.buffers[tensor.buffer].data is None:
                tensor.shape = list(known[index])
            tensor.shapeSignature = None
    return to_bytes(model)
