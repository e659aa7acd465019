"""What the importers that need TensorFlow share; TensorFlow itself runs in the child process."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.core.description import InputDescription
from edgekit.core.errors import MissingToolError
from edgekit.core.extras import EXTRAS
from edgekit.core.model import Model, Parity, Provenance
from edgekit.core.sandbox import map_file, sandbox
from edgekit.importers.base import ImportOptions, model_name

EXTRA = "tensorflow"
_WORKER = "edgekit.importers._tensorflow_worker"


@dataclass(frozen=True)
class Request:
    """What the child is asked to do.

    Attributes:
        source: As the user wrote it.
        folder: The folder that relative paths start from.
        out: Where the .tflite goes.
    """

    source: str
    folder: str
    out: str
    signature: str | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    data: str | None = None
    input_layout: str | None = None
    task: str | None = None
    sequence_length: int | None = None


@dataclass(frozen=True)
class Imported:
    """What the child answers, beside the file.

    Attributes:
        layouts: The layout of inputs that were changed, by name.
    """

    notes: tuple[str, ...]
    parity: tuple[Parity, ...]
    layouts: Mapping[str, str] = field(default_factory=dict)


def require_tensorflow(purpose: str, extra: str = EXTRA) -> None:
    """See that TensorFlow, and what else the extra holds, is installed, without importing it.

    Args:
        purpose: What it is needed for: "import Keras models".
        extra: The extra that it takes.

    Raises:
        MissingToolError: It is not.
    """
    if not EXTRAS[extra].is_installed:
        raise MissingToolError.for_extra(extra, purpose)


def import_in_child(
    format_: str, function: str, source: str, options: ImportOptions, worker: str = _WORKER
) -> Model:
    """Convert the source in the child process, and make the Model here.

    Args:
        format_: Name in reports.
        function: Name of the function in the worker module.
        source: A file, folder or ``module.py:function``.
        options: How to import.
        worker: The module that has the function.

    Raises:
        EdgekitError: The source cannot be read, converted, or does not compute the same.
    """
    box = sandbox()
    box.start(worker)  # TensorFlow takes seconds to import: the file is hashed meanwhile
    path = Path(source)
    sha256 = _sha256(path) if path.is_file() else None
    out = box.new_path(".tflite")
    request = Request(source, str(Path.cwd()), str(out), options.signature,
                      dict(options.input_shapes), options.data, options.input_layout,
                      options.task, options.sequence_length)
    try:
        imported: Imported = box.call(f"{worker}:{function}", f"importing {source}",
                                      request=request)
        data = map_file(out)  # stays readable when its name is gone
    finally:
        out.unlink(missing_ok=True)
    return Model(
        data=data,
        name=model_name(source, options),
        provenance=Provenance(format_, path.name or path.resolve().name, sha256,
                              imported.notes, imported.parity),
        descriptions=_described(options.descriptions, imported.layouts),
        labels=options.labels,
    )


def _described(
    given: Mapping[str, InputDescription], layouts: Mapping[str, str]
) -> dict[str, InputDescription]:
    """The user's descriptions, with the layouts that the import gave to inputs."""
    changed = {name: given.get(name, InputDescription()).model_copy(update={"layout": layout})
               for name, layout in layouts.items()}
    return {**given, **changed}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
