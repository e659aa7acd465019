"""Picking elements by their positions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.assembling import sliced
from edgekit.importers.onnx.operators.computing import cast, physical_axis, unmerged
from edgekit.importers.onnx.operators.kernels import int32, widened
from edgekit.importers.onnx.values import Value, dtype_of, logical, make, sizes_of


def gather(node: Node, x: Value, indices: Value) -> Value:
    """Gather slices along an axis."""
    axis = node.attr("axis", 0) % x.rank
    x = unmerged(x)
    at = physical_axis(x, axis)
    where = from_front(logical(indices), sizes_of(x.data)[at])
    # The indices' axes take the place of the one that they pick from.
    moved = [a + indices.rank - 1 if a > axis else a for a in x.perm or range(x.rank)]
    order = (*moved[:at], *range(axis, axis + indices.rank), *moved[at + 1:])
    steps = _steps(where)
    if steps is not None and not x.is_constant:
        part = sliced(x.data, {at: steps})
        if indices.rank == 0:
            sizes = sizes_of(part)
            part = tf.reshape(part, [*sizes[:at], *sizes[at + 1:]])
        return make(part, order)
    return make(cast(tf.gather(widened(x.data), where, axis=at), x.dtype), order)


def from_front(indices: Any, size: Any) -> Any:  # noqa: ANN401
    """Indices in int32, the negative ones counted from the front, too."""
    if isinstance(indices, np.ndarray):
        if (indices >= 0).all():
            return cast(indices, np.int32)
        if isinstance(size, int):
            return cast(np.where(indices < 0, indices + size, indices), np.int32)
    indices = cast(indices, np.int32)
    return tf.where(indices < 0, indices + size, indices)


def _steps(where: Any) -> slice | None:  # noqa: ANN401
    """A single index, or evenly spaced ones, as a slice: no kernel is faster than its."""
    if not isinstance(where, np.ndarray) or where.ndim > 1 or not where.size:
        return None
    first = int(where.reshape(-1)[0])
    if where.size == 1:
        return slice(first, first + 1, 1)
    step = int(where[1]) - first
    if step < 1 or (np.diff(where) != step).any():
        return None
    return slice(first, int(where[-1]) + 1, step)


def gather_elements(node: Node, x: Any, indices: Any) -> Any:  # noqa: ANN401
    """GatherElements: along one axis, each element of its own index."""
    axis = node.attr("axis", 0) % len(x.shape)
    rows = flat_positions(x, indices, axis)
    result = tf.gather(widened(tf.reshape(x, [-1])), rows)
    return cast(result, dtype_of(x))


def flat_positions(x: Any, indices: Any, axis: int) -> Any:  # noqa: ANN401
    """Where in a flattened tensor the elements are that indices along an axis mean."""
    sizes, counts = sizes_of(x), sizes_of(indices)
    rows = from_front(indices, sizes[axis])
    strides = [math.prod(sizes[place + 1:]) for place in range(len(sizes))]
    rows = rows * int32(np.asarray(strides[axis])) if isinstance(strides[axis], int) else (
        rows * strides[axis])
    # Neighbouring axes count as one, so that at most two constants have to be added.
    for run in (range(axis), range(axis + 1, len(sizes))):
        moving = [place for place in run if not isinstance(counts[place], int) or counts[place] > 1]
        if moving:
            rows = rows + _positions(strides, counts, moving)
    return rows


def _positions(strides: Sequence[Any], counts: Sequence[Any], places: Sequence[int]) -> Any:  # noqa: ANN401
    """How far the elements along some axes are from the first, with sizes of 1 elsewhere."""
    total: Any = np.zeros([1] * len(strides), np.int32)
    for place in places:
        count = counts[place]
        along = np.arange(count, dtype=np.int32) if isinstance(count, int) else tf.range(count)
        steps = along * (np.int32(strides[place]) if isinstance(strides[place], int)
                         else strides[place])
        behind = [1] * (len(strides) - place - 1)
        total = total + (steps.reshape(-1, *behind) if isinstance(steps, np.ndarray)
                         else tf.reshape(steps, [-1, *behind]))
    return total


def gather_nd(node: Node, x: Any, indices: Any) -> Any:  # noqa: ANN401
    """GatherND: slices at tuples of indices; the first ``batch_dims`` axes go along."""
    rows = coordinates(node, x, indices, node.attr("batch_dims", 0))
    return cast(tf.gather_nd(widened(x), rows), dtype_of(x))


def coordinates(node: Node, x: Any, indices: Any, batch_dims: int = 0) -> Any:  # noqa: ANN401
    """Tuples of indices counted from the front, completed by those of the batch."""
    depth = indices.shape[-1]
    sizes = sizes_of(x)[:batch_dims + (depth or 0)]
    if depth is None or not all(isinstance(size, int) for size in sizes):
        raise node.error("takes elements from a tensor whose sizes are known at run time only",
                         "fix the inputs' sizes with --input-shape")
    limits = np.asarray(sizes, np.int32)
    rows = from_front_each(indices, limits[batch_dims:])
    if not batch_dims:
        return rows
    counts = sizes_of(rows)[:-1]
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.int32) for n in counts[:batch_dims]),
                                indexing="ij"), -1)
    inner = len(counts) - batch_dims
    grid = grid.reshape(*grid.shape[:-1], *[1] * inner, batch_dims)
    grid = tf.broadcast_to(grid, [*counts, batch_dims])
    return tf.concat([grid, rows], -1)


def from_front_each(indices: Any, limits: Any) -> Any:  # noqa: ANN401
    """Indices whose last axis runs over axes of these sizes, counted from the front."""
    if isinstance(indices, np.ndarray):
        return cast(np.where(indices < 0, indices + limits, indices), np.int32)
    indices = cast(indices, np.int32)
    return tf.where(indices < 0, indices + limits, indices)


def one_hot(node: Node, indices: Any, depth: Any, values: Any) -> Any:  # noqa: ANN401
    """OneHot; an index outside of [-depth, depth) is nowhere hot."""
    axis = node.attr("axis", -1)
    axis = axis + len(indices.shape) + 1 if axis < 0 else axis
    count = depth.reshape(-1)[0] if isinstance(depth, np.ndarray) else tf.reshape(depth, [-1])[0]
    count = np.int32(count) if isinstance(count, np.generic) else tf.cast(count, tf.int32)
    where = from_front(indices if dtype_of(indices).kind in "iu" else cast(indices, np.int64),
                       count if not isinstance(count, np.generic) else int(count))
    dtype = dtype_of(values)
    wide = widened(values)
    result = tf.one_hot(where, count, on_value=wide[1], off_value=wide[0], axis=axis,
                        dtype=dtype_of(wide))
    return cast(result, dtype)


def compress(node: Node, x: Value, condition: Value) -> Value:
    """Compress: the slices along an axis, or the elements, for which a condition holds."""
    axis = node.attributes.get("axis")
    x = unmerged(x)
    if axis is None:
        x, axis = Value(tf.reshape(logical(x), [-1])), 0
    at = physical_axis(x, axis)
    if condition.is_constant:
        where = np.flatnonzero(condition.data).astype(np.int32)
        if not where.size:
            sizes = [0 if place == axis % x.rank else int(size or 0)
                     for place, size in enumerate(x.shape)]
            return Value(np.zeros(sizes, x.dtype))
    else:
        where = tf.reshape(tf.where(logical(condition)), [-1])
    return make(cast(tf.gather(widened(x.data), where, axis=at), x.dtype), x.perm)


def non_zero(_node: Node, x: Any) -> Any:  # noqa: ANN401
    """NonZero: the positions of the elements other than zero, as many as there are."""
    found = widened(x, ["int8", "uint8"])
    if dtype_of(found) != np.bool_:
        found = tf.not_equal(found, np.zeros((), dtype_of(found)))
    if len(x.shape) == 0:
        found = tf.reshape(found, [1])
        return tf.transpose(tf.where(found))[:0]
    return tf.transpose(tf.where(found))


def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:  # noqa: ANN401
    """ReverseSequence: the first so many elements of each sequence from back to front."""
    wide = widened(x, ["int8", "uint8", "bool"])
    result = tf.reverse_sequence(wide, int32(lengths), seq_axis=node.attr("time_axis", 0),
                                 batch_axis=node.attr("batch_axis", 1))
    return cast(result, dtype_of(x))


INDEXING = {
    "Gather": Operator(gather, 13, "values"),
    "GatherElements": Operator(gather_elements, 13),
    "GatherND": Operator(gather_nd, 13),
    "OneHot": Operator(one_hot, 28),
    "Compress": Operator(compress, 28, "values"),
    "NonZero": Operator(non_zero, 13),
    "ReverseSequence": Operator(reverse_sequence, 28),
}
