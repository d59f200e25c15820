"""The passes in plain NumPy: the oracle of the tests, and ``backend="numpy"``."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from fastfit.kernels.block import BLOCK
from fastfit.kernels.center import center_for
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.median import GROUPS, ResidualWindow, window
from fastfit.kernels.moments import OmittingProductSums, ProductSums
from fastfit.kernels.residuals import ResidualSums


def _points(loss: Any, u: Any, v: Any, given: Any) -> tuple[Any, ...]:
    slope, offset = given
    found = loss.point(loss, v - (slope * u + offset))
    return tuple(np.broadcast_to(number, u.shape) for number in found)


def _loss_gradient(loss: Any, u: Any, v: Any, w: Any, given: Any) -> list[float]:
    value, first, _, _ = _points(loss, u, v, given)
    return [(w * value).sum(), -(w * first * u).sum(), -(w * first).sum()]


def _loss_gradient_curvature(loss: Any, u: Any, v: Any, w: Any, given: Any) -> list[float]:
    _, first, second, weight = _points(loss, u, v, given)
    sums = _loss_gradient(loss, u, v, w, given)
    for each in (second, weight, first * first):
        sums += [(w * each * u * u).sum(), (w * each * u).sum(), (w * each).sum()]
    return sums


def _residual_sums(loss: Any, u: Any, v: Any, w: Any, given: Any) -> list[float]:
    slope, slope_low, offset, offset_low, u_lost, v_lost = given
    product, lost = _exact_product(slope, u)
    above, lost_above = _exact_sum(v, -offset)
    # The difference of large numbers first, then the small terms.
    r, lost_below = _exact_sum(above, -product)
    lost = lost_above + lost_below - lost + v_lost - slope * u_lost
    r = r + (lost - (slope_low * u + offset_low))
    return [(w * r).sum(), (w * r * u).sum(), (w * r * r).sum()]


def _product_sums(loss: Any, u: Any, v: Any, w: Any, given: Any) -> list[float]:
    if np.ndim(w):
        sums = _precise_sums((w,), (w, u), (w, v), (w, u, u), (w, u, v), (w, v, v))
        return [*sums, float(w[w < 0.0].sum()), 0.0]
    high_and_low = _precise_sums((u,), (v,), (u, u), (u, v), (v, v))
    return [float(u.size), *high_and_low[:5], 0.0, *high_and_low[5:], 0.0, 0.0]


def _omitting(sums: Callable[..., list[float]]) -> Callable[..., list[float]]:
    """Return the same sums over the points without NaN, and how many have one."""

    def sums_without(loss: Any, u: Any, v: Any, w: Any, given: Any) -> list[float]:
        nan = np.isnan(u) | np.isnan(v) | np.isnan(w)
        u, v, w = (values[~nan] if np.ndim(values) else values for values in (u, v, w))
        return [*sums(loss, u, v, w, given)[:-1], float(nan.sum())]

    return sums_without


def _precise_sums(*products: tuple[Any, ...]) -> list[float]:
    """Return the sums of the products, rounded to floats, and then what that leaves."""
    pairs = [_precise_sum(*factors) for factors in products]
    return [*(high for high, _ in pairs), *(low for _, low in pairs)]


def _precise_sum(first: Any, *factors: Any) -> tuple[float, float]:
    terms = [first]
    for factor in factors:
        terms = [part for term in terms for part in _exact_product(term, factor)]
    values = np.concatenate(terms).tolist()
    if not math.isfinite(sum(values)):
        return sum(values), 0.0
    high = math.fsum(values)
    return high, math.fsum([*values, -high])


def _exact_product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the product and what it lost in rounding (Dekker, with Veltkamp's splitting)."""
    product = a * b
    a_high, b_high = 134217729.0 * a, 134217729.0 * b
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, lost


def _exact_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the sum and what it lost in rounding (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


_SUMS: dict[type, Callable[..., list[float]]] = {
    LossGradient: _loss_gradient,
    LossGradientCurvature: _loss_gradient_curvature,
    ResidualSums: _residual_sums,
    ProductSums: _product_sums,
    OmittingProductSums: _omitting(_product_sums),
}


def run(
    kernel: Any,
    loss: Any,
    x: Any,
    y: Any,
    w: Any,
    center: tuple[float, float],
    params: tuple[float, ...],
    n_threads: int | None = None,
) -> Any:
    """Return the sums of one pass over all points, as ``compiled.run`` does; ``n_threads`` has no effect."""
    rows = [[0.0] * len(kernel)]
    with np.errstate(all="ignore"):  # overflow and NaN show in the sums, where they are looked for
        for start in range(0, x.size, BLOCK):
            block = slice(start, start + BLOCK)
            u, u_lost = _exact_sum(x[block].astype(np.float64), -center[0])
            v, v_lost = _exact_sum(y[block].astype(np.float64), -center[1])
            also = (u_lost, v_lost) if isinstance(kernel, ResidualSums) else ()
            weights = 1.0 if w is None else w[block].astype(np.float64)
            totals = _SUMS[type(kernel)](loss, u, v, weights, (*params, *also))
            rows.append([float(total) for total in totals])
        totals, lost = np.array(list(map(_sum_of_blocks, zip(*rows, strict=True)))).T
        numbers = kernel.finish(kernel, x.size, center, totals, lost)
    return kernel.result(tuple(map(float, numbers)) if isinstance(numbers, tuple) else numbers)


def gather(
    x: Any,
    y: Any,
    w: Any,
    center: tuple[float, float],
    params: tuple[float, float, float, float],
    room: int,
    n_threads: int | None = None,
) -> ResidualWindow:
    """Return the absolute residuals within bounds, as ``compiled.gather`` does."""
    slope, offset, low, high = params
    n_blocks = -(-x.size // BLOCK)
    n_groups = min(n_blocks, GROUPS)
    values = np.empty((n_groups, room // max(n_groups, 1) + 1))
    weights = None if w is None else np.empty(values.shape)
    found = np.zeros((n_groups, 3))
    for g in range(n_groups):
        count = 0
        for b in range(g * n_blocks // n_groups, (g + 1) * n_blocks // n_groups):
            block = slice(b * BLOCK, (b + 1) * BLOCK)
            u, v = (
                part[block].astype(np.float64) - c for part, c in zip((x, y), center, strict=True)
            )
            size = np.abs(v - (slope * u + offset))
            k = np.ones(u.shape) if w is None else w[block].astype(np.float64)
            inside = (low <= size) & (size <= high)
            found[g] += (k[size < low].sum(), k[size <= high].sum(), inside.sum())
            part = slice(count, min(count + int(inside.sum()), values.shape[1] - 1))
            values[g, part] = size[inside][: part.stop - part.start]
            if weights is not None:
                weights[g, part] = k[inside][: part.stop - part.start]
            count = part.stop
    return window(values, weights, found)


def _sum_of_blocks(sums: tuple[float, ...]) -> tuple[float, float]:
    """Return the sum rounded to a float, and what that leaves, by exact arithmetic."""
    rough = sum(sums)
    if not math.isfinite(rough):
        return rough, 0.0
    exact = sum(map(Fraction, sums), Fraction(0))
    high = float(exact)
    return high, float(exact - Fraction(high))


def glance(x: Any, y: Any, step: int) -> tuple[float, float, float, float]:
    """Return rough centers of x and of y and mean squares about them, from every ``step``-th point."""
    with np.errstate(all="ignore"):
        return (*_rough_center(x[::step]), *_rough_center(y[::step]))


def _rough_center(values: Any) -> Any:
    values = values[~np.isnan(values)].astype(np.float64)
    first = float(values[-1]) if values.size else 0.0
    off = values - first if values.size else np.zeros(1)
    offset = float(off.mean())
    return center_for(first + offset, float(np.square(off - offset).mean()))


def lines(x: Any, y: Any, w: Any, center: Any, *, through_origin: bool) -> Any:
    """Return least-squares lines of columns, in rows as ``many.RESULTS`` names them.

    They are found in extended precision where the machine has it, from distances to a point that counts, and once more
    in the residuals of the first line.

    Parameters
    ----------
    x, y : ndarray, shape (n, m) or (n, 1), and (n, m)
        Points, with NaN for those that do not count; x less the center.
    w : ndarray, shape (n, m), or None
        Weights.
    center : (float, float)
        What was subtracted from x.
    """
    x, y = np.broadcast_arrays(x, y)
    k = np.ones(y.shape) if w is None else w
    counts = ~(np.isnan(x) | np.isnan(y) | np.isnan(k))
    u, v, k = (np.where(counts, each, 0.0).astype(np.longdouble) for each in (x, y, k))
    k = np.where(k < 0.0, np.nan, k)
    total = k.sum(axis=0)
    u_first = v_first = 0.0 * total
    if not through_origin and len(u):
        first = (counts & (k > 0.0)).argmax(axis=0)[np.newaxis]
        u_first, v_first = (np.take_along_axis(each, first, 0)[0] for each in (u, v))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        u, v = (np.where(counts, a - b, 0.0) for a, b in ((u, u_first), (v, v_first)))
        u_mean = 0.0 * total if through_origin else (k * u).sum(axis=0) / total
        y_mean = v_first + (k * v).sum(axis=0) / total
        off = np.where(counts, u - u_mean, 0.0)
        uu = (k * off * off).sum(axis=0)
        slope, level = 0.0 * total, 0.0 * total
        left = v
        for _ in range(3):
            lift = 0.0 * total if through_origin else (k * left).sum(axis=0) / total
            left = np.where(counts, left - lift, 0.0)
            steeper = (k * off * left).sum(axis=0) / uu
            left = np.where(counts, left - steeper * off, 0.0)
            slope, level = slope + steeper, level + lift
        u_mean, level = u_first + u_mean, v_first + level
        intercept = level - slope * (u_mean + np.longdouble(center[0]) + center[1])
        found = [slope, 0.0 * slope if through_origin else intercept]
        found += [(k * left * left).sum(axis=0), y_mean, counts.sum(axis=0), u_mean, uu, total]
        return np.array([np.asarray(each, dtype=np.float64) for each in found])
