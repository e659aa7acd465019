"""Functions of one number: rounding, roots, exponentials, trigonometry, tests for NaN.

Where there is no kernel for a function, formulas that keep its relative precision near zero.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import Array, absolute, cast, is_float, widened
from edgekit.importers.onnx.operators.recognised import marked_erf
from edgekit.importers.onnx.values import dtype_of

_LARGEST = np.finfo(np.float32).max
_LOG_2 = np.float32(np.log(2.0))
# x*P(x²)/Q(x²) for erf on [-4, 4], from Eigen; off by 2 units in the last place at most.
_ERF_LIMIT = np.float32(3.832506856900711)
_ERF_P = (2.2905065861350646e-4, 3.4082910107109506e-3, 5.0955695062380861e-2,
          1.8520832239976145e-1, 1.128379143519084)  # fmt: skip
_ERF_Q = (-1.1791602954361697e-7, 2.3547966471313185e-5, 1.0179625278914885e-3,
          1.4070470171167667e-2, 1.1098505178285362e-1, 4.9746925110067538e-1, 1.0)  # fmt: skip


def _of_floats(function: Callable[[Array], Array], spec: int) -> Operator:
    return Operator(lambda _node, x: function(x), spec, "elementwise")


def _of_numbers(function: Callable[[Array], Array], spec: int) -> Operator:
    """Of integers, too."""
    return Operator(lambda _node, x: cast(function(widened(x)), dtype_of(x)), spec, "elementwise")


def sign(x: Array) -> Array:
    """-1, 0 or 1."""
    if dtype_of(x) == np.int64:
        return tf.minimum(tf.maximum(x, np.int64(-1)), np.int64(1))
    return tf.sign(x)


def sqrt_of_one_minus_square(x: Array) -> Array:
    """√(1 - x²), precise where x² is close to 1."""
    return tf.sqrt((1.0 - x) * (1.0 + x))


def tan(x: Array) -> Array:
    """The tangent."""
    return tf.sin(x) / tf.cos(x)


def asin(x: Array) -> Array:
    """The arcsine."""
    return tf.atan2(x, sqrt_of_one_minus_square(x))


def acos(x: Array) -> Array:
    """The arccosine."""
    return tf.atan2(sqrt_of_one_minus_square(x), x)


def atan(x: Array) -> Array:
    """The arctangent."""
    return tf.atan2(x, tf.ones_like(x))


def sinh(x: Array) -> Array:
    """The hyperbolic sine; its Taylor series where the exponentials would cancel out."""
    square = x * x
    series = x * (1.0 + square / 6.0 * (1.0 + square / 20.0 * (1.0 + square / 42.0 * (
        1.0 + square / 72.0))))
    return tf.where(tf.abs(x) < 1.0, series, (tf.exp(x) - tf.exp(-x)) * 0.5)


def cosh(x: Array) -> Array:
    """The hyperbolic cosine."""
    return (tf.exp(x) + tf.exp(-x)) * 0.5


def log1p(x: Array) -> Array:
    """Kahan's log(1 + x): the error of rounding 1 + x is divided out again."""
    rounded = 1.0 + x
    small = tf.equal(rounded, 1.0)
    moved = tf.where(small, tf.ones_like(x), rounded - 1.0)
    return tf.where(small, x, tf.where(rounded > _LARGEST, rounded,
                                       tf.math.log(rounded) * (x / moved)))


def asinh(x: Array) -> Array:
    """Inverse of sinh; of large numbers without squaring them."""
    size = tf.abs(x)
    small = tf.minimum(size, 1e4)
    square = small * small
    result = log1p(small + square / (1.0 + tf.sqrt(square + 1.0)))
    return tf.sign(x) * tf.where(size > 1e4, tf.math.log(size) + _LOG_2, result)


def acosh(x: Array) -> Array:
    """Inverse of cosh; of large numbers without squaring them."""
    above = tf.minimum(x, 1e4) - 1.0
    return tf.where(x > 1e4, tf.math.log(x) + _LOG_2,
                    log1p(above + tf.sqrt(above * (above + 2.0))))


def atanh(x: Array) -> Array:
    """Inverse of tanh."""
    return 0.5 * log1p(2.0 * x / (1.0 - x))


def erf(x: Array) -> Array:
    """The error function: there is no kernel, so as a quotient of polynomials."""
    small = tf.maximum(tf.minimum(x, _ERF_LIMIT), -_ERF_LIMIT)
    square = small * small
    result = small * _polynomial(square, _ERF_P) / _polynomial(square, _ERF_Q)
    return marked_erf(result, x)


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    result = x * np.float32(coefficients[0]) + np.float32(coefficients[1])
    for coefficient in coefficients[2:]:
        result = result * x + np.float32(coefficient)
    return result


def is_inf(node: Node, x: Array) -> Array:
    """IsInf, of either sign or of both."""
    positive, negative = node.attr("detect_positive", 1), node.attr("detect_negative", 1)
    if positive and negative:
        return tf.abs(x) > _LARGEST
    if positive:
        return x > _LARGEST
    # Never true; of the argument's size.
    return x < -_LARGEST if negative else tf.abs(x) < 0.0


def _rounding(function: Callable[[Array], Array], spec: int) -> Operator:
    return Operator(lambda _node, x: function(x) if is_float(x) else x, spec, "elementwise")


UNARY = {
    "Neg": _of_numbers(tf.negative, 13),
    "Abs": _of_numbers(absolute, 13),
    "Sign": _of_numbers(sign, 13),
    "Sqrt": _of_floats(tf.sqrt, 13),
    "Exp": _of_floats(tf.exp, 13),
    "Log": _of_floats(tf.math.log, 13),
    "Reciprocal": _of_floats(tf.math.reciprocal, 13),
    "Floor": _rounding(tf.floor, 13),
    "Ceil": _rounding(tf.math.ceil, 13),
    "Round": _rounding(tf.round, 22),
    "Erf": _of_floats(erf, 13),
    "Sin": _of_floats(tf.sin, 22),
    "Cos": _of_floats(tf.cos, 22),
    "Tan": _of_floats(tan, 22),
    "Asin": _of_floats(asin, 22),
    "Acos": _of_floats(acos, 22),
    "Atan": _of_floats(atan, 22),
    "Sinh": _of_floats(sinh, 22),
    "Cosh": _of_floats(cosh, 22),
    "Asinh": _of_floats(asinh, 22),
    "Acosh": _of_floats(acosh, 22),
    "Atanh": _of_floats(atanh, 22),
    "IsNaN": _of_floats(lambda x: tf.not_equal(x, x), 20),
    "IsInf": Operator(is_inf, 20, "elementwise"),
    "Not": _of_floats(tf.logical_not, 1),
}
