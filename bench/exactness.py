"""Errors of least squares: ``python -m bench.exactness``.

Prints the errors of lines against exact rational arithmetic, next to SciPy's, and how far moments merged over random
splits are from the moments of all points.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter, defaultdict
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import stats

import fastfit as ff
from tests import oracle

SIZES, SEEDS, SPLITS = (1000, 3000), 30, 1000
FIELDS = ("x_mean", "y_mean", "xx", "xy", "yy"), ("slope", "intercept")


def hostile(seed: int, n: int) -> dict[str, tuple[Any, Any]]:
    """Return points on which plain sums lose accuracy, by name."""
    rng = np.random.default_rng(seed)
    u, noise = rng.random(n), rng.normal(size=n)
    clusters = np.where(rng.random(n) < 0.5, 0.0, 1e8) + rng.normal(size=n)
    wide, far = rng.lognormal(0.0, 5.0, n), np.r_[1e12, u[1:]]
    return {
        "unit": (u, 2 * u + 1 + 0.1 * noise),
        "epoch seconds over a day": (1.7e9 + 86_400 * u, 86.4 * u + noise),
        "epoch nanoseconds over a second": (np.round(1.7e18 + 1e9 * u), u + 0.1 * noise),
        "1e10 + U(0, 1)": (1e10 + u, 3 * u + noise),
        "1e13 + 10 U(0, 1)": (1e13 + 10 * u, 3 * u + noise),
        "two clusters 1e8 apart": (clusters, 1e-8 * clusters + noise),
        "one point at 1e12, first": (far, 2 * far + noise),
        "one point at 1e12, last": (far[::-1], (2 * far + noise)[::-1]),
        "one point at 1e12, flat": (far, noise),
        "log-normal, sigma 5": (wide, 0.5 * wide + noise),
        "log-normal, sigma 5, flat": (wide, noise),
    }


def ulps(got: float, exact: Fraction) -> float:
    """Return the error in units in the last place of the nearest float."""
    return float(abs(Fraction(float(got)) - exact)) / float(np.spacing(abs(float(exact))))


def lines() -> None:
    worst: dict[str, Any] = defaultdict(lambda: np.zeros(4))
    count = Counter[str]()
    for n, seed in itertools.product(SIZES, range(SEEDS)):
        for name, (x, y) in hostile(seed, n).items():
            m = oracle.moments(x, y)
            slope = m["xy"] / m["xx"]
            found = ff.fit_line(x, y), stats.linregress(x, y)
            errors = [float(abs(Fraction(float(fit.slope)) / slope - 1)) for fit in found]
            errors += [ulps(fit.intercept, m["y_mean"] - slope * m["x_mean"]) for fit in found]
            worst[name] = np.maximum(worst[name], errors)
            count["fits"] += 1
            count["slopes that are the nearest float"] += found[0].slope == float(slope)
            count["slopes with a larger error than SciPy's"] += errors[0] > errors[1]
            count["intercepts with more than twice SciPy's error"] += errors[2] > 2 * errors[3]
    print(f"{f'worst of {len(SIZES) * SEEDS}':34} relative error of slope   ulp of intercept")
    print(f"{'':34} {'fastfit':>9} {'SciPy':>9}     {'fastfit':>9} {'SciPy':>9}")
    for name, (a, b, c, d) in worst.items():
        print(f"{name:34} {a:9.1e} {b:9.1e}     {c:9.1f} {d:9.1e}")
    print("\n".join(f"{number:6} {label}" for label, number in count.items()))


def merging() -> None:
    print(f"\n{f'worst of {SPLITS:,} splits, ulp':34} {'moments':>9} {'line':>9}")
    for name, (x, y) in hostile(0, 1000).items():
        rng = np.random.default_rng(1)
        whole, worst = ff.Moments.of(x, y), [0.0, 0.0]
        for _ in range(SPLITS):
            cuts = np.sort(rng.integers(0, x.size + 1, size=rng.integers(1, 8)))
            parts = map(ff.Moments.of, np.split(x, cuts), np.split(y, cuts))
            merged = functools.reduce(ff.Moments.merge, parts)
            for k, (got, exact) in enumerate(((merged, whole), (merged.fit(), whole.fit()))):
                errors = (ulps(getattr(got, f), Fraction(getattr(exact, f))) for f in FIELDS[k])
                worst[k] = max(worst[k], *errors)
        print(f"{name:34} {worst[0]:9.1f} {worst[1]:9.1f}")


if __name__ == "__main__":
    lines()
    merging()
