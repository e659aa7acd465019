"""Weight sharing: few distinct values (Han et al. 2016, arXiv:1510.00149, "Deep Compression").

``cluster`` puts the centroids where the weights are. ``grid_cluster`` puts them where a symmetric
quantizer will find them: on the codes of its grid, in units of each channel's scale, with the
largest magnitude of each channel kept exactly. A quantizer that takes the largest magnitude as
its scale recovers that scale and these codes, so a tensor of k clusters has k codes in the file
although every channel has a scale of its own.

Both are k-means in one dimension. A line needs no distances between all weights and all centroids:
weights are sorted (or counted, on a grid) once, and each iteration of Lloyd's algorithm costs
k binary searches in prefix sums.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgekit.compression import _grid, _line
from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.weight_views import from_matrix, matrix_view

Init = Literal["kmeans++", "linear", "density"]
GridInit = Literal["optimal", "kmeans++", "linear", "density"]
Weights = NDArray[Any]
Assignments = NDArray[np.uint8] | NDArray[np.uint16]

LEAST_SCALE = 1e-9  # the quantizer's smallest largest magnitude; a channel below it is zero
MOST_CLUSTERS = 1 << 16
_CHUNK = 1 << 20  # elements, and
_ROWS = 256  # channels at a time: temporaries stay in the cache


@dataclass(frozen=True, eq=False)
class Clusters:
    """A weight as centroids, assignments and scales.

    Attributes:
        centroids: ``(k,)``, ascending, or ``(channels, k)``, where a channel that needs fewer may
            repeat one. In units of the scales.
        assignments: Index of each weight's centroid, in the weight's shape; uint8 up to 256.
        scales: Broadcasts to the weight's shape; 1 where the centroids are weights already.
        channel_axis: The channels' axis when they have centroids of their own, else None.
    """

    centroids: NDArray[np.float32]
    assignments: Assignments
    scales: NDArray[np.float32]
    channel_axis: int | None = None

    def values(self) -> NDArray[np.float32]:
        """The weights, each the float32 product of its centroid and its scale."""
        if self.channel_axis is None:
            return np.asarray(self.centroids[self.assignments] * self.scales, np.float32)
        rows = matrix_view(self.assignments, self.channel_axis).astype(np.intp)
        found = np.take_along_axis(self.centroids, rows, axis=1)
        units = from_matrix(found, self.assignments.shape, self.channel_axis)
        return np.asarray(units * self.scales, np.float32)


def cluster(
    weights: Weights,
    k: int,
    init: Init = "kmeans++",
    seed: int = 0,
    *,
    keep_zero: bool = False,
    iterations: int = 300,
) -> Clusters:
    """Cluster one tensor's weights by k-means.

    Args:
        weights: Float weights of any shape.
        k: Number of centroids, at most; fewer where there are fewer distinct weights.
        init: Where centroids begin: ``kmeans++`` (Arthur and Vassilvitskii 2007), ``linear``
            (evenly from the lowest to the highest: Han et al. found it best for accuracy), or
            ``density`` (tfmot's: evenly in cumulative frequency). Where Lloyd's algorithm ends
            worse than evenly spaced centroids would be, it is run from those instead.
        seed: For ``kmeans++``.
        keep_zero: One centroid is exactly 0, and weights that are exactly 0 stay there.
        iterations: Of Lloyd's algorithm, at most; it ends when no weight changes its centroid.

    Raises:
        EdgekitError: NaN, infinity or nothing in the weights, k out of range, unknown ``init``.
    """
    values = _checked(weights)
    _check_choice(init, get_args(Init))
    _check_k(k, 2 if keep_zero and values.any() else 1)
    line = np.sort(values, axis=None).astype(np.float64)
    if keep_zero:
        line = line[line != 0]
    centroids = _line.distinct(line, k - keep_zero)
    if centroids is None:
        centroids = _line.fitted(line, k - keep_zero, init, seed, keep_zero, iterations)
    elif keep_zero:
        centroids = np.sort(np.append(centroids, 0.0))
    final = centroids.astype(np.float32)
    return Clusters(final, _nearest(values, final), np.ones((1,) * values.ndim, np.float32))


def grid_cluster(
    weights: Weights,
    k: int,
    levels: int = 127,
    axis: int | None = None,
    *,
    keep_zero: bool = False,
    per_channel: bool = False,
    init: GridInit = "optimal",
    seed: int = 0,
    iterations: int = 300,
) -> Clusters:
    """Cluster weights on the codes of a symmetric quantizer, in units of each channel's scale.

    The scale is the largest magnitude of each channel; centroids are multiples of 1/levels.
    Where a channel has its largest magnitude, that weight is ±1 in its units and stays exactly
    so: a quantizer with the scale ``max|w| / levels`` gets codes ``levels * centroid``, at most k
    of them. Channels with a magnitude below 1e-9 become zero: quantizers know no smaller scale.

    Args:
        weights: Float weights.
        k: Number of centroids, at most, for the whole tensor.
        levels: The quantizer's largest code: 127 at 8 bits, 7 at 4, 1 at 2.
        axis: The channels' axis; None for one scale in all.
        keep_zero: 0 is a centroid, and weights that are exactly 0 stay there. Otherwise 0 is one
            only where it serves, or where a whole channel is zero.
        per_channel: k centroids for each channel instead.
        init: ``optimal`` finds the least squared error there is, and takes about 2 ms for each
            tensor, or for each channel with ``per_channel``; the others are beginnings of
            Lloyd's algorithm, as for ``cluster``.
        seed: For ``kmeans++``.
        iterations: Of Lloyd's algorithm, at most.

    Raises:
        EdgekitError: NaN, infinity or nothing in the weights; k out of range or smaller than the
            number of centroids that have to stay; no such axis; unknown ``init``.
    """
    values = _checked(weights)
    _check_choice(init, get_args(GridInit))
    _check_grid(k, levels, axis, values.ndim, per_channel)
    own = axis if per_channel else None
    scales = _scales(values, axis)
    rows = _units(values, scales, levels, own)
    hist = _grid.histogram(rows, levels)
    idle = scales.reshape(-1) == 0
    pins = _pins(hist, keep_zero | (idle if per_channel else idle.any(keepdims=True)))
    _check_k(k, int(pins.sum(axis=1).max()), "the largest magnitudes, and zero, keep theirs")
    random = np.random.default_rng(seed)
    k = min(k, 2 * levels + 1)
    codes = np.concatenate([
        _fitted_codes(hist.part(part), k, pins[part], init, random, iterations)
        for part in (slice(i, i + _ROWS) for i in range(0, hist.rows, _ROWS))
    ])
    if own is None:
        codes = _grid.without_idle(hist, codes, pins)
    assignments = _assigned(rows, hist, codes)
    centroids = (codes / levels).astype(np.float32)
    if own is None:
        return Clusters(centroids[0], assignments.reshape(values.shape), scales)
    return Clusters(centroids, from_matrix(assignments, values.shape, own), scales,
                    own % values.ndim)


def _checked(weights: Weights) -> NDArray[np.float32]:
    if weights.size == 0:
        raise EdgekitError("a weight without elements cannot be clustered")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        values = np.asarray(weights, np.float32)
    if not np.isfinite(values).all():
        raise EdgekitError("the weights hold NaN or infinity, which belong to no cluster")
    return values


def _check_choice(init: str, known: tuple[str, ...]) -> None:
    if init not in known:
        raise EdgekitError(f"'{init}' is no way to begin clustering", did_you_mean(init, known))


def _check_k(k: int, least: int, why: str = "zero keeps its own") -> None:
    if not 1 <= k <= MOST_CLUSTERS:
        raise EdgekitError(f"{k} clusters were asked for, and it must be 1 to {MOST_CLUSTERS}")
    if k < least:
        raise EdgekitError(f"{k} clusters are too few", f"at least {least}: {why}")


def _check_grid(k: int, levels: int, axis: int | None, rank: int, per_channel: bool) -> None:
    _check_k(k, 1)
    if not 1 <= levels <= 127:
        raise EdgekitError(f"levels is {levels}, and must be 1 to 127")
    if axis is not None and not -rank <= axis < rank:
        raise EdgekitError(f"the weights have no axis {axis}", f"they have {rank}")
    if per_channel and axis is None:
        raise EdgekitError("clusters for each channel need the channels' axis")


def _nearest(values: NDArray[np.float32], centroids: NDArray[np.float32]) -> Assignments:
    """The nearest centroid's index for each value; of two, the upper."""
    wide = centroids.astype(np.float64)
    borders = (wide[:-1] + wide[1:]) / 2
    flat = values.reshape(-1)
    found: NDArray[Any] = np.empty(flat.size, _index_type(centroids.size))
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK].astype(np.float64)
        found[start : start + _CHUNK] = np.searchsorted(borders, part, side="right")
    return found.reshape(values.shape)


def _index_type(k: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if k <= 256 else np.uint16


def _scales(values: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    """The largest magnitude of each channel, 0 for an idle one, ready to broadcast."""
    others = tuple(i for i in range(values.ndim) if axis is None or i != axis % values.ndim)
    largest = np.maximum(values.max(axis=others, keepdims=True),
                         -values.min(axis=others, keepdims=True))
    return np.where(largest < LEAST_SCALE, np.float32(0), largest)


def _units(
    values: NDArray[np.float32], scales: NDArray[np.float32], levels: int, own: int | None
) -> NDArray[np.float32]:
    """The weights in steps of the grid, a row for each channel with centroids of its own."""
    divisors = np.where(scales > 0, scales, np.float32(np.inf))  # an idle channel is all zeros
    units = np.asarray(values / divisors * np.float32(levels), np.float32)
    return units.reshape(1, -1) if own is None else np.asarray(matrix_view(units, own))


def _pins(hist: _grid.Histogram, zero: NDArray[np.bool_]) -> _grid.Flags:
    """Which of -levels, 0 and levels stay, in each row."""
    return np.stack([hist.ends[:, 0], zero, hist.ends[:, 1]], axis=1)


def _fitted_codes(
    hist: _grid.Histogram, k: int, pins: _grid.Flags, init: str, random: np.random.Generator,
    iterations: int,
) -> _grid.Codes:
    if init == "optimal":
        return _grid.optimal(hist, k, pins)
    even = _grid.with_pins(_grid.linear(hist, k), pins, hist.levels)
    begin = {"linear": even, "density": _grid.density(hist, k)}.get(init)
    if begin is None:
        begin = _grid.kmeans_plus_plus(hist, k, random)
    found = _grid.refine(hist, begin, pins, iterations)
    worse = _grid.relative_error(hist, found) > _grid.relative_error(hist, even)
    found[worse] = _grid.refine(hist.part(worse), even[worse], pins[worse], iterations)
    return found


def _assigned(
    rows: NDArray[np.float32], hist: _grid.Histogram, codes: _grid.Codes
) -> Assignments:
    """Each weight's centroid, by its bin."""
    table = _grid.lookup(hist, codes).astype(_index_type(codes.shape[1]))
    found = np.empty(rows.shape, table.dtype)
    for at, columns, part in _grid.chunks(rows):
        bins = _grid.half_steps(part, hist.levels)
        found[at, columns] = np.take_along_axis(table[at], bins, axis=1)
    return found
