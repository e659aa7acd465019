"""PyTorch: exported programs, TorchScript, modules from functions; each held against PyTorch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import real_model

from edgekit.core.errors import EdgekitError
from edgekit.importers import ImportOptions, import_model

pytestmark = pytest.mark.slow

ZOO = Path(__file__).parent / "torch_zoo.py"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    subprocess.run([sys.executable, str(ZOO), "programs", str(folder)], check=True,
                   capture_output=True)
    return folder


@pytest.fixture(scope="module")
def net(programs):
    return import_model(str(programs / "net.pt2"))


def check(model, inputs, outputs):
    assert {spec.name: (spec.shape, spec.dtype) for spec in model.inputs} == inputs
    assert {spec.name: spec.shape for spec in model.outputs} == outputs
    assert [row.output for row in model.provenance.parity] == list(outputs)
    assert all(row.max_abs < 1e-5 for row in model.provenance.parity)
    assert model.precision == "float"


def test_a_program_keeps_its_layout_and_its_layers_names(net):
    check(net, {"image": ((1, 3, 8, 8), "float32")}, {"output_0": (1, 5)})
    assert (net.name, net.provenance.format) == ("net", "pytorch")
    assert net.provenance.sha256
    assert any(tensor.name.startswith("conv") for tensor in net.graph.main.tensors)


def test_an_open_batch_becomes_one_and_open_sizes_are_the_users(programs):
    with pytest.raises(EdgekitError, match="dimension 2 of input 'image' is open") as error:
        import_model(str(programs / "open.pt2"))
    assert "--input-shape image=1,3,SIZE,SIZE" in error.value.hint
    shapes = {"image": (1, 3, 12, 12)}
    model = import_model(str(programs / "open.pt2"), ImportOptions(input_shapes=shapes))
    check(model, {"image": ((1, 3, 12, 12), "float32")}, {"output_0": (1, 5)})
    assert "input 'image' fixed to [1, 3, 12, 12]" in model.provenance.notes


def test_keywords_and_nested_results(programs):
    outputs = {"y": (1, 2, 3), "rest_0": (1, 2, 3), "rest_1": (1, 2)}
    inputs = {"ids": ((1, 2), "int32"), "bias": ((1, 2, 4), "float32")}
    for source in (programs / "words.pt2", f"{ZOO}:words"):
        model = import_model(str(source))
        check(model, inputs, outputs)
        assert "input 'ids' is int64 in PyTorch 2.13.0 and int32 here" in model.provenance.notes


@pytest.mark.parametrize(("name", "shapes"), [
    ("traced.pt", {}), ("scripted.jit", {"image": (1, 3, 8, 8)})])
def test_torchscript_is_exported_again(programs, name, shapes):
    model = import_model(str(programs / name), ImportOptions(input_shapes=shapes))
    check(model, {"image": ((1, 3, 8, 8), "float32")}, {"output_0": (1, 5)})


@pytest.mark.parametrize("function", ["net", "program"])
def test_the_functions_model_is_the_files(net, function):
    image = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    made = import_model(f"{ZOO}:{function}").run({"image": image})["output_0"]
    np.testing.assert_allclose(made, net.run({"image": image})["output_0"], atol=1e-6)


def test_half_precision_and_nested_inputs():
    model = import_model(f"{ZOO}:half")
    check(model, {"input": ((1, 4), "float32")}, {"output_0": (1, 2)})
    assert "computes in float16; it was converted to" in model.provenance.notes[0]
    check(import_model(f"{ZOO}:nested"),
          dict.fromkeys(("parts_a", "parts_b", "more_0"), ((1, 3), "float32")),
          {"output_0": (1, 3)})


def test_the_users_data_is_the_proof(tmp_path):
    np.savez(tmp_path / "bad.npz", ids=np.full((2, 2), 99), bias=np.ones((2, 2, 4), np.float32))
    with pytest.raises(EdgekitError, match="cannot run .*out of range"):
        import_model(f"{ZOO}:words", ImportOptions(data=str(tmp_path / "bad.npz")))


@pytest.mark.parametrize(("name", "message", "hint"), [
    ("half.pt2", "computes in float16", "float()"),
    ("training.pt2", "it changes norm", "call eval()"),
    ("scripted.jit", "does not say which shape input 'image' has", "--input-shape image=1,SIZE"),
    ("saves.jit", r"reads or writes files.*aten::save", "torch.export.save"),
    ("weights.pt", r"holds 9 weights \(conv.weight", "module.py:function"),
    ("checkpoint.pth", "holds 9 weights", "module.py:function"),
    ("module.pt", "names '__main__.Net'", "torch.export.save"),
    ("evil.pt", "is a pickle, which is code and not run", "torch.export.save"),
    ("evil.pth", "is a pickle, which is code and not run", "torch.export.save"),
])  # fmt: skip
def test_files_that_are_refused(programs, name, message, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(str(programs / name))
    assert hint in error.value.hint
    assert error.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []  # no code of theirs was run


@pytest.mark.parametrize(("function", "message", "hint"), [
    ("bare", "a PyTorch module without inputs", "(module, example_inputs)"),
    ("counts", "it changes seen", "an input and an output"),
    ("remembers", "is another one each time", "state out of the model"),
    ("unsupported", "aten._linalg_svd .*aten.erfinv", "operators that LiteRT has"),
    ("two_unsupported", r"have: aten.erfinv \(in body/0, body/3\); aten.special_i1 \(in body/2\)$",
     "operators that LiteRT has"),
    ("selects", r"aten.index.Tensor with a size that depends on the values .*; aten.erfinv \(in",
     "torch.where"),
    ("spectrum", "aten.view_as_real: .*complex", "real numbers"),
    ("random", "aten.randn_like", "random numbers"),
    ("branches", "depends on the values", "torch.where"),
    ("complex_numbers", "output 'output_0' is complex", "view_as_real"),
    ("wrong_shape", r"cannot be run on input \[1, 5\] float32", "--input-shape"),
    ("no_tensors", "no tensor to call the module on", "(module, (tensor, …))"),
    ("text_as_inputs", "example inputs of type 'str'", "a tuple of tensors"),
])  # fmt: skip
def test_modules_that_are_refused(function, message, hint):
    with pytest.raises(EdgekitError, match=message) as error:
        import_model(f"{ZOO}:{function}")
    assert hint in error.value.hint
    assert error.value.exit_code == 2


@pytest.mark.parametrize(("name", "size", "outputs"), [
    ("pnet", 48, {"output_0": (1, 4, 19, 19), "output_1": (1, 2, 19, 19)}),
    ("rnet", 24, {"output_0": (1, 4), "output_1": (1, 2)}),
    ("onet", 48, {"output_0": (1, 4), "output_1": (1, 10), "output_2": (1, 2)}),
])  # fmt: skip
def test_the_networks_of_facenet(name, size, outputs):
    real_model(f"facenet/{name}.pt")
    model = import_model(f"{ZOO}:{name}")
    check(model, {"x": ((1, 3, size, size), "float32")}, outputs)
    assert all(row.cosine > 0.999999 for row in model.provenance.parity)


def test_a_signature_is_for_saved_models(programs):
    with pytest.raises(EdgekitError, match="no signatures"):
        import_model(str(programs / "net.pt2"), ImportOptions(signature="a"))


@pytest.mark.filterwarnings("ignore")  # PyTorch's and its converter's own, in this process here
def test_the_first_operator_that_differs_is_named():
    import torch

    from edgekit.importers._bisect_worker import first_difference
    from edgekit.importers._tensorflow import Request
    from edgekit.importers._torch_convert_worker import Flat
    from edgekit.importers._torch_inside_worker import TorchInside
    from edgekit.importers._torch_load_worker import module_source

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(6, 8), torch.nn.Linear(8, 4)

        def forward(self, x):
            return torch.sigmoid(self.second(torch.relu(self.first(x))))

    class Wrong(TorchInside):
        """A reference that is off from the second layer on."""

        def both(self, names, inputs):
            expected, got = super().both(names, inputs)
            return {name: array if array.shape[-1] == 8 else array + 1.0
                    for name, array in expected.items()}, got

    tensors = [torch.randn(1, 6)]
    flat = Flat(module_source(Net().eval(), tuple(tensors), Request("net.py:net", ".", "out")))
    inputs = {flat.inputs[0]: tensors[0].numpy()}
    assert first_difference(TorchInside(flat, tensors), inputs) == ""
    found = first_difference(Wrong(flat, tensors), inputs)
    assert found.endswith("in 'second'"), found


@pytest.mark.filterwarnings("ignore")  # PyTorch's and its converter's own, in this process here
def test_nothing_is_converted_where_an_operator_is_missing(monkeypatch):
    import torch_zoo
    from litert_torch.backend.lowerings import registry

    from edgekit.importers._tensorflow import Request
    from edgekit.importers._torch_convert_worker import Flat, convert
    from edgekit.importers._torch_load_worker import module_source

    lowered = []

    def counted(operator, lowering):
        def lower(context, *args, **keywords):
            lowered.append(str(operator))
            return lowering(context, *args, **keywords)

        return lower

    known = registry.global_registry.registered_ops
    monkeypatch.setattr(registry.global_registry, "registered_ops",
                        {operator: counted(operator, lowering)
                         for operator, lowering in known.items()})

    def convert_made(module, inputs):
        request = Request("zoo.py:made", ".", "out")
        return convert(Flat(module_source(module, inputs, request)), [inputs], request.source)

    with pytest.raises(EdgekitError, match=r"aten\.erfinv .*aten\.special_i1"):
        convert_made(*torch_zoo.two_unsupported())
    assert lowered == []
    assert convert_made(*torch_zoo.net())
    assert any("conv" in name for name in lowered), lowered
