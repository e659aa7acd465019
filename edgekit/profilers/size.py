"""What the file weighs: by layer, by tensor type, deflated; parameters, MACs and zeros.

Everything here is read from the file; nothing runs.
"""

import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.graph import DTYPE_BITS, Buffer, Graph, Operator, Subgraph, Tensor
from edgekit.core.macs import called_subgraphs, macs_of, total_macs
from edgekit.core.measurement import Measurement
from edgekit.core.model import Model, is_weight
from edgekit.profilers.base import ProfileResult, ProfileSettings

STRUCTURE = "structure"  # the flatbuffer's own tables, metadata, and files behind it
_CHUNK_BYTES = 1 << 20
_REMEMBERED = 64  # models whose deflated size is kept


@dataclass(frozen=True)
class Layer:
    """One operator in the report's table.

    Attributes:
        name: Its first output tensor's name, made unique.
        op: Schema name, ``CONV_2D``.
        dtype: Of its weights; of its output when it has none.
        bytes: Of the constants that it is the first to use.
        macs: Multiply-accumulates of one inference; None when unknown.
    """

    name: str
    op: str
    dtype: str
    bytes: int
    macs: int | None


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """The layers in execution order, then those of the bodies that they call.

    Constants that several layers share count at the first one, so that the layers' bytes add up.
    """
    names: Counter[str] = Counter()
    owned: set[int] = set()
    layers = []
    for subgraph in called_subgraphs(graph):
        for operator in subgraph.operators:
            layers.append(Layer(  # noqa: PERF401 - the calls below remember what came before
                _unique(_layer_name(subgraph, operator), names),
                operator.name,
                _layer_dtype(subgraph, operator),
                _own_bytes(subgraph, operator, owned),
                macs_of(subgraph, operator),
            ))  # fmt: skip
    return tuple(layers)


def _layer_name(subgraph: Subgraph, operator: Operator) -> str:
    if operator.outputs and (name := subgraph.tensors[operator.outputs[0]].name):
        return name
    return f"{operator.name.lower()}_{operator.index}"


def _unique(name: str, seen: Counter[str]) -> str:
    """The name itself, then ``name_2``, ``name_3`` and so on."""
    unique = name
    while seen[unique]:
        seen[name] += 1
        unique = f"{name}_{seen[name]}"
    seen[unique] += 1
    return unique


def _layer_dtype(subgraph: Subgraph, operator: Operator) -> str:
    weights = [tensor for tensor in _constants(subgraph, operator) if is_weight(tensor)]
    if weights:
        return max(weights, key=lambda tensor: tensor.elements).dtype
    shown = (*operator.outputs, *(index for index in operator.inputs if index >= 0))
    return subgraph.tensors[shown[0]].dtype if shown else "none"


def _own_bytes(subgraph: Subgraph, operator: Operator, owned: set[int]) -> int:
    fresh = {tensor.buffer: tensor.constant_bytes for tensor in _constants(subgraph, operator)
             if tensor.buffer not in owned}
    owned.update(fresh)
    return sum(fresh.values())


def _constants(subgraph: Subgraph, operator: Operator) -> Iterator[Tensor]:
    for index in operator.inputs:
        if index >= 0 and subgraph.tensors[index].is_constant:
            yield subgraph.tensors[index]


def dtype_bytes(graph: Graph) -> dict[str, int]:
    """The file's bytes by the type of the tensors they hold; the sum is the file's size.

    ``structure`` is all the rest: tables, names, quantization parameters, metadata, alignment,
    and files appended behind the flatbuffer.
    """
    spans = sorted((*graph.buffer_spans[tensor.buffer], tensor.dtype)
                   for tensor in graph.constants)
    totals: Counter[str] = Counter()
    end = 0
    for start, size, dtype in spans:
        # Buffers of a well-made file lie apart; where they overlap, bytes count once.
        totals[dtype] += max(0, start + size - max(start, end))
        end = max(end, start + size)
    structure = len(graph.data) - sum(totals.values())
    return {**{dtype: totals[dtype] for dtype in sorted(totals)}, STRUCTURE: structure}


def sparsity_of(graph: Graph) -> float:
    """Fraction of the weights that are zero, in [0, 1]; 0 without weights.

    A quantized weight is zero where its code is the zero point. Elements that TFLite's sparse
    encoding leaves out of the file are zeros.
    """
    elements = nonzero = 0
    for tensor in graph.constants:
        if is_weight(tensor):
            elements += tensor.elements
            nonzero += _nonzero(graph, tensor)
    return 1.0 - nonzero / elements if elements else 0.0


def _nonzero(graph: Graph, tensor: Tensor) -> int:
    zero_points = None if tensor.quantization is None else tensor.quantization.zero_points
    if zero_points is not None and zero_points.size > 1 and np.ptp(zero_points) > 0:
        return _nonzero_by_channel(graph, tensor, zero_points)
    zero_point = 0 if zero_points is None else int(zero_points[0])
    raw = np.frombuffer(graph.raw(tensor), dtype=np.uint8)
    step = _CHUNK_BYTES
    counts = (_nonzero_codes(raw[at : at + step], tensor.dtype, zero_point)
              for at in range(0, raw.size, step))
    # The last byte of packed codes may hold more codes than the tensor has elements.
    return min(sum(counts), tensor.elements)


def _nonzero_by_channel(graph: Graph, tensor: Tensor, zero_points: NDArray[np.int64]) -> int:
    assert tensor.quantization is not None
    values, axis = graph.values(tensor), tensor.quantization.axis
    if not 0 <= axis < values.ndim or values.shape[axis] != zero_points.size:
        return int(np.count_nonzero(values))
    shape = [1] * values.ndim
    shape[axis] = -1
    return int(np.count_nonzero(values != zero_points.reshape(shape)))


def _nonzero_codes(raw: NDArray[np.uint8], dtype: str, zero_point: int) -> int:
    """Elements of a piece of a buffer that are not zero; a partial last element is left out."""
    bits = DTYPE_BITS.get(dtype, 8)
    if bits < 8:
        mask = 2**bits - 1
        code = zero_point & mask
        shifts = range(0, 8, bits)
        return sum(int(np.count_nonzero((raw >> shift) & mask != code)) for shift in shifts)
    values: NDArray[Any] = raw[: raw.size // (bits // 8) * (bits // 8)].view(_counted_as(dtype))
    if "float" in dtype:
        # Without the sign bit: minus zero is zero, also where NumPy has no such type.
        mask = (1 << (bits - 1)) - 1
        return int(np.count_nonzero(values & values.dtype.type(mask)))
    return int(np.count_nonzero(values != zero_point))


def _counted_as(dtype: str) -> str:
    """The NumPy type to look at: a float's bits as an unsigned integer."""
    if "float" in dtype:
        return f"uint{DTYPE_BITS[dtype]}"
    return dtype if dtype in DTYPE_BITS else "uint8"


def deflate_bytes(data: Buffer) -> int:
    """Size at zlib level 9, which is what a store's download pays for.

    About 5 MB a second; see ``start_deflate``. Compressing pieces in parallel would give
    another number: a piece cannot refer back into the one before.
    """
    compressor, view, size = zlib.compressobj(9), memoryview(data), 0
    for at in range(0, len(view), _CHUNK_BYTES):
        size += len(compressor.compress(view[at : at + _CHUNK_BYTES]))
    return size + len(compressor.flush())


def start_deflate(data: Buffer) -> "Future[int]":
    """``deflate_bytes`` in a thread of its own, while the caller does something else.

    zlib works outside Python's global lock. Not beside a latency measurement, which would be
    disturbed. The thread does not keep the program from ending.
    """
    future: Future[int] = Future()

    def work() -> None:
        try:
            future.set_result(deflate_bytes(data))
        except BaseException as error:  # noqa: BLE001 - handed on to whoever asks for the result
            future.set_exception(error)

    Thread(target=work, name="deflate", daemon=True).start()
    return future


_deflating: "OrderedDict[str, Future[int]]" = OrderedDict()


def deflated(model: Model) -> "Future[int]":
    """``start_deflate`` of a model, once: asking again gives the same answer at no cost."""
    if model.sha256 not in _deflating:
        _deflating[model.sha256] = start_deflate(model.data)
        if len(_deflating) > _REMEMBERED:
            _deflating.popitem(last=False)
    return _deflating[model.sha256]


def profile_size(model: Model, settings: ProfileSettings) -> ProfileResult:  # noqa: ARG001
    """The row ``size`` of ``PROFILERS``."""
    deflating = deflated(model)
    graph, where = model.graph, "the file"
    macs = total_macs(graph)
    measurements = (
        Measurement("file_bytes", len(model.data), "bytes", "measured", where),
        Measurement("parameters", model.parameters, "count", "measured", where),
        _macs_measurement(graph, macs),
        Measurement("deflate_bytes", deflating.result(), "bytes", "measured", "zlib level 9"),
    )
    return ProfileResult(measurements)


def _macs_measurement(graph: Graph, macs: int | None) -> Measurement:
    if macs is None:
        layer = next(layer for layer in layers_of(graph) if layer.macs is None)
        return Measurement("macs", None, "count", None, f"not known for {layer.op} '{layer.name}'")
    loops = any(operator.name.endswith("WHILE") for subgraph in called_subgraphs(graph)
                for operator in subgraph.operators)
    where = "shapes in the file" + (", one turn of each loop" if loops else "")
    return Measurement("macs", macs, "count", "measured", where, lower_bound=loops)
