"""Data from users: streamed, checked, never unpickled."""

import zipfile

import numpy as np
import pytest

from edgekit.core.data import open_dataset, peek
from edgekit.core.errors import EdgekitError
from edgekit.core.model import TensorSpec

IMAGE = TensorSpec("image", (1, 4, 4, 1), "float32")
TOKENS = TensorSpec("tokens", (1, 3), "int32")


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_npz_gives_one_sample_at_a_time_in_the_shape_of_the_input(tmp_path, rng):
    x = rng.random((5, 4, 4, 1), np.float32)
    y = np.arange(5)
    data = open_dataset(save(tmp_path / "d.npz", x=x, y=y), [IMAGE])

    samples = list(data.samples())

    assert (data.count, data.has_labels) == (5, True)
    assert [int(s.label) for s in samples] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.concatenate([s.inputs["image"] for s in samples]), x)


def test_a_dataset_can_be_iterated_again_and_limited(tmp_path, rng):
    x = rng.random((7, 4, 4, 1), np.float32)
    data = open_dataset(save(tmp_path / "d.npz", x=x), [IMAGE])
    assert len(list(data.samples(3))) == 3
    assert len(list(data.samples())) == 7


def test_large_npz_is_streamed_in_chunks(tmp_path):
    x = np.arange(3000 * 4096, dtype=np.float32).reshape(3000, 4096)  # 49 MB
    spec = TensorSpec("v", (1, 4096), "float32")
    data = open_dataset(save(tmp_path / "d.npz", x=x), [spec])
    chunks = [len(chunk["x"]) for chunk in data.source.chunks()]
    assert max(chunks) * 4096 * 4 <= 8 * 2**20
    assert sum(chunks) == 3000


def test_two_inputs_are_found_by_name(tmp_path, rng):
    file = save(tmp_path / "d.npz", image=rng.random((2, 4, 4, 1), np.float32),
                tokens=np.ones((2, 3), np.int64))
    sample = next(open_dataset(file, [IMAGE, TOKENS]).samples())
    assert sample.inputs["tokens"].dtype == np.int32


def test_folder_of_npy_and_arrays_and_function_mean_the_same(tmp_path, rng):
    x = rng.random((3, 4, 4, 1), np.float32)
    np.save(tmp_path / "x.npy", x)
    code = tmp_path / "given.py"
    code.write_text(
        "import numpy as np\n"
        f"def rows():\n    for i in range(3):\n"
        f"        yield {{'x': np.load({str(tmp_path / 'x.npy')!r})[i:i+1]}}\n"
    )
    sources = [tmp_path, {"x": x}, f"{code}:rows", save(tmp_path / "d.npz", x=x)]
    for source in sources:
        got = [s.inputs["image"] for s in open_dataset(source, [IMAGE]).samples()]
        np.testing.assert_array_equal(np.concatenate(got), x)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((2, 5, 4, 1), np.float32)}, "has shape"),
        ({"x": np.zeros((2, 4, 4, 1), np.uint8)}, "is uint8"),
        ({"z": np.zeros((2, 4, 4, 1), np.float32)}, "no array 'x'"),
        ({"x": np.zeros((0, 4, 4, 1), np.float32)}, "no samples"),
        ({"x": np.zeros((2, 4, 4, 1), np.float32), "y": np.zeros(3)}, "differ in their number"),
        ({"x": np.zeros((2, 4, 4, 1), np.float32), "extra": np.zeros(2)}, "neither an input"),
        ({"x": np.array([{}, {}], object)}, "pickled"),
        ({"x": np.zeros((), np.float32)}, "has shape"),
    ],
)
def test_data_that_does_not_fit_is_refused_by_its_header(tmp_path, arrays, said):
    with pytest.raises(EdgekitError, match=said):
        open_dataset(save(tmp_path / "d.npz", **arrays), [IMAGE])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_by_sample(tmp_path, bad):
    x = np.zeros((4, 4, 4, 1), np.float32)
    x[2, 1, 1, 0] = bad
    data = open_dataset(save(tmp_path / "d.npz", x=x), [IMAGE])
    with pytest.raises(EdgekitError, match="sample 2 of 'image'"):
        list(data.samples())


def test_integers_that_do_not_fit_are_refused(tmp_path):
    data = open_dataset(save(tmp_path / "d.npz", x=np.full((1, 3), 2**40)), [TOKENS])
    with pytest.raises(EdgekitError, match="do not fit int32"):
        list(data.samples())


def test_missing_empty_and_damaged_files(tmp_path):
    with pytest.raises(EdgekitError, match="does not exist"):
        peek(tmp_path / "none.npz")
    (tmp_path / "zero.npz").write_bytes(b"")
    with pytest.raises(EdgekitError, match="not an .npz file"):
        peek(tmp_path / "zero.npz")
    with pytest.raises(EdgekitError, match="holds no .npy"):
        peek(tmp_path)
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("x.npy", b"no header")
    with pytest.raises(EdgekitError, match="damaged"):
        peek(tmp_path / "odd.npz")
    with pytest.raises(EdgekitError, match="no kind of data"):
        peek(__file__)


def test_truncated_npz_ends_in_an_error(tmp_path, rng):
    whole = save(tmp_path / "d.npz", x=rng.random((50, 4, 4, 1), np.float32)).read_bytes()
    raw = bytearray(whole)
    raw[200:400] = b"\0" * 200  # inside the compressed array
    (tmp_path / "bad.npz").write_bytes(raw)
    with pytest.raises(EdgekitError, match="damaged"):
        list(open_dataset(tmp_path / "bad.npz", [IMAGE]).samples())


def test_quantized_input_takes_real_values(tmp_path):
    spec = TensorSpec("q", (1, 4), "int8", 0.5, 10)
    data = open_dataset(save(tmp_path / "d.npz", x=np.array([[0, 1, 200, -200]], np.float32)),
                        [spec])
    np.testing.assert_array_equal(next(data.samples()).inputs["q"], [[10, 12, 127, -128]])
