"""Reductions, softmax, sorting, cumulative sums and losses."""

from edgekit.importers.onnx.node import Operator

REDUCTION: dict[str, Operator] = {}
