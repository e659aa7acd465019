"""Quantizing and dequantizing, computed in float with ONNX's own rounding.

A model with QuantizeLinear and DequantizeLinear around its layers is imported as the float model
that it describes; stored weights are dequantized at import.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from onnx import TensorProto

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    along_axis,
    cast,
    is_float,
    order_of,
    unmerged,
    with_axis_last,
)
from edgekit.importers.onnx.tensors import numpy_type
from edgekit.importers.onnx.values import (
    Value,
    arranged,
    dtype_of,
    inverse,
    logical,
    make,
    sizes_of,
    transposed,
)

# What fits into types that are stored as wider ones here.
_NARROW_LIMITS = {TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15),
                  TensorProto.INT2: (-2, 1), TensorProto.UINT2: (0, 3)}  # fmt: skip

Limits = tuple[int, int]


def quantize_linear(node: Node, x: Value, scale: Value, zero: Value | None = None) -> Value:
    """QuantizeLinear: per tensor, per axis or per block."""
    dtype, limits = _quantized_type(node, zero)
    x = unmerged(x)
    data = cast(x.data, np.float32)
    result = quantized(data, parameter(node, x, scale), parameter(node, x, zero), dtype, limits)
    return make(result, order_of(x))


def _quantized_type(node: Node, zero: Value | None) -> tuple[np.dtype[Any], Limits | None]:
    wanted = node.attr("output_dtype", 0)
    dtype = numpy_type(wanted) if wanted else np.dtype(np.uint8) if zero is None else zero.dtype
    if dtype.kind not in "iu":
        raise node.error("quantizes to floats of 8 bits; LiteRT has none",
                         "quantize to int8 in the source model")
    return dtype, _NARROW_LIMITS.get(wanted)


def quantized(x: Array, scale: Array, zero: Array | None, dtype: Any,  # noqa: ANN401
              limits: Limits | None = None) -> Array:  # fmt: skip
    """Floats rounded to multiples of the scale, halves to even ones, and cut off at the limits."""
    info = np.iinfo(dtype)
    low, high = limits or (info.min, info.max)
    steps = tf.round(x / scale)
    if zero is not None and not _is_zero(zero):
        steps += cast(zero, np.float32)
    # 2^31 - 1 is no float, and 2^31 would wrap around.
    top = float(min(high, 2**31 - 128))
    return cast(tf.minimum(tf.maximum(steps, float(low)), top), dtype)


def dequantize_linear(node: Node, x: Value, scale: Value, zero: Value | None = None) -> Value:
    """DequantizeLinear: per tensor, per axis or per block."""
    x = unmerged(x)
    factor, offset = parameter(node, x, scale), parameter(node, x, zero)
    return make(dequantized(x.data, factor, offset), order_of(x))


def dequantized(x: Array, scale: Array, zero: Array | None) -> Array:
    """(x - zero) * scale in float; a constant if all are."""
    wide = dtype_of(x).itemsize >= 4 and not is_float(x)
    if zero is None or _is_zero(zero):
        return cast(x, np.float32) * scale
    if wide:
        return cast(x - zero, np.float32) * scale
    return (cast(x, np.float32) - cast(zero, np.float32)) * scale


def _is_zero(zero: Array) -> bool:
    return isinstance(zero, np.ndarray) and not zero.any()


def parameter(node: Node, x: Value, given: Value | None, axis: int | None = None) -> Array | None:
    """A scale or zero point in x's order of axes, such that it broadcasts."""
    if given is None:
        return None
    data = logical(given)
    if given.rank == 0 or (given.rank == 1 and given.shape[0] == 1):
        return data.reshape(()) if isinstance(data, np.ndarray) else tf.reshape(data, [])
    axis = node.attr("axis", 1) if axis is None else axis
    if given.rank == 1:
        return along_axis(data, x, axis % x.rank if x.rank > 1 else 0)
    size = node.attr("block_size", 0)
    if not size:
        return arranged(given, order_of(x))
    return _blocks(x, given, axis % x.rank, size)


def _blocks(x: Value, given: Value, axis: int, size: int) -> Array:
    """Each number as often as its block is long; the last block may be shorter."""
    length = int(x.shape[axis] or 0)
    if given.is_constant:
        every = np.repeat(given.data, size, axis).take(range(length), axis)
        return transposed(every, order_of(x))
    order = with_axis_last(given, axis)
    data = arranged(given, order)
    sizes = sizes_of(data)
    every = tf.reshape(tf.tile(data[..., None], [1] * len(sizes) + [size]),
                       [*sizes[:-1], sizes[-1] * size])[..., :length]
    return transposed(transposed(every, inverse(order)), order_of(x))


def dynamic_quantize_linear(_node: Node, x: Value) -> tuple[Value, Value, Value]:
    """DynamicQuantizeLinear to uint8 over the range of the values, widened to have 0."""
    result, scale, zero = dynamically_quantized(x.data)
    return (Value(cast(result, np.uint8), x.perm, x.merged), Value(scale),
            Value(cast(zero, np.uint8)))


def dynamically_quantized(x: Array) -> tuple[Array, Array, Array]:
    """The numbers, the scale and the zero point, all as floats."""
    low = tf.minimum(tf.reduce_min(x), 0.0)
    high = tf.maximum(tf.reduce_max(x), 0.0)
    scale = (high - low) / 255.0
    # All zeros: any scale will do; onnxruntime's is 1.
    scale = tf.where(tf.equal(scale, 0.0), tf.ones_like(scale), scale)
    zero = tf.round(tf.minimum(tf.maximum(-low / scale, 0.0), 255.0))
    steps = tf.minimum(tf.maximum(tf.round(x / scale) + zero, 0.0), 255.0)
    return steps, scale, zero


QUANTIZATION: dict[str, Operator] = {
    "QuantizeLinear": Operator(quantize_linear, 28, "values"),
    "DequantizeLinear": Operator(dequantize_linear, 28, "values"),
    "DynamicQuantizeLinear": Operator(dynamic_quantize_linear, 11, "values"),
    "com.microsoft:QuantizeLinear": Operator(quantize_linear, 1, "values"),
    "com.microsoft:DequantizeLinear": Operator(dequantize_linear, 1, "values"),
}
