"""One fresh process that opens a model, runs it once, and then times it.

Run by path (``python -I -S _host_child.py JOB``), so that nothing of edgekit is loaded: what it
measures is Python, NumPy, LiteRT and the model. JOB is one JSON object:

    model       path of the .tflite
    inputs      path of an .npz: arrays by tensor index
    outputs     tensor indices
    threads, xnnpack
    sys_path    folders in which NumPy and LiteRT are
    spawned_ns  the parent's monotonic clock just before it started this process
    latency     null, or {runs, min_runs, seconds, most_seconds, warmup_seconds}

It writes JSON lines: ``{"stage": …}`` before each step, so that the parent knows in which one it
died, then ``{"result": …}`` or ``{"error": …}``.
"""

import gc
import json
import os
import re
import sys
import time
from typing import Any

Job = dict[str, Any]


def say(**message: object) -> None:
    """One line to the parent."""
    os.write(1, json.dumps(message).encode() + b"\n")


def main(job: Job) -> None:
    """Measure and answer; an error of LiteRT's is an answer too."""
    say(stage="import")
    sys.path.extend(folder for folder in job["sys_path"] if folder not in sys.path)
    import numpy as np
    from ai_edge_litert import interpreter as litert

    import_ns = time.monotonic_ns() - job["spawned_ns"]
    with np.load(job["inputs"], allow_pickle=False) as arrays:
        inputs = {int(name): arrays[name] for name in arrays.files}
    try:
        model, result = cold_start(litert, job, inputs)
        result["import_ns"] = import_ns
        if job["latency"]:
            say(stage="timed runs")
            result["latency_ns"] = timed_runs(model, **job["latency"])
        result["operators"] = delegation(model)
        result["addresses"] = [] if job["xnnpack"] else addresses(model)
        result["modules"] = sorted(name for name in sys.modules if "." not in name)
    except (ValueError, RuntimeError, MemoryError) as error:
        say(error=str(error).strip() or f"{type(error).__name__} without a reason")
        return
    say(result=result)


def cold_start(litert: Any, job: Job, inputs: dict[int, Any]) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """Open, allocate, first output; what each took and the memory at the end."""
    kinds = litert.OpResolverType
    kind = kinds.AUTO if job["xnnpack"] else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    clock = time.perf_counter_ns
    reset_peak()
    before = memory_bytes("VmRSS")

    say(stage="opening")
    start = clock()
    model = litert.Interpreter(
        model_path=job["model"], num_threads=job["threads"], experimental_op_resolver_type=kind
    )
    opened = clock() - start

    say(stage="allocating its tensors")
    start = clock()
    fit(model, inputs)
    model.allocate_tensors()
    allocated = clock() - start

    say(stage="its first run")
    start = clock()
    for index, array in inputs.items():
        model.set_tensor(index, array)
    model.invoke()
    outputs = [model.get_tensor(index) for index in job["outputs"]]
    first_run = clock() - start

    del outputs
    return model, {
        "open_ns": opened, "allocate_ns": allocated, "first_run_ns": first_run,
        "rss_before": before, "rss_peak": memory_bytes("VmHWM"),
    }  # fmt: skip


def fit(model: Any, inputs: dict[int, Any]) -> None:  # noqa: ANN401
    """Resize inputs that the file leaves open."""
    for detail in model.get_input_details():
        array = inputs.get(detail["index"])
        if array is not None and tuple(detail["shape"]) != array.shape:
            model.resize_tensor_input(detail["index"], array.shape)


def timed_runs(
    model: Any,  # noqa: ANN401
    runs: int | None,
    min_runs: int,
    seconds: float,
    most_seconds: float,
    warmup_seconds: float,
) -> list[int]:
    """Nanoseconds of each ``invoke``; nothing else is between the two looks at the clock."""
    clock, invoke = time.perf_counter_ns, model.invoke
    model.reset_all_variables()
    end = clock() + int(warmup_seconds * 1e9)
    invoke()
    while clock() < end:
        invoke()
    times: list[int] = []
    keep = times.append
    gc.collect()
    gc.disable()  # a collection in the middle would be counted as the model's
    begin = now = clock()
    enough, most = begin + int(seconds * 1e9), begin + int(most_seconds * 1e9)
    while len(times) < runs if runs else now < enough or (len(times) < min_runs and now < most):
        start = clock()
        invoke()
        now = clock()
        keep(now - start)
    gc.enable()
    return times


def delegation(model: Any) -> dict[str, int]:  # noqa: ANN401
    """How many operators a delegate took, and in how many parts.

    A part is a DELEGATE node: it stands for the operators between its inputs and its outputs.
    """
    nodes = model._get_ops_details()  # noqa: SLF001 - there is no public list of operators
    parts = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producer = {int(index): at for at, node in enumerate(operators) for index in node["outputs"]}
    taken: set[int] = set()
    for part in parts:
        outside = {int(index) for index in part["inputs"]}
        waiting = [int(index) for index in part["outputs"]]
        while waiting:
            index = waiting.pop()
            at = producer.get(index)
            if at is None or at in taken or index in outside:
                continue
            taken.add(at)
            waiting.extend(int(index) for index in operators[at]["inputs"])
    return {"total": len(operators), "delegated": len(taken), "parts": len(parts)}


def addresses(model: Any) -> list[tuple[int, int, int]]:  # noqa: ANN401
    """(tensor, address, bytes) of all that has memory, temporaries of kernels included."""
    found = []
    for detail in model.get_tensor_details():
        try:
            view = model.tensor(detail["index"])()
        except (ValueError, RuntimeError):  # no memory now: a delegate's, or never needed
            continue
        if view is not None:  # a resource has no bytes to look at
            place = view.__array_interface__["data"][0]
            found.append((int(detail["index"]), int(place), int(view.nbytes)))
    return found


def reset_peak() -> None:
    """Let the kernel's high-water mark begin anew (Linux: 5 in clear_refs).

    Where that is not allowed, the mark holds the imports too: higher than the truth, never lower.
    """
    try:
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123 - pathlib is one more load
            file.write("5")
    except OSError:
        pass


def memory_bytes(field: str) -> int | None:
    """``VmRSS`` or ``VmHWM`` of this process; None where the system does not tell."""
    try:
        with open("/proc/self/status") as file:  # noqa: PTH123
            found = re.search(rf"^{field}:\s*(\d+) kB", file.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
