"""Moments as points: squared error of any line in a few operations, without reading a point."""

from __future__ import annotations

import math

from fastfit.exact.coordinates import Evaluation, Frame
from fastfit.exact.double_double import DoubleDouble
from fastfit.exact.moment_sums import MomentSums
from fastfit.losses import Loss, SquaredError


class MomentPoints:
    """Points known by their moments alone, for squared error.

    Parameters
    ----------
    sums : MomentSums
        Moments of the points.
    """

    max_passes = math.inf
    n_omitted = 0
    n_passes = 0
    unit_sigma = 1.0

    def __init__(self, sums: MomentSums) -> None:
        self._sums = sums

    @property
    def n_points(self) -> int:
        """Number of points."""
        return self._sums.count

    @property
    def n_effective(self) -> float:
        """Sum of the weights: how many points there are, one of weight 2 counted twice."""
        return self._sums.weight_sum

    @property
    def frame(self) -> Frame:
        """Coordinates centred on the means."""
        return self._sums.frame

    def moments(self) -> MomentSums:
        """Return the moments."""
        return self._sums

    def evaluate(
        self, loss: Loss, slope: float, offset: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean squared residual of a line and its derivatives, as ``Points.evaluate`` says.

        Raises
        ------
        TypeError
            If the loss is not squared error.
        """
        if not isinstance(loss, SquaredError):
            raise TypeError(f"moments know the squared error alone; got {loss!r}")
        return self._sums.evaluate(slope, offset, curvature=curvature)

    def median_absolute_residual(
        self, slope: float, offset: float, near: tuple[float, float] | None = None
    ) -> float:
        """Raise TypeError: moments hold no single residuals."""
        raise TypeError("moments hold no single residuals")

    def subsample(self, n: int) -> None:
        """Return None: there is nothing to take a sample of."""

    def residuals(self, slope: DoubleDouble, offset: DoubleDouble) -> None:
        """Return None: moments hold no single residuals."""
