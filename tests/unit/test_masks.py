"""Masks: exact counts, the smallest first, structure, and what was pruned stays pruned."""

import numpy as np
import pytest
from drawn_weights import small_and_large
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compression.masks import apply_mask, global_masks, magnitude_mask, n_of_m_mask
from edgekit.core.constraints import Constraint, Sparse, check
from edgekit.core.errors import EdgekitError
from edgekit.core.weight_views import matrix_view, reduction_axis, tiles, zero_count

# Few distinct values make ties, as quantized and pruned weights have.
VALUES = st.one_of(st.floats(-4, 4, width=32), st.integers(-2, 2).map(float))


WEIGHTS = small_and_large(VALUES)
SPARSITIES = st.floats(0, 0.99)


@given(WEIGHTS, SPARSITIES)
def test_exactly_so_many_of_the_smallest_are_pruned(weights, sparsity):
    mask = magnitude_mask(weights, sparsity)
    assert mask.shape == weights.shape
    assert np.count_nonzero(~mask) == round(sparsity * weights.size)
    kept, pruned = np.abs(weights[mask]), np.abs(weights[~mask])
    assert not kept.size or not pruned.size or kept.min() >= pruned.max()


@given(WEIGHTS, SPARSITIES)
def test_of_equal_weights_those_of_lower_index_go_first(weights, sparsity):
    flat = np.abs(weights).reshape(-1)
    expected = np.ones(flat.size, bool)
    expected[np.argsort(flat, kind="stable")[: zero_count(flat.size, sparsity)]] = False
    np.testing.assert_array_equal(magnitude_mask(weights, sparsity).reshape(-1), expected)


def test_half_a_weight_is_rounded_to_even():
    weights = np.arange(1, 6, dtype=np.float32)
    assert [np.count_nonzero(~magnitude_mask(weights, s)) for s in (0.1, 0.3, 0.5)] == [0, 2, 2]


@given(WEIGHTS, SPARSITIES, st.integers(1, 4), st.integers(1, 4), st.data())
def test_whole_blocks_are_pruned(weights, sparsity, rows, columns, data):
    axis = data.draw(st.integers(0, weights.ndim - 1))
    mask = magnitude_mask(weights, sparsity, (rows, columns), channel_axis=axis)
    padded = tiles(matrix_view(mask, axis), (rows, columns), fill=False)
    whole = tiles(matrix_view(np.ones_like(mask), axis), (rows, columns), fill=False)
    empty = ~padded.any(axis=(1, 3))
    np.testing.assert_array_equal(padded, whole & ~empty[:, None, :, None])
    assert np.count_nonzero(empty) == round(sparsity * empty.size)
    declared = Constraint(Sparse(sparsity, (rows, columns)))
    assert check(declared, apply_mask(weights, mask), channels=axis) is None


@given(WEIGHTS, SPARSITIES, st.data())
def test_blocks_of_one_weight_are_weights(weights, sparsity, data):
    axis = data.draw(st.integers(0, weights.ndim - 1))
    blocks = magnitude_mask(weights, sparsity, (1, 1), channel_axis=axis)
    single = magnitude_mask(weights, sparsity)
    assert np.count_nonzero(blocks) == np.count_nonzero(single)
    kept = np.abs(weights)
    np.testing.assert_array_equal(np.sort(kept[blocks]), np.sort(kept[single]))


def test_blocks_lie_in_the_matrix_of_the_layer():
    convolution = np.ones((4, 2, 2, 4), np.float32)
    convolution[0:2, 1, 0, 2:4] = 0.1  # rows 0 and 1, columns 10 and 11 of (4, 16)
    mask = magnitude_mask(convolution, 1 / 16, (2, 2))
    np.testing.assert_array_equal(mask, convolution == 1)
    depthwise = np.ones((1, 2, 2, 4), np.float32)
    depthwise[0, 0, :, 2:4] = 0.1  # channels 2 and 3, columns 0 and 1 of (4, 4)
    mask = magnitude_mask(depthwise, 1 / 4, (2, 2), channel_axis=3)
    np.testing.assert_array_equal(mask, depthwise == 1)


def test_padding_does_not_count_in_a_block():
    weights = np.array([[1, 1, 1, 1, 1.5]], np.float32)
    mask = magnitude_mask(weights, 1 / 3, (1, 2))
    np.testing.assert_array_equal(mask, [[False, False, True, True, True]])


@given(WEIGHTS, st.integers(1, 6), st.integers(1, 6), st.data())
def test_n_of_m_keeps_the_largest_of_each_group(weights, n, more, data):
    m = n + more
    axis = data.draw(st.integers(0, weights.ndim - 1))
    mask = n_of_m_mask(weights, n, m, axis)
    lines = np.moveaxis(np.abs(weights), axis, -1)
    kept = np.moveaxis(mask, axis, -1)
    for start in range(0, lines.shape[-1], m):
        group, left = lines[..., start : start + m], kept[..., start : start + m]
        assert (left.sum(axis=-1) == min(n, group.shape[-1])).all()
        lowest = np.where(left, group, np.inf).min(axis=-1)
        highest = np.where(left, -np.inf, group).max(axis=-1)
        assert (lowest >= highest).all()


def test_of_equal_weights_in_a_group_the_last_stay():
    mask = n_of_m_mask(np.ones((1, 8), np.float32), 1, 4, 1)
    np.testing.assert_array_equal(mask, [[0, 0, 0, 1, 0, 0, 0, 1]])


@given(WEIGHTS, st.data())
def test_n_of_m_fulfils_its_declaration(weights, data):
    channels = data.draw(st.integers(0, weights.ndim - 1))
    axis = reduction_axis(weights.ndim, channels)
    pruned = apply_mask(weights, n_of_m_mask(weights, 2, 4, axis))
    assert check(Constraint(Sparse.pattern(2, 4)), pruned, channels=channels) is None


@given(st.lists(WEIGHTS, min_size=1, max_size=4), SPARSITIES, st.booleans())
def test_global_masks_prune_exactly_so_many_of_all(weights, sparsity, normalise):
    named = {f"w{i}": array for i, array in enumerate(weights)}
    masks = global_masks(named, sparsity, normalise=normalise)
    assert {name: mask.shape for name, mask in masks.items()} == {
        name: array.shape for name, array in named.items()}
    pruned = sum(np.count_nonzero(~mask) for mask in masks.values())
    assert pruned == round(sparsity * sum(array.size for array in weights))


@given(st.lists(WEIGHTS, min_size=1, max_size=4), SPARSITIES)
def test_one_threshold_for_all_is_one_tensor(weights, sparsity):
    named = {f"w{i}": array for i, array in enumerate(weights)}
    masks = global_masks(named, sparsity)
    joined = magnitude_mask(np.concatenate([array.reshape(-1) for array in weights]), sparsity)
    np.testing.assert_array_equal(
        np.concatenate([mask.reshape(-1) for mask in masks.values()]), joined)


def test_normalising_spares_the_layer_of_small_weights(rng):
    large = rng.normal(size=(64, 64)).astype(np.float32)
    named = {"large": large, "small": large / 1000, "constant": np.ones((8, 8), np.float32)}
    plain = global_masks(named, 0.5)
    assert not plain["small"].any()
    even = global_masks(named, 0.5, normalise=True)
    assert np.count_nonzero(even["small"]) == pytest.approx(64 * 64 / 2, rel=0.05)
    assert global_masks({}, 0.5) == {}


@given(WEIGHTS, SPARSITIES, SPARSITIES, st.sampled_from(["single", "block", "n:m", "global"]),
       st.randoms(use_true_random=False))
def test_what_was_pruned_stays_pruned(weights, first, second, kind, random):
    other = weights.reshape(-1).copy()
    random.shuffle(other)
    other = other.reshape(weights.shape)
    previous = magnitude_mask(other, first)
    mask = {
        "single": lambda: magnitude_mask(weights, second, previous=previous),
        "block": lambda: magnitude_mask(weights, second, (2, 2), previous=previous),
        "n:m": lambda: n_of_m_mask(weights, 1, 3, 0, previous=previous),
        "global": lambda: global_masks({"w": weights}, second, previous={"w": previous})["w"],
    }[kind]()
    assert not (mask & ~previous).any()
    if kind in {"single", "global"}:
        wanted = max(round(second * weights.size), np.count_nonzero(~previous))
        assert np.count_nonzero(~mask) == wanted


@given(WEIGHTS, SPARSITIES)
def test_scale_does_not_matter(weights, sparsity):
    np.testing.assert_array_equal(magnitude_mask(weights * np.float32(4), sparsity),
                                  magnitude_mask(weights, sparsity))


def test_applied_masks_leave_no_negative_zero():
    pruned = apply_mask(np.array([-1, 2, -3], np.float32), np.array([False, False, True]))
    assert pruned.dtype == np.float32
    assert pruned.tobytes() == np.array([0, 0, -3], np.float32).tobytes()


ONES = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: magnitude_mask(ONES, 1.0), "sparsity is 1"),
    (lambda: global_masks({"w": ONES}, 1.0), "sparsity is 1"),
    (lambda: magnitude_mask(ONES, -0.5), "sparsity is -0.5"),
    (lambda: magnitude_mask(ONES * np.nan, 0.5), "NaN or infinity"),
    (lambda: n_of_m_mask(ONES * np.inf, 2, 4, 1), "NaN or infinity"),
    (lambda: global_masks({"w": ONES * np.nan}, 0.5), "NaN or infinity"),
    (lambda: magnitude_mask(ONES[:0], 0.5), "without elements"),
    (lambda: magnitude_mask(ONES, 0.5, (0, 1)), "blocks of 0x1"),
    (lambda: n_of_m_mask(ONES, 4, 4, 1), r"sparse\(4:4\) keeps nothing or everything"),
    (lambda: n_of_m_mask(ONES, 0, 4, 1), r"sparse\(0:4\) keeps nothing or everything"),
    (lambda: magnitude_mask(ONES, 0.5, previous=np.ones(3, bool)), r"a mask of shape \[3\]"),
])
def test_what_cannot_be_pruned_is_refused(make, message):
    with pytest.raises(EdgekitError, match=message):
        make()
