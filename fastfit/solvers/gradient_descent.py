"""Gradient descent: step against the gradient of the mean loss until it vanishes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.exact.coordinates import Axes
from fastfit.exact.double_double import ZERO, DoubleDouble
from fastfit.losses import Loss, RobustLoss, SquaredError
from fastfit.outcome import Status
from fastfit.points.base import Points
from fastfit.points.moments import MomentPoints
from fastfit.solvers.advice import advice
from fastfit.solvers.base import Solution
from fastfit.solvers.convergence import Convergence
from fastfit.solvers.descent import Descent
from fastfit.solvers.iterate import State, iterate
from fastfit.solvers.newton import Newton, huber_line, scale_of
from fastfit.solvers.observer import Callback, Observer, check_watchers
from fastfit.solvers.steps import require_points
from fastfit.validation import finite_number, positive_integer, require_one_of, true_or_false


@dataclass(frozen=True)
class GradientDescent:
    """Gradient descent with a fixed step on the mean loss, for every loss.

    With ``f_scale="mad"`` a robust loss has the scale that :class:`Newton` finds first.

    Parameters
    ----------
    init : (float, float), "random" or None
        The slope and intercept to start from. None starts at (0, 0) on the axes of the descent: with
        ``standardize`` that is the horizontal line through the mean of y; for a loss that is not convex, it starts
        at Huber's solution of the same scale. "random" draws both from the standard normal distribution on those axes.
    learning_rate : float or "auto"
        What the gradient is multiplied by in a step. "auto" takes 1 over the largest curvature that the mean loss has
        anywhere: with ``standardize`` it is 0.5, which is stable for every loss.
    standardize : bool
        Descend on axes on which the points have mean 0 and standard deviation 1; the points are not copied.
        There a learning rate below 1 is stable for every data set. False descends in the caller's
        coordinates, in which the number of steps depends on units and offsets.
    max_iter : int
        The largest number of steps.
    tol : float
        Converged means that no component of the gradient exceeds ``2 * tol`` on standardised axes (whichever axes
        the descent uses). For least squares that bounds the error of the slope by ``tol`` times
        the ratio of the standard deviations of y and x. Units and offsets do not matter. For a robust loss it is
        ``tol`` times its ``f_scale``, if that is less than the standard deviation of y. 0 runs to ``max_iter``.
    record_every : int or None
        Record every ``record_every``-th state, the first and the last in ``LineFit.history``.
    callback : callable or None
        Called with an ``Iterate`` after every step. If it returns something true, or raises StopIteration, the
        fit ends.
    passes : {"auto", "samples", "moments"}
        "samples" reads the points at every step. "moments" reads them once, for their moments, and descends on
        those: the same states but for rounding, for least squares alone. "auto" does so where it can.
    rng : None, int or numpy.random.Generator
        For ``init="random"`` alone, as in ``numpy.random.default_rng``.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be; the message names it.

    Examples
    --------
    >>> import fastfit as ff
    >>> descent = ff.GradientDescent(init=(-2.0, 1.0), learning_rate=0.5, standardize=False)
    >>> ff.fit_line([-1.0, 0.0, 1.0], [0.0, 1.0, 2.0], solver=descent).converged
    True
    """

    init: Sequence[float] | NDArray[Any] | str | None = None
    learning_rate: float | str = "auto"
    standardize: bool = True
    max_iter: int = 10_000
    tol: float = 1e-10
    record_every: int | None = None
    callback: Callback | None = field(default=None, repr=False)
    passes: str = "auto"
    rng: int | np.random.Generator | None = None

    def __post_init__(self) -> None:
        at_random = isinstance(self.init, str) and self.init == "random"
        if self.init is not None and not at_random:
            object.__setattr__(self, "init", _pair(self.init))
        if self.rng is not None:
            _check_rng(self.rng, at_random)
        if not (isinstance(self.learning_rate, str) and self.learning_rate == "auto"):
            must_be = "'auto' or a finite number above 0"
            finite_number(self.learning_rate, "learning_rate", must_be, above=0.0)
        true_or_false(self.standardize, "standardize")
        positive_integer(self.max_iter, "max_iter")
        finite_number(self.tol, "tol", "a finite number of at least 0", above=-math.ulp(0.0))
        check_watchers(self.record_every, self.callback)
        require_one_of(self.passes, ("auto", "samples", "moments"), "passes")

    def solve(self, points: Points, loss: Loss, *, fit_intercept: bool = True) -> Solution:
        """Return the line of least loss, or the best found, with the status that says which."""
        given, points = points, self._where_to_descend(points, loss)
        convergence = Convergence.of(points, fit_intercept=fit_intercept)
        frame = points.frame  # as the moments left it
        size = convergence.standard.v_unit
        f_scale = None
        if isinstance(loss, RobustLoss):
            f_scale = scale_of(points, loss, convergence)
            if f_scale == 0.0:  # most points lie on a line exactly
                return Newton().solve(points, loss, fit_intercept=fit_intercept)
            loss, size = loss._replace(f_scale=f_scale), min(size, f_scale)
        raw = Axes.raw(frame)
        observer = Observer(self.record_every, self.callback, raw, fit_intercept)
        axes = convergence.standard if self.standardize else raw
        start = self._start(axes, raw, fit_intercept)
        if self.init is None and isinstance(loss, RobustLoss) and not loss.is_convex:
            start = huber_line(points, loss, fit_intercept)
        rule = Descent(points, loss, convergence, axes, self.learning_rate, self.tol, size)
        (line, current), n_iter, status = iterate(
            rule,
            rule.start(start),
            self.max_iter,
            record=observer.record if observer.is_active else None,
        )
        history = observer.history(n_iter, State(line, current))
        if status is Status.DIVERGED:
            line, current = rule.best
        slope = DoubleDouble(line[0])
        intercept = frame.intercept(*line) if fit_intercept else ZERO
        mean_loss = _measured_loss(given, points, current.loss, slope, intercept)
        final = None
        if isinstance(loss, RobustLoss):
            final = points.evaluate(loss, *line, curvature=True)
            require_points(final, convergence, loss)
        message = status.value
        if status is not Status.CONVERGED:
            message += advice(rule, State(line, current), status, n_iter)
        return Solution(
            slope, intercept, mean_loss, n_iter, status, message, history, f_scale, final
        )

    def _where_to_descend(self, points: Points, loss: Loss) -> Points:
        """Return the points themselves, or their moments."""
        squared = isinstance(loss, SquaredError)
        if self.passes == "moments" and not squared:
            raise ValueError(f"passes='moments' needs loss='squared_error'; got {loss!r}")
        if self.passes == "samples" and isinstance(points, MomentPoints):
            raise ValueError("passes='samples' needs points to read; got their moments alone")
        if squared and self.passes != "samples":
            return MomentPoints(points.moments())
        return points

    def _start(self, axes: Axes, raw: Axes, fit_intercept: bool) -> tuple[float, float]:
        """Return the first line, in the frame."""
        if self.init is None:
            return axes.line_to_frame(0.0, 0.0)
        if isinstance(self.init, str):
            p, q = np.random.default_rng(self.rng).standard_normal(2).tolist()
            return axes.line_to_frame(p, q if fit_intercept else 0.0)
        slope, intercept = _pair(self.init)
        if not fit_intercept and intercept != 0.0:
            raise ValueError(
                f"the intercept of init must be 0 with fit_intercept=False; got {intercept!r}"
            )
        return raw.line_to_frame(slope, intercept)


def _pair(init: Any) -> tuple[float, float]:
    must_be = "a pair of finite numbers (slope, intercept), 'random' or None"
    if not isinstance(init, (tuple, list, np.ndarray)):
        raise TypeError(f"init must be {must_be}; got {init!r}")
    if len(init) != 2:
        raise ValueError(f"init must be {must_be}; got {init!r}")
    slope, intercept = (finite_number(value, "init", must_be) for value in init)
    return slope, intercept


def _check_rng(rng: Any, at_random: bool) -> None:
    if not at_random:
        raise ValueError(f"rng must be None unless init is 'random'; got {rng!r}")
    try:
        np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        must_be = "None, an integer of at least 0 or a numpy.random.Generator"
        raise TypeError(f"rng must be {must_be}; got {rng!r}") from error


def _measured_loss(
    points: Points, descended: Points, loss: float, slope: DoubleDouble, intercept: DoubleDouble
) -> float:
    """Return the mean loss of a line; one more pass over the points if a descent on moments did not resolve it."""
    moments = points.moments()
    if descended is points or not isinstance(descended, MomentPoints) or moments.resolves(loss):
        return loss
    residuals = points.residuals(slope, points.frame.offset(slope, intercept))
    return loss if residuals is None else residuals.rr / moments.weight_sum
