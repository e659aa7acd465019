"""A weight tensor as the matrix that pruning and clustering see: channels, blocks, groups."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.graph import Graph, Operator, Subgraph, Tensor


def zero_count(size: int, fraction: float) -> int:
    """How many of ``size`` are zero at a sparsity: rounded, half to even."""
    return round(fraction * size)


def matrix_view(weights: NDArray[Any], channel_axis: int = 0) -> NDArray[Any]:
    """A weight as ``(output channels, everything that one of them sums up)``.

    With the channel axis that the quantizer uses: a convolution ``(out, kh, kw, in)`` and
    axis 0 give ``(out, kh * kw * in)``, fully connected ``(out, in)`` stays, a depthwise
    convolution ``(1, kh, kw, c)`` and axis 3 give ``(c, kh * kw)``.
    """
    if weights.ndim == 0:
        return weights.reshape(1, 1)
    moved = np.moveaxis(weights, channel_axis, 0)
    channels = moved.shape[0]
    return moved.reshape(channels, weights.size // max(channels, 1))


def from_matrix(
    matrix: NDArray[Any], shape: tuple[int, ...], channel_axis: int = 0
) -> NDArray[Any]:
    """The inverse of ``matrix_view``: an array of ``shape``."""
    if not shape:
        return matrix.reshape(())
    axis = channel_axis % len(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(matrix.reshape(moved), 0, axis))


def reduction_axis(rank: int, channel_axis: int = 0) -> int:
    """The axis along which n:m groups run: the last that is not the channel axis.

    Input channels for convolutions and fully connected weights; the width of the kernel for a
    depthwise convolution, which has no others to sum.
    """
    return rank - 1 if rank < 2 or channel_axis % rank != rank - 1 else rank - 2


def tiles(matrix: NDArray[Any], block: tuple[int, int], fill: Any = 0) -> NDArray[Any]:  # noqa: ANN401
    """Blocks of a matrix ``(rows, columns)``: ``(row blocks, rows of one, column blocks, ...)``.

    The blocks at the end are padded with ``fill`` where the size does not divide.
    """
    rows, columns = block
    pad = [(0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % columns)]
    padded = np.pad(matrix, pad, constant_values=fill) if any(p for _, p in pad) else matrix
    return padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)


def groups(array: NDArray[Any], m: int, axis: int, fill: Any = 0) -> NDArray[Any]:  # noqa: ANN401
    """Groups of m consecutive elements along an axis: ``(..., groups, m)``, that axis last.

    The last group is padded with ``fill`` where the size does not divide.
    """
    moved = np.moveaxis(np.atleast_1d(array), axis, -1)
    if missing := -moved.shape[-1] % m:
        pad = [(0, 0)] * (moved.ndim - 1) + [(0, missing)]
        moved = np.pad(moved, pad, constant_values=fill)
    return moved.reshape(*moved.shape[:-1], moved.shape[-1] // m, m)


def channel_axis(graph: Graph, tensor: Tensor) -> int:
    """The axis of a constant's output channels, from the operator that takes it.

    0 unless the operator keeps them elsewhere: depthwise and 3-D convolutions, matrix products.
    """
    for subgraph, operator in graph.operators():
        for position, index in enumerate(operator.inputs):
            used = subgraph.tensors[index] if index >= 0 else None
            if used is None or used.buffer != tensor.buffer:
                continue
            if operator.name != "DEQUANTIZE":
                return _axis_in(operator, position, len(tensor.shape))
            return _axis_behind(subgraph, operator.outputs[0])
    return 0


def _axis_behind(subgraph: Subgraph, index: int) -> int:
    """The same for what a DEQUANTIZE makes of a constant."""
    for operator in subgraph.operators:
        if index in operator.inputs:
            return _axis_in(operator, operator.inputs.index(index),
                            len(subgraph.tensors[index].shape))
    return 0


def _axis_in(operator: Operator, position: int, rank: int) -> int:
    if operator.name == "BATCH_MATMUL" and rank > 1:
        swapped = operator.options.adjX if position == 0 else operator.options.adjY
        return rank - 1 if bool(swapped) == (position == 0) else rank - 2
    fixed = {"DEPTHWISE_CONV_2D": 3, "CONV_3D": 4, "CONV_3D_TRANSPOSE": 3}.get(operator.name, 0)
    return fixed if fixed < rank else 0
