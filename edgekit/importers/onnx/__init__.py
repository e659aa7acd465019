"""ONNX files. This module is light; what reads and executes them runs in the child process.

``loading`` reads the file and refuses what is unsound, ``executor`` runs the graph once with
symbolic tensors, ``operators`` has one row per operator, ``values`` is the layout of what flows,
``functions`` expands operators into the ONNX project's own definitions of them.
"""

from pathlib import Path

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import MAX_FILE_BYTES
from edgekit.core.model import Model
from edgekit.importers._tensorflow import import_in_child, require_tensorflow
from edgekit.importers.base import ImportOptions

EXTRA = "onnx"


class _Onnx:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "onnx"
    form = ".onnx"
    extra: str | None = EXTRA

    def recognises(self, source: str) -> bool:
        """By name: protocol buffers have no mark."""
        return source.lower().endswith(".onnx") and Path(source).is_file()

    def load(self, source: str, options: ImportOptions) -> Model:
        """Read an ONNX file.

        Raises:
            MissingToolError: The extra is not installed.
            EdgekitError: The file is damaged or unsound, has operators that cannot be imported,
                leaves a dimension open, or the converted model does not compute the same.
        """
        require_tensorflow("import ONNX files", EXTRA)
        size = Path(source).stat().st_size
        if size == 0:
            raise EdgekitError(f"{source} is empty")
        if size > MAX_FILE_BYTES:
            raise EdgekitError(f"{source} is larger than 2 GB; what it converts to cannot be",
                               "a TFLite file can be at most 2 GB")
        if options.onnx_importer == "onnx2tf":
            require_tensorflow("import with onnx2tf", "onnx2tf")
            return import_in_child(self.format, "convert_with_onnx2tf", source, options,
                                   worker=f"{__name__}.onnx2tf_worker")
        return import_in_child(self.format, "convert_onnx", source, options,
                               worker=f"{__name__}.worker")


ONNX = _Onnx()
