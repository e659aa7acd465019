"""Which constants of a graph are weights that training changes."""

from collections.abc import Iterator, Mapping

import numpy as np

from edgekit.core.graph import Graph, Tensor

# Where an operator takes what was learnt. Other float constants (an epsilon, a mask, the size of
# a step) belong to the operator's meaning and stay as they are.
LEARNT: Mapping[str, tuple[int, ...]] = {
    "BATCH_MATMUL": (0, 1),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 35), *range(40, 48)),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 3, 5, 6, 7, 10, 11),
    "CONV_2D": (1, 2),
    "CONV_3D": (1, 2),
    "CONV_3D_TRANSPOSE": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 2),
    "EMBEDDING_LOOKUP": (1,),
    "FULLY_CONNECTED": (1, 2),
    "GATHER": (0,),
    "LSTM": (*range(1, 18), *range(20, 24)),
    "PRELU": (1,),
    "RNN": (1, 2, 3),
    "SVDF": (1, 2, 3),
    "TRANSPOSE_CONV": (1, 3),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 18), *range(20, 24)),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 3),
}
# A scale, a shift or an embedding of positions is learnt; one number for all is a factor of the
# formula, and a mask has values that nothing learns.
_TERMS = frozenset({"ADD", "DIV", "MUL", "SUB"})
_MASKING = 1e6


def is_trained(graph: Graph, tensor: Tensor) -> bool:
    """Whether training changes a constant.

    Args:
        graph: The graph.
        tensor: One of its float constants.
    """
    return any(position in LEARNT.get(name, ()) or (name in _TERMS and _is_term(graph, tensor))
               for name, position in _uses(graph, tensor))


def _uses(graph: Graph, tensor: Tensor) -> Iterator[tuple[str, int]]:
    """Operator and input position of each use of a constant's data."""
    for subgraph, operator in graph.operators():
        for position, index in enumerate(operator.inputs):
            if index >= 0 and subgraph.tensors[index].buffer == tensor.buffer:
                yield operator.name, position


def _is_term(graph: Graph, tensor: Tensor) -> bool:
    return tensor.elements > 1 and bool(np.all(np.abs(graph.values(tensor)) < _MASKING))
