"""What every kind of points can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Reading:
    """How points are to be read.

    Attributes
    ----------
    nan_policy : {"raise", "omit", "propagate"}
        What to do about NaN.
    backend : {"numba", "numpy"}
        What computes the passes.
    n_threads : int or None
        The largest number of threads, on which no result depends.
    through_origin : bool
        Whether lines through the origin are to be fitted.
    sampled : int
        One point of every so many is kept from the first pass, for ``thinned``, with which robust fits start: without
        it, they read all points far more often. 0 for none.
    """

    nan_policy: str = "raise"
    backend: str = "numba"
    n_threads: int | None = field(default=None, repr=False)
    through_origin: bool = False
    sampled: int = 32


class Source(ABC):
    """Points that are somewhere else than in arrays, and are told how to be read when a fit begins."""

    @property
    @abstractmethod
    def has_sigma(self) -> bool:
        """Whether points have standard deviations of y."""

    @abstractmethod
    def prepared(self, reading: Reading) -> Points:
        """Return the points, to be read like this."""


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
            Whether to return all else of an ``Evaluation`` too, from the same pass.
        """

    def median_absolute_residual(
        self, slope: float, level: float, near: tuple[float, float] | None = None
    ) -> float:
        """Return the median of the absolute residuals of a line, a point of weight 2 counted twice.

        Parameters
        ----------
        slope, level : float
            The line, in the frame of the points.
        near : (float, float) or None
            Bounds between which it is expected: where it is, one pass finds it. A wrong guess costs passes, no digits.
        """

    def thinned(self, n: int) -> Points | None:
        """Return about n of the points, evenly spread, in the same frame and in memory; None if there are hardly more.

        No pass: they are only a place to start.
        """

    def residuals(self, slope: DoubleDouble, level: DoubleDouble) -> Residuals | None:
        """Return sums of the residuals of a precise line, each right to its last digits; one pass.

        None if no single residual is to be seen, as with moments.
        """
