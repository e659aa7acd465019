"""A number and where it comes from."""

from dataclasses import dataclass
from typing import Literal

Provenance = Literal["measured", "simulated", "estimated"]

# From the most to the least trustworthy: a sum is worth what its weakest part is worth.
_STRENGTH: dict[Provenance, int] = {"measured": 0, "simulated": 1, "estimated": 2}


@dataclass(frozen=True)
class Measurement:
    """One named figure.

    Attributes:
        name: Ends in its unit: ``latency_p50_ms``, ``arena_bytes``.
        value: None when unknown.
        unit: ``bytes``, ``ms`` or ``count``.
        provenance: How it is known; None when the value is unknown.
        where: On what, or by which model: "this host, 1 thread", "greedy-by-size plan".
        n: How many runs stand behind it.
        spread: Interquartile range of those runs, in the same unit.
        lower_bound: The true value is at least this (a plan that ignores scratch buffers).
    """

    name: str
    value: float | None
    unit: str
    provenance: Provenance | None
    where: str
    n: int = 1
    spread: float | None = None
    lower_bound: bool = False


@dataclass(frozen=True)
class Series:
    """Many values of one quantity, in order: latencies by run, memory by operator."""

    name: str
    unit: str
    values: tuple[float, ...]


def weakest(provenances: "list[Provenance | None]") -> Provenance | None:
    """The provenance of a sum; None as soon as one part is unknown."""
    known = [p for p in provenances if p is not None]
    if len(known) < len(provenances) or not known:
        return None
    return max(known, key=_STRENGTH.__getitem__)
