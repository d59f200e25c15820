"""Sums of lines over a part of their points, ready to be merged, and the same however lines are divided."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Numbers
from fastfit.kernels.many import ROWS
from fastfit.lines.layout import is_like, layout_of
from fastfit.lines.series import LineSums, Series
from fastfit.losses import RobustLoss

# How many times larger than its residuals a mean of y may be, before its rounding matters to what is merged.
_HIGH = 256.0
# Numbers that are gathered at a time: 8 MB.
_AT_A_TIME = 1_000_000


def sums_of_lines(
    series: Series,
    *,
    through_origin: bool,
    backend: str,
    is_alone: bool,
    is_repeated: bool,
    loss: RobustLoss | None = None,
) -> LineSums:
    """Return the sums of some lines, with the same bits whichever other lines come with them, on one thread.

    Parameters
    ----------
    series : Series
        The points of some lines.
    is_alone : bool
        Whether these are all the lines there are. Of one of several, the points would be summed in another order; it is
        fitted twice, side by side.
    is_repeated : bool
        Whether an x or weights with more than one axis repeat along others.
    loss : RobustLoss or None
        The loss of robust lines; None for least squares.
    """
    shape = series.shape
    arranged = _arranged(
        series if is_alone or math.prod(shape) != 1 else _doubled(series), is_repeated
    )
    sums = arranged.fit(through_origin=through_origin, n_threads=1, backend=backend, loss=loss)
    # Of a line that was fitted twice, the first.
    return sums.mapped(
        lambda each: each if each.shape == shape else each.reshape(-1)[:1].reshape(shape)
    )


def sums_of_part(
    series: Series, *, through_origin: bool, backend: str, is_alone: bool, is_repeated: bool
) -> LineSums:
    """Return the sums over some of the points of lines, as ``merging.merged`` needs them.

    Where the points of a part determine no line, as they have one x, are few, or hold infinity, means and residuals
    from the mean are summed here. Where residuals are small beside the mean of y, so is what that lost in rounding.
    """
    sums = sums_of_lines(
        series,
        through_origin=through_origin,
        backend=backend,
        is_alone=is_alone,
        is_repeated=is_repeated,
    )
    with np.errstate(all="ignore"):
        w = np.asarray(sums.n if sums.w is None else sums.w)
        rough = ~np.isfinite(sums.slope + sums.residual_square)
        if not through_origin:
            high = ~rough & (abs(sums.y_mean) > _HIGH * np.sqrt(sums.residual_square / w))
            far = ~rough & (abs(sums.u_mean) > _HIGH * np.sqrt(np.asarray(sums.uu) / w))
            if high.any():
                sums = sums._replace(y_low=_mean_lows(series, sums, high, "y_mean"))
            if far.any() and (series.x.array.ndim > 1 or np.isnan(series.x.array).any()):
                sums = sums._replace(u_low=_mean_lows(series, sums, far, "u_mean"))
            is_known = np.isfinite(sums.y_mean + sums.u_mean + sums.residual_square)
            single = np.equal(sums.n, 1.0) & is_known
            rough &= ~single
        rough = _with_points(series, rough)
        return _with_rough(series, sums, rough, through_origin) if rough.any() else sums


def _some(chosen: NDArray[np.bool_], n: int) -> Iterator[NDArray[np.bool_]]:
    """Yield which lines are chosen, some at a time."""
    places = np.flatnonzero(chosen)
    step = max(1, _AT_A_TIME // max(n, 1))
    for low in range(0, places.size, step):
        some = np.zeros(chosen.shape, np.bool_)
        some.reshape(-1)[places[low : low + step]] = True
        yield some


def _with_points(series: Series, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the chosen lines hold more than NaN."""
    array = series.y.array
    if array.dtype.kind != "f":
        return chosen
    found = np.array(chosen)
    for some in _some(chosen, series.n):
        found[some] = ~np.isnan(np.moveaxis(array, series.axis, 0)[:, some]).all(axis=0)
    return found


def _mean_lows(
    series: Series, sums: LineSums, chosen: NDArray[np.bool_], name: str
) -> NDArray[np.float64]:
    """Return what means of x or y lost in rounding, 0 for lines that are not chosen."""
    low, means = np.zeros(chosen.shape), np.broadcast_to(getattr(sums, name), chosen.shape)
    offset = series.y.offset if name == "y_mean" else _origin(series, sums)
    x, y = series.x.array, series.y.array
    is_simple = name == "y_mean" and series.weight is None and series.sigma is None
    is_simple = is_simple and y.dtype.kind == "f" and series.y.missing is None
    is_simple = is_simple and x.ndim == 1 and not np.isnan(x).any() and series.x.missing is None
    for some in _some(chosen, series.n):
        if is_simple:
            values = np.moveaxis(y, series.axis, 0)[:, some]
            low[some] = _mean_above(values, means[some] - offset)
            continue
        points = _Points.of(series, some)
        values = points.y if name == "y_mean" else points.x
        low[some] = points.mean_above(values, means[some], offset)
    return low


def _mean_above(rows: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of columns less their levels; NaN does not count."""
    total, n = np.zeros(level.shape), np.zeros(level.shape)
    for row in rows:
        above = row - level
        counts = ~np.isnan(above)
        n += counts
        total += above if counts.all() else np.where(counts, above, 0.0)
    return total / n


def _origin(series: Series, sums: LineSums) -> float:
    """Return what is added to x as it came, to count it from the center."""
    return (series.x.offset - sums.center) - sums.center_low


def _with_rough(
    series: Series, sums: LineSums, rough: NDArray[np.bool_], through_origin: bool
) -> LineSums:
    """Return sums with those of rough lines made again."""
    names = ["slope", "residual_square", "y_mean", "n", "u_mean", "uu", "y_low", "u_low"]
    names += [] if sums.w is None else ["w"]
    whole = {
        name: np.array(np.broadcast_to(getattr(sums, name), rough.shape), np.float64)
        for name in names
    }
    origin = _origin(series, sums)
    for some in _some(rough, series.n):
        found = _Points.of(series, some).sums(series.y.offset, origin, through_origin)
        for name in names:
            whole[name][some] = found[name]
    changed: dict[str, Any] = {**whole}
    return sums._replace(**changed)


class _Points(NamedTuple):
    """Points of some lines, as float64 in rows; what does not count is NaN in y, and has the weight 0."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    w: NDArray[np.float64]

    @classmethod
    def of(cls, series: Series, chosen: NDArray[np.bool_]) -> _Points:
        x, y = (_chosen(each, series.axis, chosen) for each in (series.x, series.y))
        w = np.ones((1, 1))
        if series.sigma is not None:
            sigma = _chosen(series.sigma, series.axis, chosen)
            w = np.where(
                (sigma > 0.0) & (sigma < math.inf),
                1.0 / sigma**2,
                np.where(np.isnan(sigma), np.nan, -1.0),
            )
        if series.weight is not None:
            w = w * _chosen(series.weight, series.axis, chosen)
        missing = np.isnan(x) | np.isnan(y) | np.isnan(w)
        w = np.where((w < 0.0) | (w == math.inf), math.nan, w)
        return cls(x, np.where(missing, np.nan, y), np.where(missing, 0.0, w))

    def mean_above(self, values: Any, level: Any, offset: float) -> Any:
        """Return the weighted mean of ``values + offset - level``."""
        total = np.zeros(level.shape)
        for value, y, w in zip(values, self.y, np.broadcast_to(self.w, self.y.shape), strict=True):
            total += np.where(np.isnan(y), 0.0, w * (value + (offset - level)))
        return total / _total(self.w)

    def sums(self, y_offset: float, x_offset: float, through_origin: bool) -> dict[str, Any]:
        """Return the sums of lines from their definitions, by their names in LineSums."""
        counts = ~np.isnan(self.y)
        first = np.argmax(counts, axis=0)[np.newaxis] if len(counts) else np.zeros((0, 1), int)
        u = np.where(counts, self.x + x_offset, 0.0)
        level, u_first = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
        if len(counts) and not through_origin:
            level = np.take_along_axis(self.y, first, 0)[0]
            u_first = np.take_along_axis(u, first, 0)[0]
        v = np.where(counts, self.y - level, 0.0)
        w = _total(self.w)
        du = np.where(counts, u - u_first, 0.0)
        v_mean = u_mean = np.zeros(w.shape)
        if not through_origin:
            v_mean, u_mean = _total(self.w * v) / w, _total(self.w * du) / w
        else:
            v = np.where(counts, v + y_offset, 0.0)
        du, v = np.where(counts, du - u_mean, 0.0), np.where(counts, v - v_mean, 0.0)
        uu = _total(self.w * du * du)
        slope = np.where(uu == 0.0, np.nan, _total(self.w * du * v) / uu)
        rise = np.where(uu == 0.0, 0.0, slope) * du
        y_mean = (level + y_offset) + v_mean
        place = u_first + u_mean
        return {
            "slope": slope,
            "residual_square": _total(np.where(counts, self.w * np.square(v - rise), 0.0)),
            "y_mean": y_mean,
            "y_low": np.where(np.isfinite(y_mean), ((level - y_mean) + y_offset) + v_mean, 0.0),
            "n": counts.sum(axis=0),
            "u_mean": place,
            "u_low": np.where(np.isfinite(place), (u_first - place) + u_mean, 0.0),
            "uu": uu,
            "w": w,
        }


def _total(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of columns, row after row, so that a column has the same bits beside any others."""
    total = np.zeros(rows.shape[1])
    for row in rows:
        total += row
    return total


def _chosen(numbers: Numbers, axis: int, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return numbers of chosen lines as rows, NaN where they are missing."""
    array, missing = numbers.array, numbers.missing
    if array.ndim == 1 and chosen.ndim:
        column = array.astype(np.float64)[:, np.newaxis]
        return column if missing is None else np.where(missing[:, np.newaxis], np.nan, column)
    found = np.moveaxis(array, axis, 0)[:, chosen].astype(np.float64)
    if missing is not None:
        found[np.moveaxis(missing, axis, 0)[:, chosen]] = np.nan
    return found


# Layout


def _doubled(series: Series) -> Series:
    """Return a single line twice."""
    along = 0 if series.axis else 1

    def twice(numbers: Numbers | None) -> Numbers | None:
        if numbers is None or numbers.array.ndim == 1:
            return numbers
        return _each(
            numbers, lambda array: np.concatenate([array, array], axis=along, dtype=array.dtype)
        )

    x, y, weight, sigma = map(twice, series[:4])
    assert x is not None
    assert y is not None
    return series._replace(x=x, y=y, weight=weight, sigma=sigma)


def _arranged(series: Series, is_repeated: bool) -> Series:
    """Return series laid out in memory as the order of their axes tells, whatever their lengths are.

    Points lie side by side if theirs is the last axis, and nothing has to be converted; else lines do.
    """
    y, axis = series.y.array, series.axis
    if y.ndim == 1:
        return series
    given = [each for each in (series.x, series.weight) if each is not None]
    own = [each for each in given if each.array.ndim > 1]
    is_plain = (
        axis == y.ndim - 1
        and y.shape[axis] >= ROWS
        and series.sigma is None
        and all(_is_float(each) for each in (series.y, *own))
        and (series.weight is None or series.weight.array.ndim > 1)
        and (series.x.array.ndim > 1 or not np.isnan(series.x.array).any())
        and not is_repeated
    )
    lines_last = not is_plain and math.prod(y.shape[axis + 1 :]) == 1

    if not own and not lines_last and _is_laid(y, axis, is_plain):
        return series

    def laid(array: NDArray[Any]) -> NDArray[Any]:
        if lines_last:
            array = np.moveaxis(array, axis, 0)
        steps = zip(array.strides, array.shape, strict=True)
        repeats = any(step == 0 and k > 1 for step, k in steps)
        return array if repeats else np.ascontiguousarray(array)

    def moved(numbers: Numbers | None) -> Numbers | None:
        return numbers if numbers is None or numbers.array.ndim == 1 else _each(numbers, laid)

    if is_repeated and series.y.array.dtype.kind == "f":
        # What repeats is copied some lines at a time, as float64, and y with it: also where a copy happens to fit.
        wide = series.y.array.astype(np.float64, copy=False)
        series = series._replace(y=series.y._replace(array=wide))
    x, values, weight, sigma = map(moved, series[:4])
    assert x is not None
    assert values is not None
    return Series(x, values, weight, sigma, 0 if lines_last else axis)


def _is_laid(y: NDArray[Any], axis: int, points_last: bool) -> bool:
    """Return whether values can be read in place, side by side as is wanted."""
    layout = layout_of(y, axis)
    return layout is not None and (layout.strides[1] == 1) == points_last


def _is_float(numbers: Numbers) -> bool:
    return numbers.missing is None and is_like(numbers.array, numbers.array)


def _each(numbers: Numbers, change: Any) -> Numbers:
    """Return numbers with their arrays changed."""
    missing = None if numbers.missing is None else change(numbers.missing)
    return numbers._replace(array=change(numbers.array), missing=missing)
