"""The median of numbers that are too many to copy or to sort, from passes that gather a few of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfit.kernels.median import ResidualWindow

# Sums of weights this close to half of all, relatively, are half of all.
_ROUNDING = 1e-12
# So many bounds are guessed from numbers gathered so far; further ones halve what is left, which ends for sure.
_GUESSES = 4

Gather = Callable[[float, float], ResidualWindow]


def weighted_median(gather: Gather, total: float, near: tuple[float, float] | None) -> float:
    """Return the median of numbers from 0 up, each repeated as often as its weight says.

    Where half of the weight ends just at a number, it is the mean of this one and the next.

    Parameters
    ----------
    gather : callable
        Returns the numbers between two bounds, both of them within, and the weight of those below; one pass. Where
        there are too many, it returns some.
    total : float
        The weight of all numbers, above 0.
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
    # The next one lies outside of these bounds.
    found = _search(gather, most, (lower, math.inf), (lower, 2.0 * lower))
    (upper,) = _first(found, most)
    return 0.5 * lower + 0.5 * upper


def _search(
    gather: Gather, weight: float, sure: tuple[float, float], look: tuple[float, float]
) -> ResidualWindow:
    """Return all numbers within some bounds, between which the weight of all up to a number comes to ``weight``.

    It does so between the bounds ``sure``; ``look`` is where it is looked for first.
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
            sure, look = look, _closer(found, look, weight, trial < _GUESSES)
            trial += 1


def _closer(
    found: ResidualWindow, look: tuple[float, float], weight: float, guess: bool
) -> tuple[float, float]:
    """Return bounds inside of others, from some of the numbers in between; or the lower half of all floats there."""
    values, reached = _in_order(found)
    known = float(reached[-1]) - found.below
    if guess and known > 0.0:
        reached = found.below + (reached - found.below) * ((found.up_to - found.below) / known)
        place, last = int(np.searchsorted(reached, weight)), values.size - 1
        slack = 1 + 2 * math.isqrt(values.size)
        ends = max(min(place, last) - slack, 0), min(place + slack, last)
        closer = float(values[ends[0]]), float(values[ends[1]])
        middle = float(values[min(place, last)])
        if middle == closer[1] or middle == closer[0]:  # many are alike
            return middle, middle
        if closer != look:
            return closer
    low, high = (int(np.float64(bound).view(np.int64)) for bound in look)
    return look[0], float(np.int64((low + high) // 2).view(np.float64))


def _first(found: ResidualWindow, *weights: float) -> list[float]:
    """Return the first numbers at which the weight of all up to them comes to each of ``weights``."""
    if found.weights is None:
        places = [math.ceil(weight - found.below) - 1 for weight in weights]
        values = np.partition(found.values, places)
    else:
        values, reached = _in_order(found)
        places = np.minimum(np.searchsorted(reached, weights), values.size - 1).tolist()
    return [float(values[place]) for place in places]


def _in_order(found: ResidualWindow) -> tuple[Any, Any]:
    """Return the numbers from small to large, and the weight of all up to each."""
    if found.weights is None:
        return np.sort(found.values), found.below + np.arange(1.0, found.values.size + 1.0)
    order = np.argsort(found.values)
    return found.values[order], found.below + np.cumsum(found.weights[order])
