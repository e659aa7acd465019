"""The table of lifts as a whole, and what one does where the samples do not fit it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import test_training_control
import test_training_elementwise
import test_training_indexing
import test_training_recurrent
import test_training_shaping
import test_training_spatial
import test_training_stablehlo
from ai_edge_litert.schema_py_generated import BuiltinOperator
from flatbuffers_builder import FlatbufferBuilder
from lifting import SAMPLES, Operand, litert

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import read_graph
from edgekit.core.model import Model, Provenance
from edgekit.training import roles
from edgekit.training.evaluation import Evaluation
from edgekit.training.lifted import lift
from edgekit.training.operators import LIFTS
from edgekit.training.operators.recurrent import RECURRENT
from edgekit.training.values import Value

pytestmark = pytest.mark.slow

FAMILIES = (test_training_control, test_training_elementwise, test_training_indexing,
            test_training_recurrent, test_training_shaping, test_training_spatial,
            test_training_stablehlo)
SIGN_BIT = 5  # a fused activation that nothing computes


def test_every_row_is_tested_against_litert_and_once():
    tested = Counter(name for family in FAMILIES for name in family.CASES)
    assert set(tested) == set(LIFTS)
    assert set(tested.values()) == {1}


def test_no_family_of_tests_is_forgotten():
    files = {path.stem for path in Path(__file__).parent.glob("test_training_*.py")
             if "CASES: Mapping" in path.read_text()}
    assert files == {family.__name__ for family in FAMILIES} | {Path(__file__).stem}


def test_every_row_is_an_operator_of_the_schema():
    assert set(LIFTS) <= set(vars(BuiltinOperator))


def run(data, *values, traced=False):
    """The results of a file's graph for values with the samples in front, or without them."""
    graph = read_graph(data)
    shapes = [tensor.shape for tensor in (graph.main.tensors[i] for i in graph.main.inputs)]

    def function(*tensors):
        results = Evaluation(graph, {}).run(graph.main, [
            Value(tensor, batched=len(tensor.shape) > len(shape))
            for tensor, shape in zip(tensors, shapes, strict=True)])
        return [result.tensor for result in results]

    function = tf.function(function, autograph=False) if traced else function
    return [result.numpy() for result in function(*map(tf.constant, values))]


def dynamic_convolution(activation=0):
    """A convolution with a filter that is an input, and the mean over space behind it."""
    file = FlatbufferBuilder()
    x, weights = file.input("x", (1, 5, 5, 2)), file.input("weights", (3, 2, 2, 2))
    bias = file.constant("bias", np.arange(3, dtype=np.float32))
    conv, mean = file.tensor("conv", (1, 4, 4, 3)), file.tensor("mean", (1, 3))
    file.operator("CONV_2D", [x, weights, bias], [conv], "Conv2DOptions", strideH=1, strideW=1,
                  padding=1, fusedActivationFunction=activation)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", [conv, axes], [mean], "ReducerOptions")
    file.output(mean)
    return file.build()


@pytest.mark.parametrize("traced", [False, True])
def test_an_operator_goes_on_behind_one_that_was_computed_sample_by_sample(traced, rng):
    data = dynamic_convolution()
    x = rng.normal(size=(SAMPLES, 1, 5, 5, 2)).astype(np.float32)
    weights = rng.normal(size=(SAMPLES, 3, 2, 2, 2)).astype(np.float32)
    (result,) = run(data, x, weights, traced=traced)
    wanted = litert(data, [Operand(values, batched=True) for values in (x, weights)])
    np.testing.assert_allclose(result, [mean for mean, in wanted], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("traced", [False, True])
def test_an_error_from_sample_by_sample_is_as_readable_as_any(traced, rng):
    x, weights = np.zeros((2, 1, 5, 5, 2), np.float32), np.zeros((2, 3, 2, 2, 2), np.float32)
    with pytest.raises(EdgekitError, match=r"CONV_2D 'conv' has the fused activation 5"):
        run(dynamic_convolution(SIGN_BIT), x, weights, traced=traced)


def one_operator(name, inputs, outputs, options=None, **fields):
    """A file with one operator; inputs and outputs are shapes and types."""
    file = FlatbufferBuilder()
    given = [file.input(f"x{i}", *kind) for i, kind in enumerate(inputs)]
    made = [file.tensor(f"y{i}", *kind) for i, kind in enumerate(outputs)]
    file.operator(name, given, made, options, **fields)
    file.output(*made)
    return file.build()


@pytest.mark.parametrize("name", ["WHERE", "UNIQUE", "SEGMENT_SUM"])
def test_a_size_that_differs_between_samples_names_the_layer(name):
    data = {
        "WHERE": one_operator("WHERE", [((3,), "bool")], [((3, 1), "int64")]),
        "UNIQUE": one_operator("UNIQUE", [((3,), "int32")], [((3,), "int32")] * 2),
        "SEGMENT_SUM": one_operator("SEGMENT_SUM", [((3, 2),), ((3,), "int32")], [((3, 2),)]),
    }[name]
    given = {"WHERE": [np.array([[True, False, True], [False] * 3])],
             "UNIQUE": [np.array([[1, 1, 2], [3, 4, 5]], np.int32)],
             "SEGMENT_SUM": [np.zeros((2, 3, 2), np.float32), np.zeros((2, 3), np.int32)]}[name]
    with pytest.raises(EdgekitError, match=f"{name} 'y0': the size of its result depends on the "):
        run(data, *given)


def test_a_number_that_the_graph_is_made_with_cannot_come_from_an_input():
    data = one_operator("SUM", [((2, 3),), ((1,), "int32")], [((2,),)], "ReducerOptions")
    x, axis = np.ones((4, 2, 3), np.float32), np.array([1], np.int32)
    np.testing.assert_array_equal(run(data, x, axis)[0], np.full((4, 2), 3.0))
    with pytest.raises(EdgekitError, match="SUM 'y0': input 1 is computed while the model runs"):
        run(data, x, axis, traced=True)


def test_each_sample_may_have_its_own_axis():
    data = one_operator("SUM", [((2, 2),), ((1,), "int32")], [((2,),)], "ReducerOptions")
    x = np.array([[[1, 2], [3, 4]]] * 2, np.float32)
    (result,) = run(data, x, np.array([[0], [1]], np.int32))
    np.testing.assert_array_equal(result, [[4, 6], [3, 7]])


def test_an_operator_without_a_lift_names_the_layer():
    data = one_operator("MULTINOMIAL", [((1, 2),), ((), "int32")], [((1, 3), "int64")])
    with pytest.raises(EdgekitError, match=r"cannot train through: MULTINOMIAL \(y0\)"):
        lift(Model(data, "net", Provenance("tflite", "net")))


def test_what_is_learnt_is_known_of_operators_that_have_a_lift():
    assert set(roles.LEARNT) <= set(LIFTS)
    assert set(RECURRENT) <= set(roles.LEARNT)


def test_an_absent_input_that_is_needed_names_the_layer():
    file = FlatbufferBuilder()
    x, y = file.input("x", (2,)), file.tensor("y", (2,))
    file.operator("ADD", [x, -1], [y], "AddOptions")
    file.output(y)
    with pytest.raises(EdgekitError, match="ADD 'y': input 1 is missing"):
        run(file.build(), np.zeros((1, 2), np.float32))


def test_a_tensor_that_nothing_makes_is_no_state():
    file = FlatbufferBuilder()
    x, y = file.tensor("before", (2,)), file.tensor("y", (2,))
    file.operator("ABS", [x], [y])
    file.output(y)
    with pytest.raises(EdgekitError, match="tensor 'before'"):
        run(file.build())


def test_a_state_begins_at_zero_with_each_inference():
    file = FlatbufferBuilder()
    x, state = file.input("x", (2,)), file.tensor("state", (2,), variable=True)
    y = file.tensor("y", (2,))
    file.operator("ADD", [x, state], [y], "AddOptions")
    file.output(y)
    given = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(run(file.build(), given)[0], given)


def test_values_combined_as_litert_does_not_name_the_layer():
    file = FlatbufferBuilder()
    x, places = file.input("x", (4,)), file.constant("places", np.array([[1]], np.int32))
    more, y = file.input("more", (1,)), file.tensor("y", (4,))
    file.operator("STABLEHLO_SCATTER", [x, places, more], [y], "StablehloScatterOptions",
                  insertedWindowDims=[0], scatterDimsToOperandDims=[0], indexVectorDim=1,
                  updateComputationSubgraphIndex=1)
    file.output(y)
    file.subgraph("body")
    a, b, c = file.input("a", ()), file.input("b", ()), file.tensor("c", ())
    file.operator("SQUARED_DIFFERENCE", [a, b], [c])
    file.output(c)
    with pytest.raises(EdgekitError, match="SCATTER 'y' combines values by SQUARED_DIFFERENCE"):
        run(file.build(), np.zeros((2, 4), np.float32), np.ones((2, 1), np.float32))
