"""What is read and checked of a Hugging Face folder before any framework reads it. Plain Python."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.core.model import Companion
from edgekit.importers._archive import MAX_BYTES

# The task, and how an architecture's name in config.json ends.
TASKS = {
    "feature-extraction": "Model",
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "fill-mask": "ForMaskedLM",
    "image-classification": "ForImageClassification",
}

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
              "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
              "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja")  # fmt: skip
_PREPROCESSOR = ("preprocessor_config.json",)

_MAX_CONFIG_BYTES = 16 * 2**20
_MAX_COMPANION_BYTES = 64 * 2**20
_MAX_HEADER_BYTES = 100_000_000  # of safetensors' own specification


def read_config(folder: Path) -> Mapping[str, Any]:
    """A folder's configuration.

    Raises:
        EdgekitError: It is no JSON object, names no kind of model, or names code in the folder.
    """
    path = folder / "config.json"
    config = _read_json(path)
    if not isinstance(config, dict):
        raise EdgekitError(f"{path} is no configuration of a model: it is no JSON object")
    if config.get("auto_map") or config.get("custom_pipelines"):
        raise EdgekitError(f"{folder} has a model whose code is in the folder; that is not run",
                           "build it in a function that returns (module, example_inputs), as "
                           "module.py:function")
    if not isinstance(config.get("model_type"), str):
        raise EdgekitError(f"{path} does not say which model_type it is", "save the model again "
                           "with save_pretrained()")
    return config


def _read_json(path: Path) -> Any:  # noqa: ANN401
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise EdgekitError(f"{path} is larger than {_MAX_CONFIG_BYTES >> 20} MB, which no "
                               "configuration is")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EdgekitError(f"{path} cannot be read: {error}", "copy the folder again") from error


def sound_weights(folder: Path) -> None:
    """See that the weights are safetensors, and whole.

    Raises:
        EdgekitError: They are pickles, or not there, too large, or cut short.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [file.name for file in sorted(folder.glob("*.bin"))]
        if pickles:
            raise EdgekitError(f"{folder} has its weights as a pickle ({pickles[0]}), which is "
                               "code and not loaded", "save them as safetensors: "
                               "model.save_pretrained(folder, safe_serialization=True)")
        raise EdgekitError(f"{folder} has no weights: there is no *.safetensors in it",
                           "copy the whole folder; nothing is fetched from the network")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        _check_index(folder, _read_json(index))
    if sum(file.stat().st_size for file in files) > MAX_BYTES:
        raise EdgekitError(f"{folder} holds more than {MAX_BYTES >> 30} GB of weights; what it "
                           "converts to cannot")
    for file in files:
        _check_whole(file)


def _check_index(folder: Path, index: Any) -> None:  # noqa: ANN401
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict):
        raise EdgekitError(f"{folder}: model.safetensors.index.json has no weight_map")
    for name in sorted({str(name) for name in names.values()}):
        if Path(name).name != name:
            raise EdgekitError(f"{folder}: its index names '{name}', outside of the folder")
        if not (folder / name).is_file():
            raise EdgekitError(f"{folder}: '{name}' is missing", "copy the whole folder")


def _check_whole(file: Path) -> None:
    """Compare the size with what the header promises: Git LFS leaves 130 bytes in its place."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 0 < length <= min(_MAX_HEADER_BYTES, size - 8):
            raise EdgekitError(f"{file} is damaged, or no safetensors", "copy it again; what Git "
                               "LFS keeps elsewhere comes with 'git lfs pull'")
        try:
            header = json.loads(stream.read(length))
            ends = [int(entry["data_offsets"][1]) for name, entry in header.items()
                    if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError,
                RecursionError) as error:
            raise EdgekitError(f"{file} is damaged: its header cannot be read") from error
    if size != 8 + length + max(ends, default=0):
        raise EdgekitError(f"{file} is damaged: it has {size} bytes, its header says "
                           f"{8 + length + max(ends, default=0)}", "copy it again")


def task_of(config: Mapping[str, Any], given: str | None) -> str:
    """The task that was asked for, or that the architecture in the configuration is for."""
    if given is not None:
        return given
    names = config.get("architectures")
    first = str(names[0]) if isinstance(names, list) and names else ""
    for task, ending in TASKS.items():
        if ending != "Model" and first.endswith(ending):
            return task
    return "feature-extraction"


def companions(folder: Path) -> tuple[Companion, ...]:
    """The tokenizer's and preprocessor's files, to travel with the model.

    Raises:
        EdgekitError: One is too large, or cannot be read.
    """
    found = []
    for kind, names in (("tokenizer", _TOKENIZER), ("preprocessor", _PREPROCESSOR)):
        for name in names:
            path = folder / name
            if not path.is_file():
                continue
            try:
                if path.stat().st_size > _MAX_COMPANION_BYTES:
                    raise EdgekitError(f"{path} is larger than {_MAX_COMPANION_BYTES >> 20} MB")
                found.append(Companion(f"{kind}/{name}", kind, path.read_bytes()))
            except OSError as error:
                raise EdgekitError(f"{path} cannot be read: {error}") from error
    return tuple(found)
