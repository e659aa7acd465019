"""Multiply-accumulates (MACs) of one inference, counted from shapes alone.

The convention is that of the MobileNet, MLPerf Tiny and TinyML papers (Howard et al. 2017,
arXiv:1704.04861, section 3.1): a MAC is a product of a weight (or of the second factor of a
matrix product) that is added to an accumulator, in a dense evaluation.

- Products with padding zeros and with pruned weights count: the kernel is dense.
- Biases, activations, element-wise arithmetic (ADD, MUL, peepholes of an LSTM), pooling,
  normalisation, reductions, interpolation and data movement count 0.
- One MAC is two FLOPs in papers that count those.
- Bodies of control flow count once each: WHILE at least that much, IF at most that much.

An operator whose work is not known from its shapes (custom operators, an FFT, open dimensions)
is None, and so is a sum that it is part of.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from edgekit.core.graph import Graph, Operator, Subgraph, Tensor

# Everything that moves, compares, activates, reduces, pools or combines element by element.
NO_MACS = frozenset(
    """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE ATAN2 AVERAGE_POOL_2D BATCH_TO_SPACE_ND BITCAST
    BITWISE_XOR BROADCAST_ARGS BROADCAST_TO BUCKETIZE CALL CALL_ONCE CAST CEIL COMPLEX_ABS
    CONCATENATION CONCAT_EMBEDDINGS COS CUMSUM DENSIFY DEPTH_TO_SPACE DEQUANTIZE DILATE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FAKE_QUANT FILL FLOOR FLOOR_DIV
    FLOOR_MOD GATHER GATHER_ND GELU GREATER GREATER_EQUAL HARD_SWISH HASHTABLE HASHTABLE_FIND
    HASHTABLE_IMPORT HASHTABLE_LOOKUP HASHTABLE_SIZE IF IMAG L2_NORMALIZATION L2_POOL_2D LEAKY_RELU
    LESS LESS_EQUAL LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC
    LOG_SOFTMAX LSH_PROJECTION MATRIX_DIAG MATRIX_SET_DIAG MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL MULTINOMIAL NEG NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 NOT_EQUAL ONE_HOT
    PACK PAD PADV2 POW PRELU QUANTIZE RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANGE RANK
    READ_VARIABLE REAL REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD REDUCE_WINDOW RELU
    RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE
    REVERSE_V2 RIGHT_SHIFT ROUND RSQRT SCATTER_ND SEGMENT_SUM SELECT SELECT_V2 SHAPE SIGN SIN
    SKIP_GRAM SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPARSE_TO_DENSE SPLIT SPLIT_V SQRT
    SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TILE TOPK_V2 TRANSPOSE UNIQUE
    UNPACK UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_SUM
    VAR_HANDLE WHERE WHILE ZEROS_LIKE
    STABLEHLO_ABS STABLEHLO_ADD STABLEHLO_AND STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CASE
    STABLEHLO_CBRT STABLEHLO_CLAMP STABLEHLO_COMPARE STABLEHLO_COMPOSITE STABLEHLO_CONCATENATE
    STABLEHLO_CONVERT STABLEHLO_COSINE STABLEHLO_DIVIDE STABLEHLO_DYNAMIC_SLICE
    STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_GATHER
    STABLEHLO_IOTA STABLEHLO_LOG STABLEHLO_LOGISTIC STABLEHLO_MAXIMUM STABLEHLO_MINIMUM
    STABLEHLO_MULTIPLY STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_PAD STABLEHLO_POWER
    STABLEHLO_REDUCE STABLEHLO_REDUCE_WINDOW STABLEHLO_REMAINDER STABLEHLO_RESHAPE
    STABLEHLO_RNG_BIT_GENERATOR STABLEHLO_RSQRT STABLEHLO_SCATTER STABLEHLO_SELECT
    STABLEHLO_SHIFT_LEFT STABLEHLO_SLICE STABLEHLO_SORT STABLEHLO_SUBTRACT STABLEHLO_TANH
    STABLEHLO_TRANSPOSE STABLEHLO_WHILE
    """.split()  # noqa: SIM905 - a list of 190 quoted names is not easier to read
)

# Work that shapes do not tell; CUSTOM:* and operators newer than this table are the same.
UNKNOWN_MACS = frozenset(
    {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES", "RFFT2D", "STABLEHLO_CUSTOM_CALL"}
)

# The options' fields that name other subgraphs.
_BODY_FIELDS = (
    "thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex",
    "initSubgraphIndex", "subgraph", "decompositionSubgraphIndex", "branchSubgraphIndices",
    "comparatorSubgraphIndex", "updateComputationSubgraphIndex",
)  # fmt: skip


class _UnknownError(Exception):
    """The shapes do not tell."""


class _Shapes:
    """Shapes of one operator's operands, or ``_UnknownError``."""

    def __init__(self, subgraph: Subgraph, operator: Operator) -> None:
        self._tensors = subgraph.tensors
        self._operator = operator

    def input(self, position: int, rank: int | None = None) -> tuple[int, ...]:
        """The shape of an input that must be there."""
        indices = self._operator.inputs
        if not 0 <= position < len(indices) or indices[position] < 0:
            raise _UnknownError
        return self._shape(self._tensors[indices[position]], rank)

    def output(self, rank: int | None = None) -> tuple[int, ...]:
        """The shape of the first output."""
        if not self._operator.outputs:
            raise _UnknownError
        return self._shape(self._tensors[self._operator.outputs[0]], rank)

    def weights(self, *positions: int) -> int:
        """Elements of several weight matrices; absent optional ones count 0."""
        indices = self._operator.inputs
        present = [p for p in positions if p < len(indices) and indices[p] >= 0]
        if not present:
            raise _UnknownError
        return sum(prod(self.input(p, 2)) for p in present)

    def option(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """A field of the options table."""
        return getattr(self._operator.options, name, default)

    @staticmethod
    def _shape(tensor: Tensor, rank: int | None) -> tuple[int, ...]:
        if is_open(tensor) or (rank is not None and len(tensor.shape) != rank):
            raise _UnknownError
        return tensor.shape


def is_open(tensor: Tensor) -> bool:
    """Whether a dimension's size is not in the file; an open batch stored as 1 is simply 1."""
    return len(tensor.shape_signature) == len(tensor.shape) and any(
        size == -1 and (axis > 0 or stored != 1)
        for axis, (size, stored) in enumerate(zip(tensor.shape_signature, tensor.shape,
                                                  strict=True))
    )


def _conv_2d(at: _Shapes) -> int:
    """Weights ``(out, kh, kw, in / groups)``: each output is one sum over the last three."""
    return prod(at.output(4)) * prod(at.input(1, 4)[1:])


def _depthwise_conv_2d(at: _Shapes) -> int:
    """Weights ``(1, kh, kw, out)``: each output sums over one channel's window."""
    return prod(at.output(4)) * prod(at.input(1, 4)[1:3])


def _conv_3d(at: _Shapes) -> int:
    """Weights ``(kd, kh, kw, in / groups, out)``."""
    return prod(at.output(5)) * prod(at.input(1, 5)[:4])


def _transpose_conv(at: _Shapes) -> int:
    """Inputs: shape, weights ``(out, kh, kw, in)``, image; each pixel is spread over a window.

    What falls outside under SAME padding counts: the kernels compute it, then crop.
    """
    out, height, width, _ = at.input(1, 4)
    return prod(at.input(2, 4)) * height * width * out


def _conv_3d_transpose(at: _Shapes) -> int:
    """Inputs: shape, weights ``(kd, kh, kw, out, in)``, volume."""
    return prod(at.input(2, 5)) * prod(at.input(1, 5)[:4])


def _fully_connected(at: _Shapes) -> int:
    """Weights ``(out, in)``."""
    return prod(at.output()) * at.input(1, 2)[1]


def _batch_matmul(at: _Shapes) -> int:
    """``(..., n, k) × (..., k, m)``; ``adjX`` means that the first comes as ``(..., k, n)``."""
    left = at.input(0)
    if len(left) < 2:
        raise _UnknownError
    return prod(at.output()) * left[-2 if at.option("adjX") else -1]


def _steps(at: _Shapes, position: int = 0) -> int:
    """Batch times time: all of a sequence's vectors."""
    shape = at.input(position)
    if not shape:
        raise _UnknownError
    return prod(shape[:-1])


def _sequence_lstm(at: _Shapes) -> int:
    """Inputs 1-4 input weights, 5-8 recurrent weights, 16 projection; all ``(out, in)``."""
    if at.option("diagonalRecurrentTensors"):
        return _steps(at) * at.weights(*range(1, 5), 16)
    return _steps(at) * at.weights(*range(1, 9), 16)


def _lstm(at: _Shapes) -> int:
    """The full kernel's inputs are the sequence's; the basic one has one matrix of all gates."""
    if at.option("kernelType") == 1:  # BASIC: data, previous output, weights (4·units, in+units)
        return _steps(at) * prod(at.input(2, 2))
    return _steps(at) * at.weights(*range(1, 9), 16)


def _bidirectional_lstm(at: _Shapes) -> int:
    """Forwards 1-8 and 16, backwards 18-25 and 33, auxiliary input 40-47."""
    gates = [*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)]
    return _steps(at) * at.weights(*gates)


def _rnn(at: _Shapes) -> int:
    """Input weights ``(units, in)``, recurrent weights ``(units, units)``."""
    return _steps(at) * at.weights(1, 2)


def _bidirectional_rnn(at: _Shapes) -> int:
    """Forwards 1-2, backwards 5-6, auxiliary input 10-11."""
    return _steps(at) * at.weights(1, 2, 5, 6, 10, 11)


def _svdf(at: _Shapes) -> int:
    """Feature weights ``(filters, in)`` and time weights ``(filters, memory)``."""
    return _steps(at) * at.weights(1, 2)


def _embedding_lookup_sparse(at: _Shapes) -> int:
    """Each looked-up row of input 4 is scaled and added."""
    return prod(at.input(0)) * prod(at.input(4)[1:])


def _dot_general(at: _Shapes) -> int:
    """Each output sums over the contracted dimensions of the left side."""
    left, axes = at.input(0), at.option("lhsContractingDimensions")
    if axes is None or any(not 0 <= axis < len(left) for axis in axes):
        raise _UnknownError
    return prod(at.output()) * prod(left[int(axis)] for axis in axes)


def _stablehlo_convolution(at: _Shapes) -> int:
    """Each output sums over the kernel without its output-feature dimension."""
    kernel, axis = at.input(1), at.option("kernelOutputFeatureDimension")
    if axis is None or not 0 <= axis < len(kernel):
        raise _UnknownError
    return prod(at.output()) * prod(kernel[:axis] + kernel[axis + 1 :])


COUNTED: dict[str, Callable[[_Shapes], int]] = {
    "BATCH_MATMUL": _batch_matmul,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _bidirectional_lstm,
    "BIDIRECTIONAL_SEQUENCE_RNN": _bidirectional_rnn,
    "CONV_2D": _conv_2d,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "EMBEDDING_LOOKUP_SPARSE": _embedding_lookup_sparse,
    "FULLY_CONNECTED": _fully_connected,
    "LSTM": _lstm,
    "RNN": _rnn,
    "STABLEHLO_CONVOLUTION": _stablehlo_convolution,
    "STABLEHLO_DOT_GENERAL": _dot_general,
    "SVDF": _svdf,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence_lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _rnn,
}


def macs_of(subgraph: Subgraph, operator: Operator) -> int | None:
    """MACs of one operator, without the bodies that it calls.

    Returns:
        0 for everything that only moves or combines elements; None when unknown.
    """
    rule = COUNTED.get(operator.name)
    if rule is None:
        return 0 if operator.name in NO_MACS else None
    try:
        return rule(_Shapes(subgraph, operator))
    except _UnknownError:
        return None


def bodies_of(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """Indices of the subgraphs that an operator calls: branches, bodies, conditions."""
    found: list[int] = []
    for field in _BODY_FIELDS:
        value = getattr(operator.options, field, None)
        if value is None:
            continue
        # One number, or a vector of them: the generated schema gives both.
        for index in value if hasattr(value, "__len__") else [value]:
            if 0 <= index < len(graph.subgraphs) and int(index) not in found:
                found.append(int(index))
    return tuple(found)


def called_subgraphs(graph: Graph) -> Iterator[Subgraph]:
    """The main subgraph and every body that it reaches, each once."""
    waiting, seen = [graph.main.index], {graph.main.index}
    while waiting:
        subgraph = graph.subgraphs[waiting.pop(0)]
        yield subgraph
        for operator in subgraph.operators:
            for body in bodies_of(graph, operator):
                if body not in seen:
                    seen.add(body)
                    waiting.append(body)


def total_macs(graph: Graph) -> int | None:
    """MACs of one inference; None as soon as one operator's are unknown.

    Each body of IF, WHILE or CALL counts once, however often it runs; see the module.
    """
    total = 0
    for subgraph in called_subgraphs(graph):
        for operator in subgraph.operators:
            macs = macs_of(subgraph, operator)
            if macs is None:
                return None
            total += macs
    return total
