"""What the renderers have in common: the document's facts, in words, before any layout."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from edgekit.report import format as fmt
from edgekit.report.document import (
    Document,
    FidelityPart,
    LayerPart,
    MeasurementPart,
    StagePart,
)


def as_document(document: Mapping[str, Any]) -> Document:
    """The validated document with its types."""
    return cast("Document", document)


@dataclass(frozen=True)
class StageRow:
    """A stage in words; every field is ready to print and empty when there is nothing to say.

    The title is the name with the stage's number, where there is more than one.
    """

    index: int
    name: str
    title: str
    file: str
    file_ratio: str
    deflated: str
    deflated_ratio: str
    quality: str
    drop: str
    cosine: str
    sqnr: str
    agreement: str
    sparsity: str
    seconds: str
    changed: str


@dataclass(frozen=True)
class SkippedGroup:
    """The layers that one step left alone for one reason."""

    stage: str
    reason: str
    layers: tuple[str, ...]


def title(document: Document) -> str:
    """The model, and the target when there is one."""
    name = fmt.clean(document["model"]["name"])
    target = document["target"]
    return f"{name} for {fmt.clean(target['name'])}" if target else name


def subtitle(document: Document) -> str:
    """Target, recipe and the model's size in operations, on one line."""
    target, recipe, model = document["target"], document["recipe"], document["model"]
    facts = [target.get("title", "") if target else "",
             f"recipe {recipe['name']}, seed {recipe['seed']}" if recipe else "",
             f"{fmt.count(model['parameters'])} parameters"]
    if model["macs"] is not None:
        facts.append(f"{fmt.count(model['macs'])} MACs")
    return " · ".join(fmt.clean(fact) for fact in facts if fact)


def heaviest_layers(document: Document) -> list[LayerPart]:
    """The layers that have bytes, those with the most first."""
    weighing = (layer for layer in document["layers"] if layer["bytes"] > 0)
    return sorted(weighing, key=lambda layer: (-layer["bytes"], layer["name"]))


def final_bytes(document: Document) -> int:
    """Bytes of the final Model; those of the model part when there are no stages."""
    stages = document["stages"]
    return stages[-1]["bytes"] if stages else document["model"]["bytes"]


def common_folder(names: Iterable[str]) -> str:
    """The path that all names start with."""
    rest = iter(names)
    common = next(rest, "")
    common = common[:common.rfind("/") + 1]
    for name in rest:
        while not name.startswith(common):
            common = common[:common[:-1].rfind("/") + 1]
    return common


def bare_names(names: Sequence[str]) -> list[str]:
    """Layer names without the path that all share, and only the first of names fused by ``;``."""
    prefix = common_folder(names)
    return [fmt.clean(name.split(";")[0].removeprefix(prefix) or name) for name in names]


def metric_of(document: Document) -> str:
    """The name of the quality metric, empty when none was computed."""
    for stage in document["stages"]:
        if stage["quality"] is not None:
            return fmt.clean(stage["quality"]["metric"])
    return ""


def stage_rows(document: Document) -> list[StageRow]:
    """The stages in words; ratios and drops are against stage 0."""
    stages = document["stages"]
    return [_stage_row(index, stage, stages[0], f"{index} " if len(stages) > 1 else "")
            for index, stage in enumerate(stages)]


def _stage_row(index: int, stage: StagePart, first: StagePart, number: str) -> StageRow:
    quality, fidelity = stage["quality"], stage["fidelity"]
    deflated, before = stage["deflate_bytes"], first["deflate_bytes"]
    agreement = fidelity["top1_agreement"] if fidelity else None
    later = index > 0
    return StageRow(
        index=index,
        name=fmt.clean(stage["name"]),
        title=number + fmt.clean(stage["name"]),
        file=fmt.size(stage["bytes"]),
        file_ratio=fmt.smaller(first["bytes"], stage["bytes"]) if later else "",
        deflated="" if deflated is None else fmt.size(deflated),
        deflated_ratio=fmt.smaller(before, deflated) if later and before and deflated else "",
        quality=fmt.quality(quality["metric"], quality["value"]) if quality else "",
        drop=fmt.drop(quality["metric"], quality["drop"]) if quality and later else "",
        cosine=fmt.cosine(fidelity["cosine"]) if fidelity else "",
        sqnr=sqnr(fidelity) if fidelity else "",
        agreement="" if agreement is None else fmt.percent(agreement),
        sparsity=fmt.percent(stage["sparsity"], 0) if stage["sparsity"] >= 0.005 else "",
        seconds=fmt.seconds(stage["seconds"]) if stage["seconds"] >= 0.005 else "",
        changed=fmt.clean(stage.get("changed", "")))


def sqnr(fidelity: FidelityPart) -> str:
    """Signal to quantization noise: ``42.1 dB``, or ``bit-equal``.

    Null stands for both infinities, as JSON has none: equal outputs, and no signal left.
    """
    if fidelity["sqnr_db"] is not None:
        return fmt.decibels(fidelity["sqnr_db"])
    cosine: float | None = fidelity["cosine"]
    equal = cosine is not None and cosine > 0.999 and fidelity.get("max_abs", 0) == 0
    return "bit-equal" if equal else "−∞ dB"


def measured_value(item: MeasurementPart) -> str:
    """A measurement's value with its bound sign: ``≥ 84.2 kB``."""
    least = "≥ " if item.get("lower_bound") and item["value"] is not None else ""
    return least + fmt.quantity(item["value"], item["unit"])


def skipped_groups(document: Document) -> list[SkippedGroup]:
    """What was left alone, by step and reason, in the document's order."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for stage in document["stages"]:
        for item in stage["skipped"]:
            key = (fmt.clean(stage["name"]), fmt.clean(item["reason"]))
            grouped.setdefault(key, []).append(fmt.clean(item["layer"]))
    return [SkippedGroup(stage, reason, tuple(layers))
            for (stage, reason), layers in grouped.items()]


def notes(document: Document) -> list[tuple[str, str]]:
    """Choices that the importer and the steps had to make, as (where, note)."""
    found = [("import", fmt.clean(note)) for note in document["model"].get("notes", [])]
    found += [(fmt.clean(stage["name"]), fmt.clean(note))
              for stage in document["stages"] for note in stage.get("notes", [])]
    first: dict[str, str] = {}
    for where, note in found:
        first.setdefault(note, where)
    return [(where, note) for note, where in first.items()]


def step_texts(document: Document) -> list[str]:
    """The recipe's steps in words: ``quantize: scheme = static, weights = 8``."""
    recipe = document["recipe"]
    if recipe is None:
        return []
    return [_step_text(step) for step in recipe["steps"]]


def _step_text(step: Mapping[str, Any]) -> str:
    settings = [f"{key} = {value}" for key, value in fmt.flat(
        {key: value for key, value in step.items() if key != "use" and value is not None})]
    name = fmt.plain(step.get("use", "step"))
    return f"{name}: {', '.join(settings)}" if settings else name


def tensor_text(shape: Sequence[int], dtype: str) -> str:
    """A tensor's type: ``int8 [1, 96, 96, 1]``."""
    return f"{fmt.clean(dtype)} [{', '.join(str(size) for size in shape)}]"
