"""The report as one HTML file: no scripts, no network, nothing outside the file.

Each number is in the page's text or in a table, charts only show them once more. The page's
content security policy forbids scripts and connections, beside everything being escaped.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from edgekit.report import charts, distributions, layer_map, runs, sections, verdict, view
from edgekit.report import format as fmt
from edgekit.report.document import Document
from edgekit.report.markup import Html, el, join

_LATENCY_OF = "latency_ms, "
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_html(document: Mapping[str, Any]) -> str:
    """The report document as a self-contained HTML page.

    Args:
        document: Validates against ``schema-1.json``. Its texts are untrusted and are escaped.
    """
    doc = view.as_document(document)
    headline = verdict.headline(doc)
    head = el("head", el("meta", charset="utf-8"),
              el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
              el("meta", name="viewport", content="width=device-width, initial-scale=1"),
              el("meta", name="color-scheme", content="light dark"),
              el("title", view.title(doc) if headline.silent
                 else f"{headline.word}: {view.title(doc)}"), el("style", _style()))
    body = el("body", _header(doc, headline), el("main", *_sections(doc)),
              el("footer", f"edgekit {doc['edgekit_version']}, "
                           f"report schema {doc['schema_version']}"))
    return f"<!DOCTYPE html>\n{el('html', head, body, lang='en')}\n"


@cache
def _style() -> Html:
    return Html(files("edgekit.report").joinpath("assets/report.css").read_text("utf-8"))


def _header(doc: Document, headline: verdict.Headline) -> Html:
    name, target = doc["model"]["name"], doc["target"]
    heading = el("h1", name, el("span", f" for {target['name']}", class_="for")
                 if target else None)
    banner = None if headline.silent else el(
        "p", sections.pill(headline.status, headline.word), " ",
        el("span", fmt.capital(headline.text)), class_=f"verdict s-{headline.status}")
    return el("header", heading, el("p", view.subtitle(doc), class_="muted"), banner,
              el("ul", [_tile(*tile) for tile in _tiles(doc)], class_="tiles"))


def _tile(name: str, value: str, said: str, exact: str) -> Html:
    return el("li", el("span", name, class_="tile-name"),
              el("strong", value, title=exact or None), el("span", said, class_="muted"))


def _tiles(doc: Document) -> list[tuple[str, str, str, str]]:
    """The numbers to see first, as (name, value, what it means, exactly)."""
    stages, tiles = doc["stages"], []
    if stages:
        first, last, row = stages[0], stages[-1], view.stage_rows(doc)[-1]
        tiles.append(("File", row.file, _than(first["bytes"], last["bytes"])
                      if row.index else "as imported",
                      fmt.exact_size(last["bytes"])))
        if last["deflate_bytes"] is not None:
            before = first["deflate_bytes"]
            tiles.append(("Deflated", row.deflated,
                          fmt.size_change(before, last["deflate_bytes"]) if row.index and before
                          else "what a download pays", fmt.exact_size(last["deflate_bytes"])))
        if last["quality"] is not None:
            tiles.append((fmt.capital(fmt.label(last["quality"]["metric"])), row.quality,
                          _drop_words(last["quality"]["drop"], row.drop), ""))
        elif row.cosine and len(stages) > 1:
            sqnr = row.sqnr if row.sqnr == "bit-equal" else f"SQNR {row.sqnr}"
            tiles.append(("Cosine to stage 0", row.cosine, sqnr, ""))
    return tiles + _measured_tiles(doc)


def _than(before: int, after: int) -> str:
    change = fmt.size_change(before, after)
    return f"{change} than {fmt.size(before)}" if "×" in change else change


def _drop_words(drop: float | None, shown: str) -> str:
    if not shown or drop is None:
        return ""
    if round(drop, 2) == 0:
        return "no drop"
    return f"{shown} below the import" if drop > 0 else f"{shown.lstrip('−')} above the import"


def _measured_tiles(doc: Document) -> list[tuple[str, str, str, str]]:
    latency = runs.first_latency(doc)
    tiles = [("Latency, p50", view.measured_value(latency), latency["where"],
              fmt.exact(latency["value"], latency["unit"]))] if latency else []
    arenas = [item for item in doc["measurements"]
              if item["name"] == "arena_bytes" and item["value"] is not None]
    arenas.sort(key=lambda item: ("measured", "simulated", "estimated", None).index(
        item["provenance"]))
    return tiles + [("Arena", view.measured_value(item), item["provenance"] or "",
                     fmt.exact(item["value"], item["unit"])) for item in arenas[:1]]


def _sections(doc: Document) -> list[Html | None]:
    """Everything under the header, in the order in which people ask."""
    return [
        sections.budgets(doc),
        *_size_sections(doc),
        *_running_sections(doc),
        sections.measurements(doc),
        sections.skipped(doc),
        sections.notes(doc),
        sections.artifacts(doc),
        sections.parity(doc),
        sections.model(doc),
        sections.surroundings(doc),
    ]


def _size_sections(doc: Document) -> list[Html | None]:
    if not doc["stages"]:
        return [_layer_section(doc)]
    quality = charts.quality_chart(doc)
    heading = "Size, stage by stage" if len(doc["stages"]) > 1 else "Size"
    return [
        sections.section(heading, charts.size_chart(doc), wide=quality is None),
        sections.section("Quality against size", quality, wide=False),
        sections.section("Stages in numbers" if len(doc["stages"]) > 1 else "In numbers",
                         sections.stage_table(doc)),
        _layer_section(doc),
    ]


def _layer_section(doc: Document) -> Html | None:
    layers = view.heaviest_layers(doc)
    if not layers:
        return None
    return sections.section("Where the bytes are", layer_map.layer_map(doc), sections.details(
        f"{fmt.plural(len(layers), 'layer')} with bytes, heaviest first",
        sections.layer_table(doc)))


def _histograms(doc: Document) -> list[Html]:
    """One for each way of running; the first series does not say which one it is of."""
    named = [series["name"].removeprefix(_LATENCY_OF) for series in doc["series"]
             if series["name"].startswith(_LATENCY_OF)]
    found = []
    for index, series in enumerate(doc["series"]):
        name = series["name"]
        if name == "latency_ms":
            first = runs.first_latency(doc, besides=named)
            where = first["where"] if first else ""
        elif name.startswith(_LATENCY_OF):
            where = name.removeprefix(_LATENCY_OF)
        else:
            continue
        found.append(distributions.histogram(
            series["values"], runs.latencies_at(doc, where), where, f"latency-{index}",
            runs.timed_at(doc, where)))
    return [drawing for drawing in found if drawing]


def _running_sections(doc: Document) -> list[Html | None]:
    """Latency and memory."""
    latencies = _histograms(doc)
    memory = [distributions.memory_chart(series["values"], doc["layers"], f"memory-{index}")
              for index, series in enumerate(doc["series"])
              if series["name"] == "activation_bytes"]
    beside = bool(latencies) and any(memory)
    return [
        sections.section("Latency", latencies[:1], sections.details(
            f"{fmt.plural(len(latencies) - 1, 'other way')} of running", latencies[1:]),
            wide=not beside),
        sections.section("Memory over the run", join(memory), wide=not beside),
    ]
