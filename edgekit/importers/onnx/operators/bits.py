"""Operators on the bits of integers. The one kernel there is for that is BITWISE_XOR.

Numbers are taken apart into halves of 16 bits, on which sums cannot overflow: a + b counts each
bit that both have twice, and each that one of them has once.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    broadcast,
    cast,
    exact_quotient,
    widened,
)
from edgekit.importers.onnx.values import dtype_of

_HALF = 1 << 16


def _and(a: Array, b: Array) -> Array:
    return tf.bitwise.right_shift(a + b - tf.bitwise.bitwise_xor(a, b), 1)


def _or(a: Array, b: Array) -> Array:
    return tf.bitwise.right_shift(a + b + tf.bitwise.bitwise_xor(a, b), 1)


def _in_parts(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """The function on all 16 bits of each part, and the parts together again."""
    def compute(a: Array, b: Array) -> Array:
        result: Array = None
        for place, (left, right) in enumerate(zip(_parts(a), _parts(b), strict=True)):
            part = cast(function(left, right), dtype_of(a)) * np.asarray(
                1 << (16 * place), dtype_of(a))
            result = part if result is None else result + part
        return result
    return compute


def _parts(x: Array) -> list[Array]:
    """16 bits at a time, the lowest first, as int32; the last one has the sign."""
    parts = []
    for _ in range(dtype_of(x).itemsize // 2 - 1):
        low = tf.math.floormod(x, np.asarray(_HALF, dtype_of(x)))
        parts.append(cast(low, np.int32))
        x = (exact_quotient(x - low, np.int64(_HALF)) if dtype_of(x) == np.int64
             else tf.bitwise.right_shift(x, 16))
    return [*parts, cast(x, np.int32)]


def _bitwise(function: Callable[[Array, Array], Array], spec: int) -> Operator:
    def compute(_node: Node, a: Array, b: Array) -> Array:
        narrow = dtype_of(a).itemsize <= 2
        on_all = function if narrow else _in_parts(function)
        return cast(broadcast(on_all, widened(a), widened(b)), dtype_of(a))
    return Operator(compute, spec, "elementwise")


def bitwise_not(_node: Node, x: Array) -> Array:
    """BitwiseNot."""
    wide = widened(x)
    return cast(np.asarray(-1, dtype_of(wide)) - wide, dtype_of(x))


def bit_shift(node: Node, x: Array, shift: Array) -> Array:
    """BitShift; to the right with the sign; by more bits than there are, all of them fall out."""
    if dtype_of(x) == np.uint64:
        raise node.error("shifts the bits of uint64 numbers; LiteRT has no arithmetic on these",
                         "use a type of up to 32 bits in the source model")
    bits = dtype_of(x).itemsize * 8
    function = _shifted_left if node.attr("direction") == "LEFT" else _shifted_right
    wide, by = widened(x), cast(widened(shift), np.int32)
    outside = tf.logical_or(by < 0, by >= bits)
    result = broadcast(lambda a, b: function(a, b, bits), wide, tf.where(outside, bits, by))
    return cast(result, dtype_of(x))


def _shifted_left(x: Array, by: Array, bits: int) -> Array:
    return x * _power_of_two(by, bits, dtype_of(x))


def _shifted_right(x: Array, by: Array, bits: int) -> Array:
    if dtype_of(x) == np.int32:
        return tf.bitwise.right_shift(x, tf.minimum(by, 31))
    # 2^63 is no int64: what is left is the sign.
    by = tf.minimum(by, 63)
    divisor = _power_of_two(tf.minimum(by, 62), bits, np.dtype(np.int64))
    quotient = exact_quotient(x - tf.math.floormod(x, divisor), divisor)
    sign = tf.where(x < np.int64(0), np.int64(-1), np.int64(0))
    return tf.where(by > 62, sign, quotient)


def _power_of_two(exponent: Array, bits: int, dtype: np.dtype[np.generic]) -> Array:
    """2^exponent from a table; 0 for all bits of the type."""
    powers = [1 << n if n < bits else 0 for n in range(max(bits, 63) + 1)][:bits + 1]
    wrapped = np.asarray(powers, np.uint64).astype(dtype)
    return tf.gather(wrapped, exponent)


BITS = {
    "BitwiseAnd": _bitwise(_and, 18),
    "BitwiseOr": _bitwise(_or, 18),
    "BitwiseXor": _bitwise(tf.bitwise.bitwise_xor, 18),
    "BitwiseNot": Operator(bitwise_not, 18, "elementwise"),
    "BitShift": Operator(bit_shift, 28, "elementwise"),
}
