"""Cutting, joining, padding and repeating of tensors."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import cast, physical_axis, unmerged
from edgekit.importers.onnx.operators.kernels import in_middle, int32, is_fed, widened
from edgekit.importers.onnx.values import (
    Perm,
    Value,
    arranged,
    dtype_of,
    logical,
    make,
    sizes_of,
)

# XNNPACK's CONCATENATION and the converter's SLICE take this many axes.
_MOST_AXES = 6


def concat(node: Node, *operands: Value) -> Value:
    """Concat, in the order of axes in which the fewest numbers move."""
    return concatenated(operands, node.attr("axis", 1))


def concatenated(operands: Sequence[Value], axis: int) -> Value:
    """Values one after the other along one of ONNX's axes."""
    axis %= operands[0].rank
    # LiteRT has no empty tensors.
    filled = [x for x in operands if x.shape[axis] != 0]
    if len(filled) < 2:
        return (filled or operands)[0]
    merged = filled[0].merged
    if merged is not None and axis < filled[0].rank - 1 and all(
            x.merged == merged for x in filled):
        return Value(joined([x.data for x in filled], axis), None, merged)
    filled = [unmerged(x) for x in filled]
    perm = cheapest(filled)
    return make(joined([arranged(x, perm) for x in filled], perm.index(axis)), perm)


def cheapest(values: Sequence[Value]) -> Perm:
    """The order of axes of one of the tensors that takes the fewest numbers to be moved."""
    plain = tuple(range(values[0].rank))
    tensors = [x for x in values if not x.is_constant]

    def cost(perm: Perm) -> int:
        return sum(math.prod(size or 1 for size in x.shape) for x in tensors
                   if (x.perm or plain) != perm)

    return min(dict.fromkeys([x.perm or plain for x in tensors] or [plain]), key=cost)


def joined(parts: Sequence[Any], axis: int) -> Any:  # noqa: ANN401
    """Tensors one after the other along a physical axis."""
    dtype = dtype_of(parts[0])
    parts = [widened(part) for part in parts]
    if len(parts[0].shape) > _MOST_AXES:
        sizes = sizes_of(parts[0])
        before, behind = math.prod(sizes[:axis]), math.prod(sizes[axis + 1:])
        flat = [tf.reshape(part, [before, sizes_of(part)[axis], behind]) for part in parts]
        total = sum(sizes_of(part)[axis] for part in parts)
        return cast(tf.reshape(tf.concat(flat, 1), [*sizes[:axis], total, *sizes[axis + 1:]]),
                    dtype)
    return cast(tf.concat(parts, axis), dtype)


def split(node: Node, x: Value, *_sizes: Value) -> list[Value]:
    """Split into equal parts, or parts of given sizes."""
    axis = node.attr("axis", 0) % x.rank
    return parts_of(x, axis, _split_sizes(node, x.shape[axis]))


def parts_of(x: Value, axis: int, sizes: Sequence[int | None]) -> list[Value]:
    """A value cut along one of ONNX's axes into parts of these sizes; None for equal ones."""
    x = unmerged(x)
    if len(sizes) == 1:
        return [x]
    at = physical_axis(x, axis)
    filled = [size for size in sizes if size != 0]
    data = widened(x.data, ["bool"])
    equal = len(set(filled)) == 1 and x.dtype != np.int64
    parts = iter(tf.split(data, len(filled) if equal else filled, at) if len(filled) > 1
                 else [data])
    empty = [0 if place == axis else int(size or 0) for place, size in enumerate(x.shape)]
    return [make(cast(next(parts), x.dtype), x.perm) if size != 0 else
            Value(np.zeros(empty, x.dtype)) for size in sizes]


def _split_sizes(node: Node, total: int | None) -> list[int | None]:
    sizes = node.setting("split", 1)
    if sizes is not None:
        return [int(size) for size in sizes]
    count = node.attr("num_outputs", node.outputs)
    if total is None:
        return [None] * count
    chunk = -(-total // count)
    return [max(min(chunk, total - position * chunk), 0) for position in range(count)]


def slice_(node: Node, x: Value, *_bounds: Value) -> Value:
    """Slice: attributes or inputs, any steps, bounds that may be computed."""
    x = unmerged(x)
    if not all(node.inputs[i] is None or node.inputs[i].is_constant  # type: ignore[union-attr]
               for i in range(1, min(len(node.inputs), 3))):
        return _computed_slice(node, x)
    starts, ends = node.setting("starts", 1), node.setting("ends", 2)
    axes = node.setting("axes", 3) or list(range(len(starts)))
    steps = node.setting("steps", 4) or [1] * len(starts)
    cuts = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cuts[physical_axis(x, axis)] = slice(int(start), int(end), int(step))
    result = make(sliced(x.data, cuts), x.perm)
    return Value(logical(result)) if result.is_constant else result


def sliced(data: Any, cuts: dict[int, slice]) -> Any:  # noqa: ANN401
    """The part of a tensor between bounds along physical axes, as NumPy does it."""
    if isinstance(data, np.ndarray):
        return data[tuple(cuts.get(axis, slice(None)) for axis in range(data.ndim))]
    known = data.shape.as_list()
    ranges = {axis: range(*cut.indices(known[axis])) for axis, cut in cuts.items()
              if known[axis] is not None}
    if any(not part for part in ranges.values()) and None not in known:
        return np.zeros([len(ranges[axis]) if axis in ranges else size
                         for axis, size in enumerate(known)], data.dtype.as_numpy_dtype)
    cuts = {axis: _exact(ranges[axis]) if axis in ranges else _clipped(cut)
            for axis, cut in cuts.items() if axis not in ranges
            or ranges[axis] != range(known[axis])}
    if not cuts:
        return data
    if len(known) > _MOST_AXES:
        for axis, cut in cuts.items():
            data = in_middle(data, axis, partial(sliced, cuts={1: cut}))
        return data
    wide = widened(data)
    # TensorFlow sees through the other form where a shape is computed.
    if None not in known and len(known) > 1 and all(cut.step == 1 for cut in cuts.values()):
        begin = [ranges[axis].start if axis in cuts else 0 for axis in range(len(known))]
        counts = [len(ranges[axis]) if axis in cuts else size for axis, size in enumerate(known)]
        result = tf.slice(wide, begin, counts)
    else:
        result = wide[tuple(cuts.get(axis, slice(None)) for axis in range(len(known)))]
    return cast(result, data.dtype.as_numpy_dtype)


def _exact(part: range) -> slice:
    """The same positions as a slice, whose end may lie before the first element."""
    return slice(part.start, part.stop if part.stop >= 0 else None, part.step)


def _clipped(cut: slice) -> slice:
    """Bounds that fit into int32, for an axis of unknown size."""
    start, stop = int32(np.asarray([cut.start, cut.stop], np.int64)).tolist()
    return slice(start, stop, cut.step)


def _computed_slice(node: Node, x: Value) -> Value:
    starts, ends = (int32(logical(node.inputs[i])) for i in (1, 2))  # type: ignore[arg-type]
    count = starts.shape[0]
    if count is None:
        raise node.error("slices a number of axes that is known at run time only")
    axes = node.setting("axes", 3) or list(range(count))
    steps = node.setting("steps", 4) or [1] * count
    cuts: list[Any] = [slice(None)] * x.rank
    for position, axis in enumerate(axes):
        cuts[physical_axis(x, axis)] = slice(starts[position], ends[position], int(steps[position]))
    return make(cast(widened(x.data)[tuple(cuts)], x.dtype), x.perm)


def tile(node: Node, x: Value, repeats: Value, axis: Value | None = None) -> Value:
    """Tile: the tensor again and again along each axis."""
    x = unmerged(x)
    if axis is not None:  # operator set 1: along one axis
        counts = [1] * x.rank
        counts[int(node.constant(2).reshape(-1)[0])] = int(node.constant(1).reshape(-1)[0])
        repeats = Value(np.asarray(counts))
    order = list(x.perm or range(x.rank))
    if repeats.is_constant:
        times = int32(repeats.data)[order]
        if not x.rank or (times == 1).all():
            return x
        if not times.all():
            return Value(np.zeros([int(size or 0) * int(count) for size, count in zip(
                x.shape, repeats.data, strict=True)], x.dtype))
    else:
        times = int32(logical(repeats))
        times = times if x.perm is None else tf.gather(times, order)
    return make(cast(tf.tile(widened(x.data, ["int8"]), times), x.dtype), x.perm)


def expand(node: Node, x: Value, shape: Value) -> Value:
    """Expand to a shape, whose sizes of 1 keep the tensor's."""
    x = unmerged(x)
    if is_fed(shape):
        node.constant(1)
    if not shape.is_constant or not x.is_static:
        sizes = tf.broadcast_dynamic_shape(tf.shape(logical(x)),
                                           tf.cast(logical(shape), tf.int32))
        result = tf.broadcast_to(widened(logical(x)), sizes)
        return Value(cast(result, x.dtype))
    known = [int(size or 0) for size in x.shape]
    wanted = list(np.broadcast_shapes(tuple(known), tuple(int(size) for size in shape.data)))
    if wanted == known:
        return x
    added = len(wanted) - x.rank
    if 0 in wanted:
        return Value(np.zeros(wanted, x.dtype))
    perm = (*range(added), *(axis + added for axis in x.perm or range(x.rank)))
    data = tf.broadcast_to(widened(x.data), [wanted[axis] for axis in perm])
    return make(cast(data, x.dtype), perm)


ASSEMBLING = {
    "Concat": Operator(concat, 13, "values"),
    "Split": Operator(split, 18, "values"),
    "Slice": Operator(slice_, 13, "values"),
    "Tile": Operator(tile, 13, "values"),
    "Expand": Operator(expand, 13, "values"),
}
