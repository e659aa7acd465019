"""Budgets and verdicts: what a deliverable may cost against what it does cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.core.measurement import Measurement, Provenance, weakest

Status = Literal["pass", "warn", "fail", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """One bound of a target against the number.

    Attributes:
        name: The bound: ``download_bytes``, ``latency_ms``, ``quality_drop``.
        limit: The bound's value.
        value: The sum of the parts, or None when a part is unknown.
        unit: Unit of limit and value.
        provenance: That of the weakest part.
        status: ``warn`` is an estimate that nobody accepted, ``unknown`` a part nobody knows.
        parts: What the value is made of.
        reason: One sentence on why the status is not ``pass``.
    """

    name: str
    limit: float
    value: float | None
    unit: str
    provenance: Provenance | None
    status: Status
    parts: tuple[Measurement, ...] = ()
    reason: str = ""


def judge(
    name: str, limit: float, parts: Sequence[Measurement], *, accept_estimates: bool = False
) -> Verdict:
    """Compare the sum of ``parts`` with ``limit``.

    What is certain counts at once: when the measured parts and the lower bounds alone are over
    the limit, the verdict is ``fail`` whatever the rest turns out to be.
    """
    unit = parts[0].unit if parts else ""
    provenance = weakest([part.provenance for part in parts])
    unknown = [part for part in parts if part.value is None]
    value = None if unknown or not parts else sum(part.value or 0 for part in parts)
    certain = sum(part.value or 0 for part in parts
                  if part.lower_bound or part.provenance in ("measured", "simulated"))
    status, reason = _status(value, certain, limit, provenance, unknown, accept_estimates)
    return Verdict(name, limit, value, unit, provenance, status, tuple(parts), reason)


def _status(
    value: float | None,
    certain: float,
    limit: float,
    provenance: Provenance | None,
    unknown: Sequence[Measurement],
    accept_estimates: bool,
) -> tuple[Status, str]:
    if certain > limit:
        return "fail", "over the limit"
    if value is None:
        missing = ", ".join(f"{part.name} ({part.where})" for part in unknown)
        return "unknown", f"not known: {missing}" if missing else "nothing measured"
    over = value > limit
    if provenance == "estimated" and not accept_estimates:
        side = "over" if over else "within"
        return "warn", f"an estimate, {side} the limit; --accept-estimates lets it decide"
    return ("fail", "over the limit") if over else ("pass", "")


def missed(verdicts: Sequence[Verdict], *, strict: bool = False) -> list[Verdict]:
    """The verdicts that make the exit code 3."""
    bad = {"fail", "warn", "unknown"} if strict else {"fail"}
    return [verdict for verdict in verdicts if verdict.status in bad]
