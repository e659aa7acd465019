"""What flows through a lifted graph: tensors with or without a batch axis of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Operator, Subgraph


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        tensor: Of the shape that it has in the graph; when ``batched``, with the samples along
            one more axis in front. A model's own batch axis (of size 1) stays where it is, so no
            operator has to know which of its axes that is.
        batched: Whether each sample has a value of its own.
    """

    tensor: Any
    batched: bool

    @property
    def rank(self) -> int:
        """Number of axes that the tensor has in the graph."""
        return len(self.tensor.shape) - int(self.batched)


class Node:
    """One operator and the values of its inputs, as a lift sees them.

    A lift works on tensors with the samples along the first axis; where no input is batched, the
    node pretends that there is one sample.
    """

    def __init__(
        self, operator: Operator, subgraph: Subgraph, values: Sequence[Value | None],
        graph: Any,
    ) -> None:
        self.operator = operator
        self.subgraph = subgraph
        self.graph = graph
        self._values = tuple(values)
        self._alone = not any(value.batched for value in values if value is not None)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def options(self) -> Any:
        """The operator's options."""
        return self.operator.options

    @property
    def is_alone(self) -> bool:
        """Whether no input depends on the sample."""
        return self._alone

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self._values) and self._values[index] is not None

    def value(self, index: int) -> Value:
        """An input as it is."""
        value = self._values[index]
        if value is None:
            raise EdgekitError(f"{self.where}: input {index} is missing")
        return value

    @property
    def where(self) -> str:
        """The operator and its layer, for messages."""
        return f"{self.operator.name} '{self.subgraph.tensors[self.operator.outputs[0]].name}'"

    def output_dtype(self, index: int = 0) -> str:
        """The type of an output in the file."""
        return self.subgraph.tensors[self.operator.outputs[index]].dtype

    def rank(self, index: int) -> int:
        """Number of axes of an input in the graph."""
        return self.value(index).rank

    def is_batched(self, index: int) -> bool:
        """Whether an input has the samples along its first axis, as the lift gets it."""
        return self.value(index).batched or self._alone

    def any(self, index: int) -> Any:
        """An input, with the samples in front only if it is batched: it may be a weight."""
        value = self.value(index)
        return value.tensor[None] if self._alone else value.tensor

    def shared(self, index: int) -> Any:
        """An input that is the same for all samples, without an axis for them.

        Raises:
            NotSharedError: It is not; the operator is computed sample by sample instead.
        """
        value = self.value(index)
        if value.batched:
            raise NotSharedError
        return value.tensor

    def sizing(self, index: int) -> Any:
        """An input whose values decide on the size of the result, without an axis for samples.

        Raises:
            EdgekitError: It differs from sample to sample: so would the size.
        """
        value = self.value(index)
        if value.batched:
            raise EdgekitError(f"{self.where}: the size of its result depends on the sample",
                               "take what comes behind it out of the model")
        return value.tensor

    def full(self, index: int) -> Any:
        """An input with the samples along the first axis, repeated if it is the same for all."""
        value = self.value(index)
        if self._alone:
            return value.tensor[None]
        if value.batched:
            return value.tensor
        shape = tf.concat([[self.samples], tf.shape(value.tensor)], 0)
        return tf.broadcast_to(value.tensor[None], shape)

    def aligned(self, *indices: int) -> list[Any]:
        """Inputs that broadcast against each other as they do without samples."""
        rank = max(self.rank(index) for index in indices)
        return [_with_axes(self.any(index), rank - self.rank(index))
                if self.is_batched(index) else self.any(index) for index in indices]

    def static(self, index: int) -> NDArray[Any]:
        """An input that is known while the graph is made: a shape, an axis.

        Raises:
            NotSharedError: It is computed from the samples.
            EdgekitError: It is computed while the graph runs.
        """
        value = tf.get_static_value(self.shared(index))
        if value is None:
            raise EdgekitError(f"{self.where}: input {index} is computed while the model runs",
                               "give all sizes at import with --input-shape")
        return np.asarray(value)

    @property
    def samples(self) -> Any:
        """How many samples there are: a number where it is known."""
        if self._alone:
            return 1
        tensor = next(v.tensor for v in self._values if v is not None and v.batched)
        known = tensor.shape[0]
        return tf.shape(tensor)[0] if known is None else known

    def sample_shape(self, index: int) -> list[Any]:
        """The shape of an input without the samples: numbers where they are known."""
        value = self.value(index)
        known = list(value.tensor.shape)[int(value.batched):]
        if None not in known:
            return known
        open_ = tf.shape(value.tensor)[int(value.batched):]
        return [open_[axis] if size is None else size for axis, size in enumerate(known)]

    def reshaped(self, tensor: Any, shape: Sequence[Any]) -> Any:
        """A tensor with other axes behind the samples."""
        return tf.reshape(tensor, [self.samples, *shape])


class NotSharedError(Exception):
    """An input differs from sample to sample where the lift takes one for all."""


def _with_axes(tensor: Any, count: int) -> Any:
    """Axes of size 1 behind the samples."""
    for _ in range(count):
        tensor = tf.expand_dims(tensor, 1)
    return tensor


def axes_of(axes: Any, rank: int) -> list[int]:
    """Axes of the graph as axes of a tensor with the samples in front."""
    return [int(axis) % rank + 1 for axis in np.atleast_1d(axes)]
