"""Runs in the child process: one TensorFlow function to one .tflite that computes the same."""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.data import open_dataset
from edgekit.core.edit import make_names_unique, name_of, to_bytes, to_objects
from edgekit.core.errors import EdgekitError
from edgekit.core.graph import MAX_FILE_BYTES
from edgekit.core.model import DEFAULT_SIGNATURE, Model, Provenance
from edgekit.importers._names import without_calls
from edgekit.importers._shapes import Port, settle_shapes
from edgekit.importers._tensorflow import Imported, Request
from edgekit.importers.parity import DATA_SAMPLES, RANDOM_SAMPLES, ParityMeter

Arrays = dict[str, NDArray[Any]]

# Freezing copies every weight several times through protocol buffers: 4x faster than a SavedModel
# for small networks, slower and ten times larger in memory from here on.
_FREEZE_BYTES = 32 * 2**20

# They change something outside of the model, or keep something from one inference to the next.
_STATEFUL = re.compile(r"Assign\w*VariableOp|ResourceScatter\w+|ResourceApply\w+|Assign(Add|Sub)?")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAMES = re.compile(r"Exception encountered when|Graph execution error|Detected at node|File \""
                     r"|<stack traces|\[\[|Arguments received by")  # fmt: skip
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
    """

    framework: str
    inputs: tuple[Port, ...]
    call: Callable[[dict[str, Any]], dict[str, Any]]
    keep: Any = None
    clean_name: Callable[[str], str] = without_calls
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Traced:
    """The source as one TensorFlow graph with static shapes."""

    function: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The source framework's outputs."""
        results = self.function(*(tf.constant(inputs[name]) for name in self.inputs))
        return {name: result.numpy() for name, result in zip(self.outputs, results, strict=True)}


def import_endpoint(endpoint: Endpoint, request: Request) -> Imported:
    """Trace, convert, write and compare.

    Raises:
        EdgekitError: Whatever is in the way, for the user.
    """
    shapes = settle_shapes(request.source, endpoint.inputs, request.input_shapes)
    traced = trace(endpoint, shapes, request.source)
    raw = convert(traced, request.source, Path(request.out).parent)
    data = finish(raw, traced, endpoint.clean_name)
    Path(request.out).write_bytes(data)
    model = Model(data, request.source, Provenance("tensorflow", request.source))
    meter = compare(traced, model, endpoint.framework, request)
    notes = endpoint.notes + _notes_on(endpoint, request, model)
    notes += [f"output '{name}': LiteRT and {endpoint.framework} are {remark}"
              for name, remark in meter.remarks().items()]
    return Imported(tuple(notes), meter.rows())


def _notes_on(endpoint: Endpoint, request: Request, model: Model) -> list[str]:
    notes = [f"input '{port.name}' fixed to {list(request.input_shapes[port.name])}"
             for port in endpoint.inputs
             if port.name in request.input_shapes and (port.shape is None or -1 in port.shape)]
    notes += [f"input '{port.name}' keeps the batch that it was built with: {list(port.shape)}"
              for port in endpoint.inputs
              if port.batched and port.shape is not None and len(port.shape) > 1
              and port.shape[0] > 1]
    notes += [f"the size of output '{spec.name}' depends on the values: {list(spec.shape)}"
              for spec in model.outputs if -1 in spec.shape]
    if model.precision != "float":
        notes.append(f"the source is quantized already: {model.precision}")
    return notes


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
        return list(results.values())

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
                "make the state an input and an output; a Keras layer: stateful=False",
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
    function = traced.function
    size = sum(_bytes_of(variable) for variable in function.graph.variables)
    if size > MAX_FILE_BYTES:
        raise EdgekitError(f"{source} holds {size / 1e9:.1f} GB of weights; a TFLite file can be "
                           "at most 2 GB")
    try:
        if size < _FREEZE_BYTES:
            return _run(tf.lite.TFLiteConverter.from_concrete_functions([function]))
        return _convert_from_disk(function, folder)
    except Exception as error:
        raise _conversion_error(error, source) from error


def _bytes_of(variable: Any) -> int:  # noqa: ANN401
    return int(variable.dtype.size * np.prod(variable.shape, dtype=np.int64))


def _convert_from_disk(function: Any, folder: Path) -> bytes:  # noqa: ANN401
    holder = tf.Module()
    holder.variables_of_the_source = list(function.graph.variables)
    with tempfile.TemporaryDirectory(dir=folder) as saved:
        tf.saved_model.save(holder, saved, signatures=function)
        return _run(tf.lite.TFLiteConverter.from_saved_model(saved))


def _run(converter: Any) -> bytes:  # noqa: ANN401
    # A SavedModel's loops were traced with an open batch; here it is 1.
    converter._experimental_default_to_single_batch_in_tensor_list_ops = True  # noqa: SLF001
    return bytes(converter.convert())


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


def finish(raw: bytes, traced: Traced, clean_name: Callable[[str], str]) -> bytes:
    """One signature with the source's own names, and unique names for all tensors.

    Args:
        raw: What the converter gave.
        traced: The inputs' and outputs' names, in the function's order.
        clean_name: Applied to inner tensors' names.
    """
    model = to_objects(raw)
    main = model.subgraphs[0]
    inputs, outputs = _ports_of(model)
    main.inputs, main.outputs = inputs, outputs  # a SavedModel's come in any order
    taken: set[bytes] = set()
    for subgraph in model.subgraphs:
        _name_tensors(subgraph, clean_name, taken)
    named: set[int] = set()
    for names, indices in ((traced.inputs, inputs), (traced.outputs, outputs)):
        for name, index in zip(names, indices, strict=True):
            if index not in named:  # an output may be an input, or another output
                main.tensors[index].name = name.encode()
                named.add(index)
    make_names_unique(model)
    model.signatureDefs = [_signature(traced, inputs, outputs)]
    return to_bytes(model)


def _name_tensors(subgraph: Any, clean_name: Callable[[str], str], taken: set[bytes]) -> None:  # noqa: ANN401
    """Clean names; where a constant has an operator's, it is the constant that gives way.

    A loop's body gets its own name in front where another subgraph has the same names.
    """
    computed = {int(index) for operator in subgraph.operators for index in operator.outputs}
    for tensor in subgraph.tensors:
        tensor.name = clean_name(name_of(tensor)).encode()
    layers = {subgraph.tensors[index].name for index in computed}
    for index, tensor in enumerate(subgraph.tensors):
        if index not in computed and tensor.name in layers:
            tensor.name += b"/constant"
        if tensor.name in taken:
            tensor.name = (subgraph.name or b"body") + b"/" + tensor.name
    taken.update(tensor.name for tensor in subgraph.tensors)


def _ports_of(model: Any) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """Tensor indices of inputs and outputs in the function's order.

    A frozen graph keeps the order; a SavedModel's signature numbers them in their names.
    """
    main = model.subgraphs[0]
    if not model.signatureDefs:
        return list(main.inputs), list(main.outputs)

    def ordered(maps: Any) -> list[int]:  # noqa: ANN401 - list of TensorMapT
        return [m.tensorIndex for m in sorted(
            maps, key=lambda m: int(m.name.decode().rpartition("_")[2]))]

    signature = model.signatureDefs[0]
    return ordered(signature.inputs), ordered(signature.outputs)


def _signature(traced: Traced, inputs: list[int], outputs: list[int]) -> Any:  # noqa: ANN401
    from ai_edge_litert import schema_py_generated as schema

    def maps(names: tuple[str, ...], indices: list[int]) -> list[Any]:
        made = []
        for name, index in zip(names, indices, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), index
            made.append(entry)
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey = DEFAULT_SIGNATURE.encode()
    signature.subgraphIndex = 0
    signature.inputs = maps(traced.inputs, inputs)
    signature.outputs = maps(traced.outputs, outputs)
    return signature


def compare(traced: Traced, model: Model, framework: str, request: Request) -> ParityMeter:
    """Run both on the same inputs.

    Raises:
        EdgekitError: They differ by more than rounding.
    """
    meter, inputs, reference = ParityMeter(), {}, {}
    io = {"input_index": model.signature.inputs, "output_index": model.signature.outputs}
    for inputs in _samples(model, request.data):
        reference = _run_source(traced, inputs, framework, request.source)
        meter.add(reference, runtime.invoke(request.out, io, inputs))
    if meter.problems():
        raise _disagreement(traced, inputs, reference, meter, framework, request)
    return meter


def _samples(model: Model, data: str | None) -> Iterator[Arrays]:
    if data is not None:
        yield from (sample.inputs for sample in open_dataset(data, model.inputs).samples(
            DATA_SAMPLES))
        return
    generator = np.random.default_rng(0)
    for _ in range(RANDOM_SAMPLES):
        yield {spec.name: runtime.draw(spec, generator) for spec in model.inputs}


def _run_source(traced: Traced, inputs: Arrays, framework: str, source: str) -> Arrays:
    try:
        return traced.run(inputs)
    except Exception as error:
        raise EdgekitError(f"{framework} cannot run {source}: {first_line(error)}",
                           "give inputs that it can run on with --data") from error


def _disagreement(
    traced: Traced, inputs: Arrays, reference: Arrays, meter: ParityMeter, framework: str,
    request: Request,
) -> EdgekitError:  # fmt: skip
    """The error for outputs that differ; a source that differs from itself is told apart."""
    again = ParityMeter()
    again.add(reference, traced.run(inputs))
    if again.problems():
        name = next(iter(again.problems()))
        return EdgekitError(
            f"{request.source}: output '{name}' is another one each time that {framework} runs "
            "the same input", "take the random numbers out of the model, or make them an input")
    name, problem = next(iter(meter.problems().items()))
    kind = "random inputs" if request.data is None else "samples of the data"
    return EdgekitError(
        f"{request.source}: output '{name}' of the imported model is not {framework}'s: "
        f"{problem}, on {meter.samples} {kind}",
        "the converter got an operator wrong: write that part of the source in another way, and "
        "please report it",
    )


def first_line(error: BaseException) -> str:
    """The gist of a framework's error: its first line that is no frame around another."""
    lines = [_COLOURS.sub("", line).strip() for line in str(error).splitlines()]
    gist = next((line for line in lines if line and not _FRAMES.match(line)), "")
    return f"{type(error).__name__}: {gist[:200]}" if gist else type(error).__name__


@contextlib.contextmanager
def folder_of(request: Request) -> Iterator[None]:
    """Relative paths mean what they meant to the user."""
    with contextlib.chdir(request.folder):
        yield
