"""What the attention operators share: heads, masks, and the products around a softmax."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node
from edgekit.importers.onnx.values import static_shape, transposed

_LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True)
class Scores:
    """The stages of one attention.

    Attributes:
        raw: Scaled products of queries and keys (B, H, S, L).
        capped: Behind the soft cap.
        weights: Behind the softmax.
        output: (B, H, S, D).
    """

    raw: Any
    capped: Any
    weights: Any
    output: Any


def sizes(node: Node, data: Any) -> list[int]:  # noqa: ANN401
    """Static sizes.

    Raises:
        EdgekitError: One is open.
    """
    found = static_shape(data)
    if None in found:
        raise node.error(f"has an input of open shape {list(found)}",
                         "fix its sizes with --input-shape")
    return [int(size or 0) for size in found]


def to_heads(node: Node, data: Any, heads: int) -> Any:  # noqa: ANN401
    """(B, S, H * D) as (B, H, S, D)."""
    batch, length, width = sizes(node, data)
    if heads < 1 or width % heads:
        raise node.error(f"cannot divide {width} channels among {heads} heads")
    return transposed(tf.reshape(data, [batch, length, heads, width // heads]), (0, 2, 1, 3))


def from_heads(data: Any) -> Any:  # noqa: ANN401
    """(B, H, S, D) as (B, S, H * D)."""
    batch, heads, length, width = (int(size) for size in data.shape)
    return tf.reshape(transposed(data, (0, 2, 1, 3)), [batch, length, heads * width])


def either(one: Any, other: Any, constant: Any, computed: Any) -> Any:  # noqa: ANN401
    """Two masks joined, at import where both are known; None is no mask."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return constant(one, other)
    return computed(one, other)


def both(one: Any, other: Any) -> Any:  # noqa: ANN401
    """What two boolean masks allow."""
    return either(one, other, np.logical_and, tf.logical_and)


@dataclass(frozen=True)
class Mask:
    """What queries may see.

    Attributes:
        allowed: Boolean, broadcast to (B, H, S, L); None for everything.
        added: To the scores, the same; None for nothing.
        refused: What is added where it is not allowed.
    """

    allowed: Any = None
    added: Any = None
    refused: float = -np.inf

    @property
    def bias(self) -> Any:  # noqa: ANN401
        """What is added to the scores; None for nothing."""
        if self.allowed is None or (isinstance(self.allowed, np.ndarray) and self.allowed.all()):
            return self.added
        zero, low = np.float32(0), np.float32(self.refused)
        where = np.where if isinstance(self.allowed, np.ndarray) else tf.where
        return either(where(self.allowed, zero, low), self.added, np.add, tf.add)

    @property
    def finite(self) -> Any:  # noqa: ANN401
        """Where -inf is not added; None for everywhere."""
        added = None if self.added is None else self.added >= _LOWEST
        return both(self.allowed if np.isneginf(self.refused) else None, added)

    @property
    def alive(self) -> Any:  # noqa: ANN401
        """The queries that see some key (B, H, S, 1); None for all of them."""
        finite = self.finite
        if finite is None:
            return None
        if isinstance(finite, np.ndarray):
            return None if finite.any(-1).all() else finite.any(-1, keepdims=True)
        return tf.reduce_any(finite, -1, keepdims=True)


def before(limit: Any, length: int) -> Any:  # noqa: ANN401
    """Which of ``length`` keys lie ahead of each sequence's limit (B): (B, 1, 1, length)."""
    places = np.arange(length, dtype=np.int32).reshape(1, 1, 1, length)
    if isinstance(limit, np.ndarray):
        return places < limit.reshape(-1, 1, 1, 1)
    return places < tf.reshape(tf.cast(limit, tf.int32), [-1, 1, 1, 1])


def window(queries: int, keys: int, offset: Any, left: int = -1, right: int = -1) -> Any:  # noqa: ANN401
    """Which keys each query sees, from ``left`` before to ``right`` behind itself; -1 is open.

    Args:
        queries: How many.
        keys: How many.
        offset: The first query's place among the keys: a number, or one per sequence (B).
        left: Keys before.
        right: Keys behind.
    """
    if left < 0 and right < 0:
        return None
    ahead = np.arange(keys, dtype=np.int32)[None, :] - np.arange(queries, dtype=np.int32)[:, None]
    if isinstance(offset, int | np.ndarray):
        distance = ahead - (offset if isinstance(offset, int) else
                            offset.astype(np.int32).reshape(-1, 1, 1, 1))
    else:
        distance = ahead - tf.reshape(tf.cast(offset, tf.int32), [-1, 1, 1, 1])
    return both(None if left < 0 else distance >= -left, None if right < 0 else distance <= right)


def attend(
    q: Any, k: Any, v: Any, scale: float, mask: Mask, softcap: float = 0.0,  # noqa: ANN401
) -> Scores:  # fmt: skip
    """Attention of queries (B, H, S, D) to keys and values (B, H', L, D).

    Where keys have fewer heads, the queries of a group are rows of one product: no head is
    repeated. A query that may see no key gives zeros, where a softmax would give NaN.
    """
    batch, heads, length, width = (int(size) for size in q.shape)
    shared, keys = int(k.shape[1]), int(k.shape[2])
    rows = heads // shared * length
    q = q * np.float32(scale)
    q = tf.reshape(q, [batch, shared, rows, width]) if shared != heads else q
    raw = tf.matmul(q, k, transpose_b=True)
    raw = tf.reshape(raw, [batch, heads, length, keys]) if shared != heads else raw
    capped = tf.tanh(raw / softcap) * softcap if softcap else raw
    bias, alive = mask.bias, mask.alive
    if alive is not None:
        bias = tf.where(alive, bias, np.float32(0))
    weights = tf.nn.softmax(capped if bias is None else capped + bias)
    weights = weights if alive is None else weights * tf.cast(alive, tf.float32)
    grouped = tf.reshape(weights, [batch, shared, rows, keys]) if shared != heads else weights
    output = tf.matmul(grouped, v)
    output = tf.reshape(output, [batch, heads, length, int(v.shape[-1])])
    return Scores(raw, capped, weights, output)


def biased(scores: Any, mask: Mask) -> Any:  # noqa: ANN401
    """Scores behind the masks, with a true -inf."""
    bias, finite = mask.bias, mask.finite
    if bias is None:
        return scores
    # The converter makes every constant -inf the lowest number, and so do the sums of a kernel.
    none = tf.nn.relu(-tf.abs(scores[..., :1]))
    return scores + bias if finite is None else tf.where(finite, scores + bias, tf.math.log(none))


def rotated(
    x: Any, cos: Any, sin: Any, width: int, *, interleaved: bool,  # noqa: ANN401
) -> Any:  # noqa: ANN401  # fmt: skip
    """Rotary embedding of (B, H, S, D), of its first ``width`` channels.

    Args:
        x: The heads.
        cos: (B or 1, S, width / 2).
        sin: The same.
        width: How many channels turn.
        interleaved: Whether pairs are neighbours, not half a head apart.
    """
    total = int(x.shape[-1])
    turned, rest = (x, None) if width == total else tf.split(x, [width, total - width], -1)
    cos, sin = tf.expand_dims(cos, 1), tf.expand_dims(sin, 1)
    if interleaved:
        # Even channels and odd ones: two columns of a matrix of pairs.
        pairs = tf.reshape(turned, [*turned.shape[:-1], width // 2, 2])
        one, other = tf.unstack(pairs, axis=-1)
    else:
        one, other = tf.split(turned, 2, -1)
    real, imaginary = cos * one - sin * other, sin * one + cos * other
    if interleaved:
        turned = tf.reshape(tf.stack([real, imaginary], -1), turned.shape)
    else:
        turned = tf.concat([real, imaginary], -1)
    return turned if rest is None else tf.concat([turned, rest], -1)
