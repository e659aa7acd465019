"""Convolutions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.values import Value, arranged, channels_last, logical, make

Pads = list[tuple[int, int]]


def conv(node: Node, x: Value, w: Value, b: Value | None = None) -> Value:
    """Conv of 1, 2 or 3 spatial axes, any grouping."""
    spatial = x.rank - 2
    perm = channels_last(x.rank)
    data = arranged(x, perm)
    kernel = _kernel(w, spatial)
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    sizes = [int(size or 0) for size in x.shape[2:]]
    pads = paddings(node, sizes, list(w.shape[2:]), strides, dilations)
    extents = [(int(k or 0) - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    data, padding = padded(data, pads, sizes, extents, strides)
    if spatial == 1:
        data, kernel = tf.expand_dims(data, 1), kernel[None]
        strides, dilations = [1, *strides], [1, *dilations]
    result = _convolved(data, kernel, strides, dilations, padding, node.attr("group", 1))
    if spatial == 1:
        result = tf.squeeze(result, 1)
    if b is not None:
        result = tf.nn.bias_add(result, logical(b))
    return make(result, perm)


def _kernel(w: Value, spatial: int) -> Any:  # noqa: ANN401
    """(out, in, k...) as (k..., in, out)."""
    axes = (*range(2, spatial + 2), 1, 0)
    if w.is_constant:
        return np.ascontiguousarray(w.data.transpose(axes))
    return tf.transpose(logical(w), axes)


def _convolved(
    data: Any, kernel: Any, strides: Sequence[int], dilations: Sequence[int], padding: str,  # noqa: ANN401
    groups: int,
) -> Any:  # noqa: ANN401
    ones = lambda steps: [1, *steps, 1]  # noqa: E731
    channels = int(data.shape[-1])
    if len(strides) == 3:
        return tf.raw_ops.Conv3D(input=data, filter=kernel, strides=ones(strides),
                                 padding=padding, dilations=ones(dilations))
    if groups == channels and groups > 1:
        per_group = int(kernel.shape[-1]) // groups
        if isinstance(kernel, np.ndarray):
            kernel = kernel.reshape(*kernel.shape[:2], groups, per_group)
        else:
            kernel = tf.reshape(kernel, [*kernel.shape[:2], groups, per_group])
        return tf.raw_ops.DepthwiseConv2dNative(
            input=data, filter=kernel, strides=ones(strides), padding=padding,
            dilations=ones(dilations))
    return tf.raw_ops.Conv2D(input=data, filter=kernel, strides=ones(strides), padding=padding,
                             dilations=ones(dilations))


def paddings(
    node: Node, sizes: Sequence[int], kernel: Sequence[Any], strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:  # fmt: skip
    """Padding in front of and behind each spatial axis."""
    mode = node.attr("auto_pad", "NOTSET")
    spatial = len(sizes)
    if mode in ("NOTSET", "VALID", ""):
        pads = node.attr("pads", [0] * 2 * spatial) if mode != "VALID" else [0] * 2 * spatial
        return list(zip(pads[:spatial], pads[spatial:], strict=True))
    result = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        result.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return result


def padded(
    data: Any, pads: Pads, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int],  # noqa: ANN401
) -> tuple[Any, str]:
    """The data and the mode that together give this padding: SAME where that is the same."""
    if not any(map(any, pads)):
        return data, "VALID"
    same = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
        same.append((total // 2, total - total // 2))
    if same == pads:
        return data, "SAME"
    return tf.pad(data, [(0, 0), *pads, (0, 0)]), "VALID"


CONVOLUTION = {
    "Conv": Operator(conv, 22, "values"),
}
