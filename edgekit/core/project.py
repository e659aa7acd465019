"""``edgekit.toml``: what to build, in the same words as the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from edgekit.core.description import InputDescription
from edgekit.core.errors import EdgekitError
from edgekit.core.recipe import Recipe, load_recipe, parse_recipe
from edgekit.core.target import Target, load_target
from edgekit.core.validation import Strict, parse, read_toml

FILE_NAME = "edgekit.toml"
_MAX_LABELS_BYTES = 10_000_000


class ModelTable(Strict):
    """``[model]``: the source and what travels with it."""

    path: str
    name: str | None = None
    signature: str | None = None
    labels: str | None = None
    input: dict[str, InputDescription] = Field(default_factory=dict)
    input_shape: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    input_layout: str | None = None
    task: str | None = None
    sequence_length: int | None = Field(default=None, ge=1)


class DataTable(Strict):
    """``[data]``: calibration, evaluation and what quality means."""

    calibration: str | None = None
    evaluation: str | None = None
    metric: str | None = None
    max_drop: float | None = Field(default=None, ge=0)


class TargetTable(Strict):
    """``[targets.NAME]``: a recipe for this target, and budgets that override its own."""

    file: str | None = None
    recipe: str | None = None
    budget: dict[str, float] = Field(default_factory=dict)


class _File(Strict):
    model: ModelTable
    data: DataTable = DataTable()
    recipe: str | dict[str, Any] | None = None
    targets: dict[str, TargetTable] = Field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A parsed ``edgekit.toml``; its paths are made relative to the file's folder.

    Attributes:
        folder: Where the file is.
        recipe: The recipe for all targets, None to let each target choose.
        targets: Targets by name, in the order of the file.
    """

    folder: Path
    model: ModelTable
    data: DataTable = field(default_factory=DataTable)
    recipe: Recipe | None = None
    targets: Mapping[str, TargetTable] = field(default_factory=dict)


def load_project(path: Path) -> Project:
    """Read ``edgekit.toml``.

    Raises:
        EdgekitError: Missing, not TOML, or with unknown keys (did you mean).
    """
    if not path.is_file():
        raise EdgekitError(
            f"no model was given and there is no {path.name} here",
            "edgekit build MODEL --target NAME, or 'edgekit init' to write one",
        )
    raw = parse(_File, read_toml(path), str(path))
    folder = path.parent
    return Project(
        folder=folder,
        model=raw.model.model_copy(update={
            "path": beside(folder, raw.model.path),
            "labels": raw.model.labels and beside(folder, raw.model.labels),
        }),
        data=raw.data.model_copy(update={
            "calibration": raw.data.calibration and beside(folder, raw.data.calibration),
            "evaluation": raw.data.evaluation and beside(folder, raw.data.evaluation),
            "metric": raw.data.metric and _metric(folder, raw.data.metric),
        }),
        recipe=_recipe(raw.recipe, path),
        targets={name: _target(folder, table) for name, table in raw.targets.items()},
    )  # fmt: skip


def resolve_target(name: str, table: TargetTable) -> Target:
    """A target by name or file, with the project's own budgets in place of the target's.

    Raises:
        EdgekitError: No such target, or a budget that it does not have.
    """
    target = load_target(table.file or name)
    return target.with_budget(table.budget) if table.budget else target


def target_here(name: str) -> tuple[Target, bool]:
    """A target as ``edgekit build`` would see it in this folder.

    Returns:
        The target, and whether ``./edgekit.toml`` has a word in it.

    Raises:
        EdgekitError: No such target, or ``edgekit.toml`` is there and cannot be read.
    """
    path = Path(FILE_NAME)
    tables = load_project(path).targets if path.is_file() else {}
    table = tables.get(name, TargetTable())
    return resolve_target(name, table), bool(table.budget or table.file)


def beside(folder: Path, given: str) -> str:
    """A path of the file, relative to the folder that the file is in."""
    return str(folder / given)


def _metric(folder: Path, given: str) -> str:
    return beside(folder, given) if ".py:" in given else given


def _target(folder: Path, table: TargetTable) -> TargetTable:
    recipe = table.recipe
    if recipe is not None and recipe.endswith(".toml"):
        recipe = beside(folder, recipe)
    return table.model_copy(update={
        "recipe": recipe, "file": table.file and beside(folder, table.file),
    })  # fmt: skip


def _recipe(raw: str | dict[str, Any] | None, path: Path) -> Recipe | None:
    if raw is None:
        return None
    if isinstance(raw, str):
        return load_recipe(beside(path.parent, raw) if raw.endswith(".toml") else raw)
    return parse_recipe(raw, f"{path}, [recipe]", default_name="project")


def read_labels(path: str) -> tuple[str, ...]:
    """Class names, one per line.

    Raises:
        EdgekitError: The file is missing, too large or not UTF-8 text.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _MAX_LABELS_BYTES:
            raise EdgekitError(f"{path} is too large to be a list of labels")
        return tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise EdgekitError(f"cannot read the labels in {path}: {error}") from error
