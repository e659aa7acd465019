"""The host profiler: what it measures, and what becomes of models that do not let it."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from flatbuffers_builder import FlatbufferBuilder, small_net

from edgekit.core.errors import EdgekitError, RuntimeCrashError
from edgekit.core.model import Model, Provenance
from edgekit.profilers import _host_run, host
from edgekit.profilers._host_child import timed_runs
from edgekit.profilers._host_run import Timing, Way, run_fresh
from edgekit.profilers.base import ProfileResult
from edgekit.profilers.host import profile_host

QUICK = Timing(seconds=0.05)
ON, OFF = Way(1, xnnpack=True), Way(1, xnnpack=False)


def model_of(file: FlatbufferBuilder | bytes) -> Model:
    data = file if isinstance(file, bytes) else file.build()
    return Model(data, "net", Provenance("tflite", "net.tflite"))


def unary(
    op: str, shape: tuple[int, ...] = (1, 4), dtype: str = "float32", **more: object
) -> Model:
    file = FlatbufferBuilder()
    x, y = file.input("x", shape, dtype, **more), file.tensor("y", shape, dtype)
    file.operator(op, [x], [y])
    file.output(y)
    return model_of(file)


@pytest.fixture(scope="module")
def found() -> ProfileResult:
    return profile_host(model_of(small_net()), cold_starts=3, timing=QUICK)


class TestWhatItMeasures:
    def test_everything_for_each_way_of_running(self, found: ProfileResult) -> None:
        common = ["latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "cold_start_ms", "open_ms",
                  "allocate_ms", "first_run_ms", "import_ms", "peak_rss_bytes",
                  "peak_rss_delta_bytes"]
        for way, names in ((ON, common), (OFF, [*common, "arena_bytes"])):
            rows = [row for row in found.measurements if row.where == way.where]
            assert [row.name for row in rows] == names
            assert all(row.value and row.value > 0 for row in rows)
            assert all(row.provenance == "measured" for row in rows)

    def test_how_often_and_how_spread(self, found: ProfileResult) -> None:
        rows = {row.name: row for row in found.measurements if row.where == ON.where}
        assert rows["cold_start_ms"].n == rows["peak_rss_bytes"].n == 3
        assert rows["latency_p50_ms"].n >= 100
        assert all(row.spread is not None for row in rows.values())
        p50, p90, p99 = (rows[f"latency_p{p}_ms"].value for p in (50, 90, 99))
        assert p50 <= p90 <= p99  # type: ignore[operator]

    def test_cold_start_is_its_parts(self, found: ProfileResult) -> None:
        rows = {row.name: row.value for row in found.measurements if row.where == OFF.where}
        parts = rows["open_ms"] + rows["allocate_ms"] + rows["first_run_ms"]  # type: ignore[operator]
        # Medians of parts add up to the median of the sum only roughly.
        assert rows["cold_start_ms"] == pytest.approx(parts, rel=0.5)

    def test_series_are_thinned_out(self, found: ProfileResult) -> None:
        first, second = found.series
        assert first.name == "latency_ms"
        assert second.name == f"latency_ms, {OFF.where}"
        assert all(100 <= len(series.values) <= 1000 for series in found.series)

    def test_conditions(self, found: ProfileResult) -> None:
        assert found.conditions["xnnpack"] == "took 5 of 5 operators"
        assert found.conditions["inputs"] == "random"
        assert found.conditions["litert"][0].isdigit()
        assert {"cpu", "cores", "governor", "kernel", "python", "load_before", "load_after"} <= set(
            found.conditions)

    def test_the_arena_is_the_runtime_s(self, found: ProfileResult) -> None:
        (arena,) = [row for row in found.measurements if row.name == "arena_bytes"]
        assert arena.value == 38912

    def test_exactly_so_many_runs_threads_and_inputs(self) -> None:
        given = {"image": np.zeros((1, 16, 16, 3), np.float32)}
        found = profile_host(model_of(small_net()), threads=(2,), xnnpack=(True,), runs=7,
                             cold_starts=1, inputs=given, timing=QUICK)
        rows = {row.name: row for row in found.measurements}
        assert rows["latency_p50_ms"].n == len(found.series[0].values) == 7
        assert rows["latency_p50_ms"].where.endswith("2 threads, XNNPACK on")
        assert found.conditions["inputs"] == "given"
        for name, needed in (("latency_p90_ms", 10), ("latency_p99_ms", 100)):
            assert (rows[name].value, rows[name].provenance) == (None, None)
            assert f"needs {needed} runs" in rows[name].where

    def test_memory_grows_with_the_weights(self) -> None:
        file = FlatbufferBuilder()
        x, y = file.input("x", (1, 2000)), file.tensor("y", (1, 1000))
        w = file.constant("w", np.ones((1000, 2000), np.float32))
        file.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
        file.output(y)
        found = profile_host(model_of(file), runs=10, cold_starts=1, xnnpack=(False,))
        rows = {row.name: row.value for row in found.measurements}
        assert 8e6 < rows["peak_rss_delta_bytes"] < 40e6  # type: ignore[operator]
        assert rows["peak_rss_bytes"] > rows["peak_rss_delta_bytes"]  # type: ignore[operator]

    def test_what_xnnpack_does_not_take(self) -> None:
        file = FlatbufferBuilder()
        x = file.input("x", (4, 4))
        a, b, c = (file.tensor(name, (4, 4)) for name in "abc")
        file.operator("TANH", [x], [a])
        file.operator("SIGN", [a], [b])
        file.operator("TANH", [b], [c])
        file.output(c)

        def took(model: Model, *xnnpack: bool) -> object:
            found = profile_host(model, xnnpack=xnnpack, runs=10, cold_starts=1)
            return found.conditions["xnnpack"]

        assert took(model_of(file), True) == "took 2 of 3 operators in 2 parts"
        assert took(unary("SIGN"), True) == "took none of 1 operators"
        assert took(unary("SIGN"), False) == "off"


def test_the_child_loads_nothing_but_litert_and_numpy() -> None:
    model = model_of(small_net())
    with host._inputs_file(model, None) as inputs:
        answer = run_fresh(model, inputs, ON, QUICK, timed=True)
    loaded = {name for name in answer["modules"] if name not in sys.stdlib_module_names}
    foreign = {name for name in loaded if not name.startswith("_")}
    assert foreign == {"ai_edge_litert", "numpy"}
    assert not {"edgekit", "tensorflow", "scipy", "flatbuffers"} & set(answer["modules"])


def test_latency_agrees_with_a_plain_loop() -> None:
    """Within 5 % of a loop around the same interpreter, in one of a few tries on a busy machine."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=small_net(32, 16), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()

    def plain() -> float:
        times = []
        for _ in range(400):
            start = time.perf_counter_ns()
            interpreter.invoke()
            times.append(time.perf_counter_ns() - start)
        return float(np.median(times))

    def ours() -> float:
        return float(np.median(timed_runs(interpreter, runs=400, min_runs=0, seconds=0,
                                          most_seconds=0, warmup_seconds=0)))  # fmt: skip

    for _ in range(5):
        ratios = [ours() / plain() for _ in range(5)]
        if abs(np.median(ratios) - 1) < 0.05:
            return
    pytest.fail(f"ours against a plain loop: {ratios}")


class TestTimedRuns:
    class Model:
        """Takes a while and counts."""

        def __init__(self, seconds: float) -> None:
            self.seconds, self.calls, self.resets = seconds, 0, 0

        def invoke(self) -> None:
            self.calls += 1
            time.sleep(self.seconds)

        def reset_all_variables(self) -> None:
            self.resets += 1

    def test_as_many_as_fit(self) -> None:
        model = self.Model(0.001)
        times = timed_runs(model, None, 5, 0.05, 0.5, 0.01)
        assert 5 <= len(times) <= 50
        assert model.calls > len(times)  # warm-up is not among them
        assert model.resets == 1
        assert min(times) >= 1_000_000

    def test_at_least_so_many(self) -> None:
        assert len(timed_runs(self.Model(0.01), None, 8, 0.01, 10, 0)) == 8

    def test_but_not_for_ever(self) -> None:
        assert len(timed_runs(self.Model(0.02), None, 1000, 0.02, 0.1, 0)) < 10


def recursive() -> Model:
    """IF whose branch calls itself: LiteRT prepares it until the stack is full."""
    file = FlatbufferBuilder()
    for name in ("main", "branch"):
        if name == "branch":
            file.subgraph(name)
        x, y = file.input("x", (4,)), file.tensor("y", (4,))
        c = file.constant("c", np.array([True]))
        file.operator("IF", [c, x], [y], "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=1)
        file.output(y)
    return model_of(file)


def endless() -> Model:
    """WHILE x == x."""
    file = FlatbufferBuilder()
    x, y = file.input("x", (1,)), file.tensor("y", (1,))
    file.operator("WHILE", [x], [y], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    file.output(y)
    file.subgraph("condition")
    x, c = file.input("x", (1,)), file.tensor("c", (1,), "bool")
    file.operator("EQUAL", [x, x], [c], "EqualOptions")
    file.output(c)
    file.subgraph("body")
    x, y = file.input("x", (1,)), file.tensor("y", (1,))
    file.operator("ABS", [x], [y], "AbsOptions")
    file.output(y)
    return model_of(file)


def overflowing() -> Model:
    """The smallest integer modulo -1 traps on x86."""
    file = FlatbufferBuilder()
    x = file.input("x", (1,), "int32")
    low = file.constant("low", np.array([-(2**31)], np.int32))
    minus = file.constant("minus", np.array([-1], np.int32))
    y, z = file.tensor("y", (1,), "int32"), file.tensor("z", (1,), "int32")
    file.operator("FLOOR_MOD", [low, minus], [y], "FloorModOptions")
    file.operator("ADD", [y, x], [z], "AddOptions")
    file.output(z)
    return model_of(file)


class TestModelsThatDoNotLetIt:
    def test_a_crash_at_allocation(self) -> None:
        with pytest.raises(RuntimeCrashError, match=r"crashed \(SIGSEGV\) on net \(allocating"):
            profile_host(recursive(), timing=QUICK)

    @pytest.mark.skipif("x86" not in ON.where, reason="ARM does not trap on this division")
    def test_a_crash_at_the_first_run(self) -> None:
        with pytest.raises(RuntimeCrashError, match=r"crashed \(SIGFPE\) on net \(its first run\)"):
            profile_host(overflowing(), timing=QUICK)

    def test_a_refusal(self) -> None:
        with pytest.raises(EdgekitError, match=r"refuses net .*custom op: Mine") as caught:
            profile_host(unary("CUSTOM:Mine"), timing=QUICK)
        assert not isinstance(caught.value, RuntimeCrashError)

    def test_a_damaged_file(self) -> None:
        data = small_net()
        model = model_of(data)
        assert model.inputs  # parsed; then the copy on disk is cut short
        broken = Model(data[: len(data) // 3], "net", Provenance("tflite", "x"))
        broken.__dict__["graph"] = model.graph
        with pytest.raises(EdgekitError, match="net"):
            profile_host(broken, timing=QUICK)

    def test_time_runs_out(self) -> None:
        start = time.monotonic()
        with pytest.raises(EdgekitError, match=r"within 1 s of profiling \(its first run\)"):
            profile_host(endless(), timing=Timing(timeout_seconds=1))
        assert time.monotonic() - start < 5

    def test_an_interrupt_ends_the_child(self, monkeypatch: pytest.MonkeyPatch) -> None:
        children = []

        class Interrupted(subprocess.Popen[bytes]):
            def communicate(self, *args: object, **more: object) -> tuple[bytes, bytes]:
                children.append(self)
                if len(children) == 1:
                    raise KeyboardInterrupt
                return super().communicate()

        monkeypatch.setattr(_host_run.subprocess, "Popen", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            profile_host(endless(), timing=QUICK)
        assert children[0].returncode == -9  # killed, and waited for

    def test_no_input_file_is_left(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = tmp_path / "inputs.npz"
        monkeypatch.setattr(host.sandbox(), "new_path", lambda suffix: path)
        with pytest.raises(RuntimeCrashError):
            profile_host(recursive(), timing=QUICK)
        assert not path.exists()


class TestBadRequests:
    @pytest.mark.parametrize("wrong", [{"threads": (0,)}, {"runs": 0}, {"cold_starts": 0}])
    def test_counts(self, wrong: dict[str, object]) -> None:
        with pytest.raises(EdgekitError, match="at least 1"):
            profile_host(model_of(small_net()), **wrong)  # type: ignore[arg-type]

    def test_an_open_input(self) -> None:
        with pytest.raises(EdgekitError, match=r"input 'x' is open: \[1, -1\]"):
            profile_host(unary("TANH", (1, 1), signature=(1, -1)))

    def test_an_open_input_with_data(self) -> None:
        model = unary("TANH", (1, 1), signature=(1, -1))
        found = profile_host(model, runs=10, cold_starts=1, xnnpack=(True,),
                             inputs={"x": np.zeros((1, 50), np.float32)})
        assert found.measurements[0].value is not None

    def test_an_input_without_numbers(self) -> None:
        with pytest.raises(EdgekitError, match="of type string"):
            profile_host(unary("RESHAPE", dtype="string"))

    def test_an_input_beyond_measure(self) -> None:
        with pytest.raises(EdgekitError, match="too large"):
            profile_host(unary("TANH", (2**20, 2**20)))

    def test_another_shape(self) -> None:
        with pytest.raises(EdgekitError, match="the model wants float32"):
            profile_host(model_of(small_net()), inputs={"image": np.zeros(3, np.float32)})


def test_an_answer_among_other_lines() -> None:
    out = b'hello\n[1]\n{"stage": "opening"}\n{"stage": "its first run"}\n{"broken": \n'
    with pytest.raises(RuntimeCrashError, match=r"exit 3\) on net \(its first run\)") as caught:
        _host_run._answer("net", 3, out, b"INFO: Created XNNPACK delegate\nno memory\n")
    assert caught.value.hint == "its last words: no memory"
    with pytest.raises(RuntimeCrashError, match="starting") as caught:
        _host_run._answer("net", -9, b"", b"")
    assert caught.value.hint == "it left no message"
    assert _host_run._answer("net", 0, b'{"result": {"open_ns": 1}}', b"") == {"open_ns": 1}
