"""Many series of points, and the sums of their least-squares lines."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Numbers, numbers_of, require_same_labels
from fastfit.kernels import reference, tiles
from fastfit.kernels.many import RESULTS, ROWS
from fastfit.kernels.robust_lines import ROBUST_RESULTS
from fastfit.kernels.tiles import Places
from fastfit.lines.layout import Layout, blocks, flat, is_like, layout_of, rows
from fastfit.lines.one_by_one import robust_lines
from fastfit.losses import RobustLoss


class RobustLines(NamedTuple):
    """What robust lines are made of, beside their least-squares lines: arrays of the shape of the lines.

    Attributes
    ----------
    turn, rise : ndarray
        How much steeper they are than the least-squares lines, and how much higher at the mean of x.
    loss, f_scale : ndarray
        Mean losses, and the scales they were found with.
    turn_error, rise_error, tie : ndarray
        Standard errors of the slope and of the line at the mean of x, and the correlation of the two.
    end : ndarray
        How the search ended, as ``robust_lines`` of the kernels says; NaN where there was none.
    """

    turn: NDArray[np.float64]
    rise: NDArray[np.float64]
    loss: NDArray[np.float64]
    f_scale: NDArray[np.float64]
    turn_error: NDArray[np.float64]
    rise_error: NDArray[np.float64]
    tie: NDArray[np.float64]
    end: NDArray[np.float64]

    def at(self, index: Any) -> RobustLines:
        """Return some of the lines, or one."""
        return RobustLines(*(each[index] for each in self))


class LineSums(NamedTuple):
    """What least-squares lines are made of: arrays of the shape of the lines, or numbers that are the same for all.

    Attributes
    ----------
    slope, intercept, residual_square, y_mean : ndarray
        The lines, their weighted sums of squared residuals, and the weighted means of y. The intercept is None where it
        is left to be computed from the means.
    n : ndarray or float
        Number of points.
    u_mean, uu : ndarray or float
        Mean of x less the center, and weighted sum of squared deviations from it.
    w : ndarray or None
        Sum of the weights; None without weights.
    n_effective : ndarray or None
        With sigma and sample weights: sum of the sample weights; None where it is w, or n with sigma.
    center, center_low : float
        What is subtracted from x, as two floats.
    y_low, u_low : ndarray or float
        What ``y_mean`` and ``u_mean`` lack, where it is known.
    robust : RobustLines or None
        Where lines of another loss lie; None for least squares.
    has_suspects : bool
        Whether the status of a line may be other than CONVERGED, but for fewer points than were asked for.
    has_unresolved : bool
        Whether some residuals are not known, of windows.
    few_are_nan : bool
        Whether lines of fewer points than were asked for have a slope of NaN already.
    """

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64] | None
    residual_square: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    n: Any
    u_mean: Any
    uu: Any
    w: NDArray[np.float64] | None
    n_effective: NDArray[np.float64] | None
    center: float
    center_low: float
    y_low: float | NDArray[np.float64] = 0.0
    u_low: float | NDArray[np.float64] = 0.0
    robust: RobustLines | None = None
    has_suspects: bool = True
    has_unresolved: bool = False
    few_are_nan: bool = False

    def mapped(self, change: Callable[[NDArray[Any]], Any]) -> LineSums:
        """Return sums of which each array is changed alike, those of robust lines too."""

        def changed(each: Any) -> Any:
            return each if each is None or np.ndim(each) == 0 else change(each)

        plain: Any = self._replace(robust=None)
        robust = None if self.robust is None else RobustLines._make(map(changed, self.robust))
        return LineSums._make(map(changed, plain))._replace(robust=robust)


class Series(NamedTuple):
    """Points of many lines.

    Attributes
    ----------
    x, y : Numbers
        Places, of one line or of all, and values.
    weight, sigma : Numbers or None
        Sample weights and standard deviations, likewise.
    axis : int
        The axis of y along which the points of a line lie; not negative.
    names : ndarray of object, or None
        Names of the lines, where y is a table.
    """

    x: Numbers
    y: Numbers
    weight: Numbers | None
    sigma: Numbers | None
    axis: int
    names: NDArray[np.object_] | None = None

    @classmethod
    def of(
        cls, x: Any, y: Any, axis: Any, sample_weight: Any, sigma: Any, datetime_unit: str | None
    ) -> Series:
        """Return a caller's arguments, checked.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be; the message names it.
        """
        values = numbers_of(_columns_of(y, "y"), "y")
        shape = values.array.shape
        if not shape:
            raise ValueError("y must have at least one dimension; got a single number")
        try:
            place = operator.index(axis)
        except TypeError as error:
            raise TypeError(f"axis must be an integer; got {axis!r}") from error
        if not -len(shape) <= place < len(shape):
            raise ValueError(
                f"axis must be at least {-len(shape)} and below {len(shape)}, as y has {len(shape)} "
                f"{'dimension' if len(shape) == 1 else 'dimensions'}; got {place}"
            )
        place %= len(shape)
        if place == 0:
            require_same_labels(x, y, sample_weight, sigma)
        places = numbers_of(_columns_of(x, "x"), "x", datetime_unit)
        n = shape[place]
        others = {
            "x": places,
            "sample_weight": None
            if sample_weight is None
            else numbers_of(_columns_of(sample_weight, "sample_weight"), "sample_weight"),
            "sigma": None if sigma is None else numbers_of(_columns_of(sigma, "sigma"), "sigma"),
        }
        for name, found in others.items():
            if found is not None and found.array.ndim == 0 and name != "x":
                others[name] = found = found._replace(array=np.full(n, found.array))  # noqa: PLW2901
            if found is not None and found.array.shape not in ((n,), shape):
                fits = [k for k, size in enumerate(shape) if found.array.shape == (size,)]
                hint = (
                    f"; if the points of a line lie along axis {fits[0]}, pass axis={fits[0]}"
                    if fits
                    else ""
                )
                raise ValueError(
                    f"{name} must have the shape ({n},), as y has {n:,} points along axis {place}, or that of y, "
                    f"{shape}; got {found.array.shape}{hint}"
                )
        weight, deviation = others["sample_weight"], others["sigma"]
        return cls(places, values, weight, deviation, place, _names_of(y, place))

    @property
    def n(self) -> int:
        """Number of points of each line, with those that are missing."""
        return int(self.y.array.shape[self.axis])

    @property
    def n_lines(self) -> int:
        """Number of lines."""
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the lines."""
        shape = self.y.array.shape
        return shape[: self.axis] + shape[self.axis + 1 :]

    def fit(
        self,
        *,
        through_origin: bool,
        n_threads: int | None,
        backend: str,
        loss: RobustLoss | None = None,
        watch: Callable[[int], object] = int,
    ) -> LineSums:
        """Return the least-squares lines, what their errors follow from, and lines of a robust loss if there is one.

        ``watch`` is called with the number of lines fitted so far, now and then.
        """
        series = self
        if through_origin:
            series = self._replace(x=_without_offset(self.x), y=_without_offset(self.y))
        shares_x = series.x.array.ndim == 1 and not _has_gaps(series.x)
        places = _places(series.x, self.n, shares_x=shares_x, through_origin=through_origin)
        n_lines = self.n_lines
        n_results = len(RESULTS) + (0 if loss is None else len(ROBUST_RESULTS))
        try:
            found = np.empty((n_results, n_lines))
        except (MemoryError, ValueError) as error:
            size = 8 * n_results * n_lines
            raise MemoryError(f"the results of {n_lines:,} lines need {size:,} bytes") from error
        layout = layout_of(series.y.array, self.axis)
        is_direct = (
            backend == "numba"
            and layout is not None
            and series.y.missing is None
            and self.sigma is None
            and shares_x
            and (self.weight is None or self._is_like_y(self.weight))
        )
        if is_direct:
            assert layout is not None
            return series._fit_in_place(
                layout, places, through_origin, n_threads, loss, found, watch
            )
        return series._fit_in_blocks(
            places, shares_x, through_origin, n_threads, backend, loss, found, watch
        )

    def _is_like_y(self, numbers: Numbers) -> bool:
        """Return whether numbers can be read side by side with y."""
        return numbers.missing is None and is_like(numbers.array, self.y.array)

    def _fit_in_place(
        self,
        layout: Layout,
        places: Places,
        through_origin: bool,
        n_threads: int | None,
        loss: RobustLoss | None,
        found: NDArray[np.float64],
        watch: Callable[[int], object],
    ) -> LineSums:
        points: Any = (
            *(flat(self.y.array), None, None if self.weight is None else flat(self.weight.array)),
            *(layout.shape, layout.strides, places),
        )
        options: dict[str, Any] = {"through_origin": through_origin, "n_threads": n_threads}
        gaps, has_suspects, width = tiles.fit(*points, **options, found=found, watch=watch)
        n_outer, _, n_inner = layout.shape
        is_alike = loss is None and not gaps.any()
        if not is_alike:
            _fill(gaps, width, n_outer, n_inner, found)
        if loss is not None:
            _fit_robust(points, loss, options, found)
        shape = self.y.array.shape
        ordered = [shape[k] for k in layout.axes]
        back = sorted(range(len(ordered)), key=layout.axes.__getitem__)
        shaped = found.reshape(len(found), *ordered).transpose(0, *(1 + k for k in back))
        lines: list[Any] = [*shaped]
        if is_alike:
            lines[4:7] = found[4:7, 0]
        if self.weight is None:
            lines[len(RESULTS) - 1] = None
        return self._sums(lines, None, places)._replace(has_suspects=has_suspects)

    def _fit_in_blocks(
        self,
        places: Places,
        shares_x: bool,
        through_origin: bool,
        n_threads: int | None,
        backend: str,
        loss: RobustLoss | None,
        found: NDArray[np.float64],
        watch: Callable[[int], object],
    ) -> LineSums:
        """Copy some lines at a time, as rows."""
        options: dict[str, Any] = {"through_origin": through_origin, "n_threads": n_threads}
        n_results = len(RESULTS)
        has_weights = self.weight is not None or self.sigma is not None
        has_both = self.weight is not None and self.sigma is not None
        n_effective = np.empty(found.shape[1]) if has_both else None
        for index, lines in blocks(self.shape, self.n):
            y = rows(self.y, self.axis, index)
            m = y.shape[1]
            x = None if shares_x else self._rows(self.x, index, m)
            # An own x comes with weights, if of 1: so there are fewer kinds of loops to compile.
            w = self._weights(index, m) if has_weights or x is not None else None
            if n_effective is not None:
                assert self.weight is not None
                assert w is not None
                sample = self._rows(self.weight, index, m)
                n_effective[lines] = np.where(np.isnan(y + w), 0.0, sample).sum(axis=0)
            if backend == "numpy":
                at: Any = x
                if x is None:
                    rest = 0.0 if places.rest is None else places.rest
                    at = (places.u.astype(np.longdouble) + rest)[:, np.newaxis]
                part = reference.lines(at, y, w, places.center, through_origin=through_origin)
                found[:n_results, lines] = part
                if loss is not None:
                    found[n_results:, lines] = robust_lines(
                        at, y, w, part, loss, through_origin=through_origin
                    )
                continue
            part = np.empty((len(found), m))
            points: Any = (
                *(each if each is None else each.reshape(-1) for each in (y, x, w)),
                *((1, y.shape[0], m), (0, m, 1), places),
            )
            gaps, _, width = tiles.fit(*points, **options, found=part)
            _fill(gaps, width, 1, m, part)
            if loss is not None:
                _fit_robust(points, loss, options, part)
            found[:, lines] = part
            watch(lines.stop)
        shaped = [row.reshape(self.shape) for row in found]
        of_sample = None if n_effective is None else n_effective.reshape(self.shape)
        if not has_weights:
            shaped[n_results - 1] = None
        return self._sums(shaped, of_sample, places)

    def _sums(self, lines: list[Any], n_effective: Any, places: Places) -> LineSums:
        slope, intercept, residual_square, y_mean, n, u_mean, uu, w = lines[: len(RESULTS)]
        if self.y.offset:
            intercept, y_mean = intercept + self.y.offset, y_mean + self.y.offset
        robust = lines[len(RESULTS) :]
        return LineSums(
            *(slope, intercept, residual_square, y_mean, n, u_mean, uu, w, n_effective),
            *places.center,
            robust=RobustLines(*robust) if robust else None,
        )

    def _rows(self, numbers: Numbers, index: tuple[Any, ...], m: int) -> NDArray[np.float64]:
        """Return numbers of a block of lines as rows; those that all lines share are repeated."""
        if numbers.array.ndim == 1 and self.y.array.ndim > 1:
            return np.repeat(rows(numbers, 0, ()), m, axis=1)
        return rows(numbers, self.axis, index)

    def _weights(self, index: tuple[Any, ...], m: int) -> NDArray[np.float64]:
        """Return the weights of a block of lines as rows: negative where a sigma is not above 0."""
        found = np.ones((max(self.n, ROWS), m))
        if self.sigma is not None:
            sigma = self._rows(self.sigma, index, m)
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                found = np.where(
                    (sigma > 0.0) & (sigma < math.inf),
                    (1.0 / sigma) ** 2,
                    np.where(np.isnan(sigma), np.nan, -1.0),
                )
        if self.weight is not None:
            found = found * self._rows(self.weight, index, m)
        return np.ascontiguousarray(found)


def _columns_of(values: Any, name: str) -> Any:
    """Return the numbers of a table of pandas or Polars, whose columns are lines; other values as they are.

    Raises
    ------
    TypeError
        If a column does not hold numbers; the message names it.
    """
    library, kind = type(values).__module__.partition(".")[0], type(values).__name__
    if kind != "DataFrame" or library not in ("pandas", "polars"):
        return values
    array = values.to_numpy()
    if array.dtype.kind in "biufmM":
        return array
    # Columns of several kinds, and missing values of pandas' own kind.
    columns = [
        numbers_of(
            values.iloc[:, k] if library == "pandas" else values.to_series(k), f"{name}[{column!r}]"
        )
        for k, column in enumerate(values.columns)
    ]
    floats = [each.array.astype(np.float64) + each.offset for each in columns]
    for column, numbers in zip(floats, columns, strict=True):
        if numbers.missing is not None:
            column[numbers.missing] = np.nan
    return np.stack(floats, axis=1) if floats else np.empty(values.shape)


def _names_of(y: Any, axis: int) -> NDArray[np.object_] | None:
    """Return the names of the columns of a table, or of the rows if these are lines; None if there are none."""
    names = getattr(y, "index" if axis else "columns", None) if hasattr(y, "columns") else None
    if names is None:
        return None
    found = np.empty(len(names), object)
    found[:] = list(names)
    return found


def _without_offset(numbers: Numbers) -> Numbers:
    """Return the same numbers without an offset, rounded if need be."""
    if not numbers.offset:
        return numbers
    return numbers._replace(array=(numbers.array + numbers.offset).astype(float), offset=0.0)


def _has_gaps(x: Numbers) -> bool:
    if x.missing is not None and x.missing.any():
        return True
    return x.array.dtype.kind == "f" and bool(np.isnan(x.array).any())


def _places(x: Numbers, n: int, *, shares_x: bool, through_origin: bool) -> Places:
    """Return the places that all lines share; of lines that share none, only the center."""
    n_rows = max(n, ROWS)
    if not shares_x or n == 0:
        zeros = np.zeros(n_rows)
        return Places(
            zeros, None, np.arange(n_rows, dtype=np.int64), (0.0, 0.0), (x.offset, 0.0), 0.0
        )
    values = x.array.astype(np.float64, copy=False)
    if n < n_rows:
        with np.errstate(over="ignore", invalid="ignore"):
            middle = values[np.abs(values - values.mean()).argmin()]
        values = np.append(values, np.full(n_rows - n, middle))
    return Places.of(values, x.offset, through_origin=through_origin)


def _fill(
    gaps: NDArray[np.bool_], width: int, n_outer: int, n_inner: int, found: NDArray[np.float64]
) -> None:
    """Write what x alone makes to all lines of tiles without gaps, where only the first line of each has it."""
    each = found.reshape(len(found), n_outer, n_inner)
    for outer, tile in np.argwhere(~gaps.reshape(n_outer, -1)):
        lanes = each[4:7, outer, tile * width : (tile + 1) * width]
        lanes[:] = lanes[:, :1]


def _fit_robust(
    points: Any, loss: RobustLoss, options: dict[str, Any], found: NDArray[np.float64]
) -> None:
    """Fit robust lines where there are least-squares lines, which stand in the first rows of what was found."""
    n = len(RESULTS)
    tiles.fit_robust(*points, loss=loss, **options, found=found[:n], out=found[n:])
