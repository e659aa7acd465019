"""onnxruntime's own operators (domain com.microsoft) that its graph optimizer makes."""

from edgekit.importers.onnx.node import Operator

CONTRIB: dict[str, Operator] = {}
