"""Formulas that exporters wrote out, and for which there is one kernel: GELU.

Versions of ONNX before 20 have no Gelu; every transformer spells x·½·(1 + erf(x/√2)) in its own
order of factors. Whenever a product is made, it is looked at whether that completes one; what was
computed for it until then is used by nothing any more and goes away.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.operators.computing import Array

_MARK = "_erf_of"
_PRODUCTS = frozenset({"Mul", "RealDiv"})
_MAX_FACTORS = 4


def marked_erf(result: Array, x: Array) -> Array:
    """Note on a tensor which tensor it is the error function of."""
    marked = tf.identity(result)
    if hasattr(x, "op"):
        marked.op._set_attr(_MARK, tf.compat.v1.AttrValue(s=x.name.encode()))  # noqa: SLF001
    return marked


@dataclass
class _Product:
    """Factors of a product: tensors, and all constant scalars as one number."""

    tensors: list[Any] = field(default_factory=list)
    number: float = 1.0


def gelu_if_one(x: Array) -> Array:
    """Gelu in place of the product that it is written out as; else the product itself."""
    found = _factors(x)
    if found is None or len(found.tensors) != 2 or not math.isclose(found.number, 0.5,
                                                                    rel_tol=1e-4):
        return x
    for first, second in (found.tensors, found.tensors[::-1]):
        argument = _erf_argument(second)
        if argument is not None:
            inner = _factors(argument) or _Product([argument])
            if [t.name for t in inner.tensors] == [first.name] and math.isclose(
                    inner.number, math.sqrt(0.5), rel_tol=1e-4):
                return tf.nn.gelu(first, approximate=False)
    return x


def _erf_argument(x: Any) -> Any:  # noqa: ANN401
    """y, where x is 1 + erf(y)."""
    if x.op.type != "AddV2":
        return None
    for one, other in (x.op.inputs, list(x.op.inputs)[::-1]):
        if _number(one) == 1.0 and other.op.type == "Identity" and _MARK in other.op.node_def.attr:
            name = other.op.get_attr(_MARK).decode()
            return other.graph.get_tensor_by_name(name)
    return None


def _factors(x: Any) -> _Product | None:  # noqa: ANN401
    """What a product is made of, down to what is none; None where that is too much."""
    if not hasattr(x, "op") or x.op.type not in _PRODUCTS:
        return None
    product, open_ = _Product(), [x]
    while open_:
        tensor = open_.pop()
        number = _number(tensor)
        if number is not None:
            product.number *= number
        elif tensor.op.type == "Mul":
            open_ += tensor.op.inputs
        elif tensor.op.type == "RealDiv" and _number(tensor.op.inputs[1]):
            product.number /= _number(tensor.op.inputs[1]) or 1.0
            open_.append(tensor.op.inputs[0])
        else:
            product.tensors.append(tensor)
        if len(product.tensors) + len(open_) > _MAX_FACTORS:
            return None
    return product


def _number(x: Any) -> float | None:  # noqa: ANN401
    """The value of a constant with one element."""
    if x.op.type != "Const" or x.shape.num_elements() != 1:
        return None
    value = np.asarray(tf.get_static_value(x))
    return float(value.reshape(-1)[0]) if value.dtype.kind == "f" else None
