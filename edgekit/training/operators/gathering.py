"""Taking values by index, putting them there, and finding them."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from edgekit.training.values import Node, Value


def _gather(node: Node) -> Any:
    options = node.options
    axis = (options.axis if options else 0) % node.rank(0)
    batch_dims = (options.batchDims or 0) if options else 0
    if not node.is_batched(0):  # a table: the indices alone differ
        if batch_dims == 0:
            result = tf.gather(node.any(0), node.full(1), axis=axis)
            return _samples_first(result, axis)
        return tf.gather(node.full(0), node.full(1), axis=axis + 1, batch_dims=batch_dims + 1)
    if node.is_batched(1):
        return tf.gather(node.full(0), node.full(1), axis=axis + 1, batch_dims=batch_dims + 1)
    if batch_dims == 0:
        return tf.gather(node.full(0), node.any(1), axis=axis + 1)
    return tf.gather(node.full(0), node.full(1), axis=axis + 1, batch_dims=batch_dims + 1)


def _samples_first(tensor: Any, axis: int) -> Any:
    """Indices take the place of the axis, the samples first among theirs."""
    if axis == 0:
        return tensor
    order = [axis, *range(axis), *range(axis + 1, len(tensor.shape))]
    return tf.transpose(tensor, order)


def _gather_nd(node: Node) -> Any:
    if not node.is_batched(0):
        return tf.gather_nd(node.any(0), node.full(1))
    return tf.gather_nd(node.full(0), node.full(1), batch_dims=1)


def _with_sample(indices: Any) -> Any:
    """Indices ``(samples, ..., n)`` with the number of the sample in front of each."""
    shape = tf.shape(indices)
    numbers = tf.range(shape[0], dtype=indices.dtype)
    numbers = tf.reshape(numbers, [-1, *[1] * (len(indices.shape) - 1)])
    spread = tf.broadcast_to(numbers, tf.concat([shape[:-1], [1]], 0))
    return tf.concat([spread, indices], -1)


def _scatter_nd(node: Node) -> Any:
    """Inputs: indices, updates, shape. Indices that occur more than once are summed."""
    indices, updates = node.full(0), node.full(1)
    shape = tf.concat([[node.samples], tf.cast(node.shared(2), indices.dtype)], 0)
    return tf.scatter_nd(_with_sample(indices), updates, shape)


def _sparse_to_dense(node: Node) -> Any:
    """Inputs: indices ``()``, ``(n,)`` or ``(n, rank)``, shape, values, value elsewhere."""
    shape = node.shared(1)
    rank = int(shape.shape[0])
    indices = tf.reshape(node.full(0), [node.samples, -1, rank])
    shape = tf.concat([[node.samples], tf.cast(shape, indices.dtype)], 0)
    values = tf.broadcast_to(tf.reshape(node.full(2), [node.samples, -1]), tf.shape(indices)[:2])
    elsewhere = tf.reshape(node.full(3), [-1, *[1] * rank])
    places = _with_sample(indices)
    there = tf.scatter_nd(places, tf.ones_like(values, tf.int32), shape) > 0
    return tf.where(there, tf.scatter_nd(places, values, shape), elsewhere)


def _where(node: Node) -> Value:
    """``(n, rank)``: where it is true."""
    return Value(tf.where(node.sizing(0)), batched=False)


def _unique(node: Node) -> list[Value]:
    """Each value once, and which of them each one was."""
    values, places = tf.unique(node.sizing(0), tf.as_dtype(node.output_dtype(1)))
    return [Value(values, batched=False), Value(places, batched=False)]


def _one_hot(node: Node) -> Any:
    """Inputs: indices, depth, value where it is, value elsewhere."""
    axis = node.options.axis if node.options is not None else -1
    axis = axis if axis < 0 else axis + 1
    there = tf.one_hot(node.full(0), tf.reshape(node.shared(1), []), True, False, axis, tf.bool)
    # TensorFlow's own has no gradient to the two values.
    on, off = (tf.reshape(node.full(i), [-1, *[1] * (len(there.shape) - 1)]) for i in (2, 3))
    return tf.where(there, on, off)


def _segment_sum(node: Node) -> Any:
    return _over_segments(tf.math.unsorted_segment_sum, node,
                          tf.reduce_max(node.sizing(1)) + 1)


def _unsorted(function: Callable[..., Any]) -> Callable[[Node], Any]:
    return lambda node: _over_segments(function, node, tf.reshape(node.shared(2), []))


def _over_segments(function: Callable[..., Any], node: Node, count: Any) -> Any:
    """Each row's number says where it goes, a negative one nowhere; samples have their own."""
    x, numbers = node.full(0), node.full(1)
    rest = tf.shape(x)[len(numbers.shape):]
    first = tf.range(node.samples, dtype=numbers.dtype) * tf.cast(count, numbers.dtype)
    first = tf.reshape(first, [-1, *[1] * node.rank(1)])
    flat = tf.reshape(tf.where(numbers < 0, -1, numbers + first), [-1])
    result = function(tf.reshape(x, tf.concat([[-1], rest], 0)), flat, node.samples * count)
    return tf.reshape(result, tf.concat([[node.samples, count], rest], 0))


GATHERING: Mapping[str, Callable[[Node], Any]] = {
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "ONE_HOT": _one_hot,
    "SCATTER_ND": _scatter_nd,
    "SEGMENT_SUM": _segment_sum,
    "SPARSE_TO_DENSE": _sparse_to_dense,
    "UNIQUE": _unique,
    "UNSORTED_SEGMENT_MAX": _unsorted(tf.math.unsorted_segment_max),
    "UNSORTED_SEGMENT_MIN": _unsorted(tf.math.unsorted_segment_min),
    "UNSORTED_SEGMENT_PROD": _unsorted(tf.math.unsorted_segment_prod),
    "UNSORTED_SEGMENT_SUM": _unsorted(tf.math.unsorted_segment_sum),
    "WHERE": _where,
}
