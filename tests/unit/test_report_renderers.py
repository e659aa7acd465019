"""What must hold for every document: nothing hostile gets through, nothing says None."""

import io
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from edgekit.report import document
from edgekit.report.html import render_html
from edgekit.report.markdown import render_markdown
from edgekit.report.terminal import render_terminal

GOLDEN = Path(__file__).parents[1] / "golden"
DOCUMENTS = ("android-build", "mcu-build", "profile")
HOSTILE = ("</title></style><script>alert(1)</script><img src=x onerror=alert(1)>"
           "\"' onload='x' |`[red]](http://e.vil)\x1b[31m\u202e\ud800\n# x")
TAGS = {"html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section",
        "article", "h1", "h2", "h3", "p", "span", "strong", "ul", "ol", "li", "div", "code",
        "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "dl", "dt",
        "dd", "figure", "figcaption", "svg", "desc", "g", "rect", "text", "line", "circle"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "role", "title",
              "tabindex", "scope", "open", "width", "height", "x", "y", "x1", "x2", "y1", "y2",
              "cx", "cy", "r", "dx", "text-anchor"}
# Words that are the schema's own, not the user's.
OWN_NAME = re.compile(r"_(ms|bytes)$|^(macs|parameters|quality_drop)$")
NOTHING_OWN = re.compile("$^")
FIXED = {"schema_version", "provenance", "status", "precision", "unit"}


def load(name):
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


def schema():
    return json.loads(files("edgekit.report").joinpath("schema-1.json").read_text("utf-8"))


def terminal(document, width=80, **options):
    stream = io.StringIO()
    render_terminal(document, Console(file=stream, width=width, **options))
    return stream.getvalue()


RENDERERS = [render_html, render_markdown, terminal]


def hostile(value, key="", own=OWN_NAME):
    """A document whose every text is an attack; edgekit's own names stay, so that sections do."""
    if isinstance(value, dict):
        return {k: hostile(v, k, own) for k, v in value.items()} | (
            {HOSTILE: HOSTILE} if key in ("conditions", "environment") else {})
    if isinstance(value, list):
        return [hostile(item, key, own) for item in value]
    if isinstance(value, str) and key not in FIXED and not (key == "name" and own.search(value)):
        return HOSTILE
    return value


def minimal(**changes):
    document = {
        "schema_version": "1.0", "edgekit_version": "0", "ok": True,
        "model": {"name": "m", "format": "tflite", "sha256": None, "bytes": 1, "parameters": 0,
                  "macs": None, "inputs": [], "outputs": []},
        "target": None, "recipe": None, "parity": [], "stages": [], "layers": [],
        "measurements": [], "series": [], "conditions": {}, "budgets": [], "artifacts": [],
        "environment": {}, **changes}
    jsonschema.Draft202012Validator(schema()).validate(document)
    return document


STAGE = {"name": "import", "kind": "import", "bytes": 10, "deflate_bytes": None, "parameters": 0,
         "sparsity": 0.0, "quality": None, "fidelity": None, "seconds": 0.0, "skipped": []}
SPARSE = [
    minimal(),
    minimal(stages=[STAGE]),
    minimal(stages=[STAGE, {**STAGE, "fidelity": {
        "cosine": 1.0, "sqnr_db": None, "top1_agreement": None}}]),
    minimal(stages=[{**STAGE, "bytes": 0}], layers=[
        {"name": "", "op": "ADD", "dtype": "none", "bytes": 0, "macs": None}]),
    minimal(layers=[{"name": "x", "op": "ADD", "dtype": "int8", "bytes": 9, "macs": None}]),
    minimal(stages=[{**STAGE, "quality": {"metric": "mse", "value": 0.5, "drop": 0.0}}] * 2),
    minimal(series=[{"name": "latency_ms", "unit": "ms", "values": []},
                    {"name": "activation_bytes", "unit": "bytes", "values": []}]),
    minimal(series=[{"name": "latency_ms", "unit": "ms", "values": [3.0] * 5},
                    {"name": "activation_bytes", "unit": "bytes", "values": [0, 0]}]),
    minimal(target={"name": "t", "sha256": "0"}, budgets=[
        {"name": "x_bytes", "limit": 0, "value": None, "unit": "", "provenance": None,
         "status": "unknown"},
        {"name": "latency_ms", "limit": 3, "value": None, "unit": "ms", "provenance": None,
         "status": "fail", "parts": []}], ok=False),
    minimal(measurements=[{"name": "latency_p50_ms", "value": None, "unit": "ms",
                           "provenance": None, "where": "", "n": 1, "spread": None}]),
    minimal(recipe={"name": "r", "seed": 0, "steps": [{}, {"use": "prune", "training": None}]},
            parity=[{"output": "y", "max_abs": 0.0, "cosine": 1.0, "top1_agreement": None}]),
]


class Checker(HTMLParser):
    """Collects what is wrong with a page."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.wrong, self.ids, self.refs, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in TAGS:
            self.wrong.append(tag)
        if tag != "meta":
            self.open.append(tag)
        for key, value in attrs:
            if key not in ATTRIBUTES and not key.startswith("aria-"):
                self.wrong.append(key)
            if key == "id":
                self.ids.append(value)
            if key in ("aria-labelledby", "aria-describedby"):
                self.refs.append(value)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")


def check(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.wrong == []
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert set(checker.refs) <= set(checker.ids)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_page_is_well_formed_and_hostile_names_do_nothing(name):
    check(render_html(load(name)))
    for own in (OWN_NAME, NOTHING_OWN):
        page = render_html(hostile(load(name), own=own))
        check(page)
        assert "<script" not in page
        assert "\x1b" not in page
        page.encode("utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_page_needs_nothing_from_outside(name):
    page = render_html(load(name))
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"https?:|url\(|@import|src=|href=", page)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_hostile_names_leave_markdown_in_shape(name):
    plain, attacked = (render_markdown(doc) for doc in (load(name), hostile(load(name))))
    assert "<script" not in re.sub(r"(`+).+?\1", "", attacked)
    assert "\x1b" not in attacked
    title, *headings = (line for line in attacked.splitlines() if line.startswith("#"))
    assert title.startswith("# &lt;/title&gt;")
    assert set(headings) <= set(plain.splitlines())

    tables = re.findall(r"(?:^\| .*\n)+", attacked, re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    attacked.encode("utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_hostile_names_are_no_terminal_commands(name):
    for own in (OWN_NAME, NOTHING_OWN):
        text = terminal(hostile(load(name), own=own))
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[red]" in text
        text.encode("utf-8")


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize("document", [*SPARSE, *map(load, DOCUMENTS)])
def test_missing_parts_are_left_out(render, document):
    text = render(document)
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", text)
    if render is render_html:
        check(text)


def test_nulls_for_what_is_not_finite_are_survived():
    document = load("android-build")
    document["parity"][0].update(max_abs=None, cosine=None)
    document["stages"][1]["quality"].update(value=None, drop=None)
    document["stages"][1]["fidelity"].update(cosine=None, sqnr_db=None)
    document["series"][0]["values"][3] = None
    document["series"][1]["values"][3] = None
    for render in RENDERERS:
        assert "None" not in render(document)


def test_page_of_a_large_model_is_small():
    document = load("android-build")
    document["layers"] = [
        {"name": f"model/block_{i // 12}/attention_{i % 12}/MatMul;model/block_{i // 12}/bias",
         "op": "FULLY_CONNECTED", "dtype": "int8", "bytes": 1 + i * i, "macs": i}
        for i in range(3000)]
    document["stages"][1]["skipped"] = [
        {"layer": layer["name"], "reason": "too small"} for layer in document["layers"]]
    document["series"] = [{"name": "activation_bytes", "unit": "bytes", "values": [*range(3000)]},
                          {"name": "latency_ms", "unit": "ms", "values": [*range(1, 50_000)]}]
    page = render_html(document)
    check(page)
    assert len(page) < 200_000
    assert "2,800 more layers" in page
    assert len(render_markdown(document)) < 10_000


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_terminal_keeps_to_its_width_without_lines_or_colour(name, width):
    text = terminal(load(name), width)
    assert not re.search(r"[\u2500-\u257f]|\x1b", text)
    assert all(line == line.rstrip() for line in text.splitlines())
    if width >= 80:
        assert max(map(len, text.splitlines())) <= width


def test_terminal_has_colours_on_a_terminal():
    coloured = terminal(load("mcu-build"), force_terminal=True, color_system="standard")
    assert "\x1b[1;31mFAIL" in coloured


def test_terminal_survives_an_old_encoding():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    render_terminal(load("mcu-build"), Console(file=stream, width=80))
    stream.flush()
    assert b"> 298.0 kB" in raw.getvalue()


@pytest.mark.parametrize(("kind", "place"), [
    (document.Document, ()), (document.ModelPart, ("model",)), (document.TargetPart, ("target",)),
    (document.RecipePart, ("recipe",)), (document.ParityPart, ("parity", "items")),
    (document.StagePart, ("stages", "items")),
    (document.QualityPart, ("stages", "items", "quality")),
    (document.FidelityPart, ("stages", "items", "fidelity")),
    (document.SkippedPart, ("stages", "items", "skipped", "items")),
    (document.LayerPart, ("layers", "items")), (document.SeriesPart, ("series", "items")),
    (document.BudgetPart, ("budgets", "items")), (document.ArtifactPart, ("artifacts", "items")),
    (document.MeasurementPart, ("measurement",)), (document.Tensor, ("tensor",)),
])
def test_types_say_what_the_schema_says(kind, place):
    node = schema()
    for step in place:
        node = node["items"] if step == "items" else (
            node["properties"].get(step) or node["$defs"][step])
    assert kind.__required_keys__ == set(node["required"])
    assert kind.__required_keys__ | kind.__optional_keys__ == set(node["properties"])


def test_contrast_is_sufficient():
    """WCAG AA: 4.5 for text on what it stands on, in both schemes."""
    css = files("edgekit.report").joinpath("assets/report.css").read_text("utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
                   for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL))
    pairs = [("ink", "page"), ("ink", "card"), ("muted", "page"), ("muted", "card"),
             ("ink", "soft"), ("fail", "card"),
             *((status, f"{status}-soft") for status in ("pass", "warn", "fail", "unknown")),
             *(("ink", f"{status}-soft") for status in ("pass", "warn", "fail")),
             *(("on-fill", name) for name in ("float32", "float16", "int32", "int16", "int8",
                                              "int4", "int2", "structure", "rest", "other"))]
    for colours in (light, dark):
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground, colours[ground])


def contrast(one, two):
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
