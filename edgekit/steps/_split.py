"""The edit of ``factorize``: one operator of the file becomes two.

The last of the two gives the original's output tensor, with its bias and activation, so that
nothing else in the graph changes, and tensors keep their indices.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import edit
from edgekit.core.graph import Operator, Subgraph

Weights = NDArray[np.float32]

# LiteRT's convolution does not run without a bias; its fully connected layer does.
NEEDS_BIAS = frozenset({"CONV_2D"})


class Splitter:
    """Splits operators of one file.

    Attributes:
        objects: The file as ``ModelT``; it is edited in place.
    """

    def __init__(self, objects: Any) -> None:  # noqa: ANN401 - ModelT of the generated schema
        self.objects = objects
        self._taken = {edit.name_of(tensor) for subgraph in objects.subgraphs
                       for tensor in subgraph.tensors}

    def split(
        self, subgraph: Subgraph, operator: Operator, name: str, weights: tuple[Weights, Weights],
        *, separable: bool,
    ) -> None:  # fmt: skip
        """Put two operators where one was; operators before it must not have moved.

        Args:
            subgraph: Where it is, in the file as it was.
            operator: A FULLY_CONNECTED or CONV_2D whose weight nobody else uses.
            name: Of the layer; the new tensors' names begin with it.
            weights: Of the two, as ``low_rank.as_layers`` gives them.
            separable: Whether they are along the height and along the width.
        """
        place = self.objects.subgraphs[subgraph.index]
        last = place.operators[operator.index]
        first_weights, second_weights = weights
        rank = len(first_weights)
        source, weight, *bias = last.inputs
        # The old weight's place in the list is taken, so that no tensor is left unused.
        old = place.tensors[weight]
        self.objects.buffers[old.buffer].data = _bytes(first_weights)
        place.tensors[weight] = self._tensor(f"{name}/low_rank_1", first_weights.shape, old.buffer)
        hidden = _add(place, self._hidden(subgraph, operator, name, rank, separable=separable))
        begin = copy(last)
        no_bias = -1
        if operator.name in NEEDS_BIAS:
            zeros = np.zeros(rank, np.float32)
            no_bias = _add(place, self._constant(f"{name}/low_rank_bias", zeros))
        begin.inputs, begin.outputs = [source, weight, no_bias], [hidden]
        last.inputs = [hidden, _add(place, self._constant(f"{name}/low_rank_2", second_weights)),
                       *bias]
        begin.builtinOptions, last.builtinOptions = _options(
            last.builtinOptions, operator.name, separable=separable)
        place.operators.insert(operator.index, begin)

    def _hidden(
        self, subgraph: Subgraph, operator: Operator, name: str, rank: int, *, separable: bool
    ) -> Any:  # noqa: ANN401 - TensorT
        """What lies between: the output's shape with as many channels as the rank."""
        x, output = (subgraph.tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
        shape, signature = [*output.shape[:-1], rank], [*output.shape_signature[:-1], rank]
        if separable:  # the width is still the input's
            shape[2], signature[2] = x.shape[2], x.shape_signature[2]
        made = self._tensor(f"{name}/low_rank", shape)
        made.hasRank = self.objects.subgraphs[subgraph.index].tensors[output.index].hasRank
        if signature != shape:
            made.shapeSignature = signature
        return made

    def _constant(self, name: str, values: Weights) -> Any:  # noqa: ANN401 - TensorT
        from ai_edge_litert import schema_py_generated as schema

        buffer = schema.BufferT()
        buffer.data = _bytes(values)
        self.objects.buffers.append(buffer)
        return self._tensor(name, values.shape, len(self.objects.buffers) - 1)

    def _tensor(self, name: str, shape: Sequence[int], buffer: int = 0) -> Any:  # noqa: ANN401
        """A float32 tensor; buffer 0 is the empty one."""
        from ai_edge_litert import schema_py_generated as schema

        made = schema.TensorT()
        made.name, made.shape, made.buffer = self._unique(name), list(shape), buffer
        made.type = schema.TensorType.FLOAT32
        return made

    def _unique(self, name: str) -> str:
        unique, number = name, 1
        while unique in self._taken:
            number += 1
            unique = f"{name}_{number}"
        self._taken.add(unique)
        return unique


def _add(place: Any, tensor: Any) -> int:  # noqa: ANN401 - SubGraphT, TensorT
    place.tensors.append(tensor)
    return len(place.tensors) - 1


def _bytes(values: Weights) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


def _options(options: Any, kind: str, *, separable: bool) -> tuple[Any, Any]:  # noqa: ANN401
    """The options of the first and of the second operator, from those of the one.

    Strides and dilations go to the first wherever they can: what lies between is smaller then.
    """
    from ai_edge_litert import schema_py_generated as schema

    first, second = copy(options), copy(options)
    first.fusedActivationFunction = schema.ActivationFunctionType.NONE
    if kind == "FULLY_CONNECTED":
        return first, second
    second.strideH = second.dilationHFactor = 1
    if separable:
        first.strideW = first.dilationWFactor = 1
    else:
        second.strideW = second.dilationWFactor = 1
        second.padding = schema.Padding.VALID  # a kernel of 1 × 1 pads nothing
    return first, second
