"""fit_lines(): a line through each of many series in one array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import validation
from fastfit.lines.result import LineFits
from fastfit.lines.series import LineSums, Series
from fastfit.losses import Loss, RobustLoss, as_loss
from fastfit.outcome import ConvergenceWarning, Status, warn_caller
from fastfit.points.opening import BACKENDS, NAN_POLICIES
from fastfit.times import TimeLike, TimeUnit, Unit

# From this number of points on, progress is shown.
_LONG = 1 << 29


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
    progress: bool = True,
) -> LineFits:
    """Fit the line ``y = slope * x + intercept`` of least mean loss through each of many series.

    Parameters
    ----------
    x : array_like, shape (n,) or that of y
        Where the points lie, the same for all lines, or for each its own. It may hold times.
    y : array_like
        Values of any number of dimensions; the n points of a line lie along ``axis``. float64 and float32 are read in
        place, in any order of the axes; other numbers are converted in small parts. Of a table of pandas or Polars,
        each column is a line, and ``to_frame`` of the result bears their names.
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
    progress : bool
        Whether to show how far a long fit has come, if stderr is a terminal and Rich is installed.

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
    options = Options.of(
        loss=loss,
        f_scale=f_scale,
        fit_intercept=fit_intercept,
        has_sigma=sigma is not None,
        absolute_sigma=absolute_sigma,
        nan_policy=nan_policy,
        min_points=min_points,
        n_threads=n_threads,
        backend=backend,
    )
    progress = validation.true_or_false(progress, "progress")
    _refuse_chunks(y)
    series = Series.of(x, y, axis, sample_weight, sigma, datetime_unit)
    shows = progress and series.n * series.n_lines >= _LONG
    with watched(series.n_lines) if shows else nullcontext(int) as watch:
        sums = series.fit(
            through_origin=not options.fit_intercept,
            n_threads=options.n_threads,
            backend=options.backend,
            loss=options.loss if isinstance(options.loss, RobustLoss) else None,
            watch=watch,
        )
    fits = options.fits(sums, series.n, series.x.times, series.axis, series.names)
    warn_of_bad_lines(fits)
    return fits


@contextmanager
def watched(n: int, what: str = "lines") -> Iterator[Callable[[int], object]]:
    """Show how many of n lines, or of what they are, are fitted, as the function is told that it yields."""
    from fastfit.points.files.progress import display  # which imports all that reads files

    with display() as shown:

        def watch(n_done: int) -> None:
            if shown is not None:
                shown.share(n_done / n, f"{n_done:,} of {n:,} {what}")

        yield watch


class Options(NamedTuple):
    """How lines are fitted: checked arguments of :func:`fit_lines`."""

    loss: Loss
    fit_intercept: bool
    has_sigma: bool
    absolute_sigma: bool
    nan_policy: str
    min_points: int
    n_threads: int | None
    backend: str

    @classmethod
    def of(
        cls,
        *,
        loss: Any,
        f_scale: Any = None,
        fit_intercept: Any,
        has_sigma: bool,
        absolute_sigma: Any,
        nan_policy: Any,
        min_points: Any,
        n_threads: Any,
        backend: Any,
    ) -> Options:
        """Return a caller's options.

        Raises
        ------
        TypeError, ValueError
            If an option is not what it must be; the message names it.
        """
        found_loss = as_loss(loss, f_scale)
        if isinstance(found_loss, RobustLoss) and has_sigma:
            raise ValueError(
                f"sigma must be None unless loss is 'squared_error'; got loss={loss!r}"
            )
        fit_intercept = validation.true_or_false(fit_intercept, "fit_intercept")
        absolute_sigma = validation.true_or_false(absolute_sigma, "absolute_sigma")
        validation.require_one_of(nan_policy, NAN_POLICIES, "nan_policy")
        validation.require_one_of(backend, BACKENDS, "backend")
        if n_threads is not None:
            n_threads = validation.positive_integer(n_threads, "n_threads")
        min_points = validation.positive_integer(min_points, "min_points", least=2)
        min_points = min(min_points, 1 << 62)  # the compiled loops compare it as a float
        if absolute_sigma and not has_sigma:
            raise ValueError("absolute_sigma must be False unless sigma is given; got True")
        checked = fit_intercept, has_sigma, absolute_sigma, nan_policy, min_points
        return cls(found_loss, *checked, n_threads, backend)

    def fits(
        self,
        sums: LineSums,
        n_given: int | NDArray[Any] | Callable[[], NDArray[Any]],
        times: TimeUnit | None,
        axis: int,
        names: NDArray[np.object_] | None = None,
    ) -> LineFits:
        """Return the lines of series; ``n_given`` is their number of points, with those that are missing.

        Raises
        ------
        ValueError
            If points are missing, and that is not allowed.
        """
        fits = LineFits.of(
            sums,
            loss=self.loss,
            n_given=n_given,
            min_points=self.min_points,
            fit_intercept=self.fit_intercept,
            has_sigma=self.has_sigma,
            known_sigma=self.absolute_sigma,
            times=times,
            axis=axis,
            names=names,
        )
        if self.nan_policy != "omit" and (fits.n_omitted > 0).any():
            if self.nan_policy == "raise":
                raise ValueError(
                    f"y, x and weights must not hold NaN with nan_policy='raise'; got it in "
                    f"{np.count_nonzero(fits.n_omitted):,} of {fits.n_omitted.size:,} lines"
                )
            fits = fits.without(fits.n_omitted > 0)
        return fits


def _refuse_chunks(y: Any) -> None:
    """Raise TypeError about an array of Dask, which holds no values yet, also inside a DataArray."""
    library = type(y).__module__.partition(".")[0]
    kind = type(y).__name__
    if library == "xarray" and kind == "Dataset":
        raise TypeError("y must be an array; got a Dataset of xarray: pick one of its variables")
    if library == "dask" or (library == "xarray" and getattr(y, "chunks", None) is not None):
        raise TypeError(
            f"y must hold its values; got {type(y).__name__} with chunks of Dask: use fastfit.xarray.fit_lines on a "
            "DataArray, which fits chunk by chunk, or y.compute() if it fits in memory"
        )


def warn_of_bad_lines(fits: LineFits, *but: Status, where: str = "fits.status") -> None:
    """Warn once, with their number, about lines that have points and could not be fitted, but for some reasons."""
    codes = fits.codes
    is_bad = codes != 0
    if not is_bad.any():
        return
    numbers = np.bincount(codes[is_bad & (fits.n_points > 0)], minlength=len(fits.STATUSES))
    counts = {
        status: int(number)
        for status, number in zip(fits.STATUSES, numbers, strict=True)
        if status not in (Status.CONVERGED, *but)
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
            f"{total:,} of {fits.size:,} lines could not be fitted and are NaN ({each}); {where} says why",
            ConvergenceWarning,
        )
