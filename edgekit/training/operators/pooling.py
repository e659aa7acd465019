"""Pooling over pictures with their channels last."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from edgekit.training.operators.convolution import padding_of, samples_apart, samples_together
from edgekit.training.operators.fused import activated
from edgekit.training.values import Node


def _pooled(node: Node, x: Any, function: Callable[..., Any]) -> Any:
    options = node.options
    return function(x, [options.filterHeight, options.filterWidth],
                    strides=[options.strideH, options.strideW], padding=padding_of(node))


def _pool(function: Callable[..., Any]) -> Callable[[Node], Any]:
    def lift(node: Node) -> Any:
        result = _pooled(node, samples_together(node, 0, 3), function)
        return samples_apart(node, activated(node, result))
    return lift


def _l2_pool(node: Node) -> Any:
    """The root of the mean square; padding does not count."""
    squares = _pooled(node, tf.square(samples_together(node, 0, 3)), tf.nn.avg_pool2d)
    return samples_apart(node, activated(node, tf.sqrt(squares)))


POOLING: Mapping[str, Callable[[Node], Any]] = {
    "AVERAGE_POOL_2D": _pool(tf.nn.avg_pool2d),
    "L2_POOL_2D": _l2_pool,
    "MAX_POOL_2D": _pool(tf.nn.max_pool2d),
}
