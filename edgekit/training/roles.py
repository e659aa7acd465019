"""Which constants of a graph are weights that training changes."""

from collections.abc import Iterator, Mapping

import numpy as np

from edgekit.core.graph import Graph, Tensor

# Where an operator takes what was learnt. Other float constants (an epsilon, a mask, the size of
# a step) belong to the operator's meaning and stay as they are.
_LEARNT: Mapping[str, tuple[int, ...]] = {
    "BATCH_MATMUL": (0, 1),
    "CONV_2D": (1, 2),
    "CONV_3D": (1, 2),
    "CONV_3D_TRANSPOSE": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 2),
    "EMBEDDING_LOOKUP": (1,),
    "FULLY_CONNECTED": (1, 2),
    "GATHER": (0,),
    "PRELU": (1,),
    "TRANSPOSE_CONV": (1, 3),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 24)),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 3),
}
# A scale or a shift for each channel is learnt; one number for all is a factor of the formula.
_PER_CHANNEL = frozenset({"ADD", "DIV", "MUL", "SUB"})


def is_trained(graph: Graph, tensor: Tensor) -> bool:
    """Whether training changes a constant.

    Args:
        graph: The graph.
        tensor: One of its float constants.
    """
    return any(position in _LEARNT.get(name, ()) or _is_per_channel(graph, name, tensor)
               for name, position in uses(graph, tensor))


def uses(graph: Graph, tensor: Tensor) -> Iterator[tuple[str, int]]:
    """Operator and input position of each use of a constant's data."""
    for subgraph, operator in graph.operators():
        for position, index in enumerate(operator.inputs):
            if index >= 0 and subgraph.tensors[index].buffer == tensor.buffer:
                yield operator.name, position


def _is_per_channel(graph: Graph, name: str, tensor: Tensor) -> bool:
    if name not in _PER_CHANNEL or tensor.elements < 2 or tensor.elements != max(tensor.shape):
        return False
    values = graph.values(tensor)
    return bool(np.isfinite(values).all() and np.abs(values).max() < 1e6)  # a mask is neither
