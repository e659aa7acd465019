"""Runs in the child process: what the parent calls to import with TensorFlow."""

from typing import Any

import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.core.user_code import load_function
from edgekit.importers import _keras_worker as keras_worker
from edgekit.importers import _savedmodel_worker as savedmodel_worker
from edgekit.importers._convert_worker import Endpoint, first_line, folder_of, import_endpoint
from edgekit.importers._tensorflow import Imported, Request


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
        function = load_function(request.source)
        try:
            made = function()
        except EdgekitError:
            raise
        except Exception as error:
            raise EdgekitError(f"{request.source} failed: {first_line(error)}",
                               "it is called without arguments") from error
        return import_endpoint(_endpoint_of(made, request.source), request)


def _endpoint_of(made: Any, source: str) -> Endpoint:  # noqa: ANN401
    framework = f"TensorFlow {tf.__version__}"
    if keras_worker.is_keras_model(made):
        return keras_worker.endpoint_of(made, source, [])
    if isinstance(made, tf.types.experimental.ConcreteFunction):
        return savedmodel_worker.endpoint_of_function(made, framework)
    if isinstance(made, tf.types.experimental.PolymorphicFunction):
        if made.input_signature is None:
            raise EdgekitError(f"{source} gave a tf.function without an input_signature",
                               "tf.function(f, input_signature=[tf.TensorSpec([1, 28, 28, 1])])")
        return savedmodel_worker.endpoint_of_function(made.get_concrete_function(), framework)
    raise EdgekitError(
        f"{source} gave a {type(made).__name__}",
        "return a Keras model, a tf.function with an input_signature, or a concrete function")


def _refuse_signature(request: Request) -> None:
    if request.signature is not None:
        raise EdgekitError(f"{request.source} has no signatures to choose from",
                           "leave --signature out")
