"""Layers on quantized numbers: their sums are exact, although computed by the float kernels.

A float holds every integer up to 2^24. Where a sum could be larger, the weights are taken apart
into digits, so that the sum over each digit cannot, and these sums are put together as int32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import Array, cast, reshaped
from edgekit.importers.onnx.operators.convolution import conv
from edgekit.importers.onnx.operators.matmul import product, swapped
from edgekit.importers.onnx.operators.quantization import (
    dequantized,
    dynamically_quantized,
    quantized,
)
from edgekit.importers.onnx.values import Perm, Value, channels_last, dtype_of, logical, make

_EXACT = 1 << 24
_LARGEST = 255  # |x - zero point| of 8 bits
_DIGIT_BITS = (16, 4, 2, 1)  # 16: not taken apart


def _centred(node: Node, x: Value, zero: Value | None, shape: tuple[int, ...] = ()) -> Value:
    """The distance from the zero point, as floats; a zero point of many numbers has this shape."""
    if x.dtype.itemsize > 1:
        raise node.error(f"multiplies quantized numbers of type {x.dtype}; edgekit imports those "
                         "of 8 bits", "quantize to int8 in the source model")
    data = cast(x.data, np.float32)
    if zero is None or (zero.is_constant and not zero.data.any()):
        return Value(data, x.perm, x.merged)
    offset = cast(logical(zero), np.float32)
    if zero.shape in ((), (1,)):
        return Value(data - reshaped(offset, ()), x.perm, x.merged)
    if zero.rank == 1:
        offset = reshaped(offset, shape)
    return Value(cast(logical(x), np.float32) - offset)


def _exact(node: Node, multiply: Callable[[Value], Value], weights: Value, depth: int,
           axes: tuple[int, ...]) -> Value:  # fmt: skip
    """A sum of products that is exact; as float where it is small enough, else as int32.

    Args:
        node: For errors.
        multiply: From weights to sums.
        weights: Integers, as floats.
        depth: How many products a sum has.
        axes: The weights' axes that are summed over.
    """
    for bits in _DIGIT_BITS:
        digits = _digits(weights, bits)
        if all(_bound(digit, bits, depth, axes) * _LARGEST < _EXACT for digit in digits):
            break
    else:
        raise node.error(f"sums up {depth} products of integers, more than edgekit can exactly",
                         "import the float model")
    sums = [multiply(digit) for digit in digits]
    if len(sums) == 1:
        return sums[0]
    total: Array = cast(sums[0].data, np.int32)
    for place, part in enumerate(sums[1:], 1):
        total = total + cast(part.data, np.int32) * np.int32(1 << (bits * place))
    return Value(total, sums[0].perm)


def _digits(weights: Value, bits: int) -> list[Value]:
    """Numbers of so many bits, the lowest first; the highest has the sign."""
    if bits == _DIGIT_BITS[0]:
        return [weights]
    rest, digits = weights.data, []
    for _ in range(8 // bits - 1):
        floor = np.floor if isinstance(rest, np.ndarray) else tf.floor
        high = floor(rest * np.float32(1.0 / (1 << bits)))
        digits.append(rest - high * np.float32(1 << bits))
        rest = high
    return [Value(data, weights.perm) for data in (*digits, rest)]


def _bound(digit: Value, bits: int, depth: int, axes: tuple[int, ...]) -> float:
    if digit.is_constant:
        return float(np.abs(digit.data).sum(axes).max(initial=0))
    return depth * min(1 << bits, _LARGEST)


def _integer_product(node: Node, a: Value, b: Value, zero_a: Value | None,
                     zero_b: Value | None) -> Value:  # fmt: skip
    """(a - zero_a) @ (b - zero_b)."""
    left = _centred(node, a, zero_a, (-1, 1))
    right = _centred(node, b, zero_b, (-1,))
    depth = int(a.shape[-1] or 0)
    axis = max(b.rank - 2, 0)
    return _exact(node, lambda weights: product(left, weights), right, depth, (axis,))


def matmul_integer(node: Node, a: Value, b: Value, zero_a: Value | None = None,
                   zero_b: Value | None = None) -> Value:  # fmt: skip
    """MatMulInteger."""
    result = _integer_product(node, a, b, zero_a, zero_b)
    return Value(cast(result.data, np.int32), result.perm)


def qlinear_matmul(node: Node, a: Value, a_scale: Value, a_zero: Value, b: Value, b_scale: Value,
                   b_zero: Value, y_scale: Value, y_zero: Value) -> Array:  # fmt: skip
    """QLinearMatMul."""
    result = _integer_product(node, a, b, a_zero, b_zero)
    factor = _by_row(a_scale) * _by_column(b_scale) / _by_row(y_scale)
    steps = cast(logical(result), np.float32) * factor
    return quantized(steps, np.float32(1), _by_row(y_zero), y_zero.dtype)


def _by_row(x: Value) -> Array:
    data = logical(x)
    return reshaped(data, (-1, 1)) if x.rank == 1 and x.shape[0] != 1 else _single(x, data)


def _by_column(x: Value) -> Array:
    return _single(x, logical(x))


def _single(x: Value, data: Array) -> Array:
    """Without an axis where there is one number only."""
    return reshaped(data, ()) if x.rank == 1 and x.shape[0] == 1 else data


def _integer_conv(node: Node, x: Value, w: Value, x_zero: Value | None,
                  w_zero: Value | None) -> Value:  # fmt: skip
    ones = (1,) * (w.rank - 1)
    left, kernel = _centred(node, x, x_zero), _centred(node, w, w_zero, (-1, *ones))
    depth = int(np.prod([size or 1 for size in w.shape[1:]]))
    return _exact(node, lambda weights: conv(node, left, weights), kernel, depth,
                  tuple(range(1, w.rank)))


def conv_integer(node: Node, x: Value, w: Value, x_zero: Value | None = None,
                 w_zero: Value | None = None) -> Value:  # fmt: skip
    """ConvInteger."""
    result = _integer_conv(node, x, w, x_zero, w_zero)
    return Value(cast(result.data, np.int32), result.perm)


def qlinear_conv(
    node: Node, x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value,
    y_scale: Value, y_zero: Value, b: Value | None = None,
) -> Value:  # fmt: skip
    """QLinearConv; the scales of the weights may be those of channels, which are last here."""
    result = _integer_conv(node, x, w, x_zero, w_zero)
    perm: Perm = channels_last(x.rank)
    data = result.data
    if b is not None:
        data = data + cast(logical(b), dtype_of(data))
    factor = _single(x_scale, logical(x_scale)) * _single(w_scale, logical(w_scale)) / _single(
        y_scale, logical(y_scale))
    steps = cast(data, np.float32) * factor
    return make(quantized(steps, np.float32(1), _single(y_zero, logical(y_zero)), y_zero.dtype),
                perm)


def qgemm(node: Node, a: Value, a_scale: Value, a_zero: Value, b: Value, b_scale: Value,
          b_zero: Value, c: Value | None = None, y_scale: Value | None = None,
          y_zero: Value | None = None) -> Array:  # fmt: skip
    """Quantized Gemm; of floats where it has no scale for its result (onnxruntime)."""
    a = swapped(a) if node.attr("transA", 0) else a
    b = swapped(b) if node.attr("transB", 0) else b
    data = logical(_integer_product(node, a, b, a_zero, b_zero))
    if c is not None:
        data = data + cast(logical(c), dtype_of(data))
    factor = _single(a_scale, logical(a_scale)) * _single(b_scale, logical(b_scale))
    factor = factor * np.float32(node.attr("alpha", 1.0))
    result = cast(data, np.float32) * factor
    if y_scale is None:
        return result
    dtype = np.dtype(np.uint8) if y_zero is None else y_zero.dtype
    return quantized(result, _single(y_scale, logical(y_scale)), _optional(y_zero), dtype)


def _optional(x: Value | None) -> Array | None:
    return None if x is None else _single(x, logical(x))


def matmul_integer_to_float(
    node: Node, a: Value, b: Value, a_scale: Value, b_scale: Value, a_zero: Value | None = None,
    b_zero: Value | None = None, bias: Value | None = None,
) -> Array:  # fmt: skip
    """MatMulInteger that gives floats (onnxruntime)."""
    data = cast(logical(_integer_product(node, a, b, a_zero, b_zero)), np.float32)
    result = data * (_by_row(a_scale) * _by_column(b_scale))
    return result if bias is None else result + logical(bias)


def dynamic_quantize_matmul(
    node: Node, a: Value, b: Value, b_scale: Value, b_zero: Value | None = None,
    bias: Value | None = None,
) -> Array:  # fmt: skip
    """Product with a tensor that is quantized on the way (onnxruntime)."""
    steps, scale, zero = dynamically_quantized(a.data)
    left = Value(steps - zero, a.perm, a.merged)
    right = _centred(node, b, b_zero, (-1,))
    depth = int(a.shape[-1] or 0)
    sums = _exact(node, lambda weights: product(left, weights), right, depth, (max(b.rank - 2, 0),))
    result = cast(logical(sums), np.float32) * (scale * _by_column(b_scale))
    return result if bias is None else result + logical(bias)


def matmul_nbits(node: Node, a: Value, _packed: Value, _scales: Value,
                 zeros: Value | None = None, order: Value | None = None,
                 bias: Value | None = None) -> Any:  # noqa: ANN401  # fmt: skip
    """Layer with weights of few bits: a fully connected layer of floats (onnxruntime)."""
    if order is not None:
        raise node.error("has its blocks in an order of their own (g_idx)",
                         "export the model without reordering")
    bits, block = node.attr("bits", 4), node.attr("block_size")
    rows, depth = node.attr("N"), node.attr("K")
    blocks = -(-depth // block)
    steps = _unpacked(node.constant(1).reshape(rows, -1), bits, rows, blocks * block)
    centre: Any = np.float32(1 << (bits - 1))
    if zeros is not None:
        stored = node.constant(3)
        centre = (stored.reshape(rows, blocks) if stored.dtype.kind == "f"
                  else _unpacked(stored.reshape(rows, -1), bits, rows, blocks))[:, :, None]
    weights = ((steps.reshape(rows, blocks, block).astype(np.float32) - centre)
               * node.constant(2).reshape(rows, blocks, 1)).reshape(rows, -1)[:, :depth]
    result = product(a, Value(np.ascontiguousarray(weights.T.astype(np.float32))))
    return result if bias is None else logical(result) + logical(bias)


def _unpacked(data: Any, bits: int, rows: int, count: int) -> Any:  # noqa: ANN401
    """Numbers of a few bits out of bytes, the lowest bits first."""
    per_byte = 8 // bits
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    spread = (data.astype(np.uint8)[..., None] >> shifts) & ((1 << bits) - 1)
    return spread.reshape(rows, -1)[:, :count].astype(np.float32)


def _pairwise(function: Callable[[Array, Array], Array]) -> Operator:
    """Sums and products of two quantized tensors (onnxruntime)."""
    def compute(_node: Node, a: Array, a_scale: Array, a_zero: Array, b: Array, b_scale: Array,
                b_zero: Array, y_scale: Array, y_zero: Array = None) -> Array:  # fmt: skip
        left = dequantized(a, _first(a_scale), _first(a_zero))
        right = dequantized(b, _first(b_scale), _first(b_zero))
        return quantized(function(left, right), _first(y_scale), _first(y_zero), dtype_of(a))
    return Operator(compute, 1, "elementwise")


def _of_one(function: Callable[[Node, Array], Array]) -> Operator:
    """Functions of one quantized tensor (onnxruntime)."""
    def compute(node: Node, x: Array, x_scale: Array, x_zero: Array, y_scale: Array,
                y_zero: Array = None) -> Array:  # fmt: skip
        values = dequantized(x, _first(x_scale), _first(x_zero))
        return quantized(function(node, values), _first(y_scale), _first(y_zero), dtype_of(x))
    return Operator(compute, 1, "elementwise")


def _first(x: Array | None) -> Array | None:
    return None if x is None else reshaped(x, ())


INTEGER: dict[str, Operator] = {
    "MatMulInteger": Operator(matmul_integer, 10, "values"),
    "QLinearMatMul": Operator(qlinear_matmul, 21, "values"),
    "ConvInteger": Operator(conv_integer, 10, "values"),
    "QLinearConv": Operator(qlinear_conv, 10, "values"),
    "com.microsoft:QGemm": Operator(qgemm, 1, "values"),
    "com.microsoft:MatMulIntegerToFloat": Operator(matmul_integer_to_float, 1, "values"),
    "com.microsoft:DynamicQuantizeMatMul": Operator(dynamic_quantize_matmul, 1, "values"),
    "com.microsoft:MatMulNBits": Operator(matmul_nbits, 1, "values"),
    "com.microsoft:QLinearAdd": _pairwise(tf.add),
    "com.microsoft:QLinearMul": _pairwise(tf.multiply),
    "com.microsoft:QLinearSigmoid": _of_one(lambda _node, x: tf.sigmoid(x)),
    "com.microsoft:QLinearLeakyRelu": _of_one(
        lambda node, x: tf.nn.leaky_relu(x, node.attr("alpha", 0.01))),
}
