"""Charts of series: how latency spreads over runs, how memory goes over the operators."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.report import format as fmt
from edgekit.report import svg
from edgekit.report.document import LayerPart
from edgekit.report.markup import Html, el

_PERCENTILES = (50, 90, 99)
_TOP, _BOTTOM = 56, 196
_MOST_BARS, _CROWD = 160, 60
_SPREADS_SHOWN = 5
_LABELS_TURN = 0.7
_EVEN_ROOM, _SLOW_START = 0.92, 0.94


def percentile(ordered: Sequence[float], rank: float) -> float:
    """A percentile with linear interpolation, as NumPy's default.

    Args:
        ordered: Values from the smallest to the largest, at least one.
        rank: In [0, 100].
    """
    place = rank / 100 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@dataclass(frozen=True)
class _Scale:
    """The latency axis.

    Attributes:
        low: At the left end.
        high: At the right end, or where the bar of the slow runs begins.
        slowest: The last run.
    """

    low: float
    high: float
    slowest: float

    @property
    def room(self) -> float:
        """Fraction of the width for the evenly divided part."""
        return _EVEN_ROOM if self.slowest > self.high else 1.0

    def x(self, value: float) -> float:
        """Where a latency is, as a fraction of the width."""
        if value > self.high:
            return (_SLOW_START + 1) / 2
        return (value - self.low) / (self.high - self.low) * self.room


def histogram(
    values: Sequence[float], known: Mapping[str, float], where: str, key: str, timed: int = 0
) -> Html | None:
    """Latencies as bars, with marks at p50, p90 and p99; None without values.

    Runs far out share one bar at the right end, so that they do not squeeze the others.

    Args:
        values: In ms; perhaps only some of the runs.
        known: The percentiles of all runs, ``{"p50": …}``; computed from the values when empty.
        where: On what they ran.
        key: Unique in the page.
        timed: How many runs there were, when ``values`` are some of them.
    """
    ordered = sorted(svg.finite(values))
    if not ordered:
        return None
    marks = sorted(known.items()) or [
        (f"p{rank}", percentile(ordered, rank)) for rank in _PERCENTILES]
    scale = _scale(ordered)
    said = (f"{fmt.plural(len(ordered), 'run')} from {fmt.milliseconds(ordered[0])} to "
            f"{fmt.milliseconds(ordered[-1])}; "
            + ", ".join(f"{name} {fmt.milliseconds(value)}" for name, value in marks))
    labels = [(scale.x(v), fmt.trimmed(v)) for v in svg.ticks(scale.low, scale.high, 4)]
    if scale.slowest > scale.high:
        labels.append((1.0, "slower"))
    drawing = svg.chart(
        key, _BOTTOM + 26, "Distribution of latency", said, _bars(ordered, scale),
        svg.line(0, _BOTTOM, scale.room, _BOTTOM, "axis"), svg.x_axis(labels, _BOTTOM + 18),
        _percentile_marks([(name, value, scale.x(value)) for name, value in marks]))
    slow = sum(value > scale.high for value in ordered)
    slower = (f"{fmt.plural(slow, 'run')} above {fmt.milliseconds(scale.high)} in the bar at the "
              f"right, the slowest {fmt.milliseconds(scale.slowest)}.") if slow else ""
    some = f"{len(ordered):,} of " if timed > len(ordered) else ""
    counted = f"{some}{fmt.plural(max(timed, len(ordered)), 'run')} by latency in ms"
    return svg.figure(drawing, f"{f'{counted}, {where}' if where else counted}. {slower}")


def _scale(ordered: Sequence[float]) -> _Scale:
    """All values, or up to a few times the distance from p50 to p90 when some are far out."""
    low, slowest = ordered[0], ordered[-1]
    p50, p90 = percentile(ordered, 50), percentile(ordered, 90)
    high = p50 + _SPREADS_SHOWN * (p90 - p50)
    if p90 <= p50 or slowest <= high * 1.02:
        high = slowest
    if high <= low:
        pad = abs(low) * 0.05 or 1.0
        return _Scale(low - pad, low + pad, slowest)
    return _Scale(low, high, slowest)


def _bars(ordered: Sequence[float], scale: _Scale) -> Html:
    """One bar for each interval with runs; the heights share a scale with the slow runs' bar."""
    even = [value for value in ordered if value <= scale.high]
    counts = [0] * min(36, max(8, round(math.sqrt(len(even)) * 1.5)))
    step = (scale.high - scale.low) / len(counts)
    for value in even:
        counts[min(int((value - scale.low) / step), len(counts) - 1)] += 1
    slow = len(ordered) - len(even)
    tallest = max(*counts, slow)
    bars = [_bar(index / len(counts) * scale.room, scale.room / len(counts), runs, tallest, "bar",
                 (scale.low + index * step, scale.low + (index + 1) * step))
            for index, runs in enumerate(counts) if runs]
    if slow:
        bars.append(_bar(_SLOW_START, 1 - _SLOW_START, slow, tallest, "bar beyond",
                         (scale.high, scale.slowest)))
    return el("g", bars)


def _bar(x: float, width: float, runs: int, tallest: int, class_: str,
         interval: tuple[float, float]) -> Html:
    tall = max((_BOTTOM - _TOP) * runs / tallest, 2)
    start, end = (fmt.significant(limit, 4) for limit in interval)
    return svg.rect(x, _BOTTOM - tall, width, tall, class_,
                    f"{start} to {end} ms: {fmt.plural(runs, 'run')}")


def _percentile_marks(marks: Sequence[tuple[str, float, float]]) -> list[Html]:
    """Labels right of their lines, at the right end left of them, in rows that no line crosses."""
    near = [mark for mark in marks if mark[2] <= _LABELS_TURN]
    far = [mark for mark in reversed(marks) if mark[2] > _LABELS_TURN]
    return [_percentile_mark(*mark, row) for row, mark in enumerate(near + far)]


def _percentile_mark(name: str, value: float, x: float, row: int) -> Html:
    y = 12 + 16 * row
    right = x > _LABELS_TURN
    return el("g", svg.line(x, y - 9, x, _BOTTOM, "mark"),
              svg.text(x, y, f"{name} {fmt.milliseconds(value)}", "name halo",
                       "end" if right else "start", dx=-5 if right else 5))


def memory_chart(values: Sequence[float], layers: Sequence[LayerPart], key: str) -> Html | None:
    """Bytes of live activations while each operator runs, in order; None without values.

    Args:
        values: Bytes, one for each operator in the order of execution.
        layers: The model's layers, first those of the main graph in the same order.
        key: Unique in the page.
    """
    if not values or len(svg.finite(values)) < len(values) or max(values) <= 0:
        return None
    names = [""] * len(values)
    if len(layers) >= len(values):
        names = [f"{fmt.clean(layer['op'])} {fmt.shorten(fmt.clean(layer['name']), 80)}"
                 for layer in layers[:len(values)]]
    peak = max(range(len(values)), key=lambda index: values[index])
    where = f"operator {peak + 1} of {len(values)}" + (f", {names[peak]}" if names[peak] else "")
    high = values[peak] * 1.02
    grid = [svg.y_tick(_memory_y(v, high), svg.size_label(v)) for v in svg.size_ticks(high, 3)]
    x = (peak + 0.5) / len(values)
    drawing = svg.chart(
        key, _BOTTOM + 24, "Memory over the execution order",
        f"The peak is {fmt.size(values[peak])} at {where}", grid,
        _memory_bars(values, names, peak), svg.line(0, _BOTTOM, 1, _BOTTOM, "axis"),
        svg.text(x, 12, f"peak {fmt.size(values[peak])}", "name halo", svg.side(x)),
        svg.text(0, _BOTTOM + 18, "first operator", "tick"),
        svg.text(1, _BOTTOM + 18, "last operator", "tick", "end"), y_axis=True)
    return svg.figure(drawing, f"Live activations while each operator runs. "
                               f"The peak, {fmt.exact_size(values[peak])}, is at {where}.")


def _memory_y(value: float, high: float) -> float:
    return _BOTTOM - (_BOTTOM - 20) * value / high


def _memory_bars(values: Sequence[float], names: Sequence[str], peak: int) -> Html:
    """One bar for each operator, or for the largest of several neighbours when they are many."""
    group = math.ceil(len(values) / _MOST_BARS)
    high, crowded = values[peak] * 1.02, len(values) > _CROWD
    bars = []
    for start in range(0, len(values), group):
        stop = min(start + group, len(values))
        index = max(range(start, stop), key=lambda i: values[i])
        top = _memory_y(values[index], high)
        tip = f"{index + 1} {names[index]}".strip() + f": {fmt.exact_size(values[index])}"
        # Many bars overlap a little, as rounding to pixels would leave gaps.
        width = (stop - start) / len(values) * (1.1 if crowded else 1.0)
        bars.append(svg.rect(start / len(values), top, min(width, 1 - start / len(values)),
                             _BOTTOM - top, "bar peak" if index == peak else "bar", tip))
    return el("g", bars, class_="crisp" if crowded else None)
