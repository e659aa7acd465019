"""Runs in the child process: what the parent calls to import with TensorFlow."""

import logging
from contextlib import chdir
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model, Provenance
from edgekit.importers import _keras_worker as keras_worker
from edgekit.importers import _savedmodel_worker as savedmodel_worker
from edgekit.importers._compare_worker import compare
from edgekit.importers._convert_worker import Endpoint, convert, trace
from edgekit.importers._finish_worker import finish, settle_open_shapes
from edgekit.importers._shapes import settle_shapes
from edgekit.importers._tensorflow import Imported, Request

# The converter recommends its slower path with each model; the log is for what goes wrong.
logging.getLogger("absl").setLevel(logging.ERROR)


def convert_keras(request: Request) -> Imported:
    """Convert a ``.keras`` or HDF5 file."""
    refuse_signature(request)
    with chdir(request.folder):
        return import_endpoint(keras_worker.load_file(request), request)


def convert_saved_model(request: Request) -> Imported:
    """Convert a SavedModel folder."""
    with chdir(request.folder):
        return import_endpoint(savedmodel_worker.load_folder(request), request)


def is_model(made: Any) -> bool:  # noqa: ANN401
    """Whether it is a model already, and no function that makes one."""
    types = tf.types.experimental
    return keras_worker.is_keras_model(made) or isinstance(
        made, types.ConcreteFunction | types.PolymorphicFunction)


def endpoint_of(made: Any, source: str) -> Endpoint:  # noqa: ANN401
    """What a user's function returned, as an endpoint.

    Raises:
        EdgekitError: It is no model, or one whose inputs are not known.
    """
    framework = f"TensorFlow {tf.__version__}"
    if keras_worker.is_keras_model(made):
        return keras_worker.endpoint_of(made, source, [])
    function = made
    if isinstance(made, tf.Module) and callable(made):
        function = made.__call__
    if isinstance(function, tf.types.experimental.PolymorphicFunction):
        if function.input_signature is None:
            raise EdgekitError(f"{source} gave a tf.function without an input_signature",
                               "tf.function(f, input_signature=[tf.TensorSpec([1, 28, 28, 1])])")
        function = function.get_concrete_function()
    if not isinstance(function, tf.types.experimental.ConcreteFunction):
        raise EdgekitError(
            f"{source} gave an object of type '{type(made).__name__}'",
            "return a Keras model, a tf.function with an input_signature, or a concrete function")
    endpoint = savedmodel_worker.endpoint_of_function(function, framework)
    endpoint.keep = made  # its variables live as long as it does
    return endpoint


def import_endpoint(endpoint: Endpoint, request: Request) -> Imported:
    """Trace, convert, write and compare.

    Raises:
        EdgekitError: Whatever is in the way, for the user.
    """
    shapes = settle_shapes(request.source, endpoint.inputs, request.input_shapes)
    traced = trace(endpoint, shapes, request.source)
    raw = convert(traced, request.source, Path(request.out).parent)
    data = settle_open_shapes(finish(raw, traced, endpoint.clean_name), Path(request.out))
    Path(request.out).write_bytes(data)
    model = Model(data, request.source, Provenance("tensorflow", request.source))
    meter = compare(endpoint, traced, shapes, model, request)
    notes = endpoint.notes + _notes_on(endpoint, request, model)
    notes += [f"output '{name}': LiteRT and {endpoint.framework} are {remark}"
              for name, remark in meter.remarks().items()]
    return Imported(tuple(notes), meter.rows(), endpoint.layouts)


def _notes_on(endpoint: Endpoint, request: Request, model: Model) -> list[str]:
    notes = [f"input '{port.name}' fixed to {list(request.input_shapes[port.name])}"
             for port in endpoint.inputs
             if port.name in request.input_shapes and (port.shape is None or -1 in port.shape)]
    notes += [f"input '{port.name}' keeps the batch that it was built with: {list(port.shape)}"
              for port in endpoint.inputs
              if port.batched and port.shape is not None and len(port.shape) > 1
              and port.shape[0] > 1]
    notes += [f"input '{name}' takes its channels last ({layout})"
              for name, layout in endpoint.layouts.items()]
    notes += [f"the size of output '{spec.name}' depends on the values: {list(spec.shape)}"
              for spec in model.outputs if -1 in spec.shape]
    if model.precision != "float":
        notes.append(f"the source is quantized already: {model.precision}")
    return notes


def refuse_signature(request: Request) -> None:
    if request.signature is not None:
        raise EdgekitError(f"{request.source} has no signatures to choose from",
                           "leave --signature out")
