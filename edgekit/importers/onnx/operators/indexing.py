"""Gathering, scattering, selecting."""

from edgekit.importers.onnx.node import Operator

INDEXING: dict[str, Operator] = {}
