"""Robust lines through many short series: one after the other, each from its least-squares line on.

The points of a line that count are gathered side by side: ``t``, distances from the mean of x in units of their
standard deviation, and ``v``, residuals of the least-squares line in units of the standard deviation of y. A line
``p, q`` lies ``p * t + q`` above the least-squares line. Losses scale with their residuals, so one with an ``f_scale``
of 1, of residuals divided by ``c``, is the loss with the ``f_scale`` c; its gradient is in units of c.

Steps, starts and the search for the scale are those of ``solvers.newton``, ``steps`` and ``scale``, which say why.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastfit.exact.double_double import fused
from fastfit.kernels.block import BLOCK, point, weight, weights_at
from fastfit.kernels.flags import BLOCK_SUMS, INLINED, TOTAL, compiled
from fastfit.kernels.many import own_place, part_of, plus
from fastfit.kernels.median import put
from fastfit.losses import MAD_TO_STD, Huber, Tukey

# Rows of the results: how far the line lies from that of least squares, in slope and at the mean of x; mean loss,
# ``f_scale``, standard errors of the slope and of the line at the mean of x, their correlation, and how the fit ended.
ROBUST_RESULTS = ("turn", "rise", "loss", "f_scale", "turn_error", "rise_error", "tie", "end")
# How a fit ends.
CONVERGED, MAX_ITER, STALLED, UNDETERMINED, TOO_FAR_APART = range(5)

# Numbers gathered at a time, and most lines: they stay in the second-level cache, and short rows are slow to read.
TOGETHER, MOST_LINES = 32768, 256

# Those of ``newton``, ``steps`` and ``convergence``.
TOL, COARSE_TOL, FLAT_TOL, MOST_STEPS = 1e-10, 0.02, math.ulp(0.0), 100
LEAST_CURVATURE, LEAST_DECREASE, STRETCH, SLACK = 1e-3, 0.1, 4.0, 1e-14
SINGULAR, ROUNDING, ROUNDING_OF_Y = 1e-13, 8.0 * 2.0**-52, 2.0**-62
SMALLEST, LARGEST, ZERO = 1e-140, 1e100, 1e-280
SHRINK, BLUNTEST, SHARPER, COLLAPSE = 16.0, 4.0, 1.5, 0.25
SCALE_TOL, MOST_SCALES = 1e-8, 60
HUBER, TUKEY = Huber.tuning, Tukey.tuning
LEAST_DOF = 0.1

# Residuals among which the median is looked for by sorting, and brackets that are tried before.
FEW, BRACKETS = 12, 12


def room_like(w: Any, room: Any) -> Any:
    """Return room for weights, None without weights."""
    return None if w is None else room


# The sums of a line


@compiled(BLOCK_SUMS)
def block_of_sums(
    loss: Any, t: Any, v: Any, w: Any, start: Any, stop: Any, line: Any, inverse: Any
) -> Any:
    """Return sums over some points: the loss, its gradient and curvature, and the curvature of a safe parabola."""
    total = along = across = 0.0
    tt = t1 = one = weight_tt = weight_t1 = weight_one = 0.0
    p, q = line
    for j in range(stop - start):
        i = np.uint64(start) + np.uint64(j)
        value, first, second, share = point(loss, (v[i] - (p * t[i] + q)) * inverse)
        k = weight(w, i)
        total += k * value
        along -= k * first * t[i]
        across -= k * first
        bend = k * second
        tt += bend * t[i] * t[i]
        t1 += bend * t[i]
        one += bend
        share = 2.0 * k * share
        weight_tt += share * t[i] * t[i]
        weight_t1 += share * t[i]
        weight_one += share
    return total, along, across, tt, t1, one, weight_tt, weight_t1, weight_one


@compiled(BLOCK_SUMS)
def block_of_squares(
    loss: Any, t: Any, v: Any, w: Any, start: Any, stop: Any, line: Any, inverse: Any
) -> Any:
    """Return sums over some points of the squared gradient."""
    tt = t1 = one = 0.0
    p, q = line
    for j in range(stop - start):
        i = np.uint64(start) + np.uint64(j)
        _, first, _, _ = point(loss, (v[i] - (p * t[i] + q)) * inverse)
        square = weight(w, i) * first * first
        tt += square * t[i] * t[i]
        t1 += square * t[i]
        one += square
    return tt, t1, one


@compiled(INLINED)
def means_at(loss: Any, points: Any, line: Any, c: Any) -> Any:
    """Return the means of ``block_of_sums``."""
    t, v, w, total, _ = points
    inverse = 1.0 / c
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = 0.0
    for start in range(0, t.size, BLOCK):
        stop = min(start + BLOCK, t.size)
        s = block_of_sums(loss, t, v, w, start, stop, line, inverse)
        a0, a1, a2 = a0 + s[0], a1 + s[1], a2 + s[2]
        a3, a4, a5 = a3 + s[3], a4 + s[4], a5 + s[5]
        a6, a7, a8 = a6 + s[6], a7 + s[7], a8 + s[8]
    share = 1.0 / total
    return (
        *(a0 * share, a1 * share, a2 * share, a3 * share, a4 * share, a5 * share),
        *(a6 * share, a7 * share, a8 * share),
    )


@compiled(INLINED)
def squares_at(loss: Any, points: Any, line: Any, c: Any) -> Any:
    """Return the means of ``block_of_squares``."""
    t, v, w, total, _ = points
    tt = t1 = one = 0.0
    for start in range(0, t.size, BLOCK):
        stop = min(start + BLOCK, t.size)
        s = block_of_squares(loss, t, v, w, start, stop, line, 1.0 / c)
        tt, t1, one = tt + s[0], t1 + s[1], one + s[2]
    return tt / total, t1 / total, one / total


# Steps


@compiled(TOTAL)
def is_determined(now: Any, moves: Any) -> Any:
    """Return whether the points determine a line, weighted as the loss weights them."""
    _, _, _, _, _, _, tt, t1, one = now
    return not (tt * one - t1 * t1 <= SINGULAR * tt * one) if moves else not tt <= 0.0


@compiled(TOTAL)
def is_trusted(now: Any, moves: Any) -> Any:
    """Return whether second derivatives are positive in every direction, beyond rounding."""
    _, _, _, tt, t1, one, safe_tt, safe_t1, safe_one = now
    a, b = tt - LEAST_CURVATURE * safe_tt, t1 - LEAST_CURVATURE * safe_t1
    d = one - LEAST_CURVATURE * safe_one
    return (d > 0.0 and a * d - b * b > 0.0 and tt * one - t1 * t1 > 0.0) if moves else a > 0.0


@compiled(TOTAL)
def step_of(now: Any, is_safe: Any, moves: Any) -> Any:
    """Return the step to the minimum of a parabola: the safe one, or that of the second derivatives."""
    _, along, across, tt, t1, one, safe_tt, safe_t1, safe_one = now
    if is_safe:
        tt, t1, one = safe_tt, safe_t1, safe_one
    if not moves:
        return -along / tt, 0.0
    determinant = tt * one - t1 * t1
    return (t1 * across - one * along) / determinant, (t1 * along - tt * across) / determinant


@compiled(TOTAL)
def is_minimum(now: Any, line: Any, c: Any, tol: Any, moves: Any) -> Any:
    """Return whether the gradient of a line is within tolerance or rounding of zero."""
    rounding = ROUNDING * (abs(line[0]) + abs(line[1])) / c
    most = 2.0 * max(tol * min(1.0, 1.0 / c), 0.5 * now[8] * rounding)
    return abs(now[1]) <= most and (abs(now[2]) <= most or not moves)


@compiled(TOTAL)
def minimum(loss: Any, points: Any, line: Any, c: Any, tol: Any) -> Any:
    """Return the minimum downhill from a line, how the way there ended, and the means there."""
    moves = points[4]
    now = means_at(loss, points, line, c)
    stretch = 1.0
    for k in range(MOST_STEPS + 1):
        value, along, across = now[0], now[1], now[2]
        if is_minimum(now, line, c, tol, moves):
            return line, CONVERGED, now
        if k == MOST_STEPS:
            break
        if not is_determined(now, moves):
            return line, STALLED, now
        unseen = math.sqrt(0.5 * now[8]) * ROUNDING * (abs(line[0]) + abs(line[1])) / c
        is_better = False
        # Newton's step if it is trusted, a long safe step after one that helped, and a safe step.
        for way in range(0 if is_trusted(now, moves) else 1, 3):
            if way == 2 and stretch == 1.0:
                break
            length = stretch if way == 1 else 1.0
            turn, rise = step_of(now, way > 0, moves)
            turn, rise = length * turn, length * rise
            following = line[0] + c * turn, line[1] + c * rise
            if following == line:
                continue
            least = LEAST_DECREASE if way == 0 else 0.0
            lowest = max(value + 0.5 * least * (turn * along + rise * across), 0.0)
            then = means_at(loss, points, following, c)
            if math.sqrt(then[0]) <= math.sqrt(lowest) * (1.0 + SLACK) + unseen:
                is_better = True
                longer = (length if way > 0 else 0.0) >= stretch
                stretch = length * STRETCH if longer else 1.0
                line, now = following, then
                break
        if not is_better:
            return line, STALLED, now
    return line, MAX_ITER, now


@compiled(TOTAL)
def downhill(loss: Any, points: Any, line: Any, blunt: Any, c: Any) -> Any:
    """Return the minimum with the scale c, by way of those with larger scales, from a blunt one on."""
    while blunt > SHRINK * c:
        line, _, _ = minimum(loss, points, line, blunt, COARSE_TOL)
        blunt /= SHRINK
    return minimum(loss, points, line, c, TOL)


# Medians


@compiled(BLOCK_SUMS)
def put_sizes(t: Any, v: Any, p: Any, q: Any, sizes: Any) -> None:
    """Write absolute residuals."""
    for i in range(t.size):
        sizes[i] = abs(v[i] - (p * t[i] + q))


@compiled(BLOCK_SUMS)
def count(sizes: Any, low: Any, high: Any) -> Any:
    """Return how many numbers are at most ``low``, and at most ``high``."""
    below = up_to = 0.0
    for i in range(sizes.size):
        below += 1.0 if sizes[i] <= low else 0.0
        up_to += 1.0 if sizes[i] <= high else 0.0
    return below, up_to


@compiled(TOTAL)
def middle_of(sizes: Any, few: Any, guess: Any) -> Any:
    """Return the median of numbers, expected near a guess."""
    n = sizes.size
    # The ranks of the two in the middle, which are one if n is odd.
    first, second = (n - 1) // 2, n // 2
    low, high, n_low, n_high = -1.0, np.inf, 0.0, float(n)
    reach = guess * (0.25 * FEW / n)
    for k in range(1, BRACKETS):
        bounds = guess - reach, guess + reach
        counts = count(sizes, bounds[0], bounds[1])
        for bound, up_to in ((bounds[0], counts[0]), (bounds[1], counts[1])):
            if up_to <= first and bound > low:
                low, n_low = bound, up_to
            elif up_to > second and bound < high:
                high, n_high = bound, up_to
        if n_high - n_low <= FEW:
            break
        if high == np.inf:
            guess = 2.0 * low * (first + 1.0) / (n_low + 1.0)
            reach = 0.1 * guess
        else:
            # As if numbers were evenly spread over the bracket.
            base = max(low, 0.0)
            each = (high - base) / (n_high - n_low)
            guess = base + (first + 1.0 - n_low) * each
            reach = (0.25 * FEW + 0.1 * k) * each
    return chosen_of(sizes, few, low, high, int(n_low), first, second)


@compiled(TOTAL)
def chosen_of(
    sizes: Any, few: Any, low: Any, high: Any, below: Any, first: Any, second: Any
) -> Any:
    """Return the mean of the numbers of two ranks, which lie in a bracket above some others."""
    found = 0
    for i in range(sizes.size):
        few[found] = sizes[i]
        found += 1 if (sizes[i] > low) & (sizes[i] <= high) else 0
    sort(few, None, found)
    return 0.5 * few[first - below] + 0.5 * few[second - below]


@compiled(TOTAL)
def sort(values: Any, others: Any, n: Any) -> None:
    """Sort the first n of some values, and others with them, by Shell's method."""
    gap = 1
    while 3 * gap < n // 8:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            value, other, j = values[i], weight(others, i), i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                put(others, j, weight(others, j - gap))
                j -= gap
            values[j] = value
            put(others, j, other)
        gap //= 3


@compiled(TOTAL)
def weighted_middle_of(sizes: Any, w: Any, total: Any, few: Any, weights: Any) -> Any:
    """Return the weighted median of numbers: halfway to the next one where half of the weight is reached exactly."""
    for i in range(sizes.size):
        few[i], weights[i] = sizes[i], weight(w, i)
    sort(few, weights, sizes.size)
    lower, reached = np.nan, 0.0
    for i in range(sizes.size):
        reached += weights[i]
        if np.isnan(lower) and reached >= 0.5 * total * (1.0 - 1e-12):
            lower = few[i]
        if reached >= 0.5 * total * (1.0 + 1e-12):
            return 0.5 * lower + 0.5 * few[i]
    return lower


@compiled(TOTAL)
def scale_of(points: Any, line: Any, room: Any, guess: Any) -> Any:
    """Return 1.4826 times the median absolute residual of a line, expected near a guess."""
    t, v, w, total, _ = points
    sizes = room[0][: t.size]
    put_sizes(t, v, line[0], line[1], sizes)
    if w is not None:
        return MAD_TO_STD * weighted_middle_of(sizes, w, total, room[1], room[2])
    return MAD_TO_STD * middle_of(sizes, room[1], guess / MAD_TO_STD)


# The scale that is consistent with the line


@compiled(TOTAL)
def least_scale(line: Any, facts: Any) -> Any:
    """Return the scale of residuals that are rounding error, of themselves or of y."""
    steep, of_y = facts
    return max(4.0 * ROUNDING * (abs(steep) + abs(line[0]) + abs(line[1])), of_y)


@compiled(TOTAL)
def majority(tukey: Any, points: Any, room: Any, facts: Any, line: Any, scale: Any) -> Any:
    """Return the line of most points and its scale: 0 if they lie on it, infinite if there is none."""
    found = line
    while True:
        found, _, now = minimum(tukey, points, found, TUKEY * scale, FLAT_TOL)
        if not is_determined(now, points[4]):
            return line, np.inf
        own = scale_of(points, found, room, scale)
        if own <= max(least_scale(found, facts), ZERO):
            return found, 0.0
        if own < SMALLEST:
            return found, np.nan
        if own > COLLAPSE * scale:
            return found, own
        scale = own


@compiled(TOTAL)
def guess_of(scale: Any, own: Any, rate: Any) -> Any:
    """Return where a secant predicts the consistent scale."""
    trial = scale + (own - scale) / (1.0 - rate) if rate != 1.0 else own
    return min(max(trial, 0.01 * scale), 100.0 * scale)


@compiled(TOTAL)
def next_scale(low: Any, high: Any, scale: Any, own: Any, rate: Any) -> Any:
    """Return the scale to try next, within a bracket."""
    trial = guess_of(scale, own, rate)
    if low < trial < high:
        return trial
    if low < own < high:
        return own
    if low == 0.0:
        return 0.1 * high
    return 10.0 * low if high == np.inf else math.sqrt(low * high)


@compiled(TOTAL)
def with_own_scale(
    loss: Any,
    tuning: Any,
    is_convex: Any,
    tukey: Any,
    points: Any,
    room: Any,
    facts: Any,
    line: Any,
    scale: Any,
) -> Any:
    """Return the minimum at the scale that is consistent with it, this scale, how the search ended, and the means."""
    moves = points[4]
    scale = max(scale, least_scale(line, facts))
    scale = 1.0 if scale < SMALLEST else scale
    line, _, now = minimum(loss, points, line, tuning * scale, COARSE_TOL)
    if is_determined(now, moves):
        turn, rise = step_of(now, not is_trusted(now, moves), moves)
        line = line[0] + tuning * scale * turn, line[1] + tuning * scale * rise
    scale = guess_of(scale, scale_of(points, line, room, scale), 0.0)
    low, high, rate, last_scale, last_own = 0.0, np.inf, 0.0, np.nan, np.nan
    for _ in range(MOST_SCALES):
        start = line
        scale = max(scale, least_scale(line, facts))
        line, end, now = minimum(loss, points, line, tuning * scale, TOL)
        is_fitted = is_determined(now, moves)
        own = 2.0 * scale
        if is_fitted:
            if end != CONVERGED:
                return line, scale, end, now
            own = scale_of(points, line, room, scale)
            if abs(own - scale) <= SCALE_TOL * scale or high <= (1.0 + SCALE_TOL) * low:
                return line, scale, CONVERGED, now
        low = max(low, scale) if own > scale else low
        high = high if own > scale else min(high, scale)
        if scale != last_scale and not np.isnan(last_scale):
            rate = (own - last_own) / (scale - last_scale)
        last_scale, last_own = scale, own
        following = next_scale(low, high, scale, own, rate)
        if not is_fitted:
            line, scale = start, following
            continue
        if min(own, following) < COLLAPSE * scale:
            most, its_scale = majority(tukey, points, room, facts, line, scale)
            if its_scale == 0.0:
                return most, 0.0, CONVERGED, now
            if np.isnan(its_scale):
                return most, its_scale, TOO_FAR_APART, now
            if its_scale < own:
                line, following = most, its_scale
            elif not is_convex:
                following = own
        scale = following
    return line, last_scale, MAX_ITER, now


# Lines


@compiled(TOTAL)
def fit_one(
    loss: Any, huber: Any, tukey: Any, options: Any, points: Any, room: Any, facts: Any, rms: Any
) -> Any:
    """Return the line, its ``f_scale``, how the search ended, and the means; ``options`` as in ``fit_and_write``."""
    c, tuning, is_convex = options
    is_given = c > 0.0
    line, scale = (0.0, 0.0), rms
    if is_given and is_convex:
        line, end, now = downhill(loss, points, line, tuning * rms, c)
        return line, c, end, now
    if not is_convex:
        # The lowest of three minima: from Huber's line, from least squares, and as c shrinks.
        if is_given:
            scale = c / tuning
            line, _, _ = downhill(huber, points, line, HUBER * rms, HUBER * scale)
        else:
            line, scale, end, now = with_own_scale(
                huber, HUBER, True, tukey, points, room, facts, line, scale
            )
            if scale == 0.0 or end == TOO_FAR_APART:
                return line, scale, end, now
        c = tuning * scale
        sharper, blunt = (0.0, 0.0), BLUNTEST * tuning * rms
        while blunt > SHARPER * c:
            sharper, _, _ = minimum(loss, points, sharper, blunt, COARSE_TOL)
            blunt /= SHARPER
        line, end, now = minimum(loss, points, line, c, TOL)
        for start in ((0.0, 0.0), sharper):
            other, its_end, then = minimum(loss, points, start, c, TOL)
            if then[0] < now[0]:
                line, end, now = other, its_end, then
        if is_given:
            return line, c, end, now
    line, scale, end, now = with_own_scale(
        loss, tuning, is_convex, tukey, points, room, facts, line, scale
    )
    return line, tuning * scale, end, now


@compiled(TOTAL)
def write_line(
    loss: Any,
    points: Any,
    line: Any,
    c: Any,
    end: Any,
    now: Any,
    of_points: Any,
    out: Any,
    j: Any,
) -> None:
    """Write a line and what its errors follow from."""
    moves = points[4]
    n_effective, u_unit, v_unit = of_points
    if not is_determined(now, moves):
        out[7, j] = float(UNDETERMINED)
        return
    turn_unit = v_unit / u_unit
    out[0, j], out[1, j] = line[0] * turn_unit, line[1] * v_unit
    out[2, j] = now[0] * (c * v_unit) * (c * v_unit)
    out[7, j] = float(end)
    n_fitted = 2.0 if moves else 1.0
    n_dof = n_effective - n_fitted
    if end != CONVERGED or not min(n_dof, 0.5 * now[8] * n_effective - n_fitted) > LEAST_DOF:
        return
    tt, t1, one = now[3], now[4], now[5]
    b_tt, b_t1, b_one = squares_at(loss, points, line, c)
    if not moves:
        if tt > 0.0:
            out[4, j] = math.sqrt(b_tt / n_dof) / tt * (c * turn_unit)
            out[5, j] = out[6, j] = 0.0
        return
    determinant = tt * one - t1 * t1
    if not (determinant > 0.0 and one > 0.0):
        return
    # A^-1 B A^-1, where A^-1 = (i_tt, i_t1; i_t1, i_one).
    i_tt, i_t1, i_one = one / determinant, -t1 / determinant, tt / determinant
    first, second = i_tt * b_tt + i_t1 * b_t1, i_tt * b_t1 + i_t1 * b_one
    along, both = first * i_tt + second * i_t1, first * i_t1 + second * i_one
    first, second = i_t1 * b_tt + i_one * b_t1, i_t1 * b_t1 + i_one * b_one
    across = first * i_t1 + second * i_one
    turn_error, rise_error = math.sqrt(along / n_dof), math.sqrt(across / n_dof)
    product = turn_error * rise_error
    out[4, j], out[5, j] = turn_error * (c * turn_unit), rise_error * (c * v_unit)
    out[6, j] = both / n_dof / product if product > 0.0 else 0.0


@compiled(TOTAL)
def fit_and_write(
    loss: Any,
    huber: Any,
    tukey: Any,
    options: Any,
    points: Any,
    room: Any,
    sums: Any,
    out: Any,
    j: Any,
) -> None:
    """Fit a line and write it. ``options`` are ``f_scale`` (0 for "mad"), tuning constant and convexity."""
    f_scale, tuning, is_convex = options
    slope, left, y_mean, uu, n_effective = sums
    total = points[3]
    u_unit = math.sqrt(uu / total)
    v_unit = math.sqrt((left + slope * slope * uu) / total)
    v_unit = v_unit if v_unit > 0.0 else 1.0
    of_points = n_effective, u_unit, v_unit
    rms, steep = math.sqrt(left / total) / v_unit, slope * u_unit / v_unit
    c = f_scale / v_unit
    if f_scale > 0.0 and c < SMALLEST:
        out[3, j], out[7, j] = f_scale, float(UNDETERMINED)
        return
    if rms <= ROUNDING * abs(steep):
        # The line of least squares meets every point to rounding; about it, Huber's loss is the square.
        out[3, j] = f_scale
        line = 0.0, 0.0
        now = means_at(huber, points, line, 1.0)
        write_line(huber, points, line, 1.0, CONVERGED, now, of_points, out, j)
        return
    facts = steep, ROUNDING_OF_Y * abs(y_mean) / v_unit
    given = min(c, LARGEST), tuning, is_convex
    line, c, end, now = fit_one(loss, huber, tukey, given, points, room, facts, rms)
    out[3, j] = f_scale if f_scale > 0.0 else c * v_unit
    if end == TOO_FAR_APART:
        out[7, j] = float(end)
    elif c == 0.0:
        # Most points lie on this line, to rounding.
        out[0, j], out[1, j] = line[0] * (v_unit / u_unit), line[1] * v_unit
        out[2, j] = 0.0
        out[7, j] = float(CONVERGED)
    else:
        write_line(loss, points, line, c, end, now, of_points, out, j)


@compiled(TOTAL)
def gather_line(
    y: Any,
    x: Any,
    w: Any,
    start: Any,
    stride: Any,
    n: Any,
    u: Any,
    rest: Any,
    ts: Any,
    vs: Any,
    ws: Any,
) -> Any:
    """Put the points of a line that count side by side, as they are; return their number."""
    found = 0
    for i in range(n):
        at = np.uint64(start) + np.uint64(i) * np.uint64(stride)
        value, q = np.float64(y[at]), weight(w, at)
        p = own_place(x, at, plus(u[i], part_of(rest, i)))
        ts[found], vs[found] = p, value
        put(ws, found, q)
        found += 0 if np.isnan(value) | np.isnan(p) | np.isnan(q) else 1
    return found


@compiled(TOTAL)
def gather_rows(
    y: Any,
    x: Any,
    w: Any,
    start: Any,
    stride: Any,
    n: Any,
    m: Any,
    u: Any,
    rest: Any,
    ts: Any,
    vs: Any,
    ws: Any,
    counts: Any,
) -> None:
    """Do so for the points of m lines that lie side by side, line by line in rows of ``ts``, ``vs`` and ``ws``."""
    for j in range(m):
        counts[j] = 0
    for i in range(n):
        row = np.uint64(start) + np.uint64(i) * np.uint64(stride)
        shared = plus(u[i], part_of(rest, i))
        for j in range(m):
            at = row + np.uint64(j)
            value, q = np.float64(y[at]), weight(w, at)
            p = own_place(x, at, shared)
            found = counts[j]
            ts[j, found], vs[j, found] = p, value
            put(weights_at(ws, j), found, q)
            counts[j] = found + (0 if np.isnan(value) | np.isnan(p) | np.isnan(q) else 1)


@compiled(TOTAL)
def to_units(
    t: Any, v: Any, u_mean: Any, y_mean: Any, slope: Any, u_unit: Any, v_unit: Any
) -> None:
    """Turn places and values into distances and residuals in units of their standard deviations."""
    u_share, v_share = 1.0 / u_unit, 1.0 / v_unit
    for i in range(t.size):
        off = t[i] - u_mean
        v[i] = fused(-slope, off, v[i] - y_mean) * v_share
        t[i] = off * u_share


@compiled(TOTAL)
def fit_robust_lines(
    y: Any,
    x: Any,
    w: Any,
    in_rows: Any,
    n: Any,
    n_lanes: Any,
    strides: Any,
    u: Any,
    rest: Any,
    through_origin: Any,
    loss: Any,
    huber: Any,
    tukey: Any,
    options: Any,
    width: Any,
    tiles: Any,
    found: Any,
    scratch: Any,
    out: Any,
) -> None:
    """Fit the lines of some tiles, of which ``found`` has the least-squares lines, one after the other.

    ``scratch`` has room for places, values and weights of the lines of a tile, and of one more. It comes from outside:
    compiled code counts references to arrays that it makes itself, which takes as long as a fit.
    """
    outer_stride, row_stride, lane_stride = strides
    ts, vs, ws = scratch[0], scratch[1], room_like(w, scratch[2])
    counts = np.zeros(width, np.int64)
    room = ts[width], vs[width], scratch[2, width]
    each = (n_lanes + width - 1) // width
    for tile in range(tiles[0], tiles[1]):
        outer, low = tile // each, tile % each * width
        m = min(width, n_lanes - low)
        start = outer * outer_stride + low * lane_stride
        if in_rows is None:
            for j in range(m):
                at = start + j * lane_stride
                counts[j] = gather_line(
                    *(y, x, w, at, row_stride, n, u, rest, ts[j], vs[j], weights_at(ws, j))
                )
        else:
            gather_rows(y, x, w, start, row_stride, n, m, u, rest, ts, vs, ws, counts)
        for j in range(m):
            k = outer * n_lanes + low + j
            for row in range(len(ROBUST_RESULTS)):
                out[row, k] = np.nan
            slope, left, y_mean = found[0, k], found[2, k], found[3, k]
            u_mean, uu = found[5, k], found[6, k]
            total = float(counts[j]) if w is None else found[7, k]
            size = left + slope * slope * uu
            if not (counts[j] > 1 or (through_origin and counts[j] > 0)):
                continue
            if not (total > 0.0 and total < np.inf and uu > 0.0 and size < np.inf):
                continue
            part = slice(0, counts[j])
            level = 0.0 if through_origin else y_mean
            v_unit = math.sqrt(size / total)
            v_unit = v_unit if v_unit > 0.0 else 1.0
            to_units(ts[j][part], vs[j][part], u_mean, level, slope, math.sqrt(uu / total), v_unit)
            points = (
                ts[j][part],
                vs[j][part],
                weights_at(weights_at(ws, j), part),
                total,
                not through_origin,
            )
            sums = slope, left, y_mean, uu, total
            fit_and_write(loss, huber, tukey, options, points, room, sums, out, k)
