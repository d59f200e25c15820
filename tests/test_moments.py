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
from fastfit.exact import double_double as dd
from fastfit.exact.double_double import DoubleDouble
from fastfit.losses import SquaredError
from fastfit.points.moments import MomentPoints
from tests import oracle
from tests.conftest import COMPILED
from tests.noisy import assert_alike

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
    found = [(dd.multiply(a, b), x * y), (dd.add(a, b), x + y), (dd.subtract(a, b), x - y)]
    for got, exact in [*found, *([(dd.divide(a, b), x / y)] if y else [])]:
        assert abs(rational(got) - exact) <= eps * abs(exact)
    assert rational(dd.two_product(a.high, b.high)) == Fraction(a.high) * Fraction(b.high)
    assert dd.scaled(a, 3) == (8 * a.high, 8 * a.low)


@given(a=floats, b=floats, c=floats)
def test_fused_is_right_to_two_roundings(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert abs(Fraction(dd.fused(a, b, c)) - exact) <= abs(exact) * Fraction(2.0**-52)


RNG = np.random.default_rng(11)
N = 1000 if COMPILED else 300
U, NOISE = RNG.random(N), RNG.normal(size=N)
CLOUDS: dict[str, tuple[Any, Any]] = {
    "unit": (U, 2 * U + NOISE),
    "uncorrelated": (U, NOISE),
    "epoch seconds": (1.7e9 + 86_400 * U, NOISE),
    "epoch nanoseconds": (np.round(1.7e18 + 1e9 * U).astype(np.int64), NOISE),
    "1e13": (1e13 + 10 * U, 1e10 + NOISE),
    "log-normal": (RNG.lognormal(0, 5, N), NOISE),
    "far point": (np.r_[U[1:], 1e12], NOISE),
}
UNIT = Moments.of(*CLOUDS["unit"])
FEW = Moments.of([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])


def assert_within_4_ulp(got: Moments, expected: Moments) -> None:
    assert got.count == expected.count
    for name in ("weight_sum", "x_mean", "y_mean", "xx", "xy", "yy"):
        a, b = getattr(got, name), getattr(expected, name)
        assert abs(a - b) <= 4 * np.spacing(abs(b)), name


@pytest.mark.parametrize("n_splits", [40, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_any_split_gives_the_whole(name: str, weighted: bool, n_splits: int) -> None:
    rng = np.random.default_rng(2)
    columns = (*CLOUDS[name], rng.random(N))[: 3 if weighted else 2]
    whole = Moments.of(*columns)
    best = whole.fit()
    for _ in range(n_splits):
        cuts = np.sort(rng.integers(0, N + 1, size=rng.integers(1, 12)))
        parts = zip(*(np.split(column, cuts) for column in columns), strict=True)
        merged = functools.reduce(Moments.merge, (Moments.of(*part) for part in parts))
        assert_within_4_ulp(merged, whole)
        fit = merged.fit()
        assert abs(fit.slope - best.slope) <= 4 * np.spacing(abs(best.slope))
        assert abs(fit.intercept - best.intercept) <= 4 * np.spacing(abs(best.intercept))
        assert fit.loss == pytest.approx(best.loss, rel=1e-15)


def test_point_by_point_and_in_any_order() -> None:
    x, y = CLOUDS["epoch seconds"]
    whole = Moments.of(x[:200], y[:200])
    points = [Moments.of(x[i : i + 1], y[i : i + 1]) for i in range(200)]
    assert_within_4_ulp(sum(points, Moments()), whole)
    order = np.random.default_rng(3).permutation(200)
    assert_within_4_ulp(functools.reduce(Moments.merge, (points[i] for i in order)), whole)
    while len(points) > 1:  # as a tree
        points = [sum(points[i : i + 2], Moments()) for i in range(0, len(points), 2)]
    assert_within_4_ulp(points[0], whole)


@pytest.mark.slow
def test_moments_of_float32_and_strided_parts_merge_with_others() -> None:
    table = np.column_stack(CLOUDS["unit"]).astype(np.float32)
    whole = Moments.of(table[:, 0], table[:, 1])
    parts = Moments.of(table[:7, 0].astype(float), table[:7, 1]) + Moments.of(*table[7:].T.copy())
    assert_within_4_ulp(parts, whole)


def test_empty_moments_are_neutral() -> None:
    whole = UNIT
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


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_fit_of_moments_is_that_of_the_points(fit_intercept: bool) -> None:
    direct = ff.fit_line(*CLOUDS["unit"], fit_intercept=fit_intercept)
    fits = UNIT.fit(fit_intercept=fit_intercept), ff.fit_line(UNIT, fit_intercept=fit_intercept)
    for fit in fits:
        assert_alike(fit, direct, 0.0)
        assert (fit.pvalue, fit.n_passes) == (direct.pvalue, 0)
        with pytest.raises(ValueError, match="no points to draw: .* or of moments, has none"):
            fit.plot()


def test_moments_are_points_for_squared_error() -> None:
    x, y = CLOUDS["1e13"]
    moments = Moments.of(x, y)
    points = MomentPoints(moments.sums)
    center = (rational(points.frame.x_center), rational(points.frame.y_center))
    u = [Fraction(v) - center[0] for v in x.tolist()]
    v = [Fraction(b) - center[1] for b in y.tolist()]
    exact = oracle.squared_error_sums(u, v, (0.0, 0.0), (0.75, -2.5))
    got = points.evaluate(SquaredError(), 0.75, -2.5, curvature=True)
    assert got.curvature is not None
    flat = [got.loss, got.grad_slope, got.grad_offset, *got.curvature]
    expected = [float(total / x.size) for total in exact]
    # u has mean 0 but for the rounding of its points to floats.
    assert flat == pytest.approx(expected, rel=1e-13, abs=1e-12)
    assert (points.n_points, points.n_passes, points.moments()) == (x.size, 0, moments.sums)
    with pytest.raises(TypeError, match="moments know the squared error alone"):
        points.evaluate(None, 0.0, 0.0)  # type: ignore[arg-type]


def test_json_is_bit_exact() -> None:
    for x, y in CLOUDS.values():
        moments = Moments.of(x, y, 1.0 / 3.0)
        text = moments.to_json()
        again = Moments.from_json(text)
        assert again == moments
        assert repr(again.sums.centred) == repr(moments.sums.centred)
        assert again.to_json() == text
        assert Moments.from_json(text.encode()) == moments
        assert pickle.loads(pickle.dumps(moments)) == moments
    assert Moments.from_json(Moments().to_json()) == Moments()


GOOD = json.loads(FEW.to_json())
# A value for a name, or None to leave it out.
CHANGES: list[tuple[str, Any]] = [
    *(("count", count) for count in (None, 1.5, -1)),
    *(("xx", None), ("xx", ["0x1p0"]), ("xx", ["0x1p0", "zero"]), ("xx", [1.0, 2.0])),
    *(("xx", [high, "0x0p0"]) for high in ("0x1p9999", "-0x1p0")),
    *(("x_exponent", "3"), ("x_exponent", 10**30), ("yy", ["0x1p0", "0x1p300"])),
    *(("w", value) for value in (["nan", "0x0p0"], ["-0x1p0", "0x0p0"], "ab")),
    *(("format", "other"), ("more", 1)),
]


@pytest.mark.parametrize(
    "text",
    [
        *(
            json.dumps({k: v for k, v in {**GOOD, name: new}.items() if v is not None})
            for name, new in CHANGES
        ),
        *("", "{", "[]", "3", "null", json.dumps(GOOD)[:-40], "[" * 100_000),
    ],
    ids=lambda text: text[-30:],
)
def test_json_of_something_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="text must be JSON as Moments.to_json writes it"):
        Moments.from_json(text)


def test_json_of_another_version_or_none() -> None:
    for version in (2, True):
        with pytest.raises(ValueError, match=f"of version 1; got version {version}"):
            Moments.from_json(json.dumps({**GOOD, "version": version}))
    with pytest.raises(TypeError, match="text must be a string; got NoneType"):
        Moments.from_json(None)  # type: ignore[arg-type]


def test_frozen_and_readable() -> None:
    numbers = "count=3, weight_sum=3, x_mean=2.33333, y_mean=2, xx=4.66667, xy=1, yy=2"
    assert repr(FEW) == f"Moments({numbers})"
    with pytest.raises(AttributeError):
        FEW.count = 4  # type: ignore[misc]
    assert hash(FEW) == hash(Moments.of([1.0, 2.0, 4.0], [1.0, 3.0, 2.0]))
    with pytest.raises(TypeError, match="other must be Moments; got int"):
        FEW.merge(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unsupported operand"):
        FEW + 3  # type: ignore[operator]


def test_nan_in_moments() -> None:
    x, y = np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="x must be finite; got NaN at index 1"):
        Moments.of(x, y)
    assert Moments.of(x, y, nan_policy="omit") == Moments.of([1.0, 3.0], [1.0, 4.0])
    assert Moments.of([np.nan], [1.0], nan_policy="omit") == Moments()
    with pytest.raises(ValueError, match="nan_policy must be 'raise' or 'omit'; got 'propagate'"):
        Moments.of(x, y, nan_policy="propagate")  # type: ignore[arg-type]


def test_moments_leave_no_room_for_points() -> None:
    options = {"y": [1.0], "sample_weight": [1.0], "sigma": 2.0}
    for name, value in {
        **options,
        "nan_policy": "omit",
        "n_threads": 2,
        "backend": "numpy",
    }.items():
        with pytest.raises(ValueError, match=f"{name} must be left out when x is Moments"):
            ff.fit_line(FEW, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="moments of no points have no loss"):
        Moments().sums.evaluate(0.0, 0.0)


def test_update_is_the_merge_with_a_further_batch() -> None:
    rng = np.random.default_rng(3)
    columns = rng.random((3, 1000)) + 1e9
    moments = Moments()
    for start in range(0, 1000, 300):
        before = moments
        moments = before.update(*columns[:, start : start + 300])
        assert (before.count, moments.count) == (start, min(start + 300, 1000))
    assert moments.fit().to_dict() == Moments.of(*columns).fit().to_dict()
    assert moments.update([], []) == moments
    assert Moments().update([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], nan_policy="omit").count == 2
    with pytest.raises(ValueError, match="x must be finite; got NaN at index 1"):
        moments.update([1.0, np.nan], [1.0, 2.0])
