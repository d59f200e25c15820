"""Series on which plain sums lose digits, and their lines by rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

RNG = np.random.default_rng(17)
N = 400


def hostile() -> dict[str, tuple[Any, Any]]:
    """Return series on which sums that points are subtracted from, or raw sums, lose digits."""
    x, noise = np.cumsum(RNG.random(N) + 0.1), RNG.standard_normal(N)
    level, outlier, steep, gaps, both = (noise.copy() for _ in range(5))
    level[100:200] += 1e12
    outlier[77] = 1e12
    far = x.copy()
    far[130] = 1e12
    gaps[RNG.random(N) < 0.2] = np.nan
    gaps[150:260] = np.nan
    both[RNG.random(N) < 0.2] = np.nan
    both[[33, 34, 120]] = 1e12, np.nan, -1e12
    return {
        "noise": (x, noise),
        "level": (x, level),
        "outlier": (x, outlier),
        "outlier in x": (far, noise),
        "offset": (1e13 + 10.0 * RNG.random(N), 1e13 + 10.0 * RNG.random(N)),
        "nanoseconds": (1.7e18 + 604_800e9 * np.arange(N), noise),
        "ramp": (x, 3.0 * x + 1e-9 * noise),
        "steep": (x, 1e6 * x + steep),
        "constant": (x, np.full(N, 0.1)),
        "constant x": (np.full(N, 0.7), noise),
        "gaps": (x, gaps),
        "gaps and outliers": (x, both),
    }


HOSTILE = hostile()


def exact_line(x: Any, y: Any) -> tuple[Fraction, Fraction, Fraction, Fraction] | None:
    """Return slope, residual sum of squares, and sums of squares of x and y; None without a line."""
    there = ~(np.isnan(x) | np.isnan(y))
    u, v = ([Fraction(float(each)) for each in a[there]] for a in (x, y))
    n = len(u)
    if n < 2:
        return None
    zero = Fraction(0)
    u_mean, v_mean = sum(u, zero) / n, sum(v, zero) / n
    xx = sum(((a - u_mean) ** 2 for a in u), zero)
    xy = sum(((a - u_mean) * (b - v_mean) for a, b in zip(u, v, strict=True)), zero)
    yy = sum(((b - v_mean) ** 2 for b in v), zero)
    return None if xx == 0 else (xy / xx, yy - xy * xy / xx, xx, yy)


def exact_slope(x: Any, y: Any) -> tuple[float, Fraction, Fraction]:
    """Return how far a slope may be off for an error of 1, the slope, and the residual sum of squares."""
    found = exact_line(np.asarray(x), np.asarray(y))
    assert found is not None
    slope, left, xx, yy = found
    return max(abs(float(slope)), math.sqrt(yy / xx)), slope, left


def long_series(n: int) -> dict[str, tuple[Any, Any]]:
    """Return longer series, with outliers and changes of level where they are the worst: first, last and midway."""
    rng = np.random.default_rng(n)
    x, noise = np.cumsum(rng.random(n) + 0.1), rng.standard_normal(n)
    found = {
        "noise": (x, noise),
        "trend": (x, 1e-3 * x + noise),
        "grid": (1e6 * np.arange(n), noise),
    }
    for name, row in (("first", 0), ("midway", n // 2), ("last", n - 1)):
        y, far = noise.copy(), x.copy()
        y[row], far[row] = 1e12, -1e12
        found |= {f"outlier {name}": (x, y), f"outlier in x {name}": (far, noise)}
    return {**found, "level": (x, np.where(np.arange(n) < n // 2, 1e12, 0.0) + noise)}
