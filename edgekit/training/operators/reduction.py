"""Reductions along axes, running sums and orders."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from edgekit.training.values import Node, axes_of


def _reduced(function: Callable[..., Any]) -> Callable[[Node], Any]:
    def lift(node: Node) -> Any:
        axes = axes_of(node.static(1), node.rank(0)) if node.rank(0) else []
        keep = bool(node.options and node.options.keepDims)
        return function(node.full(0), axis=axes, keepdims=keep) if axes else node.full(0)
    return lift


def _extreme_index(function: Callable[..., Any]) -> Callable[[Node], Any]:
    def lift(node: Node) -> Any:
        (axis,) = axes_of(node.static(1), node.rank(0))
        return function(node.full(0), axis=axis, output_type=tf.as_dtype(node.output_dtype()))
    return lift


def _cumsum(node: Node) -> Any:
    (axis,) = axes_of(node.static(1), node.rank(0))
    return tf.cumsum(node.full(0), axis, exclusive=bool(node.options.exclusive),
                     reverse=bool(node.options.reverse))


def _top_k(node: Node) -> list[Any]:
    count = int(node.static(1).reshape(()))
    return list(tf.math.top_k(node.full(0), count, index_type=tf.int32))


REDUCTIONS: Mapping[str, Callable[[Node], Any]] = {
    "ARG_MAX": _extreme_index(tf.argmax),
    "ARG_MIN": _extreme_index(tf.argmin),
    "CUMSUM": _cumsum,
    "MEAN": _reduced(tf.reduce_mean),
    "REDUCE_ALL": _reduced(tf.reduce_all),
    "REDUCE_ANY": _reduced(tf.reduce_any),
    "REDUCE_MAX": _reduced(tf.reduce_max),
    "REDUCE_MIN": _reduced(tf.reduce_min),
    "REDUCE_PROD": _reduced(tf.reduce_prod),
    "SUM": _reduced(tf.reduce_sum),
    "TOPK_V2": _top_k,
}
