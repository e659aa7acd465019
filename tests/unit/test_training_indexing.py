"""Reductions, orders and indices: lifted as LiteRT computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifting import Case, Make, Operand, check, constant

pytestmark = pytest.mark.slow

Row = Callable[[Make], Case]
INT32, INT64 = 2, 4  # of the schema's TensorType


def _reduced(name: str, *dtypes: str) -> Row:
    def made(make: Make) -> Case:
        dtype, shape = make.pick(*dtypes), make.shape(0)
        axes = make.subset(len(shape))
        if len(axes) == 1 and make.flag():
            axes = axes[0]
        return make.case(name, [make.of(dtype, shape), constant(axes)], dtype, "ReducerOptions",
                         keepDims=make.flag())
    return made


def _extreme_index(name: str, options: str) -> Row:
    """Of equal values the first."""
    def made(make: Make) -> Case:
        shape, wide = make.shape(1), make.flag()
        x = make.integers(shape, 0, 3, make.pick("int32", "float32"))
        axis = make.axis(len(shape))
        return make.case(name, [x, constant(make.pick(axis, [axis]))],
                         "int64" if wide else "int32", options, outputType=INT64 if wide else INT32)
    return made


def _cumsum(make: Make) -> Case:
    dtype, shape = make.pick("float32", "int32", "int64"), make.shape(1)
    return make.case("CUMSUM", [make.of(dtype, shape), constant(make.axis(len(shape)))], dtype,
                     "CumsumOptions", exclusive=make.flag(), reverse=make.flag())


def _top_k(make: Make) -> Case:
    """Of equal values the first comes first."""
    shape, dtype = make.shape(1), make.pick("float32", "int32", "int64")
    x = make.integers(shape, 0, 3, dtype) if make.flag() else make.of(dtype, shape)
    return make.case("TOPK_V2", [x, constant(make.integer(1, shape[-1]))], [dtype, "int32"],
                     gradient=dtype == "float32" and len(np.unique(x.values)) == x.values.size)


def _gather(make: Make) -> Case:
    """Along any axis, with as many batch axes as both have in common."""
    shape = make.shape(1)
    axis = make.integer(0, len(shape) - 1)
    batch = make.integer(0, axis)
    indices = (*shape[:batch], *make.shape(0, 2, 3))
    dtype = make.pick("float32", "int32", "int64", "bool")
    return make.case(
        "GATHER", [make.of(dtype, shape),
                   make.integers(indices, 0, shape[axis] - 1, make.pick("int32", "int64"))],
        dtype, "GatherOptions", axis=make.pick(axis, axis - len(shape)), batchDims=batch)


def _indices(make: Make, shape: Any, depth: int, dtype: str, batched: bool) -> Operand:
    """``(*shape, depth)``: each a place in the first axes of something of size 3."""
    return make.integers((*shape, depth), 0, 2, dtype, batched=batched)


def _gather_nd(make: Make) -> Case:
    rank = make.integer(1, 4)
    dtype = make.pick("float32", "int32", "int64", "bool")
    indices = _indices(make, make.shape(0, 2, 3), make.integer(1, rank),
                       make.pick("int32", "int64"), make.flag())
    return make.case("GATHER_ND", [make.of(dtype, (3,) * rank), indices], dtype)


def _one_hot(make: Make) -> Case:
    """Indices that are out of range give a row without the value."""
    shape, dtype = make.shape(0, 3), make.pick("float32", "int32", "int64", "bool")
    axis = make.pick(-1, *range(len(shape) + 1))
    return make.case(
        "ONE_HOT", [make.integers(shape, -1, 4, make.pick("int32", "int64")),
                    constant(make.integer(1, 4)),
                    make.of(dtype, ()), make.of(dtype, ())],
        dtype, "OneHotOptions", axis=axis)


def _scatter_nd(make: Make) -> Case:
    """Places that occur more than once are summed."""
    shape, depth = (3,) * make.integer(1, 3), make.integer(1, 3)
    depth = min(depth, len(shape))
    dtype, kind = make.pick("float32", "int32", "int64"), "int32"
    indices = _indices(make, make.shape(1, 2, 3), depth, kind, make.flag())
    updates = (*indices.of(0).shape[:-1], *shape[depth:])
    return make.case("SCATTER_ND", [indices, make.of(dtype, updates), make.shared(shape, kind)],
                     dtype)


def _segment_sum(make: Make) -> Case:
    rows, dtype = make.integer(1, 5), make.pick("float32", "int32")
    numbers = np.cumsum([0, *(make.integer(0, 1) for _ in range(rows - 1))])
    return make.case("SEGMENT_SUM", [make.of(dtype, (rows, *make.shape(0, 2))), constant(numbers)],
                     dtype)


def _unsorted(name: str) -> Row:
    """Each sample may have its own segments; -1 is none."""
    def made(make: Make) -> Case:
        shape, dtype = make.shape(1), make.pick("float32", "int32")
        numbers = make.integers(shape[: make.integer(1, len(shape))], 0, 3)
        return make.case(name, [make.of(dtype, shape), numbers, constant(4)], dtype)
    return made


def _embedding_lookup(make: Make) -> Case:
    rows = make.integer(1, 4)
    return make.case("EMBEDDING_LOOKUP", [make.integers(make.shape(1, 1), 0, rows - 1),
                                          make.weights((rows, *make.shape(1, 3)))])


CASES: Mapping[str, Row] = {
    "ARG_MAX": _extreme_index("ARG_MAX", "ArgMaxOptions"),
    "ARG_MIN": _extreme_index("ARG_MIN", "ArgMinOptions"),
    "CUMSUM": _cumsum,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "MEAN": _reduced("MEAN", "float32", "int32", "int64"),
    "ONE_HOT": _one_hot,
    "REDUCE_ALL": _reduced("REDUCE_ALL", "bool"),
    "REDUCE_ANY": _reduced("REDUCE_ANY", "bool"),
    "REDUCE_MAX": _reduced("REDUCE_MAX", "float32", "int32", "int64"),
    "REDUCE_MIN": _reduced("REDUCE_MIN", "float32", "int32", "int64"),
    "REDUCE_PROD": _reduced("REDUCE_PROD", "float32", "int32", "int64"),
    "SCATTER_ND": _scatter_nd,
    "SEGMENT_SUM": _segment_sum,
    "SUM": _reduced("SUM", "float32", "int32", "int64"),
    "TOPK_V2": _top_k,
    "UNSORTED_SEGMENT_MAX": _unsorted("UNSORTED_SEGMENT_MAX"),
    "UNSORTED_SEGMENT_MIN": _unsorted("UNSORTED_SEGMENT_MIN"),
    "UNSORTED_SEGMENT_PROD": _unsorted("UNSORTED_SEGMENT_PROD"),
    "UNSORTED_SEGMENT_SUM": _unsorted("UNSORTED_SEGMENT_SUM"),
}


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))
