"""What one pass sums over a block of points: a fused loop for each pass.

A pass is a ``NamedTuple`` of its sums, whose class carries the loop as ``block``. The functions here are
plain Python: ``reference`` states the same sums in NumPy, and ``parallel`` compiles these loops by type. In all
of them ``center`` is the pair that is taken from ``x`` and ``y``, which leaves ``u`` and ``v``; ``w`` holds the
weights, or is None; ``given`` is what else the pass needs, such as the line ``slope * u + level``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastfit.double_double import fused

# Points to a block. Bounds of blocks depend on the number of points alone, and blocks are added up in order, so
# the result does not depend on the number of threads. 8,192 points of x and y fit in the second-level cache.
BLOCK = 8192
# Points whose mean is so few standard deviations off zero are read as they are.
NEAR_ZERO = 4.0


def difference(a: Any, b: Any) -> Any:
    """Return ``a - b``, a rounding of its own: compiled without leave to reorder."""
    return a - b


def exact_difference(a: Any, b: Any) -> Any:
    """Return ``a - b`` and what that lost in rounding."""
    near = a - b
    back = near - a
    return near, (a - (near - back)) - (b + back)


def residual(x: Any, y: Any, center: Any, given: Any) -> Any:
    """Return ``y - y_center - (slope * (x - x_center) + level)`` right to its last digits, however small it is."""
    x_center, y_center = center
    slope, slope_low, level, level_low = given
    u, u_lost = exact_difference(x, x_center)
    v, v_lost = exact_difference(y, y_center)
    above, lost = exact_difference(v, level)
    small = (lost + v_lost) - (fused(slope_low, u, level_low) + slope * u_lost)
    return fused(-slope, u, above) + small


def point(loss: Any, residual: Any) -> Any:
    """Return value, slope and curvature of the loss at a residual, and its weight there."""
    return loss.point(loss, residual)


def weight(w: Any, i: Any) -> Any:
    """Return the weight of a point, 1 where there are none."""
    return 1.0 if w is None else np.float64(w[i])


class LossGradient(NamedTuple):
    r"""Weighted sums of the loss :math:`\rho(r)` and of its two first derivatives.

    With :math:`r = v - (\mathrm{slope}\, u + \mathrm{level})` these are
    :math:`\sum w \rho(r)`, :math:`-\sum w \rho'(r)\, u` and :math:`-\sum w \rho'(r)`.
    """

    loss: float = 0.0
    grad_slope: float = 0.0
    grad_level: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        x_center, y_center = center
        slope, level = given
        total = 0.0
        grad_slope = 0.0
        grad_level = 0.0
        for i in range(x.size):
            u = difference(np.float64(x[i]), x_center)
            v = difference(np.float64(y[i]), y_center)
            value, first, _, _ = point(loss, v - (slope * u + level))
            value, first = weight(w, i) * value, weight(w, i) * first
            total += value
            grad_slope -= first * u
            grad_level -= first
        return total, grad_slope, grad_level

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the sums over all blocks."""
        return sums[0] + lost[0], sums[1] + lost[1], sums[2] + lost[2]

    @classmethod
    def result(cls, numbers: Any) -> LossGradient:
        """Return the sums over all blocks by name."""
        return cls(*numbers)


class LossGradientCurvature(NamedTuple):
    r"""Weighted sums of the loss and its derivatives, of the weights of the loss, and of squared slopes.

    Those of second derivatives are :math:`\sum w \rho''(r)\, u^2`, :math:`\sum w \rho''(r)\, u` and
    :math:`\sum w \rho''(r)`. In the next three stands the weight :math:`\rho'(r) / (2 r)` of the loss instead, and
    in the last three the squared slope :math:`\rho'(r)^2`.
    """

    loss: float = 0.0
    grad_slope: float = 0.0
    grad_level: float = 0.0
    slope_slope: float = 0.0
    slope_level: float = 0.0
    level_level: float = 0.0
    weight_slope_slope: float = 0.0
    weight_slope_level: float = 0.0
    weight_level_level: float = 0.0
    square_slope_slope: float = 0.0
    square_slope_level: float = 0.0
    square_level_level: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        x_center, y_center = center
        slope, level = given
        total = grad_slope = grad_level = 0.0
        slope_slope = slope_level = level_level = 0.0
        weight_slope_slope = weight_slope_level = weight_level_level = 0.0
        square_slope_slope = square_slope_level = square_level_level = 0.0
        for i in range(x.size):
            u = difference(np.float64(x[i]), x_center)
            v = difference(np.float64(y[i]), y_center)
            value, across, second, counts = point(loss, v - (slope * u + level))
            along = across * u
            k = weight(w, i)
            total += k * value
            grad_slope -= k * along
            grad_level -= k * across
            bend = k * second
            slope_slope += bend * u * u
            slope_level += bend * u
            level_level += bend
            share = k * counts
            weight_slope_slope += share * u * u
            weight_slope_level += share * u
            weight_level_level += share
            square_slope_slope += k * along * along
            square_slope_level += k * along * across
            square_level_level += k * across * across
        return (
            *(total, grad_slope, grad_level),
            *(slope_slope, slope_level, level_level),
            *(weight_slope_slope, weight_slope_level, weight_level_level),
            *(square_slope_slope, square_slope_level, square_level_level),
        )

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the sums over all blocks."""
        return (
            *(sums[0] + lost[0], sums[1] + lost[1], sums[2] + lost[2]),
            *(sums[3] + lost[3], sums[4] + lost[4], sums[5] + lost[5]),
            *(sums[6] + lost[6], sums[7] + lost[7], sums[8] + lost[8]),
            *(sums[9] + lost[9], sums[10] + lost[10], sums[11] + lost[11]),
        )

    @classmethod
    def result(cls, numbers: Any) -> LossGradientCurvature:
        """Return the sums over all blocks by name."""
        return cls(*numbers)


class ResidualSums(NamedTuple):
    r"""Sums of the residuals of a precise line, :math:`\sum w r`, :math:`\sum w r u` and :math:`\sum w r^2`.

    Given are slope and level in twice the precision of floats: ``slope, slope_low, level, level_low``. No loss.
    """

    r: float = 0.0
    ru: float = 0.0
    rr: float = 0.0

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        x_center, _ = center
        r_sum = 0.0
        ru = 0.0
        rr = 0.0
        for i in range(x.size):
            r = residual(np.float64(x[i]), np.float64(y[i]), center, given)
            wr = weight(w, i) * r
            r_sum += wr
            ru += wr * difference(np.float64(x[i]), x_center)
            rr += wr * r
        return r_sum, ru, rr

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the sums over all blocks."""
        return sums[0] + lost[0], sums[1] + lost[1], sums[2] + lost[2]

    @classmethod
    def result(cls, numbers: Any) -> ResidualSums:
        """Return the sums over all blocks by name."""
        return cls(*numbers)


class Gathered(NamedTuple):
    """Absolute residuals within bounds.

    ``below`` and ``up_to`` are the weight of those below the bounds, and of all up to the upper one: sums in one and
    the same order, so that one over more points is never less. Of the residuals within, ``values`` holds all if
    ``is_complete``, and else some; ``weights`` are theirs, or None.
    """

    below: float
    up_to: float
    values: Any
    weights: Any
    is_complete: bool


# Parts of the points whose residuals are gathered apart, so that threads do not meet; whatever the number of threads.
GROUPS = 64


# So many points, far apart in a block, share a mark that says whether one of them is within bounds.
TOGETHER = 8


def gather(x: Any, y: Any, w: Any, center: Any, given: Any, values: Any, weights: Any) -> Any:
    """Put absolute residuals within bounds into ``values``, and their weights into ``weights``, while there is room.

    Given are slope, level and the bounds; the last place holds nothing of use afterwards. Returned are the weight of
    the residuals below the bounds, that of all up to the upper one, and how many are within.

    A loop that picks numbers out does not vectorise, so it sees only points whose mark says that one of them is within.
    It has no branches, as these would be mispredicted.
    """
    marks = np.empty(BLOCK // TOGETHER)
    marked = np.empty(BLOCK // TOGETHER, np.int64)
    slope, level, low, high = given
    below = 0.0
    up_to = 0.0
    count = 0
    last = values.size - 1
    for start in range(0, x.size, BLOCK):
        block = slice(start, min(start + BLOCK, x.size))
        x_block, y_block, w_block = x[block], y[block], part(w, block)
        step = (x_block.size + TOGETHER - 1) // TOGETHER
        for c in range(step):
            marks[c] = 0.0
        for i in range(TOGETHER):
            some = slice(min(i * step, x_block.size), min((i + 1) * step, x_block.size))
            sums = mark(x_block[some], y_block[some], part(w_block, some), center, given, marks)
            below += sums[0]
            up_to += sums[1]
        n_marked = 0
        for c in range(step):
            marked[n_marked] = c
            n_marked += 1 if marks[c] > 0.0 else 0
        for c in marked[:n_marked]:
            for i in range(c, x_block.size, step):
                size = distance(
                    np.float64(x_block[i]), np.float64(y_block[i]), center, slope, level
                )
                inside = low <= size <= high
                place = min(count, last)
                values[place] = size
                put(weights, place, weight(w_block, i))
                count += 1 if inside else 0
    return below, up_to, float(count)


def mark(x: Any, y: Any, w: Any, center: Any, given: Any, marks: Any) -> Any:
    """Add 1 to the mark of each point whose absolute residual is within bounds.

    Returned are the weight of the residuals below the bounds, and that of all up to the upper one.
    """
    slope, level, low, high = given
    below = 0.0
    up_to = 0.0
    for i in range(x.size):
        size = distance(np.float64(x[i]), np.float64(y[i]), center, slope, level)
        below += weight(w, i) if size < low else 0.0
        up_to += weight(w, i) if size <= high else 0.0
        marks[i] += 1.0 if low <= size <= high else 0.0
    return below, up_to


def distance(x: Any, y: Any, center: Any, slope: Any, level: Any) -> Any:
    """Return an absolute residual, always rounded alike."""
    return abs(difference(y, center[1]) - (slope * difference(x, center[0]) + level))


def part(w: Any, block: Any) -> Any:
    """Return a part of the weights, None where there are none."""
    return None if w is None else w[block]


def put(values: Any, i: Any, value: Any) -> None:
    """Set a value, if there is an array to set it in."""
    if values is not None:
        values[i] = value


def glance(x: Any, y: Any, step: Any) -> Any:
    """Return rough centers of x and of y and mean squares about them, from every ``step``-th point."""
    return (*rough_center(x, step), *rough_center(y, step))


def rough_center(values: Any, step: Any) -> Any:
    """Return about where values lie, and their mean square about that, from every ``step``-th, but for NaN."""
    first = np.float64(0.0)
    count = 0
    for i in range((values.size + step - 1) // step):
        value = np.float64(values[i * step])
        if not np.isnan(value):
            first = value
            count += 1
    total = 0.0
    for i in range((values.size + step - 1) // step):
        off = difference(np.float64(values[i * step]), first)
        total += 0.0 if np.isnan(off) else off
    offset = total / max(count, 1)
    square = 0.0
    for i in range((values.size + step - 1) // step):
        off = difference(difference(np.float64(values[i * step]), first), offset)
        square += 0.0 if np.isnan(off) else off * off
    return center_for(first + offset, square / max(count, 1))


def center_for(mean: Any, square: Any) -> Any:
    """Return a center for values with this mean and variance, and their mean square about it.

    It is 0 if that is not far outside of them, and else a multiple of about their standard deviation. Either way
    nearly all values there can be are shifted by it without rounding. If all are the same, it is their value.
    """
    if not math.isfinite(mean + square):
        return 0.0, 1.0
    if square == 0.0:
        return mean, square
    if mean * mean <= NEAR_ZERO * NEAR_ZERO * square:
        return 0.0, square + mean * mean
    spacing = math.ldexp(1.0, math.frexp(square)[1] // 2)
    return np.rint(mean / spacing) * spacing, square + spacing * spacing


def block_sums(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
    """Return the sums of the pass ``what`` over one block."""
    return what.block(what, loss, x, y, w, center, given)


def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
    """Return what the pass ``what`` makes of sums over all blocks and what they lost in rounding."""
    return what.finish(what, n, center, sums, lost)
