"""Verdicts: a number without a source does not pass a gate silently."""

import pytest

from edgekit.core.budget import judge, missed
from edgekit.core.measurement import Measurement, weakest


def part(value, provenance="measured", **more):
    known = None if value is None else provenance
    return Measurement("part", value, "bytes", known, "somewhere", **more)


@pytest.mark.parametrize(
    ("parts", "accept", "status"),
    [
        ([part(60), part(40)], False, "pass"),
        ([part(60), part(41)], False, "fail"),
        ([part(60), part(30, "estimated")], False, "warn"),
        ([part(60), part(30, "estimated")], True, "pass"),
        ([part(60), part(50, "estimated")], False, "warn"),
        ([part(60), part(50, "estimated")], True, "fail"),
        ([part(60), part(None)], False, "unknown"),
        ([part(60), part(None)], True, "unknown"),
        ([part(101), part(None)], False, "fail"),
        ([part(101, "estimated", lower_bound=True)], False, "fail"),
        ([part(60, "simulated")], False, "pass"),
        ([], False, "unknown"),
    ],
)
def test_status(parts, accept, status):
    assert judge("ram_bytes", 100, parts, accept_estimates=accept).status == status


def test_sum_is_unknown_when_a_part_is():
    verdict = judge("ram_bytes", 100, [part(10), part(None)])
    assert verdict.value is None
    assert verdict.provenance is None
    assert "somewhere" in verdict.reason


def test_a_sum_is_worth_its_weakest_part():
    assert weakest(["measured", "estimated", "simulated"]) == "estimated"
    assert weakest(["measured", None]) is None
    assert weakest([]) is None


def test_strict_counts_what_is_not_known():
    verdicts = [judge("a", 1, [part(None)]), judge("b", 1, [part(1)]), judge("c", 1, [part(2)])]
    assert [v.name for v in missed(verdicts)] == ["c"]
    assert [v.name for v in missed(verdicts, strict=True)] == ["a", "c"]
