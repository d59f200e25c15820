"""fit_rolling() and fit_expanding(): a line through each of many windows that move along the points."""

from __future__ import annotations

import datetime
import re
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import validation
from fastfit.columns import Numbers, numbers_of, require_same_labels
from fastfit.kernels import moving
from fastfit.lines.result import LineFits
from fastfit.lines.series import LineSums
from fastfit.times import UNITS, TimeLike, TimeUnit, Unit
from fastfit.validation import what_came

Closed = Literal["right", "left", "both", "neither"]
_CLOSED = ("right", "left", "both", "neither")
# Units of a width as text, with names that pandas has for them.
_UNITS: dict[str, str] = {each: each for each in UNITS}
_UNITS |= {"d": "D", "H": "h", "min": "m", "S": "s"}


def fit_rolling(
    x: ArrayLike | TimeLike | None,
    y: ArrayLike,
    window: int | float | str | datetime.timedelta | np.timedelta64,
    *,
    window_in: Literal["points", "x"] | None = None,
    min_points: int | None = None,
    step: int = 1,
    center: bool = False,
    closed: Closed = "right",
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
) -> LineFits:
    """Fit the line of least squares through the points of each window, one window a row.

    A window sees its own points alone: whatever lies before it, or after it, leaves no trace in its line, unlike in
    sums from which points are subtracted.

    Parameters
    ----------
    x : array_like, shape (n,), or None
        Where the points lie; None for 0, 1, 2, ... It may hold times.
    y : array_like, shape (n,)
        Values; points with a missing x, y or weight are left out.
    window : int, float, str or timedelta
        A number of rows, or a width in x: of times a timedelta or text such as ``"7D"``, ``"36h"`` or ``"90min"``; of
        numbers, with ``window_in="x"``. Where it is a width, x must not fall, and must not be missing.
    window_in : {"points", "x"}, optional
        Whether a number counts rows or x; rows by default.
    min_points : int, optional
        Fewest points for a line, at least 2. By default ``window`` if that is a number of rows, else 2.
    step : int
        A window is fitted at each ``step``-th row, from the first on.
    center : bool
        Whether windows lie around their rows, instead of ending there.
    closed : {"right", "left", "both", "neither"}
        Which ends of a window belong to it, as in pandas: for the window ``(end - width, end]``, the right one.
    fit_intercept : bool
        False fits ``y = slope * x``.
    sample_weight : array_like, shape (n,), optional
        How often each point was observed, at least 0.
    datetime_unit : {"W", "D", "h", "m", "s", "ms", "us", "ns"}, optional
        Unit of x in slopes where x holds times; "s" by default.
    n_threads : int, optional
        Largest number of threads; results have the same bits for every number.

    Returns
    -------
    LineFits
        Arrays with an entry for each window; ``to_frame`` keeps the index of a Series of pandas. A window with fewer
        than ``min_points`` points has NaN and the status ``TOO_FEW_POINTS``, without a warning.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.

    Examples
    --------
    >>> import fastfit as ff
    >>> fits = ff.fit_rolling(None, [1.0, 3.0, 5.0, 5.0, 5.0], 3)
    >>> fits.slope
    array([nan, nan,  2.,  1.,  0.])
    """
    places, values, weight = _columns(x, y, sample_weight, datetime_unit)
    center = validation.true_or_false(center, "center")
    validation.require_one_of(closed, _CLOSED, "closed")
    width = _width(window, window_in, places.times)
    rule: tuple[Any, ...]
    if width is None:
        if isinstance(window, float) or not hasattr(window, "__index__"):
            raise TypeError(
                "window must be an integer, a timedelta or text such as '7D', or with window_in='x' a width in x; got "
                f"{what_came(window)}"
            )
        fewest = validation.positive_integer(window, "window")
        rule = _by_number(fewest, center, closed, values.array.size)
    else:
        _require_rising(places.array)
        fewest, rule = 2, _by_width(width, center, closed)
    min_points = max(fewest, 2) if min_points is None else min_points
    points = places, values, weight
    return _fitted(points, rule, step, min_points, fit_intercept, n_threads, _index_of(x, y))


def fit_expanding(
    x: ArrayLike | TimeLike | None,
    y: ArrayLike,
    *,
    min_points: int = 2,
    step: int = 1,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
) -> LineFits:
    """Fit the line of least squares through all points up to each row.

    Parameters
    ----------
    x, y, min_points, step, fit_intercept, sample_weight, datetime_unit, n_threads
        As in :func:`fit_rolling`.

    Returns
    -------
    LineFits
        Arrays with an entry for each window.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.
    """
    points = _columns(x, y, sample_weight, datetime_unit)
    rule = points[1].array.size, 1
    return _fitted(points, rule, step, min_points, fit_intercept, n_threads, _index_of(x, y))


# Arguments


def _columns(
    x: Any, y: Any, sample_weight: Any, datetime_unit: str | None
) -> tuple[Numbers, Numbers, NDArray[np.float64] | None]:
    """Return places, values and weights, as float64 with NaN for what is missing."""
    require_same_labels(x, y, sample_weight)
    values = numbers_of(y, "y")
    n = _length(values, "y", None)
    places = numbers_of(np.arange(float(n)) if x is None else x, "x", datetime_unit)
    _length(places, "x", n)
    weight = None
    if sample_weight is not None:
        found = numbers_of(sample_weight, "sample_weight")
        if found.array.ndim == 0:
            found = found._replace(array=np.full(n, found.array), missing=None)
        _length(found, "sample_weight", n)
        weight = _floats(found)
    places, values = (each._replace(array=_floats(each), missing=None) for each in (places, values))
    return places, values, weight


def _index_of(x: Any, y: Any) -> Any:
    """Return the index of a Series of pandas, or an index that is x; None if there is none."""
    for each in (y, x):
        if type(each).__module__.partition(".")[0] == "pandas":
            return getattr(each, "index", each)
    return None


def _length(numbers: Numbers, name: str, n: int | None) -> int:
    if numbers.array.ndim != 1:
        raise ValueError(
            f"{name} must have one dimension; got {numbers.array.ndim}: for many series, fit each of them"
        )
    if n is not None and numbers.array.size != n:
        raise ValueError(f"{name} must have the length of y, {n:,}; got {numbers.array.size:,}")
    return int(numbers.array.size)


def _floats(numbers: Numbers) -> NDArray[np.float64]:
    found = np.ascontiguousarray(numbers.array, dtype=np.float64)
    if numbers.missing is not None and numbers.missing.any():
        found = np.where(numbers.missing, np.nan, found)
    return found


def _width(window: Any, window_in: Any, times: TimeUnit | None) -> float | None:
    """Return the width of windows in x, in counts where x holds times; None if it is a number of rows."""
    if window_in is not None:
        validation.require_one_of(window_in, ("points", "x"), "window_in")
    is_text = isinstance(window, str)
    if not (is_text or isinstance(window, (datetime.timedelta, np.timedelta64))):
        if window_in != "x":
            return None
        if times is not None:
            raise TypeError(
                f"window must be a timedelta, or text such as '7D', as x holds times; got {what_came(window)}"
            )
        return validation.finite_number(window, "window", "a positive number", above=0.0)
    if times is None:
        raise TypeError(
            f"window must be a number, as x holds numbers; got {window!r}: with window_in='x', a number is a width in x"
        )
    if window_in == "points":
        raise ValueError(f"window_in must be 'x' or None for the window {window!r}; got 'points'")
    number, unit, base = *_duration(window), times.base
    if not number > 0:
        raise ValueError(f"window must be above 0; got {window!r}")
    return float(number) * float(np.timedelta64(1, unit) / np.timedelta64(1, base))  # type: ignore[call-overload]


def _duration(window: Any) -> tuple[int, str]:
    """Return a duration, or text such as "7D" or "36h", as a number and a unit."""
    if isinstance(window, str):
        found = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]+)\s*", window)
        if found is None or found[2] not in _UNITS:
            raise ValueError(
                f"window must be a whole number and a unit, such as '7D', '36h', '90min' or '5ms'; got {window!r}"
            )
        return int(found[1]), _UNITS[found[2]]
    # A Timedelta of pandas may hold nanoseconds.
    duration = window.to_timedelta64() if hasattr(window, "to_timedelta64") else window
    duration = np.timedelta64(duration)
    unit, step = np.datetime_data(duration.dtype)
    if unit not in _UNITS.values():
        raise ValueError(f"window must be in a unit of fixed length, from W to ns; got {window!r}")
    return int(duration.astype(np.int64)) * step, unit


def _by_number(rows: int, center: bool, closed: str, n: int) -> tuple[int, int]:
    """Return how many rows before the row of a window, and from it on, belong to the window; there are n in all."""
    rows = min(rows, 2 * n + 2)  # wider ones hold all rows, too
    off = (rows - 1) // 2 if center else 0
    before = rows if closed in ("left", "both") else rows - 1
    return before - off, off + (1 if closed in ("right", "both") else 0)


def _by_width(width: float, center: bool, closed: str) -> tuple[float, float, bool, bool]:
    """Return where a window begins and ends, counted from the x of its row, and whether it includes either end."""
    ends = (-0.5 * width, 0.5 * width) if center else (-width, 0.0)
    return *ends, closed in ("left", "both"), closed in ("right", "both")


def _require_rising(x: NDArray[np.float64]) -> None:
    """Raise ValueError unless x is finite, and never falls."""
    wrong = np.flatnonzero(~np.isfinite(x))
    if wrong.size:
        raise ValueError(
            f"x must be finite where windows are widths in x; got {x[wrong[0]]} at index {wrong[0]:,}"
        )
    falls = np.flatnonzero(x[1:] < x[:-1])
    if falls.size:
        raise ValueError(
            f"x must not fall where windows are widths in x: sort the points by x; it falls at index {falls[0] + 1:,}"
        )


# Lines


def _fitted(
    points: tuple[Numbers, Numbers, NDArray[np.float64] | None],
    rule: tuple[Any, ...],
    step: Any,
    min_points: Any,
    fit_intercept: Any,
    n_threads: Any,
    index: Any,
) -> LineFits:
    """Return the lines of windows by a rule; the other arguments are a caller's, and checked here."""
    step = validation.positive_integer(step, "step")
    min_points = validation.positive_integer(min_points, "min_points", least=2)
    fit_intercept = validation.true_or_false(fit_intercept, "fit_intercept")
    if n_threads is not None:
        n_threads = validation.positive_integer(n_threads, "n_threads")
    x, y, w = points
    if not fit_intercept:  # distances are from 0
        x, y = (
            each._replace(array=each.array + each.offset, offset=0.0) if each.offset else each
            for each in (x, y)
        )
    step = min(step, max(y.array.size, 1))
    found = moving.fit(
        *(x.array, y.array, w, rule, step),
        through_origin=not fit_intercept,
        min_points=min_points,
        n_threads=n_threads,
    )
    y_mean = found.y_mean + y.offset if y.offset else found.y_mean
    sums = LineSums(
        *(found.slope, None, found.residual_square, y_mean, found.n, found.x_mean, found.xx),
        *(found.w, None, x.offset, 0.0),
        has_suspects=found.has_suspects,
    )
    return LineFits.of(
        sums,
        n_given=found.n_rows,
        min_points=min_points,
        fit_intercept=fit_intercept,
        has_sigma=False,
        known_sigma=False,
        times=x.times,
        axis=0,
        names=None if index is None else index[::step],
    )
