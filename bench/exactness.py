"""How exact the exact fit is: ``python -m bench.exactness``.

Lines and standard errors against exact rational arithmetic, SciPy's beside them, and moments merged over random
splits against those of the whole.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import stats

import fastfit as ff
from fastfit import Moments
from tests import oracle

SIZES, SEEDS, SPLITS = (1000, 3000), 30, 1000


def hostile(rng: np.random.Generator, n: int) -> Iterator[tuple[str, Any, Any]]:
    """Yield names and points that lose digits elsewhere."""
    u, noise = rng.random(n), rng.normal(size=n)
    clusters = np.where(rng.random(n) < 0.5, 0.0, 1e8) + rng.normal(size=n)
    wide = rng.lognormal(0.0, 5.0, n)
    yield "unit", u, 2 * u + 1 + 0.1 * noise
    yield "epoch seconds over a day", 1.7e9 + 86_400 * u, 86.4 * u + noise
    yield "epoch nanoseconds over a second", np.round(1.7e18 + 1e9 * u), u + 0.1 * noise
    yield "1e10 + U(0, 1)", 1e10 + u, 3 * u + noise
    yield "1e13 + 10 U(0, 1)", 1e13 + 10 * u, 3 * u + noise
    yield "two clusters 1e8 apart", clusters, 1e-8 * clusters + noise
    far = np.r_[1e12, u[1:]]
    yield "one point at 1e12, first", far, 2 * far + noise
    yield "one point at 1e12, last", far[::-1].copy(), (2 * far + noise)[::-1].copy()
    yield "one point at 1e12, flat", far, noise
    yield "log-normal, sigma 5", wide, 0.5 * wide + noise
    yield "log-normal, sigma 5, flat", wide, noise


def ulps(got: float, exact: Fraction) -> float:
    """Return the error in units of the last place of the best float."""
    return float(abs(Fraction(float(got)) - exact)) / float(np.spacing(abs(float(exact))))


def lines() -> None:
    """Print errors of slope and intercept."""
    worst: dict[str, list[float]] = {}
    count = Counter[str]()
    for n in SIZES:
        for seed in range(SEEDS):
            for name, x, y in hostile(np.random.default_rng(seed), n):
                m = oracle.moments(x, y)
                slope = m["xy"] / m["xx"]
                intercept = m["y_mean"] - slope * m["x_mean"]
                fit, scipys = ff.fit_line(x, y), stats.linregress(x, y)
                errors = [
                    float(abs(Fraction(float(found.slope)) / slope - 1)) for found in (fit, scipys)
                ]
                errors += [ulps(found.intercept, intercept) for found in (fit, scipys)]
                known = worst.setdefault(name, [0.0] * 4)
                worst[name] = [max(pair) for pair in zip(known, errors, strict=True)]
                count["fits"] += 1
                count["slopes that are the nearest float"] += fit.slope == float(slope)
                count["slopes further off than SciPy's"] += errors[0] > errors[1]
                count["intercepts more than twice as far off"] += errors[2] > 2 * errors[3]
    print(f"{'worst of ' + str(len(SIZES) * SEEDS):34} slope, relative      intercept, ulp")
    print(f"{'':34} {'fastfit':>8} {'SciPy':>8}     {'fastfit':>8} {'SciPy':>8}")
    for name, (a, b, c, d) in worst.items():
        print(f"{name:34} {a:8.1e} {b:8.1e}     {c:8.1f} {d:8.1e}")
    for what, number in count.items():
        print(f"{number:6} {what}")


def standard_errors() -> None:
    """Print relative errors of the standard error where there is little noise."""
    print(f"\n{'stderr of 2 x + 1 with noise of':34} {'fastfit':>8} {'SciPy':>8}")
    rng = np.random.default_rng(1)
    x, noise = rng.random(2000), rng.normal(size=2000)
    for size in (1e-3, 1e-6, 1e-9, 1e-12):
        y = 2 * x + 1 + size * noise
        m = oracle.moments(x, y)
        variance = (m["yy"] - m["xy"] ** 2 / m["xx"]) / 1998 / m["xx"]
        with localcontext(prec=40):
            exact = (Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()
        ours, theirs = (
            abs(float(Decimal(float(found.stderr)) / exact - 1))
            for found in (ff.fit_line(x, y), stats.linregress(x, y))
        )
        print(f"{size:<34g} {ours:8.1e} {theirs:8.1e}")


def merging() -> None:
    """Print how far moments of parts, merged, are from those of the whole."""
    print(
        f"\n{'worst of ' + f'{SPLITS:,} random splits':34} {'moments':>8} {'line':>8} {'loss':>8}  (ulp)"
    )
    for name, x, y in hostile(np.random.default_rng(0), 1000):
        rng = np.random.default_rng(1)
        whole = Moments.of(x, y)
        off = [0.0, 0.0, 0.0]
        for _ in range(SPLITS):
            cuts = np.sort(rng.integers(0, x.size + 1, size=rng.integers(1, 8)))
            parts = map(Moments.of, np.split(x, cuts), np.split(y, cuts))
            merged = functools.reduce(Moments.merge, parts)
            for k, (one, other, names) in enumerate(
                (
                    (merged, whole, ("x_mean", "y_mean", "xx", "xy", "yy")),
                    (merged.fit(), whole.fit(), ("slope", "intercept")),
                    (merged.fit(), whole.fit(), ("loss",)),
                )
            ):
                distances = (ulps(getattr(one, a), Fraction(getattr(other, a))) for a in names)
                off[k] = max(off[k], *distances)
        print(f"{name:34} {off[0]:8.1f} {off[1]:8.1f} {off[2]:8.1e}")


if __name__ == "__main__":
    lines()
    standard_errors()
    merging()
