"""Runs in the child process: what the parent calls to import with TensorFlow."""

import logging
from typing import Any

import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.core.user_code import load_function
from edgekit.importers import _keras_worker as keras_worker
from edgekit.importers import _savedmodel_worker as savedmodel_worker
from edgekit.importers._convert_worker import Endpoint, first_line, folder_of, import_endpoint
from edgekit.importers._tensorflow import Imported, Request

# The converter recommends its slower path with each model; the log is for what goes wrong.
logging.getLogger("absl").setLevel(logging.ERROR)


def convert_keras(request: Request) -> Imported:
    """Convert a ``.keras`` or HDF5 file."""
    _refuse_signature(request)
    with folder_of(request):
        return import_endpoint(keras_worker.load_file(request), request)


def convert_saved_model(request: Request) -> Imported:
    """Convert a SavedModel folder."""
    with folder_of(request):
        return import_endpoint(savedmodel_worker.load_folder(request), request)


def convert_python(request: Request) -> Imported:
    """Convert what the user's function returns."""
    _refuse_signature(request)
    with folder_of(request):
        keras_worker.reset()
        made = load_function(request.source)
        if not _is_model(made):
            made = _call(made, request.source)
        return import_endpoint(_endpoint_of(made, request.source), request)


def _call(function: Any, source: str) -> Any:  # noqa: ANN401
    try:
        return function()
    except EdgekitError:
        raise
    except (Exception, SystemExit) as error:
        raise EdgekitError(f"{source} failed: {first_line(error)}",
                           "it is called without arguments") from error


def _is_model(made: Any) -> bool:  # noqa: ANN401
    types = tf.types.experimental
    return keras_worker.is_keras_model(made) or isinstance(
        made, types.ConcreteFunction | types.PolymorphicFunction)


def _endpoint_of(made: Any, source: str) -> Endpoint:  # noqa: ANN401
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


def _refuse_signature(request: Request) -> None:
    if request.signature is not None:
        raise EdgekitError(f"{request.source} has no signatures to choose from",
                           "leave --signature out")
