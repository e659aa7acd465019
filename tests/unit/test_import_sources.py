"""Which importer takes which source, and what is seen before TensorFlow is loaded."""

import subprocess
import sys

import pytest

from edgekit.core.errors import EXIT_MISSING, EdgekitError, MissingToolError
from edgekit.importers import IMPORTERS, ImportOptions, find_importer, import_model
from edgekit.importers._keras_file import HDF5_MARK


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"PK\x03\x04")
    (tmp_path / "net.h5").write_bytes(HDF5_MARK)
    (tmp_path / "net.HDF5").write_bytes(HDF5_MARK)
    (tmp_path / "unnamed").write_bytes(HDF5_MARK + bytes(8))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "rest").mkdir()
    (tmp_path / "rest" / "variables").mkdir()
    (tmp_path / "rest" / "variables" / "variables.index").write_bytes(b"x")
    (tmp_path / "build.py").write_text("import keras\ndef net(): ...")
    return tmp_path


@pytest.mark.parametrize(("name", "format_"), [
    ("net.keras", "keras"), ("net.h5", "keras"), ("net.HDF5", "keras"), ("unnamed", "keras"),
    ("saved", "saved-model"), ("rest", "saved-model"), ("build.py:net", "python"),
])  # fmt: skip
def test_each_source_has_its_importer(sources, name, format_):
    assert find_importer(str(sources / name)).format == format_
    assert sum(i.recognises(str(sources / name)) for i in IMPORTERS.values()) == 1


@pytest.mark.parametrize("name", ["net.keras", "saved", "build.py:net"])
def test_without_tensorflow_the_extra_is_named(sources, name, monkeypatch):
    from edgekit.core import extras

    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec",
                        lambda module: None if module == "tensorflow" else real(module))
    with pytest.raises(MissingToolError, match="extra 'tensorflow' is needed to import") as error:
        import_model(str(sources / name))
    assert error.value.exit_code == EXIT_MISSING
    assert "pip install" in error.value.hint


@pytest.mark.parametrize(("name", "data", "message"), [
    ("empty.keras", b"", "is empty"), ("empty.h5", b"", "is empty"),
    ("noise.keras", b"\x00" * 100, "neither a zip archive nor HDF5"),
    ("noise.h5", b"not HDF5 at all", "neither a zip archive nor HDF5"),
    ("cut.keras", b"PK\x03\x04" + bytes(30), "damaged"),
])  # fmt: skip
def test_files_that_are_no_models(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(str(tmp_path / name))
    assert name in error.value.message


def test_a_saved_model_without_its_graph(sources):
    with pytest.raises(EdgekitError, match=r"no saved_model\.pb"):
        import_model(str(sources / "rest"))


@pytest.mark.parametrize(("name", "size"), [("big.keras", None), ("folder", "variables")])
def test_more_than_4_gb_is_refused_before_reading(tmp_path, name, size):
    path = tmp_path / name
    if size is not None:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"x")
        path /= size
    with path.open("wb") as file:
        file.truncate(2**32 + 1)  # sparse: takes no room
    with pytest.raises(EdgekitError, match="larger than 4 GB"):
        import_model(str(tmp_path / name))


def test_a_function_that_is_not_there(tmp_path):
    with pytest.raises(EdgekitError, match="does not exist"):
        import_model(str(tmp_path / "nothing.py:net"))
    (tmp_path / "file.py").write_text("")
    with pytest.raises(EdgekitError, match="names no function"):
        import_model(f"{tmp_path / 'file.py'}:not a name")


def test_the_importers_load_no_framework():
    code = ("import sys, edgekit.importers; heavy = {'tensorflow', 'keras', 'tf_keras', 'h5py', "
            "'torch', 'transformers'} & set(sys.modules); "
            "sys.exit(f'loads {heavy}' if heavy else 0)")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("name", "options", "said"), [
    ("net.keras", {"input_layout": "nhwc"}, "--input-layout is for .onnx"),
    ("net.keras", {"input_layout": "nchw"}, "unknown --input-layout 'nchw'"),
    ("net.keras", {"onnx_importer": "onnx2tf"}, "--onnx-importer is for .onnx"),
    ("net.keras", {"onnx_importer": "onnx3tf"}, "unknown --onnx-importer 'onnx3tf'"),
    ("net.keras", {"task": "fill-mask"}, "--task is for a Hugging Face folder"),
    ("saved", {"sequence_length": 8}, "--sequence-length is for a Hugging Face folder"),
])  # fmt: skip
def test_options_for_one_kind_of_source_are_refused_for_another(sources, name, options, said):
    with pytest.raises(EdgekitError, match=said):
        import_model(str(sources / name), ImportOptions(**options))
