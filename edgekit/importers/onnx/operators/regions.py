"""Pooling of regions of interest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.windows import known_sizes
from edgekit.importers.onnx.values import Value, arranged, channels_last, logical, make

_NHWC = channels_last(4)


def roi_align(node: Node, x: Value, rois: Value, batch_indices: Value) -> Value:
    """RoiAlign: the mean or maximum of places in each bin, between elements by interpolation."""
    height, width = known_sizes(node, x.shape[2:])
    half = node.opset >= 16 and node.attr("coordinate_transformation_mode",
                                          "half_pixel") == "half_pixel"
    samples = node.attr("sampling_ratio", 0)
    scale = node.attr("spatial_scale", 1.0)
    boxes = tf.convert_to_tensor(logical(rois)) * scale - (0.5 if half else 0.0)
    rows = _places(boxes[:, 1], boxes[:, 3], node.attr("output_height", 1), samples, half=half)
    columns = _places(boxes[:, 0], boxes[:, 2], node.attr("output_width", 1), samples, half=half)
    data = arranged(x, _NHWC)
    first = tf.cast(logical(batch_indices), tf.int32) * (height * width)
    read = _reader(tf.reshape(data, [-1, data.shape[-1]]), first, height, width,
                   largest=node.attr("mode", "avg") == "max")
    if samples == 0:
        return make(read(rows, columns), _NHWC)
    # One place of each bin at a time: less memory than all of them together.
    parts = [read(_only(rows, i), _only(columns, j))
             for i in range(samples) for j in range(samples)]
    if node.attr("mode", "avg") == "max":
        result = parts[0]
        for part in parts[1:]:
            result = tf.maximum(result, part)
        return make(result, _NHWC)
    return make(tf.add_n(parts), _NHWC)


def _places(start: Any, end: Any, bins: int, samples: int, *, half: bool) -> tuple[Any, Any]:  # noqa: ANN401
    """The places along one axis, (rois, bins, samples), and the share that each has in its bin.

    Without a number of samples each region has as many as it is bins long; the most that any has
    is known at run time only, and those too many for a region have no share.
    """
    extent = end - start if half else tf.maximum(end - start, 1.0)
    each = (extent / bins)[:, None, None]
    if samples:
        count = tf.constant(float(samples))
        number = np.arange(samples, dtype=np.float32)
        share = tf.ones_like(each) * (np.full(samples, 1 / samples, np.float32))
    else:
        count = tf.math.ceil(each)
        number = tf.cast(tf.range(tf.cast(tf.maximum(tf.reduce_max(count), 1.0), tf.int32)),
                         tf.float32)
        share = tf.cast(number < count, tf.float32) / tf.maximum(count, 1.0)
        count = tf.maximum(count, 1.0)
    places = (start[:, None, None] + np.arange(bins, dtype=np.float32)[:, None] * each
              + (number + 0.5) * each / count)
    return places, share


def _only(places: tuple[Any, Any], number: int) -> tuple[Any, Any]:
    return places[0][:, :, number : number + 1], places[1][:, :, number : number + 1]


def _reader(
    rows_of_channels: Any, first: Any, height: int, width: int, *, largest: bool  # noqa: ANN401
) -> Callable[[tuple[Any, Any], tuple[Any, Any]], Any]:
    """A function from places to what the image has in the bins, (rois, bins, bins, channels)."""
    start = tf.reshape(first, [-1, 1, 1, 1, 1])

    def read(rows: tuple[Any, Any], columns: tuple[Any, Any]) -> Any:  # noqa: ANN401
        parts = []
        ys, xs = _corners(rows[0], height), _corners(columns[0], width)
        for y, y_weight in ys:
            for x, x_weight in xs:
                index = start + _behind(y * width) + _between(x)
                weight = _behind(y_weight) * _between(x_weight)
                parts.append(tf.gather(rows_of_channels, index) * tf.expand_dims(weight, -1))
        share = _behind(rows[1]) * _between(columns[1])
        if not largest:
            return tf.reduce_sum(tf.add_n(parts) * tf.expand_dims(share, -1), [2, 4])
        most = parts[0]
        for part in parts[1:]:
            most = tf.maximum(most, part)
        lowest = np.float32(np.finfo(np.float32).min)
        counted = tf.where(tf.expand_dims(share, -1) > 0, most, lowest)
        return tf.reduce_max(counted, [2, 4])

    return read


def _behind(rows: Any) -> Any:  # noqa: ANN401
    """(regions, bins, samples) of rows, to be broadcast over those of columns."""
    return tf.expand_dims(tf.expand_dims(rows, -1), -1)


def _between(columns: Any) -> Any:  # noqa: ANN401
    return tf.expand_dims(tf.expand_dims(columns, 1), 1)


def _corners(place: Any, size: int) -> list[tuple[Any, Any]]:  # noqa: ANN401
    """The elements beside a place and their weights; none beyond one element from the edge."""
    inside = tf.cast(tf.logical_and(place >= -1.0, place <= float(size)), tf.float32)
    place = tf.clip_by_value(place, 0.0, float(size - 1))
    low = tf.floor(place)
    share = place - low
    high = tf.minimum(low + 1, float(size - 1))
    return [(tf.cast(low, tf.int32), (1 - share) * inside),
            (tf.cast(high, tf.int32), share * inside)]


def max_roi_pool(node: Node, x: Value, rois: Value) -> Value:
    """MaxRoiPool: the maximum of each of a grid of bins of whole elements."""
    height, width = known_sizes(node, x.shape[2:])
    rows, columns = node.attr("pooled_shape")
    boxes = tf.convert_to_tensor(logical(rois))
    scaled = boxes[:, 1:] * node.attr("spatial_scale", 1.0)
    corners = tf.sign(scaled) * tf.floor(tf.abs(scaled) + 0.5)  # halves go away from zero
    images = tf.gather(arranged(x, _NHWC), tf.cast(boxes[:, 0], tf.int32))
    in_rows = _in_bins(corners[:, 1], corners[:, 3], rows, height)
    in_columns = _in_bins(corners[:, 0], corners[:, 2], columns, width)
    lowest = np.float32(np.finfo(np.float32).min)
    lines = tf.stack([tf.reduce_max(tf.where(in_rows[:, i, :, None, None], images, lowest), 1)
                      for i in range(rows)], 1)
    made = tf.stack([tf.reduce_max(tf.where(in_columns[:, None, j, :, None], lines, lowest), 2)
                     for j in range(columns)], 2)
    return make(tf.where(made > lowest, made, 0.0), _NHWC)


def _in_bins(start: Any, end: Any, bins: int, size: int) -> Any:  # noqa: ANN401
    """Which elements of an axis are in which bin: (rois, bins, size)."""
    each = (tf.maximum(end - start + 1, 1.0) / bins)[:, None]
    number = np.arange(bins, dtype=np.float32)
    first = tf.floor(number * each) + start[:, None]
    last = tf.math.ceil((number + 1) * each) + start[:, None]
    element = np.arange(size, dtype=np.float32)
    return tf.logical_and(element >= first[..., None], element < last[..., None])


REGIONS = {
    "RoiAlign": Operator(roi_align, 22, "values"),
    "MaxRoiPool": Operator(max_roi_pool, 22, "values"),
}
