"""The descent: where it starts, how it steps, and every way it ends."""

from __future__ import annotations

import itertools
import math
import re
import warnings
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastfit as ff
from fastfit import GradientDescent, Status
from tests import oracle
from tests.conftest import COMPILED, DATA, needs_compiler
from tests.oracle import assert_agree


@pytest.fixture
def cloud(rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.normal(3.0, 2.0, size=500)
    return x, 0.7 * x - 2.0 + rng.normal(size=500)


def recorded(cloud: Any, fit_intercept: bool = True, **options: Any) -> ff.History:
    """Return every state of a descent."""
    solver = GradientDescent(record_every=1, **options)
    history = ff.fit_line(*cloud, solver=solver, fit_intercept=fit_intercept).history
    assert history is not None
    return history


def test_default_descent_on_the_flights(backend: Any) -> None:
    pl = pytest.importorskip("polars")
    if backend == "numba" and not COMPILED:
        pytest.skip("a third of a million points in the interpreter")
    table = pl.read_parquet(DATA / "flights.parquet").select("distance", "air_time").drop_nulls()
    fit = ff.fit_line(*table.get_columns(), solver="gradient_descent", backend=backend)
    assert fit.n_points == 327_346
    assert fit.n_iter <= 10
    # Exact rational arithmetic over the complete rows.
    assert fit.slope == pytest.approx(0.12611932467386064, rel=1e-13)
    assert fit.intercept == pytest.approx(18.466578127760407, rel=1e-12)
    assert fit.loss == pytest.approx(163.37750574461657, rel=1e-13)


@settings(max_examples=60, deadline=None)
@given(
    x=st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30, unique=True),
    slope=st.floats(-10, 10),
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0.0, 1e6, -1e12]),
)
def test_default_descent_finds_the_exact_line(
    x: list[float], slope: float, seed: int, offset: float
) -> None:
    values = np.array(x) + offset
    assume(np.ptp(values) > 1e-3)
    y = slope * (values - offset) + np.random.default_rng(seed).normal(size=values.size)
    exact = oracle.least_squares(values, y)
    fit = ff.fit_line(values, y, solver="gradient_descent")
    # tol bounds the error of the slope by 1e-10 of the ratio of the spreads.
    assert abs(fit.slope - exact.slope) <= 1e-9 * np.std(y) / np.std(values)
    assert fit.loss == pytest.approx(exact.loss, rel=1e-9, abs=1e-18 * float(np.var(y)))
    assert fit.converged


@pytest.mark.parametrize("learning_rate", ["auto", 0.05, 0.4])
@pytest.mark.parametrize("standardize", [True, False])
def test_rescaling_and_shifting_do_not_change_the_number_of_steps(
    cloud: Any, learning_rate: Any, standardize: bool
) -> None:
    """In raw coordinates the descent itself depends on x; there, y alone is changed, and the start with it."""
    counts = set()
    of_x = (
        [(1.0, 0.0), (1e6, 0.0), (1e-9, 0.0), (1.0, 1e6), (1e3, -1e9)] if standardize else [(1, 0)]
    )
    of_y = [(1.0, 0.0), (1e5, 0.0), (1e-7, 0.0), (1.0, 1e6), (1e-3, 1e4)]
    for x_unit, y_unit in itertools.product(of_x, of_y):
        options: Any = (
            {"learning_rate": learning_rate} if standardize else {"init": (0.0, y_unit[1])}
        )
        solver = GradientDescent(standardize=standardize, max_iter=100_000, **options)
        x, y = (a * values + b for values, (a, b) in zip(cloud, (x_unit, y_unit), strict=True))
        fit = ff.fit_line(x, y, solver=solver)
        assert fit.converged
        counts.add(fit.n_iter)
    assert len(counts) == 1, counts


def test_automatic_step_never_lets_the_loss_rise(cloud: Any) -> None:
    for standardize in (True, False):
        loss = recorded(cloud, standardize=standardize, max_iter=3000, tol=1e-12).loss
        # Near the minimum the loss is flat, and rounding shows: a few ulp.
        assert (np.diff(loss) <= 1e-14 * loss[1:]).all()


def test_gradient_in_history_is_the_derivative_of_its_loss(cloud: Any) -> None:
    x, y = cloud
    history = recorded(cloud, learning_rate=0.2)
    for i in range(5):
        residual = y - (history.slope[i] * x + history.intercept[i])
        assert history.loss[i] == pytest.approx(np.mean(residual**2), rel=1e-12)
        assert history.grad_slope[i] == pytest.approx(np.mean(-2 * residual * x), rel=1e-10)
        level = np.mean(-2 * residual)
        assert history.grad_intercept[i] == pytest.approx(level, rel=1e-10, abs=1e-10)


def test_init_none_is_zero_on_the_axes_of_the_descent(cloud: Any) -> None:
    standard, raw = recorded(cloud), recorded(cloud, standardize=False)
    assert (standard.slope[0], standard.intercept[0]) == (0.0, pytest.approx(cloud[1].mean()))
    assert (raw.slope[0], raw.intercept[0]) == (0.0, pytest.approx(0.0, abs=1e-15))


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("init", [(-2.0, 1.0), [3, 4], np.array([0.5, -0.5])])
def test_init_is_in_the_callers_coordinates(cloud: Any, standardize: bool, init: Any) -> None:
    history = recorded(cloud, init=init, standardize=standardize)
    assert (history.slope[0], history.intercept[0]) == pytest.approx(tuple(init), rel=1e-13)


def test_descents_compare_by_their_options() -> None:
    one, other = GradientDescent(init=[1, 2]), GradientDescent(init=np.array([1.0, 2.0]))
    assert one == other
    assert hash(one) == hash(other)
    assert one != GradientDescent(init=(1.0, 2.0), tol=0.1)


def test_random_init_follows_its_rng(cloud: Any) -> None:
    def start(rng: Any) -> Any:
        history = recorded(cloud, init="random", rng=rng, standardize=False)
        return history.slope[0], history.intercept[0]

    expected = np.random.default_rng(3).standard_normal(2)
    assert start(3) == pytest.approx(tuple(expected), rel=1e-13)
    assert start(np.random.default_rng(3)) == start(3)
    assert start(4) != start(3)
    assert start(None) != start(None)


def test_converged(cloud: Any) -> None:
    for solver, n_passes in (("gradient_descent", 1), (GradientDescent(passes="samples"), 3)):
        fit = ff.fit_line(*cloud, solver=solver)
        assert (fit.status, fit.converged) == (Status.CONVERGED, True)
        assert (fit.n_iter, fit.n_passes, fit.history) == (1, n_passes, None)
    assert ff.fit_line(*cloud, solver=GradientDescent(learning_rate=0.5)).n_iter == 1


def test_max_iter(cloud: Any) -> None:
    with pytest.warns(ff.ConvergenceWarning, match="max_iter") as caught:
        fit = ff.fit_line(*cloud, solver=GradientDescent(learning_rate=0.001, max_iter=7))
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the caller's line, not one of ours
    assert (fit.status, fit.converged, fit.n_iter) == (Status.MAX_ITER, False, 7)
    assert fit.message == str(caught[0].message)
    assert fit.message.startswith(Status.MAX_ITER.value)
    assert fit.message.endswith("Pass learning_rate='auto' (1 step).")


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("excess", [1.00001, 1.001, 1.5, 1e3, 1e200])
def test_a_descent_that_grows_is_stopped(cloud: Any, standardize: bool, excess: float) -> None:
    x, y = cloud
    if standardize:
        largest = 1.0
    else:
        matrix = [[np.mean(2 * x * x), np.mean(2 * x)], [np.mean(2 * x), 2.0]]
        largest = 2.0 / np.linalg.eigvalsh(matrix)[-1]
    options: Any = {"standardize": standardize, "init": (5.0, 5.0), "record_every": 1}
    with pytest.warns(ff.ConvergenceWarning, match="learning_rate must be below"):
        fit = ff.fit_line(x, y, solver=GradientDescent(learning_rate=excess * largest, **options))
    assert (fit.status, fit.converged) == (Status.DIVERGED, False)
    advice = r"learning_rate must be below (\S+) for these data; half of it needs"
    named = re.search(advice, fit.message)
    assert named is not None
    assert float(named[1]) == pytest.approx(largest, rel=1e-5)  # it prints six digits
    # At first other directions may still fall faster than the steepest one grows.
    assert fit.n_iter < (60 if excess > 1.4 or standardize else 6000)
    assert fit.history is not None
    assert fit.loss == pytest.approx(np.nanmin(fit.history.loss), rel=1e-12)
    assert math.isfinite(fit.slope + fit.intercept)
    # And what the message advises works.
    options |= {"learning_rate": 0.98 * float(named[1]), "max_iter": 100_000}
    assert ff.fit_line(x, y, solver=GradientDescent(**options)).converged


def test_a_stable_descent_on_a_perfect_line_is_not_taken_for_a_diverging_one() -> None:
    """The loss falls to nothing but rounding, and rounding rises and falls."""
    x = np.linspace(0.1, 0.9, 50)
    with pytest.warns(ff.ConvergenceWarning, match="max_iter"):
        fit = ff.fit_line(x, 3 * x + 2, solver=GradientDescent(tol=0, max_iter=300))
    assert (fit.status, fit.n_iter) == (Status.MAX_ITER, 300)
    assert fit.slope == pytest.approx(3.0, rel=1e-14)


def test_stalled(cloud: Any) -> None:
    with pytest.warns(ff.ConvergenceWarning, match="Stalled"):
        fit = ff.fit_line(*cloud, solver=GradientDescent(init=(5.0, 5.0), learning_rate=1e-30))
    assert (fit.status, fit.n_iter) == (Status.STALLED, 0)


def test_callback_sees_every_state_and_may_stop(cloud: Any) -> None:
    seen: list[ff.Iterate] = []

    def until_five(state: ff.Iterate) -> bool:
        seen.append(state)
        return state.iteration == 5

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who stops a fit needs no warning that it stopped
        fit = ff.fit_line(*cloud, solver=GradientDescent(learning_rate=0.1, callback=until_five))
    assert (fit.status, fit.converged) == (Status.STOPPED, False)
    assert [state.iteration for state in seen] == [1, 2, 3, 4, 5]
    assert_agree(fit, seen[-1], slope=1e-14, intercept=1e-14, loss=1e-14)


def test_callback_may_stop_by_an_exception_and_other_exceptions_pass(cloud: Any) -> None:
    stop, fail = (GradientDescent(callback=Mock(side_effect=e)) for e in (StopIteration, KeyError))
    assert ff.fit_line(*cloud, solver=stop).n_iter == 1
    with pytest.raises(KeyError):
        ff.fit_line(*cloud, solver=fail)


@pytest.mark.parametrize(("every", "expected"), [(1, 13), (5, 4), (6, 3), (100, 2)])
def test_record_every_and_the_last(cloud: Any, every: int, expected: int) -> None:
    solver = GradientDescent(learning_rate=0.01, max_iter=12, record_every=every)
    with pytest.warns(ff.ConvergenceWarning):
        fit = ff.fit_line(*cloud, solver=solver)
    history = fit.history
    assert history is not None
    assert len(history) == expected
    assert {getattr(history, name).shape for name in ff.Iterate._fields} == {(expected,)}
    assert (history.iteration[0], history.iteration[-1]) == (0, 12)
    last = history.slope[-1], history.intercept[-1], history.loss[-1]
    assert last == pytest.approx((fit.slope, fit.intercept, fit.loss), rel=1e-14)
    assert (history.iteration[1:-1] % every == 0).all()


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_descent_on_moments_has_the_states_of_one_on_samples(
    cloud: Any, backend: Any, standardize: bool, fit_intercept: bool, weighted: bool
) -> None:
    w = np.random.default_rng(8).random(500) if weighted else None
    common: Any = {"sample_weight": w, "fit_intercept": fit_intercept, "backend": backend}
    options: Any = {"init": (5.0, -3.0 * fit_intercept), "standardize": standardize}
    options |= {"learning_rate": 0.3 if standardize else 0.02, "tol": 0, "record_every": 1}
    fits = {}
    for passes in ("samples", "moments", "auto"):
        solver = GradientDescent(passes=passes, max_iter=40, **options)
        with pytest.warns(ff.ConvergenceWarning):
            fits[passes] = ff.fit_line(*cloud, solver=solver, **common)
    assert fits["samples"].n_passes == 42  # one for the moments, and one for each state
    assert fits["moments"].n_passes == fits["auto"].n_passes == 1
    assert fits["auto"].to_dict() == fits["moments"].to_dict()
    one, other = fits["samples"].history, fits["moments"].history
    assert one is not None
    assert other is not None
    for name in ff.Iterate._fields:
        # Each state is the same map of the one before; 40 maps, each rounded at some 1e-16 of the largest.
        expected = getattr(one, name)
        largest = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(getattr(other, name), expected, rtol=0, atol=1e-13 * largest)


def test_descent_through_the_origin(cloud: Any, backend: Any) -> None:
    x, y = cloud
    exact = float(x @ y / (x @ x))
    for options in ({}, {"standardize": False}, {"learning_rate": 0.1, "init": (4.0, 0.0)}):
        for passes in ("samples", "moments"):
            solver = GradientDescent(passes=passes, **options)
            fit = ff.fit_line(x, y, fit_intercept=False, solver=solver, backend=backend)
            assert fit.converged
            assert fit.slope == pytest.approx(exact, rel=1e-9)
            assert fit.intercept == 0.0
    random = recorded(cloud, fit_intercept=False, init="random", rng=1, standardize=False)
    assert (random.intercept == 0.0).all()
    with pytest.raises(ValueError, match="intercept of init must be 0 with fit_intercept=False"):
        ff.fit_line(x, y, fit_intercept=False, solver=GradientDescent(init=(1.0, 2.0)))
    with pytest.warns(ff.ConvergenceWarning, match="learning_rate must be below 1 for these"):
        ff.fit_line(x, y, fit_intercept=False, solver=GradientDescent(learning_rate=1.5))


def test_samples_and_moments_need_what_they_read(cloud: Any) -> None:
    moments = ff.Moments.of(*cloud)
    fit = ff.fit_line(moments, solver="gradient_descent")
    assert (fit.n_passes, fit.converged) == (0, True)
    with pytest.raises(ValueError, match="passes='samples' needs points to read"):
        ff.fit_line(moments, solver=GradientDescent(passes="samples"))


@pytest.mark.parametrize("passes", ["samples", "moments"])
def test_loss_of_a_descent_that_meets_the_points(passes: str, backend: Any) -> None:
    """Moments do not resolve such a loss: the points are read once more for it."""
    x = np.linspace(0.1, 0.9, 50)
    y = 3.0 * x + 2.0 + 1e-9 * np.random.default_rng(1).normal(size=50)
    fit = ff.fit_line(x, y, solver=GradientDescent(passes=passes, tol=1e-15), backend=backend)
    residual = y.astype(np.longdouble) - (np.longdouble(fit.slope) * x + fit.intercept)
    # The intercept is a float, which moves residuals by 1e-16 of 1e-9.
    assert fit.loss == pytest.approx(float((residual**2).mean()), rel=1e-6)
    assert fit.n_passes == (2 if passes == "moments" else 2 + fit.n_iter)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"init": (1.0, 2.0, 3.0)}, ValueError, r"init must be a pair .* got \(1.0, 2.0, 3.0\)"),
        ({"init": "zero"}, TypeError, "init must be a pair .* got 'zero'"),
        ({"init": 3.0}, TypeError, "init must be a pair .* got 3.0"),
        ({"init": (math.nan, 0.0)}, ValueError, "init must be a pair of finite numbers"),
        ({"init": ("a", 0.0)}, TypeError, "init must be a pair of finite numbers"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be 'auto' or a .* above 0; got"),
        ({"learning_rate": -1}, ValueError, "learning_rate must be .* got -1"),
        ({"learning_rate": math.inf}, ValueError, "learning_rate must be .* got inf"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be .* got str 'fast'"),
        ({"learning_rate": True}, TypeError, "learning_rate must be .* got bool True"),
        ({"standardize": "no"}, TypeError, "standardize must be True or False; got 'no'"),
        ({"max_iter": 0}, ValueError, "max_iter must be an integer of at least 1; got 0"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an integer of at least 1; got float 2.5"),
        ({"tol": -1e-9}, ValueError, "tol must be a finite number of at least 0; got -1e-09"),
        ({"tol": math.nan}, ValueError, "tol must be .* got nan"),
        ({"tol": None}, TypeError, "tol must be .* got NoneType None"),
        ({"record_every": 0.5}, TypeError, "record_every must be an integer of at least 1; got"),
        ({"record_every": 0}, ValueError, "record_every must be an integer of at least 1; got 0"),
        ({"rng": 3}, ValueError, "rng must be None unless init is 'random'; got 3"),
        ({"rng": "a", "init": "random"}, TypeError, "rng must be None, an integer .* got 'a'"),
        ({"callback": 3}, TypeError, "callback must be callable or None; got 3"),
        ({"passes": "all"}, ValueError, "passes must be 'auto' or 'samples' or 'moments'; got"),
    ],
)
def test_options_are_checked_when_they_are_given(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    solvers = (GradientDescent, ff.Newton)
    for solver in solvers if set(options) <= vars(ff.Newton()).keys() else solvers[:1]:
        with pytest.raises(error, match=message):
            solver(**options)


def test_an_overflowing_start_is_an_error(cloud: Any) -> None:
    with pytest.raises(ValueError, match="the loss of the first line overflows .*init"):
        ff.fit_line(*cloud, solver=GradientDescent(init=(1e200, 0.0)))


def foretold_over_taken(seed: int, most: float) -> float:
    """Return the ratio for a descent of 100 to some number of steps, evenly spread by their logarithm."""
    rng = np.random.default_rng(seed)
    n_steps, n = 10 ** rng.uniform(2, math.log10(most)), int(10 ** rng.uniform(1.5, 3.5))
    x = rng.normal(size=n)
    noises = rng.normal(size=n), rng.standard_t(3, size=n), rng.exponential(1, size=n)
    y = rng.normal() * x + rng.normal() + noises[seed // 3 % 3]
    options: dict[str, Any] = {"learning_rate": 12.0 / n_steps}
    if seed % 2:  # the mean of x makes the caller's coordinates slow: by its fourth power
        x, options = x + (n_steps / 20) ** 0.25, {"standardize": False}
    loss = (ff.SquaredError(), ff.Huber(1.5), ff.SoftL1(1.0))[seed % 3]
    full = ff.fit_line(x, y, loss=loss, solver=GradientDescent(max_iter=10**7, **options))
    assert full.converged
    part = max(1, int(full.n_iter * rng.uniform(0.01, 0.6)))
    with pytest.warns(ff.ConvergenceWarning):
        fit = ff.fit_line(x, y, loss=loss, solver=GradientDescent(max_iter=part, **options))
    told = re.search(r"about ([\d,.e+]+) more steps are needed", fit.message)
    assert told is not None, fit.message
    return float(told[1].replace(",", "")) / (full.n_iter - part)


# The others take thousands of steps, and with the compiler off a step takes a hundredth of a second.
@pytest.mark.parametrize("seed", range(12) if COMPILED else (0, 2, 10))
def test_the_steps_that_are_left_are_foretold(seed: int) -> None:
    assert 0.5 < foretold_over_taken(seed, 2000) < 2.0


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("seeds", [range(1000, 1010), range(1010, 1020)])
def test_up_to_a_million_steps_are_foretold(seeds: range) -> None:
    ratios = [foretold_over_taken(seed, 1e6) for seed in seeds]
    assert 0.5 < min(ratios) <= max(ratios) < 2.0


def test_advice_about_years_is_true() -> None:
    """x far from zero: half of the stable rate takes 10^12 steps on the caller's coordinates, and 1 on others."""
    x = np.arange(1950.0, 2021.0)
    y = 0.02 * x - 30.0 + np.random.default_rng(0).normal(size=x.size)
    with pytest.warns(ff.ConvergenceWarning):
        fit = ff.fit_line(x, y, solver=GradientDescent(standardize=False, learning_rate=0.01))
    assert "learning_rate must be below 2.53765e-07 for these data; half of it" in fit.message
    # (1 + mean(x**2)) / std(x)**2 is how many times flatter the flattest direction is.
    assert "needs about 8.2e+11 steps" in fit.message
    ratio = np.mean(x) / np.std(x)
    assert f"the mean of x is {ratio:.3g} standard deviations from 0" in fit.message
    assert "Pass standardize=True and learning_rate='auto' (1 step" in fit.message
    assert ff.fit_line(x, y, solver=GradientDescent()).n_iter == 1
    rate = (
        1.0 / np.linalg.eigvalsh([[2 * np.mean(x * x), 2 * np.mean(x)], [2 * np.mean(x), 2.0]])[1]
    )
    with pytest.warns(ff.ConvergenceWarning, match="or subtract the mean from x"):
        ff.fit_line(x, y, solver=GradientDescent(standardize=False, learning_rate=rate))
    moved = GradientDescent(standardize=False)
    assert ff.fit_line((x - x.mean()) / x.std(), y, solver=moved).converged
