"""Measurements side by side: what was measured in several ways of running becomes one table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgekit.report import format as fmt
from edgekit.report.document import Document, MeasurementPart

LATENCIES = ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms")


@dataclass(frozen=True)
class RunRow:
    """One quantity in each way of running; None where it was not looked at."""

    name: str
    cells: tuple[MeasurementPart | None, ...]

    @property
    def runs(self) -> str:
        """How many runs stand behind the values: ``50``, ``5 to 50``."""
        counts = sorted({cell["n"] for cell in self.cells if cell and cell["value"] is not None})
        if not counts or counts == [1]:
            return ""
        return " to ".join(dict.fromkeys(fmt.whole(count) for count in (counts[0], counts[-1])))


@dataclass(frozen=True)
class RunTable:
    """Ways of running as columns, quantities as rows.

    Attributes:
        heading: What all columns have in common: ``Measured on this host (x86-64)``.
        places: What tells the columns apart, in parts: ``("1 thread", "XNNPACK on")``.
        rows: In the document's order.
        reasons: Why some values are unknown, one sentence for each reason.
    """

    heading: str
    places: tuple[tuple[str, ...], ...]
    rows: tuple[RunRow, ...]
    reasons: tuple[str, ...]

    def columns(self, most: int) -> Iterator["RunTable"]:
        """The same table in pieces of at most ``most`` columns."""
        for start in range(0, len(self.places), most):
            part = slice(start, start + most)
            yield RunTable(self.heading, self.places[part], tuple(
                RunRow(row.name, row.cells[part]) for row in self.rows if any(row.cells[part])),
                self.reasons if start + most >= len(self.places) else ())


def run_table(document: Document) -> RunTable | None:
    """Every way of running for which two or more numbers are known; None without one."""
    places = _places(document)
    if not places:
        return None
    found: dict[str, dict[str, MeasurementPart]] = {}
    reasons: dict[str, list[str]] = {}
    for item in _not_shown_elsewhere(document):
        if (place := _place_of(item, places)) is not None:
            found.setdefault(item["name"], {}).setdefault(place, item)
            if reason := item["where"].removeprefix(place).removeprefix(": "):
                reasons.setdefault(reason, []).append(fmt.label(item["name"]))
    provenances = {item["provenance"] for row in found.values() for item in row.values()} - {None}
    common, columns = _without_common(places)
    how = f"{fmt.capital(str(provenances.pop()))} on" if len(provenances) == 1 else "On"
    rows = (RunRow(name, tuple(row.get(place) for place in places)) for name, row in found.items())
    return RunTable(fmt.clean(f"{how} {common}" if common else "Ways of running"), columns,
                    tuple(rows), tuple(_reason_texts(reasons)))


def other_measurements(document: Document) -> list[MeasurementPart]:
    """What ``run_table`` does not show, nor the stages, nor the subtitle."""
    places = _places(document)
    return [item for item in _not_shown_elsewhere(document) if _place_of(item, places) is None]


def spread(item: MeasurementPart) -> str:
    """The interquartile range; that of all runs is said once, with the median."""
    if item["spread"] is None or item["value"] is None or item["name"] in LATENCIES[1:]:
        return ""
    return fmt.quantity(item["spread"], item["unit"])


def latencies_at(document: Document, where: str) -> Mapping[str, float]:
    """The known percentiles of one way of running: ``{"p50": 3.2, …}``."""
    return {item["name"].split("_")[1]: item["value"] for item in document["measurements"]
            if item["name"] in LATENCIES and item["where"] == where and item["value"] is not None}


def timed_at(document: Document, where: str) -> int:
    """How many runs stand behind the latencies of one way of running; 0 when there are none."""
    return max((item["n"] for item in document["measurements"]
                if item["name"] in LATENCIES and item["where"] == where), default=0)


def first_latency(document: Document, besides: Sequence[str] = ()) -> MeasurementPart | None:
    """The first known median latency of a way of running that is not among ``besides``."""
    return next((item for item in document["measurements"] if item["name"] == LATENCIES[0]
                 and item["value"] is not None and item["where"] not in besides), None)


def _not_shown_elsewhere(document: Document) -> list[MeasurementPart]:
    shown = {"file_bytes", "deflate_bytes", "parameters"} if document["stages"] else set()
    shown |= {"macs"} if document["model"]["macs"] is not None else set()
    return [item for item in document["measurements"] if item["name"] not in shown]


def _places(document: Document) -> list[str]:
    """The ways of running, in order: each ``where`` of two or more known numbers."""
    names: dict[str, set[str]] = {}
    for item in _not_shown_elsewhere(document):
        if item["value"] is not None:
            names.setdefault(item["where"], set()).add(item["name"])
    return [where for where, known in names.items() if len(known) > 1]


def _place_of(item: MeasurementPart, places: Sequence[str]) -> str | None:
    """The way of running that a measurement belongs to; an unknown one adds its reason."""
    where = item["where"]
    if where in places:
        return where
    if item["value"] is not None:
        return None
    return next((place for place in places if where.startswith(f"{place}: ")), None)


def _without_common(places: Sequence[str]) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """What all places start with, and the parts that tell them apart."""
    parts = [place.split(", ") for place in places]
    if len(places) == 1:
        return places[0], (("value",),)
    same = 0
    while all(same < min(len(a), len(b)) - 1 and a[same] == b[same] for a, b in pairwise(parts)):
        same += 1
    rest = tuple(tuple(fmt.clean(word) for word in words[same:]) for words in parts)
    return ", ".join(parts[0][:same]), rest


def _reason_texts(reasons: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for reason, names in reasons.items():
        yield f"{', '.join(dict.fromkeys(names))} unknown: {fmt.clean(reason)}"
