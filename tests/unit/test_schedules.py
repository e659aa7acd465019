"""Sparsity over steps: the published formula, the last update, and what is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compression.schedules import (
    ConstantSparsity,
    ExponentialSparsity,
    PolynomialSparsity,
    Schedule,
)
from edgekit.core.errors import EdgekitError

FRACTIONS = st.floats(0, 0.999)
STEPS = st.integers(0, 2_000)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    begin = draw(STEPS)
    end = begin + draw(STEPS)
    first, last = sorted([draw(FRACTIONS), draw(FRACTIONS)])
    frequency = draw(st.integers(1, 300))
    return draw(st.sampled_from([
        ConstantSparsity(last, begin, end, frequency),
        PolynomialSparsity(last, begin, end, first, frequency, draw(st.floats(0.5, 6))),
        ExponentialSparsity(last, begin, end, first, frequency),
    ]))


def test_polynomial_is_the_formula_of_zhu_and_gupta():
    schedule = PolynomialSparsity(0.9, begin_step=100, end_step=500, initial_sparsity=0.5)
    for step in range(100, 501):
        expected = 0.9 + (0.5 - 0.9) * (1 - (step - 100) / 400) ** 3
        assert schedule.sparsity_at(step) == pytest.approx(expected, abs=1e-12)
    assert schedule.sparsity_at(99) == 0
    assert schedule.sparsity_at(9_999) == 0.9


def test_exponential_removes_the_same_share_each_time():
    schedule = ExponentialSparsity(1 - 0.5**4, begin_step=10, end_step=50, frequency=10)
    assert [schedule.sparsity_at(step) for step in (10, 20, 30, 40, 50)] == pytest.approx(
        [0, 0.5, 0.75, 0.875, 0.9375])


def test_constant_is_one_shot_unless_it_ends_later():
    once = ConstantSparsity(0.5, begin_step=3, end_step=3)
    assert [step for step in range(1_000) if once.updates_at(step)] == [3]
    often = ConstantSparsity(0.5, 3, 12, frequency=4)
    assert [step for step in range(1_000) if often.updates_at(step)] == [3, 7, 11, 12]
    assert (often.sparsity_at(2), often.sparsity_at(3)) == (0, 0.5)


@given(schedules())
def test_sparsity_rises_from_begin_to_end_and_stays(schedule):
    begin, end = schedule.begin_step, schedule.end_step
    steps = sorted({0, begin, *range(begin, end, max(1, (end - begin) // 50)), end, end + 7})
    values = [schedule.sparsity_at(step) for step in steps]
    assert all(0 <= value < 1 for value in values)
    assert all(b >= a - 1e-12 for a, b in pairwise(values))
    final = getattr(schedule, "final_sparsity", getattr(schedule, "sparsity", None))
    assert schedule.sparsity_at(end) == schedule.sparsity_at(end + 1) == final


@given(schedules())
def test_the_last_update_falls_on_the_end(schedule):
    begin, end = schedule.begin_step, schedule.end_step
    updates = [step for step in range(end + 400) if schedule.updates_at(step)]
    assert updates[0] == begin
    assert updates[-1] == end
    gaps = {b - a for a, b in pairwise(updates[:-1])}
    assert gaps <= {schedule.frequency}


@pytest.mark.parametrize(("make", "field"), [
    (lambda: ConstantSparsity(1.0), "sparsity is 1"),
    (lambda: ConstantSparsity(-0.1), "sparsity is -0.1"),
    (lambda: ConstantSparsity(float("nan")), "sparsity is nan"),
    (lambda: ConstantSparsity(75), "sparsity is 75"),
    (lambda: ConstantSparsity(0.5, begin_step=3), "end_step is 0, before begin_step, 3"),
    (lambda: PolynomialSparsity(1.0, 0, 10), "final_sparsity is 1"),
    (lambda: PolynomialSparsity(0.5, 0, 10, initial_sparsity=1.0), "initial_sparsity is 1"),
    (lambda: PolynomialSparsity(0.5, 0, 10, 0.7), "initial_sparsity is 0.7, above final_sparsity"),
    (lambda: PolynomialSparsity(0.5, 11, 10), "end_step is 10, before begin_step, 11"),
    (lambda: PolynomialSparsity(0.5, -1, 10), "begin_step is -1"),
    (lambda: PolynomialSparsity(0.5, 0, 10, frequency=0), "frequency is 0"),
    (lambda: PolynomialSparsity(0.5, 0, 10, power=0), "power is 0"),
    (lambda: ExponentialSparsity(0.5, 11, 10), "end_step is 10, before begin_step, 11"),
    (lambda: ExponentialSparsity(0.5, 0, 10, frequency=-3), "frequency is -3"),
    (lambda: ExponentialSparsity(1.0, 0, 10), "final_sparsity is 1"),
])
def test_what_is_out_of_range_is_refused_by_name(make, field):
    with pytest.raises(EdgekitError, match=f"^{field}"):
        make()
