"""Reading images at computed places: GridSample, AffineGrid, deformable convolutions.

A place becomes the numbers of the elements around it and their weights; the elements are gathered
as rows of channels.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.convolution import biased, convolved
from edgekit.importers.onnx.operators.windows import known_sizes
from edgekit.importers.onnx.values import (
    Value,
    arranged,
    channels_last,
    logical,
    make,
    sizes_of,
    transposed,
)

_CUBIC = -0.75
Tap = tuple[Any, Any]  # the number of an element along an axis, and its weight


def grid_sample(node: Node, x: Value, grid: Value) -> Value:
    """GridSample in any number of axes."""
    spatial = x.rank - 2
    sizes = known_sizes(node, x.shape[2:])
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(
        node.attr("mode", "linear"), node.attr("mode", "linear"))
    padding, align = node.attr("padding_mode", "zeros"), bool(node.attr("align_corners", 0))
    points = tf.convert_to_tensor(logical(grid))
    axes = []
    for axis, size in enumerate(sizes):
        place = points[..., spatial - 1 - axis]
        place = (place + 1) * ((size - 1) / 2) if align else (place + 1) * (size / 2) - 0.5
        axes.append(_taps(place, size, mode, padding, align=align))
    data = arranged(x, channels_last(x.rank))
    batch = sizes_of(data)[0]
    images = tf.reshape(tf.range(batch), [-1, *[1] * spatial]) * math.prod(sizes)
    rows = tf.reshape(data, [-1, data.shape[-1]])
    return make(summed(rows, images, sizes, axes), channels_last(x.rank))


def _taps(place: Any, size: int, mode: str, padding: str, *, align: bool) -> list[Tap]:  # noqa: ANN401
    if mode == "nearest":
        place = tf.round(place)
    if padding == "border":
        place = tf.clip_by_value(place, 0.0, float(size - 1)) if mode != "cubic" else place
    elif padding == "reflection" and mode != "cubic":
        place = _reflected(place, size, align=align)
    if mode == "nearest":
        return [_tap(tf.round(place), 1.0, size, zeros=padding == "zeros")]
    if mode == "linear":
        return linear_taps(place, size, zeros=padding == "zeros")
    first = tf.floor(place)
    share = place - first
    taps = []
    for step, distance in zip((-1, 0, 1, 2), (share + 1, share, 1 - share, 2 - share), strict=True):
        element = first + step
        if padding == "reflection":
            element = _reflected(element, size, align=align)
        taps.append(_tap(element, _cubic(distance, near=step in (0, 1)), size,
                         zeros=padding == "zeros"))
    return taps


def _cubic(x: Any, *, near: bool) -> Any:  # noqa: ANN401
    if near:
        return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC


def linear_taps(place: Any, size: int, *, zeros: bool) -> list[Tap]:  # noqa: ANN401
    """The two elements beside a place; with ``zeros`` those outside of the image count as 0."""
    first = tf.floor(place)
    share = place - first
    return [_tap(first, 1 - share, size, zeros=zeros), _tap(first + 1, share, size, zeros=zeros)]


def _tap(element: Any, weight: Any, size: int, *, zeros: bool) -> Tap:  # noqa: ANN401
    last = float(size - 1)
    if zeros:
        inside = tf.logical_and(element >= 0, element <= last)
        weight *= tf.cast(inside, tf.float32)
    return tf.cast(tf.clip_by_value(element, 0.0, last), tf.int32), weight


def _reflected(place: Any, size: int, *, align: bool) -> Any:  # noqa: ANN401
    """Folded back into the image as often as need be."""
    low, span = (0.0, size - 1.0) if align else (-0.5, float(size))
    if span == 0:
        return tf.zeros_like(place)
    beyond = place - low
    beyond -= tf.floor(beyond / (2 * span)) * (2 * span)
    return low + tf.minimum(beyond, 2 * span - beyond)


def summed(rows: Any, start: Any, sizes: Sequence[int], axes: Sequence[Sequence[Tap]]) -> Any:  # noqa: ANN401
    """The weighted sum of the elements that the axes' taps name together.

    Args:
        rows: (elements, channels).
        start: The number of each image's first element, to be broadcast to the places' shape.
        sizes: The image's.
        axes: For each axis of the image its taps, in the places' shape.
    """
    total = None
    for corner in itertools.product(*axes):
        index, weight = start, 1.0
        for axis, (element, share) in enumerate(corner):
            index += element * math.prod(sizes[axis + 1 :])
            weight = share if axis == 0 else weight * share
        part = tf.gather(rows, index)
        if not isinstance(weight, float):
            part *= tf.expand_dims(weight, -1)
        total = part if total is None else total + part
    return total


def affine_grid(node: Node, theta: Any, _size: Any) -> Any:  # noqa: ANN401
    """AffineGrid: the places of an image's elements, each put through a matrix."""
    sizes = [int(size) for size in node.constant(1)][2:]
    lines = [_line(size, align=bool(node.attr("align_corners", 0))) for size in sizes]
    mesh = np.meshgrid(*lines, indexing="ij")
    points = np.stack([*reversed(mesh), np.ones_like(mesh[0])], -1).reshape(-1, len(sizes) + 1)
    made = tf.matmul(points.astype(np.float32), theta, transpose_b=True)
    return tf.reshape(made, [-1, *sizes, len(sizes)])


def _line(size: int, *, align: bool) -> Any:  # noqa: ANN401
    if align:
        return np.linspace(-1, 1, size)
    return (np.arange(size) * 2 + 1) / size - 1


def deform_conv(
    node: Node, x: Value, w: Value, offset: Value, b: Value | None = None, mask: Value | None = None
) -> Value:
    """DeformConv: each tap of the kernel reads the image at a computed offset."""
    spatial = x.rank - 2
    sizes = known_sizes(node, x.shape[2:])
    kernel = [int(size or 0) for size in w.shape[2:]]
    outputs = known_sizes(node, offset.shape[2:])
    parts = node.attr("offset_group", 1)
    data = arranged(x, channels_last(x.rank))
    batch, channels = sizes_of(data)[0], int(data.shape[-1])
    around = [batch, *outputs, math.prod(kernel), parts]
    moved = _moved(logical(offset), [batch, parts, math.prod(kernel), spatial, *outputs])
    axes = []
    for axis, base in enumerate(_bases(node, kernel, outputs)):
        axes.append(linear_taps(moved[axis] + base, sizes[axis], zeros=True))
    # A row is the channels of one element that share their offsets.
    sizes = [*sizes, parts]
    axes.append([(np.arange(parts, dtype=np.int32), 1.0)])
    images = tf.reshape(tf.range(batch), [-1, *[1] * (spatial + 2)]) * math.prod(sizes)
    read = summed(tf.reshape(data, [-1, channels // parts]), images, sizes, axes)
    if mask is not None:
        shape = [batch, parts, math.prod(kernel), *outputs]
        order = [0, *range(3, spatial + 3), 2, 1]
        read *= tf.transpose(tf.reshape(logical(mask), shape), order)[..., None]
    read = tf.reshape(read, [batch, math.prod(outputs), around[-2], channels])
    weights = transposed(logical(w), (*range(2, spatial + 2), 1, 0))
    flat = [1, math.prod(kernel), *weights.shape[-2:]]
    weights = (weights.reshape(flat) if isinstance(weights, np.ndarray)
               else tf.reshape(weights, flat))
    result = convolved(read, weights, [1, 1], [1, 1], "VALID", node.attr("group", 1))
    made = tf.reshape(biased(result, b), [batch, *outputs, result.shape[-1]])
    return make(made, channels_last(x.rank))


def _moved(offset: Any, shape: Sequence[Any]) -> list[Any]:  # noqa: ANN401
    """The offsets along each axis: (N, outputs..., taps, groups) each."""
    spatial = len(shape) - 4
    order = [3, 0, *range(4, spatial + 4), 2, 1]
    each = tf.transpose(tf.reshape(offset, shape), order)
    return [each[axis] for axis in range(spatial)]


def _bases(node: Node, kernel: Sequence[int], outputs: Sequence[int]) -> list[Any]:
    """Where the taps of an ordinary convolution read, along each axis."""
    spatial = len(kernel)
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    pads = node.attr("pads", [0] * 2 * spatial)
    taps = np.stack(np.meshgrid(*map(np.arange, kernel), indexing="ij"), -1).reshape(-1, spatial)
    bases = []
    for axis in range(spatial):
        line = np.arange(outputs[axis]) * strides[axis] - pads[axis]
        line = line.reshape([-1, *[1] * (spatial - 1 - axis), 1, 1])
        bases.append((line + taps[:, axis, None] * dilations[axis]).astype(np.float32))
    return bases


SAMPLING = {
    "GridSample": Operator(grid_sample, 22, "values"),
    "AffineGrid": Operator(affine_grid, 20),
    "DeformConv": Operator(deform_conv, 22, "values"),
}
