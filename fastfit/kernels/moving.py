"""Windows over threads: the compiled loops of ``windows``."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastfit.kernels import compiled, flags, many, threads, windows
from fastfit.kernels.block import BLOCK

# Fewest windows of a chunk. The first window of each chunk is summed anew; so that this costs little, a chunk also has
# at least twice as many windows as the widest of them has rows.
_CHUNK = 1 << 16


def _over_groups(
    x: Any,
    y: Any,
    w: Any,
    rule: Any,
    step: Any,
    through_origin: Any,
    least: Any,
    size: Any,
    scratch: Any,
    found: Any,
    sizes: Any,
    suspects: Any,
    n_groups: Any,
) -> Any:
    before, kept, bounds, sums = scratch
    n_chunks = (found.shape[1] + size - 1) // size
    for g in numba.prange(n_groups):
        chunks = g * n_chunks // n_groups, (g + 1) * n_chunks // n_groups
        room = before[g], kept[g], bounds[g, 0], bounds[g, 1], sums[g]
        windows.fit_windows(
            x, y, w, rule, step, through_origin, least, size, chunks, room, found, sizes, suspects
        )


_FIT = compiled.on_threads_or_not(_over_groups)
_WIDEST = compiled.jit(windows.widest, flags.TOTAL)


def fit(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64] | None,
    rule: tuple[Any, ...],
    step: int,
    *,
    through_origin: bool,
    min_points: int,
    found: NDArray[np.float64],
    sizes: NDArray[np.int64],
    n_threads: int | None = None,
) -> bool:
    """Write the lines of windows, in rows as ``many.RESULTS`` names them.

    Parameters
    ----------
    x, y, w : ndarray, shape (n,)
        Points; w may be None.
    rule : tuple
        Two numbers of rows, as ``windows.by_number`` takes them, or bounds of x, as ``windows.by_width`` does.
    step : int
        A window is fitted at every ``step``-th row.
    min_points : int
        Lines of fewer points are NaN.
    found : ndarray, shape (8, number of windows)
        Where results are written.
    sizes : ndarray of int, shape (number of windows,)
        Where the numbers of rows of windows are written.

    Returns
    -------
    bool
        Whether the status of a line with enough points may be other than CONVERGED.
    """
    if len(rule) == 2:
        widest = min(max(rule[0] + rule[1], 1), max(x.size, 1))
    else:
        key = ("widest", x.flags.num)
        widest = max(int(compiled.code_for(_WIDEST, key, x, rule)(x, rule)), 1)
    size = max(_CHUNK, 2 * widest // step)
    n_chunks = -(-found.shape[1] // size)
    suspects = np.zeros(n_chunks, np.bool_)
    n_groups = max(1, min(n_chunks, 2 * (n_threads or threads.default_threads())))
    scratch = (
        np.empty((n_groups, widest, windows.N_SUMS + 1)),
        np.empty((n_groups, windows.N_KEPT)),
        np.empty((n_groups, 2, windows.TOGETHER), np.int64),
        np.empty((n_groups, many.N_SUMS)),
    )
    arguments = (
        *(x, y, w, rule, step, through_origin, float(min_points), size),
        *(scratch, found, sizes, suspects, n_groups),
    )
    with np.errstate(all="ignore"):  # where the loops are not compiled
        threads.on_threads(4 * x.size // BLOCK, n_threads, _code, arguments)
    return bool(suspects.any())


def _code(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled loops for arguments of these types."""
    x, y, w, rule, *_ = arguments
    kinds = (None if v is None else v.flags.num for v in (x, y, w))
    return compiled.code_for(_FIT[parallel], ("windows", parallel, *kinds, len(rule)), *arguments)
