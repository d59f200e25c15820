"""What every kind of points can do."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastfit.coordinates import Evaluation, Frame
from fastfit.double_double import DoubleDouble
from fastfit.losses import Loss
from fastfit.moments import Moments


class Residuals(NamedTuple):
    """Weighted sums of the residuals ``r`` of a line, of ``r * u`` and of ``r**2``, in the frame of the points."""

    r: float
    ru: float
    rr: float


class Points(Protocol):
    """Points that a line can be fitted to, wherever they are."""

    @property
    def n_points(self) -> int:
        """Number of points."""

    @property
    def n_omitted(self) -> int:
        """Number of points that were left out."""

    @property
    def n_passes(self) -> int:
        """How often all points have been read so far."""

    @property
    def repeats(self) -> float:
        """How many points there are, one of weight 2 counted twice."""

    @property
    def weight_unit(self) -> float:
        """The standard deviation that a weight of 1 stands for, 1 where none were given."""

    @property
    def frame(self) -> Frame:
        """The coordinates in which lines are evaluated. They stay as they are once moments were asked for."""

    def moments(self) -> Moments:
        """Return first and second moments; at most one pass, the first time, over clean points.

        Solvers ask for moments before they evaluate, so NaN and infinity are found here, whatever the loss
        would make of them.
        """

    def evaluate(
        self, loss: Loss, slope: float, level: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean loss of the line ``slope * u + level`` and its gradient; one pass.

        Parameters
        ----------
        loss : Loss
            What a residual costs.
        slope, level : float
            The line, in the frame of the points.
        curvature : bool
            Whether to return the second derivatives too, from the same pass.
        """

    def residuals(self, slope: DoubleDouble, level: DoubleDouble) -> Residuals | None:
        """Return sums of the residuals of a precise line, each right to its last digits; one pass.

        None if no single residual is to be seen, as with moments.
        """
