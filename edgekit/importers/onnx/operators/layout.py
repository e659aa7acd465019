"""Operators that only move or rename axes: they change a value's layout, not its numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.values import Merged, Value, inverse, logical, make, sizes_of


def transpose(node: Node, x: Value) -> Value:
    """Transpose: nothing moves; the value has its axes in another order from here on."""
    perm = node.attr("perm", list(range(x.rank))[::-1])
    if x.is_constant:
        return Value(np.ascontiguousarray(x.data.transpose(perm)))
    if x.merged is not None:
        x = Value(logical(x))
    current = x.perm or tuple(range(x.rank))
    back = inverse(perm)
    return make(x.data, tuple(back[axis] for axis in current))


def reshape(node: Node, x: Value, shape: Value) -> Value:
    """Reshape, where zeros copy a size and -1 takes what is left."""
    if not shape.is_constant:
        return Value(tf.reshape(logical(x), tf.cast(logical(shape), tf.int32)))
    wanted = [int(size) for size in shape.data]
    if not node.attr("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return reshaped(x, wanted)


def flatten(node: Node, x: Value) -> Value:
    """Flatten to two axes at ``axis``."""
    axis = node.attr("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    if not x.is_static:
        sizes = sizes_of(logical(x))
        return Value(tf.reshape(logical(x), [_product(sizes[:axis]), _product(sizes[axis:])]))
    sizes = [int(size or 0) for size in x.shape]
    return reshaped(x, [math.prod(sizes[:axis]), math.prod(sizes[axis:])])


def squeeze(node: Node, x: Value, *_axes: Value) -> Value:
    """Squeeze axes of size 1."""
    axes = node.setting("axes", 1)
    axes = ([axis for axis, size in enumerate(x.shape) if size == 1] if axes is None
            else [axis % x.rank for axis in np.atleast_1d(axes)])
    kept = [axis for axis in range(x.rank) if axis not in axes]
    x = Value(logical(x)) if x.merged is not None else x
    if x.is_constant:
        return Value(x.data.reshape([x.data.shape[axis] for axis in kept]))
    current = x.perm or tuple(range(x.rank))
    sizes = sizes_of(x.data)
    data = tf.reshape(x.data, [sizes[i] for i, axis in enumerate(current) if axis in kept])
    return make(data, tuple(kept.index(axis) for axis in current if axis in kept))


def unsqueeze(node: Node, x: Value, *_axes: Value) -> Value:
    """Put in axes of size 1."""
    axes = [int(axis) for axis in np.atleast_1d(node.setting("axes", 1))]
    rank = x.rank + len(axes)
    new = sorted(axis % rank for axis in axes)
    old = [axis for axis in range(rank) if axis not in new]
    x = Value(logical(x)) if x.merged is not None else x
    if x.is_constant:
        return Value(np.expand_dims(x.data, tuple(new)))
    current = x.perm or tuple(range(x.rank))
    sizes = sizes_of(x.data)
    order = [*new, *(old[axis] for axis in current)]
    # The new axes go where they do not part the others; for the plain order, in their own places.
    if x.perm is None:
        plain = iter(sizes)
        return Value(tf.reshape(x.data, [1 if axis in new else next(plain)
                                         for axis in range(rank)]))
    return make(tf.reshape(x.data, [1] * len(new) + sizes), tuple(order))


def reshaped(x: Value, wanted: Sequence[int | None]) -> Value:
    """A reshape that keeps the layout where it can.

    Old and new axes fall into the smallest groups of equal size. A group whose old axes lie in
    order beside each other in memory becomes its new axes where it is; if the one group that does
    not is the last axis alone, the order is noted (``Merged``) for the fully connected layer
    that mostly follows, which permutes its rows instead of the data.
    """
    if x.merged is not None or x.perm is None or not x.is_static or None in wanted:
        return Value(_plain(logical(x), wanted))
    old = [int(size or 0) for size in x.shape]
    count = math.prod(old)
    if -1 in wanted:
        rest = math.prod(size for size in wanted if size is not None and size != -1)
        wanted = [count // max(rest, 1) if size == -1 else size for size in wanted]
    new = [int(size or 0) for size in wanted]
    groups = _groups(old, new)
    if groups is None or math.prod(new) != count:
        return Value(_plain(logical(x), new))
    return _regrouped(x, old, new, groups)


def _regrouped(
    x: Value, old: Sequence[int], new: Sequence[int], groups: Sequence[tuple[range, range]]
) -> Value:
    assert x.perm is not None
    order: list[tuple[int, range]] = []  # of each kept group: where it starts in memory
    for before, after in groups:
        places = [x.perm.index(axis) for axis in before if old[axis] != 1]
        if places != list(range(places[0], places[0] + len(places))) if places else False:
            return _flattened(x, old, new, groups)
        order.append((places[0] if places else -1, after))
    physical = [axis for _, after in sorted(order, key=lambda item: item[0]) for axis in after]
    return make(tf.reshape(x.data, [new[axis] for axis in physical]), tuple(physical))


def _flattened(
    x: Value, old: Sequence[int], new: Sequence[int], groups: Sequence[tuple[range, range]]
) -> Value:
    """What a flatten before a fully connected layer gives; elsewhere the data is moved."""
    before, after = groups[-1]
    assert x.perm is not None
    leading = [axis for axis in range(before.start) if old[axis] != 1]
    behind = [axis for axis in x.perm if axis in before]
    in_front = [x.perm.index(axis) for axis in leading]
    fits = (len(after) == 1 and in_front == list(range(len(leading)))
            and [size for size in new[:-1] if size != 1] == [old[axis] for axis in leading])
    if not fits:
        return Value(tf.reshape(logical(x), list(new)))
    merged = Merged(tuple(old[axis] for axis in before),
                    tuple(axis - before.start for axis in behind))
    return Value(tf.reshape(x.data, list(new)), None, merged)


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[range, range]] | None:
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


def _product(sizes: Sequence[Any]) -> Any:  # noqa: ANN401
    return math.prod(sizes) if sizes else 1


def identity(_node: Node, x: Value, *_rest: Value) -> Value:
    """The same value."""
    return x


def dropout(node: Node, x: Value, *_rest: Value) -> tuple[Value, ...]:
    """Dropout does nothing at inference; its mask is all ones."""
    if not node.wants(1):
        return (x,)
    shape = [int(size or 1) for size in x.shape]
    return x, Value(np.ones(shape, np.bool_))


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
