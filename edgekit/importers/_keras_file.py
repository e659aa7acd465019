"""What is checked of a Keras file before any framework reads it. Plain Python.

A model's configuration names classes and functions to call, and may hold byte code. Keras 3 has
a safe mode; tf-keras, which reads what Keras 3 refuses, imports any module that a ``.keras`` file
names and runs a Lambda layer's byte code from HDF5. So both are held to one list here.
"""

import builtins
import json
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.importers._archive import check_members

HDF5_MARK = b"\x89HDF\r\n\x1a\n"

_MAX_CONFIG_BYTES = 64 * 2**20

USE_PYTHON = (
    "give a function that builds or loads the model instead, as module.py:function; "
    "its code is then run because you asked for it"
)

# Where classes and functions of a configuration may live.
_PACKAGES = ("keras", "tf_keras", "keras_hub", "keras_nlp", "keras_cv", "builtins")
_LAMBDAS = ("Lambda", "__lambda__")
# Layers that load code or files of another framework.
_FOREIGN = ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
# Keras 2 stores a TensorFlow function called between two layers by its name.
_OP_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod",
              "InstanceMethod", "InstanceProperty")  # fmt: skip
_OP_PACKAGES = ("math", "nn", "linalg", "image", "signal", "bitwise", "quantization", "dtypes",
                "__operators__", "keras.backend", "keras.activations", "compat.v1.nn",
                "compat.v1.math")  # fmt: skip
_OPS_REFUSED = ("py_function", "numpy_function", "py_func", "load_library", "load_op_library",
                "import_graph_def", "print", "function", "init_scope")  # fmt: skip


def check_archive(path: Path) -> None:
    """Hold a ``.keras`` archive against size limits, and its configuration against the list.

    Raises:
        EdgekitError: Damaged, too large when unpacked, names that leave the archive, a Lambda
            layer, or a layer whose code is not Keras's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            config = _read_json(path, archive, "config.json")
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise EdgekitError(f"{path} is damaged, or no Keras model: {error}",
                           "save or copy it again") from error
    check_config(str(path), config)


def keras_version(path: Path) -> str:
    """The version of Keras that wrote a ``.keras`` archive; empty when it does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            return str(_read_json(path, archive, "metadata.json").get("keras_version", ""))
    except (EdgekitError, zipfile.BadZipFile, OSError):
        return ""


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    if "config.json" not in check_members(path, archive):
        raise EdgekitError(f"{path} is no Keras model: there is no config.json in it",
                           "save it with model.save()")


def _read_json(path: Path, archive: zipfile.ZipFile, name: str) -> Mapping[str, Any]:
    try:
        size = archive.getinfo(name).file_size
        if size > _MAX_CONFIG_BYTES:
            raise EdgekitError(f"{path}: {name} is {size / 1e6:.0f} MB, which no model needs")
        return parse_config(str(path), archive.read(name))
    except KeyError as error:
        raise EdgekitError(f"{path} is damaged: there is no {name} in it") from error


def parse_config(source: str, text: bytes | str) -> Mapping[str, Any]:
    """A model's configuration.

    Raises:
        EdgekitError: It is no JSON object.
    """
    try:
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise EdgekitError(f"{source} is damaged: its configuration is no JSON: {error}",
                           "save or copy it again") from error
    if not isinstance(config, dict):
        raise EdgekitError(f"{source} is damaged: its configuration is no JSON object")
    return config


def check_config(source: str, config: Mapping[str, Any]) -> None:
    """Refuse what would run code, and name it.

    Args:
        source: The file's name, for messages.
        config: A model's configuration, as Keras 2 or 3 writes it.

    Raises:
        EdgekitError: A Lambda layer, a class or function from outside of Keras, or a TensorFlow
            function that no model needs.
    """
    for entry in _entries(config):
        kind = entry.get("class_name")
        if kind in _LAMBDAS:
            raise EdgekitError(
                f"{source} has a Lambda layer{_called(entry)}: Python code in a file, which "
                "is not run", USE_PYTHON)
        if kind in _FOREIGN:
            raise EdgekitError(f"{source} has a {kind} layer{_called(entry)}, which loads code "
                               "or files from elsewhere", USE_PYTHON)
        if kind in _OP_LAYERS:
            _check_operation(source, entry)
        _check_module(source, entry)


def missing_code(source: str, name: str) -> EdgekitError:
    """The error for a class or function that is not Keras's own."""
    return EdgekitError(
        f"{source} uses '{name}', which is not Keras's own; a model file does not hold its code",
        USE_PYTHON,
    )


def _entries(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every object in the configuration, the outermost first.

    How the model was compiled is left out: it is loaded without, and custom losses are common.
    """
    waiting: deque[Any] = deque(
        [{key: value for key, value in config.items() if key != "compile_config"}])
    while waiting:
        value = waiting.popleft()
        if isinstance(value, Mapping):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _called(entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    return f" ('{name}')" if isinstance(name, str) else ""


def _check_operation(source: str, entry: Mapping[str, Any]) -> None:
    config = entry.get("config")
    function = config.get("function") if isinstance(config, Mapping) else None
    if not isinstance(function, str):
        return
    package, _, name = function.rpartition(".")
    known = any(package == p or package.startswith(p + ".") for p in _OP_PACKAGES)
    if (package and not known) or name in _OPS_REFUSED:
        raise EdgekitError(f"{source} calls tf.{function}{_called(entry)}, which is not run "
                           "from a file", USE_PYTHON)


def _check_module(source: str, entry: Mapping[str, Any]) -> None:
    module, kind = entry.get("module"), entry.get("class_name")
    if not isinstance(module, str) or not isinstance(kind, str):
        return
    name = entry.get("config") if kind == "function" else kind
    shown = name if isinstance(name, str) else kind
    if module.split(".")[0] not in _PACKAGES or (module == "builtins" and hasattr(builtins, shown)):
        raise missing_code(source, shown)
