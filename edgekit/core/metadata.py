"""What a Model says about itself in its ``.tflite``: names, preprocessing, labels.

TFLite Metadata is what TFLite Support, the Task Library and MediaPipe Tasks read to prepare an
input and to name an output. Specification: ``metadata_schema.fbs`` (see ``metadata_schema``).

Two conventions meet here. ``InputDescription`` normalizes an image as ``(pixel / 255 - mean) /
std``; the specification as ``(pixel - mean) / std``, so its numbers are 255 times ours.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from edgekit.core.description import InputDescription
from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Buffer, Graph, SignatureRef, Tensor
from edgekit.core.metadata_file import attach, metadata_of, split_appended, with_metadata
from edgekit.core.metadata_schema import SCHEMA_VERSION, Tree, decode, encode
from edgekit.core.model import Model, Provenance
from edgekit.core.validation import parse

__all__ = [
    "attach", "describe", "embed", "metadata_of", "read_description", "split_appended",
    "with_metadata",
]  # fmt: skip

LABELS_FILE = "labels.txt"

# AssociatedFileType
_AXIS_LABELS, _VALUE_LABELS = 2, 3
# ColorSpaceType; the schema has no word for BGR, and saying RGB would swap the channels.
_COLORS: Mapping[str, int] = {"rgb": 1, "grayscale": 2}
_AXIS_NAMES: Mapping[str, str] = {
    "n": "batch", "h": "height", "w": "width", "c": "channels", "d": "depth", "t": "time",
}  # fmt: skip
_TOKENIZERS = {"BertTokenizerOptions", "SentencePieceTokenizerOptions", "RegexTokenizerOptions"}
_PIXEL_MAX = 255.0
_SILENT = InputDescription()

Descriptions = dict[str, InputDescription]


def embed(model: Model) -> Buffer:
    """The ``.tflite`` to deploy: the flatbuffer with everything that travels with the Model.

    Metadata that an imported file brought along stays byte for byte, unless labels or
    descriptions were given that say something else; then the rest of it is kept. A Model with
    nothing to say is its flatbuffer, unchanged.

    Raises:
        EdgekitError: Labels or descriptions that metadata cannot hold, or more than 2 GB.
    """
    labels, descriptions = _news(model)
    if not labels and not descriptions:
        return attach(model.data, model.files)
    metadata, files = describe(model)
    return attach(with_metadata(model.data, metadata), files)


def _news(model: Model) -> tuple[tuple[str, ...], Descriptions]:
    """The Model's labels and descriptions that its file does not have already."""
    labels, descriptions = read_description(model.data, model.files)
    return model.labels if model.labels != labels else (), {
        name: given for name, given in model.descriptions.items()
        if given not in (descriptions.get(name), _SILENT)
    }


def read_description(
    data: Buffer, files: Mapping[str, bytes]
) -> tuple[tuple[str, ...], Descriptions]:
    """Labels, and how each input is prepared, from a file's metadata.

    Args:
        data: The flatbuffer.
        files: What was appended to it (``split_appended``).

    Returns:
        The labels of the first output that has any, and descriptions by input name; both empty
        where the metadata is silent or absent. A locale's labels come second to plain ones.

    Raises:
        EdgekitError: The metadata is damaged, or the labels are not text.
    """
    probe = Model(data, "the model", Provenance("tflite", "the model"))
    raw = metadata_of(probe.graph)
    if raw is None:
        return (), {}
    tree = decode(raw)
    subgraph = _main(tree)
    entries = subgraph.get("input_tensor_metadata", [])
    names = _names(probe.graph, probe.signature.inputs, probe.graph.main.inputs)
    tokens = _has_tokenizer(subgraph.get("input_process_units", []))
    found: Descriptions = {}
    # Another number of entries than of inputs describes other tensors.
    for name, entry in zip(names, entries, strict=True) if len(names) == len(entries) else ():
        where = f"the metadata of input '{name}'"
        description = parse(InputDescription, _read_input(entry, tokens=tokens), where)
        if description != _SILENT:
            found[name] = description
    return _read_labels(tree, files), found


def _main(tree: Tree) -> Tree:
    subgraphs = tree.get("subgraph_metadata") or [{}]
    main: Tree = subgraphs[0]
    return main


def _names(graph: Graph, names: Mapping[str, int], order: Iterable[int]) -> list[str]:
    """Names in the subgraph's order: metadata has one entry for each of its tensors."""
    by_index = {index: name for name, index in reversed(list(names.items()))}
    return [by_index.get(index, graph.main.tensors[index].name) for index in order]


def _read_input(entry: Tree, *, tokens: bool) -> dict[str, Any]:
    """The fields of an ``InputDescription``."""
    content = entry.get("content", {})
    properties = content.get("content_properties", {})
    units = entry.get("process_units", [])
    normal: Tree = next((unit.get("options", {}) for unit in units
                         if unit.get("options_type") == "NormalizationOptions"), {})
    fields: dict[str, Any] = {"layout": _read_layout(entry)}
    factor = 1.0
    match content.get("content_properties_type"):
        case "ImageProperties":
            colors = {number: name for name, number in _COLORS.items()}
            fields |= {"kind": "image", "color": colors.get(properties.get("color_space"))}
            factor = 1 / _PIXEL_MAX
        case "AudioProperties":
            fields |= {"kind": "audio", "sample_rate": properties.get("sample_rate")}
        case _:
            fields["kind"] = "tokens" if tokens or _has_tokenizer(units) else "tensor"
    return fields | {"mean": _scaled(normal.get("mean"), factor),
                     "std": _scaled(normal.get("std"), factor)}


def _has_tokenizer(units: Iterable[Tree]) -> bool:
    return any(unit.get("options_type") in _TOKENIZERS for unit in units)


def _scaled(values: list[float] | None, factor: float) -> tuple[float, ...] | None:
    # A float32 carries 7 digits: 0.485 went out as 123.675 and comes back as 0.485.
    return tuple(float(f"{value * factor:.7g}") for value in values) if values else None


def _read_layout(entry: Tree) -> str | None:
    letters = {name: letter for letter, name in _AXIS_NAMES.items()}
    names = entry.get("dimension_names", [])
    if not names or not set(names) <= set(letters):
        return None
    return "".join(letters[name] for name in names)


def _read_labels(tree: Tree, files: Mapping[str, bytes]) -> tuple[str, ...]:
    subgraph = _main(tree)
    for holder in (*subgraph.get("output_tensor_metadata", []), subgraph, tree):
        entries = [entry for entry in holder.get("associated_files", []) if _is_labels(entry)]
        entries.sort(key=lambda entry: "locale" in entry)
        for entry in entries:
            if (text := files.get(entry.get("name", ""))) is not None:
                return _lines(entry["name"], text)
    return ()


def _is_labels(entry: Tree) -> bool:
    return entry.get("type") in (_AXIS_LABELS, _VALUE_LABELS)


def _lines(name: str, text: bytes) -> tuple[str, ...]:
    """Labels by line; an empty line is a class without a name, but for the last."""
    try:
        lines = text.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise EdgekitError(f"the labels appended to the model ('{name}') are not UTF-8 text",
                           "write them again as UTF-8, one label a line") from error
    return tuple(lines[:-1] if lines[-1] == "" else lines)


def describe(model: Model) -> tuple[bytes, dict[str, bytes]]:
    """The metadata flatbuffer for a Model, and the files that belong to it.

    What the model's own metadata says beside labels and inputs (author, licence, score
    calibration, vocabularies, other outputs) is kept.

    Returns:
        The flatbuffer, and ``model.files`` with the labels among them.

    Raises:
        EdgekitError: Labels or numbers that metadata cannot hold, or existing metadata of a
            newer version than edgekit can rewrite.
    """
    labels, descriptions = _news(model)
    main = model.graph.main
    raw = metadata_of(model.graph)
    tree = decode(raw) if raw is not None else {
        "name": model.name,
        "description": f"Converted from {model.provenance.format} and packaged by edgekit.",
    }
    _check_version(tree)
    subgraph = _complete(tree, model.graph, model.signature)
    names = _names(model.graph, model.signature.inputs, main.inputs)
    for name, index, entry in zip(names, main.inputs, subgraph["input_tensor_metadata"],
                                  strict=True):
        if name in descriptions:
            _write_input(entry, descriptions[name], name, main.tensors[index])
    files = dict(model.files)
    if labels:
        _write_labels(tree, files, labels, [main.tensors[index].shape for index in main.outputs])
    tree["min_parser_version"] = _min_version(tree)
    return encode(tree), files


def _version(tree: Tree) -> tuple[int, ...]:
    numbers = re.findall(r"[0-9]{1,9}", tree.get("min_parser_version", "1.0.0"))
    return tuple(map(int, numbers[:3]))


def _check_version(tree: Tree) -> None:
    if _version(tree) > SCHEMA_VERSION:
        newest = ".".join(map(str, SCHEMA_VERSION))
        raise EdgekitError(
            f"the model's metadata is of version {tree['min_parser_version']}; edgekit can "
            f"change it up to {newest}",
            "leave labels and input descriptions out to keep the metadata as it is",
        )


def _min_version(tree: Tree) -> str:
    """Of the fields that ``describe`` writes, only AudioProperties is younger than 1.0.0."""
    contents = [entry.get("content", {}) for entry in _main(tree)["input_tensor_metadata"]]
    audio = any(content.get("content_properties_type") == "AudioProperties"
                for content in contents)
    return ".".join(map(str, max(_version(tree), (1, 3, 0) if audio else (1, 0, 0))))


def _complete(tree: Tree, graph: Graph, signature: SignatureRef) -> Tree:
    """The main subgraph's metadata with one entry for each input and output, as readers demand.

    A list of another length describes other tensors (another signature's) and is replaced.
    """
    subgraphs = tree.setdefault("subgraph_metadata", [])
    if not subgraphs:
        subgraphs.append({})
    subgraph: Tree = subgraphs[0]
    for side, names, order in (("input", signature.inputs, graph.main.inputs),
                               ("output", signature.outputs, graph.main.outputs)):
        key = f"{side}_tensor_metadata"
        if len(subgraph.get(key, [])) != len(order):
            subgraph[key] = [{"name": name} for name in _names(graph, names, order)]
    return subgraph


def _write_input(entry: Tree, given: InputDescription, name: str, tensor: Tensor) -> None:
    content = {key: value for key, value in entry.get("content", {}).items() if key == "range"}
    units = [unit for unit in entry.get("process_units", [])
             if unit.get("options_type") != "NormalizationOptions"]
    properties: Tree = {}
    match given.kind:
        case "image":
            content["content_properties_type"] = "ImageProperties"
            properties["color_space"] = _COLORS.get(given.color or "", 0)
        case "audio":
            content["content_properties_type"] = "AudioProperties"
            properties = {"sample_rate": given.sample_rate or 0,
                          "channels": _channels(given.layout, tensor)}
        case _:
            content["content_properties_type"] = "FeatureProperties"
    content["content_properties"] = properties
    if given.mean is not None or given.std is not None:
        units.append({"options_type": "NormalizationOptions", "options": _normal(given, name)})
    entry |= {"content": content, "process_units": units}
    if given.layout and len(given.layout) == len(tensor.shape) and (
            set(given.layout.lower()) <= set(_AXIS_NAMES)):
        entry["dimension_names"] = [_AXIS_NAMES[axis] for axis in given.layout.lower()]
    if given.color == "bgr":
        entry.setdefault("description", "Channels in the order blue, green, red.")


def _channels(layout: str | None, tensor: Tensor) -> int:
    """Channels of an audio input by its layout; one where the layout names none."""
    axis = (layout or "").lower().find("c")
    return tensor.shape[axis] if 0 <= axis < len(tensor.shape) else 1


def _normal(given: InputDescription, name: str) -> Tree:
    """NormalizationOptions: as many means as deviations, which MediaPipe checks."""
    factor = _PIXEL_MAX if given.kind == "image" else 1.0
    mean, std = given.mean or (0.0,), given.std or (1.0,)
    count = max(len(mean), len(std))
    if {len(mean), len(std)} - {1, count}:
        raise EdgekitError(f"input '{name}' has {len(mean)} means and {len(std)} deviations",
                           "give one of each, or one per channel")
    if not all(math.isfinite(value) and abs(value) < 1e30 for value in (*mean, *std)) or (
            0.0 in std):
        raise EdgekitError(f"input '{name}' cannot be normalized by mean {mean} and std {std}",
                           "they are finite, and std is not zero")
    return {"mean": [value * factor for value in mean * (count // len(mean))],
            "std": [value * factor for value in std * (count // len(std))]}


def _write_labels(
    tree: Tree, files: dict[str, bytes], labels: tuple[str, ...], shapes: list[tuple[int, ...]]
) -> None:
    """Put the labels into ``files``, and say which output they belong to."""
    if any("\n" in label or "\r" in label for label in labels):
        raise EdgekitError("a label has a line break in it", "metadata has one label a line")
    holder, kind = _labels_holder(tree, shapes, len(labels))
    entries = holder.get("associated_files", [])
    replaced = {entry.get("name", "") for entry in entries if _is_labels(entry)}
    others = [entry for entry in entries if not _is_labels(entry)]
    holder["associated_files"] = others
    for name in replaced - _file_names(tree):
        files.pop(name, None)
    name = LABELS_FILE if LABELS_FILE not in files else f"edgekit-{LABELS_FILE}"
    files[name] = "".join(f"{label}\n" for label in labels).encode()
    entry = {"name": name, "description": "Class names, one a line.", "type": kind}
    holder["associated_files"] = [entry, *others]


def _labels_holder(
    tree: Tree, shapes: list[tuple[int, ...]], classes: int
) -> tuple[Tree, int]:
    """The table that labels go to, and their type.

    The output with one element per class; else where labels are already (a detector's output of
    class numbers); else the model as a whole: some output's values must be class numbers.
    """
    subgraph = _main(tree)
    outputs = subgraph["output_tensor_metadata"]
    for output, shape in zip(outputs, shapes, strict=True):
        if shape and shape[-1] == classes:
            return output, _AXIS_LABELS
    for holder in (*outputs, subgraph, tree):
        for entry in holder.get("associated_files", []):
            if _is_labels(entry):
                return holder, entry["type"]
    return tree, _VALUE_LABELS


def _file_names(node: Any) -> set[str]:  # noqa: ANN401 - a decoded metadata or a part of it
    """Names of the files that are still named, at any depth."""
    names: set[str] = set()
    items = node.items() if isinstance(node, Mapping) else enumerate(
        node if isinstance(node, list) else ())
    for key, value in items:
        if key in ("associated_files", "vocab_file", "sentencePiece_model"):
            names |= {entry.get("name", "") for entry in value}
        else:
            names |= _file_names(value)
    return names
