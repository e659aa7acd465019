"""Recurrent layers."""

from edgekit.importers.onnx.node import Operator

RECURRENT: dict[str, Operator] = {}
