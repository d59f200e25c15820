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


def _read(x: Any, y: Any, rows: Any) -> Any:
    for b in numba.prange(rows.shape[0]):
        part = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        rows[b, 0], rows[b, 1] = read_block(x[part], y[part])
    return rows.sum()


_READERS = compiled.on_threads_or_not(_read)


# Machine code by the types of its arguments, as passes have it: to choose it would take longer than to read few points.
_ready: dict[tuple[Any, ...], Any] = {}


def _reader(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled loop."""
    x, y, _ = arguments
    key = (parallel, x.dtype.char, x.flags.num, y.dtype.char, y.flags.num)
    if key not in _ready:
        loop = _READERS[parallel]
        is_compiled = compiled.compiles()
        _ready[key] = loop.compile(tuple(map(numba.typeof, arguments))) if is_compiled else loop
    return _ready[key]


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
    arguments = (x, y, np.empty((n_blocks, 2)))
    return float(threads.on_threads(n_blocks, n_threads, _reader, arguments))
