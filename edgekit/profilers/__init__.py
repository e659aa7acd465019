"""Ways of knowing numbers about a model. One file per way, one row here."""

from edgekit.profilers import host, memory, size
from edgekit.profilers.base import Profiler, ProfileResult, ProfileSettings

PROFILERS: dict[str, Profiler] = {
    "size": size.profile_size,
    "memory": memory.profile_memory,
    "host": host.profile_on_host,
}

__all__ = ["PROFILERS", "ProfileResult", "ProfileSettings", "Profiler"]
