"""Tiles of lines over threads: the compiled loops of ``many`` and ``robust_lines``, and what they need to know of x."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fastfit.kernels import compiled, flags, many, robust_lines, threads
from fastfit.kernels.block import BLOCK
from fastfit.kernels.places import find_places
from fastfit.losses import Huber, RobustLoss, Tukey

# Number of groups of tiles per thread. A group shares one scratch array of sums.
_GROUPS = 4
# Number of points per call of compiled code. Between calls, progress is shown and Ctrl-C is noticed.
_AT_A_TIME = 1 << 27
# Least number of lines in a tile: short rows are slow to read. The points of lines that lie side by side need no more,
# and their sums stay in the first-level cache.
_NARROWEST = 512
# Numbers that all groups together gather points into: 128 MB.
_MOST_SCRATCH = 1 << 24
# How many times longer a robust line takes than sums of its points, roughly.
_TIMES_LONGER = 50
# Powers of two between which distances along x are squared safely.
_LARGEST = 2.0**300


def _over_groups(
    y: Any,
    x: Any,
    w: Any,
    in_rows: Any,
    n: Any,
    n_lanes: Any,
    strides: Any,
    u: Any,
    rest: Any,
    order: Any,
    own: Any,
    center: Any,
    grid: Any,
    through_origin: Any,
    width: Any,
    tiles: Any,
    found: Any,
    notes: Any,
    n_groups: Any,
) -> Any:
    low, high = tiles
    for g in numba.prange(n_groups):
        part = low + g * (high - low) // n_groups, low + (g + 1) * (high - low) // n_groups
        many.fit_lines(
            *(y, x, w, in_rows, n, n_lanes, strides, u, rest, order, own, center, grid),
            *(through_origin, width, part, found, notes),
        )


_FIT = compiled.on_threads_or_not(_over_groups)


def _robust_over_groups(
    y: Any,
    x: Any,
    w: Any,
    in_rows: Any,
    n: Any,
    n_lanes: Any,
    strides: Any,
    u: Any,
    rest: Any,
    through_origin: Any,
    loss: Any,
    huber: Any,
    tukey: Any,
    options: Any,
    width: Any,
    tiles: Any,
    found: Any,
    scratch: Any,
    out: Any,
    n_groups: Any,
) -> Any:
    low, high = tiles
    for g in numba.prange(n_groups):
        part = low + g * (high - low) // n_groups, low + (g + 1) * (high - low) // n_groups
        robust_lines.fit_robust_lines(
            *(y, x, w, in_rows, n, n_lanes, strides, u, rest, through_origin),
            *(loss, huber, tukey, options, width, part, found, scratch[g], out),
        )


_FIT_ROBUST = compiled.on_threads_or_not(_robust_over_groups)
_PLACES = compiled.jit(find_places, flags.TOTAL)


class Places(NamedTuple):
    """Where the points of lines lie along x, for lines that share it.

    Attributes
    ----------
    u, rest : ndarray, shape (n,)
        Distances from a center, whole numbers of a spacing that differ exactly, and what they lack; None for nothing.
    order : ndarray of int, shape (n,)
        The order in which points are tried for the first line, from either end: the outermost first.
    own : (float, float)
        Sums of distances and of their squares.
    center : (float, float)
        The center, as a float and what it lacks.
    grid : float
        Rounds to the spacing of u if it is added and subtracted.
    """

    u: NDArray[np.float64]
    rest: NDArray[np.float64] | None
    order: NDArray[np.int64]
    own: tuple[float, float]
    center: tuple[float, float]
    grid: float

    @classmethod
    def of(cls, x: NDArray[np.float64], offset: float, *, through_origin: bool) -> Places:
        """Return the places of ``x + offset``; distances are from 0 for lines through the origin.

        Raises
        ------
        ValueError
            If an x is not finite, or distances have squares that float64 cannot hold.
        """
        u, rest, order = np.empty(x.size), np.empty(x.size), np.empty(x.size, np.int64)
        arguments = read_only(x), through_origin, u, rest, order
        code = compiled.code_for(_PLACES, ("places", x.flags.c_contiguous), *arguments)
        with np.errstate(all="ignore"):
            low, high, middle, grid, total, u_sum, uu, lacking = code(*arguments)
        if not math.isfinite(total) and not np.isfinite(x).all():
            wrong = np.flatnonzero(~np.isfinite(x))[0]
            raise ValueError(f"x must be finite; got {x[wrong]} at index {wrong:,}")
        size = max(abs(low), abs(high)) if through_origin else high - low
        if size and not 1.0 / _LARGEST < size < _LARGEST:
            raise ValueError(
                f"x must have distances whose squares float64 can hold; got {size:.3g}: rescale x"
            )
        center = middle + offset
        lacks = (middle - (center - offset)) if offset else 0.0
        return cls(u, rest if lacking else None, order, (u_sum, uu), (center, lacks), grid)


def fit(
    y: Any,
    x: Any,
    w: Any,
    shape: tuple[int, int, int],
    strides: tuple[int, int, int],
    places: Places,
    *,
    through_origin: bool,
    found: NDArray[np.float64],
    n_threads: int | None = None,
    watch: Callable[[int], object] = int,
) -> tuple[NDArray[np.bool_], bool, int]:
    """Write the least-squares lines of many series, in rows as ``many.RESULTS`` names them.

    Parameters
    ----------
    y : ndarray, flat
        Values, float64 or float32.
    x, w : ndarray, flat, or None
        Places and weights of the points, where they are not shared; laid out as y is.
    shape, strides : (int, int, int)
        How many series lie outside of the points, points, and series inside of them; and how far these are apart.
    places : Places
        Places that all lines share.
    found : ndarray, shape (8, number of lines)
        Where results are written. Of tiles without gaps, number of points, mean and squares of x are written for the
        first line alone; the sum of weights is written only where there are weights.
    watch : callable
        Called with the number of lines fitted so far, now and then.

    Returns
    -------
    ndarray of bool, bool, int
        Which tiles have gaps, whether any line is suspect, as ``many`` says, and how many lines a tile has.
    """
    n_outer, n, n_lanes = shape
    y, x, w = map(read_only, (y, x, w))
    in_rows = True if strides[2] == 1 else None
    # No result depends on the width of tiles, but all processors should have some.
    n_groups = _GROUPS * (n_threads or threads.default_threads())
    widest = many.TILE if in_rows else _NARROWEST
    width = min(widest, max(_NARROWEST, -(-n_lanes * n_outer // n_groups)))
    each = -(-n_lanes // width)
    n_tiles = n_outer * each
    notes = np.zeros((2, n_tiles), np.bool_)
    step = max(n_groups, _AT_A_TIME // max(n * min(width, n_lanes), 1))
    for low in range(0, n_tiles, step):
        high = min(low + step, n_tiles)
        some = width, (low, high), found, notes, min(high - low, n_groups)
        arguments = (
            *(y, x, w, in_rows, n, n_lanes, strides, places.u, places.rest, places.order),
            *(places.own, places.center, places.grid, through_origin, *some),
        )
        n_blocks = (high - low) * n * min(width, n_lanes) // BLOCK
        with np.errstate(all="ignore"):  # where the loops are not compiled
            threads.on_threads(n_blocks, n_threads, _code, arguments)
        watch(n_outer * n_lanes * high // n_tiles)
    return notes[0], bool(notes[1].any()), width


def fit_robust(
    y: Any,
    x: Any,
    w: Any,
    shape: tuple[int, int, int],
    strides: tuple[int, int, int],
    places: Places,
    *,
    loss: RobustLoss,
    through_origin: bool,
    found: NDArray[np.float64],
    out: NDArray[np.float64],
    n_threads: int | None = None,
) -> None:
    """Write the robust lines of many series, in rows as ``robust_lines.ROBUST_RESULTS`` names them.

    They are NaN where there is no least-squares line.

    Parameters
    ----------
    y, x, w, shape, strides, places, through_origin
        As in :func:`fit`.
    loss : RobustLoss
        With a number for ``f_scale``, or "mad".
    found : ndarray, shape (8, number of lines)
        The least-squares lines, all rows of them.
    out : ndarray, shape (8, number of lines)
        Where results are written.
    """
    n_outer, n, n_lanes = shape
    y, x, w = map(read_only, (y, x, w))
    in_rows = True if strides[2] == 1 else None
    width = max(1, min(robust_lines.MOST_LINES, robust_lines.TOGETHER // n, n_lanes))
    n_tiles = n_outer * -(-n_lanes // width)
    size = 3 * (width + 1) * (n + 1)
    n_groups = _GROUPS * (n_threads or threads.default_threads())
    n_groups = max(1, min(n_tiles, n_groups, _MOST_SCRATCH // size))
    scratch = np.empty((n_groups, 3, width + 1, n + 1))
    losses = loss._replace(f_scale=1.0), Huber(1.0), Tukey(1.0)  # apart, as threads need them
    options = 0.0 if isinstance(loss.f_scale, str) else loss.f_scale, loss.tuning, loss.is_convex
    arguments = (
        *(y, x, w, in_rows, n, n_lanes, strides, places.u, places.rest, through_origin),
        *(*losses, options, width, (0, n_tiles), found, scratch, out, n_groups),
    )
    n_blocks = _TIMES_LONGER * n_outer * n * n_lanes // BLOCK
    with np.errstate(all="ignore"):
        threads.on_threads(n_blocks, n_threads, _robust_code, arguments)


def read_only(values: Any) -> Any:
    """Return the same array, which compiled code takes for of one type with those that must not be written."""
    if values is not None:
        values = values.view()
        values.flags.writeable = False
    return values


def _code(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled loops for arguments of these types."""
    y, x, w, in_rows, _, _, _, _, rest, *_ = arguments
    kinds = (None if v is None else v.dtype.char for v in (y, x, w))
    key = ("lines", parallel, *kinds, in_rows, rest is None)
    return compiled.code_for(_FIT[parallel], key, *arguments)


def _robust_code(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled loops for arguments of these types."""
    y, x, w, in_rows, _, _, _, _, rest, _, loss, *_ = arguments
    kinds = (None if v is None else v.dtype.char for v in (y, x, w))
    key = ("robust lines", parallel, *kinds, in_rows, rest is None, type(loss))
    return compiled.code_for(_FIT_ROBUST[parallel], key, *arguments)
