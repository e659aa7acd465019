"""Unique: by sorting, with results whose sizes depend on the values."""

import math
from typing import Any

import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import Array, cast, widened
from edgekit.importers.onnx.values import Value, dtype_of, logical

_MAX_COMPARED = 1 << 22  # numbers in which slices are compared with each other


def unique(node: Node, x: Value) -> tuple[Array, ...]:
    """Unique numbers, or slices along an axis: they, where each was first, which, how often."""
    if not x.is_static:
        raise node.error("is of a tensor whose size depends on the values",
                         "fix that size in the source model")
    data = logical(x)
    axis = node.attr("axis", None)
    slices, sizes = _slices(widened(data), axis)
    count = int(slices.shape[0])
    if slices.shape[1] == 1:
        order = _argsort(slices[:, 0])
    else:
        if count * count * int(slices.shape[1]) > _MAX_COMPARED:
            raise node.error(f"compares {count} slices of {slices.shape[1]} numbers",
                             "compute it outside of the model")
        order = _lexicographic(slices)
    taken, first, which, often = _groups(slices, order, by_value=bool(node.attr("sorted", 1)))
    result = cast(taken, dtype_of(data))
    if axis is not None:
        place = axis % x.rank
        result = tf.reshape(result, [-1, *sizes])
        moved = [*range(1, place + 1), 0, *range(place + 1, x.rank)]
        result = tf.transpose(result, moved) if place else result
    else:
        result = tf.reshape(result, [-1])
    return result, *(tf.cast(part, tf.int64) for part in (first, which, often))


def _slices(data: Array, axis: int | None) -> tuple[Array, list[int]]:
    """One row for each of what is compared, and the sizes that a row had."""
    if axis is None:
        return tf.reshape(data, [-1, 1]), []
    rank = len(data.shape)
    place = axis % rank
    order = [place, *(other for other in range(rank) if other != place)]
    moved = tf.transpose(data, order) if place else tf.convert_to_tensor(data)
    sizes = [int(size) for size in moved.shape[1:]]
    return tf.reshape(moved, [int(moved.shape[0]), math.prod(sizes)]), sizes


def _argsort(x: Array) -> Array:
    """Positions in ascending order of the numbers; equal ones in their own order."""
    turned = -x if x.dtype.is_floating else -1 - x
    return tf.math.top_k(turned, int(x.shape[0])).indices


def _lexicographic(rows: Array) -> Array:
    """Positions in ascending order of rows: by how many rows come before each."""
    left, right = rows[:, None, :], rows[None, :, :]
    differ = tf.cast(tf.not_equal(left, right), tf.int32)
    deciding = tf.equal(tf.cumsum(differ, 2) * differ, 1)
    lower = tf.reduce_any(tf.logical_and(deciding, tf.less(left, right)), 2)
    return _argsort(tf.reduce_sum(tf.cast(lower, tf.int32), 0))


def _groups(rows: Array, order: Array, *, by_value: bool) -> tuple[Any, Any, Any, Any]:
    count = int(rows.shape[0])
    ordered = tf.gather(rows, order)
    changed = tf.reduce_any(tf.not_equal(ordered[1:], ordered[:-1]), 1)
    begins = tf.concat([tf.ones([1], tf.bool), changed], 0)
    group = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    starts = tf.cast(tf.reshape(tf.where(begins), [-1]), tf.int32)
    ends = tf.concat([starts[1:], tf.constant([count])], 0)
    first, often = tf.gather(order, starts), ends - starts
    place = _argsort(order)  # of each row among the ordered ones
    which = tf.gather(group, place)
    if by_value:
        return tf.gather(rows, first), first, which, often
    is_first = tf.gather(tf.cast(begins, tf.int32), place)
    positions = tf.cast(tf.reshape(tf.where(tf.equal(is_first, 1)), [-1]), tf.int32)
    running = tf.cumsum(is_first) - 1
    often = tf.gather(often, tf.gather(which, positions))
    return (tf.gather(rows, positions), positions,
            tf.gather(running, tf.gather(first, which)), often)


UNIQUE: dict[str, Operator] = {
    "Unique": Operator(unique, 28, "values"),
}
