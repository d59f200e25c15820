"""The least-squares lines that both drop-ins return for many series at once; it imports Numba."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.lines.result import LineFits
from fastfit.lines.series import LineSums, Series

# Sums of squares along x below this have lost digits to the end of the range of floats.
_SMALLEST = 2.0**-900
# Values beyond this have squares beyond float64. Of float64, so that numbers of other types are compared as such.
_LARGEST = np.float64(2.0**500)


class ManyLines(NamedTuple):
    """Least-squares lines, and the sums they follow from.

    Attributes
    ----------
    sums : LineSums
    fits : LineFits
    is_fitted : ndarray of bool
        Where there is a line that has all its digits.
    """

    sums: LineSums
    fits: LineFits
    is_fitted: NDArray[np.bool_]

    @classmethod
    def through(cls, x: Any, y: Any, w: Any = None, *, min_points: int = 2) -> ManyLines | None:
        """Return lines through points along the first axis of y; None if an x that all share is out of range.

        Parameters
        ----------
        x : ndarray, shape (n,) or y.shape
            Positions.
        w : ndarray, shape (n,) or y.shape, or None
            Weights.
        y : ndarray
            Values; those that are NaN are left out.
        """
        series = Series.of(x, y, 0, w, None, None)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            try:
                sums = series.fit(through_origin=False, n_threads=None, backend="numba")
            except (ValueError, OverflowError):  # x is infinite, or its squares are out of range
                return None
            fits = LineFits.of(
                sums,
                n_given=series.n,
                min_points=min_points,
                fit_intercept=True,
                has_sigma=False,
                known_sigma=False,
                times=None,
                axis=0,
            )
        is_fitted = fits.converged & (np.asarray(sums.uu) > _SMALLEST)
        no_residuals = is_fitted & (sums.residual_square == 0.0)
        if no_residuals.any():  # or squares beyond float64
            is_fitted[no_residuals] = ~(np.abs(y[:, no_residuals]) > _LARGEST).any(axis=0)
        return cls(sums, fits, is_fitted)

    @property
    def weight_sum(self) -> Any:
        """Sums of the weights: numbers of points without any."""
        return self.sums.n if self.sums.w is None else self.sums.w

    @property
    def x_mean(self) -> Any:
        """Means of x."""
        return self.sums.center + self.sums.u_mean
