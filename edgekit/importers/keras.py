"""Keras models in a file: ``.keras``, ``.h5``, ``.hdf5``, written by Keras 3 or Keras 2."""

from pathlib import Path

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers._archive import MAX_BYTES, ZIP_MARK
from edgekit.importers._keras_file import HDF5_MARK, check_archive
from edgekit.importers._tensorflow import EXTRA, import_in_child, require_tensorflow
from edgekit.importers.base import ImportOptions

_SUFFIXES = (".keras", ".h5", ".hdf5")


class _Keras:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "keras"
    form = ".keras, .h5 or .hdf5 (Keras)"
    extra: str | None = EXTRA

    def recognises(self, source: str) -> bool:
        """By name, or by HDF5's mark."""
        path = Path(source)
        if not path.is_file():
            return False
        return path.suffix.lower() in _SUFFIXES or _mark(path) == HDF5_MARK

    def load(self, source: str, options: ImportOptions) -> Model:
        """Read a Keras model.

        Raises:
            MissingToolError: TensorFlow is not installed.
            EdgekitError: The file is damaged, holds Python code or custom layers, leaves a
                dimension open, or the converted model does not compute the same.
        """
        require_tensorflow("import Keras models")
        path = Path(source)
        size = path.stat().st_size
        if size == 0:
            raise EdgekitError(f"{source} is empty")
        if size > MAX_BYTES:
            raise EdgekitError(f"{source} is larger than {MAX_BYTES >> 30} GB; what it converts "
                               "to cannot be", "save it without its optimizer")
        mark = _mark(path)
        if mark.startswith(ZIP_MARK):
            check_archive(path)
        elif mark != HDF5_MARK:
            raise EdgekitError(f"{source} is damaged, or no Keras model: it is neither a zip "
                               "archive nor HDF5", "save it again with model.save()")
        return import_in_child(self.format, "convert_keras", source, options)


KERAS = _Keras()


def _mark(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(HDF5_MARK))
