"""Windows over threads: the compiled loops of ``windows``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fastfit.kernels import compiled, flags, many, threads, windows
from fastfit.kernels.block import BLOCK
from fastfit.kernels.point_sums import N_SUMS
from fastfit.kernels.tiles import read_only
from fastfit.kernels.windows import BY_NUMBER, GIVEN, Rule

# Fewest windows of a chunk. The first window of each chunk is summed anew; so that this costs little, a chunk also has
# at least twice as many windows as the widest of them has rows.
_CHUNK = 1 << 16
# The last result is the sum of weights. Without weights, there are only the others.
_UNWEIGHTED = len(windows.RESULTS) - 1


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
    counts: Any,
    suspects: Any,
    n_groups: Any,
) -> Any:
    behind, origins, kept, bounds, sums = scratch
    n_chunks = (found.shape[1] + size - 1) // size
    for g in numba.prange(n_groups):
        chunks = g * n_chunks // n_groups, (g + 1) * n_chunks // n_groups
        room = behind[g], origins[g], kept[g], bounds[g], sums[g]
        windows.fit_windows(
            x, y, w, rule, step, through_origin, least, size, chunks, room, found, counts, suspects
        )


_FIT = compiled.on_threads_or_not(_over_groups)
_WIDEST = compiled.jit(windows.widest, flags.TOTAL)
_BOUNDS_IN_GROUPS = compiled.jit(windows.bounds_in_groups, flags.TOTAL)


class Windows(NamedTuple):
    """Lines of windows.

    Attributes
    ----------
    slope, residual_square, y_mean, x_mean, xx : ndarray
        As in ``LineSums``; the slope is NaN for windows of too few points.
    w : ndarray or None
        Sum of weights; None without weights.
    n, n_rows : ndarray of int
        Numbers of points and of rows.
    has_suspects : bool
        Whether the status of a line with enough points may be other than CONVERGED.
    has_unresolved : bool
        Whether residuals of wide windows are UNRESOLVED.
    """

    slope: NDArray[np.float64]
    residual_square: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    x_mean: NDArray[np.float64]
    xx: NDArray[np.float64]
    w: NDArray[np.float64] | None
    n: NDArray[Any]
    n_rows: NDArray[Any] | Callable[[], NDArray[Any]]
    has_suspects: bool
    has_unresolved: bool


def fit(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64] | None,
    rule: Rule,
    step: int,
    **options: Any,
) -> Windows:
    """Return the lines of windows, with the parameters of :func:`slopes`."""
    n_results = _UNWEIGHTED + (w is not None)
    n_counts = 1 if rule.kind == BY_NUMBER else 2
    found, counts, notes = _found(
        x, y, w, rule, step, n_results=n_results, n_counts=n_counts, **options
    )
    slope, left, y_mean, x_mean, xx = found[:_UNWEIGHTED]
    n_rows = functools.partial(_rows_of_windows, rule, step, y.size)
    return Windows(
        *(slope, left, y_mean, x_mean, xx, None if w is None else found[_UNWEIGHTED]),
        *(counts[0], n_rows if n_counts == 1 else counts[1], bool(notes & 1), bool(notes & 2)),
    )


def slopes(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64] | None,
    rule: Rule,
    step: int,
    **options: Any,
) -> tuple[NDArray[np.float64], bool]:
    """Return the slopes of windows alone, and whether the status of one may be other than CONVERGED.

    Parameters
    ----------
    x, y, w : ndarray, shape (n,)
        Points; w may be None.
    rule : Rule
        How the window of a row follows from the row.
    step : int
        A window is fitted at every ``step``-th row.
    through_origin : bool
        Whether lines go through the origin.
    min_points : int
        Lines of fewer points are NaN.
    n_threads : int, optional
        Largest number of threads.
    """
    found, _, notes = _found(x, y, w, rule, step, n_results=1, n_counts=0, **options)
    return found[0], bool(notes & 1)


def _found(
    x: Any,
    y: Any,
    w: Any,
    rule: Rule,
    step: int,
    *,
    n_results: int,
    n_counts: int,
    through_origin: bool,
    min_points: int,
    n_threads: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[Any], int]:
    """Return the first results of windows, in rows; their numbers of points, and of rows; and the notes on them."""
    x, y, w = map(read_only, (x, y, w))
    n_windows = -(-y.size // step)
    if rule.kind == BY_NUMBER:
        widest = min(max(rule.before + rule.after, 1), max(x.size, 1))
    elif rule.kind == GIVEN:
        widest = max(int((rule.high - rule.low).max(initial=1)), 1)
    else:
        key = ("widest", x.flags.num)
        widest = max(int(compiled.code_for(_WIDEST, key, x, rule)(x, rule)), 1)
    size = max(_CHUNK, 2 * widest // step)
    n_chunks = -(-n_windows // size)
    # Results are large: memory that is not written costs nothing.
    found = np.empty((n_results, n_windows))
    counts = np.empty((n_counts, n_windows), np.int32 if widest < 1 << 31 else np.int64)
    suspects = np.zeros(n_chunks, np.uint8)
    n_groups = max(1, min(n_chunks, 2 * (n_threads or threads.default_threads())))
    scratch = (
        # The lines of some windows are found at a time, or of fewer where their sums do not fit in here.
        np.zeros((n_groups, N_SUMS * (widest + 4 * windows.TOGETHER + 1))),
        np.empty((n_groups, widest // windows.BLOCK + 1, 2)),
        np.empty((n_groups, windows.N_KEPT)),
        np.empty((n_groups, 3, windows.TOGETHER), np.int64),
        np.empty((n_groups, many.N_SUMS)),
    )
    arguments = (
        *(x, y, w, rule, step, through_origin, float(min_points), size),
        *(scratch, found, counts, suspects, n_groups),
    )
    with np.errstate(all="ignore"):  # where the loops are not compiled
        # A window takes some ten times as long as a point does in the passes of one line.
        n_blocks = 10 * max(n_windows, x.size) // BLOCK
        threads.on_threads(n_blocks, n_threads, _code, arguments)

    return found, counts, int(np.bitwise_or.reduce(suspects)) if n_chunks else 0


def _rows_of_windows(rule: Rule, step: int, n: int) -> NDArray[Any]:
    """Return the numbers of rows of windows by a number of rows."""
    rows = np.arange(0, n, step)
    low, high = (np.clip(rows + each, 0, n) for each in (-rule.before, rule.after))
    return np.asarray(np.maximum(high - low, 0))


def in_groups(x: NDArray[Any], rule: Rule, starts: NDArray[np.int64]) -> Rule:
    """Return a rule that gives the bounds of the windows at all rows; no window reaches beyond the next start.

    x may be integers, whose differences are exact.
    """
    low, high = np.empty(x.size, np.int64), np.empty(x.size, np.int64)
    arguments = read_only(x), rule, starts, low, high
    key = ("bounds_in_groups", x.dtype.char, starts.flags.num)
    compiled.code_for(_BOUNDS_IN_GROUPS, key, *arguments)(*arguments)
    return rule._replace(kind=GIVEN, low=read_only(low), high=read_only(high))


def _code(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled loops for arguments of these types."""
    x, y, w, *_, counts, _, _ = arguments
    kinds = (None if v is None else v.flags.num for v in (x, y, w))
    key = ("windows", parallel, *kinds, counts.dtype.char)
    return compiled.code_for(_FIT[parallel], key, *arguments)
