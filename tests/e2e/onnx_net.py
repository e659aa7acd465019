"""Networks of single nodes for tests of the ONNX importer, and their results both ways."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplemented_

RNG = np.random.default_rng(0)
OPSET = 21


class Net:
    """A network of single nodes, each with an output of its own."""

    def __init__(self, opset=OPSET, **inputs):
        self.opset, self.inputs = opset, inputs
        self.nodes, self.stored, self.outputs = [], [], []

    def constant(self, array):
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def inner(self, op, *inputs, outputs=1, **attributes):
        """A node whose outputs are used by other nodes only."""
        names = [f"{op.lower()}{len(self.nodes)}_{i}" for i in range(outputs)]
        given = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(op, given, names, **attributes))
        return names if outputs > 1 else names[0]

    def add(self, op, *inputs, outputs=1, **attributes):
        names = self.inner(op, *inputs, outputs=outputs, **attributes)
        self.outputs += [names] if isinstance(names, str) else names
        return names

    @property
    def model(self):
        def info(name, array):
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            return helper.make_tensor_value_info(name, kind, array.shape)

        graph = helper.make_graph(
            self.nodes, "net", [info(name, array) for name, array in self.inputs.items()],
            [helper.make_empty_tensor_value_info(name) for name in self.outputs], self.stored)
        return helper.make_model(graph, ir_version=10,
                                 opset_imports=[helper.make_opsetid("", self.opset)])


def reference(net):
    """onnxruntime's results; the ONNX project's where that lacks old versions or narrow types."""
    model = onnx.shape_inference.infer_shapes(net.model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
    except NotImplemented_:
        return ReferenceEvaluator(model).run(net.outputs, net.inputs)
    return session.run(net.outputs, net.inputs)


def converted(net):
    """The network as a .tflite, its results, and the names of its operators."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from edgekit.importers.onnx.executor import Executor
    from edgekit.importers.onnx.values import Value, logical

    executor = Executor(net.model, [])

    def call(*tensors):
        values = {name: Value(x) for name, x in zip(net.inputs, tensors, strict=True)}
        return [tf.identity(tf.convert_to_tensor(logical(value)))
                for value in executor.run(net.model.graph, values)]

    specs = [tf.TensorSpec(array.shape, array.dtype) for array in net.inputs.values()]
    function = tf.function(call, autograph=False).get_concrete_function(*specs)
    data = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), net.inputs.values(), strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    results = [interpreter.get_tensor(detail["index"])
               for detail in interpreter.get_output_details()]
    return results, [detail["op_name"] for detail in interpreter._get_ops_details()]


def check(net, tolerance=1e-6):
    results, operators = converted(net)
    wrong = []
    for name, got, want in zip(net.outputs, results, reference(net), strict=True):
        if got.dtype != want.dtype or got.shape != want.shape or not np.allclose(
                got, want, rtol=tolerance, atol=tolerance, equal_nan=True):
            wrong.append((name, got.dtype, got.shape, want.dtype, want.shape))
    assert not wrong
    return operators


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)
