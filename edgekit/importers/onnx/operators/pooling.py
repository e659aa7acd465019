"""Pooling."""

from edgekit.importers.onnx.node import Operator

POOLING: dict[str, Operator] = {}
