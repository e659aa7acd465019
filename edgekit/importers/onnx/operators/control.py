"""Branches and loops."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.importers.onnx.node import NeedsConstantError, Node, Operator
from edgekit.importers.onnx.operators.looping import Iterations, run
from edgekit.importers.onnx.values import Value, logical, transposed


def branch(node: Node, condition: Value) -> list[Value]:
    """If: the branch alone where the condition is known, an IF elsewhere."""
    graphs = (node.attr("then_branch"), node.attr("else_branch"))
    if condition.is_constant:
        return _run(node, graphs[0 if condition.data.all() else 1], [])
    shapes: list[list[tuple[int | None, ...]]] = []

    def side(graph: onnx.GraphProto) -> Callable[[], list[Any]]:
        def traced() -> list[Any]:
            values = _run(node, graph, [])
            shapes.append([value.shape for value in values])
            # Its own node: a branch that hands on what it captured, or a constant, is lost.
            return [tf.identity(tf.convert_to_tensor(logical(value))) for value in values]
        return traced

    flag = tf.reshape(tf.cast(logical(condition), tf.bool), [])
    sides = [side(graph) for graph in graphs]
    try:
        results = tf.cond(flag, *sides)
    except EdgekitError:
        possible = [graph for graph, one in zip(graphs, sides, strict=True) if _runs(one)]
        if len(possible) != 1:
            raise
        left_out = "else" if possible[0] is graphs[0] else "then"
        node.notes.append(f"node '{node.name}' (If): its {left_out} branch cannot be computed at "
                          "these sizes; only the other one is in the model")
        return _run(node, possible[0], [])
    if any(len(one) != len(other) for one, other in zip(*shapes, strict=True)):
        raise NeedsConstantError(node, 0)  # the number of axes cannot depend on values
    return [Value(result) for result in results]


def _runs(side: Callable[[], list[Any]]) -> bool:
    """Whether a branch can be computed at all at the sizes that there are."""
    try:
        tf.function(side, autograph=False).get_concrete_function()
    except EdgekitError:
        return False
    return True


def loop(node: Node, trips: Value | None, condition: Value | None, *initial: Value) -> list[Value]:
    """Loop: states, then one row per round of each scan output."""
    body: onnx.GraphProto = node.attr("body")
    fixed = _unchanged(body, len(initial))
    kept = [place for place in range(len(initial)) if place not in fixed]

    def once(
        number: Value, going: Value, states: Sequence[Value]
    ) -> tuple[Value, list[Value], list[Value]]:
        given = list(initial)
        for place, state in zip(kept, states, strict=True):
            given[place] = state
        results = _run(node, body, [_like(number, body.input[0]), _like(going, body.input[1]),
                                    *given])
        return (results[0], [results[1 + place] for place in kept],
                results[1 + len(initial):])  # fmt: skip

    scans = len(body.output) - 1 - len(initial)
    going = condition if condition is not None else Value(np.asarray(True))
    rounds = Iterations(
        node, once, [initial[place] for place in kept],
        [body.input[2 + place].name for place in kept], going, _limit(trips), len(body.node),
        [False] * scans)  # fmt: skip
    try:
        states, rows = run(rounds)
    except EdgekitError as error:
        # Known ones could be unrolled.
        for position, value in enumerate((trips, condition)):
            if value is not None and not value.is_constant:
                raise NeedsConstantError(node, position) from error
        raise
    last = list(initial)
    for place, state in zip(kept, states, strict=True):
        last[place] = state
    return [*last, *rows]


def _limit(trips: Value | None) -> Any:  # noqa: ANN401
    """The number of rounds: None where it is as good as endless."""
    if trips is None:
        return None
    if not trips.is_constant:
        return tf.cast(tf.reshape(logical(trips), []), tf.int32)
    count = int(trips.data.reshape(-1)[0])
    return None if count >= np.iinfo(np.int32).max else max(count, 0)


def _unchanged(body: onnx.GraphProto, count: int) -> set[int]:
    """States that the body hands on as they are: it may need to know them at import."""
    source = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"}
    found = set()
    for place in range(count):
        name = body.output[1 + place].name
        while name in source:
            name = source[name]
        if name == body.input[2 + place].name:
            found.add(place)
    return found


def _like(value: Value, declared: onnx.ValueInfoProto) -> Value:
    """A scalar, as an array of one where the body has it so."""
    shape = declared.type.tensor_type.shape
    data = logical(value)
    wanted = [1] if len(shape.dim) == 1 else []
    if list(value.shape) == wanted:
        return value
    return Value(data.reshape(wanted) if value.is_constant else tf.reshape(data, wanted))


def _run(node: Node, graph: onnx.GraphProto, given: Sequence[Value]) -> list[Value]:
    assert node.run_graph is not None
    names = [item.name for item in graph.input]
    return node.run_graph(graph, dict(zip(names, given, strict=False)))


def scan(node: Node, *inputs: Value | None) -> list[Value]:
    """Scan, with a batch of its own in operator set 8."""
    if node.opset >= 9:
        given = [_given(node, value) for value in inputs]
        return _scan(node, given, node.attr("scan_input_directions", None))
    lengths, *rest = inputs
    batched = [_given(node, value) for value in rest]
    steps = batched[-1].shape[1]
    if lengths is not None and (node.constant(0) != steps).any():
        raise node.error("takes sequences of several lengths", "export with a newer opset_version")
    made = [_scan(node, [_item(value, place) for value in batched], node.attr("directions", None))
            for place in range(int(batched[-1].shape[0] or 0))]
    return [Value(tf.stack([tf.convert_to_tensor(logical(results[place])) for results in made]))
            for place in range(len(made[0]))]


def _given(node: Node, value: Value | None) -> Value:
    if value is None:
        raise node.error("lacks an input")
    return value


def _item(value: Value, place: int) -> Value:
    return Value(logical(value)[place])


def _scan(
    node: Node, inputs: Sequence[Value], directions: Sequence[int] | None
) -> list[Value]:
    body: onnx.GraphProto = node.attr("body")
    count = node.attr("num_scan_inputs")
    states, scanned = list(inputs[:-count]), list(inputs[-count:])
    axes = node.attr("scan_input_axes", [0] * count)
    sequences = [_axis_first(value, axis) for value, axis in zip(scanned, axes, strict=True)]
    steps = sequences[0].shape[0]
    if steps is None or any(value.shape[0] != steps for value in sequences):
        raise node.error("scans sequences of open or different lengths")
    backwards = directions or [0] * count

    def once(
        number: Value, going: Value, now: Sequence[Value]
    ) -> tuple[Value, list[Value], list[Value]]:
        rows = [_row(sequence, number, int(steps), bool(back))
                for sequence, back in zip(sequences, backwards, strict=True)]
        results = _run(node, body, [*now, *rows])
        return going, results[:len(states)], results[len(states):]

    outputs = len(body.output) - len(states)
    last, rows = run(Iterations(
        node, once, states, [item.name for item in body.input[:len(states)]],
        Value(np.asarray(True)), int(steps), len(body.node),
        [bool(back) for back in node.attr("scan_output_directions", [0] * outputs)]))
    placed = node.attr("scan_output_axes", [0] * outputs)
    return [*last, *(_axis_from_first(row, axis)
                     for row, axis in zip(rows, placed, strict=True))]


def _row(sequence: Value, number: Value, steps: int, backwards: bool) -> Value:
    if number.is_constant:
        place = int(number.data)
        return Value(sequence.data[steps - 1 - place if backwards else place])
    position = tf.cast(number.data, tf.int32)
    return Value(tf.gather(sequence.data, steps - 1 - position if backwards else position))


def _axis_first(value: Value, axis: int) -> Value:
    order = list(range(value.rank))
    order.insert(0, order.pop(axis))
    return Value(transposed(logical(value), order))


def _axis_from_first(value: Value, axis: int) -> Value:
    order = list(range(1, value.rank))
    order.insert(axis % value.rank, 0)
    return Value(transposed(logical(value), order))


CONTROL = {
    "If": Operator(branch, 25, "values", folds=False),
    "Loop": Operator(loop, 25, "values", folds=False),
    "Scan": Operator(scan, 25, "values", folds=False),
}
