"""Which of many boxes are kept."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from edgekit.training.values import Node


def _non_max_suppression(node: Node) -> list[Any]:
    """Inputs: boxes, scores, how many, overlap, least score; version 5 fades scores, too.

    Boxes leave that overlap too much with a better one; with a ``sigma``, the others' scores
    fade (Bodla et al. 2017, "Soft-NMS"). As many as asked for come out, zeros behind the last
    of them; how many of them count is the last output.
    """
    kept, indices, scores = _greedy(node, int(node.static(2).reshape(())))
    indices = tf.where(kept, indices, 0)
    valid = tf.reduce_sum(tf.cast(kept, tf.int32), 1)
    if not node.has(5):
        return [indices, valid]
    return [indices, tf.where(kept, scores, 0.0), valid]


def _greedy(node: Node, count: int) -> tuple[Any, Any, Any]:
    """``(samples, count)`` each: whether a box was found, which one, and its score then."""
    overlaps, scores = _overlaps(node.full(0)), node.full(1)
    limit, least = (tf.reshape(node.full(i), [-1, 1]) for i in (3, 4))
    fading = _fading(node, overlaps)
    numbers = tf.range(tf.shape(scores)[1])

    def step(before: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        scores, alive = before[:2]
        alive &= scores > least
        best = tf.argmax(tf.where(alive, scores, scores.dtype.min), 1, tf.int32)
        score = tf.gather(scores, best, batch_dims=1)
        close = tf.gather(overlaps, best, batch_dims=1) >= limit
        left = alive & ~close & (numbers != best[:, None])
        faded = scores * tf.gather(fading, best, batch_dims=1)
        return faded, left, tf.reduce_any(alive, 1), best, score

    start = (scores, tf.ones_like(scores, tf.bool), tf.zeros_like(scores[:, 0], tf.bool),
             tf.zeros_like(scores[:, 0], tf.int32), scores[:, 0])
    _, _, kept, indices, taken = tf.scan(step, tf.range(count), start)
    return tf.transpose(kept), tf.transpose(indices), tf.transpose(taken)


def _fading(node: Node, overlaps: Any) -> Any:
    """What each box multiplies the score of each other by."""
    if not node.has(5):
        return tf.ones_like(overlaps)
    sigma = tf.reshape(node.full(5), [-1, 1, 1])
    return tf.exp(-0.5 * tf.math.divide_no_nan(overlaps * overlaps, sigma))


def _overlaps(boxes: Any) -> Any:
    """Intersection over union of any two of ``(samples, boxes, 4)``, corners in any order."""
    low, high = (function(boxes[..., :2], boxes[..., 2:]) for function in (tf.minimum, tf.maximum))
    area = tf.reduce_prod(high - low, -1)
    inner_low = tf.maximum(low[:, :, None], low[:, None])
    inner_high = tf.minimum(high[:, :, None], high[:, None])
    inner = tf.reduce_prod(tf.maximum(inner_high - inner_low, 0.0), -1)
    return tf.math.divide_no_nan(inner, area[:, :, None] + area[:, None] - inner)


DETECTION: Mapping[str, Callable[[Node], Any]] = {
    "NON_MAX_SUPPRESSION_V4": _non_max_suppression,
    "NON_MAX_SUPPRESSION_V5": _non_max_suppression,
}
