"""Fit a line: from the caller's arguments to points, a solver and a result."""

from __future__ import annotations

import math
import numbers
import os
from typing import Any, Literal

from numpy.typing import ArrayLike

from fastfit import validation
from fastfit._version import __version__
from fastfit.exact.coordinates import times_power_of_two
from fastfit.exact.double_double import DoubleDouble, multiply
from fastfit.exact.moment_sums import MomentSums
from fastfit.inference import Inference, RobustInference
from fastfit.losses import Loss, RobustLoss, as_loss
from fastfit.outcome import ConvergenceWarning, Status, warn_caller
from fastfit.points.base import Plan, Points, Reading, Source
from fastfit.points.kept import KeptPoints
from fastfit.points.moments import MomentPoints
from fastfit.points.opening import reading_of, source_of
from fastfit.result import LineFit
from fastfit.solvers.base import Solution, Solver
from fastfit.solvers.exact import Exact
from fastfit.solvers.gradient_descent import GradientDescent
from fastfit.solvers.newton import Newton
from fastfit.tables import named_columns
from fastfit.times import TimeLike, Unit

SOLVERS: dict[str, type[Solver]] = {
    "auto": Exact,
    "exact": Exact,
    "gradient_descent": GradientDescent,
    "newton": Newton,
}

_NAN = DoubleDouble(math.nan)
_NOT_FITTED = Solution(_NAN, _NAN, math.nan, 0, Status.NOT_FINITE, Status.NOT_FINITE.value)
_UNKNOWN = " Moments cannot resolve residuals this small, so standard errors are NaN; fit the points themselves."
# Typical number of passes of a robust fit: one for moments, three or four for steps, and two for medians ("mad").
_PASSES_OF_ROBUST, _PASSES_OF_MAD = 5, 7
_TINY, _HUGE = 2.0**-1022, 2.0**1023


def fit_line(
    x: ArrayLike | TimeLike | Source,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss | type[Loss] = "squared_error",
    f_scale: float | Literal["mad"] | None = None,
    solver: str | Solver = "auto",
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    absolute_sigma: bool = False,
    nan_policy: Literal["raise", "omit", "propagate"] = "raise",
    data: Any = None,
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
    backend: Literal["numba", "numpy"] = "numba",
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> LineFit:
    """Fit the line ``y = slope * x + intercept`` of least mean loss.

    Parameters
    ----------
    x, y : array_like, shape (n,) or (n, 1)
        At least two points, with two different x. float64 and float32 arrays are read in place, even if they are
        strided, read-only or memory-mapped; lists, other numbers and columns of pandas, Polars and PyArrow are
        converted. Masked points are left out. Dask's arrays and columns are read partition by partition, by its
        workers. ``x`` may also be :class:`Moments`, or files as returned by :func:`scan`; then leave out y.
    loss : str, loss object or class
        The mean loss of the residuals ``y - slope * x - intercept`` is minimised. ``"squared_error"`` means least
        squares. ``"huber"``, ``"soft_l1"``, ``"cauchy"`` and ``"tukey"`` are robust: they equal the square for small
        residuals and give outliers less weight. One of your own is a subclass of :class:`RobustLoss`.
    f_scale : float or "mad", optional
        Residual at which a robust loss departs from the square, in units of y. By default ("mad") it is estimated from
        the residuals. ``loss="huber", f_scale=1.5`` is ``loss=Huber(1.5)``.
    solver : str, solver object or class
        ``"exact"`` or :class:`Exact`, the closed form of least squares; ``"newton"`` or :class:`Newton`, for every
        loss; ``"gradient_descent"`` or :class:`GradientDescent`. ``"auto"`` is exact for squared error, and Newton's
        method for robust losses.
    fit_intercept : bool
        False fits ``y = slope * x``, for which a single point is enough.
    sample_weight : array_like, shape (n,), or float, optional
        How often each point was observed, at least 0: a weight of 2 is the same as the point twice, for the line, the
        mean loss and the errors.
    sigma : array_like, shape (n,), or float, optional
        Standard deviations of y, above 0; points are weighted by ``1 / sigma**2``. Only for squared error.
    absolute_sigma : bool
        Whether sigma is the true standard deviation, from which errors follow. Otherwise it is known up to a factor,
        which is estimated from the residuals; as in ``scipy.optimize.curve_fit``.
    nan_policy : {"raise", "omit", "propagate"}
        For NaN in x, y or weights: raise ValueError, leave the point out, or return a fit of NaN. Infinity is an
        error unless it is propagated.
    data : DataFrame or table, optional
        A table of pandas, Polars (eager or lazy), PyArrow or Dask, or a mapping of names to columns. Strings passed as
        x, y, sample_weight and sigma are then names of its columns.
    datetime_unit : {"W", "D", "h", "m", "s", "ms", "us", "ns"}, optional
        Unit of x where x holds times (datetime64, timedelta64, columns and lists of times); "s" by default. Times are
        counted from 1970-01-01 UTC, without rounding, and the intercept is the value of the line there.
    n_threads : int, optional
        Largest number of threads; by default ``NUMBA_NUM_THREADS``, or the processors available to this process. The
        result is the same to the last bit for every number.
    backend : {"numba", "numpy"}
        Compiled passes, or the reference implementation in NumPy.
    checkpoint : str or path, optional
        Only for files: path of a JSON file with the results of passes so far. If the fit is interrupted, the same call
        resumes from there, and ends with the same result to the last bit. The file is kept at the end; delete it to
        start from the beginning.
    progress : bool
        Whether to show progress while files are read, if stderr is a terminal and Rich is installed.

    Returns
    -------
    LineFit
        The line, its mean loss and errors, and how it was found.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it. For files, it names the file (``FileError``).
    OSError
        If the checkpoint cannot be written.

    Warns
    -----
    ConvergenceWarning
        If the fit ended before it converged, unless a callback stopped it. The result is then the last line, or the
        best one if the descent diverged.

    Examples
    --------
    >>> import fastfit as ff
    >>> fit = ff.fit_line([1.0, 2.0, 3.0], [2.0, 4.0, 6.5])
    >>> fit
    LineFit: y = 2.25 x - 0.333333, loss 0.0138889, 3 points, exact
    >>> round(fit.stderr, 6)
    0.144338
    """
    found_loss, found_solver = method_of(loss, solver, f_scale)
    robust = isinstance(found_loss, RobustLoss)
    fit_intercept = validation.true_or_false(fit_intercept, "fit_intercept")
    absolute_sigma = validation.true_or_false(absolute_sigma, "absolute_sigma")
    progress = validation.true_or_false(progress, "progress")
    if data is not None:
        x, y, sample_weight, sigma = named_columns(data, x, y, sample_weight, sigma)
    source = source_of(x, y, sample_weight, sigma)
    if absolute_sigma and not source.has_sigma:
        raise ValueError("absolute_sigma must be False unless sigma is given; got True")
    if robust and source.has_sigma:
        raise ValueError(f"sigma must be None unless loss is 'squared_error'; got loss={loss!r}")
    if checkpoint is not None and not (isinstance(checkpoint, (str, os.PathLike)) and checkpoint):
        raise TypeError(f"checkpoint must be the path of a file, or None; got {checkpoint!r}")
    reading = reading_of(
        nan_policy=nan_policy,
        n_threads=n_threads,
        backend=backend,
        through_origin=not fit_intercept,
        sampled=Reading.sampled if robust else 0,
        datetime_unit=datetime_unit,
    )
    plan = Plan(found_loss, _passes_expected(found_solver, found_loss), progress)
    if checkpoint is not None:
        identity = _identity(found_solver, found_loss, fit_intercept)
        plan = plan._replace(checkpoint=checkpoint, identity=identity)
    with source.opened(reading, plan) as points:
        fit = fit_points(
            points,
            found_loss,
            found_solver,
            fit_intercept=fit_intercept,
            has_sigma=source.has_sigma,
            absolute_sigma=absolute_sigma,
            source=source,
            reading=reading,
        )
    warn_unless_converged(fit)
    return fit


def method_of(loss: Any, solver: str | Solver, f_scale: Any = None) -> tuple[Loss, Solver]:
    """Return the loss and the solver that a caller's arguments stand for.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.
    """
    found_loss = as_loss(loss, f_scale)
    found_solver = validation.lookup(solver, SOLVERS, "solver")
    if solver == "auto" and isinstance(found_loss, RobustLoss):
        found_solver = Newton()
    return found_loss, found_solver


def fit_points(
    points: Points,
    loss: Loss,
    solver: Solver,
    *,
    fit_intercept: bool = True,
    has_sigma: bool = False,
    absolute_sigma: bool = False,
    source: Source | None = None,
    reading: Reading | None = None,
) -> LineFit:
    """Return the line fitted to opened points; arguments must be checked, and no warning is issued.

    ``source`` and ``reading`` open the same points once more, for a picture.
    """
    moments = points.moments()
    solution = _NOT_FITTED
    inference: Inference | None = None
    slope = intercept = raw_loss = math.nan
    from_moments = isinstance(points, MomentPoints)
    if moments.is_finite:
        moments.require_line(fit_intercept=fit_intercept, n_omitted=points.n_omitted)
        solution = solver.solve(points, loss, fit_intercept=fit_intercept)
        slope, intercept, raw_loss = _in_callers_units(solution, moments)
        known = not from_moments or moments.least_squares(fit_intercept=fit_intercept).is_known
        if not known:
            solution = solution._replace(message=solution.message + _UNKNOWN)
        converged = solution.status is Status.CONVERGED
        of_line = moments, solution.slope, solution.intercept
        if solution.final is not None:
            inference = RobustInference.of(
                *of_line,
                points.frame,
                solution.final,
                fit_intercept=fit_intercept,
                n_effective=points.n_effective,
                converged=converged,
            )
        else:
            inference = Inference(
                *of_line,
                solution.loss * moments.weight_sum,
                fit_intercept=fit_intercept,
                n_effective=points.n_effective,
                unit_sigma=points.unit_sigma,
                has_sigma=has_sigma,
                known_sigma=absolute_sigma,
                converged=converged,
                known=known,
            )
    return LineFit(
        slope=slope,
        intercept=intercept,
        loss=raw_loss,
        n_points=points.n_points,
        n_omitted=points.n_omitted,
        n_iter=solution.n_iter,
        n_passes=points.n_passes,
        status=solution.status,
        history=solution.history,
        f_scale=_f_scale_in_callers_units(loss, solution, moments),
        _message=solution.message,
        _times=moments.times,
        _loss=loss,
        _points=None if from_moments else KeptPoints(points, source, reading),
        _inference=inference,
    )


def warn_unless_converged(fit: LineFit) -> None:
    """Issue a ConvergenceWarning at the caller's line, if the fit did not converge for a reason worth a warning."""
    if fit.status not in (Status.CONVERGED, Status.STOPPED, Status.NOT_FINITE):
        warn_caller(fit.message, ConvergenceWarning)


def _passes_expected(solver: Solver, loss: Loss) -> int | None:
    """Return about how often a fit reads points outside memory; None if it cannot be known."""
    if isinstance(solver, GradientDescent) and (
        isinstance(loss, RobustLoss) or solver.passes == "samples"
    ):
        return None
    if not isinstance(loss, RobustLoss):
        return 1
    return _PASSES_OF_MAD if isinstance(loss.f_scale, str) else _PASSES_OF_ROBUST


def _identity(solver: Solver, loss: Loss, fit_intercept: bool) -> dict[str, str]:
    """Return what determines a fit besides its points, for a checkpoint.

    Raises
    ------
    ValueError
        If the start of the fit is random.
    """
    descent = solver if isinstance(solver, GradientDescent) else GradientDescent()
    is_whole = isinstance(descent.rng, numbers.Integral) and not isinstance(descent.rng, bool)
    if isinstance(descent.init, str) and not is_whole:
        raise ValueError(f"rng must be an integer with a checkpoint; got {descent.rng!r}")
    return {
        "loss": repr(loss),
        "solver": repr(solver),
        "fit_intercept": repr(fit_intercept),
        "version of fastfit": __version__,
    }


def _f_scale_in_callers_units(loss: Loss, solution: Solution, moments: MomentSums) -> float | None:
    """Return the f_scale that was given or found; None if the loss has none."""
    if not isinstance(loss, RobustLoss):
        return None
    if not isinstance(loss.f_scale, str):
        return loss.f_scale
    if solution.f_scale is None:
        return math.nan
    return times_power_of_two(solution.f_scale, -moments.exponents[1])


def _in_callers_units(solution: Solution, moments: MomentSums) -> tuple[float, float, float]:
    """Return slope, intercept and loss in the caller's units, or raise if float64 cannot hold them."""
    x_exponent, y_exponent = moments.exponents
    slope, intercept, loss = solution.slope.high, solution.intercept.high, solution.loss
    if moments.times is not None:
        slope = multiply(solution.slope, DoubleDouble(moments.times.counts)).high
    if x_exponent or y_exponent:
        slope = times_power_of_two(slope, x_exponent - y_exponent)
        intercept = times_power_of_two(intercept, -y_exponent)
        loss = times_power_of_two(loss, -2 * y_exponent)
    elif _TINY < abs(slope) < _HUGE and _TINY < abs(intercept) < _HUGE and _TINY < loss < _HUGE:
        return slope, intercept, loss
    # A loss of a few ulp squared is rounding, and may vanish; any other number must keep its digits.
    rounding = (8.0 * 2.0**-52) ** 2 * moments.variance_of_y
    for value, name, before, arguments, floor in (
        (slope, "slope", solution.slope.high, "x or y", 0.0),
        (intercept, "intercept", 0.0, "x or y", 0.0),
        (loss, "mean loss", solution.loss, "y", rounding),
    ):
        if not math.isfinite(value) or (abs(value) < _TINY and abs(before) > floor):
            raise ValueError(
                f"the {name} is beyond the range of float64 ({value:.3g}); rescale {arguments}"
            )
    return slope, intercept, loss
