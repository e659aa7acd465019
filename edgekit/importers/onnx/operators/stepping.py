"""Steps along a sequence as one WHILE: the loop under the recurrent layers."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

# Up to so many steps stand in the graph one after another, in a loop's body as well.
MAX_UNROLLED = 4
# A WHILE copies all that its body writes, the outputs of all steps among it, twice an iteration:
# 3 µs for 64 kB, as long as the step itself takes. Longer outputs are collected in blocks.
_MAX_COPIED = 1 << 15

Step = Callable[[Any, Sequence[Any]], Sequence[Any]]
Steps = tuple[Any, list[Any]]


def written(buffer: Any, row: Any, position: Any) -> Any:  # noqa: ANN401
    """``buffer`` with the row at ``position`` of its first axis replaced (DYNAMIC_UPDATE_SLICE)."""
    start = tf.stack([position] + [0] * (buffer.shape.rank - 1))
    return xla.dynamic_update_slice(buffer, tf.expand_dims(row, 0), start)


class Sequencer:
    """A recurrent layer's steps.

    Args:
        step: From one step's input (N, G) and the states to the new states, the output first.
        collects: Whether the outputs of all steps are wanted.
        at_once: Steps in one iteration of the loop. Each has its own packed copy of the weights
            in the runtime's memory.
    """

    def __init__(self, step: Step, *, collects: bool = True, at_once: int = MAX_UNROLLED) -> None:
        self._step, self._collects, self._at_once = step, collects, at_once

    def run(self, given: Any, states: Sequence[Any], mask: Any = None) -> Steps:  # noqa: ANN401
        """All steps.

        Args:
            given: Their inputs (T, N, G).
            states: Before the first step, each (N, H).
            mask: Which steps count, per sequence of the batch: (T, N, 1), boolean; None for all.
                The others leave the states alone and give zeros.

        Returns:
            The outputs (T, N, H), None if not wanted, and the last states.
        """
        length = int(given.shape[0])
        if length <= MAX_UNROLLED:
            return self._unrolled(given, states, mask)
        copied = 4 * length * math.prod(states[0].shape)
        if self._collects and copied > _MAX_COPIED and length > 2 * MAX_UNROLLED**2:
            # The least is copied with blocks of twice the root of all steps.
            size = round(2 * math.sqrt(length) / MAX_UNROLLED) * MAX_UNROLLED
            return self._looped(given, states, mask, size)
        return self._looped(given, states, mask, min(self._at_once, length // 2))

    def _looped(self, given: Any, states: Sequence[Any], mask: Any, size: int) -> Steps:  # noqa: ANN401
        """A WHILE over blocks of ``size`` steps, and the rest behind it."""
        length, batch, width = (int(extent) for extent in given.shape)
        rounds, rest = divmod(length, size)
        if rest:
            masks = (None, None) if mask is None else (mask[:-rest], mask[-rest:])
            first, states = self._looped(given[:-rest], states, masks[0], size)
            second, states = self.run(given[-rest:], states, masks[1])
            return tf.concat([first, second], 0) if self._collects else None, states
        given = tf.reshape(given, [rounds, size * batch * width])
        mask = None if mask is None else tf.reshape(mask, [rounds, size * batch])
        units = int(states[0].shape[-1])

        def body(position: Any, outputs: Any, *states: Any) -> tuple[Any, ...]:  # noqa: ANN401
            block = tf.reshape(tf.gather(given, position), [size, batch, width])
            counts = None if mask is None else tf.reshape(
                tf.gather(mask, position), [size, batch, 1])
            made, new = self._block(block, states, counts)
            if self._collects:
                outputs = written(outputs, tf.reshape(made, [-1]), position)
            return (position + 1, outputs, *new)

        room = tf.zeros([rounds, size * batch * units] if self._collects else [1])
        _, outputs, *last = tf.while_loop(lambda position, *_: position < rounds, body,
                                          (tf.constant(0), room, *states))
        return (tf.reshape(outputs, [length, batch, units]) if self._collects else None), last

    def _block(self, given: Any, states: Sequence[Any], mask: Any) -> Steps:  # noqa: ANN401
        size = int(given.shape[0])
        if size <= MAX_UNROLLED:
            return self._unrolled(given, states, mask)
        return self._looped(given, states, mask, self._at_once)

    def _unrolled(self, given: Any, states: Sequence[Any], mask: Any) -> Steps:  # noqa: ANN401
        length, batch, width = (int(extent) for extent in given.shape)
        flat = tf.reshape(given, [length * batch, width])
        rows = [flat] if length == 1 else tf.split(flat, length, 0)
        outputs: list[Any] = []
        states = list(states)
        for place, row in enumerate(rows):
            new = list(self._step(row, states))
            outputs.append(new[0])
            if mask is not None:
                counts = mask[place]
                outputs[-1] = tf.where(counts, new[0], tf.zeros_like(new[0]))
                new = [tf.where(counts, after, before)
                       for after, before in zip(new, states, strict=True)]
            states = new
        if not self._collects:
            return None, states
        return tf.reshape(tf.concat(outputs, 0), [length, batch, int(outputs[0].shape[-1])]), states
