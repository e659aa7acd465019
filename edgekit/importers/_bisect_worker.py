"""Runs in the child process: the first inner value that LiteRT computes otherwise than the source.

An error that says "the output is wrong" is of little use for a network of a thousand layers. Both
sides are asked for inner values too, some at a time, and the place where they part is closed in on.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.importers._proof_worker import Arrays
from edgekit.importers.parity import OutputParity

_AT_A_TIME = 24  # values that one conversion has as outputs


class Inside(Protocol):
    """A source whose inner values can be looked at."""

    def names(self) -> Sequence[str]:
        """Inner values in the order in which they are computed."""

    def both(
        self, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[Arrays, Arrays]:
        """These values as the source computes them, and as LiteRT does."""

    def describe(self, name: str) -> str:
        """What computes a value, for a message."""


def first_difference(inside: Inside, inputs: Mapping[str, NDArray[Any]]) -> str:
    """Where the two sides part.

    Args:
        inside: The source.
        inputs: On which the outputs differ.

    Returns:
        What computes the first differing value; empty where none was found: then the outputs
        differ because of what the converter made of the layers together.
    """
    names = list(inside.names())
    good, bad = -1, len(names)
    while bad - good > 1:
        step = max(1, -(-(bad - good - 1) // _AT_A_TIME))
        positions = list(range(good + step, bad, step)) or [good + 1]
        wrong = _wrong(*inside.both([names[p] for p in positions], inputs))
        first = next((p for p in positions if names[p] in wrong), None)
        if first is None:
            good = positions[-1]
        else:
            good, bad = max([p for p in positions if p < first], default=good), first
    return inside.describe(names[bad]) if bad < len(names) else ""


def _wrong(expected: Arrays, got: Arrays) -> set[str]:
    """Which of these values differ."""
    found = set()
    for name, array in expected.items():
        parity = OutputParity()
        parity.add(np.asarray(array), got[name])
        if parity.problem():
            found.add(name)
    return found


def place_of_difference(
    make_inside: Callable[[], Inside], inputs: Mapping[str, NDArray[Any]]
) -> str:
    """``first_difference`` for an error message, which must not fail on its own account."""
    with suppress(Exception):
        return first_difference(make_inside(), inputs)
    return ""
