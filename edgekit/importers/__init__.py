"""Every source becomes one ``Model``. One file per kind of source, one row here."""

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers import (
    huggingface,
    keras,
    onnx,
    python_source,
    pytorch,
    savedmodel,
    tflite,
)
from edgekit.importers.base import Importer, ImportOptions

# The first row that recognises the source takes it.
IMPORTERS: dict[str, Importer] = {
    "tflite": tflite.TFLITE,
    "keras": keras.KERAS,
    "saved-model": savedmodel.SAVED_MODEL,
    "onnx": onnx.ONNX,
    "pytorch": pytorch.PYTORCH,
    "huggingface": huggingface.HUGGING_FACE,
    "python": python_source.PYTHON,
}

__all__ = ["IMPORTERS", "ImportOptions", "Importer", "find_importer", "import_model"]


def find_importer(source: str) -> Importer:
    """The importer for a file, folder or ``module.py:function``, from its name and first bytes.

    Raises:
        EdgekitError: It does not exist, or nothing here reads it.
    """
    for importer in IMPORTERS.values():
        if importer.recognises(source):
            return importer
    from pathlib import Path

    if ".py:" not in source and not Path(source).exists():
        raise EdgekitError(f"{source} does not exist")
    forms = "; ".join(importer.form for importer in IMPORTERS.values())
    raise EdgekitError(f"{source} is no kind of model that edgekit reads", f"it reads: {forms}")


def import_model(source: str, options: ImportOptions | None = None) -> Model:
    """Read a trained model.

    Args:
        source: A file, a folder, or ``module.py:function``.
        options: Signature, input shapes and what travels with the model.

    Raises:
        EdgekitError: The source cannot be read, or its import does not hold.
    """
    return find_importer(source).load(source, options or ImportOptions())
