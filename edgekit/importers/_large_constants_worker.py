"""Runs in the child process: large constants of a graph become variables.

TensorFlow copies a graph's constants through protocol buffers again and again on its way through
the converter, but not the variables of a SavedModel: a file of 54 MB took a gigabyte.
"""

from collections.abc import Container
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers._convert_worker import Traced

_LEAST_BYTES = 1 << 16


def constants_as_variables(traced: Traced, least_total_bytes: int) -> Traced:
    """The same function with its large constants as variables, where there are enough of them.

    Args:
        traced: Constants inside of loops and branches are left as they are.
        least_total_bytes: Below, the function is given back as it is.
    """
    function = traced.function
    graph = function.graph.as_graph_def()
    sizes = {node.name: _bytes_of(node) for node in graph.node if node.op == "Const"}
    large = {name for name, size in sizes.items() if size >= _LEAST_BYTES}
    if sum(sizes[name] for name in large) < least_total_bytes:
        return traced
    inputs = [tensor.name for tensor in function.inputs]
    outputs = [tensor.name for tensor in function.outputs]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{position}")
             for position, tensor in enumerate(function.inputs)]
    variables = {f"{node.name}:0": tf.Variable(_value(node), trainable=False)
                 for node in graph.node if node.name in large}
    graph = _without(graph, large | {name.partition(":")[0] for name in inputs})

    def call(*tensors: Any) -> list[Any]:  # noqa: ANN401
        given = dict(zip(inputs, tensors, strict=True))
        given |= {name: variable.read_value() for name, variable in variables.items()}
        given |= {name: given[name] for name in outputs if name in given}
        results = tf.graph_util.import_graph_def(
            graph, input_map=given, return_elements=outputs, name="")
        return [tf.identity(result) for result in results]

    made = tf.function(call, autograph=False).get_concrete_function(*specs)
    return Traced(made, traced.inputs, traced.outputs, variables)


def _without(graph: Any, names: Container[str]) -> Any:  # noqa: ANN401 - GraphDef
    """A copy without these nodes: a graph that nodes are deleted from keeps their memory."""
    copy = tf.compat.v1.GraphDef()
    copy.versions.CopyFrom(graph.versions)
    copy.library.CopyFrom(graph.library)
    copy.node.extend(node for node in graph.node if node.name not in names)
    return copy


def _bytes_of(node: Any) -> int:  # noqa: ANN401 - NodeDef
    tensor = node.attr["value"].tensor
    count = 1
    for size in tensor.tensor_shape.dim:
        count *= size.size
    # A constant of equal numbers is stored as one number.
    return count * tf.as_dtype(tensor.dtype).size if tensor.tensor_content else 0


def _value(node: Any) -> np.ndarray:  # noqa: ANN401 - NodeDef
    value: np.ndarray = tf.make_ndarray(node.attr["value"].tensor)
    return value
