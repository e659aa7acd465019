"""Clustering of weights that lie on a line of ``2 * levels + 1`` codes.

Weights in units of their channel's scale times ``levels`` (so from -levels to levels) are counted
once in bins of half a step. Borders between two codes then fall on borders of bins, and all that
follows costs what the bins cost, however many weights there are. Every array has one row for
each channel that has centroids of its own, or one row in all; codes are integers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]

_CHUNK = 1 << 20  # elements at a time: temporaries stay in the cache


@dataclass(frozen=True, eq=False)
class Histogram:
    """Weights counted in half steps: bin b holds b/2 - levels up to (b+1)/2 - levels.

    Attributes:
        levels: The largest code.
        count: ``(rows, bins + 1)``, number of weights before each border.
        total: The same, the sum of the weights.
        ends: ``(rows, 2)``, whether a weight is exactly -levels, exactly levels.
    """

    levels: int
    count: Floats
    total: Floats
    ends: Flags

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.count.shape[0])

    @property
    def bins(self) -> int:
        """Number of bins: 4 * levels, and one for exactly ``levels``."""
        return 4 * self.levels + 1

    def part(self, rows: slice | Flags | NDArray[np.intp]) -> "Histogram":
        """Some of the rows."""
        return Histogram(self.levels, self.count[rows], self.total[rows], self.ends[rows])


def histogram(units: NDArray[np.float32], levels: int) -> Histogram:
    """Count weights.

    Args:
        units: ``(rows, weights)``, from -levels to levels.
        levels: The largest code.
    """
    bins = 4 * levels + 1
    count, total = sums = np.zeros((2, units.shape[0], bins + 1))
    for rows, _, part in chunks(units):
        places = half_steps(part, levels) + bins * np.arange(part.shape[0])[:, None]
        flat, values = places.reshape(-1), part.reshape(-1).astype(np.float64)
        for sum_, weight in zip(sums, (None, values), strict=True):
            found = np.bincount(flat, weight, part.shape[0] * bins)
            sum_[rows, 1:] += found.reshape(part.shape[0], bins)
    np.cumsum(sums, axis=2, out=sums)
    ends = np.stack([units.min(axis=1) == -levels, units.max(axis=1) == levels], axis=1)
    return Histogram(levels, count, total, ends)


def half_steps(units: NDArray[np.float32], levels: int) -> NDArray[np.int64]:
    """The bin of each weight."""
    return np.floor(2 * units).astype(np.int64) + 2 * levels


def chunks(
    units: NDArray[np.float32]
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """A matrix in pieces that stay in the cache: rows, columns and the piece."""
    height = max(1, _CHUNK // units.shape[1])
    for first in range(0, units.shape[0], height):
        rows = slice(first, first + height)
        for start in range(0, units.shape[1], _CHUNK):
            columns = slice(start, start + _CHUNK)
            yield rows, columns, units[rows, columns]


def lookup(hist: Histogram, centroids: Codes | Floats) -> NDArray[np.int64]:
    """The index of the nearest centroid for each bin: ``(rows, bins)``; exact for codes."""
    marks = np.zeros((hist.rows, hist.bins), np.int64)
    first = np.ceil(_middles(hist, centroids) - 0.5).astype(np.int64)
    np.add.at(marks, (np.arange(hist.rows)[:, None], first), 1)
    return np.cumsum(marks, axis=1)


def _middles(hist: Histogram, centroids: Codes | Floats) -> Codes | Floats:
    """Between neighbours, counted in bins: ``(rows, k - 1)``; whole between codes."""
    return centroids[:, :-1] + centroids[:, 1:] + 2 * hist.levels


def optimal(hist: Histogram, k: int, pins: Flags) -> Codes:
    """The k codes of the least squared error among all choices, one row after the other.

    Dynamic programming over pairs of neighbouring codes (Wang and Song 2011, "Ckmeans.1d.dp"),
    about 2 ms a row for 16 codes.

    Args:
        hist: The weights.
        k: Number of codes.
        pins: ``(rows, 3)``: whether -levels, 0, levels must be among them.

    Returns:
        ``(rows, k)``, ascending; a row that needs fewer repeats its last.
    """
    codes, exact = _occupied(hist, k, pins)
    for index in np.flatnonzero(~exact):
        row = hist.part(slice(index, index + 1))
        codes[index] = _optimal_row(row, k, pins[index])
    return codes


def _optimal_row(hist: Histogram, k: int, pins: Flags) -> Codes:
    grid = np.arange(-hist.levels, hist.levels + 1)
    k = min(k, grid.size)
    pinned = np.concatenate([[0], np.cumsum(np.isin(grid, _pinned(hist.levels, pins)))])
    count, total = hist.count[0, -1], hist.total[0, -1]
    best = np.where(pinned[:-1] > 0, np.inf, grid * (grid * count - 2 * total))
    changes = _changes(hist, grid)
    skipped = pinned[None, :-1] - pinned[1:, None] > 0  # a pin strictly between the two
    changes[(grid[:, None] >= grid) | skipped] = np.inf
    backwards = np.ascontiguousarray(changes.T)
    came_from = np.zeros((k, grid.size), np.int64)
    for step in range(1, k):
        candidates = backwards + best
        came_from[step] = candidates.argmin(axis=1)
        best = candidates[np.arange(grid.size), came_from[step]]
    chosen = [int(np.where(pinned[-1] > pinned[1:], np.inf, best).argmin())]
    for step in range(k - 1, 0, -1):
        chosen.append(int(came_from[step, chosen[-1]]))
    return np.asarray(grid[chosen[::-1]])


def _changes(hist: Histogram, grid: Codes) -> Floats:
    """What the squared error changes by when code j follows i as the highest: ``(codes, codes)``.

    The weights above their middle m leave i for j: with n weights there and their sum s,
    ``n * (j² - i²) - 2 * s * (j - i) = (j - i) * (n * (i + j) - 2 * s)``.
    """
    borders = np.arange(hist.bins)
    sums = borders - 2 * hist.levels  # i + j: the middle, in half steps
    count = hist.count[0, -1] - hist.count[0, borders]
    total = hist.total[0, -1] - hist.total[0, borders]
    factors = sums * count - 2 * total
    places = np.arange(grid.size)
    return np.asarray((grid - grid[:, None]) * factors[places + places[:, None]])


def refine(hist: Histogram, start: Codes, pins: Flags, iterations: int) -> Codes:
    """Lloyd's algorithm with centroids on the grid: never worse than ``start``.

    Centroids without weights move to the weight that is farthest from its centroid.

    Args:
        hist: The weights.
        start: ``(rows, k)`` codes.
        pins: ``(rows, 3)``: whether -levels, 0, levels stay.
        iterations: At most.

    Returns:
        ``(rows, k)``, ascending.
    """
    codes, exact = _occupied(hist, start.shape[1], pins)
    codes[~exact] = with_pins(start[~exact], pins[~exact], hist.levels)
    begun = codes
    for whole in (False, True):  # on codes alone, small moves would be rounded away
        centroids, moving = codes.astype(np.float64), ~exact
        for _ in range(iterations):
            if not moving.any():
                break
            new = _moved(hist.part(moving), centroids[moving], pins[moving], whole=whole)
            changed = (np.abs(new - centroids[moving]) > 0.01).any(axis=1)
            centroids[moving] = new
            moving[moving] = changed
        codes = np.rint(centroids).astype(np.int64)
    worse = relative_error(hist, codes) > relative_error(hist, begun)
    return np.where(worse[:, None], begun, codes)


def _moved(hist: Histogram, centroids: Floats, pins: Flags, *, whole: bool) -> Floats:
    """One iteration of Lloyd's algorithm; on codes if ``whole``."""
    count, total = _sums(hist, centroids)
    served = count > 1e-3  # less is a rounding error, or a sliver of a weight that a border cuts
    means = np.clip(total / np.where(served, count, 1), -hist.levels, hist.levels)
    new = np.where(served & ~_is_pinned(centroids, pins, hist.levels),
                   np.rint(means) if whole else means, centroids)
    return _reseeded(hist, np.sort(new, axis=1), pins)


def without_idle(hist: Histogram, codes: Codes, pins: Flags) -> Codes:
    """The codes of a single row without repetitions and, but for pins, those that serve nothing."""
    codes = np.unique(codes)[None]
    count, _ = _sums(hist, codes)
    return codes[:, (count[0] > 0) | _is_pinned(codes, pins, hist.levels)[0]]


def relative_error(hist: Histogram, codes: Codes) -> Floats:
    """Squared error of each row, less what no choice of codes changes."""
    count, total = _sums(hist, codes)
    return np.asarray((codes * (codes * count - 2 * total)).sum(axis=1))


def _sums(hist: Histogram, centroids: Codes | Floats) -> tuple[Floats, Floats]:
    """Number and sum of the weights nearest to each centroid.

    Exact for codes; elsewhere a bin that a border cuts is shared out in proportion.
    """
    outer = np.zeros((hist.rows, 1))
    borders = np.concatenate([outer, _middles(hist, centroids), outer + hist.bins], axis=1)
    low = borders.astype(np.int64)
    high, part = np.minimum(low + 1, hist.bins), borders - low
    count, total = (
        (1 - part) * np.take_along_axis(before, low, 1) + part * np.take_along_axis(before, high, 1)
        for before in (hist.count, hist.total)
    )
    return np.diff(count), np.diff(total)


def _reseeded(hist: Histogram, centroids: Floats, pins: Flags) -> Floats:
    """In each row, one centroid that serves nothing is moved to where the error is largest."""
    repeated = np.zeros(centroids.shape, np.bool_)
    repeated[:, 1:] = centroids[:, 1:] == centroids[:, :-1]
    count, _ = _sums(hist, centroids)
    spare = repeated | ((count == 0) & ~_is_pinned(centroids, pins, hist.levels))
    rows = np.flatnonzero(spare.any(axis=1))
    if rows.size == 0:
        return centroids
    number = np.diff(hist.count[rows])
    means = np.diff(hist.total[rows]) / np.maximum(number, 1)
    found = lookup(hist.part(rows), centroids[rows])
    nearest = np.take_along_axis(centroids[rows], found, axis=1)
    distance = np.where(number > 0, np.abs(means - nearest), 0)
    worst = distance.argmax(axis=1)
    at = np.arange(rows.size)
    gains = distance[at, worst] > 0.5 + 1e-6  # nearer, and the nearest code is missing
    moved = centroids.copy()
    moved[rows[gains], spare[rows].argmax(axis=1)[gains]] = np.rint(means[at, worst])[gains]
    return np.sort(moved, axis=1)


def _occupied(hist: Histogram, k: int, pins: Flags) -> tuple[Codes, Flags]:
    """The codes nearest to any weight, where these and the pins are at most k: nothing is better.

    Returns:
        ``(rows, k)`` codes, the last repeated; and in which rows they are all.
    """
    grid = np.arange(-hist.levels, hist.levels + 1)
    filled = np.diff(hist.count) > 0
    occupied = np.zeros((hist.rows, grid.size), np.bool_)
    occupied |= filled[:, ::2]
    occupied[:, 1:] |= filled[:, 1::2]  # the upper half of a step is nearer to the next code
    for value, pinned in zip((0, hist.levels, 2 * hist.levels), pins.T, strict=True):
        occupied[:, value] |= pinned
    number = occupied.sum(axis=1)
    order = np.argsort(~occupied, axis=1, kind="stable")
    places = np.minimum(np.arange(k), np.maximum(number, 1)[:, None] - 1)
    places = np.minimum(places, grid.size - 1)
    return grid[np.take_along_axis(order, places, axis=1)], number <= k


def _pinned(levels: int, pins: Flags) -> Codes:
    return np.array([-levels, 0, levels])[pins]


def _is_pinned(codes: Codes | Floats, pins: Flags, levels: int) -> Flags:
    values = np.array([-levels, 0, levels])
    return np.asarray(((codes[:, :, None] == values) & pins[:, None, :]).any(axis=2))


def with_pins(codes: Codes, pins: Flags, levels: int) -> Codes:
    """Each pin takes the place of the nearest code."""
    codes = np.sort(codes, axis=1)
    taken = np.zeros(codes.shape, np.bool_)
    for value, rows in zip((-levels, levels, 0), pins[:, [0, 2, 1]].T, strict=True):
        distance = np.where(taken, 4 * levels, np.abs(codes - value))
        at = np.flatnonzero(rows)
        nearest = distance.argmin(axis=1)[at]
        codes[at, nearest] = value
        taken[at, nearest] = True
    return np.sort(codes, axis=1)


def linear(hist: Histogram, k: int) -> Codes:
    """Evenly spaced from the lowest to the highest weight."""
    filled = np.diff(hist.count) > 0
    low = filled.argmax(axis=1) / 2 - hist.levels
    high = (hist.bins - 1 - filled[:, ::-1].argmax(axis=1)) / 2 - hist.levels
    return np.rint(np.linspace(low, high, k, axis=1)).astype(np.int64)


def density(hist: Histogram, k: int) -> Codes:
    """Evenly spaced in cumulative frequency, as tfmot's: from 1 % to 100 %."""
    wanted = np.linspace(0.01, 1, k) * hist.count[:, -1:]
    places = np.empty(wanted.shape, np.int64)
    for row in range(hist.rows):
        places[row] = np.searchsorted(hist.count[row, 1:], wanted[row] * (1 - 1e-12))
    return np.rint(_centres(hist)[np.minimum(places, hist.bins - 1)]).astype(np.int64)


def kmeans_plus_plus(hist: Histogram, k: int, random: np.random.Generator) -> Codes:
    """Each next one drawn in proportion to the squared distance from those before."""
    number, centres = np.diff(hist.count), _centres(hist)
    chances = number
    distance = np.full(number.shape, np.inf)
    codes = np.empty((hist.rows, k), np.int64)
    for i in range(k):
        cumulative = np.cumsum(chances, axis=1)
        aim = random.random((hist.rows, 1)) * cumulative[:, -1:]
        drawn = np.minimum((cumulative <= aim).sum(axis=1), hist.bins - 1)
        codes[:, i] = np.rint(centres[drawn])
        distance = np.minimum(distance, (centres - codes[:, i, None]) ** 2)
        chances = number * distance
    return np.sort(codes, axis=1)


def _centres(hist: Histogram) -> Floats:
    centres = np.arange(hist.bins) / 2 - hist.levels + 0.25
    centres[-1] = hist.levels
    return centres
