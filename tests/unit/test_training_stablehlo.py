"""Windows of any rank and operators of StableHLO: lifted as LiteRT computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flatbuffers_builder import FlatbufferBuilder
from hypothesis import given
from hypothesis import strategies as st
from lifting import Case, Make, Operand, check, constant, examples

pytestmark = pytest.mark.slow

Row = Callable[[Make], Case]
REDUCTIONS = ("ADD", "MUL", "MAXIMUM", "MINIMUM")  # what converters make of StableHLO's own
BODIES = ("STABLEHLO_ADD", "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM")


def _binary(name: str, *dtypes: str) -> Row:
    """Of the same shape: StableHLO does not broadcast."""
    def made(make: Make) -> Case:
        dtype, shape = make.pick(*dtypes), make.shape(1)
        return make.case(name, [make.of(dtype, shape), make.of(dtype, shape)], dtype)
    return made


def _shift_left(make: Make) -> Case:
    shape = make.shape(1)
    return make.case("STABLEHLO_SHIFT_LEFT", [make.integers(shape), make.integers(shape, 0, 8)],
                     "int32")


def _body(name: str, dtype: str = "float32") -> Callable[[FlatbufferBuilder], None]:
    """A second subgraph: how two values become one; without a name, the second stays."""
    def build(file: FlatbufferBuilder) -> None:
        file.subgraph("body")
        x, y = file.input("a", (), dtype), file.input("b", (), dtype)
        if name:
            result = file.tensor("c", (), dtype)
            options = {"ADD": "AddOptions", "MUL": "MulOptions"}.get(name)
            file.operator(name, [x, y], [result], options)
            file.output(result)
        else:
            file.output(y)
    return build


def _dilate(make: Make) -> Case:
    shape, dtype = make.shape(1), make.pick("float32", "int32")
    steps = constant([make.integer(1, 3) for _ in shape])
    return make.case("DILATE", [make.of(dtype, shape), steps, make.of(dtype, ())], dtype)


def _pad(make: Make) -> Case:
    """Negative padding takes elements away."""
    shape, dtype = make.shape(1, 3), make.pick("float32", "int32")
    inside = [make.integer(0, 2) for _ in shape]
    whole = [(size - 1) * (n + 1) + 1 for size, n in zip(shape, inside, strict=True)]
    low = [make.integer(-min(size - 1, 1), 2) for size in whole]
    high = [make.integer(-max(min(size + min(before, 0) - 1, 1), 0), 2)
            for size, before in zip(whole, low, strict=True)]
    return make.case("STABLEHLO_PAD", [make.of(dtype, shape), make.of(dtype, ())], dtype,
                     "StablehloPadOptions", edgePaddingLow=low, edgePaddingHigh=high,
                     interiorPadding=inside)


def _windows(make: Make, shape: Any) -> tuple[list[int], list[int], list[int]]:
    """Sizes, strides and dilations of windows that fit."""
    sizes, strides, dilations = [], [], []
    for whole in shape:
        dilation = make.integer(1, 2)
        sizes.append(make.integer(1, (whole - 1) // dilation + 1))
        strides.append(make.integer(1, 3))
        dilations.append(dilation)
    return sizes, strides, dilations


def _reduce_window(make: Make) -> Case:
    shape, function = make.shape(1, 3, 5), make.integer(1, 6)
    dtype = "bool" if function > 4 else make.pick("float32", "int32")
    numbers = [constant(numbers, "int64") for numbers in _windows(make, shape)]
    return make.case("REDUCE_WINDOW", [make.of(dtype, shape), make.of(dtype, ()), *numbers], dtype,
                     "ReduceWindowOptions", reduceFunction=function)


def _stablehlo_reduce_window(make: Make) -> Case:
    """The initial value pads, too."""
    shape, dtype = make.shape(1, 3, 5), make.pick("float32", "int32", "bool")
    body = make.pick(*BODIES, *REDUCTIONS) if dtype != "bool" else make.pick(
        "STABLEHLO_AND", "LOGICAL_AND", "LOGICAL_OR")
    pads = [[make.integer(0, 2), make.integer(0, 2)] for _ in shape]
    base = [make.integer(1, 2) for _ in shape]
    whole = [(size - 1) * step + 1 + sum(around)
             for size, step, around in zip(shape, base, pads, strict=True)]
    sizes, strides, dilations = _windows(make, whole)
    return make.case(
        "STABLEHLO_REDUCE_WINDOW", [make.of(dtype, shape), make.of(dtype, ())], dtype,
        "StablehloReduceWindowOptions", build=_body(body, dtype), windowDimensions=sizes,
        windowStrides=strides, windowDilations=dilations, baseDilations=base,
        padding=[n for around in pads for n in around], bodySubgraphIndex=1)


def _indices(make: Make, shape: Any, axis: int, high: Any) -> Operand:
    """Vectors of indices along ``axis``, which LiteRT needs also where there is one."""
    batched = make.flag()
    rows = [make.integers(shape, 0, most, "int32", batched, constant=False).values
            for most in high]
    return Operand(np.stack(rows, axis + int(batched)), batched, constant=make.flag())


def _gather(make: Make) -> Case:
    """Windows anywhere, also where they would reach over the edge."""
    shape = make.shape(1, 3, 4)
    sizes = [make.integer(1, size) for size in shape]
    axes = make.order(len(shape))[: make.integer(1, len(shape))]
    collapsed = [axis for axis, size in enumerate(sizes) if size == 1 and make.flag()]
    places = make.shape(1, 2, 3)
    axis = make.integer(0, len(places))
    indices = _indices(make, places, axis, [shape[i] for i in axes])
    rank = len(places) + len(shape) - len(collapsed)
    offsets = sorted(make.order(rank)[: len(shape) - len(collapsed)])
    dtype = make.pick("float32", "int32")
    return make.case(
        "STABLEHLO_GATHER", [make.of(dtype, shape), indices], dtype, "StablehloGatherOptions",
        offsetDims=offsets, collapsedSliceDims=collapsed, startIndexMap=axes,
        indexVectorDim=axis, sliceSizes=sizes)


def _scatter(make: Make) -> Case:
    """Windows anywhere; elements that fall outside are left out, and some places meet twice."""
    shape = make.shape(1, 3, 4)
    inserted = [axis for axis in range(len(shape)) if make.flag()]
    sizes = [make.integer(1, size) for axis, size in enumerate(shape) if axis not in inserted]
    axes = make.order(len(shape))[: make.integer(1, len(shape))]
    places = make.shape(1, 2, 3)
    axis = make.integer(0, len(places))
    indices = _indices(make, places, axis, [shape[i] for i in axes])
    rank = len(places) + len(sizes)
    windows = sorted(make.order(rank)[: len(sizes)])
    outer, inner = iter(places), iter(sizes)
    updates = [next(inner if i in windows else outer) for i in range(rank)]
    body, dtype = make.pick("", *BODIES), make.pick("float32", "int32")
    return make.case(
        "STABLEHLO_SCATTER", [make.of(dtype, shape), indices, make.of(dtype, updates)], dtype,
        "StablehloScatterOptions", build=_body(body, dtype), updateWindowDims=windows,
        insertedWindowDims=inserted, scatterDimsToOperandDims=axes, indexVectorDim=axis,
        updateComputationSubgraphIndex=1)


CASES: Mapping[str, Row] = {
    "DILATE": _dilate,
    "REDUCE_WINDOW": _reduce_window,
    "STABLEHLO_ADD": _binary("STABLEHLO_ADD", "float32", "int32"),
    "STABLEHLO_AND": _binary("STABLEHLO_AND", "int32", "bool"),
    "STABLEHLO_GATHER": _gather,
    "STABLEHLO_MAXIMUM": _binary("STABLEHLO_MAXIMUM", "float32", "int32"),
    "STABLEHLO_MINIMUM": _binary("STABLEHLO_MINIMUM", "float32", "int32"),
    "STABLEHLO_MULTIPLY": _binary("STABLEHLO_MULTIPLY", "float32", "int32"),
    "STABLEHLO_PAD": _pad,
    "STABLEHLO_REDUCE_WINDOW": _stablehlo_reduce_window,
    "STABLEHLO_SCATTER": _scatter,
    "STABLEHLO_SHIFT_LEFT": _shift_left,
}


@pytest.mark.parametrize("name", sorted(CASES))
@examples(10)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))
