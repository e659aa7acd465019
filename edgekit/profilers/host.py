"""This host: cold start, latency and memory, each measured in fresh processes.

The processes load nothing but LiteRT and NumPy (see ``_host_child``). A host figure says something
about this host: it never stands in for a device's.

- **Cold start** is open + allocate + first output, from files that the system has in its cache.
  Starting Python and importing LiteRT come before and are a figure of their own, ``import_ms``.
- **Latency** is one ``invoke`` after warm-up: inputs are in place, outputs are not copied.
- **Memory**: ``peak_rss_bytes`` is all of the child at its first output, Python and NumPy included;
  ``peak_rss_delta_bytes`` is what came on top of that once the model was opened. The kernel
  counts in batches: differences below some hundred kilobytes mean nothing.
- **XNNPACK** is LiteRT's default; "XNNPACK on" says that it was offered the graph, and
  ``conditions`` says how many operators it took.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.core.indices import index_rows
from edgekit.core.measurement import Measurement, Series
from edgekit.core.model import Arrays, Model, check_arrays
from edgekit.core.sandbox import sandbox
from edgekit.profilers._host_arena import arena_bytes
from edgekit.profilers._host_conditions import host_conditions, load_average
from edgekit.profilers._host_run import Answer, Timing, Way, run_fresh
from edgekit.profilers.base import ProfileResult, ProfileSettings

SERIES_POINTS = 1000
_P90_RUNS, _P99_RUNS = 10, 100  # below, a percentile is a guess about runs that never happened
_SEED = 0
MAX_INPUT_BYTES = 2**30  # in double precision, in which values are drawn


def profile_host(
    model: Model,
    *,
    threads: Sequence[int] = (1,),
    xnnpack: Sequence[bool] = (True, False),
    runs: int | None = None,
    cold_starts: int = 5,
    inputs: Arrays | None = None,
    timing: Timing | None = None,
) -> ProfileResult:
    """Measure on this host, each way of running in processes of its own.

    Args:
        model: Any model that LiteRT runs.
        threads: Thread counts, each at least 1.
        xnnpack: With XNNPACK, without it, or both.
        runs: Timed inferences of each way of running; None for as many as fit into 2 seconds.
        cold_starts: Fresh processes of each way of running, at least 1.
        inputs: One array per input; None draws random ones.
        timing: Finer control; ``runs`` takes precedence.

    Returns:
        The figures of the module's docstring by way of running; ``latency_ms`` of each, in order,
        thinned out to at most 1000 runs; processor, load, versions, and what XNNPACK took.

    Raises:
        EdgekitError: LiteRT refuses the model, an input's size is open, or time ran out.
        RuntimeCrashError: LiteRT crashed.
    """
    if min((*threads, cold_starts, 1 if runs is None else runs)) < 1:
        raise EdgekitError("threads, runs and cold starts are each at least 1")
    times = timing or Timing()
    ways = [Way(count, flag) for count in threads for flag in xnnpack]
    conditions = {**host_conditions(), "load_before": load_average(),
                  "inputs": "random" if inputs is None else "given"}  # fmt: skip
    with _inputs_file(model, inputs) as path:
        answers = {way: _starts(model, path, way, replace(times, runs=runs or times.runs),
                                cold_starts) for way in ways}  # fmt: skip
    took = [_delegation(found[-1]) for way, found in answers.items() if way.xnnpack]
    conditions |= {"load_after": load_average(), "xnnpack": took[0] if took else "off"}
    rows = [row for way, found in answers.items() for row in _measurements(model, way, found)]
    series = [_series(found[-1], f"latency_ms, {way.where}" if position else "latency_ms")
              for position, (way, found) in enumerate(answers.items())]
    return ProfileResult(tuple(rows), tuple(series), conditions)


def _starts(
    model: Model, inputs: Path, way: Way, timing: Timing, cold_starts: int
) -> list[Answer]:
    """So many fresh processes; the last one goes on to the timed runs."""
    return [run_fresh(model, inputs, way, timing, timed=start == cold_starts - 1)
            for start in range(cold_starts)]


@contextmanager
def _inputs_file(model: Model, inputs: Arrays | None) -> Iterator[Path]:
    """An .npz of arrays by tensor index, for as long as the block runs."""
    arrays = _draw(model) if inputs is None else check_arrays(model.inputs, inputs)
    path = sandbox().new_path(".npz")
    try:
        with path.open("wb") as file:
            np.savez(file, **{str(model.signature.inputs[name]): array  # type: ignore[arg-type]
                              for name, array in arrays.items()})
        yield path
    finally:
        path.unlink(missing_ok=True)


def _draw(model: Model) -> dict[str, NDArray[Any]]:
    """Random inputs, the same ones each time."""
    from edgekit.core._runtime_worker import draw

    generator = np.random.default_rng(_SEED)
    arrays, rows = {}, index_rows(model)
    for spec in model.inputs:
        if -1 in spec.shape:
            raise EdgekitError(f"the size of input '{spec.name}' is open: {list(spec.shape)}",
                               "fix it with --input-shape, or give data")
        if prod(spec.shape) * 8 > MAX_INPUT_BYTES:
            raise EdgekitError(f"input '{spec.name}' of shape {list(spec.shape)} is too large to "
                               f"make up values for", "give some with --data")
        try:
            arrays[spec.name] = draw(spec, generator, rows.get(spec.name))
        except (TypeError, ValueError) as error:
            raise EdgekitError(f"no values can be made up for input '{spec.name}' of type "
                               f"{spec.dtype}", "give some with --data") from error
    return arrays


def _measurements(model: Model, way: Way, answers: Sequence[Answer]) -> Iterator[Measurement]:
    yield from _latencies(np.asarray(answers[-1]["latency_ns"]) / 1e6, way.where)
    parts = ("open", "allocate", "first_run")
    columns = {part: [answer[f"{part}_ns"] / 1e6 for answer in answers] for part in parts}
    totals = [sum(values) for values in zip(*columns.values(), strict=True)]
    yield _median("cold_start_ms", "ms", totals, way.where)
    for part in parts:
        yield _median(f"{part}_ms", "ms", columns[part], way.where)
    yield _median("import_ms", "ms", [answer["import_ns"] / 1e6 for answer in answers], way.where)
    peaks = [(answer["rss_peak"], answer["rss_before"]) for answer in answers]
    known = [(peak, before) for peak, before in peaks if peak is not None and before is not None]
    yield _median("peak_rss_bytes", "bytes", [peak for peak, _ in known], way.where)
    yield _median("peak_rss_delta_bytes", "bytes",
                  [max(peak - before, 0) for peak, before in known], way.where)  # fmt: skip
    if not way.xnnpack:
        arena = arena_bytes(model.graph, answers[-1]["addresses"])
        yield (Measurement("arena_bytes", arena, "bytes", "measured", way.where) if arena else
               Measurement("arena_bytes", None, "bytes", None, f"{way.where}: in several pieces"))


def _latencies(times_ms: NDArray[np.float64], where: str) -> Iterator[Measurement]:
    """Percentiles, each with the interquartile range; unknown where the runs are too few."""
    n = times_ms.size
    low, high = np.percentile(times_ms, (25, 75))
    for percent, needed in ((50, 1), (90, _P90_RUNS), (99, _P99_RUNS)):
        name = f"latency_p{percent}_ms"
        if n < needed:
            yield Measurement(name, None, "ms", None, f"{where}: needs {needed} runs", n)
        else:
            value = _rounded(np.percentile(times_ms, percent), "ms")
            yield Measurement(name, value, "ms", "measured", where, n, _rounded(high - low, "ms"))


def _median(name: str, unit: str, values: Sequence[float], where: str) -> Measurement:
    if not values:
        return Measurement(name, None, unit, None, f"{where}: the system does not tell")
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Measurement(name, _rounded(middle, unit), unit, "measured", where, len(values),
                       _rounded(high - low, unit))  # fmt: skip


def _rounded(value: float, unit: str) -> float:
    """Whole bytes and whole nanoseconds: there is no more in them."""
    return round(float(value)) if unit == "bytes" else round(float(value), 6)


def _series(answer: Answer, name: str) -> Series:
    times = answer["latency_ns"]
    thinned = times[:: -(-len(times) // SERIES_POINTS)]
    return Series(name, "ms", tuple(round(time_ns / 1e6, 6) for time_ns in thinned))


def _delegation(answer: Answer) -> str:
    counts = answer["operators"]
    if not counts["parts"]:
        return f"took none of {counts['total']} operators"
    parts = f" in {counts['parts']} parts" if counts["parts"] > 1 else ""
    return f"took {counts['delegated']} of {counts['total']} operators{parts}"


def profile_on_host(model: Model, settings: ProfileSettings) -> ProfileResult:
    """The row ``host`` of ``PROFILERS``."""
    return profile_host(model, threads=settings.threads, xnnpack=settings.xnnpack,
                        runs=settings.runs, cold_starts=settings.cold_starts,
                        inputs=settings.inputs)  # fmt: skip
