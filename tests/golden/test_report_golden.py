"""Three documents and what the renderers make of them, to the byte.

After a wanted change, write them anew and look at what differs in the working tree:

    EDGEKIT_UPDATE_GOLDEN=1 python -m pytest tests/golden/test_report_golden.py
    git diff tests/golden
"""

import io
import json
import os
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from edgekit.report.html import render_html
from edgekit.report.markdown import render_markdown
from edgekit.report.terminal import render_terminal

HERE = Path(__file__).parent
DOCUMENTS = ("android-build", "mcu-build", "profile")
UPDATE = "EDGEKIT_UPDATE_GOLDEN"


def load(name):
    return json.loads((HERE / f"{name}.json").read_text("utf-8"))


def terminal_80(document):
    stream = io.StringIO()
    render_terminal(document, Console(file=stream, width=80, force_terminal=False))
    return stream.getvalue()


RENDERERS = {"md": render_markdown, "txt": terminal_80, "html": render_html}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_valid(name):
    schema = json.loads(files("edgekit.report").joinpath("schema-1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(load(name))


@pytest.mark.parametrize("kind", RENDERERS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_golden(name, kind):
    golden = HERE / f"{name}.{kind}"
    made = RENDERERS[kind](load(name))
    if os.environ.get(UPDATE):
        golden.write_text(made, "utf-8")
    assert made == golden.read_text("utf-8"), f"{golden.name} differs; see this file's docstring"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_terminal_stays_within_80_columns(name):
    assert max(len(line) for line in terminal_80(load(name)).splitlines()) <= 80
