"""Moments: merging, writing and reading, and moments as points."""

from __future__ import annotations

import functools
import json
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastfit as ff
from fastfit import Moments
from fastfit.exact.double_double import (
    DoubleDouble,
    add,
    divide,
    fused,
    multiply,
    scaled,
    subtract,
    two_product,
)
from fastfit.losses import SquaredError
from fastfit.points.moments import MomentPoints
from tests import oracle
from tests.conftest import COMPILED

floats = st.floats(-1e100, 1e100, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-50)
pairs = st.tuples(floats, st.floats(-1.0, 1.0)).map(
    lambda p: DoubleDouble(p[0], float(p[1]) * float(np.spacing(p[0])) / 2)
)


def rational(number: DoubleDouble) -> Fraction:
    return Fraction(number.high) + Fraction(number.low)


@given(a=pairs, b=pairs)
def test_arithmetic_of_two_floats(a: DoubleDouble, b: DoubleDouble) -> None:
    x, y = rational(a), rational(b)
    # The bounds are those of Hida, Li and Bailey: a few units of the last of 106 bits.
    eps = Fraction(2.0**-103)
    assert abs(rational(multiply(a, b)) - x * y) <= eps * abs(x * y)
    assert abs(rational(add(a, b)) - (x + y)) <= eps * abs(x + y)
    assert abs(rational(subtract(a, b)) - (x - y)) <= eps * abs(x - y)
    if y:
        assert abs(rational(divide(a, b)) - x / y) <= eps * abs(x / y)
    assert rational(two_product(a.high, b.high)) == Fraction(a.high) * Fraction(b.high)
    assert scaled(a, 3) == (8 * a.high, 8 * a.low)


@given(a=floats, b=floats, c=floats)
def test_fused_is_right_to_two_roundings(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert abs(Fraction(fused(a, b, c)) - exact) <= abs(exact) * Fraction(2.0**-52)


def clouds() -> dict[str, tuple[Any, Any]]:
    rng = np.random.default_rng(11)
    n = 1000 if COMPILED else 300
    u, noise = rng.random(n), rng.normal(size=n)
    return {
        "unit": (u, 2 * u + noise),
        "uncorrelated": (u, noise),
        "epoch seconds": (1.7e9 + 86_400 * u, noise),
        "epoch nanoseconds": (np.round(1.7e18 + 1e9 * u).astype(np.int64), noise),
        "1e13": (1e13 + 10 * u, 1e10 + noise),
        "log-normal": (rng.lognormal(0, 5, n), noise),
        "far point": (np.r_[u[1:], 1e12], noise),
    }


def assert_within_4_ulp(got: Moments, expected: Moments) -> None:
    assert got.count == expected.count
    for name in ("weight_sum", "x_mean", "y_mean", "xx", "xy", "yy"):
        a, b = getattr(got, name), getattr(expected, name)
        assert abs(a - b) <= 4 * np.spacing(abs(b)), name


@pytest.mark.parametrize("name", clouds())
def test_any_split_gives_the_whole(name: str) -> None:
    x, y = clouds()[name]
    w = np.random.default_rng(1).random(x.size)
    rng = np.random.default_rng(2)
    for weights in (None, w):
        whole = Moments.of(x, y, weights)
        for _ in range(150):
            cuts = np.sort(rng.integers(0, x.size + 1, size=rng.integers(1, 12)))
            parts = [
                Moments.of(a, b, c)
                for a, b, c in zip(
                    np.split(x, cuts),
                    np.split(y, cuts),
                    [None] * (cuts.size + 1) if weights is None else np.split(weights, cuts),
                    strict=True,
                )
            ]
            merged = functools.reduce(Moments.merge, parts)
            assert_within_4_ulp(merged, whole)
            fit, best = merged.fit(), whole.fit()
            assert abs(fit.slope - best.slope) <= 4 * np.spacing(abs(best.slope))
            assert abs(fit.intercept - best.intercept) <= 4 * np.spacing(abs(best.intercept))
            assert fit.loss == pytest.approx(best.loss, rel=1e-15)


def test_point_by_point_and_in_any_order() -> None:
    x, y = clouds()["epoch seconds"]
    whole = Moments.of(x[:200], y[:200])
    points = [Moments.of(x[i : i + 1], y[i : i + 1]) for i in range(200)]
    assert_within_4_ulp(sum(points, Moments()), whole)
    order = np.random.default_rng(3).permutation(200)
    assert_within_4_ulp(functools.reduce(Moments.merge, (points[i] for i in order)), whole)
    while len(points) > 1:  # as a tree
        points = [
            functools.reduce(Moments.merge, points[i : i + 2]) for i in range(0, len(points), 2)
        ]
    assert_within_4_ulp(points[0], whole)


def test_moments_of_float32_and_strided_parts_merge_with_others() -> None:
    x, y = clouds()["unit"]
    table = np.column_stack([x, y]).astype(np.float32)
    whole = Moments.of(table[:, 0], table[:, 1])
    parts = Moments.of(table[:7, 0].astype(float), table[:7, 1]) + Moments.of(*table[7:].T.copy())
    assert_within_4_ulp(parts, whole)


def test_empty_moments_are_neutral() -> None:
    x, y = clouds()["unit"]
    whole = Moments.of(x, y)
    for empty in (Moments(), Moments.of([], []), Moments.of(np.empty((0, 1)), [], [])):
        assert (empty + whole, whole + empty, empty.merge(empty)) == (whole, whole, Moments())
        assert (empty.count, empty.weight_sum, empty.xx) == (0, 0.0, 0.0)
        assert np.isnan(empty.x_mean)
    with pytest.raises(ValueError, match="at least two points for a line; got 0"):
        Moments().fit()
    weightless = Moments.of([1.0, 2.0], [5.0, 7.0], 0.0)
    assert (weightless.count, weightless.weight_sum) == (2, 0.0)
    assert (weightless + whole).fit().slope == whole.fit().slope
    with pytest.raises(ValueError, match="sample_weight must be above zero for some points"):
        weightless.fit()


def test_merging_extreme_sizes() -> None:
    small = Moments.of([1e-200, 2e-200, 4e-200], [1.0, 2.0, 3.0])
    large = Moments.of([1e200, 2e200, 4e200], [1.0, 2.0, 3.0])
    assert small.sums.x_exponent > 0 > large.sums.x_exponent
    assert (large + large).fit().slope == pytest.approx(large.fit().slope, rel=1e-15)
    assert (small + Moments.of([3e-200], [2.5])).fit().slope == pytest.approx(
        ff.fit_line([1e-200, 2e-200, 4e-200, 3e-200], [1.0, 2.0, 3.0, 2.5]).slope, rel=1e-15
    )
    # Beside the large ones, the small ones are all at zero.
    both = ff.fit_line([0, 0, 0, 1e200, 2e200, 4e200], [1.0, 2, 3, 1, 2, 3])
    for merged in (small + large, large + small):
        assert merged.fit().slope == pytest.approx(both.slope, rel=1e-14)
        assert merged.fit().intercept == pytest.approx(both.intercept, rel=1e-14)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1e170, -1e170], [0.0, 1.0]),
        ([1e-170, 2e-170], [1.0, 2.0]),
        ([1e300, 2e299, -3e299], [1.0, 2.0, 3.0]),
        ([1e-300, 2e-301, 3e-301], [1.0, 2.0, 3.0]),
        ([1.7e308, -1.7e308, 0.0], [10.0, 20.0, -1e5]),
        ([5.0, 5.0 + 1e-15, 5.0, 6.0], [1e-100, 2e-100, 3e-100, 5e100]),
    ],
)
def test_points_of_extreme_size_merge_one_by_one(x: list[float], y: list[float]) -> None:
    parts = [Moments.of([a], [b]) for a, b in zip(x, y, strict=True)]
    for order in (parts, parts[::-1]):
        merged, whole = sum(order, Moments()), Moments.of(x, y)
        got, best = (m.sums.least_squares() for m in (merged, whole))
        off = merged.sums.x_exponent - whole.sums.x_exponent
        up = merged.sums.y_exponent - whole.sums.y_exponent
        assert got.slope.high == pytest.approx(best.slope.high * 2.0 ** (up - off), rel=1e-14)
        assert got.intercept.high == pytest.approx(best.intercept.high * 2.0**up, rel=1e-14)


def test_fit_of_moments_is_that_of_the_points() -> None:
    x, y = clouds()["unit"]
    moments = Moments.of(x, y)
    for fit_intercept in (True, False):
        direct = ff.fit_line(x, y, fit_intercept=fit_intercept)
        for fit in (
            moments.fit(fit_intercept=fit_intercept),
            ff.fit_line(moments, fit_intercept=fit_intercept),
        ):
            for name in (
                *("slope", "intercept", "loss", "stderr", "intercept_stderr", "rvalue"),
                *("residual_std", "n_points", "pvalue"),
            ):
                assert getattr(fit, name) == getattr(direct, name), name
            assert fit.n_passes == 0
    with pytest.raises(ValueError, match="no points to draw: moments have none"):
        moments.fit().plot()


def test_moments_are_points_for_squared_error() -> None:
    x, y = clouds()["1e13"]
    moments = Moments.of(x, y)
    points = MomentPoints(moments.sums)
    center = (rational(points.frame.x_center), rational(points.frame.y_center))
    slope, level = 0.75, -2.5
    u = [Fraction(v) - center[0] for v in x.tolist()]
    v = [Fraction(b) - center[1] for b in y.tolist()]
    exact = oracle.squared_error_sums(u, v, (0.0, 0.0), (slope, level))
    got = points.evaluate(SquaredError(), slope, level, curvature=True)
    assert got.curvature is not None
    flat = [got.loss, got.grad_slope, got.grad_offset, *got.curvature]
    expected = [float(total / x.size) for total in exact]
    # u has mean 0 but for the rounding of its points to floats.
    assert flat == pytest.approx(expected, rel=1e-13, abs=1e-12)
    assert (points.n_points, points.n_passes, points.moments()) == (x.size, 0, moments.sums)
    with pytest.raises(TypeError, match="moments know the squared error alone"):
        points.evaluate(None, 0.0, 0.0)  # type: ignore[arg-type]


def test_json_is_bit_exact() -> None:
    for x, y in clouds().values():
        moments = Moments.of(x, y, 1.0 / 3.0)
        text = moments.to_json()
        again = Moments.from_json(text)
        assert again == moments
        assert repr(again.sums.centred) == repr(moments.sums.centred)
        assert again.to_json() == text
        assert Moments.from_json(text.encode()) == moments
        assert pickle.loads(pickle.dumps(moments)) == moments
    assert Moments.from_json(Moments().to_json()) == Moments()


GOOD = json.loads(Moments.of([1.0, 2.0, 4.0], [1.0, 3.0, 2.0]).to_json())


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"count": None},
        {"count": 1.5},
        {"count": -1},
        {"xx": None},
        {"xx": ["0x1p0"]},
        {"xx": ["0x1p0", "zero"]},
        {"xx": [1.0, 2.0]},
        {"xx": ["0x1p9999", "0x0p0"]},
        {"more": 1},
        {"x_exponent": "3"},
        {"x_exponent": 10**30},
        {"w": ["nan", "0x0p0"]},
        {"w": ["-0x1p0", "0x0p0"]},
        {"xx": ["-0x1p0", "0x0p0"]},
        {"yy": ["0x1p0", "0x1p300"]},
        {"w": "ab"},
    ],
)
def test_json_of_something_else_is_an_error(change: dict[str, Any]) -> None:
    written = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(ValueError, match="text must be JSON as Moments.to_json writes it"):
        Moments.from_json(json.dumps(written))


def test_json_of_another_version_or_none() -> None:
    with pytest.raises(ValueError, match="of version 1; got version 2"):
        Moments.from_json(json.dumps({**GOOD, "version": 2}))
    with pytest.raises(ValueError, match="of version 1; got version True"):
        Moments.from_json(json.dumps({**GOOD, "version": True}))
    for text in ("", "{", "[]", "3", "null", json.dumps(GOOD)[:-40], "[" * 100_000):
        with pytest.raises(ValueError, match="text must be JSON as Moments.to_json writes it"):
            Moments.from_json(text)
    with pytest.raises(TypeError, match="text must be a string; got NoneType"):
        Moments.from_json(None)  # type: ignore[arg-type]


def test_frozen_and_readable() -> None:
    moments = Moments.of([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    assert repr(moments) == (
        "Moments(count=3, weight_sum=3, x_mean=2.33333, y_mean=2, xx=4.66667, xy=1, yy=2)"
    )
    with pytest.raises(AttributeError):
        moments.count = 4  # type: ignore[misc]
    assert hash(moments) == hash(Moments.of([1.0, 2.0, 4.0], [1.0, 3.0, 2.0]))
    with pytest.raises(TypeError, match="other must be Moments; got int"):
        moments.merge(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unsupported operand"):
        moments + 3  # type: ignore[operator]


def test_nan_in_moments() -> None:
    x, y = np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="x must be finite; got NaN at index 1"):
        Moments.of(x, y)
    assert Moments.of(x, y, nan_policy="omit") == Moments.of([1.0, 3.0], [1.0, 4.0])
    assert Moments.of([np.nan], [1.0], nan_policy="omit") == Moments()
    with pytest.raises(ValueError, match="nan_policy must be 'raise' or 'omit'; got 'propagate'"):
        Moments.of(x, y, nan_policy="propagate")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("y", [1.0]),
        ("sample_weight", [1.0]),
        ("sigma", 2.0),
        ("nan_policy", "omit"),
        ("n_threads", 2),
        ("backend", "numpy"),
    ],
)
def test_moments_leave_no_room_for_points(name: str, value: Any) -> None:
    moments = Moments.of([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    with pytest.raises(ValueError, match=f"{name} must be left out when x is Moments"):
        ff.fit_line(moments, **{name: value})
    with pytest.raises(ValueError, match="moments of no points have no loss"):
        Moments().sums.evaluate(0.0, 0.0)


def test_update_is_the_merge_with_a_further_batch() -> None:
    rng = np.random.default_rng(3)
    x, y, w = rng.random((3, 1000)) + 1e9
    moments = ff.Moments()
    for start in range(0, 1000, 300):
        batch = slice(start, start + 300)
        before = moments
        moments = before.update(x[batch], y[batch], w[batch])
        assert (before.count, moments.count) == (start, min(start + 300, 1000))
    assert moments.fit().to_dict() == ff.Moments.of(x, y, w).fit().to_dict()
    assert moments.update([], []) == moments
    gaps = ff.Moments().update([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], nan_policy="omit")
    assert gaps.count == 2
    with pytest.raises(ValueError, match="x must be finite; got NaN at index 1"):
        moments.update([1.0, np.nan], [1.0, 2.0])
