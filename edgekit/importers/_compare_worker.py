"""Runs in the child process: what is computed with TensorFlow's converter, against its source."""

from collections.abc import Iterator, Sequence

import numpy as np

from edgekit.core import _runtime_worker as runtime
from edgekit.core.indices import index_rows
from edgekit.core.macs import total_macs
from edgekit.core.model import Model
from edgekit.core.patience import each_must_end
from edgekit.importers import _proof_worker as proof
from edgekit.importers._bisect_worker import place_of_difference
from edgekit.importers._convert_worker import Endpoint, Traced
from edgekit.importers._graph_inside_worker import GraphInside
from edgekit.importers._tensorflow import Request
from edgekit.importers.parity import RANDOM_SAMPLES, ParityMeter

# From so many multiply-accumulates on, two samples have to do.
_COSTLY_MACS = 200_000_000


def compare(
    endpoint: Endpoint, traced: Traced | None, shapes: Sequence[tuple[int, ...]], model: Model,
    request: Request,
) -> ParityMeter:  # fmt: skip
    """Run the source and LiteRT on the same inputs.

    Args:
        endpoint: The source.
        traced: The same as a graph; needed where the endpoint has no reference of its own.
        shapes: The inputs' shapes.
        model: What was imported; it lies at ``request.out``.
        request: What was asked for.

    Raises:
        EdgekitError: They differ by more than rounding; it names the first layer that does.
    """

    def place(inputs: proof.Arrays) -> str:
        make = endpoint.inside
        if make is not None:
            return place_of_difference(lambda: make(shapes), inputs)
        return place_of_difference(lambda: GraphInside(traced, endpoint, shapes), inputs)

    source = endpoint.reference or traced
    assert source is not None
    reference = proof.Reference(endpoint.framework, source, place)
    samples = (proof.samples_of(request.data, model) if request.data
               else each_must_end(_random(model)))
    return proof.compare(reference, samples, model, request)


def _random(model: Model) -> Iterator[proof.Arrays]:
    generator, rows = np.random.default_rng(0), index_rows(model)
    costly = (total_macs(model.graph) or 0) > _COSTLY_MACS
    for _ in range(RANDOM_SAMPLES // 2 if costly else RANDOM_SAMPLES):
        yield {spec.name: runtime.draw(spec, generator, rows.get(spec.name))
               for spec in model.inputs}
