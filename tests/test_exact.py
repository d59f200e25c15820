"""The exact solution: certified values, exact rational arithmetic, and residuals next to nothing."""

from __future__ import annotations

import csv
import json
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import stats

import fastfit as ff
from tests import oracle
from tests.conftest import COMPILED, DATA
from tests.oracle import assert_agree

NIST = json.loads((DATA / "nist" / "certified.json").read_text())
N = 3000 if COMPILED else 600


def digits(got: float, expected: str) -> float:
    """Return how many digits are right: NIST's log relative error."""
    exact = Fraction(Decimal(expected))
    error = abs(Fraction(got) - exact) / abs(exact)
    return float("inf") if error == 0 else -float(np.log10(float(error)))


@pytest.mark.parametrize("name", ["Norris", "NoInt1", "NoInt2"])
def test_nist(name: str, backend: Any) -> None:
    case = NIST[name]
    with open(DATA / "nist" / case["file"], newline="") as file:
        rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    x, y = map(np.array, zip(*rows, strict=True))
    fit = ff.fit_line(x, y, fit_intercept=case["fit_intercept"], backend=backend)
    found = {
        "slope": fit.slope,
        "slope_stderr": fit.stderr,
        "residual_sd": fit.residual_std,
        "r_squared": fit.rvalue**2,
        "ss_residual": fit.loss * fit.n_points,
    }
    if case["fit_intercept"]:
        found |= {"intercept": fit.intercept, "intercept_stderr": fit.intercept_stderr}
        found["cov_slope_intercept"] = fit.covariance[0, 1]
    else:
        assert (fit.intercept, fit.intercept_stderr) == (0.0, 0.0)
    for quantity, value in found.items():
        # The values are those of the decimals; that float64 rounds those costs a digit or two of the residuals.
        assert digits(value, case["exact_25_digits"][quantity]) >= 13.5, quantity


RNG = np.random.default_rng(20261123)
U, NOISE, NORMAL = RNG.random(N), *RNG.normal(size=(2, N))
HOSTILE = {
    "unit": U,
    "epoch seconds over a day": 1.7e9 + 86_400 * U,
    "epoch nanoseconds over a second": np.round(1.7e18 + 1e9 * U),
    "1e10 + U": 1e10 + U,
    "1e13 + 10 U": 1e13 + 10 * U,
    "two clusters": np.where(U < 0.5, 0.0, 1e8) + NORMAL,
    "far point first": np.r_[1e12, U[1:]],
    "far point last": np.r_[U[1:], 1e12],
    "log-normal": np.exp(5.0 * NORMAL),
}


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    x = HOSTILE[request.param]
    center = float(np.median(x))
    return x, 2.0 + 3.0 * (x - center) / np.std(x - center) + NOISE


def test_line_is_that_of_exact_arithmetic(hostile: Any, backend: Any) -> None:
    x, y = hostile
    exact = oracle.least_squares(x, y)
    fit = ff.fit_line(x, y, backend=backend)
    # Moments of 80 bits leave nothing but the rounding of the answer itself.
    assert fit.slope == exact.slope
    assert abs(fit.intercept - exact.intercept) <= 2 * np.spacing(abs(exact.intercept))
    assert fit.loss == pytest.approx(exact.loss, rel=1e-14)
    scipys_error = abs(stats.linregress(x, y).intercept - exact.intercept)
    allowed = max(2 * scipys_error, np.spacing(abs(exact.intercept)))
    assert abs(fit.intercept - exact.intercept) <= allowed


def test_weighted_line_is_that_of_exact_arithmetic(hostile: Any, backend: Any) -> None:
    x, y = hostile
    w = np.random.default_rng(3).random(N)
    exact = oracle.moments(x, y, w)
    slope = exact["xy"] / exact["xx"]
    fit = ff.fit_line(x, y, sample_weight=w, backend=backend)
    assert fit.slope == float(slope)
    intercept = float(exact["y_mean"] - slope * exact["x_mean"])
    assert abs(fit.intercept - intercept) <= 2 * np.spacing(abs(intercept))


def test_line_through_the_origin_is_that_of_exact_arithmetic(hostile: Any, backend: Any) -> None:
    x, y = hostile
    pairs = [(Fraction(a), Fraction(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    square = sum((a * a for a, _ in pairs), Fraction(0))
    slope = sum((a * b for a, b in pairs), Fraction(0)) / square
    fit = ff.fit_line(x, y, fit_intercept=False, backend=backend)
    # The products can cancel: their sum is right to 80 bits of the sum of their sizes.
    size = sum((abs(a * b) for a, b in pairs), Fraction(0)) / square
    allowed = abs(slope) * Fraction(2.0**-53) + size * Fraction(2.0**-75)
    assert abs(Fraction(fit.slope) - slope) <= allowed
    loss = sum(((b - slope * a) ** 2 for a, b in pairs), Fraction(0)) / N
    assert fit.loss == pytest.approx(float(loss), rel=1e-13)


@pytest.mark.parametrize("noise", [1.0, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_stderr_of_lines_with_little_noise(noise: float, offset: float, backend: Any) -> None:
    x = offset + U
    y = 2.0 * x + 1.0 + noise * NOISE
    fit = ff.fit_line(x, y, backend=backend)
    m = oracle.moments(x, y)
    variance = (m["yy"] - m["xy"] ** 2 / m["xx"]) / (N - 2) / m["xx"]
    with localcontext(prec=40):
        expected = (Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()
    assert fit.stderr == pytest.approx(float(expected), rel=1e-13)
    # Moments have some 80 bits, so a line from them may be off by 1e-24. For residuals of 1e-15, an error of 1e-27 is
    # already significant: whether the measured residuals show one, which costs a third pass, depends on the rounding of
    # the processor (fused multiply-add, width of vectors).
    assert fit.n_passes in ({1} if noise > 1e-4 else {2} if noise > 1e-14 else {2, 3})


@pytest.mark.parametrize("through_origin", [False, True])
def test_perfect_lines_leave_nothing(backend: Any, through_origin: bool) -> None:
    for slope, offset in ((3.0, 0.0), (0.25, 2e9)):
        x = np.arange(50.0) - offset
        fit = ff.fit_line(x, slope * x, fit_intercept=not through_origin, backend=backend)
        assert (fit.slope, fit.intercept, fit.loss, fit.residual_std) == (slope, 0.0, 0.0, 0.0)
        assert (fit.stderr, fit.rvalue) == (0.0, 1.0)
    level = ff.fit_line([0.1, 0.7], [0.3, 0.3], backend=backend)
    assert (level.slope, level.loss) == (0.0, 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_any_two_points_are_met(backend: Any, seed: int) -> None:
    """Slope and intercept of most pairs of points are no floats, but their line leaves nothing."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 2)) * 10.0 ** rng.integers(-5, 6, size=2)[:, None]
    fit = ff.fit_line(x, y, backend=backend)
    exact = oracle.least_squares(x, y)
    assert (fit.slope, fit.loss) == (exact.slope, 0.0)
    assert fit.intercept == pytest.approx(exact.intercept, rel=1e-15)
    assert abs(fit.rvalue) == 1.0
    assert np.isnan([fit.stderr, fit.intercept_stderr, fit.residual_std, fit.pvalue]).all()


def test_one_point_is_enough_without_intercept(backend: Any) -> None:
    fit = ff.fit_line([4.0], [2.0], fit_intercept=False, backend=backend)
    assert (fit.slope, fit.intercept, fit.loss) == (0.5, 0.0, 0.0)
    assert np.isnan(fit.stderr)
    assert (fit.intercept_stderr, *fit.covariance[:, 1]) == (0.0, 0.0, 0.0)
    same = ff.fit_line([4.0, 4.0], [1.0, 3.0], fit_intercept=False, backend=backend)
    assert (same.slope, same.loss) == (0.5, 1.0)


@pytest.mark.parametrize("solver", ["exact", "gradient_descent"])
@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ([1.0], {}, "x and y must hold at least two points for a line; got 1"),
        ([], {"fit_intercept": False}, "x and y must hold at least one point for a line; got 0"),
        ([0.0, 0.0], {"fit_intercept": False}, "x must hold a value other than 0 for a line"),
        ([3.0, 3.0], {}, "two different values, .*; got 3.0 at all 2 points"),
    ],
)
def test_points_that_determine_no_line(
    backend: Any, x: list[float], options: dict[str, Any], message: str, solver: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ff.fit_line(x, [1.0] * len(x), backend=backend, solver=solver, **options)


def test_one_pass_and_what_is_said(backend: Any) -> None:
    fit = ff.fit_line(U, NOISE, backend=backend)
    assert (fit.n_passes, fit.n_iter, fit.status) == (1, 0, ff.Status.CONVERGED)
    assert fit.message == "Exact: the line of least squares, in closed form."
    assert repr(fit).endswith("00 points, exact")
    assert ff.Exact() == ff.Exact()


@pytest.mark.parametrize("exponent", [10, 30, 34, 40, 60, 80, 95])
@pytest.mark.parametrize("heavy", [1, 2])
def test_weights_that_outweigh_all_others(exponent: int, heavy: int, backend: Any) -> None:
    rng = np.random.default_rng(exponent)
    for _ in range(5):
        x, y = rng.normal(size=(2, 7))
        w = np.ones(7)
        w[:heavy] = 10.0**exponent
        exact = oracle.moments(x, y, w)
        slope = float(exact["xy"] / exact["xx"])
        intercept = float(exact["y_mean"] - exact["xy"] / exact["xx"] * exact["x_mean"])
        fit = ff.fit_line(x, y, sample_weight=w, backend=backend)
        assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept), rel=1e-14)
        if heavy == 1:
            loss = (exact["yy"] - exact["xy"] ** 2 / exact["xx"]) / exact["w"]
            assert fit.loss == pytest.approx(float(loss), rel=1e-12)
            pinned = ff.fit_line(x, y, sigma=w**-0.5, backend=backend)
            assert pinned.slope == pytest.approx(slope, rel=1e-12)
            descent = ff.fit_line(x, y, sample_weight=w, backend=backend, solver="gradient_descent")
            assert descent.slope == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-100, 1e100, 1e200])
def test_a_single_x_of_extreme_size_without_intercept(size: float, backend: Any) -> None:
    steep = ff.fit_line([size, size], [1.0, 2.0], fit_intercept=False, backend=backend)
    assert steep.slope == pytest.approx(1.5 / size, rel=1e-15, abs=0)
    assert steep.loss == pytest.approx(0.25, rel=1e-15)


@pytest.mark.parametrize("unit", [1, 1000, 10**7])
def test_perfect_lines_at_time_stamps_leave_nothing(unit: int, backend: Any) -> None:
    rng = np.random.default_rng(unit)
    for _ in range(10):
        ticks = np.unique(rng.integers(0, 1000, size=8))
        x = 1_700_000_000_000_000_000 + unit * ticks
        y = 3.0 * ticks + 7.0
        fit = ff.fit_line(x, y, backend=backend)
        assert (fit.loss, fit.stderr, fit.pvalue, fit.rvalue) == (0.0, 0.0, 0.0, 1.0)
        # The time stamps are no floats, and yet the line meets the points there.
        np.testing.assert_allclose(fit.predict(x), y, rtol=1e-13)
        low, high = fit.prediction_band(x)
        np.testing.assert_allclose([low, high], [y, y], rtol=1e-13)


def test_perfect_lines_with_points_near_zero_and_far_from_the_rest(backend: Any) -> None:
    """Points whose distance from the center is no float."""
    rng = np.random.default_rng(4)
    x = np.round(rng.normal(100.0, 1.0, size=500) * 2**40) / 2**40
    x[:5] = np.round(rng.random(5) / 8 * 2**50) / 2**50
    fit = ff.fit_line(x, 3 * x, backend=backend)
    assert (fit.slope, fit.loss, fit.stderr) == (3.0, 0.0, 0.0)
    assert abs(fit.intercept) < 1e-28  # a unit of the last of 106 bits, beside 300


@pytest.mark.parametrize("noise", [1e-3, 0.0])
def test_fill_values_that_are_left_out_cost_no_digits(noise: float, backend: Any) -> None:
    y = 2 * U + 1 + noise * NOISE
    expected = ff.fit_line(U, y, backend=backend)
    x, w = np.r_[U, [9.97e36] * 3], np.r_[np.ones(N), np.zeros(3)]
    fills: list[tuple[float, Any]] = [(np.nan, {"nan_policy": "omit"}), (0.0, {"sample_weight": w})]
    for fill, options in fills:
        fit = ff.fit_line(x, np.r_[y, [fill] * 3], backend=backend, **options)
        assert_agree(fit, expected, slope=0.0, intercept=0.0, loss=1e-14, stderr=1e-14)


def test_moments_say_that_they_do_not_resolve_residuals(backend: Any) -> None:
    for size, known in ((1e-3, True), (1e-6, True), (3e-13, False)):
        y = 3 * U + 1 + size * NOISE
        fit, direct = ff.Moments.of(U, y, backend=backend).fit(), ff.fit_line(U, y)
        assert (fit.slope, fit.intercept) == (direct.slope, direct.intercept)
        if known:
            assert fit.stderr == pytest.approx(direct.stderr, rel=1e-9)
        else:
            assert np.isnan([fit.stderr, fit.pvalue]).all()
            assert "Moments cannot resolve residuals this small" in fit.message
    whole = np.arange(100.0)
    perfect = ff.Moments.of(whole, 2 * whole + 1, backend=backend).fit()
    assert (perfect.loss, perfect.stderr) == (0.0, 0.0)


def test_a_line_through_the_origin_knows_small_x_beside_large(backend: Any) -> None:
    """A shift to where the large ones lie would cost the small ones their digits."""
    x, y = np.array([2.3190875e-07, 862556.623, -2.20381291]), np.array([4.0, 0.0, 3.0])
    for w in (None, [3.3e57, 8.7e59, 7.5e49], [1.0, 1e3, 1.0]):
        pairs = list(zip(np.ones(3) if w is None else w, x, y, strict=True))
        xy = sum(Fraction(k) * Fraction(a) * Fraction(b) for k, a, b in pairs)
        xx = sum(Fraction(k) * Fraction(a) ** 2 for k, a, _ in pairs)
        fit = ff.fit_line(x, y, sample_weight=w, fit_intercept=False, backend=backend)
        assert fit.slope == pytest.approx(float(xy / xx), rel=1e-14)


@pytest.mark.parametrize("solver", ["exact", "gradient_descent"])
def test_equal_points_through_the_origin(solver: str, backend: Any) -> None:
    """Whose spread about a mean of theirs is rounding, of either sign."""
    options: Any = {"fit_intercept": False, "solver": solver, "backend": backend}
    for x, y in ((0.1, 0.3), (0.7, 0.1), (1e-3, 1e3)):
        fit = ff.fit_line(np.full(30, x), np.full(30, y), **options)
        assert fit.slope == pytest.approx(y / x, rel=1e-15)
        # A descent ends within its tolerance.
        assert fit.loss <= (1e-15 if solver == "exact" else 1e-10) ** 2 * y * y
