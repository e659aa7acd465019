"""How each operator of LiteRT is computed with TensorFlow: one file and dict per family.

A lift takes a ``Node`` and gives its results with the samples along the first axis. It says the
same as LiteRT's kernel, forwards, and TensorFlow knows its gradient. Specification: the kernels
(``tflite/kernels/*.cc``) and the converter's definitions (``tfl_ops.td``).

Left out, and refused by name:

- State from one inference to the next: ``CALL_ONCE``, ``VAR_HANDLE``, ``READ_VARIABLE``,
  ``ASSIGN_VARIABLE``, the hash tables. (The states of recurrent operators begin at zero.)
- What is no longer float: ``QUANTIZE``, ``DEQUANTIZE``, ``DENSIFY``.
- Chance, of which training would see another draw than the device: ``RANDOM_UNIFORM``,
  ``RANDOM_STANDARD_NORMAL``, ``MULTINOMIAL``, ``STABLEHLO_RNG_BIT_GENERATOR``.
- Text and hashes: ``SKIP_GRAM``, ``HASHTABLE_LOOKUP``, ``LSH_PROJECTION``; and
  ``EMBEDDING_LOOKUP_SPARSE``, which no converter makes from a layer of today.
- What LiteRT has in its schema but no kernel for: ``CALL``, ``CONCAT_EMBEDDINGS``, most of
  ``STABLEHLO_*`` (``SORT``, ``CONVOLUTION``, ``COMPARE`` and so on: such files do not run).
- ``CUSTOM`` and ``DELEGATE``: only their own code knows what they compute.
"""

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.training.operators.activations import ACTIVATIONS
from edgekit.training.operators.control import CONTROL
from edgekit.training.operators.convolution import CONVOLUTIONS
from edgekit.training.operators.dense import DENSE
from edgekit.training.operators.detection import DETECTION
from edgekit.training.operators.elementwise import ELEMENTWISE
from edgekit.training.operators.gathering import GATHERING
from edgekit.training.operators.joining import JOINING
from edgekit.training.operators.pooling import POOLING
from edgekit.training.operators.recurrent import RECURRENT
from edgekit.training.operators.reduction import REDUCTIONS
from edgekit.training.operators.resizing import RESIZING
from edgekit.training.operators.shaping import SHAPING
from edgekit.training.operators.stablehlo import STABLEHLO
from edgekit.training.operators.windows import WINDOWS
from edgekit.training.values import Node

Lift = Callable[[Node], Any]

LIFTS: Mapping[str, Lift] = {
    **ACTIVATIONS,
    **CONTROL,
    **CONVOLUTIONS,
    **DENSE,
    **DETECTION,
    **ELEMENTWISE,
    **GATHERING,
    **JOINING,
    **POOLING,
    **RECURRENT,
    **REDUCTIONS,
    **RESIZING,
    **SHAPING,
    **STABLEHLO,
    **WINDOWS,
}
