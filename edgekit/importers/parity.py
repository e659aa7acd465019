"""Does LiteRT compute what the source framework computes? Figures per output, and a limit.

Both sides compute in float32 and differ only by the order of their sums: 1e-6 to 1e-4 of the
output's scale on networks of up to a few hundred operators. A wrong axis, padding or activation
moves an output by a hundredth of its scale and more. The limit lies between the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.fidelity import OutputSums
from edgekit.core.model import Parity

RANDOM_SAMPLES = 4
DATA_SAMPLES = 8

MAX_ABS_OF_SCALE = 1e-3
MAX_ABS_FLOOR = 1e-5
MIN_COSINE = 0.9999
# Below this an output is rounding noise around zero, and noise has no direction.
_SILENT = 1e-7


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
        usual = np.isfinite(a)
        if not np.array_equal(a[~usual], b[~usual], equal_nan=True) or not np.isfinite(
                b[usual]).all():
            self.misfit = "NaN or infinite values are in other places"
            return
        a, b = np.where(usual, a, 0.0), np.where(usual, b, 0.0)
        self.scale = max(self.scale, float(np.abs(a).max(initial=0.0)))
        self.sums.add(a, b)

    @property
    def limit(self) -> float:
        """The largest difference that rounding can explain."""
        return MAX_ABS_OF_SCALE * self.scale + MAX_ABS_FLOOR

    def problem(self) -> str:
        """What is wrong, with figures; empty when nothing is."""
        if self.misfit:
            return self.misfit
        directed = self.scale <= _SILENT or self.sums.cosine >= MIN_COSINE
        if directed and self.sums.max_abs <= self.limit:
            return ""
        return (f"largest difference {self.sums.max_abs:.3g} where {self.limit:.3g} is allowed "
                f"(its largest value is {self.scale:.3g}), cosine {self.sums.cosine:.6f}")

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

    def problems(self) -> dict[str, str]:
        """What is wrong, by output; empty when both sides agree."""
        found = {name: output.problem() for name, output in self.outputs.items()}
        return {name: problem for name, problem in found.items() if problem}
