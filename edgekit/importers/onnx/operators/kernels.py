"""Getting around what LiteRT's kernels that move data lack: element types, and many axes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.values import Value, dtype_of, sizes_of

# The kernels that only move data take these; a few lack some of them, too.
_MOVED = frozenset({"float32", "int32", "int64", "int8", "uint8", "bool"})


def widened(data: Any, lacking: Sequence[str] = ()) -> Any:  # noqa: ANN401
    """The data in a wider type, where the kernel lacks its own.

    Args:
        data: An array or tensor.
        lacking: Which of the usual types this kernel does not take.
    """
    name = dtype_of(data).name
    if name in _MOVED and name not in lacking:
        return data
    return tf.cast(data, tf.int64 if name in ("uint32", "uint64") else tf.int32)


def in_middle(data: Any, axis: int, function: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    """Apply a function along one axis, with those before and behind it flattened to one each.

    Args:
        data: A tensor of any rank.
        axis: Which one.
        function: Takes a tensor of three axes and changes the size of the middle one at most.
    """
    sizes = sizes_of(data)
    before, behind = sizes[:axis], sizes[axis + 1:]
    result = function(tf.reshape(data, [math.prod(before), sizes[axis], math.prod(behind)]))
    return tf.reshape(result, [*before, sizes_of(result)[1], *behind])


def int32(data: Any) -> Any:  # noqa: ANN401
    """Sizes and positions as the kernels want them; what is out of range is cut off."""
    limits = np.iinfo(np.int32)
    if isinstance(data, np.ndarray):
        return np.clip(data, limits.min, limits.max).astype(np.int32)
    if data.dtype == tf.int64:
        data = tf.clip_by_value(data, tf.constant(limits.min, tf.int64),
                                tf.constant(limits.max, tf.int64))
    return tf.cast(data, tf.int32)


def is_fed(x: Value) -> bool:
    """Whether a value is an input of the model, of which nothing is known at import."""
    return not x.is_constant and getattr(x.data, "op", None) is not None and (
        x.data.op.type == "Placeholder")
