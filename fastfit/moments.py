"""Moments: what determines a least-squares line and its errors; sums from one pass, which can be merged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from fastfit.exact.coordinates import times_power_of_two
from fastfit.exact.double_double import DoubleDouble, divide
from fastfit.exact.least_squares import Centred
from fastfit.exact.moment_sums import MomentSums
from fastfit.fit import fit_line
from fastfit.losses import SquaredError
from fastfit.points.base import Plan, Points, Reading, Source
from fastfit.points.moments import MomentPoints
from fastfit.points.opening import points_of
from fastfit.result import LineFit
from fastfit.times import TimeLike, TimeUnit, Unit

_FORMAT = "fastfit.Moments"
_VERSION = 1
_EMPTY = MomentSums()


@dataclass(frozen=True, repr=False)
class Moments(Source):
    """First and second moments of points: all that a least-squares line and its errors depend on.

    They come from one pass (``Moments.of``), and moments of parts merge to the moments of the whole (``merge``, or
    ``+``): from chunks of a file, processes, machines. Every number is kept to some 80 bits as a pair of floats,
    so however points are split, the merged moments agree to the last digits, time stamps included. Empty moments,
    ``Moments()``, are neutral.

    Moments are also points to fit a line to, by squared error: ``fit()``, or ``fit_line(moments)``.

    Attributes
    ----------
    count : int
        Number of points.
    weight_sum : float
        Sum of the weights; without weights, the number of points.
    x_mean, y_mean : float
        Weighted means; of times, in ``datetime_unit`` since 1970-01-01 UTC, as all that has x in it.
    xx, xy, yy : float
        Weighted sums of the products of deviations from the means, such as ``sum(w * (x - x_mean)**2)``. Those of
        numbers beyond 1e+-150 may be 0 or infinite here; lines are computed from numbers of a larger range.

    Examples
    --------
    >>> import fastfit as ff
    >>> morning = ff.Moments.of([1.0, 2.0], [2.0, 4.0])
    >>> evening = ff.Moments.of([3.0], [6.5])
    >>> (morning + evening).fit()
    LineFit: y = 2.25 x - 0.333333, loss 0.0138889, 3 points, exact
    """

    sums: MomentSums = _EMPTY

    refusal, instead = "is Moments", ", which hold it (Moments.of)"
    has_sigma = False

    @classmethod
    def of(
        cls,
        x: ArrayLike | TimeLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        nan_policy: Literal["raise", "omit"] = "raise",
        datetime_unit: Unit | None = None,
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
        nan_policy, datetime_unit, n_threads, backend
            As in :func:`fit_line`. Only moments of one ``datetime_unit`` merge.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be; the message names it.
        """
        points = points_of(
            x,
            y,
            sample_weight,
            nan_policy=nan_policy,
            nan_policies=("raise", "omit"),
            datetime_unit=datetime_unit,
            n_threads=n_threads,
            backend=backend,
        )
        return cls(points.moments())

    @property
    def count(self) -> int:
        """Number of points."""
        return self.sums.count

    @property
    def weight_sum(self) -> float:
        """Sum of the weights."""
        return self.sums.weight_sum

    @property
    def x_mean(self) -> float:
        """Mean of x; NaN without points."""
        if not self.weight_sum:
            return math.nan
        return self._in_units(self.sums.centred.x_mean, 1, -self.sums.x_exponent)

    @property
    def y_mean(self) -> float:
        """Mean of y; NaN without points."""
        mean = self.sums.centred.y_mean.high
        return times_power_of_two(mean, -self.sums.y_exponent) if self.weight_sum else math.nan

    @property
    def xx(self) -> float:
        """Sum of squared deviations of x."""
        return self._in_units(self.sums.centred.xx, 2, -2 * self.sums.x_exponent)

    @property
    def xy(self) -> float:
        """Sum of products of the deviations of x and y."""
        return self._in_units(self.sums.centred.xy, 1, -sum(self.sums.exponents))

    @property
    def yy(self) -> float:
        """Sum of squared deviations of y."""
        return times_power_of_two(self.sums.centred.yy.high, -2 * self.sums.y_exponent)

    def _in_units(self, number: DoubleDouble, power: int, exponent: int) -> float:
        """Return a number in which x occurs to this power, in the caller's units."""
        for _ in range(power if self.sums.times else 0):
            number = divide(number, DoubleDouble(self.sums.frame.x_unit))
        return times_power_of_two(number.high, exponent)

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
        return Moments(self.sums.merge(other.sums))

    def update(
        self,
        x: ArrayLike | TimeLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        nan_policy: Literal["raise", "omit"] = "raise",
        datetime_unit: Unit | None = None,
        n_threads: int | None = None,
        backend: Literal["numba", "numpy"] = "numba",
    ) -> Moments:
        """Return the moments of these points and of a further batch, which is read once.

        Moments do not change: ``moments = moments.update(x, y)``. Parameters and errors are as in ``of``.

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
                datetime_unit=datetime_unit,
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
        return fit_line(self, fit_intercept=fit_intercept)

    def to_json(self) -> str:
        """Return all of it as a JSON object; ``from_json`` gives it back to the last bit."""
        numbers = {
            name: [part.hex() for part in number]
            for name, number in self.sums.centred._asdict().items()
        }
        scale = {"x_exponent": self.sums.x_exponent, "y_exponent": self.sums.y_exponent}
        head = {"format": _FORMAT, "version": _VERSION, "count": self.count}
        times = {"times": self.sums.times._asdict()} if self.sums.times else {}
        return json.dumps({**head, **numbers, **scale, **times})

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
            times = TimeUnit.of(**written.pop("times")) if "times" in written else None
        except (TypeError, KeyError, OverflowError, ValueError) as error:
            raise ValueError(f"{must_be}; it is not complete") from error
        moments = Centred(**numbers)
        integers = all(type(number) is int for number in whole)
        if written or not integers or not _is_possible(moments, *whole):
            raise ValueError(f"{must_be}; got entries that it does not write")
        return cls(MomentSums(whole[0], moments, whole[1], whole[2], times=times))

    @contextmanager
    def opened(self, reading: Reading, plan: Plan) -> Iterator[Points]:
        """Yield the moments as points for squared error; they have no use for how to read points."""
        self.refuse_checkpoint(plan)
        if not isinstance(plan.loss, SquaredError):
            raise ValueError(f"loss must be 'squared_error' when x is Moments; got {plan.loss!r}")
        for name in ("nan_policy", "n_threads", "backend", "datetime_unit"):
            got = getattr(reading, name)
            if got != getattr(Reading, name):
                raise ValueError(f"{name} must be left out when x is Moments; got {got!r}")
        if not self.sums.is_finite:
            raise ValueError(f"x must be finite moments; got {self!r}")
        yield MomentPoints(self.sums)


def _is_possible(moments: Centred, count: int, x_exponent: int, y_exponent: int) -> bool:
    """Whether there are points that have such moments."""
    finite = all(math.isfinite(part) for number in moments for part in number)
    rounded = finite and all(high + low == high for high, low in moments)
    squares = min(moments.w.high, moments.xx.high, moments.yy.high)
    return rounded and squares >= 0.0 <= count and max(abs(x_exponent), abs(y_exponent)) < 3000
