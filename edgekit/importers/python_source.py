"""``module.py:function``: the user's own code gives the model."""

import ast
from pathlib import Path

from edgekit.core.model import Model
from edgekit.core.user_code import check_reference, is_reference
from edgekit.importers._tensorflow import import_in_child, require_tensorflow
from edgekit.importers._torch import require_torch
from edgekit.importers.base import ImportOptions

_WORKER = "edgekit.importers._python_worker"
_TENSORFLOW = {"tensorflow", "keras", "tf_keras"}
_TORCH = {"torch", "torchvision", "transformers", "timm"}


class _Python:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "python"
    form = ("module.py:function that returns a Keras model, a tf.function, or a PyTorch module "
            "with example inputs")  # fmt: skip
    extra: str | None = None  # which one is seen in the file

    def recognises(self, source: str) -> bool:
        """By its form."""
        return is_reference(source)

    def load(self, source: str, options: ImportOptions) -> Model:
        """Call the function and take what it returns.

        Raises:
            MissingToolError: The framework that the file imports is not installed.
            EdgekitError: The function does not exist, fails, returns something else, leaves a
                dimension open, or the converted model does not compute the same.
        """
        path = check_reference(source)
        imported = _imports(path)
        if imported & _TENSORFLOW:
            require_tensorflow("import a model from Python")
        if imported & _TORCH:
            require_torch("import a PyTorch module from Python")
        return import_in_child(self.format, "convert_python", source, options, _WORKER)


PYTHON = _Python()


def _imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere; empty when it cannot be parsed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # importing it says what is wrong with it
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
