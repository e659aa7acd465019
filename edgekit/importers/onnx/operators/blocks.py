"""Rearranging images: between channels and space, columns into images, cut or padded to a size."""

from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.normalization import physical
from edgekit.importers.onnx.values import Value, arranged, channels_last, make, sizes_of

_NHWC = channels_last(4)
_UNARY = {"Relu": tf.nn.relu, "Relu6": tf.nn.relu6, "Sigmoid": tf.sigmoid, "Tanh": tf.tanh}
_BY_CHANNEL = {"BiasAdd": tf.nn.bias_add, "AddV2": tf.add, "Mul": tf.multiply}
# Types that the kernels for blocks know; others go through int32.
_BLOCK_TYPES = (np.float32, np.int8, np.uint8, np.int32, np.int64)


def depth_to_space(node: Node, x: Value) -> Value:
    """DepthToSpace: DEPTH_TO_SPACE; in mode CRD with the channels in another order first."""
    block = node.attr("blocksize")
    data = arranged(x, _NHWC)
    channels = int(data.shape[-1])
    if node.attr("mode", "DCR") == "CRD":
        order = np.arange(channels).reshape(-1, block * block).T.reshape(-1)
        made = _reordered(data, order)
        data = _swapped(data, [-1, block * block]) if made is None else made
    return make(_in_known_type(tf.nn.depth_to_space, data, block), _NHWC)


def space_to_depth(node: Node, x: Value) -> Value:
    """SpaceToDepth: SPACE_TO_DEPTH; in mode CRD with the channels in another order afterwards."""
    block = node.attr("blocksize")
    data = _in_known_type(tf.nn.space_to_depth, arranged(x, _NHWC), block)
    if node.attr("mode", "DCR") == "CRD":
        data = _swapped(data, [block * block, -1])
    return make(data, _NHWC)


def _in_known_type(function: Any, data: Any, block: int) -> Any:  # noqa: ANN401
    data = tf.convert_to_tensor(data)
    if data.dtype in _BLOCK_TYPES:
        return function(data, block)
    return tf.cast(function(tf.cast(data, tf.int32), block), data.dtype)


def _swapped(data: Any, parts: list[int]) -> Any:  # noqa: ANN401
    """The channels, seen as a table, in the order of its columns."""
    sizes = sizes_of(data)
    known = int(max(parts))
    rest = int(sizes[-1]) // known
    if known == 1 or rest == 1:
        return data
    table = [rest if part == -1 else part for part in parts]
    swapped = tf.transpose(tf.reshape(data, [-1, *table]), [0, 2, 1])
    return tf.reshape(swapped, sizes)


def _reordered(data: Any, order: Any, *, last: bool = True) -> Any:  # noqa: ANN401
    """Channels in another order by reordering the weights of the convolution that makes them.

    Returns:
        None where they do not come right from a convolution, or others have use for them.
    """
    made_by = getattr(data, "op", None)
    if made_by is None or len(data.consumers()) > (0 if last else 1):
        return None
    if made_by.type in _UNARY:
        before = _reordered(made_by.inputs[0], order, last=False)
        return None if before is None else _UNARY[made_by.type](before)
    if made_by.type not in ("Conv2D", *_BY_CHANNEL):
        return None
    weights = tf.get_static_value(made_by.inputs[1])
    if weights is None:
        return None
    if made_by.type in _BY_CHANNEL:
        before = (_reordered(made_by.inputs[0], order, last=False)
                  if weights.shape == order.shape else None)
        return None if before is None else _BY_CHANNEL[made_by.type](before, weights[order])
    if weights.shape[2] != made_by.inputs[0].shape[-1]:  # groups
        return None
    return tf.raw_ops.Conv2D(
        input=made_by.inputs[0], filter=np.ascontiguousarray(weights[..., order]),
        strides=made_by.get_attr("strides"), dilations=made_by.get_attr("dilations"),
        padding=made_by.get_attr("padding").decode())  # fmt: skip


def col2im(node: Node, x: Any, _image: Any, _block: Any) -> Any:  # noqa: ANN401
    """Col2Im: each element of the image gathers and adds up what the columns have for it."""
    image = [int(size) for size in node.constant(1)]
    block = [int(size) for size in node.constant(2)]
    targets = _targets(node, image, block)
    sizes = sizes_of(x)
    columns = tf.reshape(x, [sizes[0], -1, targets.size])
    channels = int(sizes[1]) // int(np.prod(block))
    # One more for elements that fewer columns have something for than for others.
    columns = tf.pad(columns, [(0, 0), (0, 0), (0, 1)])
    table = _sources(targets.reshape(-1), int(np.prod(image)))
    read = tf.gather(columns, table, axis=2)
    total = tf.reduce_sum(read, -1) if table.shape[1] > 1 else read
    return tf.reshape(total, [sizes[0], channels, *image])


def _targets(node: Node, image: list[int], block: list[int]) -> Any:  # noqa: ANN401
    """For each tap and column, the element of the image that it is for; -1 in the padding."""
    spatial = len(image)
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    pads = node.attr("pads", [0] * 2 * spatial)
    target, inside = np.zeros((), np.int64), np.ones((), np.bool_)
    for axis, size in enumerate(image):
        room = size + pads[axis] + pads[spatial + axis] - (block[axis] - 1) * dilations[axis] - 1
        columns = np.arange(room // strides[axis] + 1) * strides[axis] - pads[axis]
        places = np.arange(block[axis])[:, None] * dilations[axis] + columns
        shape = [1] * (2 * spatial)
        shape[axis], shape[spatial + axis] = places.shape
        target = target * size + places.reshape(shape)
        inside = inside & ((places >= 0) & (places < size)).reshape(shape)
    return np.where(inside, target, -1)


def _sources(targets: Any, count: int) -> Any:  # noqa: ANN401
    """For each element, the entries that are for it, filled up with one beyond the last entry."""
    entries = np.flatnonzero(targets >= 0)
    entries = entries[np.argsort(targets[entries], kind="stable")]
    owners = targets[entries]
    each = np.bincount(owners, minlength=count)
    table = np.full((count, max(int(each.max()), 1)), targets.size, np.int32)
    starts = np.cumsum(each) - each
    table[owners, np.arange(owners.size) - starts[owners]] = entries
    return table


def center_crop_pad(node: Node, x: Value, _shape: Value) -> Value:
    """CenterCropPad: the middle of each axis, or zeros around it."""
    wanted = [int(size) for size in node.constant(1)]
    axes = [axis % x.rank for axis in node.attr("axes", range(x.rank))]
    data, current = physical(x)
    cut, pads = [slice(None)] * x.rank, [(0, 0)] * x.rank
    for axis, size in zip(axes, wanted, strict=True):
        place, known = current.index(axis), x.shape[axis]
        if known is None:
            raise node.error("crops an axis whose size is not known at import",
                             "fix the size with --input-shape")
        if size < known:
            start = (known - size) // 2
            cut[place] = slice(start, start + size)
        elif size > known:
            pads[place] = ((size - known) // 2, size - known - (size - known) // 2)
    data = data[tuple(cut)] if cut != [slice(None)] * x.rank else data
    return make(tf.pad(data, pads) if any(map(any, pads)) else data, tuple(current))


BLOCKS = {
    "DepthToSpace": Operator(depth_to_space, 28, "values"),
    "SpaceToDepth": Operator(space_to_depth, 28, "values"),
    "Col2Im": Operator(col2im, 18),
    "CenterCropPad": Operator(center_crop_pad, 18, "values"),
}
