"""Runs in the child process: the source framework and LiteRT on the same inputs."""

from collections.abc import Iterator, Sequence

import numpy as np

from edgekit.core import _runtime_worker as runtime
from edgekit.core.data import open_dataset
from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers._bisect_worker import GraphInside, place_of_difference
from edgekit.importers._convert_worker import Arrays, Endpoint, Runs, Traced, first_line
from edgekit.importers._tensorflow import Request
from edgekit.importers.parity import DATA_SAMPLES, RANDOM_SAMPLES, ParityMeter


def compare(
    endpoint: Endpoint, traced: Traced, shapes: Sequence[tuple[int, ...]], model: Model,
    request: Request,
) -> ParityMeter:  # fmt: skip
    """Run the source and LiteRT on the same inputs.

    Raises:
        EdgekitError: They differ by more than rounding; it names the first layer that does.
    """
    side = endpoint.reference or traced
    meter, worst, largest = ParityMeter(), (Arrays(), Arrays()), -1.0
    io = {"input_index": model.signature.inputs, "output_index": model.signature.outputs}
    for inputs in _samples(model, request.data):
        reference = _run_source(side, inputs, endpoint.framework, request.source)
        got = runtime.invoke(request.out, io, inputs)
        meter.add(reference, got)
        alone = ParityMeter()
        alone.add(reference, got)
        distance = max((output.distance for output in alone.outputs.values()), default=0.0)
        if distance > largest:
            worst, largest = (inputs, reference), distance
    if meter.problems():
        raise _disagreement(endpoint, traced, shapes, worst, meter, request)
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
    endpoint: Endpoint, traced: Traced, shapes: Sequence[tuple[int, ...]],
    sample: tuple[Arrays, Arrays], meter: ParityMeter, request: Request,
) -> EdgekitError:  # fmt: skip
    """The error for outputs that differ; a source that differs from itself is told apart."""
    side, framework = endpoint.reference or traced, endpoint.framework
    inputs, reference = sample
    again = ParityMeter()
    again.add(reference, side.run(inputs))
    if again.problems():
        name = next(iter(again.problems()))
        return EdgekitError(
            f"{request.source}: output '{name}' is another one each time that {framework} runs "
            "the same input", "take the random numbers out of the model, or make them an input")
    name, problem = next(iter(meter.problems().items()))
    kind = "random inputs" if request.data is None else "samples of the data"
    place = place_of_difference(lambda: endpoint.inside or GraphInside(traced, endpoint), shapes,
                                inputs, request.source)
    where = f"; the two part at {place}" if place else ""
    hint = ("write that part of the source in another way, and please report it: the import got "
            "an operator wrong")
    if request.data is None and meter.outputs[name].misfit:
        hint = "random inputs may make no sense to this model: give real ones with --data"
    return EdgekitError(
        f"{request.source}: output '{name}' of the imported model is not {framework}'s: "
        f"{problem}, on {meter.samples} {kind}{where}", hint)
