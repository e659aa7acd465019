"""Layer normalization and its relatives, over the last of ONNX's axes wherever they lie."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node
from edgekit.importers.onnx.values import Value, logical, make, transposed

_EPSILON = 1e-5


def layer_normalization(node: Node, x: Value, scale: Value, bias: Value | None = None) -> Any:  # noqa: ANN401
    """LayerNormalization; mean and inverse deviation are further results if they are wanted."""
    data, current, axes = _axes(node, x)
    mean, factor, centred = _statistics(data, axes, node.attr("epsilon", _EPSILON))
    y = centred * factor * _spread(scale, current)
    y = y if bias is None else y + _spread(bias, current)
    results = [make(item, current) for item in (y, mean, factor)]
    return tuple(results[: node.outputs])


def rms_normalization(node: Node, x: Value, scale: Value) -> Any:  # noqa: ANN401
    """RMSNormalization: by the root of the mean square, nothing taken off."""
    data, current, axes = _axes(node, x)
    factor = _inverse_rms(data, axes, node.attr("epsilon", _EPSILON))
    results = [make(data * factor * _spread(scale, current), current), make(factor, current)]
    return tuple(results[: node.outputs])


def skip_layer_normalization(
    node: Node, x: Any, skip: Any, gamma: Any, beta: Any = None, bias: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:
    """SkipLayerNormalization: of the sum of two inputs; the sum is a further result."""
    total = _sum(x, skip, bias)
    axis = len(total.shape) - 1
    mean, factor, centred = _statistics(total, [axis], node.attr("epsilon", 1e-12))
    y = centred * factor * gamma
    y = y if beta is None else y + beta
    return (y, mean, factor, total)[: node.outputs]


def skip_rms_normalization(
    node: Node, x: Any, skip: Any, gamma: Any, bias: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:
    """SkipSimplifiedLayerNormalization: RMSNormalization of the sum of two inputs."""
    total = _sum(x, skip, bias)
    factor = _inverse_rms(total, [len(total.shape) - 1], node.attr("epsilon", 1e-12))
    return (total * factor * gamma, tf.zeros_like(factor), factor, total)[: node.outputs]


def _sum(x: Any, skip: Any, bias: Any) -> Any:  # noqa: ANN401
    total = x + skip
    return total if bias is None else total + bias


def _axes(node: Node, x: Value) -> tuple[Any, tuple[int, ...], list[int]]:
    """The data as it lies, which of ONNX's axes its axes are, and those to normalize over."""
    data = logical(x) if x.merged is not None else x.data
    current = x.perm or tuple(range(x.rank))
    first = node.attr("axis", -1) % x.rank
    return data, current, [place for place, axis in enumerate(current) if axis >= first]


def _statistics(data: Any, axes: Sequence[int], epsilon: float) -> tuple[Any, Any, Any]:  # noqa: ANN401
    mean = tf.reduce_mean(data, axes, keepdims=True)
    centred = data - mean
    spread = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    return mean, tf.math.rsqrt(spread + epsilon), centred


def _inverse_rms(data: Any, axes: Sequence[int], epsilon: float) -> Any:  # noqa: ANN401
    return tf.math.rsqrt(tf.reduce_mean(tf.square(data), axes, keepdims=True) + epsilon)


def _spread(parameter: Value, current: Sequence[int]) -> Any:  # noqa: ANN401
    """A parameter of ONNX's last axes in the data's order of axes."""
    data = logical(parameter)
    rank = len(current)
    if tuple(current) == tuple(range(rank)):
        return data
    shape = [1] * (rank - len(data.shape)) + [int(size) for size in data.shape]
    wide = data.reshape(shape) if isinstance(data, np.ndarray) else tf.reshape(data, shape)
    return transposed(wide, current)
