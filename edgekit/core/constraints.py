"""What later steps must keep about a weight: its zeros, its few values.

``Model.constraints`` maps a weight tensor's name to text, so that it travels through every file
and process as it is; here the text is read, written and held against tensors:

    sparse(0.75)               at least 75 % zeros
    sparse(0.75, block=4x1)    at least 75 % of the blocks of 4 rows and 1 column are zero
    sparse(2:4)                at most 2 of each 4 consecutive inputs are not zero
    clustered(16)              at most 16 distinct values
    clustered(16, axis=0)      at most 16 in each channel along axis 0
    clustered(16, scale=0)     at most 16 once each channel along axis 0 is divided by its
                               largest magnitude: at most 16 codes in a tensor quantized with a
                               scale per channel

Both kinds are joined by ``"; "``. How blocks and groups lie in a tensor is in
``weight_views``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Graph, Subgraph, Tensor
from edgekit.core.weight_views import (
    channel_axis,
    groups,
    matrix_view,
    reduction_axis,
    tiles,
    zero_count,
)

# What an imported tensor must have before its zeros or values count as somebody's intention.
LEAST_ZEROS = 0.1
MOST_VALUES = 256
LEAST_REPEATS = 8

# Products of a centroid and a scale are rounded to float32, quotients by the largest too.
UNIT_TOLERANCE = 2.0**-20

_FORMS = "sparse(0.75), sparse(0.75, block=4x1), sparse(2:4), clustered(16), clustered(16, axis=0)"
_SPARSE = re.compile(r"sparse\((?:(\d+):(\d+)|([0-9.e+-]+)(?:, ?block=(\d+)x(\d+))?)\)")
_CLUSTERED = re.compile(r"clustered\((\d+)(?:, ?(axis|scale)=(\d+))?\)")


@dataclass(frozen=True)
class Sparse:
    """Zeros.

    Attributes:
        fraction: Of elements, or of blocks, in [0, 1]; 1 - n/m for a pattern.
        block: Rows and columns of the blocks; None for single weights.
        n_of_m: At most n of each m consecutive weights are not zero; see ``Sparse.pattern``.
    """

    fraction: float
    block: tuple[int, int] | None = None
    n_of_m: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise EdgekitError(f"{self.fraction:g} is not a fraction of zeros", "0 to 1")
        if self.block is not None and min(self.block) < 1:
            raise EdgekitError(f"blocks of {_by(self.block)} hold no weight")
        if self.n_of_m is not None and not 0 < self.n_of_m[0] < self.n_of_m[1]:
            raise EdgekitError("sparse({}:{}) keeps nothing or everything".format(*self.n_of_m))

    @classmethod
    def pattern(cls, n: int, m: int) -> "Sparse":
        """At most n of each m consecutive weights are not zero.

        Raises:
            EdgekitError: Not 0 < n < m.
        """
        return cls(1 - n / max(m, 1) if 0 < n < m else 0.0, n_of_m=(n, m))

    def __str__(self) -> str:
        if self.n_of_m is not None:
            return "sparse({}:{})".format(*self.n_of_m)
        block = "" if self.block is None else f", block={_by(self.block)}"
        return f"sparse({float(self.fraction)!r}{block})"


@dataclass(frozen=True)
class Clustered:
    """Few distinct values.

    Attributes:
        k: How many.
        axis: Given, k for each channel along it.
        scale_axis: Given, k in all after dividing each channel along it by its largest magnitude;
            integer codes are in such units already.
    """

    k: int
    axis: int | None = None
    scale_axis: int | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise EdgekitError(f"clustered({self.k}) leaves no value")
        if self.axis is not None and self.scale_axis is not None:
            raise EdgekitError("clustered(...) has either an axis or a scale, not both")

    def __str__(self) -> str:
        if self.axis is not None:
            return f"clustered({self.k}, axis={self.axis})"
        return f"clustered({self.k}" + (
            ")" if self.scale_axis is None else f", scale={self.scale_axis})")


@dataclass(frozen=True)
class Constraint:
    """What one weight keeps: zeros, few values, or both."""

    sparse: Sparse | None = None
    clustered: Clustered | None = None

    def __str__(self) -> str:
        return "; ".join(str(part) for part in (self.sparse, self.clustered) if part is not None)


def parse_constraint(text: str) -> Constraint:
    """Read the text of ``Model.constraints``; ``str`` writes it.

    Raises:
        EdgekitError: It says nothing, the same kind twice, or something unknown.
    """
    constraint = Constraint()
    for part in text.split(";"):
        read = _part(part.strip())
        if (constraint.sparse and read.sparse) or (constraint.clustered and read.clustered):
            raise EdgekitError(f"the constraint '{text}' declares one kind twice")
        constraint = merge(constraint, read)
    return constraint


def merge(old: Constraint | None, new: Constraint) -> Constraint:
    """A new declaration replaces an old one of its kind and leaves the other kind."""
    old = old or Constraint()
    return Constraint(new.sparse or old.sparse, new.clustered or old.clustered)


def declare(constraints: Mapping[str, str], new: Mapping[str, Constraint]) -> dict[str, str]:
    """``Model.constraints`` with a step's declarations merged in, by tensor name."""
    declared = dict(constraints)
    for name, constraint in new.items():
        old = parse_constraint(declared[name]) if name in declared else None
        declared[name] = str(merge(old, constraint))
    return declared


def _part(text: str) -> Constraint:
    if found := _SPARSE.fullmatch(text):
        n, m, fraction, rows, columns = found.groups()
        if n is not None:
            return Constraint(Sparse.pattern(int(n), int(m)))
        return Constraint(Sparse(_number(fraction), (int(rows), int(columns)) if rows else None))
    if found := _CLUSTERED.fullmatch(text):
        k, kind, axis = found.groups()
        return Constraint(clustered=Clustered(
            int(k), int(axis) if kind == "axis" else None, int(axis) if kind == "scale" else None))
    raise EdgekitError(f"'{text}' is no constraint", f"known forms: {_FORMS}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise EdgekitError(f"'{text}' in a constraint is no number") from error


def _by(block: tuple[int, int]) -> str:
    return f"{block[0]}x{block[1]}"


def check(
    constraint: Constraint,
    array: NDArray[Any],
    *,
    channels: int = 0,
    zero_point: int | NDArray[np.int64] = 0,
) -> str | None:
    """What a tensor breaks of its constraint, or None.

    Nothing is tolerated beyond the rounding of the number of zeros (``zero_count``).

    Args:
        constraint: What was declared.
        array: Float weights, or integer codes.
        channels: Axis of the output channels: 3 for depthwise convolutions.
        zero_point: The code of zero; an array must broadcast to the tensor's shape.
    """
    broken = []
    if constraint.sparse is not None:
        broken.append(_check_zeros(constraint.sparse, np.asarray(array == zero_point),
                                   channels))
    if constraint.clustered is not None:
        broken.append(_check_values(constraint.clustered, array))
    return "; ".join(text for text in broken if text) or None


def _check_zeros(sparse: Sparse, zeros: NDArray[np.bool_], channels: int) -> str | None:
    if sparse.n_of_m is not None:
        n, m = sparse.n_of_m
        axis = reduction_axis(zeros.ndim, channels)
        kept = np.count_nonzero(~groups(zeros, m, axis, fill=True), axis=-1)
        excess = int(np.count_nonzero(kept > n))
        return f"{excess} groups of {m} have more than {n} non-zeros" if excess else None
    what = "zeros"
    if sparse.block is not None:
        blocks = tiles(matrix_view(zeros, channels), sparse.block, fill=True)
        zeros = np.asarray(blocks.all(axis=(1, 3)))
        what = f"zero blocks of {_by(sparse.block)}"
    found, wanted = int(np.count_nonzero(zeros)), zero_count(zeros.size, sparse.fraction)
    if found >= wanted:
        return None
    return (f"{found / zeros.size:.4g} {what}, {sparse.fraction:.4g} declared "
            f"({wanted - found} too few)")


def _check_values(clustered: Clustered, array: NDArray[Any]) -> str | None:
    axis = clustered.axis if clustered.axis is not None else clustered.scale_axis
    if axis is not None and axis >= array.ndim:
        return f"{clustered} declared, and the tensor has {array.ndim} axes"
    where = "" if clustered.axis is None else f" in a channel along axis {axis}"
    if clustered.scale_axis is not None and np.issubdtype(array.dtype, np.floating):
        found = _distinct_units(matrix_view(array, clustered.scale_axis))
        where = " in units of the channels' scales"
    elif clustered.axis is not None:
        found = _distinct(matrix_view(array, clustered.axis))
    else:
        found = _distinct(array.reshape(1, -1))
    if found <= clustered.k:
        return None
    return f"{found} distinct values{where}, {clustered.k} declared"


def _distinct(rows: NDArray[Any]) -> int:
    """The most distinct values in any row."""
    if rows.size == 0:
        return 0
    ordered = np.sort(rows, axis=1)
    return 1 + int(np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1).max())


def _distinct_units(rows: NDArray[Any]) -> int:
    """Distinct values in all, each row divided by its largest magnitude."""
    if rows.size == 0:
        return 0
    largest = np.abs(rows).max(axis=1, keepdims=True)
    units = np.sort(rows / np.where(largest > 0, largest, 1), axis=None).astype(np.float64)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(units) > UNIT_TOLERANCE) + 1])
    ends = np.append(starts[1:], units.size) - 1
    # Values so dense that no gap shows are many values, not one.
    return int((1 + np.floor((units[ends] - units[starts]) / UNIT_TOLERANCE)).sum())


def violations(graph: Graph, constraints: Mapping[str, str]) -> list[str]:
    """Hold a file against what was declared; works on float and on quantized weights.

    Args:
        graph: The parsed file.
        constraints: ``Model.constraints``.

    Returns:
        One sentence for each weight that breaks its constraint or is not there.

    Raises:
        EdgekitError: A text is no constraint, or a tensor's data does not fit its shape.
    """
    broken = []
    for name, text in constraints.items():
        constraint = parse_constraint(text)
        found = list(_weights_named(graph, name))
        if not found:
            broken.append(f"'{name}': {text} declared, and the model has no such weight")
        for tensor in found:
            problem = check(constraint, _numbers(graph, tensor),
                            channels=channel_axis(graph, tensor),
                            zero_point=_zero_point(tensor))
            if problem:
                broken.append(f"'{name}': {problem}")
    return broken


def _weights_named(graph: Graph, name: str) -> Iterator[Tensor]:
    """Constants of that name, or behind a DEQUANTIZE whose output has it; each buffer once."""
    seen = set()
    for subgraph in graph.subgraphs:
        for tensor in subgraph.tensors:
            source = _constant_behind(subgraph, tensor) if tensor.name == name else None
            if source is not None and source.buffer not in seen:
                seen.add(source.buffer)
                yield source


def _constant_behind(subgraph: Subgraph, tensor: Tensor) -> Tensor | None:
    if tensor.is_constant:
        return tensor
    for operator in subgraph.operators:
        if operator.name == "DEQUANTIZE" and tensor.index in operator.outputs:
            source = subgraph.tensors[operator.inputs[0]]
            return source if source.is_constant else None
    return None


def _numbers(graph: Graph, tensor: Tensor) -> NDArray[Any]:
    values = graph.values(tensor)
    if tensor.dtype == "bfloat16":  # NumPy has no such type: the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _zero_point(tensor: Tensor) -> int | NDArray[np.int64]:
    quantization = tensor.quantization
    if quantization is None or tensor.dtype.startswith(("float", "bfloat")):
        return 0
    points = quantization.zero_points
    if points.size == 1:
        return int(points[0])
    shape = [1] * len(tensor.shape)
    shape[quantization.axis] = points.size
    return points.reshape(shape)


def declared_in(array: NDArray[Any]) -> Constraint | None:
    """What a tensor already keeps: for ``--keep-sparsity`` and ``--keep-clusters``.

    Sparse from 10 % exact zeros on; clustered with at most 256 distinct values that are at least
    8 times fewer than the elements.

    Returns:
        None when neither holds.
    """
    if array.size == 0:
        return None
    fraction = int(np.count_nonzero(array == 0)) / array.size
    sparse = Sparse(fraction) if fraction >= LEAST_ZEROS else None
    limit = min(MOST_VALUES, array.size // LEAST_REPEATS)
    values = _distinct_up_to(array, limit)
    clustered = Clustered(values) if values is not None else None
    return Constraint(sparse, clustered) if sparse or clustered else None


def _distinct_up_to(array: NDArray[Any], limit: int) -> int | None:
    """Number of distinct values, or None when there are more than ``limit``."""
    flat = array.reshape(-1)
    # Sorting millions of values is only worth it when a few thousand of them look clustered.
    sample = flat[:: max(1, flat.size // 4096)]
    if _distinct(sample.reshape(1, -1)) > limit:
        return None
    found = _distinct(flat.reshape(1, -1))
    return found if found <= limit else None
