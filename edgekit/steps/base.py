"""What a step is: a technique's settings, what it needs, and a function from Model to Model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.core.data import Dataset
from edgekit.core.fidelity import Fidelity
from edgekit.core.model import Model
from edgekit.core.recipe import LayerRule
from edgekit.core.results import StepResult
from edgekit.core.validation import Strict


@dataclass(frozen=True)
class StepContext:
    """What a step may use beside the model.

    Attributes:
        data: Calibration and training samples, when the user gave any.
        integer_only: The target runs integers only.
        seed: For everything random.
        rules: Per-layer settings; the first that matches a layer's name wins.
    """

    data: Dataset | None
    integer_only: bool
    seed: int
    rules: tuple[LayerRule, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How a step's result compares, both run from their files on the same inputs.

    Attributes:
        with_reference: Against stage 0, the source as imported.
        with_previous: Against the model that the step was given.
        on_data: Whether the inputs were the user's samples; random ones otherwise.
    """

    with_reference: Fidelity
    with_previous: Fidelity
    on_data: bool


@dataclass(frozen=True)
class Technique:
    """One row of ``STEPS``.

    Attributes:
        name: What ``use = "..."`` says.
        settings: The pydantic class of its settings.
        layer_settings: Names of the settings that a ``[[step.layer]]`` may override.
        needs_data: Whether these settings need calibration data.
        needs_float: Whether the model must be float.
        bit_exact: Whether the outputs stay equal to the last bit.
        run: Does the work.
        guard: Judges the result as reloaded and run: gives it back, or a sound alternative with
            a note, or raises ``GuardError``.
        one_of: Settings that exclude each other; a ``[[step.layer]]`` that has one of them
            replaces the step's.
    """

    name: str
    settings: type[Strict]
    layer_settings: frozenset[str]
    needs_data: Callable[[Any], bool]
    needs_float: bool
    bit_exact: bool
    run: Callable[[Model, Any, StepContext], StepResult]
    guard: Callable[[Model, StepResult, Agreement, Any, StepContext], StepResult]
    one_of: frozenset[str] = frozenset()


def layer_settings(
    given: Mapping[str, Any], rule: LayerRule, one_of: frozenset[str]
) -> dict[str, Any]:
    """A step's settings as they are for the layers of a rule.

    Args:
        given: The step's settings that were written down.
        rule: Its settings win.
        one_of: See ``Technique.one_of``.
    """
    replaced = one_of if one_of & rule.settings.keys() else frozenset()
    kept = {key: value for key, value in given.items() if key not in replaced}
    return {**kept, **rule.settings}
