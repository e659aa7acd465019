"""Whole models, lifted: what LiteRT computes for each sample alone, and trainable."""

from pathlib import Path

import numpy as np
import pytest

import edgekit

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
