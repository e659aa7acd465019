"""What about this host may matter to a timing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def host_conditions() -> dict[str, Any]:
    """Processor, governor, kernel and versions; None for what the system does not tell."""
    return {
        "cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0)),
        "governor": _governor(),
        "kernel": f"{platform.system()} {platform.release()}", "litert": _version("ai-edge-litert"),
        "python": platform.python_version(),
    }  # fmt: skip


def _governor() -> str | None:
    """Who sets the clock; None where that is not to be seen (virtual machines)."""
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    fields = {name.strip(): value.strip() for name, _, value in
              (line.partition(":") for line in lines)}
    names = ("model name", "Model", "Hardware", "cpu model")  # x86, Raspberry Pi, phones, MIPS
    return next((fields[name] for name in names if fields.get(name)), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load_average() -> float | None:
    """Load average of the last minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None
