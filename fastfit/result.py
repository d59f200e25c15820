"""What a fit knows, and says."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit.validation import Shifted, finite_number, real_array, shifted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastfit.inference import Inference


class ConvergenceWarning(UserWarning):
    """A fit ended before it converged; its ``status`` and ``message`` say why."""


class Status(Enum):
    """How a fit ended. The value is the message: what happened, why, and what to change."""

    CONVERGED = "Converged: the gradient is within tol of zero."
    MAX_ITER = (
        "Not converged: max_iter steps were made before the gradient came within tol of zero. Raise max_iter. "
        "Descents take a few with learning_rate='auto' and standardize=True, the defaults; robust losses take more "
        "the fewer residuals are below f_scale."
    )
    DIVERGED = (
        "Diverged: the loss grew, because the learning rate is too large for these data. Lower learning_rate, "
        "or leave it at 'auto'. The best line so far is returned."
    )
    STALLED = (
        "Stalled: the steps became smaller than the rounding of slope and intercept before the gradient came "
        "within tol of zero. Raise learning_rate if the loss is still high, else tol; or descend with "
        "standardize=True."
    )
    STOPPED = (
        "Stopped: the callback ended the fit before the gradient came within tol of zero. To go on from here, "
        "pass this line as init."
    )
    NOT_FINITE = (
        "Not fitted: x or y holds NaN or infinity, and nan_policy='propagate' asks for NaN. Pass "
        "nan_policy='omit' to leave out points with NaN."
    )

    @property
    def label(self) -> str:
        """The status in a word or two."""
        return self.name.lower().replace("_", " ")


class Iterate(NamedTuple):
    """One state of a descent, in the caller's coordinates, as a callback gets it.

    ``iteration`` is the number of steps made; the gradient is that of the mean loss.
    """

    iteration: int
    slope: float
    intercept: float
    grad_slope: float
    grad_intercept: float
    loss: float


@dataclass(frozen=True, eq=False)
class History:
    """The recorded states of a descent: equal-length arrays, in the caller's coordinates.

    Attributes
    ----------
    iteration : ndarray of int
        The number of steps made before each state; the first is 0, the last that of the returned fit
        (of its last state, if the descent diverged).
    slope, intercept : ndarray of float
        The line.
    grad_slope, grad_intercept : ndarray of float
        The gradient of the mean loss.
    loss : ndarray of float
        The mean loss.
    """

    iteration: NDArray[np.int64]
    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    grad_slope: NDArray[np.float64]
    grad_intercept: NDArray[np.float64]
    loss: NDArray[np.float64]

    @classmethod
    def of(cls, iterates: Iterable[Iterate]) -> History:
        """Return the history of the given states."""
        steps, *numbers = zip(*iterates, strict=True)
        columns = [np.array(steps, dtype=np.int64), *(np.array(c, dtype=float) for c in numbers)]
        for column in columns:
            column.flags.writeable = False
        return cls(*columns)

    def __len__(self) -> int:
        return self.iteration.size

    def __str__(self) -> str:
        """Return a table; each column shows three digits of its largest entry, the loss six, and two decimals."""
        numbers = {name: getattr(self, name) for name in Iterate._fields[1:]}
        cells = [["iteration", *map(str, self.iteration)]]
        for name, column in numbers.items():
            cells.append([name, *_formatted(column, 6 if name == "loss" else 3)])
        widths = [max(map(len, column)) for column in cells]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in zip(*cells, strict=True)
        )


def _formatted(column: NDArray[np.float64], digits: int) -> list[str]:
    """Return the numbers with so many digits for the largest of them, and no negative zero."""
    finite = np.abs(column[np.isfinite(column)])
    largest = float(finite.max(initial=0.0))
    exponent = int(np.floor(np.log10(largest))) if largest > 0 else 0
    if not -5 < exponent < 9:
        return [f"{value:.{digits - 1}e}" for value in column]
    decimals = max(2, digits - 1 - exponent)
    return [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in column]


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
        from fastfit.plotting import draw_fit

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
