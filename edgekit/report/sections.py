"""The sections of the HTML report that are tables and lists; each is None when it has nothing."""

from collections.abc import Sequence

from edgekit.report import charts, runs, verdict, view
from edgekit.report import format as fmt
from edgekit.report.document import ArtifactPart, BudgetPart, Document, MeasurementPart, Tensor
from edgekit.report.markup import Child, Html, el, join

STATUS_SIGNS = {"pass": "✓", "warn": "!", "fail": "✕", "unknown": "?", "none": "–"}
_MOST_LAYERS = 200
_MOST_NAMES = 100
_LONG_COLUMNS = {"Where", "Stage"}


def section(heading: str, *children: Child, wide: bool = True) -> Html | None:
    """A section with its heading, None when it is empty."""
    content = join(*children)
    if not content:
        return None
    return el("section", el("h2", heading), content, class_="wide" if wide else None)


def table(header: Sequence[str], rows: Sequence[Sequence[Child]], caption: str,
          numbers: int = 0) -> Html | None:
    """A table that scrolls sideways by itself where it must.

    Args:
        header: Column names, of one or more lines; columns without content are left out.
        rows: Cells, texts or ``Html``.
        caption: For screen readers.
        numbers: How many columns from the right hold numbers.
    """
    if not rows:
        return None
    keep = [i for i in range(len(header)) if any(row[i] for row in rows)]

    def cell(tag: str, i: int, content: Child) -> Html:
        wraps = "long" if header[i] in _LONG_COLUMNS else None
        return el(tag, content or fmt.NOTHING,
                  class_="num" if i >= len(header) - numbers else wraps,
                  scope="col" if tag == "th" else None)

    head = el("thead", el("tr", [
        cell("th", i, [el("span", line) for line in header[i].split("\n")]) for i in keep]))
    body = el("tbody", [el("tr", [cell("td", i, row[i]) for i in keep]) for row in rows])
    return el("div", el("table", el("caption", caption), head, body), class_="scroll",
              role="region", tabindex=0, aria_label=caption)


def details(summary: str, *children: Child) -> Html | None:
    """Something to open on demand, None when it is empty."""
    content = join(*children)
    return el("details", el("summary", summary), content) if content else None


def code(content: str) -> Html:
    """A name from the model or a file."""
    return el("code", content)


def exact(value: float | None, unit: str, shown: str | None = None) -> Html:
    """A rounded number with all its digits in the tooltip."""
    return el("span", shown or fmt.quantity(value, unit), title=fmt.exact(value, unit))


def budgets(doc: Document) -> Html | None:
    """One card for each budget: verdict, bar, headroom, what the value is made of."""
    cards = [_budget(doc, budget, index) for index, budget in enumerate(doc["budgets"])]
    return section("Budgets", el("div", cards, class_="budgets")) if cards else None


def _budget(doc: Document, budget: BudgetPart, index: int) -> Html:
    status, unit = budget["status"], budget["unit"]
    head = el("div", el("h3", fmt.capital(fmt.label(budget["name"])), title=budget["name"]),
              pill(status, verdict.STATUS_WORDS[status]), class_="budget-head")
    value = el("p", el("strong", exact(verdict.certain_value(budget), unit,
                                       verdict.budget_value(budget))),
               " of ", exact(budget["limit"], unit),
               el("span", f" · {budget['provenance']}", class_="muted")
               if budget["provenance"] else None, class_="budget-value")
    said = verdict.overrun(budget) if status == "fail" else verdict.headroom(budget)
    why = None if status in ("pass", "fail") else el("p", verdict.reason(budget), class_="why")
    heaviest = verdict.heaviest(doc, budget) if status == "fail" else []
    return el("article", head, value, charts.budget_bar(budget, f"budget-{index}"),
              el("p", said, class_="headroom") if said else None, why,
              el("div", el("p", "Heaviest layers", class_="muted"),
                 el("ol", [el("li", layer) for layer in heaviest])) if heaviest else None,
              _parts(budget.get("parts", [])), class_=f"card budget s-{status}")


def _parts(parts: Sequence[MeasurementPart]) -> Html | None:
    """What a budget's value is made of, with where each part comes from."""
    if not parts:
        return None
    rows = [el("li", el("span", class_=f"swatch part-{index % 4}", aria_hidden="true")
               if part["value"] else el("span", class_="swatch", aria_hidden="true"),
               el("span", fmt.label(part["name"]), class_="part-name"),
               exact(part["value"], part["unit"], view.measured_value(part)),
               el("span", source(part), class_="muted"))
            for index, part in enumerate(sorted(parts, key=lambda part: not part["value"]))]
    return el("ul", rows, class_="parts")


def source(item: MeasurementPart) -> str:
    """Where a number comes from: provenance, place, runs and spread."""
    counted = f"{fmt.whole(item['n'])} runs" if item["n"] > 1 else ""
    spread = f"IQR {runs.spread(item)}" if runs.spread(item) else ""
    parts = (item["provenance"], item["where"], counted, spread)
    return ", ".join(part for part in parts if part)


def pill(status: str, words: str) -> Html:
    """A verdict in a word, a sign and a colour."""
    return el("span", el("span", STATUS_SIGNS[status], aria_hidden="true", class_="sign"), words,
              class_=f"pill s-{status}")


def stage_table(doc: Document) -> Html | None:
    """Every number of every stage."""
    metric = fmt.capital(fmt.label(view.metric_of(doc)))
    rows = []
    for row, stage in zip(view.stage_rows(doc), doc["stages"], strict=True):
        deflated = stage["deflate_bytes"]
        rows.append([
            join(row.title,
                 el("span", row.changed, class_="under") if row.changed else None),
            fmt.exact_size(stage["bytes"]), row.file_ratio,
            "" if deflated is None else fmt.exact_size(deflated),
            row.deflated_ratio, row.quality, row.drop, row.cosine, row.sqnr, row.agreement,
            row.sparsity, row.seconds])
    return table(("Stage", "File", "× smaller", "Deflated", "× smaller", metric,
                  "Drop", "Cosine", "SQNR", "Same top 1", "Zeros", "Time"), rows,
                 "The stages in numbers; cosine, SQNR and top 1 against stage 0", numbers=11)


def layer_table(doc: Document) -> Html | None:
    """The heaviest layers; the others summed up, so that the page stays small."""
    layers, total = view.heaviest_layers(doc), view.final_bytes(doc)
    rows = [[code(layer["name"]), layer["op"], layer["dtype"], fmt.exact_size(layer["bytes"]),
             fmt.share(layer["bytes"], total),
             "" if layer["macs"] is None else fmt.whole(layer["macs"])]
            for layer in layers[:_MOST_LAYERS]]
    rest = layers[_MOST_LAYERS:]
    left_out = len(doc["layers"]) - len(layers)
    summed = fmt.size(sum(layer["bytes"] for layer in rest))
    more = [f"{fmt.plural(len(rest), 'more layer')} with {summed} in all: see report.json."
            ] if rest else []
    more += [f"{fmt.plural(left_out, 'layer')} without bytes."] if left_out and rows else []
    return join(table(("Layer", "Operator", "Type", "Bytes", "Of the file", "MACs"), rows,
                      "Layers of the final model by bytes", numbers=3),
                el("p", " ".join(more), class_="muted") if more else None)


def run_tables(doc: Document) -> Html | None:
    """What was measured in several ways of running, side by side."""
    found = runs.run_table(doc)
    if found is None:
        return None
    rows = [[_measured_name(row.name), *map(_run_cell, row.cells), row.runs] for row in found.rows]
    header = ("What", *("\n".join(place) for place in found.places), "Runs")
    return join(el("h3", found.heading),
                table(header, rows, found.heading, numbers=len(found.places) + 1),
                [el("p", fmt.capital(reason), class_="muted reason") for reason in found.reasons])


def _run_cell(item: MeasurementPart | None) -> Child:
    if item is None:
        return ""
    spread = runs.spread(item)
    return join(exact(item["value"], item["unit"], view.measured_value(item)),
                el("span", f"IQR {spread}", class_="under") if spread else None)


def measurements(doc: Document) -> Html | None:
    """Every number that is nowhere else, with where it comes from."""
    rows = [[_measured_name(item["name"]), item["provenance"] or "", item["where"],
             exact(item["value"], item["unit"], view.measured_value(item)), runs.spread(item),
             fmt.whole(item["n"]) if item["n"] > 1 else ""]
            for item in runs.other_measurements(doc)]
    return section("Measurements", run_tables(doc), table(
        ("What", "Provenance", "Where", "Value", "IQR", "Runs"), rows, "Other measurements",
        numbers=3))


def _measured_name(name: str) -> Html:
    return el("span", fmt.capital(fmt.label(name)), title=name)


def parity(doc: Document) -> Html | None:
    """Stage 0 against the source framework."""
    rows = [[code(item["output"]), fmt.significant(item["max_abs"]), fmt.cosine(item["cosine"]),
             "" if item["top1_agreement"] is None else fmt.percent(item["top1_agreement"])]
            for item in doc["parity"]]
    return section("Parity with the source", table(
        ("Output", "Largest difference", "Cosine", "Same top 1"), rows,
        "The imported model against the source framework", numbers=3))


def skipped(doc: Document) -> Html | None:
    """What the steps left alone, by reason."""
    items = []
    for group in view.skipped_groups(doc):
        more = len(group.layers) - _MOST_NAMES
        names = el("ul", [el("li", code(name)) for name in group.layers[:_MOST_NAMES]],
                   el("li", f"and {more:,} more: see report.json") if more > 0 else None,
                   class_="names")
        summary = el("summary", el("strong", group.stage), f" {group.reason} ",
                     el("span", fmt.plural(len(group.layers), "layer"), class_="muted"))
        items.append(el("details", summary, names, open=len(group.layers) <= 2))
    return section("Left as it was, and why", items)


def notes(doc: Document) -> Html | None:
    """Choices that were made for the user."""
    items = [el("li", el("strong", where), f" {note}") for where, note in view.notes(doc)]
    return section("Notes", el("ul", items) if items else None)


def artifacts(doc: Document) -> Html | None:
    """The files of the bundle with their hashes."""
    def row(item: ArtifactPart) -> list[Child]:
        return [code(item["path"]), item["kind"], el("code", item["sha256"], class_="hash"),
                exact(item["bytes"], "bytes"),
                "" if item["deflate_bytes"] is None else exact(item["deflate_bytes"], "bytes")]

    return section("Artifacts", table(("File", "Kind", "SHA-256", "Bytes", "Deflated"),
                                      [row(item) for item in doc["artifacts"]],
                                      "Files of the bundle", numbers=2))


def model(doc: Document) -> Html | None:
    """Where the model came from, its inputs and outputs, and the recipe."""
    part, target = doc["model"], doc["target"]
    facts = [("Format", part["format"]), ("Precision", part.get("precision", "")),
             ("Parameters", fmt.whole(part["parameters"])),
             ("MACs", "" if part["macs"] is None else fmt.whole(part["macs"])),
             ("Imported", fmt.exact_size(part["bytes"])), ("SHA-256", part["sha256"] or "")]
    facts += [("Input", _tensor(tensor)) for tensor in part["inputs"]]
    facts += [("Output", _tensor(tensor)) for tensor in part["outputs"]]
    if target:
        facts += [("Target", target["name"]), ("Target SHA-256", target["sha256"])]
    facts += [(f"Step {number}", step)
              for number, step in enumerate(view.step_texts(doc), 1)]
    return section("Model and recipe", facts_list([fact for fact in facts if fact[1]]), wide=False)


def _tensor(tensor: Tensor) -> str:
    scale, zero = tensor.get("scale"), tensor.get("zero_point")
    grid = f", scale {fmt.trimmed(scale)}, zero point {zero}" \
        if scale is not None and zero is not None else ""
    return f"{tensor['name']}: {view.tensor_text(tensor['shape'], tensor['dtype'])}{grid}"


def surroundings(doc: Document) -> Html | None:
    """Under which conditions and on which machine the numbers came about."""
    return section("Conditions and environment", facts_list(
        fmt.flat(doc["conditions"]) + fmt.flat(doc["environment"])), wide=False)


def facts_list(facts: Sequence[tuple[str, str]]) -> Html | None:
    """Names and values."""
    if not facts:
        return None
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in facts])
