"""SavedModels: of both Keras, of tf.Module and of TensorFlow 1."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import real_model
from import_zoo import EVIL, build_all
from test_import_keras import TOLERANCE, answer, check_promises

from edgekit.core.errors import EdgekitError
from edgekit.importers import ImportOptions, import_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    return build_all(tmp_path_factory.getbasetemp() / "zoo") / "saved"


@pytest.mark.parametrize("network", ["conv_batchnorm", "lstm", "bidirectional"])
@pytest.mark.parametrize("writer", ["k3", "k2"])
def test_an_export_of_keras_computes_the_same_at_batch_1(saved, writer, network):
    model = import_model(str(saved / f"{writer}_{network}"))
    assert model.inputs[0].shape[0] == 1
    for sample in range(2):
        for expected, got in answer(model, saved / f"{writer}_{network}.npz", sample):
            np.testing.assert_allclose(got, expected, atol=TOLERANCE)
    check_promises(model)


def test_several_inputs_and_outputs_by_name(saved):
    model = import_model(str(saved / "k3_multiple"))
    arrays = np.load(saved / "k3_multiple.npz")
    got = model.run({name: arrays[f"in:{name}"][:1] for name in ("zebra", "age")})
    np.testing.assert_allclose(got["second"], arrays["output_0"][:1], rtol=1e-4)
    np.testing.assert_allclose(got["first"], arrays["output_1"][:1], rtol=1e-4)


def test_a_name_for_one_function_twice_is_no_choice(saved):
    """Keras 3 exports its endpoint as ``serve`` and as ``serving_default``."""
    assert import_model(str(saved / "k3_lstm")).provenance.notes == ()


def test_several_signatures_want_a_choice(saved):
    source = str(saved / "several")
    with pytest.raises(EdgekitError, match="has 2 signatures: first, second") as error:
        import_model(source)
    assert "--signature" in error.value.hint
    with pytest.raises(EdgekitError, match="no signature 'secnd'") as error:
        import_model(source, ImportOptions(signature="secnd"))
    assert "'second'" in error.value.hint
    model = import_model(source, ImportOptions(signature="second"))
    assert [spec.name for spec in model.inputs] == ["first", "second"]
    assert "signature 'second' taken; the others are left out" in model.provenance.notes


def test_outputs_keep_their_names(saved):
    model = import_model(str(saved / "two"))
    ones = np.ones((1, 4), np.float32)
    got = model.run({"first": 3 * ones, "second": 2 * ones})
    np.testing.assert_array_equal(got["zebra"], 5 * ones)
    np.testing.assert_array_equal(got["apple"], 6 * ones)


def test_a_module_without_signatures_has_its_call(saved):
    got = import_model(str(saved / "no_signature")).run({"x": np.ones((1, 4), np.float32)})
    np.testing.assert_allclose(next(iter(got.values())), [[18, 22, 26]])


def test_tensorflow_1(saved):
    model = import_model(str(saved / "tensorflow_1"))
    assert [spec.name for spec in model.inputs] == ["features"]
    assert model.run({"features": np.ones((1, 4), np.float32)})["scores"].sum() == pytest.approx(1)


def test_shapes_computed_from_the_batch_become_constants(saved):
    model = import_model(str(saved / "reshaped"))
    assert [op.name for op in model.graph.main.operators] == ["RESHAPE"]


def test_large_models_go_through_the_disk_and_come_out_the_same(saved):
    """Beyond 32 MB the graph is not frozen in memory."""
    model = import_model(str(saved / "large"))
    assert list(model.signature.outputs) == ["head", "relu", "same"]
    weights = np.random.default_rng(1).normal(size=(3000, 3000)).astype(np.float32)
    x = np.random.default_rng(2).normal(size=(1, 3000)).astype(np.float32)
    got = model.run({"x": x})
    np.testing.assert_allclose(got["head"], (x @ weights)[:, :5], atol=1e-3)
    np.testing.assert_array_equal(got["same"], x)
    check_promises(model)


@pytest.mark.parametrize(("name", "message", "hint"), [
    ("any_rank", "input 'anything' has no known shape", "--input-shape anything="),
    ("wave", r"dimension 0 of input 'wave' is open: \[-1\]", "--input-shape wave=SIZE"),
    ("counted", "keeps state", "an input and an output"),
    ("random", "another one each time", "random numbers"),
    ("double", "LiteRT does not have: MatMul", "export it in float32"),
    ("table", "input 'words' is string", "preprocessing"),
    ("writes", "WriteFile", "export it without that part"),
])  # fmt: skip
def test_what_cannot_be_imported_says_why(saved, name, message, hint):
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(str(saved / name))
    assert hint in error.value.hint
    assert not Path(EVIL).exists()


@pytest.mark.parametrize(("name", "port", "shape"), [
    ("any_rank", "anything", (1, 2, 3)), ("wave", "wave", (800,)), ("two", "first", (3, 4)),
])  # fmt: skip
def test_shapes_can_be_chosen(saved, name, port, shape):
    shapes = {port: shape} | ({"second": shape} if name == "two" else {})
    model = import_model(str(saved / name), ImportOptions(input_shapes=shapes))
    assert model.inputs[0].shape == shape


@pytest.mark.parametrize("damage", ["no graph", "cut graph", "other graph", "empty graph",
                                    "no variables", "cut variables", "cut index"])  # fmt: skip
def test_damaged_folders_are_errors(saved, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(saved / "no_signature", folder)
    what, _, part = damage.partition(" ")
    place = {"graph": "saved_model.pb", "variables": "variables/variables.data-00000-of-00001",
             "index": "variables/variables.index"}[part]
    path = folder / place
    data = path.read_bytes()
    if what == "no":
        path.unlink()
    else:
        half = data[: len(data) // 2]
        path.write_bytes({"cut": half, "other": os.urandom(500), "empty": b""}[what])
    with pytest.raises(EdgekitError) as error:
        import_model(str(folder))
    assert error.value.exit_code == 2


def test_a_real_model_equals_the_tflite_that_its_makers_published():
    """basic-pitch, SavedModel with an open batch against ``nmp.tflite``."""
    ours = import_model(str(real_model("basic-pitch/nmp")))
    theirs = import_model(str(real_model("basic-pitch/nmp.tflite")))
    assert ours.inputs == theirs.inputs
    assert len(ours.graph.main.operators) < len(theirs.graph.main.operators)
    seconds = np.arange(43844) / 22050
    tone = 0.3 * np.sin(2 * np.pi * 440 * seconds)
    generator = np.random.default_rng(0)
    for signal in (tone + 0.01 * generator.normal(size=43844), generator.uniform(0, 1, 43844)):
        given = {"input_2": signal.astype(np.float32).reshape(1, 43844, 1)}
        expected = theirs.run(given)
        for name, got in ours.run(given).items():
            np.testing.assert_allclose(got, expected[name], atol=2e-6)
    check_promises(ours)
