"""Results on stdout."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_documents(documents: Sequence[Mapping[str, Any]]) -> None:
    """Exactly the report document; a list of them when several targets were built."""
    from edgekit.report.json import dump

    if len(documents) == 1:
        sys.stdout.write(dump(documents[0]))
    else:
        json.dump(list(documents), sys.stdout, indent=1, ensure_ascii=False)
        sys.stdout.write("\n")


def check_gates(baseline: str | None, fail_on: list[str] | None) -> None:
    """See that ``--baseline`` and ``--fail-on`` make sense before any work is done.

    Raises:
        EdgekitError: They do not, or the baseline is no report.
    """
    if not fail_on and baseline is None:
        return
    from edgekit.core.errors import EdgekitError
    from edgekit.report.regression import parse_limits, read_report

    if parse_limits(fail_on or []) and baseline is None:
        raise EdgekitError("--fail-on needs something to compare with", "give --baseline REPORT")
    if baseline is not None and not fail_on:
        raise EdgekitError("--baseline alone gates nothing", "say what may grow by how much: "
                           "--fail-on download_bytes:+5%")
    read_report(str(baseline))


def finish(
    documents: Sequence[Mapping[str, Any]],
    exit_code: int,
    *,
    baseline: str | None,
    fail_on: list[str] | None,
    json: bool,
    quiet: bool,
) -> int:
    """Print results, hold them against a baseline, and give the exit status."""
    from edgekit.core.errors import EXIT_MISSED
    from edgekit.report.regression import compare, parse_limits, read_report, regressions

    limits = parse_limits(fail_on or [])
    over: list[str] = []
    if baseline is not None:
        before = read_report(baseline)
        over = [line for document in documents
                for line in regressions(compare(before, document), limits)]
    if over:
        documents = [{**document, "ok": False} for document in documents]
    if json:
        print_documents(documents)
    elif not quiet:
        for document in documents:
            print_report(document)
    for line in over:
        print(f"regression: {line}", file=sys.stderr)
    if quiet and exit_code:
        print("a bound is missed: the report says which", file=sys.stderr)
    return EXIT_MISSED if over else exit_code


def print_report(document: Mapping[str, Any]) -> None:
    """The report as a terminal shows it."""
    from rich.console import Console

    from edgekit.report.terminal import render_terminal

    class Plain(Console):
        """A console whose reader may leave: rich would exit with 1, which means a bug here."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    render_terminal(document, Plain())
