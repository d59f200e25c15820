"""Where points lie, from a glance at some of them: the center that is subtracted before anything is squared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastfit.kernels.block import difference
from fastfit.kernels.flags import BLOCK_SUMS, compiled

# Points whose mean is at most this many standard deviations from zero are read as they are.
NEAR_ZERO = 4.0


@compiled(BLOCK_SUMS)
def center_for(mean: Any, square: Any) -> Any:
    """Return a center for values with this mean and variance, and their mean square about it.

    It is 0 unless the values lie far from 0, and else a multiple of about their standard deviation. Either way
    nearly all values are shifted by it without rounding. If all are equal, it is their value.
    """
    if not math.isfinite(mean + square):
        return 0.0, 1.0
    if square == 0.0:
        return mean, square
    if mean * mean <= NEAR_ZERO * NEAR_ZERO * square:
        return 0.0, square + mean * mean
    spacing = math.ldexp(1.0, math.frexp(square)[1] // 2)
    return np.rint(mean / spacing) * spacing, square + spacing * spacing


@compiled(BLOCK_SUMS)
def rough_center(values: Any, step: Any) -> Any:
    """Return a center for values, and their mean square about it, from every ``step``-th that is not NaN."""
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


def glance(x: Any, y: Any, step: Any) -> Any:
    """Return rough centers of x and of y and mean squares about them, from every ``step``-th point."""
    return (*rough_center(x, step), *rough_center(y, step))
