"""Recurrent layers: each direction is one WHILE.

The runtime's fused LSTM is not used: it keeps its state from one inference to the next (a second
run differs), gives no last cell state, and is not faster on a CPU than the loop.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.stepping import MAX_UNROLLED, run_steps
from edgekit.importers.onnx.values import static_shape, transposed

# Each step of an iteration has its own packed copy of the weights in the runtime's memory: four
# for weights below half a megabyte, one for larger ones, where copying outputs hardly matters.
_MAX_WEIGHTS_REPEATED = 1 << 17
_ALPHA = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "hardsigmoid": 0.2, "elu": 1.0,
          "scaledtanh": 1.0, "affine": 1.0}  # fmt: skip
_BETA = {"hardsigmoid": 0.5, "scaledtanh": 1.0, "affine": 0.0}
_ACTIVATIONS: dict[str, Callable[[Any, float, float], Any]] = {
    "sigmoid": lambda x, _a, _b: tf.sigmoid(x),
    "tanh": lambda x, _a, _b: tf.tanh(x),
    "relu": lambda x, _a, _b: tf.nn.relu(x),
    "softsign": lambda x, _a, _b: x / (1.0 + tf.abs(x)),
    "softplus": lambda x, _a, _b: tf.nn.relu(x) + tf.math.log(1.0 + tf.exp(-tf.abs(x))),
    "leakyrelu": lambda x, a, _b: tf.nn.relu(x) - a * tf.nn.relu(-x),
    "thresholdedrelu": lambda x, a, _b: tf.where(x > a, x, tf.zeros_like(x)),
    "hardsigmoid": lambda x, a, b: tf.clip_by_value(a * x + b, 0.0, 1.0),
    "elu": lambda x, a, _b: tf.nn.elu(x) if a == 1.0 else (
        tf.nn.relu(x) + a * (tf.exp(-tf.nn.relu(-x)) - 1.0)),
    "scaledtanh": lambda x, a, b: a * tf.tanh(b * x),
    "affine": lambda x, a, b: a * x + b,
}

Activation = Callable[[Any], Any]


@dataclass(frozen=True)
class Direction:
    """One direction's weights, ready to be multiplied with from the right.

    Attributes:
        kernel: (I, gates * H).
        recurrent: (H, gates * H).
        kernel_bias: (gates * H).
        recurrent_bias: The same, added to the recurrent product.
        peepholes: (3 * H) or None.
        activations: Of this direction.
        clip: Bound on what goes into the activations; None without.
        backwards: Whether it starts at the last step.
    """

    kernel: Any
    recurrent: Any
    kernel_bias: Any
    recurrent_bias: Any
    peepholes: Any
    activations: Sequence[Activation]
    clip: float | None
    backwards: bool

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.recurrent.shape[0])

    def bounded(self, x: Any) -> Any:  # noqa: ANN401
        """What goes into an activation."""
        return x if self.clip is None else tf.clip_by_value(x, -self.clip, self.clip)


# From a direction to the bias that is added for all steps at once, and its step.
CellMaker = Callable[[Node, Direction], tuple[Any, Callable[[Any, Sequence[Any]], Sequence[Any]]]]


def lstm(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None,  # noqa: ANN401
    c: Any = None, peepholes: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """LSTM: gates in the order input, output, forget, cell."""
    defaults = ["Sigmoid", "Tanh", "Tanh"]
    directions = list(_directions(node, w, r, b, peepholes, defaults))
    return _layer(node, x, lengths, (h, c), directions, _lstm_cell)


def _lstm_cell(node: Node, way: Direction) -> tuple[Any, Any]:
    f, g, last = way.activations
    coupled = bool(node.attr("input_forget", 0))
    peeps = [None] * 3 if way.peepholes is None else [
        part[None] for part in _parts(way.peepholes, 3)]

    def gate(x: Any, peep: Any, cell: Any) -> Any:  # noqa: ANN401
        return f(way.bounded(x if peep is None else x + peep * cell))

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        hidden, cell = states
        inner, outer, forget, fresh = tf.split(now + tf.matmul(hidden, way.recurrent), 4, -1)
        take = gate(inner, peeps[0], cell)
        keep = 1.0 - take if coupled else gate(forget, peeps[2], cell)
        cell = keep * cell + take * g(way.bounded(fresh))
        return gate(outer, peeps[1], cell) * last(cell), cell

    return way.kernel_bias + way.recurrent_bias, step


def gru(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """GRU: gates in the order update, reset, hidden."""
    directions = list(_directions(node, w, r, b, None, ["Sigmoid", "Tanh"]))
    maker = _gru_reset_after if node.attr("linear_before_reset", 0) else _gru_reset_before
    return _layer(node, x, lengths, (h,), directions, maker)


def _gru_reset_after(_node: Node, way: Direction) -> tuple[Any, Any]:
    f, g = way.activations
    units = way.units
    # Only the hidden gate's recurrent bias is inside of what the reset gate scales.
    outside = tf.concat([way.recurrent_bias[:2 * units], np.zeros(units, np.float32)], 0)
    inside = tf.concat([np.zeros(2 * units, np.float32), way.recurrent_bias[2 * units:]], 0)

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        (hidden,) = states
        update, reset, fresh = tf.split(now, 3, -1)
        update_h, reset_h, fresh_h = tf.split(tf.matmul(hidden, way.recurrent) + inside, 3, -1)
        update = f(way.bounded(update + update_h))
        reset = f(way.bounded(reset + reset_h))
        fresh = g(way.bounded(fresh + reset * fresh_h))
        return (fresh + update * (hidden - fresh),)

    return way.kernel_bias + outside, step


def _gru_reset_before(_node: Node, way: Direction) -> tuple[Any, Any]:
    f, g = way.activations
    units = way.units
    gates, candidate = way.recurrent[:, :2 * units], way.recurrent[:, 2 * units:]

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        (hidden,) = states
        both = f(way.bounded(now[:, :2 * units] + tf.matmul(hidden, gates)))
        update, reset = tf.split(both, 2, -1)
        fresh = g(way.bounded(now[:, 2 * units:] + tf.matmul(reset * hidden, candidate)))
        return (fresh + update * (hidden - fresh),)

    return way.kernel_bias + way.recurrent_bias, step


def rnn(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """RNN: one gate."""
    directions = list(_directions(node, w, r, b, None, ["Tanh"]))
    return _layer(node, x, lengths, (h,), directions, _rnn_cell)


def _rnn_cell(_node: Node, way: Direction) -> tuple[Any, Any]:
    (f,) = way.activations

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        return (f(way.bounded(now + tf.matmul(states[0], way.recurrent))),)

    return way.kernel_bias + way.recurrent_bias, step


def _directions(
    node: Node, w: Any, r: Any, b: Any, peepholes: Any, defaults: Sequence[str],  # noqa: ANN401
) -> Iterator[Direction]:
    named = node.attr("direction", "forward")
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(named)
    if ways is None or len(ways) != w.shape[0]:
        raise node.error(f"has the direction '{named}' and weights for {w.shape[0]}")
    activations = _activations(node, list(defaults) * len(ways))
    zeros = np.zeros((len(ways), 2 * int(r.shape[1])), np.float32)
    biases = zeros if b is None else b
    each = len(defaults)
    for place, backwards in enumerate(ways):
        kernel_bias, recurrent_bias = _parts(biases[place], 2)
        yield Direction(
            transposed(w[place], (1, 0)), transposed(r[place], (1, 0)),
            kernel_bias, recurrent_bias, None if peepholes is None else peepholes[place],
            activations[place * each:(place + 1) * each], node.attr("clip", None) or None,
            backwards)  # fmt: skip


def _parts(data: Any, count: int) -> list[Any]:  # noqa: ANN401
    return np.split(data, count, -1) if isinstance(data, np.ndarray) else tf.split(data, count, -1)


def _activations(node: Node, defaults: Sequence[str]) -> list[Activation]:
    """Each takes the next alpha and beta, if it has these at all."""
    alphas = iter(node.attr("activation_alpha", []))
    betas = iter(node.attr("activation_beta", []))
    names = [name.lower() for name in node.attr("activations", None) or defaults]
    unknown = set(names) - set(_ACTIVATIONS)
    if unknown or len(names) != len(defaults):
        raise node.error(f"has the activations {names}; {len(defaults)} of "
                         f"{', '.join(sorted(_ACTIVATIONS))} are wanted")
    found: list[Activation] = []
    for name in names:
        alpha = next(alphas, _ALPHA[name]) if name in _ALPHA else 0.0
        beta = next(betas, _BETA[name]) if name in _BETA else 0.0
        found.append(_activation(_ACTIVATIONS[name], alpha, beta))
    return found


def _activation(
    function: Callable[[Any, float, float], Any], alpha: float, beta: float
) -> Activation:
    return lambda x: function(x, alpha, beta)


def _layer(
    node: Node, x: Any, lengths: Any, states: Sequence[Any], directions: Sequence[Direction],  # noqa: ANN401
    maker: CellMaker,
) -> tuple[Any, ...]:
    """All directions; the outputs of all steps, and each state behind the last step."""
    batch_first = bool(node.attr("layout", 0))
    if batch_first:
        x = transposed(x, (1, 0, 2))
        states = [None if state is None else transposed(state, (1, 0, 2)) for state in states]
    if None in static_shape(x):
        raise node.error(f"has an input of open shape {static_shape(x)}",
                         "fix its sizes with --input-shape")
    mask = _mask(lengths, int(x.shape[0]))
    made = [_one_way(node, x, mask, [None if state is None else state[place] for state in states],
                     way, maker) for place, way in enumerate(directions)]
    outputs = None
    if node.wants(0):
        axis = 2 if batch_first else 1
        everything = [transposed(all_steps, (1, 0, 2)) if batch_first else all_steps
                      for all_steps, _ in made]
        outputs = tf.stack(everything, axis)
    last = [tf.stack([states[place] for _, states in made], 1 if batch_first else 0)
            for place in range(len(states))]
    return (outputs, *last)


def _one_way(
    node: Node, x: Any, mask: Any, states: Sequence[Any], way: Direction, maker: CellMaker,  # noqa: ANN401
) -> tuple[Any, list[Any]]:
    length, batch, width = (int(size) for size in x.shape)
    bias, step = maker(node, way)
    # The input's part of all steps is one fully connected layer ahead of the loop.
    flat = tf.matmul(tf.reshape(x, [length * batch, width]), way.kernel) + bias
    given = tf.reshape(flat, [length, batch, int(flat.shape[-1])])
    start = [tf.zeros([batch, way.units]) if state is None else tf.convert_to_tensor(state)
             for state in states]
    large = int(np.prod(way.recurrent.shape)) > _MAX_WEIGHTS_REPEATED
    return run_steps(step, given, start, mask, backwards=way.backwards,
                     collects=node.wants(0), at_once=1 if large else MAX_UNROLLED)


def _mask(lengths: Any, steps: int) -> Any:  # noqa: ANN401
    """Which steps count (T, N, 1); None for all."""
    if lengths is None:
        return None
    places = np.arange(steps, dtype=np.int32)[:, None, None]
    if isinstance(lengths, np.ndarray):
        return None if (lengths >= steps).all() else places < lengths[None, :, None]
    return places < tf.cast(lengths, tf.int32)[None, :, None]


RECURRENT = {
    "LSTM": Operator(lstm, 22),
    "GRU": Operator(gru, 22),
    "RNN": Operator(rnn, 22),
}
