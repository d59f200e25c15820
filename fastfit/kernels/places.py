"""Where the points of many lines lie along x, which all lines share: distances that differ exactly, and their sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastfit.exact.double_double import two_product, two_sum
from fastfit.kernels.flags import TOTAL, compiled


@compiled(TOTAL)
def find_places(x: Any, through_origin: Any, u: Any, rest: Any, order: Any) -> Any:
    """Write distances from a center, what they lack, and the order in which points are tried for the first line.

    Distances are whole numbers of a spacing, so that they differ exactly. In the order, the outermost points stand at
    either end.

    Returns
    -------
    low, high, center : float
        The smallest and the largest x, and the x in the middle; 0 for lines through the origin.
    grid : float
        Rounds to the spacing if it is added and subtracted.
    total, u_sum, uu : float
        Sums of x above the smallest (not finite if an x is not), of distances, and of their squares.
    lacking : float
        Sum of what distances lack, without signs.
    """
    n = x.size
    first = last = 0
    low = high = x[0]
    for i in range(n):
        first, low = (i, x[i]) if x[i] < low else (first, low)
        last, high = (i, x[i]) if x[i] > high else (last, high)
    total = center = 0.0
    for i in range(n):
        total += x[i] - low
    if not through_origin:
        nearest = math.inf
        for i in range(n):
            distance = abs((x[i] - low) - total / n)
            center = x[i] if distance < nearest else center
            nearest = min(distance, nearest)
    grid = np.ldexp(3.0, math.frexp(max(high - center, center - low))[1])
    u_sum = uu = lost = lost_squares = lacking = 0.0
    for i in range(n):
        near = x[i] - center
        back = near - x[i]
        u[i] = (near + grid) - grid
        rest[i] = (near - u[i]) + ((x[i] - (near - back)) - (center + back))
        with_u, square = two_sum(u_sum, u[i]), two_product(u[i], u[i])
        with_square = two_sum(uu, square.high)
        u_sum, uu = with_u.high, with_square.high
        lost += with_u.low + rest[i]
        lost_squares += with_square.low + (square.low + 2.0 * u[i] * rest[i])
        lacking += abs(rest[i])
        order[i] = i if first <= last else n - 1 - i
    if first > last:
        first, last = n - 1 - first, n - 1 - last
    order[0], order[first] = order[first], order[0]
    order[n - 1], order[last] = order[last], order[n - 1]
    return low, high, center, grid, total, u_sum + lost, uu + lost_squares, lacking
