"""The bare read: x and y added up, nothing else. Of points in memory, no pass can be faster."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from fastfit.kernels import flags, parallel
from fastfit.kernels.passes import BLOCK


@numba.njit(**flags.BLOCK_SUMS)
def read_block(x: Any, y: Any) -> Any:
    """Return the sums of one block of x and of y."""
    x_sum = 0.0
    y_sum = 0.0
    for i in range(x.size):
        x_sum += np.float64(x[i])
        y_sum += np.float64(y[i])
    return x_sum, y_sum


def _read_serial(x: Any, y: Any, rows: Any) -> None:
    for b in range(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        rows[b, 0], rows[b, 1] = read_block(x[block], y[block])


def _read_parallel(x: Any, y: Any, rows: Any) -> None:
    for b in numba.prange(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        rows[b, 0], rows[b, 1] = read_block(x[block], y[block])


_READERS = {
    True: parallel.jit(_read_parallel, flags.PARALLEL_DRIVER),
    False: parallel.jit(_read_serial, flags.DRIVER),
}


def bare_read(x: Any, y: Any, n_threads: int | None = None) -> float:
    """Return the sum of x and y, from one read on as many threads as a pass would take.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        The points, float64 or float32.
    n_threads : int or None
        At most this many threads; None leaves it to Numba.
    """
    n_blocks = -(-x.size // BLOCK)
    rows = np.empty((n_blocks, 2))
    parallel.on_threads(n_blocks, n_threads, lambda several, *_: _READERS[several], (x, y, rows))
    return float(rows.sum())
