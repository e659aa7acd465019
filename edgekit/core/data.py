"""Calibration, training and evaluation data, streamed.

Three forms, one meaning: an ``.npz`` file, a folder of ``.npy`` files, or a function. Each holds
one array per input (or ``x`` when there is one input) and, for labelled data, ``y``; the first
axis is the sample. Nothing is loaded whole, nothing is unpickled, and a Dataset can be iterated
again and handed to a child process.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from edgekit.core.data_sources import (
    Column,
    FunctionSource,
    Source,
    equal_rows,
    find_source,
)  # fmt: skip
from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.model import TensorSpec
from edgekit.core.user_code import check_reference

LABELS = "y"
ONLY_INPUT = "x"



@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: arrays as the model's inputs want them, and its label."""

    inputs: dict[str, NDArray[Any]]
    label: Any = None


@dataclass(frozen=True)
class Dataset:
    """Samples for a model's signature.

    Attributes:
        source: The file, folder or ``module.py:function``, or arrays in memory.
        specs: The inputs that the samples are for.
        count: Number of samples, None where only iterating can tell.
        has_labels: Whether each sample comes with a label; None where unknown beforehand.
        token: Identifies this Dataset also in the child, where results on it are remembered.
    """

    source: Source
    specs: tuple[TensorSpec, ...]
    count: int | None
    has_labels: bool | None
    token: str = field(default_factory=lambda: uuid4().hex)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.source.name

    def samples(self, limit: int | None = None) -> Iterator[Sample]:
        """Each sample in turn, checked and shaped for the inputs.

        Raises:
            EdgekitError: Wrong names, shapes, dtypes or counts; values that are not finite;
                no sample at all.
        """
        seen = 0
        for chunk in self.source.chunks():
            columns = {name: np.asarray(array) for name, array in chunk.items()}
            _check_columns(self.name, self.specs,
                           {n: (a.shape, a.dtype) for n, a in columns.items()})
            for sample in self._split(columns, seen):
                if limit is not None and seen >= limit:
                    return
                seen += 1
                yield sample
        if seen == 0:
            raise EdgekitError(f"{self.name} holds no samples")

    def _split(self, columns: Mapping[str, NDArray[Any]], first: int) -> Iterator[Sample]:
        keys = _keys(self.specs, columns)
        arrays = {spec.name: _cast(self.name, spec, columns[keys[spec.name]])
                  for spec in self.specs}
        for name, array in arrays.items():
            _refuse_nonfinite(self.name, name, array, first)
        labels = columns.get(LABELS)
        for i in range(next(iter(arrays.values())).shape[0]):
            inputs = {spec.name: arrays[spec.name][i].reshape(_one(spec)) for spec in self.specs}
            yield Sample(inputs, None if labels is None else labels[i])


def open_dataset(
    given: str | Path | Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec]
) -> Dataset:
    """A Dataset for a signature, checked as far as headers tell.

    Args:
        given: ``FILE.npz``, a folder, ``module.py:function``, or arrays by name.
        specs: The inputs of the model.

    Raises:
        EdgekitError: It does not exist, is damaged, or does not fit the signature.
    """
    source = find_source(given)
    header = source.header()
    if header is None:
        return Dataset(source, tuple(specs), None, None)
    _check_columns(source.name, specs, header)
    count = equal_rows(source.name, header)
    if count == 0:
        raise EdgekitError(f"{source.name} holds no samples")
    return Dataset(source, tuple(specs), count, LABELS in header)


def peek(given: str | Path | Mapping[str, NDArray[Any]]) -> None:
    """See that data exists and has a readable header, without a signature to hold it against.

    Raises:
        EdgekitError: It does not exist, is damaged, or holds no samples.
    """
    source = find_source(given)
    if isinstance(source, FunctionSource):
        check_reference(source.reference)
        return
    header = source.header()
    assert header is not None
    if equal_rows(source.name, header) == 0:
        raise EdgekitError(f"{source.name} holds no samples")


def _keys(specs: Sequence[TensorSpec], columns: Mapping[str, Any]) -> dict[str, str]:
    """The column of each input."""
    if len(specs) == 1 and ONLY_INPUT in columns and specs[0].name not in columns:
        return {specs[0].name: ONLY_INPUT}
    return {spec.name: spec.name for spec in specs}


def _check_columns(name: str, specs: Sequence[TensorSpec], header: Mapping[str, Column]) -> None:
    keys = _keys(specs, header)
    for spec in specs:
        key = keys[spec.name]
        if key not in header:
            wanted = ONLY_INPUT if len(specs) == 1 else spec.name
            raise EdgekitError(
                f"{name} has no array '{wanted}' for input '{spec.name}'",
                f"it has: {', '.join(header) or 'nothing'}; did you mean to rename one?",
            )
        _check_column(name, spec, key, *header[key])
    extra = set(header) - set(keys.values()) - {LABELS}
    if extra:
        unknown = min(extra)
        raise EdgekitError(f"{name}: '{unknown}' is neither an input nor the labels ('y')",
                           did_you_mean(unknown, [spec.name for spec in specs]))


def _one(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of one sample as the model takes it; open sizes stay -1 (one at most)."""
    return spec.shape


def _check_column(
    name: str, spec: TensorSpec, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    sample = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape
    rest = tuple(shape[1:])
    fits = rest == spec.shape or (len(rest) == len(sample) and all(
        want in (-1, got) for got, want in zip(rest, sample, strict=True)))
    if not shape or not fits:
        raise EdgekitError(
            f"{name}: '{key}' has shape {list(shape)}; input '{spec.name}' takes "
            f"{list(spec.shape)}",
            f"give an array of shape [samples, {', '.join(map(str, sample))}]",
        )
    if not _castable(dtype, spec):
        hint = f"convert it the way the model was trained, then .astype('{spec.dtype}')"
        raise EdgekitError(
            f"{name}: '{key}' is {dtype.name}; input '{spec.name}' is {spec.dtype}", hint
        )


def _castable(dtype: np.dtype[Any], spec: TensorSpec) -> bool:
    """Same dtype or a conversion within the kind; never pixels to unit floats by surprise."""
    if dtype.name == spec.dtype:
        return True
    if spec.scale is not None:  # a quantized input: real values are quantized on the way in
        return dtype.kind == "f"
    wanted = np.dtype(spec.dtype)
    return dtype.kind == wanted.kind and dtype.kind in "fiu"


def _cast(name: str, spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    if spec.scale is not None:
        from edgekit.core.fidelity import to_input

        _refuse_nonfinite(name, spec.name, array, 0)
        return to_input(spec, array)
    if array.dtype.name == spec.dtype:
        return array
    cast = array.astype(spec.dtype)
    if array.dtype.kind in "iu" and not np.array_equal(cast.astype(array.dtype), array):
        raise EdgekitError(f"{name}: values for '{spec.name}' do not fit {spec.dtype}")
    return cast


def _refuse_nonfinite(name: str, column: str, array: NDArray[Any], first: int) -> None:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(array.reshape(array.shape[0], -1)).all(axis=1))[0])
    raise EdgekitError(
        f"{name}: sample {first + bad} of '{column}' has NaN or infinite values",
        "clean the data: a range with NaN in it quantizes to nothing",
    )
