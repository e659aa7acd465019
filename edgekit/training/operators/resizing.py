"""Resizing pictures."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from edgekit.training.operators.convolution import samples_apart, samples_together
from edgekit.training.values import Node


def _resized(function: Callable[..., Any]) -> Callable[[Node], Any]:
    def lift(node: Node) -> Any:
        options = node.options
        result = function(
            images=samples_together(node, 0, 3), size=tf.cast(node.shared(1), tf.int32),
            align_corners=bool(options.alignCorners),
            half_pixel_centers=bool(options.halfPixelCenters))
        size = tf.get_static_value(node.shared(1))
        if size is not None:
            result = tf.ensure_shape(result, [None, *map(int, size), None])
        return samples_apart(node, result)
    return lift


RESIZING: Mapping[str, Callable[[Node], Any]] = {
    "RESIZE_BILINEAR": _resized(tf.raw_ops.ResizeBilinear),
    "RESIZE_NEAREST_NEIGHBOR": _resized(tf.raw_ops.ResizeNearestNeighbor),
}
