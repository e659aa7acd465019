"""Recurrent layers. Their states start at zero with each inference, as a fresh interpreter's do.

Steps run one after another in a loop over the time axis; what comes from the input alone is
computed for all of them at once in front of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from ai_edge_litert.schema_py_generated import LSTMKernelType

from edgekit.core.errors import EdgekitError
from edgekit.training.operators.fused import activation_of
from edgekit.training.values import Node

_NORM_EPSILON = 1e-8  # layer normalization inside an LSTM


def _optional(node: Node, index: int) -> Any:
    return node.shared(index) if node.has(index) else None


def _time_first(node: Node, index: int, time_major: bool) -> Any:
    """``(time, samples * batch, depth)``."""
    x = tf.transpose(node.full(index), [1, 0, 2, 3] if time_major else [2, 0, 1, 3])
    return tf.reshape(x, [x.shape[0], -1, x.shape[-1]])


def _time_back(node: Node, result: Any, time_major: bool) -> Any:
    """The result of ``_time_first`` with samples, batch and time where the graph has them."""
    batch = node.sample_shape(0)[1 if time_major else 0]
    result = tf.reshape(result, [result.shape[0], -1, batch, result.shape[-1]])
    return tf.transpose(result, [1, 0, 2, 3] if time_major else [1, 2, 0, 3])


def _state(node: Node, index: int) -> Any:
    """``(samples * batch, units)``, as precise as the input."""
    state = tf.cast(node.full(index), node.value(0).tensor.dtype)
    return tf.reshape(state, [-1, state.shape[-1]])


def _over_time(
    step: Callable[[Any, Any], Any], x: Any, start: Any, *, backwards: bool = False
) -> Any:
    """The states after each step; backwards, the first of them belongs to the last input."""
    return tf.scan(step, x, start, reverse=backwards)


# Simple recurrent layers.


def _rnn(node: Node) -> Any:
    """One step. Inputs: value, its weights, the state's, bias, state."""
    activation = activation_of(node)
    result = activation(_inputs_of(node, _state(node, 0), 1, 3)
                        + tf.matmul(_state(node, 4), node.shared(2), transpose_b=True))
    return node.reshaped(result, [node.sample_shape(0)[0], result.shape[-1]])


def _inputs_of(node: Node, x: Any, weights: int, bias: int) -> Any:
    return tf.matmul(x, node.shared(weights), transpose_b=True) + node.shared(bias)


def _simple(node: Node, x: Any, first: int, state: int, *, backwards: bool = False) -> Any:
    """A layer over the time axis of ``x``, to which weights and bias were applied already."""
    activation, recurrent = activation_of(node), node.shared(first + 1)
    return _over_time(lambda before, now: activation(
        now + tf.matmul(before, recurrent, transpose_b=True)), x, _state(node, state),
        backwards=backwards)


def _unidirectional_rnn(node: Node) -> Any:
    """Inputs: value, its weights, the state's, bias, state."""
    time_major = node.options.timeMajor
    x = _inputs_of(node, _time_first(node, 0, time_major), 1, 3)
    return _time_back(node, _simple(node, x, 1, 4), time_major)


def _bidirectional_rnn(node: Node) -> Any:
    """Inputs: value; weights, recurrent weights, bias, state, forwards and backwards; auxiliary.

    The auxiliary input adds to both directions if it has weights; without, it is the input of
    the one backwards, which LiteRT's kernel forgets where the batch comes first.
    """
    time_major = node.options.timeMajor
    x = other = _time_first(node, 0, time_major)
    linked = node.has(10)
    if node.has(9) and not linked and time_major:
        other = _time_first(node, 9, time_major)
    forwards, backwards = _inputs_of(node, x, 1, 3), _inputs_of(node, other, 5, 7)
    if linked:
        more = _time_first(node, 9, time_major)
        forwards += tf.matmul(more, node.shared(10), transpose_b=True)
        backwards += tf.matmul(more, node.shared(11), transpose_b=True)
    return _both(node, _simple(node, forwards, 1, 4),
                 _simple(node, backwards, 5, 8, backwards=True))


def _both(node: Node, *directions: Any) -> Any:
    results = [_time_back(node, result, node.options.timeMajor) for result in directions]
    return tf.concat(results, -1) if node.options.mergeOutputs else results


# Long short-term memory (Hochreiter and Schmidhuber 1997) with what came later: forget gate,
# peepholes, a projection (Sak et al. 2014), layer normalization, and no input gate of its own
# (Greff et al. 2015, "coupled").


@dataclass(frozen=True)
class _Cell:
    """The weights of one direction; each list has the gates input, forget, cell, output.

    Attributes:
        inputs: ``(units, depth)``; the first is None where the gates are coupled.
        recurrent: ``(units, outputs)``.
        peepholes: ``(units,)`` or None; input, forget, output.
        biases: ``(units,)``.
        projection: ``(outputs, units)`` or None; ``projection_bias`` ``(outputs,)``.
        norms: ``(units,)`` or None.
        auxiliary: As ``inputs``, for the second input; or None.
    """

    inputs: Sequence[Any]
    recurrent: Sequence[Any]
    peepholes: Sequence[Any]
    biases: Sequence[Any]
    projection: Any
    projection_bias: Any
    norms: Sequence[Any]
    auxiliary: Sequence[Any]

    @property
    def gates(self) -> list[int]:
        """The gates that it has."""
        return [gate for gate, weights in enumerate(self.inputs) if weights is not None]

    def joined(self, weights: Sequence[Any]) -> Any:
        """The weights of all gates as those of one layer."""
        return tf.concat([weights[gate] for gate in self.gates], 0)


def _cell(node: Node, first: int, norms: int | None = None, auxiliary: int | None = None) -> _Cell:
    def four(start: int | None) -> list[Any]:
        return [None] * 4 if start is None else [_optional(node, start + i) for i in range(4)]

    return _Cell(
        four(first), four(first + 4), [_optional(node, first + 8 + i) for i in range(3)],
        four(first + 11), _optional(node, first + 15), _optional(node, first + 16),
        four(norms), four(auxiliary))


def _lstm_layer(
    node: Node, cell: _Cell, x: Any, states: tuple[int, int], more: Any = None, *,
    backwards: bool = False,
) -> Any:
    """The outputs of all steps of one direction; ``x`` and ``more`` have the time first."""
    inputs = tf.matmul(x, cell.joined(cell.inputs), transpose_b=True)
    if more is not None:
        inputs += tf.matmul(more, cell.joined(cell.auxiliary), transpose_b=True)
    recurrent = cell.joined(cell.recurrent)

    def step(before: tuple[Any, Any], now: Any) -> tuple[Any, Any]:
        gates = now + tf.matmul(before[0], recurrent, transpose_b=True)
        return _lstm_step(node, cell, gates, before[1])

    start = (_state(node, states[0]), _state(node, states[1]))
    return _over_time(step, inputs, start, backwards=backwards)[0]


def _lstm_step(node: Node, cell: _Cell, sums: Any, memory: Any) -> tuple[Any, Any]:
    """Output and memory behind one step, from the gates' weighted sums."""
    options, activation = node.options, activation_of(node)
    parts = dict(zip(cell.gates, tf.split(sums, len(cell.gates), -1), strict=True))

    def gate(index: int, peephole: Any = None, of: Any = None) -> Any:
        total = parts[index] if peephole is None else parts[index] + peephole * of
        if cell.norms[index] is not None:
            total = _normalized(total) * cell.norms[index]
        return total + cell.biases[index]

    forget = tf.sigmoid(gate(1, cell.peepholes[1], memory))
    insert = tf.sigmoid(gate(0, cell.peepholes[0], memory)) if 0 in parts else 1.0 - forget
    memory = _clipped(forget * memory + insert * activation(gate(2)), options.cellClip)
    output = tf.sigmoid(gate(3, cell.peepholes[2], memory)) * activation(memory)
    if cell.projection is not None:
        output = tf.matmul(output, cell.projection, transpose_b=True)
        if cell.projection_bias is not None:
            output += cell.projection_bias
        output = _clipped(output, options.projClip)
    return output, memory


def _normalized(x: Any) -> Any:
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + _NORM_EPSILON)


def _clipped(x: Any, limit: float) -> Any:
    return tf.clip_by_value(x, -limit, limit) if limit > 0.0 else x


def _unidirectional_lstm(node: Node) -> Any:
    """Inputs: value; four weights, recurrent weights, peepholes, biases; projection; states."""
    if node.options.diagonalRecurrentTensors:
        raise EdgekitError(f"{node.where} has diagonal recurrent weights, which edgekit cannot "
                           "train")
    time_major = node.options.timeMajor
    x = _time_first(node, 0, time_major)
    return _time_back(node, _lstm_layer(node, _cell(node, 1, norms=20), x, (18, 19)), time_major)


def _bidirectional_lstm(node: Node) -> Any:
    """Inputs: value; seventeen for each direction; four states; auxiliary input, its weights.

    The auxiliary input adds to both directions if it has weights; without, it is the input of
    the one backwards.
    """
    time_major = node.options.timeMajor
    x = other = _time_first(node, 0, time_major)
    more = None
    if node.has(39):
        second = _time_first(node, 39, time_major)
        other, more = (x, second) if node.has(41) else (second, None)
    return _both(
        node, _lstm_layer(node, _cell(node, 1, auxiliary=40), x, (35, 36), more),
        _lstm_layer(node, _cell(node, 18, auxiliary=44), other, (37, 38), more, backwards=True))


def _lstm(node: Node) -> Any:
    """One step, in one of two forms."""
    if node.options.kernelType == LSTMKernelType.BASIC:
        return _basic_lstm(node)
    cell = _cell(node, 1, norms=20)
    sums = (tf.matmul(_state(node, 0), cell.joined(cell.inputs), transpose_b=True)
            + tf.matmul(_state(node, 18), cell.joined(cell.recurrent), transpose_b=True))
    output, _ = _lstm_step(node, cell, sums, _state(node, 19))
    return node.reshaped(output, [node.sample_shape(0)[0], output.shape[-1]])


def _basic_lstm(node: Node) -> list[Any]:
    """Inputs: value, output before, weights of all gates, biases, memory before.

    Outputs: output, memory, the layer's inputs, the gates' sums. The order of the gates is
    input, cell, forget, output.
    """
    together = tf.concat([_state(node, 0), _state(node, 1)], -1)
    sums = _inputs_of(node, together, 2, 3)
    insert, new, forget, show = tf.split(sums, 4, -1)
    memory = tf.sigmoid(insert) * tf.tanh(new) + tf.sigmoid(forget) * _state(node, 4)
    results = [tf.sigmoid(show) * tf.tanh(memory), memory, together, sums]
    batch = node.sample_shape(0)[0]
    return [node.reshaped(result, [batch, result.shape[-1]]) for result in results]


def _svdf(node: Node) -> Any:
    """A filter of low rank over time (Nakkiran et al. 2015); the memory holds the steps before.

    Inputs: value ``(batch, depth)``, weights over depth ``(filters, depth)``, weights over time
    ``(filters, steps)``, bias ``(units,)``, memory ``(batch, filters * steps)``.
    """
    rank, over_time = node.options.rank, node.shared(2)
    filters, steps = over_time.shape
    now = tf.matmul(_state(node, 0), node.shared(1), transpose_b=True)
    memory = tf.reshape(_state(node, 4), [-1, filters, steps])
    memory = tf.concat([memory[:, :, 1:], now[:, :, None]], 2)
    sums = tf.reduce_sum(memory * over_time, -1)
    result = tf.reduce_sum(tf.reshape(sums, [-1, filters // rank, rank]), -1)
    if node.has(3):
        result += node.shared(3)
    result = activation_of(node)(result)
    return node.reshaped(result, [node.sample_shape(0)[0], filters // rank])


RECURRENT: Mapping[str, Callable[[Node], Any]] = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": _bidirectional_lstm,
    "BIDIRECTIONAL_SEQUENCE_RNN": _bidirectional_rnn,
    "LSTM": _lstm,
    "RNN": _rnn,
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _unidirectional_lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _unidirectional_rnn,
}
