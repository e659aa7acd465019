"""Operators on images: convolutional networks stay in one order of axes, and every way to slide,
pool, resize, sample and normalize gives onnxruntime's numbers."""

import itertools

import numpy as np
import pytest
from onnx import helper
from onnx_net import RNG, Net, check, floats

pytestmark = pytest.mark.slow


def conv(net, x, channels_in, channels_out, size=3, stride=1, groups=1, bias=False):
    weights = floats(channels_out, channels_in // groups, size, size) / np.float32(
        np.sqrt(channels_in * size * size / groups))
    return net.inner("Conv", x, weights, *([floats(channels_out)] if bias else []),
                     pads=[size // 2] * 4, strides=[stride] * 2, group=groups)


def batch_norm(net, x, channels):
    return net.inner("BatchNormalization", x, floats(channels), floats(channels),
                     floats(channels), np.abs(floats(channels)) + 0.5)


def conv_block(net, x, *sizes, **options):
    return net.inner("Relu", batch_norm(net, conv(net, x, *sizes, **options), sizes[1]))


class WithExtensions(Net):
    """With onnxruntime's own operators."""

    @property
    def model(self):
        model = super().model
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return model


def test_a_residual_network_is_one_transpose_and_its_layers():
    net = Net(x=floats(1, 3, 32, 32))
    y = conv_block(net, "x", 3, 8, 7, stride=2)
    y = net.inner("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for sizes, stride in (((8, 8), 1), ((8, 16), 2)):
        inside = batch_norm(net, conv(net, conv_block(net, y, *sizes, stride=stride),
                                      sizes[1], sizes[1]), sizes[1])
        around = y if stride == 1 else batch_norm(net, conv(net, y, *sizes, 1, 2), sizes[1])
        y = net.inner("Relu", net.inner("Add", inside, around))
    y = net.inner("Flatten", net.inner("GlobalAveragePool", y))
    net.add("Gemm", y, floats(5, 16), floats(5), transB=1)
    operators = [name for name in check(net, 2e-4) if name != "DELEGATE"]
    assert sorted(operators) == sorted(
        ["TRANSPOSE", "ADD", "ADD", "MAX_POOL_2D", "MEAN", "FULLY_CONNECTED"]
        + ["CONV_2D"] * 6 + ["PAD"] * 3)


def test_a_network_of_depthwise_layers():
    net = Net(x=floats(1, 3, 17, 20))
    y = conv_block(net, "x", 3, 8, stride=2)
    for stride in (1, 2):
        y = conv(net, y, 8, 8, stride=stride, groups=8)
        y = net.inner("Clip", batch_norm(net, y, 8), np.float32(0), np.float32(6))
        y = batch_norm(net, conv(net, y, 8, 8, 1), 8)
    y = conv(net, y, 8, 16, groups=4)
    y = net.inner("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    net.add("Flatten", y)
    operators = check(net, 2e-4)
    # A flatten at the end has to give the values in ONNX's order.
    assert operators.count("TRANSPOSE") == 2
    assert not {"MUL", "ADD", "PADV2"} & set(operators)
    assert operators.count("DEPTHWISE_CONV_2D") == 2


def test_an_hourglass_keeps_its_channels_last():
    net = Net(x=floats(1, 3, 16, 24))
    one = conv_block(net, "x", 3, 8)
    two = conv_block(net, net.inner("MaxPool", one, kernel_shape=[2, 2], strides=[2, 2]), 8, 16)
    three = conv_block(net, net.inner("MaxPool", two, kernel_shape=[2, 2], strides=[2, 2]), 16, 16)
    up = net.inner("ConvTranspose", three, floats(16, 8, 2, 2), floats(8), strides=[2, 2])
    up = conv_block(net, net.inner("Concat", up, two, axis=1), 24, 8)
    up = net.inner("Resize", up, "", np.asarray([1, 1, 2, 2], np.float32), mode="linear",
                   coordinate_transformation_mode="pytorch_half_pixel")
    up = conv(net, net.inner("Concat", up, one, axis=1), 16, 8)
    up = net.inner("InstanceNormalization", up, floats(8), floats(8))
    up = net.inner("GroupNormalization", conv(net, up, 8, 12), floats(12), floats(12),
                   num_groups=3)
    up = net.inner("LpNormalization", net.inner("LRN", conv(net, up, 12, 12), size=3), axis=1)
    up = net.inner("DepthToSpace", conv(net, up, 12, 12, bias=True), blocksize=2, mode="CRD")
    up = net.inner("CenterCropPad", up, np.asarray([30, 50]), axes=[2, 3])
    net.add("ConvTranspose", up, floats(3, 1, 4, 4), strides=[2, 2], pads=[1] * 4)
    operators = check(net, 1e-3)
    # The result has one channel: giving it ONNX's order is no more than another shape.
    assert operators.count("TRANSPOSE") == 1
    assert operators.count("TRANSPOSE_CONV") == 2
    assert {"RESIZE_BILINEAR", "DEPTH_TO_SPACE", "LOCAL_RESPONSE_NORMALIZATION"} <= set(operators)
    assert not {"SLICE", "GATHER", "BATCH_MATMUL"} & set(operators)


def test_what_follows_a_cut_or_flattened_image_goes_into_the_layer_before():
    net = Net(x=floats(1, 4, 6, 5))
    y = net.inner("ConvTranspose", "x", floats(4, 12, 3, 3), floats(12), strides=[2, 2],
                  pads=[1] * 4, output_padding=[1, 1])
    y = net.inner("Relu", batch_norm(net, y, 12))
    y = net.inner("Relu", batch_norm(net, conv(net, y, 12, 12), 12))
    y = conv(net, net.inner("DepthToSpace", y, blocksize=2, mode="CRD"), 3, 4, stride=4)
    y = net.inner("Flatten", y)
    net.add("Gemm", batch_norm(net, y, 120), floats(120, 3))
    operators = [name for name in check(net, 1e-3) if name != "DELEGATE"]
    assert operators == ["TRANSPOSE", "TRANSPOSE_CONV", "SLICE", "RELU", "CONV_2D",
                         "DEPTH_TO_SPACE", "PAD", "CONV_2D", "RESHAPE", "MUL", "ADD",
                         "FULLY_CONNECTED"]


def test_groups_written_as_reshapes_around_instance_normalization():
    net = Net(x=floats(2, 3, 8, 6))
    y = conv(net, "x", 3, 8)
    y = net.inner("Reshape", y, [0, 2, -1])
    y = net.inner("InstanceNormalization", y, floats(2), floats(2))
    y = net.inner("Reshape", y, [2, 8, 8, 6])
    y = net.inner("Add", net.inner("Mul", y, floats(8, 1, 1)), floats(8, 1, 1))
    net.add("Relu", conv(net, y, 8, 8))
    assert check(net, 1e-3).count("TRANSPOSE") == 2


def test_a_reshape_there_and_back_with_something_between():
    net = Net(x=floats(1, 3, 8, 6))
    y = conv(net, "x", 3, 8)
    flat = net.inner("Reshape", y, [1, 2, -1])
    net.add("Reshape", net.inner("Softmax", flat), [1, 8, 8, 6])
    net.add("Relu", conv(net, net.inner("Reshape", flat, [1, 8, 8, 6]), 8, 8))
    net.add("Reshape", flat, [1, 8, 48])
    check(net, 1e-4)


def test_sound_and_volumes_keep_their_order_too():
    net = Net(x=floats(1, 3, 40), v=floats(1, 2, 6, 7, 8))
    y = net.inner("Conv", "x", floats(8, 3, 5), floats(8), strides=[2], pads=[2, 2])
    y = net.inner("MaxPool", y, kernel_shape=[2], strides=[2])
    net.add("ConvTranspose", y, floats(8, 4, 4), strides=[2], pads=[1, 1])
    y = net.inner("Conv", "v", floats(4, 2, 3, 3, 3), pads=[1] * 6)
    y = net.inner("MaxPool", batch_norm(net, y, 4), kernel_shape=[2] * 3, strides=[2] * 3)
    y = net.inner("Conv", y, floats(4, 1, 3, 3, 3), pads=[1] * 6, group=4)
    net.add("ConvTranspose", y, floats(4, 2, 2, 2, 2), strides=[2] * 3)
    assert check(net, 1e-4).count("TRANSPOSE") == 4


@pytest.mark.parametrize("sizes", [(9,), (7, 9), (4, 5, 6)])
def test_transposed_convolutions(sizes):
    spatial = len(sizes)
    net = Net(x=floats(2, 6, *sizes), w=floats(6, 3, *[3] * spatial))
    for stride, groups in itertools.product((1, 2, 3), (1, 2, 6)):
        weights = floats(6, 3 if groups < 6 else 1, *[3] * spatial)
        for attributes in (
            {}, {"pads": [1] * 2 * spatial}, {"dilations": [2] * spatial},
            {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"},
            {"pads": [1, 0, 1][:spatial] + [0, 1, 2][:spatial],
             "output_padding": [stride - 1] * spatial},
            {"output_shape": [size * stride - 1 for size in sizes]},
        ):
            net.add("ConvTranspose", "x", weights, strides=[stride] * spatial, group=groups,
                    **attributes)
        net.add("ConvTranspose", "x", "w", strides=[stride] * spatial)
    check(net, 2e-4)


@pytest.mark.parametrize("sizes", [(12,), (11, 13), (5, 6, 7)])
def test_convolutions(sizes):
    spatial = len(sizes)
    net = Net(x=floats(2, 6, *sizes), w=floats(6, 2, *[3] * spatial))
    for groups, strides in itertools.product((1, 2, 6), ([1, 1, 1], [2, 2, 2], [2, 1, 3])):
        weights = floats(12, 6 // groups, *[3] * spatial)
        for attributes in (
            {"pads": [1] * 2 * spatial}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"},
            {"pads": [2] * 2 * spatial, "dilations": [2] * spatial},
            {"pads": [0, 2, 1][:spatial] + [1, 0, 2][:spatial]},
        ):
            net.add("Conv", "x", weights, floats(12), group=groups, strides=strides[:spatial],
                    **attributes)
    net.add("Conv", "x", "w", group=3)
    check(net, 2e-4)


@pytest.mark.parametrize("sizes", [(13,), (11, 14), (6, 7, 8)])
def test_windows_of_pooling(sizes):
    spatial = len(sizes)
    net = Net(x=floats(2, 3, *sizes))
    for size, stride in ((2, 1), (2, 2), (3, 2), (2, 3)):
        for attributes in (
            {}, {"pads": [1] * 2 * spatial}, {"pads": [1] * 2 * spatial, "ceil_mode": 1},
            {"pads": [0] * spatial + [1] * spatial}, {"auto_pad": "SAME_UPPER"},
            {"auto_pad": "SAME_LOWER"}, {"dilations": [2] * spatial, "pads": [1] * 2 * spatial},
        ):
            if "auto_pad" in attributes and stride > size:
                continue  # onnxruntime refuses it for volumes
            window = {"kernel_shape": [size] * spatial, "strides": [stride] * spatial}
            for operator in ("MaxPool", "AveragePool", "AveragePool"):
                more = {} if operator == "MaxPool" else {"count_include_pad": len(net.nodes) % 2}
                net.add(operator, "x", **window, **attributes, **more)
            if "ceil_mode" not in attributes:
                net.add("LpPool", "x", **window, **attributes, p=1 + len(net.nodes) % 3)
            if stride == 2:
                net.add("MaxPool", "x", **window, **attributes, outputs=2,
                        storage_order=int(spatial > 1 and size == 3))
    check(net, 1e-4)


def test_other_pooling():
    net = Net(x=floats(2, 3, 9, 8), e=floats(1, 2, 8, 6),
              b=RNG.integers(0, 255, (1, 3, 9, 9)).astype(np.uint8),
              i=RNG.integers(-128, 127, (1, 3, 9, 9)).astype(np.int8))
    for operator in ("GlobalMaxPool", "GlobalAveragePool"):
        net.add(operator, "x")
    for name in ("b", "i"):
        net.add("MaxPool", name, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for name, size, shape in (("e", 2, ()), ("b", 3, ()), ("x", 2, (np.asarray([2, 3, 9, 8]),))):
        window = {"kernel_shape": [size] * 2, "strides": [2] * 2}
        x = net.inner("Cast", name, to=1) if name == "b" else name
        values, places = net.inner("MaxPool", x, outputs=2, **window)
        net.add("MaxUnpool", values, places, *shape, **window)
    check(net, 1e-5)
    old = Net(20, x=floats(2, 3, 9, 8))
    old.add("GlobalLpPool", "x")
    old.add("GlobalLpPool", "x", p=3)
    check(old, 1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resizing(mode):
    net = Net(19, x=floats(1, 3, 7, 8))
    for coordinates, (scales, sizes) in itertools.product(
        ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"),
        (([1, 1, 2, 2], None), ([1, 1, 0.6, 1.7], None), (None, [1, 3, 5, 11]),
         (None, [1, 3, 1, 20]), ([1, 1, 3, 0.5], None)),
    ):  # fmt: skip
        given = ([np.asarray(scales, np.float32)] if scales
                 else ["", np.asarray(sizes, np.int64)])
        for rounding in (("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
                         if mode == "nearest" else ("floor",)):
            net.add("Resize", "x", "", *given, mode=mode, nearest_mode=rounding,
                    coordinate_transformation_mode=coordinates)
    if mode != "nearest":
        for outside, sizes in itertools.product((0, 1), ([3, 3], [14, 5])):
            net.add("Resize", "x", "", "", np.asarray(sizes), mode=mode, antialias=1,
                    exclude_outside=outside, axes=[2, 3])
    check(net, 2e-4)


def test_resizing_by_other_means():
    net = Net(19, x=floats(1, 3, 7, 9), v=floats(1, 3, 4, 5, 6), s=floats(2, 3, 11),
              b=RNG.integers(0, 255, (1, 3, 6, 6)).astype(np.uint8))
    half = {"mode": "linear"}
    for policy in ("stretch", "not_larger", "not_smaller"):
        net.add("Resize", "x", "", "", np.asarray([5, 8]), axes=[3, 2],
                keep_aspect_ratio_policy=policy, **half)
    net.add("Resize", "x", np.asarray([0, 0, 0.1, -0.2, 1, 1, 0.7, 1.2], np.float32), "",
            np.asarray([1, 3, 5, 8]), coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=7.0, **half)
    double = np.asarray([1, 1, 2, 2], np.float32)
    net.add("Resize", "v", "", np.asarray([1, 1, 2, 2, 2], np.float32), **half)
    net.add("Resize", "v", "", np.asarray([1, 1, 2, 2, 2], np.float32), mode="nearest")
    net.add("Resize", "s", "", np.asarray([1, 1, 2], np.float32), **half)
    net.add("Resize", "b", "", double, **half)
    net.add("Resize", "b", "", double, mode="nearest")
    check(net, 1e-4)
    for opset, operator in ((10, "Resize"), (9, "Upsample")):
        old = Net(opset, x=floats(1, 3, 7, 7))
        scales = [1, 1, 2, 0.5] if operator == "Resize" else [1, 1, 2, 3]
        for mode in ("nearest", "linear"):
            old.add(operator, "x", np.asarray(scales, np.float32), mode=mode)
        check(old, 1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_reading_images_at_computed_places(mode):
    net = Net(20, x=floats(2, 6, 7, 8), v=floats(2, 3, 4, 6, 7),
              g=RNG.uniform(-1.6, 1.6, (2, 4, 5, 2)).astype(np.float32),
              h=RNG.uniform(-1.6, 1.6, (2, 3, 4, 5, 3)).astype(np.float32))
    for padding, align in itertools.product(("zeros", "border", "reflection"), (0, 1)):
        options = {"mode": mode, "padding_mode": padding, "align_corners": align}
        net.add("GridSample", "x", "g", **options)
        if mode == "linear":
            net.add("GridSample", "v", "h", **options)
    check(net, 2e-4)


def test_deformed_convolutions():
    net = Net(20, x=floats(2, 6, 7, 8), theta=floats(2, 2, 3))
    net.add("AffineGrid", "theta", np.asarray([2, 3, 4, 5]), align_corners=1)
    for groups, parts in ((1, 1), (3, 2)):
        net.add("DeformConv", "x", floats(6, 6 // groups, 3, 3), floats(2, 18 * parts, 5, 6),
                floats(6), floats(2, 9 * parts, 5, 6), group=groups, offset_group=parts)
    net.add("DeformConv", "x", floats(4, 6, 3, 3), floats(2, 18, 4, 4), strides=[2, 2],
            pads=[2] * 4, dilations=[2, 2])
    check(net, 2e-4)


def test_regions_blocks_and_columns():
    corners = RNG.uniform(-2, 18, (5, 2))
    boxes = np.concatenate([corners, corners + RNG.uniform(0.2, 15, (5, 2))], 1)
    net = Net(18, x=floats(2, 4, 9, 11), rois=boxes.astype(np.float32), c=floats(2, 27, 9))
    for mode, samples, coordinates in itertools.product(
            ("avg", "max"), (0, 2), ("half_pixel", "output_half_pixel")):
        net.add("RoiAlign", "x", "rois", np.asarray([0, 1, 1, 0, 1]), mode=mode,
                sampling_ratio=samples, coordinate_transformation_mode=coordinates,
                spatial_scale=0.5, output_height=3, output_width=2)
    regions = np.concatenate([np.asarray([[0], [1], [1], [0], [1]]), np.round(boxes)], 1)
    net.add("MaxRoiPool", "x", regions.astype(np.float32), pooled_shape=[3, 2],
            spatial_scale=0.5)
    net.add("Col2Im", "c", np.asarray([5, 6]), np.asarray([3, 3]), strides=[2, 2],
            pads=[1, 0, 1, 1])
    net.add("Col2Im", "c", np.asarray([5, 5]), np.asarray([3, 3]))
    for mode in ("DCR", "CRD"):
        net.add("DepthToSpace", "x", blocksize=2, mode=mode)
    net.add("SpaceToDepth", net.inner("DepthToSpace", "x", blocksize=2), blocksize=2)
    check(net, 1e-4)


def test_channels_of_a_shared_result_are_not_reordered_behind_its_back():
    net = Net(x=floats(1, 4, 6, 6))
    shared = net.inner("Relu", conv(net, "x", 4, 12, bias=True))
    net.add("DepthToSpace", shared, blocksize=2, mode="CRD")
    net.add("DepthToSpace", net.inner("Sigmoid", shared), blocksize=2, mode="CRD")
    check(net, 1e-5)


def test_normalizations():
    for shape in ((2, 4), (2, 4, 5), (2, 4, 5, 6), (2, 4, 3, 3, 3)):
        net = Net(x=floats(*shape), g=np.abs(floats(4)))
        net.add("BatchNormalization", "x", "g", floats(4), floats(4), "g")
        for axis in range(len(shape)):
            net.add("LayerNormalization", "x", floats(*shape[axis:]), floats(*shape[axis:]),
                    axis=axis - len(shape), outputs=3)
            net.add("LpNormalization", "x", axis=axis, p=1 + axis % 2)
        if len(shape) > 2:
            net.add("InstanceNormalization", "x", floats(4), floats(4))
            net.add("GroupNormalization", "x", floats(4), floats(4), num_groups=2)
        if len(shape) == 4:
            net.add("MeanVarianceNormalization", "x")
            net.add("LRN", "x", size=3, alpha=0.5, bias=2.0)
        check(net, 1e-4)


@pytest.mark.parametrize("operator", ["SkipLayerNormalization",
                                      "SkipSimplifiedLayerNormalization"])
def test_normalization_of_sums(operator):
    net = WithExtensions(x=floats(2, 5, 8), y=floats(2, 5, 8))
    net.nodes.append(helper.make_node(
        operator, ["x", "y", net.constant(floats(8))], ["normal", "", "", "sum"],
        domain="com.microsoft"))
    net.outputs += ["normal", "sum"]
    check(net, 1e-4)
