"""Imports in ``tools/bench``: latency against onnxruntime, time and memory, PyTorch's own way."""

import json
import math
import statistics
import subprocess
import tempfile
from pathlib import Path

from bench import PYTHON, ROOT, Run, pairs, report, row, run

MODELS = ROOT / ".cache" / "models"
# File, and the sizes that its open dimensions get.
REAL: dict[str, tuple[Path, dict[str, tuple[int, ...]]]] = {
    "basic-pitch": (MODELS / "basic-pitch" / "nmp.onnx", {}),
    "magika": (MODELS / "magika" / "model.onnx", {}),
    "swift-f0": (MODELS / "swift-f0" / "model.onnx", {"audio": (1, 16000)}),
    "silero-vad": (MODELS / "silero-vad" / "silero_vad_16k_op15.onnx", {"input": (1, 576)}),
    "rapidocr det": (MODELS / "rapidocr" / "det.onnx", {"x": (1, 3, 320, 320)}),
    "rapidocr rec": (MODELS / "rapidocr" / "rec.onnx", {"x": (1, 3, 48, 320)}),
    "rapidocr cls": (MODELS / "rapidocr" / "cls.onnx", {"x": (1, 3, 48, 192)}),
    "ddddocr": (MODELS / "ddddocr" / "common.onnx", {"input1": (1, 1, 64, 160)}),
    "ddddocr det": (MODELS / "ddddocr" / "common_det.onnx", {}),
}
# Inputs that random numbers make no sense for.
FIXED: dict[str, dict[str, float]] = {"swift-f0": {"fmin": 46.875, "fmax": 2093.75}}
SMALL_BYTES = 5_000_000
SMALL_SECONDS = 4.0
LARGE_SECONDS, LARGE_TIMES = 60.0, 10.0
LARGE_BYTES = 40_000_000  # in smaller files, what code and graph take outweighs the weights

_CONVERT = """
import json, sys, edgekit
shapes = {name: tuple(shape) for name, shape in json.loads(sys.argv[3]).items()}
fixed, data = json.loads(sys.argv[4]), None
if fixed:
    import numpy as np
    data = sys.argv[2] + ".npz"
    generator = np.random.default_rng(0)
    drawn = {n: generator.normal(size=s).astype("f")[None] for n, s in shapes.items()}
    np.savez(data, **drawn, **{name: np.full((1,), x, "f") for name, x in fixed.items()})
edgekit.load_model(sys.argv[1], input_shapes=shapes, data=data).save(sys.argv[2])
"""
_FRAMEWORKS = "import tensorflow, onnx, onnxruntime; import ai_edge_litert.interpreter"

# Both runtimes in one process, run by run in turn, on the same random input.
_BOTH = """
import json, sys, time
import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
made = Interpreter(sys.argv[2], num_threads=1)
made.allocate_tensors()
generator, fixed = np.random.default_rng(0), json.loads(sys.argv[3])
feeds = {}
for d in made.get_input_details():
    shape, dtype = tuple(d["shape"]), np.dtype(d["dtype"])
    floats = dtype.kind == "f"
    drawn = generator.uniform(-1, 1, shape) if floats else generator.integers(0, 2, shape)
    feeds[d["name"]] = np.asarray(fixed.get(d["name"], drawn), dtype)
    made.set_tensor(d["index"], feeds[d["name"]])
def litert():
    began = time.perf_counter(); made.invoke(); return time.perf_counter() - began
def onnx():
    began = time.perf_counter(); session.run(None, feeds); return time.perf_counter() - began
end, count = time.perf_counter() + 1.0, 0
while time.perf_counter() < end:
    litert(); onnx()
a, b = [], []
end = time.perf_counter() + 4.0
while time.perf_counter() < end or len(a) < 20:
    a.append(litert()); b.append(onnx())
print(json.dumps([float(np.median(a)) * 1e3, float(np.median(b)) * 1e3, len(a)]))
"""


def _convert(name: str, folder: str) -> Path:
    source, shapes = REAL[name]
    made = Path(folder) / f"{name.replace(' ', '-')}.tflite"
    subprocess.run([PYTHON, "-c", _CONVERT, str(source), str(made), json.dumps(shapes),
                    json.dumps(FIXED.get(name, {}))], check=True, cwd=ROOT, capture_output=True)
    return made


def latency(_count: int) -> bool:
    """LiteRT on the imported file against onnxruntime on the source, one thread."""
    ratios, within = [], True
    with tempfile.TemporaryDirectory() as folder:
        for name, (source, _) in REAL.items():
            made = _convert(name, folder)
            done = subprocess.run([PYTHON, "-c", _BOTH, str(source), str(made),
                                   json.dumps(FIXED.get(name, {}))], check=True,
                                  capture_output=True, text=True)
            ours, theirs, runs = json.loads(done.stdout.splitlines()[-1])
            ratios.append(ours / theirs)
            within &= row(f"latency of {name}: LiteRT / onnxruntime", f"{ours:.3g} ms",
                          f"{theirs:.3g} ms", ours / theirs, 1.5, f"medians of {runs}, in turn")
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    return row("latency, geometric mean", "", "", mean, 1.05, f"{len(ratios)} models") and within


def importing(count: int) -> bool:
    """Seconds beyond importing the frameworks, and memory beyond that against the file's size."""
    within = True
    command = [PYTHON, "-c", _FRAMEWORKS]
    run(command)
    bare_runs = [run(command) for _ in range(count)]
    bare = statistics.median(r.seconds for r in bare_runs)
    bare_bytes = statistics.median(r.largest_bytes for r in bare_runs)
    with tempfile.TemporaryDirectory() as folder:
        for name, (source, shapes) in REAL.items():
            size = source.stat().st_size
            convert = [PYTHON, "-c", _CONVERT, str(source), f"{folder}/made.tflite",
                       json.dumps(shapes), json.dumps(FIXED.get(name, {}))]
            runs = [run(convert) for _ in range(count if size < SMALL_BYTES else 1)]
            seconds = statistics.median(r.seconds for r in runs) - bare
            if size < SMALL_BYTES:
                within &= row(f"import of {name}, beyond frameworks", f"{seconds:.3g} s",
                              f"{SMALL_SECONDS:g} s", seconds / SMALL_SECONDS, 1.0,
                              f"{size / 1e6:.1f} MB, n {len(runs)}")
                continue
            within &= _large(name, size, runs[0], bare_bytes)
    return within


def _large(name: str, size: int, done: Run, bare_bytes: float) -> bool:
    """Time as it is; memory beyond what the frameworks alone take."""
    beyond = done.largest_bytes - bare_bytes
    within = row(f"import of {name}, {size / 1e6:.0f} MB: time", f"{done.seconds:.3g} s",
                 f"{LARGE_SECONDS:g} s", done.seconds / LARGE_SECONDS, 1.0, "once")
    limit = LARGE_TIMES if size > LARGE_BYTES else None
    spread = f"{done.largest_bytes / 1e6:.0f} MB in all, {bare_bytes / 1e6:.0f} frameworks"
    return within & row(f"import of {name}: memory beyond / file", f"{beyond / 1e6:.0f} MB",
                        f"{size / 1e6:.0f} MB", beyond / size, limit, spread)


_EDGEKIT_TORCH = """
import sys, edgekit
edgekit.load_model(sys.argv[1], task="feature-extraction", sequence_length=128).save(sys.argv[2])
"""
_BARE_TORCH = """
import sys, torch, litert_torch, transformers
class Features(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, ids, mask, types):
        return tuple(self.inner(ids, mask, types, return_dict=False))
inner = transformers.AutoModel.from_pretrained(sys.argv[1], local_files_only=True).eval()
zeros = torch.zeros(1, 128, dtype=torch.int32)
made = litert_torch.convert(Features(inner), (zeros, torch.ones_like(zeros), zeros))
made.export(sys.argv[2])
"""


def pytorch(count: int) -> bool:
    """MiniLM-L6 by edgekit, proof included, and by a bare litert-torch script."""
    folder = str(MODELS / "minilm")
    with tempfile.TemporaryDirectory() as place:
        ours = [PYTHON, "-c", _EDGEKIT_TORCH, folder, f"{place}/a.tflite"]
        bare = [PYTHON, "-c", _BARE_TORCH, folder, f"{place}/b.tflite"]
        runs_a, runs_b = pairs(ours, bare, count)
    return report("MiniLM-L6 import / litert-torch", runs_a, runs_b,
                  {"seconds": 1.3, "largest_bytes": None})


BENCHMARKS = {"pytorch": pytorch, "onnx-latency": latency, "onnx": importing}
