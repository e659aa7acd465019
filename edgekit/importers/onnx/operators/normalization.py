"""Normalizations."""

from edgekit.importers.onnx.node import Operator

NORMALIZATION: dict[str, Operator] = {}
