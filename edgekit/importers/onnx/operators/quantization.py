"""Quantized tensors and integer arithmetic."""

from edgekit.importers.onnx.node import Operator

QUANTIZATION: dict[str, Operator] = {}
