"""Operators that work element by element, in any order of axes."""

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.bits import BITS
from edgekit.importers.onnx.operators.computing import (
    Array,
    absolute,
    broadcast,
    cast,
    constant_scalar,
    exact_quotient,
    is_float,
    widened,
)
from edgekit.importers.onnx.operators.recognised import gelu_if_one
from edgekit.importers.onnx.operators.unary import UNARY
from edgekit.importers.onnx.values import dtype_of

_LARGEST = np.finfo(np.float32).max
_MAX_POWER = 4  # constant integer exponents up to here are products


def _binary(function: Callable[[Array, Array], Array], spec: int) -> Operator:
    """Computed in the wider type and given back in the arguments' own."""
    def compute(_node: Node, a: Array, b: Array) -> Array:
        return cast(broadcast(function, widened(a), widened(b)), dtype_of(a))
    return Operator(compute, spec, "elementwise")


def _comparison(function: Callable[[Array, Array], Array], spec: int) -> Operator:
    return Operator(lambda _node, a, b: broadcast(function, widened(a), widened(b)), spec,
                    "elementwise")


def _logical(function: Callable[[Array, Array], Array], spec: int) -> Operator:
    return Operator(lambda _node, a, b: broadcast(function, a, b), spec, "elementwise")


def _of_many(function: Callable[[Array, Array], Array], spec: int) -> Operator:
    """Of any number of arguments, two at a time."""
    def compute(_node: Node, *arrays: Array) -> Array:
        wide = [widened(x) for x in arrays]
        return cast(reduce(lambda a, b: broadcast(function, a, b), wide), dtype_of(arrays[0]))
    return Operator(compute, spec, "elementwise")


def mean(_node: Node, *arrays: Array) -> Array:
    """Mean of any number of arguments."""
    return reduce(lambda a, b: broadcast(tf.add, a, b), arrays) / np.float32(len(arrays))


def _product(a: Array, b: Array) -> Array:
    return gelu_if_one(tf.multiply(a, b))


def _quotient(a: Array, b: Array) -> Array:
    """Div: between integers towards zero."""
    if is_float(a):
        return gelu_if_one(tf.divide(a, b))
    if dtype_of(a) == np.int64:
        return exact_quotient(a - _remainder(a, b), b)
    return tf.raw_ops.TruncateDiv(x=a, y=b)


def _remainder(a: Array, b: Array) -> Array:
    """What truncating division leaves; it has the sign of a."""
    rest = tf.math.floormod(absolute(a), absolute(b))
    return tf.where(a < np.zeros((), dtype_of(a)), -rest, rest)


def _equal(a: Array, b: Array) -> Array:
    """Equal; to an infinity: the converter makes the largest number of one that is a constant."""
    for x, other in ((a, b), (b, a)):
        number = constant_scalar(other)
        if number is not None and math.isinf(number) and other.ndim <= len(x.shape):
            return x >= _LARGEST if number > 0 else x <= -_LARGEST
    return tf.equal(a, b)


def mod(node: Node, a: Array, b: Array) -> Array:
    """Mod: the sign of b, or that of a with ``fmod``."""
    function = _remainder if node.attr("fmod", 0) else tf.math.floormod
    return cast(broadcast(function, widened(a), widened(b)), dtype_of(a))


def power(_node: Node, a: Array, b: Array) -> Array:
    """Pow, where base and exponent may be of different types; the result has the base's."""
    base, exponent = widened(a), constant_scalar(b)
    if exponent is not None and b.ndim <= len(a.shape):
        simple = _simple_power(base, exponent)
        if simple is not None:
            return cast(simple, dtype_of(a))
    if is_float(b) or is_float(base):
        result = broadcast(tf.pow, cast(base, np.float32), cast(b, np.float32))
    elif dtype_of(base) == np.int64:
        result = broadcast(_integer_power, base, cast(b, np.int64))
    else:
        result = broadcast(tf.pow, base, cast(b, np.int32))
    return cast(result, dtype_of(a))


def _simple_power(x: Array, exponent: float) -> Array | None:
    """Powers that have faster kernels than the general one."""
    if exponent == int(exponent) and 1 <= exponent <= _MAX_POWER:
        square = x * x
        return {1: x, 2: square, 3: square * x, 4: square * square}[int(exponent)]
    if is_float(x):
        if exponent == 0.5:
            return tf.sqrt(x)
        if exponent == -0.5:
            return tf.math.rsqrt(x)
        if exponent == -1.0:
            return tf.math.reciprocal(x)
    return None


def _integer_power(base: Array, exponent: Array) -> Array:
    """By squaring, for int64, which has no kernel; what overflows after 63 bits is not reached."""
    one, zero = tf.ones((), tf.int64), tf.zeros((), tf.int64)
    result: Array = one
    for _ in range(6):
        odd = tf.equal(tf.math.floormod(exponent, one * 2), one)
        result = result * tf.where(odd, base, one)
        base, exponent = base * base, exact_quotient(
            exponent - tf.where(odd, one, zero), one * 2)
    return result


def clip(node: Node, x: Array, low: Array = None, high: Array = None) -> Array:
    """Clip between bounds that are attributes before version 11, and may be left out."""
    low = np.asarray(node.attr("min"), np.float32) if "min" in node.attributes else low
    high = np.asarray(node.attr("max"), np.float32) if "max" in node.attributes else high
    if is_float(x) and low is not None and constant_scalar(low) == 0:
        if high is None:
            return tf.nn.relu(x)
        if constant_scalar(high) == 6:
            return tf.nn.relu6(x)
    result = widened(x)
    if low is not None:
        result = broadcast(tf.maximum, result, widened(low))
    if high is not None:
        result = broadcast(tf.minimum, result, widened(high))
    return cast(result, dtype_of(x))


def where(_node: Node, condition: Array, x: Array, y: Array) -> Array:
    """Where, with all three broadcast."""
    return cast(broadcast(tf.where, condition, widened(x), widened(y)), dtype_of(x))


ELEMENTWISE: dict[str, Operator] = {
    **UNARY,
    **BITS,
    "Add": _binary(tf.add, 14),
    "Sub": _binary(tf.subtract, 14),
    "Mul": _binary(_product, 14),
    "Div": _binary(_quotient, 14),
    "Mod": Operator(mod, 28, "elementwise"),
    "Pow": Operator(power, 15, "elementwise"),
    "Max": _of_many(tf.maximum, 13),
    "Min": _of_many(tf.minimum, 13),
    "Sum": _of_many(tf.add, 13),
    "Mean": Operator(mean, 13, "elementwise"),
    "Equal": _comparison(_equal, 19),
    "Greater": _comparison(tf.greater, 13),
    "GreaterOrEqual": _comparison(tf.greater_equal, 16),
    "Less": _comparison(tf.less, 13),
    "LessOrEqual": _comparison(tf.less_equal, 16),
    "And": _logical(tf.logical_and, 7),
    "Or": _logical(tf.logical_or, 7),
    "Xor": _logical(tf.not_equal, 7),
    "Clip": Operator(clip, 13, "elementwise"),
    "Where": Operator(where, 16, "elementwise"),
}
