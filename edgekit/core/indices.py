"""Which integer inputs are indices into a table, and how many rows it has: a vocabulary's size.

Random token ids of 0 and 1 say little about a language model; ids beyond its vocabulary are an
error. The graph itself knows.
"""

from collections.abc import Iterator

from edgekit.core.graph import Subgraph
from edgekit.core.model import Model

# They hand indices on as they are.
_TRANSPARENT = frozenset({"CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "MAXIMUM", "MINIMUM", "ADD",
                          "SELECT", "SELECT_V2"})  # fmt: skip


def index_rows(model: Model) -> dict[str, int]:
    """Rows of the smallest table that an input looks things up in, by input name.

    Inputs that are no indices, or whose table is not a constant, are left out.
    """
    main = model.graph.main
    kinds = {spec.name: spec.dtype for spec in model.inputs}
    found = {}
    for name, index in model.signature.inputs.items():
        if kinds[name] in ("int32", "int64") and (sizes := list(_tables(main, index))):
            found[name] = min(sizes)
    return found


def _tables(main: Subgraph, start: int) -> Iterator[int]:
    """Rows of every table that a tensor's values are indices into."""
    waiting, seen = [start], {start}
    while waiting:
        index = waiting.pop()
        for operator in main.operators:
            if index not in operator.inputs:
                continue
            table = _table_of(operator.name, operator.inputs, index)
            if table is not None:
                axis = getattr(operator.options, "axis", 0) or 0
                shape = main.tensors[table].shape
                if -len(shape) <= axis < len(shape):
                    yield shape[axis]
            elif operator.name in _TRANSPARENT:
                fresh = [out for out in operator.outputs if out not in seen]
                waiting += fresh
                seen.update(fresh)


def _table_of(name: str, inputs: tuple[int, ...], index: int) -> int | None:
    if name == "EMBEDDING_LOOKUP" and inputs[0] == index:
        return inputs[1]
    if name == "GATHER" and inputs[1] == index:
        return inputs[0]
    return None
