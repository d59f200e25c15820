"""Robust lines by Newton's method: their minimum, their scale, their cost, and points that are hard on them."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize

import fastfit as ff
from fastfit.losses import MAD_TO_STD
from fastfit.points.moments import MomentPoints
from fastfit.solvers import newton
from fastfit.solvers.scale import ScaleSearch
from tests.conftest import COMPILED, DATA, needs_compiler
from tests.oracle import assert_agree
from tests.test_losses import FORMULAS, ROBUST


def tukey(z: Any) -> Any:
    """Tukey's loss as ``scipy.optimize.least_squares`` takes losses: value and two derivatives in (r / c)**2."""
    left = np.where(z < 1.0, 1.0 - z, 0.0)
    return np.vstack([(1.0 - left**3) / 3.0, left**2, -2.0 * left])


SCIPY: dict[str, Any] = {"huber": "huber", "soft_l1": "soft_l1", "cauchy": "cauchy", "tukey": tukey}


def problem(seed: int) -> tuple[Any, Any, float]:
    """Return points and the scale of their noise: four kinds of noise, outliers up to a quarter, any units."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 300))
    x = rng.normal(size=n) * 10 ** rng.uniform(-2, 2) + rng.choice([0.0, 5.0, -30.0])
    slope, intercept = 3.0 * rng.normal(size=2)
    scale = float(10 ** rng.uniform(-1, 1))
    t2 = functools.partial(rng.standard_t, 2)
    kind: Any = [rng.normal, t2, rng.laplace, rng.standard_cauchy][seed % 4]
    y = slope * x + intercept + scale * kind(size=n)
    n_outliers = int(rng.integers(0, n // 4 + 1))
    y[rng.integers(0, n, size=n_outliers)] += scale * rng.uniform(5, 50)
    return x, y, scale * float(10 ** rng.uniform(-0.7, 0.7))


def heavy(
    seed: int, n: int, slope: float = 2.0, intercept: float = 1.0, dof: float = 2.0
) -> tuple[Any, Any]:
    """Return points about a line with the noise of a t distribution."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, slope * x + intercept + rng.standard_t(dof, size=n)


def mean_loss(name: str, c: float, x: Any, y: Any, slope: float, intercept: float) -> float:
    """Return the mean loss in longdouble, as the formulas have it."""
    if name not in FORMULAS:  # a loss that was added since
        loss = ROBUST[name](c)
        return np.asarray(loss.point(loss, y - slope * x - intercept)[0]).mean()  # type: ignore[no-any-return]
    r = np.longdouble(y) - (np.longdouble(slope) * x + np.longdouble(intercept))
    return FORMULAS[name](r, np.longdouble(c)).mean()  # type: ignore[no-any-return]


def of_scipy(name: str, c: float, x: Any, y: Any) -> Any:
    """Return SciPy's line, its convergence tightened: least_squares as far as it goes, then its gradient's root."""
    center, unit = x.mean(), x.std()
    design = np.column_stack([(x - center) / unit, np.ones_like(x)])
    loss: Any = ROBUST[name](c)
    fixed: Any = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15) | {"max_nfev": 1000}

    def residuals(p: Any) -> Any:
        return design @ p - y

    def jacobian(_: Any) -> Any:
        return design

    def gradient(p: Any) -> Any:
        return loss.point(loss, residuals(p))[1] @ design / x.size

    start: Any = np.polyfit(design[:, 0], y, 1)
    found = optimize.least_squares(residuals, start, jacobian, loss=SCIPY[name], f_scale=c, **fixed)
    root = optimize.root(gradient, found.x, tol=1e-15)
    # The root may be a saddle or further off, where the start was not close enough.
    p = root.x if np.abs(root.x - found.x).max() < 1e-4 * c else found.x
    return np.array([p[0] / unit, p[1] - p[0] / unit * center])


@pytest.mark.parametrize("seeds", [range(30), pytest.param(range(200), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SCIPY)
def test_the_minimum_is_that_of_scipy(name: str, seeds: range) -> None:
    same = 0
    for seed in seeds:
        x, y, c = problem(seed)
        c *= ROBUST[name].tuning / 1.345
        fit = ff.fit_line(x, y, loss=ROBUST[name](c))
        assert fit.converged, seed
        slope, intercept = of_scipy(name, c, x, y)
        ours = mean_loss(name, c, x, y, fit.slope, fit.intercept)
        theirs = mean_loss(name, c, x, y, slope, intercept)
        assert ours <= theirs * (1 + 1e-12), seed
        assert fit.loss == pytest.approx(float(ours), rel=1e-11)
        if ours < theirs * (1 - 1e-9):  # another, lower minimum of a loss that is not convex
            assert not ROBUST[name].is_convex, seed
            continue
        same += 1
        # Relative to the scale that lines are told apart by; a slope near 0 has no digits of its own.
        assert abs(fit.slope - slope) <= 1e-7 * max(abs(slope), c / x.std()), seed
        level, there = intercept + slope * x.mean(), fit.intercept + fit.slope * x.mean()
        assert abs(there - level) <= 1e-7 * max(abs(level), c), seed
    assert same >= (150 if len(seeds) == 200 else 20)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(k, marks=pytest.mark.slow) if COMPILED and k in ("soft_l1", "cauchy") else k
        for k in SCIPY
    ],
)
def test_flights(name: str) -> None:
    delays = pytest.importorskip("polars").read_parquet(DATA / "flights.parquet")
    delays = delays.select("dep_delay", "arr_delay").drop_nulls().cast(float)
    x, y = (delays[name].to_numpy() for name in delays.columns)
    if not COMPILED:
        x, y = x[::100], y[::100]
    c = 10.0 * ROBUST[name].tuning
    # On one thread, for which other tests compile as well.
    fit = ff.fit_line(x, y, loss=ROBUST[name](c), n_threads=1)
    slope, intercept = of_scipy(name, c, x, y)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept), rel=1e-7)
    ours = mean_loss(name, c, x, y, fit.slope, fit.intercept)
    assert ours <= mean_loss(name, c, x, y, slope, intercept) * (1 + 1e-12)
    # Minutes are whole numbers, and the scale of their residuals jumps: it is still that of the line.
    own = ff.fit_line(x, y, loss=name, n_threads=1)
    mad = MAD_TO_STD * float(np.median(np.abs(y - own.predict(x))))
    assert own.f_scale == pytest.approx(ROBUST[name].tuning * mad, rel=2e-5)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seeds", [range(5), pytest.param(range(5, 20), marks=pytest.mark.slow)])
def test_mad_is_that_of_the_line_found(
    name: str, weighted: bool, seeds: range, backend: Any
) -> None:
    for seed in seeds:
        x, y, _ = problem(seed)
        rng = np.random.default_rng(seed)
        w = np.r_[1, 1, 1, rng.integers(0, 3, size=x.size - 3)] if weighted else None
        fit = ff.fit_line(x, y, loss=name, sample_weight=w, backend=backend)
        assert fit.converged
        r = np.abs(y - fit.slope * x - fit.intercept)
        mad = MAD_TO_STD * np.median(r if w is None else np.repeat(r, w))
        assert fit.f_scale == pytest.approx(ROBUST[name].tuning * mad, rel=2e-8), seed
        again = ff.fit_line(x, y, loss=ROBUST[name](fit.f_scale), sample_weight=w, backend=backend)
        if ROBUST[name].is_convex:
            # A gradient of 1e-10 of f_scale, in units of x, where few points may be bent most.
            assert abs(again.slope - fit.slope) <= 2e-9 * (fit.f_scale or 0.0) / x.std()
            assert_agree(again, fit, loss=1e-11)


@pytest.mark.parametrize("name", ROBUST)
def test_laws_of_units_order_and_repetition(name: str, rng: np.random.Generator) -> None:
    x, y = heavy(8, 400)
    fit = ff.fit_line(x, y, loss=name)
    shifted = ff.fit_line(1e6 + x, 4.0 * y - 1e5, loss=name)
    # Shifts by 1e6 round x to 1e-10.
    assert shifted.slope == pytest.approx(4 * fit.slope, rel=1e-9)
    assert shifted.f_scale == pytest.approx(4 * (fit.f_scale or 0.0), rel=1e-7)
    exact = ff.fit_line(2.0**40 * x, 2.0**-300 * y, loss=name)
    found = (2.0**340 * exact.slope, 2.0**300 * (exact.f_scale or 0.0), 2.0**600 * exact.loss)
    assert found == pytest.approx((fit.slope, fit.f_scale, fit.loss), rel=1e-12)
    order = rng.permutation(400)
    assert_agree(ff.fit_line(x[order], y[order], loss=name), fit, slope=1e-9)
    w = rng.integers(0, 4, size=400)
    weighted = ff.fit_line(x, y, loss=name, sample_weight=w)
    repeated = ff.fit_line(np.repeat(x, w), np.repeat(y, w), loss=name)
    assert_agree(weighted, repeated, slope=1e-9, stderr=1e-6, loss=1e-6)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("solver", ["newton", "gradient_descent"])
def test_both_solvers_and_backends_agree(name: str, solver: str, backend: Any) -> None:
    x, y = heavy(9, 300)
    reference = ff.fit_line(5 + 3 * x, y, loss=name)
    fit = ff.fit_line(5 + 3 * x, y, loss=name, solver=solver, backend=backend)
    assert fit.converged
    assert_agree(fit, reference, slope=1e-8, intercept=1e-8, loss=1e-9, stderr=1e-6, f_scale=1e-9)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("offset", [5.0, 1e3])
def test_without_intercept(name: str, offset: float, backend: Any) -> None:
    x, y = heavy(10, 300, slope=6.0, intercept=10.0)
    x = 3 * x + offset
    fit = ff.fit_line(x, y, loss=ROBUST[name](2.0), fit_intercept=False, backend=backend)
    assert (fit.intercept, fit.intercept_stderr) == (0.0, 0.0)
    step = 1e-5 * abs(fit.slope)
    losses = [mean_loss(name, 2.0, x, y, fit.slope + k * step, 0.0) for k in (-1, 0, 1)]
    assert losses[1] == min(losses)
    assert fit.loss == pytest.approx(float(losses[1]), rel=1e-12)


@pytest.mark.parametrize("name", ROBUST)
def test_the_loss_never_rises(name: str) -> None:
    for seed in range(40 if COMPILED else 4):
        x, y, c = problem(seed)
        fit = ff.fit_line(x, y, loss=ROBUST[name](0.1 * c), solver=ff.Newton(record_every=1))
        assert fit.history is not None
        assert len(fit.history) == fit.n_iter + 1
        # Residuals are rounded to some ulp of y.
        assert (np.diff(fit.history.loss) <= 1e-12 * fit.history.loss[1:]).all()
        assert fit.history.slope[-1] == pytest.approx(fit.slope, rel=1e-12)


# Each loss has loops of its own for threads.
@needs_compiler
@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=pytest.mark.slow) if k != "huber" else k for k in ROBUST]
)
def test_few_passes_over_many_points(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 1_000_000
    x, y = heavy(11, n, slope=0.5, dof=3.0)
    assert ff.fit_line(x, y, loss=ROBUST[name](ROBUST[name].tuning)).n_passes <= 4
    own = ff.fit_line(x, y, loss=name)
    # One more where the part of the points misjudges the scale by three standard deviations.
    assert own.n_passes <= 7
    assert abs(own.slope - 0.5) < 5 * own.stderr
    # A start from a part of the points only saves passes.
    monkeypatch.setattr(newton, "SUBSAMPLE_MAX", 2 * n)
    whole = ff.fit_line(x, y, loss=name)
    assert whole.slope == pytest.approx(own.slope, abs=1e-6 * own.stderr / 1e-3)
    assert whole.f_scale == pytest.approx(own.f_scale, rel=2e-5)


@needs_compiler
@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("step", [newton.SUBSAMPLE_SHARE, newton.SUBSAMPLE_SHARE + 1, 7])
def test_points_of_other_kinds_in_turns(name: str, step: int) -> None:
    """A stride would see one kind: the part that a fit starts with sees all."""
    rng = np.random.default_rng(12)
    n = 2 * newton.SUBSAMPLE_MAX
    x = rng.random(n)
    y = 2 * x + 1 + 0.1 * rng.normal(size=n)
    y[::step] = 50.0 - 20.0 * x[::step]
    loss = ROBUST[name](0.1 * ROBUST[name].tuning)
    fit = ff.fit_line(x, y, loss=loss)
    order = rng.permutation(n)
    assert_agree(fit, ff.fit_line(x[order], y[order], loss=loss), loss=1e-9, slope=1e-7)
    assert abs(fit.slope - 2.0) < 1.5


@needs_compiler
def test_the_part_that_a_fit_starts_with_may_have_a_single_x(rng: np.random.Generator) -> None:
    n = 200_000
    x = np.where(np.arange(n) % 90_001 == 3, 1.0, 0.25)
    y = 0.5 * x + 1 + rng.standard_t(3, size=n)
    assert ff.fit_line(x, y, loss="huber", solver=ff.Newton()).converged
    y[::100] = np.nan
    omitted = ff.fit_line(x, y, loss="huber", nan_policy="omit")
    known = ~np.isnan(y)
    assert omitted.slope == ff.fit_line(x[known], y[known], loss="huber").slope


def test_gross_outliers_to_one_side_do_not_move_a_tukey_line() -> None:
    rng = np.random.default_rng(13)
    n = 100_000 if COMPILED else 2_000
    x, noise = rng.normal(size=(2, n))
    y = 2 * x + 1 + noise
    clean = ff.fit_line(x, y)
    y += np.where(rng.random(n) < 0.3, 50.0 + 10.0 * rng.random(n), 0.0)
    assert abs(ff.fit_line(x, y).intercept - 1.0) > 100 * clean.intercept_stderr
    fit = ff.fit_line(x, y, loss="tukey")
    assert abs(fit.slope - 2.0) < 3 * clean.stderr
    assert abs(fit.intercept - 1.0) < 3 * clean.intercept_stderr


@needs_compiler
@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("mad", [False, True])
def test_threads_do_not_change_a_bit(name: str, mad: bool) -> None:
    x, y = heavy(14, 150_000, slope=0.5, dof=3.0)
    loss = ROBUST[name]() if mad else ROBUST[name](1.5)
    fits = [ff.fit_line(x, y, loss=loss, n_threads=k).to_dict() for k in (1, 2, 3, 8)]
    assert all(fit == fits[0] for fit in fits)


# Points that are hard on robust fits


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2.0], [3.0, 5.0]),
        (np.arange(20.0), 2 * np.arange(20.0) + 1),
        (np.arange(20.0) / 3, np.arange(20.0) / 3 * 0.7 + 1.1),
        (np.arange(20.0), np.full(20, 5.1)),
        (1e12 + np.arange(20.0), 1e12 + 3 * np.arange(20.0)),
    ],
    ids=["two points", "perfect", "perfect but for rounding", "constant y", "offset"],
)
def test_no_spread(name: str, x: Any, y: Any, backend: Any) -> None:
    expected = ff.fit_line(x, y)
    for loss in (ROBUST[name](), ROBUST[name](0.5)):
        for solver in ("newton", "gradient_descent"):
            fit = ff.fit_line(x, y, loss=loss, solver=solver, backend=backend)
            assert fit.converged
            assert fit.slope == pytest.approx(expected.slope, rel=1e-10, abs=1e-12)
            assert fit.f_scale == (0.0 if loss.f_scale == "mad" else 0.5)
            assert fit.loss == pytest.approx(0.0, abs=1e-18)
            assert math.isnan(fit.stderr) if len(x) == 2 else fit.stderr < 1e-9
    message = ff.fit_line(x, y, loss=name).message
    assert "The line of least squares meets every point to rounding." in message


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("solver", ["newton", "gradient_descent"])
@pytest.mark.parametrize(
    ("slope", "intercept", "every"), [(2.0, 1.0, 3), (0.0, 5.0, 30), (0.0, 0.0, 5)]
)
def test_more_than_half_of_the_points_on_a_line(
    name: str, slope: float, intercept: float, every: int, solver: str, rng: np.random.Generator
) -> None:
    x = np.arange(30.0)
    y = slope * x + intercept
    y[3::every] += 10 * rng.normal(size=y[3::every].size)
    fit = ff.fit_line(x, y, loss=name, solver=solver)
    assert fit.converged
    assert (fit.f_scale, fit.loss) == (0.0, 0.0)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept), rel=0, abs=1e-12)
    assert math.isnan(fit.stderr)
    assert "More than half of the points lie on this line to rounding" in fit.message


@pytest.mark.parametrize("name", ROBUST)
def test_more_than_half_of_the_points_are_one(name: str) -> None:
    rng = np.random.default_rng(16)
    x, y = (np.r_[np.full(30, value), rng.normal(size=20)] for value in (3.0, 7.0))
    fit = ff.fit_line(x, y, loss=name)
    assert fit.predict(3.0) == pytest.approx(7.0, rel=1e-12)
    assert fit.f_scale == 0.0
    # Through that point, the line with the least absolute residuals.
    steepness = np.linspace(fit.slope - 1, fit.slope + 1, 2001)
    absolute = np.abs(y - 7.0 - steepness[:, None] * (x - 3.0)).sum(axis=1)
    best = np.abs(y - 7.0 - fit.slope * (x - 3.0)).sum()
    assert best <= absolute.min() * (1 + 1e-9)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("far", [1e12, 1e100, -1e130])
def test_one_point_far_off(name: str, far: float, backend: Any) -> None:
    x, y = heavy(17, 300 if COMPILED else 60)
    expected = ff.fit_line(x[1:], y[1:], loss=name)
    y[0] = far
    fit = ff.fit_line(x, y, loss=name, backend=backend)
    assert fit.converged
    assert fit.slope == pytest.approx(expected.slope, abs=expected.stderr)
    assert fit.intercept == pytest.approx(expected.intercept, abs=expected.intercept_stderr)
    y[0] = 1e160
    with pytest.raises(ValueError, match="y holds values too far apart for float64; leave"):
        ff.fit_line(x, y, loss=name, backend=backend)


@pytest.mark.parametrize("name", ROBUST)
def test_every_point_an_outlier(name: str) -> None:
    rng = np.random.default_rng(18)
    x = np.arange(20.0)
    y = 1e6 * rng.standard_cauchy(size=20)
    fit = ff.fit_line(x, y, loss=ROBUST[name](1e-3))
    assert fit.converged
    assert fit.loss <= mean_loss(name, 1e-3, x, y, *np.polyfit(x, y, 1))


def test_tukey_without_points_is_an_error() -> None:
    x = np.arange(6.0)
    y = np.array([0.0, 100.0, -200.0, 50.0, -70.0, 300.0])
    loss: Any = ff.Tukey(1e-9)
    descent = ff.GradientDescent(init=(1000.0, 1e5))
    with pytest.raises(ValueError, match="f_scale=1e-09, all points .* raise f_scale"):
        ff.fit_line(x, y, loss=loss, solver=descent)


def test_f_scale_out_of_all_proportion() -> None:
    x, y = heavy(19, 50)
    for kind in ROBUST.values():
        fit = ff.fit_line(x, y, loss=kind(1e200))
        assert_agree(fit, ff.fit_line(x, y), slope=1e-14, intercept=1e-14, loss=1e-14)
        assert fit.f_scale == 1e200
        with pytest.raises(ValueError, match="f_scale must be at least 1e-140 of the standard"):
            ff.fit_line(x, y, loss=kind(1e-150))


X, Y = np.arange(10.0), np.arange(10.0) ** 2
NAN_AT_4, INF_AT_4 = (np.where(X == 4, value, Y) for value in (np.nan, np.inf))
MOMENTS = ff.Moments.of(X, Y)


def test_points_with_nan_are_left_out_or_make_the_line_nan() -> None:
    fit = ff.fit_line(X, NAN_AT_4, loss="tukey", nan_policy="omit")
    assert (fit.n_points, fit.n_omitted) == (9, 1)
    assert fit.slope == ff.fit_line(X[X != 4], Y[X != 4], loss="tukey").slope
    assert math.isnan(ff.fit_line(X, NAN_AT_4, loss="huber", nan_policy="propagate").slope)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": NAN_AT_4}, "y must be finite; got NaN at index 4"),
        ({"y": INF_AT_4, "nan_policy": "omit"}, "y must be finite; got infinity at index 4"),
        ({"x": np.ones(10)}, "x must hold at least two different values"),
        ({"sample_weight": -1.0}, "sample_weight must be finite and at least 0"),
        ({"sigma": 1.0}, "sigma must be None unless loss is 'squared_error'"),
        ({"solver": "exact"}, "solver 'exact' needs loss='squared_error'"),
        ({"x": MOMENTS, "y": None}, "loss must be 'squared_error' when x is Moments"),
        ({"solver": ff.GradientDescent(passes="moments")}, "passes='moments' needs loss="),
    ],
)
def test_what_a_robust_fit_cannot_use_is_an_error(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ff.fit_line(**{"x": X, "y": Y, "loss": "huber", **options})


def test_moments_have_no_median_of_residuals() -> None:
    with pytest.raises(TypeError, match="no single residual"):
        MomentPoints(MOMENTS.sums).median_absolute_residual(1.0, 0.0)


# Options


def test_newton_on_squared_error_is_exact() -> None:
    for points in ((X, Y), (MOMENTS,)):
        fit = ff.fit_line(*points, solver="newton")
        assert (fit.slope, fit.intercept) == (9.0, -12.0)
        assert fit.f_scale is None


def test_too_few_steps_and_a_callback_that_stops() -> None:
    x, y, c = problem(3)
    with pytest.warns(ff.ConvergenceWarning, match="Not converged: max_iter"):
        fit = ff.fit_line(x, y, loss=ff.Huber(0.05 * c), solver=ff.Newton(max_iter=1))
    assert (fit.n_iter, fit.status) == (1, ff.Status.MAX_ITER)
    assert math.isnan(fit.stderr)
    seen: list[ff.Iterate] = []

    def stop(state: ff.Iterate) -> bool:
        seen.append(state)
        return len(seen) == 2

    fit = ff.fit_line(x, y, loss=ff.Huber(0.01 * c), solver=ff.Newton(callback=stop))
    assert fit.status is ff.Status.STOPPED
    assert [state.iteration for state in seen] == [1, 2]
    assert seen[-1].slope == pytest.approx(fit.slope, rel=1e-12)


@pytest.mark.parametrize("is_given", [True, False])
def test_with_a_tolerance_of_zero_it_takes_all_steps_and_stays_where_it_is(is_given: bool) -> None:
    x, y, c = problem(4)
    loss = ff.Huber(c if is_given else "mad")
    expected = ff.fit_line(x, y, loss=loss)
    solver = ff.Newton(tol=0, max_iter=9, record_every=2)
    with pytest.warns(ff.ConvergenceWarning):
        fit = ff.fit_line(x, y, loss=loss, solver=solver)
    assert fit.status is ff.Status.MAX_ITER
    assert fit.n_iter == 9 or not is_given
    assert fit.history is not None
    assert (np.diff(fit.history.iteration) > 0).all()
    assert_agree(fit, expected, f_scale=1e-7, slope=1e-9)


# The search for a scale


@pytest.mark.parametrize(
    "own",
    [
        lambda s: 0.5 + 0.3 * s,
        lambda s: 0.5 + 1.5 * math.tanh(s),
        lambda s: 3.0 if s < 2.0 else 1.0,  # none keeps its own
        lambda s: 1.0 + 0.9 * math.sin(7 * s),
        lambda s: 1e-3 + 0.99 * s,
        lambda s: 1e-200 + 0.5 * s,
    ],
)
@pytest.mark.parametrize("first", [1e-6, 1.0, 1e6])
def test_search_for_a_scale_ends(own: Any, first: float) -> None:
    search = ScaleSearch(1e-6)
    scale = first
    for trial in itertools.count():
        assert trial < 400
        found = own(scale)
        if search.is_settled(scale, found):
            break
        scale = search.next(scale, found)
    below, above = own(scale * (1 - 1e-5)), own(scale * (1 + 1e-5))
    # The scale kept, or where what is kept jumps across it.
    assert below >= scale * (1 - 2e-5)
    assert above <= scale * (1 + 2e-5)


# What went wrong once


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("share", [0.55, 0.6, 0.8])
def test_many_zeros(name: str, share: float) -> None:
    for seed in range(30 if COMPILED else 3):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(5, 120))
        x = rng.uniform(0, 10, n)
        y = np.where(rng.random(n) < share, 0.0, rng.exponential(10, n))
        fit = ff.fit_line(x, y, loss=name)
        assert fit.converged
        if n > 60 and np.count_nonzero(y) < 0.2 * n:
            assert (fit.slope, fit.intercept, fit.f_scale) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("every", [1, 10, 1000])
@pytest.mark.parametrize("name", ["huber", "tukey"])
def test_history_has_the_first_and_the_last_state_of_the_final_scale(name: str, every: int) -> None:
    x, y, _ = problem(2)
    seen: list[int] = []
    solver = ff.Newton(record_every=every, callback=lambda state: seen.append(state.iteration))
    fit = ff.fit_line(x, y, loss=name, solver=solver)
    assert fit.history is not None
    assert fit.history.iteration[-1] == fit.n_iter
    assert fit.history.slope[-1] == pytest.approx(fit.slope, rel=1e-12)
    assert fit.history.loss[-1] == pytest.approx(fit.loss, rel=1e-12)
    assert (np.diff(fit.history.loss) <= 1e-12 * fit.history.loss[1:]).all()
    assert seen == sorted(set(seen))
    assert seen[-1] == fit.n_iter


@pytest.mark.parametrize("name", ["huber", "soft_l1"])
@pytest.mark.parametrize("f_scale", [1e-6, 1e-12, 1e-20, 1e-32, 1e-60])
@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_tiny_f_scale_is_least_absolute_residuals_or_an_error(name: str, f_scale: float) -> None:
    x, y = heavy(31, 60)
    try:
        fit = ff.fit_line(x, y, loss=ROBUST[name](f_scale))
    except ValueError as error:
        assert f_scale < 1e-15, error  # noqa: PT017
        assert "too small beside the residuals" in str(error)  # noqa: PT017
        return
    least = min(
        np.abs(y - s * x - (y[i] - s * x[i])).sum()
        for i, j in itertools.combinations(range(60), 2)
        for s in [(y[j] - y[i]) / (x[j] - x[i])]
    )
    assert np.abs(y - fit.predict(x)).sum() <= least * (1 + 1e-2)


def test_two_points_alone_show_no_errors() -> None:
    assert math.isnan(ff.fit_line(*heavy(32, 400), loss=ff.Tukey(1e-6)).stderr)
    three = ff.fit_line([0.0, 1.0, 2.0], [0.0, 1.0, 5.0], loss="huber")
    assert not three.stderr < 1e-3


def test_a_scale_that_shrinks_slowly() -> None:
    y = [95004.73409978919, 4495.715234635271, -8010.01870557617]
    fit = ff.fit_line([2.0, 0.0, 4.0], y, loss="huber", backend="numpy")
    assert fit.converged
    assert (fit.f_scale, fit.loss) == (0.0, 0.0)
    y, w = [5.2, 1004.7, 2004.6, 3005.3], [3.0, 2.0, 2.0, 0.0]
    fit = ff.fit_line([0.0, 1, 2, 3], y, sample_weight=w, loss="huber", backend="numpy")
    assert fit.converged
    assert fit.n_iter < 50


@needs_compiler  # thousands of passes
@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("far", [1e40, 1e60, 1e90, 1e100])
@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_a_given_scale_far_below_outliers(name: str, far: float) -> None:
    x = np.arange(18.0)
    y = x + 5 + 0.1 * np.sin(7 * x)
    y[[9, 12, 14, 16]] = far * np.array([0.04, 1.4, 0.4, 0.8])
    for f_scale in (1e-8, 1.0):
        try:
            fit = ff.fit_line(x, y, loss=ROBUST[name](f_scale))
        except ValueError as error:
            assert "raise" in str(error)  # noqa: PT017
        else:
            assert math.isfinite(fit.slope)
