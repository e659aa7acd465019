"""Runs in the child process: what is hooked into LiteRT's converter for PyTorch.

Names of layers, and a look at all operators before the first one is converted. Both are places in
the converter that it does not document: where another version lacks one, it does as it always did.
"""

import inspect
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from litert_torch.backend import debuginfo, export, lowerings

from edgekit.core.errors import EdgekitError

NO_COMPLEX = "write them with real numbers: LiteRT has no complex ones"

_MOST_NAMED = 4
_SIZED_BY_VALUES = " with a size that depends on the values"
_SIZE_CHECKS = (torch.ops.aten._assert_scalar.default,  # noqa: SLF001
                torch.ops.aten.sym_constrain_range.default,
                torch.ops.aten.sym_constrain_range_for_size.default)
_REASONS = (
    ((_SIZED_BY_VALUES,), "torch.where and fixed sizes can take the place of what selects"),
    (("complex",), NO_COMPLEX),
    (("rand", "bernoulli", "multinomial", "normal_", "exponential"),
     "take the random numbers out of the model, or make them an input"),
)  # fmt: skip
_REPLACE = "replace them in the source with operators that LiteRT has"


@contextmanager
def layer_names() -> Iterator[None]:
    """Let the converter name tensors by the module's path, not by the classes on the way."""
    build = debuginfo._build  # noqa: SLF001
    original = getattr(build, "_get_hierarchy", None)
    if original is None:
        yield
        return
    build._get_hierarchy = path_of  # noqa: SLF001
    try:
        yield
    finally:
        build._get_hierarchy = original  # noqa: SLF001


def path_of(node: Any) -> str:  # noqa: ANN401
    """``encoder/layer/0`` for a node within it; its own name for one that is in no layer."""
    paths = [name for name, _ in node.meta.get("nn_module_stack", {}).values()]
    path = str(paths[-1]) if paths else ""
    path = re.sub(r"@\d+$", "", path).removeprefix("source").removeprefix(".")
    return (path.replace(".", "/") or str(node.name)) + ";"


@contextmanager
def operators_checked(source: str) -> Iterator[None]:
    """Refuse a program with operators that cannot be converted before any of it is.

    The converter's own program is looked at, after its last decomposition and before its first
    lowering: what is refused here is what it would stop at, one operator at a time.

    Args:
        source: For the message.

    Raises:
        EdgekitError: There are some; each is named with the modules that it is in.
    """
    original = export.exported_program_to_mlir
    if "_pre_lower_pass" not in inspect.signature(original).parameters:
        yield
        return
    export.exported_program_to_mlir = partial(original, _pre_lower_pass=partial(_check, source))
    try:
        yield
    finally:
        export.exported_program_to_mlir = original


def _check(source: str, program: Any) -> None:  # noqa: ANN401 - ExportedProgram
    missing = without_lowering(program)
    if missing:
        shown = "; ".join(f"{name} (in {listed(places)})" for name, places in missing.items())
        raise EdgekitError(f"{source} uses operators that LiteRT does not have: {shown}",
                           _hint(missing))


def without_lowering(program: Any) -> dict[str, list[str]]:  # noqa: ANN401 - ExportedProgram
    """Operators that the converter cannot lower, each with the modules it is in."""
    nodes = [node for node in program.graph.nodes
             if node.op == "call_function" and node.target is not operator.getitem]
    missing = [node for node in nodes if lowerings.lookup(node.target) is None]
    # The checks of a size that depends on values are the exporter's: the source knows its cause.
    checks = {node for node in missing if not isinstance(node.target, torch._ops.OperatorBase)  # noqa: SLF001
              or node.target in _SIZE_CHECKS}
    causes = {node for node in nodes if node.meta.get("unbacked_bindings")} if checks else set()
    found: dict[str, list[str]] = {}
    for node in nodes:
        if node in causes or (node in missing and (node not in checks or not causes)):
            name = str(node.target).removesuffix(".default")
            name += _SIZED_BY_VALUES if node in causes else ""
            places = found.setdefault(name, [])
            if (place := path_of(node).rstrip(";")) not in places:
                places.append(place)
    return found


def _hint(names: Iterable[str]) -> str:
    hints = {next((hint for words, hint in _REASONS if any(word in name for word in words)),
                  _REPLACE): None for name in names}
    return "; ".join(hints)


def listed(names: Sequence[str]) -> str:
    """The first few of the names."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
