"""Lines of windows that move along points: the sums of each window, which are only ever added up.

A window is a range of rows, and the bounds of windows never fall. Rows before a *pivot* are summed backwards, once, and
what each sum was is kept; rows from the pivot on are summed forwards, as windows reach them. A window is one sum of
either kind. When windows have left all rows before the pivot behind, the next pivot is the end of a window. So no point
is ever subtracted, and what has left a window leaves no trace.

Distances are from points that lie in the window: the last that counts before the pivot, and the first that counts from
it on. So neither large values of x and y nor those outside of a window cost digits. Where the residuals of a window are
tiny compared with y, its points are summed once more: their distances from the line just found, with rounding errors
included, as ``many`` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfit.exact.double_double import fused
from fastfit.kernels import many
from fastfit.kernels.block import weight
from fastfit.kernels.flags import INLINED, TOTAL, compiled
from fastfit.kernels.many import weighted

# Windows whose sums are turned into lines at a time.
TOGETHER = 1024
# Number of sums over points: of 1, of weights, of weighted distances u and v, and of their products uu, uv and vv.
N_SUMS = 7
NOTHING = (0.0,) * N_SUMS
# Least ratio of residuals to the squares of y about their mean that sums about a point resolve to ten digits.
RESOLVED = 2.0**-20

# Offset from what is kept of windows to the next of its kind. Not a multiple of 4,096 bytes, as in ``many``.
STRIDE = TOGETHER + 8
# What is kept of windows: their sums, and the point that distances are from. Then what is found, in the order of
# ``many.RESULTS``.
POINTS, TOTAL_WEIGHT, U, V, UU, UV, VV, X0, Y0 = (k * STRIDE for k in range(9))
SLOPE, INTERCEPT, RESIDUAL_SQUARE, Y_MEAN, N, X_MEAN, XX, W = (k * STRIDE for k in range(9, 17))
N_KEPT = 17 * STRIDE


@compiled(INLINED)
def with_point(sums: Any, w: Any, x: Any, y: Any, k: Any, origin: Any) -> Any:
    """Return sums with one more point, of weight k; without it, if one of the three is NaN."""
    n, total, us, vs, uu, uv, vv = sums
    counts = not (np.isnan(x) | np.isnan(y) | np.isnan(k))
    u = x - origin[0] if counts else 0.0
    v = y - origin[1] if counts else 0.0
    k = k if counts else 0.0
    ku, kv = weighted(w, k, u), weighted(w, k, v)
    one, share = 1.0 if counts else 0.0, k if k >= 0.0 else np.nan
    uu, uv, vv = fused(ku, u, uu), fused(ku, v, uv), fused(kv, v, vv)
    return n + one, total + share, us + ku, vs + kv, uu, uv, vv


@compiled(TOTAL)
def sum_windows(
    x: Any,
    y: Any,
    w: Any,
    low: Any,
    high: Any,
    through_origin: Any,
    before: Any,
    kept: Any,
    state: Any,
) -> Any:
    """Write the sums of some windows to ``kept``, and return what the next windows go on from.

    ``before`` has a row of sums from each row of points to the pivot, from the row ``base`` on.
    """
    pivot, base, reach, origin, last, sums = state
    for k in range(low.size):
        if not low[k] < high[k]:
            for row in range(9):
                kept[row * STRIDE + k] = 0.0
            continue
        if low[k] >= pivot:
            base = low[k]
            pivot = reach = high[k]
            last = origin_of(x, y, w, pivot - 1, base - 1, -1, through_origin)
            sums = NOTHING
            for i in range(pivot - 1, base - 1, -1):
                sums = with_point(sums, w, x[i], y[i], weight(w, i), last)
                to = before[i - base]
                to[0], to[1], to[2], to[3] = sums[0], sums[1], sums[2], sums[3]
                to[4], to[5], to[6] = sums[4], sums[5], sums[6]
            sums = NOTHING
        for i in range(reach, high[k]):
            if not sums[1] > 0.0:  # points of weight 0 have added nothing
                origin = origin_of(x, y, w, i, i + 1, 1, through_origin)
            sums = with_point(sums, w, x[i], y[i], weight(w, i), origin)
        reach = max(reach, high[k])
        there = before[low[k] - base]
        q = there[1]
        at = origin if sums[1] > 0.0 else last
        g = last[0] - at[0] if q > 0.0 else 0.0
        h = last[1] - at[1] if q > 0.0 else 0.0
        us, vs = there[2], there[3]
        us_there, vs_there = us + q * g, vs + q * h
        kept[POINTS + k], kept[TOTAL_WEIGHT + k] = sums[0] + there[0], sums[1] + q
        kept[U + k], kept[V + k] = sums[2] + us_there, sums[3] + vs_there
        kept[UU + k] = sums[4] + (there[4] + g * (us + us_there))
        kept[UV + k] = sums[5] + (there[5] + (g * vs + h * us_there))
        kept[VV + k] = sums[6] + (there[6] + h * (vs + vs_there))
        kept[X0 + k], kept[Y0 + k] = at
    return pivot, base, reach, origin, last, sums


@compiled(TOTAL)
def origin_of(x: Any, y: Any, w: Any, first: Any, end: Any, step: Any, through_origin: Any) -> Any:
    """Return the first point of some rows that has a weight; 0, 0 if there is none, or for lines through the origin."""
    if not through_origin:
        for i in range(first, end, step):
            if (weight(w, i) > 0.0) and not (np.isnan(x[i]) | np.isnan(y[i])):
                return x[i], y[i]
    return 0.0, 0.0


@compiled(TOTAL)
def lines_of(w: Any, m: Any, through_origin: Any, least: Any, kept: Any) -> Any:
    """Find the lines of m windows from their sums. Windows with fewer points than ``least`` get NaN.

    Return how many windows have residuals that are not resolved, and whether a line is suspect, as in ``many``: without
    residuals, or not finite.
    """
    moves = 0.0 if through_origin else 1.0
    n_far = n_suspect = 0
    for k in range(m):
        n = kept[POINTS + k]
        total = n if w is None else kept[TOTAL_WEIGHT + k]
        us, vs = kept[U + k], kept[V + k]
        x0, y0 = kept[X0 + k], kept[Y0 + k]
        u_mean, v_mean = moves * us / total, moves * vs / total
        xx, xy = kept[UU + k] - u_mean * us, kept[UV + k] - u_mean * vs
        yy = kept[VV + k] - v_mean * vs
        slope = xy / xx if n >= least else np.nan
        left = yy - slope * xy
        far = slope * x0
        off = fused(slope, x0, -far)
        intercept = (y0 - far) + ((v_mean - slope * u_mean) - off)
        is_far = (left <= RESOLVED * yy) & (yy > 0.0)
        n_far += 1 if is_far else 0
        is_fine = ((left if n > 2.5 else yy) >= many.TINY) & (xx >= many.TINY) & (total < np.inf)
        n_suspect += 1 if (n >= least) & (not (is_fine & (abs(intercept) + left < np.inf))) else 0
        kept[SLOPE + k], kept[INTERCEPT + k] = slope, moves * intercept
        kept[RESIDUAL_SQUARE + k] = -1.0 if is_far else left
        kept[Y_MEAN + k], kept[N + k] = y0 + v_mean, n
        kept[X_MEAN + k], kept[XX + k], kept[W + k] = x0 + u_mean, xx, total
    return n_far, n_suspect > 0


# The bounds of windows


@compiled(TOTAL)
def by_number(x: Any, rule: Any, step: Any, first: Any, last: Any, low: Any, high: Any) -> None:
    """Write the bounds of windows from ``rule[0]`` rows before to ``rule[1]`` rows after every ``step``-th row."""
    before, after = rule
    n = x.size
    for k in range(first, last):
        i = k * step
        low[k - first] = min(max(i - before, 0), n)
        high[k - first] = max(min(i + after, n), 0)


@compiled(TOTAL)
def by_width(x: Any, rule: Any, step: Any, first: Any, last: Any, low: Any, high: Any) -> None:
    """Write the first row and the end of each window. There is a window at every ``step``-th row.

    A row belongs to the window at row i if ``x - x[i]`` lies between the two numbers in ``rule``, which also says
    whether either number itself is included. x must not fall.
    """
    least, most, has_least, has_most = rule
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
    least, most, has_least, has_most = rule
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


def bounds(x: Any, rule: Any, step: Any, first: Any, last: Any, low: Any, high: Any) -> None:
    """Write the bounds of windows, by a rule of two numbers of rows, or one of widths."""
    (by_number if len(rule) == 2 else by_width)(x, rule, step, first, last, low, high)


# Lines


@compiled(TOTAL)
def fit_again(
    x: Any, y: Any, w: Any, low: Any, high: Any, through_origin: Any, sums: Any, kept: Any, k: Any
) -> Any:
    """Fit the line of a window once more, about the line found, with all rounding errors.

    Return whether it is suspect.
    """
    moves = 0.0 if through_origin else 1.0
    sums[many.LEVEL], sums[many.SLOPE] = moves * kept[Y_MEAN + k], kept[SLOPE + k]
    sums[many.PLACE] = moves * kept[X_MEAN + k]
    u = x[low:high]
    for _ in range(many.ROUNDS):
        many.sum_points(y, x, w, True, low, u.size, 0, u, None, sums)
        many.lines_of(y, x, w, True, 1, (0.0, 0.0), 0.0, through_origin, sums)
        if sums[many.FAR] == 0.0:
            break
    kept[SLOPE + k], kept[INTERCEPT + k] = sums[many.SLOPE], sums[many.UE]
    kept[RESIDUAL_SQUARE + k], kept[Y_MEAN + k] = sums[many.EE], sums[many.E]
    kept[X_MEAN + k], kept[XX + k] = sums[many.U], sums[many.UU]
    return sums[many.SUSPECT] != 0.0


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
    sizes: Any,
    suspects: Any,
) -> None:
    """Write the lines of some chunks of windows, of this size each; the first of a chunk starts anew.

    ``suspects`` is set for chunks with lines whose status may be other than CONVERGED.

    ``scratch`` has room for sums from rows to the pivot, for what is kept of windows, for their bounds, and for the
    sums of a window that is summed again.
    """
    before, kept, low, high, sums = scratch
    for chunk in range(chunks[0], chunks[1]):
        end = min((chunk + 1) * size, found.shape[1])
        state = -1, 0, 0, (0.0, 0.0), (0.0, 0.0), NOTHING
        for first in range(chunk * size, end, TOGETHER):
            last = min(first + TOGETHER, end)
            m = last - first
            bounds(x, rule, step, first, last, low, high)
            state = sum_windows(x, y, w, low[:m], high[:m], through_origin, before, kept, state)
            for k in range(m):
                sizes[first + k] = max(high[k] - low[k], 0)
            n_far, has_suspects = lines_of(w, m, through_origin, least, kept)
            suspects[chunk] |= has_suspects
            if n_far > 0:
                for k in range(m):
                    if kept[RESIDUAL_SQUARE + k] == -1.0:
                        some = low[k], high[k], through_origin, sums, kept, k
                        suspects[chunk] |= fit_again(x, y, w, *some)
            for row in range(7 if w is None else 8):
                out, at = found[row][first:], SLOPE + row * STRIDE
                for k in range(m):
                    out[k] = kept[at + k]
