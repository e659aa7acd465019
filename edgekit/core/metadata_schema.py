"""TFLite Metadata as plain dictionaries: the schema's tables, a reader and a writer.

Specification: ``metadata_schema.fbs`` 1.5.0, file identifier M001, in google-ai-edge/mediapipe
(``mediapipe/tasks/metadata``) and tensorflow/tflite-support. The dictionaries have the names that
``flatc --json`` gives; enums are numbers, and a union is two keys as there: ``options_type`` with
the name of the table, ``options`` with the table.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgekit.core.errors import EdgekitError

Tree = dict[str, Any]

IDENTIFIER = b"M001"
SCHEMA_VERSION = (1, 5, 0)

_ROOT = "ModelMetadata"

# Fields in the order of the schema, which is the order of their slots. A union takes two slots.
_TABLES: Mapping[str, str] = {
    "ModelMetadata":
        "name:string description:string version:string subgraph_metadata:[SubGraphMetadata] "
        "author:string license:string associated_files:[AssociatedFile] min_parser_version:string",
    "SubGraphMetadata":
        "name:string description:string input_tensor_metadata:[TensorMetadata] "
        "output_tensor_metadata:[TensorMetadata] associated_files:[AssociatedFile] "
        "input_process_units:[ProcessUnit] output_process_units:[ProcessUnit] "
        "input_tensor_groups:[TensorGroup] output_tensor_groups:[TensorGroup] "
        "custom_metadata:[CustomMetadata]",
    "TensorMetadata":
        "name:string description:string dimension_names:[string] content:Content "
        "process_units:[ProcessUnit] stats:Stats associated_files:[AssociatedFile]",
    "AssociatedFile": "name:string description:string type:byte locale:string version:string",
    "TensorGroup": "name:string tensor_names:[string]",
    "CustomMetadata": "name:string data:[ubyte]",
    "Stats": "max:[float] min:[float]",
    "Content": "content_properties:ContentProperties range:ValueRange",
    "ValueRange": "min:int max:int",
    "FeatureProperties": "",
    "ImageProperties": "color_space:byte default_size:ImageSize",
    "ImageSize": "width:uint height:uint",
    "BoundingBoxProperties": "index:[uint] type:byte coordinate_type:byte",
    "AudioProperties": "sample_rate:uint channels:uint",
    "ProcessUnit": "options:ProcessUnitOptions",
    "NormalizationOptions": "mean:[float] std:[float]",
    "ScoreCalibrationOptions": "score_transformation:byte default_score:float",
    "ScoreThresholdingOptions": "global_score_threshold:float",
    "BertTokenizerOptions": "vocab_file:[AssociatedFile]",
    "SentencePieceTokenizerOptions":
        "sentencePiece_model:[AssociatedFile] vocab_file:[AssociatedFile]",
    "RegexTokenizerOptions": "delim_regex_pattern:string vocab_file:[AssociatedFile]",
}  # fmt: skip

_UNIONS: Mapping[str, tuple[str, ...]] = {  # member n of the list is type n + 1; 0 is "none"
    "ContentProperties": (
        "FeatureProperties", "ImageProperties", "BoundingBoxProperties", "AudioProperties",
    ),
    "ProcessUnitOptions": (
        "NormalizationOptions", "ScoreCalibrationOptions", "ScoreThresholdingOptions",
        "BertTokenizerOptions", "SentencePieceTokenizerOptions", "RegexTokenizerOptions",
    ),
}  # fmt: skip

_FORMATS: Mapping[str, str] = {"byte": "b", "ubyte": "B", "int": "i", "uint": "I", "float": "f"}


@dataclass(frozen=True)
class _Field:
    name: str
    kind: str
    slot: int
    vector: bool = False


@cache
def _fields(table: str) -> tuple[_Field, ...]:
    fields: list[_Field] = []
    for declaration in _TABLES[table].split():
        name, _, kind = declaration.partition(":")
        if kind in _UNIONS:
            fields.append(_Field(f"{name}_type", f"type of {kind}", len(fields)))
        inner = kind.strip("[]")
        fields.append(_Field(name, inner, len(fields), vector=inner != kind))
    return tuple(fields)


def decode(data: bytes) -> Tree:
    """Read a metadata flatbuffer; the bytes are untrusted.

    Raises:
        EdgekitError: Another identifier, or tables that do not hold together.
    """
    if data[4:8] != IDENTIFIER:
        raise EdgekitError(
            f"the model's TFLITE_METADATA is of the unknown kind {data[4:8]!r}",
            f"edgekit reads {IDENTIFIER.decode()}, the only one published",
        )
    try:
        reader = _Reader(data)
        return reader.table(_ROOT, reader.follow(0))
    except (struct.error, ValueError, IndexError) as error:
        raise EdgekitError(
            f"the model's TFLITE_METADATA is damaged: {error}",
            "write the metadata again with the tool that made it",
        ) from error


class _Reader:
    """Walks the tables. The schema has no cycle, so the depth is bounded by it.

    Many offsets may point at one place: what is read is held against a budget, or a file of a
    few kilobytes could unfold into gigabytes.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.budget = 16 * len(data) + 1_000_000

    def number(self, code: str, at: int) -> Any:  # noqa: ANN401 - int or float, by the code
        if at < 0:
            raise ValueError("an offset points in front of the file")
        return struct.unpack_from("<" + code, self.data, at)[0]

    def follow(self, at: int) -> int:
        return at + int(self.number("I", at))

    def table(self, name: str, at: int) -> Tree:
        self._spend(64)
        vtable = at - self.number("i", at)
        size = self.number("H", vtable)
        tree: Tree = {}
        for field in _fields(name):
            entry = 4 + 2 * field.slot
            offset = self.number("H", vtable + entry) if entry + 2 <= size else 0
            if offset:
                value = self._value(field, at + offset, tree)
                if value is not None:
                    tree[field.name] = value
        return tree

    def _value(self, field: _Field, at: int, tree: Tree) -> Any:  # noqa: ANN401
        if field.vector:
            return self._vector(field.kind, self.follow(at))
        if field.kind in _FORMATS:
            return self.number(_FORMATS[field.kind], at)
        if field.kind.startswith("type of "):
            return _member(field.kind.removeprefix("type of "), self.number("B", at))
        if field.kind == "string":
            return self._string(self.follow(at))
        table = tree.get(f"{field.name}_type") if field.kind in _UNIONS else field.kind
        return None if table is None else self.table(table, self.follow(at))

    def _vector(self, kind: str, at: int) -> Any:  # noqa: ANN401 - list, or bytes for [ubyte]
        count = int(self.number("I", at))
        width = struct.calcsize(_FORMATS.get(kind, "I"))
        self._spend(count * width)
        if at + 4 + count * width > len(self.data):
            raise ValueError("a list is longer than the file")
        if kind == "ubyte":
            return self.data[at + 4 : at + 4 + count]
        if kind in _FORMATS:
            return list(struct.unpack_from(f"<{count}{_FORMATS[kind]}", self.data, at + 4))
        places = [self.follow(at + 4 + 4 * position) for position in range(count)]
        read = self._string if kind == "string" else lambda place: self.table(kind, place)
        return [read(place) for place in places]

    def _string(self, at: int) -> str:
        count = int(self.number("I", at))
        self._spend(count)
        if at + 4 + count > len(self.data):
            raise ValueError("a text is longer than the file")
        # Whatever the bytes are, the writer puts the same ones back.
        return self.data[at + 4 : at + 4 + count].decode("utf-8", errors="surrogateescape")

    def _spend(self, amount: int) -> None:
        self.budget -= amount
        if self.budget < 0:
            raise ValueError("it unfolds into far more than its size")


def _member(union: str, number: int) -> str | None:
    if number > len(_UNIONS[union]):
        raise ValueError(f"{union} has no member {number} in schema 1.5.0")
    return _UNIONS[union][number - 1] if number else None


def encode(tree: Tree) -> bytes:
    """Write a metadata flatbuffer; equal trees give equal bytes.

    Raises:
        ValueError: A key that the schema does not have.
    """
    import flatbuffers

    writer = _Writer(flatbuffers.Builder(1024))
    writer.builder.Finish(writer.table(_ROOT, tree), IDENTIFIER)
    return bytes(writer.builder.Output())


class _Writer:
    """Writes depth first: a flatbuffer's children stand behind their parents."""

    def __init__(self, builder: Any) -> None:  # noqa: ANN401 - flatbuffers has no types
        self.builder = builder

    def table(self, name: str, tree: Tree) -> int:
        fields = _fields(name)
        if unknown := set(tree) - {field.name for field in fields}:
            raise ValueError(f"{name} has no field {sorted(unknown)}")
        offsets = {field.slot: self._child(field, tree) for field in fields
                   if field.name in tree and not _is_inline(field)}
        self.builder.StartObject(len(fields))
        for field in fields:
            if field.slot in offsets:
                self.builder.PrependUOffsetTRelativeSlot(field.slot, offsets[field.slot], 0)
            elif field.name in tree:
                self._inline(field, tree[field.name])
        return int(self.builder.EndObject())

    def _inline(self, field: _Field, value: Any) -> None:  # noqa: ANN401
        if field.kind.startswith("type of "):
            members = _UNIONS[field.kind.removeprefix("type of ")]
            self.builder.PrependUint8Slot(field.slot, members.index(value) + 1, 0)
            return
        prepend = {
            "byte": self.builder.PrependInt8Slot, "int": self.builder.PrependInt32Slot,
            "uint": self.builder.PrependUint32Slot, "float": self.builder.PrependFloat32Slot,
        }  # fmt: skip
        prepend[field.kind](field.slot, value, 0)

    def _child(self, field: _Field, tree: Tree) -> int:
        value = tree[field.name]
        if field.vector:
            return self._vector(field.kind, value)
        if field.kind == "string":
            return self._string(value)
        table = tree[f"{field.name}_type"] if field.kind in _UNIONS else field.kind
        return self.table(table, value)

    def _vector(self, kind: str, values: Any) -> int:  # noqa: ANN401
        if kind in _FORMATS:
            payload = struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
            return self._scalars(kind, payload, len(values))
        write = self._string if kind == "string" else lambda value: self.table(kind, value)
        offsets = [write(value) for value in values]
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def _scalars(self, kind: str, payload: bytes, count: int) -> int:
        width = struct.calcsize(_FORMATS[kind])
        # CustomMetadata.data is the schema's only [ubyte], and has force_align: 16.
        self.builder.StartVector(width, count, 16 if kind == "ubyte" else width)
        self.builder.head -= len(payload)
        self.builder.Bytes[self.builder.head : self.builder.head + len(payload)] = payload
        return int(self.builder.EndVector())

    def _string(self, text: str) -> int:
        return int(self.builder.CreateString(text.encode("utf-8", errors="surrogateescape")))


def _is_inline(field: _Field) -> bool:
    return not field.vector and (field.kind in _FORMATS or field.kind.startswith("type of "))
