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


def finish(
    documents: Sequence[Mapping[str, Any]],
    exit_code: int,
    regressions: Sequence[str],
    *,
    json: bool,
    quiet: bool,
) -> int:
    """Print results, and give the exit status."""
    if json:
        print_documents(documents)
    elif not quiet:
        for document in documents:
            print_report(document)
    for line in regressions:
        print(f"regression: {line}", file=sys.stderr)
    if quiet and exit_code and not regressions:
        print("a bound is missed: the report says which", file=sys.stderr)
    return exit_code


def print_report(document: Mapping[str, Any]) -> None:
    """The report as a terminal shows it."""
    from rich.console import Console

    from edgekit.report.terminal import render_terminal

    class Plain(Console):
        """A console whose reader may leave: rich would exit with 1, which means a bug here."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    render_terminal(document, Plain())
