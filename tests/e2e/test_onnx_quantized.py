"""onnxruntime's operators on quantized tensors, one by one and from its own quantizer."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from edgekit.importers import import_model

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
MICROSOFT = "com.microsoft"


class Net:
    """Nodes of onnxruntime's domain, each with an output of its own."""

    def __init__(self, **inputs):
        self.inputs, self.nodes, self.stored, self.outputs = inputs, [], {}, {}

    def _name(self, given):
        if isinstance(given, str):
            return given
        name = f"c{len(self.stored)}"
        self.stored[name] = np.asarray(given)
        return name

    def add(self, op, *inputs, kinds=(np.uint8,), **attributes):
        names = [f"{op.lower()}{len(self.nodes)}_{place}" for place in range(len(kinds))]
        self.nodes.append(helper.make_node(op, list(map(self._name, inputs)), names,
                                           domain=MICROSOFT, **attributes))
        self.outputs.update(zip(names, kinds, strict=True))

    def model(self, **shapes):
        """With the outputs' shapes, as far as they are known."""
        def info(name, dtype, shape=None):
            return helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

        graph = helper.make_graph(
            self.nodes, "net", [info(name, x.dtype, x.shape) for name, x in self.inputs.items()],
            [info(name, dtype, shapes.get(name)) for name, dtype in self.outputs.items()],
            [numpy_helper.from_array(x, name) for name, x in self.stored.items()])
        return helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)])


def results(model, inputs):
    options = SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = InferenceSession(model.SerializeToString(), options,
                               providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def both(net, path):
    """onnxruntime's results, and the imported model's."""
    expected = results(net.model(), net.inputs)
    onnx.save(net.model(**{name: array.shape for name, array in expected.items()}), path)
    return expected, import_model(str(path)).run(net.inputs)


def check(net, path, steps=0.0):
    """Equal to onnxruntime's, but for a share of numbers that are one step off."""
    expected, got = both(net, path)
    for name, want in expected.items():
        assert (got[name].dtype, got[name].shape) == (want.dtype, want.shape), name
        apart = np.abs(got[name].astype(int) - want.astype(int))
        assert apart.max() <= bool(steps), (name, apart.max())
        assert (apart != 0).mean() <= steps, (name, (apart != 0).mean())


def codes(*shape, dtype=np.uint8):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def numbers(scale, zero, dtype=np.uint8):
    """A scale and a zero point."""
    return np.float32(scale), np.asarray(zero, dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_concatenation_rescales(dtype, tmp_path):
    net = Net(a=codes(1, 3, 4, 5, dtype=dtype), b=codes(1, 2, 4, 5, dtype=dtype))
    out, same = numbers(0.03, 7, dtype), numbers(0.03, 7, dtype)
    other = np.asarray([0.01171], np.float32), np.asarray([90], dtype)
    net.add("QLinearConcat", *out, "a", *same, "b", *other, "b", *out, axis=1, kinds=(dtype,))
    net.add("QLinearConcat", *out, "a", *other, codes(1, 3, 4, 2, dtype=dtype), *same, axis=-1,
            kinds=(dtype,))
    check(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_average_pooling(dtype, tmp_path):
    net = Net(x=codes(2, 3, 9, 7, dtype=dtype), signal=codes(1, 3, 11, dtype=dtype),
              last=codes(1, 8, 6, 5, dtype=dtype))
    given, made = numbers(0.02137, 101, dtype), numbers(0.01713, 13, dtype)
    for x, attributes in [
        ("x", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("x", {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}),
        ("x", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("x", {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1,
               "count_include_pad": 1}),
        ("x", {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}),
        ("signal", {"kernel_shape": [4], "strides": [3]}),
        ("last", {"kernel_shape": [2, 3], "channels_last": 1}),
    ]:
        net.add("QLinearAveragePool", x, *given, *made, kinds=(dtype,), **attributes)
    check(net, tmp_path / "net.onnx")


def test_global_average_pooling_is_exact(tmp_path):
    net = Net(x=codes(2, 40, 13, 7), last=codes(1, 6, 5, 8), signal=codes(1, 30, 9))
    for made in (numbers(0.021, 13), numbers(0.0021, 128)):
        for x, last in (("x", 0), ("last", 1), ("signal", 0)):
            net.add("QLinearGlobalAveragePool", x, *numbers(0.021, 101), *made, channels_last=last)
    check(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_functions_of_each_number(dtype, tmp_path):
    net = Net(x=codes(1, 3, 6, 4, dtype=dtype), y=codes(1, 3, 1, 4, dtype=dtype),
              which=RNG.integers(0, 2, (6, 1)).astype(bool))
    given, other, made = (numbers(scale, zero, dtype) for scale, zero in
                          ((0.031, 3), (0.017, 90), (0.041, 60)))
    net.add("QLinearSigmoid", "x", *given, *numbers(1 / 256, 0, dtype), kinds=(dtype,))
    net.add("QLinearLeakyRelu", "x", *given, *made, alpha=0.2, kinds=(dtype,))
    net.add("QLinearAdd", "x", *given, "y", *other, *made, kinds=(dtype,))
    net.add("QLinearMul", "x", *given, "y", *other, *made, kinds=(dtype,))
    net.add("QLinearWhere", "which", "x", *given, "y", *other, *made, kinds=(dtype,))
    check(net, tmp_path / "net.onnx", steps=0.02)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_softmax(dtype, tmp_path):
    net = Net(x=codes(1, 4, 6, 5, dtype=dtype))
    made = numbers(1 / 256, np.iinfo(dtype).min, dtype)
    for axis, version in ((-1, 13), (1, 13), (2, 11)):
        net.add("QLinearSoftmax", "x", *numbers(0.03, 20, dtype), *made, axis=axis, opset=version,
                kinds=(dtype,))
    check(net, tmp_path / "net.onnx", steps=0.02)


def quantized_weights(ways, rows, columns, *, per_column=False, dtype=np.int8):
    """Weights, scales and zero points as DynamicQuantizeLSTM takes them."""
    scale = RNG.uniform(0.002, 0.004, (ways, columns) if per_column else (ways,))
    zero = np.zeros(scale.shape, dtype) if dtype == np.int8 else np.full(scale.shape, 121, dtype)
    return codes(ways, rows, columns, dtype=dtype), (scale.astype(np.float32), zero)


def dynamic_lstm(net, x, units, *, lengths="", states=False, peepholes=False, kinds=3,
                 per_column=False, dtype=np.int8, **attributes):
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    _, batch, width = net.inputs[x].shape
    w, w_numbers = quantized_weights(ways, width, 4 * units, per_column=per_column, dtype=dtype)
    r, r_numbers = quantized_weights(ways, units, 4 * units, per_column=per_column, dtype=dtype)

    def floats(*shape):
        return RNG.normal(size=shape).astype(np.float32) / 2

    start = [floats(ways, batch, units)] * 2 if states else ["", ""]
    peeps = floats(ways, 3 * units) if peepholes else ""
    net.add("DynamicQuantizeLSTM", x, w, r, floats(ways, 8 * units), lengths, *start, peeps,
            *w_numbers, *r_numbers, kinds=(np.float32,) * kinds, hidden_size=units, **attributes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_lstm_that_quantizes_its_input(dtype, tmp_path):
    net = Net(x=RNG.normal(size=(12, 1, 7)).astype(np.float32),
              pair=RNG.normal(size=(9, 2, 5)).astype(np.float32))
    dynamic_lstm(net, "x", 8, dtype=dtype)
    dynamic_lstm(net, "x", 8, dtype=dtype, states=True, peepholes=True, direction="reverse")
    dynamic_lstm(net, "x", 6, dtype=dtype, per_column=True, direction="bidirectional", clip=1.5)
    dynamic_lstm(net, "pair", 6, dtype=dtype, states=True, direction="bidirectional")
    dynamic_lstm(net, "x", 6, dtype=dtype, lengths=np.asarray([7], np.int32))
    dynamic_lstm(net, "pair", 6, dtype=dtype, lengths=np.asarray([6, 6], np.int32))
    expected, got = both(net, tmp_path / "net.onnx")
    for name, want in expected.items():
        assert got[name].shape == want.shape
        # A state that is rounded to its neighbour moves those behind it by a step's hundredth.
        np.testing.assert_allclose(got[name], want, atol=2e-3, err_msg=name)
        assert (np.abs(got[name] - want) < 2e-6).mean() > 0.5, name


def stored(name, *shape):
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32) / 3, name)


def save(nodes, x, y, weights, path):
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, y)], weights)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]),
              path)
    return path


def kinds(path):
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.filterwarnings("ignore")  # onnxruntime's quantizer's own
def test_a_network_from_the_static_quantizer(tmp_path):
    from onnxruntime import quantization

    class Samples(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter([{"x": RNG.normal(size=(1, 3, 12, 12)).astype(np.float32)}] * 4)

        def get_next(self):
            return next(self.left, None)

    def node(op, *ports, **attributes):
        *given, made = ports
        return helper.make_node(op, given, [made], op + made, **attributes)

    path = save([
        node("Conv", "x", "k1", "a", pads=[1] * 4), node("LeakyRelu", "a", "b", alpha=0.1),
        node("AveragePool", "b", "c", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "c", "k2", "d", pads=[1] * 4), node("Sigmoid", "d", "e"),
        node("Concat", "c", "e", "f", axis=1), node("GlobalAveragePool", "f", "g"),
        node("Flatten", "g", "h"), node("Gemm", "h", "w", "i"), node("Softmax", "i", "y"),
    ], (1, 3, 12, 12), (1, 5), [stored("k1", 8, 3, 3, 3), stored("k2", 6, 8, 3, 3),
                                stored("w", 14, 5)], tmp_path / "float.onnx")
    made = tmp_path / "net.onnx"
    quantization.quantize_static(
        path, made, Samples(), quant_format=quantization.QuantFormat.QOperator,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8)
    assert {"QLinearLeakyRelu", "QLinearSigmoid", "QLinearAveragePool", "QLinearConcat",
            "QLinearGlobalAveragePool", "QLinearSoftmax"} <= kinds(made)
    x = {"x": RNG.normal(size=(1, 3, 12, 12)).astype(np.float32)}
    model = import_model(str(made))
    assert model.provenance.parity[0].cosine > 0.999
    np.testing.assert_allclose(model.run(x)["y"], results(onnx.load(made), x)["y"], atol=0.01)
    # The image is turned once, and nothing else is.
    assert [operator.name for _, operator in model.graph.operators()].count("TRANSPOSE") == 1


@pytest.mark.filterwarnings("ignore")  # onnxruntime's quantizer's own
def test_a_network_from_the_dynamic_quantizer(tmp_path):
    from onnxruntime import quantization

    lstm = helper.make_node("LSTM", ["x", "w", "r", "b"], ["", "h"], "lstm", hidden_size=20,
                            direction="bidirectional")
    flat = helper.make_node("Reshape", ["h", "shape"], ["f"], "flat")
    head = helper.make_node("MatMul", ["f", "v"], ["y"], "head")
    path = save([lstm, flat, head], (30, 1, 10), (1, 4), [
        stored("w", 2, 80, 10), stored("r", 2, 80, 20), stored("b", 2, 160), stored("v", 40, 4),
        numpy_helper.from_array(np.asarray([1, 40]), "shape")], tmp_path / "float.onnx")
    made = tmp_path / "net.onnx"
    quantization.quantize_dynamic(path, made)
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= kinds(made)
    x = {"x": RNG.normal(size=(30, 1, 10)).astype(np.float32)}
    got = import_model(str(made)).run(x)["y"]
    np.testing.assert_allclose(got, results(onnx.load(made), x)["y"], atol=1e-2)
