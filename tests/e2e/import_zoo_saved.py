"""SavedModels of Keras 3, Keras 2, TensorFlow 2 and TensorFlow 1; written by ``import_zoo.py``."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from import_zoo import EVIL, KERAS, answers, input_names, spread


def write_saved_models(folder: Path, keras: Any, tf_keras: Any) -> None:
    """SavedModels that Keras 3 and Keras 2 export, with their answers."""
    for name in ("conv_batchnorm", "lstm", "bidirectional", "multiple"):
        for prefix, k in (("k3", keras), ("k2", tf_keras)):
            model = KERAS[name](k)
            spread(model, np.random.default_rng(2))
            np.savez(folder / f"{prefix}_{name}.npz",
                     **answers(model, input_names(model), np.random.default_rng(3)))
            if k is keras:
                model.export(folder / f"{prefix}_{name}", verbose=False)
            else:
                model.save(folder / f"{prefix}_{name}", save_format="tf")


def spec(*shape, dtype="float32", name=None):
    return tf.TensorSpec(list(shape), dtype, name=name)


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.reshape(tf.range(12.0), (4, 3)))
        self.seen = tf.Variable(0.0)

    @tf.function(input_signature=[spec(None, 4, name="x")])
    def __call__(self, x):
        return tf.matmul(x, self.w)

    @tf.function(input_signature=[spec(None, 4), spec(None, 4)])
    def two(self, first, second):
        return {"zebra": first + second, "apple": first * second}

    @tf.function(input_signature=[spec(None, 4)])
    def counted(self, x):
        self.seen.assign_add(1.0)
        return x + self.seen

    @tf.function(input_signature=[spec(None, name="wave")])
    def wave(self, wave):
        return tf.reduce_mean(wave * wave, keepdims=True)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="anything")])
    def any_rank(self, anything):
        return anything * 2.0

    @tf.function(input_signature=[spec(None, 4)])
    def random(self, x):
        return x + tf.random.normal([4])

    @tf.function(input_signature=[spec(1, 4, dtype="float64")])
    def double(self, x):
        return tf.matmul(x, tf.cast(self.w, tf.float64))

    @tf.function(input_signature=[spec(None, 6, 2, name="x")])
    def reshaped(self, x):
        return tf.reshape(x, [tf.shape(x)[0], -1])


class Writes(tf.Module):
    @tf.function(input_signature=[spec(1, 4)])
    def call(self, x):
        tf.io.write_file(EVIL, "x")
        return x * 2.0


class Table(tf.Module):
    def __init__(self):
        super().__init__()
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2]), -1)

    @tf.function(input_signature=[spec(None, dtype="string", name="words")])
    def call(self, words):
        return self.table.lookup(words)


class Large(tf.Module):  # beyond what is frozen in memory
    def __init__(self):
        super().__init__()
        generator = np.random.default_rng(1)
        self.w = tf.Variable(generator.normal(size=(3000, 3000)), dtype="float32")

    @tf.function(input_signature=[spec(None, 3000, name="x")])
    def call(self, x):
        return {"relu": tf.nn.relu(tf.matmul(x, self.w)), "head": tf.matmul(x, self.w)[:, :5],
                "same": x}


def write_modules(folder: Path) -> None:
    """SavedModels of plain TensorFlow: ``tf.Module`` and TensorFlow 1."""
    net, writes, table, large = Net(), Writes(), Table(), Large()
    save = tf.saved_model.save
    save(net, folder / "no_signature")
    save(net, folder / "two", signatures=net.two)
    save(net, folder / "several", signatures={"first": net.__call__, "second": net.two})
    for name in ("counted", "wave", "any_rank", "random", "double", "reshaped"):
        save(net, folder / name, signatures=getattr(net, name))
    save(writes, folder / "writes", signatures=writes.call)
    save(table, folder / "table", signatures=table.call)
    save(large, folder / "large", signatures=large.call)
    _write_tensorflow_1(folder / "tensorflow_1")


def _write_tensorflow_1(folder: Path) -> None:
    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, [None, 4], name="placeholder")
        w = v1.get_variable("w", initializer=np.arange(12, dtype="float32").reshape(4, 3) / 10)
        y = tf.nn.softmax(tf.matmul(x, w))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder), {"features": x}, {"scores": y})
