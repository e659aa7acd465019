"""``edgekit inspect``: what is in a model, and what a target would refuse."""

from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.progress import progress


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Any model that build takes.")],
    target: options.Target = None,
    signature: options.Signature = None,
    input_shape: options.InputShapes = None,
    input_layout: options.InputLayout = None,
    onnx_importer: options.OnnxImporter = "edgekit",
    task: options.Task = None,
    sequence_length: options.SequenceLength = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> int:
    """Show layers, sizes, MACs and types of a model; with -t, what that target would refuse."""
    from edgekit.check import describe
    from edgekit.cli.output import print_documents, print_report
    from edgekit.core.target import load_target
    from edgekit.importers import ImportOptions, import_model
    from edgekit.verdicts import unsupported

    profile = load_target(target) if target else None
    how = ImportOptions(
        signature=signature, input_shapes=options.parse_input_shapes(input_shape),
        input_layout=input_layout, onnx_importer=onnx_importer, task=task,
        sequence_length=sequence_length,
    )  # fmt: skip
    with progress(quiet=json) as tell:
        tell(f"importing {model}")
        loaded = import_model(model, how)
    document = describe(loaded, profile)
    refused = unsupported(loaded, profile) if profile else []
    if json:
        print_documents([document])
        return 0
    print_report(document)
    if profile is not None:
        _show_refused(profile.name, refused, loaded.precision in profile.accepts.precisions,
                      loaded.precision)
    return 0


def _show_refused(target: str, refused: list[str], precision_fits: bool, precision: str) -> None:
    if not refused and precision_fits:
        typer.echo(f"{target} runs this model as it is.")
        return
    typer.echo(f"{target} would refuse:")
    if not precision_fits:
        typer.echo(f"  a {precision} model (quantize it: --recipe static-int8)")
    for row in refused:
        typer.echo(f"  {row}")
