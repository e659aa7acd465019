"""Runs in the child process: what the parent calls to import with PyTorch."""

import logging
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model, Provenance, TensorSpec
from edgekit.importers._finish_worker import finish, settle_open_shapes
from edgekit.importers._proof_worker import notes_on
from edgekit.importers._shapes import settle_shapes
from edgekit.importers._tensorflow import Imported, Request
from edgekit.importers._torch_compare_worker import compare
from edgekit.importers._torch_convert_worker import FRAMEWORK, Flat, Source, convert, probe
from edgekit.importers._torch_load_worker import (
    describe_pickle,
    load_program,
    load_script,
    module_source,
)

# 64-bit inputs become 32-bit: that is in the notes, and the log is for what goes wrong.
logging.getLogger().setLevel(logging.ERROR)

_NARROWED = {"int64": "int32", "float64": "float32"}


def convert_program(request: Request) -> Imported:
    """Convert a ``.pt2`` archive."""
    refuse_signature(request)
    with chdir(request.folder):
        return import_source(load_program(request), request)


def convert_script(request: Request) -> Imported:
    """Convert TorchScript."""
    refuse_signature(request)
    with chdir(request.folder):
        return import_source(load_script(request), request)


def refuse_pickle(request: Request) -> Imported:
    """Say what a pickle is, and what to give instead."""
    with chdir(request.folder):
        raise describe_pickle(request.source)


def convert_module(made: Any, request: Request) -> Imported:  # noqa: ANN401
    """Convert what the user's function returned: a module and inputs to call it on."""
    module, given = made
    return import_source(module_source(module, given, request), request)


def import_source(source: Source, request: Request) -> Imported:
    """Run, convert, write and compare.

    Raises:
        EdgekitError: Whatever is in the way, for the user.
    """
    shapes = settle_shapes(request.source, source.ports, request.input_shapes)
    tensors = _example_tensors(source, shapes)
    flat = Flat(source).eval() if _can_eval(source.module) else Flat(source)
    probe(flat, tensors, request.source)
    raw = convert(flat, tensors, request.source)
    data = settle_open_shapes(finish(raw, flat, _clean_name), Path(request.out), request.data)
    Path(request.out).write_bytes(data)
    model = Model(data, request.source, Provenance("pytorch", request.source))
    meter = compare(flat, tensors, model, source, request)
    notes = source.notes + notes_on(source.ports, request, model)
    types = {spec.name: spec.dtype for spec in model.inputs}
    notes += [f"input '{port.name}' is {port.dtype} in {FRAMEWORK} and {types[port.name]} here"
              for port in source.ports if types.get(port.name, port.dtype) != port.dtype]
    notes += [f"output '{name}': LiteRT and {FRAMEWORK} are {remark}"
              for name, remark in meter.remarks().items()]
    return Imported(tuple(notes), meter.rows())


def _can_eval(module: Any) -> bool:  # noqa: ANN401
    """An exported program's mode was decided when it was exported."""
    return not isinstance(module, torch.fx.GraphModule)


def _clean_name(name: str) -> str:
    """``encoder/layer/0`` for the converter's ``encoder/layer/0;;encoder/layer/0;4``."""
    paths = name.split(";")[::2]  # a number or nothing follows each
    return ";".join(dict.fromkeys(path for path in paths if path)) or name


def _example_tensors(source: Source, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """The source's own examples where they have the shape that is wanted, drawn ones elsewhere."""
    generator, tensors = np.random.default_rng(0), []
    for position, (port, shape) in enumerate(zip(source.ports, shapes, strict=True)):
        example = source.examples[position] if source.examples is not None else None
        if example is None or tuple(example.shape) != shape:
            narrow = _NARROWED.get(port.dtype, port.dtype)
            spec = TensorSpec(port.name, shape, "float32" if "float" in narrow else narrow)
            example = torch.from_numpy(np.array(source.draw(spec, generator)))
        tensors.append(example.detach().clone().to(getattr(torch, port.dtype)))
    return tensors


def refuse_signature(request: Request) -> None:
    """PyTorch's sources have one function each.

    Raises:
        EdgekitError: One was asked for.
    """
    if request.signature is not None:
        raise EdgekitError(f"{request.source} has no signatures to choose from",
                           "leave --signature out")
