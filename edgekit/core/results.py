"""What steps, stages and builds give back: plain records that the report is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.core.fidelity import Fidelity
from edgekit.core.model import Model


@dataclass(frozen=True)
class Skipped:
    """A layer that a step left as it was, and why."""

    layer: str
    reason: str


@dataclass(frozen=True)
class StepResult:
    """A step's outcome.

    Attributes:
        model: The new Model.
        changed: What was done, in one sentence.
        skipped: Layers that were left alone.
        notes: Choices that the step had to make; each is shown to the user.
    """

    model: Model
    changed: str
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quality:
    """The metric on the evaluation data.

    Attributes:
        drop: Against stage 0: percentage points for accuracy and agreement, per cent otherwise.
    """

    metric: str
    value: float
    drop: float


@dataclass(frozen=True)
class Stage:
    """The model after one step: stage 0 is the source as imported."""

    name: str
    kind: str
    bytes: int
    deflate_bytes: int | None
    dtype_bytes: Mapping[str, int]
    parameters: int
    sparsity: float
    quality: Quality | None
    fidelity: Fidelity | None
    seconds: float
    changed: str = ""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A file of the bundle, relative to its folder.

    ``deflate_bytes`` is what a download pays; None for sources that nobody downloads.
    """

    path: str
    kind: str
    bytes: int
    deflate_bytes: int | None
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A finished bundle.

    Attributes:
        folder: Where it is.
        report: The report document (``report.json``).
        exit_code: 0, or 3 when a bound is missed.
        regressions: One line for each number that grew more than ``--fail-on`` allows.
    """

    folder: Path
    report: Mapping[str, object] = field(repr=False)
    exit_code: int = 0
    regressions: tuple[str, ...] = ()
