"""Sequences and optionals: resolved at import, so that only tensors are left."""

from typing import Any

import numpy as np

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.assembling import concatenated, parts_of
from edgekit.importers.onnx.operators.layout import with_axis, without_axis
from edgekit.importers.onnx.values import TensorList, Value


def split_to_sequence(node: Node, x: Value, _split: Value | None = None) -> TensorList:
    """SplitToSequence: into parts of one size, of given sizes, or single slices."""
    axis = node.attr("axis", 0) % x.rank
    total = x.shape[axis]
    if total is None:
        raise node.error(f"splits axis {axis}, whose size is known at run time only")
    given = node.constant(1, None)
    if given is not None and given.ndim:
        sizes = given.tolist()
    else:
        chunk = 1 if given is None else int(given)
        sizes = [min(chunk, total - start) for start in range(0, total, chunk)]
    parts = parts_of(x, axis, sizes)
    if given is None and not node.attr("keepdims", 1):
        parts = [without_axis(part, axis) for part in parts]
    return TensorList(tuple(parts))


def concat_from_sequence(node: Node, sequence: TensorList) -> Value:
    """ConcatFromSequence: along an axis, or as slices along a new one."""
    items = _items(node, sequence)
    if not items:
        raise node.error("joins an empty sequence")
    axis = node.attr("axis")
    if node.attr("new_axis", 0):
        axis = axis + items[0].rank + 1 if axis < 0 else axis
        items = tuple(with_axis(item, axis) for item in items)
    return concatenated(items, axis)


def sequence_construct(_node: Node, *items: Value) -> TensorList:
    """SequenceConstruct."""
    return TensorList(items)


def sequence_at(node: Node, sequence: TensorList, _position: Value) -> Value:
    """SequenceAt a known position."""
    items = _items(node, sequence)
    return items[_position_in(node, 1, len(items) - 1)]


def sequence_insert(
    node: Node, sequence: TensorList, tensor: Value, _position: Value | None = None
) -> TensorList:
    """SequenceInsert in front of a known position, or at the end."""
    items = list(_items(node, sequence))
    place = _position_in(node, 2, len(items)) if node.given(2) else len(items)
    return TensorList((*items[:place], tensor, *items[place:]))


def sequence_erase(
    node: Node, sequence: TensorList, _position: Value | None = None
) -> TensorList:
    """SequenceErase what is at a known position, or at the end."""
    items = list(_items(node, sequence))
    if not items:
        raise node.error("takes something out of an empty sequence")
    del items[_position_in(node, 1, len(items) - 1) if node.given(1) else -1]
    return TensorList(tuple(items))


def sequence_length(node: Node, sequence: TensorList) -> Any:  # noqa: ANN401
    """SequenceLength, which is known."""
    return np.asarray(len(_items(node, sequence)), np.int64)


def sequence_map(node: Node, *inputs: Any) -> tuple[TensorList, ...]:  # noqa: ANN401
    """SequenceMap: the body once for each element."""
    body = node.attr("body")
    assert node.run_graph is not None
    names = [item.name for item in body.input]
    results = []
    for position in range(len(_items(node, inputs[0]))):
        values = [_items(node, given)[position] if isinstance(given, TensorList) else given
                  for given in inputs]
        results.append(node.run_graph(body, dict(zip(names, values, strict=True))))
    return tuple(TensorList(tuple(row[output] for row in results))
                 for output in range(len(body.output)))


def _items(node: Node, sequence: Any) -> tuple[Value, ...]:  # noqa: ANN401
    if not isinstance(sequence, TensorList) or sequence.items is None:
        raise node.error("takes a sequence and is given something else")
    return sequence.items


def _position_in(node: Node, position: int, last: int) -> int:
    """A constant place in a sequence, counted from the front."""
    place = int(node.constant(position).reshape(-1)[0])
    found = place + last + 1 if place < 0 else place
    if not 0 <= found <= last:
        raise node.error(f"names place {place} of a sequence of which {last} is the last")
    return found


def optional(_node: Node, element: Any = None) -> Any:  # noqa: ANN401
    """Optional: with an element it is that, from here on."""
    return TensorList(None) if element is None else element


def optional_get_element(node: Node, element: Any = None) -> Any:  # noqa: ANN401
    """OptionalGetElement."""
    if not _has_element(element):
        raise node.error("takes the element of an empty optional")
    return element


def optional_has_element(_node: Node, element: Any = None) -> Any:  # noqa: ANN401
    """OptionalHasElement, which is known."""
    return np.asarray(_has_element(element))


def _has_element(element: Any) -> bool:  # noqa: ANN401
    return element is not None and not (
        isinstance(element, TensorList) and element.items is None)


SEQUENCES = {
    "SplitToSequence": Operator(split_to_sequence, 24, "values", folds=False),
    "ConcatFromSequence": Operator(concat_from_sequence, 11, "values"),
    "SequenceConstruct": Operator(sequence_construct, 11, "values", folds=False),
    "SequenceEmpty": Operator(sequence_construct, 11, "values", folds=False),
    "SequenceAt": Operator(sequence_at, 11, "values"),
    "SequenceInsert": Operator(sequence_insert, 11, "values"),
    "SequenceErase": Operator(sequence_erase, 11, "values"),
    "SequenceLength": Operator(sequence_length, 11, "values"),
    "SequenceMap": Operator(sequence_map, 17, "values"),
    "Optional": Operator(optional, 28, "values", folds=False),
    "OptionalGetElement": Operator(optional_get_element, 28, "values", folds=False),
    "OptionalHasElement": Operator(optional_has_element, 28, "values", folds=False),
}
