"""The report document as types: what ``schema-1.json`` says, for mypy and for the reader.

A document comes from JSON, so everything in it is a plain dict, list, string, number or None
(unknown). Names of layers, tensors and files come from users' models: untrusted text.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

ProvenanceName = Literal["measured", "simulated", "estimated"]
StatusName = Literal["pass", "warn", "fail", "unknown"]


class Tensor(TypedDict):
    """An input or output of the model."""

    name: str
    shape: list[int]
    dtype: str
    scale: NotRequired[float | None]
    zero_point: NotRequired[int | None]


class ModelPart(TypedDict):
    """The model as imported."""

    name: str
    format: str
    sha256: str | None
    bytes: int
    parameters: int
    macs: int | None
    precision: NotRequired[Literal["float", "mixed", "integer"]]
    notes: NotRequired[list[str]]
    inputs: list[Tensor]
    outputs: list[Tensor]


class TargetPart(TypedDict):
    """The device."""

    name: str
    sha256: str
    title: NotRequired[str]
    kind: NotRequired[str]


class RecipePart(TypedDict):
    """What was done; each step as the user wrote it."""

    name: str
    seed: int
    steps: list[dict[str, Any]]


class ParityPart(TypedDict):
    """One output of stage 0 against the source framework."""

    output: str
    max_abs: float
    cosine: float
    top1_agreement: float | None


class QualityPart(TypedDict):
    """The metric on the evaluation data; a positive drop is worse than stage 0."""

    metric: str
    value: float
    drop: float


class FidelityPart(TypedDict):
    """A stage's outputs against those of stage 0; ``sqnr_db`` None means bit-equal."""

    cosine: float
    sqnr_db: float | None
    top1_agreement: float | None
    max_abs: NotRequired[float]
    samples: NotRequired[int]


class SkippedPart(TypedDict):
    """A layer that a step left as it was."""

    layer: str
    reason: str


class StagePart(TypedDict):
    """The model after one step."""

    name: str
    kind: str
    bytes: int
    deflate_bytes: int | None
    dtype_bytes: NotRequired[dict[str, int]]
    parameters: int
    sparsity: float
    quality: QualityPart | None
    fidelity: FidelityPart | None
    seconds: float
    changed: NotRequired[str]
    notes: NotRequired[list[str]]
    skipped: list[SkippedPart]


class LayerPart(TypedDict):
    """An operator of the final Model with the constants that it owns."""

    name: str
    op: str
    dtype: str
    bytes: int
    macs: int | None


class MeasurementPart(TypedDict):
    """A number and where it comes from."""

    name: str
    value: float | None
    unit: str
    provenance: ProvenanceName | None
    where: str
    n: int
    spread: float | None
    lower_bound: NotRequired[bool]


class SeriesPart(TypedDict):
    """Many values of one quantity, in order."""

    name: str
    unit: str
    values: list[float]


class BudgetPart(TypedDict):
    """One bound of the target against the number."""

    name: str
    limit: float
    value: float | None
    unit: str
    provenance: ProvenanceName | None
    status: StatusName
    reason: NotRequired[str]
    parts: NotRequired[list[MeasurementPart]]
    heaviest: NotRequired[list[str]]


class ArtifactPart(TypedDict):
    """A file of the bundle."""

    path: str
    kind: str
    bytes: int
    deflate_bytes: int | None
    sha256: str


class Document(TypedDict):
    """``report.json``."""

    schema_version: str
    edgekit_version: str
    ok: bool
    model: ModelPart
    target: TargetPart | None
    recipe: RecipePart | None
    parity: list[ParityPart]
    stages: list[StagePart]
    layers: list[LayerPart]
    measurements: list[MeasurementPart]
    series: list[SeriesPart]
    conditions: Mapping[str, Any]
    budgets: list[BudgetPart]
    artifacts: list[ArtifactPart]
    environment: Mapping[str, Any]
