"""Which weights are pruned: those of the smallest magnitude (Han et al. 2016, arXiv:1510.00149).

A mask is boolean and has the weight's shape; True is kept. Counts are exact (``zero_count``), and
of equal magnitudes those with the lower index are pruned first, so a mask depends on nothing but
the weights. With ``previous``, what was pruned stays pruned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.compression.schedules import check_sparsity
from edgekit.core.constraints import Sparse
from edgekit.core.errors import EdgekitError
from edgekit.core.weight_views import from_matrix, groups, matrix_view, tiles, zero_count

Mask = NDArray[np.bool_]
Weights = NDArray[Any]

_PRUNED = np.float32(-1)  # below every magnitude


def magnitude_mask(
    weights: Weights,
    sparsity: float,
    block: tuple[int, int] | None = None,
    *,
    channel_axis: int = 0,
    previous: Mask | None = None,
) -> Mask:
    """Prune the weights, or the blocks, of the smallest magnitude in one tensor.

    Args:
        weights: Float weights.
        sparsity: Fraction of weights, or of blocks, that become zero, in [0, 1).
        block: ``(rows, columns)`` of blocks over ``matrix_view(weights, channel_axis)``: a
            convolution ``(out, kh, kw, in)`` is ``(out, kh * kw * in)``, fully connected
            ``(out, in)``, depthwise ``(1, kh, kw, c)`` with channel axis 3 ``(c, kh * kw)``.
            A block counts by its mean magnitude; where the size does not divide, the last
            blocks are padded, and their padding does not count.
        channel_axis: The axis of output channels, for blocks.
        previous: A mask whose zeros stay zero, even when they are more than ``sparsity`` asks.

    Returns:
        Exactly ``zero_count(weights.size, sparsity)`` zeros, or that many zero blocks; more
        where ``previous`` has more.

    Raises:
        EdgekitError: The sparsity is outside [0, 1), or the weights hold NaN, infinity or
            nothing.
    """
    check_sparsity(sparsity)
    scores = _magnitudes(weights, previous)
    if block is None:
        kept = _without_lowest(scores.reshape(-1), zero_count(scores.size, sparsity))
        return kept.reshape(weights.shape)
    block = Sparse(sparsity, block).block or block
    matrix = matrix_view(scores, channel_axis)
    means = _block_means(matrix, block)
    kept = _without_lowest(means.reshape(-1), zero_count(means.size, sparsity))
    spread = np.repeat(np.repeat(kept.reshape(means.shape), block[0], 0), block[1], 1)
    mask = from_matrix(spread[: matrix.shape[0], : matrix.shape[1]], weights.shape, channel_axis)
    return mask if previous is None else mask & previous


def n_of_m_mask(
    weights: Weights, n: int, m: int, axis: int, *, previous: Mask | None = None
) -> Mask:
    """Keep the n largest of each m consecutive weights (2:4: Mishra et al. 2021, arXiv:2104.08378).

    Args:
        weights: Float weights.
        n: Weights kept of each group.
        m: Weights in each group.
        axis: The axis that groups run along: the one that the operator sums over, its input
            channels (``reduction_axis``). The last group may be shorter; it keeps at most n too.
        previous: A mask whose zeros stay zero.

    Raises:
        EdgekitError: Not 0 < n < m, or the weights hold NaN, infinity or
            nothing.
    """
    Sparse.pattern(n, m)
    scores = groups(_magnitudes(weights, previous), m, axis, fill=_PRUNED)
    kept = np.empty(scores.shape, np.bool_)
    for i in range(m):
        # A weight goes when at least n of its group come before it: larger, or as large and later.
        before = (scores[..., :i] > scores[..., i, None]).sum(axis=-1, dtype=np.int32)
        before += (scores[..., i + 1 :] >= scores[..., i, None]).sum(axis=-1, dtype=np.int32)
        kept[..., i] = before < n
    flat = kept.reshape(*kept.shape[:-2], -1)
    length = weights.shape[axis] if weights.ndim else 1
    mask = np.moveaxis(flat[..., :length], -1, axis).reshape(weights.shape)
    return np.ascontiguousarray(mask if previous is None else mask & previous)


def global_masks(
    weights: Mapping[str, Weights],
    sparsity: float,
    *,
    normalise: bool = False,
    previous: Mapping[str, Mask] | None = None,
) -> dict[str, Mask]:
    """Prune the smallest weights of several tensors by one threshold.

    Layers end up with different sparsities; without ``normalise`` a layer of small weights can
    lose all of them.

    Args:
        weights: Float weights by name; of equal magnitudes, earlier tensors' are pruned first.
        sparsity: Fraction of all weights together, in [0, 1).
        normalise: Divide each tensor by its standard deviation first.
        previous: Masks by name whose zeros stay zero.

    Raises:
        EdgekitError: The sparsity is outside [0, 1), or weights hold NaN, infinity or nothing.
    """
    check_sparsity(sparsity)
    previous = previous or {}
    scores = [_scores(array, previous.get(name), normalise) for name, array in weights.items()]
    if not scores:
        return {}
    kept = _without_lowest(np.concatenate(scores),
                           zero_count(sum(score.size for score in scores), sparsity))
    parts = np.split(kept, np.cumsum([score.size for score in scores])[:-1])
    return {name: part.reshape(array.shape)
            for (name, array), part in zip(weights.items(), parts, strict=True)}


def apply_mask(weights: Weights, mask: Mask) -> Weights:
    """The weights with zeros where the mask has them; never a negative zero, as products make."""
    return np.where(mask, weights, weights.dtype.type(0))


def _scores(weights: Weights, previous: Mask | None, normalise: bool) -> NDArray[np.float32]:
    scores = _magnitudes(weights, previous).reshape(-1)
    if not normalise:
        return scores
    spread = float(np.std(weights, dtype=np.float64)) or float(np.abs(weights).max()) or 1.0
    return np.where(scores < 0, scores, scores / np.float32(spread)).astype(np.float32)


def _magnitudes(weights: Weights, previous: Mask | None) -> NDArray[np.float32]:
    """Magnitudes in the weights' shape, -1 for what is pruned already."""
    if weights.size == 0:
        raise EdgekitError("a weight without elements cannot be pruned")
    scores = np.abs(weights).astype(np.float32, copy=False)
    if not np.isfinite(scores).all():
        raise EdgekitError("the weights hold NaN or infinity, which have no order of magnitude")
    if previous is None:
        return scores
    if previous.shape != weights.shape:
        raise EdgekitError(f"a mask of shape {list(previous.shape)} was given for weights of "
                           f"shape {list(weights.shape)}")
    return np.where(previous, scores, _PRUNED)


def _without_lowest(scores: NDArray[Any], count: int) -> Mask:
    """All but the ``count`` lowest of a vector; equal ones go in the order of their index."""
    count = max(count, int(np.count_nonzero(scores < 0)))
    if count == 0:
        return np.ones(scores.size, np.bool_)
    threshold = np.partition(scores, count - 1)[count - 1]
    kept: Mask = scores > threshold
    ties = np.flatnonzero(scores == threshold)
    lower = scores.size - int(np.count_nonzero(kept)) - ties.size
    kept[ties[count - lower :]] = True
    return kept


def _block_means(scores: NDArray[np.float32], block: tuple[int, int]) -> NDArray[np.float64]:
    """Mean magnitude of each block of a matrix; -1 for a block that is pruned already."""
    sums = tiles(np.maximum(scores, 0), block).sum(axis=(1, 3), dtype=np.float64)
    rows, columns = (
        np.minimum(size, length - np.arange(0, length, size))
        for size, length in zip(block, scores.shape, strict=True)
    )
    pruned = tiles(scores < 0, block, fill=True).all(axis=(1, 3))
    return np.where(pruned, -1.0, sums / np.outer(rows, columns))
