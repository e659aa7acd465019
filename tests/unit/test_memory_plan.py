"""Arena plans: invariants, hand-made cases, and LiteRT's own arena."""

from collections.abc import Sequence

import numpy as np
import pytest
from flatbuffers_builder import FlatbufferBuilder, small_net
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.graph import Graph, read_graph
from edgekit.core.model import Model, Provenance
from edgekit.profilers import ProfileSettings
from edgekit.profilers._lifetimes import Lifetime, lifetimes_of
from edgekit.profilers.memory import (
    LITERT,
    MICRO,
    NoPlanError,
    PlanRule,
    place,
    plan,
    plan_of,
    profile_memory,
)

RULES = pytest.mark.parametrize("rule", [LITERT, MICRO], ids=lambda rule: rule.name)
STEPS = 12


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Lifetime]:
    count = draw(st.integers(1, 25))
    items = []
    for tensor in range(count):
        first = draw(st.integers(0, STEPS - 1))
        last = draw(st.integers(first, STEPS - 1))
        whole = first == 0 and last == STEPS - 1
        items.append(Lifetime(tensor, draw(st.integers(0, 500)), first, last, whole))
    return items


@RULES
@settings(deadline=None)
@given(items=lifetimes())
def test_no_two_that_live_at_once_overlap(rule: PlanRule, items: list[Lifetime]) -> None:
    offsets = place(items, rule)
    assert all(offset % rule.alignment == 0 for offset in offsets.values())
    for a in items:
        for b in items:
            together = a.first <= b.last and b.first <= a.last
            if a.tensor < b.tensor and together and a.size and b.size:
                a_at, b_at = offsets[a.tensor], offsets[b.tensor]
                assert a_at + a.size <= b_at or b_at + b.size <= a_at


@RULES
@settings(deadline=None)
@given(items=lifetimes())
def test_the_arena_holds_what_lives_at_once(rule: PlanRule, items: list[Lifetime]) -> None:
    offsets = place(items, rule)
    arena = max(offsets[item.tensor] + item.size for item in items)
    assert arena >= max(
        sum(item.size for item in items if item.first <= step <= item.last)
        for step in range(STEPS)
    )


def chain(sizes: Sequence[int], op: str = "TANH") -> Graph:
    """Operators one behind the other, each with an output of so many floats."""
    file = FlatbufferBuilder()
    at = file.input("x", (sizes[0],))
    for n, size in enumerate(sizes[1:]):
        to = file.tensor(f"t{n}", (size,))
        file.operator(op, [at], [to])
        at = to
    file.output(at)
    return read_graph(file.build())


class TestByHand:
    def test_litert_keeps_the_input(self) -> None:
        found = plan(chain([16, 32, 32, 16]))
        # x stays (64 bytes), t0 and t1 live together (128 each), t2 fits where t0 was.
        assert found.live_bytes == (64 + 128, 64 + 256, 64 + 128 + 64)
        assert (found.lower_bound_bytes, found.arena_bytes) == (320, 320)
        assert found.offsets == {0: 0, 1: 64, 2: 192, 3: 64}

    def test_tflm_lets_the_input_go(self) -> None:
        found = plan(chain([16, 32, 32, 16]), MICRO)
        assert found.live_bytes == (64 + 128, 256, 128 + 64)
        assert (found.lower_bound_bytes, found.arena_bytes) == (256, 256)

    def test_alignment(self) -> None:
        graph = chain([1, 1, 1])
        assert plan(graph).offsets == {0: 0, 1: 64, 2: 128}
        assert plan(graph).arena_bytes == 132
        assert plan(graph, MICRO).arena_bytes == 32  # sizes are rounded up too

    def test_an_output_that_nobody_reads(self) -> None:
        file = FlatbufferBuilder()
        axis = file.constant("axis", np.array(1, np.int32))
        x = file.input("x", (1, 64))
        a, b, c, d = (file.tensor(name, (1, 32)) for name in "abcd")
        file.operator("SPLIT", [axis, x], [a, b], "SplitOptions", numSplits=2)
        file.operator("TANH", [a], [c])
        file.operator("TANH", [c], [d])
        file.output(d)
        graph = read_graph(file.build())
        assert plan(graph).live_bytes == (256 + 256, 256 + 128 * 3, 256 + 128 * 3)
        assert plan(graph, MICRO).live_bytes == (256 + 256, 256, 256)

    def test_reshape_works_in_place(self) -> None:
        file = FlatbufferBuilder()
        x = file.input("x", (1, 64))
        a, b, c = file.tensor("a", (1, 64)), file.tensor("b", (8, 8)), file.tensor("c", (8, 8))
        shape = file.constant("shape", np.array([8, 8], np.int32))
        file.operator("TANH", [x], [a])
        file.operator("RESHAPE", [a, shape], [b], "ReshapeOptions", newShape=[8, 8])
        file.operator("TANH", [b], [c])
        file.output(c)
        graph = read_graph(file.build())
        found = plan(graph)
        assert found.offsets[a] == found.offsets[b]
        assert found.live_bytes == (512, 512, 768)
        assert plan(graph, MICRO).live_bytes == (512, 512, 512)

    def test_add_overwrites_its_only_reader_s_input(self) -> None:
        file = FlatbufferBuilder()
        x = file.input("x", (64,))
        a, b, c, d = (file.tensor(name, (64,)) for name in "abcd")
        file.operator("TANH", [x], [a])
        file.operator("ADD", [a, x], [b], "AddOptions")  # a is read once: in place
        file.operator("ADD", [b, b], [c], "AddOptions")  # b is read twice: not
        file.operator("TANH", [c], [d])
        file.output(d)
        shared = lifetimes_of(read_graph(file.build()).main, LITERT).shared
        assert shared == {b: a}

    def test_inputs_outputs_and_scalars_are_never_shared(self) -> None:
        file = FlatbufferBuilder()
        x, s = file.input("x", (64,)), file.input("s", (1,))
        a, b, t, u = (file.tensor(name, shape) for name, shape in
                      (("a", (64,)), ("b", (64,)), ("t", (1,)), ("u", (1,))))
        file.operator("ADD", [x, x], [a], "AddOptions")
        file.operator("ADD", [a, x], [b], "AddOptions")
        file.operator("TANH", [s], [t])
        file.operator("ADD", [t, s], [u], "AddOptions")
        file.operator("TANH", [u], [file.tensor("v", (1,))])
        file.output(b)
        assert lifetimes_of(read_graph(file.build()).main, LITERT).shared == {}

    def test_shapes_are_folded(self) -> None:
        file = FlatbufferBuilder()
        x, y = file.input("x", (4, 4)), file.tensor("y", (4, 4))
        shape, part = file.tensor("shape", (2,), "int32"), file.tensor("part", (4,), "int32")
        file.operator("TANH", [x], [y])
        file.operator("SHAPE", [y], [shape])
        file.operator("CONCATENATION", [shape, shape], [part], "ConcatenationOptions")
        file.output(y)
        graph = read_graph(file.build())
        assert set(plan(graph).offsets) == {x, y}
        assert set(plan(graph, MICRO).offsets) == {x, y, shape, part}

    def test_variables_are_apart(self) -> None:
        file = FlatbufferBuilder()
        x, y = file.input("x", (1, 4)), file.tensor("y", (1, 5))
        gates = [file.constant(f"w{i}", np.zeros((5, 3 if i < 4 else 5), np.float32))
                 for i in range(8)]
        state = [file.tensor(f"s{i}", (1, 5), variable=True) for i in range(2)]
        file.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *gates, *[-1] * 9, *state], [y],
                      "UnidirectionalSequenceLSTMOptions")
        file.output(y)
        found = plan(read_graph(file.build()))
        assert found.persistent_bytes == 64 + 20
        assert found.arena_bytes == 64 + 20
        assert set(found.offsets) == {x, y}

    def test_no_operator_at_all(self) -> None:
        file = FlatbufferBuilder()
        x = file.input("x", (16,))
        file.output(x)
        for rule in (LITERT, MICRO):
            found = plan(read_graph(file.build()), rule)
            assert (found.arena_bytes, found.live_bytes) == (64, ())
            assert found.lower_bound_bytes == 64


def branching(then_body: int = 1, else_body: int = 1, bodies: int = 1, inner: int = 0) -> Graph:
    """IF over bodies of 64 floats; ``inner`` makes each body call the one so many further on."""
    file = FlatbufferBuilder()
    c, x, y = file.input("c", (1,), "bool"), file.input("x", (16,)), file.tensor("y", (16,))
    file.operator("IF", [c, x], [y], "IfOptions", thenSubgraphIndex=then_body,
                  elseSubgraphIndex=else_body)
    file.output(y)
    for body in range(1, bodies + 1):
        file.subgraph(f"body {body}")
        x, y = file.input("x", (16,)), file.tensor("y", (16,))
        wide = file.tensor("wide", (48,))
        file.operator("CONCATENATION", [x, x, x], [wide], "ConcatenationOptions")
        if inner and body + inner <= bodies:
            c = file.constant("c", np.array([True]))
            file.operator("IF", [c, x], [y], "IfOptions", thenSubgraphIndex=body + 1,
                          elseSubgraphIndex=min(body + 2, bodies))
        else:
            file.operator("TANH", [x], [y])
        file.output(y)
    return read_graph(file.build())


class TestControlFlow:
    def test_a_body_has_an_arena_of_its_own(self) -> None:
        found = plan(branching())
        # Body: x 64, wide 192 (nobody reads it: stays), y 64. Main: c 1, x 64, y 64.
        assert found.live_bytes == (1 + 64 + 64 + 320,)
        assert found.arena_bytes == 64 + 64 + 64 + 320

    def test_of_two_branches_one_runs(self) -> None:
        found = plan(branching(1, 2, bodies=2))
        assert found.live_bytes == (1 + 64 + 64 + 320,)
        assert found.arena_bytes == 192 + 2 * 320  # but both are allocated

    def test_a_body_that_calls_itself(self) -> None:
        file = FlatbufferBuilder()
        c, x, y = file.input("c", (1,), "bool"), file.input("x", (4,)), file.tensor("y", (4,))
        file.operator("IF", [c, x], [y], "IfOptions", thenSubgraphIndex=0, elseSubgraphIndex=0)
        file.output(y)
        with pytest.raises(NoPlanError, match="calls itself"):
            plan(read_graph(file.build()))

    def test_many_paths_are_walked_once(self) -> None:
        """Each body calls the next two: as many paths as Fibonacci has rabbits."""
        assert plan(branching(1, 2, bodies=50, inner=1)).arena_bytes == 192 + 50 * 320

    def test_too_deep(self) -> None:
        with pytest.raises(NoPlanError, match="levels"):
            plan(branching(1, 2, bodies=200, inner=1))


class TestUnknownSizes:
    def graph(self, signature: tuple[int, ...]) -> Graph:
        file = FlatbufferBuilder()
        x = file.input("x", (1, 1), signature=signature)
        y = file.tensor("y", (1, 1), signature=signature)
        file.operator("TANH", [x], [y])
        file.output(y)
        return read_graph(file.build())

    def test_an_open_size_is_no_plan(self) -> None:
        with pytest.raises(NoPlanError, match=r"tensor 'x' is open: \[1, -1\]"):
            plan(self.graph((1, -1)))

    def test_an_open_batch_stored_as_one_is_one(self) -> None:
        assert plan(self.graph((-1, 1))).arena_bytes == 68

    def test_better_known_shapes(self) -> None:
        found = plan(self.graph((1, -1)), shapes={0: (1, 16), 1: (1, 16)})
        assert found.arena_bytes == 128

    def test_a_size_that_cannot_be(self) -> None:
        file = FlatbufferBuilder()
        x, y = file.input("x", (2**31 - 1, 2**31 - 1)), file.tensor("y", (4,))
        file.operator("TANH", [x], [y])
        file.output(y)
        with pytest.raises(NoPlanError, match="claims"):
            plan(read_graph(file.build()))

    def test_the_profiler_says_why(self) -> None:
        model = Model(bytes(self.graph((1, -1)).data), "net", Provenance("tflite", "x"))
        (row,) = profile_memory(model, ProfileSettings()).measurements
        assert (row.name, row.value, row.provenance) == ("arena_bytes", None, None)
        assert "'x' is open" in row.where

    def test_the_runtime_is_asked_for_inner_shapes(self) -> None:
        file = FlatbufferBuilder()
        x = file.input("x", (1, 16))
        y = file.tensor("y", (1, 1), signature=(1, -1))
        file.operator("TANH", [x], [y])
        file.output(y)
        model = Model(file.build(), "net", Provenance("tflite", "x"))
        assert plan_of(model).arena_bytes == 128

    def test_the_runtime_does_not_tell(self) -> None:
        file = FlatbufferBuilder()
        x = file.input("x", (2,), "resource")
        y = file.tensor("y", (1, 1), signature=(1, -1))
        file.operator("TANH", [x], [y])
        file.output(y)
        model = Model(file.build(), "net", Provenance("tflite", "x"))
        (row,) = profile_memory(model, ProfileSettings()).measurements
        assert row.value is None
        assert row.where


def test_the_profiler() -> None:
    model = Model(small_net(), "net", Provenance("tflite", "x"))
    result = profile_memory(model, ProfileSettings())
    (row,), (series,) = result.measurements, result.series
    assert (row.name, row.provenance, row.lower_bound) == ("arena_bytes", "estimated", True)
    assert row.value == 13312
    assert (series.name, series.unit) == ("activation_bytes", "bytes")
    assert len(series.values) == len(model.graph.main.operators)
    micro = profile_memory(model, ProfileSettings(engine="tflm")).measurements[0]
    assert (micro.value, "TFLM" in micro.where) == (11264, True)
