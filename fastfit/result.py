"""What a fit knows, and says."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit.inference import Inference
from fastfit.outcome import History, Iterate, Status
from fastfit.plotting import draw_fit
from fastfit.validation import Shifted, finite_number, real_array, shifted

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _probability(level: Any) -> float:
    must_be = "a probability between 0 and 1"
    number = finite_number(level, "level", must_be, above=0.0)
    if number >= 1.0:
        raise ValueError(f"level must be {must_be}; got {level!r}")
    return number


@dataclass(frozen=True, eq=False, repr=False)
class LineFit:
    """A fitted line ``y = slope * x + intercept``, and how it was found.

    It keeps the points it was fitted to, not a copy, for ``plot``; a pickle or copy of it does not.

    Attributes
    ----------
    slope : float
        In units of y over units of x.
    intercept : float
        In units of y.
    loss : float
        The mean loss over the points, at this line; for least squares, the mean squared residual. It is 0 where
        ``f_scale`` is, but for rounding.
    n_points : int
        Points fitted.
    n_omitted : int
        Points left out, as masked or for NaN.
    n_iter : int
        Steps made.
    n_passes : int
        How often the points were read.
    status : Status
        How the fit ended.
    message : str
        The same in words, with numbers for these data.
    history : History or None
        The recorded states, if recording was asked for.
    f_scale : float or None
        Where a robust loss bends, in units of y: as given, or as found for ``"mad"``, which is 0 where more than half
        of the points lie on the line. None for squared error.
    rvalue, rsquared : float
        Pearson's correlation coefficient of x and y, and its square, the share of the variation of y that the line of
        least squares explains; without intercept, their counterparts about zero. NaN for a constant y.
    stderr, intercept_stderr : float
        Standard errors of slope and intercept; of a robust line by the sandwich formula, which assumes neither normal
        residuals nor a constant spread. With two points, or a sum of weights up to 2, the residuals tell nothing and
        they are NaN, as is what depends on them. So they are for a line that is not the best, because the fit ended
        before it converged.
    covariance : ndarray, shape (2, 2)
        Covariance of slope and intercept, in this order.
    residual_std : float
        Standard deviation of the residuals, in units of y; of residuals over sigma, if that was given. All residuals
        count alike, also about a robust line; what outliers do not change is ``f_scale``.
    pvalue : float
        Of the hypothesis that the slope is 0, two-sided, by the t-distribution (with ``absolute_sigma`` by the
        normal one). Needs SciPy.
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
    _points: Any = field(default=None)
    _inference: Inference | None = field(default=None)

    @property
    def rvalue(self) -> float:
        """Correlation coefficient of x and y; without intercept, about zero."""
        return self._inference.rvalue if self._inference else math.nan

    @property
    def rsquared(self) -> float:
        """Share of the variation of y that the best line explains; without intercept, of that about zero."""
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
        """Covariance of slope and intercept, in this order."""
        return self._inference.covariance if self._inference else np.full((2, 2), math.nan)

    @property
    def residual_std(self) -> float:
        """Standard deviation of the residuals, by the degrees of freedom."""
        return self._inference.residual_std if self._inference else math.nan

    @property
    def pvalue(self) -> float:
        """Two-sided p-value of the hypothesis that the slope is 0; needs SciPy."""
        return self._inference.pvalue(self.slope) if self._inference else math.nan

    @property
    def converged(self) -> bool:
        """Whether the gradient came within ``tol`` of zero."""
        return self.status is Status.CONVERGED

    def equation(self, digits: int = 6) -> str:
        """Return the line as text, ``y = 2 x + 1``, with so many significant digits."""
        sign = "-" if self.intercept < 0 else "+"
        return f"y = {self.slope:.{digits}g} x {sign} {abs(self.intercept):.{digits}g}"

    def __repr__(self) -> str:
        steps = "1 iteration" if self.n_iter == 1 else f"{self.n_iter:,} iterations"
        end = f"{self.status.label} after {steps}"
        if self.n_iter == 0 and self.converged and self.f_scale is None:
            end = "exact"
        return f"LineFit: {self.equation()}, loss {self.loss:.6g}, {self.n_points:,} points, {end}"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_points": None}  # a pickle does not drag the points along

    def predict(self, x: ArrayLike) -> Any:
        """Return ``slope * x + intercept``, a float for a number and else an array of the shape of x.

        It is computed from the mean of x, which for time stamps keeps digits that the intercept cannot.

        Raises
        ------
        TypeError
            If x holds no real numbers.
        """
        return self._line_at(shifted(x, "x"))

    def _line_at(self, x: Shifted) -> Any:
        if self._inference:
            line = self._inference.predict(x, self.slope, self.intercept)
        else:
            line = (x.values + x.offset) * self.slope + self.intercept
        return float(line) if np.ndim(line) == 0 else line

    def conf_int(self, level: float = 0.95) -> NDArray[np.float64]:
        """Return confidence intervals: lower and upper bound of the slope, and below those of the intercept.

        Parameters
        ----------
        level : float
            The probability that an interval covers the true value, between 0 and 1.

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

    def confidence_band(self, x: ArrayLike, level: float = 0.95) -> tuple[Any, Any]:
        """Return lower and upper bound of the true line at each x, each with this probability.

        Parameters
        ----------
        x : array_like
            Where to look, of any shape.
        level : float
            Between 0 and 1.

        Raises
        ------
        ImportError
            If SciPy is missing: ``pip install 'fastfit[stats]'``.
        """
        values, level = shifted(x, "x"), _probability(level)
        half = self._inference.confidence(values, level) if self._inference else math.nan
        line = self._line_at(values)
        return line - half, line + half

    def prediction_band(
        self, x: ArrayLike, level: float = 0.95, *, sigma: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Return lower and upper bound of a further point at each x, each with this probability.

        NaN for robust losses, which do not assume how points lie about the line.

        Parameters
        ----------
        x : array_like
            Where to look, of any shape.
        level : float
            Between 0 and 1.
        sigma : array_like, optional
            Standard deviation of the further point, if the line was fitted with ``sigma``; by default the root of the
            harmonic mean of the variances of the points that were fitted. Without ``sigma`` in the fit, the
            point is one of weight 1.

        Raises
        ------
        ImportError
            If SciPy is missing: ``pip install 'fastfit[stats]'``.
        """
        values, level = shifted(x, "x"), _probability(level)
        of_point = None if sigma is None else real_array(sigma, "sigma").astype(np.float64)
        half = math.nan
        if self._inference:
            half = self._inference.prediction(values, level, of_point)
        line = self._line_at(values)
        return line - half, line + half

    def summary(self) -> str:
        """Return a small table of what the fit found; with intervals and p-value where SciPy is installed."""
        rows = {
            "line": self.equation(),
            "slope": f"{self.slope:.12g}",
            "intercept": f"{self.intercept:.12g}",
        }
        if self._inference:
            errors = {"slope": self.stderr, "intercept": self.intercept_stderr}
            ends = dict.fromkeys(errors, "")
            with contextlib.suppress(ImportError):
                for name, (low, high) in zip(errors, self.conf_int(), strict=True):
                    ends[name] = f"   95 % from {low:.6g} to {high:.6g}"
                if not math.isnan(self.pvalue):
                    ends["slope"] += f", p = {self.pvalue:.3g} of no slope"
            for name, error in errors.items():
                if not math.isnan(error) and not self._inference.is_fixed(name):
                    rows[name] += f" +- {error:.3g}{ends[name]}"
        rows |= {
            "R squared"
            if self.f_scale is None
            else "R squared of least squares": f"{self.rsquared:.9g}",
            "residual std": f"{self.residual_std:.9g}",
            "mean loss": f"{self.loss:.12g}",
            **({} if self.f_scale is None else {"f_scale": f"{self.f_scale:.9g}"}),
            "points": f"{self.n_points:,}",
            "left out": f"{self.n_omitted:,}",
            "iterations": f"{self.n_iter:,}",
            "passes over the points": f"{self.n_passes:,}",
            "status": self.status.name,
        }
        width = max(map(len, rows))
        lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
        return "\n".join([*lines, self.message])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings and lists, ready for JSON.

        The history is a dictionary of columns, as ``pandas.DataFrame`` takes it. NaN and infinity, which JSON does
        not know, are None.
        """
        history = self.history and {
            name: [_or_none(value) for value in getattr(self.history, name).tolist()]
            for name in Iterate._fields
        }
        own = {name: value for name, value in vars(self).items() if name[0] != "_"}
        for name in ("rvalue", "rsquared", "stderr", "intercept_stderr", "residual_std"):
            own[name] = getattr(self, name)
        own = {name: _or_none(value) for name, value in own.items()}
        covariance = [[_or_none(value) for value in row] for row in self.covariance.tolist()]
        return {
            **own,
            "covariance": covariance,
            "status": self.status.name,
            "converged": self.converged,
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
        """Draw the points, the line, its bands if asked for and, if a history was recorded, its path.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        confidence_band, prediction_band : bool
            Whether to draw where the true line is, and where a further point would be, with the probability ``level``.
            A robust line has no prediction band.
        level : float
            Between 0 and 1.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install 'fastfit[plot]'``; or SciPy, which bands need:
            ``pip install 'fastfit[stats]'``.
        ValueError
            If the fit is one of moments, or a copy or was unpickled: its points did not come along.
        """
        if self._points is None:
            raise ValueError(
                "this fit has no points to draw: moments have none, and a pickle or copy does not keep them"
            )
        asked = {
            "prediction": self.prediction_band if prediction_band else None,
            "confidence": self.confidence_band if confidence_band else None,
        }
        level = _probability(level)
        bands = {name: band for name, band in asked.items() if band is not None}
        return draw_fit(self, self._points.x, self._points.y, ax, bands=bands, level=level)
