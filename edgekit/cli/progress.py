"""Progress on stderr: a spinner on a terminal, silence elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A function that is told what is being done.

    On a terminal it shows one line that is gone at the end; in a pipe or a CI log, nothing:
    a log is read afterwards, and the report says what was done.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _message: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update
