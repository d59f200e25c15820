"""fastfit beside what the machine can do, with the targets of the project: ``python -m bench.limits``.

Every row compares two things measured in turn in one process. ``peers.py`` is about others.
"""

from __future__ import annotations

import functools
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import fastfit as ff
from bench.measure import bare_read, heavy_tailed, loss_of, points, ratio, times
from fastfit.kernels import compiled
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.losses import LOSSES, SquaredError
from fastfit.points.arrays import ArrayPoints
from fastfit.validation import Columns

LINE = (0.3, 0.1)


def a_pass(x: Any, y: Any, n_threads: int | None = None) -> Callable[[], object]:
    """Return a fused pass over the points, without the result's wrapping."""
    arguments: Any = (LossGradient(), SquaredError(), x, y, None, (0.5, 0.6), LINE, n_threads)
    return lambda: compiled.run(*arguments)


def passes() -> None:
    """Print ratios of single passes."""
    x, y = points(10_000_000)
    table = np.column_stack([x, y])
    table.flags.writeable = False
    small = points(1_000)
    single = (x.astype(np.float32), y.astype(np.float32))
    for column in single:
        column.flags.writeable = False
    found = times(
        {
            "read": lambda: bare_read(x, y),
            "pass": a_pass(x, y),
            "read, 1 thread": lambda: bare_read(x, y, 1),
            "pass, 1 thread": a_pass(x, y, 1),
            "float32": a_pass(*single),
            "columns": a_pass(table[:, 0], table[:, 1]),
        },
        rounds=61,
    )
    show("fused pass over 10 million points / bare read", ratio(found, "pass", "read"), 1.20)
    show("  the same with one thread", ratio(found, "pass, 1 thread", "read, 1 thread"), 1.25)
    show("float32 / float64", ratio(found, "float32", "pass"), 0.65)
    show("columns of an (n, 2) table / contiguous", ratio(found, "columns", "pass"), 2.0)
    on_points = ArrayPoints(Columns(*small))
    on_points.moments()
    loss = SquaredError()
    found = times({"evaluate": lambda: on_points.evaluate(loss, *LINE)}, rounds=101, inner=200)
    microseconds = 1e6 * statistics.median(found["evaluate"])
    show("evaluate() on 1,000 points, microseconds", microseconds, 15)


def fits() -> None:
    """Print what whole fits take, beside a bare read."""
    x, y = points(10_000_000)
    calls: dict[str, Callable[[], Any]] = {
        "read": lambda: bare_read(x, y),
        "fit_line": lambda: ff.fit_line(x, y),
    }
    found = times(calls, rounds=61)
    show("fit_line, 10 million / bare read", ratio(found, "fit_line", "read"), 1.30)
    descent = ff.GradientDescent(
        init=(-2.0, 1.0), learning_rate=0.01, standardize=False, max_iter=5000, record_every=250
    )

    def descend() -> ff.LineFit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ff.ConvergenceWarning)
            return ff.fit_line(x, y, solver=descent)

    assert descend().n_iter == 5000
    found = times({"read": calls["read"], "descent": descend}, rounds=21)
    show("5,000 raw steps, 10 million / bare read", ratio(found, "descent", "read"), 8)


def robust_passes() -> None:
    """Print what a pass with loss, gradient and curvature takes, for every loss."""
    x, y = points(10_000_000)
    calls: dict[str, Callable[[], Any]] = {"read": lambda: bare_read(x, y)}
    for name in LOSSES:
        # The noise is 0.1: a robust loss bends where it usually does.
        loss = loss_of(name, 0.1 * getattr(LOSSES[name], "tuning", 1.0))
        arguments: Any = (LossGradientCurvature(), loss, x, y, None, (0.5, 0.6), LINE)
        calls[name] = functools.partial(compiled.run, *arguments)
    found = times(calls, rounds=41)
    for name in LOSSES:
        target = {"squared_error": None, "cauchy": 2.2}.get(name, 1.4)
        show(
            f"pass with curvature, {name}, 10 million / bare read",
            ratio(found, name, "read"),
            target,
        )


def robust_fits() -> None:
    """Print what robust fits take, beside a bare read and beside others."""
    x, y = heavy_tailed(10_000_000)
    calls: dict[str, Callable[[], Any]] = {"read": lambda: bare_read(x, y)}
    robust = [name for name in LOSSES if name != "squared_error"]
    for name in robust:
        calls[name] = functools.partial(ff.fit_line, x, y, loss=loss_of(name, 2.0))
        calls[name + ", mad"] = functools.partial(ff.fit_line, x, y, loss=name)
    found = times(calls, rounds=15)
    for name in robust:
        most, reads = (4, 6) if name == "huber" else (8, None)
        show(f"{name}, f_scale given, 10 million: passes", calls[name]().n_passes, most)
        show(f"{name}, f_scale given, 10 million / bare read", ratio(found, name, "read"), reads)
        with_mad = [
            (a - b) / c
            for a, b, c in zip(found[name + ", mad"], found[name], found["read"], strict=True)
        ]
        show("  f_scale='mad': further bare reads", statistics.median(with_mad), 4)


def small_fits() -> None:
    """Print what a fit of 1,000 points takes."""
    x, y = points(1_000)
    found = times({"fit_line": lambda: ff.fit_line(x, y)}, rounds=101, inner=200)
    show("fit_line on 1,000 points, microseconds", 1e6 * statistics.median(found["fit_line"]), 30)


def memory() -> None:
    """Print the memory of a fit of 10 million points beyond its inputs, in a process of its own."""
    code = (
        "import resource, numpy as np, fastfit as ff; from bench.measure import points\n"
        "ff.fit_line(*points(100_000), loss=LOSS); x, y = points(10_000_000)\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        # Raise the high-water mark to what is held now, so that a fit's own memory shows on top of it.
        "held = int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 2**20\n"
        "filler = np.ones(max(0, int((peak() - held) * 2**17))); before = peak()\n"
        "fit = ff.fit_line(x, y, loss=LOSS); print(peak() - before)"
    )
    for loss, most in (("squared_error", 16), ("tukey", 32)):
        script = code.replace("LOSS", repr(loss))
        out = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        show(f"memory of a fit, {loss}, 10 million, beyond its inputs, MB", float(out), most)


def imports() -> None:
    """Print what an import takes, in fresh processes, beside that of NumPy."""
    # As installed: with the bytecode on disk.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def process(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    codes = {"fastfit": "import fastfit", "numpy": "import numpy"}
    found = times({name: process(code) for name, code in codes.items()}, rounds=31)
    show("import fastfit / import numpy", ratio(found, "fastfit", "numpy"), 1.3)


def show(what: str, value: float, target: float | None = None, *, least: bool = False) -> None:
    """Print one row, with the target it is meant to reach where it has one."""
    row = f"{what:<60} {value:8.2f}"
    if target is not None:
        met = value >= target if least else value <= target
        row += f"   {'at least' if least else 'at most'} {target:g}{'' if met else '  MISSED'}"
    print(row, flush=True)


if __name__ == "__main__":
    print(
        f"fastfit {ff.__version__}, numba {numba.__version__}, numpy {np.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}"
    )
    passes()
    fits()
    robust_passes()
    robust_fits()
    small_fits()
    memory()
    imports()
