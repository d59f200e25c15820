"""Times as ratios: two things measured in turn, and the read limit of the machine.

The machine may be shared and noisy, so no time stands alone: whatever is compared runs in turn, round by round,
and the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastfit.kernels import flags
from fastfit.kernels.parallel import PARALLEL_BLOCKS
from fastfit.kernels.passes import BLOCK
from fastfit.losses import LOSSES


@numba.njit(**flags.BLOCK_SUMS)
def _read_block(x: Any, y: Any) -> Any:
    x_sum = 0.0
    y_sum = 0.0
    for i in range(x.size):
        x_sum += x[i]
        y_sum += y[i]
    return x_sum, y_sum


@numba.njit(**flags.DRIVER)
def _read_serial(x: Any, y: Any, rows: Any) -> None:
    for b in range(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        rows[b, 0], rows[b, 1] = _read_block(x[block], y[block])


@numba.njit(**flags.PARALLEL_DRIVER)
def _read_parallel(x: Any, y: Any, rows: Any) -> None:
    for b in numba.prange(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        rows[b, 0], rows[b, 1] = _read_block(x[block], y[block])


def bare_read(x: Any, y: Any, n_threads: int | None = None) -> float:
    """Read x and y and add them up, nothing else, on as many threads as a pass: what no pass can beat."""
    rows = np.empty((-(-x.size // BLOCK), 2))
    alone = n_threads == 1 or rows.shape[0] < PARALLEL_BLOCKS
    (_read_serial if alone else _read_parallel)(x, y, rows)
    return float(rows.sum())


def times(
    calls: dict[str, Callable[[], object]], rounds: int, inner: int = 1
) -> dict[str, list[float]]:
    """Return the times of each call, one a round, all calls taking their turn in every round."""
    for call in calls.values():  # compile, and touch every page
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(inner):
                call()
            found[name].append((time.perf_counter() - start) / inner)
    return found


def ratio(found: dict[str, list[float]], name: str, base: str) -> float:
    """Return the median over the rounds of the time of one call over that of another."""
    return statistics.median(a / b for a, b in zip(found[name], found[base], strict=True))


def loss_of(name: str, f_scale: float) -> Any:
    """Return the loss of this name, with that number for whatever it has."""
    loss: Any = LOSSES[name]()
    return loss._make([f_scale] * len(loss))


def heavy_tailed(n: int) -> tuple[Any, Any]:
    """Return n seeded points about the line ``y = 0.5 x + 1``, with noise of Student's t of 3 degrees of freedom."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n)
    y = 0.5 * x + 1.0 + rng.standard_t(3, size=n)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def points(n: int, dtype: Any = np.float64) -> tuple[Any, Any]:
    """Return n seeded points about a line, read-only as the passes see them."""
    rng = np.random.default_rng(n)
    x = rng.random(n).astype(dtype)
    y = (0.25 * x + 0.5 + 0.1 * rng.standard_normal(n)).astype(dtype)
    x.flags.writeable = y.flags.writeable = False
    return x, y
