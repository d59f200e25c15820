"""When a line is good enough: no gradient, no rise of the loss, beyond tolerance and rounding."""

from __future__ import annotations

import math
from typing import NamedTuple

from fastfit.exact.coordinates import Axes, Evaluation, Spread, Symmetric
from fastfit.points.base import Points

_EPSILON = 2.0**-52
# Beyond these shares of the standard deviation of y, squares of residuals over f_scale may leave the range of float64;
# beyond the second, every robust loss is the squared error anyway.
SMALLEST, _LARGEST = 1e-140, 1e100
# Weights of points of one and the same x leave a determinant of rounding.
_SINGULAR = 1e-13


class Ruler(NamedTuple):
    """What gradients and losses of points are measured by.

    Parameters
    ----------
    spread : Spread
        Of the points, in their frame.
    standard : Axes
        On which they have mean 0 and standard deviation 1.
    fit_intercept : bool
        Whether the gradient has two components that count, or one.
    """

    spread: Spread
    standard: Axes
    fit_intercept: bool

    @classmethod
    def of(cls, points: Points, *, fit_intercept: bool) -> Ruler:
        """Return what measures a fit to these points, in their frame."""
        moments = points.moments()
        frame = points.frame  # which moments may have mended
        spread = moments.relative_to(frame)
        return cls(spread, Axes.of_fit(frame, spread, fit_intercept=fit_intercept), fit_intercept)

    def rounding(self, line: tuple[float, float], residual: float = 0.0) -> float:
        """Return by how much residuals of this size may be off: a few ulp of what they are made of, in the frame."""
        u = math.sqrt(self.spread.uu) + abs(self.spread.u_mean)
        return 8.0 * _EPSILON * (residual + abs(line[0]) * u + abs(line[1]))

    def has_grown(self, loss: float, best: float, line: tuple[float, float]) -> bool:
        """Whether a loss has risen by more than rounding, which with a stable step it never does."""
        root = math.sqrt(best)
        return not math.sqrt(loss) <= root * (1.0 + 1e-12) + self.rounding(line, root)

    def checked_scale(self, f_scale: float, given: float) -> float:
        """Return an f_scale, in the frame, as float64 can use it, or raise if it is too small for that."""
        if f_scale < SMALLEST * self.standard.v_unit:
            raise ValueError(
                f"f_scale must be at least {SMALLEST:g} of the standard deviation of y; got {given!r}"
            )
        return min(f_scale, _LARGEST * self.standard.v_unit)

    def is_singular(self, bound: Symmetric) -> bool:
        """Whether weights, on standardised axes, are those of points that determine no line."""
        if self.fit_intercept:
            return bound.determinant <= _SINGULAR * bound.slope_slope * bound.offset_offset
        return bound.slope_slope <= 0.0

    def is_flat(self, here: Evaluation, size: float) -> bool:
        """Whether the gradient is that of residuals of at most this size, in the frame: of twice it, times x."""
        along, across = self.standard.gradient_from_frame(here.grad_slope, here.grad_offset)
        most = 2.0 * (size / self.standard.v_unit)
        return abs(along) <= most and (not self.fit_intercept or abs(across) <= most)
