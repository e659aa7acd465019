"""From a final model to numbers, and from numbers to verdicts on a target's budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgekit.core.budget import Verdict, judge, missed
from edgekit.core.errors import EdgekitError
from edgekit.core.measurement import Measurement, Series
from edgekit.core.model import Model
from edgekit.core.results import Artifact, Stage
from edgekit.core.target import Target
from edgekit.plan import BuildRequest
from edgekit.report.json import Findings, make_document

_MAX_LISTED = 8


@dataclass(frozen=True)
class Profile:
    """What was measured or computed on the final model."""

    measurements: tuple[Measurement, ...] = ()
    series: tuple[Series, ...] = ()
    layers: tuple[Mapping[str, Any], ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def find(self, name: str) -> Measurement | None:
        """The first measurement of a name."""
        return next((row for row in self.measurements if row.name == name), None)


def file_size(model: Model) -> Measurement:
    """The one number that is always there."""
    return Measurement("file_bytes", len(model.data), "bytes", "measured", "the .tflite")


def conclude(found: Findings, request: BuildRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The report document, whose ``ok`` knows of budgets and gates, and the gates it misses.

    Raises:
        EdgekitError: A gate on a number that the two reports do not both have.
    """
    document = make_document(found)
    exceeded = request.gates.exceeded(document) if request.gates is not None else []
    ok = not exceeded and not missed(found.verdicts, strict=request.strict)
    return {**document, "ok": ok}, tuple(exceeded)


def refuse_unrunnable(model: Model, target: Target, stages: Sequence[Stage]) -> None:
    """Stop a model that the target's engine cannot run.

    Raises:
        EdgekitError: Its precision, tensor types or operators; every offender is named.
    """
    if model.precision not in target.accepts.precisions:
        raise _wrong_precision(model, target, stages)
    problems = unsupported(model, target)
    if problems:
        raise EdgekitError(
            f"target '{target.name}' cannot run this model: {_listed(problems)}",
            f"edgekit inspect MODEL -t {target.name} lists all of it",
        )


def _wrong_precision(model: Model, target: Target, stages: Sequence[Stage]) -> EdgekitError:
    runs = f"target '{target.name}' runs {' or '.join(target.accepts.precisions)} models only"
    reasons = [f"{row.layer}: {row.reason}" for stage in stages for row in stage.skipped]
    notes = [note for stage in stages for note in stage.notes]
    if any(stage.kind == "static" for stage in stages):
        return EdgekitError(
            f"{runs}; after static quantization this one is still {model.precision}: "
            f"{_listed([*notes, *reasons] or _floats(model))}",
            "replace these layers in the source model by ones that have integer kernels",
        )
    return EdgekitError(
        f"{runs}; this one is {model.precision}: {_listed(_floats(model))}",
        "quantize it statically: --recipe static-int8, with --data",
    )


def unsupported(model: Model, target: Target) -> list[str]:
    """Operators and tensor types that the target's engine lacks, each once."""
    found: dict[str, None] = {}
    known = target.accepts.operators
    for subgraph, operator in model.graph.operators():
        if known is not None and operator.name not in known:
            found[f"operator {operator.name}"] = None
        if operator.name == "CONV_2D" and subgraph.tensors[operator.inputs[1]].dtype == "int2":
            found["2-bit CONV_2D, which LiteRT runs and computes wrongly"] = None
        for index in (*operator.inputs, *operator.outputs):
            if index >= 0 and (dtype := subgraph.tensors[index].dtype) not in target.accepts.dtypes:
                found[f"{dtype} tensors (first in {operator.name})"] = None
    return list(found)


def _floats(model: Model) -> list[str]:
    """Operators that compute in float; conversions at the border do not."""
    names = set()
    for subgraph, operator in model.graph.operators():
        tensors = [subgraph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        if operator.name not in ("QUANTIZE", "DEQUANTIZE"):
            names |= {operator.name for tensor in tensors if tensor.dtype.startswith("float")}
    return [f"float {name}" for name in sorted(names)] or ["float inputs or outputs"]


def _listed(items: Sequence[str]) -> str:
    shown = "; ".join(items[:_MAX_LISTED])
    return shown + (f"; and {len(items) - _MAX_LISTED} more" if len(items) > _MAX_LISTED else "")


def profile_model(
    model: Model, named: Model, target: Target | None, request: BuildRequest
) -> Profile:
    """Measure and compute everything that can be known here.

    Args:
        model: The final model.
        named: The same model before ``strip`` took the names away.
        target: What it is for.
        request: Device, threads and runs.
    """
    from edgekit.profilers import PROFILERS, ProfileSettings

    engine = target.runtime.engine if target is not None else "litert"
    settings = ProfileSettings(threads=(request.threads,), runs=request.runs, engine=engine)
    names = ("size", "memory", *(("host",) if request.device == "host" else ()))
    results = [PROFILERS[name](model, settings) for name in names]
    return Profile(
        measurements=tuple(row for result in results for row in result.measurements),
        series=tuple(row for result in results for row in result.series),
        layers=_layer_rows(model, named),
        conditions={key: value for result in results for key, value in result.conditions.items()},
    )


def _layer_rows(model: Model, named: Model) -> tuple[dict[str, Any], ...]:
    """The final model's layers, under the names they had before ``strip``."""
    from edgekit.profilers.size import layers_of

    layers, names = layers_of(model.graph), layers_of(named.graph)
    if [layer.op for layer in layers] != [layer.op for layer in names]:
        names = layers
    return tuple({**asdict(layer), "name": other.name}
                 for layer, other in zip(layers, names, strict=True))


def judge_target(
    target: Target,
    profile: Profile,
    artifacts: Sequence[Artifact],
    stages: Sequence[Stage],
    request: BuildRequest,
) -> list[Verdict]:
    """Every budget of the target against the deliverable, and the loss of quality."""
    verdicts = [
        judge(name, limit, _parts(name, target, profile, artifacts),
              accept_estimates=request.accept_estimates)
        for name, limit in target.budget.limits()
    ]
    quality = stages[-1].quality if stages else None
    if request.max_drop is not None and quality is not None:
        unit = "pp" if quality.metric in ("accuracy", "top1_agreement") else "%"
        part = Measurement("quality_drop", quality.drop, unit, "measured",
                           f"{quality.metric}, evaluation data, on this host")
        verdicts.append(judge("quality_drop", request.max_drop, [part]))
    return verdicts


def _parts(
    budget: str, target: Target, profile: Profile, artifacts: Sequence[Artifact]
) -> list[Measurement]:
    """What a budget's value is made of; an unknown part makes the verdict unknown."""
    model = next((row for row in artifacts if row.kind == "model"), None)
    match budget:
        case "download_bytes":
            size = model.deflate_bytes if model else None
            where = "deflated (zlib level 9)" if size is not None else "not deflated: --report none"
            return [_known("model", size, where),
                    _runtime(target, "download_bytes")]
        case "flash_bytes":
            # What is flashed is the flatbuffer alone, without metadata for apps.
            return [profile.find("file_bytes") or _known("model", None, "not measured"),
                    _runtime(target, "flash_bytes")]
        case "ram_bytes":
            return _ram_parts(target, profile, model)
        case _:
            return [_latency(target)]


def _known(name: str, value: float | None, where: str) -> Measurement:
    provenance = None if value is None else "measured"
    return Measurement(name, value, "bytes", provenance, where)  # type: ignore[arg-type]


def _ram_parts(target: Target, profile: Profile, model: Artifact | None) -> list[Measurement]:
    """Arena, engine, and weights where they do not stay in flash."""
    arena = profile.find("arena_bytes")
    unplanned = Measurement("arena_bytes", None, "bytes", None, "not planned: --report none")
    parts = [arena or unplanned]
    if target.runtime.engine == "litert" and model is not None:
        # Mapped pages at least; XNNPACK packs a second copy of most weights.
        parts.append(Measurement("weights", model.bytes, "bytes", "estimated",
                                 "the file, mapped; packed copies come on top", lower_bound=True))
    return [*parts, _runtime(target, "ram_bytes")]


def _runtime(target: Target, field_name: str) -> Measurement:
    """The engine's own share, from the target's sourced figure."""
    value = getattr(target.runtime, field_name)
    if value is None:
        where = f"no published figure for {target.runtime.engine} on this target"
        return Measurement("engine", None, "bytes", None, where)
    source = target.source_of(f"runtime.{field_name}")
    measured = source is not None and source.basis == "published"
    return Measurement("engine", value, "bytes", "measured" if measured else "estimated",
                       source.url or source.note if source else "the target's file")


def _latency(target: Target) -> Measurement:
    """Unknown: nothing here measures on a device yet, and this host is not the target."""
    return Measurement("latency_p50_ms", None, "ms", None,
                       f"not measured on {target.name}; a host timing never stands in for it")
