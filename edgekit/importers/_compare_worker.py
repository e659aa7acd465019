"""Runs in the child process: the source framework and LiteRT on the same inputs."""

from collections.abc import Iterator

import numpy as np

from edgekit.core import _runtime_worker as runtime
from edgekit.core.data import open_dataset
from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers._convert_worker import Arrays, Runs, first_line
from edgekit.importers._tensorflow import Request
from edgekit.importers.parity import DATA_SAMPLES, RANDOM_SAMPLES, ParityMeter


def compare(reference_side: Runs, model: Model, framework: str, request: Request) -> ParityMeter:
    """Run both on the same inputs.

    Raises:
        EdgekitError: They differ by more than rounding.
    """
    meter, inputs, reference = ParityMeter(), {}, {}
    io = {"input_index": model.signature.inputs, "output_index": model.signature.outputs}
    for inputs in _samples(model, request.data):
        reference = _run_source(reference_side, inputs, framework, request.source)
        meter.add(reference, runtime.invoke(request.out, io, inputs))
    if meter.problems():
        raise _disagreement(reference_side, inputs, reference, meter, framework, request)
    return meter


def _samples(model: Model, data: str | None) -> Iterator[Arrays]:
    if data is not None:
        yield from (sample.inputs for sample in open_dataset(data, model.inputs).samples(
            DATA_SAMPLES))
        return
    generator = np.random.default_rng(0)
    for _ in range(RANDOM_SAMPLES):
        yield {spec.name: runtime.draw(spec, generator) for spec in model.inputs}


def _run_source(reference_side: Runs, inputs: Arrays, framework: str, source: str) -> Arrays:
    try:
        return reference_side.run(inputs)
    except Exception as error:
        raise EdgekitError(f"{framework} cannot run {source}: {first_line(error)}",
                           "give inputs that it can run on with --data") from error


def _disagreement(
    reference_side: Runs, inputs: Arrays, reference: Arrays, meter: ParityMeter, framework: str,
    request: Request,
) -> EdgekitError:  # fmt: skip
    """The error for outputs that differ; a source that differs from itself is told apart."""
    again = ParityMeter()
    again.add(reference, reference_side.run(inputs))
    if again.problems():
        name = next(iter(again.problems()))
        return EdgekitError(
            f"{request.source}: output '{name}' is another one each time that {framework} runs "
            "the same input", "take the random numbers out of the model, or make them an input")
    name, problem = next(iter(meter.problems().items()))
    kind = "random inputs" if request.data is None else "samples of the data"
    return EdgekitError(
        f"{request.source}: output '{name}' of the imported model is not {framework}'s: "
        f"{problem}, on {meter.samples} {kind}",
        "the converter got an operator wrong: write that part of the source in another way, and "
        "please report it",
    )
