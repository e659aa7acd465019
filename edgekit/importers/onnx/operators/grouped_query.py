"""GroupQueryAttention of onnxruntime: what language models with a cache are exported as."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from edgekit.importers.onnx.node import Node
from edgekit.importers.onnx.operators.attending import (
    Mask,
    attend,
    before,
    both,
    from_heads,
    rotated,
    sizes,
    to_heads,
    window,
)


def group_query_attention(
    node: Node, q: Any, k: Any, v: Any, past_k: Any, past_v: Any, lengths: Any, *further: Any,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """GroupQueryAttention: causal, with a cache that new keys are written into.

    ``lengths`` are the last positions that hold a key once the new ones are in.
    """
    _total, cos, sin, positions, added, *unknown = [*further, None, None, None, None, None]
    if any(item is not None for item in unknown) or node.attr("smooth_softmax", 0):
        raise node.error("has attention sinks, a smooth softmax or a quantized cache")
    heads, shared = node.attr("num_heads"), node.attr("kv_num_heads")
    if k is None:
        width = int(q.shape[-1]) // (heads + 2 * shared)
        q, k, v = tf.split(q, [heads * width, shared * width, shared * width], -1)
    q = to_heads(node, q, heads)
    k, v = to_heads(node, k, shared), to_heads(node, v, shared)
    batch, _, steps, width = sizes(node, q)
    past = 0 if past_k is None else int(past_k.shape[2])
    start: Any = np.zeros(batch, np.int32)
    if past:
        start = tf.cast(tf.reshape(lengths, [batch]), tf.int32) + 1 - steps
    if node.attr("do_rotary", 0):
        q, k = _turned(node, (q, k), cos, sin, positions, start, steps)
    if past:
        size = max(past, int(np.asarray(node.constant(6)).reshape(-1)[0]))
        k, v = _cached(past_k, k, start, size), _cached(past_v, v, start, size)
    left = node.attr("local_window_size", -1)
    allowed = window(steps, int(k.shape[2]), start, left - 1 if left > 0 else -1, 0)
    made = attend(q, k, v, node.attr("scale", 0.0) or width**-0.5,
                  Mask(both(allowed, None), _fitting(added, int(k.shape[2]))),
                  node.attr("softcap", 0.0))
    return from_heads(made.output), k, v


def _turned(
    node: Node, heads: tuple[Any, Any], cos: Any, sin: Any, positions: Any, start: Any, steps: int,  # noqa: ANN401
) -> list[Any]:  # fmt: skip
    if positions is None:
        places = np.arange(steps, dtype=np.int32)[None]
        positions = places + (start[:, None] if isinstance(start, np.ndarray) else
                              tf.reshape(start, [-1, 1]))
    cos, sin = (tf.gather(table, positions) for table in (cos, sin))
    interleaved = bool(node.attr("rotary_interleaved", 0))
    return [rotated(item, cos, sin, 2 * int(cos.shape[-1]), interleaved=interleaved)
            for item in heads]


def _cached(past: Any, new: Any, start: Any, size: int) -> Any:  # noqa: ANN401
    """The new keys or values at their places in a buffer of ``size``."""
    missing = size - int(past.shape[2])
    if missing:
        buffer = tf.pad(past, [(0, 0), (0, 0), (0, missing), (0, 0)])
    else:  # what lies behind the valid ones is zero in onnxruntime's result, too
        buffer = tf.where(tf.reshape(before(start, size), [-1, 1, size, 1]), past, np.float32(0))
    rows = [xla.dynamic_update_slice(buffer[place:place + 1], new[place:place + 1],
                                     tf.stack([0, 0, start[place], 0]))
            for place in range(int(buffer.shape[0]))]
    return rows[0] if len(rows) == 1 else tf.concat(rows, 0)


def _fitting(added: Any, keys: int) -> Any:  # noqa: ANN401
    return added if added is None or int(added.shape[-1]) == keys else added[..., :keys]
