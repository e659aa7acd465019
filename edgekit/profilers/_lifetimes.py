"""When each activation is needed, and which ones share memory.

LiteRT's rules are read from ``tflite/arena_planner.cc`` (``PlanAllocations``,
``IdentifyInPlaceTensors``) and from the kernels' registrations; TFLM's from
``tensorflow/lite/micro/micro_allocation_info.cc``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import DTYPE_BITS, Operator, Subgraph, Tensor
from edgekit.core.macs import is_open

# Kernels that leave the data as it is and only change the shape: input 0 becomes the output.
_UNMODIFIED = frozenset({"BITCAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE"})
# Kernels that may write over an input of the output's size, and which inputs.
_OVERWRITES: Mapping[str, tuple[int, ...]] = {
    "ADD": (0, 1), "DIV": (0, 1), "DYNAMIC_UPDATE_SLICE": (0,), "MUL": (0, 1),
    "SOFTMAX": (0,), "SUB": (0, 1),
}  # fmt: skip
BEFORE = -1  # the first operator
MAX_TENSOR_BYTES = 1 << 40
_SCALAR_BYTES = 4  # never shared: the size may be the placeholder of a shape not yet known

# Kernels that compute once, at preparation, when all their inputs are constant.
_FOLDED = frozenset(
    {"BROADCAST_ARGS", "CONCATENATION", "GATHER", "MUL", "RANGE", "REDUCE_PROD", "RESHAPE",
     "STRIDED_SLICE", "TILE"}
)  # fmt: skip
_SHAPE_ONLY = frozenset({"RANK", "SHAPE"})


class NoPlanError(EdgekitError):
    """The file does not say how large an activation is."""


@dataclass(frozen=True)
class PlanRule:
    """What tells one runtime's planner from another's.

    Attributes:
        name: The runtime.
        alignment: Offsets are multiples of this many bytes.
        rounds_sizes: Sizes are rounded up to the alignment too.
        keeps_inputs: The model's inputs stay allocated to the end, as do outputs that nobody
            reads; otherwise they go after their last use.
        shares: Some kernels work in place.
        folds: Some kernels with constant inputs run at preparation, outside the arena.
        best_fit: The tightest gap is taken; otherwise the first that fits.
    """

    name: str
    alignment: int
    rounds_sizes: bool
    keeps_inputs: bool
    shares: bool
    folds: bool
    best_fit: bool


LITERT = PlanRule("LiteRT", 64, rounds_sizes=False, keeps_inputs=True, shares=True, folds=True,
                  best_fit=True)  # fmt: skip
MICRO = PlanRule("TFLM", 16, rounds_sizes=True, keeps_inputs=False, shares=False, folds=False,
                 best_fit=False)  # fmt: skip


@dataclass(frozen=True)
class Lifetime:
    """An activation in the arena.

    Attributes:
        tensor: Its index in the subgraph.
        size: Bytes.
        first: Index of the operator that first needs it; -1 for TFLM's inputs, which are there
            before the first operator.
        last: Index of the last operator that needs it.
        whole: It is there from before the first operator to after the last.
    """

    tensor: int
    size: int
    first: int
    last: int
    whole: bool


@dataclass(frozen=True)
class Lifetimes:
    """All activations of a subgraph.

    Attributes:
        items: Those with memory of their own.
        shared: Tensor to the tensor whose memory it uses.
        variables: Bytes of each variable tensor; they are kept apart, for ever.
    """

    items: tuple[Lifetime, ...]
    shared: Mapping[int, int]
    variables: tuple[int, ...]


def lifetimes_of(
    subgraph: Subgraph, rule: PlanRule, shapes: Mapping[int, tuple[int, ...]] | None = None
) -> Lifetimes:
    """Which activations there are, and from which operator to which.

    Args:
        subgraph: In execution order, as the file has it.
        rule: Whose planner.
        shapes: Shapes by tensor index that are better known than the file's.

    Raises:
        NoPlanError: An activation's size is open.
    """
    sizes = _sizes(subgraph, rule, shapes or {})
    shared = _shared(subgraph, sizes) if rule.shares else {}
    end = max(len(subgraph.operators) - 1, 0)
    first, last = _spans(subgraph, shared, rule)
    items = []
    for tensor, start in first.items():
        if tensor not in sizes or tensor in shared:
            continue
        until = last.get(tensor)
        whole = start == 0 and until is None
        items.append(Lifetime(tensor, sizes[tensor], start, end if until is None else until, whole))
    variables = tuple(t.nbytes for t in subgraph.tensors if t.is_variable and not t.is_constant)
    return Lifetimes(tuple(sorted(items, key=lambda item: item.tensor)), shared, variables)


def _sizes(
    subgraph: Subgraph, rule: PlanRule, shapes: Mapping[int, tuple[int, ...]]
) -> dict[int, int]:
    """Bytes of every tensor that lives in the arena.

    Strings, resources and variants are on the heap; folded tensors are as good as constants.
    """
    folded = _folded(subgraph) if rule.folds else frozenset()
    produced = {index for operator in subgraph.operators for index in operator.outputs}
    sizes = {}
    for index in sorted(produced.union(subgraph.inputs)):
        tensor = subgraph.tensors[index]
        heap = tensor.dtype not in DTYPE_BITS
        if heap or tensor.is_constant or tensor.is_variable or index in folded:
            continue
        size = _nbytes(tensor, shapes.get(index))
        if rule.rounds_sizes:
            size = -(-size // rule.alignment) * rule.alignment
        sizes[index] = size
    return sizes


def _nbytes(tensor: Tensor, shape: tuple[int, ...] | None) -> int:
    if shape is None and is_open(tensor):
        raise NoPlanError(
            f"the size of tensor '{tensor.name}' is open: {list(tensor.shape_signature)}",
            "fix the input's size with --input-shape",
        )
    size = tensor.nbytes if shape is None else replace(tensor, shape=shape).nbytes
    if size > MAX_TENSOR_BYTES:
        raise NoPlanError(f"tensor '{tensor.name}' claims {size} bytes")
    return size


def _folded(subgraph: Subgraph) -> frozenset[int]:
    known = {tensor.index for tensor in subgraph.tensors if tensor.is_constant}
    folded: set[int] = set()
    for operator in subgraph.operators:
        inputs = [index for index in operator.inputs if index >= 0]
        constant = operator.name in _FOLDED and all(index in known for index in inputs)
        if constant or operator.name in _SHAPE_ONLY:
            known.update(operator.outputs)
            folded.update(operator.outputs)
    return frozenset(folded)


def _references(subgraph: Subgraph) -> Counter[int]:
    """How often each tensor is read, the model's inputs and outputs once more."""
    references = Counter((*subgraph.inputs, *subgraph.outputs))
    for operator in subgraph.operators:
        references.update(index for index in operator.inputs if index >= 0)
    return references


def _shared(subgraph: Subgraph, sizes: Mapping[int, int]) -> dict[int, int]:
    """Outputs that use an input's memory.

    A kernel that writes over its input needs to be its only reader, and both of one size. The
    model's own inputs and outputs are never shared.
    """
    references = _references(subgraph)
    fixed_inputs, fixed_outputs = set(subgraph.inputs), set(subgraph.outputs)
    shared: dict[int, int] = {}
    for operator in subgraph.operators:
        output = operator.outputs[0] if operator.outputs else -1
        if output not in sizes or output in fixed_outputs:
            continue
        source = _source(operator, output, sizes, references, fixed_inputs)
        if source is None:
            continue
        root = shared.get(source, source)
        if operator.name in _OVERWRITES and references[root] > 1:
            continue
        if sizes[root] == sizes[output]:
            shared[output] = root
    return shared


def _source(
    operator: Operator, output: int, sizes: Mapping[int, int], references: Counter[int],
    fixed_inputs: set[int],
) -> int | None:  # fmt: skip
    """The first input whose memory the output may use."""
    unmodified = operator.name in _UNMODIFIED
    positions = (0,) if unmodified else _OVERWRITES.get(operator.name, ())
    for position in positions:
        index = operator.inputs[position] if position < len(operator.inputs) else -1
        if index not in sizes or index in fixed_inputs:
            continue
        same = sizes[index] == sizes[output] and sizes[index] > _SCALAR_BYTES
        if unmodified or (same and references[index] <= 1):
            return index
    return None


def _spans(
    subgraph: Subgraph, shared: Mapping[int, int], rule: PlanRule
) -> tuple[dict[int, int], dict[int, int]]:
    """First operator by tensor, and last one; no entry in the second means never released.

    Absent optional inputs (-1) are counted with the rest: nothing ever has that index.
    """
    first = dict.fromkeys(subgraph.inputs, 0 if rule.keeps_inputs else BEFORE)
    readers: Counter[int] = Counter(subgraph.outputs)
    if rule.keeps_inputs:
        readers.update(subgraph.inputs)
    for operator in subgraph.operators:
        readers.update(shared.get(index, index) for index in operator.inputs)
    last: dict[int, int] = {}
    for step, operator in enumerate(subgraph.operators):
        for output in operator.outputs:
            first.setdefault(output, step)
        for index in operator.inputs:
            root = shared.get(index, index)
            readers[root] -= 1
            if readers[root] == 0:
                last[root] = step
    if not rule.keeps_inputs:
        for tensor in first.keys() - last.keys() - set(subgraph.outputs):
            last[tensor] = first[tensor]
    return first, last
