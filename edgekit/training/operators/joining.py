"""Operators that join tensors, cut them up, pad them and turn them round."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.schema_py_generated import MirrorPadMode

from edgekit.training.operators.fused import activated
from edgekit.training.values import Node, axes_of


def _concatenation(node: Node) -> Any:
    (axis,) = axes_of(node.options.axis, node.rank(0))
    return activated(node, tf.concat([node.full(i) for i in range(len(node))], axis))


def _pack(node: Node) -> Any:
    axis = node.options.axis % (node.rank(0) + 1) + 1
    return tf.stack([node.full(i) for i in range(len(node))], axis)


def _unpack(node: Node) -> list[Any]:
    (axis,) = axes_of(node.options.axis, node.rank(0))
    return tf.unstack(node.full(0), num=len(node.operator.outputs), axis=axis)  # type: ignore[no-any-return]


def _split(node: Node) -> list[Any]:
    """Inputs: axis, value."""
    (axis,) = axes_of(node.static(0), node.rank(1))
    return tf.split(node.full(1), len(node.operator.outputs), axis)  # type: ignore[no-any-return]


def _split_v(node: Node) -> list[Any]:
    """Inputs: value, sizes, axis."""
    sizes = [int(size) for size in node.static(1)]
    (axis,) = axes_of(node.static(2), node.rank(0))
    return [node.full(0)] if len(sizes) == 1 else list(tf.split(node.full(0), sizes, axis))


def _slice(node: Node) -> Any:
    begin, size = (tf.cast(node.shared(i), tf.int32) for i in (1, 2))
    return tf.slice(node.full(0), tf.concat([[0], begin], 0), tf.concat([[-1], size], 0))


def _strided_slice(node: Node) -> Any:
    """The masks have a bit for each entry of begin, end and strides: here is one more in front."""
    options = node.options
    begin, end, strides = (tf.cast(node.shared(i), tf.int32) for i in (1, 2, 3))
    zero, one = tf.constant([0]), tf.constant([1])
    end = end + begin if options.offset else end
    return tf.strided_slice(
        node.full(0), tf.concat([zero, begin], 0), tf.concat([zero, end], 0),
        tf.concat([one, strides], 0),
        begin_mask=options.beginMask << 1 | 1, end_mask=options.endMask << 1 | 1,
        ellipsis_mask=options.ellipsisMask << 1, new_axis_mask=options.newAxisMask << 1,
        shrink_axis_mask=options.shrinkAxisMask << 1)


def _paddings(node: Node) -> Any:
    return tf.concat([[[0, 0]], tf.cast(node.shared(1), tf.int32)], 0)


def _pad(node: Node) -> Any:
    return tf.pad(node.full(0), _paddings(node))


def _pad_v2(node: Node) -> Any:
    """With a value of choice: TensorFlow's own knows no gradient to it."""
    x, paddings = node.full(0), _paddings(node)
    fill = tf.reshape(node.full(2), [-1, *[1] * node.rank(0)])
    inside = tf.pad(tf.ones_like(x, tf.bool), paddings)
    return tf.where(inside, tf.pad(x, paddings), fill)


def _mirror_pad(node: Node) -> Any:
    reflect = node.options.mode == MirrorPadMode.REFLECT
    return tf.pad(node.full(0), _paddings(node), "REFLECT" if reflect else "SYMMETRIC")


def _reverse(node: Node) -> Any:
    return tf.reverse(node.full(0), axes_of(node.static(1), node.rank(0)))


def _reverse_sequence(node: Node) -> Any:
    options = node.options
    x, lengths = node.full(0), node.full(1)
    batch, sequence = axes_of([options.batchDim, options.seqDim], node.rank(0))
    # TensorFlow knows one axis of samples: theirs and the model's together.
    order = [0, batch, *(axis for axis in range(1, len(x.shape)) if axis != batch)]
    moved = tf.transpose(x, order)
    flat = tf.reshape(moved, tf.concat([[-1], tf.shape(moved)[2:]], 0))
    turned = tf.reverse_sequence(flat, tf.reshape(lengths, [-1]), order.index(sequence) - 1, 0)
    return tf.transpose(tf.reshape(turned, tf.shape(moved)), np.argsort(order))


def _dynamic_update_slice(node: Node) -> Any:
    """The slice is moved inwards where it would reach over the edge."""
    x, update, start = node.full(0), node.full(1), tf.cast(node.shared(2), tf.int32)
    sizes, width = tf.shape(x)[1:], tf.shape(update)[1:]
    start = tf.clip_by_value(start, 0, sizes - width)
    around = tf.stack([start, sizes - width - start], 1)
    around = tf.concat([[[0, 0]], around], 0)
    inside = tf.pad(tf.ones_like(update, tf.bool), around)
    return tf.where(inside, tf.pad(update, around), x)


def _space_to_depth(node: Node) -> Any:
    return _blocks(node, tf.nn.space_to_depth)


def _depth_to_space(node: Node) -> Any:
    return _blocks(node, tf.nn.depth_to_space)


def _blocks(node: Node, function: Callable[..., Any]) -> Any:
    if node.options.blockSize == 1:
        return node.full(0)
    shape = node.sample_shape(0)
    flat = tf.reshape(node.full(0), [-1, *shape[-3:]])
    result = function(flat, node.options.blockSize)
    return tf.reshape(result, [-1, shape[0], *result.shape[1:]])


def _space_to_batch(node: Node) -> Any:
    """Blocks of space become samples of the model's own batch axis: their order counts."""
    x, block, paddings = node.full(0), node.static(1), node.static(2)
    count = len(block)
    padded = tf.pad(x, [[0, 0], [0, 0], *paddings.tolist(), *[[0, 0]] * (node.rank(0) - 1 - count)])
    shape = padded.shape[1:]
    split = [shape[0]]
    for axis, size in enumerate(block):
        split += [shape[axis + 1] // int(size), int(size)]
    rest = list(shape[count + 1:])
    apart = tf.reshape(padded, [-1, *split, *rest])
    # (samples, batch, s0, b0, s1, b1, rest) to (samples, b0, b1, batch, s0, s1, rest)
    order = [0, *(3 + 2 * i for i in range(count)), 1, *(2 + 2 * i for i in range(count)),
             *range(2 + 2 * count, len(apart.shape))]
    batch = shape[0] * int(np.prod(block))
    return tf.reshape(tf.transpose(apart, order), [-1, batch, *split[1::2], *rest])


def _batch_to_space(node: Node) -> Any:
    """The inverse of ``_space_to_batch``, with crops in place of padding."""
    x, block, crops = node.full(0), node.static(1), node.static(2)
    count, shape = len(block), node.sample_shape(0)
    batch = shape[0] // int(np.prod(block))
    rest = shape[count + 1:]
    apart = tf.reshape(x, [-1, *map(int, block), batch, *shape[1: count + 1], *rest])
    # (samples, b0, b1, batch, s0, s1, rest) to (samples, batch, s0, b0, s1, b1, rest)
    order = [0, count + 1]
    for axis in range(count):
        order += [count + 2 + axis, 1 + axis]
    order += range(2 + 2 * count, len(apart.shape))
    sizes = [size * int(b) for size, b in zip(shape[1: count + 1], block, strict=True)]
    joined = tf.reshape(tf.transpose(apart, order), [-1, batch, *sizes, *rest])
    kept = (slice(int(before), size - int(after))
            for (before, after), size in zip(crops, sizes, strict=True))
    return joined[(slice(None), slice(None), *kept)]


JOINING: Mapping[str, Callable[[Node], Any]] = {
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "CONCATENATION": _concatenation,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
    "MIRROR_PAD": _mirror_pad,
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad_v2,
    "REVERSE_SEQUENCE": _reverse_sequence,
    "REVERSE_V2": _reverse,
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SPACE_TO_DEPTH": _space_to_depth,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "STRIDED_SLICE": _strided_slice,
    "UNPACK": _unpack,
}
