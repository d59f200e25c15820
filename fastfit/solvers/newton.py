"""Newton's method for robust losses, kept safe by weighted least squares."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from fastfit.exact.coordinates import Axes, Evaluation, Symmetric, times_power_of_two
from fastfit.exact.double_double import ZERO, DoubleDouble
from fastfit.losses import MAD_TO_STD, Huber, Loss, RobustLoss, SquaredError, Tukey
from fastfit.outcome import Status
from fastfit.points.base import Points
from fastfit.solvers.base import Solution
from fastfit.solvers.convergence import SMALLEST, Ruler
from fastfit.solvers.exact import Exact
from fastfit.solvers.observer import Callback, Observer, check_watchers
from fastfit.solvers.scale import ScaleSearch
from fastfit.solvers.steps import End, Line, Minimiser
from fastfit.validation import finite_number, positive_integer

# The first fit is to so many points, or to a 32nd of them: it should cost little, and stay in cache.
_FEW, _SHARE = 65_536, 32
# What few points tell is known to 0.4 %, and calculated to a tenth of that.
_FEW_TOL, _FEW_SCALE_TOL, _FEW_STEPS = 1e-4, 1e-3, 30
# The scale is right if it is that of its own line, to so many parts of it. That of many points has no more digits: it
# is known to 1 / sqrt(n).
_SCALE_TOL, _SCALE_TOL_OF_MANY = 1e-8, 1e-5
_MOST_SCALES = 60
# Where the gradient is so small, a step is good without a look at what it has done.
_NEAR = 0.02
# By how much the scale may change at first, and later. Fewer points than _SMALL are looked at without a guess.
_FIRST_CHANGE, _CHANGE, _SMALL = 0.25, 1e-3, 4096
# A scale below this share of the center of y is rounding of y: an ulp, or less where integers were shifted.
_OF_Y = 2.0**-62
# And this is what is left of nothing by steps that are halted by underflow.
_NOTHING = 1e-280
# Where the scale is to shrink to less than this at once, it may be that of other points than most.
_COLLAPSE = 0.25
# What tol=0 stands for until the scale is known.
_TOL = 1e-10
# A loss this many times blunter than wanted leads close enough.
_BLUNT = 4.0
# Losses that lead to one that is not convex: where they bend at first, in scales, and how much further off each does
# than the next.
_BLUNTEST, _SHARPER = 4.0, 1.5

_UNKNOWN = Symmetric(math.nan, math.nan, math.nan)
_PERFECT = " The line of least squares meets every point to rounding."
_NO_SCALE = (
    " More than half of the points lie on this line to rounding, so the scale of f_scale='mad' is 0, "
    "and the other points hardly count."
)
_TOO_FAR_APART = "y holds values too far apart for float64; leave the outermost out"
_TOO_SMALL = "f_scale={} is too small beside the residuals for float64; raise it"
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
    absolute residual of the very line that is found with it: to 8 digits, and to 5 of 65,536 points and more, whose
    scale is not known so well. There may be several such scales; it is the first one below that of least squares.

    ``huber`` and ``soft_l1`` are convex, and their minimum is the only one. ``cauchy`` and ``tukey`` may have several.
    What is found is the lowest of three: the one downhill from Huber's solution, the one from least squares, and the
    one that ever sharper losses lead to; of many points, by the part that it starts with. No more is promised. No loss
    of residuals alone withstands outliers that are far out in x as well.

    Parameters
    ----------
    max_iter : int
        The largest number of steps at one ``f_scale``.
    tol : float
        Converged means that the gradient is no larger than that of residuals of ``tol`` times ``f_scale`` (or times the
        standard deviation of y, if that is smaller), or of their rounding. Units do not matter. 0 runs to ``max_iter``.
    record_every : int or None
        Record every so many states, the first and the last, in ``LineFit.history``: those at the final ``f_scale``. A
        line that takes no steps, of squared error or through all points, has none.
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
        check_watchers(self.record_every, self.callback)

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
        line = start.slope.high, frame.offset(start.slope, start.intercept).high
        on_all = _Descent(points, loss, fit_intercept, self.tol, self.max_iter)
        if start.loss <= on_all.ruler.rounding(line) ** 2:
            here = points.evaluate(SquaredError(), *line, curvature=True)
            message = Status.CONVERGED.value + _PERFECT
            return start._replace(message=message, f_scale=on_all.f_scale or 0.0, at_end=here)
        raw = Axes.raw(frame)
        observer = Observer(self.record_every, self.callback, raw, fit_intercept)
        least_squares = _Begin(line, math.sqrt(start.loss))
        begin = _on_few(points, loss, least_squares, fit_intercept)
        if begin is None:
            begin = on_all.begin(least_squares)
        else:
            on_all.scale_tol = _SCALE_TOL_OF_MANY
        end, scale = on_all.descend(begin, observer)
        require_points(end.here, on_all.ruler, loss)
        no_scale = on_all.f_scale is None and scale == 0.0
        message = end.status.value + (_NO_SCALE if no_scale else "")
        return Solution(
            DoubleDouble(end.line[0]),
            frame.intercept(*end.line) if fit_intercept else ZERO,
            end.here.loss,
            end.n_iter,
            end.status,
            message,
            observer.history(end.n_iter, end.line, end.here),
            on_all.f_scale or loss.tuning * scale,
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


def huber_line(points: Points, loss: RobustLoss, fit_intercept: bool) -> Line:
    """Return Huber's solution, in the frame, of the same scale as a loss whose ``f_scale`` is in the frame."""
    assert not isinstance(loss.f_scale, str)
    frame = points.frame
    f_scale = loss.f_scale * (Huber.tuning / loss.tuning)
    huber = Huber(times_power_of_two(f_scale, -frame.y_exponent))
    solution = Newton().solve(points, huber, fit_intercept=fit_intercept)
    return solution.slope.high, frame.offset(solution.slope, solution.intercept).high


def require_points(here: Evaluation, ruler: Ruler, loss: RobustLoss) -> None:
    """Raise ValueError if no points count for a line that determine it."""
    assert here.bound is not None
    if ruler.is_singular(ruler.standard.curvature_from_frame(here.bound)):
        message = _TOO_SMALL if loss.is_convex else _NO_POINTS_LEFT
        raise ValueError(message.format(repr(loss.f_scale)))


class _Begin(NamedTuple):
    """Where a descent begins.

    It is a line, the scale of its residuals, how well that is known, relatively, and the rate of a ``ScaleSearch``.
    """

    line: Line
    scale: float
    reach: float = _FIRST_CHANGE
    rate: float = 0.0


def _on_few(
    points: Points, loss: RobustLoss, least_squares: _Begin, fit_intercept: bool
) -> _Begin | None:
    """Return the solution for a part of the points; None if there are few anyway, or the part will not do."""
    if points.n_points < _FEW:
        return None
    few = points.thinned(min(_FEW, points.n_points // _SHARE))
    if few is None or not few.moments().determine_line(fit_intercept=fit_intercept):
        return None
    on_few = _Descent(few, loss, fit_intercept, _FEW_TOL, _FEW_STEPS, _FEW_SCALE_TOL)
    end, scale = on_few.descend(on_few.begin(least_squares))
    if on_few.f_scale is not None:
        return _Begin(end.line, on_few.f_scale / loss.tuning)
    # Of normal residuals, the median is known to 1.2 / sqrt(n), relatively: narrower bounds are read faster.
    return _Begin(end.line, scale, 2.6 / math.sqrt(few.n_points), on_few.rate)


def _restart(observer: Observer | None) -> None:
    """Let an observer, if there is one, forget the states of another scale."""
    if observer is not None:
        observer.restart()


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
        self._points, self._loss, self._tol, self.scale_tol = points, loss, tol, scale_tol
        self.ruler = Ruler.of(points, fit_intercept=fit_intercept)
        self._minimiser = Minimiser(points, self.ruler, max_iter)
        self.rate = 0.0
        # In the frame; None for "mad".
        self.f_scale = None if loss.f_scale == "mad" else scale_of(points, loss, self.ruler)

    def begin(self, least_squares: _Begin) -> _Begin:
        """Return where to begin: least squares or, if the loss is not convex, the best of three minima.

        These are the one downhill from Huber's solution of the same scale, the one from least squares, and the one that
        losses lead to which are blunt first and then ever sharper.
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
            return _Begin(of_huber.line, scale)
        f_scale = tuning * scale
        sharper, blunt = line, _BLUNTEST * tuning * least_squares.scale
        while blunt > _SHARPER * f_scale:
            sharper = self._minimum(sharper, blunt, _NEAR).line
            blunt /= _SHARPER
        starts = (of_huber.line, line, sharper)
        ends = [self._minimum(each, f_scale, self._tol or _TOL) for each in starts]
        return _Begin(min(ends, key=lambda end: end.here.loss).line, scale)

    def descend(self, begin: _Begin, observer: Observer | None = None) -> tuple[End, float]:
        """Return the minimum downhill from a line, and the scale of its residuals if it was looked for."""
        if self.f_scale is None:
            return self._with_own_scale(begin, observer)
        line, f_scale = begin.line, self._loss.tuning * begin.scale
        # A loss that bends far below most residuals has a kink nearly, to which blunter ones lead.
        while f_scale > _BLUNT * self.f_scale:
            line = self._minimum(line, f_scale, _NEAR).line
            f_scale /= _BLUNT
        return self._minimum(line, self.f_scale, self._tol, observer), begin.scale

    def _with_own_scale(self, begin: _Begin, observer: Observer | None) -> tuple[End, float]:
        """Return the minimum downhill from a line, of the scale that is its own; 0 for none."""
        line, scale, reach, rate = begin
        scale = max(scale or self._scale_of(line), self._least_scale(line))
        if scale < SMALLEST * self.ruler.standard.v_unit:
            scale = self.ruler.standard.v_unit  # most points seem to have none: come from afar
        end = self._minimum(line, self._loss.tuning * scale, _NEAR)
        # Close to the minimum, a step needs no look at what it has done. The scale is measured behind it.
        line, n_iter = self._minimiser.step(end), end.n_iter + 1
        search = ScaleSearch(self.scale_tol, rate)
        scale = search.guess(scale, self._scale_of(line, scale, reach))
        trial = scale
        for _ in range(_MOST_SCALES):
            scale = max(trial, self._least_scale(line))
            _restart(observer)
            f_scale = self._loss.tuning * scale
            end = self._minimum(line, f_scale, self._tol or _TOL, observer, n_iter)
            n_iter = end.n_iter
            if not self._minimiser.counts_enough(end.here):
                trial = search.next(scale, 2.0 * scale)  # too small for any line, and for its own
                continue
            line = end.line
            if end.status is not Status.CONVERGED:
                return end, scale
            own = self._scale_of(line, scale, max(_CHANGE, 5.0 / math.sqrt(self._points.n_points)))
            if search.is_settled(scale, own):
                break
            trial = search.next(scale, own)
            self.rate = search.rate
            if min(own, trial) < _COLLAPSE * scale:
                most, own_of_most = self._of_most(end, scale)
                if own_of_most == 0.0:
                    return most, 0.0
                if own_of_most < own:
                    line, trial = most.line, own_of_most
                elif not self._loss.is_convex:
                    # Not where a secant points, which may be too small for any line.
                    trial = own
        else:
            end = end._replace(status=Status.MAX_ITER)
        if self._tol == 0.0:
            _restart(observer)
            end = self._minimum(line, self._loss.tuning * scale, 0.0, observer, n_iter)
        return end, scale

    def _least_scale(self, line: Line) -> float:
        """Return the scale of residuals that are rounding, of them or of y."""
        of_y = _OF_Y * abs(self._points.frame.y_center.high)
        return max(4.0 * self.ruler.rounding(line), of_y)

    def _of_most(self, end: End, scale: float) -> tuple[End, float]:
        """Return the line of most points, by a loss that the others do not count for, and its scale, or 0 for none.

        If most have one and the same x, that is no line, and none is better than the one there is.
        """
        most = self._with(Tukey())
        found = end
        while True:
            # As flat as can be: what is left may be nothing.
            found = most._minimum(found.line, Tukey.tuning * scale, math.ulp(0.0))
            if not self._minimiser.counts_enough(found.here):
                return end, math.inf
            own = self._scale_of(found.line)
            if own <= max(self._least_scale(found.line), _NOTHING):
                n_iter = end.n_iter + found.n_iter
                # Residuals that are rounding tell of no errors.
                here = found.here._replace(loss=0.0, curvature=_UNKNOWN)
                return End(self._without_dust(found.line), here, n_iter, Status.CONVERGED), 0.0
            if own < SMALLEST * self.ruler.standard.v_unit:
                raise ValueError(_TOO_FAR_APART)
            if own > _COLLAPSE * scale:
                return found, own
            scale = own

    def _without_dust(self, line: Line) -> Line:
        """Return a line without what is left of zero by steps that underflow ended."""
        dust = _NOTHING * self.ruler.standard.v_unit
        slope, offset = line
        flat = abs(slope) * self.ruler.standard.u_unit < dust
        return 0.0 if flat else slope, 0.0 if abs(offset) < dust else offset

    def _with(self, loss: RobustLoss) -> _Descent:
        """Return the same with another loss."""
        other = copy.copy(self)
        other._loss = loss
        return other

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
        f_scale: float,
        tol: float,
        observer: Observer | None = None,
        n_iter: int = 0,
    ) -> End:
        """Return the minimum downhill from a line, of the loss with this ``f_scale``."""
        loss = self._loss._replace(f_scale=f_scale)
        return self._minimiser.minimum(loss, line, tol, observer, n_iter)
