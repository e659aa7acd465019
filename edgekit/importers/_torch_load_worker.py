"""Runs in the child process: PyTorch's files and modules as a ``Source``."""

import inspect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils import _pytree as pytree

from edgekit.core.errors import EdgekitError
from edgekit.importers._names import unique
from edgekit.importers._proof_worker import first_line
from edgekit.importers._shapes import OPEN, Port
from edgekit.importers._tensorflow import Request
from edgekit.importers._torch_compare_worker import draw_like, named
from edgekit.importers._torch_convert_worker import HALF, Source
from edgekit.importers._torch_file import AS_FUNCTION, AS_PROGRAM

# TorchScript has operators that read and write files.
_FORBIDDEN = ("aten::save", "aten::from_file", "aten::load", "prim::PythonOp")


@contextmanager
def weights_only() -> Iterator[None]:
    """Keep PyTorch from unpickling anything but tensors, whatever its code asks for."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def load_program(request: Request) -> Source:
    """A ``.pt2`` archive, which the parent has held to what is safe.

    Raises:
        EdgekitError: It is damaged, or computes in half precision.
    """
    try:
        with weights_only():
            program = torch.export.load(request.source)
    except Exception as error:
        raise EdgekitError(f"{request.source} is damaged, or from another version of PyTorch: "
                           f"{first_line(error)}", f"with this one, {AS_PROGRAM}") from error
    return program_source(program, request.source)


def program_source(program: Any, source: str) -> Source:  # noqa: ANN401 - ExportedProgram
    """An exported program as it is called.

    Raises:
        EdgekitError: It computes in half precision.
    """
    half = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in
                   program.state_dict.values() if tensor.dtype in HALF})
    if half:
        raise EdgekitError(f"{source} computes in {half[0]}; LiteRT's kernels do not",
                           "call float() on the module before torch.export")
    names = program.graph_signature.user_inputs
    metas = {node.name: node.meta.get("val") for node in program.graph.nodes
             if node.op == "placeholder"}
    flat = [metas.get(name) if isinstance(name, str) else name for name in names]
    places = [i for i, meta in enumerate(flat) if isinstance(meta, torch.Tensor)]
    spec = program.call_spec.in_spec
    ports = tuple(_port(name, flat[i])
                  for i, name in zip(places, unique(str(names[i]) for i in places), strict=True))
    return Source(program.module(check_guards=False), ports, partial(_rebuild, flat, places, spec),
                  _examples_of(program, len(flat), places))


def _examples_of(program: Any, count: int, places: Sequence[int]) -> tuple[Any, ...] | None:  # noqa: ANN401
    """The sample that the program was exported with, if it is there."""
    try:
        leaves = pytree.tree_leaves(program.example_inputs, is_leaf=lambda x: x is None)
        found = tuple(leaves[i] for i in places) if len(leaves) == count else ()
    except Exception:  # noqa: BLE001 - it is of use, but nobody's contract
        return None
    fits = len(found) == len(places) and all(isinstance(x, torch.Tensor) for x in found)
    return found if fits else None


def _port(name: str, meta: Any) -> Port:  # noqa: ANN401
    shape = tuple(int(size) if isinstance(size, int) else OPEN for size in meta.shape)
    return Port(name, shape, str(meta.dtype).removeprefix("torch."))


def _rebuild(
    flat: Sequence[Any], places: Sequence[int], spec: Any,  # noqa: ANN401
    tensors: Sequence[Any],
) -> tuple[Sequence[Any], dict[str, Any]]:
    leaves = list(flat)
    for place, tensor in zip(places, tensors, strict=True):
        leaves[place] = tensor
    arguments, keywords = pytree.tree_unflatten(leaves, spec)
    return arguments, keywords


def load_script(request: Request) -> Source:
    """TorchScript, exported again: its own sizes and types are known where it was traced.

    Raises:
        EdgekitError: It is damaged, runs operators that a model must not, or its inputs' sizes
            are not known.
    """
    try:
        script = torch.jit.load(request.source, map_location="cpu", _restore_shapes=True).eval()
    except Exception as error:
        raise EdgekitError(f"{request.source} is damaged, or from another version of PyTorch: "
                           f"{first_line(error)}", f"with this one, {AS_PROGRAM}") from error
    found = {node.kind() for node in _nodes(script.inlined_graph)}
    if refused := sorted(found & set(_FORBIDDEN)):
        raise EdgekitError(f"{request.source} reads or writes files, or calls Python "
                           f"({refused[0]}); that is not run from a model", AS_PROGRAM)
    examples = {name: _script_example(request, name, value)
                for name, value in _script_inputs(script)}
    return _exported_script(script, examples, request.source)


def _nodes(block: Any) -> Iterator[Any]:  # noqa: ANN401 - torch.Graph or Block
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _script_inputs(script: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    arguments = [argument.name for argument in script.forward.schema.arguments]
    values = list(script.graph.inputs())
    yield from list(zip(arguments, values, strict=True))[1:]


def _script_example(request: Request, name: str, value: Any) -> Any:  # noqa: ANN401
    kind = value.type()
    if not isinstance(kind, torch.TensorType):
        raise EdgekitError(f"{request.source}: input '{name}' is no tensor but {kind}", AS_PROGRAM)
    sizes, dtype = kind.sizes(), kind.dtype() or torch.float32
    shape = request.input_shapes.get(name, sizes)
    if shape is None:
        raise EdgekitError(f"{request.source}: TorchScript does not say which shape input '{name}' "
                           "has", f"give it with --input-shape {name}=1,SIZE,…; or {AS_PROGRAM}")
    return torch.zeros(tuple(shape), dtype=dtype)


def _exported_script(script: Any, examples: Mapping[str, Any], source: str) -> Source:  # noqa: ANN401
    from torch._export.converter import TS2EPConverter

    failures = []
    # Scripted code does not tell numbers from indices: what fits is found by running it.
    for kind in (None, torch.int64):
        given = [tensor if kind is None else tensor.to(kind) for tensor in examples.values()]
        try:
            with torch.no_grad():
                script(*given)
        except Exception as error:  # noqa: BLE001 - TorchScript's errors are of any type
            failures.append(first_line(error))
            continue
        try:
            program = TS2EPConverter(script, tuple(given), {}).convert()
        except Exception as error:
            raise EdgekitError(f"{source} is TorchScript that cannot be exported again: "
                               f"{first_line(error)}", AS_PROGRAM) from error
        made = program_source(program, source)
        ports = tuple(Port(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
                      for name, tensor in zip(examples, given, strict=True))
        return Source(made.module, ports, made.rebuild, tuple(given), made.draw)
    shown = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in examples.items())
    raise EdgekitError(f"{source} cannot be run on {shown}: {failures[0]}",
                       f"choose other sizes with --input-shape, or {AS_PROGRAM}")


def describe_pickle(source: str) -> EdgekitError:
    """What a pickle holds, as the error that refuses it; its code is not run."""
    try:
        with weights_only():
            held = torch.load(source, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is refused
        named_code = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"names '{named_code[1]}'" if named_code else "is damaged, or of an unknown kind"
        return EdgekitError(f"{source} is a pickle, which is code and not run, and {what}",
                            AS_PROGRAM)
    weights = held.get("state_dict", held) if isinstance(held, Mapping) else {}
    tensors = {str(name): value for name, value in weights.items()
               if isinstance(value, torch.Tensor)} if isinstance(weights, Mapping) else {}
    if tensors:
        shown = ", ".join(list(tensors)[:2])
        return EdgekitError(f"{source} holds {len(tensors)} weights ({shown} …) and not what to "
                            "compute with them", AS_FUNCTION)
    return EdgekitError(f"{source} holds an object of type '{type(held).__name__}', and no model",
                        AS_PROGRAM)


def module_source(module: Any, given: Any, request: Request) -> Source:  # noqa: ANN401
    """A module of the user's, with inputs to call it on.

    Raises:
        EdgekitError: The inputs are no tensors, or do not fit its signature.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise EdgekitError(f"{request.source} gave TorchScript", "return the module itself")
    if isinstance(module, torch.export.ExportedProgram):
        return program_source(module, request.source)
    module.eval()
    notes = _in_float32(module)
    arguments, keywords = _arguments(given, request.source)
    leaves, spec = pytree.tree_flatten((arguments, keywords))
    leaves = [x.float() if isinstance(x, torch.Tensor) and x.dtype in HALF else x for x in leaves]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    if not places:
        raise EdgekitError(f"{request.source} gave no tensor to call the module on",
                           "return (module, (tensor, …)), or (module, {'name': tensor})")
    names = _argument_names(module, arguments, keywords, places)
    ports = tuple(_module_port(name, leaves[i], request) for name, i in zip(names, places,
                                                                           strict=True))
    examples = tuple(leaves[i].detach().cpu() for i in places)
    return Source(module.cpu(), ports, partial(_rebuild, leaves, places, spec), examples,
                  partial(draw_like, named(names, examples)), notes)


def _in_float32(module: Any) -> list[str]:  # noqa: ANN401
    half = {tensor.dtype for tensor in (*module.parameters(), *module.buffers())
            if tensor.dtype in (*HALF, torch.float64)}
    if not half:
        return []
    module.float()
    shown = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in half))
    return [f"the source computes in {shown}; it was converted to, and compared in, float32"]


def _arguments(given: Any, source: str) -> tuple[tuple[Any, ...], dict[str, Any]]:  # noqa: ANN401
    if isinstance(given, torch.Tensor):
        return (given,), {}
    if isinstance(given, Mapping):
        return (), dict(given)
    if isinstance(given, list | tuple):
        return tuple(given), {}
    raise EdgekitError(f"{source} gave example inputs of type '{type(given).__name__}'",
                       "give a tensor, a tuple of tensors, or a dict by argument name")


def _argument_names(
    module: Any, arguments: Sequence[Any], keywords: Mapping[str, Any],  # noqa: ANN401
    places: Sequence[int],
) -> list[str]:
    """The names of ``forward``'s arguments; what is nested gets its path."""
    try:
        bound = dict(inspect.signature(module.forward).bind_partial(*arguments).arguments)
    except TypeError:  # too many: the run that follows says so
        bound = {f"input_{position}": value for position, value in enumerate(arguments)}
    values = {**bound, **keywords}
    paths = pytree.tree_flatten_with_path(values)[0]
    return unique("_".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in
                           paths[place][0]) for place in places)


def _module_port(name: str, example: Any, request: Request) -> Port:  # noqa: ANN401
    """A module can be traced at any size: what the user gives goes before the example's."""
    given = request.input_shapes.get(name)
    shape = tuple(example.shape)
    if given is not None and len(given) == len(shape):
        shape = tuple(size if size == wanted else OPEN
                      for size, wanted in zip(shape, given, strict=True))
    return Port(name, shape, str(example.dtype).removeprefix("torch."))
