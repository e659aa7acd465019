"""``edgekit check``: gate a .tflite or a bundle against a target's budgets."""

from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.progress import progress


def command(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A .tflite file or a bundle.")],
    target: options.Target = None,
    device: options.Device = "none",
    threads: options.Threads = 1,
    runs: options.Runs = None,
    strict: options.Strict = False,
    accept_estimates: options.AcceptEstimates = False,
    baseline: options.Baseline = None,
    fail_on: options.FailOn = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> int:
    """Hold a deliverable against a target's budgets; exit 3 when one is missed."""
    from edgekit.check import examine, open_deliverable
    from edgekit.cli.output import check_gates, finish
    from edgekit.core.errors import EdgekitError
    from edgekit.core.target import load_target
    from edgekit.plan import BuildRequest

    check_gates(baseline, fail_on)
    if target is None:
        raise EdgekitError("check needs a target", "edgekit check PATH --target NAME")
    profile = load_target(target)
    with progress(quiet=quiet or json) as tell:
        tell(f"checking {path}")
        model = open_deliverable(path)
        request = BuildRequest(model, (target,), device=device, threads=threads, runs=runs,
                               strict=strict, accept_estimates=accept_estimates)
        checked = examine(model, profile, request)
    return finish([checked.document], checked.exit_code, baseline=baseline, fail_on=fail_on,
                  json=json, quiet=quiet)
