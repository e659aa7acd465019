"""``edgekit profile``: sizes, memory and latency of a model as it is."""

from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.progress import progress


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Any model that build takes.")],
    target: options.Target = None,
    device: options.Device = "host",
    threads: options.Threads = 1,
    runs: options.Runs = None,
    signature: options.Signature = None,
    input_shape: options.InputShapes = None,
    input_layout: options.InputLayout = None,
    onnx_importer: options.OnnxImporter = "edgekit",
    task: options.Task = None,
    sequence_length: options.SequenceLength = None,
    strict: options.Strict = False,
    accept_estimates: options.AcceptEstimates = False,
    baseline: options.Baseline = None,
    fail_on: options.FailOn = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> int:
    """Measure a model: size by layer and type, MACs, memory, latency, cold start."""
    from edgekit.check import examine
    from edgekit.cli.output import finish
    from edgekit.importers import ImportOptions, import_model
    from edgekit.plan import BuildRequest
    from edgekit.report.regression import read_gates

    gates = read_gates(baseline, fail_on or [])
    profile = options.target_and_its_budgets(target, quiet=quiet or json) if target else None
    how = ImportOptions(
        signature=signature, input_shapes=options.parse_input_shapes(input_shape),
        input_layout=input_layout, onnx_importer=onnx_importer, task=task,
        sequence_length=sequence_length,
    )  # fmt: skip
    with progress(quiet=quiet or json) as tell:
        tell(f"importing {model}")
        loaded = import_model(model, how)
        tell(f"profiling {loaded.name}")
        request = BuildRequest(loaded, (), device=device, threads=threads, runs=runs,
                               strict=strict, accept_estimates=accept_estimates, gates=gates)
        checked = examine(loaded, profile, request)
    return finish([checked.document], checked.exit_code, checked.regressions, json=json,
                  quiet=quiet)
