"""Operators on single elements, activations: lifted as LiteRT computes them."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifting import Case, Make, Operand, check, examples

pytestmark = pytest.mark.slow

FUSED = (0, 1, 2, 3)  # none, ReLU, ReLU between -1 and 1, ReLU6: what LiteRT's arithmetic takes
NUMBERS = ("float32", "int32", "int64")
Row = Callable[[Make], Case]


def _unary(name: str, *dtypes: str, low: float = -3.0, high: float = 3.0, output: str = "",
           options: str | None = None, least: int = 0, **fields: object) -> Row:
    def made(make: Make) -> Case:
        dtype, shape = make.pick(*dtypes or ("float32",)), make.shape(least)
        operand = (make.floats(shape, low, high) if dtype == "float32" else
                   make.of(dtype, shape))
        return make.case(name, [operand], output or dtype, options, **fields)
    return made


def _binary(name: str, *dtypes: str, output: str = "", options: str | None = None,
            fused: bool = False, nonzero: bool = False) -> Row:
    def made(make: Make) -> Case:
        dtype = make.pick(*dtypes or ("float32",))
        x, y = (make.of(dtype, shape) for shape in make.pair())
        if nonzero:
            y = replace(y, values=np.where(np.abs(y.values) < 0.5, 1, y.values).astype(dtype))
        fields = ({"fusedActivationFunction": make.pick(*FUSED)}
                  if fused and dtype == "float32" else {})
        return make.case(name, [x, y], output or dtype, options, **fields)
    return made


def _add_n(make: Make) -> Case:
    dtype, shape = make.pick("float32", "int32"), make.shape()
    return make.case("ADD_N", [make.of(dtype, shape) for _ in range(make.integer(2, 4))], dtype)


def _atan2(make: Make) -> Case:
    """LiteRT does not broadcast here."""
    shape = make.shape(0)
    return make.case("ATAN2", [make.floats(shape), make.floats(shape)])


def _bitcast(make: Make) -> Case:
    """Numbers of another width have one axis more or less."""
    shape = make.shape(0, 3)
    given, wanted, width = make.pick(("float32", "int32", 0), ("int32", "float32", 0),
                                     ("int32", "int8", 0), ("int16", "int32", 2))
    shape = (*shape, width) if width else shape
    x = make.floats(shape) if given == "float32" else make.integers(shape, 1, 9, given)
    return make.case("BITCAST", [x], wanted, gradient=False)


def _bucketize(make: Make) -> Case:
    """A value on a boundary belongs above it."""
    boundaries = [-2.0, -0.5, 1.0, 1.5]
    x = make.integers(make.shape(0), -3, 3, make.pick("int32", "float32"))
    return make.case("BUCKETIZE", [x], "int32", "BucketizeOptions", boundaries=boundaries)


def _fake_quant(make: Make) -> Case:
    return make.case("FAKE_QUANT", [make.floats(make.shape())], "float32", "FakeQuantOptions",
                     gradient=False, min=make.pick(-1.0, -2.3, 0.0), max=make.pick(1.0, 2.6),
                     numBits=make.pick(4, 8))


def _cast(make: Make) -> Case:
    given, wanted = (make.pick(*NUMBERS, "bool", "int8", "uint8") for _ in range(2))
    low = 0 if "uint8" in {given, wanted} else -9
    shape = make.shape(0)
    operand = (make.bools(shape) if given == "bool" else make.floats(shape, low, 9.0)
               if given == "float32" else make.integers(shape, low, 9, given))
    return make.case("CAST", [operand], wanted, exact_gradient=False)


def _complex(name: str) -> Row:
    def made(make: Make) -> Case:
        real, batched = make.floats(make.shape(), constant=False), make.flag()
        values = real.values + 1j * real.values[..., ::-1] - 0.5
        return make.case(name, [Operand(values.astype(np.complex64), real.batched,
                                        constant=not real.batched and batched)])
    return made


def _pow(make: Make) -> Case:
    dtype, (first, second) = make.pick("float32", "int32"), make.pair()
    if dtype == "float32":
        return make.case("POW", [make.floats(first, 0.2, 3.0), make.floats(second)])
    return make.case("POW", [make.integers(first), make.integers(second, 0, 4)], "int32")


def _right_shift(make: Make) -> Case:
    first, second = make.pair()
    return make.case("RIGHT_SHIFT", [make.integers(first, -999, 999),
                                     make.integers(second, 0, 8)], "int32")


def _round(make: Make) -> Case:
    """Halves too: they go to the even neighbour."""
    halves = make.integers(make.shape(0), -9, 9)
    return make.case("ROUND", [replace(halves, values=(halves.values / 2).astype(np.float32))],
                     gradient=False)


def _select(make: Make) -> Case:
    """A condition for each element, for each row, or one alone."""
    dtype, shape = make.pick(*NUMBERS, "bool"), make.shape(1)
    condition = make.pick(shape, shape[:1], ())
    return make.case("SELECT", [make.bools(condition), make.of(dtype, shape),
                                make.of(dtype, shape)], dtype)


def _select_v2(make: Make) -> Case:
    dtype, shape = make.pick(*NUMBERS, "bool"), make.shape(0)
    shapes = [make.partner(shape), make.partner(shape), shape]
    condition, x, y = (shapes[i] for i in make.order(3))
    return make.case("SELECT_V2", [make.bools(condition), make.of(dtype, x), make.of(dtype, y)],
                     dtype)


def _gelu(make: Make) -> Case:
    return make.case("GELU", [make.floats(make.shape(0))], "float32", "GeluOptions",
                     approximate=make.flag())


def _prelu(make: Make) -> Case:
    """One slope for each channel, or for whatever axes it does not share."""
    shape = make.shape(1)
    return make.case("PRELU", [make.floats(shape), make.floats(make.partner(shape))])


def _softmax(make: Make) -> Case:
    return make.case("SOFTMAX", [make.floats(make.shape(1))], "float32", "SoftmaxOptions",
                     beta=make.pick(1.0, 0.5, 2.0))


def _l2_normalization(make: Make) -> Case:
    return make.case("L2_NORMALIZATION", [make.floats(make.shape(1))], "float32",
                     "L2NormOptions", fusedActivationFunction=0)


def _local_response_normalization(make: Make) -> Case:
    shape = (1, *make.shape(2, 2), make.integer(1, 7))
    return make.case(
        "LOCAL_RESPONSE_NORMALIZATION", [make.floats(shape)], "float32",
        "LocalResponseNormalizationOptions", exact_gradient=False, radius=make.integer(1, 3),
        bias=make.pick(1.0, 2.0), alpha=make.pick(0.1, 0.5), beta=make.pick(0.5, 0.75))


CASES: Mapping[str, Row] = {
    "ABS": _unary("ABS", "float32", "int32"),
    "ADD": _binary("ADD", *NUMBERS, options="AddOptions", fused=True),
    "ADD_N": _add_n,
    "ATAN2": _atan2,
    "BITCAST": _bitcast,
    "BITWISE_XOR": _binary("BITWISE_XOR", "int32"),
    "BUCKETIZE": _bucketize,
    "CAST": _cast,
    "CEIL": _unary("CEIL"),
    "COMPLEX_ABS": _complex("COMPLEX_ABS"),
    "COS": _unary("COS"),
    "DIV": _binary("DIV", "float32", "int32", options="DivOptions", fused=True, nonzero=True),
    "ELU": _unary("ELU"),
    "EQUAL": _binary("EQUAL", *NUMBERS, "bool", output="bool"),
    "EXP": _unary("EXP"),
    "FAKE_QUANT": _fake_quant,
    "FLOOR": _unary("FLOOR"),
    "FLOOR_DIV": _binary("FLOOR_DIV", "float32", "int32", nonzero=True),
    "FLOOR_MOD": _binary("FLOOR_MOD", *NUMBERS, nonzero=True),
    "GELU": _gelu,
    "GREATER": _binary("GREATER", *NUMBERS, output="bool"),
    "GREATER_EQUAL": _binary("GREATER_EQUAL", *NUMBERS, output="bool"),
    "HARD_SWISH": _unary("HARD_SWISH", low=-5.0, high=5.0),
    "IMAG": _complex("IMAG"),
    "L2_NORMALIZATION": _l2_normalization,
    "LEAKY_RELU": _unary("LEAKY_RELU", options="LeakyReluOptions", alpha=0.3),
    "LESS": _binary("LESS", *NUMBERS, output="bool"),
    "LESS_EQUAL": _binary("LESS_EQUAL", *NUMBERS, output="bool"),
    "LOCAL_RESPONSE_NORMALIZATION": _local_response_normalization,
    "LOG": _unary("LOG", low=0.1),
    "LOG_SOFTMAX": _unary("LOG_SOFTMAX", least=1),
    "LOGICAL_AND": _binary("LOGICAL_AND", "bool"),
    "LOGICAL_NOT": _unary("LOGICAL_NOT", "bool"),
    "LOGICAL_OR": _binary("LOGICAL_OR", "bool"),
    "LOGISTIC": _unary("LOGISTIC"),
    "MAXIMUM": _binary("MAXIMUM", *NUMBERS),
    "MINIMUM": _binary("MINIMUM", *NUMBERS),
    "MUL": _binary("MUL", *NUMBERS, options="MulOptions", fused=True),
    "NEG": _unary("NEG", *NUMBERS),
    "NOT_EQUAL": _binary("NOT_EQUAL", *NUMBERS, "bool", output="bool"),
    "POW": _pow,
    "PRELU": _prelu,
    "REAL": _complex("REAL"),
    "RELU": _unary("RELU"),
    "RELU6": _unary("RELU6", low=-3.0, high=9.0),
    "RELU_0_TO_1": _unary("RELU_0_TO_1"),
    "RELU_N1_TO_1": _unary("RELU_N1_TO_1"),
    "RIGHT_SHIFT": _right_shift,
    "ROUND": _round,
    "RSQRT": _unary("RSQRT", low=0.1),
    "SELECT": _select,
    "SELECT_V2": _select_v2,
    "SIGN": _unary("SIGN", "float32", "int32"),
    "SIN": _unary("SIN"),
    "SOFTMAX": _softmax,
    "SQRT": _unary("SQRT", low=0.1),
    "SQUARE": _unary("SQUARE"),
    "SQUARED_DIFFERENCE": _binary("SQUARED_DIFFERENCE", "float32", "int32"),
    "SUB": _binary("SUB", *NUMBERS, options="SubOptions", fused=True),
    "TANH": _unary("TANH"),
    "ZEROS_LIKE": _unary("ZEROS_LIKE", *NUMBERS),
}


@pytest.mark.parametrize("name", sorted(CASES))
@examples(6)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))
