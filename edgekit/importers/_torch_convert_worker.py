"""Runs in the child process: one PyTorch module through LiteRT's converter for PyTorch."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import litert_torch
import numpy as np
import torch
import torch.fx.traceback
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from edgekit.core import _runtime_worker as runtime
from edgekit.core.errors import EdgekitError
from edgekit.core.graph import MAX_FILE_BYTES
from edgekit.core.model import TensorSpec
from edgekit.importers._names import named_outputs
from edgekit.importers._proof_worker import Arrays, first_line
from edgekit.importers._shapes import Port
from edgekit.importers._torch_hooks_worker import (
    NO_COMPLEX,
    layer_names,
    listed,
    operators_checked,
)

FRAMEWORK = f"PyTorch {torch.__version__.partition('+')[0]}"
HALF = (torch.float16, torch.bfloat16)

_FAILED_OP = re.compile(r"'((?:tfl|stablehlo|vhlo|chlo|func|tf)\.[\w.]+)' op")
_NODE = re.compile(r"While executing .*call_function\[target=(?:torch\.ops\.)?([\w.]+)\]")
Draw = Callable[[TensorSpec, np.random.Generator], NDArray[Any]]


@dataclass
class Source:
    """A PyTorch module and how it is called.

    Attributes:
        module: What is called.
        ports: Its tensors, in the order of ``rebuild``'s argument.
        rebuild: Tensors to positional and keyword arguments.
        examples: A sample of each input, where the source has one.
        draw: Makes an input where nobody gave one.
        notes: What had to be decided on the way here.
    """

    module: torch.nn.Module
    ports: tuple[Port, ...]
    rebuild: Callable[[Sequence[Any]], tuple[Sequence[Any], dict[str, Any]]]
    examples: tuple[Any, ...] | None = None
    draw: Draw = runtime.draw
    notes: list[str] = field(default_factory=list)


class Flat(torch.nn.Module):  # type: ignore[misc]
    """The source as tensors in, tensors out, with names for both."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source.module
        self.rebuild = source.rebuild
        self.ports = source.ports
        self.inputs = tuple(port.name for port in source.ports)
        self.outputs: tuple[str, ...] = ()

    def forward(self, *tensors: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """The source's outputs that are tensors, in order; this is what is traced."""
        if not isinstance(self.source, torch.fx.GraphModule):
            return tuple(self.results(tensors).values())
        # Called as a whole, an exported program would lose which layers its operators are of.
        leaves = pytree.tree_leaves(self.rebuild(tensors), is_leaf=lambda leaf: leaf is None)
        flat = torch.fx.Interpreter(self.source).run(*leaves, enable_io_processing=False)
        return tuple(_tensors(self.source.graph.process_outputs(flat)).values())

    def results(self, tensors: Sequence[Any]) -> dict[str, Any]:
        """The source's outputs that are tensors, by name."""
        arguments, keywords = self.rebuild(tensors)
        return _tensors(self.source(*arguments, **keywords))

    def run(self, inputs: Arrays) -> Arrays:
        """The reference's outputs for LiteRT's inputs, in types that NumPy has."""
        tensors = [torch.from_numpy(np.array(inputs[port.name])).to(getattr(torch, port.dtype))
                   for port in self.ports]
        with torch.no_grad():
            results = self.results(tensors)
        return {name: value.detach().float().numpy() if value.dtype in HALF
                else value.detach().numpy() for name, value in results.items()}


def _tensors(results: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: value for name, value in named_outputs(results).items()
            if isinstance(value, torch.Tensor)}


def probe(flat: Flat, tensors: Sequence[Any], source: str) -> None:
    """Run once, to name the outputs and to see whether it can run, and without a memory.

    Raises:
        EdgekitError: It fails, gives no tensor, or changes its buffers or inputs.
    """
    held = {**dict(flat.source.named_buffers()), **dict(flat.source.named_parameters()),
            **{f"input {port.name}": tensor
               for port, tensor in zip(flat.ports, tensors, strict=True)}}
    before = {name: tensor._version for name, tensor in held.items()}  # noqa: SLF001
    try:
        with torch.no_grad():
            results = flat.results(tensors)
    except Exception as error:
        shown = ", ".join(f"{port.name} {list(tensor.shape)} {port.dtype}"
                          for port, tensor in zip(flat.ports, tensors, strict=True))
        raise EdgekitError(f"{source} cannot be run on {shown}: {first_line(error)}",
                           "choose sizes that it can run on with --input-shape") from error
    changed = sorted(name for name, tensor in held.items()
                     if tensor._version != before[name])  # noqa: SLF001
    if changed:
        raise EdgekitError(
            f"{source} keeps state from one inference to the next: it changes "
            f"{listed(changed)}", "make the state an input and an output, and call eval() before "
            "the export: normalization layers in training keep a mean")
    if not results:
        raise EdgekitError(f"{source} gives no tensor", "return a tensor, a tuple or a dict")
    for name, value in results.items():
        if value.is_complex():
            raise EdgekitError(f"{source}: output '{name}' is complex; LiteRT has real numbers",
                               "return torch.view_as_real(...) of it")
    flat.outputs = tuple(results)


def convert(flat: Flat, tensors: Sequence[Any], source: str) -> bytes:
    """LiteRT's converter, to built-in operators only; inputs and outputs in 32 bits.

    Raises:
        EdgekitError: Too large, or it cannot be exported or converted.
    """
    size = sum(tensor.nbytes for tensor in (*flat.parameters(), *flat.buffers()))
    if size > MAX_FILE_BYTES:
        raise EdgekitError(f"{source} holds {size / 1e9:.1f} GB of weights; a TFLite file can be "
                           "at most 2 GB")
    try:
        with (layer_names(), operators_checked(source),
              torch.fx.traceback.preserve_node_meta(_is_program(flat))):
            return bytes(litert_torch.convert(flat, tuple(tensors)).model_content())
    except EdgekitError:
        raise
    except Exception as error:
        raise _conversion_error(error, source) from error


def _is_program(flat: Flat) -> bool:
    return isinstance(flat.source, torch.fx.GraphModule)


def _conversion_error(error: Exception, source: str) -> EdgekitError:
    """What the user can do about the converter's error."""
    named = sorted(set(_FAILED_OP.findall(str(error))))
    if named:
        return EdgekitError(f"{source} uses operators that LiteRT does not have: "
                            f"{', '.join(named)}: {first_line(error)}",
                            NO_COMPLEX if "complex<" in str(error) else "")
    if "data-dependent" in str(error) or "concrete value" in str(error):
        return EdgekitError(
            f"{source} cannot be exported: what it computes, or a size, depends on the values: "
            f"{first_line(error)}", "torch.where and fixed sizes can take the place of branches")
    at = _NODE.search(str(error))
    where = f"{at[1].removesuffix('.default')}: " if at else ""
    hint = NO_COMPLEX if "complex<" in str(error) else ""
    return EdgekitError(f"{source} cannot be converted: {where}{first_line(error)}", hint)
