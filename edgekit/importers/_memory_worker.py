"""Runs in the child process: memory that goes back to the system while weights are copied about.

A conversion makes and drops copies of all weights. Once glibc has seen a large block freed it puts
the next ones on the heap, and what is small and stays keeps that from shrinking: 20 to 90 MB of
nothing, for a file of 54 MB.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_LARGE_BYTES = 1 << 20
# Where glibc's own rule arrives at sooner or later; it is not followed any more after a change.
_USUAL_BYTES = 32 << 20


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """Inside, blocks of a megabyte and more go back to the system as they are freed.

    Without glibc it does nothing.
    """
    mallopt = _mallopt()
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, _USUAL_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _USUAL_BYTES)


def _mallopt() -> Callable[[int, int], int] | None:
    """The C library's function, if it has one."""
    try:
        return ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return None
