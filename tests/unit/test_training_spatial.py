"""Convolutions, pooling, resizing and matrix products: lifted as LiteRT computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifting import Case, Make, Operand, check, constant, examples

pytestmark = pytest.mark.slow

Row = Callable[[Make], Case]
SAME, VALID = 0, 1
FUSED = (0, 1, 2, 3)  # none, ReLU, ReLU between -1 and 1, ReLU6


def _window(make: Make, axes: int, most: int = 3) -> tuple[int, list[int], list[int], list[int],
                                                             list[int]]:
    """Padding, and for each axis of space: kernel, stride, dilation, size of the input."""
    padding = make.pick(SAME, VALID)
    kernel = [make.integer(1, most) for _ in range(axes)]
    strides = [make.integer(1, 3) for _ in range(axes)]
    dilations = [make.integer(1, 3) if make.flag() else 1 for _ in range(axes)]
    least = [(k - 1) * d + 1 if padding == VALID else 1
             for k, d in zip(kernel, dilations, strict=True)]
    return padding, kernel, strides, dilations, [make.integer(n, n + 4) for n in least]


def _bias(make: Make, channels: int) -> list[Operand]:
    return [make.weights([channels])] if make.flag() else []


def _fused(make: Make) -> int:
    """No kinks where the gradient is checked with floats."""
    return 0 if make.is_mapped else make.pick(*FUSED)


def _conv_2d(make: Make) -> Case:
    padding, kernel, strides, dilations, size = _window(make, 2)
    groups = make.pick(1, 1, 2)
    inputs, outputs = groups * make.integer(1, 3), groups * make.integer(1, 3)
    x = make.floats((make.pick(1, 1, 2), *size, inputs))
    weights = make.filter((outputs, *kernel, inputs // groups))
    return make.case(
        "CONV_2D", [x, weights, make.weights([outputs])], "float32", "Conv2DOptions",
        padding=padding, strideH=strides[0], strideW=strides[1], dilationHFactor=dilations[0],
        dilationWFactor=dilations[1], fusedActivationFunction=_fused(make))


def _depthwise_conv_2d(make: Make) -> Case:
    padding, kernel, strides, dilations, size = _window(make, 2)
    channels, multiplier = make.integer(1, 3), make.integer(1, 2)
    x = make.floats((make.pick(1, 1, 2), *size, channels))
    weights = make.filter((1, *kernel, channels * multiplier))
    return make.case(
        "DEPTHWISE_CONV_2D", [x, weights, make.weights([channels * multiplier])], "float32",
        "DepthwiseConv2DOptions", padding=padding, strideH=strides[0], strideW=strides[1],
        dilationHFactor=dilations[0], dilationWFactor=dilations[1], depthMultiplier=multiplier,
        fusedActivationFunction=_fused(make))


def _grown(make: Make, padding: int, size: Any, kernel: Any, strides: Any) -> list[int]:
    """A size that a convolution would make ``size`` from."""
    if padding == VALID:
        return [(n - 1) * s + k + make.integer(0, s - 1)
                for n, k, s in zip(size, kernel, strides, strict=True)]
    return [n * s - make.integer(0, s - 1) for n, s in zip(size, strides, strict=True)]


def _transpose_conv(make: Make) -> Case:
    padding, kernel, strides, _, _ = _window(make, 2)
    size, inputs, outputs = make.shape(2, 2), make.integer(1, 3), make.integer(1, 3)
    batch = make.pick(1, 1, 2)
    wanted = [batch, *_grown(make, padding, size, kernel, strides), outputs]
    x, weights = make.floats((batch, *size, inputs)), make.filter((outputs, *kernel, inputs))
    bias = _bias(make, outputs)
    return make.case(
        "TRANSPOSE_CONV", [constant(wanted), weights, x, *bias], "float32",
        "TransposeConvOptions", version=3 if bias else 1, padding=padding, strideH=strides[0],
        strideW=strides[1], fusedActivationFunction=_fused(make))


def _conv_3d(make: Make) -> Case:
    padding, kernel, strides, dilations, size = _window(make, 3, 2)
    inputs, outputs = make.integer(1, 2), make.integer(1, 2)
    x = make.floats((make.pick(1, 1, 2), *size, inputs))
    weights = make.filter((*kernel, inputs, outputs))
    names = "DHW"
    return make.case(
        "CONV_3D", [x, weights, *_bias(make, outputs)], "float32", "Conv3DOptions",
        padding=padding, fusedActivationFunction=_fused(make),
        **{f"stride{axis}": n for axis, n in zip(names, strides, strict=True)},
        **{f"dilation{axis}Factor": n for axis, n in zip(names, dilations, strict=True)})


def _conv_3d_transpose(make: Make) -> Case:
    padding, kernel, strides, _, _ = _window(make, 3, 2)
    size, inputs, outputs = make.shape(3, 3, 3), make.integer(1, 2), make.integer(1, 2)
    batch = make.pick(1, 1, 2)
    wanted = [batch, *_grown(make, padding, size, kernel, strides), outputs]
    x, weights = make.floats((batch, *size, inputs)), make.filter((*kernel, outputs, inputs))
    return make.case(
        "CONV_3D_TRANSPOSE", [constant(wanted), weights, x, *_bias(make, outputs)], "float32",
        "Conv3DOptions", padding=padding, fusedActivationFunction=_fused(make),
        **{f"stride{axis}": n for axis, n in zip("DHW", strides, strict=True)})


def _pool(name: str) -> Row:
    def made(make: Make) -> Case:
        padding, kernel, strides, _, size = _window(make, 2)
        size = [max(n, k) if padding == VALID else n for n, k in zip(size, kernel, strict=True)]
        x = make.floats((make.pick(1, 1, 2), *size, make.integer(1, 3)))
        return make.case(
            name, [x], "float32", "Pool2DOptions", padding=padding, filterHeight=kernel[0],
            filterWidth=kernel[1], strideH=strides[0], strideW=strides[1],
            fusedActivationFunction=make.pick(*FUSED))
    return made


def _resized(name: str, options: str) -> Row:
    def made(make: Make) -> Case:
        x = make.floats((make.pick(1, 1, 2), *make.shape(3, 3)))
        corners, half = make.pick((False, False), (True, False), (False, True))
        return make.case(name, [x, make.shared(make.shape(2, 2, 7))], "float32", options,
                         exact_gradient=False, alignCorners=corners, halfPixelCenters=half)
    return made


def _fully_connected(make: Make) -> Case:
    """The input's last axis, or several together, are the depth."""
    shape, keep, units = make.shape(1), make.flag(), make.integer(1, 4)
    depth = shape[-1]
    if not keep and len(shape) > 1 and make.flag():
        depth *= shape[-2]
    weights = make.filter((units, depth))
    bias = make.weights(make.pick([units], [1, units])) if make.flag() else None
    return make.case("FULLY_CONNECTED", [make.floats(shape), weights, bias], "float32",
                     "FullyConnectedOptions", keepNumDims=keep,
                     fusedActivationFunction=_fused(make))


def _batch_matmul(make: Make) -> Case:
    first, second = make.pair(2)
    rows, depth, columns = make.shape(3, 3)
    flip_x, flip_y = make.flag(), make.flag()
    x = (*first, depth, rows) if flip_x else (*first, rows, depth)
    y = (*second, columns, depth) if flip_y else (*second, depth, columns)
    return make.case("BATCH_MATMUL", [make.floats(x), make.floats(y)], "float32",
                     "BatchMatMulOptions", adjX=flip_x, adjY=flip_y)


def _rfft_2d(make: Make) -> Case:
    """Cut or filled up with zeros to powers of two."""
    x = make.floats((*make.shape(0, 1), *make.shape(2, 2, 6)))
    return make.case("RFFT2D", [x, constant([make.pick(1, 2, 4, 8), make.pick(2, 4, 8)])],
                     "complex64")


CASES: Mapping[str, Row] = {
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv_2d,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "L2_POOL_2D": _pool("L2_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "RESIZE_BILINEAR": _resized("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _resized("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    "RFFT2D": _rfft_2d,
    "TRANSPOSE_CONV": _transpose_conv,
}


@pytest.mark.parametrize("name", sorted(CASES))
@examples(12)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))
