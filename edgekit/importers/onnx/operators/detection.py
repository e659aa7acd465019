"""Boxes."""

from edgekit.importers.onnx.node import Operator

DETECTION: dict[str, Operator] = {}
