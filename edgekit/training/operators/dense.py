"""Matrix products, the Fourier transform as one, and tables of embeddings."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.training.operators.fused import activated
from edgekit.training.values import Node


def _fully_connected(node: Node) -> Any:
    """Weights ``(out, in)``; the input is taken as rows of ``in`` numbers."""
    weights = node.shared(1)
    units, depth = weights.shape
    result = tf.matmul(tf.reshape(node.full(0), [-1, depth]), weights, transpose_b=True)
    if node.has(2):
        result = tf.nn.bias_add(result, tf.reshape(node.shared(2), [units]))
    shape = node.sample_shape(0)
    if node.options is not None and node.options.keepNumDims:
        return node.reshaped(activated(node, result), [*shape[:-1], units])
    known = all(isinstance(size, int) for size in shape)
    rows = int(np.prod(shape)) // depth if known else tf.reduce_prod(tf.stack(shape)) // depth
    return node.reshaped(activated(node, result), [rows, units])


def _batch_matmul(node: Node) -> Any:
    x, y = node.aligned(0, 1)
    return tf.matmul(x, y, transpose_a=bool(node.options and node.options.adjX),
                     transpose_b=bool(node.options and node.options.adjY))


def _embedding_lookup(node: Node) -> Any:
    """Inputs: indices ``(n,)``, table ``(rows, ...)``."""
    return tf.gather(node.shared(1), node.full(0))


def _rfft_2d(node: Node) -> Any:
    """Inputs: value, length in both axes; it is cut or filled up with zeros to it."""
    height, width = (int(size) for size in node.static(1))
    return tf.signal.rfft2d(node.any(0), [height, width])


DENSE: Mapping[str, Callable[[Node], Any]] = {
    "BATCH_MATMUL": _batch_matmul,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "FULLY_CONNECTED": _fully_connected,
    "RFFT2D": _rfft_2d,
}
