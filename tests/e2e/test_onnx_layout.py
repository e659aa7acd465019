"""Orders of axes: whatever moves and reshapes a value, it is what NumPy says it is; and networks
with the reshapes that people write gain no transposes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_net import Net, check, floats

pytestmark = pytest.mark.slow


def node(op, *inputs, **attributes):
    """A node with constant inputs behind the first."""
    from edgekit.importers.onnx.node import Node
    from edgekit.importers.onnx.values import Value

    names = [f"i{position}" for position in range(len(inputs))]
    made = Node(helper.make_node(op, names, ["y"], **attributes), 21)
    made.inputs = [x if isinstance(x, Value) else Value(np.asarray(x, np.int64)) for x in inputs]
    return made


def apply(op, x, *rest, **attributes):
    from edgekit.importers.onnx.operators.layout import LAYOUT

    made = node(op, x, *rest, **attributes)
    return LAYOUT[op].function(made, *made.inputs)


@st.composite
def starts(draw):
    """An array, and an order that its axes are in."""
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5))
    return shape, draw(st.permutations(range(len(shape))))


def factors(number):
    found = []
    for prime in (2, 3, 5):
        while number % prime == 0:
            found.append(prime)
            number //= prime
    return found


@st.composite
def new_shapes(draw, shape):
    """Neighbouring axes joined and axes split, at random places; sizes of 1 anywhere."""
    parts = [factor for size in shape for factor in factors(size)]
    if draw(st.integers(0, 3)) == 0:
        parts = draw(st.permutations(parts))
    made = []
    for part in parts:
        if made and draw(st.booleans()):
            made[-1] *= part
        else:
            made.append(part)
    for _ in range(draw(st.integers(0, 2))):
        made.insert(draw(st.integers(0, len(made))), 1)
    return made


def step(data, value, array):
    """One operator, on both sides."""
    kind = data.draw(st.sampled_from(["Transpose", "Reshape", "Reshape", "Squeeze", "Unsqueeze",
                                      "Flatten", "rest"]))
    if kind == "Transpose" and array.ndim:
        perm = data.draw(st.permutations(range(array.ndim)))
        return apply(kind, value, perm=perm), array.transpose(perm)
    if kind == "Reshape":
        shape = data.draw(new_shapes(array.shape))
        asked = list(shape)
        if asked and data.draw(st.booleans()):
            asked[data.draw(st.integers(0, len(asked) - 1))] = -1
        return apply(kind, value, asked), array.reshape(shape)
    if kind == "Squeeze":
        ones = [axis for axis, size in enumerate(array.shape) if size == 1]
        axes = data.draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
        axes = [axis - array.ndim if data.draw(st.booleans()) else axis for axis in axes]
        return ((apply(kind, value, axes), array.squeeze(tuple(axes))) if axes
                else (apply(kind, value), array.squeeze()))
    if kind == "Unsqueeze":
        rank = array.ndim + data.draw(st.integers(1, 2))
        axes = data.draw(st.lists(st.integers(0, rank - 1), min_size=rank - array.ndim,
                                  max_size=rank - array.ndim, unique=True))
        return apply(kind, value, axes), np.expand_dims(array, tuple(axes))
    if kind == "Flatten":
        axis = data.draw(st.integers(0, array.ndim))
        shape = math.prod(array.shape[:axis]), math.prod(array.shape[axis:])
        return apply(kind, value, axis=axis), array.reshape(shape)
    return value, array


@settings(max_examples=300, deadline=None)
@given(starts(), st.data())
def test_axes_are_kept_track_of(start, data):
    import tensorflow as tf

    from edgekit.importers.onnx.values import logical, make

    shape, perm = start
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    value = make(tf.constant(array.transpose(perm)), tuple(perm))
    for _ in range(data.draw(st.integers(1, 5))):
        value, array = step(data, value, array)
        assert value.shape == array.shape
        np.testing.assert_array_equal(np.asarray(logical(value)), array)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3]), min_size=7, max_size=8), st.data())
def test_many_axes_move_step_by_step(shape, data):
    import tensorflow as tf

    from edgekit.importers.onnx.values import transposed

    perm = data.draw(st.permutations(range(len(shape))))
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(transposed(tf.constant(array), perm), array.transpose(perm))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3]), min_size=2, max_size=4), st.data())
def test_joining_and_cutting_in_any_order(shape, data):
    import tensorflow as tf

    from edgekit.importers.onnx.operators.assembling import concatenated, parts_of
    from edgekit.importers.onnx.values import logical, make

    axis = data.draw(st.integers(0, len(shape) - 1))
    arrays, values = [], []
    for position in range(3):
        sizes = [data.draw(st.integers(1, 3)) if place == axis else size
                 for place, size in enumerate(shape)]
        array = np.arange(math.prod(sizes), dtype=np.float32).reshape(sizes) + 100 * position
        perm = data.draw(st.permutations(range(len(shape))))
        arrays.append(array)
        values.append(make(tf.constant(array.transpose(perm)), tuple(perm)))
    joined = concatenated(values, axis)
    np.testing.assert_array_equal(np.asarray(logical(joined)), np.concatenate(arrays, axis))
    for part, array in zip(parts_of(joined, axis, [a.shape[axis] for a in arrays]), arrays,
                           strict=True):
        np.testing.assert_array_equal(np.asarray(logical(part)), array)


def conv(net, x, channels_in, channels_out, size=1, stride=1, groups=1):
    weights = floats(channels_out, channels_in // groups, size, size) / np.float32(
        np.sqrt(channels_in * size * size / groups))
    return net.inner("Conv", x, weights, pads=[size // 2] * 4, strides=[stride] * 2, group=groups)


def transposes(net):
    return check(net, 2e-4).count("TRANSPOSE")


def test_channel_shuffle():
    net = Net(x=floats(1, 8, 6, 5))
    y = conv(net, "x", 8, 12, groups=1)
    y = net.inner("Reshape", y, [1, 3, 4, 6, 5])
    y = net.inner("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = net.inner("Reshape", y, [0, -1, 6, 5])
    net.add("Relu", conv(net, y, 12, 12, 3, groups=12))
    assert transposes(net) == 3  # in, out, and the shuffle itself


def test_pixel_shuffle():
    net = Net(x=floats(1, 8, 6, 5))
    y = conv(net, "x", 8, 12)
    y = net.inner("Reshape", y, [1, 3, 2, 2, 6, 5])
    y = net.inner("Transpose", y, perm=[0, 1, 4, 2, 5, 3])
    y = net.inner("Reshape", y, [1, 3, 12, 10])
    net.add("Relu", conv(net, y, 3, 4, 3))
    assert transposes(net) == 3


def test_blocks_that_split_and_join_channels():
    net = Net(x=floats(1, 8, 6, 5))
    one, two = net.inner("Split", conv(net, "x", 8, 8), [4, 4], axis=1, outputs=2)
    three = conv(net, two, 4, 4, 3)
    y = net.inner("Concat", one, two, net.inner("Add", two, three), axis=1)
    y = net.inner("Resize", conv(net, y, 12, 6), "", np.asarray([1, 1, 2, 2], np.float32),
                  mode="nearest", coordinate_transformation_mode="asymmetric",
                  nearest_mode="floor")
    y = net.inner("Concat", y, np.ones((1, 1, 12, 10), np.float32), axis=1)
    net.add("Relu", conv(net, y, 7, 6))
    assert transposes(net) == 2


def test_focus_slicing():
    net = Net(x=floats(1, 3, 8, 6))
    corners = [net.inner("Slice", net.inner("Slice", "x", [row], [2**63 - 1], [2], [2]),
                         [column], [2**63 - 1], [3], [2])
               for column in (0, 1) for row in (0, 1)]
    net.add("Relu", conv(net, net.inner("Concat", *corners, axis=1), 12, 4, 3))
    assert transposes(net) == 2


def test_everything_that_cuts_and_pads_images_leaves_their_order():
    net = Net(x=floats(1, 8, 6, 5))
    y = conv(net, "x", 8, 8)
    y = net.inner("Pad", y, [0, 1, 2, 0, 0, 0, 1, 1])
    y = net.inner("Pad", y, [1, 2], "", [-1], mode="reflect")
    y = net.inner("Slice", y, [1, 1], [8, -1], [1, 2], [1, 1])
    y = net.inner("Gather", y, [0, 2, -1, 3], axis=1)
    y = net.inner("Tile", y, [1, 2, 1, 1])
    y = net.inner("Expand", y, [2, 8, 1, 1])
    y = net.inner("Cast", net.inner("Cast", y, to=6), to=1)
    y = net.inner("Gather", y, np.asarray(1), axis=0)
    y = net.inner("Unsqueeze", y, [0])
    y = net.inner("Squeeze", net.inner("Unsqueeze", y, [2]), [2])
    net.add("Relu", conv(net, y, 8, 4, 3))
    assert transposes(net) == 2


def test_arithmetic_on_shapes_is_gone_and_a_flatten_costs_nothing():
    net = Net(x=floats(2, 3, 6, 5))
    y = conv(net, "x", 3, 8, 3)
    batch = net.inner("Gather", net.inner("Shape", y), np.asarray(0), axis=0)
    shape = net.inner("Concat", net.inner("Unsqueeze", batch, [0]), [-1], axis=0)
    y = net.inner("Reshape", net.inner("Relu", net.inner("Reshape", y, shape)), [0, 240])
    net.add("Gemm", y, floats(240, 4))
    operators = check(net, 1e-4)
    assert operators.count("TRANSPOSE") == 1
    assert not {"SHAPE", "GATHER", "PACK", "CONCATENATION"} & set(operators)


def test_heads_of_detectors():
    net = Net(x=floats(1, 3, 8, 8))
    small, large = conv(net, "x", 3, 36, 3, 2), conv(net, "x", 3, 36, 3)
    flat = [net.inner("Reshape", net.inner("Transpose", y, perm=[0, 2, 3, 1]), [1, -1, 6])
            for y in (large, small)]
    net.add("Concat", *flat, axis=1)
    assert transposes(net) == 1


def test_a_head_with_distributions_of_distances():
    net = Net(x=floats(1, 3, 8, 8))
    small, large = conv(net, "x", 3, 70, 3, 2), conv(net, "x", 3, 70, 3)
    flat = [net.inner("Reshape", y, [1, 70, -1]) for y in (large, small)]
    boxes, scores = net.inner("Split", net.inner("Concat", *flat, axis=2), [64, 6], axis=1,
                              outputs=2)
    boxes = net.inner("Reshape", boxes, [1, 4, 16, 80])
    boxes = net.inner("Softmax", net.inner("Transpose", boxes, perm=[0, 2, 1, 3]), axis=1)
    boxes = net.inner("Conv", boxes, np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
    boxes = net.inner("Reshape", boxes, [1, 4, 80])
    net.add("Concat", boxes, net.inner("Sigmoid", scores), axis=1)
    # In, out, and around the pointwise convolution, whose image is on its side.
    assert transposes(net) <= 4


def test_windows_of_a_transformer():
    net = Net(x=floats(1, 3, 16, 16))
    y = conv(net, "x", 3, 8, 3, 2)
    y = net.inner("Transpose", net.inner("Reshape", y, [1, 8, 64]), perm=[0, 2, 1])
    y = net.inner("Reshape", y, [1, 2, 4, 2, 4, 8])
    y = net.inner("Reshape", net.inner("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), [-1, 16, 8])
    y = net.inner("MatMul", y, floats(8, 8))
    y = net.inner("Reshape", y, [1, 2, 2, 4, 4, 8])
    y = net.inner("Reshape", net.inner("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), [1, 8, 8, 8])
    net.add("Relu", conv(net, net.inner("Transpose", y, perm=[0, 3, 1, 2]), 8, 4))
    assert transposes(net) == 4  # in, out, into windows and back
