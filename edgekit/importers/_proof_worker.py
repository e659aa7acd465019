"""Runs in the child process: does LiteRT compute what the source computes? For every framework."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.data import open_dataset
from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers._shapes import Port
from edgekit.importers._tensorflow import Request
from edgekit.importers.parity import DATA_SAMPLES, ParityMeter

Arrays = dict[str, NDArray[Any]]

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAMES = re.compile(
    r"Exception encountered when|Graph execution error|Detected at node|File \"|<stack traces|\[\["
    r"|Arguments received by|in user code|Traceback|While executing|Original traceback"
    r"|Use tlparse")  # fmt: skip


class Runs(Protocol):
    """Something that computes the source's outputs."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Arrays by input name in, by output name out."""


@dataclass(frozen=True)
class Reference:
    """The source's side of the comparison.

    Attributes:
        framework: "onnxruntime 1.32.0".
        source: What it runs.
        place: Where, on these inputs, the two sides part; empty where that is not known.
    """

    framework: str
    source: Runs
    place: Callable[[Arrays], str] = lambda _inputs: ""


def compare(
    reference: Reference, samples: Iterable[Arrays], model: Model, request: Request
) -> ParityMeter:
    """Run the source and LiteRT on the same inputs.

    Args:
        reference: The source's side.
        samples: Arrays by input name.
        model: What was imported; it lies at ``request.out``.
        request: For messages, and whether the samples are the user's.

    Raises:
        EdgekitError: They differ by more than rounding; it names the first layer that does,
            where that can be found.
    """
    meter, worst, largest = ParityMeter(), (Arrays(), Arrays()), -1.0
    io = {"input_index": model.signature.inputs, "output_index": model.signature.outputs}
    for inputs in samples:
        expected = _run_source(reference, inputs, request.source)
        got = runtime.invoke(request.out, io, inputs)
        meter.add(expected, got)
        alone = ParityMeter()
        alone.add(expected, got)
        distance = max((output.distance for output in alone.outputs.values()), default=0.0)
        if distance > largest:
            worst, largest = (inputs, expected), distance
    if meter.problems():
        raise _disagreement(reference, worst, meter, request)
    return meter


def samples_of(data: str, model: Model) -> Iterator[Arrays]:
    """The user's own."""
    for sample in open_dataset(data, model.inputs).samples(DATA_SAMPLES):
        yield dict(sample.inputs)


def _run_source(reference: Reference, inputs: Arrays, source: str) -> Arrays:
    try:
        return reference.source.run(inputs)
    except Exception as error:
        raise EdgekitError(f"{reference.framework} cannot run {source}: {first_line(error)}",
                           "give inputs that it can run on with --data") from error


def _disagreement(
    reference: Reference, sample: tuple[Arrays, Arrays], meter: ParityMeter, request: Request
) -> EdgekitError:
    """The error for outputs that differ; a source that differs from itself is told apart."""
    inputs, expected = sample
    again = ParityMeter()
    again.add(expected, reference.source.run(inputs))
    if again.problems():
        name = next(iter(again.problems()))
        return EdgekitError(
            f"{request.source}: output '{name}' is another one each time that "
            f"{reference.framework} runs the same input", "take random numbers and state out of "
            "the model, or make them inputs and outputs")
    name, problem = next(iter(meter.problems().items()))
    kind = "random inputs" if request.data is None else "samples of the data"
    place = reference.place(inputs)
    hint = ("write that part of the source in another way, and please report it: the import got "
            "an operator wrong")
    if request.data is None and meter.outputs[name].misfit:
        hint = "random inputs may make no sense to this model: give real ones with --data"
    return EdgekitError(
        f"{request.source}: output '{name}' of the imported model is not {reference.framework}'s: "
        f"{problem}, on {meter.samples} {kind}" + (f"; the two part at {place}" if place else ""),
        hint)


def notes_on(ports: Iterable[Port], request: Request, model: Model) -> list[str]:
    """What the import decided about shapes and types."""
    ports = tuple(ports)
    notes = [f"input '{port.name}' fixed to {list(request.input_shapes[port.name])}"
             for port in ports
             if port.name in request.input_shapes and (port.shape is None or -1 in port.shape)]
    notes += [f"input '{port.name}' keeps the batch that it was built with: {list(port.shape)}"
              for port in ports
              if port.batched and port.shape is not None and len(port.shape) > 1
              and port.shape[0] > 1]
    notes += [f"the size of output '{spec.name}' depends on the values: {list(spec.shape)}"
              for spec in model.outputs if -1 in spec.shape]
    if model.precision != "float":
        notes.append(f"the source is quantized already: {model.precision}")
    return notes


def first_line(error: BaseException) -> str:
    """The gist of a framework's error: its first line that is no frame around another."""
    lines = [_COLOURS.sub("", line).strip() for line in str(error).splitlines()]
    gist = next((line for line in lines if line and not _FRAMES.match(line)), "")
    shown = gist[:200].encode("utf-8", "replace").decode()  # a damaged file's words
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
