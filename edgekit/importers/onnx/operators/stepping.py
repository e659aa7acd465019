"""Steps along a sequence as one WHILE: what recurrent layers, loops and scans share."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

# Up to so many steps stand in the graph one after another.
MAX_UNROLLED = 4
# Every WHILE iteration copies what it carries, the outputs so far among it: four steps in one
# iteration save a quarter of the time of 64 steps of 64 units, and half of it at 256 steps.
_STEPS_AT_ONCE = 4

Step = Callable[[Any, Sequence[Any]], Sequence[Any]]


def written(buffer: Any, row: Any, position: Any) -> Any:  # noqa: ANN401
    """``buffer`` with the row at ``position`` of its first axis replaced (DYNAMIC_UPDATE_SLICE)."""
    start = tf.stack([position] + [0] * (buffer.shape.rank - 1))
    return xla.dynamic_update_slice(buffer, tf.expand_dims(row, 0), start)


def run_steps(
    step: Step, given: Any, states: Sequence[Any], mask: Any = None,  # noqa: ANN401
    *, backwards: bool = False, collects: bool = True, at_once: int = _STEPS_AT_ONCE,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """A recurrent layer's steps.

    Args:
        step: From one step's input (N, G) and the states to the new states, the output first.
        given: All steps' inputs (T, N, G).
        states: Before the first step, each (N, H).
        mask: Which steps count, per sequence of the batch: (T, N, 1), boolean; None for all. The
            others leave the states alone and give zeros.
        backwards: From the last step to the first.
        collects: Whether the outputs of all steps are wanted.
        at_once: Steps in one iteration of the loop.

    Returns:
        The outputs (T, N, H), None if not wanted, and the last states.
    """
    length = int(given.shape[0])
    at_once = min(at_once, 2 if length < 2 * at_once else at_once)
    rounds = 0 if length <= MAX_UNROLLED else length // at_once
    looped = rounds * at_once
    # What does not fill a round comes behind the loop, in the order of execution.
    first = length - looped if backwards else 0
    whole = slice(first, first + looped)
    rest = slice(0, first) if backwards else slice(looped, length)
    parts, states = [], list(states)
    for span, rounds_here in ((whole, rounds), (rest, 1)):
        count = span.stop - span.start
        if count == 0:
            continue
        steps = _Steps(step, count // rounds_here, backwards, collects)
        outputs, states = steps.run(given[span], None if mask is None else mask[span],
                                    states, rounds_here)
        parts.append(outputs)
    if not collects:
        return None, states
    parts = parts[::-1] if backwards else parts
    return (parts[0] if len(parts) == 1 else tf.concat(parts, 0)), states


class _Steps:
    """A fixed number of steps, once or as a loop's body."""

    def __init__(self, step: Step, count: int, backwards: bool, collects: bool) -> None:
        self._step, self._count = step, count
        self._backwards, self._collects = backwards, collects

    def run(self, given: Any, mask: Any, states: list[Any], rounds: int) -> tuple[Any, list[Any]]:  # noqa: ANN401
        _, batch, width = (int(size) for size in given.shape)
        sizes = [self._count, batch, width]
        if rounds == 1:
            return self._round(given, mask, states)
        given = tf.reshape(given, [rounds, self._count * batch * width])
        if mask is not None:
            mask = tf.reshape(mask, [rounds, self._count * batch])
        units = int(states[0].shape[-1])

        def body(position: Any, outputs: Any, *states: Any) -> tuple[Any, ...]:  # noqa: ANN401
            place = rounds - 1 - position if self._backwards else position
            now = tf.reshape(tf.gather(given, place), sizes)
            counts = None if mask is None else tf.reshape(tf.gather(mask, place), [*sizes[:2], 1])
            made, new = self._round(now, counts, list(states))
            if self._collects:
                outputs = written(outputs, tf.reshape(made, [-1]), place)
            return (position + 1, outputs, *new)

        room = tf.zeros([rounds, self._count * batch * units] if self._collects else [1])
        _, outputs, *last = tf.while_loop(
            lambda position, *_: position < rounds, body, (tf.constant(0), room, *states))
        if self._collects:
            outputs = tf.reshape(outputs, [rounds * self._count, batch, units])
        return outputs, last

    def _round(self, given: Any, mask: Any, states: list[Any]) -> tuple[Any, list[Any]]:  # noqa: ANN401
        outputs: list[Any] = []
        nows = _rows(given, self._count)
        # (SPLIT does not take booleans.)
        counts = [None if mask is None else mask[place] for place in range(self._count)]
        order = range(self._count)
        for place in reversed(order) if self._backwards else order:
            output, states = self._one(nows[place], counts[place], states)
            outputs.append(output)
        if not self._collects:
            return None, states
        outputs = outputs[::-1] if self._backwards else outputs
        return tf.reshape(tf.concat(outputs, 0), [self._count, *outputs[0].shape]), states

    def _one(self, now: Any, counts: Any, states: list[Any]) -> tuple[Any, list[Any]]:  # noqa: ANN401
        new = list(self._step(now, states))
        if counts is None:
            return new[0], new
        new = [tf.where(counts, after, before) for after, before in zip(new, states, strict=True)]
        return tf.where(counts, new[0], tf.zeros_like(new[0])), new


def _rows(data: Any, count: int) -> list[Any]:  # noqa: ANN401
    """(count, N, G) as so many (N, G)."""
    flat = tf.reshape(data, [count * int(data.shape[1]), int(data.shape[2])])
    return [flat] if count == 1 else tf.split(flat, count, 0)
