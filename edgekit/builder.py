"""The main job: ``source → importer → Model → steps → measurements → verdicts → bundle``.

The only orchestrator. Nothing downstream writes upstream; targets built together share the steps
that their recipes have in common.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import environment
from edgekit.core.data import Dataset, open_dataset
from edgekit.core.errors import EXIT_MISSED, EXIT_OK, EdgekitError, GuardError
from edgekit.core.fidelity import Fidelity, looks_like_scores
from edgekit.core.files import folder_written_whole
from edgekit.core.macs import total_macs
from edgekit.core.model import Model, TensorSpec
from edgekit.core.recipe import Recipe
from edgekit.core.results import Bundle, Quality, Stage, StepResult
from edgekit.core.runtime import Metric, compare, evaluate
from edgekit.importers import import_model
from edgekit.packagers import PACKAGERS, PackageRequest
from edgekit.packagers.manifest import FILE_NAME as MANIFEST
from edgekit.packagers.manifest import measure, write_manifest
from edgekit.plan import BuildPlan, BuildRequest, TargetPlan, plan_build
from edgekit.report.json import Findings, dump
from edgekit.steps import PlannedStep, StepContext
from edgekit.steps.base import Agreement
from edgekit.verdicts import (
    Profile,
    conclude,
    file_size,
    judge_target,
    profile_model,
    refuse_unrunnable,
)

# Outputs are compared on a few samples after each step: enough to see a miscomputed operator, few
# enough to cost less than the step. Large models and large outputs get fewer.
_GUARD_SAMPLES = (2, 32)
# One costly sample is enough where its outputs have so many values: no operator hides in them.
_TELLING_VALUES = 1000
_GUARD_MACS = 100_000_000
_GUARD_BYTES = 64_000_000

Progress = Callable[[str], None]

# What happens to a model that is quantized already, whatever the target's recipe says.
_AS_IT_IS = Recipe("as-it-is")


@dataclass(frozen=True)
class _Staged:
    """A model after a step, and the stage's row of the report.

    ``deflated`` is being computed in another thread: zlib level 9 takes seconds per 10 MB.
    """

    model: Model
    stage: Stage
    deflated: Future[int] | None

    def row(self) -> Stage:
        """The stage with its deflated size filled in."""
        if self.deflated is None:
            return self.stage
        return replace(self.stage, deflate_bytes=self.deflated.result())


class _Build:
    """One run: what the targets have in common, computed once."""

    def __init__(self, plan: BuildPlan, progress: Progress) -> None:
        self.plan = plan
        self.request = plan.request
        self.progress = progress
        self._cache: dict[tuple[Any, ...], list[_Staged]] = {}
        self.data: Dataset | None = None
        self.evaluation: Dataset | None = None
        self.metric: Metric | None = None
        self.source: Model
        self.start: _Staged

    def prepare(self) -> None:
        """Import, and hold the data against the signature."""
        began = time.monotonic()
        given = self.request.source
        if isinstance(given, Model):
            self.source = given
        else:
            self.progress(f"importing {given}")
            self.source = import_model(given, self.plan.import_options)
        self._check_labels()
        self._check_places()
        specs = self.source.inputs
        if self.request.data is not None:
            self.data = open_dataset(self.request.data, specs)
        if self.request.evaluation is not None:
            self.evaluation = open_dataset(self.request.evaluation, specs)
            self.metric = _metric(self.request, self.source, self.evaluation)
        self._check_steps()
        quality = self._quality(self.source, None)
        self.start = self._stage(
            self.source, "import", self.source.provenance.format,
            StepResult(self.source, "", notes=self._import_notes()),
            quality, None, time.monotonic() - began,
        )  # fmt: skip

    def _import_notes(self) -> tuple[str, ...]:
        notes = self.source.provenance.notes
        if self.source.precision == "float":
            return notes
        return (*notes, f"quantized already ({self.source.precision}): packaged as it is")

    def _check_labels(self) -> None:
        """A list of another length would name the wrong classes."""
        scores = [spec for spec in self.source.outputs if looks_like_scores(spec.shape)]
        count = len(self.source.labels)
        if count and len(self.source.outputs) == len(scores) == 1 and scores[0].shape[1] != count:
            raise EdgekitError(
                f"there are {count} labels, and output '{scores[0].name}' has "
                f"{scores[0].shape[1]} classes", "one class name per line, in the output's order",
            )

    def _check_places(self) -> None:
        """Only a bundle is replaced by a bundle."""
        for target in self.plan.targets:
            folder = self._folder(target)
            if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
                raise EdgekitError(f"{folder} is there and is not a bundle; it is not replaced",
                                   "choose another --out, or move it away")

    def _folder(self, target: TargetPlan) -> Path:
        return self.request.out / self.source.name / target.target.name

    def _check_steps(self) -> None:
        """An already quantized model is packaged as it is, not quantized twice."""
        for target in self.plan.targets:
            for step in target.steps:
                if step.technique.needs_float and self.source.precision != "float" and (
                        self.request.recipe is not None):
                    raise EdgekitError(
                        f"{self.source.name} is quantized already ({self.source.precision}); "
                        f"'{step.technique.name}' needs a float model",
                        "leave --recipe out to check and package it as it is, or give the float "
                        "source",
                    )

    def stages_for(self, target: TargetPlan) -> list[_Staged]:
        """Stage 0 and one stage per step; shared prefixes are computed once."""
        stages = [self.start]
        key: tuple[Any, ...] = ()
        integer_only = target.target.integer_only
        for step in target.steps:
            if step.technique.needs_float and self.source.precision != "float":
                continue
            key = (*key, (step.technique.name, step.settings, repr(step.rules), integer_only))
            if key not in self._cache:
                self._cache[key] = [self._apply(step, stages, target)]
            stages += self._cache[key]
        return stages

    def _apply(self, step: PlannedStep, stages: Sequence[_Staged], target: TargetPlan) -> _Staged:
        before = stages[-1].model
        self.progress(f"{step.technique.name} ({before.name})")
        began = time.monotonic()
        context = StepContext(self.data, target.target.integer_only, target.recipe.seed, step.rules)
        result = step.technique.run(before, step.settings, context)
        if result.model is before:
            fidelity, quality = stages[-1].stage.fidelity, stages[-1].stage.quality
        else:
            result, fidelity = self._guard(step, before, result, context, stages[-1])
            unchanged = result.model is before or step.technique.name == "strip"
            quality = stages[-1].stage.quality if unchanged else self._quality(
                result.model, stages[0].stage.quality)
        kind = getattr(step.settings, "scheme", step.technique.name)
        return self._stage(result.model, step.technique.name, kind, result, quality, fidelity,
                           time.monotonic() - began)

    def _guard(
        self, step: PlannedStep, before: Model, result: StepResult, context: StepContext,
        previous: _Staged,
    ) -> tuple[StepResult, Fidelity | None]:  # fmt: skip
        """Run the result from its file; the technique judges what came out."""
        limit = _guard_samples(self.source)
        exact, micro = step.technique.bit_exact, context.integer_only
        try:
            against_previous = compare(before, result.model, self.data, limit,
                                       same_kernels=exact, reference_kernels=micro)
        except EdgekitError as error:
            notes = "; ".join(result.notes)
            raise GuardError(
                f"after '{step.technique.name}' the model does not run any more: {error.message}"
                + (f" ({notes})" if notes else ""),
                "try another scheme (--recipe dynamic-int8 or float16), or skip the layer it names",
            ) from error
        if not against_previous.finite:
            raise GuardError(
                f"the outputs of {before.name} are NaN or infinite on "
                + ("the data" if self.data is not None else "random inputs"),
                "look for NaN weights in the source model, and for the right preprocessing",
            )
        if before is self.source:
            against_source = against_previous
        elif against_previous.max_abs == 0.0 and previous.stage.fidelity is not None:
            against_source = previous.stage.fidelity
        else:
            against_source = compare(self.source, result.model, self.data, limit,
                                     same_kernels=exact, reference_kernels=micro)
        agreement = Agreement(against_source, against_previous, self.data is not None)
        judged = step.technique.guard(before, result, agreement, step.settings, context)
        kept = judged.model is not result.model
        return judged, previous.stage.fidelity if kept else against_source

    def _quality(self, model: Model, baseline: Quality | None) -> Quality | None:
        if self.evaluation is None or self.metric is None:
            return None
        self.progress(f"evaluating {self.metric.name} on {self.evaluation.name}")
        value = evaluate(self.source, model, self.evaluation, self.metric)
        drop = 0.0 if baseline is None else self.metric.drop(baseline.value, value)
        return Quality(self.metric.name, value, drop)

    def _stage(
        self, model: Model, name: str, kind: str, result: StepResult, quality: Quality | None,
        fidelity: Fidelity | None, seconds: float,
    ) -> _Staged:  # fmt: skip
        stage = Stage(
            name=name, kind=kind, bytes=len(model.data), deflate_bytes=None, dtype_bytes={},
            parameters=model.parameters, sparsity=0.0,
            quality=quality, fidelity=fidelity, seconds=seconds,
            changed=result.changed, skipped=result.skipped, notes=result.notes,
        )  # fmt: skip
        if self.request.report == "none":
            return _Staged(model, stage, None)
        from edgekit.profilers.size import deflated, dtype_bytes, sparsity_of

        stage = replace(stage, dtype_bytes=dtype_bytes(model.graph),
                        sparsity=sparsity_of(model.graph))
        return _Staged(model, stage, deflated(model))

    def bundle(self, target: TargetPlan) -> Bundle:
        """Steps, measurements, verdicts and files for one target."""
        staged = self.stages_for(target)
        final = staged[-1].model
        refuse_unrunnable(final, target.target, [stage.stage for stage in staged])
        rows = [stage.row() for stage in staged]  # compression ends before anything is timed
        profile = Profile((file_size(final),))
        if self.request.report != "none":
            self.progress(f"profiling for {target.target.name}")
            profile = profile_model(final, _before_strip(staged), target.target, self.request)
        folder = self._folder(target)
        self.progress(f"writing {folder}")
        with folder_written_whole(folder) as temporary:
            return self._write(temporary, folder, target, staged, rows, profile)

    def _write(
        self, temporary: Path, folder: Path, target: TargetPlan, staged: Sequence[_Staged],
        rows: Sequence[Stage], profile: Profile,
    ) -> Bundle:  # fmt: skip
        final = staged[-1].model
        floats = [s.model for s in staged if s.model.precision == "float"]
        recipe = target.recipe if self.source.precision == "float" else _AS_IT_IS
        request = PackageRequest(final, floats[-1] if floats else None, target.target)
        files = [file for name in target.target.package.files
                 for file in PACKAGERS[name].package(request, temporary)]
        artifacts = measure(temporary, files, deflate=self.request.report != "none")
        write_manifest(temporary, artifacts, final, target.target, recipe)
        verdicts = judge_target(target.target, profile, artifacts, rows, self.request)
        document, exceeded = conclude(Findings(
            source=self.source, source_macs=total_macs(self.source.graph),
            target=target.target, recipe=recipe, stages=rows, layers=profile.layers,
            measurements=profile.measurements, series=profile.series,
            conditions=profile.conditions, verdicts=verdicts, artifacts=artifacts,
            environment=environment.describe(),
        ), self.request)  # fmt: skip
        if self.request.report == "none":
            (temporary / "report.json").write_text(dump(document), "utf-8")
        else:
            from edgekit.report.render import write_reports

            write_reports(document, temporary)
        return Bundle(folder, document, EXIT_OK if document["ok"] else EXIT_MISSED, exceeded)


def build(request: BuildRequest, progress: Progress = lambda _message: None) -> list[Bundle]:
    """Do the whole job.

    Args:
        request: What to build.
        progress: Told what is being done, in a few words.

    Returns:
        One bundle per target, in the order asked for.

    Raises:
        PlanError: The request does not make sense; nothing was started.
        EdgekitError: A step failed; no bundle was touched for the targets not yet built.
    """
    plan = plan_build(request)
    job = _Build(plan, progress)
    job.prepare()
    return [job.bundle(target) for target in plan.targets]


def _metric(request: BuildRequest, source: Model, evaluation: Dataset) -> Metric:
    """The metric asked for; without one, accuracy with labels and agreement without."""
    if request.metric is not None:
        metric = Metric(request.metric)
    elif evaluation.has_labels:
        metric = Metric("accuracy")
    else:
        scores = any(looks_like_scores(spec.shape) for spec in source.outputs)
        metric = Metric("top1_agreement" if scores else "cosine")
    if metric.needs_labels and evaluation.has_labels is False:
        raise EdgekitError(f"metric '{metric.name}' needs labels; {evaluation.name} has no 'y'",
                           "add them, or use --metric cosine")
    if metric.name == "top1_agreement" and not any(
            looks_like_scores(spec.shape) for spec in source.outputs):
        raise EdgekitError("metric 'top1_agreement' needs an output of shape [1, classes]",
                           "use --metric cosine")
    return metric


def _guard_samples(model: Model) -> int:
    fewest, most = _GUARD_SAMPLES
    if _values(model.outputs) >= _TELLING_VALUES:
        fewest = 1
    macs = max(total_macs(model.graph) or _GUARD_MACS, 1)
    held = 4 * _values((*model.inputs, *model.outputs))
    return max(fewest, min(most, _GUARD_MACS // macs, _GUARD_BYTES // max(held, 1)))


def _values(specs: Sequence[TensorSpec]) -> int:
    return sum(math.prod(abs(size) for size in spec.shape) for spec in specs)


def _before_strip(staged: Sequence[_Staged]) -> Model:
    """The last model that still has its layers' names."""
    for stage in reversed(staged):
        if stage.stage.name != "strip":
            return stage.model
    return staged[0].model


