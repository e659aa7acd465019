"""Runs in the child process: one TensorFlow function through TensorFlow's converter."""

import gc
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import MAX_FILE_BYTES
from edgekit.importers._memory_worker import large_blocks_returned
from edgekit.importers._names import without_calls
from edgekit.importers._operand_order_worker import keep_operand_order
from edgekit.importers._proof_worker import Arrays, Runs, first_line
from edgekit.importers._shapes import Port

# Freezing copies every weight several times through protocol buffers: 4x faster than a SavedModel
# for small networks, slower and ten times larger in memory from here on.
FREEZE_BYTES = 32 * 2**20

_CONTROL_FLOW = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "While",
                           "StatelessWhile"})  # fmt: skip

# They change something outside of the model, or keep something from one inference to the next.
_STATEFUL = re.compile(r"Assign\w*VariableOp|ResourceScatter\w+|ResourceApply\w+|Assign(Add|Sub)?")
FORBIDDEN = frozenset({"WriteFile", "ReadFile", "MatchingFiles", "PyFunc", "PyFuncStateless",
                       "EagerPyFunc"})  # fmt: skip
_FORBIDDEN_IN_CALL = FORBIDDEN | {"SaveV2", "RestoreV2", "MergeV2Checkpoints"}


@dataclass
class Endpoint:
    """One function of the source, ready to be converted.

    Attributes:
        framework: Who computes the reference: "Keras 3.15.1".
        inputs: Its inputs.
        call: Tensors by input name to tensors by output name.
        keep: Whatever must stay alive while ``call`` is used.
        clean_name: From a tensor's name to one that says which layer of the source it is.
        notes: What had to be decided on the way here.
        inside: Gives, for shapes, the source with its inner values (``_bisect_worker.Inside``), to
            find the first one that differs; None where the traced function is taken for that.
        layouts: The layout of inputs that it was asked to change, by name.
        reference: Who computes what the import must compute; the traced function without it.
    """

    framework: str
    inputs: tuple[Port, ...]
    call: Callable[[dict[str, Any]], dict[str, Any]]
    keep: Any = None
    clean_name: Callable[[str], str] = without_calls
    notes: list[str] = field(default_factory=list)
    reference: Runs | None = None
    inside: Callable[[Sequence[tuple[int, ...]]], Any] | None = None
    layouts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Traced:
    """The source as one TensorFlow graph with static shapes.

    Attributes:
        keep: What must stay alive while the function is used: its variables.
    """

    function: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    keep: Any = None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The source framework's outputs."""
        results = self.function(*(tf.constant(inputs[name]) for name in self.inputs))
        return {name: result.numpy() for name, result in zip(self.outputs, results, strict=True)}


def trace(endpoint: Endpoint, shapes: Sequence[tuple[int, ...]], source: str) -> Traced:
    """Make one concrete function for these shapes.

    Raises:
        EdgekitError: The source's code fails on them, or keeps state.
    """
    names = [port.name for port in endpoint.inputs]
    outputs: list[str] = []

    def call(*tensors: Any) -> list[Any]:  # noqa: ANN401
        results = endpoint.call(dict(zip(names, tensors, strict=True)))
        outputs[:] = list(results)
        # Copies: what a result is may be replaced in the next line.
        copies = [tf.identity(result) for result in results.values()]
        keep_operand_order(tf.compat.v1.get_default_graph())
        return copies

    specs = [tf.TensorSpec(shape, port.dtype, name=f"input_{position}")
             for position, (port, shape) in enumerate(zip(endpoint.inputs, shapes, strict=True))]
    try:
        function = tf.function(call, autograph=False).get_concrete_function(*specs)
    except EdgekitError:
        raise
    except Exception as error:
        shown = ", ".join(f"{port.name} {list(shape)}"
                          for port, shape in zip(endpoint.inputs, shapes, strict=True))
        chosen = any(port.shape is None or -1 in port.shape[1:] for port in endpoint.inputs)
        raise EdgekitError(f"{source} cannot be run on {shown}: {first_line(error)}",
                           "choose other sizes with --input-shape" if chosen else "") from error
    _refuse_state(function, source)
    return Traced(function, tuple(names), tuple(outputs))


def _refuse_state(function: Any, source: str) -> None:  # noqa: ANN401
    for kind in {node.op for node in graph_nodes(function.graph.as_graph_def())}:
        if _STATEFUL.fullmatch(kind):
            raise EdgekitError(
                f"{source} keeps state from one inference to the next ({kind})",
                "make the state an input and an output; a Keras 2 layer: stateful=False",
            )
        if kind in _FORBIDDEN_IN_CALL:
            raise EdgekitError(f"{source} reads or writes files, or calls Python ({kind}); that "
                               "is not run from a model", "take that part out of the model")


def graph_nodes(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - GraphDef
    """Every node of a GraphDef and of its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def convert(traced: Traced, source: str, folder: Path) -> bytes:
    """TensorFlow's converter, to built-in operators only.

    Raises:
        EdgekitError: Too large, or operators that LiteRT does not have.
    """
    return prepare(traced, source, folder)()


def prepare(traced: Traced, source: str, folder: Path) -> Callable[[], bytes]:
    """``convert``, to be done by the call of what this gives.

    Large sources are on disk then: they need not stay in memory during the conversion, which takes
    several times their size.

    Args:
        traced: What is converted.
        source: Its name.
        folder: Where a large source is written; it is gone after the call.

    Raises:
        EdgekitError: As of ``convert``, here or in the call.
    """
    function = traced.function
    size = sum(_bytes_of(variable) for variable in function.graph.variables)
    if size > MAX_FILE_BYTES:
        raise EdgekitError(f"{source} holds {size / 1e9:.1f} GB of weights; a TFLite file can be "
                           "at most 2 GB")
    if size < FREEZE_BYTES and not _has_functions_that_matter(function):
        return lambda: _run(lambda: tf.lite.TFLiteConverter.from_concrete_functions([function]),
                            source)
    saved = _save(function, source, folder)
    return lambda: _convert_saved(saved, source)


def _has_functions_that_matter(function: Any) -> bool:  # noqa: ANN401
    """Whether freezing would lose something: branches, loops, or layers the runtime has fused.

    Freezing inlines functions. The converter then has been seen to compute both branches of an IF
    alike, and no longer finds the function that it replaces by the fused LSTM.
    """
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
    fused = any("implements" in key for body in graph.library.function for key in body.attr)
    return fused or any(node.op in _CONTROL_FLOW for node in nodes)


def _bytes_of(variable: Any) -> int:  # noqa: ANN401
    return int(variable.dtype.size * np.prod(variable.shape, dtype=np.int64))


def _save(function: Any, source: str, folder: Path) -> Path:  # noqa: ANN401
    holder = tf.Module()
    holder.variables_of_the_source = list(function.graph.variables)
    saved = Path(tempfile.mkdtemp(dir=folder))
    try:
        tf.saved_model.save(holder, str(saved), signatures=function)
    except Exception as error:
        shutil.rmtree(saved, ignore_errors=True)
        raise _conversion_error(error, source) from error
    return saved


@large_blocks_returned()
def _convert_saved(saved: Path, source: str) -> bytes:
    gc.collect()  # the graph that was saved holds itself, where nobody else does any more
    try:
        return _run(lambda: tf.lite.TFLiteConverter.from_saved_model(str(saved)), source)
    finally:
        shutil.rmtree(saved, ignore_errors=True)


def _run(make: Callable[[], Any], source: str) -> bytes:
    try:
        converter = make()
        # A SavedModel's loops were traced with an open batch; here it is 1.
        converter._experimental_default_to_single_batch_in_tensor_list_ops = True  # noqa: SLF001
        return bytes(converter.convert())
    except Exception as error:
        raise _conversion_error(error, source) from error


def _conversion_error(error: Exception, source: str) -> EdgekitError:
    """One error that lists the operators, where the converter names any."""
    found = {item.operator.name.removeprefix("tf."): item.error_message
             for item in getattr(error, "errors", []) if item.operator.name}
    if not found:
        return EdgekitError(f"{source} cannot be converted: {first_line(error)}")
    hint = "replace them in the source with operators that LiteRT has; none is put in silently"
    wide = re.compile(r"x?f(16|64)>")
    if all(wide.search(message) for message in found.values()):
        hint = "the model computes in float16 or float64: export it in float32"
    if any("Lookup" in name or "String" in name for name in found):
        hint = "cut the preprocessing of text off: export the part of the model behind it"
    return EdgekitError(f"{source} uses operators that LiteRT does not have: "
                        f"{', '.join(sorted(found))}", hint)
