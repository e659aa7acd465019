"""Runs in the child process: what the converter gave, as a Model wants it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.data import open_dataset
from edgekit.core.edit import make_names_unique, name_of, to_bytes, to_objects
from edgekit.core.graph import read_graph
from edgekit.core.model import DEFAULT_SIGNATURE, Model, Provenance

# Their outputs' sizes depend on values; no run can tell them.
_SIZED_BY_VALUES = frozenset({"WHERE", "UNIQUE", "RANGE", "SEGMENT_SUM", "NON_MAX_SUPPRESSION_V4",
                              "NON_MAX_SUPPRESSION_V5"})  # fmt: skip


class Named(Protocol):
    """What has names for its inputs and outputs: ``Traced``, or a PyTorch module."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""


def finish(raw: bytes, traced: Named, clean_name: Callable[[str], str]) -> bytes:
    """One signature with the source's own names, and unique names for all tensors.

    Args:
        raw: What the converter gave.
        traced: The inputs' and outputs' names, in the function's order.
        clean_name: Applied to inner tensors' names.
    """
    model = to_objects(raw)
    main = model.subgraphs[0]
    inputs, outputs = _ports_of(model)
    main.inputs, main.outputs = inputs, outputs  # a SavedModel's come in any order
    taken: set[bytes] = set()
    for subgraph in model.subgraphs:
        _name_tensors(subgraph, clean_name, taken)
    named: set[int] = set()
    for names, indices in ((traced.inputs, inputs), (traced.outputs, outputs)):
        for name, index in zip(names, indices, strict=True):
            if index not in named:  # an output may be an input, or another output
                main.tensors[index].name = name.encode()
                named.add(index)
    make_names_unique(model)
    model.signatureDefs = [signature_of(traced.inputs, traced.outputs, inputs, outputs)]
    return to_bytes(model)


def _name_tensors(subgraph: Any, clean_name: Callable[[str], str], taken: set[bytes]) -> None:  # noqa: ANN401
    """Clean names; where a constant has an operator's, it is the constant that gives way.

    A loop's body gets its own name in front where another subgraph has the same names.
    """
    computed = {int(index) for operator in subgraph.operators for index in operator.outputs}
    for tensor in subgraph.tensors:
        tensor.name = clean_name(name_of(tensor)).encode()
    layers = {subgraph.tensors[index].name for index in computed}
    for index, tensor in enumerate(subgraph.tensors):
        if index not in computed and tensor.name in layers:
            tensor.name += b"/constant"
        if tensor.name in taken:
            tensor.name = (subgraph.name or b"body") + b"/" + tensor.name
    taken.update(tensor.name for tensor in subgraph.tensors)


def _ports_of(model: Any) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """Tensor indices of inputs and outputs in the function's order.

    A frozen graph keeps the order; a SavedModel's signature numbers them in their names.
    """
    main = model.subgraphs[0]
    if not model.signatureDefs:
        return list(main.inputs), list(main.outputs)

    def ordered(maps: Any) -> list[int]:  # noqa: ANN401 - list of TensorMapT
        return [m.tensorIndex for m in sorted(
            maps, key=lambda m: int(m.name.decode().rpartition("_")[2]))]

    signature = model.signatureDefs[0]
    return ordered(signature.inputs), ordered(signature.outputs)


def signature_of(
    input_names: tuple[str, ...], output_names: tuple[str, ...], inputs: list[int],
    outputs: list[int],
) -> Any:  # noqa: ANN401 - SignatureDefT
    """The one signature of a Model: names and tensor indices, in the source's order."""
    from ai_edge_litert import schema_py_generated as schema

    def maps(names: tuple[str, ...], indices: list[int]) -> list[Any]:
        made = []
        for name, index in zip(names, indices, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), index
            made.append(entry)
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey = DEFAULT_SIGNATURE.encode()
    signature.subgraphIndex = 0
    signature.inputs = maps(input_names, inputs)
    signature.outputs = maps(output_names, outputs)
    return signature


def settle_open_shapes(data: bytes, out: Path, samples: str | None = None) -> bytes:
    """Put the sizes that the runtime finds where the main graph still leaves them open.

    Behind loops that were traced with an open batch, the converter writes 1 for any size.

    Args:
        data: The model.
        out: Where it is going to be written; its neighbour is used.
        samples: The user's data: zeros, which it is run on without, may keep a loop from ending.
    """
    graph = read_graph(data)
    if not any(-1 in tensor.shape_signature for tensor in graph.main.tensors) or any(
            operator.name in _SIZED_BY_VALUES for _, operator in graph.operators()):
        return data
    probe = out.with_suffix(".probe.tflite")
    probe.write_bytes(data)
    shapes = runtime.shapes_after_resize(str(probe), {}, _first_of(samples, data))
    probe.unlink()
    model = to_objects(data)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        if tensor.shapeSignature is not None and index in shapes:
            tensor.shape, tensor.shapeSignature = list(shapes[index]), None
    return to_bytes(model)


def _first_of(samples: str | None, data: bytes) -> dict[int, NDArray[Any]] | None:
    """The first sample's arrays by tensor index."""
    if samples is None:
        return None
    model = Model(data, "model", Provenance("tflite", "model"))
    sample = next(iter(open_dataset(samples, model.inputs).samples(1)))
    return {model.signature.inputs[name]: array for name, array in sample.inputs.items()}
