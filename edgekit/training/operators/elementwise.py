"""Operators that work on each element of their own, with broadcasting."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from edgekit.training.operators.fused import activated
from edgekit.training.values import Node

Function = Callable[..., Any]


def _unary(function: Function) -> Callable[[Node], Any]:
    return lambda node: function(node.any(0))


def _binary(function: Function) -> Callable[[Node], Any]:
    return lambda node: function(*node.aligned(0, 1))


def _arithmetic(function: Function) -> Callable[[Node], Any]:
    """A binary operator that may have an activation fused."""
    return lambda node: activated(node, function(*node.aligned(0, 1)))


def _add_n(node: Node) -> Any:
    return tf.add_n([node.full(index) for index in range(len(node))])


def _divide(node: Node) -> Any:
    x, y = node.aligned(0, 1)
    if x.dtype.is_integer:  # LiteRT rounds towards zero, as C does
        return tf.cast(tf.truediv(x, y), x.dtype)
    return activated(node, x / y)


def _cast(node: Node) -> Any:
    x, wanted = node.any(0), tf.as_dtype(node.output_dtype())
    return tf.cast(tf.math.real(x), wanted) if x.dtype.is_complex else tf.cast(x, wanted)


def _bitcast(node: Node) -> Any:
    """The same bits; numbers of another width have one axis more or less at the end."""
    return tf.bitcast(node.any(0), tf.as_dtype(node.output_dtype()))


def _bucketize(node: Node) -> Any:
    boundaries = [float(boundary) for boundary in node.options.boundaries]
    return tf.raw_ops.Bucketize(input=node.any(0), boundaries=boundaries)


def _fake_quant(node: Node) -> Any:
    options = node.options
    return tf.quantization.fake_quant_with_min_max_args(
        node.any(0), options.min, options.max, options.numBits)


def _select(node: Node) -> Any:
    """``SELECT`` with a condition of rank 1 chooses rows; otherwise both broadcast."""
    condition, x, y = node.value(0), node.value(1), node.value(2)
    if node.operator.name == "SELECT" and condition.rank == 1 < max(x.rank, y.rank):
        rank = max(x.rank, y.rank)
        x_, y_ = node.aligned(1, 2)
        chosen = node.full(0)
        for _ in range(rank - 1):
            chosen = tf.expand_dims(chosen, -1)
        return tf.where(chosen, x_, y_)
    return tf.where(*node.aligned(0, 1, 2))


ELEMENTWISE: Mapping[str, Callable[[Node], Any]] = {
    "ABS": _unary(tf.abs),
    "ADD": _arithmetic(tf.add),
    "ADD_N": _add_n,
    "ATAN2": _binary(tf.math.atan2),
    "BITCAST": _bitcast,
    "BITWISE_XOR": _binary(tf.bitwise.bitwise_xor),
    "BUCKETIZE": _bucketize,
    "CAST": _cast,
    "CEIL": _unary(tf.math.ceil),
    "COMPLEX_ABS": _unary(tf.abs),
    "COS": _unary(tf.cos),
    "DIV": _divide,
    "EQUAL": _binary(tf.equal),
    "EXP": _unary(tf.exp),
    "FAKE_QUANT": _fake_quant,
    "FLOOR": _unary(tf.floor),
    "FLOOR_DIV": _binary(tf.math.floordiv),
    "FLOOR_MOD": _binary(tf.math.floormod),
    "GREATER": _binary(tf.greater),
    "GREATER_EQUAL": _binary(tf.greater_equal),
    "IMAG": _unary(tf.math.imag),
    "LESS": _binary(tf.less),
    "LESS_EQUAL": _binary(tf.less_equal),
    "LOG": _unary(tf.math.log),
    "LOGICAL_AND": _binary(tf.logical_and),
    "LOGICAL_NOT": _unary(tf.logical_not),
    "LOGICAL_OR": _binary(tf.logical_or),
    "MAXIMUM": _binary(tf.maximum),
    "MINIMUM": _binary(tf.minimum),
    "MUL": _arithmetic(tf.multiply),
    "NEG": _unary(tf.negative),
    "NOT_EQUAL": _binary(tf.not_equal),
    "POW": _binary(tf.pow),
    "REAL": _unary(tf.math.real),
    "RIGHT_SHIFT": _binary(tf.bitwise.right_shift),
    "ROUND": _unary(tf.round),
    "RSQRT": _unary(tf.math.rsqrt),
    "SELECT": _select,
    "SELECT_V2": _select,
    "SIGN": _unary(tf.sign),
    "SIN": _unary(tf.sin),
    "SQRT": _unary(tf.sqrt),
    "SQUARE": _unary(tf.square),
    "SQUARED_DIFFERENCE": _binary(tf.math.squared_difference),
    "SUB": _arithmetic(tf.subtract),
    "ZEROS_LIKE": _unary(tf.zeros_like),
}
