"""The exact solution of least squares, from moments."""

from __future__ import annotations

from dataclasses import dataclass

from fastfit.double_double import subtract
from fastfit.losses import Loss, SquaredError
from fastfit.points.base import Points
from fastfit.result import Status
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
            frame = points.frame
            seen = points.residuals(line.slope, frame.level(line.slope, line.intercept))
            if seen is not None:
                off_center = subtract(frame.x_center, line.moments.x_mean).high
                rx = seen.ru + off_center * seen.r
                line = line.measured(seen.r, rx, seen.rr, fit_intercept=fit_intercept)
        return Solution(line.slope, line.intercept, line.mean_square, 0, Status.CONVERGED, _MESSAGE)
