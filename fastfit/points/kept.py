"""What a fit keeps of its points for later, without keeping the caller's arrays alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastfit.columns import Column
from fastfit.points.arrays import ArrayPoints
from fastfit.points.base import Points, Reading, Source
from fastfit.points.opening import opened

# Of more than some 1,250 points, 251 runs of 4 neighbours are kept: copying 1,024 single points would add 10 % to the
# time of a fit of a million points. The number of runs is prime, so that gridded points are not all sampled at one
# place of a row.
_RUNS, _LENGTH = 251, 4


class KeptPoints:
    """Points of a fit, for its picture and for the median of its residuals.

    Of points in memory it keeps a sample of about a thousand. A picture shows all points while the caller's arrays are
    in memory and unchanged, or by reading the files again; otherwise it shows the sample. Points that are read at every
    pass are not kept.

    Parameters
    ----------
    points : Points
        The points that were fitted.
    source, reading : Source and Reading, or None
        Where they came from and how they were read, to open them once more.
    """

    def __init__(
        self, points: Points, source: Source | None = None, reading: Reading | None = None
    ) -> None:
        self.names = ("x", "y") if source is None else source.names
        self._points: Any = None
        self._again: Callable[[], Source | None] | None = None
        if not isinstance(points, ArrayPoints):
            self._points = points
            return
        self._sample, self._moments = points.thinned(_RUNS, _LENGTH), points.moments()
        self._is_whole = self._sample.size == points.n_points
        if source is not None and not self._is_whole:
            self._again, self._reading = source.again(), reading or Reading()

    def columns(self) -> tuple[Column, Column]:
        """Return x and y of all points, or of a sample of them."""
        found = self._points or self._read_again() or self._sample
        return found.x, found.y

    def sample(self) -> ArrayPoints | None:
        """Return some points that are in memory, without a pass; None if there are none at hand."""
        if self._points is None:
            return self._sample
        few = self._points.subsample(_RUNS * _LENGTH)
        return few if isinstance(few, ArrayPoints) else None

    def points(self) -> Points | None:
        """Return all points; None if they are gone or have changed."""
        return self._points or (self._sample if self._is_whole else self._read_again())

    def points_in_reach(self) -> Points | None:
        """Return all points, but not those that each pass reads anew; None also if they are gone or have changed."""
        return self.points() if self._points is None else None

    def some_points(self) -> Points:
        """Return all points, or a sample of them if they are gone or have changed."""
        return self.points() or self._sample

    def _read_again(self) -> ArrayPoints | None:
        """Return all points, or None if they are gone or have changed."""
        try:
            source = None if self._again is None else self._again()
            if source is None:
                return None
            points = opened(source, self._reading)
            same = points.moments() == self._moments
        except (OSError, TypeError, ValueError):  # files were changed or removed
            return None
        return points if same and isinstance(points, ArrayPoints) else None
