"""Peak activation memory, from the graph's lifetimes and the runtime's own planning rule.

Both of LiteRT's planners are greedy by size (Pisarchyk and Lee 2020, arXiv:2001.03288): tensors
are placed from the largest to the smallest, each at the lowest gap between those that live at the
same time. They differ in the details, which ``PlanRule`` holds:

- LiteRT (``arena_planner.cc``, ``simple_memory_arena.cc``): 64-byte alignment; the model's inputs
  stay allocated to the end, and so does an output that nobody reads; tensors that live all the
  time come first; RESHAPE and its like, and ADD, SUB, MUL, DIV and SOFTMAX work in place; the
  tightest gap wins; each body of WHILE and IF has an arena of its own.
- TFLM (``greedy_memory_planner.cc``): 16-byte alignment, sizes rounded up to it; inputs go after
  their last use; nothing works in place; the first gap that fits wins; of two tensors of one size
  the later comes first; bodies are planned together with the main graph, so that the sum used here
  is at most too high.

What a plan cannot know is what kernels ask for on top (im2col, accumulators of dynamic int8):
it is a lower bound. With XNNPACK the delegate plans its own part of the graph.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Graph, Subgraph
from edgekit.core.macs import bodies_of, called_subgraphs
from edgekit.core.measurement import Measurement, Series
from edgekit.core.model import Model
from edgekit.core.sandbox import WorkerError, sandbox
from edgekit.profilers._lifetimes import (
    BEFORE,
    LITERT,
    MICRO,
    Lifetime,
    Lifetimes,
    NoPlanError,
    PlanRule,
    lifetimes_of,
)
from edgekit.profilers.base import ProfileResult, ProfileSettings

__all__ = ["LITERT", "MICRO", "MemoryPlan", "NoPlanError", "PlanRule", "place", "plan",
           "plan_of", "profile_memory"]  # fmt: skip

MAX_DEPTH = 64  # of control flow; a file that claims more is not a model
WHERE = "peak activation memory, greedy-by-size plan"


@dataclass(frozen=True)
class MemoryPlan:
    """An arena for the activations.

    Attributes:
        rule: Whose rule.
        arena_bytes: Size of the arena, bodies of control flow included.
        persistent_bytes: Variable tensors (recurrent state), which live for ever beside it.
        lower_bound_bytes: The most that lives at once: no arena can be smaller.
        offsets: Byte offset of each activation of the main subgraph, by tensor index; tensors
            that work in place have the same one.
        live_bytes: What lives while each operator of the main subgraph runs, in order.
    """

    rule: PlanRule
    arena_bytes: int
    persistent_bytes: int
    lower_bound_bytes: int
    offsets: Mapping[int, int]
    live_bytes: tuple[int, ...]


def plan(
    graph: Graph, rule: PlanRule = LITERT, shapes: Mapping[int, tuple[int, ...]] | None = None
) -> MemoryPlan:
    """Plan the main subgraph's arena as the runtime would, without a delegate.

    Args:
        graph: A model with static shapes.
        rule: ``LITERT`` or ``MICRO``.
        shapes: Shapes of the main subgraph's tensors that are better known than the file's.

    Raises:
        NoPlanError: The file leaves an activation's size open.
    """
    parts = {subgraph.index: _own_part(subgraph, rule, shapes if subgraph is graph.main else None)
             for subgraph in called_subgraphs(graph)}
    peak = _add_bodies(graph, graph.main.index, parts, {}, ())
    main = parts[graph.main.index]
    return MemoryPlan(
        rule,
        sum(part.arena_bytes for part in parts.values()),
        sum(part.variable_bytes for part in parts.values()),
        peak,
        main.offsets,
        tuple(int(value) for value in main.live_bytes),
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """One subgraph's share; ``live_bytes`` is ``(operators,)``."""

    arena_bytes: int
    variable_bytes: int
    held_bytes: int
    offsets: Mapping[int, int]
    live_bytes: NDArray[np.int64]


def _own_part(
    subgraph: Subgraph, rule: PlanRule, shapes: Mapping[int, tuple[int, ...]] | None
) -> _Part:
    lifetimes = lifetimes_of(subgraph, rule, shapes)
    offsets = place(lifetimes.items, rule)
    return _Part(
        max((offsets[item.tensor] + item.size for item in lifetimes.items), default=0),
        _variable_bytes(lifetimes, rule),
        sum(item.size for item in lifetimes.items if item.whole or item.first == BEFORE),
        {**offsets, **{tensor: offsets[root] for tensor, root in lifetimes.shared.items()}},
        _live_bytes(lifetimes.items, len(subgraph.operators)),
    )


def _add_bodies(
    graph: Graph, index: int, parts: Mapping[int, _Part], peaks: dict[int, int],
    callers: tuple[int, ...],
) -> int:  # fmt: skip
    """A subgraph's peak in bytes; what its operators call is added to ``live_bytes``.

    Of several bodies (branches, condition and loop) one runs at a time.
    """
    if index in callers or len(callers) > MAX_DEPTH:
        raise NoPlanError(f"subgraph {index} calls itself, or more than {MAX_DEPTH} levels deep")
    if index not in peaks:
        part, inner = parts[index], (*callers, index)
        for step, operator in enumerate(graph.subgraphs[index].operators):
            called = [_add_bodies(graph, body, parts, peaks, inner)
                      for body in bodies_of(graph, operator)]
            part.live_bytes[step] += max(called, default=0)
        peaks[index] = max(int(part.live_bytes.max(initial=0)), part.held_bytes)
    return peaks[index]


def _variable_bytes(lifetimes: Lifetimes, rule: PlanRule) -> int:
    end = 0
    for size in lifetimes.variables:
        end = -(-end // rule.alignment) * rule.alignment + size
    return end


def _live_bytes(items: Iterable[Lifetime], operators: int) -> NDArray[np.int64]:
    """Bytes that live while each operator runs: ``(operators,)``."""
    # Column 0 is the time before the first operator.
    changes = np.zeros(operators + 3, dtype=np.int64)
    for item in items:
        changes[item.first + 1] += item.size
        changes[item.last + 2] -= item.size
    live: NDArray[np.int64] = np.cumsum(changes)[1 : operators + 1]
    return live


def place(items: Sequence[Lifetime], rule: PlanRule) -> dict[int, int]:
    """Greedy by size: an offset for each tensor, so that no two that live at once overlap.

    Args:
        items: Lifetimes, in any order.
        rule: Alignment, order and choice of gap.

    Returns:
        Byte offsets by tensor.
    """
    offsets: dict[int, int] = {}
    placed = _Placed(len(items))
    for item in sorted(items, key=_litert_order if rule.keeps_inputs else _micro_order):
        offsets[item.tensor] = placed.find(item, rule) if item.size else 0
        if item.size:
            placed.add(item, offsets[item.tensor])
    return offsets


def _litert_order(item: Lifetime) -> tuple[int, int, int, int]:
    if item.whole:
        return (0, 0, 0, item.tensor)
    # Equals come in no order that LiteRT promises; last first is what its hash set and sort give
    # in small graphs. The arena's size hardly ever depends on it.
    return (1, -item.size, item.first, -item.tensor)


def _micro_order(item: Lifetime) -> tuple[int, int]:
    # TFLM collects back to front and then sorts without changing the order of equals.
    return (-item.size, -item.tensor)


class _Placed:
    """Tensors that have an offset, sorted by it."""

    def __init__(self, capacity: int) -> None:
        # Columns: offset, end, first operator, last operator.
        self._rows = np.empty((capacity, 4), dtype=np.int64)
        self._count = 0

    def add(self, item: Lifetime, offset: int) -> None:
        rows, count = self._rows, self._count
        at = int(np.searchsorted(rows[:count, 0], offset, side="right"))
        rows[at + 1 : count + 1] = rows[at:count]
        rows[at] = (offset, offset + item.size, item.first, item.last)
        self._count += 1

    def find(self, item: Lifetime, rule: PlanRule) -> int:
        """The offset of a gap between the tensors that live at the same time."""
        rows = self._rows[: self._count]
        rows = rows[(rows[:, 3] >= item.first) & (rows[:, 2] <= item.last)]
        # Before the n-th neighbour, memory is free from the highest end so far.
        ends = np.maximum.accumulate(np.concatenate(([0], rows[:, 1])))
        starts = -(-ends // rule.alignment) * rule.alignment
        fits = np.flatnonzero(starts[:-1] + item.size <= rows[:, 0])
        if not fits.size:
            return int(starts[-1])
        if not rule.best_fit:
            return int(starts[fits[0]])
        return _tightest(rows[:, 0], ends, starts, fits)


def _tightest(
    offsets: NDArray[np.int64], ends: NDArray[np.int64], starts: NDArray[np.int64],
    fits: NDArray[np.intp],
) -> int:  # fmt: skip
    """LiteRT's choice: aligned gaps are held against the unaligned size of the best so far."""
    best, best_gap = -1, np.iinfo(np.int64).max
    for at in fits:
        if offsets[at] - starts[at] < best_gap:
            best, best_gap = int(starts[at]), int(offsets[at] - ends[at])
        if best_gap == 0:
            break
    return best


def plan_of(model: Model, rule: PlanRule = LITERT) -> MemoryPlan:
    """``plan``, with the runtime's own shapes where the file leaves an inner size open.

    Raises:
        NoPlanError: An input's size is open, or sizes stay unknown.
        EdgekitError: The model does not run.
    """
    try:
        return plan(model.graph, rule)
    except NoPlanError:
        if any(-1 in spec.shape for spec in model.inputs):
            raise
    box = sandbox()
    try:
        shapes = box.call("edgekit.core._runtime_worker:shapes_after_resize",
                          f"asking for the shapes of {model.name}",
                          path=str(box.path_of(model)), shapes={})  # fmt: skip
    except WorkerError as error:  # inputs that zeros cannot stand in for, strings
        raise NoPlanError(f"LiteRT does not tell the shapes: {error.text}") from error
    return plan(model.graph, rule, shapes)


def profile_memory(model: Model, settings: ProfileSettings) -> ProfileResult:
    """The row ``memory`` of ``PROFILERS``: an estimate that needs no device."""
    rule = MICRO if settings.engine == "tflm" else LITERT
    try:
        found = plan_of(model, rule)
    except EdgekitError as error:
        return ProfileResult((Measurement("arena_bytes", None, "bytes", None, error.message),))
    total = found.arena_bytes + found.persistent_bytes
    where = f"{WHERE} of {rule.name}"
    return ProfileResult(
        (Measurement("arena_bytes", total, "bytes", "estimated", where, lower_bound=True),),
        (Series("activation_bytes", "bytes", tuple(map(float, found.live_bytes))),),
    )
