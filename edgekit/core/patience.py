"""How long a model may run on inputs that nobody gave.

A loop in a model ends when a value says so, and random numbers or zeros may never have that value:
an ONNX Loop, a TensorFlow ``while``, a WHILE of a ``.tflite``. Inputs that the user gave run for as
long as they take; the ones that are made up here get a limit, counted in computing time, so that a
busy or sleeping machine does not use it up.

Runtimes compute in native code that no Python gets into: the kernel ends the child process, by a
signal that nothing else sends, and ``edgekit.core.sandbox`` makes an error of that.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from edgekit.core.errors import EdgekitError

# For one sample. 10^12 multiply-accumulates, a network that no device runs, are a tenth of it.
LIMIT_SECONDS = 600.0
SIGNAL = signal.SIGPROF

_TIMER = signal.ITIMER_PROF
_Sample = TypeVar("_Sample")


@contextmanager
def must_end() -> Iterator[None]:
    """In the child: end the process when the block computes for longer than the limit."""
    signal.signal(SIGNAL, signal.SIG_DFL)  # the parent's parent may have it ignored
    signal.setitimer(_TIMER, LIMIT_SECONDS)
    try:
        yield
    finally:
        stop()


def each_must_end(samples: Iterable[_Sample]) -> Iterator[_Sample]:
    """In the child: the limit for what is done with each sample until the next one is asked for."""
    for sample in samples:
        with must_end():
            yield sample


def stop() -> None:
    """Take the limit off; for a call that an error has ended."""
    signal.setitimer(_TIMER, 0.0)


def endless(what: str) -> EdgekitError:
    """The parent's error for a child that was ended.

    Args:
        what: What it did: "importing net.onnx".
    """
    return EdgekitError(
        f"stopped {what}: the model did not come to an end within {LIMIT_SECONDS / 60:.0f} minutes "
        "of computing on inputs that edgekit made up",
        "a loop in it may wait for values that they do not have: give real inputs with --data")
