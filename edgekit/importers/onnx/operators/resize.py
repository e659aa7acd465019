"""Resampling and rearranging of images."""

from edgekit.importers.onnx.node import Operator

RESIZE: dict[str, Operator] = {}
