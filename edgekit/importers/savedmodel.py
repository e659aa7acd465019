"""SavedModel folders: of TensorFlow 1 and 2, of ``model.export()`` in Keras 3."""

from pathlib import Path

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers._archive import MAX_BYTES
from edgekit.importers._tensorflow import EXTRA, import_in_child, require_tensorflow
from edgekit.importers.base import ImportOptions


class _SavedModel:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "saved-model"
    form = "a SavedModel folder"
    extra: str | None = EXTRA

    def recognises(self, source: str) -> bool:
        """By the file that every SavedModel has, or by the variables that are left of one."""
        path = Path(source)
        return path.is_dir() and any(
            (path / name).exists()
            for name in ("saved_model.pb", "saved_model.pbtxt", "variables/variables.index"))

    def load(self, source: str, options: ImportOptions) -> Model:
        """Read a SavedModel.

        Raises:
            MissingToolError: TensorFlow is not installed.
            EdgekitError: It is damaged, has several signatures and none was chosen, leaves a
                dimension open, or the converted model does not compute the same.
        """
        require_tensorflow("import SavedModels")
        folder = Path(source)
        if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise EdgekitError(f"{source} is damaged: it has no saved_model.pb",
                               "copy the whole folder again")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if size > MAX_BYTES:
            raise EdgekitError(f"{source} is larger than {MAX_BYTES >> 30} GB; what it converts "
                               "to cannot be", "export it without its optimizer")
        return import_in_child(self.format, "convert_saved_model", source, options)


SAVED_MODEL = _SavedModel()
