"""Many lines at once: the sums that least-squares lines of many short series follow from, and these lines.

A line is first drawn through two of its points, the *first line*; what is summed are the residuals from it, their
squares and their products with x. Residuals are small where values are large, so plain sums of them keep their digits;
how far the least-squares line lies from the first one follows. Where the first line turns out to be far off, as through
an outlier, or residuals are so small that the differences before them lose their digits, the sums are made once more,
from the line just found, and with the rounding errors of these differences.

Points lie in memory in one of two ways, and so there are two loops. Where the values of all lines at one x lie side by
side, as in a stack of images, each lane of a vector has a line of its own, and eight rows are read side by side
(``add_rows``, and ``add_full_rows`` without gaps). Where the points of one line lie side by side, they share out the
lanes (``add_points``; without gaps ``add_full_points``, for four lines at a time). Lines never meet: a line has the
same bits whatever the others hold, and on any number of threads.

Arrays are flat, with a start and a stride. ``u`` holds the distances of x from a center, in whole numbers of a spacing
so that their differences are exact, and ``rest`` what they lack, None for nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfit.exact.double_double import fused
from fastfit.kernels.block import weight
from fastfit.kernels.flags import BLOCK_SUMS, INLINED, INLINED_SUMS, TOTAL, compiled

# Rows of points that are read side by side: sums are read and written once for all of them.
ROWS = 8
# Lines of a tile: short rows are slow to read in turn, and the sums must fit in the second-level cache.
TILE = 4096
# Points of a chunk. Each chunk is summed on its own and then added to the totals: fewer additions, less rounding.
CHUNK = 512
# Largest ratio of a sum of squares to the sum of squares about the mean. Above it, points are summed again, about a
# line or place closer to them.
LOOSE = 16.0
# Largest ratio, per point, of the squared rise of the first line to the squared residuals. Above it, rounding errors of
# differences would show in the residuals, so points are summed again with these errors.
FLAT = 4.0
# Smallest ratio of a sum of squares about the mean to the sum of squares. Below it, all digits are rounding error.
SAME = 2.0**-45
# Two different values of y differ by more than the root of this times their mean: less is rounding error.
EQUAL = 2.0**-110
# Sums of squares below it have lost digits.
TINY = 2.0**-960
# Slopes of first lines whose rise could be squared.
STEEPEST = 2.0**480
# Number of rows at either end that are searched for the points of the first line.
PATIENCE = 8
# Largest number of times that points are summed again.
ROUNDS = 3

# Offset from the sums of one kind to the next. Not a multiple of 4,096 bytes, which would slow down reads after writes.
STRIDE = TILE + 40
# The first line: its value at a place, its slope, and the place. Then the sums: number of points, of weights, and of
# what residuals e and distances u from the place make.
LEVEL, SLOPE, PLACE, N, W, U, E, UU, UE, EE = (k * STRIDE for k in range(10))
# Offset from the sums of a chunk to the totals of the chunks before.
TOTALS = 7 * STRIDE
# Whether a line lies so far from its first line that sums lost digits: 1 or 0.
FAR = 17 * STRIDE
# Whether a line is suspect: few points, no residuals or numbers that are not finite may mean a status other than
# CONVERGED. 1 or 0.
SUSPECT = 18 * STRIDE
N_SUMS = 19 * STRIDE

# Rows of the results: the line, its residual sum of squares and mean of y; then what gaps and weights change.
RESULTS = ("slope", "intercept", "residual_square", "y_mean", "n", "u_mean", "uu", "w")


# What compiled code chooses by type


def lost(y: Any, v: Any, level: Any, above: Any, exact: Any) -> Any:
    """Return the rounding error of ``above``, the difference of v and the level, or -0.0.

    There is none where y is of float32; else it is asked for with ``exact``, which is None if not.
    """
    return -0.0 if exact is None else rounded_off(v, level, above)


def is_exact(y: Any, exact: Any) -> Any:
    """Return whether residuals are computed with all rounding errors."""
    return exact is not None or y.dtype == np.float32


def like_values(y: Any, level: Any) -> Any:
    """Return a number near a level from which values differ exactly: of float32, if y is."""
    return float(np.float32(level)) if y.dtype == np.float32 else level


def place(x: Any, at: Any, u: Any, rest: Any, origin: Any) -> Any:
    """Return how far a point lies from an origin, and what that lacks: by its row, or by an x of its own."""
    if x is None:
        return u - origin, rest
    own = np.float64(x[at])
    return own - origin, rounded_off(own, origin, own - origin)


def first_origin(x: Any, exact: Any, origin: Any) -> Any:
    """Return the place from which distances are counted: 0 at first, where x is shared."""
    return 0.0 if x is None and exact is None else origin


def fetch(values: Any, start: Any, n: Any) -> None:
    """Have values that will soon be read on their way to the cache, be they beyond the end: compiled code does."""


def part_of(rest: Any, k: Any) -> Any:
    """Return what a distance lacks, or some distances: None if none lacks anything."""
    return None if rest is None else rest[k]


def plus(u: Any, rest: Any) -> Any:
    """Return a distance with what it lacks."""
    return u if rest is None else u + rest


def less_rest(found: Any, slope: Any, rest: Any) -> Any:
    """Return a residual less the slope times what a distance lacks."""
    return found if rest is None else fused(-slope, rest, found)


def own_place(x: Any, at: Any, u: Any) -> Any:
    """Return where a point lies: in its row, or at an x of its own."""
    return u if x is None else np.float64(x[at])


def weighted(w: Any, k: Any, value: Any) -> Any:
    """Return ``k * value``, the value itself without weights."""
    return value if w is None else k * value


def add_weight(w: Any, sums: Any, at: Any, k: Any) -> None:
    """Add a sum of weights to another, if there are weights."""
    if w is not None:
        sums[at] += k


# Rows of points: a line in each lane


@compiled(INLINED)
def residual(y: Any, v: Any, level: Any, slope: Any, u: Any, rest: Any, exact: Any) -> Any:
    """Return how far a value lies above the first line."""
    above = v - level
    found = fused(-slope, u, above) + lost(y, v, level, above, exact)
    return less_rest(found, slope, rest)


@compiled(INLINED)
def rounded_off(a: Any, b: Any, difference: Any) -> Any:
    """Return the rounding error of ``a - b``."""
    back = difference - a
    return (a - (difference - back)) - (b + back)


@compiled(TOTAL)
def add_full_rows(y: Any, start: Any, stride: Any, m: Any, u: Any, rest: Any, sums: Any) -> None:
    """Add eight rows of points without gaps to the sums of m lines; what x alone makes is not summed."""
    for j in range(m):
        level, slope = sums[LEVEL + j], sums[SLOPE + j]
        e_sum = ue = ee = 0.0
        for k in range(ROWS):
            v = np.float64(y[np.uint64(start) + np.uint64(k) * np.uint64(stride) + np.uint64(j)])
            e = residual(y, v, level, slope, u[k], part_of(rest, k), None)
            e_sum += e
            ue = fused(plus(u[k], part_of(rest, k)), e, ue)
            ee = fused(e, e, ee)
        sums[E + j] += e_sum
        sums[UE + j] += ue
        sums[EE + j] += ee


@compiled(TOTAL)
def add_rows(
    y: Any,
    x: Any,
    w: Any,
    exact: Any,
    start: Any,
    stride: Any,
    m: Any,
    u: Any,
    rest: Any,
    sums: Any,
) -> None:
    """Add eight rows of points to the sums of m lines, but for those with NaN, be it in ``u``."""
    for j in range(m):
        level, slope = sums[LEVEL + j], sums[SLOPE + j]
        origin = first_origin(x, exact, sums[PLACE + j])
        n = w_sum = u_sum = e_sum = uu = ue = ee = 0.0
        for k in range(ROWS):
            at = np.uint64(start) + np.uint64(k) * np.uint64(stride) + np.uint64(j)
            v, q = np.float64(y[at]), weight(w, at)
            p, p_rest = place(x, at, u[k], part_of(rest, k), origin)
            e = residual(y, v, level, slope, p, p_rest, exact)
            counts = not (
                np.isnan(v) | np.isnan(q) | np.isnan(own_place(x, at, 0.0)) | np.isnan(u[k])
            )
            e = e if counts else 0.0
            p = plus(p, p_rest) if counts else 0.0
            q = q if counts else 0.0
            n += 1.0 if counts else 0.0
            w_sum += q if q >= 0.0 else np.nan  # a negative one spoils its line
            qp, qe = weighted(w, q, p), weighted(w, q, e)
            u_sum += qp
            e_sum += qe
            uu = fused(qp, p, uu)
            ue = fused(qp, e, ue)
            ee = fused(qe, e, ee)
        sums[N + j] += n
        add_weight(w, sums, W + j, w_sum)
        sums[U + j] += u_sum
        sums[E + j] += e_sum
        sums[UU + j] += uu
        sums[UE + j] += ue
        sums[EE + j] += ee


@compiled(TOTAL)
def add_to_totals(m: Any, sums: Any) -> None:
    """Add the sums of a chunk to the totals, and set them to 0."""
    for k in range(7):
        for j in range(N + k * STRIDE, N + k * STRIDE + m):
            sums[TOTALS + j] += sums[j]
            sums[j] = 0.0


@compiled(TOTAL)
def finish_sums(m: Any, sums: Any) -> None:
    """Add the sums of the last chunk to the totals, which take their place."""
    for k in range(7):
        for j in range(N + k * STRIDE, N + k * STRIDE + m):
            sums[j] += sums[TOTALS + j]


@compiled(TOTAL)
def start_sums(n: Any, m: Any, sums: Any) -> None:
    """Set all sums of m lines to 0."""
    for k in range(7 if n <= CHUNK else 14):
        for j in range(N + k * STRIDE, N + k * STRIDE + m):
            sums[j] = 0.0


@compiled(TOTAL)
def has_gap(m: Any, sums: Any) -> Any:
    """Return whether a sum of squares is NaN."""
    gaps = 0
    for j in range(m):
        gaps += 1 if np.isnan(sums[EE + j]) else 0
    return gaps > 0


@compiled(TOTAL)
def sum_full_rows(
    y: Any, start: Any, stride: Any, n: Any, m: Any, u: Any, rest: Any, sums: Any
) -> Any:
    """Sum rows as if without gaps, but for the last few; return whether there was none."""
    start_sums(n, m, sums)
    n_rows = n - n % ROWS
    u_sum = uu = 0.0
    for i in range(0, n_rows, ROWS):
        add_full_rows(
            y,
            start + i * stride,
            stride,
            m,
            u[i : i + ROWS],
            part_of(rest, slice(i, i + ROWS)),
            sums,
        )
        u_of_rows = uu_of_rows = 0.0
        for k in range(i, i + ROWS):
            p = plus(u[k], part_of(rest, k))
            u_of_rows += p
            uu_of_rows = fused(p, p, uu_of_rows)
        u_sum += u_of_rows
        uu += uu_of_rows
        done = i + ROWS
        ends = done % CHUNK == 0 or done == n_rows
        if (ends or i == 0) and has_gap(m, sums):  # which mostly show early
            return False
        if ends:
            for j in range(m):
                sums[N + j] = float((done - 1) % CHUNK + 1)
                sums[U + j] = u_sum
                sums[UU + j] = uu
            u_sum = uu = 0.0
        if done % CHUNK == 0 and n > CHUNK:
            add_to_totals(m, sums)
    return True


@compiled(TOTAL)
def sum_rows(
    y: Any,
    x: Any,
    w: Any,
    exact: Any,
    start: Any,
    stride: Any,
    n: Any,
    m: Any,
    u: Any,
    rest: Any,
    sums: Any,
) -> None:
    """Sum rows that may have gaps, but for the last few."""
    start_sums(n, m, sums)
    for i in range(0, n - n % ROWS, ROWS):
        at = start + i * stride
        add_rows(
            y, x, w, exact, at, stride, m, u[i : i + ROWS], part_of(rest, slice(i, i + ROWS)), sums
        )
        if (i + ROWS) % CHUNK == 0 and n > CHUNK:
            add_to_totals(m, sums)


@compiled(TOTAL)
def sum_last_rows(
    y: Any,
    x: Any,
    w: Any,
    start: Any,
    stride: Any,
    n: Any,
    m: Any,
    u: Any,
    rest: Any,
    sums: Any,
) -> None:
    """Sum the rows that are left when eight are taken at a time: of the last eight, those not summed yet."""
    n_left = n % ROWS
    if n_left:
        last = np.empty(ROWS)
        for k in range(ROWS):
            last[k] = u[n - ROWS + k] if k >= ROWS - n_left else np.nan
        at = start + (n - ROWS) * stride
        add_rows(y, x, w, True, at, stride, m, last, part_of(rest, slice(n - ROWS, n)), sums)
    if n > CHUNK:
        finish_sums(m, sums)


@compiled(TOTAL)
def find_values(
    y: Any,
    x: Any,
    w: Any,
    start: Any,
    stride: Any,
    m: Any,
    u: Any,
    order: Any,
    values: Any,
    places: Any,
) -> Any:
    """Find the first value that counts of each of m lines, and where it lies, by rows in this order; else NaN.

    Return whether a value is missing in the first row.
    """
    n_missing = 0
    row, own = np.uint64(start) + np.uint64(order[0]) * np.uint64(stride), u[order[0]]
    for j in range(m):
        at = row + np.uint64(j)
        values[j] = np.float64(y[at]) if weight(w, at) > 0.0 else np.nan
        places[j] = own_place(x, at, own)
        n_missing += 1 if np.isnan(values[j]) | np.isnan(places[j]) else 0
    for j in range(m if n_missing > 0 else 0):
        if np.isnan(values[j]) | np.isnan(places[j]):
            values[j] = np.nan
            for i in order[1:]:
                at = np.uint64(start) + np.uint64(i) * np.uint64(stride) + np.uint64(j)
                v, p = np.float64(y[at]), own_place(x, at, u[i])
                if (weight(w, at) > 0.0) and not (np.isnan(v) | np.isnan(p)):
                    values[j], places[j] = v, p
                    break
    return n_missing > 0


@compiled(TOTAL)
def draw_first_lines(
    y: Any,
    x: Any,
    w: Any,
    start: Any,
    stride: Any,
    m: Any,
    u: Any,
    order: Any,
    patience: Any,
    through_origin: Any,
    sums: Any,
) -> Any:
    """Draw the first lines, through two points of each that are far apart along x.

    Lines without points in the first or last ``patience`` rows get a level first line at 0. Return whether a value is
    missing in the first or last row.
    """
    # What is found of the first and the last points lies where sums will be.
    low, low_place, high, high_place = U, E, UU, UE
    last = order[::-1][:patience]
    gaps = find_values(y, x, w, start, stride, m, u, last, sums[high:], sums[high_place:])
    if through_origin:
        for j in range(m):
            sums[low + j] = sums[low_place + j] = 0.0
    else:
        first = order[:patience]
        gaps |= find_values(y, x, w, start, stride, m, u, first, sums[low:], sums[low_place:])
    has_own = x is not None and not through_origin
    for j in range(m):
        value, at = sums[low + j], sums[low_place + j]
        slope = (sums[high + j] - value) / (sums[high_place + j] - at)
        slope = slope if abs(slope) < STEEPEST else 0.0
        origin = at if has_own else 0.0
        level = like_values(y, value - slope * (at - origin))
        is_found = abs(level) < np.inf
        sums[SLOPE + j] = slope
        sums[PLACE + j] = origin if is_found else 0.0
        sums[LEVEL + j] = level if is_found else 0.0
    return gaps


@compiled(TOTAL)
def fit_rows(
    y: Any,
    x: Any,
    w: Any,
    start: Any,
    stride: Any,
    n: Any,
    m: Any,
    u: Any,
    rest: Any,
    order: Any,
    through_origin: Any,
    sums: Any,
) -> Any:
    """Sum the rows of m lines about first lines; return whether there were gaps, or might have been."""
    gaps = draw_first_lines(y, x, w, start, stride, m, u, order, PATIENCE, through_origin, sums)
    is_full = False
    if x is None and w is None and not gaps:
        is_full = sum_full_rows(y, start, stride, n, m, u, rest, sums)
    if not is_full:
        sum_rows(y, x, w, None, start, stride, n, m, u, rest, sums)
    sum_last_rows(y, x, w, start, stride, n, m, u, rest, sums)
    for j in range(m):
        is_full = is_full and sums[N + j] == n  # the last rows may have gaps, too
    return not is_full


# Points of one line side by side


@compiled(TOTAL)
def fit_points(
    y: Any,
    x: Any,
    w: Any,
    start: Any,
    lane_stride: Any,
    n: Any,
    m: Any,
    u: Any,
    rest: Any,
    order: Any,
    own: Any,
    through_origin: Any,
    sums: Any,
) -> Any:
    """Sum the points of m lines about first lines; return whether there were gaps, or might have been."""
    low, high = order[0], order[-1]
    is_plain = x is None and w is None
    has_gaps = expects_gaps = not is_plain
    # Four lines from different parts of the tile: memory is read faster at several places, if not by an even number of
    # lines apart, which may be a number of pages. Of few lines, some come twice.
    last, quarter = m - 1, (m + 3) // 4 | 1
    for j in range(min(quarter, m)):
        lanes = j, min(j + quarter, last), min(j + 2 * quarter, last), min(j + 3 * quarter, last)
        n_full = 0 if expects_gaps else 4
        for lane in lanes:
            at = start + lane * lane_stride
            if (
                not is_plain
                or through_origin
                or not draw_through_ends(y, at, lane, u, low, high, sums)
            ):
                draw = u, order, order.size, through_origin, sums[lane:]
                draw_first_lines(y, x, w, at, 1, 1, *draw)
            # Lines after one with gaps mostly have some, too. Where they have none, they are summed as all without are.
            if expects_gaps:
                sum_points(y, x, w, None, at, n, lane, u, rest, sums)
                n_full += 1 if is_plain and sums[N + lane] == n else 0
        if n_full > 0:
            found = sum_full_points(y, start, lane_stride, lanes, n, u, rest, sums)
            expected_gaps, expects_gaps = expects_gaps, False
            for k in range(4):
                lane = lanes[k]
                if not np.isnan(found[k][2]):
                    sums[N + lane], (sums[U + lane], sums[UU + lane]) = float(n), own
                    sums[E + lane], sums[UE + lane], sums[EE + lane] = found[k]
                else:
                    expects_gaps = True
                    if not expected_gaps:
                        at = start + lane * lane_stride
                        sum_points(y, x, w, None, at, n, lane, u, rest, sums)
            has_gaps |= expects_gaps
    return has_gaps


@compiled(INLINED_SUMS)
def with_point(sums: Any, e: Any, p: Any) -> Any:
    """Return sums of residuals, of their products with p, and of their squares, with another."""
    return sums[0] + e, sums[1] + p * e, sums[2] + e * e


@compiled(BLOCK_SUMS)
def add_full_points(y: Any, starts: Any, u: Any, rest: Any, levels: Any, slopes: Any) -> Any:
    """Return such sums over the points of four lines without gaps."""
    a = b = c = d = (0.0, 0.0, 0.0)
    for i in range(u.size):
        at, p, p_rest = np.uint64(i), u[i], part_of(rest, i)
        q = plus(p, p_rest)
        v0, v1 = np.float64(y[np.uint64(starts[0]) + at]), np.float64(y[np.uint64(starts[1]) + at])
        v2, v3 = np.float64(y[np.uint64(starts[2]) + at]), np.float64(y[np.uint64(starts[3]) + at])
        a = with_point(a, residual(y, v0, levels[0], slopes[0], p, p_rest, None), q)
        b = with_point(b, residual(y, v1, levels[1], slopes[1], p, p_rest, None), q)
        c = with_point(c, residual(y, v2, levels[2], slopes[2], p, p_rest, None), q)
        d = with_point(d, residual(y, v3, levels[3], slopes[3], p, p_rest, None), q)
    return a, b, c, d


@compiled(TOTAL)
def sum_full_points(
    y: Any, start: Any, lane_stride: Any, lanes: Any, n: Any, u: Any, rest: Any, sums: Any
) -> Any:
    """Return such sums over the points of four lines as if without gaps."""
    a, b, c, d = lanes
    levels = sums[LEVEL + a], sums[LEVEL + b], sums[LEVEL + c], sums[LEVEL + d]
    slopes = sums[SLOPE + a], sums[SLOPE + b], sums[SLOPE + c], sums[SLOPE + d]
    of_a = of_b = of_c = of_d = (0.0, 0.0, 0.0)
    for i in range(0, n, CHUNK):
        part, at, step = slice(i, min(i + CHUNK, n)), start + i, lane_stride
        starts = at + a * step, at + b * step, at + c * step, at + d * step
        found = add_full_points(y, starts, u[part], part_of(rest, part), levels, slopes)
        of_a, of_b = plus_each(of_a, found[0]), plus_each(of_b, found[1])
        of_c, of_d = plus_each(of_c, found[2]), plus_each(of_d, found[3])
    return of_a, of_b, of_c, of_d


@compiled(INLINED)
def plus_each(a: Any, b: Any) -> Any:
    """Return the sums of three numbers each."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@compiled(BLOCK_SUMS)
def add_points(
    y: Any,
    x: Any,
    w: Any,
    exact: Any,
    start: Any,
    u: Any,
    rest: Any,
    level: Any,
    slope: Any,
    origin: Any,
) -> Any:
    """Return the sums over points of one line, but for those with NaN."""
    n = w_sum = u_sum = e_sum = uu = ue = ee = 0.0
    for i in range(u.size):
        at = np.uint64(start) + np.uint64(i)
        v, q = np.float64(y[at]), weight(w, at)
        p, p_rest = place(x, at, u[i], part_of(rest, i), origin)
        e = residual(y, v, level, slope, p, p_rest, exact)
        counts = not (np.isnan(v) | np.isnan(q) | np.isnan(own_place(x, at, 0.0)))
        e = e if counts else 0.0
        p = plus(p, p_rest) if counts else 0.0
        q = q if counts else 0.0
        n += 1.0 if counts else 0.0
        w_sum += q if q >= 0.0 else np.nan  # a negative one spoils its line
        qp, qe = weighted(w, q, p), weighted(w, q, e)
        u_sum += qp
        e_sum += qe
        uu += qp * p
        ue += qp * e
        ee += qe * e
    return n, w_sum, u_sum, e_sum, uu, ue, ee


@compiled(TOTAL)
def sum_points(
    y: Any,
    x: Any,
    w: Any,
    exact: Any,
    start: Any,
    n: Any,
    j: Any,
    u: Any,
    rest: Any,
    sums: Any,
) -> None:
    """Sum the points of a line, which may have gaps, into lane j."""
    level, slope = sums[LEVEL + j], sums[SLOPE + j]
    origin = first_origin(x, exact, sums[PLACE + j])
    for k in range(7):
        sums[N + k * STRIDE + j] = 0.0
    for i in range(0, n, CHUNK):
        part = slice(i, min(i + CHUNK, n))
        fetch(y, start + i + min(CHUNK, n), min(CHUNK, n - i))
        found = add_points(
            *(y, x, w, exact, start + i, u[part], part_of(rest, part), level, slope, origin)
        )
        for k in range(7):
            sums[N + k * STRIDE + j] += found[k]


@compiled(INLINED)
def draw_through_ends(y: Any, start: Any, j: Any, u: Any, low: Any, high: Any, sums: Any) -> Any:
    """Draw the first line through the outermost points of a line; return whether they are there."""
    value = np.float64(y[np.uint64(start) + np.uint64(low)])
    slope = (np.float64(y[np.uint64(start) + np.uint64(high)]) - value) / (u[high] - u[low])
    level = like_values(y, value - slope * u[low])
    sums[SLOPE + j], sums[PLACE + j], sums[LEVEL + j] = slope, 0.0, level
    return (abs(level) < np.inf) & (abs(slope) < STEEPEST)


# Lines


@compiled(TOTAL)
def lines_of(
    y: Any,
    x: Any,
    w: Any,
    exact: Any,
    m: Any,
    center: Any,
    grid: Any,
    through_origin: Any,
    sums: Any,
) -> None:
    """Find the least-squares lines of m lanes, which become their next first lines.

    What is found takes the place of the sums: intercept (UE), sum of squared residuals (EE), means of y (E) and of u
    (U), and the centred sum of squares of u (UU). ``center`` is where u is 0, as two floats;
    numbers are rounded to the spacing of u by adding and subtracting ``grid``.
    """
    c, c_low = center
    moves = 0.0 if through_origin else 1.0
    flat = np.inf if is_exact(y, exact) else FLAT
    for j in range(m):
        n = sums[N + j]
        total = n if w is None else sums[W + j]
        level, slope, origin = sums[LEVEL + j], sums[SLOPE + j], sums[PLACE + j]
        u_sum, e_sum = sums[U + j], sums[E + j]
        uu_all, ee_all = sums[UU + j], sums[EE + j]
        u_mean, e_mean = moves * u_sum / total, moves * e_sum / total
        uu = uu_all - u_mean * u_sum
        # Else it is rounding, of points with one x, or far from the place.
        uu = 0.0 if uu <= SAME * uu_all else uu
        ue = sums[UE + j] - u_mean * e_sum
        step = ue / uu
        left = (ee_all - e_mean * e_sum) - step * ue
        steep = slope + step
        y_mean = level + (slope * u_mean + e_mean)
        # Where y is constant, and the first line was not, rounding is left of residuals and slope.
        rise = steep * steep * uu
        is_flat = left + rise < EQUAL * y_mean * y_mean * total / n
        left = 0.0 if is_flat else left
        steep = 0.0 if is_flat else steep
        # The intercept is level + (e_mean - step * u_mean) - (slope + step) * (center + origin); parts may cancel.
        far, near = slope * c, slope * origin
        above = level - far
        whole = above - near
        low = rounded_off(level, far, above) - fused(slope, c, -far)
        low += rounded_off(above, near, whole) - fused(slope, origin, -near)
        low += (e_mean - step * u_mean) - (slope * c_low + step * (c + origin))
        mean_place = origin + u_mean
        bound = np.inf if through_origin else LOOSE * uu
        is_near = (ee_all <= LOOSE * left) & (uu_all <= bound)
        is_near = is_near & (slope * slope * uu_all <= flat * n * ee_all)
        intercept = y_mean if is_flat else whole + low
        sums[UE + j] = moves * intercept
        sums[EE + j] = 0.0 if left < 0.0 else left  # NaN if it overflowed
        sums[E + j] = y_mean
        sums[U + j] = mean_place
        sums[UU + j] = uu
        is_finite = (n > 1.5) & (ee_all + uu_all + abs(y_mean) < np.inf)
        sums[FAR + j] = 0.0 if is_near | (not is_finite) else 1.0
        is_suspect = not (is_finite & (uu >= TINY) & (left >= TINY) & (abs(intercept) < np.inf))
        is_suspect = is_suspect | (not total < np.inf)
        sums[SUSPECT + j] = 1.0 if is_suspect else 0.0
        steep = steep if abs(steep) < np.inf else 0.0  # if all digits of uu were lost
        at_grid = mean_place if x is not None else (mean_place + grid) - grid
        at_grid = origin if through_origin else at_grid
        next_level = like_values(y, y_mean + steep * (at_grid - mean_place))
        sums[LEVEL + j] = level if through_origin else next_level
        sums[SLOPE + j] = steep
        sums[PLACE + j] = at_grid


@compiled(TOTAL)
def write_lines(
    w: Any, m: Any, has_gaps: Any, sums: Any, found: Any, first: Any, chosen: Any
) -> Any:
    """Write what was found of m lines, and choose those far off their first lines.

    What x alone makes is the same for all lines of a tile without gaps, so it is written once. Return how many lines
    are chosen, and how many are suspect.
    """
    rows = (SLOPE, UE, EE, E, N, U, UU, W)
    for k in range(7 if w is None else 8):
        row = found[k][first:]
        for j in range(m if has_gaps or k < 4 else min(m, 1)):
            row[j] = sums[rows[k] + j]
    n_far, n_suspect = 0.0, 0.0
    for j in range(m):
        chosen[j] = sums[FAR + j]
        n_far += chosen[j]
        n_suspect += sums[SUSPECT + j]
    return n_far, n_suspect


@compiled(TOTAL)
def write_chosen(
    w: Any, m: Any, has_gaps: Any, full: Any, sums: Any, found: Any, first: Any, chosen: Any
) -> Any:
    """Write what was found of the lines that are chosen; choose of them, and return, as above.

    What x alone makes is written of lines with fewer points than ``full``: of the others it is known.
    """
    rows = (SLOPE, UE, EE, E, N, U, UU, W)
    for k in range(7 if w is None else 8):
        row = found[k][first:]
        bound = np.inf if k < 4 else full
        for j in range(m if has_gaps or k < 4 else min(m, 1)):
            writes = (chosen[j] != 0.0) & (sums[N + j] < bound)
            row[j] = sums[rows[k] + j] if writes else row[j]
    n_far, n_suspect = 0.0, 0.0
    for j in range(m):
        n_suspect += chosen[j] * sums[SUSPECT + j]
        chosen[j] *= sums[FAR + j]
        n_far += chosen[j]
    return n_far, n_suspect


@compiled(TOTAL)
def sum_again(
    y: Any,
    x: Any,
    w: Any,
    in_rows: Any,
    start: Any,
    row_stride: Any,
    n: Any,
    m: Any,
    u: Any,
    rest: Any,
    sums: Any,
) -> None:
    """Sum the points of m lines once more, exactly, about their new first lines; of one, if its points lie together."""
    if in_rows is None:
        sum_points(y, x, w, True, start, n, 0, u, rest, sums)
    else:
        sum_rows(y, x, w, True, start, row_stride, n, m, u, rest, sums)
        sum_last_rows(y, x, w, start, row_stride, n, m, u, rest, sums)


@compiled(TOTAL)
def fit_tile(
    y: Any,
    x: Any,
    w: Any,
    in_rows: Any,
    start: Any,
    row_stride: Any,
    lane_stride: Any,
    n: Any,
    m: Any,
    u: Any,
    rest: Any,
    order: Any,
    own: Any,
    center: Any,
    grid: Any,
    through_origin: Any,
    sums: Any,
    chosen: Any,
    found: Any,
    first: Any,
) -> Any:
    """Fit m lines; return whether there were gaps, or might have been, and whether a line is suspect."""
    if in_rows is None:
        points = lane_stride, n, m, u, rest, order, own, through_origin, sums
        has_gaps = fit_points(y, x, w, start, *points)
    else:
        has_gaps = fit_rows(y, x, w, start, row_stride, n, m, u, rest, order, through_origin, sums)
    options = center, grid, through_origin
    lines_of(y, x, w, None, m, *options, sums)
    n_far, n_suspect = write_lines(w, m, has_gaps, sums, found, first, chosen)
    full = float(n) if x is None and w is None else np.inf
    for _ in range(ROUNDS):
        if n_far == 0.0:
            break
        # All lines of a tile at once if many are to be summed again, else one after the other.
        step = m if in_rows is not None and n_far > m // 16 else 1
        n_far = 0.0
        for j in range(0, m, step):
            if step > 1 or chosen[j] != 0.0:
                at, lanes = start + j * lane_stride, sums[j:]
                sum_again(y, x, w, in_rows, at, row_stride, n, step, u, rest, lanes)
                lines_of(y, x, w, True, step, *options, lanes)
                written = w, step, has_gaps, full, lanes, found, first + j, chosen[j:]
                more_far, more_suspect = write_chosen(*written)
                n_far += more_far
                n_suspect += more_suspect
    return has_gaps, n_suspect > 0.0


@compiled(TOTAL)
def fit_lines(
    y: Any,
    x: Any,
    w: Any,
    in_rows: Any,
    n: Any,
    n_lanes: Any,
    strides: Any,
    u: Any,
    rest: Any,
    order: Any,
    own: Any,
    center: Any,
    grid: Any,
    through_origin: Any,
    width: Any,
    tiles: Any,
    found: Any,
    notes: Any,
) -> None:
    """Fit the lines of some tiles one after the other; ``notes`` has two rows, of tiles with gaps and with suspects.

    ``in_rows`` is None where the points of a line lie side by side.
    """
    outer_stride, row_stride, lane_stride = strides
    sums, chosen = np.empty(N_SUMS), np.empty(TILE)
    each = (n_lanes + width - 1) // width
    for tile in range(*tiles):
        outer, low = tile // each, tile % each * width
        m = min(width, n_lanes - low)
        start = outer * outer_stride + low * lane_stride
        notes[0, tile], notes[1, tile] = fit_tile(
            *(y, x, w, in_rows, start, row_stride, lane_stride, n, m, u, rest, order, own),
            *(center, grid, through_origin, sums, chosen, found, outer * n_lanes + low),
        )
