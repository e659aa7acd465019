"""Declarations: their text, what breaks them, and files held against them."""

from pathlib import Path

import numpy as np
import pytest
from flatbuffers_builder import FlatbufferBuilder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.compression.clusters import grid_cluster
from edgekit.compression.masks import apply_mask, magnitude_mask, n_of_m_mask
from edgekit.core.constraints import (
    Clustered,
    Constraint,
    Sparse,
    check,
    declare,
    declared_in,
    merge,
    parse_constraint,
    violations,
)
from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Graph, read_graph
from edgekit.core.weight_views import channel_axis, from_matrix, matrix_view
from edgekit.workers.quantize import quantize

SIZES = st.integers(1, 64)
SPARSE = st.one_of(
    st.builds(Sparse, st.floats(0, 1), st.none() | st.tuples(SIZES, SIZES)),
    st.tuples(SIZES, SIZES).map(lambda nm: Sparse.pattern(nm[0], nm[0] + nm[1])),
)
CLUSTERED = st.one_of(
    st.builds(Clustered, st.integers(1, 70_000)),
    st.builds(Clustered, SIZES, axis=st.integers(0, 4)),
    st.builds(Clustered, SIZES, scale_axis=st.integers(0, 4)),
)
CONSTRAINTS = st.builds(Constraint, SPARSE | st.none(), CLUSTERED | st.none()).filter(
    lambda constraint: constraint.sparse or constraint.clustered)


@given(CONSTRAINTS)
def test_the_text_says_all(constraint):
    assert parse_constraint(str(constraint)) == constraint


@pytest.mark.parametrize("text", [
    "sparse(0.75)", "sparse(0.75, block=4x1)", "sparse(2:4)", "clustered(16)",
    "clustered(16, axis=0)", "clustered(16, scale=3)", "sparse(0.75); clustered(16, axis=0)",
])
def test_the_documented_forms(text):
    assert str(parse_constraint(text)) == text


@given(CONSTRAINTS, CONSTRAINTS)
def test_a_new_declaration_replaces_its_kind_and_keeps_the_other(old, new):
    merged = merge(old, new)
    assert merged.sparse == (new.sparse or old.sparse)
    assert merged.clustered == (new.clustered or old.clustered)
    assert merge(None, new) == new
    assert declare({"w": str(old), "v": "sparse(0.5)"}, {"w": new}) == {
        "w": str(merged), "v": "sparse(0.5)"}
    assert declare({}, {"w": new}) == {"w": str(new)}


@pytest.mark.parametrize(("text", "message"), [
    ("", "'' is no constraint"),
    ("sparse", "'sparse' is no constraint"),
    ("dense(1)", r"'dense\(1\)' is no constraint"),
    ("sparse(0.5) clustered(4)", "is no constraint"),
    ("sparse(0.5, axis=1)", "is no constraint"),
    ("clustered(4, axis=-1)", "is no constraint"),
    ("sparse(0.5); sparse(0.6)", "one kind twice"),
    ("sparse(1.5)", "1.5 is not a fraction of zeros"),
    ("sparse(0.5.1)", "'0.5.1' in a constraint is no number"),
    ("sparse(0.5, block=0x4)", "blocks of 0x4 hold no weight"),
    ("sparse(4:4)", "keeps nothing or everything"),
    ("sparse(0:4)", "keeps nothing or everything"),
    ("sparse(0:0)", "keeps nothing or everything"),
    ("clustered(0)", r"clustered\(0\) leaves no value"),
])
def test_other_text_is_refused(text, message):
    with pytest.raises(EdgekitError, match=message):
        parse_constraint(text)


def test_an_axis_and_a_scale_exclude_each_other():
    with pytest.raises(EdgekitError, match="either an axis or a scale"):
        Clustered(4, axis=0, scale_axis=0)


def _broken(text: str, array: np.ndarray, **more: object) -> str | None:
    return check(parse_constraint(text), array, **more)


def test_a_missing_zero_is_named(rng):
    weights = rng.normal(size=(100, 100)).astype(np.float32)
    weights[:70] = 0
    weights[0, :2] = 1
    assert _broken("sparse(0.75)", weights) == "0.6998 zeros, 0.75 declared (502 too few)"
    assert _broken("sparse(0.6998)", weights) is None
    assert _broken("sparse(0.69985)", weights) is None  # 6998.5 is rounded to even
    assert _broken("sparse(0.6999)", weights) == "0.6998 zeros, 0.6999 declared (1 too few)"


def test_blocks_have_to_be_zero_as_a_whole():
    weights = np.ones((8, 4), np.float32)
    weights[0:4, 0:2] = weights[4:8, 2] = 0
    assert _broken("sparse(0.375, block=4x1)", weights) is None
    weights[1, 1] = 5
    assert _broken("sparse(0.375, block=4x1)", weights) == (
        "0.25 zero blocks of 4x1, 0.375 declared (1 too few)")
    depthwise = np.moveaxis(weights.reshape(8, 2, 2), 0, 2)[None]
    assert _broken("sparse(0.25, block=4x1)", depthwise, channels=3) is None


def test_groups_run_along_the_inputs():
    weights = np.tile(np.array([0, 1, 1, 0], np.float32), (3, 2))
    assert _broken("sparse(2:4)", weights) is None
    assert _broken("sparse(1:4)", weights) == "6 groups of 4 have more than 1 non-zeros"
    assert _broken("sparse(2:4)", weights.T) is not None
    assert _broken("sparse(2:4)", weights.T, channels=1) is None
    weights[1, 4] = 9
    assert _broken("sparse(2:4)", weights) == "1 groups of 4 have more than 2 non-zeros"
    assert _broken("sparse(2:4)", np.array([[0, 0, 1, 1, 1, 1]], np.float32)) is None


def test_integer_codes_have_their_own_zero():
    codes = np.array([[5, 5, 5, 9], [-3, 1, -3, -3]], np.int8)
    assert _broken("sparse(0.75)", codes) is not None
    assert _broken("sparse(0.75)", codes, zero_point=np.array([[5], [-3]])) is None


def test_values_are_counted_in_all_or_by_channel(rng):
    weights = np.stack([np.arange(16) % 4, np.arange(16) % 4 + 10]).astype(np.float32)
    assert _broken("clustered(8)", weights) is None
    assert _broken("clustered(7)", weights) == "8 distinct values, 7 declared"
    assert _broken("clustered(4, axis=0)", weights) is None
    assert _broken("clustered(3, axis=0)", weights) == (
        "4 distinct values in a channel along axis 0, 3 declared")
    assert _broken("clustered(1, axis=1)", weights) is not None
    assert "the tensor has 2 axes" in _broken("clustered(4, axis=2)", weights)
    assert _broken("sparse(0.5); clustered(4)", weights) == (
        "0.125 zeros, 0.5 declared (12 too few); 8 distinct values, 4 declared")


def test_values_in_units_of_the_scales(rng):
    codes = rng.integers(-3, 4, (64, 100)) * 40
    codes[:, 0] = 127
    weights = (codes / 127 * rng.lognormal(size=(64, 1))).astype(np.float32)
    assert np.unique(weights).size > 100
    assert _broken("clustered(8, scale=0)", weights) is None
    assert _broken("clustered(8, scale=0)", codes.astype(np.int8)) is None
    assert _broken("clustered(7, scale=0)", weights) == (
        "8 distinct values in units of the channels' scales, 7 declared")
    assert _broken("clustered(7, scale=0)", codes.astype(np.int8)) == (
        "8 distinct values, 7 declared")
    # Millions of values leave no gaps between them, and are still not one cluster.
    dense = rng.uniform(-1, 1, (2, 2_000_000)).astype(np.float32)
    assert "distinct values" in _broken("clustered(10000, scale=0)", dense)


def test_an_empty_tensor_breaks_nothing():
    empty = np.zeros((0, 4), np.float32)
    for text in ("sparse(0.5)", "sparse(0.5, block=2x2)", "sparse(2:4)", "clustered(2)",
                 "clustered(2, axis=1)", "clustered(2, scale=0)"):
        assert _broken(text, empty) is None
    assert declared_in(empty) is None


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=4)), st.data())
def test_the_matrix_view_is_only_a_view(array, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    matrix = matrix_view(array, axis)
    assert matrix.shape == (array.shape[axis], array.size // array.shape[axis])
    np.testing.assert_array_equal(from_matrix(matrix, array.shape, axis), array)


def test_a_number_is_a_matrix_too():
    assert matrix_view(np.float32(3).reshape(())).shape == (1, 1)
    assert from_matrix(np.ones((1, 1)), ()).shape == ()


def test_what_a_tensor_keeps_is_found(rng):
    weights = rng.normal(size=(100, 100)).astype(np.float32)
    assert declared_in(weights) is None
    pruned = apply_mask(weights, magnitude_mask(weights, 0.1))
    assert str(declared_in(pruned)) == "sparse(0.1)"
    assert declared_in(apply_mask(weights, magnitude_mask(weights, 0.0999))) is None
    clustered = grid_cluster(np.abs(weights) + 1, 16).values()
    assert str(declared_in(clustered)) == "clustered(16)"
    both = grid_cluster(pruned, 16, keep_zero=True).values()
    found = declared_in(both)
    assert found.clustered == Clustered(16)
    assert found.sparse.fraction >= 0.1
    assert declared_in(np.arange(10_000) % 257) is None
    assert str(declared_in(np.arange(1, 10_001) % 256 + 1)) == "clustered(256)"
    assert declared_in(np.array([1, 2], np.float32)) is None
    # The sample that is looked at first does not decide.
    late = np.ones(1_000_000, np.float32)
    late[np.arange(1, 300)] = np.arange(300)[1:] + 1
    assert declared_in(late) is None


def _file(weights: dict[str, np.ndarray], *, depthwise: bool = False, **more: object) -> Graph:
    file = FlatbufferBuilder()
    for name, array in weights.items():
        made = file.constant(name, array, **more)
        x = file.input(f"{name}/x", (1, 4, 4, array.shape[-1]))
        y = file.tensor(f"{name}/y", (1, 4, 4, 1))
        kind = "DEPTHWISE_CONV_2D" if depthwise else "FULLY_CONNECTED"
        file.operator(kind, [x, made, -1], [y])
        file.output(y)
    return read_graph(file.build())


def test_a_file_is_held_against_its_declarations():
    w = np.array([[0, 0, 0, 1], [2, 0, 0, 0]], np.float32)
    graph = _file({"w": w, "v": w + 1})
    assert violations(graph, {"w": "sparse(0.75); clustered(3)", "v": "clustered(3)"}) == []
    assert violations(graph, {"v": "sparse(0.75)", "w": "clustered(2)", "u": "sparse(2:4)"}) == [
        "'v': 0 zeros, 0.75 declared (6 too few)",
        "'w': 3 distinct values, 2 declared",
        "'u': sparse(2:4) declared, and the model has no such weight",
    ]
    assert violations(graph, {"w/x": "clustered(2)"}) == [
        "'w/x': clustered(2) declared, and the model has no such weight"]
    with pytest.raises(EdgekitError, match="is no constraint"):
        violations(graph, {"w": "round"})


@pytest.mark.parametrize("dtype", ["int8", "int4", "int2"])
def test_packed_codes_are_unpacked(dtype):
    codes = np.array([[0, 1, 0, -2], [0, 0, 1, 0], [-1, 0, 0, 0]], np.int8)
    graph = _file({"w": codes}, dtype=dtype, scale=[0.1, 0.2, 0.3])
    assert violations(graph, {"w": "sparse(0.66); clustered(4)"}) == []
    assert violations(graph, {"w": "sparse(0.75)"}) == [
        "'w': 0.6667 zeros, 0.75 declared (1 too few)"]
    assert violations(graph, {"w": "clustered(2, axis=0)"}) == [
        "'w': 3 distinct values in a channel along axis 0, 2 declared"]


def test_zero_points_are_respected():
    codes = np.array([[7, 7, 7, 1], [7, 7, 9, 7]], np.uint8)
    one = _file({"w": codes}, scale=0.1, zero_point=7)
    assert violations(one, {"w": "sparse(0.75)"}) == []
    assert violations(_file({"w": codes}, scale=0.1), {"w": "sparse(0.75)"}) != []
    codes = np.array([[7, 1], [7, 1], [8, 1]], np.uint8)
    each = _file({"w": codes}, scale=[0.1, 0.1], zero_point=[7, 1], axis=1)
    assert violations(each, {"w": "sparse(0.83)"}) == []


def test_half_precision_behind_a_dequantize():
    w = np.array([[0, 0, 0, 1.5], [2, 0, 0, -0.0]], np.float32)
    for dtype, stored in (("float16", w.astype(np.float16)),
                          ("bfloat16", (w.view(np.uint32) >> 16).astype(np.uint16))):
        file = FlatbufferBuilder()
        made = file.constant("w/half", stored, dtype)
        whole = file.tensor("w", w.shape)
        file.operator("DEQUANTIZE", [made], [whole])
        x, y = file.input("x", (1, 4)), file.tensor("y", (1, 2))
        file.operator("FULLY_CONNECTED", [x, whole, -1], [y])
        file.output(y)
        graph = read_graph(file.build())
        assert violations(graph, {"w": "sparse(0.75); clustered(3)"}) == []
        assert violations(graph, {"w/half": "sparse(0.75)"}) == []
        assert len(violations(graph, {"w": "sparse(0.9)"})) == 1


def test_the_operator_says_where_the_channels_are():
    columns = np.ones((1, 1, 4, 4), np.float32)
    columns[0, 0, :, 0:3] = 0
    constraint = {"w": "sparse(0.75, block=1x4)"}
    assert violations(_file({"w": columns}, depthwise=True), constraint) == []
    assert violations(_file({"w": columns}), constraint) != []


@pytest.mark.parametrize(("operator", "options", "shape", "position", "axis"), [
    ("CONV_2D", {}, (8, 3, 3, 4), 1, 0),
    ("DEPTHWISE_CONV_2D", {}, (1, 3, 3, 4), 1, 3),
    ("TRANSPOSE_CONV", {}, (8, 3, 3, 4), 1, 0),
    ("CONV_3D", {}, (3, 3, 3, 4, 8), 1, 4),
    ("CONV_3D_TRANSPOSE", {}, (3, 3, 3, 8, 4), 1, 3),
    ("EMBEDDING_LOOKUP", {}, (100, 4), 1, 0),
    ("BATCH_MATMUL", {"adjY": False}, (2, 4, 8), 1, 2),
    ("BATCH_MATMUL", {"adjY": True}, (2, 8, 4), 1, 1),
    ("BATCH_MATMUL", {"adjX": False}, (2, 8, 4), 0, 1),
    ("BATCH_MATMUL", {"adjX": True}, (2, 4, 8), 0, 2),
    ("ADD", {}, (8,), 1, 0),
])
@pytest.mark.parametrize("half", [False, True])
def test_channel_axes(operator, options, shape, position, axis, half):
    file = FlatbufferBuilder()
    weight = made = file.constant("w", np.ones(shape, np.float16 if half else np.float32))
    if half:
        weight = file.tensor("w/whole", shape)
        file.operator("DEQUANTIZE", [made], [weight])
    x, y = file.input("x", (1, 4)), file.tensor("y", (1, 2))
    inputs = [x, weight] if position == 1 else [weight, x]
    named = "BatchMatMulOptions" if operator == "BATCH_MATMUL" else None
    file.operator(operator, inputs, [y], named, **options)
    file.output(y)
    graph = read_graph(file.build())
    assert channel_axis(graph, graph.main.tensors[made]) == axis


def test_a_weight_that_nothing_takes_has_its_channels_first():
    file = FlatbufferBuilder()
    made = file.constant("w", np.ones((2, 3), np.float32))
    x = file.input("x", (1, 4))
    file.output(x)
    graph = read_graph(file.build())
    assert channel_axis(graph, graph.main.tensors[made]) == 0


def _net(kernel: np.ndarray, depthwise: np.ndarray, dense: np.ndarray) -> bytes:
    """A 3x3 convolution (8, 3, 3, 4), a depthwise (1, 3, 3, 8), and a fully connected one."""
    file = FlatbufferBuilder()
    x = file.input("x", (1, 6, 6, 4))
    shapes = [(1, 6, 6, 8), (1, 6, 6, 8), (1, 12)]
    y, z, scores = (file.tensor(name, shape) for name, shape in zip("yzs", shapes, strict=True))
    arrays = {"kernel": kernel, "depthwise": depthwise, "dense": dense}
    k, d, f = (file.constant(name, array) for name, array in arrays.items())
    biases = [file.constant(f"bias{n}", np.zeros(n, np.float32)) for n in (8, 9, 12)]
    biases[1] = file.constant("bias", np.zeros(8, np.float32))
    file.operator("CONV_2D", [x, k, biases[0]], [y], "Conv2DOptions", strideW=1, strideH=1)
    file.operator("DEPTHWISE_CONV_2D", [y, d, biases[1]], [z], "DepthwiseConv2DOptions",
                  strideW=1, strideH=1, depthMultiplier=1)
    flat = file.tensor("flat", (1, 288))
    to = file.constant("flat/shape", np.array([1, 288], np.int32))
    file.operator("RESHAPE", [z, to], [flat], "ReshapeOptions", newShape=[1, 288])
    file.operator("FULLY_CONNECTED", [flat, f, biases[2]], [scores], "FullyConnectedOptions")
    file.output(scores)
    return file.build()


def _quantized(data: bytes, folder: Path, bits: int, *, per_channel: bool) -> Graph:
    (folder / "float.tflite").write_bytes(data)
    out = folder / "small.tflite"
    quantize(path=str(folder / "float.tflite"), out=str(out), scheme="dynamic", weights=bits,
             activations=8, per_channel=per_channel, integer_io=False, overrides={}, data=None,
             samples=0, ranges={})
    return read_graph(out.read_bytes())


@pytest.mark.parametrize(("bits", "levels"), [(8, 127), (4, 7)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_constraints_survive_the_real_quantizer(rng, tmp_path, bits, levels, per_channel):
    """Pruned, then clustered, then quantized: the file keeps what was declared."""
    def weights(*shape: int, axis: int) -> np.ndarray:
        scales = rng.lognormal(size=[n if i == axis else 1 for i, n in enumerate(shape)])
        return (rng.normal(size=shape) * scales).astype(np.float32)

    kernel, depthwise = weights(8, 3, 3, 4, axis=0), weights(1, 3, 3, 8, axis=3)
    dense = weights(12, 288, axis=0)
    kernel = apply_mask(kernel, magnitude_mask(kernel, 0.5, (4, 1)))
    dense = apply_mask(dense, n_of_m_mask(dense, 2, 4, 1))
    made = {
        name: grid_cluster(array, 6, levels, axis if per_channel else None, keep_zero=True)
        for name, array, axis in (("kernel", kernel, 0), ("depthwise", depthwise, 3),
                                  ("dense", dense, 0))
    }
    scales = dict.fromkeys(made, "") | (
        {"kernel": ", scale=0", "depthwise": ", scale=3", "dense": ", scale=0"}
        if per_channel else {})
    declared = {"kernel": f"sparse(0.5, block=4x1); clustered(6{scales['kernel']})",
                "depthwise": f"clustered(6{scales['depthwise']})",
                "dense": f"sparse(2:4); clustered(6{scales['dense']})"}
    data = _net(**{name: clusters.values() for name, clusters in made.items()})
    assert violations(read_graph(data), declared) == []
    graph = _quantized(data, tmp_path, bits, per_channel=per_channel)
    assert violations(graph, declared) == []
    by_name = {tensor.name: tensor for tensor in graph.main.tensors}
    for name in ("kernel", "dense"):
        assert by_name[name].dtype == f"int{bits}"
        codes = made[name].centroids[made[name].assignments] * levels
        np.testing.assert_array_equal(graph.values(by_name[name]), np.rint(codes))
