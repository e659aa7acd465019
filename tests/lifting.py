"""One operator, lifted and in LiteRT: a case of it, and whether both say the same.

    def _square(make):                       # what a row of LIFTS is tested with
        return make.case("SQUARE", [make.floats(make.shape())])

    check(_square(Make(data.draw)))          # data: hypothesis.strategies.data()

A case goes through LiteRT's own kernels once for each sample, and through the lift with all
samples at once: as it is, inside a ``tf.function`` for any number of samples, and with its
gradient held against a difference quotient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from flatbuffers_builder import FlatbufferBuilder
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st

from edgekit.core.graph import Graph, read_graph
from edgekit.training.evaluation import Evaluation
from edgekit.training.values import Value

SAMPLES = 3
SETTINGS = ("build", "exact_gradient", "gradient", "tolerance", "version")  # of a case


@dataclass(frozen=True, eq=False)
class Operand:
    """One input of the operator.

    Attributes:
        values: ``(SAMPLES, *shape)`` where it is batched.
        batched: Whether each sample has its own.
        constant: Otherwise: whether it is in the file, or computed while the graph runs.
        variable: A state; it starts at zero.
    """

    values: Any
    batched: bool = False
    constant: bool = True
    variable: bool = False

    @property
    def is_fed(self) -> bool:
        return self.batched or not (self.constant or self.variable)

    def of(self, sample: int) -> Any:
        return self.values[sample] if self.batched else self.values

    def __repr__(self) -> str:
        kind = ("batched" if self.batched else "variable" if self.variable
                else "constant" if self.constant else "computed")
        text = np.array2string(self.values, precision=3, threshold=12).replace("\n", "")
        return f"{kind} {self.values.dtype}{list(self.of(0).shape)} {text}"


@dataclass(frozen=True, eq=False)
class Case:
    """An operator with its inputs.

    Attributes:
        operands: None for an absent one.
        outputs: Their types.
        options: The options table's name, and its ``fields``.
        exact_gradient: Whether the lift can be computed with doubles, for a sharp comparison.
        build: Adds further subgraphs before the operator.
    """

    name: str
    operands: Sequence[Operand | None]
    outputs: Sequence[str] = ("float32",)
    options: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    exact_gradient: bool = True
    gradient: bool = True
    traced: bool = False
    tolerance: float = 1e-4
    build: Callable[[FlatbufferBuilder], None] | None = None

    def file(self, shapes: Sequence[Sequence[int]] = ()) -> bytes:
        """The operator alone.

        Args:
            shapes: Of its outputs. LiteRT finds most itself, but not those of single elements.
        """
        file = FlatbufferBuilder()
        indices = [-1 if operand is None else self._tensor(file, f"x{i}", operand)
                   for i, operand in enumerate(self.operands)]
        made = [file.tensor(f"y{i}", shape, dtype) for i, (dtype, shape) in enumerate(
            zip(self.outputs, shapes or [()] * len(self.outputs), strict=True))]
        file.operator(self.name, indices, made, self.options, version=self.version, **self.fields)
        file.output(*made)
        if self.build is not None:
            self.build(file)
        return file.build()

    @staticmethod
    def _tensor(file: FlatbufferBuilder, name: str, operand: Operand) -> int:
        values = operand.of(0)
        if operand.is_fed:
            return file.input(name, values.shape, values.dtype.name)
        if operand.variable:
            return file.tensor(name, values.shape, values.dtype.name, variable=True)
        return file.tensor(name, values.shape, values.dtype.name,
                           buffer=file.buffer(values.tobytes()))


class Make:
    """Draws cases."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw
        self._random = np.random.default_rng(draw(st.integers(0, 2**16)))
        self._mapped = False  # a tf.map_fn has the file's types: no doubles

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def flag(self) -> bool:
        return self._draw(st.booleans())

    def pick(self, *options: Any) -> Any:
        return self._draw(st.sampled_from(options))

    def shape(self, least: int = 1, most: int = 4, size: int = 4) -> tuple[int, ...]:
        return tuple(self._draw(st.lists(st.integers(1, size), min_size=least, max_size=most)))

    def axis(self, rank: int) -> int:
        """Any, also counted from the end."""
        return self.integer(-rank, rank - 1)

    def order(self, count: int) -> list[int]:
        return self._draw(st.permutations(range(count)))

    def subset(self, rank: int, least: int = 0) -> list[int]:
        """Some axes, in any order, some of them counted from the end."""
        axes = self.order(rank)[: self.integer(least, rank)]
        return [axis - rank if self.flag() else axis for axis in axes]

    def partner(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape that broadcasts against another and is no larger."""
        kept = list(shape[self.integer(0, len(shape)):])
        return tuple(1 if self.flag() and self.flag() else size for size in kept)

    def pair(self, most: int = 4) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Two shapes that broadcast, in any order, each of them larger in places."""
        shape = self.shape(0, most)
        other = self.partner(shape)
        first = tuple(1 if self.flag() and self.flag() else size for size in shape)
        return (first, other) if self.flag() else (other, first)

    def operand(self, values: Callable[[tuple[int, ...]], Any], shape: Sequence[int],
                batched: bool | None = None, constant: bool | None = None) -> Operand:
        batched = self.flag() if batched is None else batched
        constant = (batched or self.flag()) if constant is None else constant
        made = np.asarray(values((SAMPLES, *shape) if batched else tuple(shape)))
        return Operand(made, batched, constant)

    def floats(self, shape: Sequence[int], low: float = -3.0, high: float = 3.0,
               batched: bool | None = None, constant: bool | None = None) -> Operand:
        return self.operand(lambda whole: self._random.uniform(low, high, whole).astype(np.float32),
                            shape, batched, constant)

    def integers(self, shape: Sequence[int], low: int = -9, high: int = 9, dtype: str = "int32",
                 batched: bool | None = None, constant: bool | None = None) -> Operand:
        """Between ``low`` and ``high``, both included."""
        return self.operand(lambda whole: self._random.integers(low, high + 1, whole).astype(dtype),
                            shape, batched, constant)

    def bools(self, shape: Sequence[int], batched: bool | None = None) -> Operand:
        return self.integers(shape, 0, 1, "bool", batched)

    def of(self, dtype: str, shape: Sequence[int], batched: bool | None = None) -> Operand:
        """Values of a type."""
        if dtype == "float32":
            return self.floats(shape, batched=batched)
        return self.bools(shape, batched) if dtype == "bool" else self.integers(
            shape, dtype=dtype, batched=batched)

    @property
    def is_mapped(self) -> bool:
        """Whether the lift of this case goes sample by sample."""
        return self._mapped

    def filter(self, shape: Sequence[int]) -> Operand:
        """Weights that are mostly the same for all samples, but may be computed from each."""
        if self.integer(0, 3):
            return self.weights(shape)
        self.each_is_mapped()
        return self.floats(shape, batched=True)

    def weights(self, shape: Sequence[int]) -> Operand:
        """In the file or computed, the same for all samples."""
        return self.floats(shape, batched=False)

    def small(self, shape: Sequence[int]) -> Operand:
        """Weights in the file that keep an activation away from its ends."""
        return self.floats(shape, -1.0, 1.0, batched=False, constant=True)

    def shared(self, values: Any, dtype: str = "int32") -> Operand:
        """Numbers that are the same for all samples, in the file or computed."""
        return Operand(np.asarray(values, dtype), constant=self.flag())

    def each(self, values: Callable[[], Any], dtype: str = "int32") -> Operand:
        """Numbers that are the same for all samples, or drawn anew for each."""
        if self.flag():
            return self.shared(values(), dtype)
        self.each_is_mapped()
        return Operand(np.asarray([values() for _ in range(SAMPLES)], dtype), batched=True)

    def each_is_mapped(self) -> None:
        """The lift of this case goes sample by sample."""
        self._mapped = True

    def case(self, operator: str, operands: Sequence[Operand | None],
             outputs: Sequence[str] | str = "float32", options: str | None = None,
             **more: Any) -> Case:
        """The case; what is no setting of it is a field of the options."""
        kept = {key: more.pop(key) for key in SETTINGS if key in more}
        outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        if self._mapped:
            kept["exact_gradient"] = False
        return Case(operator, tuple(operands), outputs, options, more,
                    traced=self.integer(0, 2) == 0, **kept)


def examples(count: int) -> settings:
    """So many of each operator, the same ones each time."""
    return settings(max_examples=count, deadline=None, derandomize=True,
                    suppress_health_check=[HealthCheck.too_slow])


def constant(values: Any, dtype: str | None = "int32") -> Operand:
    """A number that the graph is made with: an axis, a count."""
    return Operand(np.asarray(values, dtype))


def litert(data: bytes, operands: Sequence[Operand | None]) -> list[list[Any]]:
    """What LiteRT's kernels make of each sample."""
    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    return [_one(interpreter, [operand.of(sample) for operand in operands
                               if operand is not None and operand.is_fed])
            for sample in range(SAMPLES)]


def _one(interpreter: Interpreter, fed: Sequence[Any]) -> list[Any]:
    interpreter.reset_all_variables()
    for detail, values in zip(interpreter.get_input_details(), fed, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


class Lift:
    """The operator of a case, by its lift."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.graph: Graph = read_graph(case.file())
        self._operands = [operand for operand in case.operands if operand is not None]
        self.batched = [False] * len(case.outputs)

    def tensors(self, dtype: Any = np.float32) -> list[Any]:
        """The operands, floats of a type of choice."""
        return [tf.constant(operand.values.astype(dtype) if operand.values.dtype == np.float32
                            else operand.values) for operand in self._operands]

    def function(self) -> Callable[..., list[Any]]:
        """From the operands to the results; the graph is made for any number of samples."""
        if not self.case.traced:
            return self._results
        made = tf.function(self._results, autograph=False)

        def call(*tensors: Any) -> list[Any]:
            specs = [tf.TensorSpec(([None] if operand.batched else []) + list(operand.of(0).shape),
                                   tensor.dtype)
                     for operand, tensor in zip(self._operands, tensors, strict=True)]
            return made.get_concrete_function(*specs)(*tensors)
        return call

    def _results(self, *tensors: Any) -> list[Any]:
        main = self.graph.main
        constants, inputs = {}, []
        indices = [index for index in main.operators[0].inputs if index >= 0]
        for index, operand, tensor in zip(indices, self._operands, tensors, strict=True):
            if operand.is_fed:
                inputs.append(Value(tensor, operand.batched))
            elif operand.constant and tensor.dtype.is_floating:
                constants[main.tensors[index].buffer] = tensor
        results = Evaluation(self.graph, constants).run(main, inputs)
        self.batched = [value.batched for value in results]
        return [value.tensor for value in results]


def check(case: Case) -> None:
    """Hold the lift against LiteRT, and its gradient against a difference quotient."""
    note(f"{case.name} {case.options} {dict(case.fields)} traced={case.traced}")
    for operand in case.operands:
        note(f"  {operand}")
    lift = Lift(case)
    function = lift.function()
    # Making a graph is what takes time: one with doubles does for the values, too.
    doubles = case.traced and case.gradient and case.exact_gradient
    results = [result.numpy() for result in function(*lift.tensors(
        np.float64 if doubles else np.float32))]
    results = [_single(result) for result in results] if doubles else results
    data = case.file([result.shape[int(batched):]
                      for result, batched in zip(results, lift.batched, strict=True)])
    for sample, wanted in enumerate(litert(data, case.operands)):
        for result, batched, right in zip(results, lift.batched, wanted, strict=True):
            _compare(result[sample] if batched else result, right, case.tolerance)
    if case.gradient and any(result.dtype == np.float32 for result in results):
        _check_gradient(case, lift, function)


def _single(result: Any) -> Any:
    """A double as a float; the least double, which a maximum of nothing is, as the least float."""
    limit = np.finfo(np.float32).max
    if result.dtype == np.float64:
        return np.clip(result, -limit, limit).astype(np.float32)
    return result.astype(np.complex64) if result.dtype == np.complex128 else result


def _compare(given: Any, right: Any, tolerance: float) -> None:
    assert given.dtype == right.dtype
    assert given.shape == right.shape, f"{given.shape} instead of {right.shape}"
    if right.dtype.kind not in "fc":
        np.testing.assert_array_equal(given, right)
        return
    scale = max(float(np.abs(right[np.isfinite(right)]).max(initial=0.0)), 1e-3)
    np.testing.assert_allclose(given, right, rtol=tolerance, atol=tolerance * scale)


def _check_gradient(case: Case, lift: Lift, function: Callable[..., list[Any]]) -> None:
    """One random direction; doubles where TensorFlow has them."""
    dtype, step, tolerance = ((np.float64, 1e-6, 1e-5) if case.exact_gradient
                              else (np.float32, 1e-2, 2e-2))
    random = np.random.default_rng(0)
    tensors = lift.tensors(dtype)
    places = [i for i, tensor in enumerate(tensors) if tensor.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch([tensors[i] for i in places])
        results = function(*tensors)
        weights = [random.normal(size=result.shape) for result in results]
        loss = _weighted(results, weights)
    gradients = tape.gradient(loss, [tensors[i] for i in places])
    slope, ahead, back = 0.0, list(tensors), list(tensors)
    for place, gradient in zip(places, gradients, strict=True):
        direction = random.normal(size=tensors[place].shape).astype(dtype)
        ahead[place] = tensors[place] + dtype(step) * direction
        back[place] = tensors[place] - dtype(step) * direction
        if gradient is not None:
            slope += float(np.sum(tf.convert_to_tensor(gradient).numpy() * direction))
    quotient = float(_weighted(function(*ahead), weights) - _weighted(function(*back), weights)
                     ) / (2 * step)
    assert abs(slope - quotient) <= tolerance * (1.0 + abs(quotient)), (
        f"gradient {slope}, difference quotient {quotient}")


def _weighted(results: Sequence[Any], weights: Sequence[Any]) -> Any:
    """Of empty segments and the like comes the lowest number that there is: it does not count."""
    return tf.add_n([tf.reduce_sum(tf.where(tf.abs(result) < 1e30, tf.cast(result, tf.float64), 0.0)
                                   * weight)
                     for result, weight in zip(results, weights, strict=True)
                     if result.dtype.is_floating])
