"""fit_groups(): a line through each group of rows of a table."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import keys, validation
from fastfit.containers import name_of
from fastfit.kernels import grouped
from fastfit.lines.batched import Options, warn_of_bad_lines
from fastfit.lines.keyed import KEPT, GroupPass, Keyed, sums_of, typed
from fastfit.lines.points import Points
from fastfit.lines.result import LineFits
from fastfit.lines.segments import Segments
from fastfit.lines.series import LineSums
from fastfit.losses import Loss, RobustLoss
from fastfit.points.base import Plan, Source
from fastfit.points.opening import reading_of
from fastfit.tables import kind_of, table_columns
from fastfit.times import TimeLike, TimeUnit, Unit


def fit_groups(
    x: ArrayLike | TimeLike | str | Source,
    y: ArrayLike | str | None = None,
    by: Any = None,
    *,
    data: Any = None,
    loss: str | Loss | type[Loss] = "squared_error",
    f_scale: float | Literal["mad"] | None = None,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | str | None = None,
    sigma: ArrayLike | str | None = None,
    absolute_sigma: bool = False,
    nan_policy: Literal["omit", "raise", "propagate"] = "omit",
    min_points: int = 2,
    sort: bool = True,
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
    progress: bool = True,
) -> LineFits:
    """Fit the line ``y = slope * x + intercept`` of least mean loss through the points of each group.

    Parameters
    ----------
    x : array_like, shape (n,), str, or what ``scan`` returns
        Where the points lie, which may be times; or the name of a column of ``data``. Points of files,
        ``scan(..., by=...)``, bring all other columns along, and may be more than fit in memory.
    y : array_like, shape (n,), or str
        Values; points with a missing x, y or weight are left out.
    by : array_like, shape (n,), str, or list of these; optional
        The key of each point, of any kind that can be hashed, or a list of columns of keys. Points of equal keys form a
        group; those with a missing key form none (``n_ungrouped`` counts them).
    data : DataFrame or table, optional
        Table of pandas, Polars (also a LazyFrame) or PyArrow, a DataFrame of Dask, or a mapping, whose columns are
        named.
    loss, f_scale, absolute_sigma
        As in :func:`fit_lines`.
    fit_intercept : bool
        False fits ``y = slope * x``.
    sample_weight, sigma : array_like, shape (n,), or str, optional
        How often each point was observed; standard deviations of y. Those that cannot be are a status of their group.
    nan_policy : {"omit", "raise", "propagate"}
        For NaN in x, y or weights: leave the point out, raise ValueError, or have no line for its group.
    min_points : int
        Fewest points for a line; at least 2. Lines with fewer are NaN.
    sort : bool
        Whether lines are sorted by keys; else, and where keys cannot be compared, groups are in the order of their
        first rows.
    datetime_unit : {"W", "D", "h", "m", "s", "ms", "us", "ns"}, optional
        Unit of x in slopes where x holds times; "s" by default.
    n_threads : int, optional
        Largest number of threads; results have the same bits for every number.
    progress : bool
        Whether to show how far a long fit has come, if stderr is a terminal and Rich is installed.

    Returns
    -------
    LineFits
        Arrays with an entry for each group, whose keys are ``keys``; ``to_frame`` returns the kind of table that
        ``data`` is. A group without a line is NaN, with a status that says why, and spoils no other.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.

    Warns
    -----
    ConvergenceWarning
        Once, with their number, if groups with points could not be fitted, or did not converge.

    Examples
    --------
    >>> import fastfit as ff
    >>> fits = ff.fit_groups([0, 1, 0, 1], [1.0, 3.0, 5.0, 5.0], ["a", "a", "b", "b"])
    >>> fits.slope
    array([2., 0.])
    >>> fits.keys
    {'key': array(['a', 'b'], dtype=object)}
    """
    options = Options.of(
        loss=loss,
        f_scale=f_scale,
        fit_intercept=fit_intercept,
        has_sigma=sigma is not None or (isinstance(x, Source) and x.has_sigma),
        absolute_sigma=absolute_sigma,
        nan_policy=nan_policy,
        min_points=min_points,
        n_threads=n_threads,
        backend="numba",
    )
    sort = validation.true_or_false(sort, "sort")
    progress = validation.true_or_false(progress, "progress")
    given = columns = {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma}
    source = _source_of(columns, by, data)
    if source is not None:
        return _fit_parts(
            *source, options, sort=sort, datetime_unit=datetime_unit, progress=progress
        )
    if by is None:
        raise TypeError("by must be a column of keys, or the name of one in data; got None")
    by, names = key_columns(by, data is not None)
    kind = None
    if data is not None:
        kind = kind_of(data)
        columns, by, names = table_columns(data, columns, by)
    points = Points.of(
        **columns,
        datetime_unit=datetime_unit,
        through_origin=not options.fit_intercept,
        labelled=labelled(by),
    )
    if options.nan_policy == "raise":
        points.require_no_nan()
    n = points.y.size
    groups, rows = grouping_of(by, names, n, options.n_threads, may_be_empty=sort)
    sums = _sums_of(points, rows, options, progress=progress)
    sums, groups, counts = _without_empty(sums, groups, rows)
    known = groups, counts, rows.n_ungrouped, points.times
    labels = names_of(given, columns)
    types = dict(zip(groups.keys, map(type_of, by), strict=True))
    return _fits(sums, *known, options, labels, sort=sort, kind=kind, types=types)


def _fits(
    sums: LineSums,
    groups: keys.Groups,
    counts: NDArray[Any],
    n_ungrouped: int,
    times: TimeUnit | None,
    options: Options,
    labels: tuple[str, str],
    *,
    sort: bool,
    kind: str | None,
    types: dict[str, Any] | None = None,
    unresolved: NDArray[np.bool_] | None = None,
) -> LineFits:
    """Return the lines of groups, sorted by their keys if that is asked for and they can be; and warn of bad ones.

    Those with unresolved residuals have no errors.
    """
    of_group, place = groups.keys, groups.order if sort else None
    if place is not None:
        sums = sums.mapped(lambda each: each[place])
        of_group = {name: values[place] for name, values in of_group.items()}
        counts = counts[place]
        unresolved = None if unresolved is None else unresolved[place]
    fits = options.fits(sums, counts, times, 0).of_groups(
        of_group, n_ungrouped, labels, kind, types
    )
    warn_of_bad_lines(fits)
    return fits if unresolved is None else fits.without_errors(unresolved)


def _without_empty(
    sums: LineSums, groups: keys.Groups, rows: grouped.Rows
) -> tuple[LineSums, keys.Groups, NDArray[Any]]:
    """Leave out groups without rows; return the numbers of rows, too."""
    n = np.asarray(sums.n)
    is_whole = n.sum() == rows.n_rows - rows.n_ungrouped  # nothing is missing
    counts = n if is_whole else rows.counts()
    if counts.all():
        return sums, groups, counts
    there = np.flatnonzero(counts)
    of_group = {name: values[there] for name, values in groups.keys.items()}
    return sums.mapped(lambda each: each[there]), groups._replace(keys=of_group), counts[there]


def _sums_of(points: Points, rows: grouped.Rows, options: Options, *, progress: bool) -> LineSums:
    if not isinstance(options.loss, RobustLoss):
        return _least_squares(points, rows, options)
    order, starts = rows.in_order(np.ones(rows.n_groups, np.bool_))
    return Segments(starts[:-1], starts[1:], order).robust(points, options, progress=progress)


# Points in parts


def require_alone(x: Source, **others: Any) -> None:
    """Raise ValueError if anything is given besides points that bring all columns along, TypeError if x has no rows."""
    if not hasattr(x, "keys"):
        must_be = "x must be points, names of columns, or what scan() returns"
        raise TypeError(f"{must_be}; got {type(x).__name__}, which holds sums of points alone")
    for name, value in others.items():
        if value is not None:
            raise ValueError(
                f"{name} must be left out when x {x.refusal}{x.instead.format(name=name)}; got "
                f"{validation.what_came(value)}"
            )


def _source_of(
    columns: dict[str, Any], by: Any, data: Any
) -> tuple[Any, tuple[str, ...], int] | None:
    """Return points in parts, the names of their keys, and how many bytes of them are kept; None for other points."""
    x = columns["x"]
    if isinstance(x, Source):
        require_alone(**columns, by=by, data=data)
        names = getattr(x, "keys", ())
        if not names:
            raise ValueError(
                "by must name the columns of keys, as in scan(..., by='sensor'); got none"
            )
        return x, names, KEPT
    is_dask = "dask" in kind_of(columns["y"] if data is None else data)
    if not is_dask:
        return None
    by, names = key_columns(by, data is not None)
    if data is not None:
        columns, by, names = table_columns(data, columns, by)
    from fastfit.points.dask import DaskPoints

    own = [name or getattr(each, "name", None) for name, each in zip(names, by, strict=True)]
    named = tuple(name or f"key_{k}" for k, name in enumerate(own))
    return DaskPoints(**columns, keys=by), named, 0


def _fit_parts(
    source: Any,
    names: tuple[str, ...],
    room: int,
    options: Options,
    *,
    sort: bool,
    datetime_unit: str | None,
    progress: bool,
) -> LineFits:
    """Return the lines of groups of points in parts."""
    is_robust = isinstance(options.loss, RobustLoss)
    through_origin = not options.fit_intercept
    reading = reading_of(
        nan_policy="omit",
        n_threads=options.n_threads,
        through_origin=through_origin,
        datetime_unit=datetime_unit,
    )
    with source.opened(reading, Plan(options.loss, 1, progress, in_parts=True)) as opened:
        n_threads = opened.reading.n_threads
        task = GroupPass(names, through_origin, datetime_unit, n_threads, room, is_robust)
        found = opened.reduced(task)
    far = None
    if found.batches:
        points, groups = found.whole()
        rows = grouped.rows_of(groups.codes, groups.n, options.n_threads)
        sums = _sums_of(points, rows, options, progress=progress)
        counts = rows.counts()
    else:
        table, groups = Keyed.joined(found.tables)
        counts = table.n_rows
        has_weights = source.has_sigma or "sample_weight" in source.columns
        sums, far = sums_of(table, found, has_weights=has_weights, options=options)
    groups = typed(groups, source)
    return _fits(
        *(sums, groups, counts, found.n_ungrouped, found.times, options, source.names),
        sort=sort,
        kind=None,
        unresolved=far,
    )


def key_columns(by: Any, has_table: bool) -> tuple[list[Any], list[str | None]]:
    """Return ``by``, which may be one column, or several, or names if there is a table, as a list of columns."""

    def is_column(value: Any) -> bool:
        if isinstance(value, str):
            return has_table
        return isinstance(value, list) or hasattr(value, "__array__")

    are_many = isinstance(by, (list, tuple)) and bool(by) and all(map(is_column, by))
    columns = list(by) if are_many else [by]
    return columns, [None] * len(columns)


def names_of(given: dict[str, Any], columns: dict[str, Any]) -> tuple[str, str]:
    """Return the names of x and y: those of columns of a table, or of a Series."""
    x, y = (
        given[name] if isinstance(given[name], str) else name_of(columns[name], name)
        for name in "xy"
    )
    return x, y


def type_of(column: Any) -> Any:
    """Return the type of the values of a column, as its library has it; None if it has none."""
    return getattr(column, "dtype", getattr(column, "type", None))


def labelled(by: list[Any]) -> dict[str, Any]:
    """Return the columns of keys by what errors call them."""
    return {"by" if len(by) == 1 else f"by[{k}]": column for k, column in enumerate(by)}


def grouping_of(
    by: list[Any],
    names: list[str | None],
    n: int,
    n_threads: int | None = None,
    *,
    may_be_empty: bool = False,
) -> tuple[keys.Groups, grouped.Rows]:
    """Return groups, and which group each row belongs to: as runs where rows of a group lie together.

    With ``may_be_empty``, keys that are integers of a short range may be numbered by their values, in sorted order, and
    some of the groups have no rows.
    """
    array = _numbers_of(by[0]) if len(by) == 1 else None
    if array is not None and array.size == n > 0:
        own = keys.names_of(by, names)
        # Where runs are long, only one key of each has to be looked up.
        items = array.view(np.int64) if array.dtype.kind in "mM" else array
        starts = grouped.runs_of(items, n_threads)
        if starts is not None:
            groups = keys.groups_of([array[starts[:-1]]], own, None)
            return groups, grouped.Rows.of_runs(starts, groups.codes, groups.n)
        if may_be_empty and array.dtype.kind in "iu":
            low, high = grouped.range_of(array, n_threads)
            if high - low < min(n, 2**31 - 1):
                codes = array
                if low or array.dtype != np.int32:
                    codes = np.empty(n, np.int32)
                    wide: Any = np.uint64 if array.dtype == np.uint64 else np.int64
                    np.subtract(array, wide(low), out=codes, dtype=wide, casting="unsafe")
                values = np.arange(high - low + 1).astype(array.dtype) + array.dtype.type(low)
                groups = keys.Groups(codes, {own[0]: values}, None)
                return groups, grouped.Rows(codes, None, None, groups.n)
    groups = keys.groups_of(by, names, n)
    return groups, grouped.rows_of(groups.codes, groups.n, n_threads)


def _numbers_of(column: Any) -> NDArray[Any] | None:
    """Return keys that are plain numbers or times as an array, without a copy, else None."""
    if not isinstance(column, np.ndarray) and isinstance(getattr(column, "dtype", None), np.dtype):
        column = column.to_numpy() if hasattr(column, "to_numpy") else None
    if type(column) is not np.ndarray or column.ndim != 1 or column.dtype.kind not in "iufbmM":
        return None
    return column if column.dtype.isnative and column.dtype.char not in "gGeF" else None


def _least_squares(points: Points, rows: grouped.Rows, options: Options) -> LineSums:
    found = grouped.fit(
        *(points.x, points.y, points.w, rows),
        through_origin=not options.fit_intercept,
        min_points=options.min_points,
        n_threads=options.n_threads,
    )
    return LineSums(
        *(found.slope, None, found.residual_square, found.y_mean + points.y_offset),
        *(found.n, found.x_mean, found.xx, None if points.w is None else found.w),
        *(points.sums_of_sample(rows), points.x_offset, 0.0),
        has_suspects=found.has_suspects,
        few_are_nan=True,
    )
