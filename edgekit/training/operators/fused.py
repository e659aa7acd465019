"""Activations that other operators have fused."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from ai_edge_litert.schema_py_generated import ActivationFunctionType as Kind

from edgekit.core.errors import EdgekitError
from edgekit.training.values import Node

_FUSED: Mapping[int, Callable[[Any], Any]] = {
    Kind.NONE: lambda x: x,
    Kind.RELU: tf.nn.relu,
    Kind.RELU6: tf.nn.relu6,
    Kind.RELU_N1_TO_1: lambda x: tf.clip_by_value(x, -1.0, 1.0),
    Kind.TANH: tf.tanh,
}


def activated(node: Node, x: Any) -> Any:
    """The result of an operator behind its fused activation."""
    return activation_of(node)(x)


def activation_of(node: Node) -> Callable[[Any], Any]:
    """The activation that an operator has fused.

    Raises:
        EdgekitError: One that LiteRT itself does not compute (``SIGN_BIT``).
    """
    kind = 0 if node.options is None else node.options.fusedActivationFunction
    if kind not in _FUSED:
        raise EdgekitError(f"{node.where} has the fused activation {kind}, which nothing computes")
    return _FUSED[kind]
