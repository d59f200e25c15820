"""The result of a fit: a line, its errors, and how it was found."""

from __future__ import annotations

import contextlib
import html
import math
import os
import textwrap
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import outliers
from fastfit.columns import Shifted, real_array, shifted
from fastfit.exact.coordinates import times_power_of_two
from fastfit.inference import Inference
from fastfit.losses import Huber, Loss, RobustLoss, SoftL1, SquaredError
from fastfit.outcome import History, Iterate, Status
from fastfit.plotting import draw_fit
from fastfit.points.base import Points
from fastfit.points.kept import KeptPoints
from fastfit.times import TimeLike, TimeUnit
from fastfit.validation import finite_or_none, probability, true_or_false, what_came

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SQUARED_ERROR = SquaredError()
# Smaller p-values are not printed: they come close to the end of the range of floats.
_LEAST_PVALUE = 1e-300


def _rounded(value: float, error: float) -> str:
    """Return a number with the digits that its error warrants: down to the second digit of the error."""
    if not (error > 0.0 and math.isfinite(value)):
        return f"{value:.12g}"
    last = math.floor(math.log10(error)) - 1  # power of ten of the last digit
    first = math.floor(math.log10(abs(value))) if value else last
    if last > -16 and -5 < max(first, last) < 9:
        return f"{round(value, -last):.{max(-last, 0)}f}"
    return f"{value:.{min(max(first - last, 0), 16)}e}"


def _with_error(value: float, error: float) -> str:
    """Return a number and its error, with two digits of the error, both written with or both without an exponent."""
    if not (error > 0.0 and math.isfinite(error)):
        return f"{value:.12g} +- {error:.2g}"
    short = f"{error:.1e}"
    number, error = _rounded(value, float(short)), float(short)
    if "e" in number:
        return f"{number} +- {short}"
    return f"{number} +- {error:.{max(1 - math.floor(math.log10(error)), 0)}f}"


@dataclass(frozen=True, eq=False, repr=False)
class LineFit:
    """A fitted line ``y = slope * x + intercept``, and how it was found.

    For ``plot`` it keeps a sample of about a thousand points, but not the arrays it was fitted to. Pickles and copies
    keep no points.

    Attributes
    ----------
    slope : float
        In units of y over units of x.
    intercept : float
        In units of y.
    loss : float
        Mean loss over the points, at this line; for least squares, the mean squared residual. Near 0 if ``f_scale``
        is 0.
    n_points : int
        Number of points fitted.
    n_omitted : int
        Number of points left out, because they were masked or NaN.
    n_iter : int
        Number of steps of the solver; 0 for the exact one.
    n_passes : int
        Number of times that all points were read.
    status : Status
        How the fit ended.
    message : str
        The status in words, with numbers for these data.
    history : History or None
        The recorded states, if the solver was told to record them.
    f_scale : float or None
        Residual at which a robust loss departs from the square, in units of y: as given, or as found for ``"mad"``,
        which is 0 if more than half of the points lie on the line. None for squared error.
    median_abs_residual : float
        Median of the absolute residuals, in units of y, by which lines of different losses compare. It is computed when
        it is first asked for: from all points if there are few, if the arrays that were fitted are still in memory, or
        if they are in files; else from the sample of about a thousand points that the fit keeps.
    rvalue, rsquared : float
        Pearson's correlation coefficient of x and y, and its square, the share of the variance of y that the
        least-squares line explains; without intercept, their counterparts about zero. NaN for a constant y. For a
        robust line they are still those of least squares; for a line of least squares that did not converge,
        ``rsquared`` is NaN.
    stderr, intercept_stderr : float
        Standard errors of slope and intercept; of a robust line by the sandwich formula, which assumes neither normal
        residuals nor a constant spread. They are NaN for two points, for weights that sum to 2 or less, and for a line
        that did not converge; so are all results that depend on them.
    covariance : ndarray, shape (2, 2)
        Covariance matrix of slope and intercept, in this order.
    residual_std : float
        Standard deviation of the residuals, in units of y; of residuals over sigma, if that was given. It includes
        outliers, for robust lines too, and is smallest for least squares. ``f_scale`` and ``median_abs_residual``
        hardly depend on outliers.
    pvalue : float
        Two-sided p-value of the hypothesis that the slope is 0, from the t-distribution (with ``absolute_sigma`` from
        the normal distribution). Needs SciPy.
    """

    slope: float
    intercept: float
    loss: float
    n_points: int
    n_omitted: int
    n_iter: int
    n_passes: int
    status: Status
    history: History | None = None
    f_scale: float | None = None
    _message: str = ""
    _times: TimeUnit | None = None
    _loss: Loss = _SQUARED_ERROR
    _points: KeptPoints | None = field(default=None)
    _inference: Inference | None = field(default=None)

    @cached_property
    def message(self) -> str:
        """The status in words, with numbers for these data; of a robust line also what outliers to one side do."""
        return self._message + self._about_sides()

    def _about_sides(self) -> str:
        """Return what to do about outliers to one side, as some points show that are in memory."""
        loss, f_scale = self._loss, self.f_scale
        if not (isinstance(loss, (Huber, SoftL1)) and f_scale and self.converged and self._points):
            return ""
        sample = self._points.sample()
        if sample is None:
            return ""
        y, spread = sample.y, f_scale / loss.tuning
        found = outliers.sides(y - self._line_at(Shifted(sample.x, 0.0)), sample.w, spread)
        # The sample is in float64, and rounded so far.
        is_seen = spread > 2.0**-48 * float(np.max(np.abs(y)))
        return outliers.advice(loss, found) if found.is_one_sided and is_seen else ""

    @property
    def rvalue(self) -> float:
        """Correlation coefficient of x and y; without intercept, about zero."""
        return self._inference.rvalue if self._inference else math.nan

    @property
    def rsquared(self) -> float:
        """Share of the variance of y that the least-squares line explains; without intercept, about zero."""
        return self._inference.rsquared if self._inference else math.nan

    @property
    def stderr(self) -> float:
        """Standard error of the slope."""
        return self._inference.stderr if self._inference else math.nan

    @property
    def intercept_stderr(self) -> float:
        """Standard error of the intercept; 0 where it was not fitted."""
        return self._inference.intercept_stderr if self._inference else math.nan

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance matrix of slope and intercept, in this order."""
        return self._inference.covariance if self._inference else np.full((2, 2), math.nan)

    @property
    def residual_std(self) -> float:
        """Standard deviation of the residuals, with n - 2 degrees of freedom (n - 1 without intercept)."""
        return self._inference.residual_std if self._inference else math.nan

    @cached_property
    def median_abs_residual(self) -> float:
        """Median of the absolute residuals, in units of y, a point of weight 2 counted twice.

        Raises
        ------
        ValueError
            If there are no points: moments have none, and a copy or an unpickled fit does not keep them.
        """
        if self._points is None:
            raise ValueError(
                "median_abs_residual needs points: moments have none, and a pickle or copy does not keep them; compute "
                "numpy.median(abs(y - fit.predict(x)))"
            )
        return self._median_of(self._points.some_points())

    @cached_property
    def _median_in_reach(self) -> float | None:
        """Median of the absolute residuals of all points; None if they are not at hand."""
        if self._points is None or self._inference is None:
            return None
        points = self._points.points_in_reach()
        return None if points is None else self._median_of(points)

    def _median_of(self, points: Points) -> float:
        """Return the median of the absolute residuals of some points."""
        if self._inference is None:
            return math.nan
        points.moments()  # after which the frame does not change
        slope, intercept = self._inference.line
        median = points.median_absolute_residual(
            slope.high, points.frame.offset(slope, intercept).high
        )
        return times_power_of_two(median, -points.frame.y_exponent)

    @property
    def pvalue(self) -> float:
        """Two-sided p-value of the hypothesis that the slope is 0; needs SciPy."""
        return self._inference.pvalue(self.slope) if self._inference else math.nan

    @property
    def converged(self) -> bool:
        """Whether the fit converged: the gradient is within ``tol`` of zero."""
        return self.status is Status.CONVERGED

    @property
    def datetime_unit(self) -> str | None:
        """Unit of x in slope and errors, such as "D", where x held times; None where x held numbers."""
        return None if self._times is None else self._times.unit

    def equation(self, digits: int = 6) -> str:
        """Return the line as text, such as ``y = 2 x + 1`` or ``y = 2 per D x + 1``, to ``digits`` digits."""
        slope, intercept = self._without_rounding()
        sign = "-" if intercept < 0 else "+"
        unit = "" if self._times is None else f" per {self._times.unit}"
        return f"y = {slope:.{digits}g}{unit} x {sign} {abs(intercept):.{digits}g}"

    def _without_rounding(self) -> tuple[float, float]:
        """Return slope and intercept, 0 for what rounding of the points alone may make of 0."""
        least = (0.0, 0.0) if self._inference is None else self._inference.rounding(self.slope)
        around = zip((self.slope, self.intercept), least, strict=True)
        slope, intercept = (0.0 if abs(value) <= floor else value for value, floor in around)
        return slope, intercept

    def __repr__(self) -> str:
        steps = "1 iteration" if self.n_iter == 1 else f"{self.n_iter:,} iterations"
        end = f"{self.status.label} after {steps}"
        if self.n_iter == 0:  # also of one of many lines, which counts no iterations
            end = "exact" if self.converged and self.f_scale is None else self.status.label
        return f"LineFit: {self.equation()}, loss {self.loss:.6g}, {self.n_points:,} points, {end}"

    def __getstate__(self) -> dict[str, Any]:
        # Without its points, it could not say later what they show.
        return {**vars(self), "message": self.message, "_points": None}

    def predict(self, x: ArrayLike | TimeLike) -> Any:
        """Return ``slope * x + intercept``: a float for a number, else an array of the shape of x.

        It is computed from the mean of x, so that large offsets such as time stamps lose no accuracy.

        Raises
        ------
        TypeError
            If x does not hold real numbers.
        """
        return self._line_at(shifted(x, "x", self._times))

    def _line_at(self, x: Shifted) -> Any:
        if self._inference:
            line = self._inference.predict(x, self.slope, self.intercept)
        else:
            line = (x.values + x.offset) * self.slope + self.intercept
        return float(line) if np.ndim(line) == 0 else line

    def conf_int(self, level: float = 0.95) -> NDArray[np.float64]:
        """Return confidence intervals, shape (2, 2): lower and upper bound of the slope, then of the intercept.

        Parameters
        ----------
        level : float
            Probability that an interval covers the true value, between 0 and 1.

        Raises
        ------
        ImportError
            If SciPy is missing: ``pip install 'fastfit[stats]'``.
        """
        level = probability(level)
        if self._inference is None:
            return np.full((2, 2), math.nan)
        reach = self._inference.quantile(level)
        around = ((self.slope, self.stderr), (self.intercept, self.intercept_stderr))
        return np.array([[value - reach * err, value + reach * err] for value, err in around])

    def confidence_band(self, x: ArrayLike | TimeLike, level: float = 0.95) -> tuple[Any, Any]:
        """Return lower and upper bound of the true line at each x.

        Parameters
        ----------
        x : array_like
            Positions, of any shape.
        level : float
            Probability that the bounds at one x enclose the line, between 0 and 1.

        Raises
        ------
        ImportError
            If SciPy is missing: ``pip install 'fastfit[stats]'``.
        """
        values, level = shifted(x, "x", self._times), probability(level)
        half = self._inference.confidence(values, level) if self._inference else math.nan
        line = self._line_at(values)
        return line - half, line + half

    def prediction_band(
        self, x: ArrayLike | TimeLike, level: float = 0.95, *, sigma: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Return lower and upper bound of a new point at each x.

        NaN for robust losses, which assume no noise distribution.

        Parameters
        ----------
        x : array_like
            Positions, of any shape.
        level : float
            Probability that the bounds at one x enclose the point, between 0 and 1.
        sigma : array_like, optional
            Standard deviation of the new point, if the line was fitted with ``sigma``; by default the root of the
            harmonic mean of the variances of the fitted points. If the line was fitted without ``sigma``, the new
            point has weight 1.

        Raises
        ------
        ImportError
            If SciPy is missing: ``pip install 'fastfit[stats]'``.
        """
        values, level = shifted(x, "x", self._times), probability(level)
        of_point = None if sigma is None else real_array(sigma, "sigma").astype(np.float64)
        half = math.nan
        if self._inference:
            half = self._inference.prediction(values, level, of_point)
        line = self._line_at(values)
        return line - half, line + half

    def weights(self, x: ArrayLike | TimeLike, y: ArrayLike) -> Any:
        """Return the weight that points at x and y have in the loss of this line, from 0 to 1.

        It is 1 for squared error. A robust loss gives 1 to points on the line and less to those far from it; Tukey's
        gives 0 beyond ``f_scale``.

        Parameters
        ----------
        x, y : array_like
            Points, of shapes that fit together; those of the fit or others.

        Returns
        -------
        float or ndarray
            NaN where x or y is NaN.
        """
        residual, rounding = self._residual(x, y)
        found = outliers.weights(self._loss, self.f_scale, residual, rounding)
        found = np.where(np.isnan(residual), math.nan, found)
        return float(found) if np.ndim(found) == 0 else found

    def is_outlier(self, x: ArrayLike | TimeLike, y: ArrayLike) -> Any:
        """Return whether points at x and y lie more than three standard deviations from this line.

        The standard deviation of a robust line is that of its scale, ``f_scale`` over the tuning constant of the loss,
        on which outliers have hardly any influence; that of least squares is ``residual_std``, which outliers raise.

        Parameters
        ----------
        x, y : array_like
            Points, of shapes that fit together; those of the fit or others.

        Returns
        -------
        bool or ndarray of bool
            False where x or y is NaN.

        Raises
        ------
        ValueError
            If the line was fitted with sigma: compare ``(y - fit.predict(x)) / sigma`` with 3 then.
        """
        if self._inference is not None and self._inference.has_sigma:
            raise ValueError(
                "is_outlier has no sigma of these points; compare abs(y - fit.predict(x)) / sigma with 3"
            )
        residual, rounding = self._residual(x, y)
        spread = self.residual_std
        if isinstance(self._loss, RobustLoss) and self.f_scale is not None:
            spread = self.f_scale / self._loss.tuning
        found = abs(residual) > np.maximum(outliers.FAR * spread, rounding)
        return bool(found) if np.ndim(found) == 0 else found

    def _residual(self, x: Any, y: Any) -> tuple[NDArray[np.float64], Any]:
        """Return the residuals of points, and what rounding may make of 0."""
        at, values = shifted(x, "x", self._times), shifted(y, "y")
        shapes = np.shape(at.values), np.shape(values.values)
        try:
            np.broadcast_shapes(*shapes)
        except ValueError as error:
            raise ValueError(
                f"x and y must have shapes that fit together; got {shapes[0]} and {shapes[1]}"
            ) from error
        with np.errstate(invalid="ignore"):  # infinity less infinity
            size = abs(np.asarray(values.values)) + abs(
                np.asarray(self._line_at(at)) - values.offset
            )
            if self._inference is None:
                return np.asarray(values.values - self._line_at(at)), 0.0
            residual = self._inference.residual(at, values, self.slope, self.intercept)
        return np.asarray(residual), 2.0**-50 * size

    def summary(self, level: float = 0.95, *, message: str | None = None) -> str:
        """Return a table of the results, 80 columns wide; with confidence intervals and p-value if SciPy is installed.

        Slope and intercept are rounded to two digits of their standard errors.

        Parameters
        ----------
        level : float
            Probability that an interval covers the true value, between 0 and 1.
        message : str, optional
            What stands below the table; by default ``message``.
        """
        rows = self._rows(probability(level))
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, *textwrap.wrap(self.message if message is None else message, 80)])

    def _repr_html_(self) -> str:
        """Return the summary as a table of HTML, for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows(0.95)
        )
        return f"<table><caption>LineFit</caption>{rows}</table><p>{html.escape(self.message)}</p>"

    def _rows(self, level: float) -> list[tuple[str, str]]:
        """Return names and values of the summary."""
        rows = [("line", self.equation())]
        errors = {"slope": self.stderr, "intercept": self.intercept_stderr}
        intervals: Any = [None, None]
        pvalue = math.nan
        with contextlib.suppress(ImportError):
            intervals, pvalue = self.conf_int(level).tolist(), self.pvalue
        values = self._without_rounding()
        for (name, error), value, interval in zip(errors.items(), values, intervals, strict=True):
            unit = f" per {self.datetime_unit}" if name == "slope" and self.datetime_unit else ""
            is_fitted = self._inference is not None and not self._inference.is_fixed(name)
            if name == "intercept" and self._times is not None and not self._times.is_duration:
                unit = " at 1970-01-01"
            if math.isnan(error) or not is_fitted:
                rows.append((name, f"{value:.12g}{unit}"))
                continue
            rows.append((name, f"{_with_error(value, error)}{unit}"))
            if interval is not None:
                low, high = (_rounded(end, error) for end in interval)
                rows.append((f"  {100 * level:.4g} % interval", f"{low} to {high}"))
            if name == "slope" and not math.isnan(pvalue):
                is_tiny = pvalue < _LEAST_PVALUE and error > 0.0
                shown = f"< {_LEAST_PVALUE:g}" if is_tiny else f"{pvalue:.3g}"
                rows.append(("  p-value (slope = 0)", shown))
        inference = self._inference
        if inference is not None and inference.why_no_errors():
            rows.append(("standard errors", f"none: {inference.why_no_errors()}"))
        about = " (uncentered)" if inference is not None and inference.is_fixed("intercept") else ""
        of_line = "" if self.f_scale is None else " of least squares"
        if self.converged or not math.isnan(self.rsquared):  # not that of another line
            rows.append((f"R squared{about}{of_line}", f"{self.rsquared:.6g}"))
        rows.append(("residual std", f"{self.residual_std:.6g}"))
        median, about = self._median_in_reach, ""
        some = None if self._points is None else self._points.sample()
        if median is None and some is not None and self._inference is not None:
            median, about = self._median_of(some), "about "
        if median is not None:
            rows.append(("median |residual|", f"{about}{median:.4g}"))
        rows.append(("mean loss", f"{self.loss:.6g}"))
        if self.f_scale is not None:
            rows.append(("f_scale", f"{self.f_scale:.6g}"))
        counts = {"points": self.n_points, "left out": self.n_omitted, "iterations": self.n_iter}
        counts["passes over the points"] = self.n_passes
        rows += [(name, f"{count:,}") for name, count in counts.items()]
        return [*rows, ("status", self.status.name)]

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return all results as plain numbers, strings and lists, ready for JSON.

        Besides the attributes, but for ``median_abs_residual``, it has ``conf_int`` with its ``level``, and
        ``weight_sum``, the sum of the sample weights. The history is a dictionary of columns. NaN and infinity, which
        JSON cannot hold, are None, and so are the p-value and intervals without SciPy.

        Parameters
        ----------
        level : float
            Probability that an interval covers the true value, between 0 and 1.
        """
        level = probability(level)
        intervals, pvalue = [[None, None], [None, None]], None
        with contextlib.suppress(ImportError):
            pvalue = finite_or_none(self.pvalue)
            intervals = [list(map(finite_or_none, row)) for row in self.conf_int(level).tolist()]
        history = self.history and {
            name: [finite_or_none(value) for value in getattr(self.history, name).tolist()]
            for name in Iterate._fields
        }
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name[0] != "_"}
        for name in ("rvalue", "rsquared", "stderr", "intercept_stderr", "residual_std"):
            own[name] = getattr(self, name)
        own = {name: finite_or_none(value) for name, value in own.items()}
        covariance = [[finite_or_none(value) for value in row] for row in self.covariance.tolist()]
        return {
            **own,
            "covariance": covariance,
            "pvalue": pvalue,
            "conf_int": intervals,
            "level": level,
            "weight_sum": None if self._inference is None else self._inference.weight_sum,
            "status": self.status.name,
            "message": self.message,
            "converged": self.converged,
            "datetime_unit": self.datetime_unit,
            "history": history,
        }

    def plot(
        self,
        ax: Axes | None = None,
        *,
        points: bool = True,
        label: str | None = None,
        color: Any = None,
        confidence_band: bool = False,
        prediction_band: bool = False,
        level: float = 0.95,
    ) -> Axes:
        """Draw the points, the line, its bands if asked for, and the path of the descent if it was recorded.

        More than 3,000 points are drawn as a density. All points are drawn while the arrays that were passed to the fit
        (float64 or float32, without NaN) are alive, and for files, which are read again. Otherwise a sample is drawn,
        and the title says so. Points far above or below all others are left out of the picture, and counted in the
        title. Axes are named as the columns of pandas, Polars, xarray or files are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; a new figure by default. Lines on the same axes have different colours.
        points : bool
            Whether to draw the points; False for further lines through the same points.
        label : str, optional
            What the legend calls the line and its bands; by default the line's equation, and its loss if that is
            robust.
        color : str or tuple, optional
            Colour of the line and its bands, as matplotlib has them.
        confidence_band, prediction_band : bool
            Whether to draw the band of the true line, and the band of new points.
        level : float
            Probability of the bands, between 0 and 1.

        Returns
        -------
        matplotlib.axes.Axes
            To write the picture to a file, ``fit.plot().figure.savefig("fit.png")``.

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install 'fastfit[plot]'``; or SciPy, which bands need:
            ``pip install 'fastfit[stats]'``.
        TypeError
            If an argument is not what it must be, such as a path in the place of axes.
        ValueError
            If the fit has no points: it is a fit of moments, a copy, or was unpickled. If a prediction band is asked
            for, which a robust line does not have.
        """
        true_or_false(points, "points")
        true_or_false(confidence_band, "confidence_band")
        true_or_false(prediction_band, "prediction_band")
        if not (label is None or isinstance(label, str)):
            raise TypeError(f"label must be a string or None; got {what_came(label)}")
        level = probability(level)
        if ax is not None and not hasattr(ax, "get_xaxis_transform"):
            hint = ""
            if isinstance(ax, (str, os.PathLike)):
                hint = f"; to write a file, fit.plot().figure.savefig({os.fspath(ax)!r})"
            raise TypeError(f"ax must be axes of matplotlib; got {what_came(ax)}{hint}")
        robust = isinstance(self._loss, RobustLoss)
        if prediction_band and robust:
            raise ValueError(
                "prediction_band must be False for a robust line: its loss assumes no distribution of new points"
            )
        if self._points is None:
            raise ValueError(
                "this fit has no points to draw: one of many lines, or of moments, has none, and a pickle or copy does "
                "not keep them"
            )
        bands: dict[str, Any] = {}
        if prediction_band:
            bands["prediction"] = self.prediction_band
        if confidence_band:
            bands["confidence"] = self.confidence_band
        band_label = "" if label is None else f", {label}"
        if label is None:
            label = self.equation(digits=4) + (f", {type(self._loss).__name__}" if robust else "")
            label += "" if self.converged else " (not converged)"
        return draw_fit(
            self,
            *self._points.columns(),
            ax,
            points=points,
            label=label,
            band_label=band_label,
            color=color,
            bands=bands,
            level=level,
            times=self._times,
            names=self._points.names,
        )
