"""The manifest: what was built is what is there."""

import hashlib
import json
import os
import zlib

import pytest
from flatbuffers_builder import small_net

from edgekit import __version__
from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model, Provenance
from edgekit.core.recipe import Recipe
from edgekit.core.results import Artifact
from edgekit.core.target import load_target
from edgekit.packagers import PackagedFile
from edgekit.packagers.manifest import measure, read_manifest, verify_manifest, write_manifest

MODEL = Model(small_net(), "net", Provenance("keras", "/secret/place/net.keras"), labels=("a", "b"))
FILES = [PackagedFile("src/b.c", "c"), PackagedFile("a.tflite", "model")]


def make_bundle(folder):
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "src/b.c").write_bytes(b"int x;\n" * 100)
    (folder / "a.tflite").write_bytes(MODEL.data)
    (folder / "report.json").write_text("{}")
    artifacts = measure(folder, FILES, deflate=False)
    write_manifest(folder, artifacts, MODEL, load_target("android"), Recipe("dynamic-int8", 7))


@pytest.fixture
def bundle(tmp_path):
    make_bundle(tmp_path)
    return tmp_path


def change(bundle, **fields):
    """The manifest as somebody else would write it."""
    raw = json.loads((bundle / "manifest.json").read_text())
    raw["files"][0] |= fields
    (bundle / "manifest.json").write_text(json.dumps(raw))


def test_artifacts_are_measured(tmp_path):
    make_bundle(tmp_path)
    artifacts = measure(tmp_path, FILES, deflate=True)
    assert artifacts[0].deflate_bytes is None  # nobody downloads a C source
    assert measure(tmp_path, FILES, deflate=False)[1].deflate_bytes is None
    assert [artifact.path for artifact in artifacts] == ["src/b.c", "a.tflite"]
    model = artifacts[1]
    assert (model.kind, model.bytes) == ("model", len(MODEL.data))
    assert model.deflate_bytes == len(zlib.compress(MODEL.data, 9))
    assert model.sha256 == hashlib.sha256(MODEL.data).hexdigest()


def test_the_manifest_says_what_the_bundle_is(bundle):
    manifest = read_manifest(bundle)
    assert manifest["manifest_version"] == 1
    assert manifest["edgekit_version"] == __version__
    assert manifest["target"] == "android"
    assert manifest["recipe"] == {"name": "dynamic-int8", "seed": 7}
    assert manifest["model"]["name"] == "net"
    assert manifest["model"]["labels"] == 2
    assert manifest["model"]["inputs"] == [{
        "name": "image", "shape": [1, 16, 16, 3], "dtype": "float32", "scale": None,
        "zero_point": None, "layout": None}]
    assert [row["path"] for row in manifest["files"]] == ["a.tflite", "src/b.c"]  # sorted
    assert verify_manifest(bundle) == manifest


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    texts = set()
    for name in ("one", "another place"):
        make_bundle(tmp_path / name)
        os.utime(tmp_path / name / "a.tflite", (0, 0))
        texts.add((tmp_path / name / "manifest.json").read_bytes())
    [text] = texts
    assert text.endswith(b"}\n")
    assert b"secret" not in text
    assert str(tmp_path).encode() not in text
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True).encode() + b"\n"


def test_reports_are_not_deliverables(bundle):
    (bundle / "report.json").write_text("anything")
    verify_manifest(bundle)
    for path in ("report.json", "report.html", "manifest.json"):
        (bundle / path).write_text("x")
        with pytest.raises(EdgekitError, match="not a deliverable"):
            write_manifest(bundle, [Artifact(path, "model", 1, None, "0" * 64)], MODEL,
                           load_target("android"), Recipe("float32"))


def test_a_file_listed_twice_is_refused(bundle):
    with pytest.raises(EdgekitError, match="twice"):
        write_manifest(bundle, measure(bundle, FILES + FILES, deflate=False), MODEL,
                       load_target("android"), Recipe("float32"))


def test_a_changed_file_is_named(bundle):
    (bundle / "src/b.c").write_bytes(b"int y;\n" * 100)
    with pytest.raises(EdgekitError, match=r"'src/b\.c' .* sha256") as error:
        verify_manifest(bundle)
    assert error.value.exit_code == 2
    (bundle / "src/b.c").write_bytes(b"int x;\n" * 99)
    with pytest.raises(EdgekitError, match=r"'src/b\.c' .* 693 bytes, the manifest says 700"):
        verify_manifest(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle / "a.tflite").unlink()
    with pytest.raises(EdgekitError, match=r"'a\.tflite' is missing"):
        verify_manifest(bundle)
    (bundle / "a.tflite").mkdir()
    with pytest.raises(EdgekitError, match=r"'a\.tflite' is missing"):
        verify_manifest(bundle)


@pytest.mark.parametrize("path", [
    "../a.tflite", "/etc/passwd", "src/../../x", "src\\b.c", "C:x", "./a.tflite", "", ".",
    "src//b.c", "a\nb", "src/",
])  # fmt: skip
def test_paths_that_leave_the_bundle_are_refused(bundle, path):
    change(bundle, path=path)
    with pytest.raises(EdgekitError, match=r"unsafe path|not a deliverable"):
        read_manifest(bundle)


def test_a_link_out_of_the_bundle_is_refused(tmp_path):
    make_bundle(tmp_path / "bundle")
    (tmp_path / "bundle/a.tflite").rename(tmp_path / "a.tflite")
    (tmp_path / "bundle/a.tflite").symlink_to(tmp_path / "a.tflite")
    with pytest.raises(EdgekitError, match="leads out of it"):
        verify_manifest(tmp_path / "bundle")


@pytest.mark.parametrize(("fields", "message"), [
    ({"sha256": "xyz"}, r"files\.0\.sha256"), ({"bytes": -1}, r"files\.0\.bytes"),
    ({"extra": 1}, "unknown key"), ({"path": 3}, r"files\.0\.path"),
])  # fmt: skip
def test_a_manifest_with_wrong_fields_is_refused(bundle, fields, message):
    change(bundle, **fields)
    with pytest.raises(EdgekitError, match=message):
        read_manifest(bundle)


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", "\xff", "[" * 100_000, '{"manifest_version": 2}',
])  # fmt: skip
def test_what_is_not_a_manifest_is_refused(bundle, text):
    (bundle / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(EdgekitError, match=r"manifest\.json"):
        read_manifest(bundle)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(EdgekitError, match="not a bundle"):
        verify_manifest(tmp_path)


def test_a_huge_manifest_is_not_read(bundle, monkeypatch):
    monkeypatch.setattr("edgekit.packagers.manifest.MAX_MANIFEST_BYTES", 100)
    with pytest.raises(EdgekitError, match="too large"):
        read_manifest(bundle)
