"""Sums of products in some 80 bits: the pass that moments, and so every least-squares line, come from."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from fastfit.exact.double_double import DoubleDouble, add, fused, two_sum
from fastfit.exact.least_squares import Centred, Line, centred, line_of
from fastfit.kernels.block import difference, weight
from fastfit.kernels.flags import BLOCK_SUMS, POINT, TOTAL, compiled


@compiled(POINT)
def on_grid(a: Any, grid: Any) -> Any:
    """Return ``a`` rounded to the spacing of floats around ``grid``, and the remainder."""
    near = (a + grid) - grid
    return near, a - near


@compiled(POINT)
def product_on_grid(a: Any, b: Any, grid: Any) -> Any:
    """Return ``a * b`` rounded to the spacing of floats around ``grid``, and the remainder."""
    near = fused(a, b, grid) - grid
    return near, fused(a, b, -near)


@compiled(BLOCK_SUMS)
def grid_for(size: Any) -> Any:
    """Return the grid for terms that add up to at most ``size``, in any order.

    Rounded to the spacing of floats around it, terms and sums are multiples of that spacing of no more than 53
    bits. So no addition of them rounds. For size 0 the grid is tiny.
    """
    return math.ldexp(1.5, math.frexp(max(size, 1e-290))[1] + 1)


def keeps_point(kernel: Any, u: Any, v: Any, k: Any) -> Any:
    """Whether a pass counts a point of weight ``k``."""
    return kernel.keeps_point(kernel, u, v, k)


@compiled(BLOCK_SUMS)
def product_sums(kernel: Any, x: Any, y: Any, w: Any, center: Any, sizes: Any) -> Any:
    """Return the sums of ``ProductSums`` over one block, exact if they are within the sizes."""
    x_center, y_center = center
    uu_size, vv_size, w_size = sizes
    one = 1.0
    if w is None:
        # Then u is summed as a product with a 1 unknown to the compiler: multiplications have units of their
        # own that would idle (17 % in cache, on Zen 3).
        w_size = float(x.size)
        one = math.sqrt(w_size) / math.sqrt(w_size)
    u_size, v_size, root = math.sqrt(uu_size), math.sqrt(vv_size), math.sqrt(w_size)
    w_grid, u_grid, v_grid = grid_for(w_size), grid_for(u_size * root), grid_for(v_size * root)
    uu_grid, uv_grid, vv_grid = grid_for(uu_size), grid_for(u_size * v_size), grid_for(vv_size)
    w_sum = u_sum = v_sum = uu = uv = vv = 0.0
    w_rest = u_rest = v_rest = uu_rest = uv_rest = vv_rest = negative = 0.0
    dropped = 0
    for i in range(x.size):
        u = difference(np.float64(x[i]), x_center)
        v = difference(np.float64(y[i]), y_center)
        k: Any = weight(w, i)
        if not keeps_point(kernel, u, v, k):
            u = v = k = 0.0
            dropped += 1
        if w is None:
            k, ku, kv = one, u, v
        else:
            ku, kv = k * u, k * v
            negative += k if k < 0.0 else 0.0
            near, rest = on_grid(k, w_grid)
            w_sum += near
            w_rest += rest
        near, rest = product_on_grid(u, k, u_grid)
        u_sum += near
        u_rest += rest
        near, rest = product_on_grid(v, k, v_grid)
        v_sum += near
        v_rest += rest
        near, rest = product_on_grid(ku, u, uu_grid)
        uu += near
        uu_rest += rest_of_product(w, k, u, ku, u, rest)
        near, rest = product_on_grid(ku, v, uv_grid)
        uv += near
        uv_rest += rest_of_product(w, k, u, ku, v, rest)
        near, rest = product_on_grid(kv, v, vv_grid)
        vv += near
        vv_rest += rest_of_product(w, k, v, kv, v, rest)
    if w is None:
        w_sum = float(x.size - dropped)
    return (
        *(w_sum, u_sum, v_sum, uu, uv, vv),
        *(w_rest, u_rest, v_rest, uu_rest, uv_rest, vv_rest),
        negative,
        float(dropped),
    )


@compiled(POINT)
def rest_of_product(w: Any, k: Any, a: Any, ka: Any, b: Any, rest: Any) -> Any:
    """Return the remainder of ``k * a * b``, given the rounded ``ka`` and the remainder of ``ka * b``."""
    if w is None:
        return rest
    return fused(fused(k, a, -ka), b, rest)


@compiled(BLOCK_SUMS)
def sized_product_sums(kernel: Any, x: Any, y: Any, w: Any, center: Any, sizes: Any) -> Any:
    """Return the sums of ``ProductSums`` over one block, summed again on a coarser grid if it exceeds the sizes.

    The sums of squares show that: they bound all the others, by Cauchy and Schwarz.
    """
    uu_size, vv_size, w_size = sizes
    sums = product_sums(kernel, x, y, w, center, sizes)
    total, uu, vv = sums[0], sums[3], sums[5]
    if w is None:
        w_size = total
    too_much = uu > uu_size or vv > vv_size or total > w_size
    if too_much and math.isfinite(uu) and math.isfinite(vv) and math.isfinite(total):
        larger = max(uu_size, 2.0 * uu), max(vv_size, 2.0 * vv), max(w_size, 2.0 * total)
        return product_sums(kernel, x, y, w, center, larger)
    return sums


class Products(NamedTuple):
    """What ``ProductSums`` amount to.

    The centred sums of the points, and their least-squares line; means of u and v, which show whether the center was
    chosen well; the sum of negative weights; and the number of points left out.
    """

    sums: Centred
    line: Line
    u_mean: float
    v_mean: float
    negative: float
    dropped: float


# Twice as fast as calling the classes.
_double = functools.partial(tuple.__new__, DoubleDouble)
_centred = functools.partial(tuple.__new__, Centred)
_line = functools.partial(tuple.__new__, Line)
_products = functools.partial(tuple.__new__, Products)


@compiled(TOTAL)
def joined(k: Any, totals: Any, lost: Any) -> Any:
    """Return the k-th sum with its remainder and rounding errors."""
    return add(two_sum(totals[k], lost[k] + lost[k + 6]), DoubleDouble(totals[k + 6], 0.0))


@compiled(TOTAL)
def moments_and_line(kernel: Any, n: Any, center: Any, totals: Any, lost: Any) -> Any:
    """Return the numbers of ``Products`` in a row: Numba takes a microsecond to hand a named tuple to Python."""
    x_center, y_center = center
    w = joined(0, totals, lost)
    zero = DoubleDouble(0.0 * w.high, 0.0)  # NaN, if the weights are
    m = Centred(w, zero, zero, zero, zero, zero)
    line = Line(zero, zero, zero)
    if w.high > 0.0:
        m = centred(
            w,
            joined(1, totals, lost),
            joined(2, totals, lost),
            joined(3, totals, lost),
            joined(4, totals, lost),
            joined(5, totals, lost),
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
        *(totals[12] + lost[12], totals[13]),
    )


class _ProductSums(NamedTuple):
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


class ProductSums(_ProductSums):
    r"""Weighted sums of 1, ``u``, ``v`` and their products in some 80 bits, and the moments they give. No loss.

    Every term is split into a multiple of the spacing of a grid and a small remainder. Sums of the multiples do not
    round, and sums of the remainders round by the 38 bits or so less that these are smaller; so both may be
    reordered, as vectors need it. The idea is from Rump, Ogita and Oishi, "Accurate floating-point
    summation" (SIAM J. Sci. Comput. 31, 2008).

    The parameters are the sums of squares of u and of v, and the sum of weights, that are expected of a block.
    """

    __slots__ = ()
    block = staticmethod(sized_product_sums)
    finish = staticmethod(moments_and_line)

    @staticmethod
    def keeps_point(kernel: Any, u: Any, v: Any, k: Any) -> Any:
        """Whether a point counts."""
        return True

    @classmethod
    def result(cls, numbers: Any) -> Products:
        """Return the numbers that ``moments_and_line`` lists, by name."""
        pairs = tuple(map(_double, zip(numbers[:18:2], numbers[1:18:2], strict=True)))
        found: Products = _products((_centred(pairs[:6]), _line(pairs[6:]), *numbers[18:]))
        return found


class OmittingProductSums(ProductSums):
    """The same sums over the points without NaN."""

    __slots__ = ()

    @staticmethod
    def keeps_point(kernel: Any, u: Any, v: Any, k: Any) -> Any:
        """Whether a point counts."""
        return not (np.isnan(u) or np.isnan(v) or np.isnan(k))
