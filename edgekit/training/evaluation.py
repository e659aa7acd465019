"""Computing a graph operator by operator, with TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Graph, Operator, Subgraph, Tensor
from edgekit.training.operators import LIFTS
from edgekit.training.values import Node, NotSharedError, Value


class Evaluation:
    """One pass through a graph, while a ``tf.function`` is traced or eagerly.

    Args:
        graph: The graph.
        constants: The value of each float constant, by buffer; all others are taken from the file.
    """

    def __init__(self, graph: Graph, constants: Mapping[int, Any]) -> None:
        self._graph = graph
        self._constants = constants

    def run(
        self, subgraph: Subgraph, inputs: Sequence[Value], wanted: Sequence[int] | None = None
    ) -> list[Value]:
        """Compute a subgraph.

        Args:
            subgraph: Which.
            inputs: One for each of its inputs.
            wanted: Tensors to give back; its outputs without it.

        Raises:
            EdgekitError: A tensor that nothing gives a value, or sizes that depend on the samples.
        """
        known = dict(zip(subgraph.inputs, inputs, strict=True))
        for operator in subgraph.operators:
            results = self.apply(operator, subgraph, [
                self._value(subgraph, index, known) for index in operator.inputs])
            known.update(zip(operator.outputs, results, strict=True))
        outputs = subgraph.outputs if wanted is None else wanted
        return [self._found(subgraph, index, known) for index in outputs]

    def apply(
        self, operator: Operator, subgraph: Subgraph, values: Sequence[Value | None]
    ) -> list[Value]:
        """Compute one operator, which has a lift."""
        lift, node = LIFTS[operator.name], Node(operator, subgraph, values, self)
        with tf.name_scope(operator.name.replace(":", "_")):
            try:
                results = lift(node)
            except NotSharedError:
                return self._sample_by_sample(operator, subgraph, values)
        listed = results if isinstance(results, list | tuple) else [results]
        return [_as_value(result, node) for result in listed]

    def without_constants(self) -> "Evaluation":
        """The same with the file's constants: for a graph in which the variables do not exist."""
        return Evaluation(self._graph, {})

    def subgraph(self, index: int) -> Subgraph:
        """The body of a loop or branch."""
        return self._graph.subgraphs[index]

    def _sample_by_sample(
        self, operator: Operator, subgraph: Subgraph, values: Sequence[Value | None]
    ) -> list[Value]:
        """The operator on each sample of its own, for inputs that a lift takes once for all."""
        batched = [i for i, value in enumerate(values) if value is not None and value.batched]

        @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
        def one(tensors: list[Any]) -> list[Any]:
            given = list(values)
            for position, tensor in zip(batched, tensors, strict=True):
                given[position] = Value(tensor, batched=False)
            return [value.tensor for value in self.apply(operator, subgraph, given)]

        tensors = [values[i].tensor for i in batched]  # type: ignore[union-attr]
        types = [tf.as_dtype(subgraph.tensors[i].dtype) for i in operator.outputs]
        results = tf.map_fn(one, tensors, fn_output_signature=types)
        return [Value(result, batched=True) for result in results]

    def _value(self, subgraph: Subgraph, index: int, known: Mapping[int, Value]) -> Value | None:
        return None if index < 0 else self._found(subgraph, index, known)

    def _found(self, subgraph: Subgraph, index: int, known: Mapping[int, Value]) -> Value:
        if index in known:
            return known[index]
        tensor = subgraph.tensors[index]
        if tensor.is_constant:
            return self._constant(tensor)
        # A constant without elements has no data in the file; a state begins at zero each time.
        if 0 in tensor.shape or tensor.is_variable:
            return Value(tf.zeros(tensor.shape, tf.as_dtype(tensor.dtype)), batched=False)
        raise EdgekitError(f"tensor '{tensor.name}' keeps a value from one inference to the next",
                           "make the state an input and an output of the source model")

    def _constant(self, tensor: Tensor) -> Value:
        value = self._constants.get(tensor.buffer)
        if value is None:
            return Value(tf.constant(self._graph.values(tensor)), batched=False)
        return Value(tf.reshape(value, tensor.shape), batched=False)


def _as_value(result: Any, node: Node) -> Value:
    if isinstance(result, Value):
        return result
    return Value(result[0], batched=False) if node.is_alone else Value(result, batched=True)
