r"""Residuals of a precise line, each right to its last digit: for residuals too small for the moments to resolve."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastfit.exact.double_double import fused
from fastfit.kernels.block import PlainSums, difference, exact_difference, weight
from fastfit.kernels.flags import BLOCK_SUMS, POINT, compiled


@compiled(POINT)
def residual(x: Any, y: Any, center: Any, line: Any) -> Any:
    """Return ``y - y_center - (slope * (x - x_center) + offset)`` right to its last digit, however small it is."""
    x_center, y_center = center
    slope, slope_low, offset, offset_low = line
    u, u_lost = exact_difference(x, x_center)
    v, v_lost = exact_difference(y, y_center)
    above, lost = exact_difference(v, offset)
    small = (lost + v_lost) - (fused(slope_low, u, offset_low) + slope * u_lost)
    return fused(-slope, u, above) + small


@compiled(BLOCK_SUMS)
def residual_sums(loss: Any, x: Any, y: Any, w: Any, center: Any, line: Any) -> Any:
    """Return the sums of ``ResidualSums`` over one block."""
    x_center, _ = center
    r_sum = ru = rr = 0.0
    for i in range(x.size):
        r = residual(np.float64(x[i]), np.float64(y[i]), center, line)
        wr = weight(w, i) * r
        r_sum += wr
        ru += wr * difference(np.float64(x[i]), x_center)
        rr += wr * r
    return r_sum, ru, rr


class _ResidualSums(NamedTuple):
    r: float = 0.0
    ru: float = 0.0
    rr: float = 0.0


class ResidualSums(PlainSums, _ResidualSums):
    r"""Sums of the residuals of a precise line, :math:`\sum w r`, :math:`\sum w r u` and :math:`\sum w r^2`.

    The parameters are slope and offset as pairs of floats: ``slope, slope_low, offset, offset_low``. No loss.
    """

    __slots__ = ()
    block = staticmethod(residual_sums)
