"""On what a report was made: versions and machine, for the report and for ``doctor``."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("ai-edge-litert", "litert-quantizer", "numpy", "tensorflow", "keras", "tf-keras")


@cache
def installed(package: str) -> str | None:
    """The version of a distribution, or None; nothing is imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    """The CPU's name as Linux knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()
    return platform.processor()


def describe() -> dict[str, str]:
    """Versions and machine."""
    packages = {name: found for name in _PACKAGES if (found := installed(name))}
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        **packages,
    }
