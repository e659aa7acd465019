"""``edgekit init``: write an edgekit.toml for the model in this folder."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgekit.cli import options

_MODELS = ("*.keras", "*.h5", "*.hdf5", "*.tflite")


def command(
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="The model; without it, the only one in this folder.",
                       show_default=False),
    ] = None,
    target: options.Targets = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Replace an edgekit.toml.")] = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> int:
    """Write an edgekit.toml that 'edgekit build' reads."""
    from edgekit.core.errors import EdgekitError
    from edgekit.core.files import write_atomically
    from edgekit.core.project import FILE_NAME
    from edgekit.core.target import load_target
    from edgekit.importers import find_importer

    file = Path(FILE_NAME)
    if file.exists() and not yes:
        raise EdgekitError(f"{file} is there already", "edgekit init -y replaces it")
    source = model or _only_model(Path())
    find_importer(source)
    names = target or ["android"]
    for name in names:
        load_target(name)
    write_atomically(file, _text(source, names).encode())
    typer.echo(f"wrote {file} for {source}; next: edgekit build")
    return 0


def _only_model(folder: Path) -> str:
    """The one model in a folder, by suffix; SavedModel folders by their file."""
    from edgekit.core.errors import EdgekitError

    found = sorted(path.name for pattern in _MODELS for path in folder.glob(pattern))
    found += sorted(path.parent.name for path in folder.glob("*/saved_model.pb"))
    if not found:
        raise EdgekitError("no model in this folder", "edgekit init MODEL")
    if len(found) > 1:
        raise EdgekitError(f"several models here: {', '.join(found)}", "edgekit init MODEL")
    return found[0]


def _text(source: str, targets: list[str]) -> str:
    """The file, with what can be added shown as comments."""
    import json

    tables = "\n".join(f"[targets.{_key(name)}]"
                       for name in targets)
    data = "".join(
        f'{key} = "{name}"\n' if Path(name).exists() else f'# {key} = "{name}"\n'
        for key, name in (("calibration", "calibration.npz"), ("evaluation", "evaluation.npz"))
    )
    labels = 'labels = "labels.txt"' if Path("labels.txt").exists() else '# labels = "labels.txt"'
    return f"""\
# What 'edgekit build' does in this folder. Every key: docs/guide.md, or edgekit build --help.

[model]
path = {json.dumps(source)}
{labels}    # class names, one per line

[data]
# One array per input (x when there is one), labels as y; the first axis is the sample.
{data}# metric = "accuracy"    # accuracy | mse | cosine | module.py:function
# max_drop = 0.5         # percentage points of accuracy

# [recipe]               # without it, each target chooses: 'edgekit targets show NAME'
# [[recipe.step]]
# use = "quantize"
# scheme = "static"

{tables}
# [targets.{_key(targets[0])}.budget]
# download_bytes = 5_000_000
"""


def _key(name: str) -> str:
    """A target's name or file as a TOML key; a dot in a bare key would nest it."""
    import json

    return name if "." not in name and "/" not in name else json.dumps(name)
