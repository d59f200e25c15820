"""What a fit keeps of its points for a picture, without keeping the caller's arrays alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastfit.points.arrays import ArrayPoints
from fastfit.points.base import Points, Reading, Source
from fastfit.points.opening import opened
from fastfit.points.sample import GOLDEN
from fastfit.validation import Column

# Largest number of points that a fit keeps: more would cost a few percent of a fit of a million.
MOST_KEPT = 1024
# Positions of a sample, in units of its step: steps of the golden ratio see points of every phase of a periodic order.
_PLACES = np.arange(MOST_KEPT)
_PLACES = _PLACES + _PLACES * GOLDEN % 1.0


class KeptPoints:
    """Points of a fit, for its picture.

    Of points in memory it keeps a sample of at most 1,024. A picture shows all points as long as they can be had again:
    while the caller's arrays are alive, or by reading files; and later the sample. Points that are read at every pass
    are not kept.

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
        self._n_points = points.n_points
        self._points: Any = None
        self._again: Callable[[], Source | None] = lambda: None
        if not isinstance(points, ArrayPoints):
            self._points = points
        elif self._n_points <= MOST_KEPT:
            self._sample = points.at(slice(None))
        else:
            step = max(2.0, self._n_points / MOST_KEPT)
            places = (_PLACES[: int(self._n_points / step)] * step).astype(np.intp)
            self._sample = points.at(places)
            if source is not None:
                self._again, self._reading = source.again(), reading or Reading()

    def columns(self) -> tuple[Column, Column]:
        """Return x and y of all points, or of a sample of them."""
        if self._points is not None:
            return self._points.x, self._points.y
        if self._n_points > MOST_KEPT:
            try:
                source = self._again()
                points: Any = None if source is None else opened(source, self._reading)
                if points is not None:
                    points.moments()  # leaves out points with NaN
            except (OSError, TypeError, ValueError):  # files were changed or removed
                points = None
            if points is not None and points.n_points == self._n_points:
                return points.x, points.y
        return self._sample
