"""Resizing of images.

The runtime's two kernels are used where they compute the same as the model says, which is found
out by comparing what each output is made of. Elsewhere the axes are resized one after another.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.interpolation import (
    Line,
    Style,
    compact,
    fitting_kernel,
    matrix,
    nearest,
    outside,
)
from edgekit.importers.onnx.operators.windows import reshaped
from edgekit.importers.onnx.values import (
    Value,
    arranged,
    channels_last,
    logical,
    make,
    sizes_of,
    static_shape,
)

# So many elements of the axis for each tap that gathering the taps is faster than a product.
_SPARSE = 16


def resize(node: Node, x: Value, *_rest: Value | None) -> Value:
    """Resize, every mode of it."""
    style = _style(node)
    scales = _optional(node, 1 if node.opset < 11 else 2)
    sizes = _optional(node, 3)
    axes = [axis % x.rank for axis in node.attr("axes", range(x.rank))]
    if any(x.shape[axis] is None for axis in axes):
        return _open(node, x, style, scales, sizes)
    _refuse_computed(node)
    lines = _lines(node, x, axes, None if scales is None else scales.data,
                   None if sizes is None else sizes.data)
    if style.coordinates == "tf_crop_and_resize":
        roi = [float(part) for part in node.constant(1)]
        lines = {axis: _cropped(line, roi[place], roi[len(axes) + place], given=sizes is not None)
                 for place, (axis, line) in enumerate(lines.items())}
    return resized(x, {axis: line for axis, line in lines.items() if not _is_nothing(line)}, style)


def upsample(node: Node, x: Value, *_rest: Value) -> Value:
    """Upsample, the older Resize: scales as attributes or an input."""
    scales = node.setting("scales", 1)
    if scales is None:
        scales = [1.0, 1.0, node.attr("height_scale"), node.attr("width_scale")]
    if None in x.shape:
        return _open(node, x, Style(_mode(node), "asymmetric", "floor"),
                     Value(np.asarray(scales)), None)
    lines = {axis: Line(int(x.shape[axis] or 0), int((x.shape[axis] or 0) * scale), scale)
             for axis, scale in enumerate(scales) if scale != 1}
    return resized(x, lines, Style(_mode(node), "asymmetric", "floor"))


def _style(node: Node) -> Style:
    if node.opset < 11:
        return Style(_mode(node), "asymmetric", "simple")
    return Style(
        _mode(node), node.attr("coordinate_transformation_mode", "half_pixel"),
        node.attr("nearest_mode", "round_prefer_floor"), node.attr("cubic_coeff_a", -0.75),
        bool(node.attr("antialias", 0)), bool(node.attr("exclude_outside", 0)),
        node.attr("extrapolation_value", 0.0))  # fmt: skip


def _mode(node: Node) -> str:
    mode = str(node.attr("mode", "nearest"))
    return "linear" if mode == "bilinear" else mode


def _optional(node: Node, position: int) -> Value | None:
    """An input; empty arrays stand for none, too."""
    found = node.inputs[position] if node.given(position) else None
    return None if found is None or 0 in found.shape else found


def _lines(
    node: Node, x: Value, axes: Sequence[int], scales: Any, sizes: Any  # noqa: ANN401
) -> dict[int, Line]:
    old = [int(x.shape[axis] or 0) for axis in axes]
    if sizes is None and scales is None:
        raise node.error("has neither scales nor sizes")
    if sizes is None:
        return {axis: Line(size, int(size * scale), scale)
                for axis, size, scale in zip(axes, old, scales.tolist(), strict=True)}
    factors = [int(new) / size for new, size in zip(sizes, old, strict=True)]
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return {axis: Line(size, int(new), scale) for axis, size, new, scale in zip(
            axes, old, sizes, factors, strict=True)}
    scale = min(factors) if policy == "not_larger" else max(factors)
    return {axis: Line(size, int(scale * size + 0.5), scale)
            for axis, size in zip(axes, old, strict=True)}


def _cropped(line: Line, start: float, end: float, *, given: bool) -> Line:
    outputs = line.outputs if given else int(line.size * (end - start) * line.scale)
    return Line(line.size, outputs, line.scale, start, end)


def _refuse_computed(node: Node) -> None:
    """Say which of scales, sizes and region is not a constant."""
    for position, item in enumerate(node.inputs[1:], 1):
        if item is not None and not item.is_constant:
            node.constant(position)


def _is_nothing(line: Line) -> bool:
    return (line.size == line.outputs and math.isclose(line.scale, 1)
            and (line.start, line.end) == (0, 1))


def resized(x: Value, lines: Mapping[int, Line], style: Style) -> Value:
    """The image with some of ONNX's axes resized."""
    if not lines:
        return x
    if x.is_constant:
        return Value(_at_import(x.data, lines, style))
    perm = x.perm or tuple(range(x.rank))
    if x.rank > 2 and min(lines) > 1:
        perm = channels_last(x.rank)
    data, kind = arranged(x, perm), x.dtype
    if style.mode != "nearest" and kind != np.float32:
        data = tf.cast(data, tf.float32)
    places = {perm.index(axis): line for axis, line in lines.items()}
    for place in sorted(places, reverse=True):
        if place not in places:
            continue
        pair = [places.get(place - 1), places[place]] if place > 1 else []
        setting = fitting_kernel(pair, style) if pair and pair[0] else None
        if setting is not None and data.dtype == np.float32:
            del places[place - 1]
            data = _by_kernel(data, place - 1, pair, style, setting)
        else:
            data = _along(data, place, places[place], style)
    return make(_back(data, kind, style), perm)


def _at_import(data: Any, lines: Mapping[int, Line], style: Style) -> Any:  # noqa: ANN401
    kind = data.dtype
    for axis, line in lines.items():
        if style.mode == "nearest":
            data = np.take(data, nearest(line, style), axis)
        else:
            data = np.moveaxis(np.tensordot(matrix(line, style), data, (1, axis)), 0, axis)
        beyond = outside(line, style).reshape([-1, *[1] * (data.ndim - axis - 1)])
        data = np.where(beyond, style.fill, data) if beyond.any() else data
    if kind != np.float32 and (style.mode == "cubic" or style.antialias):
        limits = np.iinfo(kind)
        data = np.clip(np.round(data), limits.min, limits.max)
    return np.ascontiguousarray(data.astype(kind))


def _back(data: Any, kind: np.dtype[Any], style: Style) -> Any:  # noqa: ANN401
    """The result in the image's type: cut off as onnxruntime does, within the type's range."""
    if data.dtype == kind:
        return data
    if style.mode == "cubic" or style.antialias:
        limits = np.iinfo(kind)
        data = tf.clip_by_value(tf.round(data), float(limits.min), float(limits.max))
    return tf.cast(data, kind)


def _by_kernel(
    data: Any, place: int, lines: Sequence[Line | None], style: Style, setting: tuple[bool, bool],  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Two axes by RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR; the axes around them are merged."""
    sizes = sizes_of(data)
    end = place + len(lines)
    width = [] if len(lines) == 2 else [1]
    head = sizes[0] if place == 1 else math.prod(sizes[:place])
    view = reshaped(data, [head, *sizes[place:end], *width, math.prod(sizes[end:])])
    made = [sizes[place + i] if line is None else line.outputs for i, line in enumerate(lines)]
    result = _kernel(view, [*made, *width], style.mode, setting)
    return reshaped(result, [*sizes[:place], *made, *sizes[end:]])


def _kernel(data: Any, size: Any, mode: str, setting: tuple[bool, bool]) -> Any:  # noqa: ANN401
    align, half = setting
    operator = (tf.raw_ops.ResizeNearestNeighbor if mode == "nearest"
                else tf.raw_ops.ResizeBilinear)
    return operator(images=data, size=size, align_corners=align, half_pixel_centers=half)


def _along(data: Any, place: int, line: Line, style: Style) -> Any:  # noqa: ANN401
    """One axis, by a kernel if one fits."""
    setting = fitting_kernel([line], style)
    if setting is not None and data.dtype == np.float32 and place > 0:
        return _by_kernel(data, place, [line], style, setting)
    if style.mode == "nearest":
        result = tf.gather(data, nearest(line, style).astype(np.int32), axis=place)
    else:
        result = _interpolated(data, place, matrix(line, style))
    beyond = outside(line, style)
    if not beyond.any():
        return result
    mask = beyond.reshape([-1, *[1] * (len(data.shape) - place - 1)])
    return tf.where(mask, tf.cast(style.fill, result.dtype), result)


def _interpolated(data: Any, place: int, weights: Any) -> Any:  # noqa: ANN401
    """Weighted sums along one axis: of gathered elements, or as a product with a matrix."""
    outputs, size = weights.shape
    chosen, shares = compact(weights)
    behind = len(data.shape) - place - 1
    if size > _SPARSE * chosen.shape[1]:
        return tf.add_n([
            tf.gather(data, chosen[:, tap].astype(np.int32), axis=place)
            * shares[:, tap].reshape([-1, *[1] * behind]) for tap in range(chosen.shape[1])])
    sizes = sizes_of(data)
    view = reshaped(data, [math.prod(sizes[:place]), size, math.prod(sizes[place + 1 :])])
    made = tf.matmul(weights.astype(np.float32), view)
    return reshaped(made, [*sizes[:place], outputs, *sizes[place + 1 :]])


def _open(
    node: Node, x: Value, style: Style, scales: Value | None, sizes: Value | None
) -> Value:
    """Resize an image whose size is known only at run time: by a kernel, or not at all."""
    perm = channels_last(x.rank)
    factors = None if scales is None or not scales.is_constant else scales.data.tolist()
    whole = factors is not None and all(float(factor).is_integer() for factor in factors)
    setting = _open_setting(style, given=sizes is not None, whole=whole)
    if (x.rank != 4 or setting is None or "axes" in node.attributes
            or node.attr("keep_aspect_ratio_policy", "stretch") != "stretch"
            or x.dtype != np.float32 or not (whole or sizes)):
        _refuse_computed(node)
        raise node.error("resizes an image whose size is not known at import, in a way for which "
                         "the runtime has no kernel", "fix the size with --input-shape")
    data = arranged(x, perm)
    if sizes is not None:
        size = tf.cast(logical(sizes), tf.int32)[2:]
    else:
        assert factors is not None
        size = tf.shape(data)[1:3] * np.asarray(factors[2:], np.int32)
    result = _kernel(data, size, style.mode, setting)
    result.set_shape([static_shape(data)[0], None, None, static_shape(data)[3]])
    return make(result, perm)


def _open_setting(style: Style, *, given: bool, whole: bool) -> tuple[bool, bool] | None:
    """The kernel that does the same at any size: with sizes given, or with whole factors."""
    if not (given or whole) or style.antialias or style.exclude_outside:
        return None
    if style.mode == "linear":
        return {"half_pixel": (False, True), "pytorch_half_pixel": (False, True),
                "align_corners": (True, False), "asymmetric": (False, False),
                }.get(style.coordinates)  # fmt: skip
    if style.mode == "nearest" and style.coordinates == "asymmetric":
        return (False, False) if style.rounding == "floor" else None
    if style.mode == "nearest" and style.coordinates == "half_pixel" and whole:
        # Nothing lies in the middle of two, so that it does not matter which one is preferred.
        return (False, True) if style.rounding.startswith("round_prefer") else None
    return None


RESIZE = {
    # The ONNX project's reference takes other places than onnxruntime for some scales.
    "Resize": Operator(resize, 19, "values", folds=False),
    "Upsample": Operator(upsample, 10, "values", folds=False),
}
