"""What a large source must not hold in memory while TensorFlow's converter runs."""

import gc
import weakref

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def traced():
    """A function with 36 MB of constants, as an ONNX file's are."""
    import tensorflow as tf

    from edgekit.importers._convert_worker import Endpoint, trace
    from edgekit.importers._shapes import Port

    weights = np.random.default_rng(0).normal(size=(3000, 3000)).astype(np.float32)

    def call(tensors):
        return {"y": tf.matmul(tensors["x"], weights)}

    return lambda: trace(Endpoint("TensorFlow", (Port("x", (1, 3000), "float32"),), call),
                         [(1, 3000)], "net")


def test_constants_of_a_large_source_are_in_its_variables_only(traced):
    from edgekit.importers._convert_worker import FREEZE_BYTES
    from edgekit.importers._large_constants_worker import constants_as_variables

    plain = traced()
    made = constants_as_variables(plain, FREEZE_BYTES)
    assert made.function.graph.as_graph_def().ByteSize() < 100_000
    assert sum(variable.numpy().nbytes for variable in made.keep.values()) == 36_000_000
    inputs = {"x": np.random.default_rng(1).normal(size=(1, 3000)).astype(np.float32)}
    np.testing.assert_array_equal(made.run(inputs)["y"], plain.run(inputs)["y"])


def test_a_large_source_is_gone_before_it_is_converted(traced, tmp_path):
    from edgekit.importers._convert_worker import FREEZE_BYTES, prepare
    from edgekit.importers._large_constants_worker import constants_as_variables

    made = constants_as_variables(traced(), FREEZE_BYTES)
    graph = weakref.ref(made.function.graph)
    convert = prepare(made, "net", tmp_path)
    del made
    gc.collect()
    assert graph() is None
    assert len(convert()) > 36_000_000
    assert not list(tmp_path.iterdir())
