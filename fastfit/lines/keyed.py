"""Groups of points that come in parts, such as batches of files and partitions of Dask: states of groups by their keys.

A part becomes a table of states, one for each of its groups, which is small where rows are many; tables are joined by
key. Points that are few are kept instead, and fitted as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.kernels import grouped
from fastfit.kernels import groups as states_of_groups
from fastfit.kernels.point_sums import RESOLVED
from fastfit.keys import Groups, groups_of
from fastfit.lines.points import Points
from fastfit.lines.series import LineSums
from fastfit.points.parts import Part
from fastfit.times import TimeUnit

# Bytes of points that are kept.
KEPT = 64 << 20
# Tables of states are joined when they hold more than twice as many groups as the largest, and this many.
_FEW = 1 << 17


class Keyed(NamedTuple):
    """States of groups.

    Attributes
    ----------
    keys : dict of str to ndarray
        Keys of the groups, by name.
    states : ndarray, shape (number of groups, 9)
        As ``groups`` of the kernels describes them.
    n_rows : ndarray of int
        Number of rows of each group.
    n_effective : ndarray or None
        With sigma and sample weights: sums of the sample weights.
    """

    keys: dict[str, NDArray[Any]]
    states: NDArray[np.float64]
    n_rows: NDArray[np.int64]
    n_effective: NDArray[np.float64] | None

    @property
    def size(self) -> int:
        """Number of groups."""
        return len(self.states)

    def moved(self, x: float, y: float) -> Keyed:
        """Return the states of points that are so much larger."""
        if x == y == 0.0:
            return self
        states = self.states.copy()
        states[:, states_of_groups.X0] += x
        states[:, states_of_groups.Y0] += y
        return self._replace(states=states)

    @classmethod
    def joined(cls, tables: Sequence[Keyed]) -> tuple[Keyed, Groups]:
        """Return the states of all rows of some tables, in their order; and the groups of the rows of these tables."""
        names = list(tables[0].keys)
        keys = [np.concatenate([each.keys[name] for each in tables]) for name in names]
        groups = groups_of(keys, names, None)
        states = np.concatenate([each.states for each in tables])
        codes = groups.codes
        n_rows = np.zeros(groups.n, np.int64)
        np.add.at(n_rows, codes, np.concatenate([each.n_rows for each in tables]))
        n_effective = None
        if tables[0].n_effective is not None:
            sample = [each.n_effective for each in tables if each.n_effective is not None]
            n_effective = np.zeros(groups.n)
            np.add.at(n_effective, codes, np.concatenate(sample))
        return cls(
            groups.keys, grouped.joined(states, codes, groups.n), n_rows, n_effective
        ), groups


class Batch(NamedTuple):
    """Points of a part, and their groups; None without keys."""

    points: Points
    groups: Groups | None

    @property
    def n_bytes(self) -> int:
        """Size of the points in memory."""
        return 32 * self.points.y.size

    def keyed(self, *, through_origin: bool, n_threads: int | None) -> Keyed:
        """Return the states of the groups."""
        assert self.groups is not None
        points, rows = self.points, grouped.rows_of(self.groups.codes, self.groups.n, n_threads)
        states, _ = grouped.states_of(
            *(points.x, points.y, points.w, rows),
            through_origin=through_origin,
            n_threads=n_threads,
        )
        return Keyed(self.groups.keys, states, rows.counts(), points.sums_of_sample(rows))


class Found(NamedTuple):
    """What some parts hold: batches while they are few, else states.

    Attributes
    ----------
    batches, tables : tuple
        One of them is empty.
    n_ungrouped : int
        Number of rows without a key.
    x_offset, y_offset : float
        What is added to x and y of the states.
    times : TimeUnit or None
        How x counts time.
    """

    batches: tuple[Batch, ...]
    tables: tuple[Keyed, ...]
    n_ungrouped: int
    x_offset: float
    y_offset: float
    times: TimeUnit | None

    def whole(self) -> tuple[Points, Groups | None]:
        """Return the points of all batches, and their groups."""
        parts = [each.points for each in self.batches]
        w, sample = (
            None
            if getattr(parts[0], name) is None
            else np.concatenate([getattr(each, name) for each in parts])
            for name in ("w", "n_effective")
        )
        points = Points(
            np.concatenate([each.x + (each.x_offset - self.x_offset) for each in parts]),
            np.concatenate([each.y + (each.y_offset - self.y_offset) for each in parts]),
            *(w, self.x_offset, self.y_offset, self.times, sample),
        )
        own_groups = [each.groups for each in self.batches if each.groups is not None]
        if not own_groups:
            return points, None
        names = list(own_groups[0].keys)
        keys = [np.concatenate([each.keys[name] for each in own_groups]) for name in names]
        groups = groups_of(keys, names, None)
        first, codes = 0, []
        for each in own_groups:
            own = np.append(groups.codes[first : first + each.n], -1)  # a code of -1 is the last
            codes.append(own[each.codes])
            first += each.n
        return points, groups._replace(codes=np.concatenate(codes))


def typed(groups: Groups, source: Any) -> Groups:
    """Return groups whose keys have a type, where these are text from text files: integers if all of a column are.

    Raises
    ------
    ValueError
        If keys are text in some files, and in others not.
    """
    if not hasattr(source, "text_keys"):
        return groups
    of_group = {
        name: _numbers_if_all(each) if name in source.text_keys else each
        for name, each in groups.keys.items()
    }
    for name, each in of_group.items():
        kinds = {type(value).__name__ for value in each} if each.dtype == object else set()
        if len(kinds) > 1:
            raise ValueError(
                f"by must name columns of one type in all files; got {name!r}, which holds "
                f"{' and '.join(sorted(kinds))}: fit files of different formats one by one, or cast the column"
            )
    again = groups_of([*of_group.values()], [*of_group], None)
    return groups._replace(keys=again.keys, order=again.order)


def _numbers_if_all(values: NDArray[Any]) -> NDArray[Any]:
    """Return keys of text as integers if all of them are written as such."""
    if values.dtype.kind not in "OU" or not values.size:
        return values
    try:
        found = values.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        return values
    are_text = all(isinstance(value, str) for value in values)
    return found if are_text and (found.astype(str) == values.astype(str)).all() else values


class GroupPass(NamedTuple):
    """The pass over parts that finds the states of groups.

    Attributes
    ----------
    names : tuple of str
        Names of the keys.
    through_origin : bool
        Whether lines go through the origin.
    datetime_unit : str or None
        Unit of times in x.
    n_threads : int or None
        Largest number of threads.
    room : int
        How many bytes of points are kept.
    needs_points : bool
        Whether states do not do: for robust losses.
    """

    names: tuple[str, ...]
    through_origin: bool
    datetime_unit: str | None
    n_threads: int | None
    room: int
    needs_points: bool

    def chunk(self, part: Part) -> Found:
        """Return the groups of a part."""
        with part.named():
            points = Points.of(
                *part[:4], datetime_unit=self.datetime_unit, through_origin=self.through_origin
            )
            groups = groups_of(list(part.keys), self.names, points.y.size) if self.names else None
        found = Found(
            *((Batch(points, groups),), (), 0 if groups is None else groups.n_missing),
            *(points.x_offset, points.y_offset, points.times),
        )
        return found if self._has_room(found.batches) else self._reduced(found)

    def combine(self, a: Found, b: Found) -> Found:
        """Return the groups of both."""
        n_ungrouped = a.n_ungrouped + b.n_ungrouped
        batches = a.batches + b.batches
        if not (a.tables or b.tables) and self._has_room(batches):
            return a._replace(batches=batches, n_ungrouped=n_ungrouped)
        a, b = self._reduced(a), self._reduced(b)
        offsets = b.x_offset - a.x_offset, b.y_offset - a.y_offset
        tables = (*a.tables, *(each.moved(*offsets) for each in b.tables))
        sizes = [each.size for each in tables]
        if sum(sizes) > 2 * max(sizes) + _FEW:
            tables = (Keyed.joined(tables)[0],)
        return a._replace(tables=tables, n_ungrouped=n_ungrouped)

    def _has_room(self, batches: tuple[Batch, ...]) -> bool:
        return sum(each.n_bytes for each in batches) <= self.room

    def _reduced(self, found: Found) -> Found:
        """Return what was found as states.

        Raises
        ------
        ValueError
            If points are needed.
        """
        if self.needs_points:
            more = f"; got more than {self.room >> 20} MB" if self.room else ""
            raise ValueError(
                "loss must be 'squared_error' for groups of points that are not kept in memory, as each step of a "
                f"robust fit reads all points of a group{more}: read them into a table first"
            )
        options: dict[str, Any] = {
            "through_origin": self.through_origin,
            "n_threads": self.n_threads,
        }
        tables = tuple(
            each.keyed(**options).moved(
                each.points.x_offset - found.x_offset, each.points.y_offset - found.y_offset
            )
            for each in found.batches
        )
        return found._replace(batches=(), tables=found.tables + tables)


def sums_of(
    table: Keyed, found: Found, *, has_weights: bool, options: Any
) -> tuple[LineSums, NDArray[np.bool_]]:
    """Return the lines of states, and which have residuals that these do not resolve; 1 stands for them."""
    rows, far, has_suspects = grouped.lines_of(
        table.states,
        through_origin=not options.fit_intercept,
        min_points=options.min_points,
        n_threads=options.n_threads,
    )
    slope, left, y_mean, x_mean, xx, total, n = rows
    far &= left <= RESOLVED * np.abs(table.states[:, states_of_groups.VV])
    sums = LineSums(
        *(slope, None, np.where(far, 1.0, left), y_mean + found.y_offset, n, x_mean, xx),
        *(total if has_weights else None, table.n_effective, found.x_offset, 0.0),
        has_suspects=has_suspects,
        few_are_nan=True,
    )
    return sums, far
