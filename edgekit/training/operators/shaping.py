"""Operators that change or tell the shape, not the values."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.training.values import Node, Value, axes_of


def _reshape(node: Node) -> Any:
    """The shape is an input, or an option in files of old."""
    x = node.full(0)
    if node.has(1):
        shape = tf.get_static_value(node.shared(1))
        if shape is None:
            return tf.reshape(x, tf.concat([[node.samples], node.shared(1)], 0))
    else:
        shape = node.options.newShape
    wanted = [int(size) for size in shape]
    if -1 in wanted and tf.is_tensor(node.samples):  # two open sizes: this one must be computed
        count = tf.reduce_prod(tf.shape(x)[1:])
        rest = int(np.prod([size for size in wanted if size != -1], dtype=np.int64))
        wanted = [count // rest if size == -1 else size for size in wanted]
    return node.reshaped(x, wanted)


def _squeeze(node: Node) -> Any:
    given = node.options.squeezeDims if node.options is not None else None
    axes = [] if given is None else [int(axis) for axis in given]
    if not axes:
        axes = [axis for axis, size in enumerate(node.sample_shape(0))
                if isinstance(size, int) and size == 1]
    x = node.full(0)
    return tf.squeeze(x, axes_of(axes, node.rank(0))) if axes else x


def _expand_dims(node: Node) -> Any:
    axis = int(node.static(1).reshape(())) % (node.rank(0) + 1)
    return tf.expand_dims(node.full(0), axis + 1)


def _transpose(node: Node) -> Any:
    return tf.transpose(node.full(0), [0, *axes_of(node.static(1), node.rank(0))])


def _shape(node: Node) -> Value:
    """The same for each sample."""
    dtype = tf.as_dtype(node.output_dtype())
    sizes = node.sample_shape(0)
    if all(isinstance(size, int) for size in sizes):
        return Value(tf.constant(sizes, dtype, shape=[len(sizes)]), batched=False)
    return Value(tf.cast(tf.stack(sizes), dtype), batched=False)


def _rank(node: Node) -> Value:
    return Value(tf.constant(node.rank(0), tf.int32), batched=False)


def _broadcast_to(node: Node) -> Any:
    shape = node.shared(1)
    rank = int(shape.shape[0])
    x = node.full(0)
    for _ in range(rank - node.rank(0)):
        x = tf.expand_dims(x, 1)
    return tf.broadcast_to(x, tf.concat([[node.samples], tf.cast(shape, tf.int32)], 0))


def _broadcast_args(node: Node) -> Value:
    return Value(tf.broadcast_dynamic_shape(node.shared(0), node.shared(1)), batched=False)


def _tile(node: Node) -> Any:
    return tf.tile(node.full(0), tf.concat([[1], tf.cast(node.shared(1), tf.int32)], 0))


def _fill(node: Node) -> Any:
    shape = tf.cast(node.shared(0), tf.int32)
    rank = int(shape.shape[0])
    value = tf.reshape(node.full(1), [-1, *[1] * rank])
    return tf.broadcast_to(value, tf.concat([[node.samples], shape], 0))


def _range(node: Node) -> Value:
    return Value(tf.range(*(node.shared(i) for i in range(3))), batched=False)


def _matrix_diag(node: Node) -> Any:
    return tf.linalg.diag(node.any(0))


def _matrix_set_diag(node: Node) -> Any:
    return tf.linalg.set_diag(node.full(0), node.full(1))


SHAPING: Mapping[str, Callable[[Node], Any]] = {
    "BROADCAST_ARGS": _broadcast_args,
    "BROADCAST_TO": _broadcast_to,
    "EXPAND_DIMS": _expand_dims,
    "FILL": _fill,
    "MATRIX_DIAG": _matrix_diag,
    "MATRIX_SET_DIAG": _matrix_set_diag,
    "RANGE": _range,
    "RANK": _rank,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SQUEEZE": _squeeze,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
}
