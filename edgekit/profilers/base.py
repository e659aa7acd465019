"""What a profiler is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from edgekit.core.measurement import Measurement, Series
from edgekit.core.model import Arrays, Model

Engine = Literal["litert", "tflm"]


@dataclass(frozen=True, eq=False)
class ProfileSettings:
    """How to profile; each profiler takes what concerns it.

    Attributes:
        threads: Thread counts to measure, one after the other.
        xnnpack: With the XNNPACK delegate, without it, or both.
        runs: Timed inferences of each way of running; None for as many as are needed.
        cold_starts: Fresh processes of each way of running.
        inputs: One array per input; None draws random ones.
        engine: Whose planning rule the memory estimate follows: ``litert`` or ``tflm``.
    """

    threads: tuple[int, ...] = (1,)
    xnnpack: tuple[bool, ...] = (True, False)
    runs: int | None = None
    cold_starts: int = 5
    inputs: Arrays | None = None
    engine: Engine = "litert"


@dataclass(frozen=True)
class ProfileResult:
    """What was found out.

    Attributes:
        measurements: Single figures, unknown ones included.
        series: Many values of one quantity, in order.
        conditions: Under which circumstances, for the report; plain JSON values.
    """

    measurements: tuple[Measurement, ...]
    series: tuple[Series, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)


class Profiler(Protocol):
    """One way of knowing numbers about a model."""

    def __call__(self, model: Model, settings: ProfileSettings) -> ProfileResult:
        """Find them out.

        Raises:
            EdgekitError: The model cannot be profiled in this way.
        """
