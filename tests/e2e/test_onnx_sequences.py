"""Recurrent layers, loops, attention and spectra of ONNX, against onnxruntime.

Each test is one network of many nodes, converted as an import does it.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_net import RNG, Net, floats

from edgekit.core.errors import EdgekitError

pytestmark = pytest.mark.slow

MICROSOFT = "com.microsoft"


class Network(Net):
    """With onnxruntime's own operators, too."""

    @property
    def model(self):
        made = super().model
        made.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        return made


def imported(model, inputs, folder):
    """The .tflite as an import makes it, and its results at the second run."""
    from edgekit.core import _runtime_worker as runtime
    from edgekit.core.model import Model, Provenance
    from edgekit.importers._convert_worker import convert, trace
    from edgekit.importers._finish_worker import finish, settle_open_shapes
    from edgekit.importers.onnx.worker import endpoint_of

    endpoint = endpoint_of(model, "net")
    traced = trace(endpoint, [array.shape for array in inputs.values()], "net")
    path = folder / "net.tflite"
    data = settle_open_shapes(
        finish(convert(traced, "net", folder), traced, endpoint.clean_name), path)
    path.write_bytes(data)
    signature = Model(data, "net", Provenance("onnx", "net")).signature
    ports = {"input_index": signature.inputs, "output_index": signature.outputs}
    runtime.invoke(str(path), ports, inputs)
    results = runtime.invoke(str(path), ports, inputs)
    results = [results[output.name].copy() for output in model.graph.output]
    runtime.interpreter.cache_clear()
    return data, results


def check(model, inputs, folder, tolerance=2e-5):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    wanted = session.run(None, inputs)
    data, results = imported(model, inputs, folder)
    wrong = [(output.name, got.shape, want.shape, np.abs(got - want).max())
             for output, got, want in zip(model.graph.output, results, wanted, strict=True)
             if got.dtype != want.dtype or got.shape != want.shape
             or not np.allclose(got, want, rtol=tolerance, atol=tolerance)]
    assert not wrong
    return data


def operators(data):
    """The operators of each subgraph."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()
             if isinstance(number, int)}
    found = []
    for place in range(model.SubgraphsLength()):
        graph = model.Subgraphs(place)
        codes = [model.OperatorCodes(graph.Operators(i).OpcodeIndex())
                 for i in range(graph.OperatorsLength())]
        found.append([names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
                      for code in codes])
    return found


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(net, op, x, units, *, lengths=None, states=False, peepholes=False, **attributes):
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    _, batch, width = net.inputs[x].shape
    gates = GATES[op] * units
    inputs = [x, floats(ways, gates, width) / 4, floats(ways, gates, units) / 8,
              floats(ways, 2 * gates) / 4]
    inputs.append("" if lengths is None else lengths)
    inputs += [floats(ways, batch, units)] * states * (2 if op == "LSTM" else 1)
    if peepholes:
        inputs += ["", ""] * (not states) + [floats(ways, 3 * units)]
    net.add(op, *inputs, outputs=3 if op == "LSTM" else 2, hidden_size=units, **attributes)


@pytest.mark.parametrize("op", GATES)
def test_recurrent_layers(op, tmp_path):
    net = Network(x=floats(11, 2, 3), long=floats(150, 2, 3), one=floats(1, 2, 3),
                  lengths=np.asarray([5, 11], np.int32))
    recurrent(net, op, "one", 4, states=True)
    recurrent(net, op, "x", 4)
    recurrent(net, op, "x", 4, direction="reverse", states=True, lengths="lengths")
    recurrent(net, op, "x", 4, direction="bidirectional", states=True, lengths=np.asarray(
        [7, 3], np.int32))
    recurrent(net, op, "x", 4, clip=0.3, direction="bidirectional")
    recurrent(net, op, "long", 48, direction="bidirectional")
    check(net.model, net.inputs, tmp_path)


def test_variants_of_recurrent_layers(tmp_path):
    net = Network(x=floats(9, 2, 3))
    recurrent(net, "LSTM", "x", 4, peepholes=True, states=True, direction="bidirectional")
    recurrent(net, "LSTM", "x", 4, peepholes=True, input_forget=1, clip=0.4)
    recurrent(net, "LSTM", "x", 4, direction="bidirectional", activations=[
        "Sigmoid", "Tanh", "Tanh", "HardSigmoid", "LeakyRelu", "Softsign"],
        activation_alpha=[0.3, 0.1], activation_beta=[0.4])  # fmt: skip
    recurrent(net, "GRU", "x", 4, linear_before_reset=1, direction="bidirectional", states=True)
    for activation in ("Relu", "ThresholdedRelu", "Elu", "Softplus", "ScaledTanh", "Affine"):
        recurrent(net, "RNN", "x", 4, activations=[activation], activation_alpha=[0.3],
                  activation_beta=[0.4])
    check(net.model, net.inputs, tmp_path)


def test_a_layer_is_one_loop(tmp_path):
    net = Network(x=floats(64, 1, 8))
    recurrent(net, "LSTM", "x", 8)
    main, *inner = operators(check(net.model, net.inputs, tmp_path))
    assert main.count("WHILE") == 1
    assert main.count("FULLY_CONNECTED") == 1
    assert max(ops.count("FULLY_CONNECTED") for ops in inner) == 4
    assert "TRANSPOSE" not in main


def test_a_single_step_is_no_loop(tmp_path):
    net = Network(x=floats(1, 1, 8), h=floats(1, 1, 8))
    net.add("GRU", "x", floats(1, 24, 8), floats(1, 24, 8), floats(1, 48), "", "h",
            outputs=2, hidden_size=8, linear_before_reset=1)
    assert len(operators(check(net.model, net.inputs, tmp_path))) == 1


def info(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, list(shape))


FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
ROUND = [info("i", INT), info("on", BOOL)]


def body(nodes, inputs, outputs, **constants):
    return helper.make_graph(
        [helper.make_node(op, given.split(), made.split(), **dict(*rest))
         for op, given, made, *rest in nodes], "body", inputs, outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])


def test_loops(tmp_path):
    net = Network(s=np.ones(3, np.float32), x=floats(3), n=np.asarray([2, 3]))
    turn = body([("Identity", "on", "further"), ("Mul", "s k", "t"), ("Add", "t x", "out"),
                 ("Cast", "i", "number", {"to": FLOAT}), ("Add", "t number", "row")],
                [*ROUND, info("s", FLOAT, 3)],
                [info("further", BOOL), info("out", FLOAT, 3), info("row", FLOAT, 3)],
                k=np.asarray([0.5, 0.2, -0.1], np.float32))  # fmt: skip
    until = body([("Mul", "s k", "out"), ("ReduceSum", "out", "sum", {"keepdims": 0}),
                  ("Less", "sum limit", "further"), ("Identity", "out", "row")],
                 [*ROUND, info("s", FLOAT, 3)],
                 [info("further", BOOL), info("out", FLOAT, 3), info("row", FLOAT, 3)],
                 k=np.asarray([1.5, 1.2, 1.1], np.float32), limit=np.float32(40))  # fmt: skip
    kinds = body([("Identity", "on", "further"), ("Not", "b", "b2"), ("Add", "n i", "n2"),
                  ("Identity", "b2", "rows"), ("Identity", "n2", "more")],
                 [*ROUND, info("b", BOOL, 2), info("n", INT, 2)],
                 [info("further", BOOL), info("b2", BOOL, 2), info("n2", INT, 2),
                  info("rows", BOOL, 2), info("more", INT, 2)])  # fmt: skip
    for count in (1, 3, 20):
        net.add("Loop", np.asarray(count), "", "s", outputs=2, body=turn)
    net.add("Loop", np.asarray(50), np.asarray(True), "s", outputs=2, body=until)
    net.add("Loop", np.asarray(9), "", np.asarray([True, False]), "n", outputs=4, body=kinds)
    check(net.model, net.inputs, tmp_path)


def test_a_loop_that_grows(tmp_path):
    grow = body([("Identity", "on", "further"), ("Concat", "s more", "out", {"axis": 0})],
                [*ROUND, info("s", FLOAT, None)], [info("further", BOOL), info("out", FLOAT, None)],
                more=np.zeros(1, np.float32))  # fmt: skip
    net = Network(s=floats(3))
    net.add("Loop", np.asarray(6), "", "s", body=grow)
    check(net.model, net.inputs, tmp_path)
    net = Network(s=floats(3))
    net.add("Loop", np.asarray(5000), "", "s", body=grow)
    with pytest.raises(EdgekitError, match="shape that changes"):
        imported(net.model, net.inputs, tmp_path)


@pytest.mark.parametrize("sign", [1, -1])
def test_branches(sign, tmp_path):
    double = body([("Mul", "x two", "y")], [], [info("y", FLOAT, None)], two=np.float32(2))
    as_it_is = body([("Identity", "x", "y")], [], [info("y", FLOAT, None)])
    constant = body([("Identity", "c", "y")], [], [info("y", FLOAT, None)],
                    c=np.ones(3, np.float32))
    net = Network(x=np.full(3, sign, np.float32))
    total = net.inner("ReduceSum", "x", keepdims=0)
    positive = net.inner("Greater", total, np.float32(0))
    net.add("If", positive, then_branch=double, else_branch=as_it_is)
    net.add("If", positive, then_branch=constant, else_branch=double)
    net.add("If", np.asarray(True), then_branch=double, else_branch=constant)
    check(net.model, net.inputs, tmp_path)


@pytest.mark.parametrize("steps", [3, 20])
def test_scans(steps, tmp_path):
    each = body([("Add", "s a", "out"), ("Mul", "out b", "row"), ("Identity", "out", "sum")],
                [info("s", FLOAT, 3), info("a", FLOAT, 3), info("b", FLOAT, 3)],
                [info("out", FLOAT, 3), info("row", FLOAT, 3), info("sum", FLOAT, 3)])
    net = Network(s=floats(3), a=floats(steps, 3), b=floats(3, steps))
    net.add("Scan", "s", "a", "b", outputs=3, body=each, num_scan_inputs=2, scan_input_axes=[0, 1],
            scan_input_directions=[0, 1], scan_output_axes=[0, -1], scan_output_directions=[1, 0])
    check(net.model, net.inputs, tmp_path)


HEADS, WIDTH = 4, 32


def test_attention_of_onnxruntime(tmp_path):
    net = Network(q=floats(2, 5, WIDTH), k=floats(2, 7, WIDTH), v=floats(2, 7, WIDTH),
                  past=floats(2, HEADS, 3, 8), pad=np.asarray([[1] * 7, [1] * 4 + [0] * 3], "i"))
    common = {"domain": MICROSOFT, "num_heads": HEADS}
    net.add("MultiHeadAttention", "q", "k", "v", floats(3 * WIDTH), **common)
    net.add("MultiHeadAttention", "q", "k", "v", "", "pad", **common)
    net.add("MultiHeadAttention", "q", "q", "q", "", "", floats(1, HEADS, 5, 8), "past", "past",
            outputs=3, unidirectional=1, **common)
    weights, bias = floats(WIDTH, 3 * WIDTH) / 4, floats(3 * WIDTH)
    net.add("Attention", "q", weights, bias, **common)
    net.add("Attention", "q", weights, bias, np.asarray([5, 3], "i"), unidirectional=1, **common)
    places = np.asarray([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    for interleaved in (0, 1):
        net.add("RotaryEmbedding", "q", places, floats(20, 4), floats(20, 4), domain=MICROSOFT,
                interleaved=interleaved)
    check(net.model, net.inputs, tmp_path)


@pytest.mark.parametrize(("steps", "past", "total"), [(5, 0, 5), (1, 6, 7), (2, 6, 8), (1, 8, 6)])
def test_grouped_queries_with_a_cache(steps, past, total, tmp_path):
    last = total - 1 if past != 8 else 3
    net = Network(q=floats(1, steps, 64), kv=floats(1, steps, 32), last=np.asarray([last], "i"),
                  **({"past": floats(1, 2, past, 16)} if past else {}))
    cache = ["past", "past"] if past else ["", ""]
    for attributes in ({}, {"do_rotary": 1}, {"local_window_size": 3}):
        tables = [floats(20, 8), floats(20, 8)] if attributes.get("do_rotary") else []
        net.add("GroupQueryAttention", "q", "kv", "kv", *cache, "last", np.asarray(total, "i"),
                *tables, outputs=3, domain=MICROSOFT, num_heads=4, kv_num_heads=2, **attributes)
    check(net.model, net.inputs, tmp_path)


def test_fused_layers_of_onnxruntime(tmp_path):
    net = Network(x=floats(1, 3, 8, 8), z=floats(1, 4, 8, 8), a=floats(3, 8))
    conv = {"domain": MICROSOFT, "pads": [1] * 4, "kernel_shape": [3, 3]}
    kernel, bias = floats(4, 3, 3, 3), floats(4)
    net.add("FusedConv", "x", kernel, bias, activation="Clip", activation_params=[0.0, 6.0], **conv)
    net.add("FusedConv", "x", kernel, bias, "z", activation="Relu", **conv)
    net.add("FusedGemm", "a", floats(6, 8), floats(6), transB=1, activation="LeakyRelu",
            activation_alpha=0.1, domain=MICROSOFT)
    ids = RNG.integers(0, 9, (2, 5)).astype(np.int32)
    net.inputs["ids"] = ids
    net.add("EmbedLayerNormalization", "ids", "", floats(10, 8), floats(12, 8), "", floats(8),
            floats(8), outputs=2, domain=MICROSOFT)
    check(net.model, net.inputs, tmp_path)


def test_spectra(tmp_path):
    net = Network(x=floats(2, 4000), long=floats(1, 512, 3, 1), pair=floats(2, 6, 2))
    for length, step in ((64, 16), (512, 160)):  # a matrix, and the fast transform
        net.add("STFT", "x", np.asarray(step), np.hanning(length).astype(np.float32),
                np.asarray(length))
    net.add("DFT", "long", "", np.asarray(1), onesided=1)
    net.add("DFT", "pair", np.asarray(9), np.asarray(-2))
    net.add("DFT", "pair", "", np.asarray(1), inverse=1)
    found = operators(check(net.model, net.inputs, tmp_path, 1e-3))
    assert found[0].count("RFFT2D") == 2


def test_random_numbers_are_refused_unless_nobody_looks(tmp_path):
    from edgekit.importers.onnx.fusing import fuse

    net = Network(x=floats(2, 3))
    random = net.inner("RandomNormalLike", "x")
    net.add("Relu", "x")
    check(fuse(net.model), net.inputs, tmp_path)
    net.add("Add", "x", random)
    with pytest.raises(EdgekitError, match="draws random numbers"):
        imported(net.model, net.inputs, tmp_path)


def test_what_is_fused_computes_the_same(tmp_path):
    from edgekit.importers.onnx.fusing import fuse

    net = Network(12, x=floats(2, 5, 16))
    root = net.inner("Div", "x", np.float32(2**0.5))
    half = net.inner("Mul", "x", net.inner("Add", net.inner("Erf", root), np.float32(1)))
    net.add("Mul", half, np.float32(0.5))
    mean = net.inner("ReduceMean", "x", axes=[-1])
    centred = net.inner("Sub", "x", mean)
    spread = net.inner("ReduceMean", net.inner("Pow", centred, np.float32(2)), axes=[-1])
    normal = net.inner("Div", centred, net.inner("Sqrt", net.inner("Add", spread, np.float32(
        1e-5))))
    net.add("Add", net.inner("Mul", normal, floats(16)), floats(16))
    six = net.inner("Clip", net.inner("Add", "x", np.float32(3)), np.float32(0), np.float32(6))
    net.add("Div", net.inner("Mul", "x", six), np.float32(6))
    source = net.model.SerializeToString()
    fused = fuse(net.model)
    assert [node.op_type for node in fused.graph.node] == ["Gelu", "LayerNormalization",
                                                           "HardSwish"]
    data, results = imported(fused, net.inputs, tmp_path)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    for got, want in zip(results, session.run(None, net.inputs), strict=True):
        assert np.allclose(got, want, atol=2e-5)
    assert {"GELU", "HARD_SWISH"} <= set(operators(data)[0])
    assert isinstance(fused, onnx.ModelProto)
