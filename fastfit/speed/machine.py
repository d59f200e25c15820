"""What a report of a bug or of a time should say about the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fastfit._version import __version__
from fastfit.kernels import compiled
from fastfit.kernels.bare_read import bare_read

# Libraries that fastfit can use, by their names as packages.
OPTIONAL = (
    *("scipy", "polars", "pyarrow", "fastexcel", "dask", "scikit-learn"),
    *("matplotlib", "pandas", "xarray", "rich", "typer"),
)
# Share of the processor time from which on a machine counts as idle.
IDLE = 0.9
# Seconds in which that is measured.
_SECONDS = 0.3


def machine() -> dict[str, Any]:
    """Return versions, processor, caches, threads and thread layer."""
    return {
        "fastfit": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **compiled.description(),
        "platform": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "caches": _caches(),
        "date": time.strftime("%Y-%m-%d"),
    }


def libraries() -> dict[str, str | None]:
    """Return the versions of optional libraries, None for those that are not installed."""
    found: dict[str, str | None] = dict.fromkeys(OPTIONAL)
    for name in OPTIONAL:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def share_available(n_threads: int) -> float:
    """Return the processor time that busy threads get, over the time that passes: about 1 on an idle machine."""
    x = np.ones(300_000)

    def work(_: int) -> None:
        while time.perf_counter() < end:
            bare_read(x, x, 1)

    bare_read(x, x, 1)
    start, used = time.perf_counter(), time.process_time()
    end = start + _SECONDS
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, range(n_threads)))
    return (time.process_time() - used) / (time.perf_counter() - start) / n_threads


def _processor() -> str:
    """Return the name of the processor, as far as it is known."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _caches() -> dict[str, int]:
    """Return the sizes in bytes of the caches of one processor, by level, as far as they are known."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found[f"L{level}"] = int(size[:-1]) * 1024
    if sys.platform == "darwin":
        for level, name in (("L1", "l1dcachesize"), ("L2", "l2cachesize"), ("L3", "l3cachesize")):
            size = _sysctl(f"hw.{name}")
            if size.isdigit() and int(size):
                found[level] = int(size)
    return found


def _sysctl(name: str) -> str:
    try:
        found = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
