"""What to change where a descent did not converge, with the numbers of its points."""

from __future__ import annotations

import copy
import math

from fastfit.exact.coordinates import Axes
from fastfit.losses import RobustLoss
from fastfit.outcome import Status
from fastfit.solvers.descent import Descent, squared_curvature, steepest
from fastfit.solvers.forecast import steps_left
from fastfit.solvers.iterate import State
from fastfit.solvers.newton import Newton

# More steps than these are no use.
_MOST_STEPS = 10_000_000
# Standard deviations between zero and the mean of x, from which on it is the mean that makes a descent slow.
_FAR = 2.0


def advice(descent: Descent, state: State, status: Status, n_iter: int) -> str:
    """Return sentences about what to change after a descent ended like this at a line after ``n_iter`` steps."""
    if status is Status.STOPPED:
        return " To go on from here, pass this line as init."
    if status is Status.MAX_ITER and descent.size == 0.0:
        return " (With tol=0, which asks for max_iter steps, that is as expected.)"
    minimum = None if descent.size == 0.0 else _minimum(descent, state)

    def steps(axes: Axes, learning_rate: float) -> float:
        """Return about how many steps are left on these axes; NaN if that is not known."""
        if minimum is None:
            return math.nan
        options = {"learning_rate": learning_rate, "size": descent.size}
        return steps_left(state, minimum, axes, descent.convergence, **options)

    limit, rate = descent.limit, descent.learning_rate
    said, left = "", steps(descent.axes, rate)
    if status is Status.DIVERGED:
        half = steps(descent.axes, 0.5 * limit)
        needs = f"; half of it needs {_about(half)}{_reason(descent)}" if half > 0 else ""
        said = f" learning_rate must be below {limit:.6g} for these data{needs}."
    elif 0 < left < math.inf:
        said = f" At this learning rate, {_about(left, 'more ')} are needed{_reason(descent)}."
    standard = descent.convergence.standard
    if descent.axes != standard:
        quick = steps(standard, 1.0 / steepest(standard, descent.convergence))
        takes = [_about(quick)] if quick > 0 else []
        same = steps(standard, rate)
        if 0 < same < _MOST_STEPS:
            takes.append(f"{_about(same)} with a learning_rate of {rate:g}")
        needs = f" ({'; '.join(takes)})" if takes else ""
        is_far = descent.convergence.fit_intercept and _distance(descent) >= _FAR
        other = ", or subtract the mean from x and choose learning_rate anew" if is_far else ""
        return f"{said} Pass standardize=True and learning_rate='auto'{needs}{other}."
    if status is Status.DIVERGED:
        return said
    if rate < 0.45 * limit:
        quick = steps(standard, 0.5 * limit)
        return f"{said} Pass learning_rate='auto'{f' ({_about(quick)})' if quick > 0 else ''}."
    return f"{said} {_more(descent, status, n_iter + 1.2 * left)}"


def _more(descent: Descent, status: Status, most: float) -> str:
    """Return what helps a descent that nothing makes faster."""
    if status is Status.STALLED:
        return "Raise tol."
    to = f" to {_rounded_up(most):,}" if most < _MOST_STEPS else ""
    robust = isinstance(descent.loss, RobustLoss)
    return f"Raise max_iter{to}{', or use Newton, which takes a few steps' if robust else ''}."


def _minimum(descent: Descent, here: State) -> State | None:
    """Return the line of least loss, with its curvature; None if finding it would take many passes over files."""
    points, loss, convergence = descent.points, descent.loss, descent.convergence
    if not isinstance(loss, RobustLoss):
        return State(here.line, here.evaluation._replace(curvature=squared_curvature(convergence)))
    if points.max_passes < math.inf:
        return None
    points = copy.copy(points)  # whose passes do not count: the fit has ended
    found = Newton().solve(points, loss, fit_intercept=convergence.fit_intercept)
    line = found.slope.high, points.frame.offset(found.slope, found.intercept).high
    evaluation = points.evaluate(loss, *line, curvature=True)
    curvature = evaluation.curvature
    if curvature is None or not curvature.determinant > 0.0:
        return None
    return State(line, evaluation)


def _distance(descent: Descent) -> float:
    """Return how many standard deviations the mean of x is from zero, in the caller's coordinates."""
    spread, raw = descent.convergence.spread, Axes.raw(descent.points.frame)
    return abs(spread.u_mean - raw.u_origin) / math.sqrt(spread.uu)


def _reason(descent: Descent) -> str:
    """Return why a descent on the caller's coordinates is slow."""
    if descent.axes == descent.convergence.standard:
        return ""
    distance = _distance(descent)
    if distance >= _FAR and descent.convergence.fit_intercept:
        return f", since the mean of x is {distance:.3g} standard deviations from 0"
    deviation = math.sqrt(descent.convergence.spread.uu) / descent.axes.u_unit
    if not 0.3 < deviation < 3.0 and descent.convergence.fit_intercept:
        return f", since the standard deviation of x is {deviation:.3g}, far from 1"
    return ""


def _about(steps: float, more: str = "") -> str:
    """Return a number of steps in words, to two digits."""
    if steps == math.inf:
        return "more steps than can be counted"
    if steps < 1.5:
        return f"1 {more}step"
    number = f"{_rounded_up(steps):,}" if steps < 1e9 else f"{steps:.2g}"
    return f"about {number} {more}steps"


def _rounded_up(number: float) -> int:
    """Return a whole number of two digits and zeros, not below this one."""
    unit = 10.0 ** max(0, math.floor(math.log10(max(number, 1.0))) - 1)
    return int(math.ceil(number / unit) * unit)
