"""The result of many fits: arrays of lines, and what is computed from them when it is asked for."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import inference
from fastfit.columns import shifted
from fastfit.exact.coordinates import Symmetric
from fastfit.exact.double_double import DoubleDouble
from fastfit.exact.least_squares import Centred
from fastfit.exact.moment_sums import MomentSums
from fastfit.kernels import robust_lines
from fastfit.kernels.many import TINY
from fastfit.lines.series import LineSums, RobustLines
from fastfit.lines.windows import Windows, label_of, range_of
from fastfit.losses import Loss, SquaredError
from fastfit.outcome import Status
from fastfit.plotting import MOST_WRITTEN, Fan, draw_fan, draw_map, draw_windows
from fastfit.result import LineFit
from fastfit.tables import of_pandas, table_of
from fastfit.times import TimeLike, TimeUnit
from fastfit.validation import finite_or_none, probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUIET: dict[str, Any] = dict.fromkeys(("divide", "invalid", "over", "under"), "ignore")
_SQUARED_ERROR = SquaredError()
_EXACT = "Exact: the line of least squares, in closed form."
# The statuses of lines, in the order of their codes; those of robust lines that have not converged come last.
_STATUSES = (
    *(Status.CONVERGED, Status.TOO_FEW_POINTS, Status.CONSTANT_X, Status.BAD_WEIGHTS),
    *(Status.INFINITE, Status.NOT_FINITE, Status.UNDETERMINED, Status.MAX_ITER, Status.STALLED),
)
_LESS_SURE = _STATUSES.index(Status.MAX_ITER)
# How robust fits end, by what the kernels call it.
_ENDS = {
    robust_lines.MAX_ITER: Status.MAX_ITER,
    robust_lines.STALLED: Status.STALLED,
    robust_lines.UNDETERMINED: Status.UNDETERMINED,
    robust_lines.TOO_FAR_APART: Status.INFINITE,
}
# Points of lines so small have sums of squares that have lost digits.
_TINY_SIZE = 2.0**-430
# Number of lines up to which critical values are computed for each of them.
_MANY = 4096
# What to_frame() and to_dict() list.
_COLUMNS = (
    *("slope", "intercept", "stderr", "intercept_stderr", "rvalue", "pvalue", "residual_std"),
    *("loss", "f_scale", "n_points", "n_omitted", "status"),
)


@dataclass(frozen=True, eq=False, repr=False)
class LineFits:
    """Fitted lines ``y = slope * x + intercept``, one in each entry of arrays.

    ``fits[3, 7]`` is one of them as a :class:`LineFit` (without its points), and ``fits[3]`` or ``fits[mask]`` some of
    them. ``len`` and iteration go along the first axis.

    Attributes
    ----------
    slope, intercept : ndarray
        NaN for lines that could not be fitted.
    n_points, n_omitted : ndarray of int
        Number of points fitted, and of those left out because they were masked or NaN.
    stderr, intercept_stderr, rvalue, rsquared, residual_std, loss, pvalue, covariance, f_scale
        As in :class:`LineFit`, as arrays; they are computed when they are first asked for.
    status : ndarray of Status
        How each fit ended, or why there is no line.
    converged : ndarray of bool
        Which lines could be fitted, and of a robust loss, have converged.
    keys : dict of str to ndarray, or None
        Of groups: the keys of each line, by name. Of windows: where their rows lie, which is x, by its name (times as
        datetime64 or timedelta64), or of a Series of pandas, its index; with ``by``, also the keys of their rows. x is
        not copied if it is an array of float64.
    n_ungrouped : int
        Number of rows without a key, which belong to no group.
    """

    slope: NDArray[np.float64]
    _intercept: NDArray[np.float64] | None
    _codes: NDArray[np.int8] | None
    _sums: LineSums
    _options: dict[str, Any]
    _axis: int
    _times: TimeUnit | None = None
    _names: Any = None
    _keys: dict[str, NDArray[Any]] | None = None
    _key_types: dict[str, Any] = field(default_factory=dict)
    _table: str | None = None
    n_ungrouped: int = 0
    _windows: Windows | None = None
    _labels: tuple[str, str] = ("x", "y")

    STATUSES: ClassVar[tuple[Status, ...]] = _STATUSES

    @classmethod
    def of(
        cls,
        sums: LineSums,
        *,
        loss: Loss = _SQUARED_ERROR,
        n_given: int | NDArray[np.int64] | Callable[[], NDArray[np.int64]],
        min_points: int,
        fit_intercept: bool,
        has_sigma: bool,
        known_sigma: bool,
        times: TimeUnit | None,
        axis: int,
        names: Any = None,
    ) -> LineFits:
        """Return the lines that sums amount to."""
        slope, intercept = sums.slope, sums.intercept
        if sums.robust is not None:
            turn, rise = sums.robust.turn, sums.robust.rise
            slope = slope + turn
            if fit_intercept and intercept is not None:
                intercept = intercept + (rise - turn * (sums.center + sums.u_mean))
        # Else only lines of too few points are bad, and are NaN already; their codes are found when asked for.
        codes = None
        if sums.has_suspects or sums.robust is not None or not sums.few_are_nan:
            codes = _codes_of(sums, min_points)
            if codes.any():
                bad = (codes != 0) & (codes < _LESS_SURE)
                slope, intercept = _without(slope, bad), _without(intercept, bad)
        if times is not None:
            slope = slope * times.counts
        options = {
            "loss": loss,
            "n_given": n_given,
            "fit_intercept": fit_intercept,
            "has_sigma": has_sigma,
            "known_sigma": known_sigma,
            "min_points": min_points,
        }
        return cls(slope, intercept, codes, sums, options, axis, times, names)

    def of_windows(
        self,
        windows: Windows,
        n_ungrouped: int,
        labels: tuple[str, str],
        table: str | None,
        types: dict[str, Any],
    ) -> LineFits:
        """Return the lines with their windows; all else is as in :meth:`of_groups`. ``types`` also holds that of x."""
        given: dict[str, Any] = {"_windows": windows, "_key_types": types, "_table": table}
        return replace(self, n_ungrouped=n_ungrouped, _labels=labels, **given)

    def of_groups(
        self,
        keys: dict[str, NDArray[Any]],
        n_ungrouped: int,
        labels: tuple[str, str],
        table: str | None,
        types: dict[str, Any] | None = None,
    ) -> LineFits:
        """Return the lines with the keys of groups, the names of x and y, and the library of their table.

        ``types`` holds the type of the column of each key in its library, by the name of the key.
        """
        given: dict[str, Any] = {"_keys": keys, "_key_types": types or {}, "_table": table}
        return replace(self, n_ungrouped=n_ungrouped, _labels=labels, **given)

    def without(self, bad: NDArray[np.bool_]) -> LineFits:
        """Return the lines with NaN for those that hold NaN."""
        slope, intercept = _without(self.slope, bad), _without(self._intercept, bad)
        codes = np.where(bad, self.STATUSES.index(Status.NOT_FINITE), self.codes).astype(np.int8)
        return replace(self, slope=slope, _intercept=intercept, _codes=codes)

    def without_errors(self, unresolved: NDArray[np.bool_]) -> LineFits:
        """Return the lines with NaN for residuals, and so for errors, of some."""
        left = np.where(unresolved, math.nan, self._sums.residual_square)
        return replace(self, _sums=self._sums._replace(residual_square=left))

    # Shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays."""
        return self.slope.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions of the arrays."""
        return self.slope.ndim

    @property
    def size(self) -> int:
        """Number of lines."""
        return self.slope.size

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single line has no len(); fits[()] is it")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        """Return one line, a LineFit, or some of them, LineFits."""
        if isinstance(index, str) and self.keys:
            name = next(iter(self.keys))
            raise IndexError(
                f"lines are chosen by place or by a mask: fits[fits.keys[{name!r}] == {index!r}]; got {index!r}"
            )
        chosen = self.slope[index]
        if np.ndim(chosen) == 0:
            return self._line(index)
        some = {"_codes": self.codes[index]}
        if self._intercept is not None:
            some["_intercept"] = self._intercept[index]
        axis = _axis_after(index, self._axis, self.ndim, chosen.ndim)
        is_row = chosen.ndim == 1
        names = self._names[index] if self._names is not None and is_row else None
        keys = None
        if self._keys is not None and is_row:
            keys = {name: values[index] for name, values in self._keys.items()}
        n_given = self._options["n_given"]
        n_given = _at(n_given() if callable(n_given) else n_given, index)
        options = {**self._options, "n_given": n_given}
        sums = self._sums.mapped(lambda each: each[index])
        windows = None if self._windows is None or not is_row else self._windows.taken(index)
        kept = replace(self, _sums=sums, _options=options, _axis=axis, _names=names, _keys=keys)
        return replace(kept, slope=chosen, _windows=windows, **some)

    def _line(self, index: Any) -> LineFit:
        """Return one line."""
        slope, n = float(self.slope[index]), int(self.n_points[index])
        code = int(self.codes[index])
        counts = 1.0 if self._times is None else self._times.counts
        robust = None if self._robust is None else self._robust.at(index)
        status = self.STATUSES[code]
        found: inference.Inference | None = None
        if self._has_line[index]:
            w, x_mean, y_mean, xx, left = (float(_at(each, index)) for each in self._moments)
            fitted = self._options["fit_intercept"]
            raw = float(_at(self._sums.slope, index))
            xy, yy = raw * xx, left + raw * raw * xx
            if not fitted:  # whose sums are about zero
                xx, xy = xx - w * x_mean * x_mean, xy - w * x_mean * y_mean
                yy -= w * y_mean * y_mean
            pairs = (DoubleDouble(each) for each in (w, x_mean, y_mean, xx, xy, yy))
            moments = MomentSums(n, Centred(*pairs), times=self._times)
            line = DoubleDouble(slope / counts), DoubleDouble(float(self.intercept[index]))
            n_effective = float(_at(self._n_effective, index))
            if robust is None:
                found = inference.Inference(
                    *(moments, *line, left),
                    fit_intercept=fitted,
                    n_effective=n_effective,
                    unit_sigma=1.0,
                    has_sigma=self._options["has_sigma"],
                    known_sigma=self._options["known_sigma"],
                    converged=True,
                    known=True,
                )
            else:
                along, across = float(robust.turn_error), float(robust.rise_error)
                # In a unit of x in which both errors are of one size, so that squares stay in range.
                unit = across / along if across and along else 1.0
                along *= unit
                variance = Symmetric(
                    along * along, float(robust.tie) * along * across, across * across
                )
                found = inference.RobustInference(
                    *(moments, *line, unit, variance),
                    fit_intercept=fitted,
                    n_effective=n_effective,
                    converged=code == 0,
                )
        return LineFit(
            slope=slope,
            intercept=float(self.intercept[index]),
            loss=float(self.loss[index]),
            n_points=n,
            n_omitted=int(self.n_omitted[index]),
            n_iter=0,
            n_passes=1,
            status=status,
            f_scale=None if robust is None else float(_at(self.f_scale, index)),
            _message=_EXACT if code == 0 and robust is None else status.value,
            _times=self._times,
            _loss=self._options["loss"],
            _inference=found,
        )

    # What follows from the sums

    @cached_property
    def codes(self) -> NDArray[np.int8]:
        """The place in ``STATUSES`` of the status of each line."""
        if self._codes is not None:
            return self._codes
        return _codes_of(self._sums, self._options["min_points"])

    @cached_property
    def intercept(self) -> NDArray[np.float64]:
        """Lines at x = 0; NaN for lines that could not be fitted."""
        if self._intercept is not None:
            return self._intercept
        sums = self._sums
        with np.errstate(**_QUIET):
            found = sums.y_mean - sums.slope * (sums.center + sums.u_mean)
        return np.asarray(_without(found, np.isnan(self.slope)))

    @cached_property
    def n_points(self) -> NDArray[np.int64]:
        """Number of points fitted."""
        return np.broadcast_to(np.asarray(self._sums.n).astype(np.int64), self.shape)

    @cached_property
    def n_omitted(self) -> NDArray[np.int64]:
        """Number of points left out because they were masked or NaN."""
        n_given = self._options["n_given"]
        n_omitted = (n_given() if callable(n_given) else n_given) - np.asarray(self._sums.n)
        return np.broadcast_to(n_omitted.astype(np.int64), self.shape)

    @property
    def _robust(self) -> RobustLines | None:
        return self._sums.robust

    @property
    def _has_line(self) -> NDArray[np.bool_]:
        """Where there is a line, be it one that has not converged."""
        return np.asarray((self.codes == 0) | (self.codes >= _LESS_SURE))

    @property
    def _residual_square(self) -> Any:
        """Sums of squared residuals."""
        w, _, _, xx, left = self._moments
        if self._robust is None:
            return left
        return left + (xx * np.square(self._robust.turn) + w * np.square(self._robust.rise))

    @property
    def _moments(self) -> tuple[Any, Any, Any, Any, Any]:
        """Sums of weights, means of x and y, centred sums of squares of x, and of the residuals; NaN without a line."""
        sums = self._sums
        w = sums.n if sums.w is None else sums.w
        return w, sums.center + sums.u_mean, sums.y_mean, sums.uu, sums.residual_square

    @property
    def _n_effective(self) -> Any:
        sums = self._sums
        if sums.n_effective is not None:
            return sums.n_effective
        return sums.n if sums.w is None or self._options["has_sigma"] else sums.w

    @property
    def _n_dof(self) -> Any:
        return self._n_effective - (2.0 if self._options["fit_intercept"] else 1.0)

    @property
    def _counts(self) -> float:
        return 1.0 if self._times is None else self._times.counts

    def _where_fitted(self, values: Any) -> NDArray[np.float64]:
        """Return values as an array of the shape of the lines, NaN where there is none."""
        shaped = np.broadcast_to(values, self.shape)
        return np.where(self._has_line, shaped, math.nan) if self.codes.any() else np.array(shaped)

    @cached_property
    def _deviation(self) -> NDArray[np.float64]:
        """Standard deviations of points of weight 1."""
        if self._options["known_sigma"]:
            return self._where_fitted(1.0)
        return self.residual_std

    @cached_property
    def residual_std(self) -> NDArray[np.float64]:
        """Standard deviations of the residuals, with n - 2 degrees of freedom (n - 1 without intercept)."""
        with np.errstate(**_QUIET):
            found = inference.residual_deviation(self._residual_square, np.asarray(self._n_dof))
        return self._where_fitted(found)

    @cached_property
    def stderr(self) -> NDArray[np.float64]:
        """Standard errors of the slopes."""
        if self._robust is not None:
            return self._where_fitted(self._robust.turn_error * self._counts)
        with np.errstate(**_QUIET):
            found = inference.slope_stderr(self._deviation, np.asarray(self._moments[3]))
        return self._where_fitted(found * self._counts)

    @cached_property
    def intercept_stderr(self) -> NDArray[np.float64]:
        """Standard errors of the intercepts; 0 where they are not fitted."""
        if not self._options["fit_intercept"]:
            return self._where_fitted(0.0)
        w, x_mean, _, xx, _ = map(np.asarray, self._moments)
        if self._robust is not None:
            lever, tie = self._robust.turn_error * x_mean, self._robust.tie
            rest = lever * np.sqrt(np.maximum(1.0 - tie * tie, 0.0))
            return self._where_fitted(np.hypot(self._robust.rise_error - tie * lever, rest))
        with np.errstate(**_QUIET):
            found = inference.intercept_stderr(self.stderr / self._counts, w, x_mean, xx)
        return self._where_fitted(found)

    @cached_property
    def rvalue(self) -> NDArray[np.float64]:
        """Correlation coefficients of x and y; without intercept, about zero. NaN for a constant y."""
        _, _, _, xx, left = self._moments
        with np.errstate(**_QUIET):
            rise = self._sums.slope * np.sqrt(xx)  # for deviations of x whose squares sum to 1
            found = inference.correlation(left, np.ones(()), rise, left + rise * rise)
        return self._where_fitted(found)

    @property
    def rsquared(self) -> NDArray[np.float64]:
        """Shares of the variance of y that the lines explain."""
        return np.square(self.rvalue)

    @cached_property
    def loss(self) -> NDArray[np.float64]:
        """Mean losses; of least squares, mean squared residuals."""
        if self._robust is not None:
            return self._where_fitted(self._robust.loss)
        w, _, _, _, left = self._moments
        with np.errstate(**_QUIET):
            return self._where_fitted(np.divide(left, w))

    @property
    def f_scale(self) -> NDArray[np.float64] | None:
        """The residuals at which a robust loss departs from the square; None for least squares."""
        return None if self._robust is None else self._where_fitted(self._robust.f_scale)

    @cached_property
    def pvalue(self) -> NDArray[np.float64]:
        """Two-sided p-values of the hypothesis that the slope is 0; need SciPy."""
        with np.errstate(**_QUIET):
            t = (
                self.slope / self.stderr
            )  # infinite without residuals, NaN if the slope is 0 as well
        found = inference.pvalue(t, None if self._options["known_sigma"] else self._positive_dof)
        return self._where_fitted(found)

    @property
    def _positive_dof(self) -> NDArray[np.float64]:
        n_dof = np.asarray(self._n_dof, dtype=np.float64)
        return np.where(n_dof > 0.0, n_dof, math.nan)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance matrices of slope and intercept, in this order; shape (..., 2, 2)."""
        found = np.zeros((*self.shape, 2, 2))
        found[..., 0, 0] = np.square(self.stderr)
        if self._options["fit_intercept"]:
            found[..., 1, 1] = np.square(self.intercept_stderr)
            across = -found[..., 0, 0] * self._moments[1] / self._counts
            if self._robust is not None:
                across = across + self.stderr * self._robust.tie * self._robust.rise_error
            found[..., 0, 1] = found[..., 1, 0] = across
        return found

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Which lines could be fitted, and have converged."""
        return np.equal(self.codes, 0)

    @property
    def status(self) -> NDArray[Any]:
        """How each fit ended."""
        return np.array([*self.STATUSES, None], dtype=object)[self.codes]

    @property
    def keys(self) -> dict[str, Any] | None:
        """Keys of groups, or places of windows, by name."""
        return self._keys if self._windows is None else self._windows.keys(self._names)

    @property
    def datetime_unit(self) -> str | None:
        """Unit of x in slopes and errors, such as "D", where x held times; None where x held numbers."""
        return None if self._times is None else self._times.unit

    def conf_int(self, level: float = 0.95) -> NDArray[np.float64]:
        """Return confidence intervals, shape (..., 2, 2): of each line, bounds of the slope, then of the intercept.

        Raises
        ------
        ImportError
            If SciPy is missing: ``pip install 'fastfit[stats]'``.
        """
        level = probability(level)
        n_dof = None if self._options["known_sigma"] else self._positive_dof
        reach = inference.critical_value(level, n_dof)
        found = np.empty((*self.shape, 2, 2))
        both = ((self.slope, self.stderr), (self.intercept, self.intercept_stderr))
        for k, (value, error) in enumerate(both):
            found[..., k, 0], found[..., k, 1] = value - reach * error, value + reach * error
        return found

    def predict(self, x: ArrayLike | TimeLike | None = None) -> NDArray[np.float64]:
        """Return the lines at x; without x, the line of each window at its own row.

        Parameters
        ----------
        x : array_like, optional for windows
            One place, for values of the shape of the lines; places of shape (m,), for values with m entries along the
            axis that held the points; or places of such a shape.
        """
        if x is None:
            if self._windows is None:
                raise TypeError("x must be given for lines that are not of windows; got None")
            return self._at(self._windows.x, self._windows.offset, lambda each: each)
        at = shifted(x, "x", self._times)
        values = np.asarray(at.values)
        axis = self._axis

        def spread(each: Any) -> Any:
            return each if values.ndim == 0 or np.ndim(each) == 0 else np.expand_dims(each, axis)

        if values.ndim == 1:
            values = values.reshape([-1 if k == axis else 1 for k in range(self.ndim + 1)])
        elif values.ndim not in (0, self.ndim + 1):
            raise ValueError(
                f"x must be a number, one-dimensional, or have {self.ndim + 1} dimensions; got {values.ndim}"
            )
        return self._at(values, at.offset, spread)

    def _at(
        self, x: NDArray[Any], offset: float, spread: Callable[[Any], Any]
    ) -> NDArray[np.float64]:
        """Return the lines at ``x + offset``; ``spread`` gives arrays of the lines the dimensions of x."""
        sums = self._sums
        if not self._options["fit_intercept"]:
            return np.asarray((x + offset) * spread(self.slope / self._counts))
        off = x + ((offset - sums.center) - sums.center_low) - spread(sums.u_mean)
        return np.asarray(spread(self._level) + spread(self.slope / self._counts) * off)

    @property
    def _level(self) -> Any:
        """The lines at the mean of x."""
        return self._sums.y_mean if self._robust is None else self._sums.y_mean + self._robust.rise

    # For people

    def _columns(self) -> dict[str, NDArray[Any]]:
        """Return what tables list, by name; p-values only if SciPy is installed."""
        columns = {}
        for name in _COLUMNS:
            if name == "f_scale" and self._robust is None:
                continue
            try:
                columns[name] = getattr(self, name)
            except ImportError:
                continue
        columns["status"] = np.array([each.name for each in self.STATUSES], dtype=object)[
            self.codes
        ]
        return {name: np.asarray(column) for name, column in columns.items()}

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return what tables hold of each line: its keys, if there are any, and then numbers and status.

        A key named as a number, such as slope, becomes ``slope_key``.
        """
        flat = {name: column.reshape(-1) for name, column in self._columns().items()}
        keys = {_key_name(name): np.asarray(each) for name, each in (self.keys or {}).items()}
        return {**keys, **flat}

    def to_dict(self) -> dict[str, Any]:
        """Return lists by the names of attributes, nested as the arrays are; NaN and infinity are None.

        Keys come first, if there are any; those that are neither numbers nor text are written as text.
        """

        def plain(value: Any) -> Any:
            return (
                [plain(each) for each in value]
                if isinstance(value, list)
                else finite_or_none(value)
            )

        keys = {}
        for name, values in (self.keys or {}).items():
            column = np.asarray(values)
            found = column.astype(str) if column.dtype.kind in "mM" else column
            keys[_key_name(name)] = [
                each if isinstance(each, (int, float, str, type(None))) else str(each)
                for each in found.tolist()
            ]
        columns = {**keys, **{name: each.tolist() for name, each in self._columns().items()}}
        return {name: plain(column) for name, column in columns.items()}

    def to_frame(self) -> Any:
        """Return a table with a row for each line: of pandas, or of the library of the table with the groups.

        In pandas the index is the place in the arrays; of columns of a table, their names; of groups, their keys; of
        windows of a Series or table of pandas, its index. Other keys are the first columns, in the type that they had
        in a table of this library. A key named as a result, such as slope, becomes ``slope_key``.

        Raises
        ------
        ImportError
            If the library is missing.
        """
        flat = {name: column.reshape(-1) for name, column in self._columns().items()}
        if self._table in ("polars", "pyarrow"):
            types = {_key_name(name): kind for name, kind in self._key_types.items()}
            return table_of(self._table, self.columns(), types)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error

        names = [f"axis_{k}" for k in range(self.ndim)]
        index: Any = pd.RangeIndex(self.size, name=names[0] if names else None)
        if self._names is not None:
            named = isinstance(self._names, pd.Index)
            index = self._names if named else pd.Index(self._names.tolist())
        elif self._keys is not None:
            given = [of_pandas(*each, self._key_types) for each in self._keys.items()]
            index = given[0] if len(given) == 1 else pd.MultiIndex.from_arrays(given)
        elif self.ndim > 1:
            index = pd.MultiIndex.from_product([range(k) for k in self.shape], names=names)
        if self._windows is not None:
            keys = self.keys if self._names is None else self._windows.keys_of_groups()
            for name, each in reversed((keys or {}).items()):
                flat = {_key_name(name): of_pandas(name, each, self._key_types), **flat}
        return pd.DataFrame(flat, index=index)

    def to_xarray(self) -> Any:
        """Return a Dataset of xarray with a variable for each attribute, along ``axis_0`` and so on.

        For lines along a named dimension, with coordinates, see ``fastfit.xarray.fit_lines``.

        Raises
        ------
        ImportError
            If xarray is missing: ``pip install 'fastfit[xarray]'``.
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise ImportError("to_xarray needs xarray: pip install 'fastfit[xarray]'") from error
        names = [f"axis_{k}" for k in range(self.ndim)]
        keys = {_key_name(k): (names, np.asarray(each)) for k, each in (self.keys or {}).items()}
        columns = {name: (names, column) for name, column in self._columns().items()}
        return xr.Dataset(columns, coords=keys)

    def plot(self, ax: Axes | None = None, *, level: float = 0.95) -> Axes:
        """Draw the slopes of windows along x, the lines of groups and series, or of a grid, a map of the slopes.

        - Of windows: the slope with its confidence band, over the dates, x or row numbers of their rows, with gaps
          where there is no line. Of many windows, at most 4,000 are drawn; the least and largest slopes of each pixel
          and the outermost bounds of its band are among them. With ``by``, each group has a line, with a colour, a name
          and a band if there are at most 8 groups; more are thin grey lines, at most 300. Slopes of windows with fewer
          points than half the usual number may lie outside the picture; the title counts them. Windows whose row has no
          x are left out. Where x rises and falls, slopes are drawn over row numbers.
        - Of groups: each line over the mean of its x, and one standard deviation to either side. Of columns of a table
          or other series: each line over about the range of its points. At most 300 are drawn. Up
          to 8 with names have colours and a legend; up to 30 have their names beside them, if the figure makes room for
          these, as a new one does.
        - Slopes that are not different from 0 at this level, by their p-values, are grey; lines with colours of their
          own are then dotted.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; a new figure by default.
        level : float
            Probability between 0 and 1: 0.95 for bands of 95 %, and for p-values below 0.05.

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install 'fastfit[plot]'``; or SciPy, which bands and p-values need:
            ``pip install 'fastfit[stats]'``.
        ValueError
            If there are more than two dimensions: draw ``fits[k]``.
        """
        level = probability(level)
        if self.ndim > 2:
            raise ValueError(
                f"plot needs lines of one or two dimensions; got {self.ndim}: draw some of them, such as fits[0]"
            )
        if not self.size:
            raise ValueError("plot needs lines; got none")
        if self._windows is not None:
            return self._draw_windows(self._windows, level, ax)
        is_clear = self.pvalue < 1.0 - level
        if self.ndim == 2:
            unit = "" if self._times is None else f" per {self._times.word}"
            return draw_map(self.slope, is_clear, level, unit, ax)
        w, _, _, uu, _ = self._moments
        with np.errstate(**_QUIET):
            # Evenly spaced x, as series mostly have, reach sqrt(3) standard deviations from their mean.
            factor = 3.0 if self._keys is None else 1.0
            reach = np.broadcast_to(np.sqrt(factor * np.asarray(uu) / w), self.shape).reshape(-1, 1)
        off = np.array([-1.0, 1.0]) * reach
        slope = np.reshape(self.slope / self._counts, (-1, 1))
        mean = np.broadcast_to(self._moments[1], self.shape).reshape(-1, 1)
        fan = Fan(
            mean + off,
            np.reshape(self._level, (-1, 1)) + slope * off,
            is_clear.reshape(-1),
            *self._line_labels(),
        )
        return draw_fan(fan, level, self._times, self._labels, self._in_words, ax)

    def _draw_windows(self, windows: Windows, level: float, ax: Axes | None) -> Axes:
        """Draw slopes and their confidence bands over the places of windows."""
        reach = self._critical_value(level) * self.stderr
        windows = windows.in_order()
        tracks, n_groups = windows.tracks(self.slope, reach)
        low, high, n_outside = range_of(self.slope, reach, self.n_points)
        x, title = windows.name or "row", self._in_words
        if windows.codes is not None:
            title += f" of {n_groups:,} group{'s' * (n_groups != 1)}"
        if len(tracks) < n_groups:
            title += f", {len(tracks):,} drawn"
        bad = int(np.isnan(self.slope).sum())
        title += f", {bad:,} not fitted" if bad else ""
        title += f", {n_outside:,} outside the picture" if n_outside else ""
        unit = "" if self._labels[0] else " per row"
        unit = unit if self._times is None else f" per {self._times.word}"
        by = ", ".join(windows.groups)
        labels, range_y = (x, f"slope{unit}", title), (low, high, n_outside > 0)
        return draw_windows(tracks, by, range_y, level, windows.times, labels, ax)

    def _critical_value(self, level: float) -> Any:
        """Return how many standard errors of a slope its interval reaches, to four digits if there are many lines."""
        if self._options["known_sigma"]:
            return inference.critical_value(level, None)
        n_dof = self._positive_dof
        known = n_dof[np.isfinite(n_dof)]
        if known.size < _MANY:
            return inference.critical_value(level, n_dof)
        # SciPy takes a third of a microsecond for each number.
        grid = np.geomspace(known.min(), known.max(), _MANY)
        return np.interp(n_dof, grid, inference.critical_value(level, grid))

    def _line_labels(self) -> tuple[list[str] | None, str]:
        """Return names of the lines, and what the names are; None if there are no names, or too many to be drawn."""
        if self.size > MOST_WRITTEN or self.ndim != 1:
            return None, ""
        if self._keys is not None:
            labels = map(label_of, zip(*self._keys.values(), strict=True))
            return list(labels), ", ".join(self._keys)
        if self._names is not None:
            return [label_of([name]) for name in self._names], ""
        return None, ""

    @property
    def _in_words(self) -> str:
        """How many lines there are, and what they are."""
        one, many = ("line", "lines") if self._windows is None else ("window", "windows")
        by = f" by {', '.join(self._keys)}" if self._keys is not None else ""
        return f"1 {one}{by}" if self.size == 1 else f"{self.size:,} {many}{by}"

    def summary(self) -> str:
        """Return how many lines were fitted, and quartiles of what was found, as a table."""
        what = "lines" if self._windows is None else "windows"
        shape = f" of shape {self.shape}" if self.ndim > 1 else ""
        rows = [(what, f"{self.size:,}{shape}")]
        counts = np.bincount(self.codes.reshape(-1), minlength=len(self.STATUSES))
        rows += [
            (status.label, f"{count:,}")
            for status, count in zip(self.STATUSES, counts.tolist(), strict=True)
            if count or status is Status.CONVERGED
        ]
        names = ["slope", "stderr", "intercept", "rvalue", "pvalue", "residual_std", "n_points"]
        columns = self._columns()
        quartiles = []
        for name in names:
            fitted = (
                columns.get(name, np.empty(0))[self.converged] if name in columns else np.empty(0)
            )
            fitted = fitted[~np.isnan(fitted)]
            if fitted.size:
                marks = np.percentile(fitted, [0, 25, 50, 75, 100])
                form = ">10,.0f" if name == "n_points" else ">10.4g"
                quartiles.append((name, "  ".join(f"{mark:{form}}" for mark in marks)))
        if quartiles:
            rows += [("", "least, quartiles and largest"), *quartiles]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)

    def __repr__(self) -> str:
        bad = int(np.count_nonzero(~self._has_line))
        but = f", {bad:,} not fitted" if bad else ""
        unsure = int(np.count_nonzero(self.codes >= _LESS_SURE))
        but += f", {unsure:,} not converged" if unsure else ""
        fitted = self.slope[self.converged]
        unit = "" if self._times is None else f" per {self._times.unit}"
        about = f", median slope {np.median(fitted):.6g}{unit}" if fitted.size else ""
        return f"LineFits: {self._in_words} of shape {self.shape}{but}{about}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


def _axis_after(index: Any, axis: int, n_before: int, n_after: int) -> int:
    """Return where the axis of the points is, among those that are left after an index was taken."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(each, (list, np.ndarray)) for each in parts):  # whose axes go elsewhere
        return 0 if axis == 0 else n_after
    n_taken = sum(each is not None and each is not Ellipsis for each in parts)
    rest = [slice(None)] * (n_before - n_taken)
    place = next((k for k, each in enumerate(parts) if each is Ellipsis), len(parts))
    whole = [*parts[:place], *rest, *parts[place + 1 :]]
    before, found = 0, 0
    for each in whole:
        if before == axis:
            break
        before += each is not None
        found += each is None or isinstance(each, slice)
    return found


def _without(values: Any, bad: NDArray[np.bool_]) -> Any:
    """Return values with NaN for bad lines; the same array if these are NaN already, or if there is none."""
    return (
        values if values is None or np.isnan(values[bad]).all() else np.where(bad, math.nan, values)
    )


def _key_name(name: Any) -> Any:
    """Return the name of a key in a table: another one if a result has the same."""
    return f"{name}_key" if name in _COLUMNS else name


def _at(values: Any, index: Any) -> Any:
    return values if np.ndim(values) == 0 else values[index]


def _codes_of(sums: LineSums, min_points: int) -> NDArray[np.int8]:
    """Return the place in ``LineFits.STATUSES`` of the status of each line."""
    codes = np.zeros(sums.slope.shape, np.int8)
    if sums.robust is not None:
        for end, status in _ENDS.items():
            _put(codes, sums.robust.end == end, status)
    # Of several reasons the first one counts, so it is written last.
    if sums.has_suspects or sums.robust is not None:
        with np.errstate(**_QUIET):
            whole = sums.slope + sums.residual_square + sums.y_mean
            whole = whole + (sums.slope * sums.u_mean if sums.intercept is None else sums.intercept)
            _put(codes, ~np.isfinite(whole), Status.INFINITE)
            small = sums.residual_square < TINY
            if small.any():
                size = abs(sums.y_mean) + abs(sums.slope) * np.sqrt(np.asarray(sums.uu))
                _put(codes, small & (size > 0.0) & (size < _TINY_SIZE), Status.INFINITE)
        _put(codes, np.less(sums.uu, TINY), Status.INFINITE)
        _put(codes, np.less_equal(sums.uu, 0.0), Status.CONSTANT_X)
        if sums.w is not None:
            _put(codes, ~((sums.w > 0.0) & (sums.w < math.inf)), Status.BAD_WEIGHTS)
    _put(codes, np.less(sums.n, min_points), Status.TOO_FEW_POINTS)
    return codes


def _put(codes: NDArray[np.int8], where: NDArray[np.bool_], status: Status) -> None:
    """Write the code of a status where something holds, which may be the same for all lines."""
    if where.any():
        np.copyto(codes, LineFits.STATUSES.index(status), where=where)
