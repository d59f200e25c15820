"""The bare read: x and y summed, nothing else. For points in memory, no pass can be faster."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from fastfit.kernels import compiled, flags, threads
from fastfit.kernels.block import BLOCK


@numba.njit(**flags.BLOCK_SUMS)
def read_block(x: Any, y: Any) -> Any:
    """Return the sums of one block of x and of y."""
    x_sum = 0.0
    y_sum = 0.0
    for i in range(x.size):
        x_sum += np.float64(x[i])
        y_sum += np.float64(y[i])
    return x_sum, y_sum


def _read(x: Any, y: Any, rows: Any) -> None:
    for b in numba.prange(rows.shape[0]):
        part = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        rows[b, 0], rows[b, 1] = read_block(x[part], y[part])


_READERS = compiled.on_threads_or_not(_read)


def _reader(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled loop, compiled here: how long a call takes is measured."""
    loop = _READERS[parallel]
    return loop.compile(tuple(map(numba.typeof, arguments))) if compiled.compiles() else loop


def bare_read(x: Any, y: Any, n_threads: int | None = None) -> float:
    """Return the sum of x and y, from one read on as many threads as a pass would take.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        The points, float64 or float32.
    n_threads : int or None
        At most this many threads; by default as in ``compiled.run``.
    """
    n_blocks = -(-x.size // BLOCK)
    rows = np.empty((n_blocks, 2))
    threads.on_threads(n_blocks, n_threads, _reader, (x, y, rows))
    return float(rows.sum())
