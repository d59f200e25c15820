"""First and second moments of points as exact sums: what determines a least-squares line and its errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from fastfit.exact.coordinates import Evaluation, Frame, Spread, Symmetric, times_power_of_two
from fastfit.exact.double_double import DoubleDouble, divide, multiply, scaled
from fastfit.exact.least_squares import Centred, LeastSquares, Line, is_resolved, merged
from fastfit.times import TimeUnit

# Squares of numbers below 2**300, and the low parts of sums of them, are in the range of float64.
_LARGEST_EXPONENT = 300
# For means and squares within these bounds, no exponent has to be looked for.
_ORDINARY = 2.0**_LARGEST_EXPONENT
_EMPTY = Centred()


@dataclass(frozen=True)
class MomentSums:
    """Moments of points as pairs of floats, in the units of ``x * 2**x_exponent`` and ``y * 2**y_exponent``.

    Attributes
    ----------
    count : int
        Number of points.
    centred : Centred
        Sum of weights, means, and sums of the products of deviations from them.
    x_exponent, y_exponent : int
        0, unless squares of x or y would leave the range of float64.
    line : Line or None
        The least-squares line, where the kernel computed it along with the sums.
    times : TimeUnit or None
        How x counts time, if it does: x is then in base counts.
    """

    count: int = 0
    centred: Centred = _EMPTY
    x_exponent: int = 0
    y_exponent: int = 0
    line: Line | None = field(default=None, compare=False)
    times: TimeUnit | None = None

    @property
    def weight_sum(self) -> float:
        """Sum of the weights."""
        return self.centred.w.high

    @property
    def variance_of_y(self) -> float:
        """Variance of y, in the units of the sums."""
        return self.centred.yy.high / self.centred.w.high

    @property
    def exponents(self) -> tuple[int, int]:
        """The exponents of x and y."""
        return self.x_exponent, self.y_exponent

    @property
    def frame(self) -> Frame:
        """Coordinates centred on the means."""
        centers = self.centred.x_mean, self.centred.y_mean
        return Frame(*centers, self.x_exponent, self.y_exponent, self.times)

    @property
    def is_finite(self) -> bool:
        """Whether every moment is finite; NaN or infinity in the points makes it false."""
        w, x_mean, y_mean, xx, xy, yy = self.centred
        return math.isfinite(w[0] + x_mean[0] + y_mean[0] + xx[0] + xy[0] + yy[0])

    def merge(
        self, other: MomentSums, how: Callable[[Centred, Centred], Centred] = merged
    ) -> MomentSums:
        """Return the moments of the points of both; ``how`` may be a compiled ``least_squares.merged``."""
        count = self.count + other.count
        if not other.weight_sum or not self.weight_sum:
            one = self if self.weight_sum else other
            return replace(one, count=count)
        a, b = _on_one_scale(self, other.in_base_of(self))
        sums = how(a.centred, b.centred)
        return MomentSums(count, sums, a.x_exponent, a.y_exponent, times=a.times)

    def in_base_of(self, other: MomentSums) -> MomentSums:
        """Return the same sums with times counted in the base unit of ``other``.

        Raises
        ------
        ValueError
            If the two do not hold times of one unit and kind, or numbers.
        """
        own, its = self.times, other.times
        if own == its:
            return self
        if own is None or its is None or own._replace(base=its.base) != its:
            raise ValueError(f"moments must have one unit of x to be merged; got {own} and {its}")
        w, x_mean, y_mean, xx, xy, yy = self.centred

        def converted(sums: DoubleDouble) -> DoubleDouble:
            return divide(multiply(sums, DoubleDouble(its.counts)), DoubleDouble(own.counts))

        centred = Centred(w, converted(x_mean), y_mean, converted(converted(xx)), converted(xy), yy)
        return replace(self, centred=centred, line=None, times=its)

    @property
    def _is_ordinary(self) -> bool:
        """Whether merging with other ordinary moments stays safely inside the range of float64."""
        if self.x_exponent or self.y_exponent:
            return False
        _, x_mean, y_mean, xx, _, yy = self.centred
        squares = xx.high, yy.high, 1.0 + x_mean.high * x_mean.high, 1.0 + y_mean.high * y_mean.high
        return all(1.0 / _ORDINARY < square < _ORDINARY for square in squares)

    def _places(self) -> tuple[tuple[int, float, float], tuple[int, float, float]]:
        """Return exponent, mean and standard deviation, of x and of y, in the units of the sums."""
        w, x_mean, y_mean, xx, _, yy = self.centred
        return (
            (self.x_exponent, x_mean.high, math.sqrt(xx.high / w.high)),
            (self.y_exponent, y_mean.high, math.sqrt(yy.high / w.high)),
        )

    def _on_scale(self, x: int, y: int) -> MomentSums:
        dx, dy = x - self.x_exponent, y - self.y_exponent
        if dx == dy == 0:
            return self
        w, x_mean, y_mean, xx, xy, yy = self.centred
        sums = Centred(
            w,
            scaled(x_mean, dx),
            scaled(y_mean, dy),
            scaled(xx, 2 * dx),
            scaled(xy, dx + dy),
            scaled(yy, 2 * dy),
        )
        return replace(self, centred=sums, x_exponent=x, y_exponent=y, line=None)

    def in_weight_unit(self, unit: float, other: float) -> MomentSums:
        """Return the sums for weights in another unit: standard deviations for weight 1, both powers of two."""
        exponent = 2 * (math.frexp(other)[1] - math.frexp(unit)[1]) if self.weight_sum else 0
        if exponent == 0:
            return self
        w, x_mean, y_mean, *squares = self.centred
        w, xx, xy, yy = (scaled(each, exponent) for each in (w, *squares))
        return replace(self, centred=Centred(w, x_mean, y_mean, xx, xy, yy), line=None)

    def least_squares(self, *, fit_intercept: bool = True) -> LeastSquares:
        """Return the least-squares line in the units of the sums, in twice the precision of floats.

        Raises
        ------
        ValueError
            If the points determine no line.
        """
        self.require_line(fit_intercept=fit_intercept)
        return LeastSquares.of(self.centred, self.line, fit_intercept=fit_intercept)

    def require_line(self, *, fit_intercept: bool = True, n_omitted: int = 0) -> None:
        """Raise ValueError unless the points determine a line."""
        if self.count < (2 if fit_intercept else 1):
            least = "two points" if fit_intercept else "one point"
            after = f" after leaving out {n_omitted:,} masked or with NaN" if n_omitted else ""
            raise ValueError(
                f"x and y must hold at least {least} for a line; got {self.count}{after}"
            )
        if not self.weight_sum > 0.0:
            raise ValueError("sample_weight must be above zero for some points; got zero for all")
        if not fit_intercept and self.centred.xx.high == 0.0 == self.centred.x_mean.high:
            raise ValueError("x must hold a value other than 0 for a line without intercept")
        if fit_intercept and not self.centred.xx.high > 0.0:
            plain = self.weight_sum == self.count
            points = f"{self.count:,} points" if plain else "points of weight above zero"
            raise ValueError(
                "x must hold at least two different values, or no slope is determined; "
                f"got {times_power_of_two(self.centred.x_mean.high, -self.x_exponent)!r} at all {points}"
            )

    def determine_line(self, *, fit_intercept: bool = True) -> bool:
        """Whether the points determine a line."""
        try:
            self.require_line(fit_intercept=fit_intercept)
        except ValueError:
            return False
        return True

    def evaluate(self, slope: float, offset: float, *, curvature: bool = False) -> Evaluation:
        """Return the mean squared residual of a line in ``frame``, and its derivatives.

        Raises
        ------
        ValueError
            If there are no points.
        """
        if not self.weight_sum:
            raise ValueError("moments of no points have no loss")
        best_high, best_low, square, least = self._parabola
        off = (slope - best_high) - best_low
        curved = Symmetric(2.0 * square, 0.0, 2.0) if curvature else None
        loss = least + square * off * off + offset * offset
        return Evaluation(loss, 2.0 * square * off, 2.0 * offset, curved, curved)

    @cached_property
    def _parabola(self) -> tuple[float, float, float, float]:
        """Slope of the best line (in two parts), variance of x, and the least mean squared residual."""
        if not self.centred.xx.high > 0.0:
            return 0.0, 0.0, 0.0, self.variance_of_y
        best = self.least_squares()
        return (*best.slope, self.centred.xx.high / self.centred.w.high, best.mean_square)

    def resolves(self, mean_square: float) -> bool:
        """Whether moments determine a mean squared residual of this size to some 12 digits."""
        return is_resolved(mean_square * self.centred.w.high, self.centred.yy.high)

    def relative_to(self, frame: Frame) -> Spread:
        """Return means, and mean products of deviations, as floats in the coordinates of a frame."""
        w, x_mean, y_mean, xx, xy, yy = self.centred
        return Spread(
            (x_mean.high - frame.x_center.high) + (x_mean.low - frame.x_center.low),
            (y_mean.high - frame.y_center.high) + (y_mean.low - frame.y_center.low),
            xx.high / w.high,
            xy.high / w.high,
            yy.high / w.high,
        )


def _on_one_scale(one: MomentSums, other: MomentSums) -> tuple[MomentSums, MomentSums]:
    """Return both with the same exponents, chosen so that squared distances between their points are in range."""
    if one._is_ordinary and other._is_ordinary:
        return one, other  # as nearly always
    x, y = (_common_exponent(*each) for each in zip(one._places(), other._places(), strict=True))
    return one._on_scale(x, y), other._on_scale(x, y)


def _common_exponent(*places: tuple[int, float, float]) -> int:
    """Return the exponent of the larger numbers, unless the distance to the others needs another."""
    larger, smaller = sorted(places, key=_log2_of_size, reverse=True)
    exponent, mean, spread = larger
    its_mean, its_spread = (
        times_power_of_two(value, exponent - smaller[0]) for value in smaller[1:]
    )
    # Half of the distance cannot overflow.
    size = max(abs(0.5 * mean - 0.5 * its_mean), spread, its_spread)
    off = math.frexp(size)[1]
    return exponent if abs(off) < _LARGEST_EXPONENT else exponent - off


def _log2_of_size(place: tuple[int, float, float]) -> float:
    exponent, mean, spread = place
    size = abs(mean) + spread
    return math.log2(size) - exponent if size else -math.inf
