"""``edgekit build``: the main job."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgekit.cli import options
from edgekit.cli.progress import progress

MODEL_HELP = (
    "A .keras, .h5 or .tflite file, a SavedModel folder, or module.py:function. "
    "Without it, ./edgekit.toml says what to build."
)


def command(
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help=MODEL_HELP, show_default=False),
    ] = None,
    target: options.Targets = None,
    recipe: options.Recipe = None,
    out: options.Out = Path("dist"),
    data: options.Data = None,
    evaluation: options.Eval = None,
    metric: options.Metric = None,
    max_drop: options.MaxDrop = None,
    signature: options.Signature = None,
    input_shape: options.InputShapes = None,
    input_layout: options.InputLayout = None,
    onnx_importer: options.OnnxImporter = "edgekit",
    task: options.Task = None,
    sequence_length: options.SequenceLength = None,
    labels: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--labels", metavar="FILE", help="Class names, one per line."),
    ] = None,
    device: options.Device = "host",
    threads: options.Threads = 1,
    runs: options.Runs = None,
    strict: options.Strict = False,
    accept_estimates: options.AcceptEstimates = False,
    keep_names: options.KeepNames = False,
    report: Annotated[
        str, typer.Option("--report", metavar="full|none",
                          help="none: no profiling, no deflated sizes, report.json only.")
    ] = "full",
    baseline: options.Baseline = None,
    fail_on: options.FailOn = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001 - read from the arguments by the error boundary
) -> int:
    """Compress a model for a target, check it against the budgets, and package it."""
    _warm_up(model, recipe)
    from edgekit.builder import build
    from edgekit.cli.output import finish
    from edgekit.core.project import FILE_NAME, load_project, read_labels
    from edgekit.plan import BuildRequest, request_from_project
    from edgekit.report.regression import read_gates

    given: dict[str, Any] = {
        "targets": tuple(target) if target else None,
        "recipe": recipe, "data": data, "evaluation": evaluation, "metric": metric,
        "max_drop": max_drop, "signature": signature,
        "input_shapes": options.parse_input_shapes(input_shape) or None,
        "labels": read_labels(str(labels)) if labels else None,
        "input_layout": input_layout, "task": task, "sequence_length": sequence_length,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value is not None}
    given |= {
        "out": out, "device": device, "threads": threads, "runs": runs, "strict": strict,
        "accept_estimates": accept_estimates, "keep_names": keep_names, "report": report,
        "onnx_importer": onnx_importer, "gates": read_gates(baseline, fail_on or []),
    }  # fmt: skip
    if model is None:
        request = request_from_project(load_project(Path(FILE_NAME)), **given)
    else:
        request = BuildRequest(**{"source": model, "targets": (), **given})
    with progress(quiet=quiet or json) as tell:
        bundles = build(request, tell)
    status = finish([bundle.report for bundle in bundles],
                    max(bundle.exit_code for bundle in bundles),
                    [line for bundle in bundles for line in bundle.regressions],
                    json=json, quiet=quiet)
    if not (json or quiet):
        for bundle in bundles:
            typer.echo(f"bundle: {bundle.folder}")
    return status


def _warm_up(model: str | None, recipe: str | None) -> None:
    """Let the child import what is likely to be needed while this process imports the rest.

    The plan may still refuse the request: then the child is ended, and nothing was done.
    """
    if model is None or recipe == "float32" or not model.endswith(".tflite"):
        return
    from edgekit.core.sandbox import sandbox

    sandbox().start("edgekit.workers.quantize")
