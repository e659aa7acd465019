"""Runs in the child process: calibration, and litert-quantizer."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import edit
from edgekit.core._runtime_worker import interpreter
from edgekit.core.data import Dataset
from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Graph, read_graph
from edgekit.core.lazy import import_later
from edgekit.core.model import Model, Provenance
from edgekit.core.sandbox import map_file

import_later("scipy.linalg")  # for GPTQ, which is not used: half of the quantizer's import

from litert_quantizer import qtyping, quantizer  # noqa: E402
from litert_quantizer.utils import tfl_flatbuffer_utils  # noqa: E402

Range = tuple[float, float]

_ALL = qtyping.TFLOperationName.ALL_SUPPORTED
_BORDER = (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT)
_SKIP = quantizer.AlgorithmName.NO_QUANTIZE


def quantize(
    *,
    path: str,
    out: str,
    scheme: str,
    weights: int,
    activations: int,
    per_channel: bool,
    integer_io: bool,
    overrides: Mapping[str, int],
    data: Dataset | None,
    samples: int,
    ranges: Mapping[str, Range],
) -> None:
    """Quantize the float model at ``path`` and write it to ``out``.

    Args:
        path: A float .tflite.
        out: Where to write.
        scheme: dynamic, static, weight-only or float16.
        weights: Bits of a weight.
        activations: Bits of an activation (static).
        per_channel: One scale per output channel, or one per tensor.
        integer_io: Whether a static model's inputs and outputs are integers.
        overrides: Bits by layer name where they differ; 0 leaves a layer float.
        data: Calibration samples (static).
        samples: At most this many.
        ranges: Activation ranges learnt in training; they take precedence over calibration.
    """
    source = map_file(Path(path))
    made = quantizer.Quantizer(source)
    _configure(made, scheme, weights, activations, per_channel)
    for scope, bits in _scopes(source, overrides):
        _configure(made, scheme, bits, activations, per_channel, f"^{re.escape(scope)}$")
    calibration = None
    if scheme == "static":
        if not integer_io:
            for operation in _BORDER:
                made.update_quantization_recipe(".*", operation, algorithm_key=_SKIP)
        calibration = calibrate(path, read_graph(source), data, samples, ranges)
    result = made.quantize(calibration, enable_progress_report=False)
    Path(out).write_bytes(result.quantized_model)


def _scopes(source: memoryview, overrides: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The quantizer's own name ("scope") of each layer with settings of its own."""
    if not overrides:
        return
    for subgraph in edit.to_objects(source).subgraphs:
        for operator in subgraph.operators:
            first = operator.outputs[0] if len(operator.outputs) else -1
            name = edit.name_of(subgraph.tensors[first]) if first >= 0 else ""
            if name in overrides:
                scope = tfl_flatbuffer_utils.get_op_scope(operator, subgraph.tensors)
                yield scope, overrides[name]


def _configure(
    made: quantizer.Quantizer,
    scheme: str,
    weights: int,
    activations: int,
    per_channel: bool,
    regex: str = ".*",
) -> None:
    granularity = (qtyping.QuantGranularity.CHANNELWISE if per_channel
                   else qtyping.QuantGranularity.TENSORWISE)
    if weights == 0:
        made.update_quantization_recipe(regex, _ALL, algorithm_key=_SKIP)
    elif scheme == "dynamic":
        made.add_dynamic_config(regex, _ALL, weights, granularity)
    elif scheme == "weight-only":
        made.add_weight_only_config(regex, _ALL, weights, granularity)
    elif scheme == "float16":
        made.add_weight_only_config(regex, _ALL, 16, qtyping.QuantGranularity.TENSORWISE,
                                    quantizer.AlgorithmName.FLOAT_CASTING)
    elif weights == 8:
        made.add_static_config(regex, _ALL, activations, 8, granularity)
    else:
        # Only some operators have narrow weights: the rest of the graph stays at 8 bits.
        made.add_static_config(regex, _ALL, activations, 8, granularity)
        for operation in (qtyping.TFLOperationName.FULLY_CONNECTED,
                          qtyping.TFLOperationName.CONV_2D):
            made.add_static_config(regex, operation, activations, weights, granularity)


def calibrate(
    path: str, graph: Graph, data: Dataset | None, samples: int, known: Mapping[str, Range]
) -> dict[str, dict[str, Any]]:
    """The range of every float activation over the samples.

    litert-quantizer's own calibration is a moving average that forgets, and holds the whole
    data set in memory; this is the plain minimum and maximum, one sample at a time.

    Returns:
        ``{tensor: {"min": array, "max": array}}``, arrays of shape ``[1] * rank``.

    Raises:
        EdgekitError: A range that is not finite: the model overflows on this data.
    """
    if data is None:
        raise EdgekitError("static quantization needs calibration data", "give it with --data")
    model = Model(graph.data, "model", Provenance("tflite", "model"))
    made = interpreter(path, preserve=True)
    watched = _float_activations(graph)
    low = dict.fromkeys(watched, np.inf)
    high = dict.fromkeys(watched, -np.inf)
    for sample in data.samples(samples):
        made.reset_all_variables()
        for name, array in sample.inputs.items():
            made.set_tensor(model.signature.inputs[name], array)
        made.invoke()
        for key in watched:
            _widen(made, key, low, high)
    return {tensor.name: _as_range(tensor.name, len(tensor.shape), low[key], high[key], known)
            for key, tensor in watched.items() if not np.isinf(low[key]) or tensor.name in known}


def _float_activations(graph: Graph) -> dict[tuple[int, int], Any]:
    return {(subgraph.index, tensor.index): tensor
            for subgraph in graph.subgraphs for tensor in subgraph.tensors
            if tensor.dtype == "float32" and not tensor.is_constant}


def _widen(
    made: Any,  # noqa: ANN401
    key: tuple[int, int],
    low: dict[tuple[int, int], float],
    high: dict[tuple[int, int], float],
) -> None:
    subgraph, index = key
    try:
        values = made.get_tensor(index, subgraph)
    except ValueError:  # a tensor that this run never filled: a branch that was not taken
        return
    if values.size and not np.isfinite(values).all():
        low[key] = high[key] = np.nan
    elif values.size and not np.isnan(low[key]):
        low[key] = min(low[key], float(values.min()))
        high[key] = max(high[key], float(values.max()))


def _as_range(
    name: str, rank: int, low: float, high: float, known: Mapping[str, Range]
) -> dict[str, Any]:
    low, high = known.get(name, (low, high))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise EdgekitError(f"the values of '{name}' are not finite on the calibration data",
                           "the float model overflows there; check data and preprocessing")
    shape = (1,) * rank
    return {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}
