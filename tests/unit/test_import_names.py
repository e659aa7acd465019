"""Names of outputs and of tensors."""

from hypothesis import given
from hypothesis import strategies as st

from edgekit.importers._names import named_outputs, unique, without_calls, without_scopes

LAYERS = {"net", "conv", "conv_1", "bn", "relu", "add_1", "backbone", "dense"}


@given(st.lists(st.sampled_from(["a", "b", "a_1", "a_1_1", "a_2"])))
def test_unique_names_are_unique_and_keep_the_first(names):
    made = unique(names)
    assert len(set(made)) == len(made) == len(names)
    assert all(new.startswith(old) for old, new in zip(names, made, strict=True))
    for name in set(names):
        assert made[names.index(name)] == name or name in made[: names.index(name)]


def test_outputs_take_keys_then_own_names_then_positions():
    assert list(named_outputs({"b": 1, "a": 2}, ["x", "y"])) == ["b", "a"]
    assert list(named_outputs([1, 2], ["x", "x"])) == ["x", "x_1"]
    assert list(named_outputs([1, 2], ["x"])) == ["output_0", "output_1"]
    assert list(named_outputs(1)) == ["output_0"]
    assert list(named_outputs(1, ["scores"])) == ["scores"]
    assert named_outputs((1, {"q": 2, "r": [3, 4]}, None)) == {
        "output_0": 1, "output_1_q": 2, "output_1_r_0": 3, "output_1_r_1": 4}
    assert list(named_outputs({"boxes": [1, 2]})) == ["boxes_0", "boxes_1"]
    assert list(named_outputs({"7": 1})) == ["output_7"]


def test_calls_and_repetitions_go():
    inlined = "StatefulPartitionedCall/PartitionedCall_1/net/relu/Relu"
    assert without_calls(f"net/relu/Relu;{inlined};92801") == "net/relu/Relu"
    assert without_calls("StatefulPartitionedCall") == "StatefulPartitionedCall"
    assert without_calls("a;b;a") == "a;b"
    assert without_calls("") == ""


def clean(name, *, numbered=True):
    return without_scopes(name, model="net", layers=LAYERS, numbered=numbered)


def test_keras_3_numbers_and_the_models_name_go():
    assert clean("net_1/conv_1/convolution") == "conv/convolution"
    assert clean("net_1/conv_1_2/convolution") == "conv_1/convolution"
    assert clean("net_1/backbone_1/conv_1/Relu") == "backbone/conv/Relu"
    assert clean("net/conv_1/Relu", numbered=False) == "conv_1/Relu"
    assert clean("net") == "net"
    assert clean("arith.constant3") == "arith.constant3"


def test_one_path_for_each_fused_layer():
    fused = "net_1/relu_1/Relu;net_1/bn_1/batchnorm/add_1;net_1/conv_1/convolution;net_1/bn_1/sub1"
    assert clean(fused) == "relu/Relu;bn/batchnorm/add_1;conv/convolution"
