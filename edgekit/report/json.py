"""The report document: what was found, in the words of ``schema-1.json``.

Every other rendering is a function of this document.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgekit import __version__
from edgekit.core.budget import Verdict
from edgekit.core.fidelity import Fidelity
from edgekit.core.measurement import Measurement, Series
from edgekit.core.model import Model, TensorSpec
from edgekit.core.recipe import Recipe
from edgekit.core.results import Artifact, Stage
from edgekit.core.target import Target

SCHEMA_VERSION = "1.0"
HEAVIEST = 3
_LEAST_SQNR_DB = -300.0  # no float32 output is further off


@dataclass(frozen=True)
class Findings:
    """All that a report is made of.

    Attributes:
        source: Stage 0.
        source_macs: Its multiply-accumulates, None when unknown.
        layers: Of the final model: name, op, dtype, bytes, macs.
        ok: Whether the exit status is 0.
    """

    source: Model
    source_macs: int | None
    target: Target | None = None
    recipe: Recipe | None = None
    stages: Sequence[Stage] = ()
    layers: Sequence[Mapping[str, Any]] = ()
    measurements: Sequence[Measurement] = ()
    series: Sequence[Series] = ()
    conditions: Mapping[str, Any] | None = None
    verdicts: Sequence[Verdict] = ()
    artifacts: Sequence[Artifact] = ()
    environment: Mapping[str, Any] | None = None
    ok: bool = True


def make_document(found: Findings) -> dict[str, Any]:
    """The document; it validates against ``schema-1.json``."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "edgekit_version": __version__,
        "ok": found.ok,
        "model": _model(found.source, found.source_macs),
        "target": _target(found.target),
        "recipe": _recipe(found.recipe),
        "parity": [asdict(row) for row in found.source.provenance.parity],
        "stages": [_stage(stage) for stage in found.stages],
        "layers": [dict(layer) for layer in found.layers],
        "measurements": [asdict(row) for row in found.measurements],
        "series": [asdict(row) for row in found.series],
        "conditions": dict(found.conditions or {}),
        "budgets": [_budget(verdict, found.layers) for verdict in found.verdicts],
        "artifacts": [asdict(row) for row in found.artifacts],
        "environment": dict(found.environment or {}),
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def dump(document: Mapping[str, Any]) -> str:
    """The document as text; floats that JSON lacks have become null."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:  # noqa: ANN401
    """JSON has no infinity: an SQNR of equal outputs is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype,
            "scale": spec.scale, "zero_point": spec.zero_point}


def _model(model: Model, macs: int | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "format": model.provenance.format,
        "sha256": _source_sha256(model),
        "bytes": len(model.data),
        "parameters": model.parameters,
        "macs": macs,
        "precision": model.precision,
        "notes": list(model.provenance.notes),
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
    }


def _source_sha256(model: Model) -> str | None:
    """Of the source, where it is one file; an unchanged .tflite is its own source."""
    if model.provenance.format == "tflite" and model.provenance.sha256 is None:
        return model.sha256
    return model.provenance.sha256


def _target(target: Target | None) -> dict[str, Any] | None:
    if target is None:
        return None
    canonical = json.dumps(target.model_dump(mode="json"), sort_keys=True)
    return {
        "name": target.name,
        "sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "title": target.title,
        "kind": target.kind,
    }


def _recipe(recipe: Recipe | None) -> dict[str, Any] | None:
    if recipe is None:
        return None
    steps = [{"use": spec.use, **spec.settings,
              **({"layer": [_rule(rule) for rule in spec.layers]} if spec.layers else {})}
             for spec in recipe.steps]
    return {"name": recipe.name, "seed": recipe.seed, "steps": steps}


def _rule(rule: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"match": rule.match, **({"skip": True} if rule.skip else {}), **rule.settings}


def _fidelity(fidelity: Fidelity | None) -> dict[str, Any] | None:
    """Null stands for bit-equal alone; an output that is nothing but error gets a number."""
    if fidelity is None:
        return None
    row = asdict(fidelity)
    del row["finite"]  # a build whose outputs are not finite ends before there is a report
    return {**row, "sqnr_db": max(fidelity.sqnr_db, _LEAST_SQNR_DB)}


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "kind": stage.kind,
        "bytes": stage.bytes,
        "deflate_bytes": stage.deflate_bytes,
        "dtype_bytes": dict(stage.dtype_bytes),
        "parameters": stage.parameters,
        "sparsity": stage.sparsity,
        "quality": None if stage.quality is None else asdict(stage.quality),
        "fidelity": _fidelity(stage.fidelity),
        "seconds": round(stage.seconds, 3),
        "changed": stage.changed,
        "notes": list(stage.notes),
        "skipped": [asdict(row) for row in stage.skipped],
    }


def _budget(verdict: Verdict, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": verdict.name,
        "limit": verdict.limit,
        "value": verdict.value,
        "unit": verdict.unit,
        "provenance": verdict.provenance,
        "status": verdict.status,
        "reason": verdict.reason,
        "parts": [asdict(part) for part in verdict.parts],
    }
    if verdict.status == "fail":
        heavy = sorted(layers, key=lambda layer: -int(layer["bytes"]))[:HEAVIEST]
        row["heaviest"] = [str(layer["name"]) for layer in heavy if layer["bytes"]]
    return row
