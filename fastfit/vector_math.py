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
_EXPONENT = 0x7FF0 << 48
_ROOT_OF_HALF = int(np.float64(math.sqrt(0.5)).view(np.int64))
# The float 2**52, whose last bits count; so a small integer becomes a float without a conversion.
_COUNTER = 0x4330 << 48
_NOTHING_COUNTED = 2.0**52


def select(condition: Any, a: Any, b: Any) -> Any:
    """Return ``a`` where the condition holds, else ``b``."""
    return np.where(condition, a, b)


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
