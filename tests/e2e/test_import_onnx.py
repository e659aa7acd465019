"""ONNX files: sound ones become models, unsound ones a message, and none is ever written to."""

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.core.errors import EdgekitError

pytestmark = pytest.mark.slow

F = TensorProto.FLOAT


def tensor(name, *shape, dtype=F):
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name, *shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model_of(nodes, inputs, outputs, initializers=(), opset=21, **more):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **more)


def small_network(**more):
    """Conv, ReLU, flatten, fully connected: NCHW, with a batch that is open."""
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Flatten", ["r"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w", "b"], ["scores"], "head"),
    ]
    return model_of(nodes, [tensor("image", "batch", 3, 6, 5)], [tensor("scores", "batch", 4)],
                    [constant("k", 8, 3, 3, 3), constant("w", 240, 4), constant("b", 4)], **more)


@pytest.fixture
def write(tmp_path):
    def save(model, name="net.onnx"):
        path = tmp_path / name
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return save


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_network_keeps_its_order_of_axes_and_gains_no_transposes(write):
    path = write(small_network())
    before = digest(path)
    model = edgekit.load_model(path)
    assert digest(path) == before
    assert [(s.name, s.shape) for s in model.inputs] == [("image", (1, 3, 6, 5))]
    assert [(s.name, s.shape) for s in model.outputs] == [("scores", (1, 4))]
    names = [operator.name for _, operator in model.graph.operators()]
    assert names.count("TRANSPOSE") <= 2
    assert model.provenance.format == "onnx"
    assert model.provenance.parity[0].max_abs < 1e-4


def test_pictures_may_have_their_channels_last(write, tmp_path):
    path = write(small_network())
    model = edgekit.load_model(path, input_layout="nhwc")
    assert model.inputs[0].shape == (1, 6, 5, 3)
    assert "TRANSPOSE" not in [operator.name for _, operator in model.graph.operators()]
    bundle, = edgekit.build(model, "android", recipe="float32", out=tmp_path, device="none")
    manifest = (bundle.folder / "manifest.json").read_text()
    assert '"layout": "nhwc"' in manifest


def test_nothing_looks_like_a_picture(write):
    path = write(model_of([helper.make_node("Relu", ["x"], ["y"])], [tensor("x", 1, 5)],
                          [tensor("y", 1, 5)]))
    with pytest.raises(EdgekitError, match="no input that looks like a picture"):
        edgekit.load_model(path, input_layout="nhwc")


def test_open_dimensions_are_asked_for_by_name(write):
    path = write(model_of([helper.make_node("Relu", ["x"], ["y"])],
                          [tensor("x", "batch", "length", 4)], [tensor("y", "batch", "length", 4)]))
    problem = r"dimension 1 \('length'\) of input 'x' is open"
    with pytest.raises(EdgekitError, match=problem) as said:
        edgekit.load_model(path)
    assert said.value.hint == "fix it with --input-shape x=1,SIZE,4"
    model = edgekit.load_model(path, input_shapes={"x": (1, 7, 4)})
    assert model.outputs[0].shape == (1, 7, 4)


def test_every_unsupported_operator_is_named_with_its_nodes(write):
    nodes = [helper.make_node("Warp", ["x"], ["a"], "first", domain="acme"),
             helper.make_node("Warp", ["a"], ["b"], "second", domain="acme"),
             helper.make_node("StringNormalizer", ["b"], ["y"], "text")]
    model = model_of(nodes, [tensor("x", 1, 4)], [tensor("y", 1, 4)])
    model.opset_import.append(helper.make_opsetid("acme", 1))
    with pytest.raises(EdgekitError) as said:
        edgekit.load_model(write(model))
    assert "acme:Warp (first, second)" in said.value.message
    assert "StringNormalizer (text)" in said.value.message


def cyclic():
    nodes = [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return model_of(nodes, [tensor("x", 1, 4)], [tensor("b", 1, 4)])


def with_external_data(location):
    model = small_network()
    stored = model.graph.initializer[0]
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value=location)
    return model


def with_absurd_dimensions():
    model = small_network()
    model.graph.initializer[0].dims[0] = 2**40
    return model


def with_negative_dimensions():
    model = small_network()
    model.graph.initializer[0].dims[0] = -8
    return model


@pytest.mark.parametrize(("make", "said"), [
    (lambda: b"", "is empty"),
    (lambda: b"\xff\xfe random bytes \x00\x01", "is damaged, or no ONNX file"),
    (lambda: small_network().SerializeToString()[:700], "is damaged, or no ONNX file"),
    (lambda: onnx.ModelProto().SerializeToString() + b"\x08\x07", "it holds no graph"),
    (cyclic, "no sound ONNX model"),
    (lambda: small_network(opset=9999), "uses ONNX operator set 9999; the newest"),
    (lambda: with_external_data("weights.bin"), "weights.bin, which is not there"),
    (lambda: with_external_data("../outside.bin"), "outside of its folder"),
    (lambda: with_external_data("/etc/hostname"), "outside of its folder"),
    (with_absurd_dimensions, "that cannot be"),
    (with_negative_dimensions, "that cannot be"),
])  # fmt: skip
def test_unsound_files_are_a_message(write, tmp_path, make, said):
    (tmp_path.parent / "outside.bin").write_bytes(b"\0" * 4096)
    made = make()
    if not isinstance(made, bytes):
        made = made.SerializeToString()
    path = write(made)
    before = digest(path)
    with pytest.raises(EdgekitError, match=said):
        edgekit.load_model(path)
    assert digest(path) == before


def test_a_link_to_weights_outside_is_not_followed(write, tmp_path):
    outside = tmp_path.parent / "secret.bin"
    outside.write_bytes(b"\0" * 4096)
    (tmp_path / "weights.bin").symlink_to(outside)
    with pytest.raises(EdgekitError, match="outside of its folder"):
        edgekit.load_model(write(with_external_data("weights.bin")))


def test_external_weights_beside_the_model_are_read(write, tmp_path):
    model = small_network()
    weights = model.graph.initializer[0].raw_data
    (tmp_path / "weights.bin").write_bytes(weights)
    assert edgekit.load_model(write(with_external_data("weights.bin"))).parameters > 900


def test_half_precision_is_computed_in_float32(write):
    nodes = [helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
             helper.make_node("Mul", ["h", "s"], ["m"]),
             helper.make_node("Relu", ["m"], ["y"])]
    scale = numpy_helper.from_array(np.array([1.5, -2, 0.25, 3], np.float16), "s")
    output = tensor("y", 1, 4, dtype=TensorProto.FLOAT16)
    path = write(model_of(nodes, [tensor("x", 1, 4)], [output], [scale]))
    model = edgekit.load_model(path)
    assert model.outputs[0].dtype == "float32"
    assert "output 'y' is float16 in the source and float32 here" in model.provenance.notes


def test_the_first_layer_that_differs_is_named(tmp_path, write):
    """In the child's own process, because an operator has to be wrong for it."""
    import tensorflow as tf

    from edgekit.importers._tensorflow import Request
    from edgekit.importers.onnx import worker
    from edgekit.importers.onnx.node import Operator
    from edgekit.importers.onnx.operators import OPERATORS

    nodes = [helper.make_node("Relu", ["x"], ["a"], "fine"),
             helper.make_node("Sigmoid", ["a"], ["b"], "culprit"),
             helper.make_node("Relu", ["b"], ["c"], "after"),
             helper.make_node("Add", ["c", "a"], ["y"], "end")]
    path = write(model_of(nodes, [tensor("x", 1, 40)], [tensor("y", 1, 40)]))
    request = Request(str(path), str(tmp_path), str(tmp_path / "out.tflite"))
    right = OPERATORS["Sigmoid"]
    OPERATORS["Sigmoid"] = Operator(lambda _node, x: tf.nn.tanh(x), right.spec, "elementwise")
    try:
        with pytest.raises(EdgekitError, match="the two part at Sigmoid 'culprit'"):
            worker.convert_onnx(request)
    finally:
        OPERATORS["Sigmoid"] = right


def test_the_first_layer_that_differs_is_named_for_tensorflow_too():
    import tensorflow as tf

    from edgekit.importers._bisect_worker import first_difference
    from edgekit.importers._convert_worker import Endpoint, trace
    from edgekit.importers._graph_inside_worker import GraphInside
    from edgekit.importers._shapes import Port

    def call(tensors):
        x = tf.nn.relu(tensors["x"], name="first")
        x = tf.nn.tanh(x, name="second")
        return {"y": tf.exp(x, name="third")}

    endpoint = Endpoint("TensorFlow", (Port("x", (1, 30), "float32"),), call)
    traced = trace(endpoint, [(1, 30)], "net")

    class Wrong(GraphInside):
        """A reference that is off from the second layer on."""

        def both(self, names, inputs):
            expected, got = super().both(names, inputs)
            return {name: array if "first" in name else array + 1.0
                    for name, array in expected.items()}, got

    inputs = {"x": np.linspace(-1, 1, 30, dtype=np.float32)[None]}
    found = first_difference(Wrong(traced, endpoint, [(1, 30)]), inputs)
    assert found == "Tanh 'second'"


def test_token_ids_are_drawn_from_the_whole_vocabulary(write):
    from edgekit.core.indices import index_rows

    nodes = [helper.make_node("Gather", ["words", "ids"], ["e"]),
             helper.make_node("Cast", ["mask"], ["m"], to=F),
             helper.make_node("Unsqueeze", ["m", "axis"], ["u"]),
             helper.make_node("Mul", ["e", "u"], ["y"])]
    inputs = [tensor(name, 1, 6, dtype=TensorProto.INT64) for name in ("ids", "mask")]
    stored = [constant("words", 900, 4), numpy_helper.from_array(np.array([2]), "axis")]
    model = edgekit.load_model(write(model_of(nodes, inputs, [tensor("y", 1, 6, 4)], stored)))
    assert index_rows(model) == {"ids": 900}


def test_a_branch_that_is_impossible_at_these_sizes_is_left_out_with_a_note(write, tmp_path):
    """As in models for two sampling rates, each with a size of its own."""
    def side(name, size):
        shape = numpy_helper.from_array(np.array([1, size]), f"{name}_shape")
        return helper.make_graph([helper.make_node("Reshape", ["x", f"{name}_shape"], [name])],
                                 name, [], [tensor(name, 1, size)], [shape])

    nodes = [helper.make_node("Equal", ["rate", "sixteen"], ["is_16"]),
             helper.make_node("If", ["is_16"], ["y"], "choice", then_branch=side("a", 6),
                              else_branch=side("b", 5))]
    inputs = [tensor("x", 2, 3), tensor("rate", dtype=TensorProto.INT64)]
    sixteen = numpy_helper.from_array(np.array(16000), "sixteen")
    path = write(model_of(nodes, inputs, [tensor("y", 1, None)], [sixteen]))
    np.savez(tmp_path / "data.npz", x=np.ones((2, 2, 3), np.float32), rate=np.full(2, 16000))
    model = edgekit.load_model(path, data=tmp_path / "data.npz")
    assert "its else branch cannot be computed at these sizes" in " ".join(model.provenance.notes)
    assert model.outputs[0].shape == (1, 6)


def test_onnx2tf_gets_a_copy_and_is_held_to_the_same_parity(write, tmp_path, monkeypatch):
    path = write(small_network())
    before, place = digest(path), tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    model = edgekit.load_model(path, onnx_importer="onnx2tf")
    assert digest(path) == before
    assert list(place.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["net.onnx"]
    assert model.provenance.notes[0] == "converted by onnx2tf"
    assert [(s.name, s.shape) for s in model.inputs] == [("image", (1, 3, 6, 5))]
    assert model.provenance.parity[0].cosine > 0.9999
