"""The report on a terminal: 80 columns are enough, more are used, a pipe gets plain text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from edgekit.report import format as fmt
from edgekit.report import runs, verdict, view
from edgekit.report.document import MeasurementPart

STATUS_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "unknown": "magenta",
                 "none": "bold"}
_WIDE = 110
_NAMES_SHOWN = 3
# Columns that a name, a value, and a value with its spread take.
_NAME, _CELL, _WIDE_CELL = 32, 13, 26
# Columns that a layer's bytes, share and MACs take, with all gaps.
_LAYER_NUMBERS = 34
_TEXT_COLUMNS = {"stage", "layer", "operator", "type", "on", "name", "how it is known", "output",
                 "budget", "provenance", "status", "headroom", "file name", "kind", "sha256"}
_ASCII = str.maketrans({"×": "x", "−": "-", "–": "-", "·": "-", "…": "~", "≥": ">"})


def render_terminal(document: Mapping[str, Any], console: Console) -> None:
    """Print the report.

    Args:
        document: Validates against ``schema-1.json``. Its texts are untrusted: no markup in them
            is obeyed and control characters are replaced.
        console: Where to print. What its encoding cannot express is printed in ASCII.
    """
    doc = view.as_document(document)
    _emit(console, Text(view.title(doc), "bold"))
    _emit(console, Text(view.subtitle(doc), "dim"))
    print_stages(doc, console)
    if doc["recipe"] is None:
        print_layers(doc, console)
    print_measurements(doc, console)
    print_parity(doc, console)
    print_budgets(doc, console)
    print_remarks(doc, console)
    print_artifacts(doc, console)
    print_verdict(doc, console)


def print_stages(document: Mapping[str, Any], console: Console) -> None:
    """The stages: bytes, deflated, how many times smaller, quality or fidelity, and the drop."""
    doc = view.as_document(document)
    metric = fmt.label(view.metric_of(doc))
    wide = console.width >= _WIDE
    header = ["stage", "file", "×", "deflated", "×", metric, "drop"]
    header += ["cosine", "SQNR", "same top 1"] if wide or not metric else []
    header += ["zeros", "time"] if wide else []
    rows = [[fmt.shorten(row.title, 20), row.file, row.file_ratio, row.deflated,
             row.deflated_ratio, row.quality, row.drop, *(
                 (row.cosine, row.sqnr, row.agreement) if wide or not metric else ()), *(
                 (row.sparsity, row.seconds) if wide else ())] for row in view.stage_rows(doc)]
    _section(console, "Stages", _table(header, rows))


def print_layers(document: Mapping[str, Any], console: Console, most: int = 10) -> None:
    """The layers with the most bytes.

    Args:
        document: The report document.
        console: Where to print.
        most: How many layers to show; the rest is summed up.
    """
    doc = view.as_document(document)
    total = view.final_bytes(doc)
    layers = view.heaviest_layers(doc)
    names = [layer["name"] for layer in layers[:most]]
    kinds = [(fmt.clean(layer["op"]).lower(), fmt.clean(layer["dtype"]))
             for layer in layers[:most]]
    room = console.width - _LAYER_NUMBERS - max((len(a + b) for a, b in kinds), default=0)
    rows = [[fmt.cut(name, max(20, room)), *kind, fmt.size(layer["bytes"]),
             fmt.share(layer["bytes"], total),
             "" if layer["macs"] is None else fmt.count(layer["macs"])]
            for name, kind, layer in zip(view.bare_names(names), kinds, layers, strict=False)]
    parts: list[RenderableType] = [*_table(
        ("layer", "operator", "type", "bytes", "share", "MACs"), rows)]
    if rest := layers[most:]:
        parts.append(Text(f"{fmt.plural(len(rest), 'more layer')} with "
                          f"{fmt.size(sum(layer['bytes'] for layer in rest))} in all", "dim"))
    folder = fmt.clean(view.common_folder(names))
    _section(console, f"Heaviest layers in {folder}" if folder else "Heaviest layers", parts)


def print_measurements(document: Mapping[str, Any], console: Console) -> None:
    """Ways of running side by side, then every other measurement with where it comes from."""
    doc = view.as_document(document)
    if (found := runs.run_table(doc)) is not None:
        with_spread = console.width >= _NAME + _WIDE_CELL * len(found.places)
        room = max(1, (console.width - _NAME) // (_WIDE_CELL if with_spread else _CELL))
        tables = [_run_table(part, with_spread=with_spread) for part in found.columns(room)]
        reasons = [Text(reason) for reason in found.reasons]
        _section(console, found.heading, [*tables, *reasons])
    rows = [[fmt.clean(item["name"]), view.measured_value(item),
             ", ".join(filter(None, (item["provenance"], fmt.clean(item["where"]))))]
            for item in runs.other_measurements(doc)]
    _section(console, "Measurements", _table(("name", "value", "how it is known"), rows))


def _run_table(found: runs.RunTable, *, with_spread: bool) -> Table:
    def cell(item: MeasurementPart | None) -> str:
        if item is None:
            return ""
        spread = runs.spread(item) if with_spread else ""
        return view.measured_value(item) + (f", IQR {spread}" if spread else "")

    header = ["name", *("\n".join(place) for place in found.places), "runs"]
    (table,) = _table(header, [[fmt.clean(row.name), *map(cell, row.cells), row.runs]
                               for row in found.rows])
    return table


def print_parity(document: Mapping[str, Any], console: Console) -> None:
    """Stage 0 against the source framework, one row for each output."""
    doc = view.as_document(document)
    rows = [[fmt.shorten(fmt.clean(item["output"]), max(20, console.width - 46)),
             fmt.significant(item["max_abs"]), fmt.cosine(item["cosine"]),
             "" if item["top1_agreement"] is None else fmt.percent(item["top1_agreement"])]
            for item in doc["parity"]]
    _section(console, "Parity with the source",
             _table(("output", "max difference", "cosine", "same top 1"), rows))


def print_budgets(document: Mapping[str, Any], console: Console) -> None:
    """The budgets, then a line for each one that is missed (with the heaviest layers) or open."""
    doc = view.as_document(document)
    header = ("budget", "limit", "value", "provenance", "status", "headroom")
    rows: list[list[str | Text]] = [
        [fmt.clean(budget["name"]), fmt.quantity(budget["limit"], budget["unit"]),
         verdict.budget_value(budget), budget["provenance"] or fmt.NOTHING,
         Text(budget["status"], STATUS_STYLES[budget["status"]]), verdict.headroom(budget)]
        for budget in doc["budgets"]]
    parts: list[RenderableType] = [*_table(header, rows)]
    for sentence, layers in verdict.missed_lines(doc):
        parts += _marked([("missed", sentence)], STATUS_STYLES["fail"])
        parts += _marked(("      ", f"{fmt.NOTHING} {layer}") for layer in layers)
    parts += _marked((("not certain", line) for line in verdict.unsure_lines(doc)),
                     STATUS_STYLES["warn"])
    _section(console, "Budgets", parts)


def print_remarks(document: Mapping[str, Any], console: Console) -> None:
    """What the steps left as it was, and the choices that they had to make."""
    doc = view.as_document(document)
    lines: list[tuple[str, str]] = []
    for group in view.skipped_groups(doc):
        names = ", ".join(fmt.shorten(name, 48) for name in group.layers[:_NAMES_SHOWN])
        more = len(group.layers) - _NAMES_SHOWN
        names += f" and {more:,} more" if more > 0 else ""
        lines += [(group.stage, group.reason),
                  ("", f"{fmt.plural(len(group.layers), 'layer')}: {names}")]
    _section(console, "Left as it was", _marked(lines))
    _section(console, "Notes", _marked(view.notes(doc)))


def print_artifacts(document: Mapping[str, Any], console: Console) -> None:
    """The files of the bundle."""
    doc = view.as_document(document)
    wide = console.width >= _WIDE
    rows = [[fmt.clean(item["path"]), fmt.clean(item["kind"]), fmt.size(item["bytes"]),
             fmt.optional_size(item["deflate_bytes"]), item["sha256"][:16] if wide else ""]
            for item in doc["artifacts"]]
    _section(console, "Artifacts",
             _table(("file name", "kind", "bytes", "deflated", "sha256"), rows))


def print_verdict(document: Mapping[str, Any], console: Console) -> None:
    """The one line that matters."""
    headline = verdict.headline(view.as_document(document))
    if headline.silent:
        return
    console.print()
    for part in _marked([(headline.word, headline.text)], STATUS_STYLES[headline.status]):
        _emit(console, part)


def _table(header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> list[Table]:
    """A table without lines, as a list of none or one; columns that are empty are left out.

    Args:
        header: Column names; those in ``_TEXT_COLUMNS`` wrap, the others hold numbers.
        rows: Cells; a string is never read as markup.
    """
    if not rows:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    keep = [i for i in range(len(header)) if any(str(row[i]) for row in rows)]
    for i in keep:
        text = header[i] in _TEXT_COLUMNS
        table.add_column(Text(header[i]), justify="left" if text else "right",
                         no_wrap=not text, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell)
                        for cell in (row[i] for i in keep)))
    return [table]


def _marked(lines: Iterable[tuple[str, str]], style: str = "") -> list[RenderableType]:
    """Lines of (mark, text) in two columns, as a list of none or one."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for mark, text in lines:
        grid.add_row(Text(mark, style), Text(text))
    return [grid] if grid.row_count else []


def _section(console: Console, heading: str, parts: Iterable[RenderableType]) -> None:
    """A heading and what is under it; nothing when there is nothing."""
    for number, part in enumerate(parts):
        if number == 0:
            console.print()
            _emit(console, Text(heading, "bold"))
        _emit(console, part)


def _emit(console: Console, part: RenderableType) -> None:
    """Print without trailing blanks and with nothing that the console's encoding lacks."""
    for line in console.render_lines(part, pad=False):
        text = Text.assemble(*((_encodable(segment.text, console.encoding), segment.style or "")
                               for segment in line))
        text.rstrip()
        console.print(text, soft_wrap=True, highlight=False)


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text
