"""Operators that cut, join, pad, pick and write: many in one network, against onnxruntime."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_net import RNG, Net, check, converted, floats

pytestmark = pytest.mark.slow

TYPES = (np.float32, np.int32, np.int64, np.int8, np.uint8, np.bool_)


def numbers(dtype, *shape):
    if dtype == np.bool_:
        return RNG.integers(0, 2, shape).astype(np.bool_)
    return RNG.integers(0 if dtype == np.uint8 else -60, 60, shape).astype(dtype)


SLICES = [  # starts, ends, axes, steps
    ([1], [3], [0], [1]), ([-3], [-1], [1], [1]), ([0], [2**63 - 1], [2], [2]),
    ([-1], [-2**63], [1], [-1]), ([4], [0], [1], [-2]), ([-1, 1], [-100, 100], [3, 0], [-3, 1]),
    ([100], [1], [1], [-1]), ([0, 0], [4, 5], [0, 1], [1, 1]), ([1, 1], [3, 4], [-1, -2], [1, 2]),
]


def test_slices():
    net = Net(x=floats(4, 5, 6, 7))
    for starts, ends, axes, steps in SLICES:
        net.add("Slice", "x", np.asarray(starts), np.asarray(ends), np.asarray(axes),
                np.asarray(steps))
    net.add("Slice", "x", np.asarray([1, 2]), np.asarray([3, 4]))
    check(net)
    old = Net(9, x=floats(4, 5, 6))
    old.add("Slice", "x", starts=[1, -2], ends=[3, 1000], axes=[0, 2])
    old.add("Slice", "x", starts=[0, 1, 0], ends=[1, 2, -1])
    check(old)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_is_moved(dtype):
    x = numbers(dtype, 2, 3, 4)
    net = Net(x=x, y=numbers(dtype, 2, 3, 4))
    net.add("Concat", "x", "y", axis=1)
    net.add("Split", "x", axis=2, num_outputs=2, outputs=2)
    net.add("Split", "x", np.asarray([1, 2]), axis=1, outputs=2)
    net.add("Slice", "x", [1], [3], [2])
    net.add("Slice", "x", [-1], [-9], [2], [-2])
    net.add("Tile", "x", [1, 2, 2])
    net.add("Expand", "x", [2, 1, 1, 4])
    net.add("Gather", "x", [[2, 0], [-1, 1]], axis=1)
    net.add("GatherElements", "x", [[[1, 0, -1, 2]], [[0, 0, 1, -1]]], axis=1)
    net.add("GatherND", "x", [[[0, -1], [1, 1]]])
    net.add("ScatterElements", "x", [[[0, 2, 1, 0]]], "y_part", axis=1)
    net.nodes.insert(-1, helper.make_node("Slice", ["y", *(net.constant([n]) for n in (
        0, 1, 1))], ["part0"]))
    net.nodes.insert(-1, helper.make_node("Slice", ["part0", *(net.constant([n]) for n in (
        0, 1, 0))], ["y_part"]))
    net.add("Compress", "x", [False, True, True], axis=1)
    net.add("Transpose", "x", perm=[2, 0, 1])
    if dtype != np.bool_:
        net.add("Pad", "x", [0, 1, 0, 1, 0, 2])
        net.add("Pad", "x", [0, 1, 0, 1, 0, 2], np.asarray(7, dtype))
    if dtype not in (np.bool_, np.uint8, np.int8):
        net.add("Pad", "x", [0, 1, 0, 1, 0, 2], mode="reflect")
        net.add("ReverseSequence", "x", [1, 2], batch_axis=0, time_axis=1)
        net.add("Trilu", "x", np.asarray(1), upper=1)
    net.add("NonZero", "x")
    check(net)


def test_pads():
    net = Net(x=floats(1, 3, 5, 4))
    pads = [0, 1, 2, 0, 0, 0, 1, 3]
    net.add("Pad", "x", pads)
    net.add("Pad", "x", pads, np.float32(-5))
    net.add("Pad", "x", [2, -1, 1, 1], "", [3, -2])
    net.add("Pad", "x", [0, -1, 0, 1, 0, 2, -1, 0], np.float32(2))
    for mode in ("reflect", "edge", "wrap"):
        net.add("Pad", "x", pads, mode=mode)
        net.add("Pad", "x", [0, 0, 1, 1, 0, 0, 1, 1], mode=mode)
    check(net)
    old = Net(10, x=floats(1, 3, 5, 4))
    old.add("Pad", "x", pads=pads, value=1.5)
    old.add("Pad", "x", pads=pads, mode="edge")
    check(old)


def test_bounds_that_are_computed():
    net = Net(x=floats(6, 5, 4), start=np.asarray([1]), end=np.asarray([-1]),
              row=np.asarray(-2), rows=np.asarray([[0, -1], [3, 2]], np.int32))
    net.add("Slice", "x", "start", "end", [1])
    net.add("Slice", "x", "start", [2**63 - 1], [0], [2])
    net.add("Gather", "x", "row", axis=1)
    net.add("Gather", "x", "rows", axis=0)
    net.add("OneHot", "rows", np.asarray(4), np.asarray([0.5, 2], np.float32), axis=0)
    net.add("Range", np.asarray(0), "row", np.asarray(-1))
    wide = net.inner("Concat", np.asarray([2]), "start", axis=0)
    net.add("Tile", net.inner("Slice", "x", [0], [1], [2]), net.inner(
        "Concat", wide, "start", axis=0))
    net.add("Pad", "x", net.inner("Concat", "start", [0, 0, 0], "start", [2], axis=0))
    check(net)


def test_elements_are_picked_along_any_axis():
    net = Net(x=floats(3, 4, 5), near=RNG.integers(-3, 3, (3, 4, 5)),
              short=RNG.integers(0, 3, (2, 3, 2)), pairs=RNG.integers(-3, 3, (3, 6, 2)),
              tuples=RNG.integers(-3, 3, (2, 7, 3)))
    for axis in (0, 1, 2):
        net.add("GatherElements", "x", "near", axis=axis)
        net.add("GatherElements", "x", "short", axis=axis)
    net.add("GatherND", "x", "tuples")
    net.add("GatherND", "x", "pairs")
    net.add("GatherND", "x", "pairs", batch_dims=1)
    check(net)


def updates_of(reduction):
    """Repeated positions where they are combined; none twice where the last one counts."""
    if reduction == "none":
        return np.stack([RNG.permutation(5)[:3] for _ in range(8)]).reshape(2, 4, 3)
    return RNG.integers(-5, 5, (2, 4, 3))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_elements_are_written(reduction, dtype):
    x, update = numbers(dtype, 2, 4, 5), numbers(dtype, 2, 4, 3)
    where = updates_of(reduction)
    tuples = RNG.integers(0, 2, (6, 2)) if reduction != "none" else np.asarray(
        [[0, 1], [1, -1], [1, 0], [-2, -2]])
    slices = numbers(dtype, len(tuples), 5)
    net = Net(x=x, update=update, where=where, tuples=tuples, slices=slices)
    for indices, places in (("where", "tuples"), (where, tuples)):
        net.add("ScatterElements", "x", indices, "update", axis=2, reduction=reduction)
        net.add("ScatterND", "x", places, "slices", reduction=reduction)
    check(net, 1e-5)


def test_assigning_to_a_block_is_one_operator():
    block = np.stack(np.meshgrid([0, 1], [1, 2, 3], indexing="ij"), -1)
    net = Net(x=floats(2, 5, 4), update=floats(2, 3, 4))
    net.add("ScatterND", "x", block, "update")
    assert [name for name in check(net) if name != "DELEGATE"] == ["DYNAMIC_UPDATE_SLICE"]


def test_what_was_least_stays_least_under_max():
    x = np.asarray([-np.inf, 1, np.inf, np.nan], np.float32)
    net = Net(x=x, where=np.asarray([1, 1]), update=np.asarray([5, 7], np.float32))
    net.add("ScatterElements", "x", "where", "update", reduction="max")
    net.add("ScatterElements", "x", "where", "update", reduction="min")
    net.add("ScatterElements", "x", [0, 2], "update")
    net.add("ScatterElements", "x", "where", "update", reduction="add")
    check(net)


def test_one_hot():
    net = Net(x=np.asarray([[0, 3, -1], [-4, 4, -5]]), y=np.asarray([1.0, -1.0], np.float32))
    for axis in (-1, 0, 1, -2):
        net.add("OneHot", "x", np.asarray(4), np.asarray([2, 5], np.float32), axis=axis)
    net.add("OneHot", "x", np.asarray([4]), np.asarray([-1, 1]))
    net.add("OneHot", "y", np.asarray(3.0, np.float32), np.asarray([0, 1], np.float32))
    check(net)


def test_casts():
    net = Net(x=np.asarray([-3.7, -0.5, 0, 0.5, 2.9, 100], np.float32),
              n=np.asarray([-300, -1, 0, 1, 200, 70000], np.int32))
    for to in ("INT32", "INT64", "BOOL", "INT8"):
        net.add("Cast", "x", to=TensorProto.DataType.Value(to))
    for to in ("FLOAT", "INT64", "BOOL", "INT8", "UINT8"):
        net.add("Cast", "n", to=TensorProto.DataType.Value(to))
    net.add("CastLike", "n", np.zeros((2, 3), np.float32))
    check(net)


def test_made_tensors():
    net = Net(x=floats(3, 4), infinite=np.full((3, 3), -np.inf, np.float32),
              n=np.asarray([2, 3]), top=np.asarray(2.05, np.float32))
    net.add("EyeLike", "x", k=-1, dtype=TensorProto.INT32)
    net.add("ConstantOfShape", "n", value=numpy_helper.from_array(np.asarray([7], np.int64)))
    net.add("Range", np.float32(0.1), "top", np.float32(0.1))
    for upper in (0, 1):
        for k in (-2, 0, 1, 9):
            net.add("Trilu", "x", np.asarray(k), upper=upper)
    net.add("Trilu", "infinite", np.asarray(1))
    check(net)


def test_sequences_are_gone():
    net = Net(x=floats(6, 5, 4))
    pieces = net.inner("SplitToSequence", "x", np.asarray([1, 2, 3]), axis=0)
    singles = net.inner("SplitToSequence", "x", axis=1, keepdims=0)
    net.add("SequenceAt", pieces, np.asarray(-1))
    net.add("SequenceAt", singles, np.asarray(2))
    net.add("SequenceLength", net.inner("SplitToSequence", "x", np.asarray(4), axis=0))
    net.add("ConcatFromSequence", net.inner("SequenceErase", singles, np.asarray(0)), axis=-1,
            new_axis=1)
    grown = net.inner("SequenceInsert", pieces, "x", np.asarray(0))
    net.add("ConcatFromSequence", grown, axis=0)
    both = net.inner("SequenceConstruct", "x", "x")
    net.add("ConcatFromSequence", net.inner("SequenceInsert", both, "x"), axis=2)
    check(net)


def test_each_element_of_a_sequence_is_mapped():
    net = Net(x=floats(6, 5))
    body = helper.make_graph(
        [helper.make_node("Mul", ["part", "factor"], ["scaled"]),
         helper.make_node("Shape", ["part"], ["size"])], "body",
        [helper.make_empty_tensor_value_info(name) for name in ("part", "factor")],
        [helper.make_empty_tensor_value_info(name) for name in ("scaled", "size")])
    scaled, sizes = net.inner("SequenceMap", net.inner("SplitToSequence", "x", [2, 4]),
                              np.float32(3), outputs=2, body=body)
    net.add("ConcatFromSequence", scaled, axis=0)
    net.add("ConcatFromSequence", sizes, axis=0)
    results, _ = converted(net)
    np.testing.assert_allclose(results[0], 3 * net.inputs["x"], rtol=1e-6)
    assert results[1].tolist() == [2, 5, 4, 5]


def test_optionals_are_gone():
    net = Net(18, x=floats(2, 3))
    full = net.inner("Optional", "x")
    net.add("OptionalHasElement", full)
    net.add("OptionalHasElement", "")
    net.add("Relu", net.inner("OptionalGetElement", full))
    results, _ = converted(net)
    assert results[0].item() is True
    assert results[1].item() is False
    np.testing.assert_array_equal(results[2], np.maximum(net.inputs["x"], 0))


def test_as_many_as_there_are():
    """What detectors do behind the suppression: sizes are known at run time only."""
    boxes = RNG.uniform(0, 1, (1, 40, 4)).astype(np.float32)
    net = Net(boxes=boxes, scores=RNG.uniform(0, 1, (1, 3, 40)).astype(np.float32))
    kept = net.inner("NonMaxSuppression", "boxes", "scores", np.asarray([9]),
                     np.asarray([0.4], np.float32), np.asarray([0.3], np.float32))
    which = net.inner("Squeeze", net.inner("Gather", kept, [2], axis=1), [1])
    net.add("Gather", net.inner("Squeeze", "boxes", [0]), which, axis=0)
    net.add("GatherND", net.inner("Transpose", "scores", perm=[0, 2, 1]),
            net.inner("Gather", kept, [0, 2, 1], axis=1))
    count = net.inner("Gather", net.inner("Shape", kept), [0])
    net.add("Reshape", net.inner("Gather", "boxes", which, axis=1),
            net.inner("Concat", count, [2, 2], axis=0))
    net.add("Expand", np.asarray([[1.5]], np.float32), net.inner("Concat", count, [2], axis=0))
    net.add("Concat", net.inner("Cast", kept, to=1), net.inner("Slice", net.inner(
        "Cast", kept, to=1), [0], [2], [1]), axis=1)
    net.add("Compress", "boxes", net.inner("Reshape", net.inner(
        "Greater", net.inner("Slice", "boxes", [0], [1], [2]), np.float32(0.5)), [-1]), axis=1)
    high = net.inner("NonZero", net.inner("Greater", "scores", np.float32(0.8)))
    net.add("GatherND", "scores", net.inner("Transpose", high, perm=[1, 0]))
    check(net)


def test_old_versions():
    net = Net(1, x=floats(2, 1, 6))
    net.add("Reshape", "x", shape=[0, -1, 3])
    net.add("Concat", "x", "x")
    net.add("Split", "x", axis=2, split=[2, 4], outputs=2)
    net.add("Squeeze", "x", axes=[1])
    net.add("Unsqueeze", "x", axes=[0, 2])
    net.add("Cast", "x", to="INT32")
    net.add("Pad", "x", paddings=[0, 0, 1, 0, 0, 2], value=2.0)
    results, _ = converted(net)
    x = net.inputs["x"]
    wanted = [x.reshape(2, 2, 3), np.concatenate([x, x], 1), x[..., :2], x[..., 2:], x[:, 0],
              x[None, :, None], x.astype(np.int32),
              np.pad(x, [(0, 0), (0, 0), (1, 2)], constant_values=2)]
    for got, want in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(got, want)


BOXES = {"corners": 0, "centres": 1}


@pytest.mark.parametrize(("batch", "classes"), [(1, 1), (2, 3), (1, 9)])
@pytest.mark.parametrize("form", BOXES)
def test_suppression(batch, classes, form):
    boxes = RNG.uniform(0, 1, (batch, 40, 4)).astype(np.float32)
    scores = RNG.uniform(0, 1, (batch, classes, 40)).astype(np.float32)
    net = Net(boxes=boxes, scores=scores, most=np.asarray([3]))
    for most, overlap, lowest in ((5, 0.3, 0.4), (100, 0.5, 0.0), (2**31, 0.0, 0.9)):
        net.add("NonMaxSuppression", "boxes", "scores", np.asarray([most]),
                np.asarray([overlap], np.float32), np.asarray([lowest], np.float32),
                center_point_box=BOXES[form])
    net.add("NonMaxSuppression", "boxes", "scores", "most", center_point_box=BOXES[form])
    check(net)


def test_more_axes_than_the_kernels_take():
    net = Net(x=floats(2, 3, 2, 2, 3, 2, 2))
    net.add("Transpose", "x", perm=[6, 1, 0, 3, 2, 5, 4])
    net.add("Slice", "x", [0, 1], [2, 3], [1, 4])
    net.add("Slice", "x", [2], [-9], [4], [-2])
    net.add("Concat", "x", "x", axis=3)
    net.add("Pad", "x", [1, 1], "", [4])
    net.add("Pad", "x", [1, 2], "", [4], mode="reflect")
    check(net)
