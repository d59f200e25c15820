"""The least-squares line that both drop-ins return, before scaling."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastfit.exact.least_squares import Centred
from fastfit.losses import SquaredError
from fastfit.points.arrays import ArrayPoints
from fastfit.solvers.exact import Exact

_EXACT, _SQUARED_ERROR = Exact(), SquaredError()


class ScaledLine(NamedTuple):
    """A line, the weighted sum of its squared residuals, and moments, with x and y scaled by powers of two."""

    slope: float
    intercept: float
    residual_square: float
    sums: Centred
    exponents: tuple[int, int]

    @classmethod
    def through(cls, points: ArrayPoints) -> ScaledLine:
        """Return the least-squares line through points.

        Raises
        ------
        ValueError
            If the points determine no line.
        """
        moments = points.moments()
        best = moments.least_squares()
        slope, intercept, left = best.slope.high, best.intercept.high, best.residual_square
        if not best.is_resolved:
            refined = _EXACT.solve(points, _SQUARED_ERROR)
            slope, intercept = refined.slope.high, refined.intercept.high
            left = refined.loss * best.moments.w.high
        return cls(slope, intercept, left, best.moments, moments.exponents)


def scaled(values: Any, exponents: Any) -> Any:
    """Return ``values * 2**exponents``; results beyond the range of float64 are 0 or infinite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(values, exponents)
