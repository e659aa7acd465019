"""Small ``.tflite`` files for tests, made without TensorFlow.

    file = FlatbufferBuilder()
    x = file.input("x", (1, 8, 8, 3))
    w = file.constant("w", np.ones((4, 3, 3, 3), np.float32))
    b = file.constant("b", np.zeros(4, np.float32))
    y = file.tensor("y", (1, 8, 8, 4))
    file.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", strideW=1, strideH=1)
    file.output(y)
    data = file.build()

Tensors are named by the index that the methods return. Shapes are not inferred: write the ones
that the operator makes. ``-1`` as an operator's input is an absent optional one. Options are the
fields of the schema's ``<name>T`` class. ``small_net`` is a ready-made one that LiteRT runs.
"""

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"


class FlatbufferBuilder:
    """Collects tensors and operators, subgraph by subgraph."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = "made by a test"
        self._model.buffers = [schema.BufferT()]  # buffer 0 is the empty one, by convention
        self._model.subgraphs = []
        self._model.operatorCodes = []
        self._model.metadata = []
        self._codes: dict[tuple[str, int], int] = {}
        self.subgraph("main")

    def subgraph(self, name: str) -> int:
        """Begin another subgraph; everything that follows goes there. Returns its index."""
        made = schema.SubGraphT()
        made.name = name
        made.tensors, made.operators, made.inputs, made.outputs = [], [], [], []
        self._model.subgraphs.append(made)
        self._current = made
        return len(self._model.subgraphs) - 1

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        scale: float | Sequence[float] | None = None,
        zero_point: int | Sequence[int] = 0,
        axis: int = 0,
        signature: Sequence[int] | None = None,
        variable: bool = False,
        buffer: int = 0,
    ) -> int:
        """An activation, or a constant when ``buffer`` has data.

        Args:
            scale: Of a quantized tensor; one for each channel along ``axis``, or one for all.
            signature: The shape with -1 where it is open.
        """
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), buffer
        made.type = getattr(schema.TensorType, dtype.upper())
        made.shapeSignature = None if signature is None else list(signature)
        made.isVariable = variable
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            points = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
            made.quantization.scale, made.quantization.zeroPoint = scales, points
            made.quantization.quantizedDimension = axis
        self._current.tensors.append(made)
        return len(self._current.tensors) - 1

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32", **more: Any) -> int:
        """An activation that is an input of the subgraph."""
        index = self.tensor(name, shape, dtype, **more)
        self._current.inputs.append(index)
        return index

    def output(self, *indices: int) -> None:
        """Make activations the subgraph's outputs."""
        self._current.outputs.extend(indices)

    def buffer(self, data: bytes) -> int:
        """A buffer; several constants may name it."""
        made = schema.BufferT()
        made.data = np.frombuffer(data, np.uint8)
        self._model.buffers.append(made)
        return len(self._model.buffers) - 1

    def constant(self, name: str, values: Any, dtype: str | None = None, **more: Any) -> int:
        """A constant with a buffer of its own.

        Args:
            dtype: If not the array's own: ``int4`` packs two codes to a byte.
        """
        array = np.ascontiguousarray(values)
        raw = array.tobytes()
        if dtype in ("int4", "int2"):
            raw = pack(array, 4 if dtype == "int4" else 2)
        return self.tensor(name, array.shape, dtype or array.dtype.name,
                           buffer=self.buffer(raw), **more)

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str | None = None,
        *,
        version: int = 1,
        **fields: Any,
    ) -> None:
        """An operator: ``CONV_2D``, or ``CUSTOM:Name``.

        Args:
            options: Schema name of the options table, without the T: ``Conv2DOptions``.
            fields: Its fields.
        """
        made = schema.OperatorT()
        made.opcodeIndex = self._code(name, version)
        made.inputs, made.outputs = list(inputs), list(outputs)
        if options is not None:
            table = getattr(schema, f"{options}T")()
            for key, value in fields.items():
                assert hasattr(table, key), f"{options} has no {key}"
                setattr(table, key, value)
            second = hasattr(schema.BuiltinOptions2, options)
            kinds = schema.BuiltinOptions2 if second else schema.BuiltinOptions
            place = "builtinOptions2" if second else "builtinOptions"
            setattr(made, place, table)
            setattr(made, f"{place}Type", getattr(kinds, options))
        self._current.operators.append(made)

    def metadata(self, name: str, data: bytes) -> None:
        """A metadata entry with a buffer of its own."""
        made = schema.MetadataT()
        made.name, made.buffer = name, self.buffer(data)
        self._model.metadata.append(made)

    def build(self, *, signature: str | None = "serving_default") -> bytes:
        """The file; ``signature`` names subgraph 0's inputs and outputs after their tensors."""
        self._model.signatureDefs = [self._signature(signature)] if signature else []
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, name: str, version: int) -> int:
        if (name, version) not in self._codes:
            made = schema.OperatorCodeT()
            kind, _, custom = name.partition(":")
            made.builtinCode = getattr(schema.BuiltinOperator, kind)
            made.deprecatedBuiltinCode = min(made.builtinCode, 127)
            made.customCode, made.version = custom or None, version
            self._codes[name, version] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(made)
        return self._codes[name, version]

    def _signature(self, key: str) -> Any:
        main = self._model.subgraphs[0]
        made = schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = key, 0
        made.inputs = [_entry(main, index) for index in main.inputs]
        made.outputs = [_entry(main, index) for index in main.outputs]
        return made


def _entry(subgraph: Any, index: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = subgraph.tensors[index].name, index
    return made


def pack(codes: Any, bits: int) -> bytes:
    """Small integer codes, several to a byte, low bits first."""
    flat = np.asarray(codes).reshape(-1).astype(np.uint8) & (2**bits - 1)
    per_byte = 8 // bits
    flat = np.concatenate([flat, np.zeros(-flat.size % per_byte, np.uint8)])
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return bytes(np.bitwise_or.reduce(flat.reshape(-1, per_byte) << shifts, axis=1))


def small_net(size: int = 16, channels: int = 8, seed: int = 0) -> bytes:
    """A float network that LiteRT runs: convolution, pooling, fully connected, softmax.

    Input ``image`` (1, size, size, 3), output ``scores`` (1, 10).
    """
    random = np.random.default_rng(seed)
    half = size // 2

    def weights(*shape: int) -> Any:
        return random.normal(0.0, 0.3, shape).astype(np.float32)

    file = FlatbufferBuilder()
    image = file.input("image", (1, size, size, 3))
    kernel = file.constant("conv/kernel", weights(channels, 3, 3, 3))
    bias = file.constant("conv/bias", weights(channels))
    conv = file.tensor("conv", (1, size, size, channels))
    file.operator("CONV_2D", [image, kernel, bias], [conv], "Conv2DOptions", strideW=1, strideH=1,
                  fusedActivationFunction=schema.ActivationFunctionType.RELU)
    pool = file.tensor("pool", (1, half, half, channels))
    file.operator("MAX_POOL_2D", [conv], [pool], "Pool2DOptions", strideW=2, strideH=2,
                  filterWidth=2, filterHeight=2)
    flat = file.tensor("flat", (1, half * half * channels))
    shape = file.constant("flat/shape", np.array([1, half * half * channels], np.int32))
    file.operator("RESHAPE", [pool, shape], [flat], "ReshapeOptions",
                  newShape=[1, half * half * channels])
    dense_kernel = file.constant("dense/kernel", weights(10, half * half * channels))
    dense_bias = file.constant("dense/bias", weights(10))
    logits = file.tensor("logits", (1, 10))
    file.operator("FULLY_CONNECTED", [flat, dense_kernel, dense_bias], [logits],
                  "FullyConnectedOptions")
    scores = file.tensor("scores", (1, 10))
    file.operator("SOFTMAX", [logits], [scores], "SoftmaxOptions", beta=1.0)
    file.output(scores)
    return file.build()
