"""Keras files that are refused, or imported with a note; written by ``import_zoo.py``."""

from pathlib import Path
from typing import Any

import numpy as np


def write_unusual(folder: Path, keras: Any, tf_keras: Any) -> None:
    """Files that are refused, or imported with a note."""
    layers, old = keras.layers, tf_keras.layers
    x, x2 = keras.Input((8,), name="x"), tf_keras.Input((8,), name="x")

    class Mine(layers.Layer):
        def call(self, x):
            return x

    class Mine2(old.Layer):
        def call(self, x):
            return x

    @keras.saving.register_keras_serializable("package")
    class Registered(layers.Layer):
        def call(self, x):
            return x

    def my_activation(x):
        return x

    def my_loss(a, b):
        return keras.ops.mean(a - b)

    keras.Model(x, layers.Lambda(lambda v: v * 2, name="twice")(x)).save(folder / "lambda.keras")
    for suffix in (".keras", ".h5"):
        tf_keras.Model(x2, old.Lambda(lambda v: v * 2, name="twice")(x2)).save(
            folder / f"lambda_2{suffix}")
        tf_keras.Model(x2, Mine2()(x2)).save(folder / f"custom_2{suffix}")
    keras.Model(x, Mine()(x)).save(folder / "custom.keras")
    keras.Model(x, Registered()(x)).save(folder / "registered.keras")
    keras.Model(x, layers.Dense(3, activation=my_activation)(x)).save(folder / "activation.keras")
    for k, given, path in ((keras, x, "compiled.keras"), (tf_keras, x2, "compiled_2.keras"),
                           (tf_keras, x2, "compiled_2.h5")):
        model = k.Model(given, k.layers.Dense(3, name="y")(given))
        model.compile("adam", loss=my_loss if k is keras else lambda a, b: a - b)
        model.fit(np.zeros((4, 8)), np.zeros((4, 3)), verbose=0)
        model.save(folder / path)
    model.save_weights(folder / "weights_only.h5")
    quantized = keras.Model(x, layers.Dense(3, name="dense")(x))
    quantized.quantize("int8")
    quantized.save(folder / "quantized.keras")
    _write_other_floats(folder, keras, tf_keras)
    frames = keras.Input((None, 4), name="frames")
    keras.Model(frames, layers.LSTM(3)(frames)).save(folder / "open.keras")
    step = keras.Input((4, 3), batch_size=1, name="step")
    keras.Model(step, layers.LSTM(3, stateful=True)(step)).save(folder / "stateful.keras")
    step_2 = tf_keras.Input((4, 3), batch_size=1, name="step")
    tf_keras.Model(step_2, tf_keras.layers.LSTM(3, stateful=True)(step_2)).save(
        folder / "stateful_2.h5")
    four = keras.Input((4, 3), batch_size=4, name="four")
    keras.Model(four, layers.Dense(3)(four)).save(folder / "batch_4.keras")
    square = keras.Input((4, 4), name="square")
    keras.Model(square, [keras.ops.svd(square, compute_uv=False), keras.ops.erfinv(square)]).save(
        folder / "operators.keras")


def _write_other_floats(folder: Path, keras: Any, tf_keras: Any) -> None:
    """The same network in four precisions."""
    for policy in ("mixed_float16", "float16", "bfloat16", "float64"):
        keras.config.set_dtype_policy(policy)
        image = keras.Input((8, 8, 3), name="image",
                            dtype="float64" if policy == "float64" else None)
        y = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
        y = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(y))
        keras.Model(image, y).save(folder / f"{policy}.keras")
    keras.config.set_dtype_policy("float32")
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    image = tf_keras.Input((8, 8, 3), name="image")
    y = tf_keras.layers.Dense(3)(tf_keras.layers.Flatten()(tf_keras.layers.Conv2D(4, 3)(image)))
    tf_keras.Model(image, y).save(folder / "mixed_2.h5")
    tf_keras.mixed_precision.set_global_policy("float32")
