"""Lines of windows that move along points: the sums of each window, which are only ever added up.

A window is a range of rows, and the bounds of windows never fall. Rows before a *pivot* are summed backwards, once, and
what each sum was is kept; rows from the pivot on are summed forwards, as windows reach them. A window is one sum of
either kind. When windows have left all rows before the pivot behind, the next pivot is the end of a window. So no point
is ever subtracted, and what has left a window leaves no trace.

Distances are from an *origin* that lies in the window: backwards, from the last point that counts before the pivot;
forwards, from the first that counts from it on. So neither large values of x and y nor those outside of a window cost
digits. Where the residuals of a window are tiny compared with y, or its origin is an outlier, its points are summed
once more: their distances from the line just found, with rounding errors included, as ``many`` does. That would take
too long for wide windows. For them, the origin moves to the means of the points so far, if it is an outlier.

Sums are made row by row. They are kept side by side for some windows at a time, whose lines are found in one loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastfit.kernels.block import weight
from fastfit.kernels.flags import INLINED, TOTAL, compiled
from fastfit.kernels.many import LOOSE
from fastfit.kernels.point_sums import (
    N_SUMS,
    NOTHING,
    line_again,
    line_of,
    origin_of,
    with_point,
)

# Rows are summed in blocks of this many, and then the sums of blocks: so there is less rounding.
BLOCK = 128
# Running sums before the first row, as ``add_rows`` takes them.
EMPTY = (NOTHING, NOTHING, 0)
# Most points of a window that are summed once more: else that would take longer than all windows do.
MOST = 4096
# What stands for the residuals of wider windows, where sums do not resolve them.
UNRESOLVED = -2.0
# Windows whose lines are found at a time. All that is kept of them stays in the fastest cache.
TOGETHER = 128
# Offset from what is kept of windows to the next of its kind. Not a multiple of 4,096 bytes, as in ``many``.
STRIDE = TOGETHER + 8
# What is kept of windows: sums from the pivot on, sums before it, and the origins of both.
BEHIND, ORIGINS = N_SUMS * STRIDE, 2 * N_SUMS * STRIDE
X0, Y0, X1, Y1 = (ORIGINS + k * STRIDE for k in range(4))
N_KEPT = ORIGINS + 4 * STRIDE
# The results of a window. They take the place of its sums from the pivot on, which are not needed any more by then. The
# first two of these sums are numbers of points and sums of weights; those of the whole window stand there in the end.
RESULTS = ("slope", "residual_square", "y_mean", "x_mean", "xx", "w")
W = STRIDE
SLOPE, RESIDUAL_SQUARE, Y_MEAN, X_MEAN, XX = (k * STRIDE for k in range(2, N_SUMS))


@compiled(INLINED)
def put(sums: Any, w: Any, to: Any, stride: Any, column: Any) -> None:
    """Write sums to a column; the sum of weights is left out where there are no weights."""
    at, step = np.uint64(column), np.uint64(stride)
    to[at] = sums[0]
    if w is not None:
        to[at + step] = sums[1]
    to[at + np.uint64(2) * step], to[at + np.uint64(3) * step] = sums[2], sums[3]
    to[at + np.uint64(4) * step], to[at + np.uint64(5) * step] = sums[4], sums[5]
    to[at + np.uint64(6) * step] = sums[6]


@compiled(INLINED)
def plus(a: Any, b: Any) -> Any:
    """Return the sums of two sets of points."""
    return (
        *(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]),
        *(a[4] + b[4], a[5] + b[5], a[6] + b[6]),
    )


@compiled(INLINED)
def moved(sums: Any, g: Any, h: Any) -> Any:
    """Return sums of distances from another origin: x lies g, and y lies h further from it."""
    n, total, us, vs, uu, uv, vv = sums
    us_moved, vs_moved = us + total * g, vs + total * h
    return (
        *(n, total, us_moved, vs_moved, uu + g * (us + us_moved)),
        *(uv + (g * vs + h * us_moved), vv + h * (vs + vs_moved)),
    )


@compiled(TOTAL)
def add_rows(
    x: Any,
    y: Any,
    w: Any,
    running: Any,
    first: Any,
    n: Any,
    direction: Any,
    origin: Any,
    to: Any,
    stride: Any,
    column: Any,
) -> Any:
    """Add n rows one by one, and write the sums after each to the next column, if there is ``to``.

    ``running`` has three parts: the sums of all whole blocks before, the sums of the block that has begun, and how many
    rows that has. It is returned for the rows that follow. Blocks keep rounding errors from growing with the rows.
    """
    blocks, part, n_part = running
    done = 0
    while done < n:
        m = min(n - done, BLOCK - n_part)
        for k in range(done, done + m):
            i = np.uint64(first + k * direction)
            part = with_point(part, w, x[i], y[i], weight(w, i), origin)
            if to is not None:
                put(plus(blocks, part), w, to, stride, column + k * direction)
        done += m
        n_part += m
        if n_part == BLOCK:
            blocks, part, n_part = plus(blocks, part), NOTHING, 0
    return blocks, part, n_part


@compiled(TOTAL)
def add_blocks(
    x: Any,
    y: Any,
    w: Any,
    running: Any,
    origin: Any,
    first: Any,
    n: Any,
    direction: Any,
    through_origin: Any,
    to: Any,
    stride: Any,
    column: Any,
) -> Any:
    """Add n rows as ``add_rows`` does, and return the origin of what follows, too.

    If the origin lies so far from the points of whole blocks that sums lose digits, it moves to their means, and the
    last block is summed once more.
    """
    done = 0
    while done < n:
        m, before = min(n - done, BLOCK - running[2]), running[0]
        at = first + done * direction, m, direction, origin
        running = add_rows(x, y, w, running, *at, to, stride, column + done * direction)
        done += m
        if running[2] == 0 and not through_origin:
            u, v, is_far = way_to_means(running[0], origin)
            if is_far:
                origin = origin[0] + u, origin[1] + v
                running = moved(before, -u, -v), NOTHING, 0
                at = first + (done - BLOCK) * direction, BLOCK, direction, origin
                running = add_rows(x, y, w, running, *at, None, 0, 0)
    return running, origin


@compiled(INLINED)
def way_to_means(sums: Any, origin: Any) -> Any:
    """Return how far the means are from the origin, in x and in y, and whether that is so far that sums lose digits."""
    _, total, us, vs, uu, _, vv = sums
    u, v = us / total, vs / total
    is_far = (u * us > LOOSE * (uu - u * us)) | (v * vs > LOOSE * (vv - v * vs))
    # As the new origin will be rounded.
    return (origin[0] + u) - origin[0], (origin[1] + v) - origin[1], is_far


@compiled(INLINED)
def moves_steadily(m: Any, low: Any, high: Any) -> Any:
    """Return whether m windows each begin and end one row after the one before, and have rows."""
    n = 0
    for k in range(1, m):
        n += (low[k] - low[k - 1] == 1) & (high[k] - high[k - 1] == 1)
    return n == m - 1 and low[0] < high[0]


@compiled(INLINED)
def differ(a: Any, b: Any) -> Any:
    """Return whether two points differ."""
    return (a[0] != b[0]) | (a[1] != b[1])


@compiled(INLINED)
def fill(kept: Any, first: Any, end: Any, origin: Any, last: Any) -> None:
    """Write the origins of some windows: of their sums from the pivot on, and of those before it."""
    (x0, y0), (x1, y1) = origin, last
    for k in range(first, end):
        j = np.uint64(k)
        kept[np.uint64(X0) + j] = x0
        kept[np.uint64(Y0) + j] = y0
        kept[np.uint64(X1) + j] = x1
        kept[np.uint64(Y1) + j] = y1


@compiled(TOTAL)
def find_origins(
    x: Any, y: Any, w: Any, origin: Any, first: Any, n: Any, through_origin: Any, origins: Any
) -> None:
    """Write the origin of each block of n rows, which are added backwards from the first one."""
    running = EMPTY
    for start in range(0, n, BLOCK):
        origins[start // BLOCK, 0], origins[start // BLOCK, 1] = origin
        at = first - start, min(BLOCK, n - start), -1, through_origin
        running, origin = add_blocks(x, y, w, running, origin, *at, None, 0, 0)


@compiled(TOTAL)
def origin_near(
    x: Any, y: Any, w: Any, last: Any, pivot: Any, origin: Any, through_origin: Any
) -> Any:
    """Return an origin for rows from a pivot on: the means of a block before, if the given one is an outlier there."""
    at = pivot - 1, BLOCK, -1, through_origin
    (sums, _, _), near = add_blocks(x, y, w, EMPTY, last, *at, None, 0, 0)
    _, total, us, vs, uu, _, vv = sums
    u, v, _ = way_to_means(sums, near)
    g, h = origin[0] - (near[0] + u), origin[1] - (near[1] + v)
    is_far = (g * g * total > LOOSE * (uu - u * us)) | (h * h * total > LOOSE * (vv - v * vs))
    return (near[0] + u, near[1] + v) if is_far and not through_origin else origin


@compiled(TOTAL)
def sum_windows(  # noqa: PLR0912, PLR0915  # in parts, it would pass arrays more often, which costs 100 ns on one thread
    x: Any,
    y: Any,
    w: Any,
    m: Any,
    low: Any,
    high: Any,
    through_origin: Any,
    behind: Any,
    origins: Any,
    columns: Any,
    kept: Any,
    state: Any,
) -> Any:
    """Write the sums of m windows to ``kept``, and return their number, and what the next windows go on from.

    ``columns`` are set to the columns of ``behind`` with the sums before the pivot. Its last column, of zeros, is left
    to windows without rows. Rows before the pivot have one origin, ``last``, or, if that is NaN, one for each block, in
    ``origins``.
    """
    pivot, base, reach, at, origin, last, running = state
    n_columns = behind.size // N_SUMS
    is_steady = moves_steadily(m, low, high)
    k = 0
    while k < m:
        if not low[k] < high[k]:
            columns[k] = n_columns - 1
            put(NOTHING, w, kept, STRIDE, k)
            for row in range(4):
                kept[ORIGINS + row * STRIDE + k] = 0.0
            k += 1
            continue
        if low[k] >= pivot:
            free, n_rows = at + pivot - base, high[k] - low[k]
            if free + n_rows >= n_columns:
                if k > 0:
                    break
                free = 0
            base, at = low[k], free
            pivot = reach = high[k]
            last = origin_of(x, y, w, pivot - 1, base - 1, -1, through_origin)
            row, column = pivot - 1, at + n_rows - 1
            if n_rows < BLOCK:
                add_rows(x, y, w, EMPTY, row, n_rows, -1, last, behind, n_columns, column)
            else:
                origins[0, 0], origins[0, 1] = last
                rows, to = (row, n_rows, -1, through_origin), (n_columns, column)
                _, final = add_blocks(x, y, w, EMPTY, last, *rows, behind, *to)
                if differ(final, last):
                    find_origins(x, y, w, last, pivot - 1, n_rows, through_origin, origins)
                    last = np.nan, np.nan
            running = EMPTY
        # A run: windows that each begin and end one row after the one before.
        end = min(m, k + pivot - low[k]) if is_steady else k + 1
        if not running[0][1] + running[1][1] > 0.0:  # points of weight 0 have added nothing
            origin = origin_of(x, y, w, reach, high[end - 1], 1, through_origin)
            if pivot - base > MOST:
                near = origins[0, 0], origins[0, 1]
                origin = origin_near(x, y, w, near, pivot, origin, through_origin)
        n_rows = high[k] - reach
        if running[2] + n_rows < BLOCK:
            running = add_rows(x, y, w, running, reach, n_rows, 1, origin, None, 0, 0)
        else:
            rows = reach, n_rows, 1, through_origin
            running, origin = add_blocks(x, y, w, running, origin, *rows, None, 0, 0)
        put(plus(running[0], running[1]), w, kept, STRIDE, k)
        fill(kept, k, end, origin, last)
        row, n_rows, moves = high[k], end - k - 1, k + 1 + BLOCK - running[2]
        if moves > end:
            running = add_rows(x, y, w, running, row, n_rows, 1, origin, kept, STRIDE, k + 1)
        else:
            rows = row, n_rows, 1, through_origin
            running, final = add_blocks(x, y, w, running, origin, *rows, kept, STRIDE, k + 1)
            if differ(final, origin):
                fill(kept, moves, end, final, last)
                origin = final
        if np.isnan(last[0]):
            for j in range(k, end):
                block = (pivot - 1 - low[j]) // BLOCK
                kept[X1 + j], kept[Y1 + j] = origins[block, 0], origins[block, 1]
        column = at + low[k] - base
        for j in range(k, end):
            columns[np.uint64(j)] = column + (j - k)
        k, reach = end, high[end - 1]
    return k, (pivot, base, reach, at, origin, last, running)


@compiled(INLINED)
def lie_together(m: Any, columns: Any) -> Any:
    """Return whether the sums before the pivot of m windows lie side by side."""
    n_elsewhere = 0
    for k in range(m):
        n_elsewhere += columns[k] != columns[0] + k
    return n_elsewhere == 0


@compiled(INLINED)
def fetch(w: Any, m: Any, behind: Any, columns: Any, kept: Any) -> None:
    """Copy the sums before the pivot of m windows to where the others are kept."""
    n_columns = behind.size // N_SUMS
    for row in range(N_SUMS):
        if row != 1 or w is not None:
            given = behind[row * n_columns : (row + 1) * n_columns]
            to = kept[BEHIND + row * STRIDE : BEHIND + row * STRIDE + m]
            for k in range(m):
                to[k] = given[columns[k]]


@compiled(TOTAL)
def lines_of(
    w: Any, m: Any, through_origin: Any, least: Any, there: Any, start: Any, step: Any, kept: Any
) -> Any:
    """Find the lines of m windows, and their numbers of points, from their sums. Few points make NaN of a slope.

    Return how many windows are to be summed once more, and notes: 1 if a line is suspect, 2 if residuals of wide
    windows are not resolved.
    """
    moves = 0.0 if through_origin else 1.0
    n_far = n_suspect = n_lost = 0
    for k in range(m):
        at = np.uint64(start) + np.uint64(k)
        p, q = kept[k], there[at]
        n = total = p + q
        if w is not None:
            p, q = kept[STRIDE + k], there[at + np.uint64(step)]
            total = p + q
        us, vs = there[at + np.uint64(2 * step)], there[at + np.uint64(3 * step)]
        x0, y0, x1, y1 = kept[X0 + k], kept[Y0 + k], kept[X1 + k], kept[Y1 + k]
        x0, y0 = x0 if p > 0.0 else x1, y0 if p > 0.0 else y1
        g, h = x1 - x0 if q > 0.0 else 0.0, y1 - y0 if q > 0.0 else 0.0
        us_there, vs_there = us + q * g, vs + q * h
        uu = kept[4 * STRIDE + k] + (there[at + np.uint64(4 * step)] + g * (us + us_there))
        cross = g * vs + h * us_there
        uv = kept[5 * STRIDE + k] + (there[at + np.uint64(5 * step)] + cross)
        vv = kept[6 * STRIDE + k] + (there[at + np.uint64(6 * step)] + h * (vs + vs_there))
        us, vs = kept[2 * STRIDE + k] + us_there, kept[3 * STRIDE + k] + vs_there
        u_mean, v_mean = moves * us / total, moves * vs / total
        xx, xy, yy = uu - u_mean * us, uv - u_mean * vs, vv - v_mean * vs
        x_mean, y_mean = x0 + u_mean, y0 + v_mean
        slope, left, is_far, is_suspect = line_of(
            n, total, (x_mean, y_mean), (xx, xy, yy), 1.0 + moves
        )
        is_lost = is_far & (n > MOST)
        left = UNRESOLVED if is_lost else left
        is_far |= max(u_mean * us, q * g * g) > LOOSE * xx
        is_far |= max(v_mean * vs, q * h * h) > LOOSE * yy
        is_far &= (n <= MOST) & (n >= least)
        n_lost += 1 if is_lost & (n >= least) else 0
        n_far += 1 if is_far else 0
        n_suspect += 1 if (n >= least) & is_suspect else 0
        kept[SLOPE + k] = slope if n >= least else np.nan
        kept[RESIDUAL_SQUARE + k] = -1.0 if is_far else left
        kept[Y_MEAN + k], kept[X_MEAN + k], kept[XX + k] = y_mean, x_mean, xx
        kept[k] = n
        if w is not None:
            kept[W + k] = total
    return n_far, (1 if n_suspect > 0 else 0) | (2 if n_lost > 0 else 0)


@compiled(TOTAL)
def sum_again(
    x: Any,
    y: Any,
    w: Any,
    m: Any,
    low: Any,
    high: Any,
    through_origin: Any,
    kept: Any,
    scratch: Any,
) -> Any:
    """Refit the windows that ``lines_of`` has marked, from exact residuals; return 1 if a line is suspect, else 0."""
    n_suspect = 0
    for k in range(m):
        if kept[RESIDUAL_SQUARE + k] == -1.0:
            line = kept[SLOPE + k], kept[Y_MEAN + k], kept[X_MEAN + k]
            own = low[k], high[k]
            new, is_suspect = line_again(x, y, w, *own, through_origin, line, scratch)
            for row in range(5):
                kept[SLOPE + row * STRIDE + k] = new[row]
            n_suspect += 1 if is_suspect else 0
    return 1 if n_suspect > 0 else 0


# The bounds of windows

BY_NUMBER, BY_WIDTH, GIVEN = range(3)


class Rule(NamedTuple):
    """How the window of a row follows from the row. One type for all kinds, so that the loops are compiled once.

    Attributes
    ----------
    kind : int
        Which of the following fields count: BY_NUMBER the first two, BY_WIDTH the next four, GIVEN the last two.
    before, after : int
        The window of row i has the rows from i - before up to, not including, i + after.
    least, most : float
        The window of row i has the rows j with ``least <= x[j] - x[i] <= most``.
    has_least, has_most : bool
        Whether these bounds are included; else ``<`` stands for ``<=``.
    low, high : ndarray of int64
        The window of row i has the rows from low[i] up to, not including, high[i].
    """

    kind: int
    before: int
    after: int
    least: float
    most: float
    has_least: bool
    has_most: bool
    low: Any
    high: Any


_NO_BOUNDS = np.empty(0, np.int64)
_NO_BOUNDS.flags.writeable = False
# The window of a row is the row alone. Other rules are made from this one by ``_replace``.
ROW_ALONE = Rule(BY_NUMBER, 0, 1, 0.0, 0.0, True, True, _NO_BOUNDS, _NO_BOUNDS)


@compiled(INLINED)
def by_number(
    n: Any, before: Any, after: Any, step: Any, first: Any, last: Any, low: Any, high: Any
) -> None:
    """Write the bounds of windows from ``before`` rows before to ``after`` rows after every ``step``-th of n rows."""
    i = first * step
    for k in range(last - first):
        low[k] = min(max(i - before, 0), n)
        high[k] = max(min(i + after, n), 0)
        i += step


@compiled(TOTAL)
def by_width(x: Any, rule: Any, step: Any, first: Any, last: Any, low: Any, high: Any) -> None:
    """Write the bounds of windows by their width in x around every ``step``-th row. x must not fall."""
    least, most, has_least, has_most = rule.least, rule.most, rule.has_least, rule.has_most
    start = bisected(x, x[first * step], least, has_least)
    stop = bisected(x, x[first * step], most, not has_most)
    for k in range(first, last):
        at = x[k * step]
        while start < x.size and is_below(x[start] - at, least, has_least):
            start += 1
        while stop < x.size and is_below(x[stop] - at, most, not has_most):
            stop += 1
        low[k - first], high[k - first] = start, stop


@compiled(TOTAL)
def widest(x: Any, rule: Any) -> Any:
    """Return the largest number of rows of windows by width."""
    least, most, has_least, has_most = rule.least, rule.most, rule.has_least, rule.has_most
    start, stop, most_rows = 0, 0, 0
    for k in range(x.size):
        while start < x.size and is_below(x[start] - x[k], least, has_least):
            start += 1
        while stop < x.size and is_below(x[stop] - x[k], most, not has_most):
            stop += 1
        most_rows = max(most_rows, stop - start)
    return most_rows


@compiled(TOTAL)
def is_below(distance: Any, bound: Any, belongs: Any) -> Any:
    """Return whether a distance lies before what belongs to a window, from a bound on."""
    return distance < bound or (distance == bound and not belongs)


@compiled(TOTAL)
def bisected(x: Any, at: Any, bound: Any, belongs: Any) -> Any:
    """Return the first row that does not lie before a bound, by halving."""
    start, end = 0, x.size
    while start < end:
        middle = (start + end) // 2
        if is_below(x[middle] - at, bound, belongs):
            start = middle + 1
        else:
            end = middle
    return start


@compiled(TOTAL)
def as_given(x: Any, rule: Any, step: Any, first: Any, last: Any, low: Any, high: Any) -> None:
    """Write the bounds of windows that are given for each row."""
    for k in range(first, last):
        low[k - first], high[k - first] = rule.low[k * step], rule.high[k * step]


@compiled(TOTAL)
def bounds_in_groups(x: Any, rule: Any, starts: Any, low: Any, high: Any) -> None:
    """Write the bounds of the windows at all rows, where those from each start to the next are a table of their own."""
    for g in range(starts.size - 1):
        first, end = starts[g], starts[g + 1]
        if first < end:
            own = low[first:end], high[first:end]
            bounds(x[first:end], rule, 1, 0, end - first, *own)
            for k in range(first, end):
                low[k] += first
                high[k] += first


@compiled(TOTAL)
def bounds(x: Any, rule: Any, step: Any, first: Any, last: Any, low: Any, high: Any) -> None:
    """Write the bounds of windows by a rule."""
    if rule.kind == BY_NUMBER:
        by_number(x.size, rule.before, rule.after, step, first, last, low, high)
    elif rule.kind == BY_WIDTH:
        by_width(x, rule, step, first, last, low, high)
    else:
        as_given(x, rule, step, first, last, low, high)


# Lines


@compiled(TOTAL)
def fit_windows(
    x: Any,
    y: Any,
    w: Any,
    rule: Any,
    step: Any,
    through_origin: Any,
    least: Any,
    size: Any,
    chunks: Any,
    scratch: Any,
    found: Any,
    counts: Any,
    suspects: Any,
) -> None:
    """Write the lines of some chunks of windows, of this size each; the first of a chunk starts anew.

    ``found`` has rows for the first of ``RESULTS``, as many as are asked for. The first row of ``counts``, if there is
    one, gets the number of points of each window; a second, for rules other than BY_NUMBER, the number of its rows.
    ``suspects`` gets the notes of each chunk, as ``lines_of`` returns them.

    ``scratch`` holds five arrays to work in: the sums from each row to the pivot, whose last column is zeros, and the
    origins of their blocks; what is kept of windows; their bounds and columns; and the sums of a window that is summed
    once more.
    """
    behind, origins, kept, bounds_of, sums = scratch
    low, high, columns = bounds_of[0], bounds_of[1], bounds_of[2]
    n_windows = found.shape[1]
    is_by_number, before, after = rule.kind == BY_NUMBER, rule.before, rule.after
    for chunk in range(chunks[0], chunks[1]):
        first, end = chunk * size, min((chunk + 1) * size, n_windows)
        state = -1, -1, 0, 0, (0.0, 0.0), (0.0, 0.0), EMPTY
        while first < end:
            m = min(TOGETHER, end - first)
            if is_by_number:  # inlined: a call that passes the arrays of the rule takes some 100 ns
                by_number(y.size, before, after, step, first, first + m, low, high)
            else:
                bounds(x, rule, step, first, first + m, low, high)
            m, state = sum_windows(
                x, y, w, m, low, high, through_origin, behind, origins, columns, kept, state
            )
            there, start, step_of = behind, columns[0], behind.size // N_SUMS
            if not lie_together(m, columns):
                fetch(w, m, behind, columns, kept)
                there, start, step_of = kept, BEHIND, STRIDE
            n_far, notes = lines_of(w, m, through_origin, least, there, start, step_of, kept)
            suspects[chunk] |= notes
            if n_far > 0:
                suspects[chunk] |= sum_again(x, y, w, m, low, high, through_origin, kept, sums)
            for row in range(len(found)):
                at = SLOPE + row * STRIDE if row < 5 else W
                for k in range(m):
                    found[row, np.uint64(first + k)] = kept[at + k]
            if len(counts) > 0:
                for k in range(m):
                    counts[0, first + k] = kept[k]
            if len(counts) > 1:
                for k in range(m):
                    counts[1, first + k] = max(high[k] - low[k], 0)
            first += m
