"""The table of operators: one row each, with the version of the specification that it follows.

Keys are ONNX's names; of other domains "domain:Name". An operator without a row is expanded into
the ONNX project's own definition of it, where there is one.
"""

from edgekit.importers.onnx.node import Operator
from edgekit.importers.onnx.operators.activations import ACTIVATIONS
from edgekit.importers.onnx.operators.algebra import ALGEBRA
from edgekit.importers.onnx.operators.assembling import ASSEMBLING
from edgekit.importers.onnx.operators.attention import ATTENTION
from edgekit.importers.onnx.operators.blocks import BLOCKS
from edgekit.importers.onnx.operators.control import CONTROL
from edgekit.importers.onnx.operators.convolution import CONVOLUTION
from edgekit.importers.onnx.operators.detection import DETECTION
from edgekit.importers.onnx.operators.elementwise import ELEMENTWISE
from edgekit.importers.onnx.operators.indexing import INDEXING
from edgekit.importers.onnx.operators.integer import INTEGER
from edgekit.importers.onnx.operators.layout import LAYOUT
from edgekit.importers.onnx.operators.making import MAKING
from edgekit.importers.onnx.operators.matmul import MATMUL
from edgekit.importers.onnx.operators.normalization import NORMALIZATION
from edgekit.importers.onnx.operators.padding import PADDING
from edgekit.importers.onnx.operators.pooling import POOLING
from edgekit.importers.onnx.operators.quantization import QUANTIZATION
from edgekit.importers.onnx.operators.quantized_contrib import QUANTIZED_CONTRIB
from edgekit.importers.onnx.operators.recurrent import RECURRENT
from edgekit.importers.onnx.operators.reduction import REDUCTION
from edgekit.importers.onnx.operators.regions import REGIONS
from edgekit.importers.onnx.operators.resize import RESIZE
from edgekit.importers.onnx.operators.sampling import SAMPLING
from edgekit.importers.onnx.operators.scattering import SCATTERING
from edgekit.importers.onnx.operators.sequences import SEQUENCES
from edgekit.importers.onnx.operators.signal import SIGNAL
from edgekit.importers.onnx.operators.softmax import SOFTMAX
from edgekit.importers.onnx.operators.sorting import SORTING
from edgekit.importers.onnx.operators.unique import UNIQUE

OPERATORS: dict[str, Operator] = {
    **ACTIVATIONS,
    **ALGEBRA,
    **ASSEMBLING,
    **ATTENTION,
    **BLOCKS,
    **CONTROL,
    **CONVOLUTION,
    **DETECTION,
    **ELEMENTWISE,
    **INDEXING,
    **INTEGER,
    **LAYOUT,
    **MAKING,
    **MATMUL,
    **NORMALIZATION,
    **PADDING,
    **POOLING,
    **QUANTIZATION,
    **QUANTIZED_CONTRIB,
    **RECURRENT,
    **REDUCTION,
    **REGIONS,
    **RESIZE,
    **SAMPLING,
    **SCATTERING,
    **SEQUENCES,
    **SIGNAL,
    **SOFTMAX,
    **SORTING,
    **UNIQUE,
}
