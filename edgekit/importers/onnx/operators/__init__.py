"""The table of operators: one row each, with the version of the specification that it follows.

Keys are ONNX's names; of other domains "domain:Name". An operator without a row is expanded into
the ONNX project's own definition of it, where there is one.
"""

from edgekit.importers.onnx.node import Operator
from edgekit.importers.onnx.operators.convolution import CONVOLUTION
from edgekit.importers.onnx.operators.elementwise import ELEMENTWISE
from edgekit.importers.onnx.operators.layout import LAYOUT
from edgekit.importers.onnx.operators.matmul import MATMUL

OPERATORS: dict[str, Operator] = {
    **CONVOLUTION,
    **ELEMENTWISE,
    **LAYOUT,
    **MATMUL,
}
