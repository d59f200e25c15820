"""Robust lines of segments: ranges of rows of different lengths, such as groups and windows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Numbers
from fastfit.lines.batched import Options, watched
from fastfit.lines.points import Points
from fastfit.lines.series import LineSums, RobustLines, Series
from fastfit.losses import RobustLoss

# Points of segments of about the same length that are fitted at a time.
_AT_A_TIME = 1 << 20
# From this number of points on, progress is shown.
_LONG = 1 << 24


class Segments(NamedTuple):
    """Ranges of rows.

    Attributes
    ----------
    low, high : ndarray of int
        First row of each, and the row after its last.
    order : ndarray of int or None
        Which point lies in each row; None for rows as they are.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    order: NDArray[np.int64] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Numbers of rows."""
        found: NDArray[np.int64] = np.maximum(self.high - self.low, 0)
        return found

    def robust(self, points: Points, options: Options, *, progress: bool) -> LineSums:
        """Return the robust lines of the points of each segment.

        Segments of about the same length are fitted as many lines, with gaps where rows are lacking.
        """
        lengths = self.lengths
        shape, n_rows, n_done = lengths.shape, int(lengths.sum()), 0
        whole: dict[str, NDArray[np.float64]] = {}
        shows = progress and n_rows >= _LONG
        with watched(n_rows, "points") if shows else nullcontext(int) as watch:
            for chosen in _alike(lengths):
                sums = self._series(points, chosen).fit(
                    through_origin=not options.fit_intercept,
                    n_threads=options.n_threads,
                    backend=options.backend,
                    loss=options.loss if isinstance(options.loss, RobustLoss) else None,
                )
                assert sums.robust is not None
                for name, values in {**sums._asdict(), **sums.robust._asdict()}.items():
                    if isinstance(values, np.ndarray):
                        each = whole.setdefault(name, np.full(shape, math.nan))
                        each[chosen] = values
                n_done += int(lengths[chosen].sum())
                watch(n_done)

        def found(*names: str) -> list[NDArray[np.float64]]:
            return [whole.get(name, np.empty(shape)) for name in names]

        slope, intercept, left, y_mean, n, u_mean, uu = found(*LineSums._fields[:7])
        return LineSums(
            *(slope, intercept, left, y_mean, n, u_mean, uu),
            *(None if points.w is None else found("w")[0], None, points.x_offset, 0.0),
            robust=RobustLines(*found(*RobustLines._fields)),
        )

    def _series(self, points: Points, chosen: NDArray[np.int64]) -> Series:
        """Return the points of some segments, a segment a column, with NaN below shorter ones."""
        low, lengths = self.low[chosen], self.lengths[chosen]
        place = np.arange(int(lengths.max(initial=0)))[:, np.newaxis]
        is_there = place < lengths
        rows = np.where(is_there, low + place, 0)
        if self.order is not None:
            rows = self.order[rows] if self.order.size else rows

        def taken(values: NDArray[np.float64], offset: float = 0.0) -> Numbers:
            if not values.size:
                return Numbers(np.full(rows.shape, math.nan))
            return Numbers(np.where(is_there, values[rows], math.nan), offset=offset)

        x, y = taken(points.x, points.x_offset), taken(points.y, points.y_offset)
        return Series(x, y, None if points.w is None else taken(points.w), None, 0)


def _alike(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield which segments are fitted together: those of about the same length, not too many at a time."""
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    first = 0
    while first < order.size:
        # Up to a fifth more rows, so that few are lacking.
        end = int(np.searchsorted(ordered, max(ordered[first] * 6 // 5, 8), side="right"))
        end = min(end, first + max(1, _AT_A_TIME // max(int(ordered[end - 1]), 1)))
        yield order[first:end]
        first = end
