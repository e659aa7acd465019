"""Write a float .tflite of about 90 MB, the size of a small language model: for benchmarks.

Usage: python tools/large_model.py OUT.tflite. Six layers of two fully connected operators each,
seeded random weights: memory and time depend on sizes, not on what the weights mean.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

WIDTH, HIDDEN, BLOCKS = 960, 1960, 6


def _tensor(name: str, shape: tuple[int, ...], buffer: int) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
    tensor.type = schema.TensorType.FLOAT32
    return tensor


def _signature(graph: schema.SubGraphT) -> schema.SignatureDefT:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    signature.inputs[0].name, signature.inputs[0].tensorIndex = "x", graph.inputs[0]
    signature.outputs[0].name, signature.outputs[0].tensorIndex = "y", graph.outputs[0]
    return signature


def main() -> int:
    """Build and write the model."""
    generator = np.random.default_rng(0)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, "benchmark"
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.operatorCodes, model.buffers = [code], [schema.BufferT()]
    graph.tensors, graph.operators = [_tensor("x", (1, WIDTH), 0)], []
    for step in range(2 * BLOCKS):
        rows, columns = (HIDDEN, WIDTH) if step % 2 == 0 else (WIDTH, HIDDEN)
        buffer = schema.BufferT()
        weights = generator.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
        buffer.data = np.frombuffer(weights.tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors += [_tensor(f"w{step}", (rows, columns), len(model.buffers) - 1),
                          _tensor(f"y{step}", (1, rows), 0)]
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.outputs = 0, [len(graph.tensors) - 1]
        source = 0 if step == 0 else len(graph.tensors) - 3
        operator.inputs = [source, len(graph.tensors) - 2, -1]
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = schema.FullyConnectedOptionsT()
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [len(graph.tensors) - 1]
    model.subgraphs, model.signatureDefs = [graph], [_signature(graph)]
    Path(sys.argv[1]).write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
