"""Runs in the child process: inner values of what goes through TensorFlow's converter."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.model import Model, Provenance
from edgekit.importers._convert_worker import Endpoint, Traced, convert, trace
from edgekit.importers._finish_worker import finish
from edgekit.importers._proof_worker import Arrays

Shapes = Sequence[tuple[int, ...]]


def both_sides(
    endpoint: Endpoint, shapes: Shapes, inputs: Mapping[str, NDArray[Any]]
) -> tuple[Arrays, Arrays]:
    """An endpoint's outputs by its reference, and by LiteRT after a conversion of its own."""
    traced = trace(endpoint, shapes, "the model")
    expected = (endpoint.reference or traced).run(inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.tflite"
        data = finish(convert(traced, "the model", path.parent), traced, endpoint.clean_name)
        path.write_bytes(data)
        signature = Model(data, "probe", Provenance("probe", "probe")).signature
        try:
            return expected, runtime.invoke(
                str(path), {"input_index": signature.inputs, "output_index": signature.outputs},
                inputs)
        finally:
            runtime.interpreter.cache_clear()


class GraphInside:
    """The inner values of a TensorFlow function."""

    def __init__(self, traced: Traced | None, endpoint: Endpoint, shapes: Shapes) -> None:
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        assert traced is not None
        self._endpoint, self._shapes = endpoint, shapes
        self._inputs = traced.inputs
        self._frozen = convert_variables_to_constants_v2(traced.function)

    def names(self) -> Sequence[str]:
        """Float results of operators that compute something."""
        return [operation.outputs[0].name for operation in self._frozen.graph.get_operations()
                if operation.type not in ("Const", "Placeholder", "Identity", "NoOp")
                and operation.outputs and operation.outputs[0].dtype == tf.float32]

    def both(
        self, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[Arrays, Arrays]:
        """See ``_bisect_worker.Inside``."""
        return both_sides(self.endpoint(names), self._shapes, inputs)

    def endpoint(self, names: Sequence[str]) -> Endpoint:
        """The same function with these inner values as outputs."""
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
