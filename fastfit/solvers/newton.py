"""Newton's method for robust losses, kept safe by weighted least squares."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from fastfit.coordinates import Axes, Evaluation, Symmetric, times_power_of_two
from fastfit.double_double import ZERO, DoubleDouble
from fastfit.losses import MAD_TO_STD, Huber, Loss, RobustLoss, SquaredError
from fastfit.points.base import Points
from fastfit.result import Status
from fastfit.solvers.base import Solution
from fastfit.solvers.convergence import Ruler
from fastfit.solvers.exact import Exact
from fastfit.solvers.observer import Callback, Observer
from fastfit.solvers.scale import ScaleSearch
from fastfit.validation import finite_number, positive_integer

Line = tuple[float, float]

# The first fit is to so many points, or to a 16th of them: it should cost little, and stay in cache.
_FEW, _SHARE = 65_536, 16
# What few points tell is known to 0.4 %, and calculated to a tenth of that.
_FEW_TOL, _FEW_SCALE_TOL, _FEW_STEPS = 1e-4, 1e-3, 30
# The scale is right if it is that of its own line, to so many parts of it.
_SCALE_TOL = 1e-8
_MOST_SCALES = 60
# Where the gradient is so small, a step is good without a look at what it has done.
_NEAR = 0.02
# By how much the scale may change at first, and later. Fewer points than _SMALL are looked at without a guess.
_FIRST_CHANGE, _CHANGE, _SMALL = 0.25, 1e-3, 4096
# A scale below so many roundings of y is none.
_LEAST_SCALE = 2.0**20
# Second derivatives are trusted where they are at least this share of the safe ones, and lower the loss by at least
# this share of what they promise.
_LEAST_SHARE, _LEAST_PROMISE = 1e-3, 0.1
# Weights of points of one and the same x leave a determinant of rounding.
_SINGULAR = 1e-13

_PERFECT = " The line of least squares meets every point to rounding."
_NO_SCALE = (
    " More than half of the points lie on this line to rounding, so the scale of f_scale='mad' is 0, "
    "and the other points hardly count."
)
_NO_POINTS_LEFT = (
    "with f_scale={}, all points but those of one x at most count as outliers: raise f_scale, or choose "
    "a loss that no point is lost to, such as 'huber'"
)


@dataclass(frozen=True)
class Newton:
    """Newton's method on the mean loss: for every loss, on every kind of points.

    A step goes to where the second derivatives promise the minimum. Where these do not help, since the loss is not
    convex there or would not fall enough, it is a step of iteratively reweighted least squares instead, which never
    raises the loss (Huber and Ronchetti, "Robust Statistics", 2nd edition, 2009, section 7.8).

    It starts from the line of least squares and, where there are many points, from a fit to a part of them, evenly
    spread; so all points are read a few times only. With ``f_scale="mad"`` the scale is 1.4826 times the median
    absolute residual of the very line that is found with it, to 8 digits.

    ``huber`` and ``soft_l1`` are convex, and their minimum is the only one. ``cauchy`` and ``tukey`` may have others,
    far from most points; what is found is the one downhill from Huber's solution. That withstands outliers in y, as
    long as they are fewer than half; but no loss of residuals alone withstands outliers that are far out in x as well.

    Parameters
    ----------
    max_iter : int
        The largest number of steps.
    tol : float
        Converged means that the gradient is no larger than that of residuals of ``tol`` times ``f_scale`` (or times the
        standard deviation of y, if that is smaller), or of their rounding. Units do not matter. 0 runs to ``max_iter``.
    record_every : int or None
        Record every so many states, and the last, in ``LineFit.history``: those at the final ``f_scale``.
    callback : callable or None
        Called with an ``Iterate`` after every step, of those on all points. If it returns something true, or raises
        StopIteration, the fit ends.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be; the message names it.

    Examples
    --------
    >>> import fastfit as ff
    >>> fit = ff.fit_line([0, 1, 2, 3, 4], [0, 1, 2, 3, 40], loss=ff.Tukey(f_scale=5.0), solver=ff.Newton())
    >>> round(fit.slope, 9), fit.converged
    (1.0, True)
    """

    max_iter: int = 100
    tol: float = 1e-10
    record_every: int | None = None
    callback: Callback | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        positive_integer(self.max_iter, "max_iter")
        finite_number(self.tol, "tol", "a finite number of at least 0", above=-math.ulp(0.0))
        if self.record_every is not None:
            positive_integer(self.record_every, "record_every")
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable or None; got {self.callback!r}")

    def solve(self, points: Points, loss: Loss, *, fit_intercept: bool = True) -> Solution:
        """Return the line of least loss, or the last, with the status that says which.

        Raises
        ------
        ValueError
            If ``f_scale`` leaves no points that determine a line, or is too small for float64.
        """
        start = Exact().solve(points, SquaredError(), fit_intercept=fit_intercept)
        if not isinstance(loss, RobustLoss):
            return start
        frame = points.frame
        line = start.slope.high, frame.level(start.slope, start.intercept).high
        on_all = _Descent(points, loss, fit_intercept, self.tol, self.max_iter)
        if start.loss <= on_all.ruler.rounding(line) ** 2:
            here = points.evaluate(SquaredError(), *line, curvature=True)
            message = Status.CONVERGED.value + _PERFECT
            return start._replace(message=message, f_scale=on_all.f_scale or 0.0, at_end=here)
        raw = Axes.raw(frame)
        observer = Observer(self.record_every, self.callback, raw, fit_intercept)
        begin = _on_few(points, loss, line, fit_intercept) or on_all.from_huber(line)
        end = on_all.descend(begin, observer)
        on_all.require_points(end)
        message = end.status.value + (_NO_SCALE if end.scale == 0.0 else "")
        return Solution(
            DoubleDouble(end.line[0]),
            frame.intercept(*end.line) if fit_intercept else ZERO,
            end.here.loss,
            end.n_iter,
            end.status,
            message,
            observer.history(end.n_iter, end.line, end.here),
            end.scale * (on_all.f_scale or loss.tuning),
            end.here,
        )


def scale_of(points: Points, loss: RobustLoss, ruler: Ruler) -> float:
    """Return ``f_scale`` in the frame of the points; for ``"mad"`` that of Newton's solution, which may be 0."""
    if isinstance(loss.f_scale, str):
        solution = Newton().solve(points, loss, fit_intercept=ruler.fit_intercept)
        assert solution.f_scale is not None
        return solution.f_scale
    return ruler.checked_scale(
        times_power_of_two(loss.f_scale, points.frame.y_exponent), loss.f_scale
    )


class _Begin(NamedTuple):
    """Where a descent begins: a line, and the scale of its residuals, if it is known, and how well, relatively."""

    line: Line
    scale: float | None = None
    reach: float = _FIRST_CHANGE


class _End(NamedTuple):
    """Where a descent ended. The scale is that of ``f_scale="mad"``, else 1."""

    line: Line
    here: Evaluation
    n_iter: int
    status: Status
    scale: float


def _on_few(points: Points, loss: RobustLoss, line: Line, fit_intercept: bool) -> _Begin | None:
    """Return the solution for a part of the points; None if there are few anyway, or the part will not do."""
    if points.n_points < _FEW:
        return None
    few = points.thinned(min(_FEW, points.n_points // _SHARE))
    if few is None or not few.moments().determine_line(fit_intercept=fit_intercept):
        return None
    on_few = _Descent(few, loss, fit_intercept, _FEW_TOL, _FEW_STEPS, _FEW_SCALE_TOL)
    end = on_few.descend(on_few.from_huber(line))
    # Of normal residuals, the median is known to 1.2 / sqrt(n), relatively.
    return _Begin(end.line, end.scale or None, 3.3 / math.sqrt(few.n_points))


class _Descent:
    """Descents of one loss, on the same points."""

    def __init__(
        self,
        points: Points,
        loss: RobustLoss,
        fit_intercept: bool,
        tol: float,
        max_iter: int,
        scale_tol: float = _SCALE_TOL,
    ) -> None:
        self._points, self._loss, self._fit_intercept = points, loss, fit_intercept
        self._tol, self._max_iter, self._scale_tol = tol, max_iter, scale_tol
        frame = points.frame
        spread = points.moments().seen_from(frame)
        standard = (Axes.standard if fit_intercept else Axes.through_origin)(frame, spread)
        self.ruler = Ruler(spread, standard, fit_intercept)
        # In the frame; None for "mad".
        self.f_scale = None if loss.f_scale == "mad" else scale_of(points, loss, self.ruler)

    def from_huber(self, line: Line) -> _Begin:
        """Return where to begin: this line, or Huber's solution of the same scale, if the loss is not convex."""
        if self._loss.is_convex:
            return _Begin(line)
        huber = copy.copy(self)
        huber._loss = Huber()
        if self.f_scale is not None:
            huber.f_scale = self.f_scale * (Huber.tuning / self._loss.tuning)
        end = huber.descend(_Begin(line))
        return _Begin(end.line, end.scale or None)

    def descend(self, begin: _Begin, observer: Observer | None = None) -> _End:
        """Return the minimum downhill from a line, and the scale, which is that of the minimum."""
        line, scale, reach = begin
        if self.f_scale is not None:
            return self._minimum(line, 1.0, self._tol, observer)
        rounding = self.ruler.rounding(line)
        least = _LEAST_SCALE * rounding
        scale = max(scale or self._scale_of(line), least)
        end = self._minimum(line, scale, _NEAR)
        line, n_iter = end.line, end.n_iter
        if moves := self._moves(end.line, end.here):
            line, n_iter = moves[0].line, n_iter + 1
        scale = self._scale_of(line, scale, reach)
        search = ScaleSearch(self._scale_tol)
        for _ in range(_MOST_SCALES):
            scale = max(scale, least)
            if observer is not None:
                observer.restart()
            end = self._minimum(line, scale, self._tol, observer, n_iter)
            line, n_iter = end.line, end.n_iter
            if end.status is not Status.CONVERGED:
                break
            own = self._scale_of(line, scale, max(_CHANGE, 5.0 / math.sqrt(self._points.n_points)))
            if own <= least == scale:
                end = self._minimum(line, rounding, self._tol, observer, n_iter)
                return end._replace(scale=0.0)
            if search.is_settled(scale, own):
                break
            scale = search.next(scale, own)
        return end

    def require_points(self, end: _End) -> None:
        """Raise ValueError if no points are left that determine the line."""
        assert end.here.bound is not None
        if self._is_singular(self.ruler.standard.curvature_from_frame(end.here.bound)):
            raise ValueError(_NO_POINTS_LEFT.format(self._loss.f_scale))

    def _scale_of(self, line: Line, guess: float | None = None, reach: float = 0.0) -> float:
        """Return 1.4826 times the median absolute residual, expected within a share ``reach`` of a guess."""
        near = None
        if guess is not None and self._points.n_points > _SMALL:
            middle = guess / MAD_TO_STD
            near = middle * (1.0 - reach), middle * (1.0 + reach)
        return MAD_TO_STD * self._points.median_absolute_residual(*line, near)

    def _minimum(
        self,
        line: Line,
        scale: float,
        tol: float,
        observer: Observer | None = None,
        n_iter: int = 0,
    ) -> _End:
        """Return the minimum downhill from a line, of this scale."""
        f_scale = self.f_scale or self._loss.tuning * scale
        loss = self._loss._replace(f_scale=f_scale)
        size = tol * min(f_scale, self.ruler.standard.v_unit)
        here = self._points.evaluate(loss, *line, curvature=True)
        while True:
            status = None
            if tol > 0 and self.ruler.is_flat(here, max(size, self.ruler.rounding(line))):
                status = Status.CONVERGED
            if observer is not None and observer.looks and observer.sees(n_iter, line, here):
                status = status or Status.STOPPED
            if status is None and n_iter >= self._max_iter:
                status = Status.MAX_ITER
            if status is not None:
                return _End(line, here, n_iter, status, scale)
            for move in self._moves(line, here):
                there = self._points.evaluate(loss, *move.line, curvature=True)
                if not self.ruler.has_grown(there.loss, here.loss - move.fall, move.line, 1e-14):
                    line, here = move.line, there
                    break
            else:
                if tol > 0:
                    return _End(line, here, n_iter, Status.STALLED, scale)
            n_iter += 1

    def _moves(self, line: Line, here: Evaluation) -> list[_Move]:
        """Return where to go from here: best first, safest last."""
        assert here.curvature is not None
        assert here.bound is not None
        axes = self.ruler.standard
        gradient = axes.gradient_from_frame(here.grad_slope, here.grad_level)
        curvature = axes.curvature_from_frame(here.curvature)
        bound = axes.curvature_from_frame(here.bound)
        if self._is_singular(bound):
            return []
        ways = [(bound, 0.0)]
        if self._is_trusted(curvature, bound):
            ways.insert(0, (curvature, _LEAST_PROMISE))
        moves = []
        for matrix, least in ways:
            p, q = self._solved(matrix, gradient)
            turn, rise = axes.step_to_frame(-p, -q)
            moved = line[0] + turn, line[1] + rise
            if not self._fit_intercept:
                moved = axes.through_origin_in_frame(moved[0])
            if moved != line:
                promise = 0.5 * (p * gradient[0] + q * gradient[1]) * axes.v_unit * axes.v_unit
                moves.append(_Move(moved, least * promise))
        return moves

    def _solved(self, matrix: Symmetric, gradient: tuple[float, float]) -> tuple[float, float]:
        if self._fit_intercept:
            return matrix.solve(*gradient)
        return gradient[0] / matrix.slope_slope, 0.0

    def _is_singular(self, bound: Symmetric) -> bool:
        """Whether weights are those of points that determine no line."""
        if self._fit_intercept:
            return bound.determinant <= _SINGULAR * bound.slope_slope * bound.level_level
        return bound.slope_slope <= 0.0

    def _is_trusted(self, curvature: Symmetric, bound: Symmetric) -> bool:
        """Whether second derivatives are positive in every direction, and no mere rounding."""
        pairs = zip(curvature, bound, strict=True)
        left = Symmetric(*(own - _LEAST_SHARE * most for own, most in pairs))
        if self._fit_intercept:
            return left.level_level > 0.0 and left.determinant > 0.0
        return left.slope_slope > 0.0


class _Move(NamedTuple):
    """A line to go to, and by how much the loss must fall."""

    line: Line
    fall: float
