"""Recurrent layers: each direction is one WHILE.

The runtime's fused LSTM is not used: it keeps its state from one inference to the next (a second
run differs), gives no last cell state, and is not faster on a CPU than the loop.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.stepping import MAX_UNROLLED, Sequencer, Step
from edgekit.importers.onnx.values import static_shape, transposed

# Weights that stand four times in the runtime's memory, once for each step of an iteration; larger
# ones stand there once: where they take long, copying outputs hardly matters.
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
        names: Of its activations, with their numbers.
        backwards: Whether it starts at the last step.
        rounded: What states go through before they are multiplied; None for nothing.
    """

    kernel: Any
    recurrent: Any
    kernel_bias: Any
    recurrent_bias: Any
    peepholes: Any
    names: tuple[tuple[str, float, float], ...]
    backwards: bool
    rounded: Activation | None = None

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.recurrent.shape[0])


@dataclass(frozen=True)
class Group:
    """Directions that run side by side: their sequences are rows of one batch.

    Each recurrent product is a layer of its own; all that follows is done once for all rows, which
    makes two directions hardly slower than one where the layers are small.

    Attributes:
        ways: The directions.
        clip: Bound on what goes into the activations; None without.
    """

    ways: Sequence[Direction]
    clip: float | None

    @property
    def activations(self) -> list[Activation]:
        """The functions, the same for all directions."""
        return [_activation(*each) for each in self.ways[0].names]

    def bounded(self, x: Any) -> Any:  # noqa: ANN401
        """What goes into an activation."""
        return x if self.clip is None else tf.clip_by_value(x, -self.clip, self.clip)

    def product(
        self, states: Any, first: int, last: int, biases: Sequence[Any] | None = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  # fmt: skip
        """States times each direction's recurrent weights, of the gates from first to last."""
        rows = _parts(states, len(self.ways), 0)
        made = []
        for place, way in enumerate(self.ways):
            units = way.units
            seen = rows[place] if way.rounded is None else way.rounded(rows[place])
            part = tf.matmul(seen, way.recurrent[:, first * units:last * units])
            made.append(part if biases is None else part + biases[place])
        return made[0] if len(made) == 1 else tf.concat(made, 0)

    def peepholes(self, batch: int) -> list[Any]:
        """For input, output and forget gate, (rows, H) or None."""
        if self.ways[0].peepholes is None:
            return [None] * 3
        rows = tf.stack([way.peepholes for way in self.ways for _ in range(batch)])
        return list(tf.split(rows, 3, -1))


# From directions to the bias that is added for all steps at once, one for each, and their step.
CellMaker = Callable[[Node, Group, int], tuple[list[Any], Step]]


def lstm(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None,  # noqa: ANN401
    c: Any = None, peepholes: Any = None, *, rounded: Activation | None = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """LSTM: gates in the order input, output, forget, cell; for ``rounded`` see ``Direction``."""
    defaults = ["Sigmoid", "Tanh", "Tanh"]
    directions = [replace(way, rounded=rounded)
                  for way in _directions(node, w, r, b, peepholes, defaults)]
    return _layer(node, x, lengths, (h, c), directions, _lstm_cell)


def _lstm_cell(node: Node, group: Group, batch: int) -> tuple[list[Any], Step]:
    f, g, last = group.activations
    coupled = bool(node.attr("input_forget", 0))
    peeps = group.peepholes(batch)

    def gate(x: Any, peep: Any, cell: Any) -> Any:  # noqa: ANN401
        return f(group.bounded(x if peep is None else x + peep * cell))

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        hidden, cell = states
        inner, outer, forget, fresh = tf.split(now + group.product(hidden, 0, 4), 4, -1)
        take = gate(inner, peeps[0], cell)
        keep = 1.0 - take if coupled else gate(forget, peeps[2], cell)
        cell = keep * cell + take * g(group.bounded(fresh))
        return gate(outer, peeps[1], cell) * last(cell), cell

    return _all_biases(group), step


def _all_biases(group: Group) -> list[Any]:
    return [way.kernel_bias + way.recurrent_bias for way in group.ways]


def gru(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """GRU: gates in the order update, reset, hidden."""
    directions = list(_directions(node, w, r, b, None, ["Sigmoid", "Tanh"]))
    maker = _gru_reset_after if node.attr("linear_before_reset", 0) else _gru_reset_before
    return _layer(node, x, lengths, (h,), directions, maker)


def _gru_reset_after(_node: Node, group: Group, _batch: int) -> tuple[list[Any], Step]:
    f, g = group.activations
    # Only the hidden gate's recurrent bias is inside of what the reset gate scales.
    outside, inside = [], []
    for way in group.ways:
        update, reset, hidden = _parts(way.recurrent_bias, 3)
        zeros = np.zeros(way.units, np.float32)
        outside.append(way.kernel_bias + tf.concat([update, reset, zeros], 0))
        inside.append(tf.concat([zeros, zeros, hidden], 0))

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        (hidden,) = states
        update, reset, fresh = tf.split(now, 3, -1)
        update_h, reset_h, fresh_h = tf.split(group.product(hidden, 0, 3, inside), 3, -1)
        update = f(group.bounded(update + update_h))
        reset = f(group.bounded(reset + reset_h))
        fresh = g(group.bounded(fresh + reset * fresh_h))
        return (fresh + update * (hidden - fresh),)

    return outside, step


def _gru_reset_before(_node: Node, group: Group, _batch: int) -> tuple[list[Any], Step]:
    f, g = group.activations

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        (hidden,) = states
        update, reset, fresh = tf.split(now, 3, -1)
        update_h, reset_h = tf.split(group.product(hidden, 0, 2), 2, -1)
        update = f(group.bounded(update + update_h))
        reset = f(group.bounded(reset + reset_h))
        fresh = g(group.bounded(fresh + group.product(reset * hidden, 2, 3)))
        return (fresh + update * (hidden - fresh),)

    return _all_biases(group), step


def rnn(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None,  # noqa: ANN401
) -> tuple[Any, ...]:  # fmt: skip
    """RNN: one gate."""
    directions = list(_directions(node, w, r, b, None, ["Tanh"]))
    return _layer(node, x, lengths, (h,), directions, _rnn_cell)


def _rnn_cell(_node: Node, group: Group, _batch: int) -> tuple[list[Any], Step]:
    (f,) = group.activations

    def step(now: Any, states: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401
        return (f(group.bounded(now + group.product(states[0], 0, 1))),)

    return _all_biases(group), step


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
            activations[place * each:(place + 1) * each], backwards)  # fmt: skip


def _parts(data: Any, count: int, axis: int = -1) -> list[Any]:  # noqa: ANN401
    if count == 1:
        return [data]
    split = np.split if isinstance(data, np.ndarray) else tf.split
    return list(split(data, count, axis))


def _activations(node: Node, defaults: Sequence[str]) -> tuple[tuple[str, float, float], ...]:
    """Each takes the next alpha and beta, if it has these at all."""
    alphas = iter(node.attr("activation_alpha", []))
    betas = iter(node.attr("activation_beta", []))
    names = [name.lower() for name in node.attr("activations", None) or defaults]
    unknown = set(names) - set(_ACTIVATIONS)
    if unknown or len(names) != len(defaults):
        raise node.error(f"has the activations {names}; {len(defaults)} of "
                         f"{', '.join(sorted(_ACTIVATIONS))} are wanted")
    found = []
    for name in names:
        alpha = next(alphas, _ALPHA[name]) if name in _ALPHA else 0.0
        beta = next(betas, _BETA[name]) if name in _BETA else 0.0
        found.append((name, alpha, beta))
    return tuple(found)


def _activation(name: str, alpha: float, beta: float) -> Activation:
    return lambda x: _ACTIVATIONS[name](x, alpha, beta)


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
    alike = len({way.names for way in directions}) == 1
    groups = [list(directions)] if alike else [[way] for way in directions]
    made, place = [], 0
    for ways in groups:
        mine = [None if state is None else state[place:place + len(ways)] for state in states]
        made += _side_by_side(node, x, mask, mine, ways, maker)
        place += len(ways)
    outputs = None
    if node.wants(0):
        everything = [transposed(all_steps, (1, 0, 2)) if batch_first else all_steps
                      for all_steps, _ in made]
        outputs = tf.stack(everything, 2 if batch_first else 1)
    last = [tf.stack([states[place] for _, states in made], 1 if batch_first else 0)
            for place in range(len(states))]
    return (outputs, *last)


def _side_by_side(
    node: Node, x: Any, mask: Any, states: Sequence[Any], ways: Sequence[Direction],  # noqa: ANN401
    maker: CellMaker,
) -> list[tuple[Any, list[Any]]]:
    """For each direction the outputs of all steps, and the last states."""
    length, batch, width = (int(size) for size in x.shape)
    biases, step = maker(node, Group(ways, node.attr("clip", None) or None), batch)
    given, masks = [], []
    for way, bias in zip(ways, biases, strict=True):
        # The input's part of all steps is one fully connected layer ahead of the loop.
        seen = _turned(x, way)
        flat = tf.matmul(tf.reshape(seen, [length * batch, width]), way.kernel) + bias
        given.append(tf.reshape(flat, [length, batch, int(flat.shape[-1])]))
        masks.append(None if mask is None else _turned(mask, way))
    units, count = ways[0].units, len(ways)
    start = [tf.zeros([count * batch, units]) if state is None else
             tf.reshape(state, [count * batch, units]) for state in states]
    large = count * int(np.prod(ways[0].recurrent.shape)) > _MAX_WEIGHTS_REPEATED
    steps = Sequencer(step, collects=node.wants(0), at_once=1 if large else MAX_UNROLLED)
    outputs, last = steps.run(_joined(given), start, None if mask is None else _joined(masks))
    outputs = [None] * count if outputs is None else [
        _turned(part, way) for part, way in zip(_parts(outputs, count, 1), ways, strict=True)]
    ends = [_parts(state, count, 0) for state in last]
    return [(outputs[place], [end[place] for end in ends]) for place in range(count)]


def _joined(parts: Sequence[Any]) -> Any:  # noqa: ANN401
    return parts[0] if len(parts) == 1 else tf.concat(parts, 1)


def _turned(steps: Any, way: Direction) -> Any:  # noqa: ANN401
    if not way.backwards or int(steps.shape[0]) == 1:
        return steps
    return steps[::-1] if isinstance(steps, np.ndarray) else tf.reverse(steps, [0])


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
