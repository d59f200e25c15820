"""How many processors this process may use: its affinity, and the CPU quota of the container that it runs in."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Return the number of processors that this process may use, at least 1.

    These are the processors of its affinity mask, or of the machine where a system has no such masks, but no more than
    the CPU quota of its control groups on Linux (versions 1 and 2) allows, rounded up.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([count or 1, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """Yield the CPU quotas of the groups of this process and of those above them, in processors."""
    for folder in _folders():
        # Files that are missing or hold something else limit nothing.
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            yield _ratio(*(folder / "cpu.max").read_text().split())
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
            yield _ratio(*((folder / name).read_text() for name in names))


def _ratio(*numbers: str) -> float:
    """Return quota over period, or raise ValueError where there is no quota ("max", or -1)."""
    quota, period = map(int, numbers)
    if quota <= 0:
        raise ValueError(quota)
    return quota / period


def _folders() -> Iterator[Path]:
    """Yield the folders of the CPU groups of this process, from its own up to the root."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    for line in [*lines, "0::/", "0:cpu:/"]:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            root = _CGROUPS
        elif "cpu" in controllers.split(","):
            root = _CGROUPS / "cpu"
        else:
            continue
        own = root / path.strip("/")
        yield own
        yield from (above for above in own.parents if above.is_relative_to(root))
