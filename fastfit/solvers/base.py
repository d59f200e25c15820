"""What a solver is, and what it gives back."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastfit.exact.coordinates import Evaluation
from fastfit.exact.double_double import DoubleDouble
from fastfit.losses import Loss
from fastfit.outcome import History, Status
from fastfit.points.base import Points


class Solution(NamedTuple):
    """A line on the scale of the frame of the points, but not shifted, and how it was found.

    Of a robust loss, ``f_scale`` is that which was used, on the same scale, and ``at_end`` the evaluation of the line,
    with all its parts.
    """

    slope: DoubleDouble
    intercept: DoubleDouble
    loss: float
    n_iter: int
    status: Status
    message: str
    history: History | None = None
    f_scale: float | None = None
    at_end: Evaluation | None = None


class Solver(Protocol):
    """A way to find the line of least loss. An option of a solver is an attribute of it."""

    def solve(self, points: Points, loss: Loss, *, fit_intercept: bool = True) -> Solution:
        """Return the line of least loss through points whose moments are finite and determine one."""
