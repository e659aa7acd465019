"""Operators that change shapes, join, cut and pad: lifted as LiteRT computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifting import Case, Make, Operand, check, constant, examples

pytestmark = pytest.mark.slow

Row = Callable[[Make], Case]
DTYPES = ("float32", "int32", "int64", "bool")
INT32, INT64 = 2, 4  # of the schema's TensorType


def _any(make: Make, shape: Any, *dtypes: str) -> tuple[Operand, str]:
    dtype = make.pick(*dtypes or DTYPES)
    return make.of(dtype, shape), dtype


def _broadcast_args(make: Make) -> Case:
    """Ranks of at least 1: Python cannot read an empty tensor from LiteRT."""
    first, second = make.pair()
    first, second = first or (1,), second or (1,)
    dtype = make.pick("int32", "int64")
    return make.case("BROADCAST_ARGS", [make.shared(np.array(shape, dtype), dtype)
                                        for shape in (first, second)], dtype)


def _broadcast_to(make: Make) -> Case:
    shape = make.shape(1)
    x, dtype = _any(make, make.partner(shape), "float32", "int32")
    return make.case("BROADCAST_TO", [x, make.shared(shape, make.pick("int32", "int64"))], dtype,
                     version=2)


def _expand_dims(make: Make) -> Case:
    shape = make.shape(0, 3)
    x, dtype = _any(make, shape, "float32", "int32")
    axis = make.axis(len(shape) + 1)
    return make.case("EXPAND_DIMS", [x, constant(make.pick(axis, [axis]))], dtype)


def _fill(make: Make) -> Case:
    value, dtype = _any(make, (), "float32", "int32", "int64", "bool")
    return make.case("FILL", [make.shared(make.shape(0), make.pick("int32", "int64")), value],
                     dtype)


def _range(make: Make) -> Case:
    dtype = make.pick("float32", "int32")
    start, step = make.integer(-5, 5), make.pick(-2, -1, 1, 3)
    limit = start + step * make.integer(1, 5) + make.pick(0, 1) * np.sign(step)
    return make.case("RANGE", [make.shared(number, dtype) for number in (start, limit, step)],
                     dtype, gradient=False)


def _rank(make: Make) -> Case:
    return make.case("RANK", [make.floats(make.shape(0))], "int32")


def _reshape(make: Make) -> Case:
    """The new shape has the same elements, perhaps one size left open."""
    x, dtype = _any(make, make.shape(0))
    sizes, rest = [], x.of(0).size
    for divisor in make.order(4):
        if divisor > 1 and rest % divisor == 0:
            sizes, rest = [*sizes, divisor], rest // divisor
    wanted = [*sizes, rest, *make.pick([], [1])]
    if make.flag():
        wanted[make.integer(0, len(wanted) - 1)] = -1
    if make.flag():
        return make.case("RESHAPE", [x], dtype, "ReshapeOptions", newShape=wanted)
    return make.case("RESHAPE", [x, make.shared(wanted)], dtype, "ReshapeOptions",
                     newShape=wanted)


def _shape(make: Make) -> Case:
    wide = make.flag()
    return make.case("SHAPE", [make.floats(make.shape(1))], "int64" if wide else "int32",
                     "ShapeOptions", outType=INT64 if wide else INT32)


def _squeeze(make: Make) -> Case:
    shape = tuple(make.pick(1, 1, 2, 3) for _ in range(make.integer(1, 5)))
    x, dtype = _any(make, shape, "float32", "int32")
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    axes = [ones[i] - make.pick(0, len(shape)) for i in make.order(len(ones))
            [: make.integer(0, len(ones))]]
    return make.case("SQUEEZE", [x], dtype, "SqueezeOptions", squeezeDims=axes)


def _tile(make: Make) -> Case:
    shape = make.shape(1, 3)
    x, dtype = _any(make, shape)
    times = [make.integer(1, 3) for _ in shape]
    return make.case("TILE", [x, make.shared(times, make.pick("int32", "int64"))], dtype)


def _transpose(make: Make) -> Case:
    shape = make.shape(1, 5, 3)
    x, dtype = _any(make, shape, "float32", "int32", "bool")
    return make.case("TRANSPOSE", [x, constant(make.order(len(shape)))], dtype)


def _matrix_diag(make: Make) -> Case:
    x, dtype = _any(make, make.shape(1, 3), "float32", "int32")
    return make.case("MATRIX_DIAG", [x], dtype, "MatrixDiagOptions")


def _matrix_set_diag(make: Make) -> Case:
    shape, dtype = make.shape(2), make.pick("float32", "int32")
    return make.case("MATRIX_SET_DIAG", [make.of(dtype, shape),
                                         make.of(dtype, (*shape[:-2], min(shape[-2:])))], dtype,
                     "MatrixSetDiagOptions")


def _concatenation(make: Make) -> Case:
    shape = list(make.shape(1))
    axis = make.axis(len(shape))
    dtype = make.pick(*DTYPES)
    operands = []
    for _ in range(make.integer(1, 3)):
        shape[axis] = make.integer(1, 3)
        operands.append(make.of(dtype, shape))
    return make.case("CONCATENATION", operands, dtype, "ConcatenationOptions", axis=axis)


def _pack(make: Make) -> Case:
    shape, dtype = make.shape(0, 3), make.pick("float32", "int32", "int64")
    operands = [make.of(dtype, shape) for _ in range(make.integer(1, 3))]
    return make.case("PACK", operands, dtype, "PackOptions", axis=make.axis(len(shape) + 1),
                     valuesCount=len(operands))


def _unpack(make: Make) -> Case:
    shape = make.shape(1)
    x, dtype = _any(make, shape, "float32", "int32", "bool")
    axis = make.axis(len(shape))
    return make.case("UNPACK", [x], [dtype] * shape[axis], "UnpackOptions", axis=axis,
                     num=shape[axis])


def _split(make: Make) -> Case:
    shape, parts = list(make.shape(1)), make.integer(1, 3)
    axis = make.axis(len(shape))
    shape[axis] = parts * make.integer(1, 2)
    x, dtype = _any(make, shape, "float32", "int32")
    return make.case("SPLIT", [constant(make.pick(axis, [axis])), x], [dtype] * parts,
                     "SplitOptions", numSplits=parts)


def _split_v(make: Make) -> Case:
    """One size may be left open."""
    shape, sizes = list(make.shape(1)), list(make.shape(1, 3))
    axis = make.axis(len(shape))
    shape[axis] = sum(sizes)
    x, dtype = _any(make, shape, "float32", "int32")
    if make.flag():
        sizes[make.integer(0, len(sizes) - 1)] = -1
    return make.case("SPLIT_V", [x, constant(sizes), constant(axis)], [dtype] * len(sizes),
                     "SplitVOptions", numSplits=len(sizes))


def _slice(make: Make) -> Case:
    """Each sample may begin elsewhere; -1 is up to the end."""
    shape = make.shape(1)
    x, dtype = _any(make, shape)
    size = [make.integer(1, whole) for whole in shape]
    if make.flag():
        begin = make.each(lambda: [make.integer(0, whole - part)
                                   for whole, part in zip(shape, size, strict=True)])
    else:
        first = [make.integer(0, whole - 1) for whole in shape]
        begin, size = make.shared(first), [
            make.pick(-1, whole - start) for whole, start in zip(shape, first, strict=True)]
    return make.case("SLICE", [x, begin, make.shared(size)], dtype)


def _strided_slice(make: Make) -> Case:
    shape = make.shape(1)
    x, dtype = _any(make, shape)
    begin, end, strides, shrunk = [], [], [], 0
    for axis, size in enumerate(shape):
        at, stride = make.integer(0, size - 1), make.pick(1, 2, -1)
        far = (make.integer(at + 1, size + 2) if stride > 0
               else make.integer(-size - 1, at - size - 1))
        if make.integer(0, 3) == 0:
            stride, shrunk = 1, shrunk | 1 << axis
        begin.append(at - make.pick(0, size))
        end.append(far)
        strides.append(stride)
    masks = make.integer(0, 2 ** len(shape) - 1)
    kept = make.integer(1, len(shape))  # later axes stay whole
    shrunk &= 2 ** kept - 1
    return make.case(
        "STRIDED_SLICE", [x, *(make.shared(numbers[:kept]) for numbers in (begin, end, strides))],
        dtype, "StridedSliceOptions", beginMask=masks & ~shrunk & 2 ** kept - 1,
        endMask=make.integer(0, 2 ** kept - 1) & ~shrunk, shrinkAxisMask=shrunk)


def _pads(make: Make, shape: Any, most: Any) -> Operand:
    wide = make.pick("int32", "int64")
    return make.shared([[make.integer(0, limit), make.integer(0, limit)]
                        for limit in most], wide)


def _pad(make: Make) -> Case:
    """The padding of each sample may lie elsewhere."""
    shape = make.shape(1)
    x, dtype = _any(make, shape, "float32", "int32", "int64")
    total = [make.integer(0, 3) for _ in shape]

    def pads() -> Any:
        before = [make.integer(0, size) for size in total]
        return [[size, whole - size] for size, whole in zip(before, total, strict=True)]
    return make.case("PAD", [x, make.each(pads)], dtype)


def _pad_v2(make: Make) -> Case:
    shape = make.shape(1)
    x, dtype = _any(make, shape, "float32", "int32")
    return make.case("PADV2", [x, _pads(make, shape, [2] * len(shape)), make.of(dtype, ())], dtype)


def _mirror_pad(make: Make) -> Case:
    shape, reflect = make.shape(1), make.flag()
    x, dtype = _any(make, shape, "float32", "int32")
    most = [size - 1 if reflect else size for size in shape]
    return make.case("MIRROR_PAD", [x, _pads(make, shape, most)], dtype, "MirrorPadOptions",
                     mode=0 if reflect else 1)


def _reverse(make: Make) -> Case:
    shape = make.shape(1)
    x, dtype = _any(make, shape)
    first = make.integer(0, len(shape) - 1)
    axes = range(first, make.integer(first + 1, len(shape)))  # LiteRT wants them side by side
    turned = [axis - make.pick(0, len(shape)) for axis in axes]
    return make.case("REVERSE_V2", [x, constant(turned)], dtype)


def _reverse_sequence(make: Make) -> Case:
    shape = make.shape(2)
    x, dtype = _any(make, shape, "float32", "int32", "int64")
    batch, sequence = make.order(len(shape))[:2]
    lengths = make.integers([shape[batch]], 0, shape[sequence], make.pick("int32", "int64"))
    return make.case("REVERSE_SEQUENCE", [x, lengths], dtype, "ReverseSequenceOptions",
                     seqDim=sequence, batchDim=batch)


def _dynamic_update_slice(make: Make) -> Case:
    """Starts outside are moved inwards."""
    shape = make.shape(1)
    x, dtype = _any(make, shape)
    part = [make.integer(1, size) for size in shape]
    start = make.each(lambda: [make.integer(-1, size) for size in shape])
    return make.case("DYNAMIC_UPDATE_SLICE", [x, make.of(dtype, part), start], dtype)


def _blocks(name: str, options: str) -> Row:
    def made(make: Make) -> Case:
        block, (height, width, channels) = make.integer(1, 3), make.shape(3, 3, 3)
        shape = ((height * block, width * block, channels) if name == "SPACE_TO_DEPTH" else
                 (height, width, channels * block**2))
        x, dtype = _any(make, (make.integer(1, 2), *shape), "float32", "int32")
        return make.case(name, [x], dtype, options, blockSize=block)
    return made


def _space_to_batch(make: Make) -> Case:
    count = make.integer(1, 2)
    block = [make.integer(1, 3) for _ in range(count)]
    pads = [[make.integer(0, 2), make.integer(0, 2)] for _ in block]
    space = []
    for size, around in zip(block, pads, strict=True):
        whole = size * make.integer(1, 3)
        while whole - sum(around) < 1:
            whole += size
        space.append(whole - sum(around))
    x, dtype = _any(make, (make.integer(1, 2), *space, make.integer(1, 3)), "float32", "int32")
    return make.case("SPACE_TO_BATCH_ND", [x, constant(block), constant(pads)], dtype)


def _batch_to_space(make: Make) -> Case:
    count = make.integer(1, 2)
    block = [make.integer(1, 3) for _ in range(count)]
    space = [make.integer(2, 3) for _ in block]
    crops = [[make.integer(0, 1), make.integer(0, size * part - 2)]
             for size, part in zip(block, space, strict=True)]
    batch = int(np.prod(block)) * make.integer(1, 2)
    x, dtype = _any(make, (batch, *space, make.integer(1, 3)), "float32", "int32")
    return make.case("BATCH_TO_SPACE_ND", [x, constant(block), constant(crops)], dtype)


CASES: Mapping[str, Row] = {
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "BROADCAST_ARGS": _broadcast_args,
    "BROADCAST_TO": _broadcast_to,
    "CONCATENATION": _concatenation,
    "DEPTH_TO_SPACE": _blocks("DEPTH_TO_SPACE", "DepthToSpaceOptions"),
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
    "EXPAND_DIMS": _expand_dims,
    "FILL": _fill,
    "MATRIX_DIAG": _matrix_diag,
    "MATRIX_SET_DIAG": _matrix_set_diag,
    "MIRROR_PAD": _mirror_pad,
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad_v2,
    "RANGE": _range,
    "RANK": _rank,
    "RESHAPE": _reshape,
    "REVERSE_SEQUENCE": _reverse_sequence,
    "REVERSE_V2": _reverse,
    "SHAPE": _shape,
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SPACE_TO_DEPTH": _blocks("SPACE_TO_DEPTH", "SpaceToDepthOptions"),
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}


@pytest.mark.parametrize("name", sorted(CASES))
@examples(10)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))
