"""Spectra and windows."""

from edgekit.importers.onnx.node import Operator

SIGNAL: dict[str, Operator] = {}
