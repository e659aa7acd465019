"""Charts of sizes: from stage to stage, against quality, against a budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgekit.report import format as fmt
from edgekit.report import svg, verdict, view
from edgekit.report.document import BudgetPart, Document, StagePart
from edgekit.report.markup import Html, el, join, percent

_ROW, _BAR, _THIN = 86, 22, 6
_PLOT_HEIGHT = 210
_PHONE_WIDTH = 340


def size_chart(doc: Document) -> Html:
    """The file from stage to stage: bytes by type, what each stage took away, and deflated."""
    stages = doc["stages"]
    widest = max(max(stage["bytes"], stage["deflate_bytes"] or 0) for stage in stages) or 1
    rows = [_stage_bars(index, stages, row, widest)
            for index, row in enumerate(view.stage_rows(doc))]
    said = "; ".join(
        f"{row.name} {row.file}" + (f", {row.deflated} deflated" if row.deflated else "")
        for row in view.stage_rows(doc))
    drawing = svg.chart("sizes", _ROW * len(rows) - 10, "Size of the file after each stage",
                        said, *rows)
    kinds = dict.fromkeys(kind for stage in stages for kind, _ in _kinds(stage))
    entries = [(svg.dtype_class(kind), fmt.clean(kind)) for kind in kinds]
    if any(stage["deflate_bytes"] is not None for stage in stages):
        entries.append(("deflated", "deflated (zlib 9), what a download pays"))
    if len(stages) > 1:
        entries.append(("ghost", "taken away by the stage"))
    return svg.figure(join(drawing, svg.legend(entries)))


def _kinds(stage: StagePart) -> list[tuple[str, int]]:
    """Bytes by tensor type, the most first and the structure last; they add up to the file."""
    kinds = {kind: count for kind, count in stage.get("dtype_bytes", {}).items() if count > 0}
    rest = stage["bytes"] - sum(kinds.values())
    if rest > 0:
        name = "structure" if kinds else "file"
        kinds[name] = kinds.get(name, 0) + rest
    return sorted(kinds.items(), key=lambda item: (item[0] == "structure", -item[1], item[0]))


def _stage_bars(index: int, stages: Sequence[StagePart], row: view.StageRow, widest: int) -> Html:
    stage, top = stages[index], _ROW * index
    before = stages[index - 1]["bytes"] if index else stage["bytes"]
    change = f" · {fmt.size_change(stages[0]['bytes'], stage['bytes'])}" if index else ""
    parts = [svg.text(0, top + 14, row.title, "name"),
             svg.text(1, top + 14, row.file + change, "value", "end")]
    if before > stage["bytes"]:
        gone = (f"{fmt.size(before - stage['bytes'])} less than before "
                f"({fmt.change(stage['bytes'] / before - 1)})")
        parts.append(svg.rect(stage["bytes"] / widest, top + 22.5,
                              (before - stage["bytes"]) / widest, _BAR - 1, "ghost", gone))
    at = 0.0
    for kind, count in _kinds(stage):
        tip = f"{fmt.clean(kind)}: {fmt.exact_size(count)}, {fmt.share(count, stage['bytes'])}"
        parts.append(svg.rect(at, top + 22, count / widest, _BAR,
                              f"cell {svg.dtype_class(kind)}", tip))
        at += count / widest
    return el("g", parts, _deflated_bar(stage, stages[0], row, top + 22 + _BAR + 3, widest))


def _deflated_bar(
    stage: StagePart, first: StagePart, row: view.StageRow, y: float, widest: int
) -> Html | None:
    deflated, before = stage["deflate_bytes"], first["deflate_bytes"]
    if deflated is None:
        return None
    change = f" · {fmt.size_change(before, deflated)}" if row.index and before else ""
    return join(svg.rect(0, y, deflated / widest, _THIN, "deflated",
                         f"deflated: {fmt.exact_size(deflated)}"),
                svg.text(0, y + 20, f"{row.deflated} deflated{change}", "small"))


@dataclass(frozen=True)
class _Point:
    index: int
    name: str
    size: int
    quality: float


def quality_chart(doc: Document) -> Html | None:
    """Quality against size, one point for each stage; None with fewer than two."""
    with_quality = [(i, s) for i, s in enumerate(doc["stages"]) if s["quality"] is not None]
    if len(with_quality) < 2:
        return None
    download = _download_counts(doc)
    points = [_Point(i, fmt.clean(stage["name"]),
                     (stage["deflate_bytes"] or 0) if download else stage["bytes"],
                     stage["quality"]["value"]) for i, stage in with_quality if stage["quality"]]
    if len(svg.finite(point.quality for point in points)) < len(points):
        return None
    metric, what = view.metric_of(doc), "deflated size" if download else "file size"
    said = "; ".join(f"{p.name} {fmt.size(p.size)}, {fmt.quality(metric, p.quality)}"
                     for p in points)
    floor = _floor(doc, metric, points[0])
    drawing = svg.chart("quality", _PLOT_HEIGHT + 30,
                        f"{fmt.capital(fmt.label(metric))} against {what}", said,
                        *_scatter(points, metric, floor), y_axis=True)
    caption = (f"{fmt.capital(fmt.label(metric))} (upwards) against {what}. "
               "The vertical axis does not start at zero.")
    names = el("ol", [el("li", f"{p.index} {p.name}") for p in points], class_="legend plain")
    return svg.figure(join(drawing, names), caption)


def _download_counts(doc: Document) -> bool:
    """Whether the deflated size matters more than the file's: not where models live in flash."""
    kind = doc["target"].get("kind", "") if doc["target"] else ""
    known = all(stage["deflate_bytes"] is not None for stage in doc["stages"])
    return known and kind not in ("mcu", "npu")


def _floor(doc: Document, metric: str, first: _Point) -> float | None:
    """The least quality that the budget allows, where its unit says what that is."""
    limits = [b["limit"] for b in doc["budgets"] if b["name"] == "quality_drop"]
    if not limits or not fmt.is_fraction_metric(metric):
        return None
    return first.quality - limits[0] / 100


def _scatter(points: Sequence[_Point], metric: str, floor: float | None) -> list[Html]:
    values = [p.quality for p in points] + ([] if floor is None else [floor])
    pad = (max(values) - min(values)) * 0.18 or abs(values[0]) * 0.01 or 1.0
    low, high = min(values) - pad, max(values) + pad
    widest = (max(p.size for p in points) or 1) * 1.06

    def y(value: float) -> float:
        return 8 + (_PLOT_HEIGHT - 8) * (high - value) / (high - low)

    shapes = [svg.y_tick(y(v), fmt.quality(metric, v)) for v in svg.ticks(low, high, 4)]
    shapes.append(svg.line(0, _PLOT_HEIGHT, 1, _PLOT_HEIGHT, "axis"))
    shapes.append(svg.x_axis([(v / widest, svg.size_label(v))
                              for v in svg.size_ticks(widest, 4)], _PLOT_HEIGHT + 18))
    if floor is not None:
        shapes.append(join(svg.line(0, y(floor), 1, y(floor), "limit"),
                           svg.text(1, y(floor) - 5, "least allowed", "tick halo", "end")))
    shapes += [svg.line(a.size / widest, y(a.quality), b.size / widest, y(b.quality), "path")
               for a, b in pairwise(points)]
    placed = _label_offsets([(p.size / widest * _PHONE_WIDTH, y(p.quality)) for p in points])
    return shapes + [_mark(p, p.size / widest, y(p.quality), metric, offset)
                     for p, offset in zip(points, placed, strict=True)]


def _mark(point: _Point, x: float, y: float, metric: str, offset: tuple[float, float]) -> Html:
    tip = f"{point.name}: {fmt.exact_size(point.size)}, {fmt.quality(metric, point.quality)}"
    return el("g", el("title", tip), el("circle", cx=percent(x), cy=y, r=5, class_="dot"),
              el("text", str(point.index), x=percent(x), y=y + offset[1], dx=offset[0],
                 text_anchor="middle", class_="name halo"))


def _label_offsets(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where each point's number goes so that numbers keep clear of each other and of points."""
    options = [(0.0, -10.0), (0.0, 19.0), (-14.0, 4.0), (14.0, 4.0), (-12.0, -10.0), (12.0, 19.0)]
    taken = [(x, y + 4) for x, y in places]
    chosen: list[tuple[float, float]] = []
    for x, y in places:
        best = max(options, key=lambda option: min(14.0, *(
            max(abs(x + option[0] - a), abs(y + option[1] - b)) for a, b in taken)))
        taken.append((x + best[0], y + best[1]))
        chosen.append(best)
    return chosen


def budget_bar(budget: BudgetPart, key: str) -> Html | None:
    """A budget's parts against its limit; None when nothing of it is known."""
    value, limit = verdict.certain_value(budget), budget["limit"]
    if value is None or limit <= 0 or not svg.finite([value]):
        return None
    scale = max(value, limit) * (1.0 if value <= limit else 1.04)
    shapes = [svg.rect(0, 4, limit / scale, 14, "track")]
    known = [p for p in budget.get("parts", []) if p["value"] is not None and p["value"] > 0]
    at = 0.0
    for index, part in enumerate(known):
        share = (part["value"] or 0) / scale
        tip = f"{fmt.label(part['name'])}: {fmt.exact(part['value'], part['unit'])}"
        shapes.append(svg.rect(at, 4, share, 14, f"part part-{index % 4}", tip))
        at += share
    if not known:
        shapes.append(svg.rect(0, 4, max(value, 0) / scale, 14, "part part-0"))
    if value > limit:
        shapes.append(svg.rect(limit / scale, 4, (value - limit) / scale, 14, "over",
                               f"over the limit: {verdict.overrun(budget)}"))
    shapes.append(svg.line(limit / scale, 0, limit / scale, 22, "limit-mark"))
    said = (f"{verdict.budget_value(budget)} against a limit of "
            f"{fmt.quantity(limit, budget['unit'])}")
    return svg.chart(key, 22, f"{fmt.label(budget['name'])} against its limit", said, *shapes)
