"""Matrix products: fully connected layers where one side is constant, batched products elsewhere."""

from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.values import Value, logical


def matmul(_node: Node, a: Value, b: Value) -> Any:  # noqa: ANN401
    """MatMul, as NumPy does it."""
    if b.is_constant and b.rank == 2 and a.merged is not None:
        return tf.matmul(a.data, np.ascontiguousarray(b.data[a.merged.rows]))
    left, right = logical(a), logical(b)
    if a.rank == 1 and b.rank == 1:
        return tf.reduce_sum(left * right)
    if b.rank == 1:
        return tf.squeeze(tf.matmul(left, right[:, None]), -1)
    if a.rank == 1:
        return tf.squeeze(tf.matmul(left[None, :], right), -2)
    return tf.matmul(left, right)


def gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Any:  # noqa: ANN401
    """Gemm: alpha * A' * B' + beta * C."""
    transpose_a, transpose_b = bool(node.attr("transA", 0)), bool(node.attr("transB", 0))
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    right = logical(b)
    if transpose_b and b.is_constant:
        right, transpose_b = np.ascontiguousarray(right.T), False
    if alpha != 1.0 and b.is_constant:
        right, alpha = right * np.asarray(alpha, right.dtype), 1.0
    if a.merged is not None and isinstance(right, np.ndarray) and not (transpose_a or transpose_b):
        left, right = a.data, np.ascontiguousarray(right[a.merged.rows])
    else:
        left = logical(a)
    result = tf.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b)
    if alpha != 1.0:
        result *= tf.cast(alpha, result.dtype)
    if c is None:
        return result
    bias = logical(c)
    return result + (bias if beta == 1.0 else bias * np.asarray(beta, c.dtype))


MATMUL = {
    "MatMul": Operator(matmul, 13, "values"),
    "Gemm": Operator(gemm, 13, "values"),
}
