"""Runs in the child process: SavedModels as endpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.model import DEFAULT_SIGNATURE
from edgekit.importers._convert_worker import FORBIDDEN, Endpoint, graph_nodes
from edgekit.importers._names import named_outputs, unique
from edgekit.importers._proof_worker import first_line
from edgekit.importers._shapes import Port
from edgekit.importers._tensorflow import Request

_INTERNAL = ("__saved_model_init_op", "__saved_model_train_op")


def load_folder(request: Request) -> Endpoint:
    """One signature of a SavedModel.

    Raises:
        EdgekitError: Damaged, dangerous, or no signature to take without being told.
    """
    source = request.source
    meta = _read_meta_graph(source)
    _refuse_forbidden(source, meta)
    key = _choose(source, meta, request.signature)
    try:
        loaded = tf.saved_model.load(source, tags=list(meta.meta_info_def.tags))
        function = loaded.signatures[key] if key else _only_call(loaded, source)
        endpoint = endpoint_of_function(function, f"TensorFlow {tf.__version__}")
    except EdgekitError:
        raise
    except Exception as error:
        raise EdgekitError(f"{source} cannot be loaded: {first_line(error)}",
                           "it may be damaged: copy or export it again") from error
    endpoint.keep = loaded  # its variables live as long as it does
    if request.signature is not None and len(_keys(meta)) > 1:
        endpoint.notes.append(f"signature '{key}' taken; the others are left out")
    return endpoint


def _read_meta_graph(source: str) -> Any:  # noqa: ANN401 - MetaGraphDef
    """The graph for serving, parsed but not run."""
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        binary = Path(source) / "saved_model.pb"
        if binary.is_file():
            saved.ParseFromString(binary.read_bytes())
        else:
            text_format.Parse((Path(source) / "saved_model.pbtxt").read_text("utf-8"), saved)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, OSError) as error:
        raise EdgekitError(f"{source} is damaged: saved_model.pb cannot be parsed",
                           "copy or export it again") from error
    graphs = list(saved.meta_graphs)
    serving = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
    if len(serving or graphs) == 0:
        raise EdgekitError(f"{source} is damaged: there is no graph in it",
                           "copy or export it again")
    return (serving or graphs)[0]


def _refuse_forbidden(source: str, meta: Any) -> None:  # noqa: ANN401
    """Loading runs initializers: nothing that touches files of its choice, or Python."""
    for node in graph_nodes(meta.graph_def):
        if node.op in FORBIDDEN:
            raise EdgekitError(f"{source} reads or writes files, or calls Python ({node.op}); "
                               "that is not run from a model", "export it without that part")


def _choose(source: str, meta: Any, wanted: str | None) -> str:  # noqa: ANN401
    """The signature's key; empty when there is none, and its call has to do."""
    keys = _keys(meta)
    if wanted is not None:
        if wanted not in keys:
            raise EdgekitError(f"{source} has no signature '{wanted}'",
                               did_you_mean(wanted, keys) or "leave --signature out")
        return wanted
    distinct = {_what_it_calls(meta, key): key for key in keys}
    if len(distinct) > 1:
        raise EdgekitError(f"{source} has {len(keys)} signatures: {', '.join(keys)}",
                           "choose one with --signature NAME")
    return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in keys else (keys[0] if keys else "")


def _keys(meta: Any) -> list[str]:  # noqa: ANN401
    return sorted(key for key in meta.signature_def if key not in _INTERNAL)


def _what_it_calls(meta: Any, key: str) -> tuple[Any, ...]:  # noqa: ANN401
    """Equal for two signatures of one function: Keras 3 exports each endpoint under two names."""
    signature = meta.signature_def[key]
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    nodes = {node.name: node for node in meta.graph_def.node}
    called = set()
    for info in signature.outputs.values():
        node = nodes.get(info.name.split(":")[0])
        wrapper = functions.get(node.attr["f"].func.name) if node is not None else None
        inner = [n.attr["f"].func.name for n in (wrapper.node_def if wrapper else ())
                 if n.attr["f"].func.name]
        called.add(inner[0] if len(inner) == 1 else key)
    ports = [tuple(sorted(group)) for group in (signature.inputs, signature.outputs)]
    return (*sorted(called), *ports)


def _only_call(loaded: Any, source: str) -> Any:  # noqa: ANN401
    """The one traced ``__call__`` of a module that was saved without signatures."""
    traced = loaded.__call__.concrete_functions if callable(loaded) else []
    if len(traced) != 1:
        raise EdgekitError(
            f"{source} has no signature, and {len(traced)} traced calls",
            "export it with tf.saved_model.save(module, folder, signatures=function)")
    return traced[0]


def endpoint_of_function(function: Any, framework: str) -> Endpoint:  # noqa: ANN401
    """A concrete function as an endpoint; its arguments' names are the inputs'."""
    args, kwargs = function.structured_input_signature
    flat = tf.nest.flatten((args, kwargs))
    specs = [spec for spec in flat if isinstance(spec, tf.TensorSpec)]
    names = unique(_argument_names(kwargs, specs))
    lone = len(specs) == 1  # one open axis of one input: a signal's length as likely as a batch
    ports = tuple(Port(name, _shape(spec), spec.dtype.name, batched=not lone)
                  for name, spec in zip(names, specs, strict=True))

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        waiting = iter(tensors.values())
        filled = [next(waiting) if isinstance(spec, tf.TensorSpec) else spec for spec in flat]
        given_args, given_kwargs = tf.nest.pack_sequence_as((args, kwargs), filled)
        results = function(*given_args, **given_kwargs)
        # A loaded signature's outputs come in another order in each process.
        return named_outputs(dict(sorted(results.items())) if isinstance(results, dict)
                             else results)

    return Endpoint(framework, ports, call, function)


def _argument_names(kwargs: Mapping[str, Any], specs: list[Any]) -> list[str]:
    names = [spec.name or f"input_{position}" for position, spec in enumerate(specs)]
    if len(kwargs) == len(specs):  # a signature: its keys are the names, in the order of flatten
        return sorted(kwargs)
    return names


def _shape(spec: Any) -> tuple[int, ...] | None:  # noqa: ANN401 - TensorSpec
    if spec.shape.rank is None:
        return None
    return tuple(-1 if size is None else int(size) for size in spec.shape)
