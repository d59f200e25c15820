"""Least squares from sums over the points, in twice the precision of floats.

Plain Python, which the kernels compile. Sums of weights ``w``, of ``w x``, ``w y`` and of weighted products come in;
means and centred sums of products, and from those the line, come out.
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
    """Return moments from sums over ``u = x - x_center`` and ``v = y - y_center``; w is above 0."""
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
    """Return a square, which of equal numbers may be rounding below zero, as at least zero."""
    return DoubleDouble(0.0, 0.0) if square.high < 0.0 else square


def merged(a: Centred, b: Centred) -> Centred:
    """Return the moments of the points of both; neither is without weight."""
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
    """Return the same with means of zero, and so with sums of the products themselves."""
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


# Moments are right to some 80 bits about a center within 8 standard deviations of the mean, of which that costs 6.
_RESOLUTION = 2.0**-74
# Sums of residuals this small beside the residuals are rounding.
_SIGNIFICANT = 2.0**-42
# Residuals of this size beside y are those of a line that two floats cannot bring any closer: zero.
_NOTHING = 2.0**-196


def is_resolved(residual_square: float, yy: float) -> bool:
    """Whether moments determine residuals of this size to some 12 digits."""
    return residual_square > 2.0**42 * _RESOLUTION * yy or yy == 0.0


class LeastSquares(NamedTuple):
    """A least-squares line, and what its errors depend on.

    Attributes
    ----------
    slope, intercept : DoubleDouble
        The line.
    residual_square : float
        Weighted sum of its squared residuals; 0 if it is below what the moments resolve.
    moments : Centred
        Of the points; without intercept, about the origin.
    is_known : bool
        Whether the residuals are known to some digits, or to be zero.
    """

    slope: DoubleDouble
    intercept: DoubleDouble
    residual_square: float
    moments: Centred
    is_known: bool

    @classmethod
    def of(cls, moments: Centred, line: Line | None, *, fit_intercept: bool) -> LeastSquares:
        """Return the line for moments that determine it; ``line``, if it is known already."""
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
        """Return the line with its residuals as they were measured, refined where they tell more than the moments.

        Parameters
        ----------
        r, rx, rr : float
            Weighted sums of the residuals, of their products with x less its mean (without intercept, with x), and of
            their squares.

        Returns
        -------
        The line, by how much its slope rose, and by how much it rose at the mean of x.
        """
        moments = self.moments
        # Sums of residuals of a best line vanish, but for rounding.
        told = _SIGNIFICANT * math.sqrt(rr)
        turn = rx / moments.xx.high if abs(rx) > told * math.sqrt(moments.xx.high) else 0.0
        risen = fit_intercept and abs(r) > told * math.sqrt(moments.w.high)
        rise = r / moments.w.high if risen else 0.0
        left = rr - turn * rx - rise * r
        shift = subtract(DoubleDouble(rise, 0.0), multiply(DoubleDouble(turn, 0.0), moments.x_mean))
        line = self._replace(
            slope=add(self.slope, DoubleDouble(turn, 0.0)),
            intercept=add(self.intercept, shift),
            residual_square=left if left > _NOTHING * moments.yy.high else 0.0,
            is_known=True,
        )
        return line, turn, rise
