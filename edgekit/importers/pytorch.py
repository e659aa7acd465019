"""PyTorch in a file: programs that ``torch.export`` saved, and TorchScript."""

from pathlib import Path

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers._tensorflow import import_in_child
from edgekit.importers._torch import EXTRA, require_torch
from edgekit.importers._torch_file import AS_PROGRAM, check_program, kind_of
from edgekit.importers.base import ImportOptions

_SUFFIXES = (".pt2", ".pt", ".pth", ".jit")
_WORKER = "edgekit.importers._torch_worker"
_FUNCTIONS = {"program": "convert_program", "script": "convert_script", "pickle": "refuse_pickle"}


class _PyTorch:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "pytorch"
    form = ".pt2 (torch.export), .pt or .jit (TorchScript)"
    extra: str | None = EXTRA

    def recognises(self, source: str) -> bool:
        """By name."""
        path = Path(source)
        return path.is_file() and path.suffix.lower() in _SUFFIXES

    def load(self, source: str, options: ImportOptions) -> Model:
        """Read an exported program, or TorchScript.

        Raises:
            MissingToolError: PyTorch or its converter is not installed.
            EdgekitError: The file is damaged, unsafe, or holds weights or pickled code only; it
                leaves a dimension open, keeps state, uses operators that LiteRT lacks; or the
                converted model does not compute the same.
        """
        path = Path(source)
        kind = kind_of(path)
        if kind == "old program":
            raise EdgekitError(f"{source} was saved by an older PyTorch, in a form that is no "
                               "longer read", f"with PyTorch 2.9 or newer, {AS_PROGRAM}")
        if kind == "program":
            check_program(path)
        require_torch("import PyTorch models")
        return import_in_child(self.format, _FUNCTIONS[kind], source, options, worker=_WORKER)


PYTORCH = _PyTorch()
