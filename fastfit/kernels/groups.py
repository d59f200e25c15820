"""Lines of groups of rows: the sums of each group, wherever its rows lie.

A *state* is what is known of a group after some of its rows: their number and the sum of their weights; a point of the
group, the *origin*; how far the means lie from it; and the sums of products of the deviations from the means. The
states of two parts of a group are joined into the state of both parts; it depends on the distance between their means.
So large values cost no digits, and rows may be read in parts. The bounds of parts depend on the number of rows and
groups alone.

Rows of one group that lie side by side, a *run*, are summed where they are (``add_runs``). Other rows add their
distances from the origin to sums of their group (``add_rows``), which become states block by block. Where the sums of
all groups are too many for the cache, rows are first sorted roughly, into ranges of groups (``sort_rows``).

Where the residuals of a group are tiny compared with y, its rows are read once more, as in ``windows``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfit.kernels.block import difference, weight
from fastfit.kernels.flags import BLOCK_SUMS, INLINED, TOTAL, compiled
from fastfit.kernels.many import LOOSE, weighted
from fastfit.kernels.point_sums import line_again, line_of, origin_of

# A state: number of points, sum of weights, origin, means less the origin, sums of products of deviations.
N, WEIGHT, X0, Y0, U, V, UU, UV, VV = range(9)
EMPTY = (0.0,) * 9
# Numbers kept of each group while its rows are added, in the order of a state; without weights, the sum of these is the
# number, and is not kept. Sums of a group fill one cache line, or two.
N_SUMS, N_WEIGHTED = 8, 16
# Rows of a run that are summed about one origin: fewer additions, less rounding.
CHUNK = 1024
# Rows that are added one by one: fewer do not pay for vectors.
FEW = 24


@compiled(INLINED)
def joined(a: Any, b: Any) -> Any:
    """Return the state of the points of two states."""
    n = a[0] + b[0]
    if b[1] == 0.0:
        return n, a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]
    if a[1] == 0.0:
        return n, b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8]
    total = a[1] + b[1]
    share = b[1] / total
    g, h = ((b[2] - a[2]) - a[4]) + b[4], ((b[3] - a[3]) - a[5]) + b[5]
    between = a[1] * share
    gg, gh, hh = between * g * g, between * g * h, between * h * h
    return (
        *(n, total, a[2], a[3], a[4] + share * g, a[5] + share * h),
        *(a[6] + (b[6] + gg), a[7] + (b[7] + gh), a[8] + (b[8] + hh)),
    )


@compiled(INLINED)
def state_at(states: Any, k: Any) -> Any:
    """Return a row of states."""
    return (
        *(states[k, N], states[k, WEIGHT], states[k, X0], states[k, Y0], states[k, U]),
        *(states[k, V], states[k, UU], states[k, UV], states[k, VV]),
    )


@compiled(INLINED)
def put_state(state: Any, states: Any, k: Any) -> None:
    """Write a row of states."""
    for column in range(9):
        states[k, column] = state[column]


# Runs


@compiled(BLOCK_SUMS)
def sum_chunk(x: Any, y: Any, w: Any, first: Any, end: Any, origin: Any) -> Any:
    """Return the number of points of some rows, and sums of weights, of distances from an origin, and of products."""
    n = total = us = vs = uu = uv = vv = 0.0
    for i in range(np.uint64(first), np.uint64(end)):
        a, b, k = np.float64(x[i]), np.float64(y[i]), weight(w, i)
        counts = not (np.isnan(a) | np.isnan(b) | np.isnan(k))
        u = difference(a, origin[0]) if counts else 0.0
        v = difference(b, origin[1]) if counts else 0.0
        k = k if counts else 0.0
        ku, kv = weighted(w, k, u), weighted(w, k, v)
        n += 1.0 if counts else 0.0
        total += k if k >= 0.0 else np.nan
        us += ku
        vs += kv
        uu += ku * u
        uv += ku * v
        vv += kv * v
    return n, n if w is None else total, us, vs, uu, uv, vv


@compiled(TOTAL)
def state_of(x: Any, y: Any, w: Any, first: Any, end: Any, through_origin: Any) -> Any:
    """Return the state of some rows, and whether the origin is so far from them that sums lost digits."""
    state, is_far = EMPTY, False
    for start in range(first, end, CHUNK):
        stop = min(start + CHUNK, end)
        x0, y0 = origin_of(x, y, w, start, stop, 1, through_origin)
        n, total, us, vs, uu, uv, vv = sum_chunk(x, y, w, start, stop, (x0, y0))
        part = centred(n, total, x0, y0, us, vs, uu, uv, vv, through_origin)
        is_far |= (uu > LOOSE * part[UU]) | (vv > LOOSE * part[VV])
        state = joined(state, part)
    return state, is_far


@compiled(TOTAL)
def state_of_few(x: Any, y: Any, w: Any, first: Any, end: Any, through_origin: Any) -> Any:
    """Return the state of few rows, added one by one."""
    n = total = x0 = y0 = us = vs = uu = uv = vv = 0.0
    for i in range(first, end):
        a, b, k = np.float64(x[i]), np.float64(y[i]), weight(w, i)
        if np.isnan(a) | np.isnan(b) | np.isnan(k):
            continue
        if not (total > 0.0 or through_origin):
            x0, y0 = a, b
        u, v = a - x0, b - y0
        ku, kv = weighted(w, k, u), weighted(w, k, v)
        n, total = n + 1.0, total + (k if k >= 0.0 else np.nan)
        us, vs = us + ku, vs + kv
        uu, uv, vv = uu + ku * u, uv + ku * v, vv + kv * v
    return centred(n, total, x0, y0, us, vs, uu, uv, vv, through_origin)


@compiled(INLINED)
def centred(
    n: Any,
    total: Any,
    x0: Any,
    y0: Any,
    us: Any,
    vs: Any,
    uu: Any,
    uv: Any,
    vv: Any,
    through_origin: Any,
) -> Any:
    """Return the state that sums of distances from an origin amount to."""
    if through_origin or total == 0.0:
        return n, total, x0, y0, 0.0, 0.0, uu, uv, vv
    u, v = us / total, vs / total
    return n, total, x0, y0, u, v, uu - u * us, uv - u * vs, vv - v * vs


@compiled(TOTAL)
def add_runs(
    x: Any,
    y: Any,
    w: Any,
    starts: Any,
    first: Any,
    end: Any,
    through_origin: Any,
    states: Any,
    far: Any,
) -> None:
    """Write the states of some runs, each from its start to the next, and which lost digits."""
    for k in range(first, end):
        low, high = starts[k], starts[k + 1]
        if high - low > FEW:
            state, far[k] = state_of(x, y, w, low, high, through_origin)
            put_state(state, states, k)
        else:
            put_state(state_of_few(x, y, w, low, high, through_origin), states, k)


@compiled(TOTAL)
def find_runs(keys: Any, first: Any, end: Any, starts: Any) -> Any:
    """Write the rows of some where another key begins; return their number, which has no room if it is too large."""
    n = 0
    if first == 0 and end > 0:
        starts[0], n, first = 0, 1, 1
    for low in range(first, end, 64):
        high = min(low + 64, end)
        n_changes = 0
        for i in range(np.uint64(low), np.uint64(high)):
            n_changes += keys[i] != keys[i - np.uint64(1)]
        if n_changes > 0:
            for i in range(low, high):
                if keys[i] != keys[i - 1]:
                    if n < starts.size:
                        starts[n] = i
                    n += 1
    return n


@compiled(TOTAL)
def find_range(keys: Any, first: Any, end: Any, least: Any, most: Any) -> None:
    """Write the least and the largest of some keys, which are integers, to entry 0 of arrays."""
    low = high = keys[first]
    for i in range(np.uint64(first), np.uint64(end)):
        low, high = min(low, keys[i]), max(high, keys[i])
    least[0], most[0] = low, high


@compiled(TOTAL)
def join_runs(states: Any, groups: Any, totals: Any) -> None:
    """Join the state of each run to that of its group, in ``totals``. Runs whose group is -1 are left out."""
    for k in range(groups.size):
        g = groups[k]
        if g >= 0:
            put_state(joined(state_at(totals, g), state_at(states, k)), totals, g)


# Rows in any order


@compiled(TOTAL)
def add_rows(
    x: Any,
    y: Any,
    w: Any,
    codes: Any,
    first: Any,
    end: Any,
    lowest: Any,
    through_origin: Any,
    sums: Any,
) -> None:
    """Add the points of some rows to the sums of their groups, which are counted from the lowest; code -1 is none."""
    for i in range(first, end):
        code = np.int64(codes[i])
        a, b, k = np.float64(x[i]), np.float64(y[i]), weight(w, i)
        if code < 0 or (np.isnan(a) | np.isnan(b) | np.isnan(k)):
            continue
        at = np.uint64(code - lowest) * np.uint64(N_SUMS if w is None else N_WEIGHTED)
        total = sums[at] if w is None else sums[at + np.uint64(8)]
        if not (total > 0.0 or through_origin):
            sums[at + np.uint64(1)], sums[at + np.uint64(2)] = a, b
        u, v = a - sums[at + np.uint64(1)], b - sums[at + np.uint64(2)]
        ku, kv = weighted(w, k, u), weighted(w, k, v)
        sums[at] += 1.0
        sums[at + np.uint64(3)] += ku
        sums[at + np.uint64(4)] += kv
        sums[at + np.uint64(5)] += ku * u
        sums[at + np.uint64(6)] += ku * v
        sums[at + np.uint64(7)] += kv * v
        if w is not None:
            sums[at + np.uint64(8)] += k if k >= 0.0 else np.nan


@compiled(TOTAL)
def add_blocks(
    x: Any,
    y: Any,
    w: Any,
    codes: Any,
    rows: Any,
    block: Any,
    lowest: Any,
    through_origin: Any,
    sums: Any,
    states: Any,
    far: Any,
) -> None:
    """Add the points of some rows to the states of their groups, block by block; ``sums`` are 0 before and after.

    ``far`` is set for groups whose origin in some block is so far from the other points that sums lost digits.
    """
    first, end = rows
    width = N_SUMS if w is None else N_WEIGHTED
    for start in range(first, end, block):
        add_rows(x, y, w, codes, start, min(start + block, end), lowest, through_origin, sums)
        for k in range(len(states)):
            at = k * width
            if sums[at] > 0.0:
                n = total = sums[at]
                if w is not None:
                    total = sums[at + 8]
                x0, y0, us, vs = sums[at + 1], sums[at + 2], sums[at + 3], sums[at + 4]
                uu, uv, vv = sums[at + 5], sums[at + 6], sums[at + 7]
                part = centred(n, total, x0, y0, us, vs, uu, uv, vv, through_origin)
                far[k] |= (uu > LOOSE * part[UU]) | (vv > LOOSE * part[VV])
                for column in range(width):
                    sums[at + column] = 0.0
                put_state(joined(state_at(states, k), part), states, k)


@compiled(TOTAL)
def count_rows(codes: Any, first: Any, end: Any, shift: Any, counts: Any) -> None:
    """Count some rows by ranges of groups, of two to the power of ``shift`` each."""
    for i in range(first, end):
        if codes[i] >= 0:
            counts[np.uint64(codes[i]) >> np.uint64(shift)] += 1


@compiled(TOTAL)
def sort_rows(
    x: Any,
    y: Any,
    w: Any,
    codes: Any,
    first: Any,
    end: Any,
    shift: Any,
    places: Any,
    to: Any,
) -> None:
    """Copy some rows to where the rows of their range of groups lie; ``places`` says where the next of each goes."""
    xs, ys, ws, kept = to
    for i in range(first, end):
        if codes[i] >= 0:
            part = np.uint64(codes[i]) >> np.uint64(shift)
            at = np.uint64(places[part])
            places[part] += 1
            xs[at], ys[at], kept[at] = x[i], y[i], codes[i]
            if w is not None:
                ws[at] = w[i]


@compiled(TOTAL)
def count_chosen(codes: Any, chosen: Any, counts: Any) -> None:
    """Count the rows of chosen groups."""
    for i in range(codes.size):
        code = codes[i]
        if code >= 0 and chosen[code]:
            counts[code] += 1


@compiled(TOTAL)
def order_rows(codes: Any, chosen: Any, places: Any, order: Any) -> None:
    """Write the rows of chosen groups, one group after the other; ``places`` says where the next of each goes."""
    for i in range(codes.size):
        code = codes[i]
        if code >= 0 and chosen[code]:
            order[places[code]] = i
            places[code] += 1


# Lines


@compiled(TOTAL)
def lines_of(
    states: Any, first: Any, end: Any, through_origin: Any, least: Any, found: Any, far: Any
) -> Any:
    """Write the lines of some states, in rows as ``RESULTS`` of ``windows`` names them, and the number of points.

    ``far`` is set for groups whose residuals are not resolved, too. Return whether a line is suspect.
    """
    n_suspect, fewest = 0, 1.0 if through_origin else 2.0
    for k in range(first, end):
        n, total = states[k, N], states[k, WEIGHT]
        means = states[k, X0] + states[k, U], states[k, Y0] + states[k, V]
        squares = states[k, UU], states[k, UV], states[k, VV]
        slope, left, is_far, is_suspect = line_of(n, total, means, squares, fewest)
        n_suspect += 1 if (n >= least) & is_suspect else 0
        is_far |= (total * states[k, U] ** 2 > LOOSE * squares[0]) & (n > fewest)
        is_far |= (total * states[k, V] ** 2 > LOOSE * squares[2]) & (n > fewest)
        far[k] = (far[k] | is_far) & (n >= least)
        found[0, k] = slope if n >= least else np.nan
        found[1, k], found[2, k], found[3, k] = left, means[1], means[0]
        found[4, k], found[5, k], found[6, k] = squares[0], total, n
    return n_suspect > 0


@compiled(TOTAL)
def fit_again(
    x: Any,
    y: Any,
    w: Any,
    groups: Any,
    bounds: Any,
    first: Any,
    end: Any,
    through_origin: Any,
    scratch: Any,
    found: Any,
) -> Any:
    """Fit the lines of some groups once more, from rows between bounds; return whether one is suspect."""
    has_suspects = False
    for k in range(first, end):
        group = groups[k]
        line = found[0, group], found[2, group], found[3, group]
        new, is_suspect = line_again(
            x, y, w, bounds[k, 0], bounds[k, 1], through_origin, line, scratch
        )
        for row in range(5):
            found[row, group] = new[row]
        has_suspects |= is_suspect
    return has_suspects
