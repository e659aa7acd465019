"""The C array: what a compiler makes of it is the model, whatever the model is called."""

import hashlib
import io
import re
import shutil
import subprocess
import time

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from flatbuffers_builder import FlatbufferBuilder, small_net
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.description import InputDescription
from edgekit.core.errors import EdgekitError
from edgekit.core.graph import read_graph
from edgekit.core.metadata import embed, split_appended, with_metadata
from edgekit.core.model import Model, Provenance, TensorSpec
from edgekit.core.target import load_target
from edgekit.packagers import PackageRequest
from edgekit.packagers._tflm_operators import RESOLVER_METHODS
from edgekit.packagers.c_array import (
    C_ARRAY,
    _tensor,
    array_of,
    c_identifier,
    c_string,
    quoted,
    write_array,
)

TARGET = load_target("nano-33-ble-sense")
FLAGS = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
NASTY = 'a"b\\c\n*/ ??/ é %s /* \x7f\0'


def int8_net(name="x", *, operator="ADD", options="AddOptions"):
    file = FlatbufferBuilder()
    x = file.input(name, (1, 2, 3), "int8", scale=0.1, zero_point=-128)
    c = file.constant("c", np.ones((1, 2, 3), np.int8), scale=0.1, zero_point=0)
    y = file.tensor("y", (1, 2, 3), "int8", scale=1e-5, zero_point=3)
    file.operator(operator, [x, c], [y], options)
    file.output(y)
    return file.build()


def make_model(data, name="net", **more):
    return Model(data, name, Provenance("keras", "net.keras"), **more)


def package(model, folder, notes=()):
    folder.mkdir(exist_ok=True)
    C_ARRAY.package(PackageRequest(model, None, TARGET, notes), folder)
    return (folder / "model_data.h").read_text(), (folder / "model_data.cc").read_text()


def compiler(name):
    path = shutil.which(name)
    assert path, f"{name} is missing; run: bash tools/system-packages"
    return path


def build(folder, program, language="c99"):
    """Compile a program against the array; warnings are errors."""
    source = folder / ("main.c" if language == "c99" else "main.cc")
    source.write_text(program)
    first = "gcc" if language == "c99" else "g++"
    for tool, file, standard in (("g++", "model_data.cc", "c++11"), (first, source.name, language)):
        subprocess.run([compiler(tool), f"-std={standard}", *FLAGS, "-c", file, "-o", f"{file}.o"],
                       cwd=folder, check=True)
    subprocess.run([compiler("g++"), "model_data.cc.o", f"{source.name}.o", "-o", "program"],
                   cwd=folder, check=True)
    return subprocess.run([folder / "program"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", ["net", "8-bit net", "int", "ünïcode", "__x__"])
def test_compiled_bytes_are_the_model(tmp_path, name):
    model = make_model(int8_net(), name)
    header, _ = package(model, tmp_path)
    c = c_identifier(name)
    written = build(tmp_path, f"""
#include <stdio.h>
#include "model_data.h"
#include "model_data.h"
int main(void) {{
  if (sizeof({c}_model_data) != {c}_model_data_len || (uintptr_t){c}_model_data % 16) return 1;
  return fwrite({c}_model_data, 1, {c}_model_data_len, stdout) != {c.upper()}_MODEL_DATA_BYTES;
}}""")
    assert written == bytes(array_of(model))
    assert hashlib.sha256(written).hexdigest() in header


def test_macros_say_what_the_model_takes(tmp_path):
    description = InputDescription(kind="image", layout="nhwc", color="rgb", mean=(0.5, 0.25, 0.1),
                                   std=(0.5, 1.0, 2.0))
    labels = (NASTY, "trigraph ??=", "naïve 1", "")
    model = make_model(int8_net(NASTY), "Net", labels=labels, descriptions={NASTY: description})
    package(model, tmp_path, notes=(NASTY,))
    written = build(tmp_path, """
#include <stdio.h>
#include "model_data.h"
int main(void) {
  static const char* const labels[] = NET_LABELS;
  static const int dims[] = NET_INPUT_0_DIMS;
  static const float mean[] = NET_INPUT_0_MEAN;
  const float scales[] = {NET_INPUT_0_SCALE, NET_OUTPUT_0_SCALE};
  const NET_INPUT_0_TYPE zero = NET_INPUT_0_ZERO_POINT;
  fwrite(scales, sizeof(scales), 1, stdout);
  fwrite(mean, sizeof(mean), 1, stdout);
  fwrite(NET_INPUT_0_NAME, sizeof(NET_INPUT_0_NAME) - 1, 1, stdout);
  printf("|%d %d %d %d", dims[0], dims[1], dims[2], NET_INPUT_0_RANK);
  printf("|%d %d %d", NET_INPUT_0_ELEMENTS, zero, NET_OUTPUT_0_ZERO_POINT);
  for (int i = 0; i < NET_LABEL_COUNT; ++i) printf("|%s", labels[i]);
  return NET_INPUT_COUNT != 1 || NET_OUTPUT_COUNT != 1;
}""")
    scales, rest = np.frombuffer(written[:20], np.float32), written[20:]
    np.testing.assert_array_equal(scales, np.array([0.1, 1e-5, 0.5, 0.25, 0.1], np.float32))
    assert rest.startswith(NASTY.encode() + b"|1 2 3 3|6 -128 3|")
    shown = rest[len(NASTY.encode()):].split(b"|")[3:]
    up_to_zero = NASTY[: NASTY.index("\0")]  # printf stops there
    assert shown == [label.encode() for label in (up_to_zero, *labels[1:])]


def test_the_resolver_is_given_the_operators(tmp_path):
    package(make_model(small_net()), tmp_path)
    written = build(tmp_path, """
#include <cstdio>
#include "model_data.h"
struct Resolver {
  int AddConv2D() { std::puts("conv"); return 0; }
  int AddFullyConnected() { std::puts("fc"); return 0; }
  int AddMaxPool2D() { std::puts("pool"); return 0; }
  int AddReshape() { std::puts("reshape"); return 0; }
  int AddSoftmax() { std::puts("softmax"); return fails; }
  int fails;
};
int main() {
  Resolver good = {0}, bad = {1};
  return !net_add_operators(good) || net_add_operators(bad) || NET_OPERATOR_COUNT != 5;
}""", "c++11")
    assert written.decode().split() == ["conv", "fc", "pool", "reshape", "softmax"] * 2


def test_what_tflm_lacks_is_said(tmp_path):
    model = make_model(int8_net(operator=f"CUSTOM:Mine{NASTY}".replace("\0", ""), options=None))
    header, _ = package(model, tmp_path)
    assert re.search(r'^// NOT AVAILABLE in TFLM .*"CUSTOM:Mine.*register', header, re.MULTILINE)
    assert "#define NET_OPERATOR_COUNT 1" in header
    build(tmp_path, '#include "model_data.h"\nint main() { int any = 0; '
                    "return !net_add_operators(any); }", "c++11")


def test_operators_inside_bodies_are_registered_too(tmp_path):
    file = FlatbufferBuilder()
    x = file.input("x", (1, 4))
    y = file.tensor("y", (1, 4))
    file.operator("CALL", [x], [y], "CallOptions", subgraph=1)
    file.output(y)
    file.subgraph("body")
    a, b = file.input("a", (1, 4)), file.tensor("b", (1, 4))
    file.operator("TANH", [a], [b])
    file.output(b)
    header, _ = package(make_model(file.build()), tmp_path)
    assert "resolver.AddTanh()" in header


def test_the_array_has_no_metadata_and_says_so(tmp_path):
    labels = tuple("abcdefghij")
    plain = small_net()
    flatbuffer, files = split_appended(embed(make_model(plain, labels=labels)))
    model = make_model(flatbuffer, labels=labels, files=files)
    header, source = package(model, tmp_path)
    data = bytes(array_of(model))
    assert b"TFLITE_METADATA" not in data
    assert b"labels.txt" not in data
    assert data == bytes(array_of(make_model(plain)))
    assert "metadata and appended files are left out" in header
    assert f"_len = {len(data)};" in source


def test_an_array_that_is_as_it_should_be_is_not_written_again():
    data = with_metadata(small_net(), None)
    assert array_of(make_model(data)) is data


def test_the_array_is_aligned_and_runs_the_same():
    data = small_net()
    array = bytes(array_of(make_model(data)))
    assert {start % 16 for start, size in read_graph(array).buffer_spans if size} == {0}
    outputs = []
    for content in (data, array):
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.linspace(0, 1, 768, dtype=np.float32).reshape(1, 16, 16, 3))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("size", [
    0, 1, 15, 16, 17, 255, 2**20 - 1, 2**20, 2**20 + 1, 2**20 + 16, 2**21 + 33,
])  # fmt: skip
def test_every_byte_is_written(size):
    data = np.random.default_rng(size).bytes(size)
    out = io.BytesIO()
    write_array(out, data, "net")
    body = out.getvalue().split(b"{\n")[1].split(b"}")[0]
    assert bytes.fromhex(body.decode().replace("0x", "").replace(",", "")) == data
    assert all(len(line) <= 80 for line in body.splitlines())


def test_megabytes_take_no_time():
    began = time.monotonic()
    write_array(io.BytesIO(), np.arange(10_000_000, dtype=np.uint8).tobytes(), "net")
    assert time.monotonic() - began < 5  # 0.2 s alone; formatting byte by byte takes 10


@given(st.text(max_size=20))
def test_identifiers_are_identifiers(name):
    made = c_identifier(name)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", made)
    assert c_identifier(made) == made


@given(st.text(max_size=20))
def test_foreign_text_stays_in_its_line_and_its_literal(text):
    assert quoted(text).isascii()
    assert quoted(text).isprintable()
    literal = c_string(text)
    assert re.fullmatch(r'"([ !#->@-\[\]-~]|\\[0-7]{3})*"', literal)
    back = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), literal[1:-1]).encode("latin-1")
    assert back == text.encode(errors="replace")


def test_a_scale_that_c_cannot_write_is_refused():
    with pytest.raises(EdgekitError, match="no constant for"):
        list(_tensor("NET_INPUT_0", TensorSpec("x", (1,), "int8", float("inf"), 0)))


def test_open_and_empty_shapes():
    lines = "\n".join(_tensor("X", TensorSpec("x", (1, -1), "float16")))
    assert "X_ELEMENTS" not in lines
    assert "X_TYPE" not in lines
    lines = "\n".join(_tensor("X", TensorSpec("x", (), "float32")))
    assert "X_DIMS" not in lines
    assert "#define X_ELEMENTS 1" in lines


def test_two_models_of_one_name_do_not_shut_each_other_out(tmp_path):
    """Equal guards would: the second header would be silently empty."""
    one, _ = package(make_model(small_net(seed=0), "a-b"), tmp_path)
    other, _ = package(make_model(small_net(seed=1), "a_b"), tmp_path)
    assert re.findall("#ifndef EDGEKIT_A_B_.*", one) != re.findall("#ifndef EDGEKIT_A_B_.*", other)


def test_resolver_methods_look_like_methods():
    assert all(re.fullmatch(r"Add[A-Z]\w+", method) for method in RESOLVER_METHODS.values())
    assert len(set(RESOLVER_METHODS.values())) == len(RESOLVER_METHODS)
    assert RESOLVER_METHODS["DEPTHWISE_CONV_2D"] == "AddDepthwiseConv2D"
