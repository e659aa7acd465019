"""Importing a module when it is first used, although somebody else's code imports it at once."""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands in for a module and loads it when one of its attributes is asked for.

    ``importlib.util.LazyLoader`` does not serve: ``import NAME`` alone looks at ``__spec__``,
    which makes it load.
    """

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


def import_later(name: str) -> None:
    """Make ``import name`` cost nothing until one of its attributes is used.

    A module that is already imported, or not installed, is left alone.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    module = _Later(name)
    module.__spec__ = spec
    module.__path__ = list(spec.submodule_search_locations or [])
    sys.modules[name] = module
    package, _, child = name.rpartition(".")
    if package:
        setattr(sys.modules[package], child, module)
