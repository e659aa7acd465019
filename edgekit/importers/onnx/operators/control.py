"""Branches and loops."""

from edgekit.importers.onnx.node import Operator

CONTROL: dict[str, Operator] = {}
