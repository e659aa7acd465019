"""Runs in the child process: LiteRT inference, agreement and metrics."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.core.data import Dataset, Sample
from edgekit.core.errors import EdgekitError
from edgekit.core.fidelity import (
    Fidelity,
    FidelityMeter,
    from_output,
    looks_like_scores,
    to_input,
)
from edgekit.core.model import TensorSpec
from edgekit.core.patience import each_must_end, must_end

# Random inputs are drawn with this seed, so that two builds see the same ones.
_SEED = 0

Side = tuple[str, Mapping[str, Any]]
Outputs = dict[str, NDArray[Any]]
# deployed: with XNNPACK; plain: without; micro: the reference kernels, which are TFLM's.
Kernels = Literal["deployed", "plain", "micro"]


# Two at most: an interpreter holds the model's activations and packed weights.
@lru_cache(maxsize=2)
def interpreter(path: str, *, preserve: bool = False, kernels: Kernels = "deployed") -> Any:  # noqa: ANN401
    """An interpreter with its tensors allocated, kept for the next call.

    ``preserve`` keeps every tensor readable, and leaves XNNPACK out.

    One thread: the order of a float sum, and with it the last bit, is then always the same.

    Raises:
        EdgekitError: LiteRT refuses the model.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if preserve:
        kernels = "plain"
    resolver = {"deployed": OpResolverType.AUTO, "micro": OpResolverType.BUILTIN_REF,
                "plain": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}[kernels]
    try:
        made = Interpreter(path, num_threads=1, experimental_preserve_all_tensors=preserve,
                           experimental_op_resolver_type=resolver)
        made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise EdgekitError(f"LiteRT refuses the model: {_first_line(error)}",
                           "edgekit inspect shows its operators") from error
    return made


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # The interpreter appends each failure to the last: the first one is the cause.
    return lines[0].partition(" failed to ")[0][:300]


def invoke(
    path: str,
    io: Mapping[str, Any],
    inputs: Mapping[str, NDArray[Any]],
    *,
    kernels: Kernels = "deployed",
) -> dict[str, NDArray[Any]]:
    """One inference from reset state: arrays by input name in, by output name out."""
    made = interpreter(path, kernels=kernels)
    made.reset_all_variables()
    try:
        for name, array in inputs.items():
            index = io["input_index"][name]
            _fit_shape(made, index, array.shape)
            made.set_tensor(index, array)
        made.invoke()
    except (ValueError, RuntimeError) as error:
        raise EdgekitError(f"LiteRT cannot run the model: {_first_line(error)}") from error
    return {name: _output(made, index) for name, index in io["output_index"].items()}


def _output(made: Any, index: int) -> NDArray[Any]:  # noqa: ANN401
    """An output; the interpreter refuses to give one without elements, a detector's nothing."""
    details = made._get_tensor_details(index, 0)  # noqa: SLF001
    if 0 in details["shape"]:
        return np.zeros(details["shape"], details["dtype"])
    array: NDArray[Any] = made.get_tensor(index)
    return array


def _fit_shape(made: Any, index: int, shape: tuple[int, ...]) -> None:  # noqa: ANN401
    """Resize an input with an open size to the sample's."""
    current = tuple(int(n) for n in made._get_tensor_details(index, 0)["shape"])  # noqa: SLF001
    if current != shape:
        made.resize_tensor_input(index, shape, strict=False)
        made.allocate_tensors()


def run(
    path: str, signature: Mapping[str, Any], inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """One inference, in the model's own types."""
    return invoke(path, signature, inputs)


def run_real(
    side: Side, inputs: Mapping[str, NDArray[Any]], *, kernels: Kernels = "deployed"
) -> dict[str, NDArray[Any]]:
    """One inference in real values: quantized inputs and outputs are converted."""
    path, io = side
    given = {spec.name: to_input(spec, inputs[spec.name]) for spec in io["inputs"]}
    outputs = invoke(path, io, given, kernels=kernels)
    return {spec.name: from_output(spec, outputs[spec.name]) for spec in io["outputs"]}


def compare(
    *,
    reference: Side,
    candidate: Side,
    data: Dataset | None,
    limit: int,
    plain_reference: bool,
    micro: bool,
) -> Fidelity:
    """See ``edgekit.core.runtime.compare``."""
    samples = [sample.inputs for sample in samples_for(reference, data, limit)]
    kernels: Kernels = "micro" if micro else "deployed"
    expected_on: Kernels = "plain" if plain_reference else kernels
    wanted = _outputs(reference, data, limit, samples, expected_on)
    meter = FidelityMeter()
    for expected, got in zip(wanted, _outputs(candidate, data, limit, samples, kernels),
                             strict=True):
        meter.add(expected, got)
    return meter.result()


# The outputs of the last models on the guard's samples: stage 0 and the step before are compared
# with again and again, and need not be run (nor kept in memory) for it.
_remembered: dict[tuple[str, str, int, Kernels], list[Outputs]] = {}
_MOST_REMEMBERED = 4


def _outputs(
    side: Side,
    data: Dataset | None,
    limit: int,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    kernels: Kernels,
) -> list[Outputs]:
    key = (side[0], "" if data is None else data.token, limit, kernels)
    if key not in _remembered:
        interpreter.cache_clear()
        given = samples if data is not None else each_must_end(samples)
        made = [run_real(side, inputs, kernels=kernels) for inputs in given]
        interpreter.cache_clear()
        while len(_remembered) >= _MOST_REMEMBERED:
            del _remembered[next(iter(_remembered))]
        _remembered[key] = made
    return _remembered[key]


def samples_for(side: Side, data: Dataset | None, limit: int) -> Iterator[Sample]:
    """The data's samples, or random ones when there is none."""
    if data is not None:
        yield from data.samples(limit)
        return
    generator = np.random.default_rng(_SEED)
    for _ in range(limit):
        yield Sample({spec.name: draw(spec, generator, side[1]["rows"].get(spec.name))
                      for spec in side[1]["inputs"]})


def draw(
    spec: TensorSpec, generator: np.random.Generator, rows: int | None = None
) -> NDArray[Any]:
    """A plausible input where nobody gave one: floats of both signs, any code, known indices.

    Args:
        spec: The input.
        generator: Where the numbers come from.
        rows: Of the table that the input's values are indices into, see ``index_rows``.
    """
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.uniform(-1.0, 1.0, shape).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    if spec.scale is not None:
        info = np.iinfo(dtype)
        return generator.integers(info.min, info.max + 1, shape).astype(dtype)
    # A mask, a count, or indices into something of unknown size: 0 and 1 fit each.
    return generator.integers(0, rows or 2, shape).astype(dtype)


def evaluate(reference: Side, candidate: Side, data: Dataset, metric: str) -> float:
    """See ``edgekit.core.runtime.evaluate``."""
    if ".py:" in metric or metric in ("accuracy", "mse"):
        value = (_accuracy(candidate, data) if metric == "accuracy"
                 else _mse(candidate, data) if metric == "mse"
                 else _user_metric(candidate, data, metric))
        if not np.isfinite(value):
            raise EdgekitError(f"the metric {metric} is {value} on {data.name}",
                               "a metric gives one finite number")
        return value
    meter = FidelityMeter()
    for sample in data.samples():
        meter.add(run_real(reference, sample.inputs), run_real(candidate, sample.inputs))
    result = meter.result()
    if metric == "cosine":
        return result.cosine
    assert result.top1_agreement is not None
    return result.top1_agreement


def _accuracy(candidate: Side, data: Dataset) -> float:
    right = total = 0
    output = _scores_of(candidate[1]["outputs"])
    for sample in data.samples():
        scores = run_real(candidate, sample.inputs)[output].reshape(-1)
        # One score alone is the probability of class 1.
        found = int(scores.argmax()) if scores.size > 1 else int(scores[0] > 0.5)
        right += found == _class_of(sample.label, max(scores.size, 2), data.name)
        total += 1
    return right / total


def _scores_of(outputs: Sequence[TensorSpec]) -> str:
    """The output that holds the class scores."""
    if len(outputs) == 1:
        return outputs[0].name
    scores = [spec.name for spec in outputs if looks_like_scores(spec.shape)]
    if len(scores) != 1:
        names = ", ".join(spec.name for spec in outputs)
        raise EdgekitError(f"accuracy does not know which of the outputs to judge: {names}",
                           "give a metric of your own: --metric module.py:function")
    return scores[0]


def _class_of(label: Any, classes: int, where: str) -> int:  # noqa: ANN401
    array = np.asarray(label)
    if array.ndim == 1 and array.size == classes and classes > 1:  # one-hot
        return int(array.argmax())
    if array.size != 1 or array.dtype.kind not in "iub":
        raise EdgekitError(f"{where}: labels are {array.dtype} of shape {list(array.shape)} each; "
                           "accuracy needs one class number per sample", "--metric mse compares "
                           "numbers")
    value = int(array.reshape(()))
    if not 0 <= value < classes:
        raise EdgekitError(f"{where}: label {value} is not one of the model's {classes} classes")
    return value


def _mse(candidate: Side, data: Dataset) -> float:
    """Mean squared error of the one output against the labels."""
    total, count = 0.0, 0
    outputs = candidate[1]["outputs"]
    for sample in data.samples():
        got = run_real(candidate, sample.inputs)[outputs[0].name].reshape(-1)
        want = np.asarray(sample.label, dtype=np.float64).reshape(-1)
        if len(outputs) > 1 or want.size != got.size:
            raise EdgekitError(
                f"{data.name}: labels have {want.size} numbers each; mse needs one for each of "
                f"the {got.size} of the model's one output",
                "give a metric of your own: --metric module.py:function",
            )
        total += float(np.square(want - got).sum())
        count += got.size
    return total / max(count, 1)


def _user_metric(candidate: Side, data: Dataset, reference: str) -> float:
    from edgekit.core.user_code import load_function

    outputs: dict[str, list[NDArray[Any]]] = {}
    labels = []
    for sample in data.samples():
        labels.append(sample.label)
        for name, array in run_real(candidate, sample.inputs).items():
            outputs.setdefault(name, []).append(array)
    stacked = {name: np.concatenate(arrays) for name, arrays in outputs.items()}
    known = None if labels[0] is None else np.asarray(labels)
    try:
        return float(load_function(reference)(stacked, known))
    except EdgekitError:
        raise
    except Exception as error:
        raise EdgekitError(
            f"the metric {reference} failed: {type(error).__name__}: {error}",
            "it is called with the outputs by name, stacked over the samples, and the labels",
        ) from error


def shapes_after_resize(
    path: str, shapes: Mapping[int, tuple[int, ...]],
    inputs: Mapping[int, NDArray[Any]] | None = None,
) -> dict[int, tuple[int, ...]]:  # fmt: skip
    """The shape of every tensor of the main subgraph once the inputs have these shapes.

    One inference settles the shapes that depend on other tensors' values.

    Args:
        path: The model.
        shapes: New shapes by tensor index, for inputs that get one.
        inputs: What it is run on, by tensor index; zeros without it.
    """
    made = interpreter(path, preserve=True)
    try:
        for index, shape in shapes.items():
            made.resize_tensor_input(index, shape, strict=False)
        made.allocate_tensors()
        for detail in made.get_input_details():
            made.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"])
                            if inputs is None else inputs[detail["index"]])
        with must_end() if inputs is None else nullcontext():
            made.invoke()
    except (ValueError, RuntimeError) as error:
        raise EdgekitError(
            f"the model does not run at these input shapes: {_first_line(error)}"
        ) from error
    return {int(detail["index"]): tuple(int(n) for n in detail["shape"])
            for detail in made.get_tensor_details()}


def allocate(path: str) -> None:
    """Load and allocate, to see whether LiteRT takes the file at all."""
    if not Path(path).exists():
        raise EdgekitError(f"{path} does not exist")
    interpreter(path)
