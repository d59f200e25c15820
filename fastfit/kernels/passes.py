"""What one pass sums over a block of points: a fused loop for each pass.

A pass is a ``NamedTuple`` of its sums, whose class carries the loop as ``block``. The functions here are
plain Python: ``reference`` states the same sums in NumPy, and ``parallel`` compiles these loops by type. In all
of them ``center`` is the pair that is taken from ``x`` and ``y``, which leaves ``u`` and ``v``; ``w`` holds the
weights, or is None; ``given`` is what else the pass needs, such as the line ``slope * u + level``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastfit.double_double import fused

# Points to a block. Bounds of blocks depend on the number of points alone, and blocks are added up in order, so
# the result does not depend on the number of threads. 8,192 points of x and y fit in the second-level cache.
BLOCK = 8192
# Points whose mean is so few standard deviations off zero are read as they are.
NEAR_ZERO = 4.0


def difference(a: Any, b: Any) -> Any:
    """Return ``a - b``, a rounding of its own: compiled without leave to reorder."""
    return a - b


def exact_difference(a: Any, b: Any) -> Any:
    """Return ``a - b`` and what that lost in rounding."""
    near = a - b
    back = near - a
    return near, (a - (near - back)) - (b + back)


def residual(x: Any, y: Any, center: Any, given: Any) -> Any:
    """Return ``y - y_center - (slope * (x - x_center) + level)`` right to its last digits, however small it is."""
    x_center, y_center = center
    slope, slope_low, level, level_low = given
    u, u_lost = exact_difference(x, x_center)
    v, v_lost = exact_difference(y, y_center)
    above, lost = exact_difference(v, level)
    small = (lost + v_lost) - (fused(slope_low, u, level_low) + slope * u_lost)
    return fused(-slope, u, above) + small


def point(loss: Any, residual: Any) -> Any:
    """Return value, first and second derivative of the loss at a residual."""
    return loss.point(loss, residual)


def weight(w: Any, i: Any) -> Any:
    """Return the weight of a point, 1 where there are none."""
    return 1.0 if w is None else np.float64(w[i])


class LossGradient(NamedTuple):
    r"""Weighted sums of the loss :math:`\rho(r)` and of its two first derivatives.

    With :math:`r = v - (\mathrm{slope}\, u + \mathrm{level})` these are
    :math:`\sum w \rho(r)`, :math:`-\sum w \rho'(r)\, u` and :math:`-\sum w \rho'(r)`.
    """

    loss: float = 0.0
    grad_slope: float = 0.0
    grad_level: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        x_center, y_center = center
        slope, level = given
        total = 0.0
        grad_slope = 0.0
        grad_level = 0.0
        for i in range(x.size):
            u = difference(np.float64(x[i]), x_center)
            v = difference(np.float64(y[i]), y_center)
            value, first, _ = point(loss, v - (slope * u + level))
            value, first = weight(w, i) * value, weight(w, i) * first
            total += value
            grad_slope -= first * u
            grad_level -= first
        return total, grad_slope, grad_level

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the sums over all blocks."""
        return sums[0] + lost[0], sums[1] + lost[1], sums[2] + lost[2]

    @classmethod
    def result(cls, numbers: Any) -> LossGradient:
        """Return the sums over all blocks by name."""
        return cls(*numbers)


class LossGradientCurvature(NamedTuple):
    r"""Weighted sums of the loss, its two first and its three second derivatives.

    The last three are :math:`\sum w \rho''(r)\, u^2`, :math:`\sum w \rho''(r)\, u` and
    :math:`\sum w \rho''(r)`.
    """

    loss: float = 0.0
    grad_slope: float = 0.0
    grad_level: float = 0.0
    slope_slope: float = 0.0
    slope_level: float = 0.0
    level_level: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        x_center, y_center = center
        slope, level = given
        total = 0.0
        grad_slope = 0.0
        grad_level = 0.0
        slope_slope = 0.0
        slope_level = 0.0
        level_level = 0.0
        for i in range(x.size):
            u = difference(np.float64(x[i]), x_center)
            v = difference(np.float64(y[i]), y_center)
            value, first, second = point(loss, v - (slope * u + level))
            value, first = weight(w, i) * value, weight(w, i) * first
            second = weight(w, i) * second
            total += value
            grad_slope -= first * u
            grad_level -= first
            slope_slope += second * u * u
            slope_level += second * u
            level_level += second
        return total, grad_slope, grad_level, slope_slope, slope_level, level_level

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the sums over all blocks."""
        return (
            sums[0] + lost[0],
            sums[1] + lost[1],
            sums[2] + lost[2],
            sums[3] + lost[3],
            sums[4] + lost[4],
            sums[5] + lost[5],
        )

    @classmethod
    def result(cls, numbers: Any) -> LossGradientCurvature:
        """Return the sums over all blocks by name."""
        return cls(*numbers)


class ResidualSums(NamedTuple):
    r"""Sums of the residuals of a precise line, :math:`\sum w r`, :math:`\sum w r u` and :math:`\sum w r^2`.

    Given are slope and level in twice the precision of floats: ``slope, slope_low, level, level_low``. No loss.
    """

    r: float = 0.0
    ru: float = 0.0
    rr: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        x_center, _ = center
        r_sum = 0.0
        ru = 0.0
        rr = 0.0
        for i in range(x.size):
            r = residual(np.float64(x[i]), np.float64(y[i]), center, given)
            wr = weight(w, i) * r
            r_sum += wr
            ru += wr * difference(np.float64(x[i]), x_center)
            rr += wr * r
        return r_sum, ru, rr

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the sums over all blocks."""
        return sums[0] + lost[0], sums[1] + lost[1], sums[2] + lost[2]

    @classmethod
    def result(cls, numbers: Any) -> ResidualSums:
        """Return the sums over all blocks by name."""
        return cls(*numbers)


def glance(x: Any, y: Any, step: Any) -> Any:
    """Return rough centers of x and of y and mean squares about them, from every ``step``-th point."""
    return (*rough_center(x, step), *rough_center(y, step))


def rough_center(values: Any, step: Any) -> Any:
    """Return about where values lie, and their mean square about that, from every ``step``-th, but for NaN."""
    first = np.float64(0.0)
    count = 0
    for i in range((values.size + step - 1) // step):
        value = np.float64(values[i * step])
        if not np.isnan(value):
            first = value
            count += 1
    total = 0.0
    for i in range((values.size + step - 1) // step):
        off = difference(np.float64(values[i * step]), first)
        total += 0.0 if np.isnan(off) else off
    offset = total / max(count, 1)
    square = 0.0
    for i in range((values.size + step - 1) // step):
        off = difference(difference(np.float64(values[i * step]), first), offset)
        square += 0.0 if np.isnan(off) else off * off
    return center_for(first + offset, square / max(count, 1))


def center_for(mean: Any, square: Any) -> Any:
    """Return a center for values with this mean and variance, and their mean square about it.

    It is 0 if that is not far outside of them, and else a multiple of about their standard deviation. Either way
    nearly all values there can be are shifted by it without rounding. If all are the same, it is their value.
    """
    if not math.isfinite(mean + square):
        return 0.0, 1.0
    if square == 0.0:
        return mean, square
    if mean * mean <= NEAR_ZERO * NEAR_ZERO * square:
        return 0.0, square + mean * mean
    spacing = math.ldexp(1.0, math.frexp(square)[1] // 2)
    return np.rint(mean / spacing) * spacing, square + spacing * spacing


def block_sums(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
    """Return the sums of the pass ``what`` over one block."""
    return what.block(what, loss, x, y, w, center, given)


def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
    """Return what the pass ``what`` makes of sums over all blocks and what they lost in rounding."""
    return what.finish(what, n, center, sums, lost)
