"""One ONNX graph with who makes and who uses its values, for those who look for patterns in it."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_MAX_FACTORS = 8
_MAX_CONSTANT = 1 << 16

Constants = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Match:
    """A group of nodes and what stands for it.

    Attributes:
        nodes: All of them, the last one the root.
        new: The one that takes the root's place.
    """

    nodes: Sequence[onnx.NodeProto]
    new: onnx.NodeProto


@dataclass(frozen=True)
class Product:
    """A value as a number times other values."""

    number: float
    leaves: tuple[str, ...]
    nodes: tuple[onnx.NodeProto, ...]


class View:
    """One graph.

    Args:
        graph: The graph.
        constants: Small constants that its nodes see, by name.
    """

    def __init__(self, graph: onnx.GraphProto, constants: Constants) -> None:
        self._graph, self._constants = graph, constants
        self.nodes: list[onnx.NodeProto | None] = []
        self._makers: dict[str, onnx.NodeProto] = {}
        self._users: dict[str, set[int]] = defaultdict(set)
        for node in graph.node:
            self.nodes.append(node)
            self._enter(node)
        self._places = {id(node): place for place, node in enumerate(self.nodes)}
        self._outputs = {item.name for item in graph.output}
        self._ranks: dict[str, int] | None = None

    def _enter(self, node: onnx.NodeProto) -> None:
        self._makers.update((name, node) for name in node.output if name)
        for name in (*node.input, *names_inside(node)):
            self._users[name].add(id(node))

    def made_by(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The node behind a value, if it is of one of these operators."""
        node = self._makers.get(name)
        return node if node is not None and kind_of(node) in kinds else None

    def number(self, name: str) -> float | None:
        """A constant of one element."""
        found = self._constants.get(name)
        return float(found.reshape(-1)[0]) if (
            found is not None and found.size == 1 and found.ndim <= 1) else None

    def array(self, name: str) -> NDArray[np.generic] | None:
        """A small constant."""
        return self._constants.get(name)

    def rank(self, name: str) -> int | None:
        """The number of axes as the model declares it."""
        if self._ranks is None:
            items = (*self._graph.value_info, *self._graph.input, *self._graph.output)
            self._ranks = {item.name: len(item.type.tensor_type.shape.dim) for item in items
                           if item.type.tensor_type.HasField("shape")}
        return self._ranks.get(name)

    def with_number(self, node: onnx.NodeProto) -> tuple[str, float] | None:
        """A binary node's operand and its constant number, in whichever order."""
        if len(node.input) != 2:
            return None
        for place in (0, 1):
            number = self.number(node.input[1 - place])
            if number is not None:
                return node.input[place], number
        return None

    def product(self, name: str) -> Product:
        """A value as far as it is a product: through Mul, Div by numbers, and whole powers."""
        return self._factors(name) or Product(1.0, (name,), ())

    def _inner(self, name: str) -> Product:
        """One factor: a product itself only if it is for nothing else."""
        lone = len(self._users[name]) == 1 and name not in self._outputs
        return (self._factors(name) if lone else None) or Product(1.0, (name,), ())

    def _factors(self, name: str) -> Product | None:
        node = self.made_by(name, "Mul", "Div", "Pow")
        if node is None or len(node.input) != 2:
            return None
        if kind_of(node) == "Mul":
            sides = []
            for side in node.input:
                number = self.number(side)
                sides.append(self._inner(side) if number is None else Product(number, (), ()))
            one, other = sides
            leaves = one.leaves + other.leaves
            if len(leaves) <= _MAX_FACTORS:
                return Product(one.number * other.number, leaves,
                                one.nodes + other.nodes + (node,))
            return None
        number = self.number(node.input[1])
        if kind_of(node) == "Div" and number:
            inner = self._inner(node.input[0])
            return Product(inner.number / number, inner.leaves, (*inner.nodes, node))
        if kind_of(node) == "Pow" and number in (2.0, 3.0):
            return Product(1.0, (node.input[0],) * int(number), (node,))
        return None

    def is_closed(self, match: Match) -> bool:
        """Whether nobody else uses what the group has inside."""
        group = {id(node) for node in match.nodes}
        return not any(name in self._outputs or self._users[name] - group
                       for node in match.nodes[:-1] for name in node.output if name)

    def replace(self, match: Match) -> None:
        """Put the new node in the root's place."""
        for node in match.nodes:
            self.nodes[self._places[id(node)]] = None
            for name in (*node.input, *names_inside(node)):
                self._users[name].discard(id(node))
        place = self._places[id(match.nodes[-1])]
        self.nodes[place] = match.new
        self._places[id(match.new)] = place
        self._enter(match.new)

    def write(self) -> None:
        """Put the nodes that anybody depends on into the graph."""
        wanted = set(self._outputs)
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if node is not None and wanted & set(node.output):
                wanted |= {*node.input, *names_inside(node)}
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                kept.append(copy)
        del self._graph.node[:]
        self._graph.node.extend(reversed(kept))


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def kind_of(node: onnx.NodeProto) -> str:
    """The operator, if it is one of ONNX's own."""
    return str(node.op_type) if node.domain in ("", "ai.onnx") else ""


def names_inside(node: onnx.NodeProto) -> Iterator[str]:
    """Whatever the graphs inside a node use, their own values among it."""
    for inner in subgraphs(node):
        yield from (item.name for item in inner.output)
        for each in inner.node:
            yield from each.input
            yield from names_inside(each)


def constants_of(graph: onnx.GraphProto, outer: Constants) -> Constants:
    """Small constants by name: of this graph and of those around it."""
    found = dict(outer)
    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    for node in graph.node:
        if kind_of(node) != "Constant" or not node.attribute:
            continue
        item = node.attribute[0]
        if item.name == "value":
            tensors.append((node.output[0], item.t))
        elif item.name in ("value_float", "value_int", "value_floats", "value_ints"):
            found[node.output[0]] = np.asarray(helper.get_attribute_value(item))
    stored = {name for name, _ in tensors}
    for given in graph.input:
        if given.name not in stored:
            found.pop(given.name, None)
    for name, tensor in tensors:
        if math.prod(tensor.dims) <= _MAX_CONSTANT and tensor.data_type != onnx.TensorProto.STRING:
            found[name] = numpy_helper.to_array(tensor)
    return found
