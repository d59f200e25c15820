"""A part of the points, evenly spread: where robust fits start, and what pictures show."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

# Points that take turns are all seen in steps of the golden ratio.
GOLDEN = 0.5 * math.sqrt(5.0) - 0.5
# A sample has no more points than this: of very many, one of more than was asked for.
_MOST_KEPT = 1 << 17


class Sample(NamedTuple):
    """One point of every ``step``, evenly spread over a part or over many."""

    step: int
    x: Any
    y: Any
    w: Any = None

    def decimated(self, step: int) -> Sample:
        """Return a sample of at least this step, and not too large."""
        found = self
        while found.step < step or found.x.size > _MOST_KEPT:
            # One of each pair, this or that.
            place = np.arange((found.x.size + 1) // 2)
            place = 2 * place + (place * GOLDEN % 1.0 >= 0.5)
            place = place[place < found.x.size]
            w = None if found.w is None else found.w[place]
            found = Sample(2 * found.step, found.x[place], found.y[place], w)
        return found

    def merge(self, other: Sample) -> Sample:
        """Return the sample of both."""
        step = max(self.step, other.step)
        one, two = self.decimated(step), other.decimated(step)
        x, y = np.concatenate([one.x, two.x]), np.concatenate([one.y, two.y])
        w = None if one.w is None else np.concatenate([one.w, two.w])
        return Sample(step, x, y, w).decimated(step)
