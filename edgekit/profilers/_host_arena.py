"""The size of LiteRT's arena, read off the addresses of its tensors."""

from collections.abc import Sequence

from edgekit.core.graph import Graph
from edgekit.profilers._lifetimes import LITERT, NoPlanError
from edgekit.profilers.memory import plan

Address = Sequence[int]  # tensor, address, bytes


def arena_bytes(graph: Graph, addresses: Sequence[Address]) -> int | None:
    """From the arena's first tensor to its last, temporaries of kernels included.

    The planner puts every tensor at offset 0 or right behind another one, so the arena is the
    unbroken run of memory that begins at the lowest activation. Temporaries have indices behind
    the file's tensors; constants, recurrent state and what lies on the heap are left out.

    Args:
        graph: The model.
        addresses: (tensor, address, bytes) of everything that has memory, without a delegate.

    Returns:
        None when no activation has an address, or one lies outside the run: control flow and
        sizes known only while running make LiteRT use several pieces.
    """
    try:
        known = plan(graph).offsets
    except NoPlanError:
        return None
    file_tensors = len(graph.main.tensors)
    activations = [row for row in addresses if row[0] in known and row[2]]
    if not activations or graph.main.index != 0 or len(graph.subgraphs) > 1:
        return None
    base = min(address for _, address, _ in activations)
    temporaries = [row for row in addresses if row[0] >= file_tensors and row[1] >= base]
    end = base
    for _, address, size in sorted((*activations, *temporaries), key=lambda row: row[1]):
        if address - end >= LITERT.alignment:
            break
        end = max(end, address + size)
    if any(address + size > end for _, address, size in activations):
        return None
    return end - base
