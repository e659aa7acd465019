"""Does LiteRT compute what the source framework computes? Figures per output, and limits.

Both sides compute in float32 and differ by the order of their sums: 1e-6 to 1e-4 of an output's
scale on most networks. A model may amplify that: basic-pitch takes logarithms of tiny powers and
divides by their range; TensorFlow and LiteRT, and TensorFlow with and without oneDNN, are up to
2e-3 of the scale apart on a pure tone, and 9e-2 in places on silence, at a cosine of 0.99999 over
all. A wrong axis, padding or activation, on the other hand, moves an output as a whole. So the
error over all values decides; a single value far off decides too, and one a little off is told.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.fidelity import OutputSums
from edgekit.core.model import Parity

RANDOM_SAMPLES = 4
DATA_SAMPLES = 8

MIN_COSINE = 0.9999
MAX_RMS_FRACTION = 2e-2  # error, root of the mean square, of the reference's
MAX_ABS_FRACTION = 0.25  # largest error, of the reference's largest value
TOLD_ABS_FRACTION = 1e-3
_ABS_FLOOR = 1e-5
# Below this an output is rounding noise around zero, and noise has no direction.
_SILENT = 1e-7
_LARGEST = float(np.finfo(np.float32).max)


@dataclass
class OutputParity:
    """Running comparison of one output.

    Attributes:
        scale: Largest absolute value of the reference.
        misfit: What no tolerance covers: another shape, or NaN and infinity in other places.
    """

    sums: OutputSums = field(default_factory=OutputSums)
    scale: float = 0.0
    misfit: str = ""

    def add(self, reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Take in one sample's output from both sides."""
        if reference.shape != candidate.shape:
            self.misfit = f"its shape is {list(candidate.shape)}, not {list(reference.shape)}"
            return
        a, b = (np.asarray(x, dtype=np.float64) for x in (reference, candidate))
        # The converter writes the largest float for an infinite constant.
        b = np.where(np.isinf(a) & (np.abs(b) >= _LARGEST) & (np.sign(a) == np.sign(b)), a, b)
        usual = np.isfinite(a)
        if not np.array_equal(a[~usual], b[~usual], equal_nan=True) or not np.isfinite(
                b[usual]).all():
            self.misfit = "NaN or infinite values are in other places"
            return
        a, b = np.where(usual, a, 0.0), np.where(usual, b, 0.0)
        self.scale = max(self.scale, float(np.abs(a).max(initial=0.0)))
        self.sums.add(a, b)

    @property
    def rms_fraction(self) -> float:
        """Root mean square of the error, as a fraction of the reference's."""
        if self.sums.error_square == 0.0:
            return 0.0
        return math.sqrt(self.sums.error_square / max(self.sums.reference_square, 1e-30))

    @property
    def distance(self) -> float:
        """How far apart, to find the worst of several samples: no other use is sound."""
        return math.inf if self.misfit else self.rms_fraction

    def problem(self) -> str:
        """What is wrong, with figures; empty when nothing is."""
        if self.misfit:
            return self.misfit
        if self.scale <= _SILENT and self.sums.max_abs <= _ABS_FLOOR:
            return ""
        if (self.sums.cosine >= MIN_COSINE and self.rms_fraction <= MAX_RMS_FRACTION
                and not self._beyond(MAX_ABS_FRACTION)):
            return ""
        return (f"cosine {self.sums.cosine:.6f}, error {self.rms_fraction:.2%} of the values "
                f"(root mean square), {self.sums.max_abs:.3g} at most where the largest value is "
                f"{self.scale:.3g}")

    def remark(self) -> str:
        """What is no error but more than rounding usually makes of it; mostly empty."""
        if not self._beyond(TOLD_ABS_FRACTION):
            return ""
        return (f"{self.sums.max_abs:.3g} apart at most where the largest value is "
                f"{self.scale:.3g}, cosine {self.sums.cosine:.6f}: the model amplifies rounding")

    def _beyond(self, fraction: float) -> bool:
        return self.sums.max_abs > fraction * self.scale + _ABS_FLOOR

    def row(self, output: str) -> Parity:
        """The figures for the report."""
        ranked = self.sums.ranked
        agreement = self.sums.agreed / ranked if ranked else None
        return Parity(output, self.sums.max_abs, self.sums.cosine, agreement)


@dataclass
class ParityMeter:
    """Collects the outputs of both sides, sample by sample."""

    outputs: dict[str, OutputParity] = field(default_factory=dict)
    samples: int = 0

    def add(
        self, reference: Mapping[str, NDArray[Any]], candidate: Mapping[str, NDArray[Any]]
    ) -> None:
        """Take in one sample: arrays by output name, the source framework's first."""
        self.samples += 1
        for name, array in reference.items():
            self.outputs.setdefault(name, OutputParity()).add(array, candidate[name])

    def rows(self) -> tuple[Parity, ...]:
        """One row per output, in the order of the first sample."""
        return tuple(output.row(name) for name, output in self.outputs.items())

    def remarks(self) -> dict[str, str]:
        """What is worth telling, by output."""
        found = {name: output.remark() for name, output in self.outputs.items()}
        return {name: remark for name, remark in found.items() if remark}

    def problems(self) -> dict[str, str]:
        """What is wrong, by output; empty when both sides agree."""
        found = {name: output.problem() for name, output in self.outputs.items()}
        return {name: problem for name, problem in found.items() if problem}
