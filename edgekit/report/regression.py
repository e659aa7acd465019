"""Two reports side by side, and gates on what grew: ``--fail-on NAME:+5%``."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, did_you_mean

_LIMIT = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+):\+(?P<amount>[0-9]+(\.[0-9]+)?)(?P<unit>%|[a-zA-Z]*)"
)
_SCALES = {"": 1.0, "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "ms": 1.0, "pp": 1.0}
_MAX_REPORT_BYTES = 200_000_000


@dataclass(frozen=True)
class Change:
    """One number in two reports."""

    name: str
    unit: str
    base: float | None
    new: float | None
    change_fraction: float | None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class Limit:
    """How much a number may grow: by a fraction of the base, or by an amount in its unit."""

    name: str
    fraction: float | None
    amount: float | None


@dataclass(frozen=True)
class Gates:
    """``--baseline`` and ``--fail-on``: an earlier report, and how much may have grown since."""

    base: Mapping[str, Any]
    limits: tuple[Limit, ...]

    def exceeded(self, document: Mapping[str, Any]) -> list[str]:
        """One line for each limit that the new report exceeds.

        Raises:
            EdgekitError: A limit on a number that the reports do not both have.
        """
        return regressions(compare(self.base, document), self.limits)


def read_gates(baseline: str | None, fail_on: Sequence[str]) -> Gates | None:
    """The gates of a command line; None when it has none.

    Raises:
        EdgekitError: One of the two without the other, or the baseline is no report.
    """
    limits = tuple(parse_limits(fail_on))
    if baseline is None and not limits:
        return None
    if baseline is None:
        raise EdgekitError("--fail-on needs something to compare with", "give --baseline REPORT")
    if not limits:
        raise EdgekitError("--baseline alone gates nothing", "say what may grow by how much: "
                           "--fail-on download_bytes:+5%")
    return Gates(read_report(baseline), limits)


def parse_limits(given: Sequence[str]) -> list[Limit]:
    """``NAME:+5%`` or ``NAME:+200kB``; several may be joined by commas.

    Raises:
        EdgekitError: Not of that form.
    """
    limits: list[Limit] = []
    for text in given:
        name = ""
        for part in text.split(","):
            found = _LIMIT.fullmatch(part if ":" in part else f"{name}:{part}")
            if found is None or found["unit"] not in (*_SCALES, "%"):
                raise EdgekitError(f"--fail-on '{text}' is not of the form NAME:+5% or NAME:+200kB")
            name, amount = found["name"], float(found["amount"])
            if found["unit"] == "%":
                limits.append(Limit(name, amount / 100.0, None))
            else:
                limits.append(Limit(name, None, amount * _SCALES[found["unit"]]))
    return limits


def read_report(path: str) -> dict[str, Any]:
    """A report.json, or the one of a bundle.

    Raises:
        EdgekitError: It is not there, or not a report.
    """
    place = Path(path)
    file = place / "report.json" if place.is_dir() else place
    try:
        if file.stat().st_size > _MAX_REPORT_BYTES:
            raise EdgekitError(f"{file} is too large to be a report")
        document = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise EdgekitError(f"{file} does not exist", "give a bundle or a report.json") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EdgekitError(f"{file} cannot be read as a report: {error}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, str) or not version.startswith("1."):
        raise EdgekitError(f"{file} is no report of this version (schema_version {version!r})")
    return document  # type: ignore[no-any-return]


def numbers(document: Mapping[str, Any]) -> dict[str, tuple[float | None, str]]:
    """Every number of a report that can be compared, with its unit, by name."""
    found: dict[str, tuple[float | None, str]] = {}
    try:
        last = document["stages"][-1] if document["stages"] else None
        if last is not None:
            found["bytes"] = (last["bytes"], "bytes")
            found["deflate_bytes"] = (last["deflate_bytes"], "bytes")
            if last["quality"] is not None:
                found["quality"] = (last["quality"]["value"], last["quality"]["metric"])
        for row in document["budgets"]:
            found[row["name"]] = (row["value"], row["unit"])
        for row in document["measurements"]:
            name = row["name"]
            key = name if name not in found else f"{name} ({row['where']})"
            found.setdefault(key, (row["value"], row["unit"]))
    except (KeyError, TypeError, IndexError) as error:
        raise EdgekitError("the report lacks a part that every report has") from error
    return found


def compare(base: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Each number that one of the two has."""
    before, after = numbers(base), numbers(new)
    rows = []
    for name in dict.fromkeys((*after, *before)):
        old, unit = before.get(name, (None, after.get(name, (None, ""))[1]))
        current = after.get(name, (None, unit))[0]
        fraction = (current - old) / old if current is not None and old else None
        rows.append(Change(name, unit, old, current, fraction))
    return rows


def regressions(rows: Sequence[Change], limits: Sequence[Limit]) -> list[str]:
    """One line for each limit that is exceeded.

    Raises:
        EdgekitError: A limit on a number that the reports do not both have.
    """
    known = {row.name: row for row in rows}
    over = []
    for limit in limits:
        row = known.get(limit.name)
        if row is None:
            raise EdgekitError(f"--fail-on names '{limit.name}', which is in neither report",
                               did_you_mean(limit.name, known))
        if row.base is None or row.new is None:
            raise EdgekitError(f"--fail-on names '{limit.name}', which one of the reports lacks")
        allowed = row.base * limit.fraction if limit.fraction is not None else limit.amount or 0.0
        if row.new - row.base > allowed:
            over.append(f"{row.name} went from {row.base:g} to {row.new:g} {row.unit}, "
                        f"{row.new - row.base:+g}; {allowed:g} is allowed")
    return over
