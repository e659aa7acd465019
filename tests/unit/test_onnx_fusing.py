"""What exporters take apart is put together again, and nothing else is touched."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from edgekit.importers.onnx.fusing import fuse  # noqa: E402

Rows = Sequence[tuple[Any, ...]]
SHAPE = (2, 3, 4)


def model(
    rows: Rows, constants: Mapping[str, Any], *, outputs: Sequence[str] = ("y",), opset: int = 14,
    as_nodes: bool = False,
) -> Any:  # fmt: skip
    """Rows of (operator, inputs, output, attributes)."""
    nodes = [helper.make_node(row[0], row[1].split(), row[2].split(), **dict(*row[3:]))
             for row in rows]
    tensors = [numpy_helper.from_array(np.asarray(value), name)
               for name, value in constants.items()]
    if as_nodes:
        nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor)
                 for tensor in tensors] + nodes
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [] if as_nodes else tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def fused(given: Any) -> Any:
    """A fused copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(given)
    return fuse(copy)


def operators(made: Any) -> list[str]:
    """Those that compute something."""
    return [node.op_type for node in made.graph.node if node.op_type != "Constant"]


def same(one: Any, other: Any) -> bool:
    """Whether both compute the same, the fused one with the newest operator set."""
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32) * 3
    newest = onnx.ModelProto()
    newest.CopyFrom(other)
    newest.opset_import[0].version = 22
    want, got = (ReferenceEvaluator(each).run(None, {"x": x}) for each in (one, newest))
    return all(np.allclose(a, b, atol=1e-5) for a, b in zip(want, got, strict=True))


HALF = {"half": np.float32(0.5), "one": np.float32(1), "root": np.float32(math.sqrt(2)),
        "inv": np.float32(1 / math.sqrt(2))}  # fmt: skip
ERF = [("Div", "x root", "a"), ("Erf", "a", "b"), ("Add", "b one", "c")]
GELU = {
    "as torch writes it": [*ERF, ("Mul", "x c", "d"), ("Mul", "d half", "y")],
    "half first": [*ERF, ("Mul", "half x", "d"), ("Mul", "d c", "y")],
    "half with the sum": [*ERF, ("Mul", "c half", "d"), ("Mul", "d x", "y")],
    "multiplied by the inverse": [
        ("Mul", "inv x", "a"), ("Erf", "a", "b"), ("Add", "one b", "c"), ("Mul", "x c", "d"),
        ("Mul", "half d", "y")],
}  # fmt: skip


@pytest.mark.parametrize("as_nodes", [False, True])
@pytest.mark.parametrize("rows", GELU.values(), ids=GELU)
def test_gelu_with_erf(rows: Rows, as_nodes: bool) -> None:
    given = model(rows, HALF, as_nodes=as_nodes)
    made = fused(given)
    assert operators(made) == ["Gelu"]
    assert same(given, made)


CUBIC = {"half": np.float32(0.5), "one": np.float32(1), "three": np.float32(3),
         "k": np.float32(0.044715), "s": np.float32(math.sqrt(2 / math.pi))}  # fmt: skip
TANH = {
    "with a power": [("Pow", "x three", "p")],
    "with products": [("Mul", "x x", "q"), ("Mul", "q x", "p")],
}  # fmt: skip


@pytest.mark.parametrize("cube", TANH.values(), ids=TANH)
def test_gelu_with_tanh(cube: Rows) -> None:
    given = model([
        *cube, ("Mul", "k p", "a"), ("Add", "x a", "b"), ("Mul", "b s", "c"), ("Tanh", "c", "d"),
        ("Add", "d one", "e"), ("Mul", "x half", "f"), ("Mul", "f e", "y")], CUBIC)  # fmt: skip
    made = fused(given)
    assert operators(made) == ["Gelu"]
    assert same(given, made)


def test_gelu_with_tanh_and_x_outside() -> None:
    given = model([
        ("Mul", "x x", "a"), ("Mul", "a k", "b"), ("Add", "one b", "c"), ("Mul", "x s", "d"),
        ("Mul", "d c", "e"), ("Tanh", "e", "f"), ("Add", "one f", "g"), ("Mul", "half x", "h"),
        ("Mul", "h g", "y")], CUBIC)  # fmt: skip
    made = fused(given)
    assert operators(made) == ["Gelu"]
    assert same(given, made)


def test_gelu_of_a_product_and_times_a_gate() -> None:
    rows = [("Mul", "x root", "x1"), ("Div", "x1 root", "a"), ("Erf", "a", "b"),
            ("Add", "b one", "c"), ("Mul", "x1 c", "d"), ("Mul", "d half", "e"),
            ("Sigmoid", "x", "s"), ("Mul", "e s", "y")]  # fmt: skip
    given = model(rows, HALF)
    made = fused(given)
    assert operators(made) == ["Mul", "Gelu", "Sigmoid", "Mul"]
    assert same(given, made)


def test_two_in_a_row_and_in_a_branch() -> None:
    second = [(kind, " ".join(name if name in HALF else f"{name}2" for name in names.split()),
               f"{out}2") for kind, names, out in GELU["half first"]]
    rows = [(kind, names, "x2" if out == "y" else out)
            for kind, names, out in GELU["as torch writes it"]] + second
    given = model(rows, HALF, outputs=["y2"])
    made = fused(given)
    assert operators(made) == ["Gelu", "Gelu"]
    assert same(given, made)

    branch = model(GELU["half first"], {}).graph
    del branch.input[:]
    condition = numpy_helper.from_array(np.asarray(True), "go")
    outer = helper.make_graph(
        [helper.make_node("If", ["go"], ["y"], then_branch=branch, else_branch=branch)], "o",
        given.graph.input, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [condition, *(numpy_helper.from_array(value, name) for name, value in HALF.items())])
    made = fused(helper.make_model(outer, opset_imports=[helper.make_opsetid("", 14)]))
    assert [node.op_type for node in made.graph.node[0].attribute[0].g.node] == ["Gelu"]


@pytest.mark.parametrize(("rows", "constants", "outputs"), [
    (GELU["as torch writes it"], {**HALF, "half": np.float32(0.6)}, ["y"]),
    (GELU["as torch writes it"], {**HALF, "root": np.float32(1.5)}, ["y"]),
    (GELU["as torch writes it"], HALF, ["y", "b"]),
    ([*GELU["as torch writes it"], ("Relu", "c", "z")], HALF, ["y", "z"]),
    ([("Sigmoid", "x", "s"), *ERF, ("Mul", "s c", "d"), ("Mul", "d half", "y")], HALF, ["y"]),
], ids=["half", "root", "inner output", "inner use", "another x"])  # fmt: skip
def test_what_is_no_gelu(rows: Rows, constants: Mapping[str, Any], outputs: Sequence[str]) -> None:
    assert len(operators(fused(model(rows, constants, outputs=outputs)))) == len(rows)


SIX = {"three": np.float32(3), "six": np.float32(6), "zero": np.float32(0)}
HARD = {
    "clip": [("Add", "x three", "a"), ("Clip", "a zero six", "b"), ("Mul", "x b", "c"),
             ("Div", "c six", "y")],
    "divided first": [("Add", "x three", "a"), ("Clip", "a zero six", "b"), ("Div", "b six", "c"),
                      ("Mul", "c x", "y")],
    "HardSigmoid": [("HardSigmoid", "x", "a", {"alpha": 1 / 6, "beta": 0.5}),
                    ("Mul", "x a", "y")],
}  # fmt: skip


@pytest.mark.parametrize("rows", HARD.values(), ids=HARD)
def test_hard_swish(rows: Rows) -> None:
    given = model(rows, SIX)
    made = fused(given)
    assert operators(made) == ["HardSwish"]
    assert same(given, made)


def test_hard_swish_of_old_operator_sets() -> None:
    rows = [("Add", "x three", "a"), ("Clip", "a", "b", {"min": 0.0, "max": 6.0}),
            ("Mul", "x b", "c"), ("Div", "c six", "y")]  # fmt: skip
    assert operators(fused(model(rows, SIX, opset=9))) == ["HardSwish"]


def test_no_hard_swish_with_other_limits() -> None:
    assert len(operators(fused(model(HARD["clip"], {**SIX, "zero": np.float32(-1)})))) == 4
    keras = [("HardSigmoid", "x", "a", {"alpha": 0.2, "beta": 0.5}), ("Mul", "x a", "y")]
    assert operators(fused(model(keras, {}))) == ["HardSigmoid", "Mul"]


def test_mish_and_swish() -> None:
    rows = [("Softplus", "x", "a"), ("Tanh", "a", "b"), ("Mul", "x b", "y")]
    given = model(rows, {})
    made = fused(given)
    assert operators(made) == ["Mish"]
    assert same(given, made)
    swish = [("Sigmoid", "x", "a"), ("Mul", "x a", "y")]
    assert operators(fused(model(swish, {}))) == ["Sigmoid", "Mul"]


AFFINE = {"two": np.float32(2), "eps": np.float32(1e-5), "g": np.linspace(1, 2, 4, dtype="f"),
          "b": np.linspace(-1, 1, 4, dtype="f"), "one": np.float32(1)}  # fmt: skip


def normalization(axes: Sequence[int], square: tuple[str, str, str], last: Rows) -> Rows:
    """Torch's way, with variations."""
    mean = {"axes": list(axes)}
    return [("ReduceMean", "x", "m", mean), ("Sub", "x m", "c"), square,
            ("ReduceMean", "q", "v", mean), ("Add", "v eps", "e"), ("Sqrt", "e", "s"), *last]


POW, TIMES = ("Pow", "c two", "q"), ("Mul", "c c", "q")
DIVIDED: Rows = [("Div", "c s", "n"), ("Mul", "n g", "k"), ("Add", "k b", "y")]
INVERTED: Rows = [("Reciprocal", "s", "r"), ("Mul", "c r", "n"), ("Mul", "g n", "k"),
                  ("Add", "b k", "y")]  # fmt: skip
BY_ONE: Rows = [("Div", "one s", "r"), ("Mul", "r c", "n"), ("Mul", "n g", "k"),
                ("Add", "k b", "y")]  # fmt: skip


@pytest.mark.parametrize("axes", [[-1], [2]])
@pytest.mark.parametrize("square", [POW, TIMES], ids=["Pow", "Mul"])
@pytest.mark.parametrize("last", [DIVIDED, INVERTED, BY_ONE], ids=["Div", "Reciprocal", "one"])
def test_layer_normalization(axes: Sequence[int], square: Any, last: Rows) -> None:
    given = model(normalization(axes, square, last), AFFINE)
    made = fused(given)
    assert operators(made) == ["LayerNormalization"]
    assert same(given, made)


def test_layer_normalization_without_bias_and_with_axes_as_input() -> None:
    rows = [(kind, f"{names} ax", out) if kind == "ReduceMean" else (kind, names, out)
            for kind, names, out, *_ in normalization([-1], POW, DIVIDED)]
    given = model([*rows[:-2], ("Mul", "n g", "y")], {**AFFINE, "ax": np.array([-1])}, opset=18)
    made = fused(given)
    assert operators(made) == ["LayerNormalization"]
    assert len(made.graph.node[0].input) == 2
    assert same(given, made)


@pytest.mark.parametrize(("axes", "constants"), [
    ([1], AFFINE), ([-2], AFFINE), ([-1], {**AFFINE, "g": np.ones((1, 4), "f")}),
], ids=["axis", "negative axis", "scale"])  # fmt: skip
def test_what_is_no_layer_normalization(
    axes: Sequence[int], constants: Mapping[str, Any]
) -> None:
    rows = normalization(axes, POW, DIVIDED)
    assert len(operators(fused(model(rows, constants)))) == len(rows)


def test_what_nobody_uses_is_gone() -> None:
    rows = [("RandomNormalLike", "x", "r"), ("Relu", "r", "z"), ("Relu", "x", "y")]
    assert operators(fused(model(rows, {}))) == ["Relu"]
