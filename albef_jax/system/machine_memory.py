"""How much memory this machine has, or the container that the program runs in."""

import os
from pathlib import Path

# Version 2 of control groups, and version 1; a file that is not there sets no limit.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def machine_memory() -> int | None:
    """Bytes; None if the system does not say."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no `sysconf`
        return None
    return min([there, *_container_limits()])


def _container_limits() -> list[int]:
    found = []
    for file in _LIMITS:
        try:
            found.append(int(file.read_text("ascii")))
        except (OSError, ValueError):  # none, or "max"
            continue
    return found
