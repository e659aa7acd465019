"""Techniques: each turns a Model into a Model. One file and one row per technique."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.recipe import LayerRule, StepSpec
from edgekit.core.validation import Strict, parse
from edgekit.steps.base import StepContext, Technique, layer_settings
from edgekit.steps.factorize import FACTORIZE
from edgekit.steps.quantize import QUANTIZE
from edgekit.steps.strip import STRIP

STEPS: Mapping[str, Technique] = {
    "factorize": FACTORIZE,
    "quantize": QUANTIZE,
    "strip": STRIP,
}

__all__ = ["STEPS", "PlannedStep", "StepContext", "Technique", "plan_step"]


@dataclass(frozen=True)
class PlannedStep:
    """A step whose settings are known to be sound."""

    technique: Technique
    settings: Strict
    rules: tuple[LayerRule, ...] = ()

    @property
    def needs_data(self) -> bool:
        """Whether these settings need calibration data."""
        return self.technique.needs_data(self.settings)


def plan_step(spec: StepSpec, where: str) -> PlannedStep:
    """Validate one ``[[step]]``.

    Raises:
        EdgekitError: An unknown technique or setting, with "did you mean".
    """
    technique = STEPS.get(spec.use)
    if technique is None:
        raise EdgekitError(f"{where}: unknown technique '{spec.use}'",
                           did_you_mean(spec.use, STEPS))
    settings = parse(technique.settings, dict(spec.settings), where)
    for rule in spec.layers:
        for key in rule.settings:
            if key not in technique.layer_settings:
                raise EdgekitError(f"{where}: '{key}' cannot be set per layer",
                                   did_you_mean(key, [*technique.layer_settings, "skip"]))
        parse(technique.settings, layer_settings(spec.settings, rule, technique.one_of),
              f"{where}, layer '{rule.match}'")
    return PlannedStep(technique, settings, spec.layers)
