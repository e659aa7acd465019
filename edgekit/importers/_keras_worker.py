"""Runs in the child process: Keras models, of Keras 3 and of Keras 2, as endpoints."""

import inspect
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras

from edgekit.core.errors import EdgekitError, MissingToolError
from edgekit.importers._convert_worker import Endpoint
from edgekit.importers._float32_worker import as_float32
from edgekit.importers._hdf5_worker import check_hdf5, check_weights
from edgekit.importers._keras_file import HDF5_MARK, USE_PYTHON, missing_code
from edgekit.importers._names import named_outputs, unique, without_scopes
from edgekit.importers._proof_worker import first_line
from edgekit.importers._shapes import Port
from edgekit.importers._tensorflow import Request

_UNKNOWN = re.compile(
    r"(?:Could not locate \w+|Unknown [\w ]+?:|Cannot deserialize object of type)"
    r" ['`]?([A-Za-z_][\w>.]*)")  # fmt: skip


def load_file(request: Request) -> Endpoint:
    """Load a ``.keras`` archive or an HDF5 file with the Keras that wrote it.

    Keras 3 reads many files of Keras 2, and some of them into another function without a word:
    its ``hard_sigmoid``, which old LSTMs have inside, is not Keras 2's. So what Keras 3 did not
    write goes to tf-keras first.

    Raises:
        EdgekitError: It cannot be loaded, with the reason.
    """
    path = Path(request.source)
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5_MARK)) == HDF5_MARK
    writer = check_hdf5(request.source) if is_hdf5 else check_weights(path)
    # Both go by the end of the name; and tf-keras opens archives for writing, so it gets a copy.
    with tempfile.TemporaryDirectory(dir=Path(request.out).parent) as folder:
        named = Path(folder) / ("model.h5" if is_hdf5 else "model.keras")
        modern = writer.startswith("3")
        if modern or is_hdf5:
            named.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, named)
        if modern:
            return _load_modern(named, request.source)
        return _load_legacy(named, request.source, writer or "1 or 2")


def _load_modern(path: Path, source: str) -> Endpoint:
    reset()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise _load_error(source, error) from error
    return endpoint_of(model, source, [])


def _load_legacy(path: Path, source: str, writer: str) -> Endpoint:
    reset()
    try:
        import tf_keras
    except ImportError as error:
        raise MissingToolError.for_extra("tensorflow", f"load {source}, written by Keras {writer},"
                                         ) from error
    loaders = {
        f"tf-keras {tf_keras.__version__}": tf_keras.models.load_model,
        f"Keras {keras.__version__}": keras.saving.load_model,
    }
    refusals: list[Exception] = []
    for name, load in loaders.items():
        try:
            model = load(str(path), compile=False)
        except Exception as error:  # noqa: BLE001 - they raise anything on a file they dislike
            refusals.append(error)
            continue
        note = f"written by Keras {writer}, loaded by {name}"
        return endpoint_of(model, source, [f"{note}: tf-keras refuses it" if refusals else note])
    raise _load_error(source, refusals[0]) from refusals[0]


def _load_error(source: str, error: Exception) -> EdgekitError:
    text = str(error)
    if "lambda" in text.lower() and "safe_mode" in text:
        return EdgekitError(f"{source} holds Python code in a Lambda, which is not run from a file",
                            USE_PYTHON)
    if unknown := _UNKNOWN.search(text):
        return missing_code(source, unknown.group(1))
    return EdgekitError(
        f"{source} cannot be loaded: {first_line(error)}",
        "it may be damaged, or of another version of Keras: save it again with model.save()",
    )


def reset() -> None:
    """Forget earlier models: names that Keras makes up then do not depend on them."""
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy("float32")
    if (legacy := sys.modules.get("tf_keras")) is not None:
        legacy.backend.clear_session()
        legacy.mixed_precision.set_global_policy("float32")


def is_keras_model(made: Any) -> bool:  # noqa: ANN401
    """Whether it is a model of Keras 3, or of tf-keras where that is loaded."""
    legacy = sys.modules.get("tf_keras")
    return isinstance(made, keras.Model) or (legacy is not None and isinstance(made, legacy.Model))


def endpoint_of(model: Any, source: str, notes: list[str]) -> Endpoint:  # noqa: ANN401
    """A Keras model's inference as one function.

    Raises:
        EdgekitError: Its inputs are not known, or it is quantized.
    """
    modern = isinstance(model, keras.Model)
    framework = (f"Keras {keras.__version__}" if modern
                 else f"tf-keras {sys.modules['tf_keras'].__version__}")
    model, more_notes = as_float32(model, source)
    inputs, pack = _inputs(model, source)
    output_names = _output_names(model)

    states = _states(model) if modern else {}

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        given = list(tensors.values())
        if not states:
            return named_outputs(pack(given), output_names)
        own, before = given[:len(inputs)], given[len(inputs):]
        # Keras reads and writes these tensors in place of the layers' variables.
        with keras.StatelessScope(list(zip(states.values(), before, strict=True))) as scope:
            results = named_outputs(pack(own), output_names)
            after = {f"{name}_next": scope.get_current_value(variable)
                     for name, variable in states.items()}
        return {**results, **after}

    ports = tuple(Port(name, _shape(variable.shape), _dtype(variable), batched=False)
                  for name, variable in states.items())
    if states:
        note = (f"state that layers keep is an input and an output: {', '.join(states)}; feed each "
                "..._next back, zeros at first")
        more_notes = [*more_notes, note]
    return Endpoint(framework, (*inputs, *ports), call, model,
                    _name_cleaner(model, numbered=modern), notes + more_notes)


def _states(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """What stateful layers keep from one inference to the next: variables by a name for each."""
    found = {}
    for layer in model._flatten_layers():  # noqa: SLF001
        if getattr(layer, "stateful", False):
            for position, variable in enumerate(getattr(layer, "states", None) or []):
                found[f"{layer.name}_state_{position}"] = variable
    return found


def _inputs(model: Any, source: str) -> tuple[tuple[Port, ...], Callable[[list[Any]], Any]]:  # noqa: ANN401
    """The inputs, and how to call the model on a flat list of tensors."""
    try:
        flat = model.inputs
    except (ValueError, AttributeError):  # a Sequential that was never built
        flat = None
    if not flat:
        return _inputs_of_subclass(model, source)
    structure = getattr(model, "input", flat[0] if len(flat) == 1 else flat)
    ports = tuple(Port(name, _shape(tensor.shape), _dtype(tensor))
                  for name, tensor in zip(_input_names(model, structure), flat, strict=True))

    def pack(tensors: list[Any]) -> Any:  # noqa: ANN401
        return model(_packed(structure, flat, tensors), training=False)

    return ports, pack


def _packed(structure: Any, flat: list[Any], tensors: list[Any]) -> Any:  # noqa: ANN401
    """The tensors in the structure that the model was built with."""
    by_id = {id(symbol): tensor for symbol, tensor in zip(flat, tensors, strict=True)}

    def place(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, Mapping):
            return {key: place(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [place(inner) for inner in value]
        return by_id[id(value)]

    return place(structure)


def _input_names(model: Any, structure: Any) -> list[str]:  # noqa: ANN401
    """Names of the input layers; the keys where the inputs are a dict."""
    if isinstance(structure, Mapping):
        by_id = {id(tensor): key for key, tensor in structure.items()}
        if all(id(tensor) in by_id for tensor in model.inputs):
            return unique(str(by_id[id(tensor)]) for tensor in model.inputs)
    if (names := getattr(model, "input_names", None)) and len(names) == len(model.inputs):
        return unique(names)
    return unique(_layer_name(tensor) for tensor in model.inputs)


def _layer_name(tensor: Any) -> str:  # noqa: ANN401 - KerasTensor
    """The layer that a symbolic tensor comes out of; summary() shows the same name."""
    history = getattr(tensor, "_keras_history", None)
    operation = getattr(history, "operation", None) or getattr(history, "layer", None)
    return str(getattr(operation, "name", None) or tensor.name)


def _output_names(model: Any) -> list[str]:  # noqa: ANN401
    if names := getattr(model, "output_names", None):
        return list(names)
    try:
        return [_layer_name(tensor) for tensor in model.outputs]
    except (ValueError, AttributeError, TypeError):
        return []


def _inputs_of_subclass(
    model: Any, source: str  # noqa: ANN401
) -> tuple[tuple[Port, ...], Callable[[list[Any]], Any]]:
    """Inputs of a model that is code: shapes of its first call, names of its arguments."""
    parameters = {name: parameter.default is parameter.empty
                  for name, parameter in inspect.signature(model.call).parameters.items()
                  if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
                  and name not in ("training", "mask")}
    shapes = _shapes_of_first_call(model)
    if shapes is None:
        raise EdgekitError(
            f"{source}: the model was never called, so that its inputs are not known",
            "call it once before returning it, or return tf.function(model, input_signature=[…])")
    if not sum(parameters.values()) <= len(shapes) <= len(parameters):
        raise EdgekitError(f"{source}: the shapes of the model's {len(parameters)} inputs are not "
                           "known, or they are nested",
                           "return tf.function(call, input_signature=[tf.TensorSpec(…), …])")
    ports = tuple(Port(name, shape, dtype)
                  for name, (shape, dtype) in zip(parameters, shapes, strict=False))
    return ports, lambda tensors: model(*tensors, training=False)


def _shapes_of_first_call(model: Any) -> list[tuple[tuple[int, ...], str]] | None:  # noqa: ANN401
    """Shape and dtype of each argument, with the batch open."""
    if (save_spec := getattr(model, "save_spec", None)) is not None:  # tf-keras
        spec = save_spec()
        flat = [] if spec is None else spec[0]
        found = [(tensor.shape, tensor.dtype.name) for tensor in flat if hasattr(tensor, "shape")]
    else:
        recorded = getattr(model, "_build_shapes_dict", None) or {}
        dtype = getattr(model, "input_dtype", None) or "float32"
        found = [(shape, dtype) for shape in recorded.values()]
        if not all(_is_shape(shape) for shape, _ in found):
            return [((), "float32")] * 99  # nested: more than there are parameters
    return [((-1, *_shape(shape)[1:]), dtype) for shape, dtype in found] or None


def _is_shape(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, tuple | list) and all(
        size is None or isinstance(size, int) for size in value)


def _shape(shape: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(-1 if size is None else int(size) for size in shape)


def _dtype(tensor: Any) -> str:  # noqa: ANN401
    return tensor.dtype if isinstance(tensor.dtype, str) else str(tensor.dtype.name)


def _name_cleaner(model: Any, *, numbered: bool) -> Callable[[str], str]:  # noqa: ANN401
    layers = {layer.name for layer in model._flatten_layers()}  # noqa: SLF001
    return partial(without_scopes, model=model.name, layers=layers, numbered=numbered)
