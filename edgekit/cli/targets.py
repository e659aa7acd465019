"""``edgekit targets``: list, show, validate."""

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import options

app = typer.Typer(help="Target device profiles: list, show, validate.", no_args_is_help=True,
                  rich_markup_mode=None)  # fmt: skip

@app.command("list")
def list_targets(json: options.Json = False) -> int:
    """The shipped targets and their budgets."""
    from edgekit.core.target import load_target, target_names

    rows = [load_target(name) for name in target_names()]
    if json:
        import json as json_module

        typer.echo(json_module.dumps(
            [{"name": t.name, "title": t.title, "kind": t.kind, "budget": dict(t.budget.limits())}
             for t in rows], indent=1))  # fmt: skip
        return 0
    width = max(len(t.name) for t in rows)
    for target in rows:
        typer.echo(f"{target.name:{width}}  {target.kind:8} {target.title}")
    return 0


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A target.")],
    json: options.Json = False,
) -> int:
    """One target: what it accepts, what it may cost, and where each number was published."""
    from edgekit.core.target import load_target

    target = load_target(name)
    if json:
        typer.echo(target.model_dump_json(indent=1))
        return 0
    typer.echo(f"{target.name}: {target.title}")
    typer.echo(f"  engine    {target.runtime.engine}")
    typer.echo(f"  hardware  {target.hardware.cpu}, {target.hardware.cores} core(s)")
    typer.echo(f"  accepts   {', '.join(target.accepts.precisions)} models")
    typer.echo(f"  recipe    {target.recipe.with_data} with data, "
               f"{target.recipe.without_data or 'none (data required)'} without")
    typer.echo(f"  package   {', '.join(target.package.files)}")
    for field, value in target.numbers():
        source = target.source_of(field)
        typer.echo(f"  {field} = {value:,}")
        if source is not None:
            typer.echo(f"      {source.value} ({source.url or 'edgekit'}, {source.date})")
            if source.note:
                typer.echo(f"      {source.note}")
    return 0


@app.command("validate")
def validate(
    file: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A target.")],
) -> int:
    """Check a target file of your own: every problem, not only the first."""
    from edgekit.core.errors import EdgekitError
    from edgekit.core.target import load_target, problems_of, read_target

    if not file.endswith(".toml") and "/" not in file:
        target = load_target(file)
    else:
        target = read_target(Path(file))
    problems = problems_of(target)
    if problems:
        raise EdgekitError(f"{file}: " + "; ".join(problems),
                           "every number states where it comes from ([[source]])")
    typer.echo(f"{file} is sound: {len(list(target.numbers()))} numbers, each with its source")
    return 0
