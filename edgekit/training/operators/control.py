"""Loops and branches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from edgekit.training.values import Node, NotSharedError, Value


def _if(node: Node) -> list[Value]:
    """A branch for all samples; where the condition differs, the operator runs for each."""
    condition = tf.reshape(node.shared(0), [])
    then, other = _branches(node, (node.options.thenSubgraphIndex, node.options.elseSubgraphIndex))
    return _taken(node, tf.cond(condition, then, other))


def _case(node: Node) -> list[Value]:
    """One of several branches; the last for a number that none has."""
    branches = _branches(node, [int(i) for i in node.options.branchSubgraphIndices])
    return _taken(node, tf.switch_case(tf.reshape(node.shared(0), []), branches))


def _branches(node: Node, indices: Sequence[int]) -> list[Callable[[], list[Any]]]:
    values = [node.value(i) for i in range(1, len(node))]

    def branch(index: int) -> Callable[[], list[Any]]:
        return lambda: [_spread(value, not node.is_alone, node)
                        for value in node.graph.run(node.graph.subgraph(index), values)]
    return [branch(index) for index in indices]


def _taken(node: Node, results: Any) -> list[Value]:
    listed = results if isinstance(results, list | tuple) else [results]
    return [Value(result, not node.is_alone) for result in listed]


def _while(node: Node) -> list[Value]:
    """A loop whose condition is the same for all samples, else one loop for each of them."""
    condition, body = (node.graph.subgraph(index) for index in (
        node.options.condSubgraphIndex, node.options.bodySubgraphIndex))
    start = [node.value(i) for i in range(len(node))]
    batched = _batched_in_the_end(node, body, start)
    start = [Value(_spread(value, flag, node), flag)
             for value, flag in zip(start, batched, strict=True)]

    def values(tensors: Sequence[Any]) -> list[Value]:
        return [Value(tensor, flag) for tensor, flag in zip(tensors, batched, strict=True)]

    def goes_on(*tensors: Any) -> Any:
        (result,) = node.graph.run(condition, values(tensors))
        if result.batched:
            raise NotSharedError
        return tf.reshape(result.tensor, [])

    def step(*tensors: Any) -> list[Any]:
        results = node.graph.run(body, values(tensors))
        return [_shaped_like(_spread(value, flag, node), tensor) for value, flag, tensor in zip(
            results, batched, tensors, strict=True)]

    tensors = [value.tensor for value in start]
    shapes = [_open_where_it_grows(tensor, body, i, flag)
              for i, (tensor, flag) in enumerate(zip(tensors, batched, strict=True))]
    results = tf.while_loop(goes_on, step, tensors, shape_invariants=shapes)
    return values(results)


def _batched_in_the_end(node: Node, body: Any, start: Sequence[Value]) -> list[bool]:
    """Which of a loop's values differ between samples: found by tracing its body."""
    flags = [value.batched for value in start]
    while True:
        with tf.Graph().as_default():  # thrown away
            given = [Value(_placeholder(value, flag), flag)
                     for value, flag in zip(start, flags, strict=True)]
            results = node.graph.without_constants().run(body, given)
        grown = [flag or value.batched for flag, value in zip(flags, results, strict=True)]
        if grown == flags:
            return flags
        flags = grown


def _placeholder(value: Value, batched: bool) -> Any:
    shape = list(value.tensor.shape)
    if batched and not value.batched:
        shape = [None, *shape]
    return tf.compat.v1.placeholder(value.tensor.dtype, shape)


def _spread(value: Value, batched: bool, node: Node) -> Any:
    """A value with an axis for the samples, if it is to have one."""
    if value.batched or not batched:
        return value.tensor
    shape = tf.concat([[node.samples], tf.shape(value.tensor)], 0)
    return tf.broadcast_to(value.tensor[None], shape)


def _shaped_like(tensor: Any, other: Any) -> Any:
    return tf.ensure_shape(tensor, other.shape)


def _open_where_it_grows(tensor: Any, body: Any, index: int, batched: bool) -> Any:
    """The shape that holds for all rounds, as the file has it."""
    known = body.tensors[body.inputs[index]]
    shape = [None if size == -1 else size for size in known.shape_signature]
    return tf.TensorShape([tensor.shape[0], *shape] if batched else shape)


def _composite(node: Node) -> list[Value]:
    """A group of operators with a name: its body says what it computes."""
    body = node.graph.subgraph(node.options.decompositionSubgraphIndex)
    results: list[Value] = node.graph.run(body, [node.value(i) for i in range(len(node))])
    return results


CONTROL: Mapping[str, Callable[[Node], Any]] = {
    "IF": _if,
    "STABLEHLO_CASE": _case,
    "STABLEHLO_COMPOSITE": _composite,
    "WHILE": _while,
}
