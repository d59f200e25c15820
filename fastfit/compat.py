"""Drop-in replacements: ``linregress`` for SciPy's, and ``polyfit`` for NumPy's.

They take the arguments of ``scipy.stats.linregress`` (of SciPy 1.17) and of ``numpy.polyfit``, and return what those
return, from the moments of one pass. So time stamps cost no digits, and errors of a nearly perfect line are right.

>>> from fastfit.compat import linregress, polyfit
>>> slope, intercept, rvalue, pvalue, stderr = linregress([1.0, 2.0, 3.0], [2.0, 4.0, 6.5])
>>> polyfit([1.0, 2.0, 3.0], [2.0, 4.0, 6.5], 1)
array([ 2.25      , -0.33333333])
"""

from __future__ import annotations

import functools
import math
import numbers
import sys
import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from fastfit.exact.least_squares import Centred
from fastfit.fit import NAN_POLICIES, array_points_of
from fastfit.inference import distribution_functions
from fastfit.losses import SquaredError
from fastfit.points.arrays import ArrayPoints
from fastfit.solvers.exact import Exact
from fastfit.validation import is_masked, real_array, require_one_of

ALTERNATIVES = ("two-sided", "less", "greater")

_EXACT, _SQUARED_ERROR = Exact(), SquaredError()
_UNKNOWN = (math.nan,) * 6
# The square of a weight this much smaller than the largest would lose digits, or vanish.
_SMALLEST_WEIGHT = 2.0**-500


class _Five(NamedTuple):
    slope: Any
    intercept: Any
    rvalue: Any
    pvalue: Any
    stderr: Any


class LinregressResult(_Five):
    """A line and its errors: a tuple of five, and ``intercept_stderr`` beside them.

    Attributes
    ----------
    slope, intercept : float or ndarray
        The line ``y = slope * x + intercept``; arrays for points of more than one dimension, or with ``keepdims``.
    rvalue : float or ndarray
        Pearson's correlation coefficient of x and y; NaN for a constant y.
    pvalue : float or ndarray
        Of the hypothesis that the slope is 0, against the alternative.
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
    """Fit a line by least squares, as ``scipy.stats.linregress`` does.

    Parameters
    ----------
    x, y : array_like, of shapes that can be broadcast to one another
        Real numbers. Points masked in x or in y are left out.
    alternative : {"two-sided", "less", "greater"}
        What the p-value tests a slope of 0 against: another slope, a negative one, or a positive one.
    axis : int, tuple of int, or None
        Along which axes the points of a line lie; None for all of them, without broadcasting.
    nan_policy : {"propagate", "omit", "raise"}
        For NaN in x or y: return NaN, leave the point out, or raise ValueError. Infinities yield NaN, always.
    keepdims : bool
        Whether axes that the points lie along are kept, with length 1.

    Returns
    -------
    LinregressResult
        Floats for points along all axes, else arrays of the shape that the other axes have. Two points have errors
        of 0 and a p-value of 0, of 1 if their y are equal; fewer have no line, and the result is NaN.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it. If x is constant.
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
        *five, sixth = map(np.float64, _regression(x, y, alternative, nan_policy))
        return LinregressResult(*five, intercept_stderr=sixth)
    *fields, last = _regressions(x, y, alternative, axis, nan_policy, keepdims)
    return LinregressResult(*fields, intercept_stderr=last)


def _regressions(
    x: Any, y: Any, alternative: str, axis: Any, nan_policy: str, keepdims: bool
) -> list[Any]:
    """Return the fields of the result for points of any shape, from one fit after another."""
    given = [_filled(x, "x"), _filled(y, "y")]
    if is_masked(x) or is_masked(y):
        given += [np.atleast_1d(np.ma.getmaskarray(values)) for values in (x, y)]
    n_dims = max(values.ndim for values in given)
    if axis is None:
        axes = tuple(range(n_dims))
        given = [values.reshape(-1) for values in given]
        if given[0].size != given[1].size:
            sizes = f"{given[0].size:,} and {given[1].size:,}"
            raise ValueError(f"x and y must have the same length; got {sizes}")
        shape, n = (), given[0].size
    else:
        axes = _axes(axis, n_dims)
        try:
            given = list(np.broadcast_arrays(*given))
        except ValueError as error:
            shapes = f"{given[0].shape} and {given[1].shape}"
            raise ValueError(
                f"x and y must have shapes that can be broadcast to one another; got {shapes}"
            ) from error
        given = [np.moveaxis(values, axes, range(-len(axes), 0)) for values in given]
        shape, n = given[0].shape[: -len(axes)], math.prod(given[0].shape[-len(axes) :])
    rows = [np.ascontiguousarray(values.reshape(math.prod(shape), n)) for values in given]
    # Among many slices SciPy warns of those that are too small for NaN left out, and once if all are empty.
    warns = not shape or (nan_policy == "omit" and _has_nan(*rows[:2]))
    found = np.full((6, len(rows[0])), math.nan)
    for i, (x_i, y_i, *masks) in enumerate(zip(*rows, strict=True)):
        if masks:
            # NaN beside a masked number counts, as it does for SciPy; below a mask, it was filled.
            kept = ~(masks[0] | masks[1]) | np.isnan(x_i) | np.isnan(y_i)
            x_i, y_i = x_i[kept], y_i[kept]  # noqa: PLW2901
        if x_i.size > 1 or warns or _has_nan(x_i, y_i):
            found[:, i] = _regression(x_i, y_i, alternative, nan_policy)
    if shape and n == 0 and found.size:
        _too_few(0, 0)
    fields = [column.reshape(shape)[()] for column in found]
    return [np.expand_dims(field, axes) for field in fields] if keepdims else fields


def _filled(values: Any, name: str) -> NDArray[Any]:
    """Return an array of one or more dimensions, with numbers in place of what is masked."""
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
    slope, intercept, residual_square, sums, (x_exponent, y_exponent) = _Line.through(points)
    xx, yy = sums.xx.high, sums.yy.high
    rvalue = pvalue = stderr = intercept_stderr = math.nan
    if yy > 0.0:
        # Near 1, what is left over tells the correlation to its last digit.
        explained = 1.0 - residual_square / yy
        if explained > 0.5:
            rvalue = math.copysign(math.sqrt(explained), slope)
        else:
            rvalue = sums.xy.high / (math.sqrt(xx) * math.sqrt(yy))
    if n == 2:
        pvalue, stderr, intercept_stderr = float(yy == 0.0), 0.0, 0.0
    elif yy > 0.0:
        # Of two roots, as the quotient of the squares may leave the range of float64.
        stderr = math.sqrt(residual_square / (n - 2)) / math.sqrt(xx)
        t = slope / stderr if stderr else math.copysign(math.inf, slope)
        pvalue = _pvalue(t, n - 2.0, alternative)
        intercept_stderr = stderr * math.hypot(math.sqrt(xx / n), sums.x_mean.high)
    if x_exponent or y_exponent:
        slope, stderr = _scaled((slope, stderr), x_exponent - y_exponent)
        intercept, intercept_stderr = _scaled((intercept, intercept_stderr), -y_exponent)
    return slope, intercept, rvalue, pvalue, stderr, intercept_stderr


def _has_nan(x: Any, y: Any) -> bool:
    return bool(np.isnan(x).any() or np.isnan(y).any())


def _not_finite(x: Any, y: Any, alternative: str, nan_policy: str) -> tuple[float, ...]:
    """Return the fields of the result where x or y holds NaN or infinity."""
    nan = np.isnan(x) | np.isnan(y)
    n_nan = int(np.count_nonzero(nan))
    if n_nan == 0:
        _warn("x and y should be finite; got infinity, and the result is NaN", RuntimeWarning)
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
    """Warn of too few points, and return a result of NaN."""
    after = f" after leaving out {n_omitted:,} with NaN" if n_omitted else ""
    _warn(
        f"x and y should hold at least two points for a line; got {n}{after}, and the result is NaN",
        # Whoever filters SciPy's warning has imported it.
        getattr(
            sys.modules.get("scipy.stats._axis_nan_policy"), "SmallSampleWarning", RuntimeWarning
        ),
    )
    return _UNKNOWN


def _warn(message: str, category: type[Warning]) -> None:
    """Warn at the line that called this module."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals is globals():
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _pvalue(t: float, n_dof: float, alternative: str) -> float:
    stdtr = _t_distribution()
    if alternative == "two-sided":
        return 2.0 * float(stdtr(n_dof, -abs(t)))
    return float(stdtr(n_dof, t if alternative == "less" else -t))


@functools.cache
def _t_distribution() -> Any:
    return distribution_functions().stdtr


class _Line(NamedTuple):
    """A line, the weighted sum of its squared residuals, and moments, on the scale that the exponents tell."""

    slope: float
    intercept: float
    residual_square: float
    sums: Centred
    exponents: tuple[int, int]

    @classmethod
    def through(cls, points: ArrayPoints) -> _Line:
        """Return the line of least squares through points; ValueError if they determine none."""
        moments = points.moments()
        best = moments.least_squares()
        x_exponent, y_exponent = moments.exponents
        slope, intercept, left = best.slope.high, best.intercept.high, best.residual_square
        if not best.is_resolved:
            refined = _EXACT.solve(points, _SQUARED_ERROR)
            slope, intercept = refined.slope.high, refined.intercept.high
            left = refined.loss * best.moments.w.high
        return cls(slope, intercept, left, best.moments, (x_exponent, y_exponent))


def _scaled(values: Any, exponents: Any) -> Any:
    """Return ``values * 2**exponents``; what leaves the range of float64 is 0 or infinite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(values, exponents)


def polyfit(
    x: ArrayLike,
    y: ArrayLike,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: ArrayLike | None = None,
    cov: bool | Literal["unscaled"] = False,
) -> Any:
    """Fit a polynomial by least squares, as ``numpy.polyfit`` does; a line (``deg=1``) by this package.

    All else is left to NumPy: other degrees, ``full`` and ``rcond``, points that determine no line or are not finite,
    and whatever NumPy raises an error for. Where x is so far from zero that NumPy finds a line poorly conditioned, and
    warns, this line is right to the last digits.

    Parameters
    ----------
    x : array_like, shape (n,)
        Where the points are. A mask is ignored, as NumPy does.
    y : array_like, shape (n,) or (n, k)
        Their values; a line is fitted to each column.
    deg : int
        Degree of the polynomial.
    rcond, full
        For NumPy's solver.
    w : array_like, shape (n,), optional
        Factors of the residuals, of either sign: each square is weighted by ``w**2``.
    cov : bool or "unscaled"
        Whether to return the covariance of the coefficients too: from the residuals, or as though w were the inverse
        standard deviations.

    Returns
    -------
    coefficients : ndarray, shape (2,) or (2, k)
        Slope first; ``(deg + 1, ...)`` in general.
    covariance : ndarray, shape (2, 2) or (2, 2, k)
        Only with ``cov``; if unscaled, (2, 2, 1) for all k columns.

    Raises
    ------
    TypeError, ValueError, numpy.linalg.LinAlgError
        NumPy's, for arguments that it does not take.

    Warns
    -----
    numpy.exceptions.RankWarning
        NumPy's, if all x are equal.

    Examples
    --------
    >>> from fastfit.compat import polyfit
    >>> polyfit([0.0, 1.0, 2.0], [[1.0, 0.0], [3.0, 1.0], [5.0, 2.0]], 1)
    array([[2., 1.],
           [1., 0.]])
    """
    numpys: Any = np.polyfit  # its overloads know no unions
    found = None
    if isinstance(deg, numbers.Real) and deg == 1 and rcond is None and not full:
        found = _lines(np.asarray(x), np.asarray(y), w if w is None else np.asarray(w), cov)
    return numpys(x, y, deg, rcond, full, w, cov) if found is None else found


def _lines(x: Any, y: Any, w: Any, cov: Any) -> Any:
    """Return what ``polyfit`` returns for a line, None where NumPy is to answer."""
    unscaled = isinstance(cov, str) and cov == "unscaled"
    n = x.size
    weights, w_exponent = (None, 0) if w is None else _squares(w)
    if (
        not (_is_real(x) and _is_real(y))
        or x.ndim != 1
        or y.ndim not in (1, 2)
        or y.shape[0] != n
        or y.size == 0
        or n < (3 if cov and not unscaled else 2)
        or (w is not None and (weights is None or weights.shape != x.shape))
    ):
        return None
    coefficients, covariances = [], []
    for column in y[np.newaxis] if y.ndim == 1 else np.ascontiguousarray(y.T):
        line = _line_through(array_points_of(x, column, weights, nan_policy="propagate"))
        if line is None:
            return None
        slope, intercept, residual_square, sums, (x_exponent, y_exponent) = line
        if x_exponent or y_exponent:
            slope = _scaled(slope, x_exponent - y_exponent)
            intercept = _scaled(intercept, -y_exponent)
        coefficients.append((slope, intercept))
        if unscaled:
            covariances.append(_covariance(sums, 1.0, x_exponent, w_exponent))
        elif cov:
            variance = residual_square / (n - 2)
            covariances.append(_covariance(sums, variance, x_exponent, y_exponent))
    result = np.array(coefficients[0] if y.ndim == 1 else coefficients).T
    if not cov:
        return result
    # Without residuals, one covariance is that of all columns.
    found = np.stack(covariances[:1] if unscaled else covariances, axis=-1)
    return result, found[..., 0] if y.ndim == 1 else found


def _squares(w: NDArray[Any]) -> tuple[NDArray[np.float64] | None, int]:
    """Return ``(w / 2**k)**2`` and k, such that the largest is near 1; None if that loses any."""
    if not _is_real(w) or w.size == 0:
        return None, 0
    size = np.abs(w.astype(np.float64))
    largest = float(size.max())
    lost = (size > 0.0) & (size < _SMALLEST_WEIGHT * largest)
    if not 0.0 < largest < math.inf or lost.any():
        return None, 0
    exponent = math.frexp(largest)[1]
    return np.square(np.ldexp(size, -exponent)), exponent


def _line_through(points: ArrayPoints) -> _Line | None:
    """Return the line, None if points are not finite, all x are equal, or all weights 0."""
    if not points.moments().is_finite:
        return None
    try:
        return _Line.through(points)
    except ValueError:
        return None


def _is_real(values: NDArray[Any]) -> bool:
    """Whether NumPy's solver takes numbers of this kind for real ones."""
    return values.dtype.kind in "biuf" and values.dtype.itemsize <= 8


def _covariance(
    sums: Centred, variance: float, x_exponent: int, y_exponent: int
) -> NDArray[np.float64]:
    """Return the covariance of slope and intercept, for residuals of this variance on the scale of the sums."""
    x_mean, along = sums.x_mean.high, variance / sums.xx.high
    across = -x_mean * along
    scale = np.array([x_exponent - y_exponent, -y_exponent])
    level = variance / sums.w.high - across * x_mean
    return np.asarray(_scaled([[along, across], [across, level]], scale + scale[:, np.newaxis]))
