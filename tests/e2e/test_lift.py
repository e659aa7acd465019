"""Whole models, lifted: what LiteRT computes for each sample alone, and trainable."""

from pathlib import Path

import numpy as np
import pytest
from conftest import real_model

import edgekit
from edgekit.core._runtime_worker import draw
from edgekit.core.indices import index_rows

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion-mnist"


@pytest.fixture(scope="module")
def model():
    return edgekit.load_model(EXAMPLE / "fashion_mnist.keras")


@pytest.fixture(scope="module")
def images():
    with np.load(EXAMPLE / "evaluation.npz") as data:
        return data["x"][:8], data["y"][:8]


def test_a_batch_is_that_many_single_runs(model, images):
    (output,) = model.outputs
    together = edgekit.lift(model, batch=8)(image=images[0])[output.name].numpy()
    alone = [model.run({"image": image[None]})[output.name][0] for image in images[0]]
    assert np.abs(together - alone).max() <= 1e-4 * np.abs(alone).max()


REAL = {
    "basic-pitch": ("basic-pitch/nmp.tflite", {}),
    "fer": ("fer/emotion_model.hdf5", {}),
    "rapidocr": ("rapidocr/det.onnx", {"x": (1, 3, 160, 160)}),
    "silero-vad": ("silero-vad/silero_vad_16k_op15.onnx",
                   {"input": (1, 512), "state": (2, 1, 128)}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_models_in_batches(name):
    path, shapes = REAL[name]
    model = edgekit.load_model(real_model(path), input_shapes=shapes)
    random, rows = np.random.default_rng(0), index_rows(model)
    samples = [{spec.name: draw(spec, random, rows.get(spec.name)) for spec in model.inputs}
               for _ in range(3)]
    together = edgekit.lift(model)(**{
        spec.name: np.stack([x[spec.name][0] if spec.shape[:1] == (1,) else x[spec.name]
                             for x in samples]) for spec in model.inputs})
    alone = [model.run(x) for x in samples]
    for spec in model.outputs:
        expected = np.stack([y[spec.name] for y in alone])
        got = together[spec.name].numpy().reshape(expected.shape)
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), spec.name


def test_untouched_it_is_written_back_byte_for_byte(model):
    assert edgekit.lift(model).to_model().sha256 == model.sha256


def test_it_learns_and_the_file_says_the_same(model, images):
    import tensorflow as tf

    net = edgekit.lift(model)
    (output,) = model.outputs
    wrong = tf.one_hot((images[1] + 1) % 10, 10)  # it knows the right labels already

    def loss():
        return -tf.reduce_mean(tf.reduce_sum(wrong * tf.math.log(
            net(image=images[0])[output.name] + 1e-6), -1))

    before = float(loss())
    for _ in range(5):
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, net.trainable_variables)
        assert all(gradient is not None for gradient in gradients)
        for variable, gradient in zip(net.trainable_variables, gradients, strict=True):
            variable.assign_sub(1e-3 * tf.clip_by_norm(gradient, 1.0))
    assert float(loss()) < before
    trained = net.to_model()
    expected = net(image=images[0][:1])[output.name].numpy()
    got = trained.run({"image": images[0][:1]})[output.name]
    assert np.abs(expected - got).max() <= 1e-4 * np.abs(expected).max()


def test_a_quantized_model_is_refused(tmp_path):
    (bundle,) = edgekit.build(str(EXAMPLE / "fashion_mnist.keras"), "android",
                              recipe="dynamic-int8", out=tmp_path, device="none")
    quantized = edgekit.load_model(bundle.folder / "model.tflite")
    with pytest.raises(edgekit.EdgekitError, match="quantized already"):
        edgekit.lift(quantized)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras's own
@pytest.mark.parametrize("layer", ["LSTM", "GRU", "Bidirectional", "SimpleRNN", "Embedding"])
def test_all_that_keras_trains_is_trained(layer, tmp_path):
    import keras

    x = keras.Input((12, 4))
    layers = keras.layers
    if layer == "Embedding":
        x = keras.Input((12,), dtype="int32")
        y = layers.Embedding(50, 4)(x)
    else:
        y = (layers.Bidirectional(layers.LSTM(6)) if layer == "Bidirectional"
             else getattr(layers, layer)(8))(x)
    net = keras.Model(x, layers.Dense(3)(y))
    random = np.random.default_rng(0)  # a bias of zeros is taken out at import
    net.set_weights([random.normal(size=w.shape) for w in net.get_weights()])
    net.save(tmp_path / "net.keras")
    lifted = edgekit.lift(edgekit.load_model(tmp_path / "net.keras"))
    trained = sum(np.prod(v.shape) for v in lifted.trainable_variables)
    # The importer may add a GRU's two biases up.
    assert trained in (net.count_params(), net.count_params() - (24 if layer == "GRU" else 0))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras's own
def test_an_embedding_of_positions_is_trained_and_a_mask_is_not(tmp_path):
    import keras

    class Net(keras.layers.Layer):
        def build(self, _shape):
            self.positions = self.add_weight(shape=(1, 12, 4), initializer="uniform")

        def call(self, x):
            mask = np.triu(np.full((12, 12), -1e9, np.float32), 1)
            y = x + self.positions
            return keras.ops.softmax(y @ keras.ops.transpose(y, (0, 2, 1)) + mask)

    x = keras.Input((12, 4))
    keras.Model(x, Net()(x)).export(tmp_path / "net", verbose=False)
    lifted = edgekit.lift(edgekit.load_model(tmp_path / "net"))
    assert [tuple(v.shape)[-2:] for v in lifted.trainable_variables] == [(12, 4)]
    assert (12, 12) in {tuple(v.shape)[-2:] for v in lifted.weights.values()}
