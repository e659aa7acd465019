"""Options that mean the same on every command that has them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from edgekit.core.target import Target as TargetProfile

Targets = Annotated[
    Optional[list[str]],  # noqa: UP045 - Typer evaluates it
    typer.Option("-t", "--target", metavar="NAME|FILE", help="Target device; repeats."),
]
Target = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("-t", "--target", metavar="NAME|FILE", help="Target device."),
]
Recipe = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("-r", "--recipe", metavar="NAME|FILE", help="Recipe, instead of the target's."),
]
Out = Annotated[
    Path, typer.Option("-o", "--out", metavar="DIR", help="Where bundles are written.")
]
Data = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("-d", "--data", metavar="FILE.npz|DIR|module.py:function",
                 help="Calibration data."),
]  # fmt: skip
Eval = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--eval", metavar="FILE.npz|DIR|module.py:function",
                 help="Evaluation data; labels as y."),
]  # fmt: skip
Metric = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--metric", metavar="accuracy|mse|cosine|module.py:function",
                 help="What quality means; default accuracy with labels, else agreement."),
]  # fmt: skip
MaxDrop = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--max-drop", metavar="N", min=0.0,
                 help="Largest loss of quality: percentage points for accuracy and agreement, "
                 "per cent of the float value otherwise."),
]  # fmt: skip
Signature = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--signature", metavar="NAME", help="Which signature, where there are several."),
]
InputShapes = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--input-shape", metavar="NAME=1,3,320,320",
                 help="Fix an open shape; repeats."),
]  # fmt: skip
InputLayout = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--input-layout", metavar="nhwc",
                 help="Give picture inputs of an ONNX file their channels last."),
]  # fmt: skip
OnnxImporter = Annotated[
    str, typer.Option("--onnx-importer", metavar="edgekit|onnx2tf",
                      help="Who imports ONNX files.")
]
Task = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--task", metavar="NAME",
                 help="What a Hugging Face model is for: text-classification …"),
]  # fmt: skip
SequenceLength = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--sequence-length", min=1, metavar="N",
                 help="Tokens that a Hugging Face model takes."),
]  # fmt: skip
Device = Annotated[
    str, typer.Option("--device", metavar="none|host", help="Where to measure.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, metavar="N", help="Threads to run on.")]
Runs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--runs", min=1, metavar="N", help="Timed runs; default: as many as fit 1 s."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Unknown or estimated budgets count as missed (exit 3).")
]
AcceptEstimates = Annotated[
    bool, typer.Option("--accept-estimates", help="Let estimates decide a budget.")
]
KeepNames = Annotated[
    bool, typer.Option("--keep-names", help="Keep inner tensor names, for debugging.")
]
Baseline = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--baseline", metavar="REPORT", help="An earlier report.json or bundle."),
]
FailOn = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--fail-on", metavar="NAME:+5%",
                 help="Exit 3 when a number grew by more than this; repeats."),
]  # fmt: skip
Json = Annotated[
    bool, typer.Option("--json", help="Print the report document and nothing else.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


def parse_input_shapes(given: list[str] | None) -> dict[str, tuple[int, ...]]:
    """``NAME=1,3,320,320`` as a mapping.

    Raises:
        EdgekitError: Not of that form.
    """
    from edgekit.core.errors import EdgekitError

    shapes: dict[str, tuple[int, ...]] = {}
    for text in given or []:
        name, _, sizes = text.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise EdgekitError(f"--input-shape '{text}' is not of the form NAME=1,3,320,320")
        shapes[name] = shape
    return shapes


def target_and_its_budgets(name: str, *, quiet: bool) -> "TargetProfile":
    """A target with the budgets that this folder's ``edgekit.toml`` sets for it, if any.

    Raises:
        EdgekitError: No such target, or a damaged ``edgekit.toml``.
    """
    from edgekit.core.project import FILE_NAME, target_here

    target, is_adapted = target_here(name)
    if is_adapted and not quiet:
        typer.echo(f"{name}: with what ./{FILE_NAME} says of it", err=True)
    return target
