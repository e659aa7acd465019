"""onnxruntime's own operators (domain com.microsoft) that its graph optimizers make of others."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
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
from edgekit.importers.onnx.operators.convolution import conv
from edgekit.importers.onnx.operators.grouped_query import group_query_attention
from edgekit.importers.onnx.operators.matmul import gemm
from edgekit.importers.onnx.values import Value, arranged, dtype_of

_REFUSED = -10000.0


def multi_head_attention(
    node: Node, q: Any, k: Any = None, v: Any = None, bias: Any = None, padding: Any = None,  # noqa: ANN401
    added: Any = None, past_k: Any = None, past_v: Any = None, *further: Any,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """MultiHeadAttention: of projected inputs, which may be packed."""
    if any(item is not None for item in further):
        raise node.error("keeps its cache in a buffer that is shared between runs",
                         "export the model with a cache that is an input and an output")
    heads = node.attr("num_heads")
    q, k, v = _unpacked(node, q, k, v)
    if bias is not None:
        ends = np.cumsum([_width(item) for item in (q, k, v)])
        parts = (bias[:ends[0]], bias[ends[0]:ends[1]], bias[ends[1]:ends[2]])
        # Keys and values of a cross attention come with heads, and without a bias.
        q, k, v = (item if len(item.shape) == 4 else item + part
                   for item, part in zip((q, k, v), parts, strict=True))
    q, k, v = (item if len(item.shape) == 4 else to_heads(node, item, heads) for item in (q, k, v))
    past = 0
    if past_k is not None:
        past = int(past_k.shape[2])
        k, v = tf.concat([past_k, k], 2), tf.concat([past_v, v], 2)
    mask = _masks(node, padding, added, int(q.shape[2]), int(k.shape[2]), past)
    made = attend(q, k, v, node.attr("scale", 0.0) or int(q.shape[-1])**-0.5, mask)
    return from_heads(made.output), k, v, made.raw


def _unpacked(node: Node, q: Any, k: Any, v: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """Queries, keys and values, one by one."""
    if k is None:  # (B, S, H, 3, D)
        batch, length, heads, _, width = sizes(node, q)
        parts = [tf.reshape(q[:, :, :, place], [batch, length, heads * width])
                 for place in range(3)]
        return parts[0], parts[1], parts[2]
    if v is None:  # (B, L, H, 2, D)
        batch, length, heads, _, width = sizes(node, k)
        pair = [tf.reshape(k[:, :, :, place], [batch, length, heads * width])
                for place in range(2)]
        return q, pair[0], pair[1]
    return q, k, v


def _width(item: Any) -> int:  # noqa: ANN401
    return int(item.shape[-1]) * (int(item.shape[1]) if len(item.shape) == 4 else 1)


def _masks(
    node: Node, padding: Any, added: Any, queries: int, keys: int, past: int,  # noqa: ANN401
) -> Mask:  # fmt: skip
    """Padding refuses with a finite number here, and so does what is behind a query."""
    allowed = window(queries, keys, past, -1, 0) if node.attr("unidirectional", 0) else None
    if padding is not None:
        allowed = both(allowed, _padding(node, padding, keys))
    return Mask(allowed, added, node.attr("mask_filter_value", _REFUSED))


def _padding(node: Node, padding: Any, keys: int) -> Any:  # noqa: ANN401
    """Which keys count: from lengths (B), from (B, L), (B, S, L) or (B, 1, S, L) ones and zeros."""
    if len(padding.shape) == 1:
        return before(padding, keys)
    if int(padding.shape[-1]) != keys:
        raise node.error(f"masks {int(padding.shape[-1])} of {keys} keys")
    places = {2: (slice(None), None, None), 3: (slice(None), None), 4: ()}[len(padding.shape)]
    return (padding if not places else padding[places]) > np.asarray(0, dtype_of(padding))


def attention(
    node: Node, x: Any, weights: Any, bias: Any = None, padding: Any = None, past: Any = None,  # noqa: ANN401
    added: Any = None, shared: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """Attention: one projection gives queries, keys and values."""
    if shared is not None or node.attr("do_rotary", 0):
        raise node.error("keeps its cache in a shared buffer, or turns its heads by itself",
                         "export the model without onnxruntime's optimizations for generation")
    heads = node.attr("num_heads")
    widths = node.attr("qkv_hidden_sizes", None) or [int(weights.shape[1]) // 3] * 3
    batch, length, width = sizes(node, x)
    flat = tf.matmul(tf.reshape(x, [batch * length, width]), weights)
    flat = flat if bias is None else flat + bias
    parts = tf.split(tf.reshape(flat, [batch, length, sum(widths)]), widths, -1)
    q, k, v = (to_heads(node, part, heads) for part in parts)
    before_this = 0
    if past is not None:
        before_this = int(past.shape[3])
        k, v = tf.concat([past[0], k], 2), tf.concat([past[1], v], 2)
    mask = _masks(node, padding, added, length, int(k.shape[2]), before_this)
    made = attend(q, k, v, node.attr("scale", 0.0) or int(q.shape[-1])**-0.5, mask)
    return from_heads(made.output), tf.stack([k, v]) if node.wants(1) else None


def rotary_embedding(
    node: Node, x: Any, positions: Any, cos: Any, sin: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401  # fmt: skip
    """RotaryEmbedding of (B, H, S, D) or (B, S, H * D); tables by position."""
    if node.attr("is_packed_batching", 0) or node.attr("scale", 1.0) != 1.0:
        raise node.error("packs sequences, or scales")
    flat = len(x.shape) == 3
    width = node.attr("rotary_embedding_dim", 0)
    if flat:
        heads = node.attr("num_heads", 0)
        x = to_heads(node, x, heads or int(x.shape[-1]) // (2 * int(cos.shape[-1])))
    width = width or int(x.shape[-1])
    if list(positions.shape) in ([1], []):
        steps = np.arange(int(x.shape[2]))[None].astype(dtype_of(positions))
        positions = positions + steps
    cos, sin = (tf.gather(table, positions) for table in (cos, sin))
    turned = rotated(x, cos, sin, width, interleaved=bool(node.attr("interleaved", 0)))
    return from_heads(turned) if flat else turned


def embed_layer_normalization(
    node: Node, words: Any, segments: Any, word_table: Any, position_table: Any,  # noqa: ANN401
    segment_table: Any = None, gamma: Any = None, beta: Any = None, mask: Any = None,  # noqa: ANN401
    positions: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """EmbedLayerNormalization: the sum of embeddings, normalized; and each sequence's length."""
    if positions is None:
        total = tf.gather(word_table, words) + position_table[:int(words.shape[1])][None]
    else:
        total = tf.gather(word_table, words) + tf.gather(position_table, positions)
    if segments is not None:
        total += tf.gather(segment_table, segments)
    centred = total - tf.reduce_mean(total, -1, keepdims=True)
    spread = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    made = centred * tf.math.rsqrt(spread + node.attr("epsilon", 1e-12)) * gamma + beta
    lengths = (np.zeros(int(words.shape[0]), np.int32) if mask is None
               else tf.reduce_sum(tf.cast(mask, tf.int32), 1))
    return made, lengths, total


def fused_conv(
    node: Node, x: Value, w: Value, b: Value | None = None, added: Value | None = None
) -> Value:
    """FusedConv: Conv, something added, and an activation."""
    made = conv(node, x, w, b)
    data = made.data
    if added is not None:
        data = data + arranged(added, made.perm or tuple(range(made.rank)))
    return Value(_activated(node, data, node.attr("activation_params", [])), made.perm)


def fused_gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Any:  # noqa: ANN401
    """FusedGemm: Gemm and an activation."""
    made = gemm(node, a, b, c)
    numbers = [node.attr(name) for name in ("activation_alpha", "activation_beta")
               if name in node.attributes]
    if isinstance(made, Value):
        return Value(_activated(node, made.data, numbers), made.perm, made.merged)
    return _activated(node, made, numbers)


_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "": lambda x: x,
    "Relu": tf.nn.relu,
    "Sigmoid": tf.sigmoid,
    "Tanh": tf.tanh,
    "LeakyRelu": lambda x, alpha=0.01, *_: tf.nn.leaky_relu(x, alpha),
    "Clip": lambda x, low, high: tf.nn.relu6(x) if (low, high) == (0.0, 6.0) else
            tf.clip_by_value(x, low, high),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: tf.clip_by_value(alpha * x + beta, 0.0, 1.0),
}  # fmt: skip


def _activated(node: Node, x: Any, numbers: list[float]) -> Any:  # noqa: ANN401
    name = node.attr("activation", "")
    if name not in _ACTIVATIONS:
        raise node.error(f"has the activation '{name}'; {', '.join(filter(None, _ACTIVATIONS))} "
                         "are known")
    return _ACTIVATIONS[name](x, *numbers)


CONTRIB = {
    "com.microsoft:Attention": Operator(attention, 1),
    "com.microsoft:EmbedLayerNormalization": Operator(embed_layer_normalization, 1),
    "com.microsoft:FusedConv": Operator(fused_conv, 1, "values"),
    "com.microsoft:FusedGemm": Operator(fused_gemm, 1, "values"),
    "com.microsoft:GroupQueryAttention": Operator(group_query_attention, 1),
    "com.microsoft:MultiHeadAttention": Operator(multi_head_attention, 1),
    "com.microsoft:RotaryEmbedding": Operator(rotary_embedding, 1),
}
