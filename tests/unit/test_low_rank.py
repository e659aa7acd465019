"""Low-rank numerics: against NumPy's own decomposition, and what the savings rule promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compression.low_rank import (
    Sizes,
    Spectrum,
    allocate,
    as_layers,
    as_matrix,
    energies,
    factors,
    rank_for,
)
from edgekit.core.errors import EdgekitError

sides = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def of_rank(seed, rows, columns, rank):
    return (noise(seed, rows, rank) @ noise(seed + 1, rank, columns)).astype(np.float32)


def singular_values(matrix):
    return np.linalg.svd(matrix.astype(np.float64), compute_uv=False)


@given(sides, sides, seeds, st.data())
def test_the_error_is_the_energy_left_out(rows, columns, seed, data):
    matrix = noise(seed, rows, columns)
    rank = data.draw(st.integers(1, min(rows, columns)))
    first, second = factors(matrix, rank)
    assert first.shape == (rank, columns)
    assert second.shape == (rows, rank)
    assert first.dtype == second.dtype == np.float32
    error = ((second.astype(np.float64) @ first - matrix) ** 2).sum()
    total = (matrix.astype(np.float64) ** 2).sum()
    assert error == pytest.approx((singular_values(matrix)[rank:] ** 2).sum(), abs=1e-9 * total)
    assert error == pytest.approx((1 - energies(matrix)[rank]) * total, abs=1e-9 * total)


@given(sides, sides, seeds, st.floats(1e-15, 1e15))
def test_energies_are_those_of_the_singular_values(rows, columns, seed, scale):
    matrix = noise(seed, rows, columns) * np.float32(scale)
    held = energies(matrix)
    squares = singular_values(matrix) ** 2
    np.testing.assert_allclose(held[1:], np.cumsum(squares) / squares.sum(), atol=1e-9)
    assert held[0] == 0
    assert held[-1] == 1
    assert (np.diff(held) >= 0).all()


@given(sides, sides, seeds, st.floats(0.01, 1.0))
def test_the_rank_for_an_energy_is_the_least(rows, columns, seed, energy):
    held = energies(noise(seed, rows, columns))
    rank = rank_for(held, energy)
    assert 1 <= rank <= min(rows, columns)
    assert held[rank] >= energy
    assert rank == 1 or held[rank - 1] < energy


@given(st.integers(1, 6), seeds, st.integers(7, 40), st.integers(7, 40))
def test_an_energy_of_one_finds_no_more_than_the_rank_of_the_matrix(rank, seed, rows, columns):
    matrix = of_rank(seed, rows, columns, rank)
    found = rank_for(energies(matrix), 1.0)
    assert found <= rank
    first, second = factors(matrix, found)
    np.testing.assert_allclose(second @ first, matrix, atol=1e-5 * np.abs(matrix).max())


def test_a_matrix_of_zeros_has_factors_of_zeros():
    matrix = np.zeros((5, 8), np.float32)
    assert rank_for(energies(matrix), 1.0) == 1
    assert not any(factor.any() for factor in factors(matrix, 3))


def test_ranks_beyond_the_matrix_are_zeros_and_not_noise():
    first, second = factors(of_rank(0, 20, 30, 2), 4)
    assert not first[2:].any()
    assert not second[:, 2:].any()


@given(sides, sides, seeds)
def test_both_factors_have_the_same_magnitude(rows, columns, seed):
    matrix = noise(seed, rows, columns)
    rank = min(rows, columns)
    first, second = factors(matrix, rank)
    roots = np.sqrt(singular_values(matrix))
    tolerance = 1e-3 * roots[0]
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), roots, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(second, axis=0), roots, atol=tolerance)


shapes = st.tuples(*[st.integers(1, 5)] * 4)


@given(shapes, seeds)
def test_whole_layers_make_the_convolution(shape, seed):
    weights = noise(seed, *shape)
    matrix = as_matrix(weights)
    first, second = as_layers(*factors(matrix, min(matrix.shape)), shape)
    out, height, width, channels = shape
    assert first.shape == (len(first), height, width, channels)
    assert second.shape == (out, 1, 1, len(first))
    made = np.einsum("or,ryxi->oyxi", second[:, 0, 0], first)
    np.testing.assert_allclose(made, weights, atol=1e-5)


@given(shapes, seeds)
def test_separable_layers_make_the_convolution(shape, seed):
    weights = noise(seed, *shape)
    matrix = as_matrix(weights, separable=True)
    first, second = as_layers(*factors(matrix, min(matrix.shape)), shape, separable=True)
    out, height, width, channels = shape
    assert first.shape == (len(first), height, 1, channels)
    assert second.shape == (out, 1, width, len(first))
    made = np.einsum("oxr,ryi->oyxi", second[:, 0], first[:, :, 0])
    np.testing.assert_allclose(made, weights, atol=1e-5)


def test_fully_connected_factors_are_layers_already():
    first, second = factors(noise(0, 4, 6), 2)
    assert as_layers(first, second, (4, 6)) == (first, second)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 50), st.integers(1, 50),
       st.booleans(), st.integers(0, 200), st.integers(0, 30))
def test_the_largest_rank_saves_weights_and_macs_and_the_next_does_not(
    rows, columns, positions, first_positions, bias, overhead, per_rank
):
    sizes = Sizes(rows, columns, positions, first_positions, bias)

    def saves(rank):
        return (sizes.factor_weights(rank) + rank * per_rank + overhead < sizes.weights
                and sizes.factor_macs(rank) < sizes.macs)

    most = sizes.most_rank(overhead, per_rank)
    assert most == 0 or saves(most)
    assert not saves(most + 1)
    assert most < min(rows, columns) or most == 0


def test_sizes_count_what_the_layers_do():
    sizes = Sizes(rows=8, columns=27, positions=100, first_positions=400, bias=True)
    assert sizes.weights == 8 * 27
    assert sizes.macs == 100 * 8 * 27
    assert sizes.factor_weights(3) == 3 * 27 + 3 + 8 * 3
    assert sizes.factor_macs(3) == 400 * 3 * 27 + 100 * 8 * 3


def spectrum(matrix):
    sizes = Sizes(*matrix.shape)
    return Spectrum(sizes, energies(matrix), sizes.most_rank())


def spent(layers, ranks):
    return sum(layer.sizes.weights if rank is None else layer.sizes.factor_weights(rank)
               for layer, rank in zip(layers, ranks, strict=True))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(8, 40), st.integers(8, 40)), min_size=1, max_size=5),
       st.floats(0.3, 0.99), seeds)
def test_a_budget_is_kept_and_used(shapes, budget, seed):
    layers = [spectrum(noise(seed + i, *shape)) for i, shape in enumerate(shapes)]
    total = sum(layer.sizes.weights for layer in layers)
    ranks = allocate(layers, budget)
    assert spent(layers, ranks) <= budget * total
    room = int(budget * total) - spent(layers, ranks)
    for layer, rank in zip(layers, ranks, strict=True):
        if rank is not None:
            assert 1 <= rank <= layer.most_rank
            assert layer.upgrade(rank, room) is None, "weights are left that would add energy"


def test_weights_go_where_they_hold_most_energy():
    low, high = of_rank(0, 64, 64, 4), noise(2, 64, 64)
    ranks = allocate([spectrum(low), spectrum(high)], 0.4)
    assert ranks[0] == 4, "all its energy, and no weight more"
    assert ranks[1] > 15


def test_a_layer_that_no_rank_serves_is_left_whole():
    flat = np.linalg.qr(noise(0, 32, 32).astype(np.float64))[0]
    low = of_rank(1, 256, 256, 4) + np.float32(1e-3) * noise(4, 256, 256)
    assert allocate([spectrum(flat), spectrum(low)], 0.2)[0] is None


def test_a_budget_below_rank_one_is_refused_with_the_least_one():
    with pytest.raises(EdgekitError, match=r"budget 0\.01 .* takes 0\.1250 of their weights"):
        allocate([spectrum(noise(0, 16, 16))], 0.01)
