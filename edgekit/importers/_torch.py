"""What the importers that need PyTorch share; PyTorch itself runs in the child process."""

import importlib.util

from edgekit.core.errors import MissingToolError

EXTRA = "torch"


def require_torch(purpose: str, *more: str) -> None:
    """See that PyTorch and its converter are installed, without importing them.

    Args:
        purpose: What they are needed for: "import PyTorch models".
        more: Further modules that are needed.

    Raises:
        MissingToolError: They are not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "litert_torch", *more)):
        raise MissingToolError.for_extra(EXTRA, purpose)
