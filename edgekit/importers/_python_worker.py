"""Runs in the child process: the user's function, and whichever framework its result belongs to.

Neither framework is imported before the user's own code does it: whoever has one of them needs
only that one.
"""

import sys
from contextlib import chdir
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.core.user_code import load_function
from edgekit.importers._proof_worker import first_line
from edgekit.importers._tensorflow import Imported, Request

RETURN = ("return a Keras model, a tf.function with an input_signature, a concrete function, or a "
          "PyTorch module with inputs to call it on: (module, example_inputs)")  # fmt: skip


def convert_python(request: Request) -> Imported:
    """Convert what the user's function returns."""
    if request.signature is not None:
        raise EdgekitError(f"{request.source} has no signatures to choose from",
                           "leave --signature out")
    with chdir(request.folder):
        if "keras" in sys.modules:  # of an import before this one
            from edgekit.importers import _keras_worker

            _keras_worker.reset()
        made = load_function(request.source)
        if not _is_torch(made) and not _is_tensorflow(made):
            made = _call(made, request.source)
        return _convert(made, request)


def _convert(made: Any, request: Request) -> Imported:  # noqa: ANN401
    if isinstance(made, tuple) and len(made) == 2 and _is_torch(made[0]):
        from edgekit.importers import _torch_worker

        return _torch_worker.convert_module(made, request)
    if _is_torch(made):
        raise EdgekitError(f"{request.source} gave a PyTorch module without inputs to call it on",
                           "return (module, example_inputs): a tuple of tensors, or a dict by "
                           "argument name")
    if not _has_tensorflow():
        raise EdgekitError(f"{request.source} gave an object of type '{type(made).__name__}'",
                           RETURN)
    from edgekit.importers import _tensorflow_worker

    endpoint = _tensorflow_worker.endpoint_of(made, request.source)
    return _tensorflow_worker.import_endpoint(endpoint, request)


def _has_tensorflow() -> bool:
    return any(name in sys.modules for name in ("tensorflow", "keras", "tf_keras"))


def _is_torch(made: Any) -> bool:  # noqa: ANN401
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(
        made, torch.nn.Module | torch.export.ExportedProgram)


def _is_tensorflow(made: Any) -> bool:  # noqa: ANN401
    if not _has_tensorflow():
        return False
    from edgekit.importers import _tensorflow_worker

    return _tensorflow_worker.is_model(made)


def _call(function: Any, source: str) -> Any:  # noqa: ANN401
    try:
        return function()
    except EdgekitError:
        raise
    except (Exception, SystemExit) as error:
        raise EdgekitError(f"{source} failed: {first_line(error)}",
                           "it is called without arguments") from error
