"""What a build is going to do, with everything that can be wrong found before it starts.

Nothing heavy is imported and no model is run here: names, files, headers and settings only.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from edgekit.core.description import InputDescription
from edgekit.core.errors import EdgekitError, MissingToolError, PlanError, did_you_mean
from edgekit.core.extras import EXTRAS
from edgekit.core.files import unwritable
from edgekit.core.graph import read_graph
from edgekit.core.model import Model, precision_of
from edgekit.core.project import Project, TargetTable, read_labels, resolve_target
from edgekit.core.recipe import Recipe, StepSpec, load_recipe
from edgekit.core.sandbox import map_file
from edgekit.core.target import Target
from edgekit.importers import ImportOptions, check_options, find_importer
from edgekit.packagers import PACKAGERS
from edgekit.report.regression import Gates
from edgekit.steps import PlannedStep, plan_step

METRICS = ("accuracy", "mse", "cosine", "top1_agreement")
DEVICES = ("none", "host")

Data = str | Path | Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class BuildRequest:
    """What the user asked for; the fields are the options of ``edgekit build``.

    Attributes:
        source: A file, folder, ``module.py:function``, or an imported Model.
        targets: Names, files, or Targets.
        recipe: Name or file for all targets; None lets each target choose.
        default_recipe: The project's, for targets whose table names none.
        data: Calibration samples.
        evaluation: Samples that quality is measured on; ``data`` is not a stand-in.
        max_drop: Largest loss of quality: percentage points or per cent, see ``Metric.drop``.
        device: ``host`` profiles on this machine, ``none`` does not profile.
        gates: ``--baseline`` and ``--fail-on``.
        report: ``none`` leaves out deflate figures, profiling and report files.
    """

    source: str | Model
    targets: tuple[str | Target, ...]
    recipe: str | Recipe | None = None
    default_recipe: Recipe | None = None
    out: Path = Path("dist")
    data: Data | None = None
    evaluation: Data | None = None
    metric: str | None = None
    max_drop: float | None = None
    signature: str | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    input_layout: str | None = None
    onnx_importer: str = "edgekit"
    task: str | None = None
    sequence_length: int | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()
    descriptions: Mapping[str, InputDescription] = field(default_factory=dict)
    target_tables: Mapping[str, TargetTable] = field(default_factory=dict)
    device: str = "host"
    threads: int = 1
    runs: int | None = None
    strict: bool = False
    accept_estimates: bool = False
    keep_names: bool = False
    gates: Gates | None = None
    report: str = "full"


@dataclass(frozen=True)
class TargetPlan:
    """One target and the steps for it."""

    target: Target
    recipe: Recipe
    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True)
class BuildPlan:
    """A request that is known to make sense as far as files and headers tell."""

    request: BuildRequest
    targets: tuple[TargetPlan, ...]
    import_options: ImportOptions


class _Problems:
    """Collects errors instead of stopping at the first."""

    def __init__(self) -> None:
        self.found: list[EdgekitError] = []

    def attempt(self, function: Callable[[], T]) -> T | None:
        """What the function returns, or None when it raised."""
        try:
            return function()
        except PlanError as error:
            self.found += error.problems
        except EdgekitError as error:
            self.found.append(error)
        return None

    def raise_if_any(self) -> None:
        """One error for all of them."""
        if self.found:
            raise PlanError(self.found)


def plan_build(request: BuildRequest) -> BuildPlan:
    """Check a request as a whole.

    Raises:
        PlanError: Everything that is wrong with it.
    """
    problems = _Problems()
    problems.attempt(lambda: _check_source(request))
    problems.attempt(lambda: _check_place(request.out))
    problems.attempt(lambda: _check_data(request.data, "--data"))
    problems.attempt(lambda: _check_data(request.evaluation, "--eval"))
    problems.attempt(lambda: _check_metric(request))
    problems.attempt(lambda: _check_settings(request))
    if not request.targets:
        problems.found.append(EdgekitError("no target was given", "--target NAME; "
                                           "'edgekit targets list' shows them all"))
    planned = [problems.attempt(lambda n=name: _plan_target(request, n))  # type: ignore[misc]
               for name in request.targets]
    problems.raise_if_any()
    targets = tuple(plan for plan in planned if plan is not None)
    names = [plan.target.name for plan in targets]
    if len(set(names)) < len(names):
        raise EdgekitError(f"two of the targets have the same name: {', '.join(names)}")
    return BuildPlan(request, targets, _import_options(request))


def _check_source(request: BuildRequest) -> None:
    if isinstance(request.source, Model):
        return
    importer = find_importer(request.source)
    if importer.extra is not None and not EXTRAS[importer.extra].is_installed:
        raise MissingToolError.for_extra(importer.extra, f"import {importer.form}")
    check_options(importer, request.source, _import_options(request))


def _check_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise EdgekitError(f"{out} is a file, not a folder", "choose another --out")
    nearest = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise unwritable(out, error) from error


def _check_data(given: Data | None, option: str) -> None:
    """That it exists and reads as data; whether it fits the model is seen after the import."""
    from edgekit.core.data import peek

    if given is None:
        return
    try:
        peek(given)
    except EdgekitError as error:
        raise EdgekitError(f"{option}: {error.message}", error.hint) from error


def _check_metric(request: BuildRequest) -> None:
    metric = request.metric
    if metric is not None:
        if ".py:" in metric:
            from edgekit.core.user_code import check_reference

            check_reference(metric)
        elif metric not in METRICS:
            raise EdgekitError(f"unknown metric '{metric}'", did_you_mean(metric, METRICS))
    if request.evaluation is None and (metric is not None or request.max_drop is not None):
        given = "--metric" if metric is not None else "--max-drop"
        raise EdgekitError(f"{given} needs evaluation data", "give it with --eval")


def _check_settings(request: BuildRequest) -> None:
    for name, value, known in (("--device", request.device, DEVICES),
                               ("--report", request.report, ("full", "none"))):
        if value not in known:
            raise EdgekitError(f"unknown {name} '{value}'", did_you_mean(value, known))
    if request.threads < 1:
        raise EdgekitError(f"--threads is at least 1 (got {request.threads})")


def _plan_target(request: BuildRequest, given: str | Target) -> TargetPlan:
    name = given.name if isinstance(given, Target) else given
    table = request.target_tables.get(name, TargetTable())
    target = (resolve_target(name, table) if isinstance(given, str)
              else given.with_budget(table.budget) if table.budget else given)
    for packager in target.package.files:
        if packager not in PACKAGERS:
            raise EdgekitError(f"target '{target.name}' asks for the unknown package '{packager}'",
                               did_you_mean(packager, PACKAGERS))
    recipe = _choose_recipe(request, target, table)
    steps = _plan_steps(recipe, keep_names=request.keep_names)
    if request.data is None and not _is_quantized(request.source):
        for step in steps:
            if step.needs_data:
                raise EdgekitError(
                    f"recipe '{recipe.name}' for target '{target.name}' needs calibration data",
                    "give some with --data: an .npz file, a folder of .npy files, or "
                    "module.py:function",
                )
    return TargetPlan(target, recipe, steps)


def _is_quantized(source: str | Model) -> bool:
    """Whether a source needs no quantization; a damaged file is the importer's to name."""
    if isinstance(source, Model):
        return source.precision != "float"
    if not source.endswith(".tflite"):
        return False
    try:
        return precision_of(read_graph(map_file(Path(source)), source)) != "float"
    except EdgekitError:
        return False


def _choose_recipe(request: BuildRequest, target: Target, table: TargetTable) -> Recipe:
    """The command line's, else the target table's, the project's, the target's own choice."""
    if isinstance(request.recipe, Recipe):
        return request.recipe
    if request.recipe is not None:
        return load_recipe(request.recipe)
    if table.recipe is not None:
        return load_recipe(table.recipe)
    if request.default_recipe is not None:
        return request.default_recipe
    choice = target.recipe
    if request.data is not None:
        return load_recipe(choice.with_data)
    if choice.without_data is None:
        return load_recipe(choice.with_data)  # which asks for data, by name
    return load_recipe(choice.without_data)


def _plan_steps(recipe: Recipe, *, keep_names: bool) -> tuple[PlannedStep, ...]:
    """The recipe's steps in a sound order, with ``strip`` last."""
    steps = [plan_step(spec, f"recipe '{recipe.name}', step {number}")
             for number, spec in enumerate(recipe.steps, 1)]
    for earlier, later in pairwise(steps):
        if later.technique.needs_float and earlier.technique.name in ("quantize", "strip"):
            raise EdgekitError(
                f"recipe '{recipe.name}': '{later.technique.name}' comes after "
                f"'{earlier.technique.name}' and needs a float model",
                "put quantize last, before strip",
            )
    if keep_names:  # the command line's word is the last, also on a recipe's own strip
        steps = [step for step in steps if step.technique.name != "strip"]
    if not any(step.technique.name == "strip" for step in steps):
        steps.append(plan_step(StepSpec("strip", {"keep_names": keep_names}), "strip"))
    return tuple(steps)


def _import_options(request: BuildRequest) -> ImportOptions:
    data = request.data if isinstance(request.data, str | Path) else None
    return ImportOptions(
        signature=request.signature,
        input_shapes=request.input_shapes,
        name=request.name,
        labels=request.labels,
        descriptions=request.descriptions,
        data=None if data is None else str(data),
        input_layout=request.input_layout,
        onnx_importer=request.onnx_importer,
        task=request.task,
        sequence_length=request.sequence_length,
    )


def request_from_project(project: Project, **given: Any) -> BuildRequest:  # noqa: ANN401
    """A request from ``edgekit.toml``, where the command line's options win.

    Args:
        project: The parsed file.
        given: Fields of BuildRequest that were given on the command line.

    Raises:
        EdgekitError: The labels cannot be read.
    """
    model, data = project.model, project.data
    fields: dict[str, Any] = {
        "source": model.path,
        "targets": tuple(project.targets),
        "default_recipe": project.recipe,
        "data": data.calibration,
        "evaluation": data.evaluation,
        "metric": data.metric,
        "max_drop": data.max_drop,
        "signature": model.signature,
        "input_shapes": model.input_shape,
        "input_layout": model.input_layout,
        "task": model.task,
        "sequence_length": model.sequence_length,
        "name": model.name,
        "labels": read_labels(model.labels) if model.labels else (),
        "descriptions": model.input,
        "target_tables": project.targets,
    }
    return BuildRequest(**{**fields, **given})
