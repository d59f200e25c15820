"""What a fit keeps of its points for a picture, without keeping the caller's arrays alive."""

from __future__ import annotations

import weakref
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

Pair = tuple[Column, Column]


class KeptPoints:
    """Points of a fit, for its picture.

    Of arrays it keeps a sample of at most 4,096 points and weak references: while the arrays are alive, a picture shows
    all points, and later the sample. Points of files and of Dask are not kept: a picture reads them again, unless they
    are many and the fit has drawn a sample.

    Parameters
    ----------
    points : Points
        The points that were fitted.
    reopened : callable or None
        Returns the same points, read again; None if they come from arrays.
    """

    _parts: Any = None
    _alive: tuple[Callable[[], Column | None], ...] = ()

    def __init__(self, points: Points, reopened: Callable[[], Points] | None = None) -> None:
        n_points = self._n_points = points.n_points
        self._reopened = reopened
        if not isinstance(points, ArrayPoints):
            self._parts = points  # holds paths or a graph, and reads at every pass
            return
        if n_points <= MOST_KEPT:
            self._sample = points.x.copy(), points.y.copy()
            return
        step = max(2.0, n_points / MOST_KEPT)
        if points.unchanged is None:
            self._sample = points.some(int(step) + 1)[:2]
            return
        x, y = points.unchanged
        places = (_PLACES[: int(x.size / step)] * step).astype(np.intp)
        self._sample = x[places], y[places]
        if reopened is None:
            self._alive = _weak(x), _weak(y)

    def columns(self) -> Pair:
        """Return x and y of all points, or of a sample of them."""
        if self._parts is not None:
            return self._parts.x, self._parts.y
        if self._n_points <= MOST_KEPT:
            return self._sample
        x, y = self._all()
        if x is None or y is None or x.size != self._n_points:
            return self._sample
        return x, y

    def _all(self) -> tuple[Column | None, Column | None]:
        if self._alive:
            x, y = self._alive
            return x(), y()
        if self._reopened is None:
            return None, None
        try:
            points: Any = self._reopened()
            return points.x, points.y
        except (OSError, TypeError, ValueError):  # files were changed or removed
            return None, None


def _weak(column: Column) -> Callable[[], Column | None]:
    """Return a function that returns the column while the array that owns its memory is alive.

    A column is a view that dies with the fit. The owner is kept by a weak reference, and the view is made anew.
    """
    owner = column if column.base is None else column.base
    if not isinstance(owner, np.ndarray):
        return lambda: None
    reference = weakref.ref(owner)
    layout: dict[str, Any] = {
        "shape": column.shape,
        "dtype": column.dtype,
        "strides": column.strides,
        "offset": column.ctypes.data - owner.ctypes.data,
    }

    def find() -> Column | None:
        alive = reference()
        try:
            return None if alive is None else np.ndarray(buffer=alive, **layout)
        except (TypeError, ValueError):  # memory in an order that no buffer has
            return None

    return find
