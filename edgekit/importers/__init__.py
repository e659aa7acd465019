"""Every source becomes one ``Model``. One file per kind of source, one row here."""

from edgekit.core.errors import EdgekitError, did_you_mean
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

LAYOUTS = ("nhwc",)
ONNX_IMPORTERS = ("edgekit", "onnx2tf")

__all__ = [
    "IMPORTERS", "ImportOptions", "Importer", "check_options", "find_importer", "import_model",
]


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


def check_options(importer: Importer, source: str, options: ImportOptions) -> None:
    """See that options which are for one kind of source were not given for another.

    Raises:
        EdgekitError: They were, or have a value that nobody knows.
    """
    for option, value, known in (("--input-layout", options.input_layout, LAYOUTS),
                                 ("--onnx-importer", options.onnx_importer, ONNX_IMPORTERS)):
        if value is not None and value not in known:
            raise EdgekitError(f"unknown {option} '{value}'", did_you_mean(value, known))
    other = options.onnx_importer != ONNX_IMPORTERS[0]
    for option, given, format_ in (
        ("--input-layout", options.input_layout is not None, "onnx"),
        ("--onnx-importer", other, "onnx"),
        ("--task", options.task is not None, "huggingface"),
        ("--sequence-length", options.sequence_length is not None, "huggingface"),
    ):
        if given and importer.format != format_:
            raise EdgekitError(f"{option} is for {IMPORTERS[format_].form}; {source} is none",
                               "leave it out")


def import_model(source: str, options: ImportOptions | None = None) -> Model:
    """Read a trained model.

    Args:
        source: A file, a folder, or ``module.py:function``.
        options: Signature, input shapes and what travels with the model.

    Raises:
        EdgekitError: The source cannot be read, or its import does not hold.
    """
    options = options or ImportOptions()
    importer = find_importer(source)
    check_options(importer, source, options)
    return importer.load(source, options)
