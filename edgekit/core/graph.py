"""A read-only view of a TFLite flatbuffer: operators, tensors, constants.

The file is untrusted. Nothing here runs it; a file that does not hold together is an
``EdgekitError``, never a crash. Specification: the schema that LiteRT ships
(``ai_edge_litert.schema_py_generated``, generated from ``tflite/schema.fbs``).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError

Buffer = bytes | bytearray | memoryview

MAX_FILE_BYTES = 2**31 - 1  # flatbuffer offsets are 32 bits, signed in practice
MAX_RANK = 16
IDENTIFIER = b"TFL3"

# Bits of one element; types that are not here have no place in a constant.
DTYPE_BITS: Mapping[str, int] = {
    "float32": 32, "float16": 16, "bfloat16": 16, "float64": 64, "complex64": 64,
    "complex128": 128, "int2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "bool": 8,
    "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Quantization:
    """Affine quantization: real = scale * (code - zero_point).

    Attributes:
        scales: ``(1,)`` per tensor or ``(channels,)`` per channel.
        zero_points: The same shape.
        axis: The channel axis.
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        shape: Static shape; ``shape_signature`` has -1 where the size is open.
        constant_bytes: Size of the constant's data, 0 for an activation.
        buffer: Index of its buffer; constants that share one are stored once.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    buffer: int
    constant_bytes: int
    is_variable: bool
    quantization: Quantization | None

    @property
    def is_constant(self) -> bool:
        """Whether its data is in the file."""
        return self.constant_bytes > 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of its data in memory, rounded up for packed types."""
        return (self.elements * DTYPE_BITS.get(self.dtype, 8) + 7) // 8


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator; inputs of -1 are absent optional inputs.

    Attributes:
        name: Schema name, ``CONV_2D``; ``CUSTOM:Name`` for a custom operator.
        options: The options table of the generated schema (``Conv2DOptionsT``), or None.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Any


@dataclass(frozen=True, eq=False)
class Subgraph:
    """One subgraph: the main one, or the body of IF, WHILE, CALL_ONCE."""

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class SignatureRef:
    """A signature as the file has it: key, subgraph, and names to tensor indices."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Graph:
    """The whole file, parsed."""

    data: Buffer
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[SignatureRef, ...]
    buffer_spans: tuple[tuple[int, int], ...]
    metadata_names: tuple[str, ...]

    @property
    def main(self) -> Subgraph:
        """The subgraph of the (first) signature."""
        return self.subgraphs[self.signatures[0].subgraph if self.signatures else 0]

    def operators(self) -> Iterator[tuple[Subgraph, Operator]]:
        """Every operator of every subgraph."""
        for subgraph in self.subgraphs:
            for operator in subgraph.operators:
                yield subgraph, operator

    def raw(self, tensor: Tensor) -> memoryview:
        """The constant's bytes as stored; empty for an activation."""
        start, size = self.buffer_spans[tensor.buffer]
        return memoryview(self.data)[start : start + size]

    def values(self, tensor: Tensor) -> NDArray[Any]:
        """The constant as an array of ``tensor.shape``; packed types come out as int8.

        Raises:
            EdgekitError: The data does not have the size that its shape says.
        """
        raw = np.frombuffer(self.raw(tensor), dtype=np.uint8)
        if raw.size != tensor.nbytes:
            raise EdgekitError(
                f"tensor '{tensor.name}' holds {raw.size} bytes where its shape "
                f"{list(tensor.shape)} of {tensor.dtype} needs {tensor.nbytes}"
            )
        if tensor.dtype in ("int4", "int2", "uint4"):
            return _unpack(raw, tensor.dtype, tensor.elements).reshape(tensor.shape)
        kind = {"bfloat16": "uint16"}.get(tensor.dtype, tensor.dtype)
        return raw.view(np.dtype(kind)).reshape(tensor.shape)

    @cached_property
    def constants(self) -> tuple[Tensor, ...]:
        """Constant tensors, one for each distinct buffer, in file order."""
        seen: dict[int, Tensor] = {}
        for subgraph in self.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.is_constant:
                    seen.setdefault(tensor.buffer, tensor)
        return tuple(seen.values())


def _unpack(raw: NDArray[np.uint8], dtype: str, elements: int) -> NDArray[np.int8]:
    """Packed 2- and 4-bit codes, low bits first, as int8."""
    bits = DTYPE_BITS[dtype]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = ((raw[:, None] >> shifts) & (2**bits - 1)).reshape(-1)[:elements].astype(np.int8)
    if dtype.startswith("int"):
        codes = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes).astype(np.int8)
    return np.asarray(codes, dtype=np.int8)


@cache
def _enum_names(enum_name: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    enum = getattr(schema, enum_name)
    return {value: key for key, value in vars(enum).items() if isinstance(value, int)}


def dtype_name(code: int) -> str:
    """``float32`` for the schema's FLOAT32; unknown codes are named as such."""
    return _enum_names("TensorType").get(code, f"type-{code}").lower()


def read_graph(data: Buffer, where: str = "the model") -> Graph:
    """Parse a TFLite flatbuffer.

    Args:
        data: The file's bytes.
        where: The file's name, for messages.

    Raises:
        EdgekitError: Not a TFLite file, truncated, or inconsistent.
    """
    if len(data) < 16 or bytes(data[4:8]) != IDENTIFIER:
        raise EdgekitError(
            f"{where} is not a TFLite model: it has no '{IDENTIFIER.decode()}' mark at byte 4",
            "a .tflite file is expected; convert other formats by giving the source itself",
        )
    if len(data) > MAX_FILE_BYTES:
        raise EdgekitError(f"{where} is larger than 2 GB, the most that a TFLite file can be")
    try:
        return _Reader(data).graph()
    except EdgekitError as error:
        raise EdgekitError(f"{where} is damaged: {error.message}") from error
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, KeyError,
            OverflowError, MemoryError, RecursionError) as error:  # fmt: skip
        raise EdgekitError(
            f"{where} is damaged or truncated: its tables do not hold together",
            "convert or copy it again",
        ) from error


class _Reader:
    """Walks the flatbuffer once; every count is held against the file's size."""

    def __init__(self, data: Buffer) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.data = data
        self.model = schema.Model.GetRootAs(data, 0)

    def graph(self) -> Graph:
        spans = tuple(self._span(i) for i in range(self._count(self.model.BuffersLength())))
        codes = [self._code(i) for i in range(self._count(self.model.OperatorCodesLength()))]
        count = self._count(self.model.SubgraphsLength())
        if count == 0:
            raise EdgekitError("it has no subgraph")
        subgraphs = tuple(self._subgraph(i, codes, spans) for i in range(count))
        signatures = tuple(self._signature(i, subgraphs)
                           for i in range(self._count(self.model.SignatureDefsLength())))
        names = tuple(_text(self.model.Metadata(i).Name())
                      for i in range(self._count(self.model.MetadataLength())))
        return Graph(self.data, subgraphs, signatures, spans, names)

    def _count(self, length: int) -> int:
        # A vector of n tables takes at least 4n bytes: anything longer is a lie.
        if length * 4 > len(self.data):
            raise EdgekitError("a list in it is longer than the file")
        return length

    def _span(self, index: int) -> tuple[int, int]:
        buffer = self.model.Buffers(index)
        if buffer.Offset() > 1:  # data behind the flatbuffer, for large models
            start, size = buffer.Offset(), buffer.Size()
        elif buffer.DataLength():
            field = buffer._tab.Offset(4)  # noqa: SLF001 - the generated class hides the position
            start, size = buffer._tab.Vector(field), buffer.DataLength()  # noqa: SLF001
        else:
            return 0, 0
        if start + size > len(self.data):
            raise EdgekitError(f"buffer {index} reaches beyond the end of the file")
        return start, size

    def _code(self, index: int) -> tuple[str, int]:
        code = self.model.OperatorCodes(index)
        # Files written before 2020 have the code in the deprecated 8-bit field only.
        value = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _enum_names("BuiltinOperator").get(value, f"UNKNOWN_{value}")
        if name == "CUSTOM":
            name = f"CUSTOM:{_text(code.CustomCode())}"
        return name, code.Version()

    def _subgraph(
        self, index: int, codes: list[tuple[str, int]], spans: tuple[tuple[int, int], ...]
    ) -> Subgraph:
        table = self.model.Subgraphs(index)
        tensors = tuple(self._tensor(table.Tensors(i), i, spans)
                        for i in range(self._count(table.TensorsLength())))
        operators = tuple(self._operator(table.Operators(i), i, codes, len(tensors))
                          for i in range(self._count(table.OperatorsLength())))
        inputs = _indices(table.InputsAsNumpy(), len(tensors))
        outputs = _indices(table.OutputsAsNumpy(), len(tensors))
        return Subgraph(index, _text(table.Name()), tensors, operators, inputs, outputs)

    def _tensor(self, table: Any, index: int, spans: tuple[tuple[int, int], ...]) -> Tensor:  # noqa: ANN401
        shape = _ints(table.ShapeAsNumpy())
        if len(shape) > MAX_RANK or any(size < 0 for size in shape):
            raise EdgekitError(f"tensor {index} has the impossible shape {list(shape[:20])}")
        signature = _ints(table.ShapeSignatureAsNumpy()) or shape
        if not 0 <= table.Buffer() < max(len(spans), 1):
            raise EdgekitError(f"tensor {index} names a buffer that does not exist")
        constant_bytes = spans[table.Buffer()][1] if spans else 0
        return Tensor(
            index, _text(table.Name()), dtype_name(table.Type()), shape, signature,
            table.Buffer(), constant_bytes, bool(table.IsVariable()),
            _quantization(table.Quantization()),
        )  # fmt: skip

    def _operator(
        self, table: Any, index: int, codes: list[tuple[str, int]], tensors: int  # noqa: ANN401
    ) -> Operator:
        name, version = codes[table.OpcodeIndex()]
        return Operator(
            index, name, version,
            _indices(table.InputsAsNumpy(), tensors, optional=True),
            _indices(table.OutputsAsNumpy(), tensors),
            _indices(table.IntermediatesAsNumpy(), tensors),
            self._options(table),
        )  # fmt: skip

    def _options(self, table: Any) -> Any:  # noqa: ANN401
        schema = self.schema
        if table.BuiltinOptionsType():
            return schema.BuiltinOptionsCreator(table.BuiltinOptionsType(), table.BuiltinOptions())
        if table.BuiltinOptions2Type():
            return schema.BuiltinOptions2Creator(
                table.BuiltinOptions2Type(), table.BuiltinOptions2()
            )
        return None

    def _signature(self, index: int, subgraphs: tuple[Subgraph, ...]) -> SignatureRef:
        table = self.model.SignatureDefs(index)
        if table.SubgraphIndex() >= len(subgraphs):
            raise EdgekitError(f"signature {index} names a subgraph that does not exist")
        tensors = len(subgraphs[table.SubgraphIndex()].tensors)
        inputs = self._names(table.Inputs, table.InputsLength(), tensors)
        outputs = self._names(table.Outputs, table.OutputsLength(), tensors)
        return SignatureRef(_text(table.SignatureKey()), table.SubgraphIndex(), inputs, outputs)

    def _names(self, entry: Any, length: int, tensors: int) -> dict[str, int]:  # noqa: ANN401
        names = {_text(entry(i).Name()): entry(i).TensorIndex()
                 for i in range(self._count(length))}
        if any(index >= tensors for index in names.values()):
            raise EdgekitError("a signature names a tensor that does not exist")
        return names


def _quantization(table: Any) -> Quantization | None:  # noqa: ANN401
    if table is None or not table.ScaleLength():
        return None
    scales = np.asarray(table.ScaleAsNumpy(), dtype=np.float32)
    zero_points = (np.asarray(table.ZeroPointAsNumpy(), dtype=np.int64)
                   if table.ZeroPointLength() else np.zeros(scales.size, dtype=np.int64))
    return Quantization(scales, zero_points, table.QuantizedDimension())


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", errors="replace") if raw else ""


def _ints(array: Any) -> tuple[int, ...]:  # noqa: ANN401 - the schema gives 0 for "absent"
    return () if isinstance(array, int) else tuple(int(value) for value in array)


def _indices(array: Any, tensors: int, *, optional: bool = False) -> tuple[int, ...]:  # noqa: ANN401
    indices = _ints(array)
    lowest = -1 if optional else 0
    if any(not lowest <= index < tensors for index in indices):
        raise EdgekitError("an operator or subgraph names a tensor that does not exist")
    return indices
