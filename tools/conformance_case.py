"""What ``tools/conformance`` sends to its child process."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One test, ready to be sent to the child."""

    name: str
    kind: str
    model: bytes
    data: tuple[tuple[Any, Any], ...]
    rtol: float
    atol: float
    operators: tuple[str, ...]
