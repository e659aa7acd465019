"""The report as Markdown, for pull requests and wikis (GitHub's dialect)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekit.report import format as fmt
from edgekit.report import runs, verdict, view
from edgekit.report.document import Document, MeasurementPart

_SPECIAL = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))")
_MOST_LAYERS = 10
_MOST_NAMES = 20


def render_markdown(document: Mapping[str, Any]) -> str:
    """The report document as Markdown.

    Args:
        document: Validates against ``schema-1.json``. Its texts are untrusted and are escaped.
    """
    doc = view.as_document(document)
    headline = verdict.headline(doc)
    sections = [
        f"# {_text(view.title(doc))}",
        _text(view.subtitle(doc)),
        "" if headline.silent else f"**{headline.word}**: {_text(headline.text)}",
        _section("Budgets", _budgets(doc)),
        _section("Stages", _stages(doc)),
        _section("Measurements", _runs(doc)),
        _section("Other measurements", _measurements(runs.other_measurements(doc))),
        _section("Parity with the source", _parity(doc)),
        _section("Heaviest layers", _layers(doc)),
        _section("Left as it was", _skipped(doc)),
        _section("Notes", _bullets(f"{_text(where)}: {_text(note)}"
                                   for where, note in view.notes(doc))),
        _section("Artifacts", _artifacts(doc)),
        _section("Conditions and environment", _environment(doc)),
        f"edgekit {_text(doc['edgekit_version'])}, report schema {doc['schema_version']}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(heading: str, body: str) -> str:
    return f"## {heading}\n\n{body}" if body else ""


def _text(text: str) -> str:
    """Untrusted text between other text: no markup, no HTML, no table cell border."""
    text = fmt.clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)


def _code(text: str) -> str:
    """Untrusted text as code; a pipe must be escaped even there when it is in a table."""
    text = fmt.clean(text).strip().replace("|", "\\|") or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table of escaped cells; columns that are empty in every row are left out.

    Args:
        header: The columns' names.
        rows: One string for each column.
        left: How many columns from the left are text; the others are aligned to the right.
    """
    if not rows:
        return ""
    keep = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = [[header[i] for i in keep], [":--" if i < left else "--:" for i in keep]]
    lines += [[row[i] or fmt.NOTHING for i in keep] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _budgets(doc: Document) -> str:
    rows = [[_text(fmt.label(budget["name"])), budget["provenance"] or fmt.NOTHING,
             _status(budget["status"]), fmt.quantity(budget["limit"], budget["unit"]),
             verdict.budget_value(budget), verdict.headroom(budget)] for budget in doc["budgets"]]
    table = _table(("Budget", "Provenance", "Status", "Limit", "Value", "Headroom"), rows, left=3)
    return "\n\n".join(part for part in (table, _missed(doc), _parts(doc)) if part)


def _status(status: str) -> str:
    word = verdict.STATUS_WORDS[status]
    return word if status == "pass" else f"**{word}**"


def _missed(doc: Document) -> str:
    lines = []
    for sentence, layers in verdict.missed_lines(doc):
        lines.append(f"{_text(sentence)}" + (". Heaviest layers:" if layers else "."))
        lines += [f"  {number}. {_text(layer)}" for number, layer in enumerate(layers, 1)]
    unsure = [_text(line) for line in verdict.unsure_lines(doc)]
    return "\n".join(line if line.startswith("  ") else f"- {line}" for line in lines + unsure)


def _parts(doc: Document) -> str:
    """What the budgets' values are made of, where there is more than one part."""
    rows = [[_text(fmt.label(budget["name"])), _text(fmt.label(part["name"])),
             part["provenance"] or fmt.NOTHING, _text(part["where"]), view.measured_value(part)]
            for budget in doc["budgets"] if len(budget.get("parts", [])) > 1
            for part in budget.get("parts", [])]
    table = _table(("Budget", "Part", "Provenance", "Where", "Value"), rows, left=4)
    return f"<details><summary>What the values are made of</summary>\n\n{table}\n\n</details>" \
        if table else ""


def _stages(doc: Document) -> str:
    metric = fmt.capital(_text(fmt.label(view.metric_of(doc)))) or "Quality"
    header = ("Stage", "File", "× smaller", "Deflated", "× smaller", metric, "Drop", "Cosine",
              "SQNR", "Same top 1", "Zeros", "Time")
    rows = [[_text(row.title), row.file, row.file_ratio, row.deflated,
             row.deflated_ratio, row.quality, row.drop, row.cosine, row.sqnr, row.agreement,
             row.sparsity, row.seconds] for row in view.stage_rows(doc)]
    changed = _bullets(f"{_text(row.name)}: {_text(row.changed)}"
                       for row in view.stage_rows(doc) if row.changed)
    return "\n\n".join(part for part in (_table(header, rows), changed) if part)


def _runs(doc: Document) -> str:
    """What was measured in several ways of running, side by side."""
    found = runs.run_table(doc)
    if found is None:
        return ""
    rows = [[_text(fmt.label(row.name)), *(_run_cell(cell) for cell in row.cells), row.runs]
            for row in found.rows]
    header = (_text(found.heading), *(_text(", ".join(place)) for place in found.places), "Runs")
    table = _table(header, rows)
    return "\n\n".join([table, *(_text(reason) for reason in found.reasons)])


def _run_cell(item: MeasurementPart | None) -> str:
    if item is None:
        return ""
    spread = runs.spread(item)
    return view.measured_value(item) + (f" (IQR {spread})" if spread else "")


def _measurements(items: Sequence[MeasurementPart]) -> str:
    rows = [[_text(fmt.label(item["name"])), item["provenance"] or fmt.NOTHING,
             _text(item["where"]), view.measured_value(item),
             "" if item["spread"] is None else fmt.quantity(item["spread"], item["unit"]),
             fmt.whole(item["n"]) if item["n"] > 1 else ""] for item in items]
    return _table(("Measurement", "Provenance", "Where", "Value", "IQR", "Runs"), rows, left=3)


def _parity(doc: Document) -> str:
    rows = [[_code(item["output"]), fmt.significant(item["max_abs"]), fmt.cosine(item["cosine"]),
             "" if item["top1_agreement"] is None else fmt.percent(item["top1_agreement"])]
            for item in doc["parity"]]
    return _table(("Output", "Largest difference", "Cosine", "Same top 1"), rows)


def _layers(doc: Document) -> str:
    total = view.final_bytes(doc)
    layers = view.heaviest_layers(doc)
    rows = [[_code(layer["name"]), _text(layer["op"]), _text(layer["dtype"]),
             fmt.size(layer["bytes"]), fmt.share(layer["bytes"], total),
             "" if layer["macs"] is None else fmt.count(layer["macs"])]
            for layer in layers[:_MOST_LAYERS]]
    table = _table(("Layer", "Operator", "Type", "Bytes", "Of the file", "MACs"), rows, left=3)
    rest = layers[_MOST_LAYERS:]
    return table if not rest else (
        f"{table}\n\n{fmt.plural(len(rest), 'more layer')} with bytes of their own: "
        f"{fmt.size(sum(layer['bytes'] for layer in rest))} in all.")


def _skipped(doc: Document) -> str:
    lines = []
    for group in view.skipped_groups(doc):
        names = ", ".join(_code(name) for name in group.layers[:_MOST_NAMES])
        more = len(group.layers) - _MOST_NAMES
        names += f" and {more:,} more" if more > 0 else ""
        lines.append(f"{_text(group.stage)}, {fmt.plural(len(group.layers), 'layer')}: "
                     f"{_text(group.reason)}: {names}")
    return _bullets(lines)


def _artifacts(doc: Document) -> str:
    rows = [[_code(item["path"]), _text(item["kind"]), _code(item["sha256"][:16]),
             fmt.size(item["bytes"]), fmt.optional_size(item["deflate_bytes"])]
            for item in doc["artifacts"]]
    return _table(("File", "Kind", "SHA-256", "Bytes", "Deflated"), rows, left=3)


def _environment(doc: Document) -> str:
    rows = [[_text(key), _text(value)]
            for part in (doc["conditions"], doc["environment"]) for key, value in fmt.flat(part)]
    rows += [[f"step {number}", _text(step)]
             for number, step in enumerate(view.step_texts(doc), 1)]
    if doc["model"]["sha256"]:
        rows.append(["source SHA-256", _code(doc["model"]["sha256"])])
    table = _table(("What", "Value"), rows, left=2)
    return f"<details><summary>Show</summary>\n\n{table}\n\n</details>" if table else ""
