"""How each operator of LiteRT is computed with TensorFlow: one file and dict per family.

A lift takes a ``Node`` and gives its results with the samples along the first axis. It says the
same as LiteRT's kernel, forwards, and TensorFlow knows its gradient. Specification: the kernels
(``tflite/kernels/*.cc``) and the converter's definitions (``tfl_ops.td``).
"""

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.training.operators.activations import ACTIVATIONS
from edgekit.training.operators.control import CONTROL
from edgekit.training.operators.convolution import CONVOLUTIONS
from edgekit.training.operators.dense import DENSE
from edgekit.training.operators.elementwise import ELEMENTWISE
from edgekit.training.operators.gathering import GATHERING
from edgekit.training.operators.joining import JOINING
from edgekit.training.operators.pooling import POOLING
from edgekit.training.operators.reduction import REDUCTIONS
from edgekit.training.operators.resizing import RESIZING
from edgekit.training.operators.shaping import SHAPING
from edgekit.training.values import Node

Lift = Callable[[Node], Any]

LIFTS: Mapping[str, Lift] = {
    **ACTIVATIONS,
    **RESIZING,
    **REDUCTIONS,
    **POOLING,
    **JOINING,
    **GATHERING,
    **CONTROL,
    **CONVOLUTIONS,
    **DENSE,
    **ELEMENTWISE,
    **SHAPING,
}
