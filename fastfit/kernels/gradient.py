r"""The fused loop: prediction, loss and gradient of a line, in one read of the points.

``loss_gradient`` is what gradient descent, Newton's method and objectives run at every step. It needs no temporary
array: each point is loaded, its residual and loss stay in registers, and three sums are kept. Its sibling
``loss_gradient_curvature`` keeps nine more sums, for robust losses; out of cache they hardly take longer than the read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastfit.kernels.block import PlainSums, difference, point, weight
from fastfit.kernels.flags import BLOCK_SUMS, compiled


@compiled(BLOCK_SUMS)
def loss_gradient(loss: Any, x: Any, y: Any, w: Any, center: Any, line: Any) -> Any:
    """Return the summed loss of a line over one block, and its derivatives by slope and offset."""
    x_center, y_center = center
    slope, offset = line
    total = grad_slope = grad_offset = 0.0
    for i in range(x.size):
        u = difference(np.float64(x[i]), x_center)
        v = difference(np.float64(y[i]), y_center)
        residual = v - (slope * u + offset)
        value, derivative, _, _ = point(loss, residual)
        k = weight(w, i)
        total += k * value
        grad_slope -= k * derivative * u
        grad_offset -= k * derivative
    return total, grad_slope, grad_offset


@compiled(BLOCK_SUMS)
def loss_gradient_curvature(loss: Any, x: Any, y: Any, w: Any, center: Any, line: Any) -> Any:
    """Return the sums of ``loss_gradient`` over one block, and those that Newton's method and errors need."""
    x_center, y_center = center
    slope, offset = line
    total = grad_slope = grad_offset = 0.0
    slope_slope = slope_offset = offset_offset = 0.0
    weight_slope_slope = weight_slope_offset = weight_offset_offset = 0.0
    square_slope_slope = square_slope_offset = square_offset_offset = 0.0
    for i in range(x.size):
        u = difference(np.float64(x[i]), x_center)
        v = difference(np.float64(y[i]), y_center)
        residual = v - (slope * u + offset)
        value, across, second, loss_weight = point(loss, residual)
        along = across * u
        k = weight(w, i)
        total += k * value
        grad_slope -= k * along
        grad_offset -= k * across
        bend = k * second
        slope_slope += bend * u * u
        slope_offset += bend * u
        offset_offset += bend
        share = k * loss_weight
        weight_slope_slope += share * u * u
        weight_slope_offset += share * u
        weight_offset_offset += share
        square_slope_slope += k * along * along
        square_slope_offset += k * along * across
        square_offset_offset += k * across * across
    return (
        *(total, grad_slope, grad_offset),
        *(slope_slope, slope_offset, offset_offset),
        *(weight_slope_slope, weight_slope_offset, weight_offset_offset),
        *(square_slope_slope, square_slope_offset, square_offset_offset),
    )


class _LossGradient(NamedTuple):
    loss: float = 0.0
    grad_slope: float = 0.0
    grad_offset: float = 0.0


class LossGradient(PlainSums, _LossGradient):
    r"""Weighted sums of the loss :math:`\rho(r)` and of its two first derivatives.

    With :math:`r = v - (\mathrm{slope}\, u + \mathrm{offset})` these are
    :math:`\sum w \rho(r)`, :math:`-\sum w \rho'(r)\, u` and :math:`-\sum w \rho'(r)`.
    """

    __slots__ = ()
    block = staticmethod(loss_gradient)


class _LossGradientCurvature(NamedTuple):
    loss: float = 0.0
    grad_slope: float = 0.0
    grad_offset: float = 0.0
    slope_slope: float = 0.0
    slope_offset: float = 0.0
    offset_offset: float = 0.0
    weight_slope_slope: float = 0.0
    weight_slope_offset: float = 0.0
    weight_offset_offset: float = 0.0
    square_slope_slope: float = 0.0
    square_slope_offset: float = 0.0
    square_offset_offset: float = 0.0


class LossGradientCurvature(PlainSums, _LossGradientCurvature):
    r"""Weighted sums of the loss and its derivatives, of the weights of the loss, and of squared slopes.

    Those of second derivatives are :math:`\sum w \rho''(r)\, u^2`, :math:`\sum w \rho''(r)\, u` and
    :math:`\sum w \rho''(r)`. The next three have the weight :math:`\rho'(r) / (2 r)` of the loss in its place, and
    the last three the squared slope :math:`\rho'(r)^2`.
    """

    __slots__ = ()
    block = staticmethod(loss_gradient_curvature)
