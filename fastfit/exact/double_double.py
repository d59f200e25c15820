"""Numbers of twice the precision of a float, and their arithmetic.

Plain Python, which the kernels compile. The algorithms are by Dekker ("A floating-point technique for
extending the available precision", 1971) and Knuth ("The Art of Computer Programming", volume 2, 4.2.2), as
combined by Hida, Li and Bailey ("Library for double-double and quad-double arithmetic", 2001).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class DoubleDouble(NamedTuple):
    """A number of some 106 bits: the sum of two floats, of which the first is the number rounded to a float."""

    high: float = 0.0
    low: float = 0.0


ZERO = DoubleDouble()


def fused(a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c``, rounded once when compiled, and twice here."""
    product = a * b
    total = product + c
    if not math.isfinite(total):
        return total
    # The rounding error of the product, by Veltkamp's splitting, and of the sum.
    a_high, b_high = 134217729.0 * a, 134217729.0 * b
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    back = total - product
    return total + (((product - (total - back)) + (c - back)) + lost)


def two_sum(a: Any, b: Any) -> DoubleDouble:
    """Return ``a + b`` exactly, for floats."""
    total = a + b
    back = total - a
    return DoubleDouble(total, (a - (total - back)) + (b - back))


def two_product(a: Any, b: Any) -> DoubleDouble:
    """Return ``a * b`` exactly, for floats."""
    product = a * b
    return DoubleDouble(product, fused(a, b, -product))


def add(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return ``a + b``."""
    total, low = two_sum(a.high, b.high)
    below, lowest = two_sum(a.low, b.low)
    total, low = two_sum(total, low + below)
    return two_sum(total, low + lowest)


def negative(a: DoubleDouble) -> DoubleDouble:
    """Return ``-a``."""
    return DoubleDouble(-a.high, -a.low)


def subtract(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return ``a - b``."""
    return add(a, negative(b))


def multiply(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return ``a * b``."""
    product, low = two_product(a.high, b.high)
    return two_sum(product, low + (a.high * b.low + a.low * b.high))


def divide(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return ``a / b``."""
    first = a.high / b.high
    left = subtract(a, multiply(b, DoubleDouble(first, 0.0)))
    second = left.high / b.high
    left = subtract(left, multiply(b, DoubleDouble(second, 0.0)))
    high, low = two_sum(first, second)
    return two_sum(high, low + left.high / b.high)


def scaled(a: DoubleDouble, exponent: int) -> DoubleDouble:
    """Return ``a * 2**exponent``."""
    return DoubleDouble(math.ldexp(a.high, exponent), math.ldexp(a.low, exponent))
