"""Laws that hold for every fit."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastfit as ff
from fastfit import worked_example
from fastfit.plotting import axes_to_save
from tests.conftest import COMPILED, Script, needs_compiler

clouds = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).normal(size=(2, 5 + seed % 200))
)


@settings(max_examples=40, deadline=None)
@given(
    cloud=clouds,
    x_scale=st.sampled_from([1e-100, 1e-6, -1.0, 3.0, 1e100]),
    y_scale=st.sampled_from([1e-6, -5.0, 1e9]),
)
def test_scaling(cloud: Any, x_scale: float, y_scale: float) -> None:
    x, y = cloud
    one, other = ff.fit_line(x, y), ff.fit_line(x_scale * x, y_scale * y)
    # Scaling by no power of two rounds each point by half an ulp.
    assert other.slope * x_scale / y_scale == pytest.approx(one.slope, rel=1e-12, abs=1e-14)
    assert other.intercept / y_scale == pytest.approx(one.intercept, rel=1e-12, abs=1e-14)
    assert other.loss / y_scale**2 == pytest.approx(one.loss, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(cloud=clouds, x_shift=st.integers(-1000, 1000), y_shift=st.integers(-1000, 1000))
def test_shifting(cloud: Any, x_shift: int, y_shift: int) -> None:
    x, y = cloud
    one, other = ff.fit_line(x, y), ff.fit_line(x + x_shift, y + y_shift)
    # A shift by 1,000 rounds points of order 1 by 1e-13.
    assert other.slope == pytest.approx(one.slope, abs=2e-12)
    expected = one.intercept + y_shift - one.slope * x_shift
    assert other.intercept == pytest.approx(expected, abs=3e-9)
    assert other.loss == pytest.approx(one.loss, abs=1e-11)


@settings(max_examples=20, deadline=None)
@given(cloud=clouds, seed=st.integers(0, 1000))
def test_permuted_and_repeated_points_and_both_backends_give_the_same_line(
    cloud: Any, seed: int
) -> None:
    one, order = ff.fit_line(*cloud), np.random.default_rng(seed).permutation(cloud.shape[1])
    permuted = ff.fit_line(*cloud[:, order])
    twice = ff.fit_line(*np.tile(cloud, 2))
    other = ff.fit_line(*cloud, backend="numpy")
    line = pytest.approx((one.slope, one.intercept), rel=1e-12, abs=1e-14)
    for fit in (permuted, twice, other):
        assert (fit.slope, fit.intercept) == line
    assert twice.loss == pytest.approx(one.loss, rel=1e-12)
    assert (other.n_iter, other.status, other.n_passes) == (one.n_iter, one.status, one.n_passes)


@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, -1e9, 1e300, 1e-300])
def test_constant_y(backend: Any, value: float) -> None:
    fit = ff.fit_line(np.linspace(1, 2, 100), np.full(100, value), backend=backend)
    assert (fit.slope, fit.intercept, fit.loss) == (0.0, value, 0.0)
    assert fit.converged


def test_nan_in_x_or_y_makes_the_line_nan_if_it_is_propagated(backend: Any) -> None:
    x, y = np.array([0.0, 1.0, np.nan, 3.0]), np.array([1.0, 3.0, 5.0, 7.0])
    for a, b in ((x, y), (y, x)):
        fit = ff.fit_line(a, b, nan_policy="propagate", backend=backend)
        assert np.isnan([fit.slope, fit.intercept, fit.loss]).all()
        assert (fit.status, fit.converged) == (ff.Status.NOT_FINITE, False)


@pytest.mark.parametrize("policy", ["raise", "omit", "propagate"])
def test_nan_policies_need_no_extra_pass(
    policy: Any, backend: Any, rng: np.random.Generator
) -> None:
    x, y = 1e9 + rng.normal(size=(2, 3000))
    assert ff.fit_line(x, y, nan_policy=policy, backend=backend).n_passes == 1
    x[:2] = y[-3:] = np.nan
    if policy != "raise":
        fit = ff.fit_line(x, y, nan_policy=policy, backend=backend)
        assert fit.n_passes == 1
    if policy == "omit":
        clean = ff.fit_line(x[2:-3], y[2:-3], backend=backend)
        assert (fit.slope, fit.loss, fit.n_points) == (clean.slope, clean.loss, 2995)
        # Further passes are over a copy without those points.
        solver = ff.GradientDescent(passes="samples")
        descent = ff.fit_line(x, y, nan_policy=policy, backend=backend, solver=solver)
        assert (descent.n_points, descent.n_omitted) == (2995, 5)
        assert descent.slope == pytest.approx(clean.slope, rel=1e-12)
        assert descent.plot(axes_to_save()).get_title() == "2,995 points"


def test_omitting_nan_keeps_infinity_and_may_leave_too_few_points(backend: Any) -> None:
    y = np.array([1.0, np.nan, np.inf, 2.0])
    with pytest.raises(ValueError, match="got infinity at index 2"):
        ff.fit_line(np.arange(4.0), y, nan_policy="omit", backend=backend)
    fit = ff.fit_line(np.arange(4.0), y, nan_policy="propagate", backend=backend)
    assert np.isnan(fit.slope)
    y[1:] = np.nan
    with pytest.raises(ValueError, match="two points .* got 1 after leaving out 3 .* with NaN"):
        ff.fit_line(np.arange(4.0), y, nan_policy="omit", backend=backend)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("x_factor", [1e-300, 1e-170, 1e-150, 1.0, 1e150, 1e200, 5e307])
@pytest.mark.parametrize("y_factor", [1e-140, 1.0, 1e140])
def test_no_overflow_and_no_underflow(
    backend: Any, x_factor: float, y_factor: float, fit_intercept: bool
) -> None:
    x, y = x_factor * np.array([1.0, 2.0, 3.0]), y_factor * np.array([1.0, 2.0, 4.0])
    options: Any = {"fit_intercept": fit_intercept, "backend": backend}
    unit = Fraction(y_factor) / Fraction(x_factor)
    exact = unit * (Fraction(3, 2) if fit_intercept else Fraction(17, 14))
    if not Fraction(2) ** -1022 < exact < Fraction(2) ** 1023:
        with pytest.raises(ValueError, match=r"slope is beyond .* float64 .*; rescale x or y"):
            ff.fit_line(x, y, **options)
        return
    fit = ff.fit_line(x, y, **options)
    intercept, left, variance = (-2 / 3, 1 / 6, 1 / 12) if fit_intercept else (0, 5 / 14, 5 / 392)
    assert fit.slope == pytest.approx(float(exact), rel=1e-13, abs=0)
    assert fit.intercept == pytest.approx(intercept * y_factor, rel=1e-13, abs=0)
    assert fit.loss == pytest.approx(left / 3 * y_factor**2, rel=1e-13, abs=0)
    assert fit.stderr == pytest.approx(float(unit) * variance**0.5, rel=1e-13, abs=0)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e160, 1e200, 4e307])
def test_a_loss_that_float64_cannot_hold_is_an_error(
    backend: Any, size: float, fit_intercept: bool
) -> None:
    x, y = [1.0, 2.0, 3.0], np.array([1.0, 2.0, 4.0]) * size
    with pytest.raises(ValueError, match=r"mean loss is beyond the range of float64 .*; rescale y"):
        ff.fit_line(x, y, backend=backend, fit_intercept=fit_intercept)


@pytest.mark.parametrize("x", [[0.0, 5e-324], [1.5e-323, 2e-323], [5e-324, 1e-323, 1.5e-323]])
def test_subnormal_x(backend: Any, x: list[float]) -> None:
    y = np.arange(len(x), dtype=float)
    with pytest.raises(ValueError, match=r"slope is beyond .* float64 \(inf\); rescale x or y"):
        ff.fit_line(x, y, backend=backend)
    fit = ff.fit_line(x, 1e-100 * y, backend=backend)
    assert fit.slope == pytest.approx(1e-100 / 5e-324, rel=1e-13)


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
@pytest.mark.parametrize("factor", [1e80, 1e90, 1e120, 1e200, 1e300, 1e-90, 1e-200, 1e-300])
@pytest.mark.parametrize("learning_rate", ["auto", 0.1])
def test_raw_descent_on_extreme_x_ends_in_a_line_or_a_clear_error(
    backend: Any, factor: float, learning_rate: Any
) -> None:
    solver = ff.GradientDescent(standardize=False, learning_rate=learning_rate, max_iter=5)
    x, y = np.arange(10.0), np.arange(10.0)
    try:
        fit = ff.fit_line(x * factor, y, solver=solver, backend=backend)
    except ValueError as error:
        assert "rescale" in str(error)  # noqa: PT017
        return
    assert np.isfinite([fit.slope, fit.intercept, fit.loss]).all()
    residual = y - (fit.slope * factor * x + fit.intercept)
    assert fit.loss == pytest.approx(np.mean(residual**2), rel=1e-9)


def test_nan_far_from_the_start_is_named_by_its_index(backend: Any) -> None:
    y = np.zeros(300_000)
    y[[262_150, 299_999]] = np.nan
    if backend == "numba" and not COMPILED:
        pytest.skip("a third of a million points in the interpreter")
    with pytest.raises(ValueError, match="got NaN at index 262,150, the first of 2"):
        ff.fit_line(np.arange(300_000.0), y, backend=backend)


def test_a_spread_that_underflows_relative_to_an_offset() -> None:
    """All x of the subsample are equal, and one other x differs by 1e-170."""
    x = np.zeros(5000 if COMPILED else 2500)
    x[1] = 1e-170
    fit = ff.fit_line(x, np.where(x == 0, 1.0, 3.0))
    assert fit.slope == pytest.approx(2e170, rel=1e-12)
    assert fit.intercept == pytest.approx(1.0, rel=1e-12)


@needs_compiler
@pytest.mark.parametrize("n", [32_768, 100_003])
def test_concurrent_python_threads_get_the_same_bits(n: int, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, n))
    expected = ff.fit_line(x, y, n_threads=1).to_dict()
    with ThreadPoolExecutor(6) as pool:
        fits = pool.map(lambda _: ff.fit_line(x, y).to_dict(), range(30))
        assert all(fit == expected for fit in fits)


SHORT = ff.GradientDescent(max_iter=1, learning_rate=0.1)
MOMENTS = ff.Moments.of([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: ff.fit_line([1.0, 2.0, 4.0], [1.0, 3.0, 2.0], solver=SHORT, backend="numpy"),
        lambda: ff.fit_line(MOMENTS, solver=SHORT),
        lambda: worked_example.run("numpy"),
    ],
)
def test_warnings_name_the_line_of_the_caller(call: Any) -> None:
    with pytest.warns(ff.ConvergenceWarning) as caught:
        call()
    place = (__file__, call.__code__.co_firstlineno)
    assert [(each.filename, each.lineno) for each in caught] == [place]


def test_no_public_call_warns_unless_it_means_to(run_script: Script) -> None:
    pytest.importorskip("sklearn")
    out = run_script(
        "import warnings; warnings.simplefilter('error')\n"
        "import numpy as np, fastfit as ff\n"
        "from fastfit.compat import linregress, polyfit\n"
        "from fastfit.estimator import LineRegressor\n"
        "x = np.arange(6000.0); y = x + np.sin(x); y[7] = 1e4\n"
        "w = np.where(x > 9, 1.0, 0.0)\n"
        "for loss, weight in (('squared_error', None), ('squared_error', w), ('huber', None)):\n"
        "    fit = ff.fit_line(x, y, loss=loss, sample_weight=weight)\n"
        "    fit.summary(), fit.to_dict(), fit.conf_int(), fit.predict(x)\n"
        "    fit.confidence_band(x), fit.prediction_band(x)\n"
        "ff.fit_line(x, y, solver=ff.GradientDescent(record_every=1)).history\n"
        "ff.fit_line([0, 1, np.nan], [0, 1, 2], nan_policy='propagate').summary()\n"
        "ff.fit_line([0, 1], [0, 1]).summary()\n"
        "(ff.Moments.of(x, y) + ff.Moments()).fit().summary()\n"
        "ff.objective(x, y, loss='huber')([1.0, 0.0])\n"
        "linregress(x, y), linregress(x, 0 * x), polyfit(x, y, 1, cov=True)\n"
        "LineRegressor().fit(x[:, None], y).predict(x[:, None])\n"
        "import matplotlib; matplotlib.use('Agg')\n"
        "fit.plot(confidence_band=True)\n"
        "print('silent')",
        PYTHONWARNINGS="error",
    )
    assert out == "silent\n"


def test_a_fit_survives_pickling_without_its_points() -> None:
    x = np.arange(1e5 if COMPILED else 1e3)
    fit = ff.fit_line(x, x + np.sqrt(x), solver=ff.GradientDescent(record_every=1))
    stored = pickle.dumps(fit)
    assert len(stored) < 3000
    again = pickle.loads(stored)
    assert again.to_dict() == fit.to_dict()
    assert (again.predict(2.0), again.pvalue) == (fit.predict(2.0), fit.pvalue)
    assert again.residual_std == fit.residual_std
    for other in (again, copy.copy(fit), copy.deepcopy(fit)):
        with pytest.raises(ValueError, match="no points to draw: .* a pickle or copy"):
            other.plot()
