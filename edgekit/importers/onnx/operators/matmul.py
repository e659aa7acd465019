"""Matrix products: fully connected layers where one side is constant, batched products elsewhere.

A transpose of the last two axes costs nothing: it is a flag of the batched product, and a layer
takes and gives its axes in any order as long as the one it sums over is last in memory.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.core.errors import EdgekitError
from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    broadcast,
    cast,
    is_float,
    order_of,
    reduced,
    reshaped,
    unmerged,
    widened,
    with_axis_last,
)
from edgekit.importers.onnx.values import (
    Value,
    arranged,
    dtype_of,
    logical,
    make,
    sizes_of,
    static_shape,
)

_KERNEL_RANK = 5
_MAX_PRODUCTS = 1 << 24  # of integers, which are multiplied one by one


def matmul(_node: Node, a: Value, b: Value) -> Value:
    """MatMul, as NumPy does it."""
    return product(a, b)


def product(a: Value, b: Value) -> Value:
    """The product a @ b, for values of any rank, order and type."""
    if not (is_float(a.data) and is_float(b.data)):
        return Value(_of_integers(_matrices(a, b), a, b))
    if b.is_constant and b.rank == 2 and a.rank > 0:
        return _layer(a, b.data)
    if a.is_constant and a.rank == 2 and b.rank > 1:
        return _from_left(a.data, unmerged(b))
    if a.rank == 1 and b.rank == 2:  # the converter spoils a product of one row with a matrix
        return Value(tf.reduce_sum(reshaped(a.data, [-1, 1]) * logical(b), 0))
    if a.rank == 1 or b.rank == 1:
        left, right = _matrices(a, b)
        return Value(_without_ones(batched(left, right), a, b))
    (left, flip_a), (right, flip_b) = _oriented(a), _oriented(b)
    return Value(batched(left, right, flip_a=flip_a, flip_b=flip_b))


def _layer(a: Value, weights: Array) -> Value:
    """A fully connected layer."""
    if a.merged is not None:
        return Value(tf.matmul(a.data, np.ascontiguousarray(weights[a.merged.rows])))
    if a.rank == 1:
        result = tf.matmul(tf.reshape(a.data, [1, -1]), weights)
        return Value(tf.reshape(result, [weights.shape[1]]))
    order = order_of(a)
    if a.rank > 2 and order == _swapped_order(a.rank):
        return make(batched(np.ascontiguousarray(weights.T), a.data), order)
    order = with_axis_last(a, -1)
    return make(tf.matmul(arranged(a, order), weights), order)


def _from_left(weights: Array, b: Value) -> Value:
    """A constant matrix times a tensor: a layer, where the axis it sums over is last in memory."""
    order = order_of(b)
    if b.rank > 2 and order[-1] == b.rank - 2:
        return make(tf.matmul(b.data, np.ascontiguousarray(weights.T)), order)
    return Value(batched(weights, logical(b)))


def _swapped_order(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


def swapped(x: Value) -> Value:
    """The value with its last two axes exchanged; nothing moves."""
    x = unmerged(x)
    if x.is_constant:
        return Value(np.ascontiguousarray(np.swapaxes(x.data, -1, -2)))
    exchange = _swapped_order(x.rank)
    return make(x.data, tuple(exchange[axis] for axis in order_of(x)))


def _oriented(x: Value) -> tuple[Array, bool]:
    """The matrices, and whether they lie transposed."""
    if x.rank > 1 and x.perm == _swapped_order(x.rank):
        return x.data, True
    return logical(x), False


def _matrices(a: Value, b: Value) -> tuple[Array, Array]:
    """Vectors as matrices of one row or column."""
    left, right = logical(a), logical(b)
    if a.rank == 1:
        left = reshaped(left, [1, -1])
    if b.rank == 1:
        right = reshaped(right, [-1, 1])
    return left, right


def _without_ones(result: Array, a: Value, b: Value) -> Array:
    """Without the row or column that was put in for a vector."""
    gone = [axis for axis, x in ((-2, a), (-1, b)) if x.rank == 1]
    sizes = sizes_of(result)
    rank = len(sizes)
    kept = [size for axis, size in enumerate(sizes) if axis - rank not in gone]
    return tf.reshape(result, kept)


def batched(a: Array, b: Array, *, flip_a: bool = False, flip_b: bool = False) -> Array:
    """Products of many matrices, with their batches broadcast; of more axes than kernels take."""
    shapes = static_shape(a), static_shape(b)
    rank = max(map(len, shapes))
    if rank <= _KERNEL_RANK or None in shapes[0] + shapes[1]:
        return tf.matmul(a, b, transpose_a=flip_a, transpose_b=flip_b)
    batch = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])  # type: ignore[arg-type]
    left, right = (tf.reshape(tf.broadcast_to(x, [*batch, *shape[-2:]]),
                              [math.prod(batch), *shape[-2:]])
                   for x, shape in zip((a, b), shapes, strict=True))
    result = tf.matmul(left, right, transpose_a=flip_a, transpose_b=flip_b)
    return tf.reshape(result, [*batch, *static_shape(result)[1:]])


def _of_integers(matrices: tuple[Array, Array], a: Value, b: Value) -> Array:
    """There is no kernel for integers: all products, summed up."""
    left, right = (widened(x) for x in matrices)
    sizes = [size or 1 for size in static_shape(left)]
    count = math.prod(sizes) * (static_shape(right)[-1] or 1)
    if count > _MAX_PRODUCTS:
        raise EdgekitError(f"multiplies integer matrices in {count} products; LiteRT has no "
                           "kernel for that", "compute it in float32 in the source model")
    rows, columns = sizes_of(left), sizes_of(right)
    products = broadcast(tf.multiply, reshaped(left, [*rows, 1]),
                         reshaped(right, [*columns[:-2], 1, *columns[-2:]]))
    axis = len(products.shape) - 2
    sums = reduced(lambda x, axes, _: tf.reduce_sum(x, axes, keepdims=True), products, [axis])
    return cast(_without_ones(tf.squeeze(sums, axis), a, b), dtype_of(a.data))


def gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Any:  # noqa: ANN401
    """Gemm: alpha * A' * B' + beta * C."""
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    if node.attr("transA", 0):
        a = swapped(a)
    if node.attr("transB", 0):
        b = swapped(b)
    if alpha != 1.0 and b.is_constant:
        b, alpha = Value(_scaled(b.data, alpha)), 1.0
    result = logical(product(a, b))
    if alpha != 1.0:
        result = _scaled(result, alpha)
    if c is None:
        return result
    bias = logical(c) if beta == 1.0 else _scaled(logical(c), beta)
    if isinstance(bias, np.ndarray) and bias.ndim == 2 and bias.shape[0] == 1:
        bias = bias[0]  # a layer's own bias
    return result + bias


def _scaled(x: Array, factor: float) -> Array:
    if is_float(x):
        return x * np.float32(factor)
    if factor == int(factor):
        return x * np.asarray(int(factor), dtype_of(x))
    return cast(cast(x, np.float32) * np.float32(factor), dtype_of(x))


def fused_matmul(node: Node, a: Value, b: Value) -> Value:
    """MatMul with transposes and a factor (onnxruntime)."""
    if node.attr("transBatchA", 0) or node.attr("transBatchB", 0):
        raise node.error("transposes the batch, which edgekit cannot import",
                         "export the model without onnxruntime's optimizations")
    if node.attr("transA", 0) and a.rank > 1:
        a = swapped(a)
    if node.attr("transB", 0) and b.rank > 1:
        b = swapped(b)
    alpha = node.attr("alpha", 1.0)
    result = product(a, b)
    return result if alpha == 1.0 else Value(_scaled(result.data, alpha), result.perm)


MATMUL: dict[str, Operator] = {
    "MatMul": Operator(matmul, 13, "values"),
    "Gemm": Operator(gemm, 13, "values"),
    "com.microsoft:FusedMatMul": Operator(fused_matmul, 1, "values"),
}
