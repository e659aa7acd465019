"""Operators of StableHLO that LiteRT runs and converters leave: litert-torch, JAX."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.training.operators.windows import body_of, strides_of
from edgekit.training.values import Node


def _binary(function: Callable[..., Any]) -> Callable[[Node], Any]:
    return lambda node: function(*node.aligned(0, 1))


def _and(x: Any, y: Any) -> Any:
    return tf.logical_and(x, y) if x.dtype == tf.bool else tf.bitwise.bitwise_and(x, y)


def _starts(node: Node, axis: int, operand_axes: Sequence[int]) -> Any:
    """``(samples, *places, rank of the operand)``: where each window begins."""
    columns = tf.unstack(tf.cast(node.full(1), tf.int64), axis=axis + 1)
    nothing = tf.zeros_like(columns[0])
    columns = dict(zip(operand_axes, columns, strict=True))
    return tf.stack([columns.get(i, nothing) for i in range(node.rank(0))], -1)


def _offsets(sizes: Sequence[int]) -> Any:
    """``(elements, rank)``: the places within a window."""
    return np.indices(sizes).reshape(len(sizes), math.prod(sizes)).T.astype(np.int64)


def _gather(node: Node) -> Any:
    """Windows that would reach over the edge are moved inwards."""
    options, shape = node.options, node.sample_shape(0)
    sizes = [int(size) for size in options.sliceSizes]
    starts = _starts(node, options.indexVectorDim, _ints(options.startIndexMap))
    starts = tf.clip_by_value(starts, 0, np.subtract(shape, sizes).astype(np.int64))
    places = [*starts.shape[1:-1]]
    flat = tf.reduce_sum(starts[..., None, :] * strides_of(shape), -1)
    flat += _offsets(sizes) @ strides_of(shape)
    if node.is_batched(0):
        elements = tf.reshape(node.any(0), [-1, math.prod(shape)])
        result = tf.gather(elements, flat, axis=1, batch_dims=1)
    else:
        result = tf.gather(tf.reshape(node.any(0), [-1]), flat)
    collapsed = set(_ints(options.collapsedSliceDims))
    kept = [size for axis, size in enumerate(sizes) if axis not in collapsed]
    result = node.reshaped(result, [*places, *kept])
    return tf.transpose(result, _order(len(places), _ints(options.offsetDims)))


def _order(places: int, windows: Sequence[int]) -> list[int]:
    """Axes of the places and of the windows, samples in front, put where they are wanted."""
    outer, inner = iter(range(places)), iter(range(places, places + len(windows)))
    return [0, *(1 + next(inner if axis in windows else outer)
                 for axis in range(places + len(windows)))]


def _scatter(node: Node) -> Any:
    """Inputs: operand, indices, updates. Elements that fall outside are left out."""
    options, shape, given = node.options, node.sample_shape(0), node.sample_shape(2)
    windows, inserted = _ints(options.updateWindowDims), set(_ints(options.insertedWindowDims))
    sizes = [given[axis] for axis in windows]
    rest = iter(sizes)
    whole = [1 if axis in inserted else next(rest) for axis in range(len(shape))]
    starts = _starts(node, options.indexVectorDim, _ints(options.scatterDimsToOperandDims))
    targets = starts[..., None, :] + _offsets(whole)
    inside = tf.reduce_all((targets >= 0) & (targets < np.array(shape, np.int64)), -1)
    flat = tf.where(inside, tf.reduce_sum(targets * strides_of(shape), -1), -1)
    flat = node.reshaped(flat, [*starts.shape[1:-1], *sizes])
    flat = tf.transpose(flat, _order(len(given) - len(windows), windows))
    combine = body_of(node, options.updateComputationSubgraphIndex, _COMBINATIONS)
    return _combined(node, combine, flat, node.full(2))


def _combined(node: Node, combine: Callable[..., Any], flat: Any, updates: Any) -> Any:
    """Each sample has a stretch of its own in one flat tensor."""
    x, size = node.full(0), math.prod(node.sample_shape(0))
    first = tf.range(node.samples, dtype=flat.dtype) * size
    first = tf.reshape(first, [-1, *[1] * (len(flat.shape) - 1)])
    targets = tf.reshape(tf.where(flat < 0, flat, flat + first), [-1])
    elements = tf.reshape(x, [-1])
    result = combine(elements, tf.reshape(updates, [-1]), targets, tf.size(elements))
    return tf.reshape(result, tf.shape(x))


def _replaced(elements: Any, updates: Any, targets: Any, count: Any) -> Any:
    """Of several updates to one place, the last stays."""
    last = tf.math.unsorted_segment_max(tf.range(tf.size(updates)), targets, count)
    return tf.where(last >= 0, tf.gather(updates, tf.maximum(last, 0)), elements)


def _joined(
    segments: Callable[..., Any], function: Callable[..., Any]
) -> Callable[..., Any]:
    return lambda elements, updates, targets, count: function(
        elements, segments(updates, targets, count))


def _ints(numbers: Any) -> list[int]:
    return [] if numbers is None else [int(number) for number in numbers]


_COMBINATIONS: Mapping[str, Callable[..., Any]] = {
    "": _replaced,
    "STABLEHLO_ADD": _joined(tf.math.unsorted_segment_sum, tf.add),
    "STABLEHLO_MAXIMUM": _joined(tf.math.unsorted_segment_max, tf.maximum),
    "STABLEHLO_MINIMUM": _joined(tf.math.unsorted_segment_min, tf.minimum),
    "STABLEHLO_MULTIPLY": _joined(tf.math.unsorted_segment_prod, tf.multiply),
}

STABLEHLO: Mapping[str, Callable[[Node], Any]] = {
    "STABLEHLO_ADD": _binary(tf.add),
    "STABLEHLO_AND": _binary(_and),
    "STABLEHLO_GATHER": _gather,
    "STABLEHLO_MAXIMUM": _binary(tf.maximum),
    "STABLEHLO_MINIMUM": _binary(tf.minimum),
    "STABLEHLO_MULTIPLY": _binary(tf.multiply),
    "STABLEHLO_SCATTER": _scatter,
    "STABLEHLO_SHIFT_LEFT": _binary(tf.bitwise.left_shift),
}
