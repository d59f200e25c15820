"""Newton's method for robust losses, kept safe by weighted least squares."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from fastfit.exact.coordinates import Axes, Symmetric, times_power_of_two
from fastfit.exact.double_double import ZERO, DoubleDouble
from fastfit.losses import MAD_TO_STD, Huber, Loss, RobustLoss, SquaredError, Tukey
from fastfit.outcome import Status
from fastfit.points.base import Points
from fastfit.solvers.base import Solution
from fastfit.solvers.convergence import SMALLEST, Convergence
from fastfit.solvers.exact import Exact
from fastfit.solvers.iterate import Line, Outcome, State, iterate
from fastfit.solvers.observer import Callback, Observer, check_watchers
from fastfit.solvers.scale import ScaleSearch
from fastfit.solvers.steps import Minimum, minimum, require_points, unchecked_step
from fastfit.validation import finite_number, positive_integer

# From SUBSAMPLE_MAX points on, a subsample is fitted first: one of 32, and at most this many, to stay in cache.
SUBSAMPLE_MAX, SUBSAMPLE_SHARE = 65_536, 32
# The subsample determines the line to 0.4 %; fit it ten times more precisely.
_SUBSAMPLE_TOL, _SUBSAMPLE_SCALE_TOL, _SUBSAMPLE_STEPS = 1e-4, 1e-3, 30
# Relative tolerance of the self-consistent scale; looser for many points, whose scale is only known to 1/sqrt(n).
_SCALE_TOL, _SCALE_TOL_OF_MANY = 1e-8, 1e-5
# Most scales tried before the fit ends as not converged.
_MAX_SCALES = 60
# Tolerance of fits on the way to another scale; so close to the minimum, a step needs no check.
_COARSE_TOL = 0.02
# Expected relative change of the scale after the first step, and later: it brackets the median. Below _SMALL points the
# median is found without a bracket.
_FIRST_CHANGE, _CHANGE, _SMALL = 0.25, 1e-3, 4096
# A scale below this share of the center of y is rounding error of y: an ulp, or less where integers were shifted.
_ROUNDING_OF_Y = 2.0**-62
# Values below this are zero, up to underflow.
_ZERO = 1e-280
# A drop below a quarter in one update suggests that most points lie exactly on another line.
_COLLAPSE = 0.25
# Tolerance used while the scale is searched for with tol=0.
_TOL = 1e-10
# Warm start for a small f_scale: shrink it at most 4 x per stage.
_SHRINK = 4.0
# Graduated non-convexity: start at 4 x the scale, shrink f_scale by 1.5 per stage.
_BLUNTEST, _SHARPER = 4.0, 1.5

_NAN = Symmetric(math.nan, math.nan, math.nan)
_PERFECT = " The line of least squares meets every point to rounding."
_NO_SCALE = (
    " More than half of the points lie on this line to rounding, so the scale of f_scale='mad' is 0, "
    "and the other points hardly count."
)
# What to change, by how a fit ended.
_ADVICE = {
    Status.MAX_ITER: " Raise max_iter, or f_scale: a fit takes more steps the fewer residuals are below it.",
    Status.STALLED: " Raise tol.",
}
_TOO_FAR_APART = "y holds values too far apart for float64; leave the outermost out"


@dataclass(frozen=True)
class Newton:
    """Newton's method on the mean loss: for every loss, on every kind of points.

    A step goes to the minimum predicted by the second derivatives. Where these do not help, because the loss is not
    convex there or would not fall enough, a step of iteratively reweighted least squares is taken instead, which never
    raises the loss (Huber and Ronchetti, "Robust Statistics", 2nd edition, 2009, section 7.8).

    It starts from the line of least squares and, above 65,536 points, from a fit to an evenly spread subsample, so that
    all points are read only a few times. With ``f_scale="mad"`` the scale is consistent with the line: 1.4826 times the
    median absolute residual of the line fitted with it, to 8 digits (5 above 65,536 points, whose scale is not known
    more precisely). If there are several such scales, it is the first below the scale of least squares. Points outside
    memory are read about 200 times at most.

    ``huber`` and ``soft_l1`` are convex and have one minimum. ``cauchy`` and ``tukey`` may have several; the result is
    the lowest of three: downhill from Huber's solution, downhill from least squares, and the one found by graduated
    non-convexity (with a large ``f_scale`` that shrinks stage by stage). Above 65,536 points these are compared on the
    subsample. It may not be the global minimum. No loss of residuals alone withstands outliers that are far out in x.

    Parameters
    ----------
    max_iter : int
        The largest number of steps at one ``f_scale``.
    tol : float
        Converged means that both standardised gradient components are at most ``2 * tol * f_scale / std(y)``, with
        ``std(y)`` for ``f_scale`` if that is smaller, or within rounding. Units do not matter. 0 runs to ``max_iter``.
    record_every : int or None
        Record every ``record_every``-th state, the first and the last in ``LineFit.history``: those at the final
        ``f_scale``. A line found without steps (squared error, or a line through all points) has no history.
    callback : callable or None
        Called with an ``Iterate`` after every step on all points. If it returns something true, or raises
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
        check_watchers(self.record_every, self.callback)

    def solve(self, points: Points, loss: Loss, *, fit_intercept: bool = True) -> Solution:
        """Return the line of least loss, or the last, with the status that says which.

        Raises
        ------
        ValueError
            If ``f_scale`` leaves no points that determine a line, or is too small for float64.
        """
        exact = Exact().solve(points, SquaredError(), fit_intercept=fit_intercept)
        if not isinstance(loss, RobustLoss):
            return exact
        frame = points.frame
        line = exact.slope.high, frame.offset(exact.slope, exact.intercept).high
        fit = _RobustFit(points, loss, fit_intercept, self.tol, self.max_iter)
        if exact.loss <= fit.convergence.residual_rounding(line) ** 2:
            final = points.evaluate(SquaredError(), *line, curvature=True)
            message = Status.CONVERGED.value + _PERFECT
            return exact._replace(message=message, f_scale=fit.f_scale or 0.0, final=final)
        observer = Observer(self.record_every, self.callback, Axes.raw(frame), fit_intercept)
        least_squares = Start(line, math.sqrt(exact.loss))
        start = _from_subsample(points, loss, least_squares, fit_intercept)
        if start is None:
            start = fit.start(least_squares)
        else:
            fit.scale_tol = _SCALE_TOL_OF_MANY
        outcome, scale = fit.descend(start, observer)
        line, final = outcome.state
        if points.n_passes < points.max_passes:
            require_points(final, fit.convergence, loss)
        elif not fit.convergence.is_determined(final):
            outcome = outcome._replace(status=Status.MAX_PASSES)
        no_scale = fit.f_scale is None and scale == 0.0
        return Solution(
            DoubleDouble(line[0]),
            frame.intercept(*line) if fit_intercept else ZERO,
            final.loss,
            outcome.n_iter,
            outcome.status,
            outcome.status.value
            + _ADVICE.get(outcome.status, "")
            + (_NO_SCALE if no_scale else ""),
            observer.history(outcome.n_iter, outcome.state),
            fit.f_scale or loss.tuning * scale,
            final,
        )


def scale_of(points: Points, loss: RobustLoss, convergence: Convergence) -> float:
    """Return ``f_scale`` in the frame of the points; for ``"mad"`` as Newton's method finds it, which may be 0."""
    if isinstance(loss.f_scale, str):
        solution = Newton().solve(points, loss, fit_intercept=convergence.fit_intercept)
        assert solution.f_scale is not None
        return solution.f_scale
    in_frame = times_power_of_two(loss.f_scale, points.frame.y_exponent)
    return convergence.checked_scale(in_frame, loss.f_scale)


def huber_line(points: Points, loss: RobustLoss, fit_intercept: bool) -> Line:
    """Return Huber's solution, in the frame, with the scale of a loss whose ``f_scale`` is in the frame."""
    assert not isinstance(loss.f_scale, str)
    frame = points.frame
    f_scale = loss.f_scale * (Huber.tuning / loss.tuning)
    huber = Huber(times_power_of_two(f_scale, -frame.y_exponent))
    solution = Newton().solve(points, huber, fit_intercept=fit_intercept)
    return solution.slope.high, frame.offset(solution.slope, solution.intercept).high


class Start(NamedTuple):
    """Where a fit starts: a line, the scale of its residuals, its relative uncertainty, and the rate of its search."""

    line: Line
    scale: float
    uncertainty: float = _FIRST_CHANGE
    rate: float = 0.0


def _from_subsample(
    points: Points, loss: RobustLoss, least_squares: Start, fit_intercept: bool
) -> Start | None:
    """Return the solution for a subsample; None if there are few points, or the subsample determines no line."""
    if points.n_points < SUBSAMPLE_MAX:
        return None
    few = points.subsample(min(SUBSAMPLE_MAX, points.n_points // SUBSAMPLE_SHARE))
    if few is None or not few.moments().determine_line(fit_intercept=fit_intercept):
        return None
    fit = _RobustFit(few, loss, fit_intercept, _SUBSAMPLE_TOL, _SUBSAMPLE_STEPS)
    fit.scale_tol = _SUBSAMPLE_SCALE_TOL
    outcome, scale = fit.descend(fit.start(least_squares))
    if fit.f_scale is not None:
        return Start(outcome.state.line, fit.f_scale / loss.tuning)
    # The relative error of the median of n normal residuals is 1.2 / sqrt(n): a narrower bracket is read faster.
    return Start(outcome.state.line, scale, 2.6 / math.sqrt(few.n_points), fit.rate)


class Trial(NamedTuple):
    """A state of the search for the self-consistent scale: the line fitted at a scale, and the scale it has itself."""

    scale: float
    outcome: Outcome[State]
    own: float
    is_determined: bool = True


class _RobustFit:
    """Fits of one loss to the same points: with a given ``f_scale``, or with the scale searched for."""

    def __init__(
        self, points: Points, loss: RobustLoss, fit_intercept: bool, tol: float, max_iter: int
    ) -> None:
        self._points, self._loss, self._tol, self._max_iter = points, loss, tol, max_iter
        self.convergence = Convergence.of(points, fit_intercept=fit_intercept)
        self.scale_tol = _SCALE_TOL
        self._rounding_of_y = _ROUNDING_OF_Y * abs(points.frame.y_center.high)
        self.rate = 0.0
        # In the frame; None for "mad".
        is_given = loss.f_scale != "mad"
        self.f_scale = scale_of(points, loss, self.convergence) if is_given else None

    def start(self, least_squares: Start) -> Start:
        """Return where to start: least squares or, if the loss is not convex, the best of three minima.

        These are downhill from Huber's solution of the same scale, downhill from least squares, and the end of a
        shrinking ``f_scale`` (graduated non-convexity).
        """
        if self._loss.is_convex:
            return least_squares
        line, tuning = least_squares.line, self._loss.tuning
        huber = self._with(Huber())
        if self.f_scale is not None:
            huber.f_scale = self.f_scale * (Huber.tuning / tuning)
        of_huber, scale = huber.descend(least_squares)
        if self.f_scale is not None:
            scale = self.f_scale / tuning
        if scale == 0.0:
            return Start(of_huber.state.line, scale)
        f_scale = tuning * scale
        sharper, blunt = line, _BLUNTEST * tuning * least_squares.scale
        while blunt > _SHARPER * f_scale and self._may_read():
            sharper = self._minimum(sharper, blunt, _COARSE_TOL).state.line
            blunt /= _SHARPER
        starts = (of_huber.state.line, line, sharper)
        minima = [self._minimum(each, f_scale, self._tol or _TOL).state for each in starts]
        return Start(min(minima, key=lambda state: state.evaluation.loss).line, scale)

    def descend(
        self, start: Start, observer: Observer | None = None
    ) -> tuple[Outcome[State], float]:
        """Return the minimum downhill from a line, and the scale of its residuals if it was searched for."""
        if self.f_scale is None:
            return self._with_own_scale(start, observer)
        line, f_scale = start.line, self._loss.tuning * start.scale
        while f_scale > _SHRINK * self.f_scale and self._may_read():
            line = self._minimum(line, f_scale, _COARSE_TOL).state.line
            f_scale /= _SHRINK
        return self._minimum(line, self.f_scale, self._tol, observer), start.scale

    def _with_own_scale(
        self, start: Start, observer: Observer | None
    ) -> tuple[Outcome[State], float]:
        """Return the minimum at the scale that is consistent with it, and this scale; 0 for none."""
        line, scale, uncertainty, rate = start
        scale = max(scale or self._scale_of(line), self._least_scale(line))
        if scale < SMALLEST * self.convergence.standard.v_unit:
            scale = self.convergence.standard.v_unit  # more than half of the residuals are 0
        coarse = self._minimum(line, self._loss.tuning * scale, _COARSE_TOL)
        line = unchecked_step(coarse.state, self.convergence)
        search = ScaleSearch(self.scale_tol, rate)
        scale = search.guess(scale, self._scale_of(line, scale, uncertainty))
        rule = _ScaleRule(self, search, observer)
        first = rule.fit(line, scale, coarse.n_iter + 1)
        (scale, outcome, _, _), _, status = iterate(rule, first, _MAX_SCALES - 1)
        if scale == 0.0 or outcome.status is not Status.CONVERGED:
            return outcome, scale
        outcome = outcome._replace(status=status)
        if self._tol == 0.0:
            if observer is not None:
                observer.restart()
            f_scale = self._loss.tuning * scale
            outcome = self._minimum(outcome.state.line, f_scale, 0.0, observer, outcome.n_iter)
        return outcome, scale

    def trial(self, line: Line, scale: float, observer: Observer | None, n_iter: int) -> Trial:
        """Return the line fitted at a scale, and its own scale."""
        f_scale = self._loss.tuning * scale
        outcome = self._minimum(line, f_scale, self._tol or _TOL, observer, n_iter)
        if not self.convergence.is_determined(outcome.state.evaluation):
            # Too small for any line, and so for its own.
            return Trial(scale, outcome, 2.0 * scale, False)
        own = math.nan
        if outcome.status is Status.CONVERGED:
            uncertainty = max(_CHANGE, 5.0 / math.sqrt(self._points.n_points))
            own = self._scale_of(outcome.state.line, scale, uncertainty)
        return Trial(scale, outcome, own)

    def _may_read(self) -> bool:
        """Whether further passes are allowed."""
        return self._points.n_passes < self._points.max_passes

    @property
    def is_convex(self) -> bool:
        """Whether the loss is convex."""
        return self._loss.is_convex

    def _least_scale(self, line: Line) -> float:
        """Return the scale of residuals that are rounding error, of themselves or of y."""
        return max(4.0 * self.convergence.residual_rounding(line), self._rounding_of_y)

    def at_least(self, scale: float, line: Line) -> float:
        """Return a scale that is no rounding error."""
        return max(scale, self._least_scale(line))

    def line_of_majority(
        self, outcome: Outcome[State], scale: float
    ) -> tuple[Outcome[State], float]:
        """Return the line of most points, by a loss for which the others do not count, and its scale, or 0 for none.

        If most have one and the same x, that is no line, and none is better than the one there is.
        """
        most = self._with(Tukey())
        found = outcome
        while True:
            # As flat as can be: the scale may be 0.
            found = most._minimum(found.state.line, Tukey.tuning * scale, math.ulp(0.0))
            line, current = found.state
            if found.status is Status.MAX_PASSES or not self.convergence.is_determined(current):
                return outcome, math.inf
            own = self._scale_of(line)
            if own <= max(self._least_scale(line), _ZERO):
                n_iter = outcome.n_iter + found.n_iter
                # Residuals that are rounding error determine no standard errors.
                exact = State(
                    self._without_underflow(line), current._replace(loss=0.0, curvature=_NAN)
                )
                return Outcome(exact, n_iter, Status.CONVERGED), 0.0
            if own < SMALLEST * self.convergence.standard.v_unit:
                raise ValueError(_TOO_FAR_APART)
            if own > _COLLAPSE * scale:
                return found, own
            scale = own

    def _without_underflow(self, line: Line) -> Line:
        """Return a line with 0 for what underflow has left of it."""
        least = _ZERO * self.convergence.standard.v_unit
        slope, offset = line
        is_flat = abs(slope) * self.convergence.standard.u_unit < least
        return 0.0 if is_flat else slope, 0.0 if abs(offset) < least else offset

    def _with(self, loss: RobustLoss) -> _RobustFit:
        """Return the same with another loss."""
        other = copy.copy(self)
        other._loss = loss
        return other

    def _scale_of(self, line: Line, guess: float | None = None, uncertainty: float = 0.0) -> float:
        """Return 1.4826 times the median absolute residual, expected near a guess."""
        near = None
        if guess is not None and self._points.n_points > _SMALL:
            middle = guess / MAD_TO_STD
            near = middle * (1.0 - uncertainty), middle * (1.0 + uncertainty)
        return MAD_TO_STD * self._points.median_absolute_residual(*line, near)

    def _minimum(
        self,
        line: Line,
        f_scale: float,
        tol: float,
        observer: Observer | None = None,
        n_iter: int = 0,
    ) -> Outcome[State]:
        """Return the minimum downhill from a line, of the loss with this ``f_scale``."""
        loss = self._loss._replace(f_scale=f_scale)
        rule = Minimum(self._points, self.convergence, loss, tol)
        return minimum(rule, line, self._max_iter, observer, n_iter)


class _ScaleRule:
    """The rule of the search for the scale that is consistent with the line fitted at it."""

    def __init__(self, fit: _RobustFit, search: ScaleSearch, observer: Observer | None) -> None:
        self._fit, self._search, self._observer = fit, search, observer
        self._line = math.nan, math.nan  # where the last trial started

    def fit(self, line: Line, scale: float, n_iter: int) -> Trial:
        """Return the trial of a scale, from a line on."""
        if self._observer is not None:
            self._observer.restart()
        self._line = line
        return self._fit.trial(line, self._fit.at_least(scale, line), self._observer, n_iter)

    def check(self, trial: Trial) -> Status | None:
        """Return converged if the line fitted at the scale has this scale, or how that fit ended."""
        if trial.scale == 0.0:
            return Status.CONVERGED
        if not trial.is_determined:
            return None
        if trial.outcome.status is not Status.CONVERGED:
            return trial.outcome.status
        settled = self._search.is_settled(trial.scale, trial.own)
        return Status.CONVERGED if settled else None

    def step(self, trial: Trial) -> Trial | None:
        """Return the next trial; of scale 0 if most points lie on a line exactly."""
        scale, outcome, own, is_determined = trial
        line, following = outcome.state.line, self._search.next(scale, own)
        if not is_determined:
            return self.fit(self._line, following, outcome.n_iter)
        self._fit.rate = self._search.rate
        if min(own, following) < _COLLAPSE * scale:
            most, its_scale = self._fit.line_of_majority(outcome, scale)
            if its_scale == 0.0:
                return Trial(0.0, most, 0.0)
            if its_scale < own:
                line, following = most.state.line, its_scale
            elif not self._fit.is_convex:
                # Not where a secant points, which may be too small for any line.
                following = own
        return self.fit(line, following, outcome.n_iter)
