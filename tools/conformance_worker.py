"""Runs in the child process of ``tools/conformance``: one ONNX test."""

import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
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
Convert = Callable[[str, onnx.ModelProto, dict[str, tuple[int, ...]], Path], bytes]


def run_edgekit(case: Any) -> Result:  # noqa: ANN401
    """Through edgekit's importer."""
    return _in_time(case, _by_edgekit)


def run_onnx2tf(case: Any) -> Result:  # noqa: ANN401
    """Through onnx2tf."""
    return _in_time(case, _by_onnx2tf)


def _in_time(case: Any, convert_one: Convert) -> Result:  # noqa: ANN401
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(TIMEOUT_SECONDS)
    try:
        return _run(case, convert_one)
    finally:
        signal.alarm(0)


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"not done in {TIMEOUT_SECONDS} s")


def _run(case: Any, convert_one: Convert) -> Result:  # noqa: ANN401
    model = onnx.ModelProto()
    model.ParseFromString(case.model)
    baked: tuple[str, ...] = ()
    stored = {tensor.name for tensor in model.graph.initializer}
    names = [item.name for item in model.graph.input if item.name not in stored]
    if not case.data:
        case = replace(case, data=(_by_onnxruntime(model, names),))
    first = dict(zip(names, case.data[0][0], strict=False))
    while True:
        try:
            problem = _all_data(case, model, names, convert_one)
        except NeedsConstantError as error:
            fresh = _to_bake(error.value, first, baked)
            if not fresh or len(case.data) > 1:
                raise
            _bake(model, {name: first[name] for name in fresh})
            baked += fresh
        else:
            return "failed" if problem else "passed", problem, baked


def _by_onnxruntime(model: onnx.ModelProto, names: list[str]) -> tuple[list[Any], list[Any]]:
    """Random inputs, and what onnxruntime makes of them."""
    from edgekit.importers.onnx.reference import Session, port_of

    ports = [port_of(item, "model") for item in model.graph.input if item.name in names]
    generator = np.random.default_rng(0)
    inputs = {port.name: generator.normal(size=shape).astype(port.dtype) for port, shape in zip(
        ports, settle_shapes("model", ports, {}), strict=True)}
    outputs = Session(lambda: model, "model", frozenset()).run(inputs)
    return [inputs[name] for name in names], [outputs[o.name] for o in model.graph.output]


def _all_data(
    case: Any, model: onnx.ModelProto, names: list[str], convert_one: Convert  # noqa: ANN401
) -> str:
    for inputs, expected in case.data:
        feeds = dict(zip(names, inputs, strict=False))
        problem = _one(case, model, feeds, expected, convert_one)
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


def _one(
    case: Any, model: onnx.ModelProto, feeds: dict[str, Any], expected: Any,  # noqa: ANN401
    convert_one: Convert,
) -> str:  # fmt: skip
    given = {item.name: np.asarray(feeds[item.name]) for item in model.graph.input
             if item.name in feeds}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        data = convert_one(case.name, model, {n: a.shape for n, a in given.items()}, path)
        path.write_bytes(data)
        made = Model(data, case.name, Provenance("onnx", case.name))
        io = {"input_index": made.signature.inputs, "output_index": made.signature.outputs}
        fed = {spec.name: given[spec.name].astype(spec.dtype, order="C")
               for spec in made.inputs}
        try:
            got = runtime.invoke(str(path), io, fed)
        finally:
            runtime.interpreter.cache_clear()
    for item, want in zip(model.graph.output, expected, strict=False):
        problem = _compare(item.name, got[item.name], np.asarray(want), case)
        if problem:
            return problem
    return ""


def _by_edgekit(
    name: str, model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], path: Path
) -> bytes:
    from edgekit.importers.onnx.worker import endpoint_of

    endpoint = endpoint_of(model, name)
    settled = settle_shapes(name, endpoint.inputs,
                            {port.name: shapes[port.name] for port in endpoint.inputs
                             if shapes[port.name] and all(shapes[port.name])})
    traced = trace(endpoint, settled, name)
    return settle_open_shapes(finish(convert(traced, name, path.parent), traced,
                                     endpoint.clean_name), path)


def _by_onnx2tf(
    name: str, model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], path: Path
) -> bytes:
    from edgekit.importers.onnx.onnx2tf_worker import named, run_onnx2tf

    raw = run_onnx2tf(model, shapes, name, path.parent)
    return named(raw, list(shapes), [output.name for output in model.graph.output])


def _compare(name: str, got: Any, want: Any, case: Any) -> str:  # noqa: ANN401
    kind = onnx.helper.np_dtype_to_tensor_dtype(want.dtype)
    if got.dtype != numpy_type(kind):
        return f"{name} is {got.dtype}, not {want.dtype}"
    if got.shape != want.shape and want.ndim > 2 and (
            got.shape == np.moveaxis(want, 1, -1).shape):
        got = np.moveaxis(got, -1, 1)  # onnx2tf gives pictures with their channels last
    if got.shape != want.shape:
        return f"{name} has shape {got.shape}, not {want.shape}"
    if not np.allclose(got, want, rtol=case.rtol, atol=max(case.atol, 1e-6), equal_nan=True):
        return f"{name} differs by {np.abs(np.asarray(got, float) - want).max():.3g}"
    return ""
