"""Turning a user's TOML into typed objects, and pydantic's complaints into one clear error."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.errors import EdgekitError, did_you_mean

MAX_TOML_BYTES = 1_000_000


class Strict(BaseModel):
    """A frozen record read from a user's file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, protected_namespaces=())


StrictT = TypeVar("StrictT", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        EdgekitError: The file is missing, unreadable, too large, or not TOML.
    """
    try:
        if path.stat().st_size > MAX_TOML_BYTES:
            raise EdgekitError(
                f"{path} is larger than {MAX_TOML_BYTES} bytes: not a settings file"
            )
        text = path.read_bytes().decode("utf-8")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise EdgekitError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EdgekitError(f"{path} cannot be read as TOML: {error}") from error


def parse(kind: type[StrictT], raw: object, where: str) -> StrictT:
    """Validate ``raw`` as ``kind``.

    Args:
        kind: The pydantic class.
        raw: Parsed TOML.
        where: Where it stands, for the message ("edgekit.toml, [[step]] 2").

    Raises:
        EdgekitError: The first problem, with its place, and "did you mean" for unknown keys.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise _explain(error, kind, where) from None


def _explain(error: ValidationError, kind: type[BaseModel], where: str) -> EdgekitError:
    # A misspelt key also leaves the right one missing: the misspelling is the cause.
    problem = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(kind, problem["loc"][:-1])
        return EdgekitError(
            f"{where}: unknown key '{place}'", did_you_mean(str(problem["loc"][-1]), known)
        )
    if problem["type"] == "missing":
        return EdgekitError(f"{where}: '{place}' is required")
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if problem["type"] == "value_error" else f" (got {problem['input']!r})"
    return EdgekitError(f"{where}: {f'{place}: ' if place else ''}{message}{shown}")


def _fields_at(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The field names of the (nested) class at ``location``, as written in a file."""
    current: Any = kind
    for part in location:
        if isinstance(part, int):
            continue
        field = getattr(current, "model_fields", {}).get(part)
        nested = _record_in(field.annotation) if field else None
        current = nested or current
    return [field.alias or name for name, field in current.model_fields.items()]


def _record_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any type form
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _record_in(argument):
            return found
    return None
