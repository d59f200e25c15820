"""Sums over points as distances from one of them, and the line they amount to: what windows and groups share."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfit.exact.double_double import fused
from fastfit.kernels import many
from fastfit.kernels.block import weight
from fastfit.kernels.flags import INLINED, TOTAL, compiled
from fastfit.kernels.many import weighted

# Sums over points: of 1, of weights, of weighted distances u and v, and of their products uu, uv and vv.
N_SUMS = 7
NOTHING = (0.0,) * N_SUMS
# Least ratio of residuals to the squares of y about their mean that sums about a point resolve to ten digits.
RESOLVED = 2.0**-20


@compiled(INLINED)
def with_point(sums: Any, w: Any, x: Any, y: Any, k: Any, origin: Any) -> Any:
    """Return sums with one more point, of weight k; without it, if one of the three is NaN."""
    n, total, us, vs, uu, uv, vv = sums
    counts = not (np.isnan(x) | np.isnan(y) | np.isnan(k))
    u = x - origin[0] if counts else 0.0
    v = y - origin[1] if counts else 0.0
    k = k if counts else 0.0
    ku, kv = weighted(w, k, u), weighted(w, k, v)
    one, share = 1.0 if counts else 0.0, k if k >= 0.0 else np.nan
    uu, uv, vv = fused(ku, u, uu), fused(ku, v, uv), fused(kv, v, vv)
    return n + one, total + share, us + ku, vs + kv, uu, uv, vv


@compiled(TOTAL)
def origin_of(x: Any, y: Any, w: Any, first: Any, end: Any, step: Any, through_origin: Any) -> Any:
    """Return the first finite point of some rows with a weight; 0, 0 without one, or for lines through the origin.

    Distances of points of weight 0 from an infinite one would be NaN, and they may lie in other windows than it does.
    """
    if not through_origin:
        for i in range(first, end, step):
            if (weight(w, i) > 0.0) and np.isfinite(x[i]) and np.isfinite(y[i]):
                return x[i], y[i]
    return 0.0, 0.0


@compiled(INLINED)
def line_of(n: Any, total: Any, means: Any, squares: Any, fewest: Any) -> Any:
    """Return the line of n points from means of x and y, and sums of products of the deviations from them.

    Slope and sum of squared residuals; whether these are too small to be resolved, and whether the line is suspect, as
    in ``many``: without residuals, or not finite. No more points than ``fewest`` lie on their line.
    """
    x_mean, y_mean = means
    xx, xy, yy = squares
    slope = xy / xx
    left = yy - slope * xy if n > fewest else 0.0 * abs(slope)
    is_far = (left <= RESOLVED * abs(yy)) & (n > fewest) & (yy != 0.0)
    is_fine = ((left if n > fewest else yy) >= many.TINY) & (xx >= many.TINY) & (total < np.inf)
    is_suspect = not (is_fine & (abs(slope * x_mean) + abs(y_mean) + left < np.inf))
    return slope, left, is_far, is_suspect


@compiled(TOTAL)
def line_again(
    x: Any, y: Any, w: Any, low: Any, high: Any, through_origin: Any, line: Any, scratch: Any
) -> Any:
    """Return the line of some rows, from residuals about a line near it, with all rounding errors.

    ``line`` is slope and means of y and x. What is returned are slope, sum of squared residuals, means of y and x, and
    sum of squares of x about its mean; and whether the line is suspect.
    """
    slope, y_mean, x_mean = line
    moves = 0.0 if through_origin else 1.0
    scratch[many.LEVEL], scratch[many.SLOPE] = moves * y_mean, slope
    scratch[many.PLACE] = moves * x_mean
    u = x[low:high]
    for _ in range(many.ROUNDS):
        many.sum_points(y, x, w, True, low, u.size, 0, u, None, scratch)
        many.lines_of(y, x, w, True, 1, (0.0, 0.0), 0.0, through_origin, scratch)
        if scratch[many.FAR] == 0.0:
            break
    found = (
        scratch[many.SLOPE],
        scratch[many.EE],
        scratch[many.E],
        scratch[many.U],
        scratch[many.UU],
    )
    return found, scratch[many.SUSPECT] != 0.0
