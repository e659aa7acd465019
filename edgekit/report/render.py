"""The report's files in a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.report.html import render_html
from edgekit.report.json import dump
from edgekit.report.markdown import render_markdown


def write_reports(document: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html``."""
    (folder / "report.json").write_text(dump(document), "utf-8")
    (folder / "report.md").write_text(render_markdown(document), "utf-8")
    (folder / "report.html").write_text(render_html(document), "utf-8")
