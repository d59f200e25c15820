"""Outliers of a line: what weight points have in a loss, which lie far out, and whether these lie to one side."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.losses import Loss, RobustLoss

# Robust standard deviations from which on residuals count as outliers, and as far out when sides are compared: of
# normal residuals, one in 370 and one in 80.
FAR = 3.0
_OUT = 2.5
# Standard deviations of a fair coin that its two sides hardly ever differ by: 1 in 100.
_MORE_THAN_CHANCE = 2.576


def weights(loss: Loss, f_scale: float | None, residual: NDArray[Any], rounding: Any) -> Any:
    """Return the weights that residuals have in a loss, from 0 to 1; 1 within rounding where ``f_scale`` is 0."""
    if not isinstance(loss, RobustLoss):
        return np.ones(residual.shape)
    if f_scale is None or math.isnan(f_scale):
        return np.full(residual.shape, math.nan)
    if f_scale == 0.0:
        return np.where(abs(residual) <= rounding, 1.0, 0.0)
    with np.errstate(all="ignore"):
        found = loss.point(loss._replace(f_scale=f_scale), residual)[3]
    return np.broadcast_to(found, residual.shape).copy()


class Sides(NamedTuple):
    """Numbers of points far above a line and far below it, each counted by its weight.

    ``n_points`` is the number of points that were looked at, ``chance`` the standard deviation of the difference of the
    two numbers if both sides are equally likely.
    """

    above: float
    below: float
    n_points: int
    chance: float

    @property
    def is_one_sided(self) -> bool:
        """Whether one side has more than chance explains."""
        return abs(self.above - self.below) - 1.0 > _MORE_THAN_CHANCE * self.chance


def sides(residual: NDArray[Any], w: NDArray[Any] | None, spread: float) -> Sides:
    """Return how many residuals lie more than 2.5 robust standard deviations above and below zero."""
    above, below = residual > _OUT * spread, residual < -_OUT * spread
    if w is None:
        n_above, n_below = int(np.count_nonzero(above)), int(np.count_nonzero(below))
        return Sides(n_above, n_below, residual.size, math.sqrt(n_above + n_below))
    # The unit of weights is free; together they are as many as there are points.
    share = w * (residual.size / float(w.sum()))
    found = float(share[above].sum()), float(share[below].sum())
    return Sides(*found, residual.size, math.sqrt(float(np.square(share[above | below]).sum())))


def advice(loss: RobustLoss, found: Sides) -> str:
    """Return a sentence about outliers to one side, for a loss that follows them."""
    return (
        f" Of {found.n_points:,} points looked at, {found.above:,.4g} lie far above the line and {found.below:,.4g} "
        f"far below, which shifts the intercept of {type(loss).__name__}: if these are outliers, pass loss='tukey', "
        "which leaves them out; if the noise is skewed, only least squares follows its mean."
    )
