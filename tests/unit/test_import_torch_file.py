"""What is refused of a PyTorch file or Hugging Face folder before any framework sees it."""

import importlib.util
import json
import struct
import zipfile

import pytest

from edgekit.core.errors import EXIT_MISSING, EdgekitError, MissingToolError
from edgekit.importers import find_importer, import_model
from edgekit.importers._huggingface_files import companions, read_config, sound_weights, task_of
from edgekit.importers._torch_file import check_program, kind_of

SPEC = json.dumps([1, {"type": "builtins.dict", "context": json.dumps(["a"])}])


def program(target="torch.ops.aten.add.Tensor", *, name="x", size="s0", spec=SPEC):
    return {
        "graph_module": {
            "graph": {
                "inputs": [{"as_tensor": {"name": name}}],
                "nodes": [{"target": target, "inputs": [], "metadata": {"stack": "f(x=1); '"}}],
                "sizes": [{"as_expr": {"expr_str": size}}],
            },
            "module_call_graph": [{"signature": {"in_spec": spec, "out_spec": SPEC}}],
        },
    }


def pt2(path, model=None, config=None, more=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", json.dumps(model or program()))
        archive.writestr("m/data/weights/model_weights_config.json", json.dumps(config or {}))
        for name in more:
            archive.writestr(name, b"x")
    return path


def payload(**fields):
    return {"config": {"w": {"path_name": "weight_0", "use_pickle": False, **fields}}}


def test_a_sound_program_passes(tmp_path):
    for size in ("s0", "2*s77", "FloorDiv(s0 + 1, 2)", "Max(1, u0)",
                 "Symbol('s23', positive=True, integer=True)"):
        check_program(pt2(tmp_path / "m.pt2", program(size=size), payload()))
    for target in ("torch.ops.aten.__and__.Tensor", "_operator.getitem", "torch.sym_max",
                   "torch.ops.higher_order.cond", "torch.ops.prims.convert_element_type.default"):
        check_program(pt2(tmp_path / "m.pt2", program(target)))


@pytest.mark.parametrize("target", [
    "torch.os.system", "torch.load", "torch.hub.load", "torch.ops.load_library", "os.system",
    "torch.ops.aten.__class__", "torch.ops.aten.add.__init__", "_operator.methodcaller",
    "torch.ops.aten.from_file.default", "torch.ops.mylib.conv.default", "#triton:kernel",
    "torch.ops.aten.add.Tensor\ntorch.os.system",
])  # fmt: skip
def test_operators_that_are_not_pytorchs_are_refused(tmp_path, target):
    with pytest.raises(EdgekitError, match="not PyTorch's own") as error:
        check_program(pt2(tmp_path / "m.pt2", program(target)))
    assert target in error.value.message


@pytest.mark.parametrize(("fields", "message"), [
    ({"size": "__import__('os').system('id')"}, "as the size of an axis"),
    ({"size": "s0.func"}, "as the size of an axis"), ({"size": "exec(s0)"}, "as the size"),
    ({"size": "Symbol('a')"}, "as the size"), ({"size": "[x for x in s0]"}, "as the size"),
    ({"name": "x=print(1)"}, "as a name"), ({"name": "x: y"}, "as a name"),
    ({"spec": '["a=f()"]'}, "as the structure"), ({"spec": '["\\u0028"]'}, "as the structure"),
    ({"spec": '{"default_factory_module": "os"}'}, "as the structure"),
])  # fmt: skip
def test_text_that_would_be_evaluated_is_refused(tmp_path, fields, message):
    with pytest.raises(EdgekitError, match=message):
        check_program(pt2(tmp_path / "m.pt2", program(**fields)))


@pytest.mark.parametrize(("config", "more", "message"), [
    (payload(use_pickle=True), (), "a weight or constant as a pickle"),
    (payload(path_name="custom_obj_0"), (), "the object 'custom_obj_0'"),
    (payload(path_name="../weight_0"), (), "the object"),
    (None, ["m/data/aotinductor/model/net.so"], "which no exported program needs"),
    (None, ["m/models/other.json"], "holds 2 programs"),
])  # fmt: skip
def test_archives_with_more_than_a_program_are_refused(tmp_path, config, more, message):
    with pytest.raises(EdgekitError, match=message):
        check_program(pt2(tmp_path / "m.pt2", None, config, more))


def test_a_program_that_is_cut_or_no_json(tmp_path):
    path = pt2(tmp_path / "m.pt2")
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(path.read_bytes()[:200])
    with pytest.raises(EdgekitError, match="is damaged"):
        kind_of(cut)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", "{")
    with pytest.raises(EdgekitError, match=r"model\.json cannot be read"):
        check_program(path)


def write_zip(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return path


@pytest.mark.parametrize(("names", "kind"), [
    (["m/archive_format", "m/models/model.json"], "program"),
    (["m/code/__torch__.py", "m/data.pkl"], "script"), (["m/data.pkl", "m/data/0"], "pickle"),
    (["serialized_exported_program.json", "version"], "old program"),
])  # fmt: skip
def test_the_kind_is_seen_from_the_names(tmp_path, names, kind):
    assert kind_of(write_zip(tmp_path / "m.pt", *names)) == kind


@pytest.mark.parametrize(("name", "data", "message"), [
    ("empty.pt", b"", "is empty"), ("noise.pt", b"noise", "neither a zip archive nor a pickle"),
])  # fmt: skip
def test_files_that_are_not_from_pytorch(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EdgekitError, match=message):
        import_model(str(tmp_path / name))


@pytest.mark.parametrize(("names", "message"), [
    (["a/b"], "not one that PyTorch wrote"), (["m/../../x"], "outside of itself"),
    (["serialized_exported_program.json"], "saved by an older PyTorch"),
])  # fmt: skip
def test_archives_that_are_not_read(tmp_path, names, message):
    with pytest.raises(EdgekitError, match=message):
        import_model(str(write_zip(tmp_path / "m.pt2", *names)))


def folder(place, config=None, weights=("model.safetensors",)):
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config or {"model_type": "bert"}))
    for name in weights:
        header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
        (place / name).write_bytes(struct.pack("<Q", len(header)) + header + b"abcd")
    return place


def test_a_sound_folder_passes(tmp_path):
    place = folder(tmp_path / "m")
    assert read_config(place)["model_type"] == "bert"
    sound_weights(place)
    assert find_importer(str(place)).format == "huggingface"


@pytest.mark.parametrize(("config", "message"), [
    ({"model_type": "x", "auto_map": {"AutoModel": "code.Net"}}, "whose code is in the folder"),
    ({"a": 1}, "does not say which model_type"), ([1], "no JSON object"),
])  # fmt: skip
def test_configurations_that_are_refused(tmp_path, config, message):
    with pytest.raises(EdgekitError, match=message):
        read_config(folder(tmp_path / "m", config))


def test_weights_that_are_refused(tmp_path):
    place = folder(tmp_path / "bin", weights=())
    (place / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(EdgekitError, match=r"as a pickle \(pytorch_model.bin\)"):
        import_model(str(place))
    with pytest.raises(EdgekitError, match="has no weights"):
        sound_weights(folder(tmp_path / "none", weights=()))
    place = folder(tmp_path / "cut")
    with (place / "model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(EdgekitError, match="its header says"):
        sound_weights(place)
    (place / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(EdgekitError, match="damaged, or no safetensors") as error:
        sound_weights(place)
    assert "git lfs pull" in error.value.hint
    place = folder(tmp_path / "parts")
    index = {"weight_map": {"a": "../../etc/passwd"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(EdgekitError, match="outside of the folder"):
        sound_weights(place)


def test_the_task_is_the_architectures_unless_given():
    assert task_of({"architectures": ["BertForMaskedLM"]}, None) == "fill-mask"
    assert task_of({"architectures": ["BertModel"]}, None) == "feature-extraction"
    assert task_of({}, None) == "feature-extraction"
    assert task_of({"architectures": ["BertForMaskedLM"]}, "feature-extraction") == (
        "feature-extraction")


def test_companions_keep_their_bytes(tmp_path):
    place = folder(tmp_path / "m")
    (place / "vocab.txt").write_bytes(b"[PAD]\n")
    (place / "preprocessor_config.json").write_bytes(b"{}")
    assert [(file.path, file.kind, file.data) for file in companions(place)] == [
        ("tokenizer/vocab.txt", "tokenizer", b"[PAD]\n"),
        ("preprocessor/preprocessor_config.json", "preprocessor", b"{}")]


@pytest.mark.parametrize("kind", ["program", "folder", "function"])
def test_without_pytorch_the_extra_is_named(tmp_path, kind, monkeypatch):
    (tmp_path / "net.py").write_text("import torch\ndef net(): ...")
    source = {"program": lambda: pt2(tmp_path / "m.pt2"), "folder": lambda: folder(tmp_path / "m"),
              "function": lambda: f"{tmp_path / 'net.py'}:net"}[kind]()
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda module, *a: None if module == "torch" else real(module, *a))
    with pytest.raises(MissingToolError, match="extra 'torch' is needed to import") as error:
        import_model(str(source))
    assert error.value.exit_code == EXIT_MISSING
    assert "pip install" in error.value.hint
