"""One node of an ONNX graph as the operators' functions see it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.importers.onnx.tensors import to_numpy
from edgekit.importers.onnx.values import Value

Layout = Literal["logical", "elementwise", "values"]
_NO_DEFAULT = object()


@dataclass(frozen=True)
class Operator:
    """A row of the table of operators.

    Attributes:
        function: Called with the node and one argument per input, None for one that is left out;
            gives one result, or a tuple of them.
        spec: The version of the operator set whose specification it follows: the last one in
            which ONNX changed the operator. Older versions are handled, too.
        layout: What the arguments and results are. ``logical``: arrays (constants) or tensors, in
            ONNX's order of axes. ``elementwise``: the same, in any order that is common to all of
            them, broadcast to one rank. ``values``: ``Value`` objects, whose layout the function
            handles itself.
        folds: Whether it may be computed at import when all inputs are constants.
    """

    function: Callable[..., Any]
    spec: int
    layout: Layout = "logical"
    folds: bool = True


@dataclass
class Node:
    """A node with its inputs.

    Attributes:
        proto: As in the file.
        opset: The version of its operator set.
        inputs: Its inputs' values; None where one is left out.
        run_graph: Executes a subgraph: values by the names of its inputs in, outputs out.
        notes: Where to tell what had to be decided.
        attributes: Its attributes.
    """

    proto: onnx.NodeProto
    opset: int
    inputs: Sequence[Value | None] = ()
    run_graph: Callable[[onnx.GraphProto, Mapping[str, Value]], list[Value]] | None = None
    notes: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.attributes = {item.name: _attribute(item) for item in self.proto.attribute}

    @property
    def op(self) -> str:
        """The operator: "Conv", "com.microsoft:FusedConv"."""
        return operator_key(self.proto)

    @property
    def name(self) -> str:
        """The node's own name, or its first output's."""
        return self.proto.name or next((out for out in self.proto.output if out), self.op)

    @property
    def outputs(self) -> int:
        """How many outputs are wanted, counting gaps."""
        return len(self.proto.output)

    def wants(self, position: int) -> bool:
        """Whether an optional output is used."""
        return position < len(self.proto.output) and bool(self.proto.output[position])

    def attr(self, name: str, default: Any = _NO_DEFAULT) -> Any:  # noqa: ANN401
        """An attribute: int, float, str, list, array or GraphProto.

        Raises:
            EdgekitError: It is not there and has no default.
        """
        if name in self.attributes:
            return self.attributes[name]
        if default is _NO_DEFAULT:
            raise self.error(f"lacks the attribute '{name}'")
        return default

    def given(self, position: int) -> bool:
        """Whether an optional input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def constant(self, position: int, default: Any = _NO_DEFAULT) -> Any:  # noqa: ANN401
        """An input that has to be known at import, as an array.

        Raises:
            EdgekitError: It is computed by the model, or missing without a default.
        """
        if not self.given(position):
            if default is _NO_DEFAULT:
                raise self.error(f"lacks input {position}")
            return default
        value = self.inputs[position]
        assert value is not None
        if not value.is_constant:
            raise NeedsConstantError(self, position)
        return value.data

    def setting(self, name: str, position: int, default: Any = None) -> Any:  # noqa: ANN401
        """What was an attribute in older versions and is a constant input in newer ones.

        Returns:
            A list of numbers, a number for a scalar, or the default.
        """
        if name in self.attributes:
            return self.attributes[name]
        found = self.constant(position, None)
        return default if found is None else found.tolist()

    def error(self, problem: str, hint: str = "") -> EdgekitError:
        """An error that names the node."""
        return EdgekitError(f"node '{self.name}' ({self.op}) {problem}", hint)


class NeedsConstantError(EdgekitError):
    """An operator's input has to be known at import, and the model computes it.

    Attributes:
        value: The input's name.
    """

    def __init__(self, node: Node, position: int) -> None:
        self.value = str(node.proto.input[position])
        problem = node.error(f"takes input {position} ('{self.value}') from a computation; it has "
                             "to be a constant")
        super().__init__(problem.message, "make it a constant in the source model")

    def __reduce__(self) -> tuple[Any, ...]:
        return EdgekitError, (self.message, self.hint)


def operator_key(proto: onnx.NodeProto) -> str:
    """The key in the table: the name, with the domain in front where it is not ONNX's own."""
    if proto.domain in ("", "ai.onnx"):
        return str(proto.op_type)
    return f"{proto.domain}:{proto.op_type}"


def _attribute(item: onnx.AttributeProto) -> Any:  # noqa: ANN401
    kind = onnx.AttributeProto
    if item.type == kind.STRING:
        return item.s.decode("utf-8", "replace")
    if item.type == kind.STRINGS:
        return [text.decode("utf-8", "replace") for text in item.strings]
    if item.type == kind.TENSOR:
        return to_numpy(item.t)
    if item.type in (kind.INTS, kind.FLOATS):
        return list(item.ints if item.type == kind.INTS else item.floats)
    return onnx.helper.get_attribute_value(item)


def array(value: Any, dtype: Any) -> NDArray[Any]:  # noqa: ANN401
    """A small constant of a given type."""
    return np.asarray(value, dtype=dtype)
