"""fit_rolling(), rolling_slope() and fit_expanding(): lines of windows that move along the points."""

from __future__ import annotations

import datetime
import math
import re
import sys
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import keys, validation
from fastfit.containers import values_of
from fastfit.kernels import moving
from fastfit.kernels.grouped import Rows, rows_of
from fastfit.kernels.windows import BY_WIDTH, GIVEN, ROW_ALONE, UNRESOLVED, Rule
from fastfit.lines.batched import Options, warn_of_bad_lines
from fastfit.lines.groups import (
    grouping_of,
    key_columns,
    labelled,
    names_of,
    require_alone,
    type_of,
)
from fastfit.lines.keyed import GroupPass, typed
from fastfit.lines.points import Points
from fastfit.lines.result import LineFits
from fastfit.lines.segments import Segments
from fastfit.lines.series import LineSums
from fastfit.lines.windows import Windows
from fastfit.losses import Loss, RobustLoss
from fastfit.outcome import Status
from fastfit.points.base import Plan, Source
from fastfit.points.opening import reading_of
from fastfit.tables import kind_of, table_columns
from fastfit.times import UNITS, TimeLike, TimeUnit, Unit
from fastfit.validation import what_came

Closed = Literal["right", "left", "both", "neither"]
_CLOSED = ("right", "left", "both", "neither")
# What is a width in time, other than a number.
_DURATIONS = (str, datetime.timedelta, np.timedelta64)
# Units of a width as text, with names that pandas has for them.
_UNITS: dict[str, str] = {each: each for each in UNITS}
_UNITS |= {"d": "D", "H": "h", "min": "m", "S": "s"}


def fit_rolling(
    x: ArrayLike | TimeLike | str | Source | None,
    y: ArrayLike | str | None = None,
    window: int | float | str | datetime.timedelta | np.timedelta64 | None = None,
    *,
    window_in: Literal["points", "x"] | None = None,
    min_points: int | None = None,
    step: int = 1,
    center: bool = False,
    closed: Closed = "right",
    by: Any = None,
    data: Any = None,
    loss: str | Loss | type[Loss] = "squared_error",
    f_scale: float | Literal["mad"] | None = None,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | str | None = None,
    sigma: ArrayLike | str | None = None,
    absolute_sigma: bool = False,
    nan_policy: Literal["omit", "raise", "propagate"] = "omit",
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
    progress: bool = True,
) -> LineFits:
    """Fit the line of least mean loss through the points of each window, one window a row.

    A window sees its own points alone: whatever lies before it, or after it, leaves no trace in its line, unlike in
    sums from which points are subtracted.

    Parameters
    ----------
    x : array_like, shape (n,), str, what ``scan`` returns, or None
        Where the points lie; None for 0, 1, 2, ..., or with a window of time, for the index of y or ``data`` (pandas)
        if that holds times. It may hold times. With ``data``, the name of a column. Points of
        files, ``scan(...)``, bring y, weights and keys along; they are read into memory.
    y : array_like, shape (n,), or str
        Values, left out for points of files; points with a missing x, y or weight are left out.
    window : int, float, str or timedelta
        A number of rows, or a width in x: of times a timedelta or text such as ``"7D"``, ``"36h"`` or ``"90min"``; of
        numbers, with ``window_in="x"``. Where it is a width, x must not decrease, and must not be missing.
    window_in : {"points", "x"}, optional
        Whether a number counts rows or x; rows by default.
    min_points : int, optional
        Fewest points for a line, at least 2, and at most the rows of a window. By default ``window`` if that is a
        number of rows (which windows closed at neither end do not have), else 2.
    step : int
        A window is fitted at each ``step``-th row, from the first on.
    center : bool
        Whether windows lie around their rows, instead of ending there.
    closed : {"right", "left", "both", "neither"}
        Which ends of a window belong to it, as in pandas: for the window ``(end - width, end]``, the right one.
    by : array_like, shape (n,), str, or list of these, optional
        Keys as in :func:`fit_groups`: windows hold rows of one group only. Lines are in the order of the rows; a row
        without a key has none.
    data : DataFrame or table, optional
        Table of pandas, Polars (also a LazyFrame) or PyArrow, or a mapping, whose columns are named.
    loss, f_scale
        As in :func:`fit_lines`. A robust line reads all points of its window, so it takes time in proportion to these.
    fit_intercept : bool
        False fits ``y = slope * x``.
    sample_weight : array_like, shape (n,), or str, optional
        How often each point was observed, at least 0.
    sigma, absolute_sigma, nan_policy
        As in :func:`fit_lines`.
    datetime_unit : {"W", "D", "h", "m", "s", "ms", "us", "ns"}, optional
        Unit of x in slopes where x holds times; "s" by default.
    n_threads : int, optional
        Largest number of threads; results have the same bits for every number.
    progress : bool
        Whether to show how far robust fits have come, if stderr is a terminal and Rich is installed.

    Returns
    -------
    LineFits
        Arrays with an entry for each window; ``keys`` holds the x of its row, or the index of a Series of pandas, which
        ``to_frame`` keeps, and ``plot`` draws the slope along x. A window with fewer than ``min_points`` points has NaN
        and the status ``TOO_FEW_POINTS``, and one of points with the same x ``CONSTANT_X``, without a warning.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.

    Warns
    -----
    ConvergenceWarning
        Once, with their number, if windows could not be fitted for other reasons, or did not converge.

    Examples
    --------
    >>> import fastfit as ff
    >>> fits = ff.fit_rolling(None, [1.0, 3.0, 5.0, 5.0, 5.0], 3)
    >>> fits.slope
    array([nan, nan,  2.,  1.,  0.])
    """
    table, rule, fewest = _table_and_rule(
        {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma},
        *(window, window_in, min_points, center, closed),
        *(by, data, datetime_unit, fit_intercept, progress),
    )
    options = Options.of(
        loss=loss,
        f_scale=f_scale,
        fit_intercept=fit_intercept,
        has_sigma=sigma is not None or (isinstance(x, Source) and x.has_sigma),
        absolute_sigma=absolute_sigma,
        nan_policy=nan_policy,
        min_points=fewest,
        n_threads=n_threads,
        backend="numba",
    )
    return table.fit(rule, step, options, progress=progress)


def rolling_slope(
    x: ArrayLike | TimeLike | str | Source | None,
    y: ArrayLike | str | None = None,
    window: int | float | str | datetime.timedelta | np.timedelta64 | None = None,
    *,
    window_in: Literal["points", "x"] | None = None,
    min_points: int | None = None,
    step: int = 1,
    center: bool = False,
    closed: Closed = "right",
    by: Any = None,
    data: Any = None,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | str | None = None,
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
    progress: bool = True,
) -> NDArray[np.float64]:
    """Return the slope of the line of least squares through the points of each window, and nothing else.

    These are the slopes of :func:`fit_rolling`, to the last bit, in less time and a sixth of the memory. If a window
    holds infinity, bad weights, a single x, or points that lie exactly on their line, all results are found, as by
    :func:`fit_rolling`, and neither is saved.

    Parameters
    ----------
    x, y, window, window_in, min_points, step, center, closed, by, data, fit_intercept, sample_weight, datetime_unit, \
n_threads, progress
        As in :func:`fit_rolling`.

    Returns
    -------
    ndarray of float64
        A slope for each window, in the order of the rows; NaN where there is no line.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.

    Warns
    -----
    ConvergenceWarning
        As in :func:`fit_rolling`.

    Examples
    --------
    >>> import fastfit as ff
    >>> ff.rolling_slope(None, [1.0, 3.0, 5.0, 5.0, 5.0], 3)
    array([nan, nan,  2.,  1.,  0.])
    """
    table, rule, fewest = _table_and_rule(
        {"x": x, "y": y, "sample_weight": sample_weight, "sigma": None},
        *(window, window_in, min_points, center, closed),
        *(by, data, datetime_unit, fit_intercept, progress),
    )
    options = Options.of(
        loss="squared_error",
        fit_intercept=fit_intercept,
        has_sigma=False,
        absolute_sigma=False,
        nan_policy="omit",
        min_points=fewest,
        n_threads=n_threads,
        backend="numba",
    )
    return table.slopes(rule, step, options)


def fit_expanding(
    x: ArrayLike | TimeLike | str | Source | None,
    y: ArrayLike | str | None = None,
    *,
    min_points: int = 2,
    step: int = 1,
    by: Any = None,
    data: Any = None,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | str | None = None,
    sigma: ArrayLike | str | None = None,
    absolute_sigma: bool = False,
    nan_policy: Literal["omit", "raise", "propagate"] = "omit",
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
) -> LineFits:
    """Fit the line of least squares through all points up to each row.

    Parameters
    ----------
    x, y, min_points, step, by, data, fit_intercept, sample_weight, sigma, absolute_sigma, nan_policy, datetime_unit, \
n_threads
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
    table = _Table.of(
        {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma},
        by,
        data,
        datetime_unit,
        through_origin=not validation.true_or_false(fit_intercept, "fit_intercept"),
    )
    options = Options.of(
        loss="squared_error",
        fit_intercept=fit_intercept,
        has_sigma=sigma is not None or (isinstance(x, Source) and x.has_sigma),
        absolute_sigma=absolute_sigma,
        nan_policy=nan_policy,
        min_points=min_points,
        n_threads=n_threads,
        backend="numba",
    )
    rule = ROW_ALONE._replace(before=table.points.y.size)
    return table.fit(rule, step, options, progress=False)


class _Table(NamedTuple):
    """Points along which windows move.

    Attributes
    ----------
    points : Points
        In the order of the rows.
    rows : Rows or None
        Which group each row belongs to; None if there are no groups.
    groups : Groups or None
        The groups.
    names : tuple of str
        Names of x and y; of x, "" if x is None.
    index : Any
        Index of a Series of pandas, or None.
    kind : str or None
        Library of the table, or of y.
    types : dict
        Types of x and of the keys in their library, by name.
    times : ndarray or None
        x, if it holds times in memory.
    """

    points: Points
    rows: Rows | None
    groups: keys.Groups | None
    names: tuple[str, str]
    index: Any
    kind: str | None
    types: dict[str, Any] = {}  # noqa: RUF012
    times: NDArray[Any] | None = None

    @classmethod
    def of(
        cls,
        columns: dict[str, Any],
        by: Any,
        data: Any,
        datetime_unit: Unit | None,
        *,
        through_origin: bool,
        progress: bool = True,
    ) -> _Table:
        """Return a caller's columns, checked."""
        if isinstance(columns["x"], Source):
            require_alone(**columns, by=by, data=data)
            source, options = columns["x"], (through_origin, datetime_unit, progress)
            return cls._of_source(source, *options)
        by, names = ([], []) if by is None else key_columns(by, data is not None)
        for name, each in {**columns, "data": data, **labelled(by)}.items():
            if type(each).__module__.partition(".")[0] == "dask":
                raise TypeError(
                    f"{name} must hold its values; got {type(each).__name__} of Dask: windows need rows in their "
                    "order, so call compute() if it fits in memory"
                )
        kind = kind_of(columns["y"] if data is None else data)
        given = columns
        if data is not None:
            columns, by, names = table_columns(data, columns, by)
        points = Points.of(
            **columns,
            datetime_unit=datetime_unit,
            through_origin=through_origin,
            labelled=labelled(by),
        )
        groups, rows = grouping_of(by, names, points.y.size, None) if by else (None, None)
        x, y = names_of(given, columns)
        x = "" if columns["x"] is None else x
        types = dict(zip([] if groups is None else groups.keys, map(type_of, by), strict=True))
        times = None if points.times is None else _times_of(columns["x"])
        labels = (x, y), _index_of(columns["x"], columns["y"])
        return cls(points, rows, groups, *labels, kind, {x: type_of(columns["x"]), **types}, times)

    @classmethod
    def _of_source(
        cls, source: Any, through_origin: bool, datetime_unit: Unit | None, progress: bool
    ) -> _Table:
        """Return all points of files."""
        task = GroupPass(source.keys, through_origin, datetime_unit, None, sys.maxsize, True)
        reading = reading_of(
            nan_policy="omit", through_origin=through_origin, datetime_unit=datetime_unit
        )
        with source.opened(reading, Plan(n_passes=1, progress=progress, in_parts=True)) as opened:
            points, groups = opened.reduced(task).whole()
        groups = None if groups is None else typed(groups, source)
        rows = None if groups is None else rows_of(groups.codes, groups.n)
        return cls(points, rows, groups, source.names, None, None)

    def fit(
        self,
        rule: Rule,
        step: Any,
        options: Options,
        *,
        progress: bool,
        where: str = "fits.status",
    ) -> LineFits:
        """Return the lines of windows by a rule, at each ``step``-th row."""
        n = self.points.y.size
        if options.nan_policy == "raise":
            self.points.require_no_nan()
        step = min(validation.positive_integer(step, "step"), max(n, 1))
        points, order, rule = self._group_by_group(rule)
        own_step = step if order is None else 1
        if isinstance(options.loss, RobustLoss):
            sums, n_rows = _robust(points, rule, own_step, options, progress=progress)
        else:
            sums, n_rows = _least_squares(points, rule, own_step, options)
        if order is not None:
            n_rows = _in_rows(n_rows() if callable(n_rows) else n_rows, order, n)
            sums = sums.mapped(lambda each: _in_rows(each, order, n))
            sums = sums._replace(n=np.nan_to_num(sums.n))
            n_rows, sums = n_rows[::step], sums.mapped(lambda each: each[::step])
        index = None if self.index is None else self.index[::step]
        fits = options.fits(sums, n_rows, points.times, 0, index)
        n_ungrouped = 0 if self.rows is None else self.rows.n_ungrouped
        windows = self._windows(step)
        fits = fits.of_windows(windows, n_ungrouped, self.names, self.kind, self.types)
        if sums.has_unresolved:
            fits = fits.without_errors(np.equal(sums.residual_square, UNRESOLVED))
        if sums.has_suspects or sums.robust is not None:
            warn_of_bad_lines(fits, Status.TOO_FEW_POINTS, Status.CONSTANT_X, where=where)
        return fits

    def slopes(self, rule: Rule, step: Any, options: Options) -> NDArray[np.float64]:
        """Return the slopes of windows by a rule, at each ``step``-th row."""
        n = self.points.y.size
        step = min(validation.positive_integer(step, "step"), max(n, 1))
        points, order, own_rule = self._group_by_group(rule)
        own_step = step if order is None else 1
        slope, has_suspects = moving.slopes(
            *(points.x, points.y, points.w, own_rule, own_step), **_loop_options(options)
        )
        if has_suspects:  # some lines may be bad, which only the other results tell
            where = "fit_rolling(...).status"
            return self.fit(rule, step, options, progress=False, where=where).slope
        if order is not None:
            slope = _in_rows(slope, order, n)[::step]
        return slope if points.times is None else slope * points.times.counts

    def _group_by_group(self, rule: Rule) -> tuple[Points, NDArray[np.int64] | None, Rule]:
        """Return the points group by group, the row of each (None without groups), and the rule for their windows."""
        points, order = self.points, None
        starts = np.array([0, points.y.size])
        if self.rows is not None:
            order, starts = self.rows.in_order(np.ones(self.rows.n_groups, np.bool_))
            points = points.taken(order)
        x: NDArray[Any] = points.x
        if rule.kind == BY_WIDTH:
            _require_rising(points, starts, order)
            if self.times is not None and (np.abs(x) >= 2.0**53).any():  # float64 rounds them
                counts = self._counts_of(self.times)
                x = counts if order is None else counts[order]
        if self.rows is not None or x is not points.x:
            rule = moving.in_groups(x, rule, starts)
        return points, order, rule

    def _counts_of(self, times: NDArray[Any]) -> NDArray[np.int64]:
        """Return times as integers, in the unit of the points."""
        assert self.points.times is not None
        return times.astype(f"{times.dtype.kind}8[{self.points.times.base}]").view(np.int64)

    def _windows(self, step: int) -> Windows:
        """Return where the windows lie at each ``step``-th row."""
        points = self.points
        place = points.x, points.x_offset, points.times, self.names[0]
        found = Windows(*place, exact=self.times)
        if self.rows is not None and self.groups is not None:
            codes, groups = self.rows.of_rows(), self.groups
            found = found._replace(codes=codes, groups=groups.keys, order=groups.order)
        return found if step == 1 else found.taken(np.s_[::step])


def _least_squares(points: Points, rule: Rule, step: int, options: Options) -> tuple[LineSums, Any]:
    """Return the lines of windows, and their numbers of rows."""
    given = _loop_options(options)
    found = moving.fit(points.x, points.y, points.w, rule, step, **given)
    n_effective = None
    if points.n_effective is not None:  # a sigma does not change how often a point occurs
        sample = np.where(np.isnan(points.w), math.nan, points.n_effective)  # type: ignore[arg-type]
        n_effective = moving.fit(points.x, points.y, sample, rule, step, **given).w
    y_mean = found.y_mean + points.y_offset if points.y_offset else found.y_mean
    sums = LineSums(
        *(found.slope, None, found.residual_square, y_mean, found.n, found.x_mean, found.xx),
        *(found.w, n_effective, points.x_offset, 0.0),
        has_suspects=found.has_suspects,
        few_are_nan=True,
        has_unresolved=found.has_unresolved,
    )
    return sums, found.n_rows


def _loop_options(options: Options) -> dict[str, Any]:
    """Return the options of the compiled loops."""
    return {
        "through_origin": not options.fit_intercept,
        "min_points": options.min_points,
        "n_threads": options.n_threads,
    }


def _robust(
    points: Points, rule: Rule, step: int, options: Options, *, progress: bool
) -> tuple[LineSums, NDArray[Any]]:
    """Return robust lines of windows, and their numbers of rows."""
    if rule.kind != GIVEN:
        rule = moving.in_groups(points.x, rule, np.array([0, points.x.size]))
    segments = Segments(rule.low[::step], rule.high[::step])
    return segments.robust(points, options, progress=progress), segments.lengths


def _in_rows(values: NDArray[Any], order: NDArray[np.int64], n: int) -> NDArray[Any]:
    """Return values in the order of n rows: NaN, or 0, for a row that is in no group."""
    missing = math.nan if values.dtype.kind == "f" else 0
    found = np.full(n, missing, values.dtype)
    found[order] = values
    return found


# Arguments


def _places_of(x: Any, y: Any, window: Any, data: Any) -> Any:
    """Return x; for None and a window of time, the index of a Series or table of pandas if that holds times."""
    if window is None and data is None and isinstance(y, (int, float, *_DURATIONS)):
        way = "for y at rows 0, 1, 2, ... alone, call it as (None, y, window)"
        way = "for files, call it as (points, window=...)" if isinstance(x, Source) else way
        raise TypeError(f"window must be given after x and y: {way}; got y={y!r}")
    if x is not None or not isinstance(window, _DURATIONS):
        return x
    values = y if data is None else data
    index = getattr(values, "index", None) if kind_of(values) == "pandas" else None
    kind = getattr(getattr(index, "dtype", None), "kind", "")
    return index if kind in ("M", "m") else None


def _times_of(x: Any) -> NDArray[Any] | None:
    """Return times as an array, without digits lost; None if its unit has no fixed length."""
    found = values_of(x, "x")
    array = found.array
    if array.dtype.kind not in "mM":
        return None
    if found.missing is not None and found.missing.any():
        array = array.copy()
        array[found.missing] = "NaT"
    return array


def _index_of(x: Any, y: Any) -> Any:
    """Return the index of a Series of pandas, or an index that is x; None if there is none."""
    for each in (y, x):
        if type(each).__module__.partition(".")[0] == "pandas":
            return getattr(each, "index", each)
    return None


def _table_and_rule(
    columns: dict[str, Any],
    window: Any,
    window_in: Any,
    min_points: Any,
    center: Any,
    closed: Any,
    by: Any,
    data: Any,
    datetime_unit: Unit | None,
    fit_intercept: Any,
    progress: Any,
) -> tuple[_Table, Rule, Any]:
    """Return a caller's columns and windows, checked: points, rule, and the fewest points of a line."""
    center = validation.true_or_false(center, "center")
    validation.require_one_of(closed, _CLOSED, "closed")
    columns = {**columns, "x": _places_of(columns["x"], columns["y"], window, data)}
    table = _Table.of(
        *(columns, by, data, datetime_unit),
        through_origin=not validation.true_or_false(fit_intercept, "fit_intercept"),
        progress=validation.true_or_false(progress, "progress"),
    )
    is_counted = columns["x"] is None
    options = window, window_in, min_points, center, closed, table.points
    return table, *_rule(*options, is_counted=is_counted)


def _rule(
    window: Any,
    window_in: Any,
    min_points: Any,
    center: bool,
    closed: str,
    points: Points,
    *,
    is_counted: bool,
) -> tuple[Rule, Any]:
    """Return the rule of windows, and the fewest points of a line."""
    width = _width(window, window_in, points.times, is_counted=is_counted)
    if width is not None:
        return _by_width(width, center, closed), 2 if min_points is None else min_points
    if isinstance(window, float) or not hasattr(window, "__index__"):
        raise TypeError(
            "window must be an integer, a timedelta or text such as '7D', or with window_in='x' a width in x; got "
            f"{what_came(window)}"
        )
    rows = validation.positive_integer(window, "window")
    most = max(rows + (closed == "both") - (closed == "neither"), 2)
    rule = _by_number(rows, center, closed, points.y.size)
    if min_points is None:
        return rule, max(rows, 2)
    min_points = validation.positive_integer(min_points, "min_points", least=2)
    if min_points > most:
        raise ValueError(
            f"min_points must be at most {most:,}, as windows have no more rows; got {min_points}"
        )
    return rule, min_points


def _width(
    window: Any, window_in: Any, times: TimeUnit | None, *, is_counted: bool
) -> float | None:
    """Return the width of windows in x, in counts where x holds times; None if it is a number of rows."""
    if window_in is not None:
        validation.require_one_of(window_in, ("points", "x"), "window_in")
    if not isinstance(window, _DURATIONS):
        if window_in != "x":
            return None
        if times is not None:
            raise TypeError(
                "window must be a number of rows, a timedelta, or text such as '7D', as x holds times; got "
                f"{what_came(window)}"
            )
        return validation.finite_number(window, "window", "a positive number", above=0.0)
    if times is None and is_counted:
        raise TypeError(
            f"x must hold times for the window {window!r}; got None: pass them, or a Series whose index has them"
        )
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
        found = re.fullmatch(r"\s*(\d{1,300})\s*([A-Za-z]+)\s*", window)
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


def _by_number(rows: int, center: bool, closed: str, n: int) -> Rule:
    """Return the rule of windows of a number of rows; there are n in all."""
    rows = min(rows, 2 * n + 2)  # wider ones hold all rows, too
    off = (rows - 1) // 2 if center else 0
    before = rows if closed in ("left", "both") else rows - 1
    after = off + (1 if closed in ("right", "both") else 0)
    return ROW_ALONE._replace(before=before - off, after=after)


def _by_width(width: float, center: bool, closed: str) -> Rule:
    """Return the rule of windows of a width in x."""
    least, most = (-0.5 * width, 0.5 * width) if center else (-width, 0.0)
    ends = {"has_least": closed in ("left", "both"), "has_most": closed in ("right", "both")}
    return ROW_ALONE._replace(kind=BY_WIDTH, least=least, most=most, **ends)


def _require_rising(
    points: Points, starts: NDArray[np.int64], order: NDArray[np.int64] | None
) -> None:
    """Raise ValueError unless x is finite, and never falls from one row of a table to the next."""
    x = points.x
    wrong = np.flatnonzero(~np.isfinite(x))
    if wrong.size:
        place = wrong[0] if order is None else order[wrong[0]]
        what = x[wrong[0]] if points.times is None else "NaT"
        raise ValueError(
            f"x must be finite and not missing where windows are widths in x; got {what} at index {place:,}: "
            "leave such rows out"
        )
    falls = np.flatnonzero(x[1:] < x[:-1]) + 1
    falls = falls[~np.isin(falls, starts)]
    if falls.size:
        place = falls[0] if order is None else order[falls[0]]
        where = "" if order is None else " within each group"
        raise ValueError(
            f"x must not decrease{where} where windows are widths in x: sort the points by x; it does so at index "
            f"{place:,}"
        )
