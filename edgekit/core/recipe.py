"""Recipes: an ordered list of steps and a seed, built in or from a user's TOML."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.validation import read_toml

_RECIPE_KEYS = ("name", "seed", "step")


@dataclass(frozen=True)
class LayerRule:
    """Settings for the layers whose name matches; the first rule that matches a layer wins.

    Attributes:
        match: Regular expression, searched for in the layer's name.
        skip: Leave these layers alone.
        settings: Any setting of the step, for these layers.
    """

    match: str
    skip: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepSpec:
    """One ``[[step]]`` as written: which technique, and its settings, not yet validated."""

    use: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[LayerRule, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What to do to a model, in order."""

    name: str
    seed: int = 0
    steps: tuple[StepSpec, ...] = ()


def _quantize(**settings: Any) -> tuple[StepSpec, ...]:  # noqa: ANN401
    return (StepSpec("quantize", settings),)


BUILTIN_RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("float32"),
        Recipe("float16", steps=_quantize(scheme="float16")),
        Recipe("dynamic-int8", steps=_quantize(scheme="dynamic", weights=8)),
        Recipe("static-int8", steps=_quantize(scheme="static", weights=8, activations=8)),
        Recipe("int16x8", steps=_quantize(scheme="static", weights=8, activations=16)),
        Recipe("weight-only-int8", steps=_quantize(scheme="weight-only", weights=8)),
        Recipe("weight-only-int4", steps=_quantize(scheme="weight-only", weights=4)),
    )
}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A built-in recipe by name, or a TOML file.

    Raises:
        EdgekitError: No such recipe (did you mean), or a file that does not read as one.
    """
    text = str(name_or_path)
    if text in BUILTIN_RECIPES:
        return BUILTIN_RECIPES[text]
    if text.endswith(".toml") or "/" in text:
        path = Path(text)
        raw = read_toml(path)
        return parse_recipe(raw.get("recipe", raw), str(path), default_name=path.stem)
    raise EdgekitError(f"unknown recipe '{text}'", did_you_mean(text, BUILTIN_RECIPES))


def parse_recipe(raw: object, where: str, default_name: str) -> Recipe:
    """A recipe from parsed TOML: ``name``, ``seed`` and ``[[step]]`` tables.

    Raises:
        EdgekitError: An unknown key, or a table that is not what it should be.
    """
    if not isinstance(raw, Mapping):
        raise EdgekitError(f"{where}: [recipe] is a table with seed and [[step]]")
    _refuse_unknown(raw, _RECIPE_KEYS, where)
    seed, name, steps = raw.get("seed", 0), raw.get("name", default_name), raw.get("step", [])
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise EdgekitError(f"{where}: seed is a whole number from 0 (got {seed!r})")
    if not isinstance(name, str) or not isinstance(steps, list):
        raise EdgekitError(f"{where}: name is text and step is a list of tables ([[step]])")
    parsed = tuple(_step(step, f"{where}, [[step]] {number}")
                   for number, step in enumerate(steps, 1))
    return Recipe(name, seed, parsed)


def _step(raw: object, where: str) -> StepSpec:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("use"), str):
        raise EdgekitError(f"{where}: says which technique with use = \"...\"")
    layers = raw.get("layer", [])
    if not isinstance(layers, list):
        raise EdgekitError(f"{where}: layer is a list of tables ([[step.layer]])")
    settings = {key: value for key, value in raw.items() if key not in ("use", "layer")}
    rules = tuple(_rule(rule, f"{where}, [[step.layer]] {number}")
                  for number, rule in enumerate(layers, 1))
    return StepSpec(raw["use"], settings, rules)


def _rule(raw: object, where: str) -> LayerRule:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("match"), str):
        raise EdgekitError(f"{where}: says which layers with match = \"...\"")
    try:
        re.compile(raw["match"])
    except re.error as error:
        raise EdgekitError(f"{where}: match is no regular expression: {error}") from error
    skip = raw.get("skip", False)
    if not isinstance(skip, bool):
        raise EdgekitError(f"{where}: skip is true or false (got {skip!r})")
    settings = {key: value for key, value in raw.items() if key not in ("match", "skip")}
    if skip and settings:
        raise EdgekitError(f"{where}: skip = true and other settings exclude each other")
    return LayerRule(raw["match"], skip, settings)


def _refuse_unknown(raw: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in raw:
        if key not in known:
            raise EdgekitError(f"{where}: unknown key '{key}'", did_you_mean(key, known))


def first_match(rules: tuple[LayerRule, ...], layer: str) -> LayerRule | None:
    """The rule that applies to a layer, or None."""
    return next((rule for rule in rules if re.search(rule.match, layer)), None)
