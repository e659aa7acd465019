"""Clusters: few values, the quantizer's codes, zeros kept, and as good as promised."""

import itertools

import numpy as np
import pytest
from drawn_weights import small_and_large
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.compression.clusters import Clusters, cluster, grid_cluster
from edgekit.core.constraints import Clustered, Constraint, check
from edgekit.core.errors import EdgekitError
from edgekit.core.weight_views import matrix_view

INITS = ("kmeans++", "linear", "density")
VALUES = st.one_of(st.floats(-4, 4, width=32).map(lambda x: x if abs(x) > 1e-6 else 0.0),
                   st.integers(-2, 2).map(float))


WEIGHTS = small_and_large(VALUES)
LEVELS = st.sampled_from([127, 7, 1])


def squared_error(weights: np.ndarray, values: np.ndarray) -> float:
    return float(np.square(weights.astype(np.float64) - values).sum())


def nearest(weights: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return centroids[np.abs(weights[..., None] - centroids).argmin(axis=-1)]


def quantized(weights: np.ndarray, axis: int | None, levels: int = 127) -> np.ndarray:
    """Codes of litert-quantizer's symmetric min-max quantization, computed as it does."""
    others = tuple(i for i in range(weights.ndim) if axis is None or i != axis)
    bound = np.maximum(np.abs(weights).max(axis=others, keepdims=True), np.float32(1e-9))
    scale = (bound / levels).astype(np.float32)
    return np.clip(np.rint(weights / scale), -levels - 1, levels).astype(np.int8)


@st.composite
def grid_cases(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int | None, dict]:
    weights = draw(WEIGHTS)
    axis = draw(st.sampled_from([None, *range(weights.ndim)]))
    options = {
        "keep_zero": draw(st.booleans()),
        "per_channel": axis is not None and draw(st.booleans()),
        "init": draw(st.sampled_from(["optimal", *INITS])),
        "seed": draw(st.integers(0, 3)),
    }
    return weights, draw(st.integers(3, 20)), draw(LEVELS), axis, options


@given(WEIGHTS, st.integers(2, 20), st.sampled_from(INITS), st.booleans())
def test_few_values_each_the_nearest_centroid(weights, k, init, keep_zero):
    made = cluster(weights, k, init, keep_zero=keep_zero)
    values = made.values()
    assert values.dtype == np.float32
    assert values.shape == made.assignments.shape == weights.shape
    assert made.assignments.dtype == np.uint8
    assert made.centroids.size <= k
    assert (np.diff(made.centroids) > 0).all()
    assert squared_error(weights, values) == pytest.approx(
        squared_error(weights, nearest(weights.astype(np.float64), made.centroids)), rel=1e-6)
    assert check(Constraint(clustered=Clustered(k)), values) is None


@given(WEIGHTS, st.integers(2, 20), st.sampled_from(INITS), st.booleans())
def test_clustering_twice_changes_nothing(weights, k, init, keep_zero):
    once = cluster(weights, k, init, keep_zero=keep_zero).values()
    np.testing.assert_array_equal(cluster(once, k, init, keep_zero=keep_zero).values(), once)


@given(WEIGHTS, st.integers(1, 20), st.sampled_from(INITS), st.integers(0, 5))
def test_never_worse_than_evenly_spaced_centroids(weights, k, init, seed):
    found = squared_error(weights, cluster(weights, k, init, seed).values())
    even = nearest(weights.astype(np.float64), np.linspace(weights.min(), weights.max(), k))
    assert found <= squared_error(weights, even) * (1 + 1e-6) + 1e-9


@given(WEIGHTS, st.integers(2, 20), st.sampled_from(INITS))
def test_zeros_stay_zero(weights, k, init):
    made = cluster(weights, k, init, keep_zero=True)
    assert (made.values()[weights == 0] == 0).all()
    assert 0 in made.centroids
    assert not np.signbit(made.values()[made.values() == 0]).any()


@given(WEIGHTS, st.integers(1, 20), st.sampled_from(INITS), st.integers(-20, 20))
def test_scaling_the_weights_scales_the_clusters(weights, k, init, power):
    plain, scaled = cluster(weights, k, init), cluster(np.ldexp(weights, power), k, init)
    np.testing.assert_array_equal(scaled.assignments, plain.assignments)
    np.testing.assert_array_equal(scaled.values(), np.ldexp(plain.values(), power))


@given(WEIGHTS, st.sampled_from(INITS))
def test_fewer_values_than_clusters_stay_as_they_are(weights, init):
    distinct = np.unique(weights)
    made = cluster(weights, distinct.size, init)
    np.testing.assert_array_equal(made.values(), weights)
    np.testing.assert_array_equal(cluster(weights, 5000, init).values(), weights)


def test_one_cluster_is_the_mean():
    made = cluster(np.array([[1, 2, 6]], np.float32), 1)
    np.testing.assert_array_equal(made.centroids, [3])


def test_k_means_finds_groups_that_are_there(rng):
    centres = np.array([-5, -1, 0.5, 2, 9], np.float32)
    weights = (centres[rng.integers(0, 5, 4000)] + rng.normal(0, 0.01, 4000)).astype(np.float32)
    for init in INITS:
        np.testing.assert_allclose(cluster(weights, 5, init).centroids, centres, atol=0.01)


def test_the_beginning_depends_on_nothing_but_the_seed(rng):
    weights = rng.normal(size=(100, 1000)).astype(np.float32)
    first, again = cluster(weights, 32, seed=7), cluster(weights, 32, seed=7)
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert not np.array_equal(cluster(weights, 32, seed=8, iterations=1).centroids,
                              cluster(weights, 32, seed=7, iterations=1).centroids)


def test_empty_clusters_find_work():
    """Nearly all weights are equal: evenly spaced centroids would mostly serve nothing."""
    weights = np.concatenate([np.ones(1000), np.linspace(2, 2.1, 30), [50]]).astype(np.float32)
    made = cluster(weights, 8, "linear")
    assert made.centroids.size == 8
    assert np.bincount(made.assignments, minlength=8).min() > 0


def test_many_clusters_need_wider_indices(rng):
    made = cluster(rng.normal(size=5000).astype(np.float32), 1000)
    assert made.assignments.dtype == np.uint16
    assert made.centroids.size == 1000


@given(grid_cases())
@settings(max_examples=300)
def test_the_quantizer_gets_at_most_k_codes(case):
    weights, k, levels, axis, options = case
    made = grid_cluster(weights, k, levels, axis, **options)
    values = made.values()
    assert values.dtype == np.float32
    assert values.shape == made.assignments.shape == weights.shape
    codes = quantized(values, axis, levels)
    expected = Clusters(made.centroids * np.float32(levels), made.assignments,
                        np.ones_like(made.scales), made.channel_axis).values()
    np.testing.assert_array_equal(codes, np.rint(expected))
    rows = matrix_view(codes, axis) if options["per_channel"] else codes.reshape(1, -1)
    assert max(np.unique(row).size for row in rows) <= k
    if axis is not None:
        kind = Clustered(k, axis=axis) if options["per_channel"] else Clustered(k, scale_axis=axis)
        assert check(Constraint(clustered=kind), values) is None
        assert check(Constraint(clustered=kind), codes) is None


@given(grid_cases())
def test_scales_are_kept_exactly(case):
    weights, k, levels, axis, options = case
    values = grid_cluster(weights, k, levels, axis, **options).values()
    others = tuple(i for i in range(weights.ndim) if axis is None or i != axis)
    np.testing.assert_array_equal(np.abs(values).max(axis=others), np.abs(weights).max(axis=others))


@given(grid_cases())
def test_clustering_on_the_grid_twice_changes_nothing(case):
    weights, k, levels, axis, options = case
    once = grid_cluster(weights, k, levels, axis, **options).values()
    np.testing.assert_array_equal(grid_cluster(once, k, levels, axis, **options).values(), once)


@given(grid_cases())
def test_zeros_stay_zero_on_the_grid(case):
    weights, k, levels, axis, options = case
    values = grid_cluster(weights, k, levels, axis, **(options | {"keep_zero": True})).values()
    assert (values[weights == 0] == 0).all()
    assert not np.signbit(values[values == 0]).any()


@given(grid_cases(), st.data())
def test_scaling_channels_scales_their_clusters(case, data):
    weights, k, levels, axis, options = case
    shape = [1] * weights.ndim
    if axis is not None:
        shape[axis] = weights.shape[axis]
    powers = data.draw(hnp.arrays(np.int32, tuple(shape), elements=st.integers(-6, 6)))
    plain = grid_cluster(weights, k, levels, axis, **options)
    scaled = grid_cluster(np.ldexp(weights, powers), k, levels, axis, **options)
    np.testing.assert_array_equal(scaled.assignments, plain.assignments)
    np.testing.assert_array_equal(scaled.values(), np.ldexp(plain.values(), powers))


def _unit_error(weights: np.ndarray, values: np.ndarray, axis: int | None, levels: int) -> float:
    """In steps of the grid."""
    others = tuple(i for i in range(weights.ndim) if axis is None or i != axis)
    scale = np.abs(weights).max(axis=others, keepdims=True)
    scale = np.where(scale == 0, 1, scale).astype(np.float64) / levels
    return squared_error(weights / scale, values / scale)


@given(grid_cases())
def test_the_optimum_is_the_best_and_none_is_worse_than_even_ones(case):
    weights, k, levels, axis, options = case
    best, found = (
        _unit_error(weights, grid_cluster(weights, k, levels, axis,
                                          **(options | {"init": init})).values(), axis, levels)
        for init in ("optimal", options["init"])
    )
    assert best <= found + 1e-3
    even = grid_cluster(weights, k, levels, axis,
                        **(options | {"init": "linear", "iterations": 0})).values()
    assert found <= _unit_error(weights, even, axis, levels) + 1e-3


@given(hnp.arrays(np.float32, st.integers(1, 12), elements=VALUES), st.integers(3, 5))
@settings(max_examples=40)
def test_the_optimum_is_that_of_trying_all(weights, k):
    levels = 5
    scale = float(np.abs(weights).max())
    assume(scale > 0)
    units = weights.astype(np.float64) / scale * levels
    ends = {float(x) for x in units if abs(x) == levels}
    tries = (
        np.array(codes) for codes in itertools.combinations(range(-levels, levels + 1), k)
        if ends <= set(codes)
    )
    best = min(squared_error(units, nearest(units, codes)) for codes in tries)
    found = grid_cluster(weights, k, levels).values() / scale * levels
    assert squared_error(units, found) == pytest.approx(best, abs=1e-3)


def test_a_channel_without_weights_stays_zero_and_costs_one_code():
    weights = np.array([[0, 0, 0], [0.3, 0.5, 1.0], [-2, 1, 1e-12]], np.float32)
    weights = np.concatenate([weights, [[1e-12, -1e-11, 0]]]).astype(np.float32)
    made = grid_cluster(weights, 4, axis=0)
    assert 0 in made.centroids
    assert not made.values()[[0, 3]].any()
    np.testing.assert_array_equal(np.unique(quantized(made.values(), 0)).size, 4)


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
@pytest.mark.parametrize("axis", [None, 1])
def test_a_constant_tensor_is_one_cluster(value, axis):
    weights = np.full((3, 4, 5), value, np.float32)
    for made in (cluster(weights, 16), grid_cluster(weights, 16, axis=axis)):
        assert made.centroids.size == 1
        np.testing.assert_array_equal(made.values(), weights)


def test_k_is_for_the_whole_tensor_or_for_each_channel(rng):
    scales = np.array([1, 10, 0.1, 3], np.float32)
    weights = (rng.normal(size=(3, 5, 9, 4)) * scales).astype(np.float32)
    whole = grid_cluster(weights, 8, axis=3)
    assert np.unique(quantized(whole.values(), 3)).size == 8
    own = grid_cluster(weights, 8, axis=-1, per_channel=True)
    assert own.centroids.shape == (4, 8)
    assert own.channel_axis == 3
    codes = quantized(own.values(), 3)
    assert [np.unique(codes[..., channel]).size for channel in range(4)] == [8] * 4
    assert _unit_error(weights, own.values(), 3, 127) < _unit_error(weights, whole.values(), 3, 127)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_other_beginnings_come_near_the_optimum(rng, init, per_channel):
    weights = rng.normal(size=(4, 50_000)).astype(np.float32)
    best, found = (
        _unit_error(weights, grid_cluster(weights, 16, axis=0, per_channel=per_channel,
                                          init=init_).values(), 0, 127)
        for init_ in ("optimal", init)
    )
    assert found < 1.15 * best


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_grid_has_no_more_clusters_than_codes(rng, per_channel):
    weights = rng.normal(size=(4, 5000)).astype(np.float32)
    made = grid_cluster(weights, 60_000, 7, axis=0, per_channel=per_channel)
    assert made.centroids.shape[-1] == 15
    np.testing.assert_array_equal(quantized(made.values(), 0, 7), quantized(weights, 0, 7))


@given(grid_cases())
def test_centroids_can_be_trained_without_their_scales(case):
    """What training does: other centroids, the same assignments and scales."""
    weights, k, levels, axis, options = case
    made = grid_cluster(weights, k, levels, axis, **options)
    moved = Clusters(made.centroids / 2, made.assignments, made.scales, made.channel_axis)
    np.testing.assert_array_equal(moved.values(), made.values() / 2)


ONES = np.ones((2, 2), np.float32)
MIXED = np.array([[1, -1], [0.5, 0]], np.float32)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: cluster(ONES * np.nan, 4), "NaN or infinity"),
    (lambda: grid_cluster(ONES * np.inf, 4), "NaN or infinity"),
    (lambda: cluster(np.full(3, 1e300), 4), "NaN or infinity"),
    (lambda: cluster(ONES[:0], 4), "without elements"),
    (lambda: grid_cluster(ONES[:0], 4), "without elements"),
    (lambda: cluster(ONES, 0), "0 clusters"),
    (lambda: cluster(ONES, 70_000), "70000 clusters"),
    (lambda: cluster(MIXED, 1, keep_zero=True), "1 clusters are too few"),
    (lambda: cluster(ONES, 4, "k-means"), "'k-means' is no way to begin"),
    (lambda: grid_cluster(ONES, 4, init="best"), "'best' is no way to begin"),
    (lambda: grid_cluster(MIXED, 1), "1 clusters are too few"),
    (lambda: grid_cluster(MIXED, 2, keep_zero=True), "2 clusters are too few"),
    (lambda: grid_cluster(ONES, 4, levels=128), "levels is 128"),
    (lambda: grid_cluster(ONES, 4, axis=2), "no axis 2"),
    (lambda: grid_cluster(ONES, 4, per_channel=True), "need the channels' axis"),
])
def test_what_cannot_be_clustered_is_refused(make, message):
    with pytest.raises(EdgekitError, match=message):
        make()
