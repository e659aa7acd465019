"""Writing elements at given positions."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.compiler.tf2xla.python import xla

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import cast
from edgekit.importers.onnx.operators.indexing import coordinates, flat_positions
from edgekit.importers.onnx.operators.kernels import int32, widened
from edgekit.importers.onnx.values import dtype_of, sizes_of

_SEGMENTS = {"mul": tf.math.unsorted_segment_prod, "max": tf.math.unsorted_segment_max,
             "min": tf.math.unsorted_segment_min}  # fmt: skip


def scatter_elements(node: Node, x: Any, indices: Any, updates: Any) -> Any:  # noqa: ANN401
    """ScatterElements and Scatter: along one axis, each element to an index of its own."""
    axis = node.attr("axis", 0) % len(x.shape)
    rows = flat_positions(x, indices, axis)
    rows, updates, flat = (_reshape(part, [-1]) for part in (rows, updates, x))
    return _reshape(written(node, flat, rows, updates), sizes_of(x))


def scatter_nd(node: Node, x: Any, indices: Any, updates: Any) -> Any:  # noqa: ANN401
    """ScatterND: slices to tuples of indices."""
    tuples = coordinates(node, x, indices)
    box = _box(tuples)
    if box is not None and node.attr("reduction", "none") == "none":
        sizes = sizes_of(x)
        shape = [*box[1], *sizes[len(box[0]):]]
        return put(x, _reshape(updates, shape), [*box[0], *[0] * (len(sizes) - len(box[0]))])
    depth = int(tuples.shape[-1])
    sizes = sizes_of(x)
    strides = np.asarray([math.prod(sizes[place + 1:depth]) for place in range(depth)], np.int32)
    if isinstance(tuples, np.ndarray):
        rows = (tuples * strides).sum(-1).astype(np.int32)
    else:
        rows = tf.reduce_sum(tuples * strides, -1) if depth > 1 else tuples
    data = _reshape(x, [math.prod(sizes[:depth]), *sizes[depth:]])
    slices = _reshape(updates, [-1, *sizes[depth:]])
    return _reshape(written(node, data, _reshape(rows, [-1]), slices), sizes)


def _reshape(data: Any, shape: Any) -> Any:  # noqa: ANN401
    return data.reshape(shape) if isinstance(data, np.ndarray) else tf.reshape(data, shape)


def _box(tuples: Any) -> tuple[list[int], list[int]] | None:  # noqa: ANN401
    """The corner and the sizes of the block that constant tuples of indices fill in order.

    Exporters write the assignment to a slice like that.
    """
    if not isinstance(tuples, np.ndarray) or not tuples.size:
        return None
    flat = tuples.reshape(-1, tuples.shape[-1])
    corner = flat.min(0)
    sizes = flat.max(0) - corner + 1
    if sizes.prod() != len(flat):
        return None
    block = np.stack(np.unravel_index(np.arange(len(flat)), sizes), -1) + corner
    return (corner.tolist(), sizes.tolist()) if (block == flat).all() else None


def put(x: Any, update: Any, corner: Any) -> Any:  # noqa: ANN401
    """The tensor with a block of it replaced."""
    wide = widened(x, ["uint8"])
    begin = int32(np.asarray(corner)) if isinstance(corner, list) else corner
    result = xla.dynamic_update_slice(tf.convert_to_tensor(wide), cast(update, dtype_of(wide)),
                                      tf.convert_to_tensor(begin))
    result.set_shape(x.shape)
    return cast(result, dtype_of(x))


def written(node: Node, data: Any, rows: Any, updates: Any) -> Any:  # noqa: ANN401
    """Rows of the data replaced by updates, or combined with them; repeated rows are right.

    Args:
        node: With ``reduction``.
        data: Rows are along the first axis.
        rows: One axis: which row each update is for, counted from the front.
        updates: One each.
    """
    how = node.attr("reduction", "none")
    count = sizes_of(data)[0]
    dtype = dtype_of(data)
    if how == "none":
        picked = _last_writers(rows, count)
        both = tf.concat([widened(data), widened(updates)], 0)
        return cast(tf.gather(both, picked), dtype)
    if dtype == np.bool_:
        raise node.error(f"combines booleans by '{how}'")
    if how == "add":
        wide = widened(data, ["int8", "uint8"])
        added = tf.scatter_nd(rows[:, None], cast(updates, dtype_of(wide)), sizes_of(data))
        return cast(wide + added, dtype)
    if how not in _SEGMENTS:
        raise node.error(f"has the unknown reduction '{how}'")
    if dtype.name in ("int64", "uint32", "uint64"):
        raise node.error(f"combines {dtype.name} numbers by '{how}'; LiteRT has that in 32 bits",
                         "cast them to int32 in the source model")
    wide = cast(data, np.float32 if dtype.kind == "f" else np.int32)
    found = _SEGMENTS[how](cast(updates, dtype_of(wide)), rows, count)
    if how == "mul":  # of no updates it is 1
        return cast(wide * found, dtype)
    # Of no updates it is the largest finite number, which an infinite one would not survive.
    combined = (tf.maximum if how == "max" else tf.minimum)(wide, found)
    behind = [1] * (len(wide.shape) - 1)
    return cast(tf.where(_reshape(_is_updated(rows, count), [-1, *behind]), combined, wide), dtype)


def _is_updated(rows: Any, count: int) -> Any:  # noqa: ANN401
    if isinstance(rows, np.ndarray):
        return np.isin(np.arange(count), rows)
    zeros = np.zeros(int(rows.shape[0]), np.int32)
    return tf.math.unsorted_segment_max(zeros, rows, count) >= 0


def _last_writers(rows: Any, count: int) -> Any:  # noqa: ANN401
    """For each row: where in the data with the updates behind it its new content is."""
    if isinstance(rows, np.ndarray):
        picked: NDArray[np.int32] = np.arange(count, dtype=np.int32)
        for position, row in enumerate(rows.tolist()):
            picked[row] = count + position
        return picked
    updates = int(rows.shape[0])
    own = np.arange(count, dtype=np.int32)
    writers = np.arange(count, count + updates, dtype=np.int32)
    # Later updates have the higher numbers; a row without any has the lowest of all.
    return tf.maximum(tf.math.unsorted_segment_max(writers, rows, count), own)


def tensor_scatter(
    node: Node, x: Any, update: Any, positions: Any = None  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """TensorScatter: new entries of a cache, at a position for each sample of the batch."""
    rank = len(x.shape)
    axis = node.attr("axis", -2) % rank
    circular = node.attr("mode", "linear") == "circular"
    sizes, count = sizes_of(x), sizes_of(update)[axis]
    start = np.zeros(sizes[0], np.int32) if positions is None else int32(positions)
    if sizes[0] == 1 and (not circular or count == 1):
        at = tf.reshape(tf.math.floormod(start, sizes[axis]) if circular else start, [])
        return put(x, update, tf.stack([at if place == axis else 0 for place in range(rank)]))
    ages = np.arange(sizes[axis], dtype=np.int32) - start[:, None]  # which update each place gets
    if circular:
        ages = tf.math.floormod(ages, sizes[axis])
    fresh = tf.logical_and(ages >= 0, ages < count)
    shape = [sizes[0], *(sizes[axis] if place == axis else 1 for place in range(1, rank))]
    if count == 1:
        spread = update
    else:
        lined = tf.transpose(update, [0, axis, *(a for a in range(1, rank) if a != axis)])
        spread = tf.gather(widened(lined), tf.clip_by_value(ages, 0, count - 1), batch_dims=1)
        back = [0, *range(2, axis + 1), 1, *range(axis + 1, rank)]
        spread = tf.transpose(spread, back)
    wide = widened(x)
    return cast(tf.where(tf.reshape(fresh, shape), cast(spread, dtype_of(wide)), wide),
                dtype_of(x))


SCATTERING = {
    "ScatterElements": Operator(scatter_elements, 18),
    "Scatter": Operator(scatter_elements, 11),
    "ScatterND": Operator(scatter_nd, 18),
    "TensorScatter": Operator(tensor_scatter, 24),
}
