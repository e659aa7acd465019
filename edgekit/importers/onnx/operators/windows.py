"""Windows that slide over an image's axes: of convolutions and of pooling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from edgekit.importers.onnx.node import Node
from edgekit.importers.onnx.values import sizes_of, static_shape

Pads = list[tuple[int, int]]
Sizes = Sequence[int | None]

_MOST_PADDED = 3  # spatial axes: PAD takes five axes in all


@dataclass(frozen=True)
class Window:
    """A window sliding along one axis.

    Attributes:
        size: The axis' own size.
        kernel: How many elements it looks at.
        stride: How far it moves.
        dilation: How far apart its elements are.
        before: Padding in front.
        after: Padding behind, as the model says.
        outputs: How often it is put down.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    outputs: int

    @property
    def extent(self) -> int:
        """From its first element to its last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def needed(self) -> tuple[int, int]:
        """The padding that the windows reach into."""
        end = (self.outputs - 1) * self.stride + self.extent
        return self.before, max(end - self.size - self.before, 0)

    @property
    def is_same(self) -> bool:
        """Whether TensorFlow's SAME puts the windows down at the same places."""
        return (self.needed == _same(self.size, self.extent, self.stride)
                and self.outputs == math.ceil(self.size / self.stride))


def pooling_windows(node: Node, sizes: Sequence[int]) -> list[Window]:
    """The windows of a pooling operator, with its rounding of the number of outputs."""
    spatial = len(sizes)
    kernel = node.attr("kernel_shape")
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    pads = paddings(node, sizes, kernel, strides, dilations)
    up = bool(node.attr("ceil_mode", 0)) and node.attr("auto_pad", "NOTSET") in ("NOTSET", "")
    windows = []
    for size, k, stride, dilation, (before, after) in zip(
            sizes, kernel, strides, dilations, pads, strict=True):
        room = size + before + after - (k - 1) * dilation - 1
        outputs = (math.ceil(room / stride) if up else room // stride) + 1
        if up and (outputs - 1) * stride >= size + before:
            outputs -= 1  # it would start in the padding behind
        if outputs < 1:
            raise node.error(f"has a window of {(k - 1) * dilation + 1} elements that does not "
                             f"fit into {size + before + after}")
        windows.append(Window(size, k, stride, dilation, before, after, outputs))
    return windows


def paddings(
    node: Node, sizes: Sizes, kernel: Sequence[Any], strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:  # fmt: skip
    """Padding in front of and behind each spatial axis.

    Raises:
        EdgekitError: It depends on a size that is not known.
    """
    mode = node.attr("auto_pad", "NOTSET")
    spatial = len(sizes)
    if mode in ("NOTSET", "VALID", ""):
        pads = node.attr("pads", [0] * 2 * spatial) if mode != "VALID" else [0] * 2 * spatial
        return list(zip(pads[:spatial], pads[spatial:], strict=True))
    result = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if size is None and stride > 1:
            raise node.error("pads by auto_pad an axis whose size is not known",
                             "fix the size with --input-shape")
        small, large = _same(size or 1, (k - 1) * dilation + 1, stride)
        result.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return result


def padded(
    data: Any, pads: Pads, sizes: Sizes, extents: Sequence[int], strides: Sequence[int],  # noqa: ANN401
) -> tuple[Any, str]:
    """The data and the mode that together give this padding: SAME where that is the same.

    Padding behind that no window reaches is left out.
    """
    pads = [_reached(*item) for item in zip(pads, sizes, extents, strides, strict=True)]
    if not any(map(any, pads)):
        return data, "VALID"
    same = [(-1, -1) if size is None and stride > 1 else _same(size or 1, extent, stride)
            for size, extent, stride in zip(sizes, extents, strides, strict=True)]
    return (data, "SAME") if same == pads else (bordered(data, pads), "VALID")


def bordered(data: Any, pads: Pads, fill: float = 0.0) -> Any:  # noqa: ANN401
    """Channels-last data with a border; negative padding cuts off."""
    if any(item < 0 for pair in pads for item in pair):
        data = data[(slice(None), *(slice(max(-before, 0), -max(-after, 0) or None)
                                    for before, after in pads))]
    pads = [(max(before, 0), max(after, 0)) for before, after in pads]
    if not any(map(any, pads)):
        return data
    if len(pads) <= _MOST_PADDED:
        return _filled(data, [(0, 0), *pads, (0, 0)], fill)
    for axis, pair in enumerate(pads, 1):
        sizes = sizes_of(data)
        inner = math.prod(sizes[axis + 1 :])
        flat = _filled(tf.reshape(data, [-1, sizes[axis], inner]), [(0, 0), pair, (0, 0)], fill)
        data = tf.reshape(flat, [*sizes[:axis], sizes[axis] + sum(pair), *sizes[axis + 1 :]])
    return data


def _filled(data: Any, around: Pads, fill: float) -> Any:  # noqa: ANN401
    # A fill of zero is PAD, which the runtime fuses into the convolution behind it; others PADV2.
    return tf.pad(data, around, constant_values=fill) if fill else tf.pad(data, around)


def _same(size: int, extent: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's SAME puts in front and behind."""
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _reached(pad: tuple[int, int], size: int | None, extent: int, stride: int) -> tuple[int, int]:
    before, after = pad
    if size is None:
        return pad
    outputs = (size + before + after - extent) // stride + 1
    return before, min(after, max((outputs - 1) * stride + extent - size - before, 0))


def known_sizes(node: Node, sizes: Sizes) -> list[int]:
    """Spatial sizes where all have to be known.

    Raises:
        EdgekitError: One is not.
    """
    if None in sizes:
        raise node.error("works on an image whose size is not known at import",
                         "fix the size with --input-shape")
    return [int(size or 0) for size in sizes]


def reshaped(data: Any, sizes: Sequence[Any]) -> Any:  # noqa: ANN401
    """A reshape, left out where it changes nothing."""
    return data if static_shape(data) == tuple(sizes) else tf.reshape(data, sizes)
