"""``factorize``: the edited file, run by LiteRT, against NumPy with the product U V in place of W.

And what it must leave alone, what it says about it, and a real model through ``edgekit build``.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers_builder import FlatbufferBuilder, small_net

from edgekit.cli import run
from edgekit.core.data import open_dataset
from edgekit.core.errors import EdgekitError, GuardError
from edgekit.core.macs import total_macs
from edgekit.core.model import Model, Provenance
from edgekit.core.recipe import StepSpec, parse_recipe
from edgekit.core.runtime import compare
from edgekit.importers import import_model
from edgekit.steps import StepContext, plan_step
from edgekit.steps.base import Agreement

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "fashion-mnist"
NONE, RELU, RELU6 = (getattr(schema.ActivationFunctionType, name)
                     for name in ("NONE", "RELU", "RELU6"))
ACTIVATE = {NONE: lambda y: y, RELU: lambda y: np.maximum(y, 0),
            RELU6: lambda y: np.clip(y, 0, 6)}


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(data, **fields):
    return Model(data, "net", Provenance("tflite", "net"), **fields)


def planned(*layers, **settings):
    raw = {"step": [{"use": "factorize", **settings, "layer": list(layers)}]}
    return plan_step(parse_recipe(raw, "r", "r").steps[0], "r")


def factorized(model, *layers, **settings):
    """The step's result, without the guard."""
    step = planned(*layers, **settings)
    return step.technique.run(model, step.settings, StepContext(None, False, 0, step.rules))


def guarded(model, result, *layers, **settings):
    """The guard's word on a result, as ``build`` asks for it."""
    step = planned(*layers, **settings)
    context = StepContext(None, False, 0, step.rules)
    found = compare(model, result.model, None, 4)
    return step.technique.guard(model, result, Agreement(found, found, False), step.settings,
                                context)


def outputs(data, x):
    made = Interpreter(model_content=bytes(data))
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], x)
    made.invoke()
    return [made.get_tensor(detail["index"]) for detail in made.get_output_details()]


def operators(model):
    return [operator.name for _, operator in model.graph.operators()]


def truncated(matrix, rank):
    """The best matrix of a rank, from the decomposition of NumPy, in float64."""
    left, singular, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    return (left[:, :rank] * singular[:rank]) @ right[:rank]


def assert_same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def dense_net(x_shape, weights, bias, activation, keep):
    file = FlatbufferBuilder()
    x = file.input("x", x_shape)
    operands = [x, file.constant("dense/kernel", weights)]
    operands += [-1] if bias is None else [file.constant("dense/bias", bias)]
    rows = x_shape[:-1] if keep else (int(np.prod(x_shape[:-1])),)
    y = file.tensor("dense", (*rows, len(weights)))
    file.operator("FULLY_CONNECTED", operands, [y], "FullyConnectedOptions", version=5,
                  keepNumDims=keep, asymmetricQuantizeInputs=True,
                  fusedActivationFunction=activation)
    file.output(y)
    return model_of(file.build())


@pytest.mark.parametrize("activation", [NONE, RELU, RELU6])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("x_shape", "keep"), [((4, 60), False), ((2, 7, 60), True),
                                               ((2, 7, 60), False)])
def test_fully_connected(x_shape, keep, bias, activation):
    weights = noise(0, 48, 60)
    offset = noise(1, 48) if bias else None
    before = dense_net(x_shape, weights, offset, activation, keep)
    result = factorized(before, rank=9)
    assert operators(result.model) == ["FULLY_CONNECTED"] * 2
    first, second = (operator.options for _, operator in result.model.graph.operators())
    for options in (first, second):
        assert (options.keepNumDims, options.asymmetricQuantizeInputs) == (keep, True)
    assert first.fusedActivationFunction == NONE
    x = noise(2, *x_shape)
    wanted = x.astype(np.float64) @ truncated(weights, 9).T + (0 if offset is None else offset)
    shape = before.graph.main.tensors[before.graph.main.outputs[0]].shape
    assert_same(outputs(result.model.data, x)[0], ACTIVATE[activation](wanted.reshape(shape)))


def conv_net(x_shape, weights, bias, strides, dilations, padding, activation):
    file = FlatbufferBuilder()
    x = file.input("x", x_shape)
    operands = [x, file.constant("conv/kernel", weights), file.constant("conv/bias", bias)]
    shape = convolved(np.zeros(x_shape), weights, strides, dilations, padding).shape
    y = file.tensor("conv", shape)
    file.operator("CONV_2D", operands, [y], "Conv2DOptions", strideH=strides[0],
                  strideW=strides[1], dilationHFactor=dilations[0], dilationWFactor=dilations[1],
                  padding=getattr(schema.Padding, padding), fusedActivationFunction=activation)
    file.output(y)
    return model_of(file.build())


def convolved(x, weights, strides, dilations, padding):
    """A convolution by its definition: ``(n, h, w, in)``, ``(out, kh, kw, in)``."""
    pads, sizes = [(0, 0)], []
    for size, kernel, stride, dilation in zip(x.shape[1:3], weights.shape[1:3], strides, dilations,
                                              strict=True):
        reach = (kernel - 1) * dilation + 1
        made = -(-size // stride) if padding == "SAME" else (size - reach) // stride + 1
        missing = max((made - 1) * stride + reach - size, 0) if padding == "SAME" else 0
        pads.append((missing // 2, missing - missing // 2))
        sizes.append(made)
    x = np.pad(x, [*pads, (0, 0)])
    result = np.zeros((len(x), *sizes, len(weights)))
    for row in range(weights.shape[1]):
        for column in range(weights.shape[2]):
            top, left = row * dilations[0], column * dilations[1]
            part = x[:, top : top + (sizes[0] - 1) * strides[0] + 1 : strides[0],
                     left : left + (sizes[1] - 1) * strides[1] + 1 : strides[1]]
            result += part @ weights[:, row, column].T
    return result


CONVOLUTIONS = [  # kernel, strides, dilations
    ((1, 1), (1, 1), (1, 1)),
    ((1, 1), (2, 2), (1, 1)),
    ((3, 3), (1, 1), (1, 1)),
    ((3, 3), (2, 1), (1, 1)),
    ((3, 3), (1, 1), (2, 3)),
    ((3, 5), (2, 2), (1, 1)),
    ((1, 5), (1, 2), (1, 1)),
]


@pytest.mark.parametrize("kernel", ["whole", "separable"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "strides", "dilations"), CONVOLUTIONS)
@pytest.mark.parametrize("activation", [NONE, RELU6])
def test_convolutions(size, strides, dilations, padding, activation, kernel):
    weights, bias = noise(0, 32, *size, 40), noise(1, 32)
    before = conv_net((1, 12, 13, 40), weights, bias, strides, dilations, padding, activation)
    result = factorized(before, rank=4, kernel=kernel)
    assert operators(result.model) == ["CONV_2D"] * 2
    if kernel == "separable" and min(size) > 1:
        matrix = weights.transpose(0, 2, 1, 3).reshape(32 * size[1], -1)
        low = truncated(matrix, 4).reshape(32, size[1], size[0], 40).transpose(0, 2, 1, 3)
    else:
        low = truncated(weights.reshape(32, -1), 4).reshape(weights.shape)
    x = noise(2, 1, 12, 13, 40)
    wanted = convolved(x.astype(np.float64), low, strides, dilations, padding) + bias
    assert_same(outputs(result.model.data, x)[0], ACTIVATE[activation](wanted))
    assert total_macs(result.model.graph) < total_macs(before.graph)
    assert len(result.model.data) < len(before.data)


def test_the_macs_of_separable_layers_decide_with_their_strides():
    """Along the height, the width is not yet strided: that can cost more than it saves."""
    weights = noise(0, 16, 3, 3, 16)
    before = conv_net((1, 64, 64, 16), weights, noise(1, 16), (1, 8), (1, 1), "SAME", NONE)
    result = factorized(before, rank=8, kernel="separable")
    assert result.model is before
    assert result.skipped[0].reason == (
        "rank 8 takes 776 weights for 2304 and 150% of the MACs; up to rank 5 saves bytes (in 8 "
        "bits with their scales, too) and MACs")
    least = factorized(before, rank=5, kernel="separable")
    assert total_macs(least.model.graph) < total_macs(before.graph)


def net_of(size=64, inner=None):
    """Two fully connected layers and a convolution that is grouped: ``x`` to ``scores``."""
    file = FlatbufferBuilder()
    x = file.input("x", (1, 4, 4, size))
    grouped = file.tensor("grouped", (1, 4, 4, size))
    file.operator("CONV_2D", [x, file.constant("grouped/kernel", noise(0, size, 3, 3, size // 4)),
                              file.constant("grouped/bias", noise(1, size))], [grouped],
                  "Conv2DOptions", strideW=1, strideH=1)
    hidden = file.tensor("hidden", (1, 4, 4, size))
    weights = noise(2, size, size) if inner is None else inner
    file.operator("FULLY_CONNECTED", [grouped, file.constant("hidden/kernel", weights), -1],
                  [hidden], "FullyConnectedOptions", keepNumDims=True, version=5)
    scores = file.tensor("scores", (1, 4, 4, size))
    file.operator("FULLY_CONNECTED", [hidden, file.constant("scores/kernel", noise(3, size, size)),
                                      file.constant("scores/bias", noise(4, size))], [scores],
                  "FullyConnectedOptions", keepNumDims=True, version=5)
    file.output(scores)
    return model_of(file.build())


def test_everything_else_is_byte_equal_and_keeps_its_name():
    before = net_of()
    after = factorized(before, {"match": "scores", "skip": True}, rank=8).model
    old = {tensor.name: tensor for tensor in before.graph.main.tensors}
    new = {tensor.name: tensor for tensor in after.graph.main.tensors}
    assert set(old) - set(new) == {"hidden/kernel"}
    assert set(new) - set(old) == {"hidden/low_rank", "hidden/low_rank_1", "hidden/low_rank_2"}
    for name in set(old) & set(new):
        assert old[name].shape == new[name].shape
        assert before.graph.raw(old[name]) == after.graph.raw(new[name])
    layers = [after.graph.main.tensors[o.outputs[0]].name for _, o in after.graph.operators()]
    assert layers == ["grouped", "hidden/low_rank", "hidden", "scores"]
    assert new["hidden/low_rank"].shape == (1, 4, 4, 8)


def test_the_old_weights_are_not_in_the_file_any_more():
    before = net_of()
    after = factorized(before, rank=8).model
    old = before.graph.raw(next(t for t in before.graph.main.tensors if t.name == "hidden/kernel"))
    assert bytes(old) in bytes(before.data)
    assert bytes(old) not in bytes(after.data)
    # 64 × 64 as 8 × (64 + 64), twice; then names and tables.
    saved = 4 * 2 * (64 * 64 - 8 * 128)
    assert saved - 2 * 400 <= len(before.data) - len(after.data) <= saved


def test_weights_of_a_rank_are_found_and_lose_nothing():
    low = (noise(5, 64, 6) @ noise(6, 6, 64)).astype(np.float32)
    before = net_of(inner=low)
    result = factorized(before, energy=1.0)
    assert "1 layer(s) of 4096 weights factorized to 768 (19%" in result.changed
    reasons = {row.layer: row.reason for row in result.skipped}
    assert reasons == {
        "grouped": "its channels are in groups",
        "scores": "rank 64, which 1 of the energy needs, takes 8192 weights for 4096 and 200% of "
                  "the MACs; up to rank 23 saves bytes (in 8 bits with their scales, too) and MACs",
    }
    x = noise(7, 1, 4, 4, 64)
    assert_same(outputs(result.model.data, x)[0], outputs(before.data, x)[0])


def test_a_layer_has_its_own_rank_or_energy_instead_of_the_steps():
    before = net_of()
    result = factorized(before, {"match": "^hidden", "rank": 5},
                        {"match": "^scores", "energy": 0.5}, budget=0.9)
    shapes = {t.name: t.shape for t in result.model.graph.main.tensors}
    assert shapes["hidden/low_rank_1"] == (5, 64)
    singular = np.linalg.svd(noise(3, 64, 64).astype(np.float64), compute_uv=False)
    held = np.cumsum(singular**2) / np.sum(singular**2)
    assert len(held[held < 0.5]) + 1 == shapes["scores/low_rank_1"][0]


def test_a_budget_is_for_all_layers_together():
    before = net_of(inner=(noise(5, 64, 6) @ noise(6, 6, 64)).astype(np.float32))
    result = factorized(before, budget=0.4)
    ranks = [t.shape[0] for t in result.model.graph.main.tensors if t.name.endswith("low_rank_1")]
    assert ranks[0] == 6, "the one of rank 6 needs no more"
    assert ranks[1] == (int(0.4 * 2 * 64 * 64) - 6 * 128) // 128


def test_again_with_less():
    once = factorized(net_of(), rank=20).model
    twice = factorized(once, rank=5).model
    names = {tensor.name for tensor in twice.graph.main.tensors}
    assert {"hidden/low_rank/low_rank_1", "hidden/low_rank_1_2"} <= names
    assert operators(twice) == ["CONV_2D"] + ["FULLY_CONNECTED"] * 8


def reasons_of(model, **settings):
    return {row.layer: row.reason for row in factorized(model, **settings).skipped}


def test_weights_that_several_operators_use_stay():
    file = FlatbufferBuilder()
    x = file.input("x", (1, 64))
    shared = file.constant("shared", noise(0, 64, 64))
    same_bytes = file.tensor("alias", (64, 64), buffer=file._current.tensors[shared].buffer)
    for name, weights, source in (("a", shared, x), ("b", shared, 2), ("c", same_bytes, 3)):
        y = file.tensor(name, (1, 64))
        file.operator("FULLY_CONNECTED", [source if name == "a" else y - 1, weights, -1], [y],
                      "FullyConnectedOptions")
    file.output(y)
    result = factorized(model_of(file.build()), rank=4)
    assert {row.layer: row.reason for row in result.skipped} == dict.fromkeys(
        "abc", "its weights are used in several places")
    assert "left as it was" in result.changed


def test_computed_weights_and_declared_ones_stay():
    file = FlatbufferBuilder()
    x = file.input("x", (64, 64))
    y, z = file.tensor("y", (64, 64)), file.tensor("z", (64, 64))
    file.operator("FULLY_CONNECTED", [x, x, -1], [y], "FullyConnectedOptions")
    file.operator("FULLY_CONNECTED", [y, file.constant("w", noise(0, 64, 64)), -1], [z],
                  "FullyConnectedOptions")
    file.output(z)
    model = replace(model_of(file.build()), constraints={"w": "sparse(0.5)"})
    assert reasons_of(model) == {
        "y": "its weights are computed, not constant",
        "z": "sparse(0.5) is declared for its weights, and factors would not keep it",
    }


def test_weights_that_are_no_numbers_stay():
    broken = noise(0, 64, 64)
    broken[3, 4] = np.nan
    assert reasons_of(net_of(inner=broken))["hidden"] == "its weights hold NaN or infinity"


def test_layers_too_small_for_two_say_so():
    result = factorized(net_of(size=8))
    wanted = ("no rank saves anything: rank 1 takes 16 weights for 64 and 25% of the MACs, beside "
              "400 bytes for one layer more")
    assert {row.reason for row in result.skipped if row.layer != "grouped"} == {wanted}
    assert result.notes == ("no layer was factorized; why, is said of each of the 3",)


def test_a_model_with_nothing_to_factorize_is_left_as_it_was():
    file = FlatbufferBuilder()
    x = file.input("x", (1, 8))
    y = file.tensor("y", (1, 8))
    file.operator("SOFTMAX", [x], [y], "SoftmaxOptions", beta=1.0)
    file.output(y)
    before = model_of(file.build())
    result = factorized(before)
    assert result.model is before
    assert result.skipped == ()
    assert result.notes == (
        "nothing to factorize: the model has no fully connected layer and no convolution",)


def test_bodies_of_loops_are_factorized_too():
    file = FlatbufferBuilder()
    x = file.input("x", (1, 64))
    y = file.tensor("y", (1, 64))
    file.operator("WHILE", [x], [y], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    file.output(y)
    file.subgraph("cond")
    c = file.input("c", (1, 64))
    total, limit = file.tensor("total", ()), file.constant("limit", np.float32(10.0))
    file.operator("SUM", [c, file.constant("axes", np.array([0, 1], np.int32))], [total],
                  "ReducerOptions")
    less = file.tensor("less", (), "bool")
    file.operator("LESS", [total, limit], [less], "LessOptions")
    file.output(less)
    file.subgraph("body")
    b = file.input("b", (1, 64))
    low = np.abs(noise(0, 64, 2) @ noise(1, 2, 64)).astype(np.float32)
    d = file.tensor("d", (1, 64))
    file.operator("FULLY_CONNECTED", [b, file.constant("w", low), -1], [d],
                  "FullyConnectedOptions")
    file.output(d)
    before = model_of(file.build())
    after = factorized(before, rank=20).model
    assert [len(subgraph.operators) for subgraph in after.graph.subgraphs] == [1, 2, 2]
    x = np.full((1, 64), 0.01, np.float32)
    wanted = x.astype(np.float64)
    while wanted.sum() < 10.0:
        wanted = wanted @ truncated(low, 20).T
    assert_same(outputs(after.data, x)[0], wanted)


def test_the_guard_says_the_cosine_and_refuses_a_low_one():
    before = model_of(small_net())
    result = factorized(before, rank=2)
    kept = guarded(before, result, rank=2, min_cosine=0.2)
    assert kept.model is result.model
    assert kept.notes[-1].startswith("cosine with the model before: 0.")
    with pytest.raises(GuardError, match=r"cosine 0\.\d+ on random inputs .*, 0\.5 is the least"):
        guarded(before, result, rank=2)


def test_the_guard_sees_a_constant_that_was_touched():
    before = net_of()
    result = factorized(before, rank=8)
    graph = result.model.graph
    bias = next(tensor for tensor in graph.main.tensors if tensor.name == "scores/bias")
    spoiled = bytearray(result.model.data)
    spoiled[graph.buffer_spans[bias.buffer][0]] ^= 1
    wrong = replace(result, model=before.with_data(bytes(spoiled)))
    with pytest.raises(GuardError, match="changed the constant 'scores/bias'"):
        guarded(before, wrong, rank=8, min_cosine=-1)


def test_the_guard_takes_nothing_that_is_no_smaller():
    before = net_of()
    result = factorized(before, rank=8)
    grown = replace(result, model=before.with_data(bytes(result.model.data) + bytes(40_000)))
    kept = guarded(before, grown, rank=8, min_cosine=-1)
    assert kept.model is before
    assert "no smaller" in kept.notes[-1]


def test_learnt_ranges_do_not_outlive_the_layers():
    before = replace(net_of(), ranges={"hidden": (-1.0, 1.0)})
    result = factorized(before, rank=8)
    assert result.model.ranges == {}
    assert "ranges" in result.notes[0]


@pytest.mark.parametrize(("settings", "problem"), [
    ({"energy": 0}, "r: energy: .*greater than 0"),
    ({"energy": 1.5}, "r: energy: .*less than or equal to 1"),
    ({"energy": float("nan")}, "r: energy"),
    ({"budget": 1.0}, "r: budget: .*less than 1"),
    ({"budget": 0.0}, "r: budget: .*greater than 0"),
    ({"rank": 0}, "r: rank: .*greater than or equal to 1"),
    ({"rank": 2.5}, "r: rank"),
    ({"energy": 0.9, "rank": 3}, "r: 'energy' and 'rank' exclude each other: give one"),
    ({"energy": 0.9, "budget": 0.5}, "r: 'energy' and 'budget' exclude each other"),
    ({"kernel": "round"}, "r: kernel"),
    ({"energi": 0.9}, "r: unknown key 'energi'"),
])
def test_settings_that_make_no_sense_are_named(settings, problem):
    with pytest.raises(EdgekitError, match=problem):
        planned(**settings)


@pytest.mark.parametrize(("rule", "problem"), [
    ({"match": "a", "budget": 0.5}, "r: 'budget' cannot be set per layer"),
    ({"match": "a", "rank": 0}, "r, layer 'a': rank"),
    ({"match": "a", "rank": 2, "energy": 0.5}, "r, layer 'a': 'energy' and 'rank' exclude"),
])
def test_rules_that_make_no_sense_are_named(rule, problem):
    with pytest.raises(EdgekitError, match=problem):
        planned(rule, budget=0.5)


def test_a_rule_that_matches_no_layer_is_named():
    with pytest.raises(EdgekitError, match="no layer's name matches .*'hiden'"):
        factorized(net_of(), {"match": "hiden", "rank": 2})


def test_a_budget_that_cannot_be_met_is_named():
    with pytest.raises(EdgekitError, match=r"budget 0\.001 is too small"):
        factorized(net_of(), budget=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["whole", "separable"])
def test_a_real_network_of_branches(pitch_tflite, kernel):
    before = import_model(str(pitch_tflite))
    result = factorized(before, energy=0.9, kernel=kernel)
    assert len(result.model.data) < len(before.data)
    assert total_macs(result.model.graph) < total_macs(before.graph)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 43844, 1)).astype(np.float32)
    data = open_dataset({"x": x}, before.inputs)
    assert compare(before, result.model, data, 2).cosine > 0.95
    assert factorized(before, energy=0.9, kernel=kernel).model.sha256 == result.model.sha256


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["static", "dynamic", "weight-only"])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_the_largest_rank_that_is_taken_still_pays_in_8_bits(kind, scheme):
    """Scales and zero points of the channels between must not eat up what the weights save."""
    if kind == "dense":
        before = dense_net((1, 96), noise(0, 64, 96), noise(1, 64), NONE, False)
        most = (64 * 96 - 400 - 1) // (64 + 96 + 28)
    else:
        before = conv_net((1, 12, 13, 20), noise(0, 24, 3, 3, 20), noise(1, 24), (1, 1), (1, 1),
                          "SAME", NONE)
        most = (24 * 180 - 400 - 1) // (24 + 180 + 1 + 28)
    assert factorized(before, rank=most + 1).model is before
    after = factorized(before, rank=most).model
    data = open_dataset({"x": noise(2, 8, *before.inputs[0].shape[1:])}, before.inputs)
    step = plan_step(StepSpec("quantize", {"scheme": scheme}), "r")
    sizes = [len(step.technique.run(model, step.settings, StepContext(data, False, 0)).model.data)
             for model in (before, after)]
    assert sizes[1] < sizes[0]


RECIPE = """
[[step]]
use = "factorize"
budget = 0.8
[[step]]
use = "quantize"
scheme = "{scheme}"
"""


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "target"), [("static", "stm32f746-disco"),
                                                ("dynamic", "android")])
def test_build_factorizes_then_quantizes(tmp_path, monkeypatch, scheme, target):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(scheme=scheme))
    monkeypatch.chdir(EXAMPLE)
    assert run(["build", "-t", target, "-r", str(recipe), "-o", str(tmp_path / "out"), "-q",
                "--device", "none", "--max-drop", "4"]) == 0
    bundle = tmp_path / "out" / "fashion_mnist" / target
    report = json.loads((bundle / "report.json").read_text())
    stages = report["stages"]
    assert [stage["name"] for stage in stages] == ["import", "factorize", "quantize", "strip"]
    assert stages[1]["parameters"] < 0.82 * stages[0]["parameters"]
    assert stages[1]["bytes"] < stages[0]["bytes"]
    assert any("cosine with the model before" in note for note in stages[1]["notes"])
    final = import_model(str(bundle / "model.tflite"))
    assert final.precision == ("integer" if scheme == "static" else "mixed")
