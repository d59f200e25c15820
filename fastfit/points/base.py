"""What every kind of points can do."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastfit.coordinates import Curvature
from fastfit.losses import Loss
from fastfit.moments import Moments


class Evaluation(NamedTuple):
    """The mean loss of a line and its derivatives, in the frame of the points.

    ``curvature`` is None unless it was asked for.
    """

    loss: float
    grad_slope: float
    grad_level: float
    curvature: Curvature | None = None


class Points(Protocol):
    """Points that a line can be fitted to, wherever they are."""

    @property
    def n_points(self) -> int:
        """Number of points."""

    @property
    def n_passes(self) -> int:
        """How often all points have been read so far."""

    def moments(self) -> Moments:
        """Return first and second moments; at most one pass, the first time, over clean points.

        The moments name the frame of the points, which stays as it is from then on. Solvers ask for moments
        before they evaluate, so NaN and infinity are found here, whatever the loss would make of them.
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
