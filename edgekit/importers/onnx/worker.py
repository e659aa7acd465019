"""Runs in the child process: an ONNX file as an endpoint, and onnxruntime as its reference."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.importers import _tensorflow_worker as tensorflow_worker
from edgekit.importers._convert_worker import Endpoint
from edgekit.importers._graph_inside_worker import Shapes, both_sides
from edgekit.importers._proof_worker import Arrays
from edgekit.importers._shapes import Port
from edgekit.importers._tensorflow import Imported, Request
from edgekit.importers.onnx.executor import Executor, unsupported
from edgekit.importers.onnx.fusing import fuse
from edgekit.importers.onnx.loading import infer_shapes, load
from edgekit.importers.onnx.reference import NHWC, Session, port_of
from edgekit.importers.onnx.tensors import numpy_type, type_name
from edgekit.importers.onnx.values import Value, logical

_MOST_NAMED = 6
_CAMERA_CHANNELS = (1, 3, 4)


def convert_onnx(request: Request) -> Imported:
    """Convert an ONNX file."""
    tensorflow_worker.refuse_signature(request)
    with chdir(request.folder):
        # Read again where it is needed again: its weights need not be in memory meanwhile.
        endpoint = endpoint_of(load(request.source), request.source,
                               nhwc=request.input_layout == "nhwc",
                               again=lambda: load(request.source))
        return tensorflow_worker.import_endpoint(endpoint, request)


def endpoint_of(
    model: onnx.ModelProto, source: str, *, nhwc: bool = False,
    again: Callable[[], onnx.ModelProto] | None = None,
) -> Endpoint:  # fmt: skip
    """The graph as one function.

    Args:
        model: The sound model.
        source: Its name.
        nhwc: Whether camera-shaped inputs take their channels last.
        again: Gives the model once more; without it, it is kept.

    Raises:
        EdgekitError: Every operator that cannot be imported, with its nodes; or no input that
            is camera-shaped.
    """
    _refuse_unsupported(model, source)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in stored]
    ports = tuple(port_of(item, source) for item in inputs)
    moved = _moved(ports, source) if nhwc else frozenset()

    names = [output.name for output in model.graph.output]
    notes = _type_notes(model)
    get = _once_held(model, again)

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        values = {name: Value(tensor, NHWC if name in moved else None)
                  for name, tensor in tensors.items()}
        # Made here so that it is gone afterwards: it holds a copy of all weights.
        fused = fuse(infer_shapes(get()))
        results = Executor(fused, notes).run(fused.graph, values)
        return {name: tf.convert_to_tensor(logical(value))
                for name, value in zip(names, results, strict=True)}

    return Endpoint(
        f"onnxruntime {onnxruntime.__version__}",
        tuple(_with_channels_last(port) if port.name in moved else port for port in ports),
        call, notes=notes, reference=Session(get, source, moved),
        layouts=dict.fromkeys(sorted(moved), "nhwc"),
        inside=lambda shapes: _OnnxInside(get, source, shapes, nhwc=nhwc),
    )  # fmt: skip


def _once_held(
    model: onnx.ModelProto, again: Callable[[], onnx.ModelProto] | None
) -> Callable[[], onnx.ModelProto]:
    """Gives the model that is there at first, and a fresh one later."""
    if again is None:
        return lambda: model
    held = [model]
    return lambda: held.pop() if held else again()


class _OnnxInside:
    """The inner values of an ONNX graph; satisfies ``_bisect_worker.Inside``."""

    def __init__(
        self, get: Callable[[], onnx.ModelProto], source: str, shapes: Shapes, *, nhwc: bool
    ) -> None:
        self._get, self._source, self._shapes, self._nhwc = get, source, shapes, nhwc

    @cached_property
    def _model(self) -> onnx.ModelProto:
        return self._get()

    @cached_property
    def _makers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self._model.graph.node for name in node.output if name}

    def names(self) -> list[str]:
        """Float values that nodes of the main graph compute."""
        inferred = infer_shapes(self._model)
        types = {item.name: item.type.tensor_type.elem_type for item in inferred.graph.value_info}
        return [name for name in self._makers if types.get(name) == onnx.TensorProto.FLOAT]

    def both(
        self, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[Arrays, Arrays]:
        """See ``_bisect_worker.Inside``."""
        return both_sides(self._with_outputs(names), self._shapes, inputs)

    def _with_outputs(self, names: Sequence[str]) -> Endpoint:
        probe = onnx.ModelProto()
        probe.CopyFrom(self._model)
        del probe.graph.output[:]
        probe.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in names)
        return endpoint_of(probe, self._source, nhwc=self._nhwc)

    def describe(self, name: str) -> str:
        """The node and its operator."""
        node = self._makers[name]
        return f"{node.op_type} '{node.name or name}'"


def _moved(ports: Sequence[Port], source: str) -> frozenset[str]:
    """The inputs that hold pictures with their channels in front."""
    found = frozenset(port.name for port in ports if port.shape is not None
                      and len(port.shape) == 4 and port.shape[1] in _CAMERA_CHANNELS)
    if not found:
        raise EdgekitError(f"{source} has no input that looks like a picture: four axes, of which "
                           "the second has 1, 3 or 4 channels", "leave --input-layout out")
    return found


def _with_channels_last(port: Port) -> Port:
    assert port.shape is not None
    return replace(port, shape=tuple(port.shape[axis] for axis in NHWC),
                   axes=tuple(port.axes[axis] for axis in NHWC) if port.axes else ())


def _refuse_unsupported(model: onnx.ModelProto, source: str) -> None:
    found = unsupported(model)
    if not found:
        return
    rows = [f"{op} ({', '.join(names[:_MOST_NAMED])}"
            + (f" and {len(names) - _MOST_NAMED} more)" if len(names) > _MOST_NAMED else ")")
            for op, names in sorted(found.items())]
    raise EdgekitError(f"{source} uses operators that edgekit cannot import: {'; '.join(rows)}",
                       "replace them in the source model, or cut that part of the graph off")


def _type_notes(model: onnx.ModelProto) -> list[str]:
    notes = []
    for kind, items in (("input", model.graph.input), ("output", model.graph.output)):
        for item in items:
            stored = item.type.tensor_type.elem_type
            if stored and stored != onnx.TensorProto.STRING and type_name(
                    stored) != _name(numpy_type(stored)):
                notes.append(f"{kind} '{item.name}' is {type_name(stored)} in the source and "
                             f"{numpy_type(stored).name} here")
    return notes


def _name(dtype: np.dtype[Any]) -> str:
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return type_name(kind)
