"""fit_lines(): a line through each of many series in one array."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastfit import validation
from fastfit.lines.result import LineFits
from fastfit.lines.series import Series
from fastfit.losses import Loss, RobustLoss, as_loss
from fastfit.outcome import ConvergenceWarning, Status, warn_caller
from fastfit.points.opening import BACKENDS, NAN_POLICIES
from fastfit.times import TimeLike, Unit


def fit_lines(
    x: ArrayLike | TimeLike,
    y: ArrayLike,
    *,
    axis: int = 0,
    loss: str | Loss | type[Loss] = "squared_error",
    f_scale: float | Literal["mad"] | None = None,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    absolute_sigma: bool = False,
    nan_policy: Literal["omit", "raise", "propagate"] = "omit",
    min_points: int = 2,
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
    backend: Literal["numba", "numpy"] = "numba",
) -> LineFits:
    """Fit the line ``y = slope * x + intercept`` of least mean loss through each of many series.

    Parameters
    ----------
    x : array_like, shape (n,) or that of y
        Where the points lie, the same for all lines, or for each its own. It may hold times.
    y : array_like
        Values of any number of dimensions; the n points of a line lie along ``axis``. float64 and float32 are read in
        place, in any order of the axes; other numbers are converted in small parts.
    axis : int
        The axis of y along which the points of a line lie.
    loss : str, loss object or class
        The mean loss that is minimised: as in :func:`fit_line`, ``"squared_error"`` for least squares, or a robust one,
        ``"huber"``, ``"soft_l1"``, ``"cauchy"``, ``"tukey"`` or your own.
    f_scale : float or "mad", optional
        Residual at which a robust loss departs from the square, in units of y, the same for all lines. By default
        ("mad") each line has its own, estimated from its residuals.
    fit_intercept : bool
        False fits ``y = slope * x``.
    sample_weight : array_like, shape (n,) or that of y, optional
        How often each point was observed, at least 0.
    sigma : array_like, shape (n,) or that of y, optional
        Standard deviations of y, above 0; points are weighted by ``1 / sigma**2``. Only for squared error.
    absolute_sigma : bool
        Whether sigma is the true standard deviation, from which errors follow, or known up to a factor.
    nan_policy : {"omit", "raise", "propagate"}
        For NaN in y, in an x or in weights: leave the point out, raise ValueError, or have no line there.
    min_points : int
        Fewest points for a line; at least 2. Lines with fewer are NaN.
    datetime_unit : {"W", "D", "h", "m", "s", "ms", "us", "ns"}, optional
        Unit of x where x holds times; "s" by default.
    n_threads : int, optional
        Largest number of threads; results have the same bits for every number.
    backend : {"numba", "numpy"}
        Compiled loops, or the reference in NumPy, which fits robust lines one by one.

    Returns
    -------
    LineFits
        Arrays of the shape that is left without ``axis``. A line that cannot be fitted is NaN, with a status that says
        why, and spoils no other.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.

    Warns
    -----
    ConvergenceWarning
        Once, with their number, if lines that have points could not be fitted, or did not converge. Lines without any
        point are no reason.

    Examples
    --------
    >>> import fastfit as ff
    >>> fits = ff.fit_lines([0.0, 1.0, 2.0], [[1.0, 0.0], [3.0, 1.0], [5.0, 2.0]])
    >>> fits.slope
    array([2., 1.])
    >>> fits[0]
    LineFit: y = 2 x + 1, loss 0, 3 points, exact
    """
    found_loss = as_loss(loss, f_scale)
    robust = found_loss if isinstance(found_loss, RobustLoss) else None
    fit_intercept = validation.true_or_false(fit_intercept, "fit_intercept")
    absolute_sigma = validation.true_or_false(absolute_sigma, "absolute_sigma")
    validation.require_one_of(nan_policy, NAN_POLICIES, "nan_policy")
    validation.require_one_of(backend, BACKENDS, "backend")
    if n_threads is not None:
        n_threads = validation.positive_integer(n_threads, "n_threads")
    min_points = validation.positive_integer(min_points, "min_points")
    if min_points < 2:
        raise ValueError(f"min_points must be at least 2; got {min_points}")
    if absolute_sigma and sigma is None:
        raise ValueError("absolute_sigma must be False unless sigma is given; got True")
    if robust is not None and sigma is not None:
        raise ValueError(f"sigma must be None unless loss is 'squared_error'; got loss={loss!r}")
    series = Series.of(x, y, axis, sample_weight, sigma, datetime_unit)
    sums = series.fit(
        through_origin=not fit_intercept, n_threads=n_threads, backend=backend, loss=robust
    )
    fits = LineFits.of(
        sums,
        loss=found_loss,
        n_given=series.n,
        min_points=min_points,
        fit_intercept=fit_intercept,
        has_sigma=sigma is not None,
        known_sigma=absolute_sigma,
        times=series.x.times,
        axis=series.axis,
    )
    if nan_policy != "omit" and (fits.n_omitted > 0).any():
        if nan_policy == "raise":
            raise ValueError(
                f"y, x and weights must not hold NaN with nan_policy='raise'; got it in "
                f"{np.count_nonzero(fits.n_omitted):,} of {fits.n_omitted.size:,} lines"
            )
        fits = fits.without(fits.n_omitted > 0)
    _warn_of_bad_lines(fits)
    return fits


def _warn_of_bad_lines(fits: LineFits) -> None:
    """Warn once, with their number, about lines that have points and could not be fitted."""
    counts = {
        status: int(np.count_nonzero((fits.codes == code) & (fits.n_points > 0)))
        for code, status in enumerate(fits.STATUSES)
        if status is not Status.CONVERGED
    }
    unsure = {status: counts.pop(status) for status in (Status.MAX_ITER, Status.STALLED)}
    bad = {status: count for status, count in counts.items() if count}
    if any(unsure.values()):
        warn_caller(
            f"{sum(unsure.values()):,} of {fits.size:,} lines did not converge; fits.converged says which",
            ConvergenceWarning,
        )
    if bad:
        each = ", ".join(f"{count:,} {status.label}" for status, count in bad.items())
        total = sum(bad.values())
        warn_caller(
            f"{total:,} of {fits.size:,} lines could not be fitted and are NaN ({each}); fits.status says why",
            ConvergenceWarning,
        )
