"""fit_groups(): a line through each group of rows of a table."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import keys, validation
from fastfit.kernels import grouped
from fastfit.lines.batched import Options, warn_of_bad_lines
from fastfit.lines.points import Points
from fastfit.lines.result import LineFits
from fastfit.lines.segments import Segments
from fastfit.lines.series import LineSums
from fastfit.losses import Loss, RobustLoss
from fastfit.tables import kind_of, table_columns
from fastfit.times import TimeLike, Unit


def fit_groups(
    x: ArrayLike | TimeLike | str,
    y: ArrayLike | str,
    by: Any,
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
    x : array_like, shape (n,), or str
        Where the points lie, which may be times; or the name of a column of ``data``.
    y : array_like, shape (n,), or str
        Values; points with a missing x, y or weight are left out.
    by : array_like, shape (n,), str, or list of these
        The key of each point, of any kind that can be hashed, or a list of columns of keys. Points of equal keys form a
        group; those with a missing key form none (``n_ungrouped`` counts them).
    data : DataFrame or table, optional
        Table of pandas, Polars (also a LazyFrame) or PyArrow, or a mapping, whose columns are named.
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
        has_sigma=sigma is not None,
        absolute_sigma=absolute_sigma,
        nan_policy=nan_policy,
        min_points=min_points,
        n_threads=n_threads,
        backend="numba",
    )
    sort = validation.true_or_false(sort, "sort")
    progress = validation.true_or_false(progress, "progress")
    columns = {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma}
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
    groups, rows = grouping_of(by, names, points.y.size, options.n_threads)
    if isinstance(options.loss, RobustLoss):
        order, starts = rows.in_order(np.ones(rows.n_groups, np.bool_))
        segments = Segments(starts[:-1], starts[1:], order)
        sums = segments.robust(points, options, progress=progress)
    else:
        sums = _least_squares(points, rows, options)
    of_group, counts = groups.keys, rows.counts()
    n_ungrouped = points.y.size - int(counts.sum())
    place = groups.order if sort else None
    if place is not None:
        sums = sums.mapped(lambda each: each[place])
        of_group = {name: values[place] for name, values in of_group.items()}
        counts = counts[place]
    fits = options.fits(sums, counts, points.times, 0).of_groups(of_group, n_ungrouped, kind)
    warn_of_bad_lines(fits)
    return fits


def key_columns(by: Any, has_table: bool) -> tuple[list[Any], list[str | None]]:
    """Return the columns of keys: one, or those of a list of columns, or with a table, of names."""

    def is_column(value: Any) -> bool:
        if isinstance(value, str):
            return has_table
        return isinstance(value, list) or hasattr(value, "__array__")

    are_many = isinstance(by, (list, tuple)) and bool(by) and all(map(is_column, by))
    columns = list(by) if are_many else [by]
    return columns, [None] * len(columns)


def labelled(by: list[Any]) -> dict[str, Any]:
    """Return the columns of keys by what errors call them."""
    return {"by" if len(by) == 1 else f"by[{k}]": column for k, column in enumerate(by)}


def grouping_of(
    by: list[Any], names: list[str | None], n: int, n_threads: int | None
) -> tuple[keys.Groups, grouped.Rows]:
    """Return groups, and which group each row belongs to: as runs where rows of a group lie together."""
    numbers = _numbers_of(by[0]) if len(by) == 1 else None
    if numbers is not None and numbers.size == n > 0:
        # Where runs are long, only one key of each has to be looked up.
        starts = grouped.runs_of(numbers, n_threads)
        if starts is not None:
            own = names[0] or getattr(by[0], "name", None)
            groups = keys.groups_of([by[0][starts[:-1]]], [own], None)
            return groups, grouped.Rows(None, starts, groups.codes, groups.n)
    groups = keys.groups_of(by, names, n)
    starts = grouped.runs_of(groups.codes, n_threads) if n else None
    if starts is None:
        return groups, grouped.Rows(groups.codes, None, None, groups.n)
    return groups, grouped.Rows(None, starts, groups.codes[starts[:-1]], groups.n)


def _numbers_of(column: Any) -> NDArray[Any] | None:
    """Return keys that are plain numbers or times as an array that can be read in place, else None."""
    if not isinstance(column, np.ndarray) and isinstance(getattr(column, "dtype", None), np.dtype):
        column = column.to_numpy() if hasattr(column, "to_numpy") else None
    if type(column) is not np.ndarray or column.ndim != 1 or column.dtype.kind not in "iufbmM":
        return None
    if not column.dtype.isnative or column.dtype.char in "gGeF":
        return None
    return column.view(np.int64) if column.dtype.kind in "mM" else column


def _least_squares(points: Points, rows: grouped.Rows, options: Options) -> LineSums:
    found = grouped.fit(
        *(points.x, points.y, points.w, rows),
        through_origin=not options.fit_intercept,
        min_points=options.min_points,
        n_threads=options.n_threads,
    )
    n_effective = None
    if points.n_effective is not None:
        assert points.w is not None
        codes = rows.of_rows()
        counts = (codes >= 0) & ~np.isnan(points.x + points.y + points.w)
        n_effective = np.bincount(
            codes[counts], weights=points.n_effective[counts], minlength=rows.n_groups
        )
    return LineSums(
        *(found.slope, None, found.residual_square, found.y_mean + points.y_offset),
        *(found.n, found.x_mean, found.xx, None if points.w is None else found.w, n_effective),
        *(points.x_offset, 0.0),
        has_suspects=found.has_suspects,
    )
