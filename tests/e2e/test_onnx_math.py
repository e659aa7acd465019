"""ONNX's mathematical operators where the ONNX project's own tests do not look.

Layouts, element types, many axes, exact integers, and a converter that exchanges operands.
"""

import numpy as np
import pytest
from onnx import ValueInfoProto, helper, numpy_helper, save, shape_inference
from onnxruntime import InferenceSession, SessionOptions

from edgekit.importers import import_model

pytestmark = pytest.mark.slow

SEED = np.random.default_rng(0)
WEIGHTS = {"W": SEED.normal(size=(7, 4, 3, 3)).astype(np.float32) * 0.3}
PICTURE = {"x": SEED.normal(size=(1, 4, 6, 5)).astype(np.float32)}
CONV = helper.make_node("Conv", ["x", "W"], ["c"], pads=[1, 1, 1, 1])


def node(op, inputs, outputs="y", **attributes):
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def write(folder, nodes, inputs, constants, outputs=("y",), opset=21):
    ports = [helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()]
    graph = helper.make_graph(
        nodes, "graph", ports, [ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()])
    model = helper.make_model(graph, ir_version=10, opset_imports=[
        helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
    path = folder / "model.onnx"
    save(shape_inference.infer_shapes(model), path)
    return path


def reference(path, inputs, outputs):
    options = SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), inputs), strict=True))


def check(folder, nodes, inputs, constants, outputs=("y",), opset=21, expected=None):
    """Import, compute, compare; gives the operators of the result."""
    path = write(folder, nodes, inputs, constants, outputs, opset)
    expected = expected or reference(path, inputs, outputs)
    model = import_model(str(path))
    got = model.run(inputs)
    for name in outputs:
        assert got[name].dtype == expected[name].dtype
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-4)
    return [operator.name for _, operator in model.graph.operators()]


def test_an_image_keeps_its_layout_through_reductions_and_activations(tmp_path):
    """One TRANSPOSE in front, and one for each output that is an image."""
    outputs = ("mean", "largest", "where", "soft", "prelu", "gelu", "best", "total")
    nodes = [
        CONV,
        node("ReduceMean", ["c", "hw"], ["mean"], keepdims=0),
        node("ReduceMax", ["c", "channel"], ["largest"]),
        node("ArgMax", "c", ["where"], axis=1, keepdims=0),
        node("Softmax", "c", ["soft"], axis=1),
        node("PRelu", ["c", "slope"], ["prelu"]),
        node("Gelu", "c", ["gelu"]),
        node("TopK", ["c", "three"], ["best", "which"], axis=1),
        node("CumSum", ["c", "one"], ["total"]),
    ]
    constants = {**WEIGHTS, "hw": np.array([2, 3]), "channel": np.array([1]),
                 "slope": SEED.uniform(size=(7, 1, 1)).astype(np.float32),
                 "three": np.array([3]), "one": np.array(1)}
    found = check(tmp_path, nodes, PICTURE, constants, outputs)
    assert {"MEAN", "SOFTMAX", "PRELU", "GELU", "ARG_MAX", "TOPK_V2", "CUMSUM"} <= set(found)
    assert found.count("TRANSPOSE") <= 1 + 5


@pytest.mark.parametrize("opset", [11, 21])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_along_every_axis_of_an_image(tmp_path, op, opset):
    outputs = ("a", "b", "c_", "d")
    nodes = [CONV, *(node(op, "c", [name], axis=axis) for axis, name in enumerate(outputs))]
    check(tmp_path, nodes, PICTURE, WEIGHTS, outputs, opset)


def test_attention_over_an_image_needs_no_transpose(tmp_path):
    nodes = [CONV, node("Reshape", ["c", "shape"], ["q"]),
             node("Transpose", ["q"], ["t"], perm=[0, 2, 1]),
             node("MatMul", ["t", "q"], ["scores"]), node("Softmax", ["scores"], ["p"], axis=-1),
             node("MatMul", ["p", "t"], ["v"]), node("MatMul", ["v", "w"], ["y"])]
    found = check(tmp_path, nodes, PICTURE, {
        **WEIGHTS, "shape": np.array([1, 7, 30]), "w": SEED.normal(size=(7, 9)).astype(np.float32)})
    assert found.count("TRANSPOSE") == 1
    assert "FULLY_CONNECTED" in found


def test_a_constant_minus_a_transposed_tensor(tmp_path):
    """TensorFlow's converter exchanges the operands of these."""
    nodes = [node("Transpose", "x", ["t"], perm=[0, 3, 1, 2]), node("Reshape", ["t", "s"], ["r"]),
             node("Transpose", "r", ["u"], perm=[1, 0]), node("MatMul", ["u", "eye"], ["m"]),
             node("Softmax", "u", ["v"]),
             node("Sub", ["one", "t"], ["a"]), node("Div", ["one", "v"], ["b"]),
             node("Sub", ["row", "u"], ["d"]), node("Reciprocal", "v", ["e"])]
    constants = {"one": np.array(1, np.float32), "s": np.array([5, 24]),
                 "eye": np.eye(5, dtype=np.float32),
                 "row": np.arange(120, dtype=np.float32).reshape(24, 5)}
    check(tmp_path, nodes, PICTURE, constants, ("a", "b", "d", "e"))


@pytest.mark.parametrize("order", ["x(1+e)/2", "x/2(1+e)", "x((1+e)/2)"])
def test_gelu_that_is_written_out(tmp_path, order):
    start = [node("Div", ["x", "root"], ["d"]), node("Erf", "d", ["e"]),
             node("Add", ["e", "one"], ["u"])]
    rest = {"x(1+e)/2": [node("Mul", "xu", ["p"]), node("Mul", ["p", "half"])],
            "x/2(1+e)": [node("Mul", ["x", "half"], ["p"]), node("Mul", "pu")],
            "x((1+e)/2)": [node("Mul", ["u", "half"], ["p"]), node("Mul", "xp")]}[order]
    constants = {"root": np.array(np.sqrt(2), np.float32), "one": np.array(1, np.float32),
                 "half": np.array(0.5, np.float32)}
    assert check(tmp_path, [*start, *rest], PICTURE, constants, opset=13) == ["GELU"]


def test_integers_of_64_bits_are_exact(tmp_path):
    a = np.array([7, -7, 2**62, -(2**62) + 3, 123456789012345, 2**40 + 1], np.int64)
    b = np.array([2, 2, 3, 7, -1000003, 2**20], np.int64)
    nodes = [node("Div", "ab", ["q"]), node("Mod", "ab", ["m"], fmod=1),
             node("BitwiseAnd", "ab", ["and"]), node("BitwiseOr", "ab", ["or"]),
             node("BitwiseXor", "ab", ["xor"])]
    quotient = np.array([int(abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1)
                         for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    check(tmp_path, nodes, {"a": a}, {"b": b}, ("q", "m", "and", "or", "xor"), expected={
        "q": quotient, "m": np.fmod(a, b), "and": a & b, "or": a | b, "xor": a ^ b})


def test_more_axes_than_kernels_take(tmp_path):
    a = SEED.uniform(0.1, 1, (2, 1, 3, 1, 2, 1)).astype(np.float32)
    b = SEED.uniform(0.1, 1, (1, 2, 3, 2, 1, 2)).astype(np.float32)
    nodes = [node("Add", "ab", ["sum"]), node("Less", "ab", ["less"]),
             node("ReduceSum", ["sum", "axes"], ["reduced"], keepdims=0),
             node("Where", ["less", "a", "b"], ["where"])]
    check(tmp_path, nodes, {"a": a, "b": b}, {"axes": np.array([1, 3, 5])},
          ("sum", "less", "reduced", "where"))


@pytest.mark.parametrize("equation", [
    "bhqd,bhkd->bhqk", "bsd,dhk->bshk", "bshk,hkd->bsd", "bchi,oc->bohi", "iji->ji", "ij,ij->",
    "...ij,...jk->...ik", "bn,anm,bm->ba"])  # fmt: skip
def test_einsum(tmp_path, equation):
    sizes = dict(zip("abcdhijkmnoqs", (2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 2, 3, 4), strict=True))
    terms = equation.partition("->")[0].split(",")
    inputs = {f"x{place}": SEED.normal(size=[sizes[name] for name in term.replace("...", "ab")])
              .astype(np.float32) for place, term in enumerate(terms)}
    expected = {"y": np.einsum(equation, *inputs.values())}
    check(tmp_path, [node("Einsum", list(inputs), equation=equation)], inputs, {},
          expected=expected)


def test_sums_of_many_products_of_bytes_are_exact(tmp_path):
    """A float has 24 bits; these sums need 28."""
    a = np.full((2, 4000), 255, np.uint8)
    b = np.full((4000, 3), -128, np.int8)
    nodes = [node("MatMulInteger", ["a", "b", "za", "zb"])]
    check(tmp_path, nodes, {"a": a}, {"b": b, "za": np.array(0, np.uint8),
                                      "zb": np.array(127, np.int8)},
          expected={"y": a.astype(np.int32) @ (b.astype(np.int32) - 127)})


def test_a_model_with_quantize_and_dequantize(tmp_path):
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             node("DequantizeLinear", ["q", "s", "z"], ["d"]),
             node("DequantizeLinear", ["W8", "sw"], ["w"], axis=0),
             node("Conv", ["d", "w"], ["c"], pads=[1, 1, 1, 1]),
             node("QuantizeLinear", ["c", "s", "z"], ["q2"]),
             node("DequantizeLinear", ["q2", "s", "z"], ["y"])]
    constants = {"s": np.array(0.0213, np.float32), "z": np.array(100, np.uint8),
                 "W8": SEED.integers(-127, 127, (7, 4, 3, 3)).astype(np.int8),
                 "sw": SEED.uniform(0.001, 0.003, 7).astype(np.float32)}
    found = check(tmp_path, nodes, PICTURE, constants, opset=13)
    assert found.count("TRANSPOSE") == 2
    assert found.count("CONV_2D") == 1
