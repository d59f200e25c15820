"""A subsample of the points, evenly spread: where robust fits start, and what pictures show."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

# Steps of the golden ratio: no periodic order of the points leaves a part of them out of the sample.
GOLDEN = 0.5 * math.sqrt(5.0) - 0.5
# Largest sample: of very many points, fewer are kept than the step asks for.
_MOST_KEPT = 1 << 17


class Sample(NamedTuple):
    """Every ``step``-th point or so, evenly spread: x, y, and weights or None."""

    step: int
    x: Any
    y: Any
    w: Any = None

    def decimated(self, step: int) -> Sample:
        """Return a sample of at least this step, and of at most ``_MOST_KEPT`` points."""
        found = self
        while found.step < step or found.x.size > _MOST_KEPT:
            # One point of each pair, the first or the second.
            place = np.arange((found.x.size + 1) // 2)
            place = 2 * place + (place * GOLDEN % 1.0 >= 0.5)
            place = place[place < found.x.size]
            w = None if found.w is None else found.w[place]
            found = Sample(2 * found.step, found.x[place], found.y[place], w)
        return found

    def merge(self, other: Sample) -> Sample:
        """Return the sample of the points of both."""
        step = max(self.step, other.step)
        one, two = self.decimated(step), other.decimated(step)
        x, y = np.concatenate([one.x, two.x]), np.concatenate([one.y, two.y])
        w = None if one.w is None else np.concatenate([one.w, two.w])
        return Sample(step, x, y, w).decimated(step)
