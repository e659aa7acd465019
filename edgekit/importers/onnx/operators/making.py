"""Making tensors, and changing their element type."""

import math
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import cast
from edgekit.importers.onnx.operators.kernels import int32
from edgekit.importers.onnx.tensors import dense, numpy_type, type_name
from edgekit.importers.onnx.values import Value, dtype_of, sizes_of

# Masks and diagonals above this size are computed instead of stored.
_MOST_STORED = 1 << 16

_TYPES = onnx.TensorProto
_FOUR_BITS = {_TYPES.INT4: -8, _TYPES.UINT4: 0}
_TWO_BITS = {_TYPES.INT2: -2, _TYPES.UINT2: 0}


def constant(node: Node) -> Any:  # noqa: ANN401
    """Constant, in all of its forms."""
    [(name, value)] = [(name, value) for name, value in node.attributes.items()
                       if name.startswith(("value", "sparse_value"))]
    if name == "sparse_value":
        return dense(value)
    if name in ("value_string", "value_strings"):
        return np.asarray(value, np.str_)
    kinds = {"value_int": np.int64, "value_ints": np.int64}
    return value if name == "value" else np.asarray(value, kinds.get(name, np.float32))


def cast_to(node: Node, x: Any) -> Any:  # noqa: ANN401
    """Cast. Floats of all widths are float32, so casts between them do nothing."""
    to = node.attr("to")
    if isinstance(to, str):  # operator sets up to 5
        to = _TYPES.DataType.Value(to)
    if to == _TYPES.STRING or dtype_of(x).kind in "OUS":
        raise node.error("casts from or to strings, which no device computes with")
    if to in (_TYPES.COMPLEX64, _TYPES.COMPLEX128):
        raise node.error("casts to complex numbers, which LiteRT does not compute with")
    narrow = _FOUR_BITS.get(to, _TWO_BITS.get(to))
    if narrow is not None:
        return _few_bits(x, 16 if to in _FOUR_BITS else 4, narrow, numpy_type(to))
    return cast(x, numpy_type(to))


def _few_bits(x: Any, count: int, lowest: int, dtype: Any) -> Any:  # noqa: ANN401
    """Integers of 2 or 4 bits, held in 8: higher bits are cut off."""
    whole = cast(x, np.int32)
    wrapped = tf.bitwise.bitwise_and(whole, count - 1) if lowest == 0 else (
        tf.math.floormod(whole - lowest, count) + lowest)
    return cast(wrapped, dtype)


def cast_like(_node: Node, x: Value, like: Value) -> Value:
    """Cast to the type of another tensor."""
    return Value(cast(x.data, like.dtype), x.perm, x.merged)


def bit_cast(node: Node, x: Any) -> Any:  # noqa: ANN401
    """BitCast: the same bits, read as another type of the same size."""
    to = node.attr("to")
    wanted, stored = numpy_type(to), dtype_of(x)
    if wanted.itemsize != stored.itemsize or np.dtype(
            onnx.helper.tensor_dtype_to_np_dtype(to)).itemsize != wanted.itemsize:
        raise node.error(f"reads the bits of {stored} as {type_name(to)}; here they are of other "
                         "sizes", "keep to types that LiteRT computes in")
    if wanted == stored:
        return x
    if isinstance(x, np.ndarray):
        return x.view(wanted)
    if np.bool_ in (wanted, stored):
        return cast(x, wanted)
    return tf.bitcast(x, wanted)


def range_(_node: Node, start: Any, limit: Any, delta: Any) -> Any:  # noqa: ANN401
    """Range: start, start + delta, ... up to below the limit."""
    dtype = dtype_of(start)
    start, limit, delta = (x.reshape(()) if isinstance(x, np.ndarray) else tf.reshape(x, [])
                           for x in (start, limit, delta))
    if all(isinstance(x, np.ndarray) for x in (start, limit, delta)):
        count = max(math.ceil((float(limit) - float(start)) / float(delta)), 0)
        return (start + np.arange(count) * delta).astype(dtype)
    if dtype.kind in "iu":
        whole = np.int64 if dtype == np.int64 else np.int32
        return cast(tf.range(*(cast(x, whole) for x in (start, limit, delta))), dtype)
    # The kernel for floats adds delta again and again, and errors with it.
    count = tf.cast(tf.maximum(tf.math.ceil((limit - start) / delta), 0.0), tf.int32)
    return start + tf.cast(tf.range(count), tf.float32) * delta


def constant_of_shape(node: Node, shape: Any) -> Any:  # noqa: ANN401
    """ConstantOfShape: one number everywhere."""
    value = node.attr("value", np.zeros(1, np.float32)).reshape(())
    if isinstance(shape, np.ndarray):
        return (np.full(shape.tolist(), value, value.dtype)
                if math.prod(shape.tolist()) * value.itemsize <= _MOST_STORED
                else tf.fill(int32(shape), value))
    return tf.fill(int32(shape), value)


def eye_like(node: Node, x: Any) -> Any:  # noqa: ANN401
    """EyeLike: ones on a diagonal."""
    dtype = numpy_type(node.attr("dtype")) if "dtype" in node.attributes else dtype_of(x)
    return cast(_offsets(sizes_of(x)) == node.attr("k", 0), dtype)


def trilu(node: Node, x: Any, k: Any = None) -> Any:  # noqa: ANN401
    """Trilu: the triangle above or below a diagonal, zeros elsewhere."""
    k = np.zeros((), np.int64) if k is None else k
    k = k.reshape(()) if isinstance(k, np.ndarray) else tf.reshape(int32(k), [])
    offsets = _offsets(sizes_of(x)[-2:])
    if not isinstance(k, np.ndarray):
        offsets = tf.convert_to_tensor(offsets)
    elif not isinstance(offsets, np.ndarray):
        k = int32(k)
    keep = offsets >= k if node.attr("upper", 1) else offsets <= k
    dtype = dtype_of(x)
    wide = cast(x, np.int32) if dtype.name in ("int16", "uint16") else x
    return cast(tf.where(keep, wide, np.zeros((), dtype_of(wide))), dtype)


def _offsets(sizes: list[Any]) -> Any:  # noqa: ANN401
    """Each element's column less its row, in int32."""
    if all(isinstance(size, int) for size in sizes) and math.prod(sizes) <= _MOST_STORED:
        return np.arange(sizes[1], dtype=np.int32) - np.arange(sizes[0], dtype=np.int32)[:, None]
    rows, columns = (tf.range(size) for size in sizes)
    return columns - rows[:, None]


MAKING = {
    "Constant": Operator(constant, 25, folds=False),
    "Cast": Operator(cast_to, 28, "elementwise"),
    "CastLike": Operator(cast_like, 25, "values"),
    "BitCast": Operator(bit_cast, 26, "elementwise"),
    "Range": Operator(range_, 27),
    "ConstantOfShape": Operator(constant_of_shape, 25),
    "EyeLike": Operator(eye_like, 22),
    "Trilu": Operator(trilu, 14),
}
