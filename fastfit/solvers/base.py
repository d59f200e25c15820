"""The Solver protocol, and what a solver returns."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastfit.exact.coordinates import Evaluation
from fastfit.exact.double_double import DoubleDouble
from fastfit.losses import Loss
from fastfit.outcome import History, Status
from fastfit.points.base import Points


class Solution(NamedTuple):
    """A line, in the units of the frame of the points but not shifted, and how it was found.

    For a robust loss, ``f_scale`` is the one used, in the same units, and ``final`` the evaluation of the line with its
    curvature.
    """

    slope: DoubleDouble
    intercept: DoubleDouble
    loss: float
    n_iter: int
    status: Status
    message: str
    history: History | None = None
    f_scale: float | None = None
    final: Evaluation | None = None


class Solver(Protocol):
    """A way to find the line of least loss. Its options are attributes."""

    def solve(self, points: Points, loss: Loss, *, fit_intercept: bool = True) -> Solution:
        """Return the line of least loss through points whose moments are finite and determine one."""
