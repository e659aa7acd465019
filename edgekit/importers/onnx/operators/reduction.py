"""Reductions, and the positions of extremes. Axes are looked up where they lie in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    absolute,
    cast,
    order_of,
    physical_axis,
    reduced,
    unmerged,
    widened,
    with_axis_last,
    without_axes,
)
from edgekit.importers.onnx.values import Value, arranged, dtype_of, make, static_shape

_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class Reduction:
    """How a reduction is computed.

    Attributes:
        over: Reduces axes, keeping them with size 1.
        of_nothing: What it gives for no elements at all.
        before: Applied to each element.
        after: Applied to each result.
        in_float: Whether integers are computed as floats.
    """

    over: Callable[[Array, Sequence[int], bool], Array]
    of_nothing: float
    before: Callable[[Array], Array] | None = None
    after: Callable[[Array], Array] | None = None
    in_float: bool = False

    def __call__(self, node: Node, x: Value, *_axes: Value) -> Value:
        """A node's reduction."""
        axes = reduced_axes(node, x.rank)
        x = unmerged(x)
        order = order_of(x)
        data = self._apply(x.data, [order.index(axis) for axis in axes])
        if node.attr("keepdims", 1) or not axes:
            return make(data, order)
        kept = [size for axis, size in zip(order, static_shape(data), strict=True)
                if axis not in axes]
        if None in kept:
            data = tf.squeeze(data, [order.index(axis) for axis in axes])
        else:
            data = tf.reshape(data, kept)
        return make(data, without_axes(x, axes))

    def _apply(self, data: Array, axes: list[int]) -> Array:
        dtype = dtype_of(data)
        sizes = static_shape(data)
        if 0 in [sizes[axis] for axis in axes]:
            shape = [1 if i in axes else int(size or 0) for i, size in enumerate(sizes)]
            return np.full(shape, _in_range(self.of_nothing, dtype))
        wide = cast(data, np.float32) if self.in_float else widened(data)
        if self.before:
            wide = self.before(wide)
        if axes:
            wide = reduced(self.over, wide, axes)
        return cast(self.after(wide) if self.after else wide, dtype)


def _in_range(number: float, dtype: np.dtype[Any]) -> Any:  # noqa: ANN401
    """An infinity is a type's own extreme where it has none."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return dtype.type(min(max(number, limits.min), limits.max))
    return dtype.type(number > 0 if dtype.kind == "b" else number)


def reduced_axes(node: Node, rank: int) -> list[int]:
    """The axes of a reduction: all, where none is named and that does not mean none."""
    axes = node.setting("axes", 1)
    named = [] if axes is None else [int(axis) for axis in np.atleast_1d(axes)]
    if not named and not node.attr("noop_with_empty_axes", 0):
        return list(range(rank))
    return sorted({axis % rank if rank else 0 for axis in named}) if rank else []


def _log_sum_exp(x: Array, axes: Sequence[int], keepdims: bool) -> Array:
    """With the largest taken out first, so that nothing overflows; of infinities, too."""
    largest = tf.reduce_max(x, axes, keepdims=keepdims)
    largest = tf.minimum(tf.maximum(largest, -_LARGEST), _LARGEST)
    return largest + tf.math.log(tf.reduce_sum(tf.exp(x - largest), axes, keepdims=keepdims))


def _extreme(of_numbers: Any, of_booleans: Any, of_nothing: float) -> Reduction:  # noqa: ANN401
    def over(x: Array, axes: Sequence[int], keepdims: bool) -> Array:
        return (of_booleans if x.dtype == tf.bool else of_numbers)(x, axes, keepdims=keepdims)
    return Reduction(over, of_nothing)


def _over(function: Any) -> Callable[[Array, Sequence[int], bool], Array]:  # noqa: ANN401
    return lambda x, axes, keepdims: function(x, axes, keepdims=keepdims)


def _square(x: Array) -> Array:
    return x * x


_SUM = _over(tf.reduce_sum)


def arg_extreme(*, largest: bool) -> Callable[[Node, Value], Value]:
    """ArgMax or ArgMin."""
    def compute(node: Node, x: Value) -> Value:
        axis = node.attr("axis", 0)
        last = bool(node.attr("select_last_index", 0))
        x = unmerged(x)
        if x.dtype == np.int64:  # there is no kernel but for the largest few
            x = make(arranged(x, with_axis_last(x, axis)), with_axis_last(x, axis))
        place = physical_axis(x, axis)
        data = widened(x.data)
        data = tf.reverse(data, [place]) if last else data
        result = _position(data, place, largest=largest)
        if last:
            result = tf.shape(x.data, tf.int64)[place] - 1 - result
        if node.attr("keepdims", 1):
            return make(tf.expand_dims(result, place), order_of(x))
        return make(result, without_axes(x, [axis % max(x.rank, 1)]))
    return compute


def _position(data: Array, axis: int, *, largest: bool) -> Array:
    if data.dtype == tf.int64:
        _, indices = tf.math.top_k(data if largest else -1 - data, 1)
        return tf.cast(tf.squeeze(indices, -1), tf.int64)
    function = tf.argmax if largest else tf.argmin
    return function(data, axis, output_type=tf.int64)


def _row(reduction: Reduction, spec: int) -> Operator:
    return Operator(reduction, spec, "values")


REDUCTION: dict[str, Operator] = {
    "ReduceSum": _row(Reduction(_SUM, 0), 13),
    "ReduceMean": _row(Reduction(_over(tf.reduce_mean), np.nan), 18),
    "ReduceMax": _row(_extreme(tf.reduce_max, tf.reduce_any, -np.inf), 20),
    "ReduceMin": _row(_extreme(tf.reduce_min, tf.reduce_all, np.inf), 20),
    "ReduceProd": _row(Reduction(_over(tf.reduce_prod), 1), 18),
    "ReduceL1": _row(Reduction(_SUM, 0, before=absolute), 18),
    "ReduceL2": _row(Reduction(_SUM, 0, _square, tf.sqrt, in_float=True), 18),
    "ReduceLogSum": _row(Reduction(_SUM, -np.inf, after=tf.math.log, in_float=True), 28),
    "ReduceLogSumExp": _row(Reduction(_log_sum_exp, -np.inf, in_float=True), 28),
    "ReduceSumSquare": _row(Reduction(_SUM, 0, before=_square), 18),
    "ArgMax": Operator(arg_extreme(largest=True), 13, "values"),
    "ArgMin": Operator(arg_extreme(largest=False), 13, "values"),
}
