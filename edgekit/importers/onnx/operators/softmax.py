"""Softmax and its relatives: along the last axis in memory, wherever ONNX has it."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    cast,
    order_of,
    physical_axis,
    unmerged,
)
from edgekit.importers.onnx.values import Value, arranged, dtype_of, logical, make, sizes_of

_KERNEL_RANK = 4
_PER_AXIS = 13  # before this version, all axes from ``axis`` on were one


def _over(kernel: Callable[[Array], Array], apart: Callable[[Array, Sequence[int]], Array],
          ) -> Callable[[Node, Value], Value]:  # fmt: skip
    def compute(node: Node, x: Value) -> Value:
        axes = _axes(node, x.rank)
        x = x if axes == [x.rank - 1] else unmerged(x)
        if x.merged is not None or not axes:
            return Value(kernel(x.data) if axes else tf.ones_like(x.data), None, x.merged)
        order = order_of(x)
        moved = [axis for axis in axes if x.shape[axis] != 1] or axes[-1:]
        places = sorted(order.index(axis) for axis in moved)
        if places == list(range(x.rank - len(places), x.rank)):
            return make(_on_last(x.data, len(places), kernel), order)
        if x.perm is None:
            order = (*(axis for axis in order if axis not in moved), *moved)
            return make(_on_last(arranged(x, order), len(moved), kernel), order)
        # An image: moving its channels would cost more than the slower formula.
        return make(apart(x.data, places), order)
    return compute


def _axes(node: Node, rank: int) -> list[int]:
    if node.opset >= _PER_AXIS:
        return [node.attr("axis", -1) % rank] if rank else []
    axis = node.attr("axis", 1)
    return list(range(axis + rank if axis < 0 else axis, rank))


def _on_last(x: Array, count: int, kernel: Callable[[Array], Array]) -> Array:
    """The kernel on the last axes as one, and on those before as one if they are many."""
    sizes = sizes_of(x)
    if count == 1 and len(sizes) <= _KERNEL_RANK:
        return kernel(x)
    last = sizes[-1] if count == 1 else tf.reduce_prod(sizes[len(sizes) - count:])
    return tf.reshape(kernel(tf.reshape(x, [-1, last])), sizes)


def _softmax_apart(x: Array, axes: Sequence[int]) -> Array:
    e = tf.exp(x - tf.reduce_max(x, axes, keepdims=True))
    return e / tf.reduce_sum(e, axes, keepdims=True)


def _log_softmax_apart(x: Array, axes: Sequence[int]) -> Array:
    x = x - tf.reduce_max(x, axes, keepdims=True)
    return x - tf.math.log(tf.reduce_sum(tf.exp(x), axes, keepdims=True))


def hardmax(node: Node, x: Value) -> Value:
    """Hardmax: 1 for the first of the largest, 0 elsewhere."""
    axes = _axes(node, x.rank)
    x = unmerged(x)
    if len(axes) == 1:
        axis = physical_axis(x, axes[0])
        return make(_one_hot(x.data, axis), order_of(x))
    data = logical(x)
    flat = tf.reshape(data, [-1, int(np.prod([x.shape[axis] or 1 for axis in axes]))])
    return Value(tf.reshape(_one_hot(flat, 1), sizes_of(data)))


def _one_hot(x: Array, axis: int) -> Array:
    return cast(tf.one_hot(tf.argmax(x, axis), int(x.shape[axis]), axis=axis), dtype_of(x))


SOFTMAX: dict[str, Operator] = {
    "Softmax": Operator(_over(tf.nn.softmax, _softmax_apart), 13, "values"),
    "LogSoftmax": Operator(_over(tf.nn.log_softmax, _log_softmax_apart), 13, "values"),
    "Hardmax": Operator(hardmax, 13, "values"),
}
