"""Recipes and projects: what a user's TOML may say, and how it is refused."""

import pytest

from edgekit.core.errors import EdgekitError
from edgekit.core.project import load_project
from edgekit.core.recipe import BUILTIN_RECIPES, first_match, load_recipe, parse_recipe
from edgekit.steps import STEPS, plan_step


@pytest.mark.parametrize("name", BUILTIN_RECIPES)
def test_every_builtin_recipe_plans(name):
    recipe = load_recipe(name)
    for spec in recipe.steps:
        assert plan_step(spec, name).technique.name in STEPS


def test_unknown_names_are_refused_with_the_closest():
    with pytest.raises(EdgekitError) as error:
        load_recipe("dynamic-in8")
    assert error.value.hint == "did you mean 'dynamic-int8'?"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"sed": 1}, "unknown key 'sed'"),
        ({"seed": "x"}, "seed is a whole number"),
        ({"seed": -1}, "seed is a whole number"),
        ({"step": {}}, "list of tables"),
        ({"step": [{"scheme": "static"}]}, "says which technique"),
        ({"step": [{"use": "quantize", "layer": [{"match": "("}]}]}, "no regular expression"),
        ({"step": [{"use": "quantize", "layer": [{"skip": True}]}]}, "says which layers"),
        ({"step": [{"use": "quantize", "layer": [{"match": "a", "skip": 1}]}]}, "true or false"),
        ({"step": [{"use": "quantize", "layer": [{"match": "a", "skip": True, "weights": 4}]}]},
         "exclude each other"),
        ([], r"\[recipe\] is a table"),
    ],
)
def test_recipes_that_make_no_sense(raw, said):
    with pytest.raises(EdgekitError, match=said):
        parse_recipe(raw, "here", "r")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"use": "quantise", "scheme": "static"}, "unknown technique 'quantise'"),
        ({"use": "quantize"}, "'scheme' is required"),
        ({"use": "quantize", "scheme": "statik"}, "scheme"),
        ({"use": "quantize", "scheme": "static", "wieghts": 8}, "unknown key 'wieghts'"),
        ({"use": "quantize", "scheme": "static", "weights": 2}, "8 or 4 bits, not 2"),
        ({"use": "quantize", "scheme": "dynamic", "activations": 8}, "is for scheme 'static'"),
        ({"use": "quantize", "scheme": "float16", "weights": 8}, "16 bits, not 8"),
        ({"use": "quantize", "scheme": "dynamic",
          "layer": [{"match": "a", "scheme": "static"}]}, "cannot be set per layer"),
        ({"use": "quantize", "scheme": "weight-only",
          "layer": [{"match": "a", "weights": 2}]}, "layer 'a'"),
    ],
)
def test_steps_that_make_no_sense(step, said):
    spec = parse_recipe({"step": [step]}, "here", "r").steps[0]
    with pytest.raises(EdgekitError, match=said):
        plan_step(spec, "here")


def test_first_matching_rule_wins():
    raw = {"use": "quantize", "scheme": "dynamic",
           "layer": [{"match": "conv_1", "skip": True}, {"match": "conv", "weights": 4}]}
    rules = parse_recipe({"step": [raw]}, "here", "r").steps[0].layers
    assert first_match(rules, "net/conv_1/out").skip
    assert first_match(rules, "net/conv_2/out").settings == {"weights": 4}
    assert first_match(rules, "net/dense") is None


def test_project_paths_are_relative_to_its_file(tmp_path):
    (tmp_path / "edgekit.toml").write_text(
        '[model]\npath = "net.tflite"\n[data]\ncalibration = "c.npz"\n'
        '[targets.android.budget]\ndownload_bytes = 1000\n'
    )
    project = load_project(tmp_path / "edgekit.toml")
    assert project.model.path == str(tmp_path / "net.tflite")
    assert project.data.calibration == str(tmp_path / "c.npz")
    assert project.targets["android"].budget == {"download_bytes": 1000}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[model]\npath = "a"\nlabel = "b"', "unknown key 'model.label'"),
        ('[model]\n', "'model.path' is required"),
        ('[modell]\npath = "a"', "did you mean|unknown key 'modell'"),
        ('[model]\npath = "a"\n[targets.android]\nbudgets = {}', "unknown key"),
        ("not toml", "cannot be read as TOML"),
    ],
)
def test_projects_that_make_no_sense(tmp_path, text, said):
    (tmp_path / "edgekit.toml").write_text(text)
    with pytest.raises(EdgekitError, match=said):
        load_project(tmp_path / "edgekit.toml")
