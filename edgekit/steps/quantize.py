"""Quantization without training: fewer bits for weights and, with data, for activations.

The codes and scales are litert-quantizer's (Google's own, post-training: Jacob et al. 2018,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv:1712.05877); which layers get which scheme, what was left out and whether the result is
right is decided here.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from edgekit.core.errors import EdgekitError, GuardError
from edgekit.core.graph import Graph, Operator, Subgraph
from edgekit.core.model import Model, is_weight
from edgekit.core.recipe import first_match
from edgekit.core.results import Skipped, StepResult
from edgekit.core.runtime import compare
from edgekit.core.sandbox import WorkerError, map_file, sandbox
from edgekit.core.validation import Strict
from edgekit.steps.base import Agreement, StepContext, Technique
from edgekit.steps.layers import layer_name, refuse_idle_rules

WORKER = "edgekit.workers.quantize"
_TENSORFLOW_WORKER = "edgekit.workers.tensorflow_quantize"

# What the runtime computes correctly, by scheme: bits of the weights.
_WEIGHT_BITS = {"dynamic": (8, 4, 2), "static": (8, 4), "weight-only": (8, 4), "float16": (16,)}
# Below this the result is wrong rather than coarse: a miscomputed operator, not rounding. (MiniLM
# at 4 bits, untrained: 0.90; 2-bit convolutions, which the runtime gets wrong: about 0.3.)
_COSINE_FLOOR = {16: 0.999, 8: 0.90, 4: 0.60, 2: 0.50}
# These move or convert values and are no computation in float.
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})


class QuantizeSettings(Strict):
    """``use = "quantize"``.

    Attributes:
        scheme: ``dynamic`` (integer weights, activations quantized as they come), ``static``
            (integer weights and activations, ranges from calibration data), ``weight-only``
            (integer weights, float arithmetic) or ``float16`` (half-precision weights).
        weights: Bits of a weight.
        activations: Bits of an activation, for ``static``.
        granularity: One scale per output ``channel`` or one per ``tensor``.
        io: Type of a static model's inputs and outputs; ``auto`` is int for integer-only
            targets and float otherwise, so that an app's code need not change.
        samples: At most this many samples are used for calibration.
        min_cosine: The result must agree with the float model at least this well.
    """

    scheme: Literal["dynamic", "static", "weight-only", "float16"]
    weights: Literal[2, 4, 8, 16] = 8
    activations: Literal[8, 16] = 8
    granularity: Literal["channel", "tensor"] = "channel"
    io: Literal["auto", "float", "int"] = "auto"
    samples: int = Field(default=512, ge=1)
    min_cosine: float | None = Field(default=None, ge=-1.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _float16_has_16_bits(cls, raw: Any) -> Any:  # noqa: ANN401
        if isinstance(raw, Mapping) and raw.get("scheme") == "float16":
            return {"weights": 16, **raw}
        return raw

    @model_validator(mode="after")
    def _is_a_scheme_that_exists(self) -> "QuantizeSettings":
        allowed = _WEIGHT_BITS[self.scheme]
        if self.weights not in allowed:
            listed = " or ".join(map(str, allowed))
            raise ValueError(
                f"scheme '{self.scheme}' has weights of {listed} bits, not {self.weights}"
            )
        if self.scheme != "static":
            for name in ("activations", "io"):
                if name in self.model_fields_set:
                    raise ValueError(f"'{name}' is for scheme 'static'")
        return self


def _run(model: Model, settings: QuantizeSettings, context: StepContext) -> StepResult:
    # A target without floats takes none at its border either.
    integer_io = settings.io == "int" or (settings.io == "auto" and context.integer_only)
    refuse_idle_rules(model, context.rules)
    overrides, notes = _layer_overrides(model, settings, context)
    arguments = {
        "scheme": settings.scheme, "weights": settings.weights,
        "activations": settings.activations, "per_channel": settings.granularity == "channel",
        "integer_io": integer_io, "overrides": overrides,
        "data": context.data, "samples": settings.samples, "ranges": dict(model.ranges),
    }  # fmt: skip
    box = sandbox()
    out = box.new_path(".tflite")
    _call(f"{WORKER}:quantize", model, out, arguments)
    result = box.adopt(model.with_data(map_file(out), ranges={}), out)
    skipped = [Skipped(row.layer, "skipped by the recipe" if _is_skipped(row.layer, context)
                       else row.reason) for row in _left_in_float(result.graph, settings)]
    if context.integer_only and settings.scheme == "static" and result.precision != "integer":
        result, more, skipped = _with_tensorflow(model, result, settings, context, skipped)
        notes += more
    return StepResult(result, _describe(settings, integer_io), tuple(skipped), tuple(notes))


def _call(function: str, model: Model, out: Path, arguments: Mapping[str, Any]) -> None:
    box = sandbox()
    try:
        box.call(function, f"quantizing {model.name}",
                 path=str(box.path_of(model)), out=str(out), **arguments)
    except WorkerError as error:
        raise EdgekitError(
            f"the quantizer cannot take {model.name}: {error.kind}: {error.text}",
            "try another scheme (--recipe dynamic-int8), or skip the layer it names",
        ) from error


def _describe(settings: QuantizeSettings, integer_io: bool) -> str:
    if settings.scheme == "float16":
        return "weights to float16"
    per = f"one scale per {settings.granularity}"
    if settings.scheme == "static":
        border = "integer" if integer_io else "float"
        return (f"static int{settings.activations}, {settings.weights}-bit weights, {per}, "
                f"{border} inputs and outputs")
    return f"{settings.scheme}, {settings.weights}-bit weights, {per}"


def _layer_overrides(
    model: Model, settings: QuantizeSettings, context: StepContext
) -> tuple[dict[str, int], list[str]]:
    """Bits of the weights by layer name where they differ from the step's; 0 leaves it float."""
    overrides: dict[str, int] = {}
    lifted: list[str] = []
    for subgraph, operator in model.graph.operators():
        name = layer_name(subgraph, operator)
        rule = first_match(context.rules, name)
        bits: int = settings.weights
        if rule is not None:
            bits = 0 if rule.skip else rule.settings.get("weights", bits)
        if settings.scheme == "static" and subgraph.index > 0:
            # litert-quantizer changes the types inside a WHILE or IF and not at its border:
            # LiteRT refuses such a file.
            bits = 0
        if bits == 2 and operator.name == "CONV_2D":
            # LiteRT 2.3 loads and runs 2-bit convolutions, and returns garbage.
            bits = 4
            lifted.append(name)
        if bits != settings.weights:
            overrides[name] = bits
    notes = []
    if lifted:
        notes.append(f"{len(lifted)} convolution(s) have 4-bit weights instead of 2: the runtime "
                     f"computes 2-bit convolutions wrongly ({', '.join(lifted[:3])}"
                     f"{', …' if len(lifted) > 3 else ''})")
    return overrides, notes


def _is_skipped(layer: str, context: StepContext) -> bool:
    rule = first_match(context.rules, layer)
    return rule is not None and rule.skip


def _left_in_float(graph: Graph, settings: QuantizeSettings) -> list[Skipped]:
    """The layers that the scheme did not reach, and why."""
    if settings.scheme == "static":
        return [Skipped(layer_name(subgraph, operator), _why_float(subgraph, operator))
                for subgraph, operator in graph.operators()
                if operator.name not in _CONVERSIONS and _touches_float(subgraph, operator)]
    skipped = []
    for subgraph, operator in graph.operators():
        wide = [subgraph.tensors[i] for i in operator.inputs if i >= 0
                and is_weight(subgraph.tensors[i]) and subgraph.tensors[i].dtype == "float32"
                and subgraph.tensors[i].elements >= 1024]
        if wide and operator.name not in _CONVERSIONS:
            skipped.append(Skipped(layer_name(subgraph, operator),
                                   f"no {settings.scheme} {settings.weights}-bit {operator.name} "
                                   "in litert-quantizer: its weights stay float32"))
    return skipped


def _why_float(subgraph: Subgraph, operator: Operator) -> str:
    if subgraph.index > 0:
        return f"{operator.name} in the body of a loop or branch: computed in float"
    return f"no static {operator.name} in litert-quantizer, or its neighbours: computed in float"


def _touches_float(subgraph: Subgraph, operator: Operator) -> bool:
    return any(subgraph.tensors[i].dtype.startswith("float")
               for i in (*operator.inputs, *operator.outputs) if i >= 0)


def _with_tensorflow(
    model: Model,
    partial: Model,
    settings: QuantizeSettings,
    context: StepContext,
    skipped: list[Skipped],
) -> tuple[Model, list[str], list[Skipped]]:
    """TensorFlow's own quantizer, where litert-quantizer left floats on an integer-only target."""
    floats = sorted({operator.name for subgraph, operator in partial.graph.operators()
                     if operator.name not in _CONVERSIONS and _touches_float(subgraph, operator)})
    named = ", ".join(floats) or "inputs and outputs"
    if context.rules or settings.weights != 8 or find_spec("tensorflow") is None:
        why = ("per-layer rules and 4-bit weights exclude" if find_spec("tensorflow")
               else "the extra 'tensorflow' would allow")
        return partial, [f"{named} stay float; {why} TensorFlow's quantizer"], skipped
    out = sandbox().new_path(".tflite")
    try:
        _call(f"{_TENSORFLOW_WORKER}:quantize", model, out, {
            "data": context.data, "samples": settings.samples,
            "activations": settings.activations,
            "per_channel": settings.granularity == "channel",
        })  # fmt: skip
        other = model.with_data(map_file(out), ranges={})
        # It has written files that do not run, and int8 LSTMs whose output is constant.
        cosine = compare(model, other, context.data, limit=4, same_kernels=False).cosine
    except EdgekitError as error:
        note = f"{named} stay float; TensorFlow's quantizer failed too: {error.message}"
        return partial, [note], skipped
    if cosine < _floor(settings):
        note = (f"{named} stay float; TensorFlow's quantizer makes an integer model that is wrong "
                f"(cosine {cosine:.2f})")
        return partial, [note], skipped
    left = _left_in_float(other.graph, settings)
    if other.precision != "integer":
        return partial, [f"{named} stay float in TensorFlow's quantizer as well"], skipped
    note = (f"litert-quantizer left {named} in float; TensorFlow's flatbuffer quantizer "
            "(mlir_quantize) made the whole graph integer and was used instead")
    return other, [note], left


def _guard(
    before: Model,
    result: StepResult,
    agreement: Agreement,
    settings: QuantizeSettings,
    context: StepContext,
) -> StepResult:
    """The file is run: does it agree, is it narrower, and did it not grow?"""
    floor = _floor(settings)
    cosine = agreement.with_reference.cosine
    if cosine < floor:
        on = "the data" if agreement.on_data else "random inputs (give --data for real ones)"
        raise GuardError(
            f"the {settings.scheme} {settings.weights}-bit model no longer agrees with the float "
            f"model: cosine {cosine:.4f} on {on}, {floor:g} is the least",
            "use more bits, skip the first and last layers ([[step.layer]] skip = true), or "
            "lower min_cosine in the recipe if this is enough",
        )
    if not _narrow_weights(result.model.graph):
        note = "nothing in the model was quantized: its operators have no weights for this scheme"
        return StepResult(before, "left as it was", result.skipped, (*result.notes, note))
    return _unless_it_grew(before, result, settings, context)


def _floor(settings: QuantizeSettings) -> float:
    """The least cosine with the float model that passes for rounding."""
    return _COSINE_FLOOR[settings.weights] if settings.min_cosine is None else settings.min_cosine


def _narrow_weights(graph: Graph) -> bool:
    narrow = ("int8", "int4", "int2", "float16", "int16")
    return any(tensor.dtype in narrow for subgraph in graph.subgraphs
               for tensor in subgraph.tensors)


def _unless_it_grew(
    before: Model, result: StepResult, settings: QuantizeSettings, context: StepContext
) -> StepResult:
    """Per-channel parameters can outweigh the savings in a very small model."""
    growth = len(result.model.data) - len(before.data)
    if growth <= 0:
        return result
    if settings.scheme == "static":
        note = f"the file grew by {growth} bytes: quantization parameters outweigh the weights"
        return replace(result, notes=(*result.notes, note))
    if context.integer_only:
        return result
    note = (f"{settings.scheme} quantization made the file {growth} bytes larger, so the model "
            "was left as it was")
    return StepResult(before, "left as it was", result.skipped, (*result.notes, note))


QUANTIZE = Technique(
    name="quantize",
    settings=QuantizeSettings,
    layer_settings=frozenset({"weights"}),
    needs_data=lambda settings: settings.scheme == "static",
    needs_float=True,
    bit_exact=False,
    run=_run,
    guard=_guard,
)
