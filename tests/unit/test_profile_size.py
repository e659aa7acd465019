"""Bytes by layer and type, zeros, deflated size."""

import time
import zlib

import numpy as np
import pytest
from flatbuffers_builder import FlatbufferBuilder, small_net
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.core.graph import Graph, read_graph
from edgekit.core.model import Model, Provenance
from edgekit.profilers import ProfileSettings, size
from edgekit.profilers.size import (
    STRUCTURE,
    deflate_bytes,
    deflated,
    dtype_bytes,
    layers_of,
    sparsity_of,
    start_deflate,
)


def model_of(data: bytes) -> Model:
    return Model(data, "net", Provenance("tflite", "net.tflite"))


def constant_graph(*constants: tuple[object, dict[str, object]]) -> Graph:
    """One FULLY_CONNECTED that reads every constant (nobody runs it)."""
    file = FlatbufferBuilder()
    x = file.input("x", (1, 4))
    indices = [file.constant(f"c{i}", values, **more)  # type: ignore[arg-type]
               for i, (values, more) in enumerate(constants)]
    y = file.tensor("y", (1, 4))
    file.operator("FULLY_CONNECTED", [x, *indices], [y], "FullyConnectedOptions")
    file.output(y)
    return read_graph(file.build())


class TestLayers:
    def test_a_network(self) -> None:
        rows = [(row.name, row.op, row.dtype, row.bytes) for row in
                layers_of(read_graph(small_net()))]
        assert rows == [
            ("conv", "CONV_2D", "float32", (8 * 27 + 8) * 4),
            ("pool", "MAX_POOL_2D", "float32", 0),
            ("flat", "RESHAPE", "float32", 8),
            ("logits", "FULLY_CONNECTED", "float32", (10 * 512 + 10) * 4),
            ("scores", "SOFTMAX", "float32", 0),
        ]

    def test_a_shared_constant_counts_at_its_first_layer(self) -> None:
        file = FlatbufferBuilder()
        x = file.input("x", (1, 4))
        w = file.constant("w", np.ones((4, 4), np.float32))
        again = file.tensor("w2", (4, 4), buffer=1)
        a, b = file.tensor("a", (1, 4)), file.tensor("b", (1, 4))
        file.operator("FULLY_CONNECTED", [x, w, -1], [a])
        file.operator("FULLY_CONNECTED", [a, again, -1], [b])
        file.output(b)
        graph = read_graph(file.build())
        assert [layer.bytes for layer in layers_of(graph)] == [64, 0]
        assert dtype_bytes(graph)["float32"] == 64

    def test_names_are_made_unique(self) -> None:
        file = FlatbufferBuilder()
        at = file.input("x", (1, 4))
        for name in ("a", "a_2", "a", "a", ""):
            to = file.tensor(name, (1, 4))
            file.operator("TANH", [at], [to])
            at = to
        file.output(at)
        names = [layer.name for layer in layers_of(read_graph(file.build()))]
        assert names == ["a", "a_2", "a_3", "a_4", "tanh_4"]

    def test_the_dtype_is_that_of_the_weights(self) -> None:
        graph = constant_graph((np.zeros((4, 4), np.int8), {"scale": 0.1}),
                               (np.zeros(4, np.int32), {"scale": 0.01}))
        assert layers_of(graph)[0].dtype == "int8"

    def test_bodies_follow(self) -> None:
        file = FlatbufferBuilder()
        c, x = file.input("c", (1,), "bool"), file.input("x", (1, 4))
        y = file.tensor("y", (1, 4))
        file.operator("IF", [c, x], [y], "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=1)
        file.output(y)
        file.subgraph("branch")
        x, y = file.input("x", (1, 4)), file.tensor("y", (1, 4))
        w = file.constant("w", np.ones((4, 4), np.float32))
        file.operator("FULLY_CONNECTED", [x, w, -1], [y])
        file.output(y)
        rows = layers_of(read_graph(file.build()))
        assert [(row.name, row.op, row.bytes, row.macs) for row in rows] == [
            ("y", "IF", 0, 0), ("y_2", "FULLY_CONNECTED", 64, 16)]


class TestDtypeBytes:
    def test_the_sum_is_the_file(self) -> None:
        graph = read_graph(small_net())
        parts = dtype_bytes(graph)
        assert sum(parts.values()) == len(graph.data)
        assert parts["float32"] == sum(layer.bytes for layer in layers_of(graph)) - 8
        assert parts["int32"] == 8

    def test_metadata_and_appended_files_are_structure(self) -> None:
        file = FlatbufferBuilder()
        x, y = file.input("x", (4,)), file.tensor("y", (4,))
        file.operator("TANH", [x], [y])
        file.output(y)
        plain = len(file.build())
        file.metadata("notes", b"n" * 1000)
        data = file.build() + b"appended"
        assert dtype_bytes(read_graph(data)) == {STRUCTURE: len(data)}
        assert len(data) > plain + 1000

    def test_packed_types_count_packed(self) -> None:
        graph = constant_graph((np.arange(-8, 8).reshape(4, 4), {"dtype": "int4"}))
        assert dtype_bytes(graph)["int4"] == 8

    def test_overlapping_buffers_count_once(self) -> None:
        graph = constant_graph((np.ones(64, np.float32), {}), (np.ones(8, np.int8), {}))
        (start, _), spans = graph.buffer_spans[1], list(graph.buffer_spans)
        spans[2] = (start + 250, 8)  # the last six bytes of the first, and two behind it
        overlapping = Graph(graph.data, graph.subgraphs, graph.signatures, tuple(spans), ())
        parts = dtype_bytes(overlapping)
        assert (parts["float32"], parts["int8"]) == (256, 2)
        assert sum(parts.values()) == len(graph.data)


class TestSparsity:
    @settings(max_examples=40, deadline=None)
    @given(arrays.arrays(np.float32, st.integers(1, 40),
                         elements=st.sampled_from([0.0, -0.0, 1.0, -2.5])))  # fmt: skip
    def test_float(self, values: np.ndarray) -> None:
        assert sparsity_of(constant_graph((values, {}))) == pytest.approx(np.mean(values == 0))

    @settings(max_examples=40, deadline=None)
    @given(arrays.arrays(np.int8, st.integers(1, 40)), st.integers(-128, 127))
    def test_quantized(self, codes: np.ndarray, zero_point: int) -> None:
        graph = constant_graph((codes, {"scale": 0.5, "zero_point": zero_point}))
        assert sparsity_of(graph) == pytest.approx(np.mean(codes == zero_point))

    @settings(max_examples=40, deadline=None)
    @given(arrays.arrays(np.int8, st.integers(1, 41), elements=st.integers(-8, 7)))
    def test_packed(self, codes: np.ndarray) -> None:
        graph = constant_graph((codes, {"dtype": "int4", "scale": 0.5}))
        assert sparsity_of(graph) == pytest.approx(np.mean(codes == 0))

    def test_by_channel(self) -> None:
        codes = np.array([[1, 1, 5], [2, 0, 2]], np.int8)
        points = {"scale": [0.1, 0.2], "zero_point": [1, 2]}
        assert sparsity_of(constant_graph((codes, points))) == pytest.approx(4 / 6)
        by_column = {"scale": [0.1] * 3, "zero_point": [1, 1, 2], "axis": 1}
        assert sparsity_of(constant_graph((codes, by_column))) == pytest.approx(3 / 6)

    def test_half_precision(self) -> None:
        half = np.array([0.0, -0.0, 1.0, 2.0], np.float16)
        assert sparsity_of(constant_graph((half, {}))) == 0.5
        brain = np.array([0x0000, 0x8000, 0x3F80, 0x3F80], np.uint16)
        assert sparsity_of(constant_graph((brain, {"dtype": "bfloat16"}))) == 0.5

    def test_shapes_and_axes_are_not_weights(self) -> None:
        graph = constant_graph((np.ones(4, np.float32), {}), (np.zeros(100, np.int32), {}))
        assert sparsity_of(graph) == 0.0

    def test_what_a_sparse_encoding_leaves_out_is_zero(self) -> None:
        file = FlatbufferBuilder()
        x, y = file.input("x", (1, 8)), file.tensor("y", (1, 8))
        stored = file.buffer(np.array([1.0, 2.0], np.float32).tobytes())
        w = file.tensor("w", (8, 8), buffer=stored)
        file.operator("FULLY_CONNECTED", [x, w, -1], [y])
        file.output(y)
        assert sparsity_of(read_graph(file.build())) == pytest.approx(62 / 64)

    def test_no_weights(self) -> None:
        assert sparsity_of(constant_graph()) == 0.0

    def test_larger_than_a_chunk(self) -> None:
        values = np.ones(700_001, np.float32)
        values[::7] = 0
        assert sparsity_of(constant_graph((values, {}))) == pytest.approx(np.mean(values == 0))


class TestDeflate:
    @settings(max_examples=20, deadline=None)
    @given(st.binary(max_size=2000))
    def test_is_zlib_level_9(self, data: bytes) -> None:
        assert deflate_bytes(data) == len(zlib.compress(data, 9))

    def test_is_zlib_level_9_over_many_chunks(self, rng: np.random.Generator) -> None:
        data = rng.integers(0, 9, 3_300_000, dtype=np.uint8).tobytes()
        assert deflate_bytes(memoryview(data)) == len(zlib.compress(data, 9))

    def test_in_the_background(self, rng: np.random.Generator) -> None:
        data = rng.integers(0, 256, 4_000_000, dtype=np.uint8).tobytes()
        start = time.perf_counter()
        future = start_deflate(data)
        assert time.perf_counter() - start < 0.05
        assert future.result(60) == deflate_bytes(data)

    def test_a_model_is_deflated_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = model_of(small_net(seed=5))
        assert deflated(model).result(60) == deflate_bytes(model.data)
        monkeypatch.setattr(size, "start_deflate", None)
        assert deflated(model).result(60) == deflate_bytes(model.data)

    def test_an_error_is_handed_on(self) -> None:
        with pytest.raises(TypeError):
            start_deflate("text").result(60)  # type: ignore[arg-type]


def test_the_profiler() -> None:
    model = model_of(small_net())
    found = {row.name: row for row in size.profile_size(model, ProfileSettings()).measurements}
    assert found["file_bytes"].value == len(model.data)
    assert found["parameters"].value == 8 * 27 + 8 + 5120 + 10
    assert found["macs"].value == 55296 + 5120
    assert found["deflate_bytes"].value == len(zlib.compress(model.data, 9))


def test_unknown_macs_say_of_which_layer() -> None:
    file = FlatbufferBuilder()
    x, y = file.input("x", (4,)), file.tensor("y", (4,))
    file.operator("CUSTOM:Mine", [x], [y])
    file.output(y)
    rows = size.profile_size(model_of(file.build()), ProfileSettings()).measurements
    macs = next(row for row in rows if row.name == "macs")
    assert (macs.value, macs.provenance) == (None, None)
    assert macs.where == "not known for CUSTOM:Mine 'y'"


def test_macs_of_a_loop_are_a_lower_bound() -> None:
    file = FlatbufferBuilder()
    x, y = file.input("x", (1, 4)), file.tensor("y", (1, 4))
    file.operator("WHILE", [x], [y], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=1)
    file.output(y)
    file.subgraph("body")
    x, y = file.input("x", (1, 4)), file.tensor("y", (1, 4))
    w = file.constant("w", np.ones((4, 4), np.float32))
    file.operator("FULLY_CONNECTED", [x, w, -1], [y])
    file.output(y)
    rows = size.profile_size(model_of(file.build()), ProfileSettings()).measurements
    macs = next(row for row in rows if row.name == "macs")
    assert (macs.value, macs.lower_bound) == (16, True)
    assert macs.where == "shapes in the file, one turn of each loop"
