"""Runs in the child process: PyTorch and LiteRT on the same inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.data import open_dataset
from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model, TensorSpec
from edgekit.importers._tensorflow import Request
from edgekit.importers._torch_convert_worker import FRAMEWORK, Arrays, Flat, Source, first_line
from edgekit.importers.parity import DATA_SAMPLES, RANDOM_SAMPLES, ParityMeter


def compare(flat: Flat, model: Model, source: Source, request: Request) -> ParityMeter:
    """Run both on the same inputs.

    Raises:
        EdgekitError: They differ by more than rounding.
    """
    meter, inputs, reference = ParityMeter(), {}, {}
    io = {"input_index": model.signature.inputs, "output_index": model.signature.outputs}
    for inputs in _samples(model, source, request.data):
        reference = _run_source(flat, inputs, request.source)
        meter.add(reference, runtime.invoke(request.out, io, inputs))
    if meter.problems():
        raise _disagreement(flat, inputs, reference, meter, request)
    return meter


def _samples(model: Model, source: Source, data: str | None) -> Iterator[Arrays]:
    if data is not None:
        yield from (dict(sample.inputs) for sample in open_dataset(data, model.inputs).samples(
            DATA_SAMPLES))
        return
    generator = np.random.default_rng(0)
    for _ in range(RANDOM_SAMPLES):
        yield {spec.name: source.draw(spec, generator) for spec in model.inputs}


def draw_like(examples: Mapping[str, Any], spec: TensorSpec,
              generator: np.random.Generator) -> NDArray[Any]:
    """An input of the same kind as the example: indices stay within those that it has."""
    example = examples.get(spec.name)
    if example is None or example.numel() == 0 or not np.issubdtype(np.dtype(spec.dtype),
                                                                    np.integer):
        return runtime.draw(spec, generator)
    values = example.detach().cpu().numpy().reshape(-1)
    return generator.choice(values, spec.shape).astype(spec.dtype)


def _run_source(flat: Flat, inputs: Arrays, source: str) -> Arrays:
    try:
        return flat.run(inputs)
    except Exception as error:
        raise EdgekitError(f"{FRAMEWORK} cannot run {source}: {first_line(error)}",
                           "give inputs that it can run on with --data") from error


def _disagreement(
    flat: Flat, inputs: Arrays, reference: Arrays, meter: ParityMeter, request: Request
) -> EdgekitError:
    """The error for outputs that differ; a source that differs from itself is told apart."""
    again = ParityMeter()
    again.add(reference, flat.run(inputs))
    if again.problems():
        name = next(iter(again.problems()))
        return EdgekitError(
            f"{request.source}: output '{name}' is another one each time that {FRAMEWORK} runs "
            "the same input", "take random numbers and state out of the model, or make them "
            "inputs and outputs; call eval() before the export")
    name, problem = next(iter(meter.problems().items()))
    kind = "random inputs" if request.data is None else "samples of the data"
    return EdgekitError(
        f"{request.source}: output '{name}' of the imported model is not {FRAMEWORK}'s: "
        f"{problem}, on {meter.samples} {kind}",
        "the converter got an operator wrong: write that part of the source in another way, and "
        "please report it",
    )


def named(names: Sequence[str], values: Sequence[Any] | None) -> dict[str, Any]:
    """Examples by input name; empty where there are none."""
    return {} if values is None else dict(zip(names, values, strict=True))
