"""Runs in the child process: the first inner value that LiteRT computes otherwise than the source.

An error that says "the output is wrong" is of little use for a network of a thousand layers. Both
sides are asked for inner values too, some at a time, and the place where they part is closed in on.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.model import Model, Provenance
from edgekit.importers._convert_worker import Endpoint, Traced, convert, trace
from edgekit.importers._finish_worker import finish
from edgekit.importers._proof_worker import Arrays
from edgekit.importers.parity import OutputParity

_AT_A_TIME = 24  # values that one conversion has as outputs


class Inside(Protocol):
    """A source whose inner values can be looked at."""

    def names(self) -> Sequence[str]:
        """Inner values in the order in which they are computed."""

    def endpoint(self, names: Sequence[str]) -> Endpoint:
        """The same function with these inner values as outputs, and its reference."""

    def describe(self, name: str) -> str:
        """What computes a value, for a message."""


def first_difference(
    inside: Inside, shapes: Sequence[tuple[int, ...]], inputs: Mapping[str, NDArray[Any]],
    source: str,
) -> str:  # fmt: skip
    """Where the two sides part.

    Args:
        inside: The source.
        shapes: The inputs' shapes, in order.
        inputs: On which the outputs differ.
        source: For messages.

    Returns:
        What computes the first differing value; empty where none was found: then the outputs
        differ because of what the converter made of the layers together.
    """
    names = list(inside.names())
    good, bad = -1, len(names)
    while bad - good > 1:
        step = max(1, -(-(bad - good - 1) // _AT_A_TIME))
        positions = list(range(good + step, bad, step)) or [good + 1]
        wrong = _wrong(inside, [names[p] for p in positions], shapes, inputs, source)
        first = next((p for p in positions if names[p] in wrong), None)
        if first is None:
            good = positions[-1]
        else:
            good, bad = max([p for p in positions if p < first], default=good), first
    return inside.describe(names[bad]) if bad < len(names) else ""


def _wrong(
    inside: Inside, names: Sequence[str], shapes: Sequence[tuple[int, ...]],
    inputs: Mapping[str, NDArray[Any]], source: str,
) -> set[str]:  # fmt: skip
    """Which of these values differ."""
    endpoint = inside.endpoint(names)
    traced = trace(endpoint, shapes, source)
    expected = (endpoint.reference or traced).run(inputs)
    got = _computed(traced, endpoint, inputs, source)
    found = set()
    for name, array in expected.items():
        parity = OutputParity()
        parity.add(np.asarray(array), got[name])
        if parity.problem():
            found.add(name)
    return found


def _computed(
    traced: Traced, endpoint: Endpoint, inputs: Mapping[str, NDArray[Any]], source: str
) -> Arrays:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.tflite"
        data = finish(convert(traced, source, path.parent), traced, endpoint.clean_name)
        path.write_bytes(data)
        model = Model(data, source, Provenance("probe", source))
        io = {"input_index": model.signature.inputs, "output_index": model.signature.outputs}
        try:
            return runtime.invoke(str(path), io, inputs)
        finally:
            runtime.interpreter.cache_clear()


class GraphInside:
    """The inner values of a TensorFlow function."""

    def __init__(self, traced: Traced | None, endpoint: Endpoint) -> None:
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        assert traced is not None
        self._endpoint = endpoint
        self._inputs = traced.inputs
        self._frozen = convert_variables_to_constants_v2(traced.function)

    def names(self) -> Sequence[str]:
        """Float results of operators that compute something."""
        return [operation.outputs[0].name for operation in self._frozen.graph.get_operations()
                if operation.type not in ("Const", "Placeholder", "Identity", "NoOp")
                and operation.outputs and operation.outputs[0].dtype == tf.float32]

    def endpoint(self, names: Sequence[str]) -> Endpoint:
        """See ``Inside``."""
        graph = self._frozen.graph
        pruned = self._frozen.prune(
            self._frozen.inputs, [graph.get_tensor_by_name(name) for name in names])

        def call(tensors: dict[str, Any]) -> dict[str, Any]:
            results = pruned(*(tensors[name] for name in self._inputs))
            return dict(zip(names, results, strict=True))

        return replace(self._endpoint, call=call, reference=None)

    def describe(self, name: str) -> str:
        """The operator's kind and its name as the source's layers are called."""
        operation = self._frozen.graph.get_tensor_by_name(name).op
        return f"{operation.type} '{self._endpoint.clean_name(operation.name)}'"


def place_of_difference(
    make_inside: Callable[[], Inside], shapes: Sequence[tuple[int, ...]],
    inputs: Mapping[str, NDArray[Any]], source: str,
) -> str:  # fmt: skip
    """``first_difference`` for an error message, which must not fail on its own account."""
    with suppress(Exception):
        return first_difference(make_inside(), shapes, inputs, source)
    return ""
