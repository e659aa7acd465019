"""Loops that some inputs never end: made-up inputs are given up on, real ones are not."""

import os
import signal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.core import runtime
from edgekit.core.data import open_dataset
from edgekit.core.errors import EdgekitError, RuntimeCrashError
from edgekit.core.sandbox import sandbox

pytestmark = pytest.mark.slow

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def doubling(path, *, rows=False):
    """Doubles its input until that is 100 or more: never, where it is 0 or less."""
    made = [("Add", ["s", "s"], ["out"]), ("Less", ["out", "limit"], ["further"])]
    outputs = [info("further", BOOL), info("out", FLOAT)]
    if rows:
        made.append(("Identity", ["out"], ["row"]))
        outputs.append(info("row", FLOAT))
    body = helper.make_graph(
        [helper.make_node(*node) for node in made], "body",
        [info("i", INT), info("on", BOOL), info("s", FLOAT)], outputs,
        [numpy_helper.from_array(np.float32(100), "limit")])
    names = ["y", "all"] if rows else ["y"]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "yes", "x"], names, "doubling", body=body)], "g",
        [info("x", FLOAT)], [info("y", FLOAT), info("all", FLOAT, None)][:len(names)],
        [numpy_helper.from_array(np.asarray(True), "yes")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10),
              path)
    return path


@pytest.fixture
def impatient():
    """Two seconds instead of minutes, in the child that runs now."""
    box = sandbox()
    box.close_child()
    box.call("timeit:timeit", "setting the limit", number=1,
             stmt="import edgekit.core.patience as p; p.LIMIT_SECONDS = 2.0")
    yield
    box.close_child()


@pytest.mark.usefixtures("impatient")
def test_made_up_inputs_are_given_up_on(tmp_path):
    path = doubling(tmp_path / "net.onnx")
    pid = sandbox().call("os:getpid", "asking")
    with pytest.raises(EdgekitError, match="stopped importing .*net.onnx: the model did not come "
                       "to an end .* inputs that edgekit made up") as error:
        edgekit.load_model(path)
    assert "--data" in error.value.hint
    assert (type(error.value), error.value.exit_code) == (EdgekitError, 2)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.usefixtures("impatient")
def test_a_while_of_tensorflow(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def double(x):
        return tf.while_loop(lambda s: tf.reduce_max(s) < 100, lambda s: (s + s,), (x,))[0]

    tf.saved_model.save(tf.Module(), str(tmp_path / "net"), signatures=double)
    with pytest.raises(EdgekitError, match="the model did not come to an end"):
        edgekit.load_model(tmp_path / "net")
    np.savez(tmp_path / "data.npz", x=np.asarray([[3.0, 0.1, 9.0]], np.float32))
    model = edgekit.load_model(tmp_path / "net", data=str(tmp_path / "data.npz"))
    (output,) = model.run({"x": np.asarray([[60.0, 1.0, 2.0]], np.float32)}).values()
    assert output.tolist() == [[120.0, 2.0, 4.0]]


@pytest.mark.usefixtures("impatient")
def test_real_inputs_prove_the_import(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.asarray([3.0, 0.1], np.float32))
    model = edgekit.load_model(doubling(tmp_path / "net.onnx"), data=str(tmp_path / "data.npz"))
    assert model.run({"x": np.float32(30)})["y"] == 120
    with pytest.raises(EdgekitError, match="stopped running net: the model did not come to an end"):
        runtime.compare(model, model, None, 8)
    data = open_dataset(str(tmp_path / "data.npz"), model.inputs)
    assert runtime.compare(model, model, data, 8).cosine == pytest.approx(1)


@pytest.mark.usefixtures("impatient")
def test_only_runs_are_limited():
    busy = "import time\nend = time.process_time() + 2.5\nwhile time.process_time() < end: pass"
    assert sandbox().call("timeit:timeit", "converting", stmt=busy, number=1) > 2
    again = ("import edgekit.core.patience as p\nsamples = p.each_must_end([1, 2])\n"
             "next(samples), samples.throw(ValueError)")
    with pytest.raises(Exception, match="ValueError"):
        sandbox().call("timeit:timeit", "failing", stmt=again, number=1)
    assert sandbox().call("timeit:timeit", "converting", stmt=busy, number=1) > 2


def test_another_signal_is_still_a_crash():
    with pytest.raises(RuntimeCrashError, match="SIGKILL"):
        sandbox().call("timeit:timeit", "dying", number=1,
                       stmt=f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
