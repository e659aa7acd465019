"""``edgekit compare``: two bundles or reports, side by side."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import options

if TYPE_CHECKING:
    from edgekit.report.regression import Change


def command(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A bundle or a report.json.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A bundle or a report.json.")],
    fail_on: options.FailOn = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> int:
    """Show what changed between two builds; exit 3 when --fail-on says so."""
    from edgekit.core.errors import EXIT_MISSED
    from edgekit.report.regression import compare, parse_limits, read_report, regressions

    limits = parse_limits(fail_on or [])
    before, after = read_report(base), read_report(new)
    rows = compare(before, after)
    if json:
        import json as json_module

        typer.echo(json_module.dumps([row.as_dict() for row in rows], indent=1))
    else:
        _show(rows)
    over = regressions(rows, limits)
    for line in over:
        typer.echo(f"regression: {line}", err=True)
    return EXIT_MISSED if over else 0


def _show(rows: "list[Change]") -> None:
    from rich.console import Console
    from rich.table import Table

    from edgekit.report.format import quantity

    table = Table(box=None, pad_edge=False)
    for heading, justify in (("", "left"), ("base", "right"), ("new", "right"),
                             ("change", "right")):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        shown = "" if row.change_fraction is None else f"{row.change_fraction:+.1%}"
        table.add_row(row.name, quantity(row.base, row.unit), quantity(row.new, row.unit), shown)
    Console().print(table)
