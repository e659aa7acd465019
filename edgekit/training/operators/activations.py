"""Activations and normalizations along the last axis."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from edgekit.training.operators.fused import activated
from edgekit.training.values import Node

# The least sum of squares that L2_NORMALIZATION divides by.
_L2_EPSILON = 1e-6


def _of(function: Callable[[Any], Any]) -> Callable[[Node], Any]:
    return lambda node: function(node.any(0))


def _gelu(node: Node) -> Any:
    return tf.nn.gelu(node.any(0), approximate=bool(node.options and node.options.approximate))


def _hard_swish(node: Node) -> Any:
    x = node.any(0)
    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def _leaky_relu(node: Node) -> Any:
    return tf.nn.leaky_relu(node.any(0), alpha=node.options.alpha)


def _prelu(node: Node) -> Any:
    x, alpha = node.aligned(0, 1)
    return tf.where(x >= 0.0, x, x * alpha)


def _softmax(node: Node) -> Any:
    beta = 1.0 if node.options is None else node.options.beta
    return tf.nn.softmax(node.any(0) * beta if beta != 1.0 else node.any(0))


def _l2_normalization(node: Node) -> Any:
    x = node.any(0)
    squares = tf.reduce_sum(x * x, axis=-1, keepdims=True)
    return activated(node, x * tf.math.rsqrt(tf.maximum(squares, _L2_EPSILON)))


def _local_response_normalization(node: Node) -> Any:
    """Across channels: Krizhevsky et al. 2012, section 3.3."""
    options, x = node.options, node.any(0)
    shape = node.sample_shape(0)
    flat = tf.reshape(x, [-1, *shape[-3:]])
    result = tf.nn.local_response_normalization(
        flat, depth_radius=options.radius, bias=options.bias, alpha=options.alpha,
        beta=options.beta)
    return node.reshaped(result, shape)


ACTIVATIONS: Mapping[str, Callable[[Node], Any]] = {
    "RELU": _of(tf.nn.relu),
    "RELU6": _of(tf.nn.relu6),
    "RELU_N1_TO_1": _of(lambda x: tf.clip_by_value(x, -1.0, 1.0)),
    "RELU_0_TO_1": _of(lambda x: tf.clip_by_value(x, 0.0, 1.0)),
    "ELU": _of(tf.nn.elu),
    "GELU": _gelu,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "LOGISTIC": _of(tf.sigmoid),
    "TANH": _of(tf.tanh),
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _of(tf.nn.log_softmax),
    "L2_NORMALIZATION": _l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response_normalization,
}
