"""``edgekit doctor``: what is installed, and what each missing part would enable."""

from typing import Any

import typer

from edgekit.cli import options

_CORE = ("ai-edge-litert", "litert-quantizer", "flatbuffers", "numpy", "pydantic", "rich", "typer")


def command(json: options.Json = False) -> int:
    """Show what is installed, what each missing extra would enable, and the exact commands."""
    found = examine()
    if json:
        import json as json_module

        typer.echo(json_module.dumps(found, indent=1))
        return 0
    typer.echo(f"edgekit {found['edgekit']}, Python {found['python']}, {found['platform']}")
    for name, version in found["core"].items():
        typer.echo(f"  {'ok' if version else 'missing':8}{name} {version or ''}")
    for extra in found["extras"]:
        state = "ok" if not extra["missing"] else "missing"
        typer.echo(f"  {state:8}extra '{extra['name']}': {extra['enables']}")
        if extra["missing"]:
            typer.echo(f"          missing {', '.join(extra['missing'])}: {extra['command']}")
    for name, note in found["machine"].items():
        typer.echo(f"  {'note':8}{name}: {note}")
    return 0


def examine() -> dict[str, Any]:
    """Everything that ``doctor`` shows, as data."""
    import platform

    from edgekit import __version__
    from edgekit.core.extras import EXTRAS
    from edgekit.environment import cpu_model, installed

    extras = []
    for name, extra in EXTRAS.items():
        missing = [d for d in extra.distributions if installed(d) is None]
        extras.append({"name": name, "enables": extra.enables, "missing": missing,
                       "command": extra.command})
    return {
        "edgekit": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "core": {name: installed(name) for name in _CORE},
        "extras": extras,
        "machine": {"cpu": cpu_model()},
    }
