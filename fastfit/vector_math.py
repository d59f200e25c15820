"""Functions of a number in plain arithmetic, so that a loop over them compiles to vector instructions.

They take numbers and arrays alike. Compiled, a call of ``math.log`` would be one point at a time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_LOG_OF_2 = math.log(2.0)
# (artanh(s) / s - 1) / s**2 as a polynomial in s**2: interpolated in 40 digits at the Chebyshev nodes of s up to
# (sqrt(2) - 1) / (sqrt(2) + 1). Its error, times s**2, is 5e-18.
_C0, _C1, _C2, _C3 = (
    0.3333333333333335,
    0.19999999999949752,
    0.14285714312987743,
    0.1111110556739754,
)
_C4, _C5, _C6 = 0.09091444562630861, 0.07665860800278021, 0.07308224842521703
# The terms of the series of exp, 1 / n!.
_E2, _E3, _E4, _E5, _E6, _E7 = (1.0 / math.factorial(n) for n in range(2, 8))
_E8, _E9, _E10, _E11, _E12, _E13 = (1.0 / math.factorial(n) for n in range(8, 14))
# log(2) in two parts, the first of 32 bits, so that its products with whole numbers up to 2**21 are exact.
_LOG_OF_2_HIGH, _LOG_OF_2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_ONE_OVER_LOG_OF_2 = 1.0 / _LOG_OF_2
# Added to a number and subtracted again, it rounds it to a whole one, which is then in the last bits of the sum.
_ROUNDER = 1.5 * 2.0**52
_BITS_OF_ONE = 0x3FF0 << 48
_EXPONENT = 0x7FF0 << 48
_ROOT_OF_HALF = int(np.float64(math.sqrt(0.5)).view(np.int64))
# The float 2**52, whose last bits count; so a small integer becomes a float without a conversion.
_COUNTER = 0x4330 << 48
_NOTHING_COUNTED = 2.0**52


def select(condition: Any, a: Any, b: Any) -> Any:
    """Return ``a`` where the condition holds, else ``b``."""
    return np.where(condition, a, b)[()]


def exp(z: Any) -> Any:
    r"""Return :math:`e^z`, to 2 ulp; 0 below -708 and infinity above 709, near the ends of the range of floats.

    With ``z = k * log(2) + r``, where k is whole and r within half of log(2), it is :math:`2^k e^r`, the latter by its
    series.
    """
    z = np.float64(z)
    inside = select(z < -709.0, -709.0, select(z > 710.0, 710.0, z))
    counted = inside * _ONE_OVER_LOG_OF_2 + _ROUNDER
    k = counted - _ROUNDER
    r = (inside - k * _LOG_OF_2_HIGH) - k * _LOG_OF_2_LOW
    tail = _E7 + r * (_E8 + r * (_E9 + r * (_E10 + r * (_E11 + r * (_E12 + r * _E13)))))
    series = 1.0 + r * (1.0 + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * tail))))))
    power = np.int64((np.float64(counted).view(np.int64) << 52) + _BITS_OF_ONE).view(np.float64)
    found = select(z < -708.0, 0.0, series * power)
    return select(z > 709.0, math.inf, found)


def log1p(z: Any) -> Any:
    r"""Return :math:`\log(1 + z)` for ``z >= 0``, to 3 ulp, also for the smallest that are normal.

    With ``1 + z = 2**k * m`` and m from :math:`\sqrt{1/2}` to :math:`\sqrt 2`, it is
    :math:`k \log 2 + 2\,\mathrm{artanh}(s)`, where :math:`s = (m - 1) / (m + 1)` is at most 0.172.
    """
    total = 1.0 + z
    bits = np.float64(total).view(np.int64)
    exponent = (bits - _ROOT_OF_HALF) & _EXPONENT
    m = np.int64(bits - exponent).view(np.float64)
    k = np.int64((exponent >> 52) | _COUNTER).view(np.float64) - _NOTHING_COUNTED
    # Where k is 0, z itself still has the digits that 1 + z has lost.
    above_one = select(exponent == 0, z, m - 1.0)
    s = above_one / (2.0 + above_one)
    q = s * s
    series = q * (_C0 + q * (_C1 + q * (_C2 + q * (_C3 + q * (_C4 + q * (_C5 + q * _C6))))))
    return select(z < math.inf, k * _LOG_OF_2 + (2.0 * s + 2.0 * s * series), z)
