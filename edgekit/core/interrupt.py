"""Ctrl-C that is not lost.

Python turns the signal into an exception wherever the program happens to be. That can be inside
other people's code that catches everything: one Ctrl-C in a hundred while NumPy and its company
were being imported vanished without a word, and the build went on for twenty seconds. So it is
also remembered, and looked at before each longer piece of work.
"""

import signal
from types import FrameType

_pressed = False


def remember() -> None:
    """Remember Ctrl-C from here on; for the command line, which owns its process."""
    signal.signal(signal.SIGINT, _on_signal)


def check() -> None:
    """Do not start anything more after Ctrl-C.

    Raises:
        KeyboardInterrupt: It was pressed.
    """
    if _pressed:
        raise KeyboardInterrupt


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    global _pressed  # noqa: PLW0603 - a signal's state is the process's
    _pressed = True
    raise KeyboardInterrupt
