"""What a fit keeps of its points for a picture, without keeping the caller's arrays alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastfit.points.arrays import ArrayPoints
from fastfit.points.base import Points
from fastfit.points.sample import GOLDEN
from fastfit.validation import Column

# Largest number of points that a fit keeps.
MOST_KEPT = 4096
# Positions of a sample, in units of its step: steps of the golden ratio see points of every phase of a periodic order.
_PLACES = np.arange(MOST_KEPT)
_PLACES = _PLACES + _PLACES * GOLDEN % 1.0


class KeptPoints:
    """Points of a fit, for its picture.

    Of points in memory it keeps a sample of at most 4,096. A picture shows all points as long as they can be had again:
    while the caller's arrays are alive, or by reading files; and later the sample. Points that are read at every pass
    are not kept.

    Parameters
    ----------
    points : Points
        The points that were fitted.
    again : callable
        Returns the same points, opened once more; None if they are gone.
    """

    def __init__(self, points: Points, again: Callable[[], Points | None]) -> None:
        self._points: Any = None if isinstance(points, ArrayPoints) else points
        self._again, self._n_points = again, points.n_points
        if isinstance(points, ArrayPoints):
            self._sample = points.at(self._places())

    def _places(self) -> Any:
        """Return the places of the sample; all if there are few points."""
        if self._n_points <= MOST_KEPT:
            return slice(None)
        step = max(2.0, self._n_points / MOST_KEPT)
        return (_PLACES[: int(self._n_points / step)] * step).astype(np.intp)

    def columns(self) -> tuple[Column, Column]:
        """Return x and y of all points, or of a sample of them."""
        if self._points is not None:
            return self._points.x, self._points.y
        if self._n_points > MOST_KEPT:
            try:
                points: Any = self._again()
                if points is not None:
                    points.moments()  # leaves out points with NaN
            except (OSError, TypeError, ValueError):  # files were changed or removed
                points = None
            if points is not None and points.n_points == self._n_points:
                return points.x, points.y
        return self._sample
