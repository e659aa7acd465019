"""Recurrent layers: lifted as LiteRT computes them, with states that start at zero."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifting import Case, Make, Operand, check, examples

pytestmark = pytest.mark.slow

Row = Callable[[Make], Case]
RELU, TANH = 1, 4  # of the schema's activations
FULL, BASIC = 0, 1  # of the schema's LSTM kernels


def _state(*shape: int) -> Operand:
    return Operand(np.zeros(shape, np.float32), variable=True)


def _sequence(make: Make, depth: int) -> tuple[Operand, bool, int]:
    """Values, whether time comes first, and the size of the model's own batch axis."""
    time_major, batch, steps = make.flag(), make.pick(1, 1, 2), make.integer(1, 4)
    shape = (steps, batch, depth) if time_major else (batch, steps, depth)
    return make.floats(shape, -1.0, 1.0), time_major, batch


def _rnn_weights(make: Make, depth: int, units: int, batch: int) -> list[Operand]:
    return [make.small((units, depth)), make.small((units, units)), make.small((units,)),
            _state(batch, units)]


def _rnn(make: Make) -> Case:
    batch, depth, units = make.shape(3, 3, 3)
    return make.case("RNN", [make.floats((batch, depth)), *_rnn_weights(make, depth, units, batch)],
                     "float32", "RNNOptions", fusedActivationFunction=make.pick(RELU, TANH))


def _unidirectional_rnn(make: Make) -> Case:
    depth, units = make.shape(2, 2, 3)
    x, time_major, batch = _sequence(make, depth)
    return make.case(
        "UNIDIRECTIONAL_SEQUENCE_RNN", [x, *_rnn_weights(make, depth, units, batch)], "float32",
        "SequenceRNNOptions", timeMajor=time_major, fusedActivationFunction=TANH)


def _bidirectional_rnn(make: Make) -> Case:
    """Stacked with links to both directions, without, or alone."""
    depth, first, second = make.shape(3, 3, 3)
    x, time_major, batch = _sequence(make, depth)
    kind = make.pick("alone", "linked", "stacked")
    merge = time_major or make.flag()  # LiteRT gives a second output the wrong shape otherwise
    more = None if kind == "alone" else make.floats(x.of(0).shape, -1.0, 1.0)
    linked = [make.small((first, depth)), make.small((second, depth))] if kind == "linked" else [
        None, None]
    return make.case(
        "BIDIRECTIONAL_SEQUENCE_RNN",
        [x, *_rnn_weights(make, depth, first, batch), *_rnn_weights(make, depth, second, batch),
         more, *linked], ["float32"] * (1 if merge else 2), "BidirectionalSequenceRNNOptions",
        timeMajor=time_major, mergeOutputs=merge, fusedActivationFunction=TANH)


def _lstm_weights(
    make: Make, depth: int, units: int, outputs: int, *, coupled: bool, peepholes: bool,
    projected: bool,
) -> list[Operand | None]:
    """The seventeen inputs of one direction."""
    def gates(*shape: int) -> list[Operand | None]:
        made: list[Operand | None] = [make.small(shape) for _ in range(4)]
        return [None, *made[1:]] if coupled else made

    holes = [make.small((units,)) if peepholes else None for _ in range(3)]
    if coupled:
        holes[0] = None
    projection = [make.small((outputs, units)), make.small((outputs,)) if make.flag() else None]
    return [*gates(units, depth), *gates(units, outputs), *holes, *gates(units),
            *(projection if projected else [None, None])]


def _kind(make: Make) -> dict[str, bool]:
    return {"coupled": make.flag(), "peepholes": make.flag(), "projected": make.flag()}


def _clips(make: Make, kind: Mapping[str, bool]) -> dict[str, float]:
    return {"cellClip": make.pick(0.0, 0.3), "projClip": make.pick(0.0, 0.2) if kind["projected"]
            else 0.0}


def _lstm_inputs(make: Make, x: Operand, depth: int, batch: int, kind: Mapping[str, bool]
                 ) -> list[Operand | None]:
    units = make.integer(1, 3)
    outputs = make.integer(1, 3) if kind["projected"] else units
    inputs = [x, *_lstm_weights(make, depth, units, outputs, **kind), _state(batch, outputs),
              _state(batch, units)]
    normalized = make.pick([], [None], ["norm"])
    if not normalized:
        return inputs
    norms = [make.small((units,)) if normalized[0] else None for _ in range(4)]
    return [*inputs, *([None, *norms[1:]] if kind["coupled"] else norms)]


def _unidirectional_lstm(make: Make) -> Case:
    depth, kind = make.integer(1, 3), _kind(make)
    x, time_major, batch = _sequence(make, depth)
    return make.case(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", _lstm_inputs(make, x, depth, batch, kind), "float32",
        "UnidirectionalSequenceLSTMOptions", timeMajor=time_major, fusedActivationFunction=TANH,
        **_clips(make, kind))


def _lstm(make: Make) -> Case:
    if make.flag():
        return _basic_lstm(make)
    depth, batch, kind = make.integer(1, 3), make.integer(1, 2), _kind(make)
    x = make.floats((batch, depth), -1.0, 1.0)
    return make.case("LSTM", _lstm_inputs(make, x, depth, batch, kind), "float32", "LSTMOptions",
                     fusedActivationFunction=TANH, kernelType=FULL, **_clips(make, kind))


def _basic_lstm(make: Make) -> Case:
    batch, depth, units = make.shape(3, 3, 3)
    return make.case(
        "LSTM", [make.floats((batch, depth), -1.0, 1.0, batched=True), _state(batch, units),
                 make.small((4 * units, depth + units)), make.small((4 * units,)),
                 _state(batch, units)],
        ["float32"] * 4, "LSTMOptions", fusedActivationFunction=TANH, kernelType=BASIC)


def _bidirectional_lstm(make: Make) -> Case:
    depth, kind = make.integer(1, 3), _kind(make)
    x, time_major, batch = _sequence(make, depth)
    units = make.integer(1, 3)
    outputs = make.integer(1, 3) if kind["projected"] else units
    directions = [_lstm_weights(make, depth, units, outputs, **kind) for _ in range(2)]
    states = [_state(batch, size) for size in (outputs, units) * 2]
    how = make.pick("alone", "linked", "stacked")
    more = None if how == "alone" else make.floats(x.of(0).shape, -1.0, 1.0)
    links = [make.small((units, depth)) if how == "linked" and gate >= kind["coupled"] else None
             for _ in range(2) for gate in range(4)]
    # Merged, LiteRT looks for the state of the second of a batch in the wrong place.
    merge = (time_major or batch == 1) and make.flag()
    return make.case(
        "BIDIRECTIONAL_SEQUENCE_LSTM", [x, *directions[0], *directions[1], *states, more, *links],
        ["float32"] * (1 if merge else 2), "BidirectionalSequenceLSTMOptions",
        timeMajor=time_major, mergeOutputs=merge, fusedActivationFunction=TANH,
        **_clips(make, kind))


def _svdf(make: Make) -> Case:
    batch, depth, units = make.shape(3, 3, 3)
    rank, steps = make.integer(1, 2), make.integer(1, 3)
    filters = units * rank
    return make.case(
        "SVDF", [make.floats((batch, depth)), make.small((filters, depth)),
                 make.small((filters, steps)), make.small((units,)) if make.flag() else None,
                 _state(batch, filters * steps)],
        "float32", "SVDFOptions", rank=rank, fusedActivationFunction=make.pick(0, TANH))


CASES: Mapping[str, Row] = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": _bidirectional_lstm,
    "BIDIRECTIONAL_SEQUENCE_RNN": _bidirectional_rnn,
    "LSTM": _lstm,
    "RNN": _rnn,
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _unidirectional_lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _unidirectional_rnn,
}


@pytest.mark.parametrize("name", sorted(CASES))
@examples(5)
@given(data=st.data())
def test_equals_litert(name, data):
    check(CASES[name](Make(data.draw)))
