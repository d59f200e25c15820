"""A drop-in for ``scipy.stats.linregress``."""

from __future__ import annotations

import functools
import importlib.metadata
import math
import numbers
import sys
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from fastfit.columns import real_array
from fastfit.compat.line import ScaledLine, scaled
from fastfit.containers import is_masked
from fastfit.inference import (
    correlation,
    intercept_stderr,
    pvalue,
    residual_deviation,
    slope_stderr,
)
from fastfit.outcome import warn_caller
from fastfit.points.opening import NAN_POLICIES, array_points_of
from fastfit.validation import require_one_of

ALTERNATIVES = ("two-sided", "less", "greater")

_UNKNOWN = (math.nan,) * 6


class _Five(NamedTuple):
    slope: Any
    intercept: Any
    rvalue: Any
    pvalue: Any
    stderr: Any


class LinregressResult(_Five):
    """A line and its errors: a tuple of five fields, and the attribute ``intercept_stderr``.

    Attributes
    ----------
    slope, intercept : float or ndarray
        The line ``y = slope * x + intercept``; arrays for points of more than one dimension, or with ``keepdims``.
    rvalue : float or ndarray
        Pearson's correlation coefficient of x and y; NaN for a constant y.
    pvalue : float or ndarray
        P-value of the hypothesis that the slope is 0, against the alternative.
    stderr, intercept_stderr : float or ndarray
        Standard errors of slope and intercept.
    """

    intercept_stderr: Any

    def __new__(
        cls,
        slope: Any,
        intercept: Any,
        rvalue: Any,
        pvalue: Any,
        stderr: Any,
        *,
        intercept_stderr: Any,
    ) -> LinregressResult:
        """Return a result with these fields."""
        self = tuple.__new__(cls, (slope, intercept, rvalue, pvalue, stderr))
        self.intercept_stderr = intercept_stderr
        return self

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({fields})"

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(self), vars(self)

    def _asdict(self) -> dict[str, Any]:
        return {**super()._asdict(), **vars(self)}

    def _replace(self, **changes: Any) -> LinregressResult:
        return LinregressResult(**{**self._asdict(), **changes})


def linregress(
    x: ArrayLike,
    y: ArrayLike,
    alternative: Literal["two-sided", "less", "greater"] = "two-sided",
    *,
    axis: int | tuple[int, ...] | None = 0,
    nan_policy: Literal["propagate", "omit", "raise"] = "propagate",
    keepdims: bool = False,
) -> LinregressResult:
    """Fit a line by least squares, as ``scipy.stats.linregress`` of the installed SciPy does.

    It follows SciPy 1.17, or 1.18 where that is installed. From 1.18 on, two points have
    errors of NaN, constant x has a line of NaN, and float32 has results of float32; before, errors are 0, constant x is
    an error, and results are float64.

    Parameters
    ----------
    x, y : array_like, of shapes that can be broadcast to one another
        Real numbers. Points masked in x or in y are left out.
    alternative : {"two-sided", "less", "greater"}
        Alternative hypothesis: the slope is not 0, below 0, or above 0.
    axis : int, tuple of int, or None
        Axes along which the points of a line lie; None for all of them, without broadcasting.
    nan_policy : {"propagate", "omit", "raise"}
        For NaN in x or y: return NaN, leave the point out, or raise ValueError. Infinities yield NaN, always.
    keepdims : bool
        Whether to keep these axes in the result, with length 1.

    Returns
    -------
    LinregressResult
        SciPy's own class once ``scipy.stats`` is imported. Floats for points along all axes, else arrays of the shape
        of the other axes. Before SciPy 1.18, two points have errors of 0 and a p-value of 0, or of 1 if their y are
        equal. Fewer points have no line, and the result is NaN.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it. Before SciPy 1.18, if x is constant.
    ImportError
        If SciPy is missing, which p-values need: ``pip install 'fastfit[stats]'``.

    Warns
    -----
    SmallSampleWarning
        If there are fewer than two points; a RuntimeWarning until ``scipy.stats`` is imported.
    RuntimeWarning
        If x or y holds infinity.

    Examples
    --------
    >>> from fastfit.compat import linregress
    >>> result = linregress([1.0, 2.0, 3.0], [2.0, 4.0, 6.5])
    >>> print(f"{result.slope:.6f} +- {result.stderr:.6f}, p = {result.pvalue:.6f}")
    2.250000 +- 0.144338, p = 0.040783
    """
    require_one_of(alternative, ALTERNATIVES, "alternative")
    require_one_of(nan_policy, NAN_POLICIES, "nan_policy")
    if (
        type(x) is type(y) is np.ndarray
        and x.ndim == 1
        and x.shape == y.shape
        and not keepdims
        and (axis is None or (type(axis) is int and -1 <= axis <= 0))
    ):
        found = _regression(x, y, alternative, nan_policy)
        *five, sixth = map(_type_of(x, y), found)
        return _result_class()(*five, intercept_stderr=sixth)
    *fields, last = _regressions(x, y, alternative, axis, nan_policy, keepdims)
    return _result_class()(*fields, intercept_stderr=last)


def _result_class() -> type[LinregressResult]:
    """Return SciPy's class of results if a program has imported it, so that ``isinstance`` holds."""
    scipys = getattr(sys.modules.get("scipy.stats._stats_py"), "LinregressResult", None)
    return scipys or LinregressResult


def _type_of(x: Any, y: Any) -> Any:
    """Return the type of results: float64 before SciPy 1.18, then the type of x and y if that is a float."""
    common = np.result_type(x, y)
    return common.type if common.kind == "f" and _is_like_1_18() else np.float64


@functools.cache
def _is_like_1_18() -> bool:
    """Return whether SciPy is 1.18 or later: NaN for degenerate points, and results of the type of x and y."""
    try:
        major, minor, *_ = importlib.metadata.version("scipy").split(".")
    except importlib.metadata.PackageNotFoundError:
        return False
    return (int(major), int(minor)) >= (1, 18)


def _regressions(
    x: Any, y: Any, alternative: str, axis: Any, nan_policy: str, keepdims: bool
) -> list[Any]:
    """Return the fields of the result for points of any shape."""
    given = [_filled(x, "x"), _filled(y, "y")]
    kind = _type_of(*given)
    if is_masked(x) or is_masked(y):
        given += [np.atleast_1d(np.ma.getmaskarray(values)) for values in (x, y)]
    n_dims = max(values.ndim for values in given)
    if axis is None:
        axes = tuple(range(n_dims))
        given = [values.reshape(-1) for values in given]
        if given[0].size != given[1].size:
            sizes = f"{given[0].size:,} and {given[1].size:,}"
            raise ValueError(f"x and y must have the same length; got {sizes}")
        n_axes = 1
    else:
        axes = _axes(axis, n_dims)
        n_axes = len(axes)
        try:
            given = list(np.broadcast_arrays(*given))
        except ValueError as error:
            shapes = f"{given[0].shape} and {given[1].shape}"
            raise ValueError(
                f"x and y must have shapes that can be broadcast to one another; got {shapes}"
            ) from error
        given = [np.moveaxis(values, sorted(axes), range(n_axes)) for values in given]
    shape = given[0].shape
    shape = (math.prod(shape[:n_axes]), *shape[n_axes:])
    x, y, *masks = (values.reshape(shape) for values in given)
    # Like SciPy: NaN in x counts although y is masked, and the reverse. Masked NaN was filled above.
    masked = (masks[0] | masks[1]) & ~(np.isnan(x) | np.isnan(y)) if masks else None
    found = _fields(x, y, masked, alternative, nan_policy)
    fields = [kind(field)[()] for field in found]
    return [np.expand_dims(field, axes) for field in fields] if keepdims else fields


def _fields(
    x: NDArray[Any], y: NDArray[Any], masked: Any, alternative: str, nan_policy: str
) -> NDArray[np.float64]:
    """Return the fields of the result, shape (6, ...), for lines whose points lie along the first axis."""
    n, *shape = y.shape
    found = np.full((6, *shape), math.nan)
    left = np.ones(shape, dtype=bool)
    is_many = bool(shape) and n > 2 and left.size > 0
    if is_many and not any(_is_wide(values, masked is not None) for values in (x, y)):
        left = _fields_at_once(x, y, masked, alternative, nan_policy, found)
    if left.any():
        # Like SciPy: of many slices, warn about those that omitting NaN made too small, and once if all are empty.
        warns = not shape or (nan_policy == "omit" and _has_nan(x, y))
        for index in np.argwhere(left):
            one: Any = (slice(None), *index)
            x_i, y_i = x[one], y[one]
            if masked is not None:
                x_i, y_i = x_i[~masked[one]], y_i[~masked[one]]
            if x_i.size > 1 or warns or _has_nan(x_i, y_i):
                found[one] = _regression(x_i, y_i, alternative, nan_policy)
    if shape and n == 0 and found.size:
        _too_few(0, 0)
    return found


def _fields_at_once(
    x: NDArray[Any],
    y: NDArray[Any],
    masked: Any,
    alternative: str,
    nan_policy: str,
    found: NDArray[np.float64],
) -> Any:
    """Write the fields of all lines that need no special care; return which are left."""
    from fastfit.compat.lines import ManyLines

    is_shared = not any(step for step, k in zip(x.strides[1:], x.shape[1:], strict=True) if k > 1)
    lines = ManyLines.through(
        x.reshape(len(x), -1)[:, 0] if is_shared else x,
        y if masked is None else np.where(masked, math.nan, y),
        min_points=3,
    )
    if lines is None:
        return np.ones(y.shape[1:], dtype=bool)
    fits, left = lines.fits, ~lines.is_fitted
    has_nan = fits.n_omitted > 0
    if masked is not None:
        has_nan = (np.isnan(x) | np.isnan(y)).any(axis=0)
    if nan_policy == "propagate":
        left &= ~has_nan
    elif nan_policy == "raise":
        left |= has_nan
    found[:3] = fits.slope, fits.intercept, fits.rvalue
    found[4:] = fits.stderr, fits.intercept_stderr
    found[3:, np.isnan(found[2])] = math.nan  # of a constant y
    slope, stderr = found[0], found[4]
    if not np.isnan(stderr).all():
        with np.errstate(divide="ignore"):
            found[3] = pvalue(slope / stderr, fits.n_points - 2.0, alternative)
    found[:, ~lines.is_fitted] = math.nan
    if nan_policy == "propagate":
        found[:, has_nan] = math.nan
    return left


def _is_wide(values: NDArray[Any], has_masks: bool) -> bool:
    """Return whether numbers may be so large that float64 cannot hold them, even after one shift for all lines."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8:
        return values.dtype.itemsize > 8
    low, high = int(values.min()), int(values.max())
    return max(-low, high) > 2**53 and (has_masks or high - low > 2**53)


def _filled(values: Any, name: str) -> NDArray[Any]:
    """Return an array of one or more dimensions, with zeros for masked values."""
    if is_masked(values):
        values = values.filled(0)
    return np.atleast_1d(real_array(values, name))


def _axes(axis: Any, n_dims: int) -> tuple[int, ...]:
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if not axes or not all(isinstance(one, numbers.Integral) for one in axes):
        raise TypeError(f"axis must be an integer, a tuple of integers, or None; got {axis!r}")
    return normalize_axis_tuple(axes, n_dims, "axis")


def _regression(x: Any, y: Any, alternative: str, nan_policy: str) -> tuple[float, ...]:
    """Return the fields of the result for points of one dimension."""
    n = x.size
    if n < 2 and not _has_nan(real_array(x, "x"), real_array(y, "y")):
        return _too_few(n, 0)
    points = array_points_of(x, y, nan_policy="propagate")
    if not points.moments().is_finite:
        return _not_finite(x, y, alternative, nan_policy)
    if points.moments().centred.xx.high == 0.0 and _is_like_1_18():
        return _UNKNOWN
    slope, intercept, residual_square, sums, (x_exponent, y_exponent) = ScaledLine.through(points)
    xx, yy = sums.xx.high, sums.yy.high
    rvalue = correlation(residual_square, xx, sums.xy.high, yy)
    p = slope_error = intercept_error = math.nan
    if n == 2 and not _is_like_1_18():
        p, slope_error, intercept_error = float(yy == 0.0), 0.0, 0.0
    elif n > 2 and yy > 0.0:
        slope_error = slope_stderr(residual_deviation(residual_square, n - 2.0), xx)
        t = slope / slope_error if slope_error else math.copysign(math.inf, slope)
        p = pvalue(t, n - 2.0, alternative)
        intercept_error = intercept_stderr(slope_error, n, sums.x_mean.high, xx)
    if x_exponent or y_exponent:
        slope, slope_error = scaled((slope, slope_error), x_exponent - y_exponent)
        intercept, intercept_error = scaled((intercept, intercept_error), -y_exponent)
    return slope, intercept, rvalue, p, slope_error, intercept_error


def _has_nan(x: Any, y: Any) -> bool:
    return bool(np.isnan(x).any() or np.isnan(y).any())


def _not_finite(x: Any, y: Any, alternative: str, nan_policy: str) -> tuple[float, ...]:
    """Return the fields of the result for x or y with NaN or infinity."""
    nan = np.isnan(x) | np.isnan(y)
    n_nan = int(np.count_nonzero(nan))
    if n_nan == 0:
        warn_caller("x and y should be finite; got infinity, and the result is NaN", RuntimeWarning)
    elif nan_policy == "raise":
        raise ValueError(
            f"x and y must not hold NaN with nan_policy='raise'; got NaN at {n_nan:,} of {nan.size:,} points"
        )
    elif nan_policy == "omit":
        if nan.size - n_nan < 2:
            return _too_few(nan.size - n_nan, n_nan)
        return _regression(x[~nan], y[~nan], alternative, nan_policy)
    return _UNKNOWN


def _too_few(n: int, n_omitted: int) -> tuple[float, ...]:
    """Warn about too few points, and return a result of NaN."""
    after = f" after leaving out {n_omitted:,} with NaN" if n_omitted else ""
    warn_caller(
        f"x and y should hold at least two points for a line; got {n}{after}, and the result is NaN",
        # A program that filters SciPy's warning has imported it.
        getattr(
            sys.modules.get("scipy.stats._axis_nan_policy"), "SmallSampleWarning", RuntimeWarning
        ),
    )
    return _UNKNOWN
