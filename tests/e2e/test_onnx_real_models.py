"""ONNX files that nobody here made, out of packages: what they compute stays what it was."""

import sysconfig
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import edgekit

pytestmark = pytest.mark.slow

MODELS = Path(__file__).parent.parent.parent / ".cache" / "models"


def session(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def operators(model):
    return [operator.name for _, operator in model.graph.operators()]


def cosine(a, b):
    a, b = (np.asarray(x, np.float64).reshape(-1) for x in (a, b))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def tones(samples, seed=0):
    """Something like music: three notes with overtones."""
    generator, time = np.random.default_rng(seed), np.arange(samples) / 22050
    wave = sum(np.sin(2 * np.pi * f * k * time + generator.uniform(0, 6)) / k
               for f in (220.0, 277.2, 329.6) for k in (1, 2, 3))
    return (0.1 * wave).astype(np.float32)


def test_basic_pitch_is_one_model_in_three_formats():
    wave = tones(43844).reshape(1, -1, 1)
    results = []
    for name in ("nmp.onnx", "nmp", "nmp.tflite"):
        model = edgekit.load_model(MODELS / "basic-pitch" / name)
        outputs = model.run({model.inputs[0].name: wave})
        results.append(list(outputs.values()))
    first = results[0]
    assert sorted(a.shape for a in first) == [(1, 172, 88), (1, 172, 88), (1, 172, 264)]
    for others in results[1:]:
        for array in first:
            same = [b for b in others if b.shape == array.shape]
            assert max(cosine(array, b) for b in same) > 0.99999


def features(data):
    """What magika looks at: the first and the last 1,024 bytes, 256 where there are none."""
    head, tail = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    row = np.full(2048, 256, np.int32)
    row[:len(head)] = np.frombuffer(head, np.uint8)
    row[2048 - len(tail):] = np.frombuffer(tail, np.uint8)
    return row[None]


def files_on_disk():
    """Files of many kinds that every machine with Python has."""
    root = Path(sysconfig.get_paths()["stdlib"])
    site = Path(sysconfig.get_paths()["purelib"])
    kinds = ("*.py", "*.pyc", "*.so", "*.txt", "*.json", "*.h", "*.csv", "*.png", "*.md", "*.toml")
    for kind in kinds:
        for place in (root, site):
            yield from islice((p for p in sorted(place.rglob(kind)) if p.stat().st_size > 64), 12)


def test_magika_tells_files_apart_as_it_did():
    path = MODELS / "magika" / "model.onnx"
    model, reference = edgekit.load_model(path), session(path)
    right = total = 0
    for file in files_on_disk():
        row = features(file.read_bytes())
        expected = reference.run(None, {"bytes": row})[0]
        got = model.run({"bytes": row})["target_label"]
        right += int(expected.argmax() == got.argmax())
        total += 1
        assert np.abs(expected - got).max() < 1e-3
    assert total > 100
    assert right / total >= 0.99


def test_swift_f0_hears_the_same_pitch(tmp_path):
    path = MODELS / "swift-f0" / "model.onnx"
    reference = session(path)
    inputs = {i.name: i.shape for i in reference.get_inputs()}
    time, noise = np.arange(16000) / 16000, np.random.default_rng(0).normal(size=16000)
    voice = sum(np.sin(2 * np.pi * 196 * k * time) / k for k in range(1, 6)) + 0.05 * noise
    feeds = {"audio": (0.2 * voice).astype(np.float32)[None], "fmin": 46.875, "fmax": 2093.75}
    feeds = {name: np.asarray(feeds[name], np.float32) for name in inputs}
    np.savez(tmp_path / "voice.npz", **{name: array[None] for name, array in feeds.items()})
    model = edgekit.load_model(path, input_shapes={"audio": (1, 16000)},
                               data=tmp_path / "voice.npz")
    got = model.run(feeds)
    for item, array in zip(reference.get_outputs(), reference.run(None, feeds), strict=True):
        assert got[item.name].shape == array.shape
        assert np.allclose(got[item.name], array, rtol=1e-3, atol=1e-3), item.name


@pytest.mark.parametrize(("name", "shape"), [
    ("det", (1, 3, 320, 320)), ("rec", (1, 3, 48, 320)), ("cls", (1, 3, 48, 192)),
])  # fmt: skip
def test_text_in_pictures_without_needless_transposes(name, shape):
    model = edgekit.load_model(MODELS / "rapidocr" / f"{name}.onnx", input_shapes={"x": shape})
    assert all(row.cosine > 0.99999 for row in model.provenance.parity)
    if name != "rec":  # which has a transformer behind its convolutions
        assert operators(model).count("TRANSPOSE") <= len(model.inputs) + len(model.outputs)


def test_silero_vad_keeps_its_state_as_input_and_output():
    path = MODELS / "silero-vad" / "silero_vad_16k_op15.onnx"
    model = edgekit.load_model(path, input_shapes={"input": (1, 576)})
    reference = session(path)
    assert {"state", "stateN"} <= {s.name for s in (*model.inputs, *model.outputs)}
    ours = theirs = np.zeros((2, 1, 128), np.float32)
    for step in range(5):
        chunk = tones(576, seed=step)[None]
        got = model.run({"input": chunk, "state": ours, "sr": np.asarray(16000, np.int64)})
        want = dict(zip([o.name for o in reference.get_outputs()], reference.run(
            None, {"input": chunk, "state": theirs, "sr": np.asarray(16000, np.int64)}),
            strict=True))
        ours, theirs = got["stateN"], want["stateN"]
        assert np.allclose(got["output"], want["output"], atol=1e-4)
        assert np.allclose(ours, theirs, atol=1e-3)
