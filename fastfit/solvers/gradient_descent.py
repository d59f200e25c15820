"""Gradient descent: step against the gradient of the mean loss until it vanishes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.coordinates import Axes, Evaluation, Spread
from fastfit.double_double import ZERO, DoubleDouble
from fastfit.losses import Loss, SquaredError
from fastfit.moments import Moments
from fastfit.points.base import Points
from fastfit.result import History, Iterate, Status
from fastfit.solvers.base import Solution
from fastfit.validation import finite_number, positive_integer, require_one_of, true_or_false

Callback = Callable[[Iterate], Any]

_EPSILON = 2.0**-52


@dataclass(frozen=True)
class GradientDescent:
    """Gradient descent with a fixed step on the mean loss.

    Parameters
    ----------
    init : (float, float), "random" or None
        The slope and intercept to start from. None starts at (0, 0) on the axes of the descent: with
        ``standardize`` that is the horizontal line through the mean of y. "random" draws both from
        the standard normal distribution on those axes.
    learning_rate : float or "auto"
        What the gradient is multiplied by in a step. "auto" takes 1 over the largest curvature at the start.
    standardize : bool
        Descend on axes on which the points have mean 0 and standard deviation 1; the points are not copied.
        There a learning rate below 1 is stable for every data set. False descends in the caller's
        coordinates, in which the number of steps depends on units and offsets.
    max_iter : int
        The largest number of steps.
    tol : float
        Converged means that no component of the gradient exceeds ``2 * tol`` on standardised axes (whatever the
        axes of the descent). For least squares that bounds the error of the slope by ``tol`` times
        the ratio of the standard deviations of y and x. Units and offsets do not matter. 0 runs to ``max_iter``.
    record_every : int or None
        Record every so many states, and the last, in ``LineFit.history``.
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
        if self.record_every is not None:
            positive_integer(self.record_every, "record_every")
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable or None; got {self.callback!r}")
        require_one_of(self.passes, ("auto", "samples", "moments"), "passes")

    def solve(self, points: Points, loss: Loss, *, fit_intercept: bool = True) -> Solution:
        """Return the line of least loss, or the best found, with the status that says which."""
        moments = points.moments()
        reader, points = points, self._where_to_descend(points, loss)
        frame = points.frame
        spread = moments.seen_from(frame)
        raw = Axes.raw(frame)
        standard = (Axes.standard if fit_intercept else Axes.through_origin)(frame, spread)
        axes = standard if self.standardize else raw
        # The line is kept in the frame, where an offset of y or x costs no digits, and stepped along the axes.
        line = self._start(axes, raw, fit_intercept)
        automatic = self.learning_rate == "auto"
        here = points.evaluate(loss, *line, curvature=automatic)
        _require_finite(here)
        rate = self.learning_rate
        step = 1.0 / _steepest(axes, here, fit_intercept) if automatic else float(rate)
        observer = _Observer(self.record_every, self.callback, raw, fit_intercept)
        best, best_line = here, line
        n_iter = 0
        while True:
            status = None
            if not here.loss <= best.loss and _has_grown(here.loss, best.loss, spread, line):
                status = Status.DIVERGED
            elif self.tol > 0 and _is_flat(here, standard, self.tol, fit_intercept):
                status = Status.CONVERGED
            if here.loss < best.loss:
                best, best_line = here, line
            if observer.looks and observer.sees(n_iter, line, here):
                status = status or Status.STOPPED
            if status is None and n_iter == self.max_iter:
                status = Status.MAX_ITER
            if status is not None:
                break
            moved = _moved(line, here, step, axes)
            if not fit_intercept:
                moved = raw.through_origin_in_frame(moved[0])
            if moved == line and self.tol > 0:
                status = Status.STALLED
                break
            line = moved
            here = points.evaluate(loss, *line)
            n_iter += 1

        history = observer.history(n_iter, line, here)
        message = status.value
        if status is Status.DIVERGED:
            line, here = best_line, points.evaluate(loss, *best_line, curvature=True)
            message += _advice(2.0 / _steepest(axes, here, fit_intercept))
        elif status is Status.MAX_ITER and self.tol == 0:
            message += " (With tol=0, which asks for max_iter steps, that is as expected.)"
        slope = DoubleDouble(line[0])
        intercept = frame.intercept(*line) if fit_intercept else ZERO
        mean_square = _mean_square(reader, points, here.loss, slope, intercept)
        return Solution(slope, intercept, mean_square, n_iter, status, message, history)

    def _where_to_descend(self, points: Points, loss: Loss) -> Points:
        """Return the points themselves, or their moments."""
        squared = isinstance(loss, SquaredError)
        if self.passes == "moments" and not squared:
            raise ValueError(f"passes='moments' needs loss='squared_error'; got {loss!r}")
        if self.passes == "samples" and isinstance(points, Moments):
            raise ValueError("passes='samples' needs points to read; got their moments alone")
        return points.moments() if squared and self.passes != "samples" else points

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


def _steepest(axes: Axes, evaluation: Evaluation, fit_intercept: bool) -> float:
    """Return the largest curvature of the mean loss on the axes, or raise if float64 cannot hold it."""
    assert evaluation.curvature is not None
    curvature = axes.curvature_from_frame(evaluation.curvature)
    steepest = curvature.largest_eigenvalue if fit_intercept else curvature.slope_slope
    if not 0.0 < steepest < math.inf:
        raise ValueError(
            "the curvature of the loss in raw coordinates is beyond the range of float64: "
            "rescale x, or descend with standardize=True"
        )
    return steepest


def _rounding(spread: Spread, slope: float, level: float) -> float:
    """Return by how much residuals may be off: a few ulp of the numbers they are made of, in the frame."""
    v = math.sqrt(spread.vv) + abs(spread.v_mean)
    u = math.sqrt(spread.uu) + abs(spread.u_mean)
    return 8.0 * _EPSILON * (v + abs(slope) * u + abs(level))


def _require_finite(first: Evaluation) -> None:
    if not math.isfinite(first.loss + first.grad_slope + first.grad_level):
        raise ValueError(
            "the loss of the first line overflows float64: "
            "start closer to the points (init), or rescale x and y"
        )


def _mean_square(
    points: Points, read: Points, loss: float, slope: DoubleDouble, intercept: DoubleDouble
) -> float:
    """Return the mean loss of a line; measured on the points, if their moments do not resolve it."""
    if read is points or not isinstance(read, Moments) or read.resolves(loss):
        return loss
    seen = points.residuals(slope, points.frame.level(slope, intercept))
    return loss if seen is None else seen.rr / read.weight_sum


def _moved(
    line: tuple[float, float], here: Evaluation, step: float, axes: Axes
) -> tuple[float, float]:
    """Return the line after a step against the gradient on these axes."""
    along, across = axes.gradient_from_frame(here.grad_slope, here.grad_level)
    turn, rise = axes.step_to_frame(-step * along, -step * across)
    return line[0] + turn, line[1] + rise


def _has_grown(loss: float, best: float, spread: Spread, line: tuple[float, float]) -> bool:
    """Whether a loss has risen by more than rounding, which with a stable step it never does."""
    return not math.sqrt(loss) <= math.sqrt(best) * (1.0 + 1e-12) + _rounding(spread, *line)


def _is_flat(here: Evaluation, standard: Axes, tol: float, fit_intercept: bool) -> bool:
    """Whether the gradient on standardised axes is within the tolerance of zero."""
    along, across = standard.gradient_from_frame(here.grad_slope, here.grad_level)
    return abs(along) <= 2.0 * tol and (not fit_intercept or abs(across) <= 2.0 * tol)


def _advice(limit: float) -> str:
    return (
        f" The largest stable learning rate for these data is {limit:.6g} "
        "(stay below it; half of it is fast and safe)."
    )


class _Observer:
    """Keeps the states that are to be recorded, and shows the callback what it is to see."""

    def __init__(
        self, record_every: int | None, callback: Callback | None, raw: Axes, fit_intercept: bool
    ) -> None:
        self._every, self._callback = record_every, callback
        self._raw, self._fit_intercept = raw, fit_intercept
        self._recorded: list[Iterate] = []
        self.looks = record_every is not None or callback is not None

    def sees(self, n_iter: int, line: tuple[float, float], here: Evaluation) -> bool:
        """Whether the callback, having seen this state, asks to stop."""
        recording = self._every is not None and n_iter % self._every == 0
        calling = self._callback is not None and n_iter > 0
        if not recording and not calling:
            return False
        state = self._state(n_iter, line, here)
        if recording:
            self._recorded.append(state)
        if self._callback is None or not calling:
            return False
        try:
            return bool(self._callback(state))
        except StopIteration:
            return True

    def _state(self, n_iter: int, line: tuple[float, float], here: Evaluation) -> Iterate:
        slope, intercept = self._raw.line_from_frame(*line)
        gradient = self._raw.gradient_from_frame(here.grad_slope, here.grad_level)
        loss = self._raw.loss_from_frame(here.loss)
        return Iterate(n_iter, slope, intercept if self._fit_intercept else 0.0, *gradient, loss)

    def history(self, n_iter: int, line: tuple[float, float], here: Evaluation) -> History | None:
        """Return the recorded states, with this last one."""
        if self._recorded and self._recorded[-1].iteration != n_iter:
            self._recorded.append(self._state(n_iter, line, here))
        return History.of(self._recorded) if self._recorded else None
