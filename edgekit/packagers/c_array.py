"""``model_data.h`` and ``model_data.cc``: the model as a C array, for TensorFlow Lite Micro.

The header compiles as C99 and C++11, and needs nothing but the standard library; what it says about
inputs, outputs, labels and preprocessing are macros, which take no flash until they are used.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgekit import __version__
from edgekit.core.description import InputDescription
from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Buffer
from edgekit.core.metadata_file import METADATA_NAME, is_packed, with_metadata
from edgekit.core.model import Model, TensorSpec
from edgekit.packagers._tflm_operators import COMMIT, RESOLVER_METHODS
from edgekit.packagers.base import PackagedFile, PackageRequest

_BYTES_PER_LINE = 16
_CHUNK_BYTES = 1 << 20

_C_TYPES = {
    "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t",
    "int32": "int32_t", "uint32": "uint32_t", "int64": "int64_t", "uint64": "uint64_t",
    "float32": "float", "float64": "double", "bool": "uint8_t",
}  # fmt: skip


class _CArray:
    """Satisfies ``edgekit.packagers.base.Packager``."""

    name = "c-array"

    def package(self, request: PackageRequest, folder: Path) -> list[PackagedFile]:
        """Write ``model_data.h`` and ``model_data.cc``.

        Raises:
            EdgekitError: The model has a number that C has no constant for.
        """
        data = array_of(request.model)
        name = c_identifier(request.model.name)
        header = "\n".join(_header(request, data, name)) + "\n"
        (folder / "model_data.h").write_bytes(header.encode("ascii"))
        with (folder / "model_data.cc").open("wb") as stream:
            write_array(stream, data, name)
        return [PackagedFile("model_data.cc", "c"), PackagedFile("model_data.h", "c")]


C_ARRAY = _CArray()


def array_of(model: Model) -> Buffer:
    """The bytes that go into the array: what the model costs in flash.

    TFLite Metadata and appended files stay in ``model.tflite``: TFLM reads neither. Constants
    stand inside the flatbuffer and at multiples of 16 bytes, which its kernels rely on.
    """
    if METADATA_NAME not in model.graph.metadata_names and is_packed(model.graph):
        return model.data
    return with_metadata(model.data, None)


def c_identifier(name: str) -> str:
    """A model's name as the beginning of C identifiers: letters, digits, single underscores.

    Names that differ in other characters only become the same; the linker then reports the array
    as defined twice. Suffixes follow, so that C's keywords need no care.
    """
    # Double and leading underscores are the implementation's own in C++.
    safe = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "model"
    return f"model_{safe}" if safe[0].isdigit() else safe


def write_array(stream: BinaryIO, data: Buffer, name: str) -> None:
    """Write the C++ source, a megabyte of the model at a time.

    Args:
        stream: Where to.
        data: The model.
        name: From ``c_identifier``.
    """
    stream.write(f'#include "model_data.h"\n\n'
                 f"alignas(16) const unsigned char {name}_model_data[] = {{\n".encode())
    # "0x00," to "0xff,": 5 characters for every byte, looked up for a whole chunk at once.
    words = np.frombuffer(b"".join(b"0x%02x," % byte for byte in range(256)), np.uint8)
    words = words.reshape(256, 5)
    values = np.frombuffer(data, np.uint8)
    for start in range(0, values.size, _CHUNK_BYTES):
        chunk = values[start : start + _CHUNK_BYTES]
        whole = chunk.size - chunk.size % _BYTES_PER_LINE
        lines = words[chunk[:whole]].reshape(-1, 5 * _BYTES_PER_LINE)
        newlines = np.full((len(lines), 1), ord("\n"), np.uint8)
        stream.write(np.concatenate([lines, newlines], axis=1).tobytes())
        if whole < chunk.size:
            stream.write(words[chunk[whole:]].tobytes() + b"\n")
    stream.write(f"}};\nconst unsigned int {name}_model_data_len = {len(data)};\n".encode())


def _header(request: PackageRequest, data: Buffer, name: str) -> Iterator[str]:
    model, macro = request.model, name.upper()
    digest = hashlib.sha256(data).hexdigest()
    # With the digest, the headers of two models of one name do not shut each other out silently.
    guard = f"EDGEKIT_{macro}_{digest[:8].upper()}_MODEL_DATA_H_"
    yield f"// {quoted(model.name)} for {request.target.name}, written by edgekit {__version__}."
    yield f"// sha256 of the array: {digest}"
    yield "// TFLite metadata and appended files are left out of it: TFLM reads neither, and they"
    yield "// would take flash. The tensor arena's size is in the bundle's report: arena_bytes."
    yield from (f"// {quoted(note)}" for note in request.notes)
    yield f"\n#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n"
    yield f"#define {macro}_MODEL_DATA_BYTES {len(data)}"
    for side, specs in (("INPUT", model.inputs), ("OUTPUT", model.outputs)):
        yield f"\n#define {macro}_{side}_COUNT {len(specs)}"
        for index, spec in enumerate(specs):
            yield from _tensor(f"{macro}_{side}_{index}", spec)
            if side == "INPUT" and (described := model.descriptions.get(spec.name)):
                yield from _preparation(f"{macro}_INPUT_{index}", described)
    yield from _labels(macro, model.labels)
    yield '\n#ifdef __cplusplus\nextern "C" {\n#endif'
    yield f"extern const unsigned char {name}_model_data[{macro}_MODEL_DATA_BYTES];"
    yield f"extern const unsigned int {name}_model_data_len;"
    yield '#ifdef __cplusplus\n}  // extern "C"\n#endif'
    yield from _resolver(model, name)
    yield f"\n#endif  // {guard}"


def _tensor(macro: str, spec: TensorSpec) -> Iterator[str]:
    """Macros for an input or output, by its position in the interpreter."""
    meaning = "" if spec.scale is None else ", real value = SCALE * (code - ZERO_POINT)"
    yield f"\n// {quoted(spec.name)}: {spec.dtype} {list(spec.shape)}{meaning}"
    yield f"#define {macro}_NAME {c_string(spec.name)}"
    if spec.dtype in _C_TYPES:
        yield f"#define {macro}_TYPE {_C_TYPES[spec.dtype]}"
    yield f"#define {macro}_RANK {len(spec.shape)}"
    if spec.shape:
        yield f"#define {macro}_DIMS {{{', '.join(map(str, spec.shape))}}}"
    if -1 not in spec.shape:
        yield f"#define {macro}_ELEMENTS {math.prod(spec.shape)}"
    if spec.scale is not None:
        yield f"#define {macro}_SCALE {_c_float(spec.scale, spec.name)}"
        yield f"#define {macro}_ZERO_POINT ({spec.zero_point})"


def _preparation(macro: str, described: InputDescription) -> Iterator[str]:
    words = [described.kind, described.layout, described.color]
    formula = ("(pixel / 255 - MEAN) / STD" if described.kind == "image"
               else "(value - MEAN) / STD")
    normal = f", {formula} per channel" if described.mean or described.std else ""
    yield f"// Prepared as: {quoted(', '.join(word for word in words if word))}{normal}"
    if described.sample_rate is not None:
        yield f"#define {macro}_SAMPLE_RATE_HZ {described.sample_rate}"
    for word, values in (("MEAN", described.mean), ("STD", described.std)):
        if values:
            numbers = ", ".join(_c_float(value, macro) for value in values)
            yield f"#define {macro}_{word} {{{numbers}}}"


def _labels(macro: str, labels: tuple[str, ...]) -> Iterator[str]:
    """A macro: ``static const char* const labels[] = NAME_LABELS;`` is when they cost flash."""
    if labels:
        yield f"\n#define {macro}_LABEL_COUNT {len(labels)}"
        yield f"#define {macro}_LABELS {{ \\"
        yield from (f"    {c_string(label)}, \\" for label in labels)
        yield "  }"


def _resolver(model: Model, name: str) -> Iterator[str]:
    """A function template, so that the header compiles without TFLM's own."""
    operators = sorted({operator.name for _, operator in model.graph.operators()})
    known = [operator for operator in operators if operator in RESOLVER_METHODS]
    yield f"\n#define {name.upper()}_OPERATOR_COUNT {len(operators)}"
    yield "\n#ifdef __cplusplus"
    yield "// Registers the model's operators; false when one cannot be. For resolver, give a"
    yield f"//   tflite::MicroMutableOpResolver<{name.upper()}_OPERATOR_COUNT>"
    for operator in operators:
        if operator not in RESOLVER_METHODS:
            yield (f"// NOT AVAILABLE in TFLM (tflite-micro {COMMIT}): {quoted(operator)}; "
                   "register a kernel of your own")
    yield "template <typename Resolver>"
    yield f"inline bool {name}_add_operators(Resolver& resolver) {{"
    yield "  (void)resolver;\n  bool ok = true;  // 0 is kTfLiteOk"
    yield from (f"  ok = (resolver.{RESOLVER_METHODS[operator]}() == 0) && ok;"
                for operator in known)
    yield "  return ok;\n}\n#endif"


def quoted(text: str) -> str:
    """Foreign text for a // comment: quoted, in ASCII, in one line whatever is in it."""
    return json.dumps(text).replace("\x7f", "?")


def c_string(text: str) -> str:
    """A C string literal, in ASCII; the bytes are the text's UTF-8."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')  # "?" could begin a trigraph
    encoded = text.encode("utf-8", errors="replace")
    # Octal escapes end after three digits; hexadecimal ones would swallow what follows.
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in encoded) + '"'


def _c_float(value: float, where: str) -> str:
    short = np.float32(value)
    if not np.isfinite(short):
        raise EdgekitError(f"'{where}' has the number {value}, which C has no constant for")
    return f"{short!s}f"  # the shortest digits that are this float32
