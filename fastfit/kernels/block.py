"""What the loops over a block of points share.

A *pass* reads all points once. It is a ``NamedTuple`` of the sums it makes, and its class says how, once for memory,
files and clusters alike:

- ``block(loss, x, y, w, center, params)`` is the loop over one block of points;
- ``finish(kernel, n, center, totals, lost)`` turns the totals of all blocks, and what they lost in rounding, into
  numbers;
- ``result(numbers)`` gives these numbers their names.

In all of them ``center`` is the pair subtracted from ``x`` and ``y``, which leaves ``u`` and ``v``; ``w`` holds the
weights, or is None; ``params`` are the other numbers the pass needs, such as the line ``slope * u + offset``.
``reference`` computes the same sums in NumPy, ``compiled`` compiles these loops by type.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fastfit.kernels.flags import POINT, TOTAL, compiled

# Points per block. Block bounds depend on the number of points alone, and block sums are added in order, so the result
# does not depend on the number of threads. 8,192 points of x and y fit in the second-level cache.
BLOCK = 8192


@compiled(POINT)
def difference(a: Any, b: Any) -> Any:
    """Return ``a - b``, rounded on its own: compiled without leave to reorder."""
    return a - b


@compiled(POINT)
def exact_difference(a: Any, b: Any) -> Any:
    """Return ``a - b`` and its rounding error."""
    near = a - b
    back = near - a
    return near, (a - (near - back)) - (b + back)


def point(loss: Any, residual: Any) -> Any:
    """Return value, slope, curvature and weight of the loss at a residual."""
    return loss.point(loss, residual)


def weight(w: Any, i: Any) -> Any:
    """Return the weight of a point, 1 without weights."""
    return 1.0 if w is None else np.float64(w[i])


def weights_at(w: Any, rows: Any) -> Any:
    """Return some of the weights, None without weights."""
    return None if w is None else w[rows]


def block_sums(kernel: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, params: Any) -> Any:
    """Return the sums of a pass over one block. A pass that chooses points itself has no loss."""
    first = kernel if hasattr(kernel, "keeps_point") else loss
    return kernel.block(first, x, y, w, center, params)


def finish(kernel: Any, n: Any, center: Any, totals: Any, lost: Any) -> Any:
    """Return what a pass makes of the totals of all blocks and their rounding errors."""
    return kernel.finish(kernel, n, center, totals, lost)


@compiled(TOTAL)
def corrected(kernel: Any, n: Any, center: Any, totals: Any, lost: Any) -> Any:
    """Return totals with their rounding errors added: the ``finish`` of plain sums."""
    return totals + lost


class PlainSums:
    """The part of a pass that is the same wherever the totals themselves are the result."""

    __slots__ = ()
    finish = staticmethod(corrected)

    @classmethod
    def result(cls, numbers: Any) -> Self:
        """Return the totals by name."""
        return cls(*numbers.tolist())
