"""Points in memory: two arrays, read by the compiled passes or by their reference in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from fastfit.coordinates import Curvature, Frame
from fastfit.kernels.passes import LossGradient, LossGradientCurvature, ProductSums
from fastfit.losses import Loss
from fastfit.moments import Moments
from fastfit.points.base import Evaluation
from fastfit.validation import Column, Columns, require_two_points

_LOSS_GRADIENT = LossGradient()
_LOSS_GRADIENT_CURVATURE = LossGradientCurvature()
_PRODUCT_SUMS = ProductSums()

# A look at so many points, evenly spread, tells roughly where the points lie.
_SAMPLE = 1000
# Squares of spreads within these bounds neither overflow nor underflow in any sum of a pass.
_SMALLEST_SQUARE, _LARGEST_SQUARE = 1e-200, 1e200
# A center this many variances off the mean costs two of sixteen digits; the sample is rarely off by 0.01.
_CANCELLATION = 64.0
# Reading in chunks keeps the temporaries of a closer look below a few megabytes.
_CHUNK = 1 << 18


def _backend(name: str) -> Callable[..., Any]:
    if name == "numpy":
        from fastfit.kernels import reference

        return reference.run
    from fastfit.kernels import parallel

    return parallel.run


class ArrayPoints:
    """Points in two arrays.

    Parameters
    ----------
    columns : Columns
        x and y as ``validation.columns`` returns them: float64 or float32, contiguous or strided.
    nan_policy : {"raise", "omit", "propagate"}
        What to do about NaN: raise ValueError, leave those points out, or let moments be NaN.
        Infinities are left out by no policy.
    n_threads : int or None
        At most this many threads; None for all.
    backend : {"numba", "numpy"}
        The compiled passes, or the reference.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        nan_policy: str = "raise",
        n_threads: int | None = None,
        backend: str = "numba",
    ) -> None:
        self._run = _backend(backend)
        self._n_threads = n_threads
        self._nan_policy = nan_policy
        self._x, self._y = columns.x, columns.y
        self._offset = (columns.x_offset, columns.y_offset)
        self._kept = columns.kept
        self._x_scale = self._y_scale = 1.0
        self._center = (_rough_center(self._x), _rough_center(self._y))
        self._moments: Moments | None = None
        self.n_passes = 0
        self.n_omitted = columns.n_masked

    @property
    def n_points(self) -> int:
        """Number of points, less those left out."""
        return self._x.size

    @property
    def frame(self) -> Frame:
        """The coordinates in which lines are evaluated."""
        return Frame(
            self._center[0] + self._offset[0] * self._x_scale,
            self._center[1] + self._offset[1] * self._y_scale,
            self._x_scale,
            self._y_scale,
        )

    @property
    def x(self) -> Column:
        """The x values that are fitted, as the caller knows them."""
        return _as_passed(self._x, self._x_scale, self._offset[0])

    @property
    def y(self) -> Column:
        """The y values that are fitted, as the caller knows them."""
        return _as_passed(self._y, self._y_scale, self._offset[1])

    def evaluate(
        self, loss: Loss, slope: float, level: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean loss of a line and its derivatives, as ``Points.evaluate`` says."""
        self.n_passes += 1
        line = (float(slope), float(level))
        n = self._x.size
        if not curvature:
            sums = self._run(
                _LOSS_GRADIENT, loss, self._x, self._y, self._center, line, self._n_threads
            )
            return Evaluation(sums[0] / n, sums[1] / n, sums[2] / n)
        sums = self._run(
            _LOSS_GRADIENT_CURVATURE, loss, self._x, self._y, self._center, line, self._n_threads
        )
        mean = [total / n for total in sums]
        return Evaluation(mean[0], mean[1], mean[2], Curvature(*mean[3:]))

    def moments(self) -> Moments:
        """Return the moments of the points, as ``Points.moments`` says.

        One pass, unless a look at some of the points misjudged where they lie, or their squares leave the range
        of float64. Then the points are looked at more closely, and read again in a better frame.

        Raises
        ------
        ValueError
            If x is constant, or if there is NaN or infinity and the policy is to raise.
        """
        if self._moments is None:
            moments = self._sum_products()
            for _ in range(4):  # NaN left out, rescaled, centred, and one to spare
                if _is_sound(moments) or not self._look_closely(moments):
                    break
                moments = self._sum_products()
            if moments.is_finite and not moments.uu > 0.0:
                raise ValueError("the spread of x is beyond the range of float64; rescale x")
            self._moments = moments
        return self._moments

    def _sum_products(self) -> Moments:
        self.n_passes += 1
        sums = self._run(_PRODUCT_SUMS, None, self._x, self._y, self._center, (), self._n_threads)
        return Moments.from_sums(self._x.size, self.frame, sums)

    def _look_closely(self, moments: Moments) -> bool:
        """Find out what is wrong with moments, and return whether reading the points again will help."""
        if not moments.is_finite:
            x_count, y_count = self._count_not_finite("x"), self._count_not_finite("y")
            if (x_count or y_count) and self._nan_policy == "propagate":
                return False
            if x_count or y_count:
                self._omit_nan()
                return True
        before = (self._x_scale, self._y_scale, self._center)
        x_center, y_center = self._center
        if not _resolves(moments.u_mean, moments.uu):
            low, high = _range(self._x)
            if low == high:
                raise ValueError(
                    "x must hold at least two different values, or no slope is determined; "
                    f"got {low / self._x_scale + self._offset[0]!r} at all {self._x.size:,} points"
                )
            self._x, scale, x_center = _reframed(
                self._x, low, high, x_center + moments.u_mean, moments.uu
            )
            self._x_scale *= scale
        if not _resolves(moments.v_mean, moments.vv):
            self._y, scale, y_center = _reframed(
                self._y, *_range(self._y), y_center + moments.v_mean, moments.vv
            )
            self._y_scale *= scale
        self._center = (x_center, y_center)
        return before != (self._x_scale, self._y_scale, self._center)

    def _count_not_finite(self, name: str) -> int:
        """Return how many values of x or y are NaN or infinite, or raise about them if the policy says so."""
        values = self._x if name == "x" else self._y
        not_finite = (
            start + np.flatnonzero(~np.isfinite(values[start : start + _CHUNK]))
            for start in range(0, values.size, _CHUNK)
        )
        where = np.concatenate(list(not_finite))
        infinite = where[~np.isnan(values[where])]
        if infinite.size and self._nan_policy != "propagate":
            _raise_infinite(name, self._position(infinite[0]), infinite.size)
        if where.size and self._nan_policy == "raise":
            raise ValueError(
                f"{name} must be finite; got NaN at index {self._position(where[0]):,}"
                f"{_and_more(where.size)}. Pass nan_policy='omit' to leave such points out, "
                "or nan_policy='propagate' to get NaN"
            )
        return int(where.size)

    def _position(self, index: int) -> int:
        """Return where a point stood before masked ones were left out: as the caller counts them."""
        return int(index if self._kept is None else np.flatnonzero(self._kept)[index])

    def _omit_nan(self) -> None:
        keep = ~(np.isnan(self._x) | np.isnan(self._y))
        before = self._x.size
        self._x, self._y = _read_only(self._x[keep]), _read_only(self._y[keep])
        self.n_omitted += before - self._x.size
        require_two_points(self._x.size, "masked or with NaN", self.n_omitted)
        self._center = (_rough_center(self._x), _rough_center(self._y))


def _as_passed(values: Column, scale: float, offset: float) -> Column:
    return values if scale == 1.0 and offset == 0.0 else values / scale + offset


def _rough_center(values: Column) -> float:
    """Return a value near the mean, from some of the values; exactly the value if those are all the same."""
    sample = values[:: max(1, values.size // _SAMPLE)].astype(np.float64)
    with np.errstate(all="ignore"):
        first = float(sample[0])
        center = first + float((sample - first).mean())
    if math.isfinite(center):
        return center
    finite = sample[np.isfinite(sample)]
    return float(finite[0]) if finite.size else 0.0


def _is_sound(moments: Moments) -> bool:
    """Whether all is well with moments."""
    x_resolved = _resolves(moments.u_mean, moments.uu)
    return moments.is_finite and x_resolved and _resolves(moments.v_mean, moments.vv)


def _resolves(mean: float, square: float) -> bool:
    """Whether a variance in the frame is in the range of float64, and free of cancellation."""
    return _SMALLEST_SQUARE < square < _LARGEST_SQUARE and mean * mean < _CANCELLATION * square


def _reframed(
    values: Column, low: float, high: float, mean: float, square: float
) -> tuple[Column, float, float]:
    """Return values, the power of two they were scaled by, and their center, so that sums are sound."""
    if low == high:
        return values, 1.0, low
    if _SMALLEST_SQUARE < square < _LARGEST_SQUARE and math.isfinite(mean):
        return values, 1.0, mean
    # Within 2**+-1000, the factor itself is a float64.
    half = 0.5 * high - 0.5 * low or max(abs(low), abs(high))
    exponent = max(-1000, min(1000, -math.frexp(half)[1]))
    scaled = np.ldexp(values.astype(np.float64), exponent)
    low, high = math.ldexp(low, exponent), math.ldexp(high, exponent)
    return _read_only(scaled), math.ldexp(1.0, exponent), 0.5 * low + 0.5 * high


def _range(values: Column) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _read_only(values: Column) -> Column:
    values.flags.writeable = False
    return values


def _raise_infinite(name: str, first: int, count: int) -> NoReturn:
    raise ValueError(
        f"{name} must be finite; got infinity at index {first:,}{_and_more(count)}. "
        "No nan_policy leaves infinities out: remove them, or turn them into NaN and "
        "pass nan_policy='omit'"
    )


def _and_more(count: int) -> str:
    return f", the first of {count:,}" if count > 1 else ", the only one"
