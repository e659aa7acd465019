"""What is refused of a Keras file before any framework sees it."""

import json
import struct
import zipfile

import pytest

from edgekit.core.errors import EdgekitError
from edgekit.importers import _archive, _keras_file
from edgekit.importers._keras_file import check_archive, check_config, keras_version, parse_config


def layer(kind="Dense", module="keras.layers", **config):
    return {"module": module, "class_name": kind, "config": {"name": "it", **config},
            "registered_name": None}  # fmt: skip


def model(*layers, **more):
    return {"module": "keras", "class_name": "Functional",
            "config": {"name": "net", "layers": list(layers)}, **more}  # fmt: skip


def archive(path, members=(), config=None):
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", json.dumps(model(layer()) if config is None else config))
        made.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        for name, data in members:
            made.writestr(name, data)
    return path


def test_a_sound_archive_passes(tmp_path):
    path = archive(tmp_path / "net.keras", [("model.weights.h5", b"x"), ("assets/", b"")])
    check_archive(path)
    assert keras_version(path) == "3.15.1"


def test_no_version_is_no_error(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"PK\x03\x04")
    assert keras_version(tmp_path / "net.keras") == ""


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "assets/../../evil", "..\\evil",
                                  "C:\\evil", "a/..", ".."])  # fmt: skip
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    with pytest.raises(EdgekitError, match="not safe to unpack"):
        check_archive(archive(tmp_path / "net.keras", [(name, b"x")]))


def test_links_and_doubles_are_refused(tmp_path):
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(EdgekitError, match="a link, or there twice"):
        check_archive(archive(tmp_path / "link.keras", [(link, "/etc/passwd")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(tmp_path / "twice.keras", [("config.json", "{}")])
    with pytest.raises(EdgekitError, match="a link, or there twice"):
        check_archive(path)


def test_bombs_are_refused_by_what_they_declare(tmp_path):
    path = archive(tmp_path / "net.keras", [("model.weights.h5", b"x" * 100)])
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"model.weights.h5") - 46  # in the central directory
    assert data[entry : entry + 4] == b"PK\x01\x02"
    struct.pack_into("<I", data, entry + 24, 2**32 - 2)
    path.write_bytes(data)
    with pytest.raises(EdgekitError, match="unpacks to 4.3 GB in 3 files"):
        check_archive(path)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_archive, "_MAX_MEMBERS", 3)
    with pytest.raises(EdgekitError, match="in 4 files"):
        check_archive(archive(tmp_path / "net.keras", [("a", b""), ("b", b"")]))


def test_a_configuration_beyond_reason_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_keras_file, "_MAX_CONFIG_BYTES", 100)
    with pytest.raises(EdgekitError, match=r"config\.json is 0 MB"):
        check_archive(archive(tmp_path / "net.keras"))


def test_an_encrypted_archive_is_refused(tmp_path):
    path = archive(tmp_path / "net.keras", [("model.weights.h5", b"x")])
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"model.weights.h5") - 46
    data[entry + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(EdgekitError, match="encrypted"):
        check_archive(path)


def test_damaged_archives_are_errors(tmp_path):
    path = archive(tmp_path / "net.keras", [("model.weights.h5", b"x" * 4000)])
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[: len(whole) // 2], b"PK\x03\x04" + bytes(100)):
        path.write_bytes(damaged)
        with pytest.raises(EdgekitError, match="damaged"):
            check_archive(path)
    position = whole.index(b'"module"')
    path.write_bytes(whole[:position] + b"XXXX" + whole[position + 4 :])  # the checksum sees it
    with pytest.raises(EdgekitError, match="damaged"):
        check_archive(path)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("weights", "x")
    with pytest.raises(EdgekitError, match=r"no config\.json"):
        check_archive(path)


@pytest.mark.parametrize("text", [b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b"7"])
def test_a_configuration_is_a_json_object(text):
    with pytest.raises(EdgekitError, match="damaged"):
        parse_config("net.keras", text)


@pytest.mark.parametrize(("config", "message"), [
    (layer("Lambda", function={"class_name": "__lambda__"}), r"Lambda layer \('it'\)"),
    (layer("Lambda", module=None), "Lambda layer"),
    (layer("Dense", activation={"class_name": "__lambda__", "config": {}}), "Lambda layer"),
    (layer("TFSMLayer", filepath="/x"), "TFSMLayer"),
    (layer("TorchModuleWrapper"), "TorchModuleWrapper"),
    (layer("system", module="os"), "'system', which is not Keras's own"),
    (layer("MyLayer", module="my_package"), "'MyLayer', which is not Keras's own"),
    (layer("Evil", module="kerasevil.layers"), "'Evil', which is not Keras's own"),
    (layer("function", module="builtins") | {"config": "exec"}, "'exec', which is not"),
    (layer("TFOpLambda", function="io.write_file"), r"tf\.io\.write_file"),
    (layer("TFOpLambda", function="py_function"), r"tf\.py_function"),
    (layer("TFOpLambda", function="compat.v1.io.gfile.remove"), "gfile"),
])  # fmt: skip
def test_what_would_run_code_is_refused(config, message):
    for nested in (model(config), model(model(layer(), config))):
        with pytest.raises(EdgekitError, match=message) as error:
            check_config("net.keras", nested)
        assert "module.py:function" in error.value.hint


@pytest.mark.parametrize("config", [
    layer(), layer(module=None), layer(module="tf_keras.layers"), layer(module="keras.src.ops.nn"),
    layer(activation={"module": "builtins", "class_name": "function", "config": "relu"}),
    layer("TFOpLambda", function="math.multiply"), layer("TFOpLambda", function="nn.relu"),
    layer("SlicingOpLambda", function="__operators__.getitem"),
    layer("TFOpLambda", function="cast"), layer("__tuple__", module=None),
    layer("Bert", module="keras_hub.models"),
])  # fmt: skip
def test_what_keras_writes_passes(config):
    check_config("net.keras", model(config))


def test_how_a_model_was_compiled_does_not_matter():
    loss = {"module": "my_losses", "class_name": "function", "config": "focal"}
    check_config("net.keras", model(layer(), compile_config={"loss": loss}))
