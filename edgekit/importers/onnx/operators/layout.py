"""Operators that only move or rename axes: they change a value's layout, not its numbers."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import unmerged
from edgekit.importers.onnx.operators.kernels import is_fed
from edgekit.importers.onnx.values import Merged, Value, arranged, inverse, logical, make, sizes_of

Group = tuple[range, range]  # old axes, and the new axes that they become

_IMAGE_AXES = 4
_DROPOUT_WITH_INPUTS, _DROPOUT_WITH_BOOL_MASK = 12, 10


def transpose(node: Node, x: Value) -> Value:
    """Transpose: nothing moves; the value has its axes in another order from here on."""
    perm = node.attr("perm", list(range(x.rank))[::-1])
    if x.is_constant:
        return Value(np.ascontiguousarray(x.data.transpose(perm)))
    x = unmerged(x)
    current = x.perm or tuple(range(x.rank))
    back = inverse(perm)
    return make(x.data, tuple(back[axis] for axis in current))


def reshape(node: Node, x: Value, shape: Value | None = None) -> Value:
    """Reshape, where zeros copy a size and -1 takes what is left."""
    if shape is not None and not shape.is_constant:
        return _reshape_computed(node, x, shape)
    wanted = [int(size) for size in node.setting("shape", 1)]
    if not node.attr("allowzero", 0):
        return reshaped(x, [x.shape[axis] if size == 0 else size
                            for axis, size in enumerate(wanted)])
    return reshaped(x, wanted)


def _reshape_computed(node: Node, x: Value, shape: Value) -> Value:
    """A shape of which TensorFlow can mostly tell all sizes but one: that one is what is left."""
    result = tf.reshape(logical(x), tf.cast(logical(shape), tf.int32))
    told = result.shape
    if told.rank is not None and told.as_list().count(None) < 2:
        return reshaped(x, [-1 if size is None else size for size in told])
    if x.is_static or is_fed(shape):
        node.constant(1)
    return Value(result)


def flatten(node: Node, x: Value) -> Value:
    """Flatten to two axes at ``axis``."""
    axis = node.attr("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    if not x.is_static:
        sizes = sizes_of(logical(x))
        return Value(tf.reshape(logical(x), [math.prod(sizes[:axis]), math.prod(sizes[axis:])]))
    sizes = [int(size or 0) for size in x.shape]
    return reshaped(x, [math.prod(sizes[:axis]), math.prod(sizes[axis:])])


def squeeze(node: Node, x: Value, *_axes: Value) -> Value:
    """Squeeze axes of size 1: the given ones, or all."""
    given = np.atleast_1d(node.setting("axes", 1, []))
    axes = ([int(axis) % x.rank for axis in given] if given.size
            else [axis for axis, size in enumerate(x.shape) if size == 1])
    for axis in axes:
        if x.shape[axis] not in (1, None):
            raise node.error(f"squeezes axis {axis}, which has the size {x.shape[axis]}")
    return without_axis(x, *axes)


def without_axis(x: Value, *axes: int) -> Value:
    """The value without axes of size 1."""
    kept = [axis for axis in range(x.rank) if axis not in axes]
    x = unmerged(x)
    if x.is_constant:
        return Value(x.data.reshape([x.data.shape[axis] for axis in kept]))
    current = x.perm or tuple(range(x.rank))
    sizes = sizes_of(x.data)
    data = tf.reshape(x.data, [sizes[i] for i, axis in enumerate(current) if axis in kept])
    return make(data, tuple(kept.index(axis) for axis in current if axis in kept))


def unsqueeze(node: Node, x: Value, *_axes: Value) -> Value:
    """Put in axes of size 1."""
    axes = [int(axis) for axis in np.atleast_1d(node.setting("axes", 1, []))]
    return with_axis(x, *(axis % (x.rank + len(axes)) for axis in axes))


def with_axis(x: Value, *axes: int) -> Value:
    """The value with new axes of size 1; they are counted in the result."""
    rank = x.rank + len(axes)
    new = sorted(axes)
    old = [axis for axis in range(rank) if axis not in new]
    x = unmerged(x)
    if x.is_constant:
        return Value(np.expand_dims(x.data, tuple(new)))
    sizes = sizes_of(x.data)
    # The new axes go in front, where they part no others; for the plain order, in their places.
    if x.perm is None:
        plain = iter(sizes)
        return Value(tf.reshape(x.data, [1 if axis in new else next(plain)
                                         for axis in range(rank)]))
    return make(tf.reshape(x.data, [1] * len(new) + sizes),
                (*new, *(old[axis] for axis in x.perm)))


def reshaped(x: Value, wanted: Sequence[int | None]) -> Value:
    """A reshape that keeps the layout where it can.

    Old and new axes fall into the smallest groups of equal size. A group whose old axes lie in
    order beside each other in memory becomes its new axes where it is. Where one does not, and it
    is the last axis of a flatten, the order is noted (``Merged``) for the fully connected layer
    that mostly follows, which permutes its rows instead of the data; elsewhere each group's axes
    are brought together first.

    What comes back to the shape that it had is the value that it was, in its own order.
    """
    made = _in_new_shape(x, wanted)
    if x.source is not None and made.shape == x.source.shape:
        return x.source
    return replace(made, source=x.source if x.perm is None else x)


def _in_new_shape(x: Value, wanted: Sequence[int | None]) -> Value:
    if not x.is_static or None in wanted:
        return Value(_plain(logical(x), wanted))
    old = [int(size or 0) for size in x.shape]
    new = _without_rest(old, [int(size or 0) for size in wanted])
    if x.merged is not None and new[-1:] == old[-1:]:
        return Value(tf.reshape(x.data, new), None, x.merged)
    groups = _groups(old, new)
    if x.perm is None or groups is None or math.prod(new) != math.prod(old):
        return Value(_plain(logical(x), new))
    return _regrouped(x, old, new, groups)


def _without_rest(old: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The new sizes, with what is left in place of -1."""
    rest = math.prod(size for size in wanted if size != -1)
    return [math.prod(old) // max(rest, 1) if size == -1 else size for size in wanted]


def _regrouped(x: Value, old: Sequence[int], new: Sequence[int], groups: Sequence[Group]) -> Value:
    assert x.perm is not None
    filled = [axis for axis in x.perm if old[axis] != 1]  # sizes of 1 are nowhere in memory
    places = [[filled.index(axis) for axis in before if old[axis] != 1] for before, _ in groups]
    if all(run == list(range(run[0], run[0] + len(run))) for run in places if run):
        order = sorted(range(len(groups)), key=lambda g: places[g][0] if places[g] else -1)
        data = x.data
    else:
        flat = _flattened(x, old, new, groups)
        if flat is not None:
            return flat
        order = _order_of_groups(old, new, groups, places, filled)
        data = arranged(x, tuple(axis for g in order for axis in groups[g][0]))
    perm = tuple(axis for g in order for axis in groups[g][1])
    return make(tf.reshape(data, [new[axis] for axis in perm]), perm)


def _order_of_groups(
    old: Sequence[int], new: Sequence[int], groups: Sequence[Group],
    places: Sequence[Sequence[int]], filled: Sequence[int],
) -> list[int]:  # fmt: skip
    """An order for groups whose axes have to move, that what follows will probably want.

    An image's groups go where the largest of their axes is, which leaves channels behind where
    they are split off and joined again. In fewer axes, as the heads of an attention are, the
    innermost stays innermost, and all others are in ONNX's order.
    """
    if len(new) >= _IMAGE_AXES:
        return sorted(range(len(groups)), key=lambda g: max(
            ((old[filled[place]], place) for place in places[g]), default=(0, -1))[1])
    innermost = len(filled) - 1
    return sorted(range(len(groups)), key=lambda g: innermost in places[g])


def _flattened(
    x: Value, old: Sequence[int], new: Sequence[int], groups: Sequence[Group]
) -> Value | None:
    """What a flatten before a fully connected layer gives; None where this is none."""
    before, after = groups[-1]
    assert x.perm is not None
    leading = [axis for axis in range(before.start) if old[axis] != 1]
    behind = [axis for axis in x.perm if axis in before]
    in_front = [axis for axis in x.perm if old[axis] != 1][:len(leading)]
    fits = (len(after) == 1 and in_front == leading
            and [size for size in new[:-1] if size != 1] == [old[axis] for axis in leading])
    if not fits:
        return None
    merged = Merged(tuple(old[axis] for axis in before),
                    tuple(axis - before.start for axis in behind))
    return Value(tf.reshape(x.data, list(new)), None, merged)


def _groups(old: Sequence[int], new: Sequence[int]) -> list[Group] | None:
    """The smallest runs of old and new axes with the same number of elements."""
    if 0 in old or 0 in new:
        return None
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        left = right = 1
        if i < len(old):
            left, i = old[i], i + 1
        if j < len(new):
            right, j = new[j], j + 1
        while left != right:
            if left < right and i < len(old):
                left, i = left * old[i], i + 1
            elif right < left and j < len(new):
                right, j = right * new[j], j + 1
            else:
                return None
        groups.append((range(start_i, i), range(start_j, j)))
    return groups


def _plain(data: Any, wanted: Sequence[int | None]) -> Any:  # noqa: ANN401
    if isinstance(data, np.ndarray):
        return data.reshape([int(size or 0) for size in wanted])
    if None in wanted:
        sizes = tf.shape(data)
        return tf.reshape(data, [sizes[axis] if size is None else size
                                 for axis, size in enumerate(wanted)])
    return tf.reshape(data, list(wanted))


def identity(_node: Node, x: Value, *_rest: Value) -> Value:
    """The same value."""
    return x


def dropout(node: Node, x: Value, *_rest: Value) -> tuple[Value, ...]:
    """Dropout does nothing at inference; its mask is all ones."""
    half, never = np.asarray(0.5), np.asarray(False)
    if node.opset >= _DROPOUT_WITH_INPUTS and node.constant(2, never) and node.constant(1, half):
        raise node.error("is in training mode: its output is random",
                         "export the model for inference")
    if not node.wants(1):
        return (x,)
    kind = np.bool_ if node.opset >= _DROPOUT_WITH_BOOL_MASK else x.dtype
    if x.is_static:
        return x, Value(np.ones([int(size or 0) for size in x.shape], kind))
    return x, Value(tf.fill(tf.shape(logical(x)), np.ones((), kind)))


def shape(node: Node, x: Value) -> Value:
    """Shape: known at import, but for sizes that depend on values."""
    start = node.attr("start", 0)
    end = node.attr("end", x.rank)
    part = slice(start, end)
    if x.is_static:
        return Value(np.asarray(x.shape, np.int64)[part])
    return Value(tf.shape(logical(x), tf.int64)[part])


def size(_node: Node, x: Value) -> Value:
    """Size: the number of elements."""
    if x.is_static:
        return Value(np.asarray(math.prod(int(n or 0) for n in x.shape), np.int64))
    return Value(tf.size(logical(x), tf.int64))


LAYOUT = {
    "Transpose": Operator(transpose, 25, "values"),
    "Reshape": Operator(reshape, 25, "values"),
    "Flatten": Operator(flatten, 25, "values"),
    "Squeeze": Operator(squeeze, 25, "values"),
    "Unsqueeze": Operator(unsqueeze, 25, "values"),
    "Identity": Operator(identity, 25, "values"),
    "Dropout": Operator(dropout, 22, "values", folds=False),
    "Shape": Operator(shape, 25, "values"),
    "Size": Operator(size, 25, "values"),
}
