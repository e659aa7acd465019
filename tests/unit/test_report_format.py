import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report import format as fmt


@pytest.mark.parametrize(("value", "shown"), [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (90_412, "90.4 kB"), (999_949, "999.9 kB"),
    (999_950, "1.0 MB"), (67_108_864, "67.1 MB"), (999_960_000, "1.0 GB"), (4e9, "4.0 GB"),
    (5e15, "5,000.0 TB"), (-1500, "−1.5 kB"),
])
def test_size(value, shown):
    assert fmt.size(value) == shown


@pytest.mark.parametrize(("value", "shown"), [
    (0, "0"), (0.1424, "0.142"), (9.996, "10.0"), (14.25, "14.2"), (142.4, "142"),
    (1420.4, "1,420"), (99.96, "100"), (0.00012345, "0.000123"), (2.38e-7, "2.38e-7"),
    (-3.5, "−3.50"), (math.nan, "not a number"), (math.inf, "infinite"), (None, "unknown"),
])
def test_significant(value, shown):
    assert fmt.significant(value) == shown


@pytest.mark.parametrize(("value", "shown"), [
    (812, "812"), (999.6, "1.00 k"), (54_218, "54.2 k"), (2_700_000, "2.70 M"),
    (999_999, "1.00 M"), (1.2e9, "1.20 G"),
])
def test_count(value, shown):
    assert fmt.count(value) == shown


@pytest.mark.parametrize(("metric", "value", "shown"), [
    ("accuracy", 0.16, "0.16 pp"), ("top1_agreement", -0.1, "−0.10 pp"), ("accuracy", 0, "0.00 pp"),
    ("accuracy", -0.001, "0.00 pp"), ("mse", 12.5, "12.50 %"), ("my.py:score", -1, "−1.00 %"),
    ("mse", None, "unknown"),
])
def test_drop(metric, value, shown):
    assert fmt.drop(metric, value) == shown


@pytest.mark.parametrize(("metric", "value", "shown"), [
    ("accuracy", 0.91451, "91.45 %"), ("cosine", 0.999999, "0.99999"), ("cosine", 1.0, "1.00000"),
    ("cosine", -0.5, "−0.50000"), ("mse", 0.0123456, "0.01235"),
])
def test_quality(metric, value, shown):
    assert fmt.quality(metric, value) == shown


@pytest.mark.parametrize(("value", "unit", "shown", "exact"), [
    (90_412, "bytes", "90.4 kB", "90,412 B"), (3.49871, "ms", "3.50 ms", "3.49871 ms"),
    (54_218, "count", "54.2 k", "54,218"), (0.163, "pp", "0.16 pp", "0.163 pp"),
    (1.5, "mJ", "1.50 mJ", "1.5 mJ"), (None, "bytes", "unknown", "unknown"),
])
def test_quantity(value, unit, shown, exact):
    assert fmt.quantity(value, unit) == shown
    assert fmt.exact(value, unit) == exact


@pytest.mark.parametrize(("name", "words"), [
    ("latency_p50_ms", "latency p50"), ("ram_bytes", "RAM"), ("peak_rss_bytes", "peak RSS"),
    ("quality_drop", "quality drop"), ("macs", "MACs"), ("deflate_bytes", "deflated"),
    ("model", "model"),
])
def test_label(name, words):
    assert fmt.label(name) == words


@pytest.mark.parametrize(("before", "after", "words", "ratio"), [
    (1000, 400, "2.5× smaller", "2.5×"), (1000, 1000, "same size", "1.0×"),
    (1000, 1300, "1.3× larger", "0.77×"), (1000, 4, "250× smaller", "250×"),
    (0, 10, "same size", "–"), (10, 0, "same size", "–"),
])
def test_sizes_compared(before, after, words, ratio):
    assert fmt.size_change(before, after) == words
    assert fmt.smaller(before, after) == ratio


@pytest.mark.parametrize(("part", "total", "shown"), [
    (1, 3, "33 %"), (1, 20, "5.0 %"), (1, 100_000, "< 0.1 %"), (0, 5, "0 %"), (1, 0, "–"),
])
def test_share(part, total, shown):
    assert fmt.share(part, total) == shown


def test_change_has_a_sign():
    assert [fmt.change(x) for x in (0.12, -0.6, 0.004, 0)] == ["+12 %", "−60 %", "+0.4 %", "0.0 %"]


@pytest.mark.parametrize(("value", "shown"), [
    (0.023, "0.02 s"), (0.4, "0.4 s"), (66.2, "66 s"), (812, "14 min")])
def test_seconds(value, shown):
    assert fmt.seconds(value) == shown


def test_plain_never_says_none():
    given_ = {"a": None, "b": {"c": True, "d": [1, 2.5]}, "e": [{"f": None}], "g": 0.1}
    rows = dict(fmt.flat(given_))
    assert rows == {"a": "unknown", "b.c": "yes", "b.d": "1, 2.5", "e": '[{"f": null}]', "g": "0.1"}


def test_clean_takes_out_what_cannot_be_seen():
    assert fmt.clean("a\x1b[31mb\u202ec\ud800\n\u2028d") == "a�[31mb�c� �d"


@given(st.text(), st.integers(0, 60))
def test_shorten_keeps_within_the_width_and_both_ends(text, width):
    short = fmt.shorten(text, width)
    assert len(short) <= max(width, 0) or short == text
    if width >= 3 and len(text) > width:
        assert short[0] == text[0]
        assert short[-1] == text[-1]


@given(st.text(), st.integers(0, 60))
def test_cut_keeps_within_the_width_and_the_beginning(text, width):
    short = fmt.cut(text, width)
    assert len(short) <= max(width, 0)
    assert short == text or width == 0 or short == text[:width - 1] + "…"


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(1, 8))
def test_significant_takes_any_float(value, digits):
    assert fmt.significant(value, digits)


@given(st.floats(1e-3, 1e12), st.integers(2, 8))
def test_significant_is_close(value, digits):
    shown = float(fmt.significant(value, digits).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits))
