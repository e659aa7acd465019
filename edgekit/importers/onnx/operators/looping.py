"""Loops over graphs: unrolled where they are short or known at import, a WHILE elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.importers.onnx.node import Node
from edgekit.importers.onnx.operators.stepping import MAX_UNROLLED, written
from edgekit.importers.onnx.values import Value, logical

# A loop that has to be unrolled may become so many nodes; one over constants runs so many rounds.
_MAX_NODES = 2000
_MAX_KNOWN_ROUNDS = 10_000

# One round: from its number, whether the loop still runs, and the states to whether it goes on,
# the new states and this round's rows of the outputs.
Round = Callable[[Value, Value, Sequence[Value]], tuple[Value, list[Value], list[Value]]]
Result = tuple[list[Value], list[Value]]


@dataclass(frozen=True)
class Iterations:
    """A loop.

    Attributes:
        node: For messages.
        once: One round.
        states: What goes in.
        names: The states' names in the body.
        going: Whether it starts.
        limit: The most rounds: a number, a tensor, or None.
        cost: Nodes in the body.
        backwards: For each output of rows, whether the first round's row is the last one.
    """

    node: Node
    once: Round
    states: Sequence[Value]
    names: Sequence[str]
    going: Value
    limit: Any
    cost: int
    backwards: Sequence[bool]


@dataclass(frozen=True)
class _Seen:
    """What one round gives, as far as its types go."""

    going: Value
    states: Sequence[Value]
    rows: Sequence[Value]


def run(loop: Iterations) -> Result:
    """Execute a loop.

    Returns:
        The last states, and the outputs of rows.

    Raises:
        EdgekitError: It cannot be a WHILE, and unrolled it would be too long.
    """
    count = loop.limit if isinstance(loop.limit, int) else None
    if count == 0 or (loop.going.is_constant and not loop.going.data.all()):
        return list(loop.states), [_nothing(loop) for _ in loop.backwards]
    if count is not None and count <= MAX_UNROLLED:
        found = _unrolled(loop, count)
        if found is not None:
            return found
    if all(state.is_constant for state in loop.states):
        found = _unrolled(loop, min(count or _MAX_KNOWN_ROUNDS, _MAX_KNOWN_ROUNDS), known=True)
        if found is not None:
            return found
    try:
        return _while(loop)
    except EdgekitError:
        if count is None or count * loop.cost > _MAX_NODES:
            raise
        found = _unrolled(loop, count)
        if found is None:
            raise
        return found


def _nothing(loop: Iterations) -> Value:
    raise loop.node.error("runs no round, so that its scan outputs are empty",
                          "take the loop out of the source model")


def _unrolled(loop: Iterations, limit: int, *, known: bool = False) -> Result | None:
    """Round after round; None where whether it goes on is only known on the device.

    Args:
        loop: The loop.
        limit: The most rounds.
        known: Only as long as all states are constants.
    """
    states = list(loop.states)
    rows: list[list[Value]] = []
    going = loop.going
    for number in range(limit):
        if not going.is_constant:
            return None
        if not going.data.all():
            break
        going, states, made = loop.once(Value(np.asarray(number, np.int64)), going, states)
        rows.append(made)
        if known and not all(value.is_constant for value in (going, *states)):
            return None
    else:
        # A loop over constants that is cut off here is not done.
        if known and limit != loop.limit:
            return None
    if not rows:
        return states, [_nothing(loop) for _ in loop.backwards]
    return states, [_stacked([made[place] for made in rows], backwards)
                    for place, backwards in enumerate(loop.backwards)]


def _stacked(rows: Sequence[Value], backwards: bool) -> Value:
    ordered = rows[::-1] if backwards else rows
    if all(row.is_constant for row in ordered):
        return Value(np.stack([row.data for row in ordered]))
    return Value(tf.stack([_tensor(row) for row in ordered]))


def _tensor(value: Value) -> Any:  # noqa: ANN401
    return tf.convert_to_tensor(logical(value))


def _while(loop: Iterations) -> Result:
    seen = _look(loop)
    _refuse_changes(loop, seen)
    endless = seen.going.is_constant and bool(seen.going.data.all())
    if loop.limit is None and endless:
        raise loop.node.error("never ends")
    states = [_tensor(state) for state in loop.states]
    room = [_room(loop, row) for row in seen.rows]
    size = len(states)
    counted = isinstance(loop.limit, int)

    def goes_on(number: Any, going: Any, *_rest: Any) -> Any:  # noqa: ANN401
        within = True if loop.limit is None else number < loop.limit
        return within if endless else tf.logical_and(going, within)

    def body(number: Any, going: Any, *rest: Any) -> tuple[Any, ...]:  # noqa: ANN401
        position = Value(tf.cast(number, tf.int64))
        further, new, made = loop.once(position, Value(np.asarray(True) if endless else going),
                                       [Value(state) for state in rest[:size]])
        outputs = [written(output, _tensor(row), loop.limit - 1 - number if back else number)
                   if counted else tf.concat([output, _tensor(row)[None]], 0)
                   for output, row, back in zip(rest[size:], made, loop.backwards, strict=True)]
        further = going if endless else tf.reshape(_tensor(further), [])
        return (number + 1, further, *map(_tensor, new), *outputs)

    start = (tf.constant(0), tf.reshape(tf.cast(_tensor(loop.going), tf.bool), []), *states)
    shapes = [item.shape for item in start] + [
        item.shape if counted else [None, *item.shape[1:]] for item in room]
    number, _, *last = tf.while_loop(goes_on, body, (*start, *room),
                                     shape_invariants=tuple(map(tf.TensorShape, shapes)))
    outputs = last[size:]
    if not counted:
        outputs = [output[1:] for output in outputs]
    elif not endless:
        outputs = [output[:number] for output in outputs]
    return list(map(Value, last[:size])), list(map(Value, outputs))


def _look(loop: Iterations) -> _Seen:
    """The types of one round's results, from a trace that is thrown away."""
    seen: list[_Seen] = []

    def trace(number: Any, going: Any, *states: Any) -> Any:  # noqa: ANN401
        unsure = loop.going if loop.going.is_constant else Value(going)
        further, new, rows = loop.once(Value(number), unsure, list(map(Value, states)))
        seen.append(_Seen(further, new, rows))
        return number

    specs = [tf.TensorSpec(state.shape, state.dtype) for state in loop.states]
    tf.function(trace, autograph=False).get_concrete_function(
        tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.bool), *specs)
    return seen[0]


def _refuse_changes(loop: Iterations, seen: _Seen) -> None:
    for name, before, after in zip(loop.names, loop.states, seen.states, strict=True):
        if before.shape != after.shape:
            raise loop.node.error(
                f"carries '{name}' from round to round with a shape that changes, from "
                f"{list(before.shape)} to {list(after.shape)}; on a device it has to stay",
                "write into a buffer of the largest size in the source model")
        if before.dtype != after.dtype:
            raise loop.node.error(f"carries '{name}' as {before.dtype}, then as {after.dtype}")


def _room(loop: Iterations, row: Value) -> Any:  # noqa: ANN401
    """Zeros for the rows of all rounds; one, to which they are added, if that is not known."""
    if loop.limit is None:
        raise loop.node.error("has scan outputs, and nothing bounds how many rounds it runs",
                              "give the loop a trip count")
    if not row.is_static:
        raise loop.node.error(f"has a scan output of open shape {list(row.shape)}")
    count = loop.limit if isinstance(loop.limit, int) else 1
    return tf.zeros([count, *(int(size or 0) for size in row.shape)], row.dtype)
