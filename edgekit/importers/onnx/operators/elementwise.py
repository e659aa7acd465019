"""Operators that work element by element, in any order of axes."""

from typing import Any

import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator


def _unary(function: Any, spec: int) -> Operator:  # noqa: ANN401
    return Operator(lambda _node, x: function(x), spec, "elementwise")


def _binary(function: Any, spec: int) -> Operator:  # noqa: ANN401
    return Operator(lambda _node, a, b: function(a, b), spec, "elementwise")


ELEMENTWISE = {
    "Relu": _unary(tf.nn.relu, 14),
    "Sigmoid": _unary(tf.sigmoid, 13),
    "Add": _binary(tf.add, 14),
    "Mul": _binary(tf.multiply, 14),
}
