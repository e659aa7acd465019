"""Runs in the child process: a Hugging Face folder as a ``Source``; nothing is fetched."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

# Before transformers is imported: it reads them once.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1",
                  TRANSFORMERS_VERBOSITY="error")  # fmt: skip

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.errors import EdgekitError
from edgekit.core.model import TensorSpec
from edgekit.importers import _torch_worker as torch_worker
from edgekit.importers._huggingface_files import TASKS
from edgekit.importers._proof_worker import first_line
from edgekit.importers._shapes import Port
from edgekit.importers._tensorflow import Imported, Request
from edgekit.importers._torch_convert_worker import Source

_CLASSES = {
    "feature-extraction": "AutoModel",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "fill-mask": "AutoModelForMaskedLM",
    "image-classification": "AutoModelForImageClassification",
}
_TOKENS = ("input_ids", "attention_mask", "token_type_ids")
_DEFAULT_LENGTH = 128
# Their positions start behind that of the padding.
_PADDED_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet",
                     "longformer", "roberta-prelayernorm", "data2vec-text", "ibert")  # fmt: skip
_MOST_NAMED = 3


def convert_folder(request: Request) -> Imported:
    """Convert a folder with a configuration and safetensors."""
    torch_worker.refuse_signature(request)
    with chdir(request.folder):
        return torch_worker.import_source(load_folder(request), request)


def load_folder(request: Request) -> Source:
    """The folder's model for the task, on inputs of a fixed size.

    Raises:
        EdgekitError: transformers cannot load it, weights for the task are missing, or it takes
            other inputs than tokens or an image.
    """
    task = request.task or "feature-extraction"
    module = _module(request.source, task)
    notes = [f"task: {task}"]
    if task == "image-classification" or getattr(module, "main_input_name", "") == "pixel_values":
        ports: tuple[Port, ...] = (_image_port(module, request.source),)
    else:
        ports = _token_ports(module, request, notes)
    names = [port.name for port in ports]
    return Source(module, ports, partial(_by_name, names), None,
                  partial(_draw, _vocabulary(module)), notes)


def _by_name(
    names: Sequence[str], tensors: Sequence[Any]
) -> tuple[tuple[()], dict[str, Any]]:
    return (), dict(zip(names, tensors, strict=True))


def _module(source: str, task: str) -> Any:  # noqa: ANN401
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(source, **local)
    except Exception as error:
        raise _unreadable(source, error) from error
    if getattr(config, "is_encoder_decoder", False):
        raise EdgekitError(f"{source} is an encoder with a decoder ({config.model_type}), which "
                           "generates step by step", "give one half of it in a function that "
                           "returns (module, example_inputs), as module.py:function")
    config.use_cache = False
    module, missing = _load(source, task, config, {})
    if missing and task == "feature-extraction" and all("pooler" in name for name in missing):
        module, missing = _load(source, task, config, {"add_pooling_layer": False})
    if missing:
        shown = ", ".join(missing[:_MOST_NAMED])
        raise EdgekitError(
            f"{source} has no weights for {task}: {len(missing)} are missing ({shown})",
            f"it was saved as {', '.join(config.architectures or ['something else'])}: "
            f"{_tasks_of(config)}")
    return module


def _tasks_of(config: Any) -> str:  # noqa: ANN401
    fitting = [task for task, ending in TASKS.items()
               if any(name.endswith(ending) for name in config.architectures or ())]
    return f"--task {' or '.join(fitting)}" if fitting else "no task of edgekit's fits it"


def _load(
    source: str, task: str, config: Any, more: Mapping[str, Any]  # noqa: ANN401
) -> tuple[Any, list[str]]:
    kind = getattr(transformers, _CLASSES[task])
    try:
        module, report = kind.from_pretrained(
            source, config=config, local_files_only=True, trust_remote_code=False,
            use_safetensors=True, dtype=torch.float32, output_loading_info=True, **more)
    except Exception as error:
        raise _unreadable(source, error, task) from error
    wrong = sorted(str(name) for name in (*report.get("missing_keys", ()),
                                          *(row[0] for row in report.get("mismatched_keys", ()))))
    return module.eval(), wrong


def _unreadable(source: str, error: Exception, task: str = "") -> EdgekitError:
    what = f"for {task}" if task else "the configuration"
    return EdgekitError(f"transformers {transformers.__version__} cannot load {source} {what}: "
                        f"{first_line(error)}", "see that --task fits the model, and that "
                        "transformers is as new as the one that saved it")


def _token_ports(
    module: Any, request: Request, notes: list[str]  # noqa: ANN401
) -> tuple[Port, ...]:
    names = _token_names(module, request.source)
    length = _length(module, request, notes)
    return tuple(Port(name, (1, length), "int64") for name in names)


def _token_names(module: Any, source: str) -> list[str]:  # noqa: ANN401
    import inspect

    taken = inspect.signature(module.forward).parameters
    if "input_ids" not in taken:
        shown = ", ".join(list(taken)[:_MOST_NAMED])
        raise EdgekitError(f"{source} takes {shown}, neither tokens nor an image",
                           "give it in a function that returns (module, example_inputs), as "
                           "module.py:function")
    names = [name for name in _TOKENS if name in taken]
    if getattr(module.config, "type_vocab_size", 0) < 2 and "token_type_ids" in names:
        names.remove("token_type_ids")
    return names


def _length(module: Any, request: Request, notes: list[str]) -> int:  # noqa: ANN401
    most = getattr(module.config, "max_position_embeddings", None)
    if most and module.config.model_type in _PADDED_POSITIONS:
        most -= (module.config.pad_token_id or 0) + 1
    if request.sequence_length is not None:
        if most is not None and request.sequence_length > most:
            raise EdgekitError(f"{request.source} takes at most {most} tokens, not "
                               f"{request.sequence_length}", f"--sequence-length {most}")
        notes.append(f"sequence length: {request.sequence_length} tokens")
        return request.sequence_length
    chosen = next((shape[1] for name, shape in request.input_shapes.items()
                   if name in _TOKENS and len(shape) == 2), None)
    if chosen is None:
        own = _sentence_length(Path(request.source))
        chosen = min(size for size in (own or _DEFAULT_LENGTH, most) if size)
        notes.append(f"sequence length: {chosen} tokens; --sequence-length gives another")
    return chosen


def _sentence_length(folder: Path) -> int | None:
    """What sentence-transformers cuts its texts to."""
    try:
        found = json.loads((folder / "sentence_bert_config.json").read_bytes())["max_seq_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) and found > 0 else None


def _image_port(module: Any, source: str) -> Port:  # noqa: ANN401
    size = getattr(module.config, "image_size", None) or _preprocessed_size(Path(source))
    if size is None:
        raise EdgekitError(f"{source} does not say how large its images are",
                           "give it with --input-shape pixel_values=1,3,HEIGHT,WIDTH")
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return Port("pixel_values", (1, getattr(module.config, "num_channels", 3), height, width),
                "float32")


def _preprocessed_size(folder: Path) -> Sequence[int] | None:
    try:
        found = json.loads((folder / "preprocessor_config.json").read_bytes())
        size = found.get("crop_size") if found.get("do_center_crop") else found["size"]
        if isinstance(size, int):
            return (size, size)
        if "shortest_edge" in size:
            return (int(size["shortest_edge"]), int(size["shortest_edge"]))
        return (int(size["height"]), int(size["width"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _vocabulary(module: Any) -> int:  # noqa: ANN401
    return max(2, int(getattr(module.config, "vocab_size", 2) or 2))


def _draw(vocabulary: int, spec: TensorSpec, generator: np.random.Generator) -> NDArray[Any]:
    """Any token of the vocabulary, all of them seen, all of one text."""
    if spec.name == "input_ids":
        return generator.integers(0, vocabulary, spec.shape).astype(spec.dtype)
    if spec.name == "attention_mask":
        return np.ones(spec.shape, spec.dtype)
    if spec.name == "token_type_ids":
        return np.zeros(spec.shape, spec.dtype)
    return runtime.draw(spec, generator)
