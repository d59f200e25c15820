"""The passes in plain NumPy: the oracle of the tests, and ``backend="numpy"``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastfit.kernels.passes import BLOCK, LossGradient, LossGradientCurvature, ProductSums

Pass = TypeVar("Pass", LossGradient, LossGradientCurvature, ProductSums)


def _loss_gradient_curvature(
    loss: Any, u: Any, v: Any, line: tuple[float, float]
) -> tuple[float, ...]:
    slope, level = line
    value, first, second = loss.point(loss, v - (slope * u + level))
    second = np.broadcast_to(second, u.shape)
    return (
        value.sum(),
        -(first * u).sum(),
        -first.sum(),
        (second * u * u).sum(),
        (second * u).sum(),
        second.sum(),
    )


def _loss_gradient(loss: Any, u: Any, v: Any, line: tuple[float, float]) -> tuple[float, ...]:
    slope, level = line
    value, first, _ = loss.point(loss, v - (slope * u + level))
    return value.sum(), -(first * u).sum(), -first.sum()


def _product_sums(loss: Any, u: Any, v: Any, line: Any) -> tuple[float, ...]:
    return u.sum(), v.sum(), (u * u).sum(), (u * v).sum(), (v * v).sum()


_SUMS: dict[type, Callable[..., tuple[float, ...]]] = {
    LossGradient: _loss_gradient,
    LossGradientCurvature: _loss_gradient_curvature,
    ProductSums: _product_sums,
}


def run(
    what: Pass,
    loss: Any,
    x: Any,
    y: Any,
    center: tuple[float, float],
    line: tuple[float, ...],
    n_threads: int | None = None,
) -> Pass:
    """Return the sums of one pass over all points. Of threads NumPy uses one.

    Parameters
    ----------
    what : LossGradient, LossGradientCurvature or ProductSums
        What to sum: any instance of the pass.
    loss : Loss or None
        The loss, for a pass that has one.
    x, y : ndarray, shape (n,)
        The points, float64 or float32.
    center : (float, float)
        Subtracted from ``x`` and ``y``.
    line : (float, float) or ()
        Slope and level of the line, for a pass that has one.
    n_threads : int or None
        As in ``parallel.run``, and of no effect.

    Returns
    -------
    Pass
        The sums, of the type of ``what``.
    """
    total = np.zeros(len(what), dtype=np.longdouble)
    with np.errstate(all="ignore"):  # overflow and NaN show in the sums, where they are looked for
        for start in range(0, x.size, BLOCK):
            block = slice(start, start + BLOCK)
            u = x[block].astype(np.float64) - center[0]
            v = y[block].astype(np.float64) - center[1]
            total += _SUMS[type(what)](loss, u, v, line)
        return type(what)._make(total.astype(np.float64).tolist())
