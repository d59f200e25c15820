"""Sums of lines from sums over parts of their points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfit.lines.series import LineSums


def merged(parts: Sequence[LineSums], *, through_origin: bool = False) -> LineSums:
    """Return the sums over the points of all parts, merged in pairs.

    Parts may have centers of their own. With what ``parts.sums_of_part`` finds, slopes are those of the whole to a few
    roundings. So are residuals, but for those that are smaller than what a rounding of the slope makes of the line.

    Parameters
    ----------
    parts : sequence of LineSums
        Sums of the same lines. A part without points has the weight 0 (its other numbers do not count). One whose
        points have the same x has ``uu`` 0; its residuals are those from the mean.
    through_origin : bool
        Whether the lines go through the origin: then ``uu`` is about 0.
    """
    found = list(parts)
    while len(found) > 1:
        pairs = [
            _pair(*found[k : k + 2], through_origin=through_origin)
            for k in range(0, len(found) - 1, 2)
        ]
        found = [*pairs, *found[2 * len(pairs) :]]
    return found[0]


def _pair(a: LineSums, b: LineSums, *, through_origin: bool) -> LineSums:
    with np.errstate(all="ignore"):  # infinity and NaN show in the lines
        return _sum(a, b, through_origin)


def _sum(a: LineSums, b: LineSums, through_origin: bool) -> LineSums:
    """Merge two parts.

    The slope is the mean of three: those of the parts and that of the line through their means. Its weights are sums of
    squares along x: within the parts and between them. Residuals grow by how far the three lie from it.
    """
    w_a, w_b = (part.n if part.w is None else part.w for part in (a, b))
    w = w_a + w_b
    no_a, no_b = np.equal(w_a, 0.0), np.equal(w_b, 0.0)
    one_only = no_a | no_b
    share = np.where(one_only, 0.0, w_b / w)
    apart = (b.center - a.center) + (b.center_low - a.center_low)
    dx = np.where(one_only, 0.0, apart + (b.u_mean - a.u_mean) + (b.u_low - a.u_low))
    dy = np.where(one_only, 0.0, (b.y_mean - a.y_mean) + (b.y_low - a.y_low))
    u_mean, u_low = _sum_of(
        *(np.where(no_a, apart + b.u_mean, a.u_mean), np.where(no_a, b.u_low, a.u_low)),
        share * dx,
    )
    y_mean, y_low = _sum_of(
        *(np.where(no_a, b.y_mean, a.y_mean), np.where(no_a, b.y_low, a.y_low)), share * dy
    )
    if through_origin:
        dx, dy, u_mean, u_low = 0.0 * dx, 0.0 * dy, 0.0 * u_mean, 0.0 * u_low
    between = 0.0 if through_origin else share * w_a
    uu_a, uu_b = np.where(no_a, 0.0, a.uu), np.where(no_b, 0.0, b.uu)
    uu = uu_a + uu_b + between * dx * dx
    flat_a, flat_b = np.equal(uu_a, 0.0), np.equal(uu_b, 0.0)
    across = np.where(dx == 0.0, np.nan, dy / dx)
    near = np.where(flat_a, np.where(flat_b, across, b.slope), a.slope)
    off_a, off_b = np.where(flat_a, 0.0, a.slope - near), np.where(flat_b, 0.0, b.slope - near)
    step = (uu_a * off_a + uu_b * off_b + between * dx * (dy - near * dx)) / uu
    slope = near + step
    left = np.where(no_a, 0.0, a.residual_square) + np.where(no_b, 0.0, b.residual_square)
    rise = np.where(np.equal(uu, 0.0), 0.0, slope * dx)
    left = left + uu_a * np.square(np.where(flat_a, 0.0, off_a - step))
    left = left + uu_b * np.square(np.where(flat_b, 0.0, off_b - step))
    left = left + between * np.square(dy - rise)
    place = a.center + (a.center_low + u_mean + u_low)
    intercept = 0.0 * slope if through_origin else (y_mean - slope * place) + y_low
    return LineSums(
        *(slope, intercept, left, y_mean, a.n + b.n, u_mean, uu),
        None if a.w is None or b.w is None else w,
        None if a.n_effective is None or b.n_effective is None else a.n_effective + b.n_effective,
        *(a.center, a.center_low, y_low, u_low),
    )


def _sum_of(a: Any, a_low: Any, b: Any) -> tuple[Any, Any]:
    """Return ``a + a_low + b`` as two floats (Knuth's sum)."""
    total = a + b
    back = total - a
    lost = (a - (total - back)) + (b - back)
    return total, a_low + np.where(np.isfinite(lost), lost, 0.0)
