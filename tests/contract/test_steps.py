"""Every technique: it keeps the model's promises, and its guard can fail."""

import numpy as np
import pytest

from edgekit.core.data import open_dataset
from edgekit.core.errors import GuardError
from edgekit.core.fidelity import Fidelity
from edgekit.core.recipe import BUILTIN_RECIPES, LayerRule
from edgekit.core.runtime import compare
from edgekit.importers import import_model
from edgekit.steps import STEPS, StepContext, plan_step
from edgekit.steps.base import Agreement

RECIPES = [name for name, recipe in BUILTIN_RECIPES.items() if recipe.steps]
WRONG = Fidelity(0.1, -3.0, 0.0, 5.0, 1)


@pytest.fixture(scope="module")
def pitch(pitch_tflite):
    return import_model(str(pitch_tflite))


@pytest.fixture(scope="module")
def samples(pitch):
    x = np.random.default_rng(0).uniform(-1, 1, (3, 43844, 1)).astype(np.float32)
    return open_dataset({"x": x}, pitch.inputs)


def apply(model, name, data, *, integer_only=False, rules=(), **settings):
    spec = BUILTIN_RECIPES[name].steps[0]
    step = plan_step(type(spec)("quantize", {**spec.settings, **settings}), name)
    context = StepContext(data, integer_only, 0, rules)
    return step.technique.run(model, step.settings, context)


@pytest.mark.parametrize("name", RECIPES)
def test_a_quantized_model_runs_agrees_and_is_smaller(name, pitch, samples):
    result = apply(pitch, name, samples)
    assert len(result.model.data) < len(pitch.data)
    assert [s.name for s in result.model.inputs] == [s.name for s in pitch.inputs]
    assert [s.name for s in result.model.outputs] == [s.name for s in pitch.outputs]
    assert result.model.precision != "float"
    floor = 0.85 if name == "weight-only-int4" else 0.9
    assert compare(pitch, result.model, samples, 2).cosine > floor


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_input_gives_the_same_bytes(name, pitch, samples):
    first, second = (apply(pitch, name, samples).model.sha256 for _ in range(2))
    assert first == second


def test_the_model_given_is_not_changed(pitch, samples):
    before = pitch.sha256
    apply(pitch, "static-int8", samples)
    from hashlib import sha256

    assert sha256(pitch.data).hexdigest() == before


def test_a_rule_leaves_its_layers_float(pitch):
    names = [op for _, op in pitch.graph.operators() if op.name == "CONV_2D"]
    target = pitch.graph.main.tensors[names[0].outputs[0]].name
    import re

    rules = (LayerRule(re.escape(target), skip=True),)
    result = apply(pitch, "dynamic-int8", None, rules=rules)
    kinds = {op.outputs[0]: result.model.graph.main.tensors[op.inputs[1]].dtype
             for _, op in result.model.graph.operators() if op.name == "CONV_2D"}
    named = {result.model.graph.main.tensors[i].name: dtype for i, dtype in kinds.items()}
    assert named[target] == "float32"
    assert set(named.values()) == {"float32", "int8"}


def test_static_integer_border_and_float_border(pitch, samples):
    assert apply(pitch, "static-int8", samples).model.inputs[0].dtype == "float32"
    assert apply(pitch, "static-int8", samples, io="int").model.inputs[0].dtype == "int8"


def test_layers_left_in_float_are_reported(pitch, samples):
    result = apply(pitch, "static-int8", samples)
    assert any("EXPAND_DIMS" in row.reason for row in result.skipped)


def test_strip_is_bit_equal_smaller_and_keeps_the_border(pitch, samples):
    quantized = apply(pitch, "dynamic-int8", None).model
    strip = plan_step(type(BUILTIN_RECIPES["float16"].steps[0])("strip"), "strip")
    result = strip.technique.run(quantized, strip.settings, StepContext(None, False, 0))
    assert len(result.model.data) < len(quantized.data)
    assert compare(quantized, result.model, samples, 3).max_abs == 0.0
    assert result.model.signature.inputs.keys() == quantized.signature.inputs.keys()
    inner = [t.name for t in result.model.graph.main.tensors if t.name]
    assert len(inner) == len(result.model.inputs) + len(result.model.outputs)


def test_strip_keeps_names_when_asked(pitch):
    strip = plan_step(type(BUILTIN_RECIPES["float16"].steps[0])("strip", {"keep_names": True}), "s")
    result = strip.technique.run(pitch, strip.settings, StepContext(None, False, 0))
    assert ([t.name for t in result.model.graph.main.tensors]
            == [t.name for t in pitch.graph.main.tensors])


@pytest.mark.parametrize("name", STEPS)
def test_every_guard_can_fail(name, pitch, samples):
    technique = STEPS[name]
    settings = ({"scheme": "dynamic"} if name == "quantize" else {})
    parsed = technique.settings(**settings)
    context = StepContext(None, False, 0)
    result = technique.run(pitch, parsed, context)
    with pytest.raises(GuardError):
        technique.guard(pitch, result, Agreement(WRONG, WRONG, False), parsed, context)


def test_two_bit_convolutions_are_replaced_and_said(pitch):
    spec = BUILTIN_RECIPES["dynamic-int8"].steps[0]
    step = plan_step(type(spec)("quantize", {"scheme": "dynamic", "weights": 2}), "r")
    result = step.technique.run(pitch, step.settings, StepContext(None, False, 0))
    assert any("2-bit convolutions wrongly" in note for note in result.notes)
    assert not any(t.dtype == "int2" for t in result.model.graph.main.tensors)
