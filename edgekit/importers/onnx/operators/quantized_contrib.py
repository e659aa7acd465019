"""onnxruntime's operators on quantized tensors (domain com.microsoft) that are no sums of products.

Its quantizer puts them between the layers of ``integer``. They are computed in float, with
onnxruntime's own rounding, on numbers that are dequantized before and quantized after.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.assembling import concatenated
from edgekit.importers.onnx.operators.computing import Array, cast, reshaped, unmerged
from edgekit.importers.onnx.operators.pooling import average_pool, slid
from edgekit.importers.onnx.operators.quantization import (
    dequantized,
    dynamically_quantized,
    quantized,
)
from edgekit.importers.onnx.operators.recurrent import lstm
from edgekit.importers.onnx.operators.softmax import SOFTMAX
from edgekit.importers.onnx.operators.windows import bordered, known_sizes, pooling_windows
from edgekit.importers.onnx.values import (
    Value,
    arranged,
    channels_last,
    dtype_of,
    logical,
    make,
    static_shape,
)


def qlinear_concat(node: Node, y_scale: Value, y_zero: Value, *rest: Value) -> Value:
    """QLinearConcat of tensors that each have a scale and zero point of their own."""
    parts = [_real(*rest[place:place + 3]) for place in range(0, len(rest), 3)]
    joined = concatenated(parts, node.attr("axis"))
    made = quantized(joined.data, _number(y_scale), _number(y_zero), y_zero.dtype)
    return Value(made, joined.perm, joined.merged)


def _real(x: Value, scale: Value, zero: Value | None) -> Value:
    """The numbers that a quantized tensor stands for."""
    return Value(dequantized(x.data, _number(scale), _zero(zero)), x.perm, x.merged)


def _number(x: Value) -> Array:
    """A scale or zero point of a whole tensor, which may have an axis of size 1."""
    return reshaped(logical(x), ())


def _zero(x: Value | None) -> Array | None:
    return None if x is None else _number(x)


def qlinear_average_pool(
    node: Node, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value,
    y_zero: Value | None = None,
) -> Value:  # fmt: skip
    """QLinearAveragePool: padding that counts does so for windows beyond it, too."""
    return _pooled(node, x, y_zero, lambda seen: _average(
        node, _real(seen, x_scale, x_zero), y_scale))


def _average(node: Node, x: Value, y_scale: Value) -> Value:
    """The averages, in steps of the result's scale."""
    if not node.attr("count_include_pad", 0):
        result = average_pool(node, x)
        return Value(result.data / _number(y_scale), result.perm)
    windows = pooling_windows(node, known_sizes(node, x.shape[2:]))
    perm = channels_last(x.rank)
    padded = bordered(arranged(x, perm), [window.needed for window in windows])
    return make(slid(padded, windows, tf.nn.avg_pool2d) / _number(y_scale), perm)


def qlinear_global_average_pool(
    node: Node, x: Value, x_scale: Value, x_zero: Value, y_scale: Value, y_zero: Value,
) -> Value:  # fmt: skip
    """QLinearGlobalAveragePool: the sum is exact, and scaled once."""

    def average(seen: Value) -> Value:
        plain = unmerged(seen)
        order = plain.perm or tuple(range(plain.rank))
        places = [place for place, axis in enumerate(order) if axis > 1]
        count = np.float32(np.prod(known_sizes(node, seen.shape[2:])))
        total = tf.reduce_sum(
            cast(plain.data, np.float32) - cast(_number(x_zero), np.float32), places, keepdims=True)
        return make(total * (_number(x_scale) / (_number(y_scale) * count)), plain.perm)

    return _pooled(node, x, y_zero, average)


def _pooled(
    node: Node, x: Value, zero: Value | None, pool: Callable[[Value], Value]
) -> Value:
    """Pool, and round: halves to even ones with the zero point in, as onnxruntime does here.

    Args:
        node: Says whether the channels are ONNX's last axis.
        x: What is pooled.
        zero: The result's zero point.
        pool: From channels before the image's axes to steps of the result's scale.
    """
    last = bool(node.attr("channels_last", 0))
    seen = Value(logical(x), channels_last(x.rank)) if last else x
    steps = pool(seen)
    moved = steps.data if zero is None else steps.data + cast(_number(zero), np.float32)
    made = Value(quantized(moved, np.float32(1), None, x.dtype), steps.perm)
    return Value(arranged(made, channels_last(x.rank))) if last else made


def qlinear_where(
    _node: Node, condition: Array, x: Array, x_scale: Array, x_zero: Array, y: Array,
    y_scale: Array, y_zero: Array, z_scale: Array, z_zero: Array,
) -> Array:  # fmt: skip
    """QLinearWhere."""
    left = dequantized(x, reshaped(x_scale, ()), reshaped(x_zero, ()))
    right = dequantized(y, reshaped(y_scale, ()), reshaped(y_zero, ()))
    chosen = tf.where(condition, left, right)
    return quantized(chosen, reshaped(z_scale, ()), reshaped(z_zero, ()), dtype_of(x))


def qlinear_softmax(
    node: Node, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value,
    y_zero: Value | None = None,
) -> Value:  # fmt: skip
    """QLinearSoftmax: the result's scale is one over a whole number."""
    version = replace(node, opset=node.attr("opset"))
    made = SOFTMAX["Softmax"].function(version, _real(x, x_scale, x_zero))
    # As a constant where it is one, and not to be inverted twice in float.
    scale = _number(y_scale)
    steps = made.data * (np.floor if isinstance(scale, np.ndarray) else tf.floor)(1 / scale)
    return Value(quantized(steps, np.float32(1), _zero(y_zero), x.dtype), made.perm, made.merged)


def dynamic_quantize_lstm(node: Node, x: Array, w: Array, r: Array, *rest: Array) -> Any:  # noqa: ANN401
    """DynamicQuantizeLSTM: the input as a whole and each step's state are rounded to 8 bits.

    Of a batch whose sequences differ in length, a finished one's last state stays in the range
    that the others' are rounded over.
    """
    *usual, w_scale, w_zero, r_scale, r_zero = rest
    lengths = usual[1]
    return lstm(node, _rounded(_without_rest(x, lengths)), _weights(w, w_scale, w_zero),
                _weights(r, r_scale, r_zero), *usual, rounded=_rounded)


def _rounded(x: Array) -> Array:
    """Floats as 8 bits over their range hold them."""
    steps, scale, zero = dynamically_quantized(x)
    return (steps - zero) * scale


def _without_rest(x: Array, lengths: Array | None) -> Array:
    """Zeros, which are in each range, at the steps that no sequence has."""
    if lengths is None:
        return x
    steps = np.arange(int(static_shape(x)[0] or 0), dtype=np.int32)[:, None, None]
    return tf.where(steps < tf.reduce_max(cast(lengths, np.int32)), x, tf.zeros_like(x))


def _weights(w: Array, scale: Array, zero: Array) -> Array:
    """(D, I, 4 * H) in float, the other way round: the scale is a direction's or a column's."""
    wide: Sequence[int] = (int(w.shape[0]), 1, -1)
    real = dequantized(w, reshaped(scale, wide), reshaped(zero, wide))
    return real.transpose(0, 2, 1) if isinstance(real, np.ndarray) else tf.transpose(
        real, (0, 2, 1))


QUANTIZED_CONTRIB: dict[str, Operator] = {
    "com.microsoft:DynamicQuantizeLSTM": Operator(dynamic_quantize_lstm, 1),
    "com.microsoft:QLinearAveragePool": Operator(qlinear_average_pool, 1, "values"),
    "com.microsoft:QLinearConcat": Operator(qlinear_concat, 1, "values"),
    "com.microsoft:QLinearGlobalAveragePool": Operator(qlinear_global_average_pool, 1, "values"),
    "com.microsoft:QLinearSoftmax": Operator(qlinear_softmax, 1, "values"),
    "com.microsoft:QLinearWhere": Operator(qlinear_where, 1, "elementwise"),
}
