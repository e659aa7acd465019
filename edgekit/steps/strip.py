"""The last step: drop what the runtime does not read.

Inner tensor names, subgraph names, min/max records beside scales, constants stored twice, and
buffers nobody names. Inputs and outputs keep their names, signatures and metadata stay; outputs
stay bit-equal, which the step's guard proves.
"""

from typing import Any

from edgekit.core.errors import GuardError
from edgekit.core.model import Model
from edgekit.core.results import StepResult
from edgekit.core.sandbox import map_file, sandbox
from edgekit.core.validation import Strict
from edgekit.steps.base import Agreement, StepContext, Technique

WORKER = "edgekit.workers.strip"


class StripSettings(Strict):
    """``strip`` has one: whether to keep the names for debugging (``--keep-names``)."""

    keep_names: bool = False


def _run(model: Model, settings: StripSettings, _context: StepContext) -> StepResult:
    box = sandbox()
    out = box.new_path(".tflite")
    duplicates: int = box.call(
        f"{WORKER}:strip", f"stripping {model.name}",
        path=str(box.path_of(model)), out=str(out), keep_names=settings.keep_names,
    )  # fmt: skip
    if out.stat().st_size >= len(model.data):
        return StepResult(model, "nothing to drop")
    dropped = [] if settings.keep_names else ["names"]
    dropped += ["min/max records", *([f"{duplicates} duplicate constants"] if duplicates else [])]
    result = box.adopt(model.with_data(map_file(out)), out)
    return StepResult(result, "dropped " + ", ".join(dropped))


def _guard(
    _before: Model, result: StepResult, agreement: Agreement, _settings: Any, _context: StepContext  # noqa: ANN401
) -> StepResult:
    if agreement.with_previous.max_abs != 0.0:
        raise GuardError(
            f"strip changed the outputs by {agreement.with_previous.max_abs:g}",
            "this is a bug in edgekit; --keep-names leaves the names in",
        )
    return result


STRIP = Technique(
    name="strip",
    settings=StripSettings,
    layer_settings=frozenset(),
    needs_data=lambda _settings: False,
    needs_float=False,
    bit_exact=True,
    run=_run,
    guard=_guard,
)
