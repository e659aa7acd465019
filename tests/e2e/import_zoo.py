"""Builds small models with Keras 3, tf-keras and TensorFlow, and what they answer.

    python import_zoo.py FOLDER

Run in a process of its own: what is compared with is then computed by nothing of edgekit's. Each
model is written with ``NAME.npz`` beside it: inputs by the source's names (``in:NAME``), and
outputs in order (``output_0``, ``output_1``, …). The networks are untrained, with weights of a
scale that keeps their outputs apart.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Build = Callable[[Any], Any]

EVIL = "/tmp/edgekit-written-by-a-model"
"""A file that one of the SavedModels would like to write."""

KERAS: dict[str, Build] = {}
"""Builders that take ``keras`` or ``tf_keras``: written by both, loaded by edgekit."""

MODERN: dict[str, Build] = {}
"""Keras 3 only."""

LEGACY: dict[str, Build] = {}
"""tf-keras only."""

IN_ARCHIVE_TOO = ("conv_batchnorm", "lstm", "multiple", "raw_operators", "old_preprocessing")
"""Written by tf-keras as ``.keras`` too, beside HDF5."""


def zoo(*tables: dict[str, Build]) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        for table in tables:
            table[build.__name__] = build
        return build

    return add


@zoo(KERAS)
def dense_sequential(k):
    return k.Sequential([k.Input((8,), name="features"), k.layers.Dense(16, activation="relu"),
                         k.layers.Dropout(0.5), k.layers.Dense(5, activation="softmax")])


@zoo(KERAS)
def unnamed_sequential(k):
    model = k.Sequential([k.layers.Dense(4, activation="tanh"), k.layers.Dense(3)])
    model.build((None, 6))
    return model


@zoo(KERAS)
def conv_batchnorm(k):
    x = image = k.Input((16, 16, 3), name="image")
    x = k.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters in (8, 12):
        x = k.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = k.layers.BatchNormalization(moving_mean_initializer="ones")(x)
        x = k.layers.ReLU(max_value=6)(x)
    x = k.layers.GlobalAveragePooling2D()(x)
    return k.Model(image, k.layers.Dense(4, activation="softmax", name="scores")(x), name="net")


@zoo(KERAS)
def depthwise(k):
    x = image = k.Input((15, 13, 4), name="image")
    x = k.layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")(x)
    x = k.layers.SeparableConv2D(6, 3, padding="same")(x)
    x = k.layers.Conv2D(6, 3, dilation_rate=2, padding="same")(x)
    x = k.layers.AveragePooling2D(2, padding="same")(x)
    return k.Model(image, k.layers.MaxPooling2D(3, strides=2)(x))


@zoo(KERAS)
def transposed(k):
    x = image = k.Input((5, 6, 3), name="image")
    x = k.layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)
    x = k.layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = k.layers.UpSampling2D(2)(x)
    x = k.layers.ZeroPadding2D(((1, 2), (0, 1)))(x)
    return k.Model(image, k.layers.Cropping2D(1)(x))


@zoo(KERAS)
def conv1d(k):
    x = wave = k.Input((40, 2), name="wave")
    x = k.layers.Conv1D(4, 5, dilation_rate=2, padding="causal", activation="relu")(x)
    x = k.layers.SeparableConv1D(4, 3, strides=2)(x)
    x = k.layers.MaxPooling1D(2)(x)
    return k.Model(wave, k.layers.GlobalMaxPooling1D()(x))


@zoo(KERAS)
def conv3d(k):
    x = clip = k.Input((6, 8, 8, 1), name="clip")
    x = k.layers.Conv3D(3, 3, activation="relu")(x)
    return k.Model(clip, k.layers.Dense(3)(k.layers.Flatten()(x)))


@zoo(KERAS)
def grouped(k):
    image = k.Input((8, 8, 4), name="image")
    return k.Model(image, k.layers.Conv2D(8, 3, groups=2)(image))


@zoo(KERAS)
def lstm(k):
    x = k.Input((10, 6), name="frames")
    return k.Model(x, k.layers.Dense(3)(k.layers.LSTM(8)(x)))


@zoo(KERAS)
def lstm_with_state(k):
    x = k.Input((10, 6), name="frames")
    h, c = k.Input((8,), name="h"), k.Input((8,), name="c")
    return k.Model([x, h, c], k.layers.LSTM(8, return_sequences=True, return_state=True)(
        x, initial_state=[h, c]))


@zoo(KERAS)
def gru(k):
    x = k.Input((10, 6), name="frames")
    y = k.layers.GRU(8, return_sequences=True)(x)
    return k.Model(x, k.layers.GRU(5, reset_after=False)(y))


@zoo(KERAS)
def bidirectional(k):
    x = k.Input((10, 6), name="frames")
    y = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True))(x)
    return k.Model(x, k.layers.TimeDistributed(k.layers.Dense(3))(y))


@zoo(KERAS)
def simple_rnn(k):
    x = k.Input((10, 6), name="frames")
    return k.Model(x, k.layers.SimpleRNN(7, unroll=True)(x))


@zoo(KERAS)
def masked_tokens(k):
    x = tokens = k.Input((12,), dtype="int32", name="tokens")
    x = k.layers.Embedding(20, 6, mask_zero=True)(x)
    return k.Model(tokens, k.layers.LSTM(5)(x))


@zoo(KERAS)
def embedding_int64(k):
    x = tokens = k.Input((12,), dtype="int64", name="tokens")
    x = k.layers.Embedding(20, 6)(x)
    return k.Model(tokens, k.layers.GlobalAveragePooling1D()(x))


@zoo(KERAS)
def attention(k):
    x = k.Input((7, 8), name="sequence")
    y = k.layers.MultiHeadAttention(2, 4)(x, x)
    y = k.layers.LayerNormalization()(k.layers.Add()([x, y]))
    y = k.layers.Dense(16, activation="gelu")(y)
    return k.Model(x, [k.layers.Attention()([y, y]), k.layers.AdditiveAttention()([y, y])])


@zoo(KERAS)
def normalized(k):
    x = k.Input((3,), name="x")
    return k.Model(x, k.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 1.0, 0.25])(x))


@zoo(KERAS)
def activations(k):
    x = k.Input((12,), name="x")
    kinds = ("elu", "selu", "softplus", "softsign", "swish", "sigmoid", "hard_sigmoid", "tanh",
             "exponential", "gelu", "relu6" if k.__version__[0] == "3" else "relu")
    outputs = [k.layers.Activation(kind)(x) for kind in kinds]
    outputs += [k.layers.PReLU(alpha_initializer="ones")(x), k.layers.LeakyReLU()(x),
                k.layers.Softmax(axis=-1)(x)]
    return k.Model(x, k.layers.Concatenate()(outputs))


@zoo(KERAS)
def nested(k):
    inner = k.Input((8, 8, 3))
    y = k.layers.Conv2D(4, 3, name="conv", activation="relu")(inner)
    backbone = k.Model(inner, k.layers.BatchNormalization(name="bn")(y), name="backbone")
    image = k.Input((8, 8, 3), name="image")
    y = k.layers.Flatten()(backbone(image))
    return k.Model(image, k.layers.Dense(2, name="head")(y), name="whole")


@zoo(KERAS)
def shared(k):
    a, b = k.Input((6,), name="left"), k.Input((6,), name="right")
    tower = k.layers.Dense(5, activation="relu", name="tower")
    return k.Model([a, b], k.layers.Dot(1, normalize=True, name="cosine")([tower(a), tower(b)]))


@zoo(KERAS)
def multiple(k):
    image = k.Input((6, 6, 2), name="zebra")
    age = k.Input((1,), name="age")
    y = k.layers.Concatenate()([k.layers.Flatten()(image), age])
    return k.Model({"zebra": image, "age": age},
                   {"second": k.layers.Dense(3, name="d3")(y),
                    "first": k.layers.Dense(2, name="d2")(y)})


@zoo(KERAS)
def passed_through(k):
    a, b = k.Input((4,), name="a"), k.Input((3,), name="unused")
    y = k.layers.Dense(2, name="y")(a)
    return k.Model([a, b], [a, y, y])


@zoo(KERAS)
def merges(k):
    a, b = k.Input((4, 6), name="a"), k.Input((4, 6), name="b")
    layers = k.layers
    y = [layers.Add()([a, b]), layers.Subtract()([a, b]), layers.Multiply()([a, b]),
         layers.Average()([a, b]), layers.Maximum()([a, b]), layers.Minimum()([a, b])]
    y = layers.Permute((2, 1))(layers.Concatenate(axis=1)(y))
    return k.Model([a, b], layers.Reshape((12, 12))(y))


@zoo(KERAS)
def noise(k):
    x = k.Input((9,), name="x")
    y = k.layers.GaussianNoise(1.0)(k.layers.GaussianDropout(0.4)(x))
    return k.Model(x, k.layers.AlphaDropout(0.4)(k.layers.SpatialDropout1D(0.4)(
        k.layers.Reshape((3, 3))(y))))


@zoo(KERAS)
def group_norm(k):
    x = k.Input((6, 6, 8), name="x")
    return k.Model(x, k.layers.UnitNormalization()(k.layers.GroupNormalization(4)(x)))


@zoo(KERAS)
def resized(k):
    x = k.Input((9, 7, 3), name="image")
    return k.Model(x, k.layers.CenterCrop(4, 4)(k.layers.Resizing(12, 12)(x)))


@zoo(KERAS)
def conv_lstm(k):
    x = k.Input((4, 6, 6, 2), name="clip")
    return k.Model(x, k.layers.ConvLSTM2D(3, 3, padding="same")(x))


@zoo(KERAS)
def channels_first(k):
    x = k.Input((3, 8, 8), name="image")
    return k.Model(x, k.layers.Permute((3, 1, 2))(
        k.layers.Conv2D(4, 3)(k.layers.Permute((2, 3, 1))(x))))


@zoo(MODERN)
def operations(k):
    x = k.Input((4, 6), name="x")
    y = k.ops.softmax(k.ops.matmul(x, k.ops.transpose(x, (0, 2, 1))) / 2.0)
    y = k.ops.concatenate([y, k.ops.mean(y, axis=1, keepdims=True)], axis=1)
    return k.Model(x, k.ops.sqrt(y[:, 1:, ::2]))


@zoo(MODERN)
def einsum(k):
    x = k.Input((4, 6), name="x")
    return k.Model(x, k.layers.EinsumDense("abc,cd->abd", output_shape=(None, 5))(x))


@zoo(MODERN)
def squeeze_excite(k):
    x = image = k.Input((8, 8, 6), name="image")
    y = k.layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = k.layers.Conv2D(6, 1, activation="hard_sigmoid")(y)
    x = k.layers.Multiply()([x, y])
    return k.Model(image, k.layers.Activation("silu")(x))


@zoo(MODERN)
def grouped_query(k):
    x = k.Input((7, 8), name="sequence")
    y = k.layers.GroupQueryAttention(4, 4, 2)(x, x)
    return k.Model(x, k.layers.RMSNormalization()(y))


@zoo(LEGACY)
def raw_operators(k):
    import tensorflow as tf

    x = image = k.Input((8, 8, 3), name="image")
    y = tf.nn.relu(k.layers.Conv2D(4, 3, name="conv")(x) * 2.0 + 1.0)
    return k.Model(image, tf.reduce_mean(y[:, 1:, ::2], axis=[1, 2]))


@zoo(LEGACY)
def old_preprocessing(k):
    x = image = k.Input((8, 8, 3), name="image")
    x = k.layers.experimental.preprocessing.Rescaling(1 / 255)(x)
    return k.Model(image, k.layers.LocallyConnected2D(2, 3)(x))


def spread(model: Any, generator: np.random.Generator) -> None:
    """Weights that keep the outputs of an untrained network apart; variances stay positive."""
    model.set_weights([
        w if "variance" in v.name else (w + 0.3 * generator.normal(size=w.shape)).astype(w.dtype)
        for v, w in zip(model.weights, model.get_weights(), strict=True)])


def draw(shape: tuple[int, ...], dtype: str, generator: np.random.Generator) -> np.ndarray:
    if dtype.startswith(("float", "bfloat")):
        return generator.normal(size=shape).astype("float32")
    return generator.integers(0, 7, shape).astype(dtype)


def answers(model: Any, names: list[str], generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Two samples, one at a time: inputs by name, outputs by position."""
    columns: dict[str, list[np.ndarray]] = {}
    for _ in range(2):
        arrays = {name: draw((1, *tensor.shape[1:]), _dtype(tensor), generator)
                  for name, tensor in zip(names, model.inputs, strict=True)}
        given = list(arrays.values())
        results = model(arrays if name_keyed(model) else given if len(given) > 1 else given[0],
                        training=False)
        flat = (list(results.values()) if isinstance(results, dict) else
                list(results) if isinstance(results, list | tuple) else [results])
        for name, array in arrays.items():
            columns.setdefault(f"in:{name}", []).append(array)
        for i, result in enumerate(flat):
            columns.setdefault(f"output_{i}", []).append(np.asarray(result, dtype="float32"))
    return {name: np.concatenate(arrays) for name, arrays in columns.items()}


def name_keyed(model: Any) -> bool:
    """Whether the model takes a dict."""
    return any(isinstance(getattr(model, attribute, None), dict)
               for attribute in ("_inputs_struct", "_nested_inputs"))


def input_names(model: Any) -> list[str]:
    """The input layers' names, as ``summary()`` shows them."""
    if hasattr(model, "input_names"):
        return list(model.input_names)
    return [tensor._keras_history.operation.name for tensor in model.inputs]


def _dtype(tensor: Any) -> str:
    return tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name


def write_keras(folder: Path, k: Any, prefix: str, table: dict[str, Build], suffix: str) -> None:
    """Every model of the table, and its answers."""
    for name, build in table.items():
        k.utils.set_random_seed(1)
        model = build(k)
        spread(model, np.random.default_rng(2))
        generator = np.random.default_rng(3)
        np.savez(folder / f"{prefix}_{name}.npz", **answers(model, input_names(model), generator))
        model.save(folder / f"{prefix}_{name}{suffix}")


def main(folder: Path) -> None:
    import keras
    import tf_keras
    from import_zoo_saved import write_modules, write_saved_models
    from import_zoo_unusual import write_unusual

    write_keras(folder, keras, "k3", KERAS | MODERN, ".keras")
    write_keras(folder, keras, "k3", {"conv_batchnorm": conv_batchnorm, "lstm": lstm}, ".h5")
    write_keras(folder, tf_keras, "k2", KERAS | LEGACY, ".h5")
    write_keras(folder, tf_keras, "k2", {name: (KERAS | LEGACY)[name] for name in IN_ARCHIVE_TOO},
                ".keras")
    saved, unusual = folder / "saved", folder / "unusual"
    saved.mkdir(parents=True)
    unusual.mkdir()
    write_saved_models(saved, keras, tf_keras)
    write_modules(saved)
    write_unusual(unusual, keras, tf_keras)


@cache
def build_all(folder: Path) -> Path:
    """Everything above, in a process of its own.

    Raises:
        AssertionError: It failed; with its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, __file__, str(folder)], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


if __name__ == "__main__":
    main(Path(sys.argv[1]))
