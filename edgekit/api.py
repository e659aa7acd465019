"""The Python interface: what the command line is a thin layer over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.builder import build as _build
from edgekit.core.data import ONLY_INPUT
from edgekit.core.errors import MissingToolError
from edgekit.core.extras import EXTRAS
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe, load_recipe
from edgekit.core.results import Bundle
from edgekit.core.target import Target, load_target
from edgekit.importers import ImportOptions, import_model
from edgekit.plan import BuildRequest
from edgekit.verdicts import Profile, profile_model

if TYPE_CHECKING:  # TensorFlow takes seconds to import
    from edgekit.training.lifted import Lifted

__all__ = ["build", "lift", "load_model", "load_recipe", "load_target", "profile"]


def load_model(
    source: str | Path,
    *,
    signature: str | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    input_layout: str | None = None,
    onnx_importer: str = "edgekit",
    task: str | None = None,
    sequence_length: int | None = None,
    labels: Sequence[str] = (),
    data: str | Path | None = None,
    name: str | None = None,
) -> Model:
    """Import a trained model.

    Args:
        source: ``.keras``, ``.h5``, ``.onnx``, ``.tflite``, a SavedModel folder, or
            ``module.py:function``.
        signature: Which one, where the source has several.
        input_shapes: Fixed shapes by input name, for open dimensions.
        input_layout: "nhwc" gives picture inputs of ONNX files their channels last.
        onnx_importer: "edgekit", or "onnx2tf".
        task: What a Hugging Face model is for.
        sequence_length: Tokens that a Hugging Face model takes.
        labels: Class names, in the order of the output.
        data: Samples for the check against the source framework; random ones without it.
        name: The model's name; by default that of the file.

    Raises:
        EdgekitError: It cannot be read, or LiteRT and the source framework disagree.
    """
    options = ImportOptions(
        signature=signature, input_shapes=dict(input_shapes or {}), name=name,
        labels=tuple(labels), data=None if data is None else str(data),
        input_layout=input_layout, onnx_importer=onnx_importer, task=task,
        sequence_length=sequence_length,
    )  # fmt: skip
    return import_model(str(source), options)


def build(
    model: Model | str | Path,
    targets: str | Path | Target | Sequence[str | Path | Target],
    *,
    recipe: str | Path | Recipe | None = None,
    data: str | Path | Mapping[str, Any] | NDArray[Any] | None = None,
    out: str | Path = "dist",
    progress: Callable[[str], None] = lambda _message: None,
    **settings: Any,  # noqa: ANN401 - the other fields of BuildRequest
) -> list[Bundle]:
    """Compress, check and package a model; see ``edgekit build``.

    Args:
        model: A Model, or a source as for ``load_model``.
        targets: One or several: names, files, or Targets.
        recipe: Name, file or Recipe; None lets each target choose.
        data: Calibration samples: a file, a folder, ``module.py:function``, arrays by
            name, or one array for the one input.
        out: Folder for the bundles.
        progress: Told what is being done.
        settings: Other fields of ``edgekit.plan.BuildRequest``.

    Raises:
        EdgekitError: The request does not make sense, or a step failed. A missed budget is no
            error: see ``Bundle.exit_code``.
    """
    source = model if isinstance(model, Model) else str(model)
    chosen = str(recipe) if isinstance(recipe, Path) else recipe
    several = [targets] if isinstance(targets, str | Path | Target) else targets
    names = tuple(t if isinstance(t, Target) else str(t) for t in several)
    samples = {ONLY_INPUT: data} if isinstance(data, np.ndarray) else data
    request = BuildRequest(source, names, recipe=chosen, out=Path(out), data=samples)
    return _build(replace(request, **settings), progress)


def profile(
    model: Model | str | Path, *, device: str = "host", threads: int = 1, runs: int | None = None
) -> Profile:
    """Sizes, memory plan and, on this host, latency and cold start.

    Raises:
        EdgekitError: The model cannot be read or run.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    request = BuildRequest(loaded, (), device=device, threads=threads, runs=runs)
    return profile_model(loaded, loaded, None, request)


def lift(model: Model, batch: int | None = None) -> "Lifted":
    """A float Model as a differentiable ``tf.Module`` over its own constants.

    ``net(**inputs)`` takes one tensor per input, samples first, and gives the outputs by name;
    ``net.trainable_variables`` are its weights; ``net.to_model()`` is a Model with their values.

    Args:
        model: A float Model.
        batch: How many samples go in at a time; None for any number.

    Raises:
        MissingToolError: TensorFlow is not installed.
        EdgekitError: The model is quantized, keeps state, or has an operator that cannot be
            trained through.
    """
    if not EXTRAS["tensorflow"].is_installed:
        raise MissingToolError.for_extra("tensorflow", "train models")
    from edgekit.training.lifted import lift as _lift

    return _lift(model, batch)
