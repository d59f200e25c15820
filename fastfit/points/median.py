"""The weighted median of numbers too many to copy or sort, from passes that collect those within a bracket."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfit.kernels.median import ResidualWindow

# Relative rounding error of sums of weights: sums this close to half of the total are half of it.
_ROUNDING = 1e-12
# Brackets guessed from the numbers collected so far. After that, every other one halves the floats in the bracket, so
# the search always ends.
_GUESSES = 4

Gather = Callable[[float, float], ResidualWindow]


def weighted_median(gather: Gather, total: float, near: tuple[float, float] | None) -> float:
    """Return the weighted median of numbers of at least 0.

    Where the weight up to a number is just half of the total, it is the mean of this number and the next.

    Parameters
    ----------
    gather : callable
        Makes one pass and returns the numbers within two bounds, bounds included, and the weight of those below. If
        there are too many, it returns some of them.
    total : float
        Sum of the weights, above 0.
    near : (float, float) or None
        Where the median is expected.
    """
    least, most = 0.5 * total * (1.0 - _ROUNDING), 0.5 * total * (1.0 + _ROUNDING)
    look = (0.0, math.inf) if near is None else near
    found = _search(gather, least, (0.0, math.inf), look)
    if found.up_to >= most:
        lower, upper = _first(found, least, most)
        return 0.5 * lower + 0.5 * upper
    (lower,) = _first(found, least)
    # The next number lies outside this bracket.
    found = _search(gather, most, (lower, math.inf), (lower, 2.0 * lower))
    (upper,) = _first(found, most)
    return 0.5 * lower + 0.5 * upper


def _search(
    gather: Gather, weight: float, sure: tuple[float, float], look: tuple[float, float]
) -> ResidualWindow:
    """Return the values of a bracket inside which the cumulative weight reaches ``weight``.

    ``sure`` is a bracket in which it does; ``look`` is where to look first.
    """
    trial = 0
    while True:
        found = gather(*look)
        if found.below >= weight:
            sure = look = sure[0], math.nextafter(look[0], -math.inf)
        elif found.up_to < weight and look[1] == math.inf:
            raise ValueError("the residuals of a line are beyond float64; rescale x or y")
        elif found.up_to < weight:
            sure = look = math.nextafter(look[1], math.inf), sure[1]
        elif found.is_complete:
            return found
        elif look[0] == look[1]:
            return found._replace(
                values=np.array([look[0]]), weights=np.array([found.up_to - found.below])
            )
        else:
            sure, look = look, _closer(found, look, weight, trial)
            trial += 1


def _closer(
    found: ResidualWindow, look: tuple[float, float], weight: float, trial: int
) -> tuple[float, float]:
    """Return a narrower bracket: guessed from some numbers inside, or the lower half of them or of the floats."""
    values, reached = _in_order(found)
    known = float(reached[-1]) - found.below
    if trial == _GUESSES and look[1] < math.inf:  # guesses fail if many numbers equal a bound
        return look[1], look[1]
    if trial > _GUESSES and trial % 2:
        middle = float(values[values.size // 2])
        return (middle, middle) if middle in look else (look[0], middle)
    if trial < _GUESSES and known > 0.0:
        reached = found.below + (reached - found.below) * ((found.up_to - found.below) / known)
        place, last = int(np.searchsorted(reached, weight)), values.size - 1
        slack = 1 + 2 * math.isqrt(values.size)
        ends = max(min(place, last) - slack, 0), min(place + slack, last)
        closer = float(values[ends[0]]), float(values[ends[1]])
        middle = float(values[min(place, last)])
        if middle == closer[1] or middle == closer[0]:  # many are equal
            return middle, middle
        if closer != look:
            return closer
    low, high = (int(np.float64(bound).view(np.int64)) for bound in look)
    return look[0], float(np.int64((low + high) // 2).view(np.float64))


def _first(found: ResidualWindow, *weights: float) -> list[float]:
    """Return, for each of ``weights``, the first number at which the cumulative weight reaches it."""
    if found.weights is None:
        places = [math.ceil(weight - found.below) - 1 for weight in weights]
        values = np.partition(found.values, places)
    else:
        values, reached = _in_order(found)
        places = np.minimum(np.searchsorted(reached, weights), values.size - 1).tolist()
    return [float(values[place]) for place in places]


def _in_order(found: ResidualWindow) -> tuple[Any, Any]:
    """Return the numbers in ascending order, and the cumulative weight up to each."""
    if found.weights is None:
        return np.sort(found.values), found.below + np.arange(1.0, found.values.size + 1.0)
    order = np.argsort(found.values)
    return found.values[order], found.below + np.cumsum(found.weights[order])
