"""What a fit knows, and says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit.validation import real_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ConvergenceWarning(UserWarning):
    """A fit ended before it converged; its ``status`` and ``message`` say why."""


class Status(Enum):
    """How a fit ended. The value is the message: what happened, why, and what to change."""

    CONVERGED = "Converged: the gradient is within tol of zero."
    MAX_ITER = (
        "Not converged: max_iter steps were made before the gradient came within tol of zero. Raise max_iter, or "
        "take fewer steps: with learning_rate='auto' and standardize=True, the defaults, a few are enough."
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
        The mean loss over the points, at this line; for least squares, the mean squared residual.
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
    _points: Any = field(default=None)

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
        return (
            f"LineFit: {self.equation()}, loss {self.loss:.6g}, "
            f"{self.n_points:,} points, {self.status.label} after {steps}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_points": None}  # a pickle does not drag the points along

    def predict(self, x: ArrayLike) -> Any:
        """Return ``slope * x + intercept``, a float for a number and else an array of the shape of x.

        Raises
        ------
        TypeError
            If x holds no real numbers.
        """
        values = real_array(x, "x").astype(np.float64) * self.slope + self.intercept
        return float(values) if values.ndim == 0 else values

    def summary(self) -> str:
        """Return a small table of what the fit found."""
        rows = {
            "line": self.equation(),
            "slope": f"{self.slope:.12g}",
            "intercept": f"{self.intercept:.12g}",
            "mean loss": f"{self.loss:.12g}",
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
        own = {name: _or_none(value) for name, value in vars(self).items() if name[0] != "_"}
        return {**own, "status": self.status.name, "converged": self.converged, "history": history}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the points, the line and, if a history was recorded, its path.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install 'fastfit[plot]'``.
        ValueError
            If the fit is a copy or was unpickled: its points did not come along.
        """
        from fastfit.plotting import draw_fit

        if self._points is None:
            raise ValueError(
                "this fit has no points to draw: a pickle or copy of a fit does not keep them"
            )
        return draw_fit(self, self._points.x, self._points.y, ax)
