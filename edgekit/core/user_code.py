"""``module.py:function``: the user's own code, run because the user asked for it."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, did_you_mean


def is_reference(text: str) -> bool:
    """Whether a word names a function in a Python file."""
    return ".py:" in text


def absolute_reference(reference: str) -> str:
    """The same function with its file's whole path."""
    file, _, name = reference.rpartition(":")
    return f"{Path(file).absolute()}:{name}"


def check_reference(reference: str) -> Path:
    """The file of ``module.py:function``, without running it.

    Raises:
        EdgekitError: No such file, or no function name.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise EdgekitError(f"{file} does not exist", "give FILE.py:function")
    if not name.isidentifier():
        raise EdgekitError(f"'{reference}' names no function", "give FILE.py:function")
    return path


def load_function(reference: str) -> Callable[..., Any]:
    """Import the file and give the function.

    Raises:
        EdgekitError: It cannot be imported, or has no such function.
    """
    path = check_reference(reference)
    name = reference.rpartition(":")[2]
    module_name = f"edgekit_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # classes defined there must be findable
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise EdgekitError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise EdgekitError(f"{path} has no function '{name}'", did_you_mean(name, names))
    return function  # type: ignore[no-any-return]
