"""What solvers report: how a fit ended, and the states on the way."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.plotting import draw_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ConvergenceWarning(UserWarning):
    """A fit ended before it converged; its ``status`` and ``message`` say why."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line outside fastfit, whichever function the caller used."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_own(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "fastfit"


class Status(Enum):
    """How a fit ended. The value says what happened; ``LineFit.message`` also says what to change."""

    CONVERGED = "Converged: the gradient is within tol of zero."
    MAX_ITER = (
        "Not converged: max_iter steps were made before the gradient came within tol of zero."
    )
    MAX_PASSES = (
        "Not converged: the points, which are not in memory, were read 200 times before the gradient came within tol "
        "of zero. Raise f_scale, or give it a number if it is 'mad'; raise tol; or fit a part of the points in memory."
    )
    DIVERGED = (
        "Diverged: the loss grew, so the descent stopped at once. The best line so far is returned."
    )
    STALLED = (
        "Stalled: the steps became smaller than the rounding of slope and intercept before the gradient came "
        "within tol of zero."
    )
    STOPPED = "Stopped: the callback ended the fit before the gradient came within tol of zero."
    TOO_FEW_POINTS = "Not fitted: fewer points than a line needs, or than min_points asks for."
    CONSTANT_X = "Not fitted: all points have the same x, so no slope is determined."
    BAD_WEIGHTS = "Not fitted: a weight is negative or infinite, a sigma is not above 0, or all weights are 0."
    INFINITE = "Not fitted: x or y holds infinity, or numbers whose squares are beyond the range of float64."
    UNDETERMINED = (
        "Not fitted: f_scale leaves no points that determine a line, or is too small for float64. Raise it, or use "
        "'huber', which gives every point some weight."
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

    ``iteration`` is the number of steps made; the gradient is the gradient of the mean loss.
    """

    iteration: int
    slope: float
    intercept: float
    grad_slope: float
    grad_intercept: float
    loss: float


@dataclass(frozen=True, eq=False)
class History(dict[str, NDArray[Any]]):
    """The recorded states of a descent: names and equal-length arrays, in the caller's coordinates.

    ``pandas.DataFrame(history)`` is a table with a row for each state. The arrays are attributes, too. ``len(history)``
    is the number of states, as of such a table.

    Attributes
    ----------
    iteration : ndarray of int
        The number of steps made before each state. The first is 0, or for ``f_scale="mad"`` the number of steps it took
        to find the scale; the last is ``LineFit.n_iter``.
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

    def __post_init__(self) -> None:
        """Fill the dictionary."""
        self.update((name, getattr(self, name)) for name in Iterate._fields)

    @classmethod
    def of(cls, iterates: Iterable[Iterate]) -> History:
        """Return the history of the given states."""
        steps, *numbers = zip(*iterates, strict=True)
        columns = [np.array(steps, dtype=np.int64), *(np.array(c, dtype=float) for c in numbers)]
        for column in columns:
            column.flags.writeable = False
        return cls(*columns)

    # As an object: arrays have no single answer to whether they are equal.
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __len__(self) -> int:
        return self.iteration.size

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the mean loss over the number of steps, on axes of matplotlib or on a new figure.

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install 'fastfit[plot]'``.
        TypeError
            If ax is no axes of matplotlib.
        """
        return draw_loss(self, ax)

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
    """Return the numbers as text, the largest with ``digits`` digits, without negative zero."""
    finite = np.abs(column[np.isfinite(column)])
    largest = float(finite.max(initial=0.0))
    exponent = int(np.floor(np.log10(largest))) if largest > 0 else 0
    if not -5 < exponent < 9:
        return [f"{value:.{digits - 1}e}" for value in column]
    decimals = max(2, digits - 1 - exponent)
    return [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in column]
