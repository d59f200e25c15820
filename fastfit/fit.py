"""Fit a line: from the caller's arguments to points, a solver and a result."""

from __future__ import annotations

import math
import warnings
from typing import Literal

from numpy.typing import ArrayLike

from fastfit import validation
from fastfit.coordinates import Axes
from fastfit.losses import Loss, as_loss
from fastfit.moments import Moments
from fastfit.points.arrays import ArrayPoints
from fastfit.result import ConvergenceWarning, LineFit, Status
from fastfit.solvers.base import Solution, Solver
from fastfit.solvers.gradient_descent import GradientDescent

SOLVERS = {"auto": GradientDescent, "gradient_descent": GradientDescent}
BACKENDS = ("numba", "numpy")
NAN_POLICIES = ("raise", "omit", "propagate")

_NAN = float("nan")
_TINY = 2.0**-1022


def fit_line(
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Loss = "squared_error",
    solver: str | Solver = "auto",
    nan_policy: Literal["raise", "omit", "propagate"] = "raise",
    n_threads: int | None = None,
    backend: Literal["numba", "numpy"] = "numba",
) -> LineFit:
    """Fit the line ``y = slope * x + intercept`` of least mean loss.

    Parameters
    ----------
    x, y : array_like, shape (n,) or (n, 1)
        At least two points, with two different x. float64 and float32 arrays are read in place, strided, read-only
        and memory-mapped ones too; lists, other numbers and columns of pandas, Polars and
        PyArrow are converted. Masked points are left out.
    loss : str or loss object
        ``"squared_error"``: least squares. What is minimised is the mean of ``(y - slope * x - intercept)**2``.
    solver : str or solver object
        ``"gradient_descent"``, or a :class:`GradientDescent` with options of its own; ``"auto"`` chooses by loss.
    nan_policy : {"raise", "omit", "propagate"}
        For NaN in x or y: raise ValueError, leave the point out, or return a fit of NaN. Infinities are an error
        unless propagated.
    n_threads : int, optional
        The largest number of threads; by default ``NUMBA_NUM_THREADS`` or all processors. The result is the same
        to the last bit for every number.
    backend : {"numba", "numpy"}
        Compiled passes, or the reference implementation in NumPy.

    Returns
    -------
    LineFit
        The line, its mean loss, and how it was found.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.

    Warns
    -----
    ConvergenceWarning
        If the fit ended before it converged, unless a callback ended it. The result is then the last line, or
        the best if the descent diverged.

    Examples
    --------
    >>> import fastfit as ff
    >>> fit = ff.fit_line([1.0, 2.0, 3.0], [2.0, 4.0, 6.5])
    >>> fit
    LineFit: y = 2.25 x - 0.333333, loss 0.0138889, 3 points, converged after 1 iteration
    """
    chosen_loss = as_loss(loss)
    chosen_solver = validation.lookup(solver, SOLVERS, "solver")
    _require_one_of(backend, BACKENDS, "backend")
    _require_one_of(nan_policy, NAN_POLICIES, "nan_policy")
    if n_threads is not None:
        n_threads = validation.positive_integer(n_threads, "n_threads")
        if backend == "numpy" and n_threads > 1:
            raise ValueError(f"n_threads must be None or 1 with backend='numpy'; got {n_threads}")
    clean = validation.columns(x, y)
    points = ArrayPoints(clean, nan_policy=nan_policy, n_threads=n_threads, backend=backend)
    moments = points.moments()
    if moments.is_finite:
        solution = chosen_solver.solve(points, chosen_loss)
        slope, intercept, raw_loss = _in_callers_units(solution, moments)
    else:
        solution = Solution(_NAN, _NAN, _NAN, 0, Status.NOT_FINITE, Status.NOT_FINITE.value)
        slope = intercept = raw_loss = _NAN
    fit = LineFit(
        slope=slope,
        intercept=intercept,
        loss=raw_loss,
        n_points=points.n_points,
        n_omitted=points.n_omitted,
        n_iter=solution.n_iter,
        n_passes=points.n_passes,
        status=solution.status,
        message=solution.message,
        history=solution.history,
        _points=points,
    )
    if fit.status not in (Status.CONVERGED, Status.STOPPED, Status.NOT_FINITE):
        warnings.warn(fit.message, ConvergenceWarning, stacklevel=2)
    return fit


def _require_one_of(value: object, known: tuple[str, ...], name: str) -> None:
    if value not in known:
        raise ValueError(f"{name} must be {validation.one_of(known)}; got {value!r}")


def _in_callers_units(solution: Solution, moments: Moments) -> tuple[float, float, float]:
    """Return slope, intercept and loss in the caller's units, or raise if float64 cannot hold them."""
    raw = Axes.raw(moments.frame)
    slope, intercept = raw.line_from_frame(solution.slope, solution.level)
    loss = raw.loss_from_frame(solution.loss)
    # A loss of a few ulp squared is rounding, and may vanish; any other number must keep its digits.
    rounding = (8.0 * 2.0**-52) ** 2 * moments.vv
    for value, name, before, arguments, floor in (
        (slope, "slope", solution.slope, "x or y", 0.0),
        (intercept, "intercept", 0.0, "x or y", 0.0),
        (loss, "mean loss", solution.loss, "y", rounding),
    ):
        if not math.isfinite(value) or (abs(value) < _TINY and abs(before) > floor):
            raise ValueError(
                f"the {name} is beyond the range of float64 ({value:.3g}); rescale {arguments}"
            )
    return slope, intercept, loss
