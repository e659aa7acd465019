"""Hugging Face folders: each task, a real sentence encoder, and its tokenizer in the bundle."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import real_model

import edgekit
from edgekit.core.errors import EdgekitError
from edgekit.importers import ImportOptions, import_model
from edgekit.packagers.manifest import verify_manifest

pytestmark = pytest.mark.slow

ZOO = Path(__file__).parent / "torch_zoo.py"
TOKENS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    subprocess.run([sys.executable, str(ZOO), "folders", str(folder)], check=True,
                   capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder


@pytest.mark.parametrize(("name", "length", "inputs", "outputs", "labels"), [
    ("classes", None, dict.fromkeys(TOKENS, (1, 32)), {"logits": (1, 3)}, ("bad", "fine", "good")),
    ("words", None, dict.fromkeys(TOKENS[:2], (1, 32)), {"logits": (1, 32, 2)}, ()),
    ("answers", 16, dict.fromkeys(TOKENS[:2], (1, 16)),
     {"start_logits": (1, 16), "end_logits": (1, 16)}, ()),
    ("pictures", None, {"pixel_values": (1, 3, 16, 16)}, {"logits": (1, 2)}, ("cat", "dog")),
])  # fmt: skip
def test_the_task_is_seen_from_the_folder(folders, name, length, inputs, outputs, labels):
    model = import_model(str(folders / name), ImportOptions(sequence_length=length))
    assert {spec.name: spec.shape for spec in model.inputs} == inputs
    assert {spec.name: spec.shape for spec in model.outputs} == outputs
    assert model.labels == labels
    assert all(row.max_abs < 1e-5 for row in model.provenance.parity)
    assert [file.path for file in model.companions] == ["tokenizer/vocab.txt"]


def test_another_task_on_the_same_weights(folders):
    model = import_model(str(folders / "mask"), ImportOptions(task="feature-extraction"))
    assert [spec.name for spec in model.outputs] == ["last_hidden_state"]
    assert model.provenance.notes[0] == "task: feature-extraction"


@pytest.mark.parametrize(("name", "options", "message", "hint"), [
    ("bart", {}, "an encoder with a decoder", "module.py:function"),
    ("features", {"task": "text-classification"}, "classifier.bias", "--task feature-extraction"),
    ("features", {"sequence_length": 99}, "at most 32 tokens, not 99", "--sequence-length 32"),
    ("words", {"sequence_length": 33}, "at most 32 tokens, not 33", "--sequence-length 32"),
    ("features", {"task": "poetry"}, "unknown task 'poetry'", "feature-extraction"),
])  # fmt: skip
def test_what_does_not_fit_is_said(folders, name, options, message, hint):
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(str(folders / name), ImportOptions(**options))
    assert hint in error.value.hint


def tokens(samples):
    generator = np.random.default_rng(1)
    return {"input_ids": generator.integers(1000, 30522, (samples, 128)),
            "attention_mask": np.ones((samples, 128), np.int64),
            "token_type_ids": np.zeros((samples, 128), np.int64)}


def cosine(a, b):
    a, b = a.ravel().astype(float), b.ravel().astype(float)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_a_sentence_encoder_whole_and_with_8_bits(tmp_path):
    source = real_model("minilm/model.safetensors").parent
    model = edgekit.load_model(source, sequence_length=128)
    assert model.name == "minilm"
    assert all(row.cosine >= 0.9999 for row in model.provenance.parity)
    given = tokens(3)
    [bundle] = edgekit.build(model, "android", recipe="dynamic-int8", data=given, out=tmp_path,
                             device="none", report="none")
    written = {row["path"]: row["kind"] for row in verify_manifest(bundle.folder)["files"]}
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
    assert written == {"model.tflite": "model",
                       **{f"tokenizer/{name}": "tokenizer" for name in names}}
    for name in names:
        copied = (bundle.folder / "tokenizer" / name).read_bytes()
        assert copied == (source / name).read_bytes()
    sample = {name: array[:1].astype(np.int32) for name, array in given.items()}
    small = edgekit.load_model(bundle.folder / "model.tflite")
    reference, candidate = model.run(sample), small.run(sample)
    assert len(small.data) < len(model.data) / 3
    assert all(cosine(reference[name], candidate[name]) >= 0.99 for name in reference)
