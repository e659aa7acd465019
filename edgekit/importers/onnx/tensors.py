"""ONNX's tensors and element types as NumPy's."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

# LiteRT computes in float32: narrower and wider floats become that at import.
_OTHER_FLOATS = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}) | {
    value for name, value in TensorProto.DataType.items() if name.startswith(("FLOAT8", "FLOAT4"))}
_NARROW = {TensorProto.INT4: np.int8, TensorProto.UINT4: np.uint8,
           TensorProto.INT2: np.int8, TensorProto.UINT2: np.uint8}  # fmt: skip


def to_numpy(proto: onnx.TensorProto) -> NDArray[Any]:
    """A stored tensor; floats of other precisions as float32, integers below 8 bits as 8."""
    array = numpy_helper.to_array(proto)
    return np.ascontiguousarray(array.astype(numpy_type(proto.data_type), copy=False)).reshape(
        array.shape)


def dense(sparse: onnx.SparseTensorProto) -> NDArray[Any]:
    """A tensor that is stored by its elements other than zero."""
    values, indices = to_numpy(sparse.values), to_numpy(sparse.indices)
    filled = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        filled.reshape(-1)[indices] = values
    else:
        filled[tuple(indices.T)] = values
    return filled


def numpy_type(elem_type: int) -> np.dtype[Any]:
    """The type that an element type is computed in."""
    if elem_type in _OTHER_FLOATS:
        return np.dtype(np.float32)
    if elem_type in _NARROW:
        return np.dtype(_NARROW[elem_type])
    dtype: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    return dtype


def type_name(elem_type: int) -> str:
    """"float16", "string": for messages."""
    return str(TensorProto.DataType.Name(elem_type)).lower()
