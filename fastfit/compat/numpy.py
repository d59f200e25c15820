"""A drop-in for ``numpy.polyfit``."""

from __future__ import annotations

import math
import numbers
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit.compat.line import ScaledLine, scaled
from fastfit.inference import covariance
from fastfit.points.arrays import ArrayPoints
from fastfit.points.opening import array_points_of

# Bound on import, since fastfit's may stand in its place later, or already if this module is loaded once more. Its
# overloads accept no unions, hence Any.
_NUMPYS_POLYFIT: Any = getattr(np.polyfit, "numpys", np.polyfit)
# The square of a weight this much smaller than the largest one would lose digits, or underflow.
_SMALLEST_WEIGHT = 2.0**-500


def polyfit(
    x: ArrayLike,
    y: ArrayLike,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: ArrayLike | None = None,
    cov: bool | Literal["unscaled"] = False,
) -> Any:
    """Fit a polynomial by least squares, as ``numpy.polyfit`` does; lines (``deg=1``) are fitted by fastfit.

    NumPy does the rest: other degrees, ``full`` and ``rcond``, points that determine no line or are not finite, and
    arguments that NumPy refuses. For x so far from zero that NumPy warns about a poorly conditioned fit, fastfit's line
    is still right to the last digits.

    Parameters
    ----------
    x : array_like, shape (n,)
        Positions of the points. A mask is ignored, as by NumPy.
    y : array_like, shape (n,) or (n, k)
        Values of the points; a line is fitted to each column.
    deg : int
        Degree of the polynomial.
    rcond, full
        For NumPy's solver.
    w : array_like, shape (n,), optional
        Factors of the residuals, of either sign: squared residuals are weighted by ``w**2``.
    cov : bool or "unscaled"
        Whether to return the covariance of the coefficients too: scaled by the residuals, or for ``"unscaled"`` as if
        w were the inverse standard deviations of y.

    Returns
    -------
    coefficients : ndarray, shape (2,) or (2, k)
        Slope first; ``(deg + 1, ...)`` in general.
    covariance : ndarray, shape (2, 2) or (2, 2, k)
        Only with ``cov``; if unscaled, (2, 2, 1) for all k columns together.

    Raises
    ------
    TypeError, ValueError, numpy.linalg.LinAlgError
        NumPy's own, for arguments that it refuses.

    Warns
    -----
    numpy.exceptions.RankWarning
        NumPy's own, if all x are equal.

    Examples
    --------
    >>> from fastfit.compat import polyfit
    >>> polyfit([0.0, 1.0, 2.0], [[1.0, 0.0], [3.0, 1.0], [5.0, 2.0]], 1)
    array([[2., 1.],
           [1., 0.]])
    """
    found = None
    if isinstance(deg, numbers.Real) and deg == 1 and rcond is None and not full:
        found = _lines(np.asarray(x), np.asarray(y), w if w is None else np.asarray(w), cov)
    return _NUMPYS_POLYFIT(x, y, deg, rcond, full, w, cov) if found is None else found


polyfit.numpys = _NUMPYS_POLYFIT  # type: ignore[attr-defined]


def _lines(x: Any, y: Any, w: Any, cov: Any) -> Any:
    """Return the result of ``polyfit`` for a line, or None to leave it to NumPy."""
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
    if y.ndim == 2:
        return _lines_of_columns(x, y, weights, w_exponent, cov, unscaled)
    line = _line_or_none(array_points_of(x, y, weights, nan_policy="propagate"))
    if line is None:
        return None
    slope, intercept, residual_square, sums, exponents = line
    coefficients = _in_units(slope, intercept, exponents)
    if not cov:
        return coefficients
    moments = sums.w.high, sums.x_mean.high, sums.xx.high
    if unscaled:
        return coefficients, _covariance(1.0, *moments, exponents[0], w_exponent)
    return coefficients, _covariance(residual_square / (n - 2), *moments, *exponents)


def _lines_of_columns(
    x: NDArray[Any],
    y: NDArray[Any],
    w: NDArray[np.float64] | None,
    w_exponent: int,
    cov: Any,
    unscaled: bool,
) -> Any:
    """Return the result of ``polyfit`` for all columns of y at once, or None to leave it to NumPy."""
    from fastfit.compat.lines import ManyLines

    lines = ManyLines.through(x, y, w)
    if lines is None or not lines.is_fitted.all() or lines.fits.n_omitted.any():
        return None
    coefficients = np.stack([lines.fits.slope, lines.fits.intercept])
    if not cov:
        return coefficients
    moments = lines.weight_sum, lines.x_mean, lines.sums.uu
    if unscaled:  # without the residuals, all columns have the same covariance
        total, x_mean, xx = (np.ravel(each)[0] for each in moments)
        of_all = _covariance(1.0, total, x_mean, xx, 0, w_exponent)
        return coefficients, of_all[..., np.newaxis]
    variance = lines.sums.residual_square / (x.size - 2)
    return coefficients, np.array(_matrix(variance, *moments))


def _in_units(slope: float, intercept: float, exponents: tuple[int, int]) -> NDArray[np.float64]:
    x_exponent, y_exponent = exponents
    if x_exponent or y_exponent:
        return np.array([scaled(slope, x_exponent - y_exponent), scaled(intercept, -y_exponent)])
    return np.array([slope, intercept])


def _squares(w: NDArray[Any]) -> tuple[NDArray[np.float64] | None, int]:
    """Return ``(w / 2**k)**2`` and k, with the largest near 1; None if squaring would lose a weight."""
    if not _is_real(w) or w.size == 0:
        return None, 0
    size = np.abs(w.astype(np.float64))
    largest = float(size.max())
    lost = (size > 0.0) & (size < _SMALLEST_WEIGHT * largest)
    if not 0.0 < largest < math.inf or lost.any():
        return None, 0
    exponent = math.frexp(largest)[1]
    return np.square(np.ldexp(size, -exponent)), exponent


def _line_or_none(points: ArrayPoints) -> ScaledLine | None:
    """Return the line; None if points are not finite, too far apart, of one x, or all of weight 0."""
    try:
        return ScaledLine.through(points) if points.moments().is_finite else None
    except ValueError:
        return None


def _is_real(values: NDArray[Any]) -> bool:
    """Return whether NumPy's solver treats numbers of this type as real."""
    return values.dtype.kind in "biuf" and values.dtype.itemsize <= 8


def _matrix(variance: Any, w: Any, x_mean: Any, xx: Any) -> list[list[Any]]:
    """Return the covariance matrix, for residuals of this variance."""
    slope, both, intercept = covariance(variance, w, x_mean, xx)
    return [[slope, both], [both, intercept]]


def _covariance(
    variance: float, w: float, x_mean: float, xx: float, x_exponent: int, y_exponent: int
) -> NDArray[np.float64]:
    """Return the covariance matrix, for residuals of this variance on the scale of the sums."""
    scale = np.array([x_exponent - y_exponent, -y_exponent])
    return np.asarray(scaled(_matrix(variance, w, x_mean, xx), scale + scale[:, np.newaxis]))
