"""Where maxima came from (MaxPool's second output), and putting them back there."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node
from edgekit.importers.onnx.operators.windows import Window, bordered
from edgekit.importers.onnx.values import sizes_of


def max_with_places(node: Node, data: Any, windows: Sequence[Window]) -> tuple[Any, Any]:  # noqa: ANN401
    """The maxima of channels-last data, and their positions in the flattened image of ONNX.

    The elements that each tap of the window sees are stacked, so that the position of the maximum
    in the stack is the tap that it came from.
    """
    kind = data.dtype
    data = tf.cast(data, tf.float32)
    batch, channels = sizes_of(data)[0], int(data.shape[-1])
    image = math.prod(window.size for window in windows)
    inside = bordered(data, [window.needed for window in windows], -math.inf)
    taps = list(itertools.product(*(range(window.kernel) for window in windows)))
    seen = tf.stack([_seen(inside, windows, tap) for tap in taps])
    steps = _steps(windows, column_major=bool(node.attr("storage_order", 0)))
    offsets = np.asarray([sum(t * window.dilation * step for t, window, step in zip(
        tap, windows, steps, strict=True)) for tap in taps], np.int32)
    starts = np.zeros((), np.int32)
    for window, step in zip(windows, steps, strict=True):
        line = (np.arange(window.outputs) * window.stride - window.before) * step
        starts = starts[..., None] + line.astype(np.int32)
    firsts = starts[None, ..., None] + np.arange(channels, dtype=np.int32) * image
    places = tf.gather(offsets, tf.argmax(seen, 0, tf.int32)) + firsts
    if batch != 1:
        images = tf.range(batch, dtype=tf.int32) * (channels * image)
        places += tf.reshape(images, [-1, *[1] * (len(windows) + 1)])
    return tf.cast(tf.reduce_max(seen, 0), kind), tf.cast(places, tf.int64)


def _seen(data: Any, windows: Sequence[Window], tap: Sequence[int]) -> Any:  # noqa: ANN401
    """What one tap sees at each output."""
    cut = [slice(None)]
    for position, window in zip(tap, windows, strict=True):
        start = position * window.dilation
        cut.append(slice(start, start + (window.outputs - 1) * window.stride + 1, window.stride))
    return data[tuple(cut)]


def _steps(windows: Sequence[Window], *, column_major: bool) -> list[int]:
    """How far apart neighbours along each axis are in the flattened image."""
    sizes = [window.size for window in windows]
    if column_major:
        return [math.prod(sizes[:axis]) for axis in range(len(sizes))]
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def max_unpool(node: Node, x: Any, places: Any, _output_shape: Any = None) -> Any:  # noqa: ANN401
    """MaxUnpool: the maxima where they were, zeros elsewhere.

    Places count in the image that ``output_shape`` names, as MaxPool gives them and onnxruntime
    takes them. (One of the ONNX project's tests has them count in the smaller image that the
    attributes alone would give.)
    """
    kernel = node.attr("kernel_shape")
    spatial = len(kernel)
    strides = node.attr("strides", [1] * spatial)
    wanted = node.constant(2, None)
    shape = _unpooled(node, x, strides) if wanted is None else [int(size) for size in wanted]
    indices = tf.reshape(tf.cast(places, tf.int32), [-1, 1])
    count = [math.prod(shape)]
    flat = tf.scatter_nd(indices, tf.reshape(x, [-1]), count)
    if any(stride < k for stride, k in zip(strides, kernel, strict=True)):
        # Windows that overlap name an element more than once, and a scatter adds them up.
        named = tf.scatter_nd(indices, tf.ones_like(tf.reshape(x, [-1])), count)
        flat /= tf.maximum(named, 1.0)
    return tf.reshape(flat, shape)


def _unpooled(node: Node, x: Any, strides: Sequence[int]) -> list[Any]:  # noqa: ANN401
    kernel = node.attr("kernel_shape")
    pads = node.attr("pads", [0] * 2 * len(kernel))
    sizes = sizes_of(x)
    made = [(size - 1) * stride - first - last + k for size, stride, first, last, k in zip(
        sizes[2:], strides, pads[: len(kernel)], pads[len(kernel) :], kernel, strict=True)]
    return [*sizes[:2], *made]
