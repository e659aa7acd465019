"""Cutting, joining, padding, casting and making of tensors."""

from edgekit.importers.onnx.node import Operator

ASSEMBLING: dict[str, Operator] = {}
