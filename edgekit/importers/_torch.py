"""What the importers that need PyTorch share; PyTorch itself runs in the child process."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import MissingToolError
from edgekit.core.model import Model, Provenance
from edgekit.core.sandbox import map_file, sandbox
from edgekit.importers._tensorflow import Imported, Request
from edgekit.importers.base import ImportOptions, model_name

EXTRA = "torch"


@dataclass(frozen=True)
class TorchRequest(Request):
    """What the child is asked to do, with what only PyTorch sources have.

    Attributes:
        task: What a Hugging Face model is for.
        sequence_length: How many tokens it takes.
    """

    task: str | None = None
    sequence_length: int | None = None


def require_torch(purpose: str, *more: str) -> None:
    """See that PyTorch and its converter are installed, without importing them.

    Args:
        purpose: What they are needed for: "import PyTorch models".
        more: Further modules that are needed.

    Raises:
        MissingToolError: They are not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "litert_torch", *more)):
        raise MissingToolError.for_extra(EXTRA, purpose)


def import_in_child(
    format_: str, function: str, source: str, options: ImportOptions, **of_request: object
) -> Model:
    """Convert the source in the child process, and make the Model here.

    Args:
        format_: Name in reports.
        function: "module:name" of the function in the child.
        source: A file or folder.
        options: How to import.
        of_request: Further fields of ``TorchRequest``.

    Raises:
        EdgekitError: The source cannot be read, converted, or does not compute the same.
    """
    box = sandbox()
    box.start(function.partition(":")[0])  # imports take seconds: the file is hashed meanwhile
    path = Path(source)
    sha256 = _sha256(path) if path.is_file() else None
    out = box.new_path(".tflite")
    request = TorchRequest(source, str(Path.cwd()), str(out), options.signature,
                           dict(options.input_shapes), options.data, **of_request)  # type: ignore[arg-type]
    try:
        imported: Imported = box.call(function, f"importing {source}", request=request)
        data = map_file(out)  # stays readable when its name is gone
    finally:
        out.unlink(missing_ok=True)
    return Model(
        data=data,
        name=model_name(source, options),
        provenance=Provenance(format_, path.resolve().name, sha256, imported.notes,
                              imported.parity),
        descriptions=options.descriptions,
        labels=options.labels,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
