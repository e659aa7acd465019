"""Reductions, orders and indices: lifted as LiteRT computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifting import SAMPLES, Case, Make, Operand, check, constant, examples

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


def _sparse_to_dense(make: Make) -> Case:
    """In order and no place twice, as it is defined; one value for all places, or one for each."""
    rank, dtype = make.integer(1, 3), make.pick("float32", "int32")
    shape = make.shape(rank, rank)
    count = make.integer(1, int(np.prod(shape)))

    def places() -> Any:
        flat = sorted(make.order(int(np.prod(shape)))[:count])
        return np.stack(np.unravel_index(flat, shape), -1)
    batched = make.flag()
    rows = np.stack([places() for _ in range(SAMPLES)]) if batched else places()
    rows = rows[..., 0] if rank == 1 and make.flag() else rows
    indices = Operand(rows.astype("int32"), batched, constant=make.flag())
    values = make.of(dtype, make.pick((), (count,)))
    return make.case("SPARSE_TO_DENSE", [indices, constant(shape), values, make.of(dtype, ())],
                     dtype, "SparseToDenseOptions")


def _where(make: Make) -> Case:
    x = make.integers(make.shape(1), 0, 1, "bool", batched=False)
    x.values.flat[0] = True  # Python cannot read an empty tensor from LiteRT
    return make.case("WHERE", [x], "int64")


def _unique(make: Make) -> Case:
    wide = make.flag()
    x = make.integers(make.shape(1, 1, 6), 0, 3, make.pick("int32", "int64"), batched=False)
    return make.case("UNIQUE", [x], [x.values.dtype.name, "int64" if wide else "int32"],
                     "UniqueOptions", idxOutType=INT64 if wide else INT32)


def _non_max_suppression(name: str) -> Row:
    def made(make: Make) -> Case:
        count = make.integer(1, 6)
        corners = make.floats((count, 4), 0.0, 2.0)
        scores = make.floats((count,), 0.0, 1.0)
        numbers = [make.integer(1, count), make.pick(0.2, 0.5), make.pick(0.0, 0.4)]
        fades = [make.pick(0.0, 0.5)] if name.endswith("V5") else []
        rest = [constant(numbers[0]), *(constant(n, "float32") for n in [*numbers[1:], *fades])]
        outputs = ["int32", "float32", "int32"] if fades else ["int32", "int32"]
        return make.case(name, [corners, scores, *rest], outputs, gradient=fades != [0.0])
    return made


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
    "NON_MAX_SUPPRESSION_V4": _non_max_suppression("NON_MAX_SUPPRESSION_V4"),
    "NON_MAX_SUPPRESSION_V5": _non_max_suppression("NON_MAX_SUPPRESSION_V5"),
    "ONE_HOT": _one_hot,
    "REDUCE_ALL": _reduced("REDUCE_ALL", "bool"),
    "REDUCE_ANY": _reduced("REDUCE_ANY", "bool"),
    "REDUCE_MAX": _reduced("REDUCE_MAX", "float32", "int32", "int64"),
    "REDUCE_MIN": _reduced("REDUCE_MIN", "float32", "int32", "int64"),
    "REDUCE_PROD": _reduced("REDUCE_PROD", "float32", "int32", "int64"),
    "SCATTER_ND": _scatter_nd,
    "SEGMENT_SUM": _segment_sum,
    "SPARSE_TO_DENSE": _sparse_to_dense,
    "SUM": _reduced("SUM", "float32", "int32", "int64"),
    "TOPK_V2": _top_k,
    "UNIQUE": _unique,
    "UNSORTED_SEGMENT_MAX": _unsorted("UNSORTED_SEGMENT_MAX"),
    "UNSORTED_SEGMENT_MIN": _unsorted("UNSORTED_SEGMENT_MIN"),
    "UNSORTED_SEGMENT_PROD": _unsorted("UNSORTED_SEGMENT_PROD"),
    "UNSORTED_SEGMENT_SUM": _unsorted("UNSORTED_SEGMENT_SUM"),
    "WHERE": _where,
}


@pytest.mark.parametrize("name", sorted(CASES))
@examples(10)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))
