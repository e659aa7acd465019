"""``module.py:function``: code runs because the user asked for it."""

import numpy as np
import pytest

from edgekit.core.errors import EdgekitError, RuntimeCrashError
from edgekit.importers import ImportOptions, import_model

pytestmark = pytest.mark.slow

MODULE = '''
import keras
import numpy as np
import tensorflow as tf

print("code may print what it likes")


class Scale(keras.layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")

    def call(self, x):
        return x * self.gain


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = keras.layers.Conv2D(4, 3, name="conv")
        self.scale = Scale(name="scale")
        self.head = keras.layers.Dense(3, name="head")

    def call(self, image, training=False):
        return self.head(keras.layers.Flatten()(self.scale(self.conv(image))))


class Nested(keras.Model):
    def call(self, parts):
        return parts["a"] + parts["b"]


def custom_layer():
    x = keras.Input((8,), name="x")
    return keras.Model(x, Scale()(keras.layers.Lambda(lambda v: 2 * v)(x)))


def subclassed():
    net = Net()
    net(np.zeros((2, 8, 8, 3), np.float32))
    return net


def never_called():
    return Net()


def unbuilt():
    return keras.Sequential([keras.layers.Dense(2)])


def nested():
    net = Nested()
    net({"a": np.zeros((2, 3), np.float32), "b": np.zeros((2, 3), np.float32)})
    return net


def keras_2():
    import tf_keras

    x = tf_keras.Input((8,), name="x")
    return tf_keras.Model(x, tf_keras.layers.Lambda(lambda v: 2 * v)(x))


def turned_and_subtracted():
    x = keras.Input((4, 6), name="x")
    return keras.Model(x, 1.0 - keras.layers.Permute((2, 1))(x))


def mixed():
    keras.config.set_dtype_policy("mixed_float16")
    x = keras.Input((8, 8, 3), name="x")
    return keras.Model(x, Scale()(keras.layers.Conv2D(3, 3)(x)))


def mixed_subclass():
    keras.config.set_dtype_policy("mixed_float16")
    return subclassed()


@tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 4], name="b")])
def traced(a, b):
    return a + b, {"product": a * b}


def function():
    return traced


def concrete():
    return tf.function(tf.nn.softmax).get_concrete_function(tf.TensorSpec([1, 5], name="logits"))


def open_function():
    return tf.function(lambda z: z)


class Module(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.ones((4, 2)))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def __call__(self, x):
        return tf.matmul(x, self.w)


def module():
    return Module()


ready = keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(2, name="y")])


def number():
    return 3


def fails():
    raise ValueError("weights.h5 is not there")


def leaves():
    raise SystemExit(3)


def dies():
    import os

    os.abort()
'''


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("python") / "models.py"
    path.write_text(MODULE)
    return path


@pytest.mark.parametrize(("function", "inputs", "outputs"), [
    ("custom_layer", {"x": (1, 8)}, ["scale"]),
    ("subclassed", {"image": (1, 8, 8, 3)}, ["output_0"]),
    ("keras_2", {"x": (1, 8)}, ["lambda"]),
    ("traced", {"a": (1, 4), "b": (1, 4)}, ["output_0", "output_1_product"]),
    ("function", {"a": (1, 4), "b": (1, 4)}, ["output_0", "output_1_product"]),
    ("concrete", {"logits": (1, 5)}, ["output_0"]),
    ("module", {"x": (1, 4)}, ["output_0"]),
    ("ready", {"x": (1, 6)}, ["y"]),
])  # fmt: skip
def test_what_a_function_may_return(source, function, inputs, outputs):
    model = import_model(f"{source}:{function}")
    assert {spec.name: spec.shape for spec in model.inputs} == inputs
    assert [spec.name for spec in model.outputs] == outputs
    assert model.name == function
    assert (model.provenance.format, model.provenance.sha256) == ("python", None)
    assert model.provenance.source == f"models.py:{function}"
    assert all(row.max_abs < 1e-5 for row in model.provenance.parity)


def test_it_computes(source):
    ones = np.ones((1, 8), np.float32)
    assert import_model(f"{source}:custom_layer").run({"x": ones})["scale"].tolist() == [[2.0] * 8]


def test_the_converter_does_not_exchange_operands(source):
    """Left alone, it makes ``x - 1`` of ``1 - x`` behind a transpose."""
    x = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    result, = import_model(f"{source}:turned_and_subtracted").run({"x": x}).values()
    assert np.array_equal(result, 1.0 - x.transpose(0, 2, 1))


def test_mixed_precision_with_a_custom_layer_becomes_float32(source):
    model = import_model(f"{source}:mixed")
    assert model.precision == "float"
    assert "compared in float32" in model.provenance.notes[0]
    after = import_model(f"{source}:custom_layer")  # the policy does not stay behind
    assert after.provenance.notes == ()


@pytest.mark.parametrize(("function", "message", "hint"), [
    ("never_called", "was never called", "call it once"),
    ("unbuilt", "was never called", "call it once"),
    ("nested", "nested", "input_signature"),
    ("mixed_subclass", "computes in float16 and cannot be rebuilt", "float32 policy"),
    ("open_function", "without an input_signature", "input_signature"),
    ("number", "an object of type 'int'", "return a Keras model"),
    ("fails", "ValueError: weights.h5 is not there", ""),
    ("leaves", "SystemExit: 3", ""),
    ("nothing", "no function 'nothing'", ""),
])  # fmt: skip
def test_what_it_may_not(source, function, message, hint):
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(f"{source}:{function}")
    assert hint in error.value.hint
    assert error.value.exit_code == 2


def test_code_that_kills_its_process_is_an_error(source):
    with pytest.raises(RuntimeCrashError, match="SIGABRT"):
        import_model(f"{source}:dies")
    assert import_model(f"{source}:ready").inputs  # and the next one runs


def test_a_signature_is_for_saved_models(source):
    with pytest.raises(EdgekitError, match="no signatures"):
        import_model(f"{source}:ready", ImportOptions(signature="a"))
