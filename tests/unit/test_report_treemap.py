import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.layer_map import short_names
from edgekit.report.treemap import squarify

WIDTH, HEIGHT = 980.0, 400.0
areas = st.lists(st.integers(1, 10**9), min_size=1, max_size=60).map(
    lambda values: sorted(values, reverse=True))


@given(areas)
def test_areas_are_proportional_and_fill_the_map(values):
    boxes = squarify(values, WIDTH, HEIGHT)
    for value, box in zip(values, boxes, strict=True):
        share = box.width * box.height / (WIDTH * HEIGHT)
        assert share == pytest.approx(value / sum(values), rel=1e-6, abs=1e-9)


@given(areas)
def test_boxes_lie_in_the_map_and_do_not_overlap(values):
    boxes = squarify(values, WIDTH, HEIGHT)
    for i, a in enumerate(boxes):
        assert a.x >= -1e-6
        assert a.y >= -1e-6
        assert a.x + a.width <= WIDTH + 1e-6
        assert a.y + a.height <= HEIGHT + 1e-6
        for b in boxes[i + 1:]:
            wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
            high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
            assert min(wide, high) <= 1e-6


def test_example_of_the_paper():
    """Bruls, Huizing, van Wijk (2000), figure 5: 6, 6, 4, 3, 2, 2, 1 on 6 × 4."""
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], 6, 4)
    assert [(round(b.width, 2), round(b.height, 2)) for b in boxes[:4]] == [
        (3.0, 2.0), (3.0, 2.0), (1.71, 2.33), (1.29, 2.33)]


def test_nothing_to_show():
    assert squarify([], 1, 1) == []
    assert squarify([0], 1, 1) == []


@pytest.mark.parametrize(("names", "short"), [
    (["net/a/Relu", "net/b/Relu;net/b/BiasAdd"], ["a", "b"]),
    (["net/a/Relu", "net/a/Conv"], ["Relu", "Conv"]),
    (["x/a/1", "x/a/2", "x/b/1"], ["a/1", "a/2", "b/1"]),
    (["a/x", "b/y"], ["a", "b"]), (["only"], ["only"]), ([], []), (["", ""], ["", ""]),
])
def test_short_names(names, short):
    assert short_names(names) == short
