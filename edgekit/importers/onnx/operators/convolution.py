"""Convolutions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.windows import bordered, known_sizes, padded, paddings
from edgekit.importers.onnx.values import (
    Value,
    arranged,
    channels_last,
    logical,
    make,
    sizes_of,
    transposed,
)


def conv(node: Node, x: Value, w: Value, b: Value | None = None) -> Value:
    """Conv of any number of spatial axes, any grouping."""
    spatial = x.rank - 2
    perm = channels_last(x.rank)
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    sizes = x.shape[2:]
    extents = [(int(k or 0) - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    pads = paddings(node, sizes, w.shape[2:], strides, dilations)
    groups = node.attr("group", 1)
    data = arranged(x, perm)
    if is_by_taps(spatial, groups):
        data, padding = bordered(data, pads), "VALID"
    else:
        data, padding = padded(data, pads, sizes, extents, strides)
    kernel = transposed(logical(w), (*range(2, spatial + 2), 1, 0))
    result = convolved(data, kernel, strides, dilations, padding, groups)
    return make(biased(result, b), perm)


def biased(data: Any, b: Value | None) -> Any:  # noqa: ANN401
    """Channels-last data with a number added to each channel."""
    return data if b is None else tf.nn.bias_add(data, logical(b))


def is_by_taps(spatial: int, groups: int) -> bool:
    """Whether there is no kernel for it, so that it is put together and needs its padding."""
    return spatial > 3 or (spatial == 3 and groups > 1)


def convolved(
    data: Any, kernel: Any, strides: Sequence[int], dilations: Sequence[int], padding: str,  # noqa: ANN401
    groups: int,
) -> Any:  # noqa: ANN401
    """A convolution of channels-last data.

    Args:
        data: (N, spatial..., in).
        kernel: (k..., in of one group, out).
        strides: One for each spatial axis.
        dilations: The same.
        padding: SAME or VALID; only VALID where ``is_by_taps``.
        groups: The number of groups.
    """
    spatial = len(strides)
    if is_by_taps(spatial, groups):
        return _by_taps(data, kernel, strides, dilations, groups)
    if spatial == 3:
        return tf.raw_ops.Conv3D(input=data, filter=kernel, strides=[1, *strides, 1],
                                 padding=padding, dilations=[1, *dilations, 1])
    if spatial == 2:
        return _flat(data, kernel, strides, dilations, padding, groups)
    result = _flat(tf.expand_dims(data, 1), kernel[None], [1, *strides], [1, *dilations], padding,
                   groups)
    return tf.squeeze(result, 1)


def _flat(
    data: Any, kernel: Any, strides: Sequence[int], dilations: Sequence[int], padding: str,  # noqa: ANN401
    groups: int,
) -> Any:  # noqa: ANN401
    around: dict[str, Any] = {"strides": [1, *strides, 1], "dilations": [1, *dilations, 1],
                              "padding": padding}
    if groups == data.shape[-1] and groups > 1:
        sizes = [*kernel.shape[:2], groups, int(kernel.shape[-1]) // groups]
        kernel = (kernel.reshape(sizes) if isinstance(kernel, np.ndarray)
                  else tf.reshape(kernel, sizes))
        return tf.raw_ops.DepthwiseConv2dNative(input=data, filter=kernel, **around)
    return tf.raw_ops.Conv2D(input=data, filter=kernel, **around)


def _by_taps(
    data: Any, kernel: Any, strides: Sequence[int], dilations: Sequence[int], groups: int,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """The sum over the first axis' taps of convolutions of one axis less; that is in the batch."""
    taps, size = int(kernel.shape[0]), int(data.shape[1])
    outputs = (size - (taps - 1) * dilations[0] - 1) // strides[0] + 1
    batch = sizes_of(data)[0]
    total = None
    for tap in range(taps):
        start = tap * dilations[0]
        part = data[:, start : start + (outputs - 1) * strides[0] + 1 : strides[0]]
        flat = tf.reshape(part, [batch * outputs, *part.shape[2:]])
        result = convolved(flat, kernel[tap], strides[1:], dilations[1:], "VALID", groups)
        total = result if total is None else total + result
    assert total is not None
    return tf.reshape(total, [batch, outputs, *total.shape[1:]])


def conv_transpose(node: Node, x: Value, w: Value, b: Value | None = None) -> Value:
    """ConvTranspose: an ordinary convolution where the stride is 1, else TRANSPOSE_CONV."""
    spatial = x.rank - 2
    perm = channels_last(x.rank)
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    groups = node.attr("group", 1)
    data = arranged(x, perm)
    sizes = sizes_of(data)[1:-1]
    extents = [(int(k or 0) - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    before, outputs = _cut(node, sizes, extents, strides)
    if groups == 1 and spatial <= 3 and max(strides) > 1:
        kernel = _spread(transposed(logical(w), (*range(2, spatial + 2), 1, 0)), dilations)
        return make(_transposed_conv(data, kernel, strides, before, outputs, b), perm)
    kernel, sizes = _mirrored(logical(w), groups), known_sizes(node, x.shape[2:])
    pads = []
    for axis, (extent, stride) in enumerate(zip(extents, strides, strict=True)):
        data = _stuffed(data, axis + 1, stride)
        start = extent - 1 - before[axis]
        pads.append((start, outputs[axis] + extent - 1 - sizes[axis] * stride - start))
    stuffed = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    ones = [1] * spatial
    if is_by_taps(spatial, groups) or min(map(min, pads)) < 0:
        data, padding = bordered(data, pads), "VALID"
    else:
        data, padding = padded(data, pads, stuffed, extents, ones)
    return make(biased(convolved(data, kernel, ones, dilations, padding, groups), b), perm)


def _cut(
    node: Node, sizes: Sequence[Any], extents: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[Any]]:
    """What is cut off in front of the full result, and how much is kept."""
    spatial = len(sizes)
    extra = node.attr("output_padding", None) or [0] * spatial
    full = [(size - 1) * stride + extent + more for size, stride, extent, more in zip(
        sizes, strides, extents, extra, strict=True)]
    wanted = list(node.attr("output_shape", None) or [])[-spatial:]
    mode = node.attr("auto_pad", "NOTSET")
    if not wanted and mode in ("NOTSET", "VALID", ""):
        pads = (node.attr("pads", None) if mode != "VALID" else None) or [0] * 2 * spatial
        kept = [size - first - last for size, first, last in zip(
            full, pads[:spatial], pads[spatial:], strict=True)]
        return pads[:spatial], kept
    wanted = wanted or [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if not all(isinstance(size, int) for size in full):
        raise node.error("pads an image whose size is not known at import",
                         "fix the size with --input-shape")
    totals = [max(size - kept, 0) for size, kept in zip(full, wanted, strict=True)]
    return [total // 2 if mode == "SAME_UPPER" else total - total // 2 for total in totals], wanted


def _transposed_conv(
    data: Any, kernel: Any, strides: Sequence[int], before: Sequence[int], outputs: Sequence[Any],  # noqa: ANN401
    b: Value | None,
) -> Any:  # noqa: ANN401
    """TRANSPOSE_CONV or CONV_3D_TRANSPOSE; ``kernel`` is (k..., out, in)."""
    if len(strides) == 1:
        result = _transposed_conv(tf.expand_dims(data, 1), kernel[None], [1, *strides],
                                  [0, *before], [1, *outputs], b)
        return tf.squeeze(result, 1)
    sizes, taps = sizes_of(data), [int(k) for k in kernel.shape[:-2]]
    if _is_same(sizes[1:-1], taps, strides, before, outputs):
        return biased(_raw_transposed(data, kernel, outputs, strides, "SAME"), b)
    # As much of the rest as a transposed convolution gives; zeros behind that.
    ends = [start + size for start, size in zip(before, outputs, strict=True)]
    full = [(size - 1) * stride + tap for size, stride, tap in zip(
        sizes[1:-1], strides, taps, strict=True)]
    most = [size + stride - 1 for size, stride in zip(full, strides, strict=True)]
    made = [size if not isinstance(size, int) else max(size, min(end, limit))
            for size, end, limit in zip(full, ends, most, strict=True)]
    missing = [max(end - size, 0) if isinstance(size, int) else 0
               for end, size in zip(ends, made, strict=True)]
    result = _raw_transposed(data, kernel, made, strides, "VALID")
    if any(missing):
        return biased(bordered(_kept(result, before, made, ends),
                               [(0, more) for more in missing]), b)
    return _kept(biased(result, b), before, made, ends)


def _is_same(
    sizes: Sequence[Any], taps: Sequence[int], strides: Sequence[int], before: Sequence[int],
    outputs: Sequence[Any],
) -> bool:  # fmt: skip
    if not all(isinstance(size, int) for size in (*sizes, *outputs)):
        return False
    return all(
        math.ceil(output / stride) == size
        and first == max((size - 1) * stride + tap - output, 0) // 2
        for size, tap, stride, first, output in zip(
            sizes, taps, strides, before, outputs, strict=True))


def _raw_transposed(
    data: Any, kernel: Any, outputs: Sequence[Any], strides: Sequence[int], padding: str,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    shape = [sizes_of(data)[0], *outputs, int(kernel.shape[-2])]
    if not all(isinstance(size, int) for size in shape):
        shape = tf.stack(shape)
    backward = (tf.raw_ops.Conv2DBackpropInput if len(strides) == 2
                else tf.raw_ops.Conv3DBackpropInputV2)
    return backward(input_sizes=shape, filter=kernel, out_backprop=data,
                    strides=[1, *strides, 1], padding=padding)


def _kept(data: Any, before: Sequence[int], made: Sequence[Any], ends: Sequence[Any]) -> Any:  # noqa: ANN401
    if all(first == 0 and end is size for first, size, end in zip(before, made, ends, strict=True)):
        return data
    sizes = [end - first for first, end in zip(before, ends, strict=True)]
    if not all(isinstance(size, int) for size in (*sizes, *made)):
        return data[(slice(None), *map(slice, before, ends))]
    sizes = [min(end, size) - first for first, end, size in zip(before, ends, made, strict=True)]
    return tf.slice(data, [0, *before, 0], [-1, *sizes, -1])


def _spread(kernel: Any, dilations: Sequence[int]) -> Any:  # noqa: ANN401
    """A kernel with its dilation written out as zeros: transposed convolutions know none."""
    for axis, dilation in enumerate(dilations):
        size = int(kernel.shape[axis])
        if dilation > 1 and size > 1:
            sizes = [int(n) for n in kernel.shape]
            lines = [*sizes[:axis], (size - 1) * dilation + 1, *sizes[axis + 1 :]]
            if isinstance(kernel, np.ndarray):
                spread = np.zeros(lines, kernel.dtype)
                spread[(slice(None),) * axis + (slice(None, None, dilation),)] = kernel
                kernel = spread
            else:
                kernel = tf.slice(_stuffed(kernel, axis, dilation), [0] * len(lines), lines)
    return kernel


def _mirrored(w: Any, groups: int) -> Any:  # noqa: ANN401
    """(in, out of a group, k...) as the kernel of the convolution that does the same."""
    sizes = [int(size) for size in w.shape]
    spatial = len(sizes) - 2
    parts = [groups, sizes[0] // groups, *sizes[1:]]
    axes = [*range(3, spatial + 3), 1, 0, 2]
    shape = [*sizes[2:], parts[1], groups * sizes[1]]
    if isinstance(w, np.ndarray):
        flipped = np.flip(w, tuple(range(2, spatial + 2)))
        return np.ascontiguousarray(flipped.reshape(parts).transpose(axes).reshape(shape))
    flipped = tf.reverse(w, list(range(2, spatial + 2)))
    return tf.reshape(tf.transpose(tf.reshape(flipped, parts), axes), shape)


def _stuffed(data: Any, axis: int, stride: int) -> Any:  # noqa: ANN401
    """``stride - 1`` zeros behind each element along an axis."""
    if stride == 1:
        return data
    sizes = sizes_of(data)
    inner = math.prod(int(size) for size in data.shape[axis + 1 :])
    flat = tf.pad(tf.reshape(data, [-1, inner]), [(0, 0), (0, (stride - 1) * inner)])
    return tf.reshape(flat, [*sizes[:axis], sizes[axis] * stride, *sizes[axis + 1 :]])


CONVOLUTION = {
    "Conv": Operator(conv, 22, "values"),
    # The ONNX project's reference is wrong with groups.
    "ConvTranspose": Operator(conv_transpose, 22, "values", folds=False),
}
