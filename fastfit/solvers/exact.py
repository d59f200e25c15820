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

    Where the line passes so close to the points that the moments do not resolve the residuals, one more pass measures
    them, and refines the line.

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
            If the loss is not squared error.
        """
        if not isinstance(loss, SquaredError):
            raise ValueError(f"solver 'exact' needs loss='squared_error'; got {loss!r}")
        line = points.moments().least_squares(fit_intercept=fit_intercept)
        if not line.is_resolved:
            line = _measured(points, line, fit_intercept)
        return Solution(line.slope, line.intercept, line.mean_square, 0, Status.CONVERGED, _MESSAGE)


def _measured(points: Points, line: LeastSquares, fit_intercept: bool) -> LeastSquares:
    """Return the line refined by residuals measured on the points: once as a rule, at most three times."""
    frame = points.frame
    off = subtract(line.moments.x_mean, frame.x_center)
    # From the means: at time stamps, the intercept has too few digits for such residuals.
    offset = subtract(subtract(line.moments.y_mean, frame.y_center), multiply(line.slope, off))
    for _ in range(3):
        measured = points.residuals(line.slope, offset)
        if measured is None:
            break
        rx = measured.ru - off.high * measured.r
        line, turn, rise = line.measured(measured.r, rx, measured.rr, fit_intercept=fit_intercept)
        if turn == rise == 0.0:
            break
        offset = add(offset, subtract(DoubleDouble(rise), multiply(DoubleDouble(turn), off)))
    return line
