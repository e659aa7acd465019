"""What an importer is, and what they share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgekit.core.description import InputDescription
from edgekit.core.model import Model

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ImportOptions:
    """How to import.

    Attributes:
        signature: Which signature, where the source has several.
        input_shapes: Fixed shapes by input name, for open dimensions.
        name: The model's name; by default that of the file or function.
        labels: Class names.
        descriptions: How each input is prepared, by input name.
        data: ``--data``, for the parity check; random inputs without it.
        input_layout: "nhwc" gives picture inputs of ONNX files their channels last.
        onnx_importer: "edgekit", or "onnx2tf".
        task: What a Hugging Face model is for: "text-classification".
        sequence_length: The number of tokens that a Hugging Face model takes.
    """

    signature: str | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    name: str | None = None
    labels: tuple[str, ...] = ()
    descriptions: Mapping[str, InputDescription] = field(default_factory=dict)
    data: str | None = None
    input_layout: str | None = None
    onnx_importer: str = "edgekit"
    task: str | None = None
    sequence_length: int | None = None


class Importer(Protocol):
    """One kind of source."""

    @property
    def format(self) -> str:
        """Name in reports."""

    @property
    def form(self) -> str:
        """How to say what it reads, in an error message."""

    @property
    def extra(self) -> str | None:
        """The optional dependencies that it needs, or None."""

    def recognises(self, source: str) -> bool:
        """Whether this importer reads the source; looks at names and first bytes only."""

    def load(self, source: str, options: ImportOptions) -> Model:
        """Read it.

        Raises:
            EdgekitError: It cannot be read, or its import does not hold.
        """


def model_name(source: str, options: ImportOptions) -> str:
    """A name that is safe as a folder: letters, digits, dots, dashes, underscores."""
    if options.name:
        stem = options.name
    elif ".py:" in source:
        stem = source.rpartition(":")[2]
    else:
        stem = Path(source).resolve().name
        stem = re.sub(r"\.(tflite|keras|h5|hdf5|onnx|pt2|pt|pth|jit)$", "", stem)
    return _UNSAFE.sub("_", stem).strip("._") or "model"
