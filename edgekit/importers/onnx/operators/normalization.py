"""Normalization over batches, images, groups and neighbouring channels.

Each works in whatever order of axes the value has, so that none of them moves data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.layer_normalization import (
    layer_normalization,
    rms_normalization,
    skip_layer_normalization,
    skip_rms_normalization,
)
from edgekit.importers.onnx.values import Value, arranged, channels_last, logical, make, sizes_of

_EPSILON = 1e-5


def physical(x: Value) -> tuple[Any, tuple[int, ...]]:
    """The data as it lies in memory, and which of ONNX's axes each of its axes is."""
    if x.merged is not None:
        return logical(x), tuple(range(x.rank))
    return x.data, x.perm or tuple(range(x.rank))


def _along(parameter: Any, current: Sequence[int], axis: int = 1) -> Any:  # noqa: ANN401
    """One number per element of an axis, ready to be broadcast; plain where the axis is last."""
    place = tuple(current).index(axis)
    if place == len(current) - 1:
        return parameter
    shape = [-1, *[1] * (len(current) - place - 1)]
    return parameter.reshape(shape) if isinstance(parameter, np.ndarray) else tf.reshape(
        parameter, shape)


def batch_normalization(
    node: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value
) -> Any:  # noqa: ANN401
    """BatchNormalization: one multiplication and addition, which go into the layer before it."""
    epsilon = node.attr("epsilon", _EPSILON)
    if node.attr("training_mode", 0) or (node.opset < 7 and not node.attr("is_test", 0)
                                         and node.outputs > 1):
        return _training(node, x, [logical(item) for item in (scale, bias, mean, variance)])
    gain, shift = _folded(logical(scale), logical(bias), logical(mean), logical(variance), epsilon)
    if scale.rank > 1:  # spatial=0 of the oldest versions: numbers for each element
        return tf.convert_to_tensor(logical(x)) * gain + shift
    if x.merged is not None and x.rank == 2 and isinstance(gain, np.ndarray):
        rows = x.merged.rows
        return Value(x.data * gain[rows] + np.asarray(shift)[rows], None, x.merged)
    data, current = physical(x)
    if current[-1] == 1 and _is_cut(data):
        # Before the cut it is beside the transposed convolution, and goes into its weights.
        uncut, start, size = data.op.inputs
        return make(tf.slice(uncut * gain + shift, start, size), tuple(current))
    return make(data * _along(gain, current) + _along(shift, current), tuple(current))


def _folded(scale: Any, bias: Any, mean: Any, variance: Any, epsilon: float) -> tuple[Any, Any]:  # noqa: ANN401
    if all(isinstance(item, np.ndarray) for item in (scale, variance)):
        gain: Any = (scale / np.sqrt(variance.astype(np.float64) + epsilon)).astype(np.float32)
    else:
        gain = scale * tf.math.rsqrt(variance + epsilon)
    return gain, bias - mean * gain


def _is_cut(data: Any) -> bool:  # noqa: ANN401
    """Whether it is a part of the image that was computed, with all channels, for this only."""
    made_by = getattr(data, "op", None)
    return (made_by is not None and made_by.type == "Slice" and not data.consumers()
            and data.shape[-1] == made_by.inputs[0].shape[-1]
            and made_by.inputs[0].op.type in ("BiasAdd", "Conv2DBackpropInput"))


def _training(node: Node, x: Value, parameters: Sequence[Any]) -> tuple[Any, ...]:
    """With the batch's own mean and variance, and what they make of the running ones."""
    scale, bias, mean, variance = parameters
    momentum = node.attr("momentum", 0.9)
    data, current = physical(x)
    axes = [place for place, axis in enumerate(current) if axis != 1]
    now = tf.reduce_mean(data, axes)
    spread = tf.reduce_mean(tf.square(data - _along(now, current)), axes)
    gain, shift = _folded(scale, bias, now, spread, node.attr("epsilon", _EPSILON))
    y = make(data * _along(gain, current) + _along(shift, current), tuple(current))
    running = (mean * momentum + now * (1 - momentum),
               variance * momentum + spread * (1 - momentum))
    return (y, *running, now, spread)[: node.outputs]


def instance_normalization(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    """InstanceNormalization: each channel of each image by itself.

    Exporters write GroupNormalization as this, between two reshapes: it is computed on what was
    reshaped, whose order of axes would be lost.
    """
    epsilon, source = node.attr("epsilon", _EPSILON), x.source
    if source is not None and _is_grouped(x, source):
        count = int(source.shape[1] or 0) // int(x.shape[1] or 1)
        y = _by_group(source, int(x.shape[1] or 1), epsilon, _repeated(logical(scale), count),
                      _repeated(logical(bias), count))
        return Value(tf.reshape(logical(y), [int(size or 0) for size in x.shape]), source=y)
    data, current = physical(x)
    axes = [place for place, axis in enumerate(current) if axis > 1]
    centred = data - tf.reduce_mean(data, axes, keepdims=True)
    spread = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    factor = tf.math.rsqrt(spread + epsilon)
    y = centred * (factor * _along(logical(scale), current)) + _along(logical(bias), current)
    return make(y, tuple(current))


def group_normalization(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    """GroupNormalization: mean and variance of a channel first, then of its group.

    All work on large data is then a mean over the image, for which the runtime has kernels.
    """
    groups = node.attr("num_groups")
    weights, shifts = logical(scale), logical(bias)
    if node.opset < 21:  # one for each group then
        count = int(x.shape[1] or 0) // groups
        weights, shifts = _repeated(weights, count), _repeated(shifts, count)
    return _by_group(x, groups, node.attr("epsilon", _EPSILON), weights, shifts)


def _is_grouped(x: Value, source: Value) -> bool:
    """Whether the second axis is groups of the channels of an image, and the last its rest."""
    groups, channels = x.shape[1], source.shape[1]
    return (x.rank == 3 and source.rank > 2 and x.is_static and source.is_static
            and x.shape[0] == source.shape[0] and int(channels or 0) % int(groups or 1) == 0)


def _by_group(x: Value, groups: int, epsilon: float, weights: Any, shifts: Any) -> Value:  # noqa: ANN401
    perm = channels_last(x.rank)
    data = arranged(x, perm)
    axes = list(range(1, x.rank - 1))
    grouped = _group_mean(groups)
    centred = data - grouped(tf.reduce_mean(data, axes, keepdims=True) if axes else data)
    square = tf.square(centred)
    spread = grouped(tf.reduce_mean(square, axes, keepdims=True) if axes else square)
    factor = tf.math.rsqrt(spread + epsilon)
    return make(centred * (factor * weights) + shifts, perm)


def _repeated(parameter: Any, count: int) -> Any:  # noqa: ANN401
    if isinstance(parameter, np.ndarray):
        return np.repeat(parameter, count)
    return tf.reshape(tf.tile(parameter[:, None], [1, count]), [-1])


def _group_mean(groups: int) -> Callable[[Any], Any]:
    """From a number for each channel, the mean of its group for each channel."""

    def mean(data: Any) -> Any:  # noqa: ANN401
        sizes = sizes_of(data)
        members = int(sizes[-1]) // groups
        if members == 1:
            return data
        small = tf.reshape(data, [-1, groups, members])
        each = tf.tile(tf.reduce_mean(small, -1, keepdims=True), [1, 1, members])
        return tf.reshape(each, sizes)

    return mean


def mean_variance_normalization(node: Node, x: Value) -> Value:
    """MeanVarianceNormalization over the axes given."""
    data, current = physical(x)
    default = [0, 2, 3] if node.attr("across_channels", 0) == 0 else [0, 1, 2, 3]
    wanted = {axis % x.rank for axis in node.attr("axes", default)}
    axes = [place for place, axis in enumerate(current) if axis in wanted]
    centred = data - tf.reduce_mean(data, axes, keepdims=True)
    spread = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    return make(centred / (tf.sqrt(spread) + 1e-9), tuple(current))


def lp_normalization(node: Node, x: Value) -> Value:
    """LpNormalization: divided by the norm along an axis; zero where that is zero."""
    data, current = physical(x)
    place = current.index(node.attr("axis", -1) % x.rank)
    if node.attr("p", 2) == 1:
        norm = tf.reduce_sum(tf.abs(data), place, keepdims=True)
    else:
        norm = tf.sqrt(tf.reduce_sum(tf.square(data), place, keepdims=True))
    return make(data / tf.maximum(norm, np.finfo(np.float32).tiny), tuple(current))


def local_response_normalization(node: Node, x: Value) -> Value:
    """LRN: LOCAL_RESPONSE_NORMALIZATION where the window has a middle, else in its parts."""
    size = node.attr("size")
    alpha, beta, bias = node.attr("alpha", 1e-4), node.attr("beta", 0.75), node.attr("bias", 1.0)
    perm = channels_last(x.rank)
    data = arranged(x, perm)
    sizes = sizes_of(data)
    if size % 2:
        view = data if x.rank == 4 else tf.reshape(data, [sizes[0], -1, 1, sizes[-1]])
        y = tf.nn.local_response_normalization(view, size // 2, bias, alpha / size, beta)
        return make(y if x.rank == 4 else tf.reshape(y, sizes), perm)
    channels = np.arange(int(sizes[-1]))
    distance = channels[:, None] - channels  # of a neighbour from the channel
    band = (distance >= -((size - 1) // 2)) & (distance <= size // 2)
    total = tf.matmul(tf.reshape(tf.square(data), [-1, sizes[-1]]), band.astype(np.float32))
    return make(data / tf.pow(bias + alpha / size * tf.reshape(total, sizes), beta), perm)


NORMALIZATION = {
    "BatchNormalization": Operator(batch_normalization, 15, "values"),
    "InstanceNormalization": Operator(instance_normalization, 22, "values"),
    "GroupNormalization": Operator(group_normalization, 21, "values"),
    "LayerNormalization": Operator(layer_normalization, 17, "values"),
    "RMSNormalization": Operator(rms_normalization, 23, "values"),
    "SimplifiedLayerNormalization": Operator(rms_normalization, 1, "values"),
    "com.microsoft:SimplifiedLayerNormalization": Operator(rms_normalization, 1, "values"),
    "com.microsoft:SkipLayerNormalization": Operator(skip_layer_normalization, 1),
    "com.microsoft:SkipSimplifiedLayerNormalization": Operator(skip_rms_normalization, 1),
    "MeanVarianceNormalization": Operator(mean_variance_normalization, 13, "values"),
    "LpNormalization": Operator(lp_normalization, 22, "values"),
    # The ONNX project's reference forgets channels beyond the batch's size.
    "LRN": Operator(local_response_normalization, 13, "values", folds=False),
}
