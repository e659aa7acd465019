"""Padding inside and outside, and reductions over windows of any rank."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.schema_py_generated import ReduceWindowFunction
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.training.values import Node

# By the only operator of the body: StableHLO's own, or what a converter has made of it.
_REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "ADD": tf.reduce_sum,
    "LOGICAL_AND": tf.reduce_all,
    "LOGICAL_OR": tf.reduce_any,
    "MAXIMUM": tf.reduce_max,
    "MINIMUM": tf.reduce_min,
    "MUL": tf.reduce_prod,
    "STABLEHLO_ADD": tf.reduce_sum,
    "STABLEHLO_AND": tf.reduce_all,
    "STABLEHLO_MAXIMUM": tf.reduce_max,
    "STABLEHLO_MINIMUM": tf.reduce_min,
    "STABLEHLO_MULTIPLY": tf.reduce_prod,
}
_FUNCTIONS: Mapping[int, Callable[..., Any]] = {
    ReduceWindowFunction.ADD: tf.reduce_sum,
    ReduceWindowFunction.ALL: tf.reduce_all,
    ReduceWindowFunction.ANY: tf.reduce_any,
    ReduceWindowFunction.MAXIMUM: tf.reduce_max,
    ReduceWindowFunction.MINIMUM: tf.reduce_min,
    ReduceWindowFunction.MUL: tf.reduce_prod,
}


def _scalar(node: Node, index: int, rank: int) -> Any:
    """One number for each sample, with as many axes as a tensor of that rank."""
    return tf.reshape(node.full(index), [-1, *[1] * rank])


def _padded(
    x: Any, value: Any, low: Sequence[int], high: Sequence[int], inside: Sequence[int]
) -> Any:
    """A value around the elements and between them.

    Args:
        x: ``(samples, ...)``.
        value: Of one element, with as many axes.
        low: How many go before the first element of each axis behind the samples; a negative
            number takes elements away.
        high: The same behind the last.
        inside: How many go between two.
    """
    for axis, (before, behind, between) in enumerate(zip(low, high, inside, strict=True), 1):
        if before or behind or between:
            places = _places(x.shape[axis], before, behind, between)
            shape = [places.size if i == axis else 1 for i in range(len(x.shape))]
            x = tf.where(np.reshape(places >= 0, shape),
                         tf.gather(x, np.maximum(places, 0), axis=axis), value)
    return x


def _places(size: int, before: int, behind: int, between: int) -> NDArray[np.int32]:
    """Which element goes to each place of a padded axis; -1 for the padding."""
    places = np.full((size - 1) * (between + 1) + 1, -1, np.int32)
    places[:: between + 1] = np.arange(size)
    places = np.concatenate([np.full(max(before, 0), -1, np.int32), places,
                             np.full(max(behind, 0), -1, np.int32)])
    return places[max(-before, 0): places.size - max(-behind, 0)]


def _dilate(node: Node) -> Any:
    """Inputs: value, step for each axis, what goes in between."""
    inside = [int(step) - 1 for step in node.static(1)]
    nothing = [0] * len(inside)
    return _padded(node.full(0), _scalar(node, 2, node.rank(0)), nothing, nothing, inside)


def _pad(node: Node) -> Any:
    options = node.options
    return _padded(node.full(0), _scalar(node, 1, node.rank(0)), *(
        [int(size) for size in sizes] for sizes in (
            options.edgePaddingLow, options.edgePaddingHigh, options.interiorPadding)))


def _windowed(
    x: Any, reduce: Callable[..., Any], sizes: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int],
) -> Any:
    """A reduction over each window: axis by axis, as a window is the product of its axes."""
    for axis, (size, stride, dilation) in enumerate(
            zip(sizes, strides, dilations, strict=True), 1):
        if size == 1 and stride == 1:
            continue
        count = (x.shape[axis] - (size - 1) * dilation - 1) // stride + 1
        places = np.arange(count)[:, None] * stride + np.arange(size) * dilation
        x = reduce(tf.gather(x, places, axis=axis), axis=axis + 1)
    return x


def _with_start(reduce: Callable[..., Any], x: Any, start: Any) -> Any:
    """The initial value counts once for each window."""
    return reduce(tf.stack([x, tf.broadcast_to(start, tf.shape(x))]), axis=0)


def _reduce_window(node: Node) -> Any:
    """Inputs: value, initial value, sizes, strides, dilations of the window."""
    reduce = _FUNCTIONS[node.options.reduceFunction]
    sizes, strides, dilations = ([int(n) for n in node.static(i)] for i in (2, 3, 4))
    return _with_start(reduce, _windowed(node.full(0), reduce, sizes, strides, dilations),
                       _scalar(node, 1, node.rank(0)))


def _stablehlo_reduce_window(node: Node) -> Any:
    """The initial value pads, too."""
    options, rank = node.options, node.rank(0)
    reduce = body_of(node, options.bodySubgraphIndex, _REDUCTIONS)
    start = _scalar(node, 1, rank)

    def given(numbers: Any, default: int, count: int = rank) -> list[int]:
        return [default] * count if numbers is None else [int(n) for n in numbers]

    pads = given(options.padding, 0, 2 * rank)
    between = [n - 1 for n in given(options.baseDilations, 1)]
    x = _padded(node.full(0), start, pads[::2], pads[1::2], between)
    x = _windowed(x, reduce, given(options.windowDimensions, 1), given(options.windowStrides, 1),
                  given(options.windowDilations, 1))
    return _with_start(reduce, x, start)


def body_of(node: Node, index: int, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The function for the subgraph that says how two values become one.

    Args:
        node: The operator.
        index: Of the subgraph.
        known: Functions by the name of its only operator; by the empty name, if it has none.

    Raises:
        EdgekitError: LiteRT itself computes no others.
    """
    names = [operator.name for operator in node.graph.subgraph(index).operators]
    name = ", ".join(names)
    if name not in known:
        raise EdgekitError(f"{node.where} combines values by {name or 'nothing'}, which LiteRT "
                           "does not compute")
    return known[name]


def strides_of(shape: Sequence[int]) -> NDArray[np.int64]:
    """How far apart neighbours along each axis are in a flat tensor."""
    return np.array([math.prod(shape[axis + 1:]) for axis in range(len(shape))], np.int64)


WINDOWS: Mapping[str, Callable[[Node], Any]] = {
    "DILATE": _dilate,
    "REDUCE_WINDOW": _reduce_window,
    "STABLEHLO_PAD": _pad,
    "STABLEHLO_REDUCE_WINDOW": _stablehlo_reduce_window,
}
