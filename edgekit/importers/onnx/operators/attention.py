"""ONNX's own attention operators."""

from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.attending import (
    Mask,
    attend,
    before,
    biased,
    both,
    from_heads,
    rotated,
    sizes,
    to_heads,
    window,
)
from edgekit.importers.onnx.operators.contrib import CONTRIB
from edgekit.importers.onnx.values import static_shape


def attention(
    node: Node, q: Any, k: Any, v: Any, mask: Any = None, past_k: Any = None, past_v: Any = None,  # noqa: ANN401
    lengths: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """Attention: multi-head, grouped or multi-query, with or without a cache."""
    flat = len(q.shape) == 3
    if flat:
        q = to_heads(node, q, node.attr("q_num_heads"))
        k, v = (to_heads(node, data, node.attr("kv_num_heads")) for data in (k, v))
    if past_k is not None:
        k, v = tf.concat([past_k, k], 2), tf.concat([past_v, v], 2)
    _, heads, queries, width = sizes(node, q)
    _, shared, keys, _ = sizes(node, k)
    if heads % shared:
        raise node.error(f"has {heads} query heads for {shared} key heads")
    offset: Any = 0
    if past_k is not None:
        offset = int(past_k.shape[2])
    elif lengths is not None:
        offset = lengths - np.asarray(queries, lengths.dtype if isinstance(
            lengths, np.ndarray) else lengths.dtype.as_numpy_dtype)
    right = node.attr("right_window_size", -1)
    right = 0 if node.attr("is_causal", 0) else right
    allowed = window(queries, keys, offset, node.attr("left_window_size", -1), right)
    if lengths is not None:
        allowed = both(allowed, before(lengths, keys))
    mask, added = _mask(mask, keys)
    masks = Mask(both(allowed, mask), added)
    scale = node.attr("scale", 0.0) or width**-0.5
    made = attend(q, k, v, scale, masks, node.attr("softcap", 0.0))
    output = from_heads(made.output) if flat else made.output
    mode = node.attr("qk_matmul_output_mode", 0)
    shown = biased(made.capped, masks) if mode == 2 else {0: made.raw, 1: made.capped}.get(
        mode, made.weights)
    return output, k, v, shown


def _mask(mask: Any, keys: int) -> tuple[Any, Any]:  # noqa: ANN401
    """The boolean or the float mask; keys that it does not reach are refused."""
    if mask is None:
        return None, None
    boolean = mask.dtype in (np.bool_, tf.bool)
    missing = keys - int(static_shape(mask)[-1] or keys)
    if missing > 0:
        pads = [(0, 0)] * (len(mask.shape) - 1) + [(0, missing)]
        refused = False if boolean else np.float32(-np.inf)
        if isinstance(mask, np.ndarray):
            mask = np.pad(mask, pads, constant_values=refused)
        else:
            filler = np.full([*mask.shape[:-1], missing], refused)
            mask = tf.concat([mask, filler], -1)
    return (mask, None) if boolean else (None, mask)


def rotary_embedding(
    node: Node, x: Any, cos: Any, sin: Any, positions: Any = None,  # noqa: ANN401
) -> Any:  # noqa: ANN401  # fmt: skip
    """RotaryEmbedding of (B, H, S, D) or (B, S, H * D)."""
    flat = len(x.shape) == 3
    if flat:
        x = to_heads(node, x, node.attr("num_heads"))
    width = node.attr("rotary_embedding_dim", 0) or int(x.shape[-1])
    if positions is not None:
        cos, sin = (tf.gather(table, positions) for table in (cos, sin))
    turned = rotated(x, cos, sin, width, interleaved=bool(node.attr("interleaved", 0)))
    return from_heads(turned) if flat else turned


ATTENTION = {
    "Attention": Operator(attention, 25),
    "RotaryEmbedding": Operator(rotary_embedding, 23),
    **CONTRIB,
}
