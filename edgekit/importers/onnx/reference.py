"""onnxruntime as the reference, and the inputs of an ONNX graph."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.importers._proof_worker import Arrays, first_line
from edgekit.importers._shapes import OPEN, Port
from edgekit.importers.onnx.tensors import numpy_type
from edgekit.importers.onnx.values import channels_last, inverse

NHWC = channels_last(4)


def port_of(item: onnx.ValueInfoProto, source: str) -> Port:
    """An input of the graph.

    Raises:
        EdgekitError: It is not an array.
    """
    if not item.type.HasField("tensor_type"):
        kind = item.type.WhichOneof("value") or "untyped"
        raise EdgekitError(f"{source}: input '{item.name}' is a {kind.removesuffix('_type')}; on a "
                           "device, inputs are arrays of numbers")
    tensor = item.type.tensor_type
    if tensor.elem_type == onnx.TensorProto.STRING:
        return Port(item.name, (), "string")
    names = tuple("" if size.dim_param == "?" else size.dim_param for size in tensor.shape.dim)
    shape = (tuple(size.dim_value if size.dim_value > 0 else -1 for size in tensor.shape.dim)
             if tensor.HasField("shape") else None)
    open_batch = shape is not None and shape[:1] == (OPEN,)
    return Port(item.name, shape, numpy_type(tensor.elem_type).name, batched=open_batch, axes=names)


class Session:
    """onnxruntime on the same file, on one thread; it starts with its first run.

    Args:
        get: Gives the model.
        source: Its name.
        moved: Inputs that are given with their channels last.
    """

    def __init__(
        self, get: Callable[[], onnx.ModelProto], source: str, moved: frozenset[str]
    ) -> None:
        self._get, self._source, self._moved = get, source, moved
        self._session: Any = None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The reference's outputs by name, in the types of the imported model."""
        if self._session is None:
            self._session = self._open()
        types = {item.name: item.type for item in self._session.get_inputs()}
        feeds = {name: np.asarray(self._given(name, array), _runtime_type(types[name]))
                 for name, array in inputs.items() if name in types}
        names = [item.name for item in self._session.get_outputs()]
        results = self._session.run(names, feeds)
        return {name: np.asarray(array).astype(numpy_type(
            onnx.helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype)), copy=False)
            for name, array in zip(names, results, strict=True)}

    def _given(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """An input in the source's own order of axes."""
        return array.transpose(inverse(NHWC)) if name in self._moved else array

    def _open(self) -> Any:  # noqa: ANN401
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # On CPUs without VNNI it else cuts off sums of products of 8 bits at 16.
        options.add_session_config_entry("session.x64quantprecision", "1")
        stored = self._get().SerializeToString()
        try:
            return onnxruntime.InferenceSession(stored, options,
                                                providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EdgekitError(
                f"onnxruntime cannot load {self._source}: {first_line(error)}",
                "without it nothing proves that the import is right") from error


def _runtime_type(text: str) -> np.dtype[Any]:
    """NumPy's type for onnxruntime's "tensor(float16)"."""
    name = text.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))
