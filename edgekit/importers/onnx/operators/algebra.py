"""Einsum and determinants."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    broadcast,
    cast,
    is_float,
    order_of,
    reduced,
    unmerged,
    widened,
)
from edgekit.importers.onnx.operators.matmul import batched
from edgekit.importers.onnx.values import Value, dtype_of, logical, make, sizes_of, transposed

_MAX_UNROLLED = 32  # rows of a matrix whose determinant is taken


@dataclass(frozen=True)
class Term:
    """An operand: data, and the label of each axis in the order that it has in memory."""

    data: Array
    labels: tuple[str, ...]

    def size(self, label: str) -> int:
        """The size of an axis, 1 where the term lacks it."""
        return int(self.data.shape[self.labels.index(label)]) if label in self.labels else 1

    def summed(self, labels: Sequence[str]) -> "Term":
        """Without some axes."""
        axes = [self.labels.index(label) for label in labels if label in self.labels]
        if not axes:
            return self
        data = tf.squeeze(reduced(lambda x, at, _: tf.reduce_sum(x, at, keepdims=True), self.data,
                                  axes), axes)
        return Term(data, tuple(label for label in self.labels if label not in labels))

    def ordered(self, labels: Sequence[str]) -> Array:
        """The data with its axes in this order, which has all of its labels."""
        own = [label for label in labels if label in self.labels]
        return transposed(self.data, [self.labels.index(label) for label in own])

    def padded(self, labels: Sequence[str]) -> Array:
        """As ``ordered``, with size 1 for the labels that it lacks."""
        return tf.reshape(self.ordered(labels), [self.size(label) for label in labels])


def einsum(node: Node, *operands: Value) -> Value:
    """Einsum, two operands at a time, each as a product of matrices where something is summed."""
    if not all(value.is_static for value in operands):
        raise node.error("is of tensors whose sizes depend on the values",
                         "fix these sizes in the source model")
    equation = str(node.attr("equation")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    names = left.split(",")
    extra = max(value.rank - len(name.replace("...", ""))
                for name, value in zip(names, operands, strict=True))
    terms = [_term(value, _labels(name, value.rank, extra))
             for name, value in zip(names, operands, strict=True)]
    out = _labels(right, None, extra) if arrow else _implied(left, extra)
    dtype = dtype_of(operands[0].data)
    result = terms[0]
    for position, term in enumerate(terms[1:], 2):
        wanted = {*out, *(label for later in terms[position:] for label in later.labels)}
        result = _contracted(result, term, wanted)
    result = result.summed([label for label in result.labels if label not in out])
    return make(cast(result.data, dtype), tuple(out.index(label) for label in result.labels))


def _labels(name: str, rank: int | None, extra: int) -> list[str]:
    """One label for each axis; those of an ellipsis are numbered from the right."""
    if "..." not in name:
        return list(name)
    before, _, behind = name.partition("...")
    count = extra if rank is None else rank - len(before) - len(behind)
    return [*before, *(f".{number}" for number in range(extra - count, extra)), *behind]


def _implied(left: str, extra: int) -> list[str]:
    """Without an arrow: the ellipsis, and what occurs once, in alphabetical order."""
    letters = left.replace("...", "").replace(",", "")
    ellipsis = [f".{number}" for number in range(extra)] if "..." in left else []
    return [*ellipsis, *sorted(letter for letter in set(letters) if letters.count(letter) == 1)]


def _term(value: Value, labels: Sequence[str]) -> Term:
    """An operand, with diagonals taken where a label occurs twice."""
    value = unmerged(value)
    term = Term(widened(value.data), tuple(labels[axis] for axis in order_of(value)))
    while len(set(term.labels)) < len(term.labels):
        double = next(label for label in term.labels if term.labels.count(label) > 1)
        term = _diagonal(term, double)
    return term


def _diagonal(term: Term, label: str) -> Term:
    first = term.labels.index(label)
    second = term.labels.index(label, first + 1)
    rest = [axis for axis in range(len(term.labels)) if axis not in (first, second)]
    size = int(term.data.shape[first])
    data = transposed(term.data, [*rest, first, second])
    flat = tf.reshape(data, [math.prod(int(n) for n in data.shape[:-2]), size * size])
    diagonal = flat[:, ::size + 1]
    return Term(tf.reshape(diagonal, [*data.shape[:-2], size]),
                (*(term.labels[axis] for axis in rest), label))


def _contracted(a: Term, b: Term, wanted: set[str]) -> Term:
    """Two operands as one, with what nobody wants any more summed up."""
    unwanted = [label for label in {*a.labels, *b.labels} if label not in wanted]
    shared = set(a.labels) & set(b.labels) & wanted
    if isinstance(a.data, np.ndarray) and not shared:  # constant weights come second
        a, b = b, a
    # Summed on its own where the other has not this axis, or has it broadcast.
    a = a.summed([label for label in unwanted if a.size(label) != b.size(label)])
    b = b.summed([label for label in unwanted if label not in a.labels])
    a = a.summed([label for label in unwanted if label not in b.labels])
    common = [label for label in a.labels if label in b.labels]
    summed = [label for label in common if label not in wanted]
    batch = [label for label in common if label in wanted]
    free_a = [label for label in a.labels if label not in common]
    free_b = [label for label in b.labels if label not in common]
    result = (*batch, *free_a, *free_b)
    if not summed:
        data = broadcast(tf.multiply, a.padded(result), b.padded(result))
        return Term(data, result)
    if not is_float(a.data):
        every = (*result, *summed)
        products = Term(broadcast(tf.multiply, a.padded(every), b.padded(every)), every)
        return products.summed(summed)
    return Term(_as_matrices(a, b, batch, free_a, free_b, summed), result)


def _as_matrices(a: Term, b: Term, batch: Sequence[str], free_a: Sequence[str],
                 free_b: Sequence[str], summed: Sequence[str]) -> Array:  # fmt: skip
    def sizes(term: Term, labels: Sequence[str]) -> list[int]:
        return [term.size(label) for label in labels]

    depth = math.prod(sizes(a, summed))
    full = [max(a.size(label), b.size(label)) for label in batch]
    if not batch and isinstance(b.data, np.ndarray):  # a fully connected layer
        left = tf.reshape(a.ordered([*free_a, *summed]), [*sizes(a, free_a), depth])
        weights = b.ordered([*summed, *free_b]).reshape(depth, -1)
        left = left if free_a else tf.reshape(left, [1, depth])
        return tf.reshape(tf.matmul(left, weights), sizes(a, free_a) + sizes(b, free_b))
    flip = a.labels[-len(free_a):] == tuple(free_a) and len(free_a) > 0
    rows = [*summed, *free_a] if flip else [*free_a, *summed]
    shape = [depth, -1] if flip else [-1, depth]
    left = tf.reshape(a.ordered([*batch, *rows]), [*sizes(a, batch), *shape])
    turned = b.labels[-len(summed):] == tuple(summed)
    columns = [*free_b, *summed] if turned else [*summed, *free_b]
    shape = [-1, depth] if turned else [depth, -1]
    right = tf.reshape(b.ordered([*batch, *columns]), [*sizes(b, batch), *shape])
    result = batched(left, right, flip_a=flip, flip_b=turned)
    return tf.reshape(result, [*full, *sizes(a, free_a), *sizes(b, free_b)])


def det(node: Node, x: Value) -> Array:
    """Det, by Gaussian elimination with the largest element of a column as its pivot."""
    matrix = logical(x)
    *batch, rows, _ = sizes_of(matrix)
    if not isinstance(rows, int) or rows > _MAX_UNROLLED:
        raise node.error(f"is of matrices with {rows} rows; edgekit imports up to {_MAX_UNROLLED}")
    matrix = tf.reshape(matrix, [-1, rows, rows])
    factors = []
    for size in range(rows, 2, -1):
        factor, matrix = _eliminated(matrix, size)
        factors.append(factor)
    if rows == 1:
        last = matrix[:, 0, 0]
    else:
        last = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
    return tf.reshape(reduce(tf.multiply, factors, last), batch)


def _eliminated(matrix: Array, size: int) -> tuple[Array, Array]:
    """The pivot with its sign, and the matrix without the pivot's row and the first column."""
    column = matrix[:, :, 0]
    chosen = tf.one_hot(tf.argmax(tf.abs(column), 1), size)  # the pivot's row
    pivot_row = tf.reduce_sum(matrix * chosen[:, :, None], 1)
    # The first row takes the pivot's place, which turns the sign unless it is the pivot's.
    others = chosen[:, :, None] * (matrix[:, :1] - pivot_row[:, None]) + matrix
    pivot = pivot_row[:, 0]
    divisor = tf.where(tf.equal(pivot, 0.0), tf.ones_like(pivot), pivot)
    ratio = others[:, 1:, 0] / divisor[:, None]
    rest = others[:, 1:, 1:] - ratio[:, :, None] * pivot_row[:, None, 1:]
    return pivot * (chosen[:, 0] * 2.0 - 1.0), rest


ALGEBRA: dict[str, Operator] = {
    "Einsum": Operator(einsum, 28, "values"),
    "Det": Operator(det, 22, "values"),
}
