"""Runs in the child process: what the parent calls to import with TensorFlow."""

import gc
import logging
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model, Provenance
from edgekit.core.sandbox import map_file
from edgekit.importers import _keras_worker as keras_worker
from edgekit.importers import _savedmodel_worker as savedmodel_worker
from edgekit.importers._compare_worker import compare
from edgekit.importers._convert_worker import FREEZE_BYTES, Endpoint, Traced, prepare, trace
from edgekit.importers._finish_worker import finish, settle_open_shapes
from edgekit.importers._large_constants_worker import constants_as_variables
from edgekit.importers._proof_worker import notes_on
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
    traced = constants_as_variables(trace(endpoint, shapes, request.source), FREEZE_BYTES)
    gc.collect()  # graphs hold themselves, and all their constants
    make = prepare(traced, request.source, Path(request.out).parent)
    names = replace(traced, function=None, keep=None)
    # A source that has its own reference needs the graph and its copy of the weights no more.
    needed = traced if endpoint.reference is None or endpoint.inside is None else None
    del traced
    _write(make, names, endpoint, request)
    del make
    gc.collect()
    model = Model(map_file(Path(request.out)), request.source,
                  Provenance("tensorflow", request.source))
    meter = compare(endpoint, needed, shapes, model, request)
    notes = endpoint.notes + notes_on(endpoint.inputs, request, model)
    notes += [f"input '{name}' takes its channels last ({layout})"
              for name, layout in endpoint.layouts.items()]
    notes += [f"output '{name}': LiteRT and {endpoint.framework} are {remark}"
              for name, remark in meter.remarks().items()]
    return Imported(tuple(notes), meter.rows(), endpoint.layouts)


def _write(
    make: Callable[[], bytes], names: Traced, endpoint: Endpoint, request: Request
) -> None:
    """Convert; nothing but the file is left in memory of it."""
    out = Path(request.out)
    data = finish(make(), names, endpoint.clean_name)
    out.write_bytes(settle_open_shapes(data, out, request.data))


def refuse_signature(request: Request) -> None:
    if request.signature is not None:
        raise EdgekitError(f"{request.source} has no signatures to choose from",
                           "leave --signature out")
