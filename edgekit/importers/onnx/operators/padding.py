"""Pad."""

from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.assembling import sliced
from edgekit.importers.onnx.operators.computing import cast, physical_axis, unmerged
from edgekit.importers.onnx.operators.kernels import in_middle, int32, widened
from edgekit.importers.onnx.values import Value, dtype_of, logical, make

Pads = list[tuple[int, int]]

# MIRROR_PAD and PAD take this many axes.
_MOST_AXES = 5
_NUMPY_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def pad(node: Node, x: Value, *_settings: Value) -> Value:
    """Pad with a constant, or with what is inside; negative pads cut off."""
    x = unmerged(x)
    mode = node.attr("mode", "constant")
    if mode not in ("constant", *_NUMPY_MODES):
        raise node.error(f"has the unknown mode '{mode}'")
    if node.given(1) and not node.inputs[1].is_constant:  # type: ignore[union-attr]
        return _pad_computed(node, x, mode)
    pads = _physical_pads(node, x)
    cuts = {axis: slice(max(-front, 0), -max(-back, 0) or None)
            for axis, (front, back) in enumerate(pads) if front < 0 or back < 0}
    data = sliced(x.data, cuts) if cuts else x.data
    pads = [(max(front, 0), max(back, 0)) for front, back in pads]
    if not any(map(any, pads)):
        return make(data, x.perm)
    wide = widened(data, ["int8", "uint8"] if mode == "constant" else ["bool"])
    if mode == "constant":
        result = _with_constant(wide, pads, _fill(node, wide))
    else:
        result = _from_inside(node, wide, pads, mode)
    return make(cast(result, x.dtype), x.perm)


def _physical_pads(node: Node, x: Value) -> Pads:
    given = np.ravel(node.attributes.get("paddings") or node.setting("pads", 1))
    axes = node.setting("axes", 3)
    axes = list(range(x.rank)) if axes is None else axes
    pads = [(0, 0)] * x.rank
    for position, axis in enumerate(axes):
        pads[physical_axis(x, axis)] = (int(given[position]), int(given[position + len(axes)]))
    return pads


def _fill(node: Node, data: Any) -> Any:  # noqa: ANN401
    """The number to pad with; None for zero."""
    value = (logical(node.inputs[2]) if node.given(2)  # type: ignore[arg-type]
             else np.asarray(node.attr("value", 0.0)))
    if isinstance(value, np.ndarray):
        return value.reshape(()).astype(dtype_of(data)) if value.any() else None
    return cast(tf.reshape(value, []), dtype_of(data))


def _with_constant(data: Any, pads: Any, fill: Any) -> Any:  # noqa: ANN401
    if isinstance(pads, list) and len(pads) > _MOST_AXES:
        for axis, one in enumerate(pads):
            if any(one):
                data = in_middle(data, axis, partial(
                    _with_constant, pads=[(0, 0), one, (0, 0)], fill=fill))
        return data
    if fill is None:
        return tf.pad(data, pads)
    return tf.raw_ops.PadV2(input=data, paddings=pads, constant_values=fill)


def _from_inside(node: Node, data: Any, pads: Pads, mode: str) -> Any:  # noqa: ANN401
    sizes = data.shape.as_list()
    if any(size is None and any(one) for size, one in zip(sizes, pads, strict=True)):
        raise node.error("pads an axis whose size is known at run time only with what is inside",
                         "fix the input's size with --input-shape")
    mirrors = mode == "reflect" or (mode == "edge" and max(map(max, pads)) == 1)
    if mirrors and len(sizes) <= _MOST_AXES and all(
            max(one) < size for size, one in zip(sizes, pads, strict=True) if any(one)):
        return tf.pad(data, pads, "REFLECT" if mode == "reflect" else "SYMMETRIC")
    for axis, (size, one) in enumerate(zip(sizes, pads, strict=True)):
        if any(one):
            data = tf.gather(data, _sources(size, one, mode), axis=axis)
    return data


def _sources(size: int, pads: tuple[int, int], mode: str) -> NDArray[np.int32]:
    """Which position of an axis each position of the padded axis is a copy of."""
    return np.pad(np.arange(size, dtype=np.int32), pads, mode=_NUMPY_MODES[mode])  # type: ignore[call-overload,no-any-return]


def _pad_computed(node: Node, x: Value, mode: str) -> Value:
    """Pads that the model computes: with a constant, and none negative."""
    if mode != "constant":
        node.constant(1)
    pads = tf.transpose(tf.reshape(int32(logical(node.inputs[1])), [2, -1]))  # type: ignore[arg-type]
    axes = [physical_axis(x, axis) for axis in node.setting("axes", 3, list(range(x.rank)))]
    order = [axes.index(axis) if axis in axes else len(axes) for axis in range(x.rank)]
    if len(axes) < x.rank or order != list(range(x.rank)):
        pads = tf.gather(tf.pad(pads, [(0, 1), (0, 0)]), order)
    wide = widened(x.data, ["int8", "uint8"])
    return make(cast(_with_constant(wide, pads, _fill(node, wide)), x.dtype), x.perm)


PADDING = {"Pad": Operator(pad, 25, "values")}
