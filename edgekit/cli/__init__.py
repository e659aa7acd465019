"""The command line: one file per command, one place where errors become exit codes."""

import os
import sys
from pathlib import Path

import typer

from edgekit.cli import build, check, compare, doctor, init, inspect, profile, targets
from edgekit.core.errors import EXIT_BUG, EXIT_INTERRUPTED, EdgekitError
from edgekit.core.files import is_out_of_space, unwritable

app = typer.Typer(
    name="edgekit",
    help="From a trained model to a budget-checked artifact on a phone, a board or a "
    "microcontroller.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: 60 ms less start-up
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("init")(init.command)
app.command("build")(build.command)
app.command("inspect")(inspect.command)
app.command("profile")(profile.command)
app.command("check")(check.command)
app.command("compare")(compare.command)
app.add_typer(targets.app, name="targets")
app.command("doctor")(doctor.command)


def _version(value: bool) -> None:
    if value:
        from edgekit import __version__

        typer.echo(f"edgekit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


def run(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit status: see the table in the README.
    """
    debug = "--debug" in arguments
    try:
        status = app(arguments, prog_name="edgekit", standalone_mode=False)
    except EdgekitError as error:
        return _report(error, debug=debug)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader left: "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary
        return _other(error, debug=debug)
    if status == EXIT_INTERRUPTED:  # Typer has caught it, and says nothing
        return _interrupted()
    return status if isinstance(status, int) else 0


def _interrupted() -> int:
    print("\ninterrupted; nothing half-written was left behind", file=sys.stderr)
    return EXIT_INTERRUPTED


def _report(error: EdgekitError, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  → {error.hint}", file=sys.stderr)
    return error.exit_code


def _other(error: Exception, *, debug: bool) -> int:
    """Usage errors, which Typer words, and bugs, which are ours."""
    if isinstance(error, typer.TyperException):
        show = getattr(error, "show", None)
        if show is not None:
            show()
            return int(getattr(error, "exit_code", 2))
        return _interrupted() if isinstance(error, typer.Abort) else 2
    if isinstance(error, OSError) and is_out_of_space(error):
        return _report(unwritable(Path(error.filename or "a file"), error), debug=debug)
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"error: this is a bug in edgekit: {type(error).__name__}: {error}\n"
          "  → please report it, with the model if you can and the output of --debug",
          file=sys.stderr)
    return EXIT_BUG
