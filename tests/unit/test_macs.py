"""MACs against values computed by hand, one for each kind of operator."""

from itertools import product

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers_builder import FlatbufferBuilder, small_net
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.graph import Graph, read_graph
from edgekit.core.macs import (
    COUNTED,
    NO_MACS,
    UNKNOWN_MACS,
    bodies_of,
    called_subgraphs,
    macs_of,
    total_macs,
)

Shape = tuple[int, ...] | None


def graph_of(
    name: str, inputs: list[Shape], output: tuple[int, ...], options: str | None = None,
    **fields: object,
) -> Graph:  # fmt: skip
    """A graph of one operator; None is an absent optional input."""
    file = FlatbufferBuilder()
    indices = [-1 if shape is None else file.tensor(f"in{i}", shape)
               for i, shape in enumerate(inputs)]
    result = file.tensor("out", output)
    file.operator(name, indices, [result], options, **fields)
    file.output(result)
    return read_graph(file.build())


def macs(*args: object, **fields: object) -> int | None:
    graph = graph_of(*args, **fields)  # type: ignore[arg-type]
    return macs_of(graph.main, graph.main.operators[0])


LSTM_GATES = [(5, 3)] * 4 + [(5, 5)] * 4  # 5 units over 3 features: 60 + 100 weights
CIFG_GATES = [None, *[(5, 3)] * 3, None, *[(5, 5)] * 3]  # without an input gate: 45 + 75
LSTM_REST = [None] * 3 + [(5,)] * 4  # no peepholes; biases
BACKWARD = [(4, 3)] * 4 + [(4, 4)] * 4 + [None] * 3 + [(4,)] * 4 + [None, None]  # 48 + 64
AUXILIARY = [(1, 7, 2)] + [(5, 2)] * 4 + [(4, 2)] * 4  # 40 + 32

CASES: dict[str, tuple[int | None, list[object], dict[str, object]]] = {
    # 1·7·6·8 outputs, each a sum over 3·2·3 products.
    "conv": (7 * 6 * 8 * 18, ["CONV_2D", [(1, 9, 7, 3), (8, 3, 2, 3), (8,)], (1, 7, 6, 8),
                              "Conv2DOptions"], {"strideW": 1, "strideH": 1}),
    # 6 input channels in 3 groups: each of the 9 outputs sees 2 of them.
    "grouped conv": (4 * 4 * 9 * 3 * 3 * 2,
                     ["CONV_2D", [(1, 4, 4, 6), (9, 3, 3, 2), None], (1, 4, 4, 9)], {}),
    "batch of 3": (3 * 16 * 8 * 5, ["CONV_2D", [(3, 4, 4, 5), (8, 1, 1, 5), None], (3, 4, 4, 8)],
                   {}),
    # Multiplier 2: 6 outputs for 3 channels, each over its own 5·5 window.
    "depthwise": (8 * 8 * 6 * 25, ["DEPTHWISE_CONV_2D", [(1, 8, 8, 3), (1, 5, 5, 6), (6,)],
                                   (1, 8, 8, 6)], {}),
    "conv 3d": (2 * 4 * 4 * 7 * (2 * 3 * 3 * 5),
                ["CONV_3D", [(1, 3, 6, 6, 5), (2, 3, 3, 5, 7), (7,)], (1, 2, 4, 4, 7)], {}),
    # Each of 5·5·6 input values is multiplied with a 4·4 window for each of 3 outputs.
    "transpose conv": (5 * 5 * 6 * 4 * 4 * 3,
                       ["TRANSPOSE_CONV", [(4,), (3, 4, 4, 6), (1, 5, 5, 6)], (1, 10, 10, 3)], {}),
    "conv 3d transpose": (2 * 3 * 3 * 6 * (2 * 2 * 2 * 4),
                          ["CONV_3D_TRANSPOSE", [(5,), (2, 2, 2, 4, 6), (1, 2, 3, 3, 6)],
                           (1, 4, 6, 6, 4)], {}),
    "fully connected": (10 * 64, ["FULLY_CONNECTED", [(1, 64), (10, 64), (10,)], (1, 10)], {}),
    "fully connected, 3 dimensions": (12 * 10 * 64,
                                      ["FULLY_CONNECTED", [(1, 12, 64), (10, 64), None],
                                       (1, 12, 10), "FullyConnectedOptions"],
                                      {"keepNumDims": True}),
    "fully connected, vector out": (10 * 64, ["FULLY_CONNECTED", [(64,), (10, 64), None], (10,)],
                                    {}),
    "matmul": (4 * 2 * 3 * 5, ["BATCH_MATMUL", [(4, 2, 5), (4, 5, 3)], (4, 2, 3),
                               "BatchMatMulOptions"], {}),
    "matmul, first adjoint": (4 * 2 * 3 * 5, ["BATCH_MATMUL", [(4, 5, 2), (4, 5, 3)], (4, 2, 3),
                                              "BatchMatMulOptions"], {"adjX": True}),
    "matmul, second adjoint": (4 * 2 * 3 * 5, ["BATCH_MATMUL", [(4, 2, 5), (4, 3, 5)], (4, 2, 3),
                                               "BatchMatMulOptions"], {"adjY": True}),
    "matmul, broadcast": (6 * 4 * 2 * 3 * 5, ["BATCH_MATMUL", [(6, 1, 2, 5), (4, 5, 3)],
                                              (6, 4, 2, 3), "BatchMatMulOptions"], {}),
    "sequence lstm": (7 * 160, ["UNIDIRECTIONAL_SEQUENCE_LSTM",
                                [(1, 7, 3), *LSTM_GATES, *LSTM_REST, None, None, (1, 5), (1, 5)],
                                (1, 7, 5), "UnidirectionalSequenceLSTMOptions"], {}),
    "sequence lstm, no input gate": (7 * 120, ["UNIDIRECTIONAL_SEQUENCE_LSTM",
                                               [(1, 7, 3), *CIFG_GATES, *LSTM_REST, None, None,
                                                (1, 5), (1, 5)], (1, 7, 5)], {}),
    # The recurrent weights see the projected output of 2, the projection is 2 · 5.
    "sequence lstm, projected": (7 * (60 + 40 + 10),
                                 ["UNIDIRECTIONAL_SEQUENCE_LSTM",
                                  [(1, 7, 3), *[(5, 3)] * 4, *[(5, 2)] * 4, *LSTM_REST, (2, 5),
                                   None, (1, 2), (1, 5)], (1, 7, 2)], {}),
    "sequence lstm, diagonal": (7 * 60, ["UNIDIRECTIONAL_SEQUENCE_LSTM",
                                         [(1, 7, 3), *[(5, 3)] * 4, *[(5,)] * 4, *LSTM_REST, None,
                                          None, (1, 5), (1, 5)], (1, 7, 5),
                                         "UnidirectionalSequenceLSTMOptions"],
                                {"diagonalRecurrentTensors": True}),
    "lstm": (2 * 160, ["LSTM", [(2, 3), *LSTM_GATES, *LSTM_REST, None, None, (2, 5), (2, 5)],
                       (2, 5), "LSTMOptions"], {}),
    "basic lstm": (2 * 20 * 8, ["LSTM", [(2, 3), (2, 5), (20, 8), (20,), (2, 5)], (2, 5),
                                "LSTMOptions"], {"kernelType": 1}),
    "bidirectional lstm": (7 * (160 + 112),
                           ["BIDIRECTIONAL_SEQUENCE_LSTM",
                            [(1, 7, 3), *LSTM_GATES, *LSTM_REST, None, None, *BACKWARD,
                             (1, 5), (1, 5), (1, 4), (1, 4)], (1, 7, 5)], {}),
    "bidirectional lstm, auxiliary": (7 * (160 + 112 + 72),
                                      ["BIDIRECTIONAL_SEQUENCE_LSTM",
                                       [(1, 7, 3), *LSTM_GATES, *LSTM_REST, None, None, *BACKWARD,
                                        (1, 5), (1, 5), (1, 4), (1, 4), *AUXILIARY],
                                       (1, 7, 5)], {}),
    "rnn": (2 * (15 + 25), ["RNN", [(2, 3), (5, 3), (5, 5), (5,), (2, 5)], (2, 5)], {}),
    "sequence rnn": (7 * 40, ["UNIDIRECTIONAL_SEQUENCE_RNN",
                              [(1, 7, 3), (5, 3), (5, 5), (5,), (1, 5)], (1, 7, 5)], {}),
    "bidirectional rnn": (7 * (40 + 28), ["BIDIRECTIONAL_SEQUENCE_RNN",
                                          [(1, 7, 3), (5, 3), (5, 5), (5,), (1, 5), (4, 3), (4, 4),
                                           (4,), (1, 4), None, None, None], (1, 7, 5)], {}),
    # 8 filters over 16 features, then over 10 steps of memory.
    "svdf": (8 * 16 + 8 * 10, ["SVDF", [(1, 16), (8, 16), (8, 10), (4,), (1, 80)], (1, 4)], {}),
    "embedding": (0, ["EMBEDDING_LOOKUP", [(9,), (100, 16)], (9, 16)], {}),
    "sparse embedding": (9 * 16, ["EMBEDDING_LOOKUP_SPARSE",
                                  [(9,), (9, 2), (2,), (9,), (100, 16)], (4, 16)], {}),
    "stablehlo dot": (4 * 2 * 3 * 5, ["STABLEHLO_DOT_GENERAL", [(4, 2, 5), (4, 5, 3)], (4, 2, 3),
                                      "StablehloDotGeneralOptions"],
                      {"lhsContractingDimensions": [2], "rhsContractingDimensions": [1]}),
    # Kernel (kh, kw, in, out): 3·3·4 products for each output.
    "stablehlo conv": (6 * 6 * 8 * 36, ["STABLEHLO_CONVOLUTION", [(1, 8, 8, 4), (3, 3, 4, 8)],
                                        (1, 6, 6, 8), "StablehloConvolutionOptions"],
                       {"kernelOutputFeatureDimension": 3}),
    "element-wise": (0, ["MUL", [(1, 64), (1, 64)], (1, 64), "MulOptions"], {}),
    "data movement": (0, ["TRANSPOSE", [(2, 3), (2,)], (3, 2)], {}),
    "pooling": (0, ["AVERAGE_POOL_2D", [(1, 4, 4, 3)], (1, 2, 2, 3)], {}),
    "custom": (None, ["CUSTOM:Mine", [(1, 4)], (1, 4)], {}),
    "fft": (None, ["RFFT2D", [(1, 4, 4), (2,)], (1, 4, 3)], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hand_computed(case: str) -> None:
    expected, arguments, fields = CASES[case]
    assert macs(*arguments, **fields) == expected


def test_every_counted_operator_has_a_hand_computed_case() -> None:
    assert set(COUNTED) <= {str(arguments[0]) for _, arguments, _ in CASES.values()}


def test_every_operator_of_the_schema_is_in_exactly_one_table() -> None:
    names = {name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    tables = (set(COUNTED), set(NO_MACS), set(UNKNOWN_MACS))
    assert names == set.union(*tables)
    assert sum(map(len, tables)) == len(names)


sizes = st.integers(1, 4)


@given(sizes, sizes, sizes, sizes, sizes, sizes)
def test_convolution_is_its_loops(
    height: int, width: int, out: int, kh: int, kw: int, channels: int
) -> None:
    loops = product(*map(range, (height, width, out, kh, kw, channels)))
    counted = macs("CONV_2D", [(1, height + kh - 1, width + kw - 1, channels),
                               (out, kh, kw, channels), None], (1, height, width, out))
    assert counted == sum(1 for _ in loops)


@given(sizes, sizes, sizes, sizes)
def test_matrix_product_is_its_loops(batch: int, rows: int, columns: int, inner: int) -> None:
    loops = product(*map(range, (batch, rows, columns, inner)))
    counted = macs("BATCH_MATMUL", [(batch, rows, inner), (batch, inner, columns)],
                   (batch, rows, columns))
    assert counted == sum(1 for _ in loops)


@pytest.mark.parametrize("arguments", [
    ["CONV_2D", [(1, 4, 4, 3)], (1, 4, 4, 8)],  # no weights
    ["CONV_2D", [(1, 4, 4, 3), None, None], (1, 4, 4, 8)],
    ["CONV_2D", [(1, 4, 4, 3), (8, 3), None], (1, 4, 4, 8)],  # a rank that cannot be
    ["CONV_2D", [(1, 4, 4, 3), (8, 3, 3, 3), None], ()],  # shape not recorded
    ["LSTM", [(1, 3)], (1, 5)],
    ["LSTM", [()], ()],
    ["BATCH_MATMUL", [(5,), (5, 3)], (3,)],
    ["STABLEHLO_DOT_GENERAL", [(2, 5), (5, 3)], (2, 3)],  # no options
])  # fmt: skip
def test_a_malformed_operator_is_unknown(arguments: list[object]) -> None:
    assert macs(*arguments) is None


def test_an_open_size_is_unknown() -> None:
    file = FlatbufferBuilder()
    x = file.input("x", (1, 1, 64), signature=(1, -1, 64))
    w = file.constant("w", np.zeros((10, 64), np.float32))
    y = file.tensor("y", (1, 1, 10), signature=(1, -1, 10))
    file.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions", keepNumDims=True)
    file.output(y)
    assert total_macs(read_graph(file.build())) is None


def test_an_open_batch_stored_as_one_is_one() -> None:
    file = FlatbufferBuilder()
    x = file.input("x", (1, 64), signature=(-1, 64))
    w = file.constant("w", np.zeros((10, 64), np.float32))
    y = file.tensor("y", (1, 10), signature=(-1, 10))
    file.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    file.output(y)
    assert total_macs(read_graph(file.build())) == 640


def test_total_of_a_network() -> None:
    # 16·16·8 outputs of 27 products; 10 of 8·8·8.
    assert total_macs(read_graph(small_net())) == 16 * 16 * 8 * 27 + 10 * 512


def test_total_is_unknown_with_a_custom_operator() -> None:
    graph = graph_of("CUSTOM:Mine", [(1, 4)], (1, 4))
    assert total_macs(graph) is None


def test_mobilenet_v1_is_what_its_paper_says() -> None:
    """569 million multiply-adds at 224 × 224 (Howard et al. 2017, table 8)."""
    file = FlatbufferBuilder()
    size, channels = 112, 32
    at = file.input("image", (1, 224, 224, 3))

    def layer(op: str, weights: tuple[int, ...], output: tuple[int, ...]) -> int:
        result = file.tensor("", output)
        file.operator(op, [at, file.tensor("", weights), -1], [result])
        return result

    at = layer("CONV_2D", (32, 3, 3, 3), (1, size, size, 32))
    widths = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5,
              (1024, 2), (1024, 1)]
    for width, stride in widths:
        size //= stride
        at = layer("DEPTHWISE_CONV_2D", (1, 3, 3, channels), (1, size, size, channels))
        at = layer("CONV_2D", (width, 1, 1, channels), (1, size, size, width))
        channels = width
    at = layer("FULLY_CONNECTED", (1000, 1024), (1, 1000))
    file.output(at)
    total = total_macs(read_graph(file.build()))
    assert total == 568_740_352
    assert round(total / 1e6) == 569


def while_graph(body_of_body: bool = False) -> Graph:
    """A loop whose body multiplies a vector with a matrix; the condition has no MACs."""
    file = FlatbufferBuilder()
    x = file.input("x", (1, 8))
    y = file.tensor("y", (1, 8))
    file.operator("WHILE", [x], [y], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    file.output(y)
    file.subgraph("condition")
    x = file.input("x", (1, 8))
    c = file.tensor("c", (1, 8), "bool")
    file.operator("LESS", [x, x], [c], "LessOptions")
    file.output(c)
    file.subgraph("body")
    x = file.input("x", (1, 8))
    w = file.constant("w", np.zeros((8, 8), np.float32))
    y = file.tensor("y", (1, 8))
    file.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    if body_of_body:  # nonsense, but a file may say so
        file.operator("WHILE", [x], [y], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    file.output(y)
    file.subgraph("not called")
    file.operator("CUSTOM:Mine", [], [])
    return read_graph(file.build())


@pytest.mark.parametrize("recursive", [False, True])
def test_bodies_count_once(recursive: bool) -> None:
    graph = while_graph(recursive)
    assert bodies_of(graph, graph.main.operators[0]) == (1, 2)
    assert [subgraph.name for subgraph in called_subgraphs(graph)] == ["main", "condition", "body"]
    assert total_macs(graph) == 64


def test_branches_of_a_case_are_found() -> None:
    file = FlatbufferBuilder()
    x = file.input("x", (1,), "int32")
    y = file.tensor("y", (1,), "int32")
    file.operator("STABLEHLO_CASE", [x], [y], "StablehloCaseOptions",
                  branchSubgraphIndices=[1, 2, 9])
    file.output(y)
    file.subgraph("a")
    file.subgraph("b")
    graph = read_graph(file.build())
    assert bodies_of(graph, graph.main.operators[0]) == (1, 2)
