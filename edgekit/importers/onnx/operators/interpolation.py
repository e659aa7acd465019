"""Interpolation along one axis: which elements make each output, and with what weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """What is to be done along one axis.

    Attributes:
        size: The axis' size.
        outputs: The size it gets.
        scale: Outputs per input; need not be the quotient of the two.
        start: Of the region of interest, as a part of the axis; only for tf_crop_and_resize.
        end: The same.
    """

    size: int
    outputs: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class Style:
    """How a Resize interpolates.

    Attributes:
        mode: nearest, linear or cubic.
        coordinates: ONNX's coordinate_transformation_mode.
        rounding: ONNX's nearest_mode, or "simple" of opset 10: up for smaller images.
        cubic: The coefficient A.
        antialias: Whether shrinking takes all elements into account.
        exclude_outside: Whether weights outside of the image are dropped.
        fill: What is outside of the image for tf_crop_and_resize.
    """

    mode: str
    coordinates: str
    rounding: str = "round_prefer_floor"
    cubic: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False
    fill: float = 0.0


def coordinates(line: Line, mode: str) -> Floats:
    """For each output, where it is among the inputs.

    In onnxruntime's arithmetic, float32: what is rounded depends on the last bit.

    Raises:
        ValueError: The mode is unknown.
    """
    y, size = np.arange(line.outputs, dtype=np.float32), np.float32(line.size)
    scale, half = np.float32(line.scale), np.float32(0.5)
    if mode == "align_corners":
        places = y * (size - 1) / np.float32(max(line.outputs - 1, 1))
    elif mode == "asymmetric":
        places = y / scale
    elif mode == "tf_crop_and_resize":
        start, end = np.float32(line.start), np.float32(line.end)
        places = (y * 0 + half * (start + end) * (size - 1) if line.outputs == 1 else
                  start * (size - 1) + y * (end - start) * (size - 1) / np.float32(
                      line.outputs - 1))
    elif mode == "pytorch_half_pixel" and line.outputs == 1:
        places = y * 0
    elif mode == "half_pixel_symmetric":
        moved = size / 2 * (1 - np.float32(line.outputs) / (scale * size))
        places = moved + (y + half) / scale - half
    elif mode in ("half_pixel", "pytorch_half_pixel"):
        places = (y + half) / scale - half
    else:
        raise ValueError(f"coordinate_transformation_mode {mode}")
    return np.asarray(places, np.float64)


def nearest(line: Line, style: Style) -> Ints:
    """For each output, the input that it is a copy of."""
    places = coordinates(line, style.coordinates)
    rounding = style.rounding
    if rounding == "simple":
        rounding = "ceil" if line.scale < 1 else "floor"
    rounded = {"floor": np.floor(places), "ceil": np.ceil(places),
               "round_prefer_ceil": np.floor(places + 0.5),
               "round_prefer_floor": np.ceil(places - 0.5)}[rounding]
    return np.asarray(np.clip(rounded, 0, line.size - 1), np.int64)


def taps(line: Line, style: Style) -> tuple[Ints, Floats]:
    """For each output, the inputs that it is made of, and their weights: (outputs, taps) each."""
    if style.mode == "nearest":
        return nearest(line, style)[:, None], np.ones((line.outputs, 1))
    places = coordinates(line, style.coordinates)
    shrink = min(line.scale, 1.0) if style.antialias else 1.0
    reach = 1 if style.mode == "linear" else 2
    before = math.ceil(reach / shrink)
    firsts = np.floor(places).astype(np.int64) - before + 1
    chosen = firsts[:, None] + np.arange(2 * before)
    distance = np.abs(chosen - places[:, None]) * shrink
    weights = (np.clip(1 - distance, 0, 1) if style.mode == "linear"
               else _cubic(distance, style.cubic))
    if style.exclude_outside or style.antialias:
        outside = (chosen < 0) | (chosen >= line.size)
        weights = np.where(outside & style.exclude_outside, 0.0, weights)
        weights /= weights.sum(1, keepdims=True)
    return np.clip(chosen, 0, line.size - 1), weights


def _cubic(x: Floats, a: float) -> Floats:
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def matrix(line: Line, style: Style) -> Floats:
    """The interpolation as a matrix: (outputs, size)."""
    chosen, weights = taps(line, style)
    made = np.zeros((line.outputs, line.size))
    np.add.at(made, (np.arange(line.outputs)[:, None], chosen), weights)
    return made


def outside(line: Line, style: Style) -> NDArray[np.bool_]:
    """Which outputs are not in the image: only tf_crop_and_resize has any."""
    places = coordinates(line, style.coordinates)
    if style.coordinates != "tf_crop_and_resize":
        return np.zeros(line.outputs, np.bool_)
    return (places < 0) | (places > line.size - 1)


# What the runtime's kernels compute: (align_corners, half_pixel_centers).
KERNELS = ((False, True), (True, False), (False, False))


def kernel_nearest(line: Line, *, align: bool, half: bool) -> Ints:
    """What RESIZE_NEAREST_NEIGHBOR copies, in its own arithmetic."""
    f = np.float32
    scale = f((line.size - 1) / f(line.outputs - 1) if align and line.outputs > 1
              else f(line.size) / f(line.outputs))
    places = (np.arange(line.outputs, dtype=f) + f(0.5 if half else 0)) * scale
    rounded = np.floor(places + f(0.5)) if align else np.floor(places)
    return np.asarray(np.clip(rounded, 0, line.size - 1), np.int64)


def kernel_linear(line: Line, *, align: bool, half: bool) -> Floats:
    """What RESIZE_BILINEAR does along one axis, as a matrix."""
    scale = ((line.size - 1) / (line.outputs - 1) if align and line.outputs > 1
             else line.size / line.outputs)
    places = np.arange(line.outputs) * scale
    if half:
        places = (np.arange(line.outputs) + 0.5) * scale - 0.5
    low = np.clip(np.floor(places), 0, line.size - 1).astype(np.int64)
    high = np.clip(np.floor(places) + 1, 0, line.size - 1).astype(np.int64)
    share = np.clip(places - low, 0, 1)
    made = np.zeros((line.outputs, line.size))
    rows = np.arange(line.outputs)
    np.add.at(made, (rows, low), 1 - share)
    np.add.at(made, (rows, high), share)
    return made


def fitting_kernel(lines: Sequence[Line | None], style: Style) -> tuple[bool, bool] | None:
    """The kernel's setting that does the same on these axes; None where there is none."""
    for align, half in KERNELS:
        if all(line is None or _fits(line, style, align=align, half=half) for line in lines):
            return align, half
    return None


def _fits(line: Line, style: Style, *, align: bool, half: bool) -> bool:
    if outside(line, style).any():
        return False
    if style.mode == "nearest":
        return bool(np.array_equal(kernel_nearest(line, align=align, half=half),
                                   nearest(line, style)))
    if style.mode == "linear":
        return bool(np.allclose(kernel_linear(line, align=align, half=half), matrix(line, style),
                                atol=1e-5))
    return False


def compact(weights: Any) -> tuple[Ints, NDArray[np.float32]]:  # noqa: ANN401
    """A matrix as few taps for each row: (outputs, taps) places and weights."""
    most = max(int((weights != 0).sum(1).max()), 1)
    order = np.sort(np.argsort(weights == 0, axis=1, kind="stable")[:, :most], axis=1)
    return order, np.take_along_axis(weights, order, 1).astype(np.float32)
