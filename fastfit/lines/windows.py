"""Where windows lie along x, and their slopes along it, thinned for a picture."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.plotting import MOST_LINES, MOST_NAMED, Track
from fastfit.times import NAT, TimeUnit

# Intervals of x of a picture, about its width in pixels: of each, at most four windows are drawn. Fewer of many groups.
_PIXELS = 1000
_FEW_PIXELS = 150
# Windows with a smaller share of the usual number of points have slopes and bands so wide that they could squeeze all
# others in a picture; they do not determine its range.
_FEW_POINTS = 0.5
# Percentiles of all slopes that a picture shows.
_MOST_SLOPES = (5.0, 95.0)
# How far beyond the slopes of the other windows a picture shows bands and these slopes, in ranges of slopes.
_BEYOND = 0.75


class Windows(NamedTuple):
    """The x of the row of each window, which is ``x + offset``, and the group of the row.

    Attributes
    ----------
    x : ndarray
        Not a copy where the caller passed float64. NaN is missing.
    offset : float
        0, except for numbers that float64 cannot hold.
    times : TimeUnit or None
        How x counts time; None for numbers.
    name : str
        Name of x; "" for numbers of rows.
    codes : ndarray of int or None
        The group of each row, -1 for none; None without groups.
    groups : dict of str to ndarray
        Keys of the groups, by name.
    order : ndarray of int or None
        The groups sorted by their keys; None if keys cannot be compared.
    exact : ndarray or None
        Times as the caller passed them, of which x lacks digits if they span more than 100 days of nanoseconds.
    """

    x: NDArray[np.float64]
    offset: float
    times: TimeUnit | None
    name: str
    codes: NDArray[Any] | None = None
    groups: dict[str, NDArray[Any]] = {}  # noqa: RUF012
    order: NDArray[np.intp] | None = None
    exact: NDArray[Any] | None = None

    def taken(self, index: Any) -> Windows:
        """Return some of the windows."""
        codes = None if self.codes is None else self.codes[index]
        exact = None if self.exact is None else self.exact[index]
        return self._replace(x=self.x[index], codes=codes, exact=exact)

    def in_order(self) -> Windows:
        """Return the windows as they are, or where x rises and falls in a group, with row numbers in its place."""
        x, codes = self.x, self.codes
        if codes is not None:
            order = np.argsort(codes, kind="stable")
            x, codes = x[order], codes[order]
        rises, falls = x[1:] > x[:-1], x[1:] < x[:-1]
        if codes is not None:
            is_inside = codes[1:] == codes[:-1]
            rises, falls = rises & is_inside, falls & is_inside
        if not (rises.any() and falls.any()):
            return self
        return self._replace(x=np.arange(float(x.size)), offset=0.0, times=None, name="")

    def keys(self, labels: Any) -> dict[str, Any]:
        """Return the keys of the groups of the rows, and their labels (an index of pandas), or else x."""
        found = self.keys_of_groups()
        name = (self.name or "x") if labels is None else (labels.name or "index")
        if name in found:
            name = f"{name}_{'x' if labels is None else 'index'}"
        return {**found, name: self._places() if labels is None else labels}

    def keys_of_groups(self) -> dict[str, Any]:
        """Return the keys of the group of each row, if there are groups."""
        if self.codes is None:
            return {}
        return {name: _of_rows(values, self.codes) for name, values in self.groups.items()}

    def _places(self) -> NDArray[Any]:
        """Return x, as times where it held times."""
        if self.exact is not None:
            return self.exact
        if self.times is None:
            return self.x + self.offset if self.offset else self.x
        missing = np.isnan(self.x)
        counts = np.rint(np.where(missing, 0.0, self.x)).astype(np.int64) + int(self.offset)
        counts[missing] = NAT
        return counts.view(f"{'m' if self.times.is_duration else 'M'}8[{self.times.base}]")

    def tracks(self, slope: NDArray[Any], reach: NDArray[Any]) -> tuple[list[Track], int]:
        """Return slopes and their bands, ``slope ± reach``, along x for each group, thinned; and the number of groups.

        Of very many groups, some are returned, spread evenly over all.
        """
        if self.codes is None:
            return [self._track(np.s_[:], slope, reach, "", _PIXELS)], 1
        order = np.argsort(self.codes, kind="stable")
        starts = np.searchsorted(self.codes[order], np.arange(self._n_groups + 1))
        groups: Any = np.arange(self._n_groups) if self.order is None else self.order
        groups = groups[starts[groups + 1] > starts[groups]]
        n_groups = groups.size
        if n_groups > MOST_LINES:
            groups = groups[np.linspace(0, n_groups - 1, MOST_LINES).round().astype(int)]
        n_pixels = _PIXELS if n_groups <= MOST_NAMED else _FEW_PIXELS
        tracks = []
        for group in groups:
            rows = order[starts[group] : starts[group + 1]]
            label = label_of(values[group] for values in self.groups.values())
            tracks.append(self._track(rows, slope, reach, label, n_pixels))
        return tracks, n_groups

    @property
    def _n_groups(self) -> int:
        return len(next(iter(self.groups.values())))

    def _track(
        self, rows: Any, slope: NDArray[Any], reach: NDArray[Any], label: str, n_pixels: int
    ) -> Track:
        x = self.x[rows]
        slope, reach = slope[rows], reach[rows]
        there = np.isfinite(x)
        if not there.all():
            x, slope, reach = x[there], slope[there], reach[there]
        if not (x[1:] >= x[:-1]).all():
            order = np.argsort(x, kind="stable")
            x, slope, reach = x[order], slope[order], reach[order]
        along, across, low, high = _thinned(x, slope, reach, n_pixels)
        return Track(
            label, x[along] + self.offset, slope[along], x[across] + self.offset, low, high
        )


def _of_rows(values: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """Return the key of each row; None, or NaT among times, for rows without one."""
    missing, are_times = codes < 0, values.dtype.kind in "mM"
    found: NDArray[Any]
    if not missing.any():
        found = values[codes]
        return found
    found = np.empty(codes.shape, values.dtype if are_times else object)
    found[~missing] = values[codes[~missing]]
    found[missing] = "NaT" if are_times else None
    return found


def label_of(keys: Iterable[Any]) -> str:
    """Return the keys of a group as a short text."""
    found = []
    for key in keys:
        if isinstance(key, np.datetime64):
            text = str(np.datetime_as_string(key, unit="auto"))
        else:
            text = f"{key:.6g}" if isinstance(key, (float, np.floating)) else str(key)
        found.append(text if len(text) <= 24 else f"{text[:11]}…{text[-12:]}")
    return ", ".join(found)


def range_of(
    slope: NDArray[Any], reach: NDArray[Any], n_points: NDArray[Any]
) -> tuple[float, float, int]:
    """Return the range of slopes that a picture shows, and how many slopes lie outside.

    It has most of all slopes, and those of all windows but the ones of few points; of these, and of bands, it has what
    is not much farther away.
    """
    there = np.isfinite(slope)
    if not there.any():
        return -1.0, 1.0, 0
    usual = np.median(n_points[there])
    shown = slope[there & (n_points >= _FEW_POINTS * usual)]
    most = np.percentile(slope[there], _MOST_SLOPES)
    low, high = float(min(shown.min(), most[0])), float(max(shown.max(), most[1]))
    wide = reach[np.isfinite(reach)]
    beyond = _BEYOND * (high - low)
    if wide.size:
        beyond = max(beyond, 2.0 * float(np.median(wide)))
    low = max(low - beyond, float(np.fmin.reduce(np.fmin(slope - reach, slope))))
    high = min(high + beyond, float(np.fmax.reduce(np.fmax(slope + reach, slope))))
    outside = int(np.count_nonzero((slope < low) | (slope > high)))
    if low == high:  # as of points that all lie on a line
        margin = abs(low) or 1.0
        low, high = low - margin, high + margin
    return low, high, outside


def _thinned(
    x: NDArray[Any], slope: NDArray[Any], reach: NDArray[Any], n_pixels: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return which slopes to draw, where a band is drawn, and its bounds there; x must not fall.

    Of each of equal intervals of x, the first, least, largest and last slopes are drawn, so that the line has the same
    pixels as that of all slopes, and the lowest and highest bound of the band, so that it hides none.
    """
    if x.size <= 4 * n_pixels:
        every = np.arange(x.size)
        return every, every, slope - reach, slope + reach
    edges = np.linspace(x[0], x[-1], n_pixels + 1)[1:-1]
    cuts = np.unique(np.concatenate([[0], np.searchsorted(x, edges), [x.size]]))
    along: list[int] = []
    lows: list[float] = []
    highs: list[float] = []
    for start, end in itertools.pairwise(cuts.tolist()):
        own, wide = slope[start:end], reach[start:end]
        chosen = {start, end - 1}
        if not np.isnan(own).all():
            chosen |= {start + int(np.nanargmin(own)), start + int(np.nanargmax(own))}
        along += sorted(chosen)
        lows.append(np.fmin.reduce(own - wide))
        highs.append(np.fmax.reduce(own + wide))
    across = np.column_stack([cuts[:-1], cuts[1:] - 1]).reshape(-1)
    return np.array(along), across, np.repeat(lows, 2), np.repeat(highs, 2)
