"""Names: of what a function returns, and of the tensors inside."""

import re
from collections.abc import Container, Iterable, Mapping
from itertools import takewhile
from typing import Any


def named_outputs(results: Any, names: Iterable[str] = ()) -> dict[str, Any]:  # noqa: ANN401
    """Tensors by name.

    Args:
        results: A tensor, or mappings and sequences of tensors; None is left out.
        names: The source's own names, where the results have no keys.

    Returns:
        By name, in the order of the results. A key is the name; nested keys are joined by "_";
        a position becomes "output_0".
    """
    leaves = list(_leaves(results, ()))
    own = list(names)
    if len(own) == len(leaves) and not isinstance(results, Mapping):
        wanted = own
    else:
        wanted = [_joined(path) for path, _ in leaves]
    return {name: leaf for name, (_, leaf) in zip(unique(wanted), leaves, strict=True)}


def unique(names: Iterable[str]) -> list[str]:
    """The same names as UTF-8 can hold them, with "_1", "_2" behind repetitions."""
    taken: set[str] = set()
    result = []
    for raw in names:
        name = raw.encode("utf-8", "replace").decode()
        candidate, count = name, 0
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate)
        result.append(candidate)
    return result


def _leaves(value: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:  # noqa: ANN401
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(position)))
    else:
        yield path, value


def _joined(path: tuple[str, ...]) -> str:
    name = "_".join(path) or "0"
    return f"output_{name}" if name[0].isdigit() else name


_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")


def without_calls(name: str) -> str:
    """A tensor's name without the functions it was inlined from, and without repetitions.

    The converter joins the names of all the operators that it fused by ";", the last first, and
    adds the numbers of function calls.
    """
    paths = ["/".join(part for part in path.split("/") if not _CALL.fullmatch(part))
             for path in name.split(";")]
    distinct = dict.fromkeys(path for path in paths if path and not path.isdigit())
    return ";".join(distinct) or name


def without_scopes(name: str, *, model: str, layers: Container[str], numbered: bool) -> str:
    """A Keras tensor's name as ``summary()`` would say it: one path for each layer fused in it.

    ``net_1/relu_1/Relu;net_1/bn_1/add;net_1/bn_1/mul`` becomes ``relu/Relu;bn/add``.

    Args:
        name: The tensor's name.
        model: The model's, which comes first in every tensor's name and says nothing.
        layers: The names of its layers.
        numbered: Whether a number stands behind each scope: Keras 3 enters them twice.
    """
    found: dict[str, str] = {}
    for path in without_calls(name).split(";"):
        parts = [_without_number(part, layers) if numbered else part for part in path.split("/")]
        if len(parts) > 1 and parts[0] == model:
            parts = parts[1:]
        layer = "/".join(takewhile(lambda part: part in layers, parts))
        found.setdefault(layer or path, "/".join(parts))
    return ";".join(found.values())


def _without_number(part: str, layers: Container[str]) -> str:
    stem, _, number = part.rpartition("_")
    return stem if number.isdigit() and stem in layers else part
