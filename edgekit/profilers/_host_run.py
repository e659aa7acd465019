"""Starting the child that measures, and understanding what became of it."""

import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekit.core import interrupt
from edgekit.core.errors import EdgekitError, RuntimeCrashError
from edgekit.core.model import Model
from edgekit.core.sandbox import sandbox

CHILD = Path(__file__).with_name("_host_child.py")

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Timing:
    """How long to time.

    Attributes:
        runs: Exactly so many; None for as many as fit into ``seconds``.
        seconds: Time for the runs of one way of running.
        min_runs: At least so many, if they take ten times that long.
        timeout_seconds: For one process.
    """

    runs: int | None = None
    seconds: float = 2.0
    min_runs: int = 100
    timeout_seconds: float = 600.0

    def as_job(self) -> dict[str, Any]:
        """The part of the child's job."""
        return {
            "runs": self.runs, "min_runs": self.min_runs, "seconds": self.seconds,
            "most_seconds": 10 * self.seconds, "warmup_seconds": 0.15 * self.seconds,
        }  # fmt: skip


@dataclass(frozen=True)
class Way:
    """A way of running."""

    threads: int
    xnnpack: bool

    @property
    def where(self) -> str:
        """As measurements say it."""
        machine = platform.machine().replace("_", "-")
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"this host ({machine}), {threads}, XNNPACK {'on' if self.xnnpack else 'off'}"


def run_fresh(model: Model, inputs: Path, way: Way, timing: Timing, *, timed: bool) -> Answer:
    """One fresh process from start to end.

    Args:
        model: What to run.
        inputs: An .npz of arrays by tensor index.
        way: How.
        timing: How long.
        timed: Whether to go on after the first output and time runs.

    Raises:
        EdgekitError: LiteRT refuses the model, or time ran out.
        RuntimeCrashError: The process died.
    """
    job = {
        "model": str(sandbox().path_of(model)), "inputs": str(inputs),
        "outputs": list(model.signature.outputs.values()),
        "threads": way.threads, "xnnpack": way.xnnpack,
        "latency": timing.as_job() if timed else None,
        "sys_path": _package_folders(), "spawned_ns": time.monotonic_ns(),
    }  # fmt: skip
    interrupt.check()
    # -S: no site, whose .pth files may import anything; the folders come with the job.
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", str(CHILD), json.dumps(job)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )  # fmt: skip
    try:
        out, err = child.communicate(timeout=timing.timeout_seconds)
    except subprocess.TimeoutExpired as error:
        child.kill()
        out, _ = child.communicate()
        stage = _last(out, "stage") or "starting"
        raise EdgekitError(f"{model.name} did not finish within {timing.timeout_seconds:g} s of "
                           f"profiling ({stage})", "ask for fewer --runs") from error
    except BaseException:
        child.kill()
        child.communicate()
        raise
    return _answer(model.name, child.returncode, out, err)


def _answer(name: str, status: int, out: bytes, err: bytes) -> Answer:
    """The child's result, or the error that explains why there is none."""
    result: Answer | None = _last(out, "result")
    if result is not None:
        return result
    stage = _last(out, "stage") or "starting"
    if refusal := _last(out, "error"):
        raise EdgekitError(f"LiteRT refuses {name} ({stage}): {refusal.splitlines()[0]}",
                           "edgekit inspect shows its operators")
    cause = signal.Signals(-status).name if status < 0 else f"exit {status}"
    words = [line.strip() for line in err.decode(errors="replace").splitlines()
             if line.strip() and "XNNPACK delegate" not in line][-8:]
    hint = "its last words: " + " | ".join(words) if words else "it left no message"
    raise RuntimeCrashError(f"LiteRT crashed ({cause}) on {name} ({stage})", hint)


def _last(out: bytes, key: str) -> Any:  # noqa: ANN401 - JSON
    """The value of the last line that has ``key``; other lines are not the child's."""
    for line in reversed(out.splitlines()):
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and key in message:
            return message[key]
    return None


def _package_folders() -> list[str]:
    """Where NumPy and LiteRT are, without importing them here."""
    specs = [find_spec(package) for package in ("numpy", "ai_edge_litert")]
    places = [place for spec in specs if spec is not None
              for place in spec.submodule_search_locations or ()]
    return sorted({str(Path(place).parent) for place in places})
