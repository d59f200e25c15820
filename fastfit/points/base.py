"""What every kind of points can do."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from fastfit.exact.coordinates import Evaluation, Frame
from fastfit.exact.double_double import DoubleDouble
from fastfit.exact.moment_sums import MomentSums
from fastfit.kernels.residuals import ResidualSums
from fastfit.losses import Loss, SquaredError

_log = logging.getLogger("fastfit")
_SQUARED_ERROR = SquaredError()
_EMPTY: Mapping[str, str] = MappingProxyType({})


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
    datetime_unit : str or None
        The unit of x in results, where x holds times; None for seconds.
    sampled : int
        Keep every ``sampled``-th point of the first pass as the subsample robust fits start from: without it, they read
        all points far more often. 0 keeps none.
    """

    nan_policy: str = "raise"
    backend: str = "numba"
    n_threads: int | None = field(default=None, repr=False)
    through_origin: bool = False
    sampled: int = 32
    datetime_unit: str | None = None


class Points(Protocol):
    """Points that a line can be fitted to, wherever they are."""

    @property
    def max_passes(self) -> float:
        """The number of passes after which Newton's method gives up; infinite for points in memory."""

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
    def n_effective(self) -> float:
        """How many points there are, one of weight 2 counted twice."""

    @property
    def unit_sigma(self) -> float:
        """The standard deviation that a weight of 1 stands for, 1 where none were given."""

    @property
    def frame(self) -> Frame:
        """The coordinates in which lines are evaluated. They stay as they are once moments were asked for."""

    def moments(self) -> MomentSums:
        """Return first and second moments; at most one pass, the first time, over clean points.

        Solvers ask for moments before they evaluate, so NaN and infinity are found here, for every loss.
        """

    def evaluate(
        self, loss: Loss, slope: float, offset: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean loss of the line ``slope * u + offset`` and its gradient; one pass.

        Parameters
        ----------
        loss : Loss
            What a residual costs.
        slope, offset : float
            The line, in the frame of the points.
        curvature : bool
            Whether to return all else of an ``Evaluation`` too, from the same pass.
        """

    def median_absolute_residual(
        self, slope: float, offset: float, near: tuple[float, float] | None = None
    ) -> float:
        """Return the median of the absolute residuals of a line, a point of weight 2 counted twice.

        Parameters
        ----------
        slope, offset : float
            The line, in the frame of the points.
        near : (float, float) or None
            Bounds between which it is expected: where it is, one pass finds it. A wrong guess costs passes, no digits.
        """

    def subsample(self, n: int) -> Points | None:
        """Return about n of the points, evenly spread, in the same frame and in memory; None if there are hardly more.

        No pass: they are only a place to start.
        """

    def residuals(self, slope: DoubleDouble, offset: DoubleDouble) -> ResidualSums | None:
        """Return sums of the residuals of a precise line, each right to its last digits; one pass.

        None if no single residual is to be seen, as with moments.
        """


class Plan(NamedTuple):
    """What a fit will do with its points, for sources that announce, resume or refuse it.

    Attributes
    ----------
    loss : Loss
        What will be minimised.
    n_passes : int or None
        About how often points outside memory will be read; None if it cannot be known.
    progress : bool
        Whether to show how far reading has come.
    checkpoint : str, path or None
        A file that keeps the results of passes.
    identity : mapping of str to str
        What determines the fit besides its points, by the names that errors use.
    in_parts : bool
        Whether points are needed in parts, be they few.
    """

    loss: Loss = _SQUARED_ERROR
    n_passes: int | None = None
    progress: bool = False
    checkpoint: str | os.PathLike[str] | None = None
    identity: Mapping[str, str] = _EMPTY
    in_parts: bool = False

    def announce(self) -> None:
        """Log how often points outside memory will be read."""
        if self.n_passes is not None:
            times = "once" if self.n_passes == 1 else f"about {self.n_passes} times"
            _log.info("%r reads all points %s", self.loss, times)


class Source(ABC):
    """Where points come from: arrays, files, Dask, moments. How they are read is decided when a fit starts."""

    # What errors say of an argument x that is a source and leaves no room for others, and what to write instead.
    refusal = "is points"
    instead = ""
    # What x and y are called in pictures.
    names: tuple[str, str] = ("x", "y")

    @property
    @abstractmethod
    def has_sigma(self) -> bool:
        """Whether points have standard deviations of y."""

    @abstractmethod
    def opened(self, reading: Reading, plan: Plan) -> AbstractContextManager[Points]:
        """Return a context with the points, to be read as ``reading`` says. They stay readable after it.

        Raises
        ------
        ValueError
            If the source has no use for an option of the reading or the plan; the message names it.
        """

    def again(self) -> Callable[[], Source | None]:
        """Return a function that returns this source later, for a picture; None if what it needs is gone by then."""
        return lambda: self

    def refuse_checkpoint(self, plan: Plan) -> None:
        """Raise ValueError if a checkpoint is asked for."""
        if plan.checkpoint is not None:
            raise ValueError(
                f"checkpoint must be None unless x comes from scan; got {plan.checkpoint!r}"
            )
