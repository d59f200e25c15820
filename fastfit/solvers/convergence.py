"""When a line is good enough: no gradient, and no rise of the loss, beyond tolerance and rounding."""

from __future__ import annotations

import math
from typing import NamedTuple

from fastfit.exact.coordinates import Axes, Evaluation, Spread
from fastfit.points.base import Points

_EPSILON = 2.0**-52
# Bounds of f_scale, in standard deviations of y: below the first, squares of residuals over f_scale may overflow;
# beyond the second, every robust loss is the squared error anyway.
SMALLEST, _LARGEST = 1e-140, 1e100
# Relative determinant below which weighted points have one and the same x, up to rounding.
_SINGULAR = 1e-13


class Convergence(NamedTuple):
    """What gradients and losses of a fit are measured by.

    Parameters
    ----------
    spread : Spread
        Of the points, in their frame.
    standard : Axes
        Axes on which the points have mean 0 and standard deviation 1.
    fit_intercept : bool
        Whether the gradient has two components, or one.
    """

    spread: Spread
    standard: Axes
    fit_intercept: bool

    @classmethod
    def of(cls, points: Points, *, fit_intercept: bool) -> Convergence:
        """Return the measure for a fit to these points, in their frame."""
        moments = points.moments()
        frame = points.frame  # which moments may have changed
        spread = moments.relative_to(frame)
        return cls(spread, Axes.of_fit(frame, spread, fit_intercept=fit_intercept), fit_intercept)

    def residual_rounding(self, line: tuple[float, float], residual: float = 0.0) -> float:
        """Return the rounding error of residuals of this size about a line, in the frame: a few ulp of their terms."""
        u = math.sqrt(self.spread.uu) + abs(self.spread.u_mean)
        return 8.0 * _EPSILON * (residual + abs(line[0]) * u + abs(line[1]))

    def loss_increased(self, loss: float, best: float, line: tuple[float, float]) -> bool:
        """Whether a loss has risen by more than rounding, which it never does with a stable step."""
        root = math.sqrt(best)
        return not math.sqrt(loss) <= root * (1.0 + 1e-12) + self.residual_rounding(line, root)

    def gradient_is_small(self, current: Evaluation, size: float) -> bool:
        """Whether both standardised gradient components are at most ``2 * size / std(y)``."""
        along, across = self.standard.gradient_from_frame(current.grad_slope, current.grad_offset)
        most = 2.0 * (size / self.standard.v_unit)
        return abs(along) <= most and (not self.fit_intercept or abs(across) <= most)

    def checked_scale(self, f_scale: float, given: float) -> float:
        """Return an f_scale, in the frame, within bounds; raise ValueError if it is too small for float64."""
        if f_scale < SMALLEST * self.standard.v_unit:
            raise ValueError(
                f"f_scale must be at least {SMALLEST:g} of the standard deviation of y; got {given!r}"
            )
        return min(f_scale, _LARGEST * self.standard.v_unit)

    def is_determined(self, current: Evaluation) -> bool:
        """Whether the points determine a line, weighted as the loss weights them at the current one."""
        assert current.bound is not None
        bound = self.standard.curvature_from_frame(current.bound)
        if self.fit_intercept:
            return not bound.determinant <= _SINGULAR * bound.slope_slope * bound.offset_offset
        return not bound.slope_slope <= 0.0
