"""What a packager is: a kind of deliverable, written from the finished Model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgekit.core.model import Model
from edgekit.core.target import Target


@dataclass(frozen=True)
class PackageRequest:
    """What there is to package.

    Attributes:
        model: The final Model.
        float_model: The last Model that was float, for formats that quantize by themselves; None
            when the source was quantized already.
        target: What it is for.
        notes: What a reader of the package should know; written where there are comments.
    """

    model: Model
    float_model: Model | None
    target: Target
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackagedFile:
    """A file that a packager wrote.

    Attributes:
        path: Relative to the bundle's folder, with forward slashes.
        kind: ``model`` for the ``.tflite`` to deploy, ``labels``, ``c`` for C and C++ sources,
            ``tokenizer`` and ``preprocessor`` for files that came with the source.
    """

    path: str
    kind: str


class Packager(Protocol):
    """One kind of deliverable.

    Attributes:
        name: As targets have it in ``[package] files``.
    """

    name: str

    def package(self, request: PackageRequest, folder: Path) -> list[PackagedFile]:
        """Write the files.

        Args:
            request: What to package.
            folder: The bundle's folder; it exists.

        Returns:
            What was written: the same request gives the same bytes.

        Raises:
            EdgekitError: This model cannot be packaged so.
            OSError: The folder cannot be written.
        """
