"""Times as numbers: counts of their own unit, which are exact, and the unit in which a caller wants the slope."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fastfit.validation import require_one_of

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "D": 86_400_000_000_000,
    "W": 604_800_000_000_000,
}
# Units in words, and several of them.
_WORDS = {
    **{"W": ("week", "weeks"), "D": ("day", "days"), "h": ("hour", "hours")},
    **{"m": ("minute", "minutes"), "s": ("second", "seconds")},
    **{"ms": ("ms", "ms"), "us": ("µs", "µs"), "ns": ("ns", "ns")},
}
Unit = Literal["W", "D", "h", "m", "s", "ms", "us", "ns"]
UNITS: tuple[Unit, ...] = get_args(Unit)
_DEFAULT = "s"
# Times of Python: what array_like does not cover.
_Time = datetime.date | datetime.timedelta
TimeLike = _Time | Sequence[_Time | None]
# NaT, a missing time, as an integer.
NAT = int(np.iinfo(np.int64).min)


class TimeUnit(NamedTuple):
    """How times are counted, from 1970-01-01 UTC unless they are durations.

    Attributes
    ----------
    unit : str
        The unit of x in slopes, predictions and errors.
    base : str
        The unit of the whole numbers that are fitted: the finer one of ``unit`` and of the times' own.
    is_duration : bool
        Whether x holds durations (timedelta64), not points in time.
    """

    unit: str
    base: str
    is_duration: bool

    @classmethod
    def of(cls, unit: str, base: str, is_duration: bool) -> TimeUnit:
        """Return how times are counted, or raise ValueError if there are no such units."""
        if unit not in UNITS or base not in UNITS or _NANOSECONDS[unit] % _NANOSECONDS[base]:
            raise ValueError(f"times cannot be counted in {base!r} for {unit!r}")
        return cls(unit, base, bool(is_duration))

    @property
    def counts(self) -> float:
        """Number of base counts in one unit."""
        return float(_NANOSECONDS[self.unit] // _NANOSECONDS[self.base])

    @property
    def word(self) -> str:
        """The unit in words, such as "day"."""
        return _WORDS[self.unit][0]

    @property
    def words(self) -> str:
        """Several of the unit in words, such as "days"."""
        return _WORDS[self.unit][1]

    @property
    def days(self) -> float:
        """One base count in days."""
        return _NANOSECONDS[self.base] / _NANOSECONDS["D"]

    def times(self, counts: NDArray[Any]) -> Any:
        """Return times for counts, rounded to whole ones: for a picture."""
        return (
            np.rint(counts)
            .astype(np.int64)
            .view(f"{'m' if self.is_duration else 'M'}8[{self.base}]")
        )


def is_time(array: NDArray[Any]) -> bool:
    """Return whether an array holds times."""
    return array.dtype.kind in "mM"


def unit_for(array: NDArray[Any], unit: str | None, name: str) -> TimeUnit:
    """Return how times are counted.

    Raises
    ------
    TypeError, ValueError
        If the unit is unknown, or a duration has none that is always equally long.
    """
    if unit is not None:
        require_one_of(unit, UNITS, "datetime_unit")
    own, step = np.datetime_data(array.dtype)
    is_duration = array.dtype.kind == "m"
    if own in ("M", "Y") and not is_duration:
        own = "D"
    elif own in ("ps", "fs", "as"):
        own = "ns"  # whose counts are converted, and refused if digits are lost
    elif own not in _NANOSECONDS:
        raise TypeError(
            f"{name} must hold times with a unit of fixed length; got {array.dtype}: convert them, "
            "as with .astype('timedelta64[D]')"
        )
    if step != 1 and own == "W":
        own = "D"
    wanted = unit or _DEFAULT
    return TimeUnit(wanted, min(own, wanted, key=_NANOSECONDS.__getitem__), is_duration)


def counts_like(array: NDArray[Any], times: TimeUnit, name: str) -> NDArray[np.int64]:
    """Return times as base counts of ``times``, rounded down; raise TypeError for numbers and times of another kind."""
    kind, what = ("m", "durations") if times.is_duration else ("M", "points in time")
    if array.dtype.kind != kind:
        raise TypeError(f"{name} must hold {what}, as when the line was fitted; got {array.dtype}")
    own = np.datetime_data(array.dtype)[0]
    is_finer = (
        own in ("ps", "fs", "as") or _NANOSECONDS.get(own, math.inf) < _NANOSECONDS[times.base]
    )
    if is_finer:
        return array.astype(f"{kind}8[{times.base}]").view(np.int64)
    return counts_of(array, times, name)


def counts_of(array: NDArray[Any], times: TimeUnit, name: str) -> NDArray[np.int64]:
    """Return times as whole numbers of base counts; NaT stays ``NAT``.

    Raises
    ------
    ValueError
        If a time is out of range, or finer than the base.
    """
    dtype = np.dtype(f"{array.dtype.kind}8[{times.base}]")
    if array.dtype != dtype:
        converted = array.astype(dtype)
        back = converted.astype(array.dtype)
        wrong = (back != array) & ~np.isnat(array)
        if wrong.any():
            where = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{name} must hold times that are whole numbers of {times.base} within 64 bits; "
                f"got {array.reshape(-1)[where]!s} at index {where:,}"
            )
        array = converted
    return array.view(np.int64)
