"""Executing an ONNX graph once, with TensorFlow's symbolic tensors in place of numbers.

What can be known at import is computed here: constants with the ONNX project's own reference
implementation, shapes because they are static. So the arithmetic on shapes that exporters write,
and branches on it, are gone before the converter sees the graph.
"""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.importers._proof_worker import first_line
from edgekit.importers.onnx.functions import function_body
from edgekit.importers.onnx.node import Node, Operator, operator_key
from edgekit.importers.onnx.operators import OPERATORS
from edgekit.importers.onnx.tensors import dense, numpy_type, to_numpy
from edgekit.importers.onnx.values import (
    TensorList,
    Value,
    arranged,
    logical,
    sizes_of,
    transposed,
)

# A constant that is larger than this and than what it is made of is left to the device to compute.
_MAX_INFLATED_BYTES = 1 << 16
_UNSAFE = re.compile(r"[^A-Za-z0-9_./>-]+")

Scope = MutableMapping[str, Value]


class Executor:
    """Runs graphs of one model.

    Args:
        model: With local functions inlined.
        notes: Where to tell what had to be decided.
    """

    def __init__(self, model: onnx.ModelProto, notes: list[str]) -> None:
        self._notes = notes
        self._opsets = {item.domain or "ai.onnx": int(item.version) for item in model.opset_import}

    def run(
        self,
        graph: onnx.GraphProto,
        inputs: Mapping[str, Value],
        outer: Scope | None = None,
        opsets: Mapping[str, int] | None = None,
    ) -> list[Value]:
        """Execute a graph.

        Args:
            graph: Topologically sorted.
            inputs: Values by input name.
            outer: What a subgraph sees of the graph around it.
            opsets: Versions by domain, where they are not the model's own.

        Returns:
            The outputs' values, in order.

        Raises:
            EdgekitError: A node that cannot be imported, by name.
        """
        scope: Scope = ChainMap({}, outer) if outer is not None else {}
        for tensor in graph.initializer:
            scope[tensor.name] = Value(to_numpy(tensor))
        for sparse in graph.sparse_initializer:
            scope[sparse.values.name] = Value(dense(sparse))
        scope.update(inputs)
        for proto in graph.node:
            self._execute(proto, scope, opsets or self._opsets)
        results = [scope[output.name] for output in graph.output]
        for output, value in zip(graph.output, results, strict=True):
            if outer is None and isinstance(value, TensorList):
                raise EdgekitError(f"output '{output.name}' is a sequence or an empty optional; on "
                                   "a device, outputs are arrays",
                                   "make each of its tensors an output of the source model")
        return results

    def _execute(self, proto: onnx.NodeProto, scope: Scope, opsets: Mapping[str, int]) -> None:
        node = Node(
            proto, opsets.get(proto.domain or "ai.onnx", 1),
            [scope[name] if name else None for name in proto.input],
            lambda graph, inputs: self.run(graph, inputs, scope, opsets), self._notes,
        )  # fmt: skip
        operator = OPERATORS.get(node.op)
        if operator is None:
            results = self._expand(node)
        else:
            results = _folded(node, operator) or _applied(node, operator)
        for name, value in zip(proto.output, results, strict=False):
            if name:
                scope[name] = value

    def _expand(self, node: Node) -> list[Value]:
        """Run the ONNX project's own definition of an operator in terms of others."""
        body, opsets = function_body(node)
        inner: Scope = {}
        for name, value in zip(body.input, node.inputs, strict=False):
            if value is not None:
                inner[name] = value
        # Inputs that are left out are "" to the nodes of the body.
        absent = set(body.input) - set(inner)
        for proto in body.node:
            for position, name in enumerate(proto.input):
                if name in absent:
                    proto.input[position] = ""
            self._execute(proto, inner, opsets)
        return [inner[name] for name in body.output if name in inner]


def _folded(node: Node, operator: Operator) -> list[Value] | None:
    """The results as constants, when all that goes in is one."""
    given = [value for value in node.inputs if value is not None]
    if not operator.folds or not all(value.is_constant for value in given):
        return None
    if any(item.HasField("g") for item in node.proto.attribute):
        return None
    try:
        results = _reference(node, [None if v is None else v.data for v in node.inputs])
    except Exception:  # noqa: BLE001 - the reference lacks some; then it is computed as a tensor
        return None
    size = sum(array.nbytes for array in results)
    if size > _MAX_INFLATED_BYTES and size > 2 * sum(value.data.nbytes for value in given):
        return None
    return [Value(array) for array in results]


def _reference(node: Node, arrays: Sequence[NDArray[Any] | None]) -> list[NDArray[Any]]:
    from onnx.reference import ReferenceEvaluator

    names = [name for name, array in zip(node.proto.input, arrays, strict=True)
             if array is not None]
    feeds = {name: array for name, array in zip(node.proto.input, arrays, strict=True)
             if array is not None}
    outputs = [name for name in node.proto.output if name]
    graph = onnx.helper.make_graph(
        [node.proto], "folded",
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in dict.fromkeys(names)],
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in outputs])
    model = onnx.helper.make_model(graph, opset_imports=[
        onnx.helper.make_opsetid(node.proto.domain, node.opset)])
    made = dict(zip(outputs, ReferenceEvaluator(model).run(None, feeds), strict=True))
    return [_computable(made[name]) if name else np.zeros(0, np.float32)
            for name in node.proto.output]


def _computable(array: Any) -> NDArray[Any]:  # noqa: ANN401
    """An array in a type that tensors are computed in."""
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(type(array).__name__)
    found = np.asarray(array)
    kind = onnx.helper.np_dtype_to_tensor_dtype(found.dtype)
    return np.ascontiguousarray(found.astype(numpy_type(kind), copy=False)).reshape(found.shape)


def _applied(node: Node, operator: Operator) -> list[Value]:
    """The results of an operator's function."""
    with tf.name_scope(_scope_name(node)):
        try:
            if operator.layout == "elementwise":
                return [_settled(value) for value in _elementwise(node, operator)]
            arguments: list[Any] = list(node.inputs)
            if operator.layout == "logical":
                arguments = [None if v is None else logical(v) for v in arguments]
            return [_settled(_as_value(result))
                    for result in _listed(operator.function(node, *arguments))]
        except EdgekitError:
            raise
        except Exception as error:
            raise node.error(f"cannot be imported: {first_line(error)}") from error


def _scope_name(node: Node) -> str:
    name = _UNSAFE.sub("_", next((out for out in node.proto.output if out), node.name))
    return name.strip("/_.>-") or "node"


def _listed(results: Any) -> Sequence[Any]:  # noqa: ANN401
    return results if isinstance(results, tuple | list) else (results,)


def _as_value(result: Any) -> Value:  # noqa: ANN401
    if isinstance(result, Value | TensorList):
        return result  # type: ignore[return-value] # lists go where lists are taken
    if isinstance(result, np.generic):
        return Value(np.asarray(result))
    if isinstance(result, np.ndarray):
        return Value(result)
    return Value(tf.convert_to_tensor(result) if result is not None else np.zeros(0, np.float32))


def _settled(value: Value) -> Value:
    """Constants in ONNX's order; LiteRT has no empty tensors, so these are constants, too."""
    if isinstance(value, Value) and value.is_static and 0 in value.shape:
        return Value(np.zeros([size or 0 for size in value.shape], value.dtype))
    if isinstance(value, Value) and value.is_constant and value.perm is not None:
        return Value(logical(value))
    return value


def _elementwise(node: Node, operator: Operator) -> list[Value]:
    """Give the function its arguments in one common order of axes."""
    inputs = _with_old_axis(node)
    values = [value for value in inputs if value is not None]
    rank = max(value.rank for value in values)
    layout = _common_layout(values, rank)
    arguments = [None if v is None else _aligned(v, layout, rank) for v in inputs]
    results = _listed(operator.function(node, *arguments))
    return [Value(result.data, layout.perm, layout.merged) if isinstance(result, Value) else
            Value(_as_value(result).data, layout.perm, layout.merged) for result in results]


def _with_old_axis(node: Node) -> Sequence[Value | None]:
    """Before version 7, ``axis`` said at which axis of the first the second input begins."""
    axis = node.attr("axis", None)
    if node.opset >= 7 or axis is None or len(node.inputs) != 2:
        return node.inputs
    first, second = node.inputs
    assert first is not None
    assert second is not None
    data = logical(second)
    shape = [*sizes_of(data), *[1] * (first.rank - axis % first.rank - second.rank)]
    return first, Value(data.reshape(shape) if second.is_constant else tf.reshape(data, shape))


def _common_layout(values: Sequence[Value], rank: int) -> Value:
    """The order that moves the fewest numbers at run time, as an empty value that has it."""
    tensors = [value for value in values if not value.is_constant]
    merged = [value for value in tensors if value.merged is not None]
    if merged:
        shared = merged[0]
        if all(value.merged == shared.merged and value.rank == rank for value in tensors) and all(
                value.rank == 0 or value.data.shape[-1] in (1, shared.data.shape[-1])
                for value in values if value.is_constant):
            return Value(None, None, shared.merged)
        return Value(None)
    candidates = dict.fromkeys([value.perm for value in tensors if value.rank == rank] or [None])

    def cost(perm: tuple[int, ...] | None) -> int:
        return sum(_elements(value) for value in tensors
                   if value.rank > 1 and value.perm != perm and value.rank == rank)

    return Value(None, min(candidates, key=cost))


def _elements(value: Value) -> int:
    return int(np.prod([size or 1 for size in value.shape], dtype=np.int64))


def _aligned(value: Value, layout: Value, rank: int) -> Any:  # noqa: ANN401
    """A value's data in the common order, with axes of size 1 in front up to the common rank."""
    if layout.merged is not None:
        if value.is_constant and value.rank and value.data.shape[-1] > 1:
            return np.ascontiguousarray(value.data[..., layout.merged.rows])
        return value.data
    if layout.perm is None or value.rank == 0:
        return logical(value)
    if value.rank == rank:
        return arranged(value, layout.perm)
    data = logical(value)
    padding = [1] * (rank - value.rank)
    if isinstance(data, np.ndarray):
        return transposed(data.reshape(*padding, *data.shape), layout.perm)
    return transposed(tf.reshape(data, [*padding, *sizes_of(data)]), layout.perm)


def unsupported(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Operators without a row and without a definition in terms of others.

    Returns:
        The names of their nodes, by operator.
    """
    opsets = {item.domain or "ai.onnx": int(item.version) for item in model.opset_import}
    found: dict[str, list[str]] = {}
    for proto in _all_nodes(model.graph):
        if operator_key(proto) in OPERATORS:
            continue
        node = Node(proto, opsets.get(proto.domain or "ai.onnx", 1))
        try:
            function_body(node, only_look=True)
        except EdgekitError:
            found.setdefault(node.op, []).append(node.name)
    return found


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for proto in graph.node:
        yield proto
        for item in proto.attribute:
            if item.HasField("g"):
                yield from _all_nodes(item.g)
            for inner in item.graphs:
                yield from _all_nodes(inner)


__all__ = ["Executor", "unsupported"]
