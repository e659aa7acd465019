"""Errors for the user: what happened, where, and what to do about it.

One place catches them, ``edgekit.cli``; the exit codes are part of the public interface.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from edgekit.core.extras import EXTRAS

EXIT_OK = 0
EXIT_BUG = 1
EXIT_INPUT = 2
EXIT_MISSED = 3
EXIT_MISSING = 4
EXIT_INTERRUPTED = 130


class EdgekitError(Exception):
    """Something that the user can act on.

    Attributes:
        message: What is wrong and where, in one sentence.
        hint: What to do about it; may be empty.
        exit_code: The process's exit status when the command line reports this error.
    """

    exit_code = EXIT_INPUT

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders; subclasses are rebuilt with their own fields."""
        return _rebuild, (type(self), self.message, self.hint, self.exit_code)


def _rebuild(kind: type[EdgekitError], message: str, hint: str, exit_code: int) -> EdgekitError:
    error = EdgekitError.__new__(kind)
    EdgekitError.__init__(error, message, hint, exit_code)
    return error


class MissingToolError(EdgekitError):
    """A tool, an extra or a device that is not there (exit 4)."""

    exit_code = EXIT_MISSING

    @classmethod
    def for_extra(cls, extra: str, purpose: str) -> "MissingToolError":
        """The error for an optional dependency that is not installed.

        Args:
            extra: Name of the extra in pyproject.toml.
            purpose: What it is needed for, to follow "is needed to".
        """
        return cls(f"the extra '{extra}' is needed to {purpose} and is not installed",
                   EXTRAS[extra].command)


class RuntimeCrashError(EdgekitError):
    """Native code died in its child process; the parent lives on to say so (exit 2)."""


class GuardError(EdgekitError):
    """A step's result was run and is not what it claims to be (exit 2)."""


class QualityError(EdgekitError):
    """A quality bound is missed and no artifact can be offered (exit 3)."""

    exit_code = EXIT_MISSED


class PlanError(EdgekitError):
    """Everything that is wrong with a request, found before any work is done (exit 2).

    Attributes:
        problems: One error for each problem, in the order in which they were found.
    """

    def __init__(self, problems: Iterable[EdgekitError]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        if len(self.problems) == 1:
            super().__init__(first.message, first.hint, first.exit_code)
            return
        lines = [f"  {i}. {p.message}" + (f" ({p.hint})" if p.hint else "")
                 for i, p in enumerate(self.problems, 1)]
        super().__init__(
            f"{len(self.problems)} problems, nothing was started:\n" + "\n".join(lines),
            exit_code=max(p.exit_code for p in self.problems),
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, or lists them all."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(known) if known else ""
