"""Every packager: it writes what it says, the same each time, and the model in it still runs."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from flatbuffers_builder import small_net

from edgekit.core.description import InputDescription
from edgekit.core.metadata import read_description, split_appended
from edgekit.core.model import Companion, Model, Provenance
from edgekit.core.recipe import Recipe
from edgekit.core.target import load_target, target_names
from edgekit.packagers import PACKAGERS, PackageRequest
from edgekit.packagers._tflm_operators import RESOLVER_METHODS
from edgekit.packagers.manifest import measure, verify_manifest, write_manifest

IMAGE = InputDescription(kind="image", color="rgb", mean=(0.5,), std=(0.5,))
KINDS = {"model", "labels", "c", "tokenizer", "preprocessor"}


def full_model():
    return Model(small_net(), "small-net 2", Provenance("keras", "x"),
                 descriptions={"image": IMAGE}, labels=tuple("abcdefghij"),
                 files={"vocab.txt": b"x\n"},
                 companions=(Companion("tokenizer/vocab.txt", "tokenizer", b"[PAD]\n"),))


@pytest.fixture(params=["small", "emotion", "pitch"])
def model(request):
    """A described one, and two that nobody here made."""
    if request.param == "small":
        return full_model()
    path = request.getfixturevalue(f"{request.param}_tflite")
    return Model(path.read_bytes(), path.stem, Provenance("tflite", path.name))


@pytest.fixture(params=sorted(PACKAGERS))
def packager(request):
    return PACKAGERS[request.param]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_names_are_the_keys():
    assert {name: packager.name for name, packager in PACKAGERS.items()} == {
        name: name for name in PACKAGERS}


def test_writes_what_it_says_and_the_same_each_time(packager, model, tmp_path):
    request = PackageRequest(model, None, load_target("esp32-s3"))
    written = []
    for place in ("one", "two"):
        folder = tmp_path / place
        folder.mkdir()
        files = packager.package(request, folder)
        written.append(contents(folder))
        assert {file.path for file in files} == set(written[-1])
        assert len({file.path for file in files}) == len(files)
        assert {file.kind for file in files} <= KINDS
        assert not any(PurePosixPath(file.path).is_absolute() for file in files)
        assert not any(file.path.startswith(("report.", "manifest.")) for file in files)
    assert written[0] == written[1]
    assert str(tmp_path).encode() not in b"".join(written[0].values())


@pytest.mark.parametrize("name", target_names())
def test_the_packages_of_a_target_fit_together(name, tmp_path):
    target = load_target(name)
    request = PackageRequest(full_model(), None, target)
    files = [file for kind in target.package.files
             for file in PACKAGERS[kind].package(request, tmp_path)]
    artifacts = measure(tmp_path, files, deflate=True)
    write_manifest(tmp_path, artifacts, request.model, target, Recipe("float32"))
    assert {row["path"] for row in verify_manifest(tmp_path)["files"]} == (
        set(contents(tmp_path)) - {"manifest.json"})
    assert [file.path for file in files if file.kind == "model"] == ["model.tflite"]


@pytest.mark.parametrize("name", target_names())
def test_what_a_microcontroller_accepts_can_be_registered(name):
    target = load_target(name)
    if target.runtime.engine == "tflm":
        assert target.accepts.operators
        assert set(target.accepts.operators) <= set(RESOLVER_METHODS)


def test_the_packaged_tflite_is_the_model(model, tmp_path):
    PACKAGERS["tflite"].package(PackageRequest(model, None, load_target("android")), tmp_path)
    outputs = []
    for data in (bytes(model.data), (tmp_path / "model.tflite").read_bytes()):
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        [detail] = interpreter.get_input_details()
        values = np.random.default_rng(0).random(detail["shape"], dtype=np.float32)
        interpreter.set_tensor(detail["index"], values)
        interpreter.invoke()
        outputs.append([interpreter.get_tensor(d["index"])
                        for d in interpreter.get_output_details()])
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)
    flatbuffer, files = split_appended((tmp_path / "model.tflite").read_bytes())
    assert read_description(flatbuffer, files) == (model.labels, model.descriptions)
    assert files.keys() >= model.files.keys()


def test_a_model_with_nothing_to_say_is_packaged_byte_for_byte(emotion_tflite, tmp_path):
    model = Model(emotion_tflite.read_bytes(), "emotion", Provenance("tflite", "x"))
    files = PACKAGERS["tflite"].package(PackageRequest(model, None, load_target("ios")), tmp_path)
    assert (tmp_path / "model.tflite").read_bytes() == emotion_tflite.read_bytes()
    assert [file.path for file in files] == ["model.tflite"]


def test_labels_lie_beside_the_model_too(tmp_path):
    PACKAGERS["tflite"].package(PackageRequest(full_model(), None, load_target("ios")), tmp_path)
    assert (tmp_path / "labels.txt").read_text().split() == list("abcdefghij")


def test_packaging_loads_no_framework():
    code = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, "tests/contract")
from test_packagers import PACKAGERS, PackageRequest, full_model, load_target
for packager in PACKAGERS.values():
    packager.package(PackageRequest(full_model(), None, load_target("esp32-s3")),
                     Path(tempfile.mkdtemp()))
print(sorted({"tensorflow", "torch", "keras"} & set(sys.modules)))
"""
    code = code.replace("tests/contract", str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    assert done.stdout == "[]\n"
