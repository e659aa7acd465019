"""Running sums and products, the largest few, and what is unique."""

from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    cast,
    is_float,
    physical_axis,
    unmerged,
    widened,
    with_axis_last,
)
from edgekit.importers.onnx.values import Value, arranged, dtype_of, logical, make


def cumulative_sum(node: Node, x: Value, _axis: Value) -> Value:
    """CumSum."""
    axis = int(np.reshape(node.constant(1), -1)[0])
    x = unmerged(x, [axis % x.rank])
    result = tf.cumsum(widened(x.data), physical_axis(x, axis),
                       exclusive=bool(node.attr("exclusive", 0)),
                       reverse=bool(node.attr("reverse", 0)))
    return Value(cast(result, x.dtype), x.perm, x.merged)


def cumulative_product(node: Node, x: Value, _axis: Value) -> Value:
    """CumProd: there is no kernel; each of log2(n) steps doubles how far a product reaches."""
    axis = int(np.reshape(node.constant(1), -1)[0])
    x = unmerged(x, [axis % x.rank])
    place = physical_axis(x, axis)
    size = x.shape[axis]
    if size is None:
        raise node.error("multiplies along an axis whose size depends on the values",
                         "fix the size of that axis in the source model")
    backwards = bool(node.attr("reverse", 0))
    data = widened(x.data)
    if node.attr("exclusive", 0):
        data = _moved(data, place, 1, backwards=backwards)
    step = 1
    while step < size:
        data = data * _moved(data, place, step, backwards=backwards)
        step *= 2
    return Value(cast(data, x.dtype), x.perm, x.merged)


def _moved(x: Array, axis: int, step: int, *, backwards: bool) -> Array:
    """Everything a few places on, and ones in what is left empty."""
    size, rank = int(x.shape[axis]), len(x.shape)
    kept = range(step, size) if backwards else range(size - step)
    pads = [(0, 0)] * rank
    pads[axis] = (0, step) if backwards else (step, 0)
    begin, count = [0] * rank, [-1] * rank
    begin[axis], count[axis] = kept.start, len(kept)
    if not kept:
        return tf.ones_like(x)
    return tf.pad(tf.slice(x, begin, count), pads, constant_values=np.ones((), dtype_of(x)))


def top_k(node: Node, x: Value, k: Value | None = None) -> tuple[Value, Value]:
    """TopK along any axis; always sorted."""
    axis = node.attr("axis", -1)
    x = unmerged(x)
    order = with_axis_last(x, axis)
    data = widened(arranged(x, order))
    count = node.attr("k", None) if k is None else _count(k)
    smallest = not node.attr("largest", 1)
    values, indices = tf.math.top_k(_turned(data) if smallest else data, count)
    values = cast(_turned(values) if smallest else values, x.dtype)
    return make(values, order), make(tf.cast(indices, tf.int64), order)


def _turned(x: Array) -> Array:
    """In the opposite order; of integers, that has no overflow."""
    return -x if is_float(x) else np.asarray(-1, dtype_of(x)) - x


def _count(k: Value) -> Any:  # noqa: ANN401
    if k.is_constant:
        return int(k.data.reshape(-1)[0])
    return tf.cast(tf.reshape(logical(k), []), tf.int32)


SORTING: dict[str, Operator] = {
    "CumSum": Operator(cumulative_sum, 14, "values"),
    "CumProd": Operator(cumulative_product, 26, "values"),
    "TopK": Operator(top_k, 24, "values"),
}
