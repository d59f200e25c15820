"""Right answers, from exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple


class ExactSums(NamedTuple):
    loss: Fraction
    grad_slope: Fraction
    grad_offset: Fraction
    slope_slope: Fraction
    slope_offset: Fraction
    offset_offset: Fraction


class ExactLine(NamedTuple):
    slope: float
    intercept: float
    loss: float


def _fractions(values: Any) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


def squared_error_sums(
    x: Any, y: Any, center: tuple[float, float], line: tuple[float, float]
) -> ExactSums:
    """Return the sums of a squared-error pass without any rounding."""
    x_center, y_center = map(Fraction, center)
    slope, level = map(Fraction, line)
    u = [value - x_center for value in _fractions(x)]
    v = [value - y_center for value in _fractions(y)]
    r = [b - (slope * a + level) for a, b in zip(u, v, strict=True)]
    return ExactSums(
        sum((b * b for b in r), Fraction(0)),
        sum((-2 * b * a for a, b in zip(u, r, strict=True)), Fraction(0)),
        sum((-2 * b for b in r), Fraction(0)),
        sum((2 * a * a for a in u), Fraction(0)),
        sum((2 * a for a in u), Fraction(0)),
        Fraction(2 * len(u)),
    )


def least_squares(x: Any, y: Any) -> ExactLine:
    """Return the least-squares line, each number rounded once."""
    xs, ys = _fractions(x), _fractions(y)
    n = len(xs)
    x_mean, y_mean = sum(xs) / n, sum(ys) / n
    sxx = sum((a - x_mean) ** 2 for a in xs)
    sxy = sum((a - x_mean) * (b - y_mean) for a, b in zip(xs, ys, strict=True))
    slope = sxy / sxx
    intercept = y_mean - slope * x_mean
    loss = sum((b - slope * a - intercept) ** 2 for a, b in zip(xs, ys, strict=True)) / n
    return ExactLine(float(slope), float(intercept), float(loss))


def moments(x: Any, y: Any, w: Any = None) -> dict[str, Fraction]:
    """Return sum of weights, means and centred sums of products without any rounding."""
    xs, ys = _fractions(x), _fractions(y)
    ws = [Fraction(1)] * len(xs) if w is None else _fractions(w)
    total = sum(ws, Fraction(0))
    x_mean = sum((k * a for k, a in zip(ws, xs, strict=True)), Fraction(0)) / total
    y_mean = sum((k * b for k, b in zip(ws, ys, strict=True)), Fraction(0)) / total
    points = [(k, a - x_mean, b - y_mean) for k, a, b in zip(ws, xs, ys, strict=True)]
    return {
        "w": total,
        "x_mean": x_mean,
        "y_mean": y_mean,
        "xx": sum((k * a * a for k, a, _ in points), Fraction(0)),
        "xy": sum((k * a * b for k, a, b in points), Fraction(0)),
        "yy": sum((k * b * b for k, _, b in points), Fraction(0)),
    }


def assert_agree(got: Any, expected: Any, **relative: float) -> None:
    """Check numbers that two fits hold, each to the relative tolerance given under its name."""
    for name, tolerance in relative.items():
        one, other = getattr(got, name), getattr(expected, name)
        assert math.isclose(one, other, rel_tol=tolerance), f"{name}: {one!r} is not {other!r}"


def relative_error(got: float, expected: float) -> float:
    """Return the distance over the size of what was expected; infinite for NaN."""
    if math.isnan(got):
        return math.inf
    return abs(got - expected) / abs(expected) if expected else abs(got)
