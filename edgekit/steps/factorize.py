"""Low-rank factorization without training: one layer becomes two thin ones.

A fully connected layer becomes two; a convolution of k × k becomes one of k × k to fewer channels
and one of 1 × 1, or one along the height and one along the width. The factors are the truncated
singular value decomposition's (Denton et al. 2014, arXiv:1404.0736; Jaderberg et al. 2014,
arXiv:1405.3866). The numerics are in ``compression/low_rank.py``, the file's edit in
``_split.py``; which layers, which rank and whether it is worth it is decided here.

Layers that would not save both bytes and MACs, after quantization to 8 bits too, stay as they are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from edgekit.compression import low_rank
from edgekit.compression.low_rank import Sizes, Spectrum
from edgekit.core import edit, interrupt
from edgekit.core.errors import GuardError
from edgekit.core.graph import Graph, Operator, Subgraph, Tensor
from edgekit.core.macs import is_open
from edgekit.core.model import Model
from edgekit.core.recipe import first_match
from edgekit.core.results import Skipped, StepResult
from edgekit.core.validation import Strict
from edgekit.steps._split import NEEDS_BIAS, Splitter
from edgekit.steps.base import Agreement, StepContext, Technique, layer_settings
from edgekit.steps.layers import layer_name, refuse_idle_rules

_WEIGHT_AXES = {"FULLY_CONNECTED": 2, "CONV_2D": 4}
_CHOICES = frozenset({"energy", "budget", "rank"})
_DEFAULT_ENERGY = 0.95
# Most models are quantized afterwards, so bytes are counted as they will be then: one a weight,
# beside them the parameters of a channel (scale and zero point of weight and bias, the bias), and
# for one layer more its tables (212 to 312 measured) and names.
_CHANNEL_BYTES = 28
_LAYER_BYTES = 400


class FactorizeSettings(Strict):
    """``use = "factorize"``; at most one of ``energy``, ``budget`` and ``rank``.

    Attributes:
        energy: Each layer gets the least rank that holds this fraction of its squared singular
            values. 0.95 when none of the three is given.
        budget: Fraction of the layers' weights that remains, spread so that most energy is held.
        rank: The rank of each layer.
        kernel: A k × k convolution becomes a ``whole`` one and one of 1 × 1, or ``separable``:
            one of k × 1 and one of 1 × k.
        min_cosine: The result must agree with the model before at least this well. Training is
            meant to follow.
    """

    energy: float | None = Field(default=None, gt=0.0, le=1.0)
    budget: float | None = Field(default=None, gt=0.0, lt=1.0)
    rank: int | None = Field(default=None, ge=1)
    kernel: Literal["whole", "separable"] = "whole"
    min_cosine: float = Field(default=0.5, ge=-1.0, le=1.0)

    @model_validator(mode="after")
    def _says_one_thing(self) -> "FactorizeSettings":
        given = [name for name in ("energy", "budget", "rank") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"'{given[0]}' and '{given[1]}' exclude each other: give one")
        return self

    @property
    def least_energy(self) -> float:
        """The energy to hold where neither budget nor rank is given."""
        return _DEFAULT_ENERGY if self.energy is None else self.energy


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer that can be two, and what it takes now.

    Attributes:
        separable: Whether the two are along the height and along the width.
        settings: The step's, with those of the layer's rule.
    """

    name: str
    subgraph: Subgraph
    operator: Operator
    settings: FactorizeSettings
    separable: bool
    sizes: Sizes

    @property
    def weight(self) -> Tensor:
        """``(out, in)`` or ``(out, kh, kw, in)``."""
        return self.subgraph.tensors[self.operator.inputs[1]]

    @property
    def most_rank(self) -> int:
        """The largest rank that saves bytes and MACs, in 8 bits too; 0 for none."""
        return self.sizes.most_rank(_LAYER_BYTES, _CHANNEL_BYTES)

    def takes(self, rank: int) -> str:
        """What the factors of a rank take, in words."""
        return (f"takes {self.sizes.factor_weights(rank)} weights for {self.sizes.weights} and "
                f"{self.sizes.factor_macs(rank) / self.sizes.macs:.0%} of the MACs")


def _run(model: Model, settings: FactorizeSettings, context: StepContext) -> StepResult:
    refuse_idle_rules(model, context.rules)
    layers, skipped = _candidates(model, settings, context)
    if not layers and not skipped:
        note = "nothing to factorize: the model has no fully connected layer and no convolution"
        return StepResult(model, "left as it was", notes=(note,))
    ranks = _ranks(model.graph, layers, settings.budget)
    chosen, unworthy = _worthwhile(layers, ranks)
    skipped += unworthy
    if not chosen:
        note = f"no layer was factorized; why, is said of each of the {len(skipped)}"
        return StepResult(model, "left as it was", tuple(skipped), (note,))
    notes = []
    if model.ranges:
        notes.append("the activation ranges that training learnt were dropped: the layers changed")
    result = model.with_data(_edited(model, chosen), ranges={})
    return StepResult(result, _describe(chosen), tuple(skipped), tuple(notes))


def _describe(chosen: Sequence[tuple[_Layer, int]]) -> str:
    before = sum(layer.sizes.weights for layer, _ in chosen)
    after = sum(layer.sizes.factor_weights(rank) for layer, rank in chosen)
    macs = sum(layer.sizes.factor_macs(rank) for layer, rank in chosen) / sum(
        layer.sizes.macs for layer, _ in chosen)
    ranks = sorted(rank for _, rank in chosen)
    span = f"rank {ranks[0]}" if ranks[0] == ranks[-1] else f"ranks {ranks[0]} to {ranks[-1]}"
    return (f"{len(chosen)} layer(s) of {before} weights factorized to {after} "
            f"({after / before:.0%}, {macs:.0%} of their MACs; {span})")


def _candidates(
    model: Model, settings: FactorizeSettings, context: StepContext
) -> tuple[list[_Layer], list[Skipped]]:
    """Fully connected layers and convolutions, and those of them that cannot be two."""
    layers, skipped = [], []
    uses = _uses(model.graph)
    for subgraph, operator in model.graph.operators():
        if operator.name not in _WEIGHT_AXES:
            continue
        name = layer_name(subgraph, operator)
        rule = first_match(context.rules, name)
        if rule is not None and rule.skip:
            skipped.append(Skipped(name, "skipped by the recipe"))
            continue
        reason = _unfit(model, subgraph, operator, uses)
        if reason:
            skipped.append(Skipped(name, reason))
            continue
        own = settings if rule is None else FactorizeSettings(**layer_settings(
            settings.model_dump(exclude_unset=True), rule, _CHOICES))
        layers.append(_layer(name, subgraph, operator, own))
    return layers, skipped


def _uses(graph: Graph) -> Counter[int]:
    """How often each constant's buffer is named: as an operand, an output, or by more tensors."""
    uses: Counter[int] = Counter()
    for subgraph in graph.subgraphs:
        named = Counter(index for operator in subgraph.operators for index in operator.inputs)
        named.update(subgraph.outputs)
        for tensor in subgraph.tensors:
            if tensor.is_constant:
                uses[tensor.buffer] += max(named[tensor.index], 1)
    return uses


def _unfit(
    model: Model, subgraph: Subgraph, operator: Operator, uses: Counter[int]
) -> str | None:
    """Why a layer cannot be two, or None."""
    if len(operator.inputs) < 2 or min(operator.inputs[:2]) < 0:
        return "it has no weights"
    x, weight = (subgraph.tensors[index] for index in operator.inputs[:2])
    output = subgraph.tensors[operator.outputs[0]]
    if not weight.is_constant or weight.is_variable:
        return "its weights are computed, not constant"
    axes = _WEIGHT_AXES[operator.name]
    if len(weight.shape) != axes or not (x.shape and output.shape and output.elements):
        return "its shapes are not in the file"
    if operator.name == "CONV_2D" and x.shape[-1] != weight.shape[-1]:
        return "its channels are in groups"
    return _unfit_weight(model, weight, operator, uses)


def _unfit_weight(
    model: Model, weight: Tensor, operator: Operator, uses: Counter[int]
) -> str | None:
    if getattr(operator.options, "weightsFormat", 0):
        return "its weights are shuffled"
    if weight.dtype != "float32" or weight.constant_bytes != weight.nbytes:
        return f"its weights are not plain float32 ({weight.dtype})"
    if uses[weight.buffer] > 1:
        return "its weights are used in several places"
    if weight.name in model.constraints:
        return (f"{model.constraints[weight.name]} is declared for its weights, and factors "
                "would not keep it")
    if not np.isfinite(model.graph.values(weight)).all():
        return "its weights hold NaN or infinity"
    return None


def _layer(
    name: str, subgraph: Subgraph, operator: Operator, settings: FactorizeSettings
) -> _Layer:
    x, weight = (subgraph.tensors[index] for index in operator.inputs[:2])
    output, bias = subgraph.tensors[operator.outputs[0]], operator.name in NEEDS_BIAS
    positions = first_positions = output.elements // output.shape[-1]
    rows, columns = weight.shape[0], weight.elements // weight.shape[0]
    separable = (settings.kernel == "separable" and operator.name == "CONV_2D"
                 and min(weight.shape[1:3]) > 1)
    if separable:
        first_positions = positions // output.shape[2] * _first_width(x, output, operator)
        rows, columns = rows * weight.shape[2], columns // weight.shape[2]
    sizes = Sizes(rows, columns, positions, first_positions, bias)
    return _Layer(name, subgraph, operator, settings, separable, sizes)


def _first_width(x: Tensor, output: Tensor, operator: Operator) -> int:
    """The width between a convolution along the height and one along the width: the input's."""
    return int(output.shape[2] * operator.options.strideW) if is_open(x) else x.shape[2]


def _ranks(
    graph: Graph, layers: Sequence[_Layer], budget: float | None
) -> list[int | None]:
    """The rank of each layer by its settings, worthwhile or not; None is the layer as it is."""
    ranks = [layer.settings.rank for layer in layers]
    budgeted: dict[int, Spectrum] = {}
    for position, layer in enumerate(layers):
        if ranks[position] is not None or not layer.most_rank:
            continue
        interrupt.check()
        held = low_rank.energies(low_rank.as_matrix(graph.values(layer.weight),
                                                    separable=layer.separable))
        if layer.settings.budget is None:
            ranks[position] = low_rank.rank_for(held, layer.settings.least_energy)
        else:
            budgeted[position] = Spectrum(layer.sizes, held, layer.most_rank)
    if budget is not None and budgeted:
        shares = low_rank.allocate(list(budgeted.values()), budget)
        for position, rank in zip(budgeted, shares, strict=True):
            ranks[position] = rank
    return ranks


def _worthwhile(
    layers: Sequence[_Layer], ranks: Sequence[int | None]
) -> tuple[list[tuple[_Layer, int]], list[Skipped]]:
    """The layers that save bytes and MACs at their rank, and the others with the numbers."""
    chosen, skipped = [], []
    for layer, rank in zip(layers, ranks, strict=True):
        if rank is not None and rank <= layer.most_rank:
            chosen.append((layer, rank))
        else:
            skipped.append(Skipped(layer.name, _why_whole(layer, rank)))
    return chosen, skipped


def _why_whole(layer: _Layer, rank: int | None) -> str:
    """Why a layer is not worth it, with the numbers."""
    most, settings = layer.most_rank, layer.settings
    if not most:
        return (f"no rank saves anything: rank 1 {layer.takes(1)}, beside {_LAYER_BYTES} bytes for "
                "one layer more")
    if rank is None:
        return "the budget has room for it as it is"
    held = "" if settings.rank else f", which {settings.least_energy:g} of the energy needs,"
    return (f"rank {rank}{held} {layer.takes(rank)}; up to rank {most} saves bytes (in 8 bits with "
            "their scales, too) and MACs")


def _edited(model: Model, chosen: Sequence[tuple[_Layer, int]]) -> bytes:
    """The file with the chosen layers as two each."""
    splitter = Splitter(edit.to_objects(model.data))
    # From the last: an operator that is put in does not move those before it.
    for layer, rank in reversed(chosen):
        interrupt.check()
        values = model.graph.values(layer.weight)
        pair = low_rank.factors(low_rank.as_matrix(values, separable=layer.separable), rank)
        weights = low_rank.as_layers(*pair, values.shape, separable=layer.separable)
        splitter.split(layer.subgraph, layer.operator, layer.name, weights,
                       separable=layer.separable)
    return edit.to_bytes(splitter.objects)


def _guard(
    before: Model,
    result: StepResult,
    agreement: Agreement,
    settings: FactorizeSettings,
    _context: StepContext,
) -> StepResult:
    """The file is run: does it still agree, is everything else untouched, is it smaller?"""
    on = "the data" if agreement.on_data else "random inputs (give --data for real ones)"
    cosine = agreement.with_previous.cosine
    if cosine < settings.min_cosine:
        raise GuardError(
            f"the factorized model no longer agrees with the model before: cosine {cosine:.4f} on "
            f"{on}, {settings.min_cosine:g} is the least",
            "keep more energy, budget or rank, skip the layers that suffer ([[step.layer]] "
            "skip = true), or lower min_cosine in the recipe if training follows",
        )
    if changed := _changed_constants(before.graph, result.model.graph):
        raise GuardError(f"factorize changed the constant '{changed[0]}' that it should not touch",
                         "this is a bug in edgekit")
    if len(result.model.data) >= len(before.data):
        note = "factorized, the file would be no smaller, so the model was left as it was"
        return StepResult(before, "left as it was", result.skipped, (*result.notes, note))
    note = f"cosine with the model before: {cosine:.4f} on {on}"
    return replace(result, notes=(*result.notes, note))


def _changed_constants(before: Graph, after: Graph) -> list[str]:
    """Names of constants whose bytes differ; a tensor of another name is a factor."""
    return [
        old.name
        for one, other in zip(before.subgraphs, after.subgraphs, strict=True)
        for old, new in zip(one.tensors, other.tensors, strict=False)
        if old.is_constant and old.name == new.name and (
            (old.shape, old.dtype) != (new.shape, new.dtype)
            or not np.array_equal(np.frombuffer(before.raw(old), np.uint8),
                                  np.frombuffer(after.raw(new), np.uint8)))
    ]


FACTORIZE = Technique(
    name="factorize",
    settings=FactorizeSettings,
    layer_settings=frozenset({"energy", "rank", "kernel"}),
    needs_data=lambda _settings: False,
    needs_float=True,
    bit_exact=False,
    run=_run,
    guard=_guard,
    one_of=_CHOICES,
)
