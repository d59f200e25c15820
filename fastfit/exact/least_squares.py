"""Least squares from sums over the points, in twice the precision of floats.

Plain Python, which the kernels compile. The sums of weights ``w``, of ``w x``, ``w y`` and of weighted products give
means and centred sums of products, and these give the line.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastfit.exact.double_double import ZERO, DoubleDouble, add, divide, multiply, subtract


class Centred(NamedTuple):
    """Sum of weights, means, and weighted sums of the products of deviations from the means."""

    w: DoubleDouble = ZERO
    x_mean: DoubleDouble = ZERO
    y_mean: DoubleDouble = ZERO
    xx: DoubleDouble = ZERO
    xy: DoubleDouble = ZERO
    yy: DoubleDouble = ZERO


class Line(NamedTuple):
    """A least-squares line, and the weighted sum of its squared residuals."""

    slope: DoubleDouble = ZERO
    intercept: DoubleDouble = ZERO
    residual_square: DoubleDouble = ZERO


def centred(
    w: Any, u: Any, v: Any, uu: Any, uv: Any, vv: Any, x_center: float, y_center: float
) -> Centred:
    """Return centred sums from sums over ``u = x - x_center`` and ``v = y - y_center``; w is above 0."""
    u_mean, v_mean = divide(u, w), divide(v, w)
    return Centred(
        w,
        add(u_mean, DoubleDouble(x_center, 0.0)),
        add(v_mean, DoubleDouble(y_center, 0.0)),
        _not_negative(subtract(uu, multiply(u_mean, u))),
        subtract(uv, multiply(u_mean, v)),
        _not_negative(subtract(vv, multiply(v_mean, v))),
    )


def _not_negative(square: Any) -> Any:
    """Return a sum of squares with rounding below zero, as equal numbers give it, raised to zero."""
    return DoubleDouble(0.0, 0.0) if square.high < 0.0 else square


def merged(a: Centred, b: Centred) -> Centred:
    """Return the sums over the points of both; the weights of each sum to more than 0."""
    w = add(a.w, b.w)
    share = divide(b.w, w)
    dx, dy = subtract(b.x_mean, a.x_mean), subtract(b.y_mean, a.y_mean)
    between = multiply(a.w, share)
    across = multiply(dx, between)
    return Centred(
        w,
        add(a.x_mean, multiply(dx, share)),
        add(a.y_mean, multiply(dy, share)),
        add(add(a.xx, b.xx), multiply(dx, across)),
        add(add(a.xy, b.xy), multiply(dy, across)),
        add(add(a.yy, b.yy), multiply(dy, multiply(dy, between))),
    )


def about_origin(m: Centred) -> Centred:
    """Return sums about the origin instead of the means."""
    x_sum, y_sum = multiply(m.w, m.x_mean), multiply(m.w, m.y_mean)
    return Centred(
        m.w,
        ZERO,
        ZERO,
        add(m.xx, multiply(x_sum, m.x_mean)),
        add(m.xy, multiply(x_sum, m.y_mean)),
        add(m.yy, multiply(y_sum, m.y_mean)),
    )


def line_of(m: Centred) -> Line:
    """Return the line of least squares; xx is above 0."""
    slope = divide(m.xy, m.xx)
    intercept = subtract(m.y_mean, multiply(slope, m.x_mean))
    return Line(slope, intercept, subtract(m.yy, multiply(slope, m.xy)))


# Relative error of the moments: 80 bits, less 6 for a center up to 8 standard deviations from the mean.
_RESOLUTION = 2.0**-74
# Sums of residuals smaller than this share of the residuals' size are rounding error.
_SIGNIFICANT = 2.0**-42
# Squared residuals below this share of the squares of y are zero: a pair of floats cannot describe a closer line.
_NEGLIGIBLE = 2.0**-196


def is_resolved(residual_square: float, yy: float) -> bool:
    """Whether moments determine a sum of squared residuals of this size to some 12 digits."""
    return residual_square > 2.0**42 * _RESOLUTION * yy or yy == 0.0


class LeastSquares(NamedTuple):
    """A least-squares line, and the sums its errors depend on.

    Attributes
    ----------
    slope, intercept : DoubleDouble
        The line.
    residual_square : float
        Weighted sum of its squared residuals; 0 if the moments do not resolve it.
    moments : Centred
        Sums over the points; without intercept, about the origin.
    is_known : bool
        Whether the residuals are known: to some digits, or to be zero.
    """

    slope: DoubleDouble
    intercept: DoubleDouble
    residual_square: float
    moments: Centred
    is_known: bool

    @classmethod
    def of(cls, moments: Centred, line: Line | None, *, fit_intercept: bool) -> LeastSquares:
        """Return the line for sums that determine it; ``line`` is given where the kernel computed it."""
        if not fit_intercept:
            moments = about_origin(moments)
            line = None
        slope, intercept, left = line or line_of(moments)
        below = 4.0 * _RESOLUTION * moments.yy.high
        known = not 0.0 < abs(left.high) <= below
        return cls(slope, intercept, 0.0 if left.high <= below else left.high, moments, known)

    @property
    def mean_square(self) -> float:
        """Weighted mean of the squared residuals."""
        return self.residual_square / self.moments.w.high

    @property
    def is_resolved(self) -> bool:
        """Whether the moments determine the residuals to some 12 digits."""
        return is_resolved(self.residual_square, self.moments.yy.high)

    def measured(
        self, r: float, rx: float, rr: float, *, fit_intercept: bool
    ) -> tuple[LeastSquares, float, float]:
        """Use the measured residual sums, and correct slope and offset by what they show.

        Parameters
        ----------
        r, rx, rr : float
            Weighted sums of the residuals, of their products with x minus its mean (without intercept: with x), and
            of their squares.

        Returns
        -------
        The corrected line, the correction of its slope, and the correction of its value at the mean of x.
        """
        moments = self.moments
        # Residuals of the best line sum to zero, up to rounding.
        smallest = _SIGNIFICANT * math.sqrt(rr)
        turn = rx / moments.xx.high if abs(rx) > smallest * math.sqrt(moments.xx.high) else 0.0
        risen = fit_intercept and abs(r) > smallest * math.sqrt(moments.w.high)
        rise = r / moments.w.high if risen else 0.0
        left = rr - turn * rx - rise * r
        shift = subtract(DoubleDouble(rise, 0.0), multiply(DoubleDouble(turn, 0.0), moments.x_mean))
        line = self._replace(
            slope=add(self.slope, DoubleDouble(turn, 0.0)),
            intercept=add(self.intercept, shift),
            residual_square=left if left > _NEGLIGIBLE * moments.yy.high else 0.0,
            is_known=True,
        )
        return line, turn, rise
