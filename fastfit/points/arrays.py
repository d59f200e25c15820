"""Points in memory: two arrays, read by the compiled passes or by their reference in NumPy."""

from __future__ import annotations

import copy
import functools
import math
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Column, Columns, columns
from fastfit.containers import name_of
from fastfit.exact.coordinates import Evaluation, Frame
from fastfit.exact.double_double import DoubleDouble, add, multiply, subtract, two_sum
from fastfit.exact.moment_sums import MomentSums
from fastfit.kernels.block import BLOCK
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.median import ResidualWindow
from fastfit.kernels.moments import OmittingProductSums, Products, ProductSums
from fastfit.kernels.residuals import ResidualSums
from fastfit.losses import Loss
from fastfit.points.base import Plan, Points, Reading, Source
from fastfit.points.faults import Faults
from fastfit.points.median import weighted_median
from fastfit.points.sample import GOLDEN

# Made once, as it takes a third of a microsecond: by whether curvature is asked for, and whether NaN is left out.
_LOSS_GRADIENT = (LossGradient(), LossGradientCurvature())
_PRODUCT_SUMS = (ProductSums(), OmittingProductSums())
# Number of points sampled to estimate center and spread (error: 6 % of the spread).
_SAMPLE = 256
# With half the range of x and of y in these bounds, and weights as ``faults`` allows them, no sum of products leaves
# the range of float64, low parts included.
_SMALLEST_HALF, _LARGEST_HALF = 1e-90, 1e90
# A mean weight beyond this, of a sample, is not used to choose the grid.
_LARGEST_WEIGHT = 1e100
_SMALLEST_SUM, _LARGEST_SUM = 1e-280, 1e300
# A center this many variances off the mean costs 6 of 80 bits.
_CANCELLATION = 64.0
# Smallest ratio of actual to expected sum of squares; a coarser grid loses more than 12 of 95 bits.
_TOO_COARSE = 2.0**-12
# A block is summed again if its squares exceed this many times the sample's estimate.
_MARGIN = 16.0
_TOO_FAR_APART = (
    "x, y or their weights are too far apart for float64; rescale them, or leave the outermost out"
)
# Largest number of residuals near the median that are copied: 2 MB, and as much for their weights.
_ROOM = 1 << 18


@functools.cache
def _backend(name: str) -> Any:
    if name == "numpy":
        from fastfit.kernels import reference

        return reference
    from fastfit.kernels import compiled

    return compiled


class ArrayPoints:
    """Points in arrays.

    Parameters
    ----------
    columns : Columns
        x, y and weights as ``validation.columns`` returns them: float64 or float32, contiguous or strided.
    nan_policy : {"raise", "omit", "propagate"}
        What to do about NaN: raise ValueError, leave those points out, or let moments be NaN.
        Infinities are left out by no policy.
    n_threads : int or None
        At most this many threads; None for all.
    backend : {"numba", "numpy"}
        The compiled passes, or the reference.
    through_origin : bool
        Whether lines through the origin are fitted. Then x and y are not shifted.
    first : int or None
        Where these are a part of more points: the place of the first among them, in what errors name.
    """

    max_passes = math.inf

    def __init__(
        self,
        columns: Columns,
        *,
        nan_policy: str = "raise",
        n_threads: int | None = None,
        backend: str = "numba",
        through_origin: bool = False,
        first: int | None = None,
    ) -> None:
        self._backend = backend
        self._n_threads = n_threads
        self._x, self._y, self._w = columns.x, columns.y, columns.w
        self._offset = (columns.x_offset, columns.y_offset)
        self._n_effective = columns.n_effective
        self._faults = Faults(nan_policy, columns.kept, first)
        self._w_name, self.unit_sigma = columns.w_name, columns.unit_sigma
        self.times = columns.times
        # Shifted integers are beyond 2**53, so their center serves as well as the origin.
        self._through_origin = through_origin and self._offset == (0.0, 0.0)
        self._exponent = (0, 0)
        self._center, self._squares = (0.0, 0.0), (0.0, 0.0)
        self._expected = (0.0, 0.0)
        self._mean_weight: float | None = None
        self._glance()
        self._moments: MomentSums | None = None
        self._n_dropped = 0
        self.n_passes = 0
        self.n_omitted = columns.n_masked

    @classmethod
    def of(cls, columns: Columns, reading: Reading, first: int | None = None) -> ArrayPoints:
        """Return points to be read as ``reading`` says."""
        return cls(
            columns,
            nan_policy=reading.nan_policy,
            n_threads=reading.n_threads,
            backend=reading.backend,
            through_origin=reading.through_origin,
            first=first,
        )

    @property
    def _kernels(self) -> Any:
        return _backend(self._backend)

    @property
    def n_points(self) -> int:
        """Number of points, less those left out."""
        return self._x.size - self._n_dropped

    @property
    def n_effective(self) -> float:
        """How many points there are, one of weight 2 counted twice."""
        if self._n_effective is None:
            return self.moments().weight_sum
        if isinstance(self._n_effective, float):
            return float(self.n_points)
        self._leave_out()
        return float(self._n_effective.sum(dtype=np.float64))

    @property
    def _weight_sum(self) -> float:
        return float(self._x.size) if self._w is None else self.moments().weight_sum

    @property
    def frame(self) -> Frame:
        """The coordinates in which lines are evaluated."""
        x_exponent, y_exponent = self._exponent
        if self._offset == (0.0, 0.0):
            centers = DoubleDouble(self._center[0]), DoubleDouble(self._center[1])
            return Frame(*centers, x_exponent, y_exponent, self.times)
        return Frame(
            two_sum(self._center[0], math.ldexp(self._offset[0], x_exponent)),
            two_sum(self._center[1], math.ldexp(self._offset[1], y_exponent)),
            x_exponent,
            y_exponent,
            self.times,
        )

    @property
    def x(self) -> Column:
        """The x values that are fitted, as the caller knows them."""
        self._leave_out()
        return _as_passed(self._x, self._exponent[0], self._offset[0])

    @property
    def y(self) -> Column:
        """The y values that are fitted, as the caller knows them."""
        self._leave_out()
        return _as_passed(self._y, self._exponent[1], self._offset[1])

    @property
    def size(self) -> int:
        """Number of points before any are left out."""
        return self._x.size

    @property
    def w(self) -> Column | None:
        """Their weights."""
        self._leave_out()
        return self._w

    def thinned(self, n_runs: int, length: int) -> ArrayPoints:
        """Return some of the points in arrays of their own: runs of neighbours, or all of few points.

        They keep the frame of all. Neighbours share a cache line, and cost one wait for memory.
        """
        self._leave_out()
        step = self._x.size // n_runs
        x, y, w = self._x, self._y, self._w
        if step > length:
            x, y = (v[: n_runs * step].reshape(n_runs, step)[:, :length] for v in (x, y))
            w = None if w is None else w[: n_runs * step].reshape(n_runs, step)[:, :length]
        few = object.__new__(ArrayPoints)
        few.__dict__.update(self.__dict__)
        few._x, few._y = x.flatten(), y.flatten()
        few._w = None if w is None else w.flatten()
        if self._faults.kept is not None:  # as large as all points
            few._faults = self._faults._replace(kept=None)
        few._n_effective = None
        if w is not None and step > length:  # whose sum is another one
            few._moments, few._mean_weight = None, None
        return few

    def evaluate(
        self, loss: Loss, slope: float, offset: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean loss of a line and its derivatives, as ``Points.evaluate`` says."""
        self._leave_out()
        kernel = _LOSS_GRADIENT[curvature]
        sums = self._run(kernel, loss, (float(slope), float(offset)))
        return Evaluation.of_sums(sums, self._weight_sum)

    def median_absolute_residual(
        self, slope: float, offset: float, near: tuple[float, float] | None = None
    ) -> float:
        """Return the median of the absolute residuals of a line, as ``Points.median_absolute_residual`` says."""
        self._leave_out()
        line = float(slope), float(offset)

        def gather(low: float, high: float) -> ResidualWindow:
            return self._gather(line, low, high, _ROOM)

        return weighted_median(gather, self._weight_sum, near)

    def _gather(
        self, line: tuple[float, float], low: float, high: float, most: int
    ) -> ResidualWindow:
        self.n_passes += 1
        points = self._x, self._y, self._w, self._center
        # Room for all of the points, in whole blocks, or for a part.
        n = self._x.size
        room = n if n <= BLOCK else min(-(-n // BLOCK) * BLOCK, most)
        found: ResidualWindow
        found = self._kernels.gather(*points, (*line, low, high), room, self._n_threads)
        return found

    def subsample(self, n: int) -> ArrayPoints | None:
        """Return about n of the points, as ``Points.subsample`` says."""
        self._leave_out()
        step = self._x.size // n
        if step < 2:
            return None
        place = _one_of_each(step, self._x.size // step)
        few = copy.copy(self)
        few._x, few._y = _read_only(self._x[place]), _read_only(self._y[place])
        few._w = None if self._w is None else _read_only(self._w[place])
        few._n_effective, few._faults = None, self._faults._replace(kept=None)
        few._moments, few._mean_weight = None, None
        few.n_passes = few.n_omitted = 0
        try:
            few.moments()
        except ValueError:  # too far apart without the others
            return None
        return few if few.frame == self.frame else None

    # As a part of more points

    def every_nth(self, step: int) -> tuple[Column, Column, Column | None]:
        """Return x and y as the caller knows them, and weights, of one of every ``step`` points, without NaN."""
        place = _one_of_each(step, -(-self._x.size // step))
        place = place[place < self._x.size]
        x, y = _as_passed(self._x[place], self._exponent[0], self._offset[0]), self._y[place]
        y = _as_passed(y, self._exponent[1], self._offset[1])
        w = None if self._w is None else self._w[place]
        if self._n_dropped:
            nan = np.isnan(x) | np.isnan(y) | (False if w is None else np.isnan(w))
            x, y, w = x[~nan], y[~nan], None if w is None else w[~nan]
        return x, y, w

    def in_frame(self, frame: Frame) -> ArrayPoints:
        """Return these points in a frame chosen for all parts together."""
        part = copy.copy(self)
        offsets = [DoubleDouble(offset) for offset in self._offset]
        if self.times is not None and frame.times not in (None, self.times):
            ratio = frame.times.counts / self.times.counts  # this part counts time in another unit
            part._x = _read_only(part._x.astype(np.float64) * ratio)
            offsets[0] = multiply(offsets[0], DoubleDouble(ratio))
        exponents = frame.x_exponent - self._exponent[0], frame.y_exponent - self._exponent[1]
        for name, exponent in zip(("_x", "_y"), exponents, strict=True):
            if exponent:
                values = np.ldexp(getattr(part, name).astype(np.float64), exponent)
                setattr(part, name, _read_only(values))
        part._exponent, part.times = (frame.x_exponent, frame.y_exponent), frame.times
        x_offset, y_offset = (
            DoubleDouble(math.ldexp(o.high, e), math.ldexp(o.low, e))
            for o, e in zip(offsets, part._exponent, strict=True)
        )
        part._center = (
            subtract(frame.x_center, x_offset).high,
            subtract(frame.y_center, y_offset).high,
        )
        part._moments, part._mean_weight = None, None
        return part

    def expecting(self, moments: MomentSums) -> ArrayPoints:
        """Return this subsample, expecting the moments of all points."""
        spread = moments.relative_to(self.frame)
        self._squares = (
            spread.uu + spread.u_mean * spread.u_mean,
            spread.vv + spread.v_mean * spread.v_mean,
        )
        return self

    def sums(self, kernel: Any, loss: Loss | None, params: tuple[float, ...]) -> tuple[float, ...]:
        """Return the sums of a pass; points with NaN are left out if the policy says so."""
        if not self._x.size:
            return tuple(kernel)
        found = tuple(self._run(kernel, loss, params))
        if (
            self._faults.nan_policy == "omit"
            and not all(map(math.isfinite, found))
            and self._drop_nan()
        ):
            return self.sums(kernel, loss, params)
        return found

    def gather(
        self, line: tuple[float, float], low: float, high: float, room: int
    ) -> ResidualWindow:
        """Return absolute residuals within bounds; points with NaN are left out if the policy says so."""
        if not self._x.size:
            return ResidualWindow(
                0.0, 0.0, np.empty(0), None if self._w is None else np.empty(0), True
            )
        found = self._gather(line, low, high, room)
        # A residual that is NaN is within no bounds; a weight that is NaN spoils the sums.
        if math.isnan(found.below + found.up_to) and self._drop_nan():
            return self.gather(line, low, high, room)
        return found

    def _drop_nan(self) -> bool:
        """Leave out the points with NaN, and return whether there were any."""
        before = self._x.size
        self._n_dropped = 1
        self._leave_out()
        return self._x.size < before

    def residuals(self, slope: DoubleDouble, offset: DoubleDouble) -> ResidualSums:
        """Return sums of the residuals of a precise line, as ``Points.residuals`` says."""
        self._leave_out()
        found: ResidualSums = self._run(ResidualSums(), None, (*slope, *offset))
        return found

    def moments(self) -> MomentSums:
        """Return the moments of the points, as ``Points.moments`` says.

        One pass, unless a look at some of the points misjudged where they lie, or their squares leave the range
        of float64. Then the points are looked at more closely, and read again in a better frame.

        Raises
        ------
        ValueError
            If there is NaN or infinity and the policy is to raise, a weight is negative, or numbers are too far
            apart for float64.
        """
        if self._moments is None:
            found = self._sum_products()
            for _ in range(5):  # scaled, centred twice, on a finer grid, and one to spare
                if found is None or self._is_sound(found) or not self._look_closely(found):
                    break
                found = self._sum_products()
            else:
                raise ValueError(_TOO_FAR_APART)
            self._moments = self._moments_of(found)
        return self._moments

    def _run(self, kernel: Any, loss: Loss | None, params: tuple[float, ...]) -> Any:
        self.n_passes += 1
        return self._kernels.run(
            kernel, loss, self._x, self._y, self._w, self._center, params, self._n_threads
        )

    def _glance(self) -> None:
        """Choose the center from some of the points, and see what squares are to be expected about it."""
        if self._x.size:
            step = max(1, self._x.size // _SAMPLE)
            x_center, uu, y_center, vv = map(float, self._kernels.glance(self._x, self._y, step))
            self._center, self._squares = (x_center, y_center), (uu, vv)
            if self._through_origin:
                self._center = (0.0, 0.0)
                self._squares = (uu + x_center * x_center, vv + y_center * y_center)

    def _expect(self) -> tuple[float, ...]:
        """Return what sums of squares, and of weights, a block is expected to have."""
        uu, vv = self._squares
        if self._w is None:
            return uu, vv, 1.0
        if self._mean_weight is None:
            sample = self._w[:: max(1, self._x.size // _SAMPLE)]
            with np.errstate(over="ignore"):
                mean = float(sample.sum(dtype=np.float64, where=sample > 0.0)) / sample.size
            self._mean_weight = mean if 0.0 < mean < _LARGEST_WEIGHT else 0.0
        return uu * self._mean_weight, vv * self._mean_weight, self._mean_weight

    def _sum_products(self) -> Products | None:
        """Return the sums of products, None without points."""
        n = self._x.size
        if n == 0:
            return None
        block = _MARGIN * min(n, BLOCK)
        kernel = _PRODUCT_SUMS[self._faults.nan_policy == "omit"]
        expected = self._expect()
        self._expected = n * expected[0], n * expected[1]
        found: Products = self._run(kernel, None, tuple([block * mean for mean in expected]))
        if found.negative < 0.0:
            self._faults.raise_negative(self._w, self._x, self._y)
        if found.dropped:
            self._n_dropped = int(found.dropped)
            self.n_omitted += self._n_dropped
        return found

    def _moments_of(self, found: Products | None) -> MomentSums:
        if found is None:
            return MomentSums(times=self.times)
        sums, line = found.sums, found.line
        if self._offset == (0.0, 0.0):
            return MomentSums(self.n_points, sums, *self._exponent, line, self.times)
        frame = self.frame
        x_off = subtract(frame.x_center, DoubleDouble(self._center[0]))
        y_off = subtract(frame.y_center, DoubleDouble(self._center[1]))
        sums = sums._replace(x_mean=add(sums.x_mean, x_off), y_mean=add(sums.y_mean, y_off))
        return MomentSums(self.n_points, sums, *self._exponent, times=self.times)

    def _is_sound(self, found: Products) -> bool:
        """Whether sums of products are sound."""
        return all(self._resolved(found))

    def _resolved(self, found: Products) -> tuple[bool, bool]:
        """Whether the sums of x are sound, and whether the sums of y are."""
        w, _, _, xx, _, yy = found.sums
        return (
            self._resolves(found.u_mean, xx.high, w.high, self._expected[0]),
            self._resolves(found.v_mean, yy.high, w.high, self._expected[1]),
        )

    def _resolves(self, mean: float, square: float, weight: float, expected: float) -> bool:
        """Whether a sum of squared deviations is in range, free of cancellation, and on a fine grid."""
        off = weight * mean * mean
        if self._through_origin:
            square, off = square + off, 0.0
        return (
            _SMALLEST_SUM < square < _LARGEST_SUM
            and off < _CANCELLATION * square
            and square + off > _TOO_COARSE * expected
        )

    def _look_closely(self, found: Products) -> bool:
        """Find out why sums are not sound, and return whether reading the points again will help."""
        w, _, _, xx, _, yy = found.sums
        if not math.isfinite(found.u_mean + found.v_mean + xx.high + yy.high):
            named = {"x": self._x, "y": self._y, self._w_name: self._w}
            if any(self._faults.count_not_finite(*column) for column in named.items()):
                return False
        self._leave_out()
        x, y = self._x, self._y
        if self._w is not None:
            self._faults.check_largest_weight(self._w_name, self._w)
            x, y = x[self._w > 0.0], y[self._w > 0.0]
        if not x.size:
            return False
        before = (self._exponent, self._center, self._squares)
        bounds = _range(x), _range(y)
        self._x = self._reframed(0, self._x, bounds[0], found.u_mean, xx.high / w.high)
        self._y = self._reframed(1, self._y, bounds[1], found.v_mean, yy.high / w.high)
        self._mean_weight = w.high / self._x.size
        if before != (self._exponent, self._center, self._squares):
            return True
        for resolved, (low, high) in zip(self._resolved(found), bounds, strict=True):
            # Of a constant, there is no spread to resolve.
            if not resolved and low < high:
                raise ValueError(_TOO_FAR_APART)
        return False

    def _reframed(
        self, axis: int, values: Column, bounds: tuple[float, float], mean: float, variance: float
    ) -> Column:
        """Return values, scaled by a power of two if need be, and center them, so that sums are sound."""
        low, high = bounds
        half = abs(low) if low == high else 0.5 * high - 0.5 * low or high - low
        center = self._center[axis]
        square = variance + mean * mean
        if half and not _SMALLEST_HALF < half < _LARGEST_HALF:
            # Within 2**+-1000, the factor itself is a float64.
            exponent = max(-1000, min(1000, -math.frexp(half)[1]))
            values = _read_only(np.ldexp(values.astype(np.float64), exponent))
            self._exponent = _with(self._exponent, axis, self._exponent[axis] + exponent)
            step = max(1, values.size // _SAMPLE)
            center, square, *_ = map(float, self._kernels.glance(values, values, step))
            if self._through_origin:
                center, square = 0.0, square + center * center
        elif self._through_origin:
            pass
        elif low == high:
            center, square = low, 0.0
        elif not mean * mean < _CANCELLATION * variance:
            # If the mean is this far off, the variance may be rounding error. If it is not, round the center to about
            # the standard deviation. Otherwise use the weighted mean.
            exact = mean * mean < _CANCELLATION**4 * variance
            spacing = math.ldexp(1.0, math.frexp(variance)[1] // 2) if exact else 0.0
            center += mean
            if exact:
                center = round(center / spacing) * spacing
            square = abs(variance) + spacing * spacing
        self._center = _with(self._center, axis, center)
        self._squares = _with(self._squares, axis, square)
        return values

    def _leave_out(self) -> None:
        """Copy the points without NaN, if the first pass left any out: further ones do not look for it."""
        if not self._n_dropped:
            return
        keep = ~(np.isnan(self._x) | np.isnan(self._y))
        if self._w is not None:
            keep &= ~np.isnan(self._w)
            self._w = _read_only(self._w[keep])
        if isinstance(self._n_effective, np.ndarray):
            self._n_effective = self._n_effective[keep]
        self._x, self._y = _read_only(self._x[keep]), _read_only(self._y[keep])
        self._n_dropped = 0


def _with(pair: tuple[Any, Any], axis: int, value: Any) -> tuple[Any, Any]:
    return (value, pair[1]) if axis == 0 else (pair[0], value)


def _as_passed(values: Column, exponent: int, offset: float) -> Column:
    if exponent == 0 and offset == 0.0:
        return values
    return np.asarray(np.ldexp(values, -exponent) + offset)


def _range(values: Column) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _read_only(values: Column) -> Column:
    values.flags.writeable = False
    return values


def _one_of_each(step: int, count: int) -> NDArray[np.int64]:
    """Return one position of each ``step``, at varying offsets: points of a periodic order are all sampled."""
    place = np.arange(count)
    return place * step + (place * GOLDEN % 1.0 * step).astype(np.int64)


def _reference(value: Any) -> Callable[[], Any]:
    """Return a function that returns a number, or an array while it is alive."""
    return (lambda: value) if value is None or np.isscalar(value) else weakref.ref(value)


class Arrays(Source):
    """Whatever a caller passes as arrays: x, y and their weights in memory.

    Parameters
    ----------
    x, y : array_like, shape (n,) or (n, 1)
        The points.
    sample_weight, sigma : array_like, shape (n,), or float, optional
        Their weights and standard deviations, as in ``validation.columns``.
    """

    def __init__(self, x: Any, y: Any, sample_weight: Any = None, sigma: Any = None) -> None:
        self._given = x, y, sample_weight, sigma
        if not type(x) is type(y) is np.ndarray:
            self.names = name_of(x, "x"), name_of(y, "y")

    @property
    def has_sigma(self) -> bool:
        """Whether standard deviations were passed."""
        return self._given[3] is not None

    def opened(self, reading: Reading, plan: Plan) -> AbstractContextManager[Points]:
        """Return a context with the points, converted and checked."""
        self.refuse_checkpoint(plan)
        return nullcontext(self.points(reading))

    def again(self) -> Callable[[], Source | None]:
        """Return a function that returns these arrays while all of them are alive, and then None."""
        try:
            given = [_reference(each) for each in self._given]
        except TypeError:  # lists
            return lambda: None

        def find() -> Source | None:
            found = [each() for each in given]
            return Arrays(*found) if found[0] is not None and found[1] is not None else None

        return find

    def points(self, reading: Reading) -> ArrayPoints:
        """Return the points, converted and checked."""
        given = columns(*self._given, datetime_unit=reading.datetime_unit)
        return ArrayPoints.of(given, reading)
