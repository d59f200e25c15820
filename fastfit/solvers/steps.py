"""Steps that lower the loss of a line: Newton's where they help, and those of weighted least squares where not."""

from __future__ import annotations

import math
from typing import NamedTuple

from fastfit.exact.coordinates import Evaluation, Symmetric
from fastfit.losses import RobustLoss
from fastfit.outcome import Status
from fastfit.points.base import Points
from fastfit.solvers.convergence import Ruler
from fastfit.solvers.observer import Observer

Line = tuple[float, float]

# Second derivatives are trusted where they are at least this share of the safe ones, and lower the loss by at least
# this share of what they promise.
_LEAST_SHARE, _LEAST_PROMISE = 1e-3, 0.1
# Safe steps are short where hardly a point is within f_scale. As long as they keep their promise, so much longer ones.
_STRETCH = 4.0
# The loss is a sum of many numbers; its root may rise by so much in rounding.
_SLACK = 1e-14


class End(NamedTuple):
    """Where a descent ended."""

    line: Line
    here: Evaluation
    n_iter: int
    status: Status


class _Move(NamedTuple):
    """A line to go to, by how much the loss must fall, and how many times a safe step it is; 0 for no such step."""

    line: Line
    fall: float
    stretch: float


class Minimiser:
    """Descents on the mean loss of the same points.

    Parameters
    ----------
    points : Points
        Whose moments are known.
    ruler : Ruler
        What gradients and losses are measured by.
    max_iter : int
        The largest number of steps of one descent.
    """

    def __init__(self, points: Points, ruler: Ruler, max_iter: int) -> None:
        self._points, self._ruler, self._max_iter = points, ruler, max_iter

    def minimum(
        self,
        loss: RobustLoss,
        line: Line,
        tol: float,
        observer: Observer | None = None,
        n_iter: int = 0,
    ) -> End:
        """Return the minimum downhill from a line.

        Parameters
        ----------
        loss : RobustLoss
            With an ``f_scale`` in the frame of the points.
        line : (float, float)
            Slope and offset, in the frame.
        tol : float
            The gradient may be that of residuals of ``tol`` times ``f_scale``, or times the standard deviation of y, or
            of their rounding; 0 makes ``max_iter`` steps.
        observer : Observer or None
            Who is to see every state.
        n_iter : int
            How many steps were made before.
        """
        assert not isinstance(loss.f_scale, str)
        last = n_iter + self._max_iter
        size = tol * min(loss.f_scale, self._ruler.standard.v_unit)
        here = self._points.evaluate(loss, *line, curvature=True)
        stretch = 1.0
        while True:
            status = None
            share = self._share(here)
            if tol > 0 and self._ruler.is_flat(here, max(size, share * self._ruler.rounding(line))):
                status = Status.CONVERGED
            if observer is not None and observer.looks and observer.sees(n_iter, line, here):
                status = status or Status.STOPPED
            if status is None and n_iter >= last:
                status = Status.MAX_ITER
            if status is not None:
                return End(line, here, n_iter, status)
            for move in self._moves(line, here, stretch):
                there = self._points.evaluate(loss, *move.line, curvature=True)
                unseen = math.sqrt(share) * self._ruler.rounding(line)
                if self._is_lower(there.loss, here.loss - move.fall, unseen):
                    # After a safe step, a longer one; after that failed, a safe one and another that is no longer.
                    stretch = move.stretch * _STRETCH if move.stretch >= stretch else 1.0
                    line, here = move.line, there
                    break
            else:
                if tol > 0:
                    return End(line, here, n_iter, Status.STALLED)
            n_iter += 1

    def _is_lower(self, loss: float, most: float, unseen: float) -> bool:
        """Whether a loss is at most so much but for rounding: that of the sum, and of residuals whose loss it is.

        A change of residuals by r changes the root of the loss by the root of the mean weight times r, at most.
        """
        return math.sqrt(loss) <= math.sqrt(max(most, 0.0)) * (1.0 + _SLACK) + unseen

    def step(self, end: End) -> Line:
        """Return where the best step from here leads, without a look at what the loss is there."""
        moves = self._moves(end.line, end.here, 1.0)
        return moves[0].line if moves else end.line

    def counts_enough(self, here: Evaluation) -> bool:
        """Whether the points that count for a line determine it."""
        assert here.bound is not None
        return not self._ruler.is_singular(self._ruler.standard.curvature_from_frame(here.bound))

    def _share(self, here: Evaluation) -> float:
        """Return the mean weight of the points: how much they count, and their rounding."""
        assert here.bound is not None
        return 0.5 * here.bound.offset_offset

    def _moves(self, line: Line, here: Evaluation, stretch: float) -> list[_Move]:
        """Return where to go from here: best first, safest last, and so many times further in between."""
        assert here.curvature is not None
        assert here.bound is not None
        if not self.counts_enough(here):
            return []
        axes = self._ruler.standard
        gradient = axes.gradient_from_frame(here.grad_slope, here.grad_offset)
        curvature = axes.curvature_from_frame(here.curvature)
        bound = axes.curvature_from_frame(here.bound)
        # By second derivatives or not, how far, and what share of what a step promises it must keep.
        ways = [(curvature, 0.0, _LEAST_PROMISE)] if self._is_trusted(curvature, bound) else []
        ways += [(bound, each, 0.0) for each in dict.fromkeys((stretch, 1.0))]
        moves = []
        for matrix, reach, least in ways:
            p, q = (part * (reach or 1.0) for part in self._solved(matrix, gradient))
            turn, rise = axes.step_to_frame(-p, -q)
            moved = line[0] + turn, line[1] + rise
            if not self._ruler.fit_intercept:
                moved = axes.through_origin_in_frame(moved[0])
            if moved != line:
                promise = 0.5 * (p * gradient[0] + q * gradient[1]) * axes.v_unit * axes.v_unit
                moves.append(_Move(moved, least * promise, reach))
        return moves

    def _solved(self, matrix: Symmetric, gradient: tuple[float, float]) -> tuple[float, float]:
        if self._ruler.fit_intercept:
            return matrix.solve(*gradient)
        return gradient[0] / matrix.slope_slope, 0.0

    def _is_trusted(self, curvature: Symmetric, bound: Symmetric) -> bool:
        """Whether second derivatives are positive in every direction, and no mere rounding."""
        pairs = zip(curvature, bound, strict=True)
        left = Symmetric(*(own - _LEAST_SHARE * most for own, most in pairs))
        if self._ruler.fit_intercept:
            # That of the curvature itself may still underflow, or be rounding.
            least = min(left.offset_offset, left.determinant, curvature.determinant)
            return least > 0.0
        return left.slope_slope > 0.0
