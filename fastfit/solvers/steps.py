"""Steps that lower a robust loss: Newton's steps where they help, reweighted least squares elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from fastfit.exact.coordinates import Evaluation, Symmetric
from fastfit.losses import RobustLoss
from fastfit.outcome import Status
from fastfit.points.base import Points
from fastfit.solvers.convergence import Convergence
from fastfit.solvers.iterate import Line, Outcome, State, iterate
from fastfit.solvers.observer import Observer

# Newton's step is trusted where the curvature is at least this share of the safe one, and the loss falls by at least
# this share of the predicted decrease.
_LEAST_CURVATURE, _LEAST_DECREASE = 1e-3, 0.1
# Safe steps are short where hardly a point is within f_scale: quadruple the step while the loss falls as predicted.
_STRETCH = 4.0
# Relative rounding error of the root of the mean loss, a sum of many numbers.
_SLACK = 1e-14
_TOO_SMALL = "f_scale={} is too small compared with the residuals for float64; raise it"
_NO_POINTS_LEFT = (
    "with f_scale={}, all points except those at a single x count as outliers: raise f_scale, or use 'huber', "
    "which gives every point some weight"
)


class Candidate(NamedTuple):
    """A candidate line, the decrease it must achieve, and its length in safe steps (0: Newton step)."""

    line: Line
    decrease: float
    stretch: float


class Minimum:
    """The rule of steps to the minimum of one loss.

    Parameters
    ----------
    points : Points
        Whose moments are known.
    convergence : Convergence
        Measures gradients and losses.
    loss : RobustLoss
        With an ``f_scale`` in the frame of the points.
    tol : float
        Converged means that both standardised gradient components are at most ``2 * tol * f_scale / std(y)``, with
        ``std(y)`` for ``f_scale`` if that is smaller, or within rounding. 0 never converges.
    """

    def __init__(
        self, points: Points, convergence: Convergence, loss: RobustLoss, tol: float
    ) -> None:
        assert not isinstance(loss.f_scale, str)
        self._points, self._convergence, self._loss, self._tol = points, convergence, loss, tol
        self._size = tol * min(loss.f_scale, convergence.standard.v_unit)
        self._stretch = 1.0

    def at(self, line: Line) -> State:
        """Return the state at a line; one pass."""
        return State(line, self._points.evaluate(self._loss, *line, curvature=True))

    def check(self, state: State) -> Status | None:
        """Return whether the line is at the minimum, or too many passes were made."""
        rounding = _mean_weight(state) * self._convergence.residual_rounding(state.line)
        size = max(self._size, rounding)
        if self._tol > 0 and self._convergence.gradient_is_small(state.evaluation, size):
            return Status.CONVERGED
        if self._points.n_passes >= self._points.max_passes:
            return Status.MAX_PASSES
        return None

    def step(self, state: State) -> State | None:
        """Return the first candidate whose loss falls as it must."""
        rounding = self._convergence.residual_rounding(state.line)
        unseen = math.sqrt(_mean_weight(state)) * rounding
        for candidate in candidates(state, self._convergence, self._stretch):
            following = self.at(candidate.line)
            most = state.evaluation.loss - candidate.decrease
            if _is_lower(following.evaluation.loss, most, unseen):
                # After a successful safe step, try a longer one. If a longer one failed, return to length 1.
                longer = candidate.stretch >= self._stretch
                self._stretch = candidate.stretch * _STRETCH if longer else 1.0
                return following
        return None if self._tol > 0 else state


def minimum(
    rule: Minimum,
    line: Line,
    max_iter: int,
    observer: Observer | None = None,
    n_iter: int = 0,
) -> Outcome[State]:
    """Return the minimum downhill from a line, in the frame."""
    record = observer.record if observer is not None and observer.is_active else None
    return iterate(rule, rule.at(line), max_iter, n_iter=n_iter, record=record)


def candidates(state: State, convergence: Convergence, stretch: float = 1.0) -> Iterator[Candidate]:
    """Yield the lines to try next: Newton's first, the safe one last, a longer safe step in between."""
    current, axes = state.evaluation, convergence.standard
    assert current.curvature is not None
    assert current.bound is not None
    if not convergence.is_determined(current):
        return
    gradient = axes.gradient_from_frame(current.grad_slope, current.grad_offset)
    curvature = axes.curvature_from_frame(current.curvature)
    bound = axes.curvature_from_frame(current.bound)
    # Second derivatives or the safe bound, the length in safe steps, and the least share of the predicted decrease.
    ways = [(bound, each, 0.0) for each in dict.fromkeys((stretch, 1.0))]
    if _is_trusted(curvature, bound, convergence.fit_intercept):
        ways.insert(0, (curvature, 0.0, _LEAST_DECREASE))
    for matrix, length, least in ways:
        p, q = (part * (length or 1.0) for part in _solved(matrix, gradient, convergence))
        turn, rise = axes.step_to_frame(-p, -q)
        line = state.line[0] + turn, state.line[1] + rise
        if not convergence.fit_intercept:
            line = axes.through_origin_in_frame(line[0])
        if line != state.line:
            predicted = 0.5 * (p * gradient[0] + q * gradient[1]) * axes.v_unit * axes.v_unit
            yield Candidate(line, least * predicted, length)


def _mean_weight(state: State) -> float:
    """Return the mean weight that the loss gives the points."""
    assert state.evaluation.bound is not None
    return 0.5 * state.evaluation.bound.offset_offset


def _is_lower(loss: float, most: float, unseen: float) -> bool:
    """Whether ``loss <= most``, allowing for rounding of the sum and of the residuals.

    A change of residuals by r changes the root of the loss by at most the root of the mean weight times r.
    """
    return math.sqrt(loss) <= math.sqrt(max(most, 0.0)) * (1.0 + _SLACK) + unseen


def _solved(
    matrix: Symmetric, gradient: tuple[float, float], convergence: Convergence
) -> tuple[float, float]:
    if convergence.fit_intercept:
        return matrix.solve(*gradient)
    return gradient[0] / matrix.slope_slope, 0.0


def _is_trusted(curvature: Symmetric, bound: Symmetric, fit_intercept: bool) -> bool:
    """Whether second derivatives are positive in every direction, beyond rounding."""
    pairs = zip(curvature, bound, strict=True)
    rest = Symmetric(*(own - _LEAST_CURVATURE * most for own, most in pairs))
    if fit_intercept:
        # The determinant of the curvature itself may still underflow, or be rounding.
        return min(rest.offset_offset, rest.determinant, curvature.determinant) > 0.0
    return rest.slope_slope > 0.0


def unchecked_step(state: State, convergence: Convergence) -> Line:
    """Return where the best step leads, without a look at the loss there."""
    found = next(candidates(state, convergence), None)
    return state.line if found is None else found.line


def require_points(current: Evaluation, convergence: Convergence, loss: RobustLoss) -> None:
    """Raise ValueError if the points that count for a line do not determine it."""
    if not convergence.is_determined(current):
        message = _TOO_SMALL if loss.is_convex else _NO_POINTS_LEFT
        raise ValueError(message.format(repr(loss.f_scale)))
