"""A Model as a TensorFlow module over its own constants, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Graph, Tensor
from edgekit.core.model import Model, TensorSpec
from edgekit.training.evaluation import Evaluation
from edgekit.training.operators import LIFTS
from edgekit.training.roles import is_trained
from edgekit.training.values import Value


class Lifted(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """The graph of a Model, differentiable, its float constants as variables.

    Call it with one tensor per input of the model, by name: ``(batch, *shape)``, where ``shape``
    is the input's without its leading 1. It gives the outputs by name in the same form, each
    equal to what the model computes for that sample alone.

    Attributes:
        model: The Model that was lifted.
        batch: How many samples go in at a time; None for any number.
    """

    def __init__(self, model: Model, batch: int | None = None) -> None:
        super().__init__(name="lifted")
        if model.precision != "float":
            raise EdgekitError(f"{model.name} is quantized already ({model.precision}); only a "
                               "float model can be trained", "give the float source")
        refuse_unknown_operators(model.graph)
        self.model = model
        self.batch = batch
        self._tensors = _float_constants(model.graph)
        self._constants = {buffer: _variable(model.graph, tensor)
                           for buffer, tensor in self._tensors.items()}

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Compute the outputs.

        Raises:
            EdgekitError: An input that is missing or unknown.
        """
        model = self.model
        values = self._input_values(inputs)
        evaluation = Evaluation(model.graph, self._constants)
        indices = [model.signature.outputs[spec.name] for spec in model.outputs]
        results = evaluation.run(model.graph.main, values, indices)
        samples = tf.shape(values[0].tensor)[0]
        return {spec.name: _outside(spec, value, samples)
                for spec, value in zip(model.outputs, results, strict=True)}

    def _input_values(self, inputs: Mapping[str, Any]) -> list[Value]:
        model = self.model
        names = {index: name for name, index in model.signature.inputs.items()}
        for name in inputs:
            if name not in model.signature.inputs:
                raise EdgekitError(f"{model.name} has no input '{name}'",
                                   f"it has: {', '.join(model.signature.inputs)}")
        values = []
        for spec, index in zip(model.inputs, model.graph.main.inputs, strict=True):
            if names.get(index) not in inputs:
                raise EdgekitError(f"input '{spec.name}' is missing")
            values.append(_inside(spec, inputs[spec.name], self.batch))
        return values

    @property
    def weights(self) -> dict[str, Any]:
        """The variables by the name of the constant, trained or not."""
        return {tensor.name: self._constants[buffer] for buffer, tensor in self._tensors.items()}

    def to_model(self) -> Model:
        """A Model with the variables' values in place of the constants.

        Constants whose value is what it was keep their bytes.
        """
        data = bytearray(self.model.data)
        for buffer, variable in self._constants.items():
            start, size = self.model.graph.buffer_spans[buffer]
            data[start : start + size] = variable.numpy().tobytes()
        return self.model.with_data(bytes(data))


def lift(model: Model, batch: int | None = None) -> Lifted:
    """A Model as a differentiable ``tf.Module``.

    Args:
        model: A float Model.
        batch: How many samples go in at a time; None for any number.

    Raises:
        EdgekitError: The model is quantized, keeps state, or has an operator without a lift.
    """
    if batch is not None and batch < 1:
        raise EdgekitError(f"batch is at least 1 (got {batch})")
    return Lifted(model, batch)


def refuse_unknown_operators(graph: Graph) -> None:
    """Hold a graph's operators against those that can be lifted.

    Raises:
        EdgekitError: Names each operator without a lift, with its layers.
    """
    missing: dict[str, list[str]] = {}
    for subgraph, operator in graph.operators():
        if operator.name not in LIFTS:
            layer = subgraph.tensors[operator.outputs[0]].name if operator.outputs else ""
            missing.setdefault(operator.name, []).append(layer)
    if missing:
        rows = "; ".join(f"{name} ({', '.join(layers[:3])}{', …' if len(layers) > 3 else ''})"
                         for name, layers in sorted(missing.items()))
        raise EdgekitError(f"operators that edgekit cannot train through: {rows}")


def _float_constants(graph: Graph) -> dict[int, Tensor]:
    """One tensor for each buffer of floats."""
    return {tensor.buffer: tensor for tensor in graph.constants if tensor.dtype == "float32"}


def _variable(graph: Graph, tensor: Tensor) -> Any:
    return tf.Variable(graph.values(tensor), trainable=is_trained(graph, tensor),
                       name=tensor.name.replace(":", "_") or "constant", dtype=tf.float32)


def _sample(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one sample outside: without the model's own batch axis."""
    return shape[1:] if shape[:1] == (1,) else shape


def _open(shape: Sequence[int]) -> list[int | None]:
    return [None if size == -1 else size for size in shape]


def _inside(spec: TensorSpec, given: Any, batch: int | None) -> Value:
    tensor = tf.convert_to_tensor(given, dtype=spec.dtype)
    wanted = _sample(spec.shape)
    fits = tensor.shape.is_compatible_with([batch, *_open(wanted)])
    if not fits:
        raise EdgekitError(f"input '{spec.name}' has shape {tensor.shape.as_list()}; lifted, it is "
                           f"{[batch, *_open(wanted)]}")
    return Value(tf.expand_dims(tensor, 1) if len(wanted) < len(spec.shape) else tensor,
                 batched=True)


def _outside(spec: TensorSpec, value: Value, samples: Any) -> Any:
    """An output with one axis for the samples, in place of the model's own batch axis."""
    tensor = value.tensor
    if not value.batched:  # the same for each
        tensor = tf.repeat(tensor[None], samples, axis=0)
    return tf.squeeze(tensor, 1) if spec.shape[:1] == (1,) else tensor
