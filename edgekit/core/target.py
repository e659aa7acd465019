"""Target profiles: one TOML per device, read as data.

A target says what a device is, what it accepts and what it may cost, and where each number was
published. A field that nothing enforces does not belong here.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.validation import Strict, parse, read_toml

Kind = Literal["android", "ios", "linux", "mcu", "npu"]
PrecisionName = Literal["float", "mixed", "integer"]

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


class Runtime(Strict):
    """The inference engine on the device and what it adds to the deliverable.

    Attributes:
        engine: ``litert`` (interpreter with XNNPACK) or ``tflm`` (TensorFlow Lite Micro).
        download_bytes: What the engine's library adds to a compressed download.
        flash_bytes: The engine's code and constants in flash.
        ram_bytes: The engine's own working memory beside the tensor arena.
    """

    engine: Literal["litert", "tflm"]
    download_bytes: int | None = Field(default=None, ge=0)
    flash_bytes: int | None = Field(default=None, ge=0)
    ram_bytes: int | None = Field(default=None, ge=0)


class Hardware(Strict):
    """The device.

    Attributes:
        cpu: Core type as its maker writes it.
        cores: Number of application cores.
        clock_hz: Highest clock of the fastest core.
        ram_bytes: All RAM that software can use.
        flash_bytes: On-chip or on-module flash, where it is what models live in.
    """

    cpu: str
    cores: int = Field(ge=1)
    clock_hz: int = Field(ge=1_000_000)
    ram_bytes: int = Field(ge=1024)
    flash_bytes: int | None = Field(default=None, ge=1024)


class Accepts(Strict):
    """What the target's engine runs.

    Attributes:
        precisions: Which of float, mixed and integer models may be deployed.
        dtypes: Tensor types that the engine's kernels take.
        operators: Builtin operators the engine has; None means all of LiteRT's.
    """

    precisions: tuple[PrecisionName, ...]
    dtypes: tuple[str, ...]
    operators: tuple[str, ...] | None = None


class Budget(Strict):
    """Upper bounds on the deliverable: model plus what it needs to run."""

    latency_ms: float | None = Field(default=None, gt=0)
    ram_bytes: int | None = Field(default=None, gt=0)
    flash_bytes: int | None = Field(default=None, gt=0)
    download_bytes: int | None = Field(default=None, gt=0)

    def limits(self) -> Iterator[tuple[str, float]]:
        """The bounds that are set, as (name, limit)."""
        for name in type(self).model_fields:
            if (limit := getattr(self, name)) is not None:
                yield name, limit


class RecipeChoice(Strict):
    """Built-in recipe used when the user names none; no ``without_data`` means data is needed."""

    with_data: str
    without_data: str | None = None


class Package(Strict):
    """What ``build`` emits: names of packagers."""

    files: tuple[str, ...] = ("tflite",)


class Source(Strict):
    """Where a number comes from.

    Attributes:
        field: Dotted path of the field, "hardware.clock_hz".
        value: The figure as published.
        url: Where, or empty for edgekit's own choice (``note`` says why).
        date: When it was read, ISO 8601.
        note: What the reader should know.
        basis: ``published`` for this very platform, or a ``stand-in`` measured on a close one;
            sums with a stand-in in them are estimates.
    """

    field: str
    value: str
    url: str = ""
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    note: str = ""
    basis: Literal["published", "stand-in"] = "published"

    @model_validator(mode="after")
    def _says_where(self) -> "Source":
        if not self.url and not self.note:
            raise ValueError("a source needs a url, or a note that gives the reason")
        return self


class Target(Strict):
    """One device profile (``targets/NAME.toml``)."""

    name: str
    title: str
    kind: Kind
    runtime: Runtime
    hardware: Hardware
    accepts: Accepts
    budget: Budget
    recipe: RecipeChoice
    package: Package = Package()
    source: tuple[Source, ...] = ()

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a target's name is lower case letters, digits, dots and dashes")
        return name

    @property
    def integer_only(self) -> bool:
        """Whether float operators cannot run there."""
        return self.accepts.precisions == ("integer",)

    def source_of(self, field: str) -> Source | None:
        """The source given for a dotted field, or None."""
        return next((s for s in self.source if s.field == field), None)

    def numbers(self) -> Iterator[tuple[str, float]]:
        """Every number that needs a source, as (dotted field, value)."""
        for table in ("runtime", "hardware", "budget"):
            record = getattr(self, table)
            for name in type(record).model_fields:
                value = getattr(record, name)
                if isinstance(value, int | float):
                    yield f"{table}.{name}", value

    def with_budget(self, overrides: Mapping[str, Any]) -> "Target":
        """This target with the user's own bounds in place of its own.

        Raises:
            EdgekitError: An unknown bound or a value that is not a positive number.
        """
        where = f"[targets.{self.name}.budget]"
        budget = parse(Budget, {**self.budget.model_dump(), **overrides}, where)
        return self.model_copy(update={"budget": budget})


def problems_of(target: Target) -> list[str]:
    """What ``edgekit targets validate`` complains about; empty when the profile is sound."""
    found = [f"{field} has no [[source]]" for field, _ in target.numbers()
             if target.source_of(field) is None]
    fields = {field for field, _ in target.numbers()} | {"accepts.operators", "accepts.dtypes"}
    found += [f"[[source]] names '{s.field}', which is not a number of this target"
              for s in target.source if s.field not in fields]
    if not any(True for _ in target.budget.limits()):
        found.append("[budget] sets no bound, so nothing can be checked")
    for bound in ("ram_bytes", "flash_bytes"):
        limit, there = getattr(target.budget, bound), getattr(target.hardware, bound)
        if limit and there and limit > there:
            found.append(f"budget.{bound} is {limit}, more than the hardware's {there}")
    return found


def targets_folder() -> Path:
    """Where the shipped targets are: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "_targets"
    return packaged if packaged.is_dir() else package.parent / "targets"


@cache
def target_names() -> tuple[str, ...]:
    """Names of the shipped targets, sorted."""
    return tuple(sorted(path.stem for path in targets_folder().glob("*.toml")))


def load_target(name_or_path: str | Path) -> Target:
    """Read a shipped target by name, or a user's own file.

    Raises:
        EdgekitError: No such target (did you mean), or a file that is not a sound target.
    """
    text = str(name_or_path)
    if text in target_names():
        return _read(targets_folder() / f"{text}.toml")
    if text.endswith(".toml") or "/" in text:
        return _read(Path(text))
    raise EdgekitError(
        f"unknown target '{text}'",
        did_you_mean(text, target_names()) + " ('edgekit targets list' shows them all)",
    )


def read_target(path: Path) -> Target:
    """Read a target file; its sources are not checked, see ``problems_of``.

    Raises:
        EdgekitError: Missing, not TOML, unknown keys or impossible values.
    """
    return parse(Target, read_toml(path), str(path))


def _read(path: Path) -> Target:
    target = read_target(path)
    if problems := problems_of(target):
        raise EdgekitError(f"{path}: {problems[0]}", "every number states where it comes from")
    return target
