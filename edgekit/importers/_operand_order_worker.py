"""Runs in the child process: keeps TensorFlow's converter from exchanging operands.

Its pass ``push-transpose-through-ewise`` moves a transpose behind the arithmetic that follows it,
and puts the transposed operand first whether it was first or not. So ``1 - transpose(x)`` becomes
``transpose(x - 1)``, and ``1 / transpose(x)`` becomes ``transpose(x)``. It does that where the
constant has no axes or as many as the tensor; so here such a constant is given another rank.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

_ORDERED = {"Sub": tf.raw_ops.Sub, "RealDiv": tf.raw_ops.RealDiv, "Div": tf.raw_ops.Div,
            "TruncateDiv": tf.raw_ops.TruncateDiv}  # fmt: skip
_RECIPROCAL = frozenset({"Reciprocal", "Inv"})


def keep_operand_order(graph: Any) -> None:  # noqa: ANN401 - FuncGraph
    """Replace operations whose first operand is a constant, in a graph that is being traced.

    Results that the graph gives away have to be copies (``tf.identity``): what uses a replaced
    operation is connected to the new one, and the list of results is nobody's input yet.
    """
    for operation in graph.get_operations():
        constant, tensor = _operands(operation)
        if constant is None or tensor.shape.rank in (None, 0):
            continue
        users = list(operation.outputs[0].consumers())
        with graph.as_default(), tf.control_dependencies(None):
            new = _apart(_ORDERED.get(operation.type, tf.raw_ops.RealDiv), constant, tensor)
            new.set_shape(operation.outputs[0].shape)
        for user in users:
            for position, used in enumerate(user.inputs):
                if used is operation.outputs[0]:
                    user._update_input(position, new)  # noqa: SLF001


def _operands(operation: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """The constant and what is subtracted from it or divides it; None where it is not that."""
    if operation.type in _RECIPROCAL:
        tensor = operation.inputs[0]
        return np.ones(1, tensor.dtype.as_numpy_dtype), tensor
    if operation.type not in _ORDERED:
        return None, None
    first, second = operation.inputs
    return tf.get_static_value(first), second


def _apart(function: Any, constant: Any, tensor: Any) -> Any:  # noqa: ANN401
    """The same arithmetic with a constant of another rank than the tensor's."""
    shape = list(constant.shape)
    while len(shape) > 1 and shape[0] == 1:
        del shape[0]
    shape = shape or [1]
    rank = tensor.shape.rank
    if len(shape) != rank or rank == 1:
        return function(x=tf.constant(constant.reshape(shape)), y=tensor)
    if not tensor.shape.is_fully_defined() or math.prod(tensor.shape) == 0:
        return function(x=tf.constant(constant), y=tensor)
    # Of the same rank in truth: a reshape comes between it and the transpose.
    result = function(x=tf.constant(constant[None]), y=tf.reshape(tensor, [1, *tensor.shape]))
    return tf.reshape(result, result.shape[1:])
