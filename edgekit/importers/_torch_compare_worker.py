"""Runs in the child process: PyTorch and LiteRT on the same inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.model import Model, TensorSpec
from edgekit.core.patience import each_must_end
from edgekit.importers import _proof_worker as proof
from edgekit.importers._bisect_worker import place_of_difference
from edgekit.importers._tensorflow import Request
from edgekit.importers._torch_convert_worker import FRAMEWORK, Flat, Source
from edgekit.importers._torch_inside_worker import TorchInside
from edgekit.importers.parity import RANDOM_SAMPLES, ParityMeter


def compare(
    flat: Flat, tensors: Sequence[Any], model: Model, source: Source, request: Request
) -> ParityMeter:
    """Run both on the same inputs.

    Raises:
        EdgekitError: They differ by more than rounding.
    """
    samples = (proof.samples_of(request.data, model) if request.data
               else each_must_end(_random(model, source)))

    def place(inputs: proof.Arrays) -> str:
        return place_of_difference(lambda: TorchInside(flat, tensors), inputs)

    return proof.compare(proof.Reference(FRAMEWORK, flat, place), samples, model, request)


def _random(model: Model, source: Source) -> Iterator[proof.Arrays]:
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


def named(names: Sequence[str], values: Sequence[Any] | None) -> dict[str, Any]:
    """Examples by input name; empty where there are none."""
    return {} if values is None else dict(zip(names, values, strict=True))
