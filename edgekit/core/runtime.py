"""Running models through LiteRT, always in the child process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgekit.core.data import Dataset
from edgekit.core.fidelity import Fidelity
from edgekit.core.indices import index_rows
from edgekit.core.model import Arrays, Model, check_arrays
from edgekit.core.sandbox import sandbox
from edgekit.core.user_code import absolute_reference, is_reference

_WORKER = "edgekit.core._runtime_worker"


@dataclass(frozen=True)
class Metric:
    """How quality is measured.

    Attributes:
        name: ``accuracy``, ``top1_agreement``, ``mse``, ``cosine`` or ``module.py:function``.
        needs_labels: Whether samples must come with labels.
    """

    name: str

    @property
    def needs_labels(self) -> bool:
        """Accuracy and mse compare with labels; a user's function may do as it likes."""
        return self.name in ("accuracy", "mse")

    @property
    def higher_is_better(self) -> bool:
        """Everything but an error."""
        return self.name != "mse"

    def drop(self, baseline: float, value: float) -> float:
        """How much worse ``value`` is than ``baseline``.

        Percentage points for accuracy and agreement, per cent of the baseline otherwise; for an
        error metric, growth counts as a drop. Negative when it got better.
        """
        if self.name in ("accuracy", "top1_agreement"):
            return (baseline - value) * 100.0
        worse = baseline - value if self.higher_is_better else value - baseline
        return worse / abs(baseline) * 100.0 if baseline else worse * 100.0


def run_once(model: Model, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """One inference on checked arrays; see ``Model.run``."""
    arrays = check_arrays(model.inputs, inputs)
    outputs: dict[str, NDArray[Any]] = sandbox().call(
        f"{_WORKER}:run", f"running {model.name}",
        path=str(sandbox().path_of(model)), signature=_io(model), inputs=arrays,
    )  # fmt: skip
    return outputs


def compare(
    reference: Model,
    candidate: Model,
    data: Dataset | None,
    limit: int,
    *,
    same_kernels: bool = True,
    reference_kernels: bool = False,
) -> Fidelity:
    """Agreement of two models' outputs.

    The candidate runs as it is deployed: with XNNPACK, or on the reference kernels, which are what
    TensorFlow Lite Micro has.

    Args:
        reference: The model to agree with.
        candidate: Another model with the same inputs and outputs.
        data: Samples for the reference's signature; None draws random ones.
        limit: At most this many samples.
        same_kernels: Run the reference with XNNPACK, too. Without, it runs on LiteRT's plain
            kernels: no packed copy of its weights is made, and the two share no code to be wrong
            in together.
        reference_kernels: Run the candidate on the reference kernels.

    Raises:
        EdgekitError: One of them does not run, or the signatures differ.
    """
    box = sandbox()
    result: Fidelity = box.call(
        f"{_WORKER}:compare", f"running {candidate.name}",
        reference=(str(box.path_of(reference)), _io(reference)),
        candidate=(str(box.path_of(candidate)), _io(candidate)),
        data=data, limit=limit, plain_reference=not same_kernels,
        micro=reference_kernels,
    )  # fmt: skip
    return result


def evaluate(reference: Model, model: Model, data: Dataset, metric: Metric) -> float:
    """The metric over all of ``data``; label-free metrics compare with ``reference``."""
    box = sandbox()
    value: float = box.call(
        f"{_WORKER}:evaluate", f"evaluating {model.name}",
        reference=(str(box.path_of(reference)), _io(reference)),
        candidate=(str(box.path_of(model)), _io(model)),
        data=data, metric=absolute_reference(metric.name) if is_reference(metric.name)
        else metric.name,
    )  # fmt: skip
    return value


def _io(model: Model) -> Mapping[str, Any]:
    """What the child needs to know of the signature: specs and tensor indices by name."""
    return {
        "inputs": model.inputs, "outputs": model.outputs,
        "input_index": dict(model.signature.inputs),
        "output_index": dict(model.signature.outputs),
        "rows": index_rows(model),
    }  # fmt: skip
