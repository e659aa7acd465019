"""Loops, branches and composites: lifted as LiteRT computes them."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf
from flatbuffers import flexbuffers
from flatbuffers_builder import FlatbufferBuilder
from hypothesis import given
from hypothesis import strategies as st
from lifting import Case, Make, Operand, check, examples

from edgekit.core.graph import read_graph
from edgekit.training.evaluation import Evaluation
from edgekit.training.values import Value

pytestmark = pytest.mark.slow

Row = Callable[[Make], Case]
Build = Callable[[FlatbufferBuilder], None]
FORMULAS = (("ADD", "AddOptions"), ("MUL", "MulOptions"), ("SUB", "SubOptions"))


def _branch(file: FlatbufferBuilder, formula: tuple[str, str], shape: tuple[int, ...]) -> None:
    """From x and y their sum, product or difference, and x as it is."""
    file.subgraph(formula[0])
    x, y = file.input("x", shape), file.input("y", shape)
    result = file.tensor("result", shape)
    file.operator(formula[0], [x, y], [result], formula[1])
    file.output(result, x)


def _branches(shape: tuple[int, ...], count: int) -> Build:
    def build(file: FlatbufferBuilder) -> None:
        for formula in FORMULAS[:count]:
            _branch(file, formula, shape)
    return build


def _fed(make: Make, shape: tuple[int, ...]) -> Operand:
    return make.floats(shape, -1.5, 1.5, constant=False)


def _if(make: Make) -> Case:
    """Each sample may take its own branch."""
    shape = make.shape()
    condition = make.integers(make.pick((), (1,)), 0, 1, "bool", constant=False)
    if condition.batched:
        make.each_is_mapped()
    return make.case("IF", [condition, _fed(make, shape), _fed(make, shape)], ["float32"] * 2,
                     "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2,
                     build=_branches(shape, 2))


def _case(make: Make) -> Case:
    """A number that no branch has takes the last one."""
    shape = make.shape()
    number = make.integers((), -1, 3, constant=False)
    if number.batched:
        make.each_is_mapped()
    return make.case("STABLEHLO_CASE", [number, _fed(make, shape), _fed(make, shape)],
                     ["float32"] * 2, "StablehloCaseOptions", branchSubgraphIndices=[1, 2, 3],
                     build=_branches(shape, 3))


def _named(file: FlatbufferBuilder, shape: tuple[int, ...]) -> None:
    """The body of a composite, which has a name and attributes: an empty flexbuffer map."""
    options = file._model.subgraphs[0].operators[0].builtinOptions2
    options.name, options.compositeAttributes = "odml.sum", list(flexbuffers.Dumps({}))
    _branch(file, FORMULAS[0], shape)


def _composite(make: Make) -> Case:
    shape = make.shape()
    return make.case("STABLEHLO_COMPOSITE", [_fed(make, shape), _fed(make, shape)],
                     ["float32"] * 2, "StableHLOCompositeOptions", decompositionSubgraphIndex=1,
                     build=lambda file: _named(file, shape))


def _loop(shape: tuple[int, ...], *, by_value: bool) -> Build:
    """Round after round ``x *= y``, as long as ``n`` is below the limit, or ``sum(x)``, too."""
    def variables(file: FlatbufferBuilder) -> list[int]:
        return [file.input("n", (), "int32"), file.input("limit", (), "int32"),
                file.input("x", shape), file.input("y", shape)]

    def build(file: FlatbufferBuilder) -> None:
        file.subgraph("condition")
        n, limit, x, _ = variables(file)
        below = file.tensor("below", (), "bool")
        file.operator("LESS", [n, limit], [below])
        if by_value:
            axes = file.constant("axes", np.arange(len(shape), dtype=np.int32))
            total, small, both = (file.tensor(name, (), dtype) for name, dtype in (
                ("total", "float32"), ("small", "bool"), ("both", "bool")))
            ten = file.tensor("ten", (), buffer=file.buffer(np.float32(1.0).tobytes()))
            file.operator("SUM", [x, axes], [total], "ReducerOptions")
            file.operator("LESS", [total, ten], [small])
            file.operator("LOGICAL_AND", [below, small], [both])
        file.output(both if by_value else below)
        file.subgraph("body")
        n, limit, x, y = variables(file)
        one = file.tensor("one", (), "int32", buffer=file.buffer(np.int32(1).tobytes()))
        more, product = file.tensor("more", (), "int32"), file.tensor("product", shape)
        file.operator("ADD", [n, one], [more], "AddOptions")
        file.operator("MUL", [x, y], [product], "MulOptions")
        file.output(more, limit, product, y)
    return build


def _while(make: Make) -> Case:
    """Each sample may go round as often as it wants."""
    shape, by_value = make.shape(), make.flag()
    limit = make.integers((), 0, 4, constant=False)
    x, y = _fed(make, shape), _fed(make, shape)
    if limit.batched or by_value:
        make.each_is_mapped()
    start = Operand(np.int32(0).reshape(()), constant=make.flag())
    return make.case("WHILE", [start, limit, x, y], ["int32", "int32", "float32", "float32"],
                     "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2,
                     gradient=not by_value, build=_loop(shape, by_value=by_value))


CASES: Mapping[str, Row] = {
    "IF": _if,
    "STABLEHLO_CASE": _case,
    "STABLEHLO_COMPOSITE": _composite,
    "WHILE": _while,
}


@pytest.mark.parametrize("name", sorted(CASES))
@examples(8)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))


def _powers(rounds: int) -> bytes:
    """``x * weight ** rounds`` by a loop whose body has the weight."""
    file = FlatbufferBuilder()
    variables = [("n", (), "int32"), ("x", (2,), "float32")]
    start = file.tensor("start", (), "int32", buffer=file.buffer(np.int32(0).tobytes()))
    x = file.input("x", (2,))
    outputs = [file.tensor(f"{name}_out", shape, dtype) for name, shape, dtype in variables]
    file.operator("WHILE", [start, x], outputs, "WhileOptions", condSubgraphIndex=1,
                  bodySubgraphIndex=2)
    file.output(outputs[1])
    file.subgraph("condition")
    n, _ = (file.input(*variable) for variable in variables)
    limit = file.tensor("limit", (), "int32", buffer=file.buffer(np.int32(rounds).tobytes()))
    below = file.tensor("below", (), "bool")
    file.operator("LESS", [n, limit], [below])
    file.output(below)
    file.subgraph("body")
    n, x = (file.input(*variable) for variable in variables)
    one = file.tensor("one", (), "int32", buffer=file.buffer(np.int32(1).tobytes()))
    weight = file.constant("weight", np.array([2.0, 3.0], np.float32))
    more, product = file.tensor("more", (), "int32"), file.tensor("product", (2,))
    file.operator("ADD", [n, one], [more], "AddOptions")
    file.operator("MUL", [x, weight], [product], "MulOptions")
    file.output(more, product)
    return file.build()


@pytest.mark.parametrize("traced", [False, True])
def test_a_weight_inside_a_loop_has_a_gradient(traced):
    graph = read_graph(_powers(3))
    buffer = next(t.buffer for t in graph.subgraphs[2].tensors if t.name == "weight")
    weight = tf.Variable([2.0, 3.0])

    def loss(x):
        result, = Evaluation(graph, {buffer: weight}).run(graph.main, [Value(x, batched=True)])
        return tf.reduce_sum(result.tensor)

    function = tf.function(loss, autograph=False) if traced else loss
    with tf.GradientTape() as tape:
        value = function(tf.constant([[1.0, 1.0], [1.0, 0.0]]))
    assert float(value) == 2.0 * 8.0 + 27.0
    np.testing.assert_allclose(tape.gradient(value, weight), [2.0 * 3 * 4.0, 3 * 9.0])
