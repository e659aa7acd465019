"""Low-rank factors of a weight: which rank, which factors, what they save.

A weight matrix W ``(rows, columns)`` becomes a product U V of ``(rows, rank)`` and
``(rank, columns)``: two thin layers for one. The truncated singular value decomposition is the
product with the least squared error, and that error is the sum of the squared singular values
left out (Eckart and Young 1936). As a means against redundancy in trained networks:

- Denton et al. 2014, "Exploiting Linear Structure Within Convolutional Networks for Efficient
  Evaluation", arXiv:1404.0736: matrices, and convolutions seen as matrices;
- Jaderberg et al. 2014, "Speeding up Convolutional Neural Networks with Low Rank Expansions",
  arXiv:1405.3866: a convolution as one along the height and one along the width (scheme 2).

*Energy* is the sum of squared singular values, here always as a fraction of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError

Weights = NDArray[Any]
Energies = NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """A layer's weight matrix, and how often its factors are applied in one inference.

    Attributes:
        rows: Rows of the matrix, and of U.
        columns: Columns of the matrix, and of V.
        positions: Output positions of the layer; U is applied at each.
        first_positions: Output positions of the first of the two layers; V is applied at each.
        bias: Whether the first layer must have a bias, of zeros.
    """

    rows: int
    columns: int
    positions: int = 1
    first_positions: int = 1
    bias: bool = False

    @property
    def weights(self) -> int:
        """Of the layer as it is."""
        return self.rows * self.columns

    @property
    def macs(self) -> int:
        """Of the layer as it is, in one inference."""
        return self.positions * self.weights

    def factor_weights(self, rank: int) -> int:
        """Of both factors together, with the first one's bias."""
        return rank * (self.rows + self.columns + self.bias)

    def factor_macs(self, rank: int) -> int:
        """Of both layers together, in one inference."""
        return rank * (self.first_positions * self.columns + self.positions * self.rows)

    def most_rank(self, overhead: int = 0, overhead_per_rank: int = 0) -> int:
        """The largest rank with fewer weights and fewer MACs than the layer has; 0 for none.

        Args:
            overhead: What a second layer costs beside its weights, in weights.
            overhead_per_rank: The same for each channel between the two.
        """
        per_rank = self.factor_weights(1) + overhead_per_rank
        by_weights = (self.weights - overhead - 1) // per_rank
        by_macs = (self.macs - 1) // self.factor_macs(1)
        return max(0, min(by_weights, by_macs))


def as_matrix(weights: Weights, *, separable: bool = False) -> Weights:
    """The matrix whose factors are two layers.

    Args:
        weights: Fully connected ``(out, in)``, or a convolution ``(out, kh, kw, in)``.
        separable: A convolution along the height and one along the width, instead of a whole one
            and one of 1 × 1.

    Returns:
        ``(out, in)``, ``(out, kh * kw * in)``; separable ``(out * kw, kh * in)``.
    """
    if not separable:
        return weights.reshape(len(weights), -1)
    out, height, width, channels = weights.shape
    return weights.transpose(0, 2, 1, 3).reshape(out * width, height * channels)


def as_layers(
    first: Weights, second: Weights, shape: tuple[int, ...], *, separable: bool = False
) -> tuple[Weights, Weights]:
    """The factors of ``as_matrix`` as weights of two layers.

    Args:
        first: V, ``(rank, columns)``.
        second: U, ``(rows, rank)``.
        shape: Of the layer's weight.
        separable: As in ``as_matrix``.

    Returns:
        ``(rank, in)`` and ``(out, rank)``; convolutions ``(rank, kh, kw, in)`` and
        ``(out, 1, 1, rank)``; separable ``(rank, kh, 1, in)`` and ``(out, 1, kw, rank)``.
    """
    if len(shape) == 2:
        return first, second
    rank = len(first)
    out, height, width, channels = shape
    if separable:
        return first.reshape(rank, height, 1, channels), second.reshape(out, 1, width, rank)
    return first.reshape(rank, height, width, channels), second.reshape(out, 1, 1, rank)


def factors(matrix: Weights, rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The two factors with the least squared error at a rank.

    Each singular value is split evenly, by its root: both factors then have channels of the same
    magnitude, and neither takes more harm from quantization than the other.

    Args:
        matrix: ``(rows, columns)``, finite.
        rank: 1 to the smaller side.

    Returns:
        V ``(rank, columns)``, which is applied first, and U ``(rows, rank)``.
    """
    wide = np.asarray(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T, np.float64)
    squares, vectors = np.linalg.eigh(wide @ wide.T)
    basis = vectors[:, ::-1][:, :rank]
    roots = np.sqrt(_singular(squares, wide)[:rank])
    shrink = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    tall = basis * roots
    flat = shrink[:, None] * (basis.T @ wide)  # the singular value is in the product already
    first, second = (flat, tall) if wide.shape == matrix.shape else (tall.T, flat.T)
    return first.astype(np.float32), second.astype(np.float32)


def energies(matrix: Weights) -> Energies:
    """The energy that each rank holds.

    Args:
        matrix: ``(rows, columns)``, finite.

    Returns:
        ``(min(rows, columns) + 1,)``: at index r that of the first r singular values, ascending
        to 1; all 1 for a matrix of zeros.
    """
    wide = np.asarray(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T, np.float64)
    squares = _singular(np.linalg.eigvalsh(wide @ wide.T), wide) ** 2
    left_out = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    total = left_out[0]
    return np.asarray(1.0 - left_out / total if total > 0 else np.ones_like(left_out))


def _singular(squares: NDArray[Any], wide: NDArray[Any]) -> NDArray[np.float64]:
    """Singular values, descending, from the ascending eigenvalues of W Wᵀ.

    Three to twenty times faster than the decomposition of W itself, and in float64 as good:
    float32 weights do not define singular values below their own rounding, and those are zero
    here, so that the rank for an energy of 1 is the matrix's own.
    """
    singular = np.sqrt(np.maximum(squares[::-1], 0.0))
    rounding = max(wide.shape) * float(np.finfo(np.float32).eps) * singular[0]
    return np.asarray(np.where(singular > rounding, singular, 0.0), np.float64)


def rank_for(held: Energies, energy: float) -> int:
    """The least rank, from 1, that holds an energy in (0, 1]; ``held`` is from ``energies``."""
    return max(1, int(np.searchsorted(held, energy, side="left")))


@dataclass(frozen=True)
class _Upgrade:
    """More weights for one layer: the next rank, or all of it (None)."""

    rank: int | None
    cost: int
    gain: float

    @property
    def density(self) -> float:
        return self.gain / self.cost


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A layer as ``allocate`` sees it.

    Attributes:
        sizes: Its matrix.
        held: From ``energies``.
        most_rank: The largest rank that saves something, from 1.
    """

    sizes: Sizes
    held: Energies
    most_rank: int

    def upgrade(self, rank: int, room: int) -> _Upgrade | None:
        """What gains most energy per weight from a rank on, within ``room`` weights.

        Singular values descend, so of the ranks only the next one comes into question.
        """
        spent = self.sizes.factor_weights(rank)
        options = [_Upgrade(None, self.sizes.weights - spent, float(1 - self.held[rank]))]
        if rank < self.most_rank:
            gain = float(self.held[rank + 1] - self.held[rank])
            options.append(_Upgrade(rank + 1, self.sizes.factor_weights(1), gain))
        affordable = [option for option in options if option.cost <= room and option.gain > 0]
        return max(affordable, key=lambda option: option.density, default=None)


def allocate(layers: Sequence[Spectrum], budget: float) -> list[int | None]:
    """Spread a number of weights over layers so that they hold much energy in all.

    Greedy: every layer begins at rank 1; then whatever gains most energy (as a fraction of its
    own layer's) per weight comes next: one more rank somewhere, or a layer left whole where its
    factors would have to be nearly as large. Weights that would add nothing are not spent.

    Args:
        layers: Layers of which rank 1 saves something.
        budget: Fraction of the layers' weights that may remain, in (0, 1).

    Returns:
        The rank of each layer; None for one that is left whole.

    Raises:
        EdgekitError: Rank 1 everywhere is more than the budget.
    """
    total = sum(layer.sizes.weights for layer in layers)
    least = sum(layer.sizes.factor_weights(1) for layer in layers)
    room = int(budget * total) - least
    if room < 0:
        raise EdgekitError(f"budget {budget:g} is too small: rank 1 in all of the "
                           f"{len(layers)} layer(s) takes {least / total:.4f} of their weights")
    ranks: list[int | None] = [1] * len(layers)
    waiting = [(-found.density, index) for index, layer in enumerate(layers)
               if (found := layer.upgrade(1, room)) is not None]
    heapify(waiting)
    while waiting:
        _, index = heappop(waiting)
        rank = ranks[index]
        assert rank is not None  # a layer that is left whole does not come back
        # There may be less room than when this one was put in line.
        best = layers[index].upgrade(rank, room)
        if best is None:
            continue
        if not waiting or -best.density <= waiting[0][0]:
            ranks[index], room = best.rank, room - best.cost
            following = None if best.rank is None else layers[index].upgrade(best.rank, room)
        else:
            following = best
        if following is not None:
            heappush(waiting, (-following.density, index))
    return ranks
