"""How sparse the weights are at each step of training.

Steps count from 0. Masks are made again at the steps for which ``updates_at`` is true: every
``frequency`` steps from ``begin_step`` on, and always at ``end_step``, so that the final sparsity
is reached whatever the frequency. Before ``begin_step`` nothing is pruned; after ``end_step`` the
masks stay.
"""

from dataclasses import dataclass
from typing import Protocol

from edgekit.core.errors import EdgekitError


class Schedule(Protocol):
    """Sparsity over steps."""

    @property
    def begin_step(self) -> int:
        """The first step with masks."""

    @property
    def end_step(self) -> int:
        """The last step at which masks change."""

    def sparsity_at(self, step: int) -> float:
        """Fraction of zeros wanted at a step, in [0, 1)."""

    def updates_at(self, step: int) -> bool:
        """Whether the masks are made again at a step."""


@dataclass(frozen=True)
class ConstantSparsity:
    """The whole sparsity from ``begin_step`` on.

    Attributes:
        sparsity: Fraction of zeros.
        begin_step: First update.
        end_step: Last update; the same as ``begin_step`` is one-shot pruning.
        frequency: Steps from one update to the next.

    Raises:
        EdgekitError: A field is out of its range; it is named.
    """

    sparsity: float
    begin_step: int = 0
    end_step: int = 0
    frequency: int = 100

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, "sparsity")
        _check_steps(self.begin_step, self.end_step, self.frequency)

    def sparsity_at(self, step: int) -> float:
        """Fraction of zeros wanted at a step."""
        return self.sparsity if step >= self.begin_step else 0.0

    def updates_at(self, step: int) -> bool:
        """Whether the masks are made again at a step."""
        return _updates_at(self, step, self.frequency)


@dataclass(frozen=True)
class _Rising:
    """What schedules that raise the sparsity from ``begin_step`` to ``end_step`` have in common."""

    final_sparsity: float
    begin_step: int
    end_step: int
    initial_sparsity: float = 0.0
    frequency: int = 100

    def __post_init__(self) -> None:
        _check_rise(self.initial_sparsity, self.final_sparsity)
        _check_steps(self.begin_step, self.end_step, self.frequency)

    def sparsity_at(self, step: int) -> float:
        """Fraction of zeros wanted at a step."""
        if step < self.begin_step:
            return 0.0
        if step >= self.end_step:
            return self.final_sparsity
        return self._risen((step - self.begin_step) / (self.end_step - self.begin_step))

    def updates_at(self, step: int) -> bool:
        """Whether the masks are made again at a step."""
        return _updates_at(self, step, self.frequency)

    def _risen(self, progress: float) -> float:
        """The sparsity at a progress in [0, 1)."""
        raise NotImplementedError


@dataclass(frozen=True)
class PolynomialSparsity(_Rising):
    """Fast at first, slower as fewer weights are left (Zhu and Gupta 2017, arXiv:1710.01878).

    ``final + (initial - final) * (1 - progress) ** power`` with ``progress`` running from 0 at
    ``begin_step`` to 1 at ``end_step``: tfmot's ``PolynomialDecay``, but for the last update,
    which tfmot makes at the last multiple of ``frequency``.

    Attributes:
        final_sparsity: Reached at ``end_step``.
        initial_sparsity: At ``begin_step``.
        begin_step: First update.
        end_step: Last update.
        frequency: Steps from one update to the next.
        power: 1 is linear.

    Raises:
        EdgekitError: A field is out of its range; it is named.
    """

    power: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.power > 0:
            raise EdgekitError(f"power is {self.power:g}, and must be above 0")

    def _risen(self, progress: float) -> float:
        left = float((1 - progress) ** self.power)
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * left


@dataclass(frozen=True)
class ExponentialSparsity(_Rising):
    """Each update removes the same share of the weights that are left.

    The density, 1 - sparsity, falls geometrically: ``d0 * (d1 / d0) ** progress``. This is
    iterative magnitude pruning at a constant rate (Frankle and Carbin 2019, arXiv:1803.03635)
    with fractional rounds.

    Attributes:
        final_sparsity: Reached at ``end_step``.
        initial_sparsity: At ``begin_step``.
        begin_step: First update.
        end_step: Last update.
        frequency: Steps from one update to the next.

    Raises:
        EdgekitError: A field is out of its range; it is named.
    """

    def _risen(self, progress: float) -> float:
        first, last = 1 - self.initial_sparsity, 1 - self.final_sparsity
        return float(1 - first * (last / first) ** progress)


def check_sparsity(value: float, field: str = "sparsity") -> None:
    """Refuse what is no sparsity to prune to.

    Raises:
        EdgekitError: Outside [0, 1); it names ``field``.
    """
    if not 0 <= value < 1:
        hint = "a fraction: 0.75 is three quarters of the weights"
        if value == 1:
            hint = "1.0 would leave no weight at all"
        raise EdgekitError(f"{field} is {value:g}, and must be at least 0 and below 1", hint)


def _check_rise(initial: float, final: float) -> None:
    check_sparsity(initial, "initial_sparsity")
    check_sparsity(final, "final_sparsity")
    if initial > final:
        raise EdgekitError(f"initial_sparsity is {initial:g}, above final_sparsity, {final:g}",
                           "weights that were pruned stay pruned")


def _check_steps(begin: int, end: int, frequency: int) -> None:
    if begin < 0:
        raise EdgekitError(f"begin_step is {begin}, and must be at least 0")
    if end < begin:
        raise EdgekitError(f"end_step is {end}, before begin_step, {begin}",
                           "the schedule ends before it begins")
    if frequency < 1:
        raise EdgekitError(f"frequency is {frequency}, and must be at least 1")


def _updates_at(schedule: Schedule, step: int, frequency: int) -> bool:
    if not schedule.begin_step <= step <= schedule.end_step:
        return False
    return step == schedule.end_step or (step - schedule.begin_step) % frequency == 0
