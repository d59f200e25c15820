"""The passes that sum products, from which moments follow, in some 80 bits.

Like the others in ``passes``, but without a loss, and with the moments of all points as their result.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from fastfit.double_double import DoubleDouble, add, fused, two_sum
from fastfit.kernels.passes import difference
from fastfit.least_squares import Centred, Line, centred, line_of


def on_grid(a: Any, grid: Any) -> Any:
    """Return ``a`` rounded to the spacing of floats around ``grid``, and what that leaves."""
    near = (a + grid) - grid
    return near, a - near


def product_on_grid(a: Any, b: Any, grid: Any) -> Any:
    """Return ``a * b`` rounded to the spacing of floats around ``grid``, and what that leaves."""
    near = fused(a, b, grid) - grid
    return near, fused(a, b, -near)


def grid_for(size: Any) -> Any:
    """Return the grid for terms that add up to at most ``size``, in whatever order.

    Rounded to the spacing of floats around it, terms and sums are multiples of that spacing of no more than 53
    bits. So no addition of them rounds. Where nothing is expected, it is next to nothing.
    """
    return math.ldexp(1.5, math.frexp(max(size, 1e-290))[1] + 1)


def holds(what: Any, u: Any, v: Any, k: Any) -> Any:
    """Whether the pass ``what`` counts a point, of weight ``k``."""
    return what.holds(what, u, v, k)


class Products(NamedTuple):
    """What comes of the passes below.

    The moments of the points, and their line of least squares; means of u and v, which show whether the center was
    chosen well; the sum of negative weights; and the number of points that were left out.
    """

    moments: Centred
    line: Line
    u_mean: float
    v_mean: float
    negative: float
    dropped: float

    @classmethod
    def of(cls, numbers: Any) -> Products:
        """Return the numbers that ``finished`` lists, by name."""
        pairs = list(map(_pair, zip(numbers[:18:2], numbers[1:18:2], strict=True)))
        return cls(Centred(*pairs[:6]), Line(*pairs[6:]), *numbers[18:])


# Twice as fast as calling the class.
_pair = functools.partial(tuple.__new__, DoubleDouble)


class ProductSums(NamedTuple):
    r"""Sums of ``u``, ``v`` and their products in some 80 bits, and their moments. No loss.

    Every term is split into a multiple of the spacing of a grid and a small rest. Sums of the first do not
    round, and sums of the second round by the 38 bits or so less that the rests are smaller; so both may be
    reordered, as vectors need it. The idea is that of Rump, Ogita and Oishi, "Accurate floating-point
    summation" (SIAM J. Sci. Comput. 31, 2008).

    Given are the sums of squares of u and of v that are expected of a block. Should it have more, it is added up
    again on a coarser grid. Its own sums of squares tell: they bound all the others, by Cauchy and Schwarz.
    """

    u: float = 0.0
    v: float = 0.0
    uu: float = 0.0
    uv: float = 0.0
    vv: float = 0.0
    u_rest: float = 0.0
    v_rest: float = 0.0
    uu_rest: float = 0.0
    uv_rest: float = 0.0
    vv_rest: float = 0.0
    dropped: float = 0.0

    @staticmethod
    def holds(what: Any, u: Any, v: Any, k: Any) -> Any:
        """Whether a point counts."""
        return True

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        uu_size, vv_size = given
        sums = products(what, x, y, center, uu_size, vv_size)
        uu, vv = sums[2], sums[4]
        if (uu > uu_size or vv > vv_size) and math.isfinite(uu) and math.isfinite(vv):
            uu_size, vv_size = max(uu_size, 2.0 * uu), max(vv_size, 2.0 * vv)
            return products(what, x, y, center, uu_size, vv_size)
        return sums

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the moments of all points."""
        w = DoubleDouble(float(n) - sums[10], 0.0)
        return finished(w, 0, 5, center, sums, lost, 0.0, sums[10])

    @classmethod
    def result(cls, numbers: Any) -> Products:
        """Return the moments of all points by name."""
        return Products.of(numbers)


class WeightedProductSums(NamedTuple):
    r"""The same with weights: sums of ``w``, ``w u``, ``w v`` and of the weighted products.

    Given are the sums of squares as above, weighted, and the sum of weights that is expected of a block.
    """

    w: float = 0.0
    u: float = 0.0
    v: float = 0.0
    uu: float = 0.0
    uv: float = 0.0
    vv: float = 0.0
    w_rest: float = 0.0
    u_rest: float = 0.0
    v_rest: float = 0.0
    uu_rest: float = 0.0
    uv_rest: float = 0.0
    vv_rest: float = 0.0
    negative: float = 0.0
    dropped: float = 0.0

    @staticmethod
    def holds(what: Any, u: Any, v: Any, k: Any) -> Any:
        """Whether a point counts."""
        return True

    @staticmethod
    def block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
        """Return the sums over one block."""
        uu_size, vv_size, w_size = given
        sums = weighted_products(what, x, y, w, center, uu_size, vv_size, w_size)
        total, uu, vv = sums[0], sums[3], sums[5]
        too_much = uu > uu_size or vv > vv_size or total > w_size
        if too_much and math.isfinite(uu) and math.isfinite(vv) and math.isfinite(total):
            uu_size, vv_size = max(uu_size, 2.0 * uu), max(vv_size, 2.0 * vv)
            w_size = max(w_size, 2.0 * total)
            return weighted_products(what, x, y, w, center, uu_size, vv_size, w_size)
        return sums

    @staticmethod
    def finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
        """Return the moments of all points."""
        w = joined(0, 6, sums, lost)
        return finished(w, 1, 6, center, sums, lost, sums[12] + lost[12], sums[13])

    @classmethod
    def result(cls, numbers: Any) -> Products:
        """Return the moments of all points by name."""
        return Products.of(numbers)


class OmittingProductSums(ProductSums):
    """The same of the points without NaN."""

    __slots__ = ()

    @staticmethod
    def holds(what: Any, u: Any, v: Any, k: Any) -> Any:
        """Whether a point counts."""
        return not (np.isnan(u) or np.isnan(v))


class OmittingWeightedProductSums(WeightedProductSums):
    """The same with weights of the points without NaN."""

    __slots__ = ()

    @staticmethod
    def holds(what: Any, u: Any, v: Any, k: Any) -> Any:
        """Whether a point counts."""
        return not (np.isnan(u) or np.isnan(v) or np.isnan(k))


def joined(k: Any, rest: Any, sums: Any, lost: Any) -> Any:
    """Return the k-th sum with all that belongs to it."""
    return add(two_sum(sums[k], lost[k] + lost[k + rest]), DoubleDouble(sums[k + rest], 0.0))


def finished(
    w: Any, k: Any, rest: Any, center: Any, sums: Any, lost: Any, negative: Any, dropped: Any
) -> Any:
    """Return the numbers of ``Products`` in a row, from the sums from the k-th on.

    They are not named yet, since Numba takes a microsecond to hand a name to Python.
    """
    x_center, y_center = center
    nothing = DoubleDouble(0.0 * w.high, 0.0)  # NaN, if the weights are
    m = Centred(w, nothing, nothing, nothing, nothing, nothing)
    line = Line(nothing, nothing, nothing)
    if w.high > 0.0:
        m = centred(
            w,
            joined(k, rest, sums, lost),
            joined(k + 1, rest, sums, lost),
            joined(k + 2, rest, sums, lost),
            joined(k + 3, rest, sums, lost),
            joined(k + 4, rest, sums, lost),
            x_center,
            y_center,
        )
    if m.xx.high > 0.0:
        line = line_of(m)
    return (
        *(m.w.high, m.w.low, m.x_mean.high, m.x_mean.low, m.y_mean.high, m.y_mean.low),
        *(m.xx.high, m.xx.low, m.xy.high, m.xy.low, m.yy.high, m.yy.low),
        *(line.slope.high, line.slope.low, line.intercept.high, line.intercept.low),
        *(line.residual_square.high, line.residual_square.low),
        *(m.x_mean.high - x_center + m.x_mean.low, m.y_mean.high - y_center + m.y_mean.low),
        *(negative, dropped),
    )


def products(what: Any, x: Any, y: Any, center: Any, uu_size: Any, vv_size: Any) -> Any:
    """Return the sums of ``ProductSums``, exact if they are within the sizes."""
    x_center, y_center = center
    u_size, v_size = math.sqrt(uu_size), math.sqrt(vv_size)
    root = math.sqrt(x.size)
    # A sum as one of products: multiplications have units of their own that would idle (17 % in cache, on Zen 3).
    one = root / root
    u_grid, v_grid = grid_for(u_size * root), grid_for(v_size * root)
    uu_grid, uv_grid, vv_grid = grid_for(uu_size), grid_for(u_size * v_size), grid_for(vv_size)
    u_sum = v_sum = uu = uv = vv = 0.0
    u_rest = v_rest = uu_rest = uv_rest = vv_rest = 0.0
    dropped = 0
    for i in range(x.size):
        u = difference(np.float64(x[i]), x_center)
        v = difference(np.float64(y[i]), y_center)
        if not holds(what, u, v, 1.0):
            u = v = 0.0
            dropped += 1
        near, rest = product_on_grid(u, one, u_grid)
        u_sum += near
        u_rest += rest
        near, rest = product_on_grid(v, one, v_grid)
        v_sum += near
        v_rest += rest
        near, rest = product_on_grid(u, u, uu_grid)
        uu += near
        uu_rest += rest
        near, rest = product_on_grid(u, v, uv_grid)
        uv += near
        uv_rest += rest
        near, rest = product_on_grid(v, v, vv_grid)
        vv += near
        vv_rest += rest
    return (
        *(u_sum, v_sum, uu, uv, vv),
        *(u_rest, v_rest, uu_rest, uv_rest, vv_rest),
        float(dropped),
    )


def weighted_products(
    what: Any, x: Any, y: Any, w: Any, center: Any, uu_size: Any, vv_size: Any, w_size: Any
) -> Any:
    """Return the sums of ``WeightedProductSums``, exact if they are within the sizes."""
    x_center, y_center = center
    u_size, v_size, root = math.sqrt(uu_size), math.sqrt(vv_size), math.sqrt(w_size)
    w_grid, u_grid, v_grid = grid_for(w_size), grid_for(u_size * root), grid_for(v_size * root)
    uu_grid, uv_grid, vv_grid = grid_for(uu_size), grid_for(u_size * v_size), grid_for(vv_size)
    w_sum = u_sum = v_sum = uu = uv = vv = 0.0
    w_rest = u_rest = v_rest = uu_rest = uv_rest = vv_rest = negative = 0.0
    dropped = 0
    for i in range(x.size):
        u = difference(np.float64(x[i]), x_center)
        v = difference(np.float64(y[i]), y_center)
        k: Any = np.float64(w[i])
        if not holds(what, u, v, k):
            u = v = k = 0.0
            dropped += 1
        negative += k if k < 0.0 else 0.0
        # ku + ku_low is k * u exactly, and so with v.
        ku, kv = k * u, k * v
        ku_low, kv_low = fused(k, u, -ku), fused(k, v, -kv)
        near, rest = on_grid(k, w_grid)
        w_sum += near
        w_rest += rest
        near, rest = product_on_grid(k, u, u_grid)
        u_sum += near
        u_rest += rest
        near, rest = product_on_grid(k, v, v_grid)
        v_sum += near
        v_rest += rest
        near, rest = product_on_grid(ku, u, uu_grid)
        uu += near
        uu_rest += fused(ku_low, u, rest)
        near, rest = product_on_grid(ku, v, uv_grid)
        uv += near
        uv_rest += fused(ku_low, v, rest)
        near, rest = product_on_grid(kv, v, vv_grid)
        vv += near
        vv_rest += fused(kv_low, v, rest)
    return (
        *(w_sum, u_sum, v_sum, uu, uv, vv),
        *(w_rest, u_rest, v_rest, uu_rest, uv_rest, vv_rest),
        negative,
        float(dropped),
    )
