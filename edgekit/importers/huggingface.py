"""Hugging Face folders: ``config.json`` with weights as ``*.safetensors``, on this disk."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.core.description import InputDescription
from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.model import Companion, Model
from edgekit.importers._huggingface_files import (
    TASKS,
    companions,
    read_config,
    sound_weights,
    task_of,
)
from edgekit.importers._tensorflow import import_in_child
from edgekit.importers._torch import EXTRA, require_torch
from edgekit.importers.base import ImportOptions

_WORKER = "edgekit.importers._huggingface_worker"
_UNNAMED = re.compile(r"LABEL_\d+")


class _HuggingFace:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "huggingface"
    form = "a Hugging Face folder (config.json with *.safetensors)"
    extra: str | None = EXTRA

    def recognises(self, source: str) -> bool:
        """By its configuration, beside weights of any kind."""
        folder = Path(source)
        return folder.is_dir() and (folder / "config.json").is_file() and any(
            next(folder.glob(kind), None) is not None
            for kind in ("*.safetensors", "*.bin", "tokenizer*", "*.safetensors.index.json"))

    def load(self, source: str, options: ImportOptions) -> Model:
        """Read a transformer; nothing is fetched, no code of the folder is run.

        Raises:
            MissingToolError: PyTorch, its converter or transformers is not installed.
            EdgekitError: The folder has no safetensors, or code of its own; the task or the
                sequence length does not fit; or the converted model does not compute the same.
        """
        folder = Path(source)
        if options.task is not None and options.task not in TASKS:
            raise EdgekitError(f"unknown task '{options.task}'", did_you_mean(options.task, TASKS))
        config = read_config(folder)
        sound_weights(folder)
        require_torch("import Hugging Face models", "transformers", "safetensors")
        task = task_of(config, options.task)
        model = import_in_child(self.format, "convert_folder", source, replace(options, task=task),
                                worker=_WORKER)
        found = companions(folder)
        return replace(
            model,
            labels=options.labels or _labels(config, task, model),
            descriptions={**_descriptions(model, found), **options.descriptions},
            companions=found,
        )


HUGGING_FACE = _HuggingFace()


def _labels(config: Mapping[str, Any], task: str, model: Model) -> tuple[str, ...]:
    """The classes' names, where the configuration has real ones for each."""
    named = config.get("id2label")
    if not task.endswith("-classification") or not isinstance(named, dict):
        return ()
    size = model.outputs[0].shape[-1] if model.outputs[0].shape else 0
    names = [named.get(str(index)) for index in range(len(named))]
    usable = [name for name in names if isinstance(name, str) and not _UNNAMED.fullmatch(name)]
    return tuple(usable) if len(usable) == len(names) == size else ()


def _descriptions(
    model: Model, found: tuple[Companion, ...]
) -> dict[str, InputDescription]:
    """Tokens are tokens."""
    if not any(companion.kind == "tokenizer" for companion in found):
        return {}
    return {spec.name: InputDescription(kind="tokens") for spec in model.inputs
            if spec.name in ("input_ids", "attention_mask", "token_type_ids")}
