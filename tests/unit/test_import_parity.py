"""The comparison of the source framework with LiteRT: what passes, what is told, what fails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.importers.parity import ParityMeter


def meter(*samples):
    made = ParityMeter()
    for reference, candidate in samples:
        made.add({"y": np.asarray(reference, np.float32)}, {"y": np.asarray(candidate, np.float32)})
    return made


def test_equal_outputs_are_a_perfect_row(rng):
    values = rng.normal(size=(1, 10))
    made = meter((values, values), (values, values))
    (row,) = made.rows()
    assert (row.output, row.max_abs, row.cosine, row.top1_agreement) == (
        "y", 0.0, pytest.approx(1.0), 1.0)
    assert not made.problems()
    assert not made.remarks()


def test_rounding_is_neither_a_problem_nor_worth_telling(rng):
    values = rng.normal(size=(1, 1000))
    made = meter((values, values * (1 + 1e-6 * rng.normal(size=values.shape))))
    assert not made.problems()
    assert not made.remarks()
    assert 0 < made.rows()[0].max_abs < 1e-4


def test_amplified_rounding_is_told_and_no_error(rng):
    """What basic-pitch makes of a pure tone: one value in thousands 0.2 % of the scale off."""
    values = rng.uniform(0, 0.5, size=(1, 172, 88))
    other = values.copy()
    other[0, 7, 7] += 1e-3
    made = meter((values, other))
    assert not made.problems()
    assert "amplifies rounding" in made.remarks()["y"]


@pytest.mark.parametrize("wrong", [
    lambda v: np.roll(v, 1, axis=-1), lambda v: -v, lambda v: v * 1.03, lambda v: v + 0.1,
    lambda v: np.where(np.arange(v.size).reshape(v.shape) % 50 == 0, 0.0, v), lambda v: v * 0,
])  # fmt: skip
def test_wrong_operators_are_problems(rng, wrong):
    values = rng.normal(size=(1, 1000)) + 0.5
    assert "y" in meter((values, wrong(values))).problems()


def test_one_value_far_off_is_a_problem(rng):
    values = rng.normal(size=(1, 100_000))
    other = values.copy()
    other[0, 3] += 2.0
    assert "2" in meter((values, other)).problems()["y"]


def test_shapes_must_be_equal():
    assert "[1, 4]" in meter((np.ones((1, 2, 2)), np.ones((1, 4)))).problems()["y"]


def test_nan_and_infinity_must_be_in_the_same_places():
    odd = [[1.0, np.nan, np.inf, -np.inf]]
    assert not meter((odd, odd)).problems()
    assert "other places" in meter((odd, [[1.0, 2.0, np.inf, -np.inf]])).problems()["y"]
    assert "other places" in meter((odd, [[np.nan, np.nan, np.inf, -np.inf]])).problems()["y"]
    assert "other places" in meter((odd, [[1.0, np.nan, -np.inf, np.inf]])).problems()["y"]


def test_silent_outputs_have_no_direction():
    assert not meter((np.zeros((1, 8)), np.full((1, 8), 1e-9))).problems()
    assert not meter((np.zeros((1, 0)), np.zeros((1, 0)))).problems()
    assert meter((np.zeros((1, 8)), np.full((1, 8), 1e-3))).problems()


def test_integers_and_booleans_are_compared_by_value():
    made = ParityMeter()
    made.add({"i": np.array([3, 7]), "b": np.array([True, False])},
             {"i": np.array([3, 6]), "b": np.array([True, False])})
    assert set(made.problems()) == {"i"}


def test_top1_counts_samples():
    made = meter(([[0.1, 0.9]], [[0.1, 0.9]]), ([[0.5, 0.4999]], [[0.4999, 0.5]]))
    assert made.rows()[0].top1_agreement == 0.5


@given(st.floats(1e-3, 1e6), st.integers(1, 50))
def test_the_verdict_does_not_depend_on_the_scale(scale, size):
    values = np.random.default_rng(size).normal(size=(1, size)) + 3
    assert not meter((values * scale, values * scale * (1 + 1e-5))).problems()
    assert meter((values * scale, values * scale * 1.1)).problems()
