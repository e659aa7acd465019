"""Attention."""

from edgekit.importers.onnx.node import Operator

ATTENTION: dict[str, Operator] = {}
