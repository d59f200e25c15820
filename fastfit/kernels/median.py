"""The absolute residuals within a bracket, collected in one pass: what a median of residuals is found from.

Sorting or copying all residuals would cost many reads. One pass counts those below the bracket and keeps those within,
which are few when the bracket is a good guess.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastfit.kernels.block import BLOCK, difference, weight, weights_at
from fastfit.kernels.flags import BLOCK_SUMS, POINT, compiled

# Groups of blocks that are collected separately, so that threads write to different places, however many they are.
GROUPS = 64
# Eight points, spread over the block, share one flag: is any residual within the bracket?
TOGETHER = 8


class ResidualWindow(NamedTuple):
    """Absolute residuals within a bracket.

    ``below`` and ``up_to`` are the weight of those below the bracket, and of all up to its upper bound. Both are summed
    in the same order, so ``below`` never exceeds ``up_to``. Of the residuals within, ``values`` holds all if
    ``is_complete``, else about one of every ``step``; ``weights`` are the weights of these points, or None.
    """

    below: float
    up_to: float
    values: Any
    weights: Any
    is_complete: bool
    step: int = 1

    def decimated(self, step: int, most: int) -> ResidualWindow:
        """Return at most ``most`` of the residuals, one of at least every ``step``."""
        found = self
        while found.step < step or found.values.size > most:
            weights = None if found.weights is None else found.weights[::2]
            found = found._replace(
                values=found.values[::2], weights=weights, is_complete=False, step=2 * found.step
            )
        return found


@compiled(POINT)
def distance(x: Any, y: Any, center: Any, slope: Any, offset: Any) -> Any:
    """Return an absolute residual, always rounded alike."""
    return abs(difference(y, center[1]) - (slope * difference(x, center[0]) + offset))


def put(values: Any, i: Any, value: Any) -> None:
    """Set a value, if there is an array to set it in."""
    if values is not None:
        values[i] = value


@compiled(BLOCK_SUMS)
def mark(x: Any, y: Any, w: Any, center: Any, params: Any, marks: Any) -> Any:
    """Add 1 to the flag of each point whose absolute residual is within the bracket.

    Returned are the weight of the residuals below the bracket, and of all up to its upper bound.
    """
    slope, offset, low, high = params
    below = 0.0
    up_to = 0.0
    for i in range(x.size):
        size = distance(np.float64(x[i]), np.float64(y[i]), center, slope, offset)
        below += weight(w, i) if size < low else 0.0
        up_to += weight(w, i) if size <= high else 0.0
        marks[i] += 1.0 if low <= size <= high else 0.0
    return below, up_to


@compiled(BLOCK_SUMS)
def gather(x: Any, y: Any, w: Any, center: Any, params: Any, values: Any, weights: Any) -> Any:
    """Put absolute residuals within the bracket and their weights into ``values`` and ``weights``, while there is room.

    ``params`` are slope, offset and the two bounds. The last place of ``values`` is scratch space. Returned are the
    weight of the residuals below the bracket, of all up to its upper bound, and how many are within.

    A loop that picks numbers out does not vectorise, so it sees only points whose flag says that one of them is within.
    It has no branches, as these would be mispredicted.
    """
    marks = np.empty(BLOCK // TOGETHER)
    marked = np.empty(BLOCK // TOGETHER, np.int64)
    slope, offset, low, high = params
    below = 0.0
    up_to = 0.0
    count = 0
    last = values.size - 1
    for start in range(0, x.size, BLOCK):
        block = slice(start, min(start + BLOCK, x.size))
        x_block, y_block, w_block = x[block], y[block], weights_at(w, block)
        step = (x_block.size + TOGETHER - 1) // TOGETHER
        for c in range(step):
            marks[c] = 0.0
        for i in range(TOGETHER):
            some = slice(min(i * step, x_block.size), min((i + 1) * step, x_block.size))
            sums = mark(
                x_block[some], y_block[some], weights_at(w_block, some), center, params, marks
            )
            below += sums[0]
            up_to += sums[1]
        n_marked = 0
        for c in range(step):
            marked[n_marked] = c
            n_marked += 1 if marks[c] > 0.0 else 0
        for c in marked[:n_marked]:
            for i in range(c, x_block.size, step):
                size = distance(
                    np.float64(x_block[i]), np.float64(y_block[i]), center, slope, offset
                )
                inside = low <= size <= high
                place = min(count, last)
                values[place] = size
                put(weights, place, weight(w_block, i))
                count += 1 if inside else 0
    return below, up_to, float(count)


def window(values: Any, weights: Any, found: Any) -> ResidualWindow:
    """Return what all groups have collected.

    ``found`` has for each group the weight below the bracket, that up to its upper bound, and the number of values.
    """
    room = values.shape[1] - 1
    counts = found[:, 2].astype(int)
    below, up_to = math.fsum(found[:, 0]), math.fsum(found[:, 1])
    kept = np.minimum(counts, room)
    their_weights = None if weights is None else _first_of_each(weights, kept)
    is_complete = bool((counts <= room).all())
    return ResidualWindow(below, up_to, _first_of_each(values, kept), their_weights, is_complete)


def _first_of_each(table: Any, counts: Any) -> Any:
    """Return the first entries of each row, as many as counted, in a row."""
    rows = [row[:count] for row, count in zip(table, counts, strict=True)]
    return rows[0] if len(rows) == 1 else np.concatenate([np.empty(0), *rows])
