"""Runs in the child process: the inner values of a PyTorch module, to find the first wrong one."""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.model import Model, Provenance
from edgekit.importers._finish_worker import finish
from edgekit.importers._proof_worker import Arrays
from edgekit.importers._torch_convert_worker import Flat
from edgekit.importers._torch_hooks_worker import path_of


class _Ports:
    """Names of inputs and outputs, as ``finish`` wants them."""

    def __init__(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.inputs, self.outputs = inputs, outputs


class TorchInside:
    """The module as the operators that ``torch.export`` makes of it; see ``_bisect.Inside``."""

    def __init__(self, flat: Flat, tensors: Sequence[Any]) -> None:
        self._ports, self._tensors = flat.ports, tuple(tensors)
        program = torch.export.export(flat, self._tensors, strict=False)
        self._module = program.module(check_guards=False)
        self._nodes = {node.name: node for node in self._module.graph.nodes}

    def names(self) -> Sequence[str]:
        """Float results of operators."""
        return [name for name, node in self._nodes.items() if node.op == "call_function"
                and getattr(node.meta.get("val"), "dtype", None) == torch.float32]

    def both(
        self, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[Arrays, Arrays]:
        """These values as PyTorch and as LiteRT compute them."""
        module = self._giving(names)
        given = [torch.from_numpy(np.array(inputs[port.name])).to(getattr(torch, port.dtype))
                 for port in self._ports]
        with torch.no_grad():
            expected = module(*given)
            raw = bytes(litert_torch.convert(module, self._tensors).model_content())
        ports = _Ports(tuple(port.name for port in self._ports), tuple(names))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe.tflite"
            data = finish(raw, ports, str)
            path.write_bytes(data)
            signature = Model(data, "probe", Provenance("probe", "probe")).signature
            got = runtime.invoke(str(path), {"input_index": signature.inputs,
                                             "output_index": signature.outputs}, inputs)
            runtime.interpreter.cache_clear()
        return {name: value.numpy() for name, value in zip(names, expected, strict=True)}, got

    def describe(self, name: str) -> str:
        """The operator, and the module that it is in."""
        node = self._nodes[name]
        return f"{node.target} in '{path_of(node).rstrip(';')}'"

    def _giving(self, names: Sequence[str]) -> Any:  # noqa: ANN401 - GraphModule
        graph = copy.deepcopy(self._module.graph)
        graph.set_codegen(torch.fx.graph.CodeGen())  # tensors in, a tuple out
        nodes = {node.name: node for node in graph.nodes}
        output = next(node for node in graph.nodes if node.op == "output")
        output.args = (tuple(nodes[name] for name in names),)
        graph.eliminate_dead_code()
        return torch.fx.GraphModule(self._module, graph)
