"""How close two models' outputs are: cosine, SQNR and top-1 agreement, streamed.

All sums are in float64 and over all outputs and samples; nothing is kept but the sums.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.model import TensorSpec


@dataclass(frozen=True)
class Fidelity:
    """Agreement of a candidate with its reference.

    Attributes:
        cosine: The least, over the outputs, of the cosine between all their values.
        sqnr_db: The least signal to quantization noise ratio, 10 log10(|r|² / |r - c|²);
            infinite when equal.
        top1_agreement: Fraction of samples whose largest output is at the same place, for
            outputs that look like class scores; None when there is none.
        max_abs: Largest absolute difference.
        samples: Number of samples compared.
        finite: Whether the reference has finite values to agree with at all.
    """

    cosine: float
    sqnr_db: float
    top1_agreement: float | None
    max_abs: float
    samples: int
    finite: bool = True


@dataclass
class OutputSums:
    """Running sums for one output."""

    dot: float = 0.0
    reference_square: float = 0.0
    candidate_square: float = 0.0
    error_square: float = 0.0
    max_abs: float = 0.0
    agreed: int = 0
    ranked: int = 0
    compared: int = 0
    finite: bool = True

    def add(self, reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Take in one sample's output, shape ``(1, ...)``."""
        a, b = (np.asarray(x, dtype=np.float64).ravel() for x in (reference, candidate))
        # Where the reference itself is not finite there is nothing to agree with.
        known = np.isfinite(a)
        if not known.all():
            a, b = a[known], b[known]
        self.finite &= bool(np.isfinite(b).all())
        if not self.finite or not a.size:
            return
        self.compared += a.size
        error = a - b
        self.dot += float(a @ b)
        self.reference_square += float(a @ a)
        self.candidate_square += float(b @ b)
        self.error_square += float(error @ error)
        self.max_abs = max(self.max_abs, float(np.abs(error).max(initial=0.0)))
        if looks_like_scores(reference.shape):
            self.ranked += 1
            self.agreed += int(a.argmax() == b.argmax())

    @property
    def cosine(self) -> float:
        """1.0 for two silent outputs, 0.0 when only one is silent or it is not finite."""
        if not self.finite:
            return 0.0
        norm = math.sqrt(self.reference_square * self.candidate_square)
        if norm == 0.0:
            return 1.0 if self.reference_square == self.candidate_square else 0.0
        return self.dot / norm

    @property
    def sqnr_db(self) -> float:
        """Infinite when the outputs are equal."""
        if not self.finite or math.isnan(self.error_square):
            return -math.inf
        if self.error_square == 0.0:
            return math.inf
        if self.reference_square == 0.0:
            return -math.inf
        return 10.0 * math.log10(self.reference_square / self.error_square)


@dataclass
class FidelityMeter:
    """Collects outputs of two models, sample by sample."""

    sums: dict[str, OutputSums] = field(default_factory=dict)
    samples: int = 0

    def add(
        self, reference: Mapping[str, NDArray[Any]], candidate: Mapping[str, NDArray[Any]]
    ) -> None:
        """Take in one sample: arrays by output name."""
        self.samples += 1
        for name, array in reference.items():
            self.sums.setdefault(name, OutputSums()).add(array, candidate[name])

    def result(self) -> Fidelity:
        """The agreement over everything seen so far."""
        outputs = list(self.sums.values())
        ranked = sum(o.ranked for o in outputs)
        return Fidelity(
            cosine=min((o.cosine for o in outputs), default=1.0),
            sqnr_db=min((o.sqnr_db for o in outputs), default=math.inf),
            top1_agreement=sum(o.agreed for o in outputs) / ranked if ranked else None,
            max_abs=max((o.max_abs for o in outputs), default=0.0),
            samples=self.samples,
            finite=all(o.compared for o in outputs),
        )


def looks_like_scores(shape: tuple[int, ...]) -> bool:
    """Whether one sample's output is a list of class scores: ``(1, classes)``."""
    return len(shape) == 2 and shape[0] == 1 and shape[1] > 1


def to_input(spec: TensorSpec, value: NDArray[Any]) -> NDArray[Any]:
    """Real values as the model's input takes them: quantized where the input is."""
    if spec.scale is None or value.dtype.name == spec.dtype:
        return value
    assert spec.zero_point is not None
    info = np.iinfo(spec.dtype)
    codes = np.round(value.astype(np.float64) / spec.scale) + spec.zero_point
    return np.clip(codes, info.min, info.max).astype(spec.dtype)


def from_output(spec: TensorSpec, value: NDArray[Any]) -> NDArray[Any]:
    """The model's output as real values."""
    if spec.scale is None:
        return value
    assert spec.zero_point is not None
    return ((value.astype(np.float64) - spec.zero_point) * spec.scale).astype(np.float32)
