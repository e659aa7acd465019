"""``manifest.json``: what is in a bundle, with hashes.

It covers the deliverables only, never ``report.*`` or itself, and holds no paths outside the bundle
and no times: the same inputs give the same bytes.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from edgekit import __version__
from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model, TensorSpec
from edgekit.core.recipe import Recipe
from edgekit.core.results import Artifact
from edgekit.core.target import Target
from edgekit.core.validation import Strict, parse
from edgekit.packagers.base import PackagedFile

FILE_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 10_000_000
_CHUNK_BYTES = 1 << 20


class FileEntry(Strict):
    """One deliverable."""

    path: str
    kind: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class TensorEntry(Strict):
    """One input or output of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    layout: str | None = None


class ModelEntry(Strict):
    """The model in the bundle; ``sha256`` is of its flatbuffer, without what was added to it."""

    name: str
    sha256: str
    precision: str
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    labels: int = Field(ge=0)


class RecipeEntry(Strict):
    """The recipe that made it."""

    name: str
    seed: int


class Manifest(Strict):
    """The whole file."""

    manifest_version: Literal[1]
    edgekit_version: str
    model: ModelEntry
    recipe: RecipeEntry
    target: str
    files: tuple[FileEntry, ...]


def measure(
    folder: Path, files: Sequence[PackagedFile], *, deflate: bool
) -> tuple[Artifact, ...]:
    """Sizes and hashes of what the packagers wrote, in their order.

    Args:
        folder: The bundle's folder.
        files: What the packagers said they wrote.
        deflate: Whether to compress, too; sources in C are never downloaded and never are.

    Raises:
        OSError: A file cannot be read.
    """
    return tuple(_measure(folder, file, deflate=deflate and file.kind != "c") for file in files)


def write_manifest(
    folder: Path, artifacts: Sequence[Artifact], model: Model, target: Target, recipe: Recipe
) -> None:
    """Write ``manifest.json``.

    Args:
        folder: The bundle's folder.
        artifacts: What ``measure`` gave for the deliverables.
        model: The final Model.
        target: What the bundle is for.
        recipe: What made it.

    Raises:
        EdgekitError: A path that is not a deliverable's, or given twice.
        OSError: The manifest cannot be written.
    """
    manifest = Manifest(
        manifest_version=1,
        edgekit_version=__version__,
        model=ModelEntry(
            name=model.name, sha256=model.sha256, precision=model.precision,
            inputs=tuple(_input(spec, model) for spec in model.inputs),
            outputs=tuple(_tensor(spec) for spec in model.outputs),
            labels=len(model.labels),
        ),
        recipe=RecipeEntry(name=recipe.name, seed=recipe.seed),
        target=target.name,
        files=tuple(FileEntry(path=a.path, kind=a.kind, bytes=a.bytes, sha256=a.sha256)
                    for a in sorted(artifacts, key=lambda artifact: artifact.path)),
    )  # fmt: skip
    _check_paths(manifest)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True,
                      ensure_ascii=False, allow_nan=False)
    (folder / FILE_NAME).write_bytes(f"{text}\n".encode())


def _measure(folder: Path, file: PackagedFile, *, deflate: bool) -> Artifact:
    size, digest, compressor, deflated = 0, hashlib.sha256(), zlib.compressobj(9), 0
    with (folder / file.path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            digest.update(chunk)
            if deflate:
                deflated += len(compressor.compress(chunk))
    whole = deflated + len(compressor.flush()) if deflate else None
    return Artifact(file.path, file.kind, size, whole, digest.hexdigest())


def _tensor(spec: TensorSpec) -> TensorEntry:
    scale = spec.scale if spec.scale is not None and math.isfinite(spec.scale) else None
    return TensorEntry(name=spec.name, shape=spec.shape, dtype=spec.dtype, scale=scale,
                       zero_point=spec.zero_point)


def _input(spec: TensorSpec, model: Model) -> TensorEntry:
    """An input, with the order of its axes where that was said or chosen."""
    description = model.descriptions.get(spec.name)
    layout = description.layout if description is not None else None
    return _tensor(spec).model_copy(update={"layout": layout})


def _check_paths(manifest: Manifest) -> None:
    """Refuse paths that leave the bundle, name what is not a deliverable, or come twice."""
    seen: set[str] = set()
    for entry in manifest.files:
        path = PurePosixPath(entry.path)
        plain = entry.path.isprintable() and not set(entry.path) & {"\\", ":"}
        if not plain or path.is_absolute() or ".." in path.parts or str(path) != entry.path:
            raise EdgekitError(f"the manifest names the unsafe path {entry.path!r}",
                               "paths in a manifest stay inside its folder")
        if entry.path in (".", FILE_NAME) or entry.path.startswith("report."):
            raise EdgekitError(f"the manifest names '{entry.path}', which is not a deliverable")
        if entry.path in seen:
            raise EdgekitError(f"the manifest names '{entry.path}' twice")
        seen.add(entry.path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a bundle's manifest; it is untrusted.

    Returns:
        The document, with the fields of ``Manifest``.

    Raises:
        EdgekitError: There is none, it is not a manifest, or it has paths that leave the folder.
    """
    return _read(folder).model_dump(mode="json")


def _read(folder: Path) -> Manifest:
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise EdgekitError(f"{path} is too large to be a manifest")
        raw = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise EdgekitError(f"{folder} is not a bundle: it has no {FILE_NAME}",
                           "give the folder that 'edgekit build' wrote") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EdgekitError(f"{path} cannot be read: {error}") from error
    manifest = parse(Manifest, raw, str(path))
    _check_paths(manifest)
    return manifest


def verify_manifest(folder: Path) -> dict[str, Any]:
    """Hold every file of a bundle against its manifest, and return the manifest.

    Raises:
        EdgekitError: The first file that is missing, lies elsewhere through a link, or is not
            the one that was built.
    """
    manifest = _read(folder)
    home = folder.resolve()
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            raise EdgekitError(f"'{entry.path}' is missing from {folder}", "build the bundle again")
        if not path.resolve().is_relative_to(home):
            raise EdgekitError(f"'{entry.path}' in {folder} is a link that leads out of it")
        size = path.stat().st_size
        if size != entry.bytes:
            raise _changed(folder, entry, f"it has {size} bytes, the manifest says {entry.bytes}")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != entry.sha256:
            raise _changed(folder, entry, f"its sha256 is {digest}, the manifest says "
                                          f"{entry.sha256}")
    return manifest.model_dump(mode="json")


def _changed(folder: Path, entry: FileEntry, how: str) -> EdgekitError:
    return EdgekitError(f"'{entry.path}' in {folder} is not the file that was built: {how}",
                        "build the bundle again, or copy it again")
