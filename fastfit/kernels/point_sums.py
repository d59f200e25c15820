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
    """Return the first point of some rows that has a weight; 0, 0 if there is none, or for lines through the origin."""
    if not through_origin:
        for i in range(first, end, step):
            if (weight(w, i) > 0.0) and not (np.isnan(x[i]) | np.isnan(y[i])):
                return x[i], y[i]
    return 0.0, 0.0


@compiled(INLINED)
def line_of(moves: Any, n: Any, total: Any, origin: Any, sums: Any) -> Any:
    """Return the line of n points from the sums of their distances from an origin, and whether it is doubtful.

    Slope, sum of squared residuals, means of y and x, and sum of squares of x about its mean; whether the residuals are
    too small to be resolved, and whether the line is suspect, as in ``many``: without residuals, or not finite.
    ``moves`` is 0 for lines through the origin, else 1.
    """
    x0, y0 = origin
    us, vs, uu, uv, vv = sums
    u_mean, v_mean = moves * us / total, moves * vs / total
    xx, xy, yy = uu - u_mean * us, uv - u_mean * vs, vv - v_mean * vs
    slope = xy / xx
    left = yy - slope * xy
    is_far = (left <= RESOLVED * yy) & (yy > 0.0)
    is_fine = ((left if n > 2.5 else yy) >= many.TINY) & (xx >= many.TINY) & (total < np.inf)
    x_mean, y_mean = x0 + u_mean, y0 + v_mean
    is_suspect = not (is_fine & (abs(slope * x_mean) + abs(y_mean) + left < np.inf))
    return slope, left, y_mean, x_mean, xx, is_far, is_suspect
