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
    from edgekit.cli.output import finish
    from edgekit.core.errors import EdgekitError
    from edgekit.plan import BuildRequest
    from edgekit.report.regression import read_gates

    gates = read_gates(baseline, fail_on or [])
    if target is None:
        raise EdgekitError("check needs a target", "edgekit check PATH --target NAME")
    profile = options.target_and_its_budgets(target, quiet=quiet or json)
    with progress(quiet=quiet or json) as tell:
        tell(f"checking {path}")
        model = open_deliverable(path)
        request = BuildRequest(model, (target,), device=device, threads=threads, runs=runs,
                               strict=strict, accept_estimates=accept_estimates, gates=gates)
        checked = examine(model, profile, request)
    return finish([checked.document], checked.exit_code, checked.regressions, json=json,
                  quiet=quiet)
