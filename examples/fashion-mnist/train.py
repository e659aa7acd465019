"""Train the Fashion-MNIST example model and write its data files.

Writes `fashion_mnist.keras`, `calibration.npz` and `evaluation.npz`; see README.md.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Images = NDArray[np.uint8]  # (n, 28, 28, 1), raw pixels
    Labels = NDArray[np.int64]  # (n,), 0..9
    Pixels = NDArray[np.float32]  # (n, 28, 28, 1), in [0, 1]

DATASET = Path("/usr/share/datasets/fashion-mnist")
HERE = Path(__file__).resolve().parent
MODEL_NAME = "fashion_mnist.keras"
SEED = 0
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
PATIENCE_EPOCHS = 5
VALIDATION_IMAGES = 5_000
CALIBRATION_IMAGES = 256
EVALUATION_PER_CLASS = 100
CLASSES = 10
MAX_SHIFT_PIXELS = 2
FLIPPED_FRACTION = 0.5
# (filters, stride) of the six depthwise-separable blocks: 28 -> 14 -> 7 pixels.
BLOCKS = ((32, 2), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1))
EXIT_MISSING = 4  # edgekit's exit code for a missing tool, extra or device

IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049
IMAGE_HEADER_BYTES, LABEL_HEADER_BYTES = 16, 8


class DatasetMissingError(Exception):
    """The Debian package with the images is not installed."""


def read_idx(path: Path, magic: int, header_bytes: int) -> NDArray[np.uint8]:
    """Return the payload of a gzipped idx file, flat.

    Raises:
        DatasetMissingError: The file does not exist.
        ValueError: The file is not idx of the expected kind.
    """
    if not path.exists():
        raise DatasetMissingError(path)
    raw = gzip.decompress(path.read_bytes())
    found = int.from_bytes(raw[:4], "big")
    if found != magic:
        raise ValueError(f"{path}: idx magic {found}, expected {magic}")
    return np.frombuffer(raw, np.uint8, offset=header_bytes)


def load_split(split: str, folder: Path) -> tuple[Images, Labels]:
    """Read one split, `train` (60,000 images) or `t10k` (the 10,000 test images)."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz", IMAGE_MAGIC, IMAGE_HEADER_BYTES)
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz", LABEL_MAGIC, LABEL_HEADER_BYTES)
    return images.reshape(-1, 28, 28, 1), labels.astype(np.int64)


def to_pixels(images: Images) -> Pixels:
    """Scale raw pixels to float32 in [0, 1], the model's input."""
    return images.astype(np.float32) / np.float32(255)


def make_data(
    train: tuple[Images, Labels], test: tuple[Images, Labels], out: Path
) -> tuple[Path, Path]:
    """Write `calibration.npz` and `evaluation.npz`; the same input gives the same bytes.

    Calibration is the first 256 training images; evaluation is the first 100 test images
    of each class, in file order: no image is picked by what any model makes of it.

    Returns:
        The paths of the calibration and the evaluation file.
    """
    calibration, evaluation = out / "calibration.npz", out / "evaluation.npz"
    np.savez_compressed(calibration, x=to_pixels(train[0][:CALIBRATION_IMAGES]))
    images, labels = test
    per_class = [np.flatnonzero(labels == c)[:EVALUATION_PER_CLASS] for c in range(CLASSES)]
    chosen = np.sort(np.concatenate(per_class))
    np.savez_compressed(evaluation, x=to_pixels(images[chosen]), y=labels[chosen])
    return calibration, evaluation


def augment(images: Images, rng: np.random.Generator) -> Images:
    """Shift each image by up to two pixels and flip half of them left to right."""
    count, pad = len(images), MAX_SHIFT_PIXELS
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))
    rows, columns = rng.integers(0, 2 * pad + 1, (2, count))
    # windows: (n, 5, 5, channels, 28, 28); one window per image, channels last again.
    shifted = np.moveaxis(windows[np.arange(count), rows, columns], 1, -1)
    flip = rng.random(count) < FLIPPED_FRACTION
    shifted[flip] = shifted[flip, :, ::-1]
    return np.ascontiguousarray(shifted)


class AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffles and augments anew in every epoch; one seeded generator draws it all."""

    def __init__(self, images: Images, labels: Labels) -> None:
        super().__init__()
        self.images, self.labels = images, labels
        self.rng = np.random.default_rng(SEED)
        self.order = self.rng.permutation(len(images))

    def __len__(self) -> int:
        """Return the number of full batches; the remainder waits for the next shuffle."""
        return len(self.images) // BATCH_SIZE

    def __getitem__(self, index: int) -> tuple[Pixels, Labels]:
        """Return one batch, freshly augmented."""
        rows = self.order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
        return to_pixels(augment(self.images[rows], self.rng)), self.labels[rows]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self.order = self.rng.permutation(len(self.images))


def normalised(x: keras.KerasTensor, layer: keras.Layer) -> keras.KerasTensor:
    """Apply a layer, batch normalization and ReLU."""
    return layers.ReLU()(layers.BatchNormalization()(layer(x)))


def build_model() -> keras.Model:
    """Return the depthwise-separable CNN: 56,906 parameters, 54,922 of them trained."""
    image = keras.Input((28, 28, 1), name="image")
    x = normalised(image, layers.Conv2D(16, 3, padding="same", use_bias=False))
    for filters, stride in BLOCKS:
        depthwise = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)
        x = normalised(x, depthwise)
        x = normalised(x, layers.Conv2D(filters, 1, use_bias=False))
    x = layers.GlobalAveragePooling2D()(x)
    probabilities = layers.Dense(CLASSES, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name="fashion_mnist")


def train_model(images: Images, labels: Labels, epochs: int) -> keras.Model:
    """Train, and return the model with the weights of the best validation accuracy.

    Ends after `epochs`, when the cosine schedule has brought the learning rate to zero,
    or earlier when the validation accuracy has not risen for five epochs. The last 5,000
    training images validate and are never trained on; the test images play no part.
    """
    keras.utils.set_random_seed(SEED)
    batches = AugmentedBatches(images[:-VALIDATION_IMAGES], labels[:-VALIDATION_IMAGES])
    validation = to_pixels(images[-VALIDATION_IMAGES:]), labels[-VALIDATION_IMAGES:]
    model = build_model()
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * len(batches))
    model.compile(
        keras.optimizers.Adam(schedule),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU, XLA took six times as long per step
    )
    stop = keras.callbacks.EarlyStopping(
        "val_accuracy", patience=PATIENCE_EPOCHS, restore_best_weights=True
    )
    model.fit(batches, validation_data=validation, epochs=epochs, callbacks=[stop], verbose=2)
    return model


def save_model(model: keras.Model, path: Path) -> None:
    """Save the weights in a fresh, uncompiled model: no optimizer state in the file."""
    bare = build_model()
    bare.set_weights(model.get_weights())
    bare.save(path)


def measure_accuracy(path: Path, images: Images, labels: Labels) -> float:
    """Return the accuracy of the saved file, as a fraction in [0, 1]."""
    model = keras.saving.load_model(path)
    predicted = model.predict(to_pixels(images), batch_size=500, verbose=0).argmax(axis=1)
    return float((predicted == labels).mean())


def report_accuracy(path: Path, test: tuple[Images, Labels]) -> None:
    """Print the accuracy of the model file on all test images."""
    accuracy = measure_accuracy(path, *test)
    print(f"{path.name}: {accuracy:.2%} of {len(test[1]):,} test images")


def write_test_set(path: Path, test: tuple[Images, Labels]) -> None:
    """Write all 10,000 test images as data for ``edgekit build --eval``."""
    images, labels = test
    np.savez_compressed(path, x=to_pixels(images), y=labels.astype(np.int64))
    print(f"wrote {path}")


def run(out: Path, epochs: int) -> None:
    """Write the data files, train, save, and measure what was saved."""
    train, test = load_split("train", DATASET), load_split("t10k", DATASET)
    out.mkdir(parents=True, exist_ok=True)
    make_data(train, test, out)
    started = time.monotonic()
    model = train_model(*train, epochs)
    print(f"trained in {time.monotonic() - started:.0f} s")
    save_model(model, out / MODEL_NAME)
    report_accuracy(out / MODEL_NAME, test)


def positive(text: str) -> int:
    """Parse a positive integer for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train the Fashion-MNIST example model.")
    parser.add_argument("--epochs", type=positive, default=20, help="at most this many epochs")
    parser.add_argument(
        "--test-set", type=Path, metavar="FILE.npz", help="only write the 10,000 test images"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the written files")
    parser.add_argument(
        "--evaluate", action="store_true", help="only measure the model that is in --out"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = parse_arguments(arguments)
    try:
        if options.test_set:
            write_test_set(options.test_set, load_split("t10k", DATASET))
        elif options.evaluate:
            report_accuracy(options.out / MODEL_NAME, load_split("t10k", DATASET))
        else:
            run(options.out, options.epochs)
    except DatasetMissingError as error:
        print(f"error: {error} not found", file=sys.stderr)
        print("hint: apt-get install dataset-fashion-mnist", file=sys.stderr)
        return EXIT_MISSING
    return 0


if __name__ == "__main__":
    sys.exit(main())
