"""Convolutions. Filters are laid out as LiteRT has them; pictures have their channels last."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from ai_edge_litert.schema_py_generated import Padding

from edgekit.training.operators.fused import activated
from edgekit.training.values import Node


def padding_of(node: Node) -> str:
    """``SAME`` or ``VALID``."""
    return "SAME" if node.options.padding == Padding.SAME else "VALID"


def samples_together(node: Node, index: int, axes: int) -> Any:
    """An input whose leading axes are all one: the last ``axes`` stay."""
    return tf.reshape(node.full(index), [-1, *node.sample_shape(index)[-axes:]])


def samples_apart(node: Node, result: Any) -> Any:
    """A result of ``samples_together`` with the samples and the model's own batch axis apart."""
    batch = node.sample_shape(0)[0]
    return tf.reshape(result, [-1, batch, *_rest(result)])


def _rest(tensor: Any) -> list[Any]:
    known = list(tensor.shape)[1:]
    if None not in known:
        return known
    shape = tf.shape(tensor)
    return [shape[axis] if size is None else size for axis, size in enumerate(known, 1)]


def _conv_2d(node: Node) -> Any:
    """Filter ``(out, kh, kw, in / groups)``, input ``(1, h, w, in)``."""
    x = samples_together(node, 0, 3)
    weights = tf.transpose(node.shared(1), [1, 2, 3, 0])
    groups = x.shape[-1] // weights.shape[2]
    options = node.options
    strides, dilations = (options.strideH, options.strideW), (
        options.dilationHFactor, options.dilationWFactor)
    if groups == 1:
        result = convolved(x, weights, strides, dilations, padding_of(node))
    else:  # TensorFlow has no gradient for groups on a CPU
        parts = zip(tf.split(x, groups, -1), tf.split(weights, groups, -1), strict=True)
        result = tf.concat([convolved(part, filter_, strides, dilations, padding_of(node))
                            for part, filter_ in parts], -1)
    return _finished(node, result, 2)


def convolved(
    x: Any, weights: Any, strides: Sequence[int], dilations: Sequence[int],
    padding: str,
) -> Any:
    """A convolution that has a gradient also where it is dilated.

    Args:
        x: ``(batch, *space, in)``.
        weights: ``(*kernel, in, out)``.
        strides: One for each axis of space.
        dilations: The same.
        padding: ``SAME`` or ``VALID``.
    """
    spread = _spread(weights, dilations)
    if len(strides) == 2:
        return tf.nn.conv2d(x, spread, list(strides), padding)
    # On a CPU, TensorFlow's 3-D SAME begins too late where a stride is larger than the kernel.
    if padding == "SAME":
        x = tf.pad(x, [[0, 0], *same_padding(x.shape[1:4], spread.shape[:3], strides), [0, 0]])
    return tf.nn.conv3d(x, spread, [1, *strides, 1], "VALID")


def _spread(weights: Any, dilations: Sequence[int]) -> Any:
    """A dilated kernel written out with zeros: TensorFlow's gradients know no dilation on a CPU."""
    for axis, dilation in enumerate(dilations):
        if dilation > 1 and weights.shape[axis] > 1:
            weights = _with_zeros_between(weights, axis, dilation)
    return weights


def _with_zeros_between(weights: Any, axis: int, dilation: int) -> Any:
    size = weights.shape[axis]
    shape = list(weights.shape)
    apart = tf.expand_dims(weights, axis + 1)
    paddings = [[0, 0]] * len(apart.shape)
    paddings[axis + 1] = [0, dilation - 1]
    shape[axis] = size * dilation
    spread = tf.reshape(tf.pad(apart, paddings), shape)
    return spread[(slice(None),) * axis + (slice(0, (size - 1) * dilation + 1),)]


def _depthwise_conv_2d(node: Node) -> Any:
    """Filter ``(1, kh, kw, in * multiplier)``."""
    options = node.options
    x = samples_together(node, 0, 3)
    weights = node.shared(1)
    _, height, width, channels = weights.shape
    weights = tf.reshape(weights, [height, width, x.shape[-1], channels // x.shape[-1]])
    weights = _spread(weights, (options.dilationHFactor, options.dilationWFactor))
    result = _depthwise(x, weights, (options.strideH, options.strideW), padding_of(node))
    return _finished(node, result, 2)


def _depthwise(x: Any, weights: Any, strides: tuple[int, int], padding: str) -> Any:
    if strides[0] == strides[1]:
        return tf.nn.depthwise_conv2d(x, weights, [1, *strides, 1], padding)
    # TensorFlow takes equal strides only: every position, then the ones that are wanted.
    padded = tf.pad(x, [[0, 0], *same_padding(x.shape[1:3], weights.shape[:2], strides), [0, 0]]
                    ) if padding == "SAME" else x
    every = tf.nn.depthwise_conv2d(padded, weights, [1, 1, 1, 1], "VALID")
    return every[:, :: strides[0], :: strides[1]]


def same_padding(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[list[int]]:
    """What ``SAME`` pads before and after each axis of space."""
    totals = [max((-(-size // stride) - 1) * stride + k - size, 0)
              for size, k, stride in zip(sizes, kernel, strides, strict=True)]
    return [[total // 2, total - total // 2] for total in totals]


def _transpose_conv(node: Node) -> Any:
    """Inputs: output shape, filter ``(out, kh, kw, in)``, input, bias."""
    options = node.options
    x = tf.reshape(node.full(2), [-1, *node.sample_shape(2)[-3:]])
    weights = tf.transpose(node.shared(1), [1, 2, 0, 3])
    _, height, width, channels = (int(size) for size in node.static(0))
    result = tf.nn.conv2d_transpose(
        x, weights, [tf.shape(x)[0], height, width, channels],
        [options.strideH, options.strideW], padding_of(node))
    if node.has(3):
        result += node.shared(3)
    batch = node.sample_shape(2)[0]
    return activated(node, tf.reshape(result, [-1, batch, height, width, channels]))


def _conv_3d(node: Node) -> Any:
    """Filter ``(kd, kh, kw, in, out)``."""
    options = node.options
    result = convolved(
        samples_together(node, 0, 4), node.shared(1),
        (options.strideD, options.strideH, options.strideW),
        (options.dilationDFactor, options.dilationHFactor, options.dilationWFactor),
        padding_of(node))
    return _finished(node, result, 2)


def _conv_3d_transpose(node: Node) -> Any:
    """Inputs: output shape, filter ``(kd, kh, kw, out, in)``, input, bias."""
    options = node.options
    strides = (options.strideD, options.strideH, options.strideW)
    x = tf.reshape(node.full(2), [-1, *node.sample_shape(2)[-4:]])
    sizes = [int(size) for size in node.static(0)[1:]]
    result = _transposed_3d(x, node.shared(1), strides, sizes, padding_of(node))
    if node.has(3):
        result += node.shared(3)
    batch = node.sample_shape(2)[0]
    return activated(node, tf.reshape(result, [-1, batch, *sizes]))


def _transposed_3d(
    x: Any, weights: Any, strides: Sequence[int], sizes: Sequence[int], padding: str
) -> Any:
    """With ``VALID`` alone, cut to size: ``convolved``, the gradient of it, says why."""
    *space, channels = sizes
    cut: list[Any] = [slice(None)] * 3
    whole = list(space)
    if padding == "SAME":
        kernel = weights.shape[:3]
        before = [pads[0] for pads in same_padding(space, kernel, strides)]
        cut = [slice(start, start + size) for start, size in zip(before, space, strict=True)]
        whole = [max((count - 1) * stride + k, size) for count, stride, k, size in zip(
            x.shape[1:4], strides, kernel, space, strict=True)]
    result = tf.nn.conv3d_transpose(x, weights, [tf.shape(x)[0], *whole, channels],
                                    [1, *strides, 1], "VALID")
    return result[(slice(None), *cut)]


def _finished(node: Node, result: Any, bias: int) -> Any:
    if node.has(bias):
        result = tf.nn.bias_add(result, node.shared(bias))
    return samples_apart(node, activated(node, result))


CONVOLUTIONS: Mapping[str, Callable[[Node], Any]] = {
    "CONV_2D": _conv_2d,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
}
