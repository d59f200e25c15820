"""What determines a least-squares line and its errors: a few sums, from one pass, that can be merged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from fastfit.coordinates import Evaluation, Frame, Spread, Symmetric, times_power_of_two
from fastfit.double_double import DoubleDouble, scaled
from fastfit.least_squares import Centred, LeastSquares, Line, is_resolved, merged
from fastfit.losses import Loss, SquaredError

if TYPE_CHECKING:
    from fastfit.result import LineFit

_FORMAT = "fastfit.Moments"
_VERSION = 1
# Squares of numbers below 2**300, and the low parts of sums of them, are in the range of float64.
_LARGEST_EXPONENT = 300
# Of means and squares within these bounds, no exponent has to be looked for.
_ORDINARY = 2.0**_LARGEST_EXPONENT
_EMPTY = Centred()


@dataclass(frozen=True, repr=False)
class Moments:
    """First and second moments of points: all that a least-squares line and its errors depend on.

    They come from one pass (``Moments.of``), and moments of parts merge to those of the whole (``merge``, or
    ``+``): from chunks of a file, processes, machines. Every number is kept to some 80 bits as a pair of floats,
    so however points are split, the whole comes out alike to the last
    digits, time stamps included. Empty moments, ``Moments()``, are neutral.

    Moments are also points to fit a line to, by squared error: ``fit()``, or ``fit_line(moments)``.

    Attributes
    ----------
    count : int
        Number of points.
    weight_sum : float
        Sum of the weights; without weights, the number of points.
    x_mean, y_mean : float
        Weighted means.
    xx, xy, yy : float
        Weighted sums of the products of deviations from the means, such as ``sum(w * (x - x_mean)**2)``. Those of
        numbers beyond 1e+-150 may be 0 or infinite here; lines are computed from what is inside.

    Examples
    --------
    >>> import fastfit as ff
    >>> morning = ff.Moments.of([1.0, 2.0], [2.0, 4.0])
    >>> evening = ff.Moments.of([3.0], [6.5])
    >>> (morning + evening).fit()
    LineFit: y = 2.25 x - 0.333333, loss 0.0138889, 3 points, exact
    """

    count: int = 0
    _sums: Centred = _EMPTY
    # The sums are those of x * 2**x_exponent: 0 but where squares of x would leave the range of float64.
    _x_exponent: int = 0
    _y_exponent: int = 0
    _line: Line | None = field(default=None, compare=False)  # where it came along with the sums

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        nan_policy: Literal["raise", "omit"] = "raise",
        n_threads: int | None = None,
        backend: Literal["numba", "numpy"] = "numba",
    ) -> Moments:
        """Return the moments of points, from one pass over them; of no points, too.

        Parameters
        ----------
        x, y : array_like, shape (n,) or (n, 1)
            As in :func:`fit_line`, but for their number, which may be 0.
        sample_weight : array_like, shape (n,), or float, optional
            Weights of the points, none negative; a weight of 2 is the point twice.
        nan_policy, n_threads, backend
            As in :func:`fit_line`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be; the message names it.
        """
        from fastfit.fit import points_of

        return points_of(
            x,
            y,
            sample_weight,
            nan_policy=nan_policy,
            nan_policies=("raise", "omit"),
            n_threads=n_threads,
            backend=backend,
        ).moments()

    @property
    def weight_sum(self) -> float:
        """Sum of the weights."""
        return self._sums.w.high

    @property
    def x_mean(self) -> float:
        """Mean of x; NaN without points."""
        return (
            times_power_of_two(self._sums.x_mean.high, -self._x_exponent)
            if self.weight_sum
            else math.nan
        )

    @property
    def y_mean(self) -> float:
        """Mean of y; NaN without points."""
        return (
            times_power_of_two(self._sums.y_mean.high, -self._y_exponent)
            if self.weight_sum
            else math.nan
        )

    @property
    def xx(self) -> float:
        """Sum of squared deviations of x."""
        return times_power_of_two(self._sums.xx.high, -(2 * self._x_exponent))

    @property
    def xy(self) -> float:
        """Sum of products of the deviations of x and y."""
        return times_power_of_two(self._sums.xy.high, -(self._x_exponent + self._y_exponent))

    @property
    def yy(self) -> float:
        """Sum of squared deviations of y."""
        return times_power_of_two(self._sums.yy.high, -(2 * self._y_exponent))

    def __repr__(self) -> str:
        numbers = ", ".join(
            f"{name}={getattr(self, name):.6g}"
            for name in ("weight_sum", "x_mean", "y_mean", "xx", "xy", "yy")
        )
        return f"Moments(count={self.count:,}, {numbers})"

    def merge(self, other: Moments) -> Moments:
        """Return the moments of the points of both.

        Raises
        ------
        TypeError
            If the other is no Moments.
        """
        if not isinstance(other, Moments):
            raise TypeError(f"other must be Moments; got {type(other).__name__}")
        return self.merged_by(merged, other)

    def merged_by(self, how: Callable[[Centred, Centred], Centred], other: Moments) -> Moments:
        """Return the moments of the points of both, by a function that merges sums as ``least_squares.merged`` does."""
        count = self.count + other.count
        if not other.weight_sum or not self.weight_sum:
            one = self if self.weight_sum else other
            return replace(one, count=count)
        a, b = _on_one_scale(self, other)
        return Moments(count, how(a._sums, b._sums), a._x_exponent, a._y_exponent)

    def update(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        nan_policy: Literal["raise", "omit"] = "raise",
        n_threads: int | None = None,
        backend: Literal["numba", "numpy"] = "numba",
    ) -> Moments:
        """Return the moments of these points and of a further batch, which is read once.

        Moments do not change: ``moments = moments.update(x, y)``. The parameters, and the errors, are those of ``of``.

        Examples
        --------
        >>> import fastfit as ff
        >>> moments = ff.Moments()
        >>> for x, y in (([1.0, 2.0], [2.0, 4.0]), ([3.0], [6.5])):
        ...     moments = moments.update(x, y)
        >>> moments.fit()
        LineFit: y = 2.25 x - 0.333333, loss 0.0138889, 3 points, exact
        """
        return self.merge(
            Moments.of(
                x,
                y,
                sample_weight,
                nan_policy=nan_policy,
                n_threads=n_threads,
                backend=backend,
            )
        )

    def __add__(self, other: Moments) -> Moments:
        return self.merge(other) if isinstance(other, Moments) else NotImplemented

    def __radd__(self, other: Any) -> Moments:
        # sum() starts from 0
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def fit(self, *, fit_intercept: bool = True) -> LineFit:
        """Return the least-squares line through the points: ``fit_line(moments)``.

        Raises
        ------
        ValueError
            If there are too few points, or x is constant.
        """
        from fastfit.fit import fit_line

        return fit_line(self, fit_intercept=fit_intercept)

    def to_json(self) -> str:
        """Return all of it as a JSON object; ``from_json`` gives it back to the last bit."""
        import json

        sums = {
            name: [part.hex() for part in number] for name, number in self._sums._asdict().items()
        }
        scale = {"x_exponent": self._x_exponent, "y_exponent": self._y_exponent}
        head = {"format": _FORMAT, "version": _VERSION, "count": self.count}
        return json.dumps({**head, **sums, **scale})

    @classmethod
    def from_json(cls, text: str | bytes) -> Moments:
        """Return the moments that ``to_json`` wrote.

        Raises
        ------
        TypeError
            If the text is no string.
        ValueError
            If it is not what ``to_json`` writes, or of a later version.
        """
        import json

        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text must be a string; got {type(text).__name__}")
        must_be = "text must be JSON as Moments.to_json writes it"
        try:
            written = json.loads(text)
            known = isinstance(written, dict) and written.pop("format", None) == _FORMAT
        except (ValueError, RecursionError) as error:
            raise ValueError(must_be) from error
        if not known:
            raise ValueError(must_be)
        version = written.pop("version", None)
        if type(version) is not int or version != _VERSION:
            raise ValueError(f"{must_be}, of version {_VERSION}; got version {version!r}")
        try:
            numbers = {}
            for name in Centred._fields:
                high, low = map(float.fromhex, written.pop(name))
                numbers[name] = DoubleDouble(high, low)
            whole = [written.pop(name) for name in ("count", "x_exponent", "y_exponent")]
        except (TypeError, KeyError, OverflowError, ValueError) as error:
            raise ValueError(f"{must_be}; it is not complete") from error
        moments = Centred(**numbers)
        integers = all(type(number) is int for number in whole)
        if written or not integers or not _is_possible(moments, *whole):
            raise ValueError(f"{must_be}; got entries that it does not write")
        return cls(whole[0], moments, *whole[1:])

    @property
    def _is_ordinary(self) -> bool:
        """Whether squares of the points, and of what lies between them and others that are ordinary, are in range."""
        if self._x_exponent or self._y_exponent:
            return False
        _, x_mean, y_mean, xx, _, yy = self._sums
        squares = xx.high, yy.high, 1.0 + x_mean.high * x_mean.high, 1.0 + y_mean.high * y_mean.high
        return all(1.0 / _ORDINARY < square < _ORDINARY for square in squares)

    def _places(self) -> tuple[tuple[int, float, float], tuple[int, float, float]]:
        """Return exponent, mean and standard deviation, of x and of y, on the scale of the moments."""
        w, x_mean, y_mean, xx, _, yy = self._sums
        return (
            (self._x_exponent, x_mean.high, math.sqrt(xx.high / w.high)),
            (self._y_exponent, y_mean.high, math.sqrt(yy.high / w.high)),
        )

    def _on_scale(self, x: int, y: int) -> Moments:
        dx, dy = x - self._x_exponent, y - self._y_exponent
        if dx == dy == 0:
            return self
        w, x_mean, y_mean, xx, xy, yy = self._sums
        sums = Centred(
            w,
            scaled(x_mean, dx),
            scaled(y_mean, dy),
            scaled(xx, 2 * dx),
            scaled(xy, dx + dy),
            scaled(yy, 2 * dy),
        )
        return Moments(self.count, sums, x, y)

    def in_weight_unit(self, unit: float, other: float) -> Moments:
        """Return the same with weights of which 1 stands for another standard deviation; both are powers of two."""
        exponent = 2 * (math.frexp(other)[1] - math.frexp(unit)[1]) if self.weight_sum else 0
        if exponent == 0:
            return self
        w, x_mean, y_mean, *squares = self._sums
        w, xx, xy, yy = (scaled(each, exponent) for each in (w, *squares))
        return replace(self, _sums=Centred(w, x_mean, y_mean, xx, xy, yy), _line=None)

    # Points, for squared error

    @property
    def n_points(self) -> int:
        """Number of points."""
        return self.count

    @property
    def n_passes(self) -> int:
        """0: no point is read."""
        return 0

    @property
    def n_omitted(self) -> int:
        """0: none is known to have been left out."""
        return 0

    @property
    def repeats(self) -> float:
        """How many points there are, one of weight 2 counted twice."""
        return self._sums.w.high

    @property
    def weight_unit(self) -> float:
        """1: the standard deviation that a weight of 1 stands for is not known."""
        return 1.0

    @property
    def mean_square_of_y(self) -> float:
        """Variance of y, on the scale of the moments."""
        return self._sums.yy.high / self._sums.w.high

    @property
    def exponents(self) -> tuple[int, int]:
        """The scale of the moments: they are those of ``x * 2**x_exponent`` and ``y * 2**y_exponent``."""
        return self._x_exponent, self._y_exponent

    @property
    def frame(self) -> Frame:
        """The coordinates in which lines are evaluated: shifted by the means."""
        return Frame(self._sums.x_mean, self._sums.y_mean, self._x_exponent, self._y_exponent)

    @property
    def is_finite(self) -> bool:
        """Whether every moment is finite; NaN or infinity in the points makes it false."""
        w, x_mean, y_mean, xx, xy, yy = self._sums
        return math.isfinite(w[0] + x_mean[0] + y_mean[0] + xx[0] + xy[0] + yy[0])

    def moments(self) -> Moments:
        """Return the moments themselves."""
        return self

    def evaluate(
        self, loss: Loss, slope: float, level: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean squared residual of a line and its derivatives, as ``Points.evaluate`` says.

        Raises
        ------
        TypeError
            If the loss is another than squared error.
        ValueError
            If there are no points.
        """
        if not isinstance(loss, SquaredError):
            raise TypeError(f"moments know the squared error alone; got {loss!r}")
        if not self.weight_sum:
            raise ValueError("moments of no points have no loss")
        best_high, best_low, square, least = self._parabola
        off = (slope - best_high) - best_low
        curved = Symmetric(2.0 * square, 0.0, 2.0) if curvature else None
        here = least + square * off * off + level * level
        return Evaluation(here, 2.0 * square * off, 2.0 * level, curved, curved)

    @cached_property
    def _parabola(self) -> tuple[float, float, float, float]:
        """Slope of the best line (in two parts), variance of x, and the least mean squared residual."""
        if not self._sums.xx.high > 0.0:
            return 0.0, 0.0, 0.0, self._sums.yy.high / self._sums.w.high
        best = self.least_squares()
        return (*best.slope, self._sums.xx.high / self._sums.w.high, best.mean_square)

    def median_absolute_residual(
        self, slope: float, level: float, near: tuple[float, float] | None = None
    ) -> float:
        """Raise TypeError: moments know no single residual."""
        raise TypeError("moments know no single residual")

    def thinned(self, n: int) -> None:
        """Return None: moments are as few as can be."""

    def residuals(self, slope: DoubleDouble, level: DoubleDouble) -> None:
        """Return None: moments know no single residual."""

    def least_squares(self, *, fit_intercept: bool = True) -> LeastSquares:
        """Return the least-squares line on the scale of the moments, in twice the precision of floats.

        Raises
        ------
        ValueError
            If the points determine no line.
        """
        self.require_line(fit_intercept=fit_intercept)
        return LeastSquares.of(self._sums, self._line, fit_intercept=fit_intercept)

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
        if not fit_intercept and self._sums.xx.high == 0.0 == self._sums.x_mean.high:
            raise ValueError("x must hold a value other than 0 for a line without intercept")
        if fit_intercept and not self._sums.xx.high > 0.0:
            plain = self.weight_sum == self.count
            points = f"{self.count:,} points" if plain else "points of weight above zero"
            raise ValueError(
                "x must hold at least two different values, or no slope is determined; "
                f"got {self.x_mean!r} at all {points}"
            )

    def determine_line(self, *, fit_intercept: bool = True) -> bool:
        """Whether the points determine a line."""
        try:
            self.require_line(fit_intercept=fit_intercept)
        except ValueError:
            return False
        return True

    def resolves(self, mean_square: float) -> bool:
        """Whether moments determine a mean squared residual of this size to some 12 digits."""
        return is_resolved(mean_square * self._sums.w.high, self._sums.yy.high)

    def seen_from(self, frame: Frame) -> Spread:
        """Return means and mean products as plain numbers, in the coordinates of a frame."""
        w, x_mean, y_mean, xx, xy, yy = self._sums
        return Spread(
            (x_mean.high - frame.x_center.high) + (x_mean.low - frame.x_center.low),
            (y_mean.high - frame.y_center.high) + (y_mean.low - frame.y_center.low),
            xx.high / w.high,
            xy.high / w.high,
            yy.high / w.high,
        )


def _is_possible(moments: Centred, count: int, x_exponent: int, y_exponent: int) -> bool:
    """Whether there are points that have such moments."""
    finite = all(math.isfinite(part) for number in moments for part in number)
    rounded = finite and all(high + low == high for high, low in moments)
    squares = min(moments.w.high, moments.xx.high, moments.yy.high)
    return rounded and squares >= 0.0 <= count and max(abs(x_exponent), abs(y_exponent)) < 3000


def _on_one_scale(one: Moments, other: Moments) -> tuple[Moments, Moments]:
    """Return both moments on one scale, on which squares of what lies between the points are in range."""
    if one._is_ordinary and other._is_ordinary:
        return one, other  # as nearly always
    x, y = (_common_exponent(*each) for each in zip(one._places(), other._places(), strict=True))
    return one._on_scale(x, y), other._on_scale(x, y)


def _common_exponent(*places: tuple[int, float, float]) -> int:
    """Return the exponent of the larger numbers, or another if their differences need it."""
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
