"""Runs in the child process of ``tools/conformance``: one ONNX test."""

import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.core import _runtime_worker as runtime
from edgekit.core.model import Model, Provenance
from edgekit.importers._convert_worker import convert, trace
from edgekit.importers._finish_worker import finish, settle_open_shapes
from edgekit.importers._shapes import settle_shapes
from edgekit.importers.onnx.node import NeedsConstantError
from edgekit.importers.onnx.tensors import numpy_type

TIMEOUT_SECONDS = 120

Result = tuple[str, str, tuple[str, ...]]


def run_edgekit(case: Any) -> Result:  # noqa: ANN401
    """Through edgekit's importer."""
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(TIMEOUT_SECONDS)
    try:
        return _run(case)
    finally:
        signal.alarm(0)


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"not done in {TIMEOUT_SECONDS} s")


def _run(case: Any) -> Result:  # noqa: ANN401
    model = onnx.ModelProto()
    model.ParseFromString(case.model)
    baked: tuple[str, ...] = ()
    names = [item.name for item in model.graph.input]
    first = dict(zip(names, case.data[0][0], strict=False))
    while True:
        try:
            problem = _all_data(case, model, names)
        except NeedsConstantError as error:
            fresh = _to_bake(error.value, first, baked)
            if not fresh or len(case.data) > 1:
                raise
            _bake(model, {name: first[name] for name in fresh})
            baked += fresh
        else:
            return "failed" if problem else "passed", problem, baked


def _all_data(case: Any, model: onnx.ModelProto, names: list[str]) -> str:  # noqa: ANN401
    for inputs, expected in case.data:
        problem = _one(case, model, dict(zip(names, inputs, strict=False)), expected)
        if problem:
            return problem
    return ""


def _to_bake(needed: str, first: dict[str, Any], baked: tuple[str, ...]) -> tuple[str, ...]:
    """The input itself, or all integer inputs where the value is computed from some."""
    wanted = [needed] if needed in first else [
        name for name, array in first.items() if np.asarray(array).dtype.kind in "iu"]
    return tuple(name for name in wanted if name not in baked)


def _bake(model: onnx.ModelProto, values: dict[str, Any]) -> None:
    kept = [item for item in model.graph.input if item.name not in values]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in values.items())


def _one(case: Any, model: onnx.ModelProto, feeds: dict[str, Any], expected: Any) -> str:  # noqa: ANN401
    from edgekit.importers.onnx.worker import endpoint_of

    feeds = {item.name: np.asarray(feeds[item.name]) for item in model.graph.input
             if item.name in feeds}
    endpoint = endpoint_of(model, case.name)
    shapes = {port.name: feeds[port.name].shape for port in endpoint.inputs}
    settled = settle_shapes(case.name, endpoint.inputs,
                            {name: shape for name, shape in shapes.items() if shape and all(shape)})
    traced = trace(endpoint, settled, case.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        data = settle_open_shapes(finish(convert(traced, case.name, path.parent), traced,
                                         endpoint.clean_name), path)
        path.write_bytes(data)
        made = Model(data, case.name, Provenance("onnx", case.name))
        io = {"input_index": made.signature.inputs, "output_index": made.signature.outputs}
        given = {port.name: np.ascontiguousarray(feeds[port.name].astype(port.dtype))
                 for port in endpoint.inputs}
        got = runtime.invoke(str(path), io, given)
        runtime.interpreter.cache_clear()
    for item, want in zip(model.graph.output, expected, strict=False):
        problem = _compare(item.name, got[item.name], np.asarray(want), case)
        if problem:
            return problem
    return ""


def _compare(name: str, got: Any, want: Any, case: Any) -> str:  # noqa: ANN401
    kind = onnx.helper.np_dtype_to_tensor_dtype(want.dtype)
    if got.dtype != numpy_type(kind):
        return f"{name} is {got.dtype}, not {want.dtype}"
    if got.shape != want.shape:
        return f"{name} has shape {got.shape}, not {want.shape}"
    if not np.allclose(got, want, rtol=case.rtol, atol=max(case.atol, 1e-6), equal_nan=True):
        return f"{name} differs by {np.abs(np.asarray(got, float) - want).max():.3g}"
    return ""
