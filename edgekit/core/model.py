"""``Model``: what every source becomes and every step takes and gives."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError
from edgekit.core.graph import Buffer, Graph, SignatureRef, Tensor, read_graph

if TYPE_CHECKING:  # pydantic costs 0.1 s, and the child that runs models has no use for it
    from edgekit.core.description import InputDescription

Precision = Literal["float", "mixed", "integer"]
Arrays = Mapping[str, NDArray[Any]]

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the signature.

    Attributes:
        shape: Static shape, or with -1 where the model leaves a size open.
        scale: Scale of a quantized input or output, else None.
        zero_point: Its zero point.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Parity:
    """How far LiteRT and the source framework are apart on one output."""

    output: str
    max_abs: float
    cosine: float
    top1_agreement: float | None


@dataclass(frozen=True)
class Provenance:
    """Where a Model came from.

    Attributes:
        format: ``keras``, ``saved-model``, ``onnx``, ``pytorch``, ``huggingface``, ``python``,
            ``tflite``.
        source: Name of the file, folder or function, without folders.
        sha256: Of the source's bytes, when it is a file that was changed on the way; None for a
            .tflite taken as it is, whose ``Model.sha256`` says it.
        notes: What the importer had to decide or change.
        parity: Source framework against LiteRT, per output; empty for a .tflite.
    """

    format: str
    source: str
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    parity: tuple[Parity, ...] = ()


@dataclass(frozen=True)
class Companion:
    """A file that an app needs beside the model: a tokenizer's vocabulary.

    Attributes:
        path: Where it goes in a bundle, with forward slashes.
        kind: ``tokenizer`` or ``preprocessor``, as manifests have it.
        data: Its bytes, as they were beside the source.
    """

    path: str
    kind: str
    data: bytes


@dataclass(frozen=True, eq=False)
class Model:
    """An immutable TFLite model and everything that travels with it.

    Attributes:
        data: The flatbuffer.
        name: Name of the model, also of its folder in a bundle.
        provenance: Where it came from.
        descriptions: How each input is prepared, by input name.
        labels: Class names, in the order of the output; empty when unknown.
        files: Files appended to the .tflite (TFLite metadata's associated files), by name.
        companions: Files that travel beside the .tflite into packages for apps.
        constraints: What later steps must keep, by weight tensor name: ``sparse(...)``.
        ranges: Activation ranges that training learnt, by tensor name; quantize uses them.
    """

    data: Buffer
    name: str
    provenance: Provenance
    descriptions: "Mapping[str, InputDescription]" = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    companions: tuple[Companion, ...] = ()
    constraints: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """Of the flatbuffer."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def graph(self) -> Graph:
        """The parsed flatbuffer.

        Raises:
            EdgekitError: The bytes are not a sound TFLite file.
        """
        return read_graph(self.data, self.name)

    @cached_property
    def signature(self) -> SignatureRef:
        """The one signature; a file without any gets its tensors' names as the names."""
        signatures = self.graph.signatures
        return signatures[0] if signatures else _implied_signature(self.graph)

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in the order of the subgraph, which is the interpreter's."""
        return _specs(self.graph, self.signature.inputs, self.graph.main.inputs)

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs in the order of the subgraph."""
        return _specs(self.graph, self.signature.outputs, self.graph.main.outputs)

    @cached_property
    def precision(self) -> Precision:
        """``float``, ``mixed`` or ``integer``; see ``precision_of``."""
        return precision_of(self.graph)

    @cached_property
    def parameters(self) -> int:
        """Number of weights: elements of the constants that weigh something in operators."""
        return sum(tensor.elements for tensor in self.graph.constants if is_weight(tensor))

    def with_data(self, data: Buffer, **changes: Any) -> "Model":  # noqa: ANN401
        """The same model with another flatbuffer."""
        return replace(self, data=data, **changes)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once, in a child process.

        Args:
            inputs: One array per input, of its shape and dtype.

        Returns:
            One array per output.

        Raises:
            EdgekitError: Wrong names, shapes or dtypes; or the runtime refused or crashed.
        """
        from edgekit.core.runtime import run_once

        return run_once(self, inputs)

    def save(self, path: str | Path) -> None:
        """Write the .tflite, whole or not at all.

        Raises:
            EdgekitError: The place cannot be written.
        """
        from edgekit.core.files import write_atomically

        write_atomically(Path(path), bytes(self.data))


def is_weight(tensor: Tensor) -> bool:
    """Whether a constant is a weight rather than a shape, an axis or an index."""
    return tensor.is_constant and tensor.dtype not in ("int64", "bool", "string") and (
        tensor.dtype != "int32" or tensor.quantization is not None
    )


def precision_of(graph: Graph) -> Precision:
    """Classify a graph by what its operators compute in.

    ``integer``: no operator beside QUANTIZE and DEQUANTIZE touches a float tensor.
    ``float``: no quantized weight or activation anywhere, no half-precision weight.
    ``mixed``: everything else (dynamic, weight-only, float16, islands of float).
    """
    boundary = {"QUANTIZE", "DEQUANTIZE"}
    touches_float, touches_quantized = False, False
    for subgraph, operator in graph.operators():
        for index in (*operator.inputs, *operator.outputs):
            tensor = subgraph.tensors[index] if index >= 0 else None
            if tensor is None:
                continue
            quantized = tensor.dtype in ("float16", "bfloat16") or (
                tensor.quantization is not None and not tensor.dtype.startswith("float"))
            touches_quantized |= quantized
            if operator.name not in boundary:
                touches_float |= tensor.dtype.startswith(("float", "bfloat"))
    if not touches_quantized:
        # Integer arithmetic alone (lookups, comparisons) also runs where floats do not.
        return "float" if touches_float or not graph.main.operators else "integer"
    return "mixed" if touches_float else "integer"


def _implied_signature(graph: Graph) -> SignatureRef:
    main = graph.main

    def names(indices: tuple[int, ...], fallback: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for position, index in enumerate(indices):
            name = main.tensors[index].name or f"{fallback}_{position}"
            found[name if name not in found else f"{name}_{position}"] = index
        return found

    return SignatureRef(
        DEFAULT_SIGNATURE, main.index, names(main.inputs, "input"), names(main.outputs, "output")
    )


def _specs(
    graph: Graph, names: Mapping[str, int], order: tuple[int, ...]
) -> tuple[TensorSpec, ...]:
    tensors = graph.main.tensors
    ranked = sorted(names.items(), key=lambda item: _rank(order, item[1]))
    return tuple(_spec(name, tensors[index]) for name, index in ranked)


def _rank(order: tuple[int, ...], index: int) -> int:
    return order.index(index) if index in order else len(order)


def _spec(name: str, tensor: Tensor) -> TensorSpec:
    shape = _open_shape(tensor)
    quantization = tensor.quantization
    if quantization is None or tensor.dtype.startswith("float"):
        return TensorSpec(name, shape, tensor.dtype)
    return TensorSpec(name, shape, tensor.dtype,
                      float(quantization.scales[0]), int(quantization.zero_points[0]))


def _open_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape with -1 where it is open; an open batch stored as 1 is simply 1."""
    if len(tensor.shape_signature) != len(tensor.shape):
        return tensor.shape
    return tuple(
        -1 if open_ == -1 and (axis > 0 or size != 1) else size
        for axis, (size, open_) in enumerate(zip(tensor.shape, tensor.shape_signature,
                                                 strict=True))
    )


def check_arrays(specs: tuple[TensorSpec, ...], arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Hold arrays against a signature.

    Raises:
        EdgekitError: A missing or unknown input, another shape, or another dtype.
    """
    names = [spec.name for spec in specs]
    if unknown := sorted(set(arrays) - set(names)):
        raise EdgekitError(f"the model has no input '{unknown[0]}'", f"it has: {', '.join(names)}")
    checked: dict[str, NDArray[Any]] = {}
    for spec in specs:
        if spec.name not in arrays:
            raise EdgekitError(f"input '{spec.name}' is missing", f"it is {spec.dtype} "
                               f"{list(spec.shape)}")
        checked[spec.name] = _check_array(spec, np.asarray(arrays[spec.name]))
    return checked


def _check_array(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    wanted = f"{spec.dtype} of shape {list(spec.shape)}"
    got = f"{array.dtype.name} of shape {list(array.shape)}"
    fits = len(array.shape) == len(spec.shape) and all(
        open_ in (-1, size) for size, open_ in zip(array.shape, spec.shape, strict=True)
    )
    if not fits or array.dtype.name != spec.dtype:
        raise EdgekitError(f"input '{spec.name}' is {got}; the model wants {wanted}")
    return np.ascontiguousarray(array)
