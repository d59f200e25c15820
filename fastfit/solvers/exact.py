"""The exact solution of least squares, from moments."""

from __future__ import annotations

from dataclasses import dataclass

from fastfit.exact.double_double import DoubleDouble, add, multiply, subtract
from fastfit.exact.least_squares import LeastSquares
from fastfit.losses import Loss, SquaredError
from fastfit.outcome import Status
from fastfit.points.base import Points
from fastfit.solvers.base import Solution

_MESSAGE = "Exact: the line of least squares, in closed form."


@dataclass(frozen=True)
class Exact:
    """Least squares in closed form: one pass over the points for their moments, and a few operations.

    Where the line passes so close to the points that moments cannot tell the residuals from
    nothing, one more pass measures them, and refines the line.

    Examples
    --------
    >>> import fastfit as ff
    >>> ff.fit_line([1.0, 2.0, 3.0], [2.0, 4.0, 6.5], solver=ff.Exact()).n_passes
    1
    """

    def solve(self, points: Points, loss: Loss, *, fit_intercept: bool = True) -> Solution:
        """Return the least-squares line.

        Raises
        ------
        ValueError
            If the loss is another than squared error.
        """
        if not isinstance(loss, SquaredError):
            raise ValueError(f"solver 'exact' needs loss='squared_error'; got {loss!r}")
        line = points.moments().least_squares(fit_intercept=fit_intercept)
        if not line.is_resolved:
            line = _measured(points, line, fit_intercept)
        return Solution(line.slope, line.intercept, line.mean_square, 0, Status.CONVERGED, _MESSAGE)


def _measured(points: Points, line: LeastSquares, fit_intercept: bool) -> LeastSquares:
    """Return the line with its residuals measured on the points, as long as these refine it: as a rule, once."""
    frame = points.frame
    off = subtract(line.moments.x_mean, frame.x_center)
    # From the means, not the intercept, which at time stamps has no digits to spare for such residuals.
    offset = subtract(subtract(line.moments.y_mean, frame.y_center), multiply(line.slope, off))
    for _ in range(3):
        seen = points.residuals(line.slope, offset)
        if seen is None:
            break
        rx = seen.ru - off.high * seen.r
        line, turn, rise = line.measured(seen.r, rx, seen.rr, fit_intercept=fit_intercept)
        if turn == rise == 0.0:
            break
        offset = add(offset, subtract(DoubleDouble(rise), multiply(DoubleDouble(turn), off)))
    return line
