"""k-means on a line: sorted values, prefix sums, and a few binary searches for each iteration."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SAMPLE = 1 << 16


def distinct(line: Floats, most: int) -> Floats | None:
    """The distinct values of a sorted line, if there are at most so many."""
    if line.size == 0:
        return line
    changes = line[1:] != line[:-1]
    if 1 + int(np.count_nonzero(changes)) > most:
        return None
    return np.asarray(line[np.concatenate([[True], changes])])


@dataclass(frozen=True, eq=False)
class Line:
    """Sorted values ``(n,)`` and the sum of those before each: ``(n + 1,)``."""

    values: Floats
    before: Floats

    @classmethod
    def of(cls, values: Floats) -> "Line":
        """Sum up sorted values."""
        before = np.empty(values.size + 1)
        before[0] = 0
        np.cumsum(values, out=before[1:])
        return cls(values, before)

    def borders(self, centroids: Floats) -> NDArray[np.intp]:
        """Where each centroid's values begin, and the end: ``(k + 1,)``."""
        inner = np.searchsorted(self.values, (centroids[:-1] + centroids[1:]) / 2)
        return np.concatenate([[0], inner, [self.values.size]]).astype(np.intp)

    def relative_error(self, centroids: Floats) -> float:
        """Squared error, less what no choice of centroids changes."""
        borders = self.borders(centroids)
        total = np.diff(self.before[borders])
        return float((centroids * (centroids * np.diff(borders) - 2 * total)).sum())


def fitted(
    values: Floats, free: int, init: str, seed: int, zero: bool, iterations: int
) -> Floats:
    """Centroids for sorted values of which more than ``free`` are distinct.

    Args:
        values: Ascending.
        free: Number of centroids.
        init: ``kmeans++``, ``linear`` or ``density``.
        seed: For ``kmeans++``.
        zero: One more centroid stays at exactly 0; no value is 0.
        iterations: Of Lloyd's algorithm, at most.

    Returns:
        Ascending; at most ``free``, and one at 0 if ``zero``.
    """
    line = Line.of(values)

    def begun(how: str) -> Floats:
        begin = _beginning(values, free, how, seed)
        return np.sort(np.append(begin, 0.0)) if zero else begin

    even = begun("linear")
    found = _lloyd(line, begun(init), zero, iterations)
    if line.relative_error(found) > line.relative_error(even):
        found = _lloyd(line, even, zero, iterations)
    kept = np.diff(line.borders(found)) > 0
    return np.unique(found[kept | (zero & (found == 0))])


def _beginning(values: Floats, k: int, init: str, seed: int) -> Floats:
    if init == "linear":
        return np.linspace(values[0], values[-1], k)
    if init == "density":
        places = np.ceil(np.linspace(0.01, 1, k) * values.size).astype(np.intp) - 1
        return values[np.maximum(places, 0)]
    return _kmeans_plus_plus(values, k, seed)


def _kmeans_plus_plus(values: Floats, k: int, seed: int) -> Floats:
    """Each next one drawn in proportion to the squared distance from those before.

    Of many values, 65,536 evenly spaced in their order stand for all, both ends among them.
    """
    if values.size > _SAMPLE:
        values = values[np.linspace(0, values.size - 1, _SAMPLE).astype(np.intp)]
    random = np.random.default_rng(seed)
    drawn = np.empty(k)
    chances = np.ones(values.size)
    distance = np.full(values.size, np.inf)
    for i in range(k):
        cumulative = np.cumsum(chances)
        place = np.searchsorted(cumulative, random.random() * cumulative[-1], side="right")
        drawn[i] = values[min(int(place), values.size - 1)]
        distance = chances = np.minimum(distance, (values - drawn[i]) ** 2)
    return np.sort(drawn)


def _lloyd(line: Line, centroids: Floats, zero: bool, iterations: int) -> Floats:
    """Lloyd's algorithm; a centroid at 0 stays there if ``zero``."""
    before = None
    for _ in range(iterations):
        borders = line.borders(centroids)
        if before is not None and np.array_equal(borders, before):
            break
        before = borders
        centroids = _moved(line, centroids, borders, zero)
    return centroids


def _moved(line: Line, centroids: Floats, borders: NDArray[np.intp], zero: bool) -> Floats:
    """Centroids at the means of their values; those without any at the worst-served values."""
    count = np.diff(borders)
    served = count > 0
    pinned = np.zeros(centroids.size, np.bool_)
    if zero:
        pinned[np.searchsorted(centroids, 0.0)] = True
    low = line.values[np.minimum(borders[:-1], line.values.size - 1)]
    high = line.values[np.maximum(borders[1:] - 1, 0)]
    # Sums of huge and tiny values are rounded: a mean never leaves its own values.
    means = np.clip(np.diff(line.before[borders]) / np.maximum(count, 1), low, high)
    new = np.where(served & ~pinned, means, centroids)
    spare = np.flatnonzero(~served & ~pinned)
    if spare.size:
        ends = np.concatenate([low[served], high[served]])
        errors = np.abs(ends - np.concatenate([new[served]] * 2))
        ends, first = np.unique(ends, return_index=True)
        worst = ends[np.argsort(-errors[first], kind="stable")][: spare.size]
        new[spare[: worst.size]] = worst
    return np.sort(new)
