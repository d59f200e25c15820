"""Groups of rows over threads: which of the ways that ``groups`` has to sum them is taken."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fastfit.kernels import compiled, flags, groups, many, threads
from fastfit.kernels.block import BLOCK
from fastfit.kernels.tiles import read_only

# Rows of a task, where they are read in order.
_ROWS = 1 << 16
# Runs are summed where they are if they are at least this long on average. Longer ones are cut.
_SHORTEST = 8
_LONGEST = 1 << 17
# Largest number of groups whose sums fit in the cache. With more, rows are sorted into ranges of 2**_RANGE groups each.
_MOST_GROUPS = 1 << 16
_RANGE = 12
# Rows that are sorted at a time: 24 bytes each, 32 with weights.
_SLAB = 1 << 23
# Fewest rows of a block, in all and per group: after each block the states of all groups are updated, which should take
# little of the time. _PARTS is the largest number of parts of the rows; each has its own states, and its thread.
_FEWEST_ROWS = 1 << 12
_ROWS_PER_GROUP = 64
_PARTS = 16


def _find(keys: Any, starts: Any, counts: Any) -> Any:
    for b in numba.prange(counts.size):
        first = b * _ROWS
        counts[b] = groups.find_runs(keys, first, min(first + _ROWS, keys.size), starts[b])


def _find_range(keys: Any, least: Any, most: Any) -> Any:
    for b in numba.prange(least.size):
        first = b * _ROWS
        end = min(first + _ROWS, keys.size)
        groups.find_range(keys, first, end, least[b : b + 1], most[b : b + 1])


def _add_runs(
    x: Any, y: Any, w: Any, starts: Any, tasks: Any, through_origin: Any, states: Any, far: Any
) -> Any:
    for t in numba.prange(tasks.size - 1):
        groups.add_runs(x, y, w, starts, tasks[t], tasks[t + 1], through_origin, states, far)


def _add_parts(
    x: Any,
    y: Any,
    w: Any,
    codes: Any,
    parts: Any,
    block: Any,
    through_origin: Any,
    states: Any,
    far: Any,
) -> Any:
    width = groups.N_SUMS if w is None else groups.N_WEIGHTED
    for p in numba.prange(len(states)):
        lowest, rows = 0, (parts[p], parts[p + 1])
        sums = np.zeros(width * len(states[p]))
        groups.add_blocks(
            x, y, w, codes, rows, block, lowest, through_origin, sums, states[p], far[p]
        )


def _count_ranges(codes: Any, first: Any, shift: Any, counts: Any) -> Any:
    for b in numba.prange(len(counts)):
        start = first + b * _ROWS
        end = min(start + _ROWS, codes.size, first + _SLAB)
        groups.count_rows(codes, start, end, shift, counts[b])


def _sort(x: Any, y: Any, w: Any, codes: Any, first: Any, shift: Any, places: Any, to: Any) -> Any:
    for b in numba.prange(len(places)):
        start = first + b * _ROWS
        end = min(start + _ROWS, codes.size, first + _SLAB)
        groups.sort_rows(x, y, w, codes, start, end, shift, places[b], to)


def _add_ranges(
    x: Any, y: Any, w: Any, codes: Any, starts: Any, through_origin: Any, states: Any, far: Any
) -> Any:
    width = groups.N_SUMS if w is None else groups.N_WEIGHTED
    size = 1 << _RANGE
    for r in numba.prange(starts.size - 1):
        lowest, rows = r * size, (starts[r], starts[r + 1])
        of_range = states[lowest : lowest + size]
        sums = np.zeros(width * len(of_range))
        block = _ROWS_PER_GROUP * size
        are_far = far[lowest : lowest + size]
        groups.add_blocks(
            x, y, w, codes, rows, block, lowest, through_origin, sums, of_range, are_far
        )


def _lines(
    states: Any, through_origin: Any, least: Any, found: Any, far: Any, suspects: Any
) -> Any:
    for t in numba.prange(suspects.size):
        first = t * BLOCK
        end = min(first + BLOCK, len(states))
        suspects[t] = groups.lines_of(states, first, end, through_origin, least, found, far)


def _again(
    x: Any, y: Any, w: Any, chosen: Any, bounds: Any, through_origin: Any, found: Any, suspects: Any
) -> Any:
    for t in numba.prange(suspects.size):
        first, end = t * chosen.size // suspects.size, (t + 1) * chosen.size // suspects.size
        scratch = np.empty(many.N_SUMS)
        suspects[t] = groups.fit_again(
            x, y, w, chosen, bounds, first, end, through_origin, scratch, found
        )


_DRIVERS = {
    function.__name__: compiled.on_threads_or_not(function)
    for function in (
        _find,
        _find_range,
        _add_runs,
        _add_parts,
        _count_ranges,
        _sort,
        _add_ranges,
        _lines,
        _again,
    )
}
_COUNT = compiled.jit(groups.count_chosen, flags.TOTAL)
_ORDER = compiled.jit(groups.order_rows, flags.TOTAL)
_JOIN = compiled.jit(groups.join_runs, flags.TOTAL)


def _run(driver: Any, n_rows: int, n_threads: int | None, *arguments: Any) -> None:
    """Run a driver, on threads where that pays."""

    def code(parallel: bool, *given: Any) -> Any:
        return _code(_DRIVERS[driver.__name__][parallel], *given)

    with np.errstate(all="ignore"):  # where the loops are not compiled
        threads.on_threads(n_rows // BLOCK, n_threads, code, arguments)


def _code(function: Any, *arguments: Any) -> Any:
    """Return the machine code of a function for arguments of these types."""
    kinds = (
        (each.dtype.char, each.ndim, each.flags.num) if isinstance(each, np.ndarray) else type(each)
        for each in arguments
    )
    return compiled.code_for(function, (function, *kinds), *arguments)


class Rows(NamedTuple):
    """Which group each row belongs to.

    Attributes
    ----------
    codes : ndarray of int or None
        The group of each row, -1 for none; None where rows of a group lie together.
    starts, groups : ndarray of int or None
        Runs of rows: where they begin, with the number of rows at the end; and the group of each, -1 for none. None
        where rows lie in any order.
    n_groups : int
        Number of groups.
    n_ungrouped : int
        Number of rows of no group.
    """

    codes: NDArray[Any] | None
    starts: NDArray[np.int64] | None
    groups: NDArray[Any] | None
    n_groups: int
    n_ungrouped: int = 0

    @classmethod
    def of_runs(cls, starts: NDArray[np.int64], groups: NDArray[Any], n_groups: int) -> Rows:
        """Return rows in runs of these groups."""
        return cls(None, starts, groups, n_groups, int(np.diff(starts)[groups < 0].sum()))

    def counts(self, chosen: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return the number of rows of each group, 0 for those that are not chosen."""
        if chosen is None:
            chosen = np.ones(self.n_groups, np.bool_)
        found = np.zeros(self.n_groups, np.int64)
        if self.starts is None:
            assert self.codes is not None
            arguments = self.codes, chosen, found
            _code(_COUNT, *arguments)(*arguments)
            return found
        assert self.groups is not None
        there = self.groups >= 0
        np.add.at(found, self.groups[there], np.diff(self.starts)[there])
        found[~chosen] = 0
        return found

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.codes.size if self.starts is None else self.starts[-1])  # type: ignore[union-attr]

    def of_rows(self) -> NDArray[Any]:
        """Return the group of each row."""
        if self.codes is not None:
            return self.codes
        assert self.starts is not None
        assert self.groups is not None
        return np.repeat(self.groups, np.diff(self.starts))

    def in_order(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of the chosen groups, group by group, and the place in them where each group begins."""
        codes = self.of_rows()
        starts = np.concatenate([[0], np.cumsum(self.counts(chosen))])
        order, places = np.empty(int(starts[-1]), np.int64), starts[:-1].copy()
        _code(_ORDER, codes, chosen, places, order)(codes, chosen, places, order)
        return order, starts


def runs_of(keys: NDArray[Any], n_threads: int | None = None) -> NDArray[np.int64] | None:
    """Return where runs of equal keys begin, and their number of rows at the end; None if they are short."""
    n_blocks = -(-keys.size // _ROWS)
    room = _ROWS // _SHORTEST
    head = keys[: _ROWS // 4]
    if np.count_nonzero(head[1:] != head[:-1]) > head.size // _SHORTEST:
        return None
    starts = np.empty((n_blocks, room), np.int32 if keys.size < 1 << 31 else np.int64)
    counts = np.zeros(n_blocks, np.int64)
    _run(_find, keys.size, n_threads, keys, starts, counts)
    if (counts > room).any():
        return None
    found = [starts[b, : counts[b]] for b in range(n_blocks)]
    return np.concatenate([*found, [keys.size]]).astype(np.int64)


def range_of(keys: NDArray[Any], n_threads: int | None = None) -> tuple[int, int]:
    """Return the least and the largest of keys, which are integers."""
    least, most = (np.empty(-(-keys.size // _ROWS), keys.dtype) for _ in range(2))
    _run(_find_range, keys.size, n_threads, read_only(keys), least, most)
    return int(least.min()), int(most.max())


def rows_of(codes: NDArray[Any], n_groups: int, n_threads: int | None = None) -> Rows:
    """Return which group each row belongs to: as runs where rows of a group lie together."""
    starts = runs_of(codes, n_threads) if codes.size else None
    if starts is None:
        return Rows(codes, None, None, n_groups, int(np.count_nonzero(codes < 0)))
    return Rows.of_runs(starts, codes[starts[:-1]], n_groups)


def joined(states: NDArray[np.float64], codes: NDArray[Any], n_groups: int) -> NDArray[np.float64]:
    """Join states in their order: ``codes`` says which group each belongs to, -1 for none."""
    totals = np.zeros((n_groups, 9))
    with np.errstate(all="ignore"):
        _code(_JOIN, states, codes, totals)(states, codes, totals)
    return totals


class Lines(NamedTuple):
    """Lines of groups.

    Attributes
    ----------
    slope, residual_square, y_mean, x_mean, xx : ndarray
        As in ``LineSums``; the slope is NaN for groups of too few points.
    w, n : ndarray
        Sums of weights, and numbers of points.
    has_suspects : bool
        Whether the status of a line with enough points may be other than CONVERGED.
    """

    slope: NDArray[np.float64]
    residual_square: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    x_mean: NDArray[np.float64]
    xx: NDArray[np.float64]
    w: NDArray[np.float64]
    n: NDArray[np.float64]
    has_suspects: bool


def states_of(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64] | None,
    rows: Rows,
    *,
    through_origin: bool,
    n_threads: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the states of groups, shape (number of groups, 9), as ``groups`` describes them; and which lost digits."""
    options = through_origin, n_threads
    x, y, w = map(read_only, (x, y, w))
    if rows.starts is not None:
        return _states_of_runs(x, y, w, rows, *options)
    assert rows.codes is not None
    if rows.n_groups <= _MOST_GROUPS:
        return _states_of_few(x, y, w, rows.codes, rows.n_groups, *options)
    return _states_of_many(x, y, w, rows.codes, rows.n_groups, *options)


def _states_of_runs(
    x: Any, y: Any, w: Any, rows: Rows, through_origin: bool, n_threads: int | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    starts, of_group = rows.starts, rows.groups
    assert starts is not None
    assert of_group is not None
    lengths = np.diff(starts)
    if lengths.size and lengths.max() > _LONGEST:
        pieces = -(-lengths // _LONGEST)
        firsts = np.repeat(starts[:-1], pieces)
        place = np.arange(firsts.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        starts = np.append(firsts + place * _LONGEST, starts[-1])
        of_group = np.repeat(of_group, pieces)
    states = np.empty((starts.size - 1, 9))
    marks = np.arange(0, x.size + _ROWS, _ROWS)
    tasks = np.unique(np.minimum(np.searchsorted(starts, marks), starts.size - 1))
    is_far = np.zeros(len(states), np.bool_)
    _run(_add_runs, x.size, n_threads, x, y, w, starts, tasks, through_origin, states, is_far)
    if of_group.size == rows.n_groups and np.array_equal(of_group, np.arange(of_group.size)):
        return states, is_far
    far = np.zeros(rows.n_groups, np.bool_)
    far[of_group[is_far & (of_group >= 0)]] = True
    return joined(states, of_group, rows.n_groups), far


def _states_of_few(
    x: Any, y: Any, w: Any, codes: Any, n_groups: int, through_origin: bool, n_threads: int | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    block = max(_ROWS_PER_GROUP * n_groups, _FEWEST_ROWS)
    n_parts = max(1, min(_PARTS, x.size // max(block, _ROWS)))
    parts = np.arange(n_parts + 1) * x.size // n_parts
    states, far = np.zeros((n_parts, n_groups, 9)), np.zeros((n_parts, n_groups), np.bool_)
    points = x, y, w, codes, parts, block, through_origin
    _run(_add_parts, 8 * x.size, n_threads, *points, states, far)
    every = np.tile(np.arange(n_groups), n_parts)
    found: NDArray[np.bool_] = np.logical_or.reduce(far)
    return joined(states.reshape(-1, 9), every, n_groups), found


def _states_of_many(
    x: Any, y: Any, w: Any, codes: Any, n_groups: int, through_origin: bool, n_threads: int | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    n_ranges = (n_groups + (1 << _RANGE) - 1) >> _RANGE
    states, far = np.zeros((n_groups, 9)), np.zeros(n_groups, np.bool_)
    size = min(_SLAB, x.size)
    to = (
        *(np.empty(size), np.empty(size), None if w is None else np.empty(size)),
        np.empty(size, codes.dtype),
    )
    for first in range(0, x.size, _SLAB):
        n_blocks = -(-min(_SLAB, x.size - first) // _ROWS)
        counts = np.zeros((n_blocks, n_ranges), np.int64)
        _run(_count_ranges, 4 * size, n_threads, codes, first, _RANGE, counts)
        ends = np.cumsum(counts.sum(axis=0))
        starts = np.concatenate([[0], ends])
        places = starts[:-1] + np.cumsum(counts, axis=0) - counts
        _run(_sort, 8 * size, n_threads, x, y, w, codes, first, _RANGE, places, to)
        xs, ys, ws, kept = to
        points = xs, ys, ws, kept, starts, through_origin
        _run(_add_ranges, 8 * size, n_threads, *points, states, far)
    return states, far


def lines_of(
    states: NDArray[np.float64],
    far: NDArray[np.bool_] | None = None,
    *,
    through_origin: bool,
    min_points: int,
    n_threads: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], bool]:
    """Return the lines of states, in rows; which have residuals that are not resolved; and whether one is suspect."""
    found = np.empty((7, len(states)))
    far = np.zeros(len(states), np.bool_) if far is None else far
    suspects = np.zeros(-(-len(states) // BLOCK), np.bool_)
    outputs = found, far, suspects
    _run(_lines, 8 * len(states), n_threads, states, through_origin, float(min_points), *outputs)
    return found, far, bool(suspects.any())


def fit(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64] | None,
    rows: Rows,
    *,
    through_origin: bool,
    min_points: int,
    n_threads: int | None = None,
) -> Lines:
    """Return the lines of groups.

    Parameters
    ----------
    x, y, w : ndarray, shape (n,)
        Points; w may be None.
    rows : Rows
        Their groups.
    min_points : int
        Lines of fewer points are NaN.
    """
    options: dict[str, Any] = {"through_origin": through_origin, "n_threads": n_threads}
    states, far = states_of(x, y, w, rows, **options)
    found, far, has_suspects = lines_of(states, far, min_points=min_points, **options)
    if far.any():
        has_suspects |= _fit_again(x, y, w, rows, far, through_origin, n_threads, found)
    slope, left, y_mean, x_mean, xx, total, n = found
    return Lines(slope, left, y_mean, x_mean, xx, total, n, has_suspects)


def _fit_again(
    x: Any,
    y: Any,
    w: Any,
    rows: Rows,
    far: NDArray[np.bool_],
    through_origin: bool,
    n_threads: int | None,
    found: NDArray[np.float64],
) -> bool:
    """Fit the lines of some groups once more, from their rows side by side."""
    chosen = np.flatnonzero(far)
    if (
        rows.starts is not None
        and rows.groups is not None
        and rows.groups.size == rows.n_groups
        and bool((np.bincount(rows.groups[rows.groups >= 0], minlength=rows.n_groups) == 1).all())
    ):
        place = np.empty(rows.n_groups, np.int64)
        place[rows.groups] = np.arange(rows.groups.size)
        runs = place[chosen]
        bounds = np.stack([rows.starts[runs], rows.starts[runs + 1]], axis=1)
    else:
        order, starts = rows.in_order(far)
        x, y = x[order], y[order]
        w = None if w is None else w[order]
        bounds = np.stack([starts[chosen], starts[chosen + 1]], axis=1)
    suspects = np.zeros(max(1, min(64, chosen.size)), np.bool_)
    x, y, w = map(read_only, (x, y, w))
    _run(_again, 16 * x.size, n_threads, x, y, w, chosen, bounds, through_origin, found, suspects)
    return bool(suspects.any())
