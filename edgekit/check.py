"""Measuring and judging a model as it is: what ``inspect``, ``profile`` and ``check`` share."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import environment
from edgekit.core.errors import EXIT_MISSED, EXIT_OK, EdgekitError
from edgekit.core.macs import total_macs
from edgekit.core.model import Model
from edgekit.core.results import Artifact, Stage
from edgekit.core.target import Target
from edgekit.importers import ImportOptions, import_model
from edgekit.packagers.manifest import FILE_NAME as MANIFEST
from edgekit.packagers.manifest import verify_manifest
from edgekit.plan import BuildRequest
from edgekit.profilers.size import deflate_bytes, dtype_bytes, sparsity_of
from edgekit.report.json import Findings, make_document
from edgekit.verdicts import conclude, judge_target, profile_model, refuse_unrunnable

_PLACES_TO_LOOK = 200


@dataclass(frozen=True)
class Checked:
    """A report document, the exit status that it means, and the gates that it does not pass."""

    document: dict[str, Any]
    exit_code: int
    regressions: tuple[str, ...] = ()


def examine(model: Model, target: Target | None, request: BuildRequest) -> Checked:
    """Measure a model as it is and hold it against a target's budgets.

    Args:
        model: The model; it is not changed.
        target: What to judge it for; None judges nothing.
        request: Device, threads, runs, strictness.

    Raises:
        EdgekitError: The target cannot run it, or it cannot be run here.
    """
    stage = _stage(model)
    if target is not None:
        refuse_unrunnable(model, target, [stage])
    profile = profile_model(model, model, target, request)
    artifact = Artifact(f"{model.name}.tflite", "model", len(model.data),
                        stage.deflate_bytes or 0, hashlib.sha256(model.data).hexdigest())
    verdicts = ([] if target is None
                else judge_target(target, profile, [artifact], [stage], request))
    document, exceeded = conclude(Findings(
        source=model, source_macs=total_macs(model.graph), target=target, stages=[stage],
        layers=profile.layers, measurements=profile.measurements, series=profile.series,
        conditions=profile.conditions, verdicts=verdicts,
        environment=environment.describe(),
    ), request)  # fmt: skip
    return Checked(document, EXIT_OK if document["ok"] else EXIT_MISSED, exceeded)


def describe(model: Model, target: Target | None) -> dict[str, Any]:
    """The report document of a model that is only looked at: nothing runs, nothing is judged."""
    profile = profile_model(model, model, target, BuildRequest(model, (), device="none"))
    return make_document(Findings(
        source=model, source_macs=total_macs(model.graph), target=target, stages=[_stage(model)],
        layers=profile.layers, measurements=profile.measurements, series=profile.series,
        environment=environment.describe(),
    ))  # fmt: skip


def _stage(model: Model) -> Stage:
    return Stage(
        name="as it is", kind=model.provenance.format, bytes=len(model.data),
        deflate_bytes=deflate_bytes(model.data), dtype_bytes=dtype_bytes(model.graph),
        parameters=model.parameters, sparsity=sparsity_of(model.graph), quality=None,
        fidelity=None, seconds=0.0, notes=model.provenance.notes,
    )  # fmt: skip


def open_deliverable(path: str) -> Model:
    """The model of a ``.tflite`` or of a bundle, whose hashes are verified first.

    Raises:
        EdgekitError: Neither, or a file of the bundle is not what its manifest says.
    """
    place = Path(path)
    if not place.exists():
        raise EdgekitError(f"{path} does not exist", "give a .tflite file or a bundle's folder")
    if place.is_dir():
        return _model_of_bundle(place)
    if place.suffix != ".tflite":
        raise EdgekitError(f"{path} is neither a .tflite file nor a bundle",
                           "other packages (.apk, .aab, .ipa …) cannot be checked yet")
    return import_model(path, ImportOptions())


def _model_of_bundle(folder: Path) -> Model:
    if not (folder / MANIFEST).is_file():
        nested = sorted(found.parent for found in folder.glob(f"*/{MANIFEST}"))
        nested += sorted(found.parent for found in folder.glob(f"*/*/{MANIFEST}"))
        hint = ", ".join(map(str, nested[:5])) or "a bundle is made by 'edgekit build'"
        raise EdgekitError(f"{folder} is not a bundle: it has no {MANIFEST}", hint)
    manifest = verify_manifest(folder)
    model = next((row for row in manifest["files"] if row["kind"] == "model"), None)
    if model is None:
        raise EdgekitError(f"{folder}'s manifest lists no model")
    options = ImportOptions(name=str(manifest["model"]["name"]))
    return import_model(str(folder / model["path"]), options)
