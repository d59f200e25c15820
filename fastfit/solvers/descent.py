"""One descent: its axes, its learning rate, and its rule for the loop over steps."""

from __future__ import annotations

import math

from fastfit.exact.coordinates import Axes, Evaluation, Symmetric
from fastfit.losses import Loss
from fastfit.outcome import Status
from fastfit.points.base import Points
from fastfit.solvers.convergence import Convergence
from fastfit.solvers.iterate import Line, State


class Descent:
    """The rule of gradient descent: converged, diverged, or a step against the gradient.

    The line is kept in the frame, where an offset of y or x costs no digits, and stepped along the axes.

    Attributes
    ----------
    points, loss, convergence, axes
        What is descended, how closely, and the axes of the descent.
    learning_rate : float
        What the gradient is multiplied by in a step.
    limit : float
        The learning rate below which a descent of squared error is stable.
    size : float
        ``tol`` times the size of the residuals, in the frame.
    best : State
        The best line so far.
    """

    def __init__(
        self,
        points: Points,
        loss: Loss,
        convergence: Convergence,
        axes: Axes,
        learning_rate: float | str,
        tol: float,
        size: float,
    ) -> None:
        self.points, self.loss, self.convergence = points, loss, convergence
        self.axes, self._raw = axes, Axes.raw(points.frame)
        self.size = tol * size
        self.limit = 2.0 / steepest(axes, convergence)
        is_auto = isinstance(learning_rate, str)
        self.learning_rate = 0.5 * self.limit if is_auto else float(learning_rate)
        self.best = State((math.nan, math.nan), Evaluation(math.inf, math.nan, math.nan))

    def start(self, line: Line) -> State:
        """Return the state at the first line, or raise ValueError if its loss overflows."""
        first = self.points.evaluate(self.loss, *line)
        if not math.isfinite(first.loss + first.grad_slope + first.grad_offset):
            raise ValueError(
                "the loss of the first line overflows float64: "
                "start closer to the points (init), or rescale x and y"
            )
        self.best = State(line, first)
        return self.best

    def check(self, state: State) -> Status | None:
        """Return whether the loss grew, or the gradient vanished, and remember the best line."""
        current, best = state.evaluation, self.best.evaluation
        if current.loss < best.loss:
            self.best = state
        if not current.loss <= best.loss and self.convergence.loss_increased(
            current.loss, best.loss, state.line
        ):
            return Status.DIVERGED
        if self.size > 0 and self.convergence.gradient_is_small(current, self.size):
            return Status.CONVERGED
        return None

    def step(self, state: State) -> State | None:
        """Return the state a step against the gradient leads to; None if rounding swallows the step."""
        line, current = state
        along, across = self.axes.gradient_from_frame(current.grad_slope, current.grad_offset)
        turn, rise = self.axes.step_to_frame(
            -self.learning_rate * along, -self.learning_rate * across
        )
        moved = line[0] + turn, line[1] + rise
        if not self.convergence.fit_intercept:
            moved = self._raw.through_origin_in_frame(moved[0])
        if moved == line and self.size > 0:
            return None
        return State(moved, self.points.evaluate(self.loss, *moved))


def steepest(axes: Axes, convergence: Convergence) -> float:
    """Return the largest curvature that the mean loss has anywhere on the axes, or raise if float64 cannot hold it.

    No loss has a larger curvature than the squared error, which has 2; near the best line most losses come close.
    """
    curvature = axes.curvature_from_frame(squared_curvature(convergence))
    largest = curvature.largest_eigenvalue if convergence.fit_intercept else curvature.slope_slope
    if not 0.0 < largest < math.inf:
        raise ValueError(
            "the curvature of the loss in raw coordinates is beyond the range of float64: "
            "rescale x, or descend with standardize=True"
        )
    return largest


def squared_curvature(convergence: Convergence) -> Symmetric:
    """Return the second derivatives of the mean squared error, in the frame."""
    spread = convergence.spread
    uu = spread.uu + spread.u_mean * spread.u_mean
    return Symmetric(2.0 * uu, 2.0 * spread.u_mean, 2.0)
