"""Open dimensions: the batch becomes 1, the others are asked for by name."""

import pytest

from edgekit.core.errors import EdgekitError
from edgekit.importers._shapes import Port, settle_shapes


def settle(port, **given):
    return settle_shapes("net", [port], given)[0]


@pytest.mark.parametrize(("shape", "settled"), [
    ((-1, 8, 3), (1, 8, 3)), ((4, 8), (4, 8)), ((), ()), ((-1,), (1,)),
])  # fmt: skip
def test_the_batch_becomes_1(shape, settled):
    assert settle(Port("x", shape, "float32")) == settled


def test_a_lone_open_axis_is_asked_for():
    with pytest.raises(EdgekitError, match=r"dimension 0 of input 'wave' is open: \[-1\]") as error:
        settle(Port("wave", (-1,), "float32", batched=False))
    assert "--input-shape wave=SIZE" in error.value.hint
    assert settle(Port("wave", (-1,), "float32", batched=False), wave=(16000,)) == (16000,)


def test_other_dimensions_are_asked_for():
    with pytest.raises(EdgekitError, match="dimension 1 of input 'x' is open") as error:
        settle(Port("x", (-1, -1, 40), "float32"))
    assert error.value.hint == "fix it with --input-shape x=1,SIZE,40"
    assert settle(Port("x", (-1, -1, 40), "float32"), x=(2, 9, 40)) == (2, 9, 40)


def test_an_unknown_rank_is_asked_for():
    with pytest.raises(EdgekitError, match="no known shape"):
        settle(Port("x", None, "float32"))
    assert settle(Port("x", None, "float32"), x=(1, 2)) == (1, 2)


@pytest.mark.parametrize("given", [(1, 7), (1, 8, 1), (0, 8), (1, -1), ()])
def test_what_does_not_fit_is_refused(given):
    with pytest.raises(EdgekitError, match="cannot be made"):
        settle(Port("x", (-1, 8), "float32"), x=given)
    with pytest.raises(EdgekitError, match="of unknown shape and cannot"):
        settle(Port("x", None, "float32"), x=(0,))


def test_unknown_names_get_a_suggestion():
    with pytest.raises(EdgekitError, match="net has no input 'imge'") as error:
        settle(Port("image", (1, 8), "float32"), imge=(1, 8))
    assert "'image'" in error.value.hint


@pytest.mark.parametrize("dtype", ["string", "resource", "variant", "complex64"])
def test_inputs_are_numbers(dtype):
    with pytest.raises(EdgekitError, match=f"input 'x' is {dtype}"):
        settle(Port("x", (-1,), dtype), x=(1,))


def test_axes_of_one_name_have_one_size():
    ports = [Port("x", (-1, 9), "float32", axes=("batch", "")),
             Port("state", (2, -1, 8), "float32", axes=("", "batch", ""))]
    assert settle_shapes("net", ports, {}) == ((1, 9), (2, 1, 8))
    assert settle_shapes("net", ports, {"x": (3, 9)}) == ((3, 9), (2, 3, 8))


def test_an_open_axis_is_called_by_its_name():
    with pytest.raises(EdgekitError, match=r"dimension 2 \('height'\) of input 'x' is open"):
        settle(Port("x", (-1, 3, -1), "float32", axes=("batch", "", "height")))
