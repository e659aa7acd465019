"""Pooling over windows and over whole images."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.unpooling import max_unpool, max_with_places
from edgekit.importers.onnx.operators.windows import (
    Window,
    bordered,
    known_sizes,
    pooling_windows,
    reshaped,
)
from edgekit.importers.onnx.values import Value, arranged, channels_last, logical, make, sizes_of

Pool = Callable[..., Any]  # data, ksize, strides, padding

# They give no negative numbers, and those behind give none where they are given none.
_NEVER_NEGATIVE = frozenset({"Relu", "Relu6", "Sigmoid", "Softmax", "Abs", "Square", "Exp"})
_KEEP_SIGN = frozenset({"MaxPool", "AvgPool", "Identity", "Pad", "ConcatV2", "Reshape", "Mean"})
_DEEPEST = 8


def max_pool(node: Node, x: Value) -> Any:  # noqa: ANN401
    """MaxPool, with the places of the maxima if they are wanted."""
    perm = channels_last(x.rank)
    windows = pooling_windows(node, known_sizes(node, x.shape[2:]))
    data = arranged(x, perm)
    if node.wants(1):
        values, places = max_with_places(node, data, windows)
        return make(values, perm), make(places, perm)
    if x.dtype != np.float32:  # there is no kernel; integers of 8 bits are exact in float32
        data = tf.cast(data, tf.float32)
    fill = 0.0 if _is_never_negative(data) else -math.inf
    result = _pooled(data, windows, tf.nn.max_pool2d, fill)
    return make(result if x.dtype == np.float32 else tf.cast(result, x.dtype), perm)


def average_pool(node: Node, x: Value) -> Value:
    """AveragePool; padding counts only with ``count_include_pad``."""
    perm = channels_last(x.rank)
    windows = pooling_windows(node, known_sizes(node, x.shape[2:]))
    included = bool(node.attr("count_include_pad", 0))
    data = arranged(x, perm)
    if not included and _is_builtin(windows) and all(window.is_same for window in windows):
        return make(_pooled(data, windows, tf.nn.avg_pool2d, 0.0), perm)
    result = slid(bordered(data, [window.needed for window in windows]), windows,
                  tf.nn.avg_pool2d)
    weights = np.ones((), np.float32)
    for window in windows:
        weights = weights[..., None] * _weights(window, included=included)
    return make(result if np.all(weights == 1) else result * weights[None, ..., None], perm)


def _weights(window: Window, *, included: bool) -> Any:  # noqa: ANN401
    """For each output, how many elements there are for each that counts."""
    starts = np.arange(window.outputs)[:, None] * window.stride - window.before
    places = starts + np.arange(window.kernel) * window.dilation
    last = window.size + (window.after if included else 0)
    counted = (places < last) & (included | (places >= 0))
    return (window.kernel / np.maximum(counted.sum(1), 1)).astype(np.float32)


def lp_pool(node: Node, x: Value) -> Value:
    """LpPool: the p-norm of each window."""
    perm = channels_last(x.rank)
    windows = pooling_windows(node, known_sizes(node, x.shape[2:]))
    p = float(node.attr("p", 2))
    data = bordered(_power(arranged(x, perm), p), [window.needed for window in windows])
    count = math.prod(window.kernel for window in windows)
    return make(_root(slid(data, windows, tf.nn.avg_pool2d) * float(count), p), perm)


def _power(data: Any, p: float) -> Any:  # noqa: ANN401
    """|x|^p."""
    if p == 2:
        return tf.square(data)
    return tf.abs(data) if p == 1 else tf.pow(tf.abs(data), p)


def _root(data: Any, p: float) -> Any:  # noqa: ANN401
    if p == 2:
        return tf.sqrt(data)
    return data if p == 1 else tf.pow(data, 1 / p)


def _pooled(data: Any, windows: Sequence[Window], pool: Pool, fill: float) -> Any:  # noqa: ANN401
    if _is_builtin(windows) and all(window.is_same for window in windows):
        return _single(data, windows, pool, "SAME")
    return slid(bordered(data, [window.needed for window in windows], fill), windows, pool)


def _is_builtin(windows: Sequence[Window]) -> bool:
    return len(windows) <= 2 and all(window.dilation == 1 for window in windows)


def slid(data: Any, windows: Sequence[Window], pool: Pool) -> Any:  # noqa: ANN401
    """Pool padded channels-last data over any number of axes: two at a time where that goes."""
    axis = 1
    left = list(windows)
    while left:
        pair = left[:2]
        if len(left) % 2 == 0 and _is_builtin(pair):
            data, axis, left = _viewed(data, axis, pair, pool), axis + 2, left[2:]
        else:
            along = _viewed if left[0].dilation == 1 else _dilated
            data, axis, left = along(data, axis, left[:1], pool), axis + 1, left[1:]
    return data


def _viewed(data: Any, axis: int, windows: Sequence[Window], pool: Pool) -> Any:  # noqa: ANN401
    """Pool one or two axes; the others are taken for the batch or the second axis."""
    sizes = sizes_of(data)
    end = axis + len(windows)
    inner = [] if len(windows) == 2 else [math.prod(sizes[end:-1])]
    head = sizes[0] if axis == 1 else math.prod(sizes[:axis])
    outer = [head, *sizes[axis:end], *inner, sizes[-1]]
    if len(windows) == 2 and end != len(sizes) - 1:
        raise AssertionError("the axes of a pair are the last ones")
    result = _single(reshaped(data, outer), windows, pool, "VALID")
    made = [window.outputs for window in windows]
    return reshaped(result, [*sizes[:axis], *made, *sizes[end:]])


def _single(data: Any, windows: Sequence[Window], pool: Pool, padding: str) -> Any:  # noqa: ANN401
    kernel = [window.kernel for window in windows]
    strides = [window.stride for window in windows]
    if len(windows) == 2:
        return pool(data, kernel, strides, padding)
    if len(data.shape) == 4:
        return pool(data, [*kernel, 1], [*strides, 1], padding)
    return tf.squeeze(pool(tf.expand_dims(data, 2), [*kernel, 1], [*strides, 1], padding), 2)


def _dilated(data: Any, axis: int, windows: Sequence[Window], pool: Pool) -> Any:  # noqa: ANN401
    """Pool along an axis with gaps: elements that are a gap apart are brought beside each other.

    (L) is seen as (L / d, d), which moves nothing, and pooled over the first of the two.
    """
    window = windows[0]
    sizes = sizes_of(data)
    gap, size = window.dilation, int(sizes[axis])
    rows = math.ceil(size / gap)
    missing = rows * gap - size
    around = [(0, missing if place == axis else 0) for place in range(1, len(sizes) - 1)]
    data = bordered(data, around)  # no window that is kept reaches into it
    head = sizes[0] if axis == 1 else math.prod(sizes[:axis])
    inner = math.prod(sizes[axis + 1 : -1])
    view = tf.reshape(data, [head, rows, gap * inner, sizes[-1]])
    result = pool(view, [window.kernel, 1], [1, 1], "VALID")
    places = (rows - window.kernel + 1) * gap
    result = tf.reshape(result, [head, places, inner, sizes[-1]])
    result = result[:, : (window.outputs - 1) * window.stride + 1 : window.stride]
    return tf.reshape(result, [*sizes[:axis], window.outputs, *sizes[axis + 1 :]])


def _is_never_negative(data: Any, depth: int = 0) -> bool:  # noqa: ANN401
    """Whether padding with zeros is as good as with minus infinity: it is fused, and quantizes."""
    made_by = getattr(data, "op", None)
    if made_by is None or depth > _DEEPEST:
        return False
    if made_by.type in _NEVER_NEGATIVE:
        return True
    if made_by.type not in _KEEP_SIGN:
        return False
    parts = made_by.inputs[:-1] if made_by.type == "ConcatV2" else made_by.inputs[:1]
    return all(_is_never_negative(part, depth + 1) for part in parts)


def _global(reduce: Callable[..., Any]) -> Callable[[Node, Value], Value]:
    """A reduction over all spatial axes, wherever they are."""

    def pool(_node: Node, x: Value) -> Value:
        data = logical(x) if x.merged is not None else x.data
        current = x.perm or tuple(range(x.rank))
        axes = [place for place, axis in enumerate(current) if axis > 1]
        return make(reduce(data, axes), x.perm) if axes else x

    return pool


def global_lp_pool(node: Node, x: Value) -> Value:
    """GlobalLpPool: the p-norm of each channel."""
    p = float(node.attr("p", 2))
    total = _global(lambda data, axes: tf.reduce_sum(_power(data, p), axes, keepdims=True))
    summed = total(node, x)
    return make(_root(summed.data, p), summed.perm)


# The ONNX project's reference moves windows where the number of outputs is rounded up: no folding.
POOLING = {
    "MaxPool": Operator(max_pool, 22, "values", folds=False),
    "AveragePool": Operator(average_pool, 22, "values", folds=False),
    "LpPool": Operator(lp_pool, 22, "values", folds=False),
    "GlobalAveragePool": Operator(_global(
        lambda data, axes: tf.reduce_mean(data, axes, keepdims=True)), 22, "values"),
    "GlobalMaxPool": Operator(_global(
        lambda data, axes: tf.reduce_max(data, axes, keepdims=True)), 22, "values"),
    "GlobalLpPool": Operator(global_lp_pool, 22, "values"),
    "MaxUnpool": Operator(max_unpool, 22),
}
