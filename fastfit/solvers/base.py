"""What a solver is, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastfit.losses import Loss
from fastfit.points.base import Points
from fastfit.result import History, Status


@dataclass(frozen=True, slots=True)
class Solution:
    """A line in the frame of the points, and how it was found."""

    slope: float
    level: float
    loss: float
    n_iter: int
    status: Status
    message: str
    history: History | None = None


class Solver(Protocol):
    """A way to find the line of least loss. An option of a solver is an attribute of it."""

    def solve(self, points: Points, loss: Loss) -> Solution:
        """Return the line of least loss through points whose moments are finite."""
