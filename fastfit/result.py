"""The result of a fit: a line, its errors, and how it was found."""

from __future__ import annotations

import contextlib
import html
import math
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit.columns import Shifted, real_array, shifted
from fastfit.inference import Inference
from fastfit.outcome import History, Iterate, Status
from fastfit.plotting import draw_fit
from fastfit.points.kept import KeptPoints
from fastfit.times import TimeLike, TimeUnit
from fastfit.validation import finite_number, finite_or_none, true_or_false

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _probability(level: Any) -> float:
    must_be = "a probability between 0 and 1"
    number = finite_number(level, "level", must_be, above=0.0)
    if number >= 1.0:
        raise ValueError(f"level must be {must_be}; got {level!r}")
    return number


def _short(error: float) -> str:
    """Return an error with two digits."""
    return f"{error:#.2g}".rstrip(".") if error else "0"


def _rounded(value: float, error: float) -> str:
    """Return a number with the digits that its error warrants: down to the second digit of the error."""
    if not (error > 0.0 and math.isfinite(value)):
        return f"{value:.12g}"
    last = math.floor(math.log10(error)) - 1  # power of ten of the last digit
    first = math.floor(math.log10(abs(value))) if value else last
    if last > -16 and -5 < max(first, last) < 9:
        return f"{round(value, -last):.{max(-last, 0)}f}"
    return f"{value:.{min(max(first - last, 0), 16)}e}"


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
    rvalue, rsquared : float
        Pearson's correlation coefficient of x and y, and its square, the share of the variance of y that the
        least-squares line explains; without intercept, their counterparts about zero. NaN for a constant y.
    stderr, intercept_stderr : float
        Standard errors of slope and intercept; of a robust line by the sandwich formula, which assumes neither normal
        residuals nor a constant spread. They are NaN for two points, for weights that sum to 2 or less, and for a line
        that did not converge; so are all results that depend on them.
    covariance : ndarray, shape (2, 2)
        Covariance matrix of slope and intercept, in this order.
    residual_std : float
        Standard deviation of the residuals, in units of y; of residuals over sigma, if that was given. It includes
        outliers, for robust lines too; ``f_scale`` does not depend on them.
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
    message: str
    history: History | None = None
    f_scale: float | None = None
    _times: TimeUnit | None = None
    _points: KeptPoints | None = field(default=None)
    _inference: Inference | None = field(default=None)

    @property
    def rvalue(self) -> float:
        """Correlation coefficient of x and y; without intercept, about zero."""
        return self._inference.rvalue if self._inference else math.nan

    @property
    def rsquared(self) -> float:
        """Share of the variance of y that the least-squares line explains; without intercept, about zero."""
        return self.rvalue**2

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
        sign = "-" if self.intercept < 0 else "+"
        unit = "" if self._times is None else f" per {self._times.unit}"
        return f"y = {self.slope:.{digits}g}{unit} x {sign} {abs(self.intercept):.{digits}g}"

    def __repr__(self) -> str:
        steps = "1 iteration" if self.n_iter == 1 else f"{self.n_iter:,} iterations"
        end = f"{self.status.label} after {steps}"
        if self.n_iter == 0 and self.converged and self.f_scale is None:
            end = "exact"
        return f"LineFit: {self.equation()}, loss {self.loss:.6g}, {self.n_points:,} points, {end}"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_points": None}

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
        level = _probability(level)
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
        values, level = shifted(x, "x", self._times), _probability(level)
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
        values, level = shifted(x, "x", self._times), _probability(level)
        of_point = None if sigma is None else real_array(sigma, "sigma").astype(np.float64)
        half = math.nan
        if self._inference:
            half = self._inference.prediction(values, level, of_point)
        line = self._line_at(values)
        return line - half, line + half

    def summary(self) -> str:
        """Return a table of the results, 80 columns wide; with confidence intervals and p-value if SciPy is installed.

        Slope and intercept are rounded to two digits of their standard errors.
        """
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, *textwrap.wrap(self.message, 80)])

    def _repr_html_(self) -> str:
        """Return the summary as a table of HTML, for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return f"<table><caption>LineFit</caption>{rows}</table><p>{html.escape(self.message)}</p>"

    def _rows(self) -> list[tuple[str, str]]:
        """Return names and values of the summary."""
        rows = [("line", self.equation())]
        errors = {"slope": self.stderr, "intercept": self.intercept_stderr}
        intervals: Any = [None, None]
        pvalue = math.nan
        with contextlib.suppress(ImportError):
            intervals, pvalue = self.conf_int().tolist(), self.pvalue
        for (name, error), interval in zip(errors.items(), intervals, strict=True):
            unit = f" per {self.datetime_unit}" if name == "slope" and self.datetime_unit else ""
            value = getattr(self, name)
            is_fitted = self._inference is not None and not self._inference.is_fixed(name)
            if math.isnan(error) or not is_fitted:
                rows.append((name, f"{value:.12g}{unit}"))
                continue
            rows.append((name, f"{_rounded(value, error)} +- {_short(error)}{unit}"))
            if interval is not None:
                low, high = (_rounded(end, error) for end in interval)
                rows.append(("  95 % interval", f"{low} to {high}"))
            if name == "slope" and not math.isnan(pvalue):
                rows.append(("  p-value (slope = 0)", f"{pvalue:.3g}"))
        about = (
            ""
            if self._inference is None or not self._inference.is_fixed("intercept")
            else " (uncentered)"
        )
        of_line = "" if self.f_scale is None else " of least squares"
        rows.append((f"R squared{about}{of_line}", f"{self.rsquared:.6g}"))
        rows += [("residual std", f"{self.residual_std:.6g}"), ("mean loss", f"{self.loss:.6g}")]
        if self.f_scale is not None:
            rows.append(("f_scale", f"{self.f_scale:.6g}"))
        counts = {"points": self.n_points, "left out": self.n_omitted, "iterations": self.n_iter}
        counts["passes over the points"] = self.n_passes
        rows += [(name, f"{count:,}") for name, count in counts.items()]
        return [*rows, ("status", self.status.name)]

    def to_dict(self) -> dict[str, Any]:
        """Return all results as plain numbers, strings and lists, ready for JSON.

        The history is a dictionary of columns, as ``pandas.DataFrame`` takes it. NaN and infinity, which JSON cannot
        hold, are None.
        """
        history = self.history and {
            name: [finite_or_none(value) for value in getattr(self.history, name).tolist()]
            for name in Iterate._fields
        }
        own = {name: value for name, value in vars(self).items() if name[0] != "_"}
        for name in ("rvalue", "rsquared", "stderr", "intercept_stderr", "residual_std"):
            own[name] = getattr(self, name)
        own = {name: finite_or_none(value) for name, value in own.items()}
        covariance = [[finite_or_none(value) for value in row] for row in self.covariance.tolist()]
        return {
            **own,
            "covariance": covariance,
            "status": self.status.name,
            "converged": self.converged,
            "datetime_unit": self.datetime_unit,
            "history": history,
        }

    def plot(
        self,
        ax: Axes | None = None,
        *,
        confidence_band: bool = False,
        prediction_band: bool = False,
        level: float = 0.95,
    ) -> Axes:
        """Draw the points, the line, its bands if asked for, and the path of the descent if it was recorded.

        More than 3,000 points are drawn as a density. All points are drawn while the arrays that were passed to the fit
        (float64 or float32, without NaN) are alive, and for files, which are read again. Otherwise a sample is drawn,
        and the title says so. Axes are named as the columns of pandas, Polars, xarray or files are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; a new figure by default.
        confidence_band, prediction_band : bool
            Whether to draw the band of the true line, and the band of new points. Robust lines have no prediction band.
        level : float
            Probability of the bands, between 0 and 1.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install 'fastfit[plot]'``; or SciPy, which bands need:
            ``pip install 'fastfit[stats]'``.
        ValueError
            If the fit has no points: it is a fit of moments, a copy, or was unpickled.
        """
        if self._points is None:
            raise ValueError(
                "this fit has no points to draw: moments have none, and a pickle or copy does not keep them"
            )
        asked = {
            "prediction": self.prediction_band if prediction_band else None,
            "confidence": self.confidence_band if confidence_band else None,
        }
        true_or_false(confidence_band, "confidence_band")
        true_or_false(prediction_band, "prediction_band")
        if ax is not None and not hasattr(ax, "get_xaxis_transform"):
            raise TypeError(f"ax must be axes of matplotlib; got {type(ax).__name__}")
        level = _probability(level)
        bands = {name: band for name, band in asked.items() if band is not None}
        x, y = self._points.columns()
        names = self._points.names
        return draw_fit(self, x, y, ax, bands=bands, level=level, times=self._times, names=names)
