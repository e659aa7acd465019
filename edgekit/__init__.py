"""edgekit: from a trained model to a budget-checked artifact on a device.

The names below are the whole public Python interface. They are loaded on first use, so that
``import edgekit`` (and ``edgekit --help``) costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgekit.api import build as build
    from edgekit.api import lift as lift
    from edgekit.api import load_model as load_model
    from edgekit.api import load_recipe as load_recipe
    from edgekit.api import load_target as load_target
    from edgekit.api import profile as profile
    from edgekit.core.errors import EdgekitError as EdgekitError
    from edgekit.core.model import Model as Model

_HOME = {
    "build": "edgekit.api",
    "lift": "edgekit.api",
    "load_model": "edgekit.api",
    "load_recipe": "edgekit.api",
    "load_target": "edgekit.api",
    "profile": "edgekit.api",
    "EdgekitError": "edgekit.core.errors",
    "Model": "edgekit.core.model",
}

__all__ = [
    "EdgekitError", "Model", "build", "lift", "load_model", "load_recipe", "load_target", "profile",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
