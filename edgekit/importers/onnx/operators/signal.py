"""Spectra and windows; and random numbers, which a device's model does not have."""

import math
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.attending import sizes
from edgekit.importers.onnx.tensors import numpy_type
from edgekit.importers.onnx.values import inverse, transposed

# A transform is one fully connected layer, which every device has; where its matrix would be
# larger than this and the length is a power of two, it is the runtime's fast transform.
_MAX_MATRIX_BYTES = 1 << 18
_FLOAT = 1


def dft(node: Node, x: Any, *_settings: Any) -> Any:  # noqa: ANN401
    """DFT along one axis of (..., 1) or (..., 2), real or complex."""
    shape = sizes(node, x)
    axis = node.setting("axis", 2, 1 if node.opset < 20 else -2)
    axis %= len(shape)
    if axis == len(shape) - 1:
        raise node.error("transforms the axis of real and imaginary parts")
    backwards, onesided = bool(node.attr("inverse", 0)), bool(node.attr("onesided", 0))
    count = shape[axis]
    default = 2 * (count - 1) if backwards and onesided else count
    length = int(np.asarray(node.setting("", 1, default)).reshape(-1)[0])
    order = [place for place in range(len(shape) - 1) if place != axis]
    order += [axis, len(shape) - 1]
    signal = transposed(x, order)
    if backwards and onesided:
        made = _onesided_inverse(signal, length)
    else:
        bins = length // 2 + 1 if onesided else length
        made = _transformed(signal, length, bins, backwards=backwards)
    return transposed(made, inverse(order))


def _transformed(signal: Any, length: int, bins: int, *, backwards: bool = False) -> Any:  # noqa: ANN401
    """The first ``bins`` of a transform of (..., n, parts): (..., bins, 2)."""
    *outer, count, parts = (int(size) for size in signal.shape)
    used = min(count, length)
    flat = _rows(signal, used)
    real = parts == 1 and not backwards and bins == length // 2 + 1
    if real and 8 * used * bins > _MAX_MATRIX_BYTES and length & (length - 1) == 0:
        spectrum = tf.signal.rfft(flat, [length])
        made = tf.stack([tf.math.real(spectrum), tf.math.imag(spectrum)], -1)
    else:
        made = tf.matmul(flat, _matrix(used, parts, length, bins, backwards=backwards))
    return tf.reshape(made, [*outer, bins, 2])


def _rows(signal: Any, used: int) -> Any:  # noqa: ANN401
    """(..., n, parts) as a matrix with a row per signal, cut off at ``used``."""
    *_, count, parts = (int(size) for size in signal.shape)
    cut = signal if used == count else signal[..., :used, :]
    return tf.reshape(cut, [-1, used * parts])


def _matrix(
    rows: int, parts: int, length: int, bins: int, *, backwards: bool = False
) -> NDArray[Any]:
    """From (rows, parts) flattened to (bins, real and imaginary part) flattened."""
    # The product of the two indices modulo the length: exact, however long.
    turns = np.outer(np.arange(rows), np.arange(bins)) % length
    basis = np.exp((2j if backwards else -2j) * np.pi * turns / length)
    basis = basis / length if backwards else basis
    matrix = np.stack([np.stack([basis.real, basis.imag], -1),
                       np.stack([-basis.imag, basis.real], -1)], 1)[:, :parts]
    return matrix.reshape(rows * parts, bins * 2).astype(np.float32)


def _onesided_inverse(spectrum: Any, length: int) -> Any:  # noqa: ANN401
    """The real signal (..., length, 1) of the half of its spectrum."""
    *outer, count, parts = (int(size) for size in spectrum.shape)
    used = min(count, length // 2 + 1)
    turns = np.outer(np.arange(used), np.arange(length)) % length
    # All bins but the first and the one in the middle stand for two.
    weight = np.where((np.arange(used) == 0) | (2 * np.arange(used) == length), 1.0, 2.0)[:, None]
    angle = 2 * np.pi * turns / length
    matrix = np.stack([weight * np.cos(angle), -weight * np.sin(angle)], 1)[:, :parts] / length
    flat = matrix.reshape(used * parts, length).astype(np.float32)
    return tf.reshape(tf.matmul(_rows(spectrum, used), flat), [*outer, length, 1])


def stft(node: Node, x: Any, _step: Any, window: Any = None, _length: Any = None) -> Any:  # noqa: ANN401
    """STFT of (B, N), (B, N, 1) or (B, N, 2): (B, frames, bins, 2)."""
    step = int(np.asarray(node.setting("", 1)).reshape(-1)[0])
    given = node.setting("", 3)
    length = int(np.asarray(given).reshape(-1)[0]) if given is not None else int(window.shape[0])
    x = x[..., None] if len(x.shape) == 2 else x
    _, count, _ = sizes(node, x)
    if count < length or step < 1:
        raise node.error(f"has frames of {length} every {step} in a signal of {count}")
    frames = _frames(x, 1 + (count - length) // step, length, step)
    if window is not None:
        shown = int(window.shape[0])
        frames = frames if shown == length else frames[..., :shown, :]
        frames *= tf.reshape(window, [shown, 1])
    bins = length // 2 + 1 if node.attr("onesided", 1) else length
    return _transformed(frames, length, bins)


def _frames(x: Any, count: int, length: int, step: int) -> Any:  # noqa: ANN401
    """(B, N, parts) as (B, count, length, parts): pieces that all frames are made of, gathered."""
    batch, _, parts = (int(size) for size in x.shape)
    piece = math.gcd(length, step)
    end = (count - 1) * step + length
    x = x if end == int(x.shape[1]) else x[:, :end]
    pieces = tf.reshape(x, [batch, end // piece, piece * parts])
    places = (np.arange(count)[:, None] * (step // piece)
              + np.arange(length // piece)[None, :]).astype(np.int32)
    return tf.reshape(tf.gather(pieces, places, axis=1), [batch, count, length, parts])


def mel_weight_matrix(node: Node, *_settings: Any) -> Any:  # noqa: ANN401
    """MelWeightMatrix: triangles between the edges of mel bins."""
    bins, length, rate, low, high = (
        np.asarray(node.constant(place)).reshape(-1)[0] for place in range(5))
    bins, length = int(bins), int(length)
    mels = [2595 * np.log1p(float(edge) / 700) / np.log(10) for edge in (low, high)]
    edges = np.arange(bins + 2) * ((mels[1] - mels[0]) / (bins + 2)) + mels[0]
    hertz = 700 * np.expm1(edges / 2595 * np.log(10))
    places = ((length + 1) * hertz // float(rate)).astype(int)
    matrix = np.zeros((length // 2 + 1, bins))
    for column in range(bins):
        left, centre, right = places[column:column + 3]
        if centre == left:
            matrix[centre, column] = 1
        else:
            rising = np.arange(left, centre + 1)
            matrix[rising, column] = (rising - left) / (centre - left)
        falling = np.arange(centre, right)
        matrix[falling, column] = (right - falling) / max(right - centre, 1)
    return matrix.astype(numpy_type(node.attr("output_datatype", _FLOAT)))


def _cosines(*weights: float) -> Operator:
    """A window that is a sum of cosines."""
    def window(node: Node, *_size: Any) -> Any:  # noqa: ANN401
        size = int(node.constant(0).reshape(-1)[0])
        period = size if node.attr("periodic", 1) else size - 1
        angle = 2 * np.pi * np.arange(size) / max(period, 1)
        made = sum((weight * np.cos(order * angle) for order, weight in enumerate(weights)),
                   np.zeros(size))
        return made.astype(numpy_type(node.attr("output_datatype", _FLOAT)))
    return Operator(window, 17)


def random(node: Node, *_inputs: Any) -> NoReturn:  # noqa: ANN401
    """Whatever draws random numbers."""
    raise node.error("draws random numbers, so that the outputs differ at each run; nothing can "
                     "prove such an import right",
                     "make the random values an input of the model, or take the operator out")


_RANDOM = Operator(random, 22, folds=False)

SIGNAL = {
    "DFT": Operator(dft, 20),
    "STFT": Operator(stft, 17),
    "MelWeightMatrix": Operator(mel_weight_matrix, 17),
    "HannWindow": _cosines(0.5, -0.5),
    "HammingWindow": _cosines(25 / 46, -21 / 46),
    "BlackmanWindow": _cosines(0.42, -0.5, 0.08),
    "Bernoulli": _RANDOM,
    "Multinomial": _RANDOM,
    "RandomNormal": _RANDOM,
    "RandomNormalLike": _RANDOM,
    "RandomUniform": _RANDOM,
    "RandomUniformLike": _RANDOM,
}
