"""What the mathematical operators share: types that kernels compute in, broadcasting, axes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.values import Perm, Value, dtype_of, logical, static_shape

Array = Any  # a NumPy array or a TensorFlow tensor

# Most kernels take no integers of fewer than 32 bits, and none takes all unsigned ones.
_WIDER = {"int8": np.int32, "uint8": np.int32, "int16": np.int32, "uint16": np.int32,
          "uint32": np.int64, "uint64": np.int64}  # fmt: skip
_KERNEL_RANK = 4


def cast(x: Array, dtype: Any) -> Array:  # noqa: ANN401
    """In another element type; integers wrap around."""
    wanted = np.dtype(dtype)
    if dtype_of(x) == wanted:
        return x
    return x.astype(wanted) if isinstance(x, np.ndarray) else tf.cast(x, wanted)


def widened(x: Array) -> Array:
    """In the narrowest type that holds all its values and that kernels compute in."""
    wider = _WIDER.get(dtype_of(x).name)
    return x if wider is None else cast(x, wider)


def is_float(x: Array) -> bool:
    """Whether the elements are floating-point numbers."""
    return dtype_of(x).kind == "f"


def absolute(x: Array) -> Array:
    """|x| in any type of 32 or 64 bits: there is no kernel for int64."""
    return tf.maximum(x, -x) if dtype_of(x) == np.int64 else tf.abs(x)


def constant_scalar(x: Array) -> float | None:
    """The one number that a constant holds, if it holds one."""
    return x.item() if isinstance(x, np.ndarray) and x.size == 1 else None


def exact_quotient(a: Array, b: Array) -> Array:
    """Division in int64, where b divides a: there is no kernel; in float, 23 bits at a time."""
    quotient: Array = tf.zeros_like(a)
    for _ in range(3):
        part = tf.cast(tf.round(tf.cast(a, tf.float32) / tf.cast(b, tf.float32)), tf.int64)
        quotient, a = quotient + part, a - part * b
    return quotient


def broadcast(function: Callable[..., Array], *arrays: Array) -> Array:
    """Call a function that broadcasts its arguments against each other.

    Kernels do that for four axes; of more, runs that are broadcast alike become one.
    """
    shapes = [static_shape(x) for x in arrays]
    rank = max(map(len, shapes))
    if rank <= _KERNEL_RANK or len(set(shapes)) == 1 or any(None in shape for shape in shapes):
        return function(*arrays)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    full = [max(sizes) if 0 not in sizes else 0 for sizes in zip(*padded, strict=True)]
    runs = _runs([tuple(shape[axis] == 1 for shape in padded) for axis in range(rank)],
                 [axis for axis in range(rank) if full[axis] != 1])
    fewer = [reshaped(x, [math.prod(int(shape[axis] or 0) for axis in run) for run in runs])
             for x, shape in zip(arrays, padded, strict=True)]
    if len(runs) > _KERNEL_RANK:
        sizes = [math.prod(int(full[axis]) for axis in run) for run in runs]
        fewer = [tf.broadcast_to(x, sizes) for x in fewer]
    return tf.reshape(function(*fewer), full)


def _runs(patterns: Sequence[Any], axes: Sequence[int]) -> list[list[int]]:
    """Axes in runs of equal patterns."""
    runs: list[list[int]] = []
    for axis in axes:
        if runs and patterns[runs[-1][-1]] == patterns[axis]:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def reshaped(x: Array, shape: Sequence[Any]) -> Array:
    """In another shape; a constant stays one."""
    return x.reshape(shape) if isinstance(x, np.ndarray) else tf.reshape(x, shape)


def reduced(function: Callable[..., Array], x: Array, axes: Sequence[int]) -> Array:
    """Call a reduction, which keeps its axes with size 1.

    Kernels take at most six axes: of more than four, neighbours of a kind become one, and where
    these are still too many, one is reduced after the other.
    """
    sizes = static_shape(x)
    if len(sizes) <= _KERNEL_RANK or None in sizes:
        return function(x, axes, True)
    runs = _runs([axis in axes for axis in range(len(sizes))], range(len(sizes)))
    fewer = [math.prod(int(sizes[axis] or 0) for axis in run) for run in runs]
    over = [i for i, run in enumerate(runs) if run[0] in axes]
    if len(runs) <= _KERNEL_RANK:
        x = function(tf.reshape(x, fewer), over, True)
    else:
        for i in over:
            x = function(tf.reshape(x, [-1, fewer[i], math.prod(fewer[i + 1:])]), [1], True)
            fewer[i] = 1
    return tf.reshape(x, [1 if axis in axes else size for axis, size in enumerate(sizes)])


def order_of(x: Value) -> Perm:
    """The physical order of axes, spelled out."""
    return x.perm or tuple(range(x.rank))


def physical_axis(x: Value, axis: int) -> int:
    """Where one of ONNX's axes, which may count from the end, lies in memory."""
    return order_of(x).index(axis % x.rank if x.rank else 0)


def unmerged(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Without a last axis in another order, at least where that is one of these axes."""
    if x.merged is None or (axes is not None and x.rank - 1 not in axes):
        return x
    return Value(logical(x))


def along_axis(vector: Array, x: Value, axis: int) -> Array:
    """A vector for one of ONNX's axes, with sizes of 1 so that it broadcasts in x's order."""
    shape = [1] * x.rank
    shape[physical_axis(x, axis)] = -1
    return reshaped(vector, shape)


def with_axis_last(x: Value, axis: int) -> tuple[int, ...]:
    """The own order of x with one of ONNX's axes moved behind the others."""
    return (*(a for a in order_of(x) if a != axis % x.rank), axis % x.rank)


def without_axes(x: Value, axes: Sequence[int]) -> Perm:
    """The order that is left when ONNX's axes ``axes`` are dropped."""
    kept = [axis for axis in range(x.rank) if axis not in axes]
    return tuple(kept.index(axis) for axis in order_of(x) if axis in kept)
