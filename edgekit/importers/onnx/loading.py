"""Reading an ONNX file that nobody vouches for."""

from pathlib import Path
from typing import Any

import onnx
from onnx import defs, inliner, shape_inference
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import MAX_FILE_BYTES
from edgekit.importers._proof_worker import first_line

_MAX_ELEMENTS = 2**31
_MAX_NODES = 200_000


def load(source: str) -> onnx.ModelProto:
    """Read a model with its external data, and see that it is sound.

    Returns:
        The model, local functions inlined.

    Raises:
        EdgekitError: Damaged, unsound, too large, of an unknown version, or with external data
            that is missing or outside of the model's folder.
    """
    path = Path(source)
    model = _parse(path)
    _check_versions(model, source)
    _load_external(model, path)
    _check_graph(model, source)
    if model.functions:
        model = inliner.inline_local_functions(model)
    return model


def _parse(path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:
        raise EdgekitError(f"{path} is damaged, or no ONNX file: {first_line(error)}",
                           "copy it again, or export it again") from error
    if not model.graph.node and not model.graph.output:
        raise EdgekitError(f"{path} is damaged, or no ONNX file: it holds no graph",
                           "copy it again, or export it again")
    return model


def _check_versions(model: onnx.ModelProto, source: str) -> None:
    if not model.opset_import:
        raise EdgekitError(f"{source} does not say which ONNX operator set it uses",
                           "it is from before ONNX 1.0: convert it with onnx.version_converter")
    newest = defs.onnx_opset_version()
    for item in model.opset_import:
        if item.domain in ("", "ai.onnx") and item.version > newest:
            raise EdgekitError(
                f"{source} uses ONNX operator set {item.version}; the newest that onnx "
                f"{onnx.__version__} knows is {newest}",
                f"export it with opset_version={newest}, or install a newer onnx")
        if item.domain in ("", "ai.onnx") and item.version < 1:
            raise EdgekitError(f"{source} uses ONNX operator set {item.version}, which never was")


def _tensors(graph: onnx.GraphProto) -> Any:  # noqa: ANN401
    """Every stored tensor of a graph and of what is inside its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("t"):
                yield item.t
            yield from item.tensors
            for inner in (*([item.g] if item.HasField("g") else []), *item.graphs):
                yield from _tensors(inner)


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Weights that are kept in files beside the model: from its folder only."""
    folder = path.resolve().parent
    total = 0
    for tensor in _tensors(model.graph):
        _check_size(tensor, path)
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        info = ExternalDataInfo(tensor)
        place = _inside(folder, info.location, tensor.name, path)
        total += info.length or place.stat().st_size
        if total > MAX_FILE_BYTES:
            raise EdgekitError(f"{path} has more than 2 GB of weights; a TFLite file can be at "
                               "most 2 GB")
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:
            raise EdgekitError(f"{path}: the weights '{tensor.name}' cannot be read from "
                               f"{info.location}: {first_line(error)}",
                               "copy the file with the weights again") from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _inside(folder: Path, location: str, name: str, path: Path) -> Path:
    place = (folder / location).resolve()
    if not location or not place.is_relative_to(folder):
        raise EdgekitError(f"{path}: the weights '{name}' are kept outside of its folder, in "
                           f"'{location}'; that is not read", "keep the weights beside the model")
    if not place.is_file():
        raise EdgekitError(f"{path}: its weights are kept in {location}, which is not there",
                           "copy that file beside the model, too")
    return place


def _check_size(tensor: onnx.TensorProto, path: Path) -> None:
    count = 1
    for size in tensor.dims:
        count *= size
        if size < 0 or count > _MAX_ELEMENTS:
            raise EdgekitError(f"{path}: the tensor '{tensor.name}' has the shape "
                               f"{list(tensor.dims)}; that cannot be")


def _check_graph(model: onnx.ModelProto, source: str) -> None:
    """The ONNX project's own checker, whose complaints are in its own words."""
    if len(model.graph.node) > _MAX_NODES:
        raise EdgekitError(f"{source} has {len(model.graph.node)} nodes; at most {_MAX_NODES} "
                           "are read")
    # Before version 4 constants had to be listed as inputs, too; many exporters never did.
    model.ir_version = max(model.ir_version, 4)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        problem = first_line(error)
        if "opset_import" in problem or "No Op registered" in problem:
            return  # operators are looked at one by one, and all are listed
        raise EdgekitError(f"{source} is no sound ONNX model: {problem}",
                           "export it again; onnx.checker.check_model(path) says more") from error
    except ValueError:  # more than the checker takes at once
        return


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the types of inner values, as far as ONNX can tell."""
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # noqa: BLE001 - it is a help, not a need
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
