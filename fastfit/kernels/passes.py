"""What one pass sums over a block of points: a fused loop for each pass.

A pass is a ``NamedTuple`` of its sums, whose class carries the loop as ``block``. The functions here are
plain Python: ``reference`` states the same sums in NumPy, and ``parallel`` compiles these loops by type. In all
of them ``center`` is the pair that is taken from ``x`` and ``y``, which leaves ``u`` and ``v``, and ``line`` is
the pair ``slope, level`` that predicts ``slope * u + level``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# Points to a block. Bounds of blocks depend on the number of points alone, and blocks are added up in order, so
# the result does not depend on the number of threads. 8,192 points of x and y fit in the second-level cache.
BLOCK = 8192


def difference(a: Any, b: Any) -> Any:
    """Return ``a - b``, a rounding of its own: compiled without leave to reorder."""
    return a - b


def point(loss: Any, residual: Any) -> Any:
    """Return value, first and second derivative of the loss at a residual."""
    return loss.point(loss, residual)


class LossGradient(NamedTuple):
    r"""Sums of the loss :math:`\rho(r)` and of its two first derivatives.

    With :math:`r = v - (\mathrm{slope}\, u + \mathrm{level})` these are
    :math:`\sum \rho(r)`, :math:`-\sum \rho'(r)\, u` and :math:`-\sum \rho'(r)`.
    """

    loss: float = 0.0
    grad_slope: float = 0.0
    grad_level: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, center: Any, line: Any) -> Any:
        """Return the sums over one block."""
        x_center, y_center = center
        slope, level = line
        total = 0.0
        grad_slope = 0.0
        grad_level = 0.0
        for i in range(x.size):
            u = difference(np.float64(x[i]), x_center)
            v = difference(np.float64(y[i]), y_center)
            value, first, _ = point(loss, v - (slope * u + level))
            total += value
            grad_slope -= first * u
            grad_level -= first
        return total, grad_slope, grad_level


class LossGradientCurvature(NamedTuple):
    r"""Sums of the loss, its two first and its three second derivatives.

    The last three are :math:`\sum \rho''(r)\, u^2`, :math:`\sum \rho''(r)\, u` and :math:`\sum \rho''(r)`.
    """

    loss: float = 0.0
    grad_slope: float = 0.0
    grad_level: float = 0.0
    slope_slope: float = 0.0
    slope_level: float = 0.0
    level_level: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, center: Any, line: Any) -> Any:
        """Return the sums over one block."""
        x_center, y_center = center
        slope, level = line
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
            total += value
            grad_slope -= first * u
            grad_level -= first
            slope_slope += second * u * u
            slope_level += second * u
            level_level += second
        return total, grad_slope, grad_level, slope_slope, slope_level, level_level


class ProductSums(NamedTuple):
    r"""Sums of ``u``, ``v`` and their products, from which moments are made. No loss, no line."""

    u: float = 0.0
    v: float = 0.0
    uu: float = 0.0
    uv: float = 0.0
    vv: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, center: Any, line: Any) -> Any:
        """Return the sums over one block."""
        x_center, y_center = center
        u_sum = 0.0
        v_sum = 0.0
        uu = 0.0
        uv = 0.0
        vv = 0.0
        for i in range(x.size):
            u = difference(np.float64(x[i]), x_center)
            v = difference(np.float64(y[i]), y_center)
            u_sum += u
            v_sum += v
            uu += u * u
            uv += u * v
            vv += v * v
        return u_sum, v_sum, uu, uv, vv


def block_sums(what: Any, loss: Any, x: Any, y: Any, center: Any, line: Any) -> Any:
    """Return the sums of the pass ``what`` over one block."""
    return what.block(what, loss, x, y, center, line)
