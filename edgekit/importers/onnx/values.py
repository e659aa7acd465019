"""What flows along the edges of an ONNX graph while it is executed: constants and tensors.

ONNX keeps channels first, the runtime's kernels want them last. A transpose around every layer
would cost more than the layers, so a value carries the order that its axes are in, and is put into
ONNX's own order only where an operator needs that. Constants are always in ONNX's order: putting
them into another one costs nothing at run time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Perm = tuple[int, ...]

_MOST_AXES = 6  # that TRANSPOSE takes


@dataclass(frozen=True)
class Merged:
    """How the last axis was made by flattening: in the physical order of what was flattened.

    Attributes:
        sizes: The axes that became one, in ONNX's order.
        perm: Physical axis i of these was axis ``perm[i]`` in ONNX's order.
    """

    sizes: tuple[int, ...]
    perm: Perm

    @property
    def rows(self) -> NDArray[np.intp]:
        """For each physical position along the axis, its position in ONNX's order."""
        count = math.prod(self.sizes)
        return np.arange(count).reshape(self.sizes).transpose(self.perm).reshape(-1)


@dataclass(frozen=True)
class Value:
    """A constant (NumPy) or a tensor (TensorFlow).

    Attributes:
        data: In physical order.
        perm: Physical axis i is ONNX's axis ``perm[i]``; None where the two orders agree.
        merged: Set where the last axis is flattened in another order; ``perm`` is None then.
        source: The value that this one is a reshape of, if its axes were in another order.
    """

    data: Any
    perm: Perm | None = None
    merged: Merged | None = None
    source: "Value | None" = None

    @property
    def is_constant(self) -> bool:
        """Whether the value is known at import."""
        return isinstance(self.data, np.ndarray)

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        return dtype_of(self.data)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """In ONNX's order; None where it depends on values."""
        sizes = static_shape(self.data)
        if self.perm is None:
            return sizes
        return tuple(sizes[axis] for axis in inverse(self.perm))

    @property
    def is_static(self) -> bool:
        """Whether all sizes are known."""
        return None not in self.shape


@dataclass(frozen=True)
class TensorList:
    """A sequence of tensors, or an empty optional: what is in them is known at import.

    Attributes:
        items: None in an empty optional.
    """

    items: tuple[Value, ...] | None
    is_constant: ClassVar[bool] = False


def dtype_of(data: Any) -> np.dtype[Any]:  # noqa: ANN401
    """The element type of an array or tensor."""
    return np.dtype(data.dtype if isinstance(data, np.ndarray) else data.dtype.as_numpy_dtype)


def static_shape(data: Any) -> tuple[int | None, ...]:  # noqa: ANN401
    """Sizes as far as they are known."""
    return tuple(data.shape if isinstance(data, np.ndarray) else data.shape.as_list())


def inverse(perm: Sequence[int]) -> Perm:
    """The permutation that undoes this one."""
    return tuple(int(axis) for axis in np.argsort(perm))


def is_identity(perm: Sequence[int]) -> bool:
    """Whether nothing moves."""
    return tuple(perm) == tuple(range(len(perm)))


def channels_last(rank: int) -> Perm:
    """ONNX's (N, C, ...) with the channels behind: (0, 2, 3, 1) for images."""
    return (0, *range(2, rank), 1)


def make(data: Any, perm: Perm | None) -> Value:  # noqa: ANN401
    """A value, with None for the identity."""
    return Value(data, None if perm is None or is_identity(perm) else perm)


def transposed(data: Any, axes: Sequence[int]) -> Any:  # noqa: ANN401
    """``data`` with its axes in another order; a reshape where only axes of size 1 move."""
    if is_identity(axes):
        return data
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data.transpose(axes))
    sizes = static_shape(data)
    moved = [axis for axis in axes if sizes[axis] != 1]
    if moved == sorted(moved) and None not in sizes:
        return tf.reshape(data, [sizes[axis] for axis in axes])
    if len(axes) > _MOST_AXES:
        return _moved_one_by_one(data, axes)
    return tf.transpose(data, axes)


def _moved_one_by_one(data: Any, axes: Sequence[int]) -> Any:  # noqa: ANN401
    """The same in steps of four axes each: what goes to its place passes those before it."""
    sizes = _sizes(data)
    order = list(range(len(axes)))
    for place, axis in enumerate(axes):
        at = order.index(axis)
        passed, behind = order[place:at], order[at + 1:]
        if passed:
            parts = [order[:place], passed, [axis], behind]
            opened = tf.reshape(data, [math.prod(sizes[i] for i in part) for part in parts])
            data = tf.transpose(opened, [0, 2, 1, 3])
            order = [*order[:place], axis, *passed, *behind]
    return tf.reshape(data, [sizes[axis] for axis in axes])


def logical(value: Value) -> Any:  # noqa: ANN401
    """The data in ONNX's order."""
    if value.merged is not None:
        return _unmerged(value.data, value.merged)
    if value.perm is None:
        return value.data
    return transposed(value.data, inverse(value.perm))


def arranged(value: Value, perm: Perm) -> Any:  # noqa: ANN401
    """The data with physical axis i being ONNX's axis ``perm[i]``."""
    if value.merged is not None:
        return transposed(logical(value), perm)
    current = value.perm or tuple(range(value.rank))
    return transposed(value.data, [current.index(axis) for axis in perm])


def _unmerged(data: Any, merged: Merged) -> Any:  # noqa: ANN401
    leading = list(static_shape(data))[:-1]
    count = len(leading)
    physical = [merged.sizes[axis] for axis in merged.perm]
    opened = tf.reshape(data, [*_sizes(data)[:-1], *physical])
    axes = [*range(count), *(count + axis for axis in inverse(merged.perm))]
    return tf.reshape(transposed(opened, axes), [*_sizes(data)[:-1], math.prod(merged.sizes)])


def _sizes(data: Any) -> list[Any]:  # noqa: ANN401
    """Sizes as numbers where known, as scalar tensors elsewhere."""
    known = static_shape(data)
    if None not in known:
        return list(known)
    dynamic = tf.shape(data)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(known)]


def sizes_of(data: Any) -> list[Any]:  # noqa: ANN401
    """Sizes as numbers where they are known, as scalar int32 tensors elsewhere."""
    return _sizes(data)
