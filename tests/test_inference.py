"""Errors of the line, weights and sigma, against SciPy and against their definitions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

import fastfit as ff
from fastfit import inference
from tests.conftest import Script
from tests.oracle import assert_agree

ERRORS = ("stderr", "intercept_stderr", "rvalue", "residual_std", "pvalue")
ALL: dict[str, float] = dict.fromkeys(("slope", "intercept", "loss", *ERRORS), 1e-12)
FEW = np.arange(5.0), np.array([1.0, 3.0, 2.0, 5.0, 4.0])


@pytest.fixture
def cloud(rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.normal(3.0, 2.0, size=80)
    return x, 0.3 * x - 2.0 + rng.normal(size=80)


def line(x: Any, slope: float, intercept: float = 0.0) -> Any:
    return slope * x + intercept


@pytest.mark.parametrize("solver", ["exact", "gradient_descent"])
def test_errors_are_those_of_linregress(cloud: Any, solver: str, backend: Any) -> None:
    fit, scipys = ff.fit_line(*cloud, solver=solver, backend=backend), stats.linregress(*cloud)
    # The p-value is a small number, of a large t.
    assert_agree(fit, scipys, stderr=1e-12, intercept_stderr=1e-12, rvalue=1e-13, pvalue=1e-9)
    assert fit.rsquared == fit.rvalue**2
    reach = stats.t.ppf(0.95, 78) * np.array([fit.stderr, fit.intercept_stderr])
    middle = np.array([fit.slope, fit.intercept])
    np.testing.assert_allclose(fit.conf_int(0.9).T, [middle - reach, middle + reach], rtol=1e-9)


SIGMA = np.random.default_rng(1).uniform(0.5, 2.0, 80)
WEIGHTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sigma": {"sigma": SIGMA},
    "known sigma": {"sigma": SIGMA, "absolute_sigma": True},
    "tiny sigma": {"sigma": 1e-120 * SIGMA, "absolute_sigma": True},
    "one sigma": {"sigma": 3.0, "absolute_sigma": True},
}


@pytest.mark.parametrize("solver", ["exact", "gradient_descent"])
@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_covariance_is_that_of_curve_fit(
    cloud: Any, solver: str, name: str, fit_intercept: bool, backend: Any
) -> None:
    options = WEIGHTINGS[name] | {"fit_intercept": fit_intercept}
    fit = ff.fit_line(*cloud, solver=solver, backend=backend, **options)
    theirs = dict(WEIGHTINGS[name])
    scale = 1e-120 if name == "tiny sigma" else 1.0  # whose squares its solver cannot hold
    if theirs:
        theirs["sigma"] = np.full(80, theirs["sigma"] / scale)
    theirs["p0"] = [1.0] * (1 + fit_intercept)
    parameters, covariance = curve_fit(line, *cloud, **theirs)
    # Its solver steps by differences, to eight digits or so.
    assert [fit.slope, fit.intercept][: parameters.size] == pytest.approx(parameters, rel=1e-6)
    expected = np.zeros((2, 2))
    expected[: parameters.size, : parameters.size] = covariance * scale**2
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-6)
    errors = np.sqrt(np.diag(expected))
    np.testing.assert_allclose([fit.stderr, fit.intercept_stderr], errors, rtol=1e-6)


@pytest.mark.parametrize("passes", ["samples", "moments", None])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_weight_of_two_is_the_point_twice(
    cloud: Any, passes: str | None, fit_intercept: bool, backend: Any
) -> None:
    x, y = cloud
    w = np.random.default_rng(4).integers(0, 4, size=80)
    solver: Any = "exact" if passes is None else ff.GradientDescent(passes=passes)
    options: Any = {"solver": solver, "fit_intercept": fit_intercept, "backend": backend}
    one = ff.fit_line(x, y, sample_weight=w, **options)
    other = ff.fit_line(np.repeat(x, w), np.repeat(y, w), **options)
    assert_agree(one, other, **ALL)
    assert (one.n_iter, one.n_points) == (other.n_iter, 80)
    np.testing.assert_allclose(one.confidence_band([0, 1]), other.confidence_band([0, 1]))


@pytest.mark.parametrize("absolute", [False, True])
def test_weights_and_sigma_together(cloud: Any, absolute: bool, backend: Any) -> None:
    w = np.random.default_rng(4).integers(0, 4, size=80)
    options: dict[str, Any] = {"absolute_sigma": absolute, "backend": backend}
    one = ff.fit_line(*cloud, sample_weight=w, sigma=SIGMA, **options)
    x, y, sigma = (np.repeat(values, w) for values in (*cloud, SIGMA))
    assert_agree(one, ff.fit_line(x, y, sigma=sigma, **options), **ALL)


def test_units_of_sigma_matter_if_it_is_known(cloud: Any) -> None:
    units = np.array([1.0, 1e-3, 7.0, 1e200])
    relative = [ff.fit_line(*cloud, sigma=k * SIGMA) for k in units]
    known = [ff.fit_line(*cloud, sigma=k * SIGMA, absolute_sigma=True) for k in units]
    np.testing.assert_allclose([fit.stderr for fit in relative], relative[0].stderr, rtol=1e-12)
    np.testing.assert_allclose([f.stderr for f in known], units * known[0].stderr, rtol=1e-12)
    # Residuals over sigma scatter by one where sigma is right.
    assert relative[0].residual_std == pytest.approx(7.0 * relative[2].residual_std)
    normal = 2 * stats.norm.sf(abs(known[0].slope) / known[0].stderr)
    assert known[0].pvalue == pytest.approx(normal, rel=1e-9)
    reach = (known[0].conf_int()[0, 1] - known[0].slope) / known[0].stderr
    assert reach == pytest.approx(1.959963984540054, rel=1e-12)


def test_errors_whose_squares_leave_the_range_of_float64(cloud: Any) -> None:
    x, y = cloud
    one, other = ff.fit_line(x, y), ff.fit_line(1e99 * x, 1e-99 * y)
    found = [other.stderr, other.intercept_stderr, other.covariance[0, 1]]
    expected = [1e-198 * one.stderr, 1e-99 * one.intercept_stderr, 1e-297 * one.covariance[0, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert_agree(one, other, pvalue=1e-9)


@pytest.mark.parametrize("size", [1e-200, 1e-160, 1e160, 1e200])
def test_known_sigma_of_extreme_size(cloud: Any, size: float) -> None:
    fit = ff.fit_line(*cloud, sigma=size, absolute_sigma=True)
    one = ff.fit_line(*cloud, sigma=1.0, absolute_sigma=True)
    found, expected = (np.array([f.stderr, f.intercept_stderr]) for f in (fit, one))
    np.testing.assert_allclose(found, size * expected, rtol=1e-12)
    assert fit.to_dict()["slope"] == pytest.approx(one.slope)
    assert fit.pvalue == pytest.approx(1.0 if size > 1.0 else 0.0)
    assert np.isinf(fit.covariance[0, 0]) == (size > 1.0)


def test_errors_beyond_float64_are_infinite_and_no_exception(cloud: Any) -> None:
    x, y = cloud
    fit = ff.fit_line(1e-20 * x, 1e148 * y)
    assert np.isinf(fit.covariance[0, 0])
    assert fit.to_dict()["covariance"][0][0] is None
    steep = ff.fit_line([-1e-200, 0.0, 1e-200], [1e150, -2e150, 1e150])
    assert (steep.slope, steep.stderr) == (0.0, np.inf)


def test_sigma_of_points_that_are_left_out_does_not_matter(backend: Any) -> None:
    x, y = FEW
    expected = ff.fit_line(x[:4], y[:4], sigma=[1.0, 2.0, 1.0, 2.0], backend=backend)
    unknown = np.r_[y[:4], np.nan]
    for last in (1e-300, 1e300, np.nan):
        fit = ff.fit_line(x, unknown, sigma=[1, 2, 1, 2, last], nan_policy="omit", backend=backend)
        assert (fit.slope, fit.stderr) == (expected.slope, expected.stderr)
    for hidden in (0.0, -1.0, 1e-300):
        sigma = np.ma.masked_array([1, 2, 1, 2, hidden], [False] * 4 + [True])
        fit = ff.fit_line(x, y, sigma=sigma, backend=backend)
        assert (fit.slope, fit.stderr) == (expected.slope, expected.stderr)
    for one in (np.ma.array(2.0), np.float32(2.0), np.array(2)):
        fit = ff.fit_line(x, y, sample_weight=one, backend=backend)
        assert fit.slope == pytest.approx(ff.fit_line(x, y).slope, rel=1e-15)
    wrong = np.ma.masked_array([1.0, 2.0, 1.0, 0.0, 1.0], [True] + [False] * 4)
    with pytest.raises(ValueError, match="sigma must be .* got 0.0 at index 3"):
        ff.fit_line(x, y, sigma=wrong, backend=backend)


def test_two_points_with_known_sigma_have_errors() -> None:
    fit = ff.fit_line([0.0, 2.0], [1.0, 5.0], sigma=[1.0, 1.0], absolute_sigma=True)
    assert fit.covariance == pytest.approx(np.array([[0.5, -0.5], [-0.5, 1.0]]), rel=1e-15)
    assert np.isnan(fit.residual_std)


@pytest.mark.parametrize("through_origin", [False, True])
def test_bands(cloud: Any, through_origin: bool) -> None:
    fit = ff.fit_line(*cloud, fit_intercept=not through_origin)
    x = np.array([[-5.0, 0.0], [3.0, 40.0]])
    design = np.stack([x, np.ones_like(x) * (not through_origin)], axis=-1)
    variance = np.einsum("...i,ij,...j", design, fit.covariance, design)
    quantile = stats.t.ppf(0.975, 80 - (1 if through_origin else 2))
    low, high = fit.confidence_band(x)
    np.testing.assert_allclose(high - fit.predict(x), quantile * np.sqrt(variance), rtol=1e-10)
    np.testing.assert_allclose(high + low, 2 * fit.predict(x), rtol=1e-12)
    low, high = fit.prediction_band(x, 0.95)
    spread = np.sqrt(variance + fit.residual_std**2)
    np.testing.assert_allclose(high - fit.predict(x), quantile * spread, rtol=1e-10)
    one = fit.confidence_band(3.0)
    assert isinstance(one[0], float)
    assert one == pytest.approx([band[1, 0] for band in fit.confidence_band(x)])


def test_bands_and_predictions_at_time_stamps(rng: np.random.Generator) -> None:
    """Same results as for seconds from the first point, which the intercept alone cannot hold."""
    seconds = np.sort(np.round(8 * 86_400 * rng.random(200)) / 8)  # that time stamps hold as well
    y = 0.001 * seconds + rng.normal(size=200)
    near, far = ff.fit_line(seconds, y), ff.fit_line(1.7e9 + seconds, y)
    for ask, rtol in (("predict", 1e-13), ("confidence_band", 1e-12), ("prediction_band", 1e-12)):
        found, expected = getattr(far, ask)(1.7e9 + seconds), getattr(near, ask)(seconds)
        np.testing.assert_allclose(found, expected, rtol=rtol)
    assert far.stderr == pytest.approx(near.stderr, rel=1e-15)


def test_prediction_bands_cover_as_often_as_they_say(rng: np.random.Generator) -> None:
    inside = 0
    for _ in range(400):
        x = rng.random(11)
        y = x + rng.normal(size=11)
        low, high = ff.fit_line(x[1:], y[1:], backend="numpy").prediction_band(x[0], 0.8)
        inside += low <= y[0] <= high
    assert 320 - 3 * 8 <= inside <= 320 + 3 * 8  # three standard deviations of 400 draws at 0.8


@pytest.mark.parametrize("size", [1e-120, 0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("absolute", [False, True])
def test_prediction_bands_of_points_with_sigma(cloud: Any, size: float, absolute: bool) -> None:
    x, y = cloud[0], size * cloud[1]
    fit = ff.fit_line(x, y, sigma=np.full(80, size), absolute_sigma=absolute)
    plain = ff.fit_line(x, y)
    scale = size / plain.residual_std if absolute else 1.0
    dof_to_normal = 1.959963984540054 / stats.t.ppf(0.975, 78) if absolute else 1.0
    expected = (plain.prediction_band(x)[1] - plain.predict(x)) * scale * dof_to_normal
    for sigma in (None, size):
        half = fit.prediction_band(x, sigma=sigma)[1] - fit.predict(x)
        np.testing.assert_allclose(half, expected, rtol=1e-9)
    # A point of twice the sigma has four times the variance, on top of that of the line.
    line = fit.confidence_band(2.0)[1] - fit.predict(2.0)
    one, two = (fit.prediction_band(2.0, sigma=k * size)[1] - fit.predict(2.0) for k in (1, 2))
    assert two**2 - line**2 == pytest.approx(4 * (one**2 - line**2), rel=1e-9)


def test_prediction_bands_of_weighted_points(cloud: Any) -> None:
    x, y = cloud
    fit = ff.fit_line(x, y, sigma=SIGMA, absolute_sigma=True)
    usual = np.sqrt(1 / np.mean(1 / SIGMA**2))
    assert fit.prediction_band(1.0) == pytest.approx(fit.prediction_band(1.0, sigma=usual))
    each = fit.prediction_band(x, sigma=SIGMA)
    one_by_one = [fit.prediction_band(a, sigma=s) for a, s in zip(x, SIGMA, strict=True)]
    np.testing.assert_allclose(np.transpose(each), one_by_one, rtol=1e-12)
    doubled = ff.fit_line(x, y, sample_weight=np.full(80, 2))
    twice = ff.fit_line(np.tile(x, 2), np.tile(y, 2))
    assert doubled.prediction_band(1.0) == pytest.approx(twice.prediction_band(1.0), rel=1e-12)
    with pytest.raises(ValueError, match="sigma must be None unless the line was fitted with"):
        doubled.prediction_band(1.0, sigma=1.0)


def test_a_line_that_did_not_converge_has_no_errors(cloud: Any) -> None:
    options: Any
    for options in ({"learning_rate": 0.1, "max_iter": 3}, {"learning_rate": 9.0}):
        solver = ff.GradientDescent(**options)
        with pytest.warns(ff.ConvergenceWarning):
            fit = ff.fit_line(*cloud, solver=solver)
        assert np.isnan([fit.stderr, fit.intercept_stderr, fit.pvalue, *fit.covariance.flat]).all()
        assert np.isnan([*fit.conf_int().flat, *fit.prediction_band(1.0)]).all()
        assert fit.rvalue == pytest.approx(stats.linregress(*cloud).rvalue)
        assert "+-" not in fit.summary()
        assert fit.residual_std == pytest.approx(np.sqrt(fit.loss * 80 / 78))
    # With tol=0 nothing is called converged; the line is, all the same.
    with pytest.warns(ff.ConvergenceWarning):
        fit = ff.fit_line(*cloud, solver=ff.GradientDescent(tol=0, max_iter=50))
    assert fit.stderr == pytest.approx(ff.fit_line(*cloud).stderr, rel=1e-9)


def test_summary_leaves_out_unknown_errors(cloud: Any) -> None:
    origin = ff.fit_line(*cloud, fit_intercept=False).summary().splitlines()
    assert ["intercept", "0"] in [line.split() for line in origin]
    assert "+-" in origin[1]
    two = ff.fit_line([0.0, 1.0], [1.0, 3.0]).summary()
    assert not re.search(r"\+-|p-value", two)
    assert "p-value" not in ff.fit_line([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]).summary()


def test_perfect_lines_and_constant_y() -> None:
    perfect = ff.fit_line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    assert (perfect.stderr, perfect.intercept_stderr, perfect.pvalue) == (0.0, 0.0, 0.0)
    assert perfect.conf_int().tolist() == [[2.0, 2.0], [1.0, 1.0]]
    flat = ff.fit_line([0.0, 1.0, 2.0], [4.0, 4.0, 4.0])
    assert (flat.slope, flat.stderr, flat.loss) == (0.0, 0.0, 0.0)
    assert np.isnan([flat.rvalue, flat.rsquared, flat.pvalue]).all()


def test_weights_that_sum_to_two_or_less_leave_no_errors(cloud: Any) -> None:
    fit = ff.fit_line(*cloud, sample_weight=1 / 80)
    assert fit.slope == pytest.approx(ff.fit_line(*cloud).slope, rel=1e-15)
    assert np.isnan([fit.stderr, fit.residual_std, fit.pvalue, *fit.conf_int().flat]).all()


def test_all_results_of_a_fit_of_nan_are_nan() -> None:
    fit = ff.fit_line([0.0, np.nan, 2.0], [1.0, 2.0, 3.0], nan_policy="propagate")
    assert np.isnan([getattr(fit, name) for name in ERRORS]).all()
    assert np.isnan([*fit.covariance.flat, *fit.conf_int().flat]).all()
    assert np.isnan([fit.predict(1.0), *fit.confidence_band(1.0), *fit.prediction_band(1.0)]).all()
    assert fit.to_dict()["covariance"] == [[None, None], [None, None]]


def test_formulas_take_arrays_with_one_entry_a_line(rng: np.random.Generator) -> None:
    """They return the same bits as for one line after another, and NaN for a constant y and without freedom."""
    xx, yy, left = rng.uniform(0.5, 2.0, size=(3, 6))
    left *= [0.1, 0.1, 0.9, 0.9, 0.9, 0.9] * yy
    yy[2], dof = 0.0, np.array([3.0, 4.0, 5.0, 6.0, 0.0, -1.0])
    xy, x_mean, w = rng.normal(size=6), rng.normal(size=6), 2.0 + dof

    def errors(left: Any, xx: Any, xy: Any, yy: Any, dof: Any, w: Any, x_mean: Any) -> list[Any]:
        deviation = inference.residual_deviation(left, dof)
        slope = inference.slope_stderr(deviation, xx)
        return [
            inference.correlation(left, xx, xy, yy),
            slope,
            inference.intercept_stderr(slope, w, x_mean, xx),
            *inference.covariance(deviation**2, w, x_mean, xx),
            inference.pvalue(1.0 / slope, dof, "two-sided"),
            inference.pvalue(1.0 / slope, dof, "less"),
            inference.pvalue(1.0 / slope, dof, "greater"),
            inference.pvalue(1.0 / slope, None),
            inference.critical_value(0.9, dof),
        ]

    columns = (left, xx, xy, yy, dof, w, x_mean)
    together = errors(*columns)
    one_by_one = [errors(*map(float, line)) for line in zip(*columns, strict=True)]
    np.testing.assert_array_equal(together, np.transpose(one_by_one))
    assert np.isnan(together[0]).tolist() == [False, False, True, False, False, False]
    assert np.isnan(together[1]).tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95, float("nan")])
def test_levels_are_probabilities(cloud: Any, level: float) -> None:
    fit = ff.fit_line(*cloud)
    for ask in (fit.conf_int, lambda v: fit.confidence_band(0, v)):
        with pytest.raises(ValueError, match="level must be a probability between 0 and 1; got"):
            ask(level)
    with pytest.raises(TypeError, match="level must be a probability between 0 and 1; got str"):
        fit.conf_int("95")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sample_weight", [1.0, 2.0], "must have the length of x and y"),
        ("sample_weight", "w", "must be an array of numbers; got str"),
        ("sample_weight", [[1.0, 1.0, 1.0]], "must be one-dimensional"),
        ("sample_weight", [1.0, -2.0, 1.0], "must not be negative; got -2.0 at index"),
        ("sample_weight", -1.0, "must be finite and at least 0; got -1.0$"),
        ("sample_weight", 0.0, "must be above zero for some points"),
        ("sample_weight", [1.0, np.nan, 1.0], "must be finite; got NaN"),
        ("sample_weight", [1.0, np.inf, 1.0], "must be finite; got inf"),
        ("sample_weight", [1e300, 1e308, 1e308], "must be from 1e-100 to"),
        ("sample_weight", 1e-300, "must be from .* got 1e-300"),
        ("sample_weight", [1e200, 0, 1], r"must be from .* got 1e\+200"),
        ("sample_weight", [1j, 1, 1], "must hold real numbers"),
        ("sigma", [1.0, 0.0, 1.0], "must be finite and above 0; got 0.0 at index 1"),
        ("sigma", -1.0, "must be finite and above 0; got -1.0$"),
        ("sigma", np.inf, "must be finite and above 0; got inf"),
        ("sigma", [1.0, np.nan, 1.0], "must be finite; got NaN at index 1"),
        ("sigma", np.eye(3), "must be one-dimensional, or a single column"),
        ("absolute_sigma", True, "must be False unless sigma is given"),
        ("absolute_sigma", 1, "must be True or False"),
        ("fit_intercept", "no", "must be True or False; got 'no'"),
    ],
)
def test_wrong_weights(name: str, value: Any, message: str, backend: Any) -> None:
    is_type = re.search("array of numbers|real numbers|True or False", message)
    given: dict[str, Any] = {name: value}
    with pytest.raises(TypeError if is_type else ValueError, match=f"{name} {message}"):
        ff.fit_line([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], backend=backend, **given)


@pytest.mark.parametrize("name", ["sample_weight", "sigma"])
def test_nan_in_weights_by_policy(name: str, backend: Any) -> None:
    nan = np.array([1.0, np.nan, 1.0, 2.0, 1.0])
    given: Any = {name: nan}
    one = ff.fit_line(*FEW, nan_policy="omit", backend=backend, **given)
    x, y, w = (values[~np.isnan(nan)] for values in (*FEW, nan))
    kept: Any = {name: w}
    other = ff.fit_line(x, y, backend=backend, **kept)
    assert (one.slope, one.loss, one.stderr) == (other.slope, other.loss, other.stderr)
    assert (one.n_points, one.n_omitted) == (4, 1)
    assert np.isnan(ff.fit_line(*FEW, nan_policy="propagate", backend=backend, **given).slope)


def test_a_point_of_weight_zero_does_not_count(backend: Any) -> None:
    x, y = np.array([1.0, 2.0, 3.0, 1e9]), np.array([1.0, 3.0, 2.0, -1e9])
    one = ff.fit_line(x, y, sample_weight=[1, 1, 1, 0], backend=backend)
    other = ff.fit_line(x[:3], y[:3], backend=backend)
    exact = 1e-14
    assert_agree(one, other, slope=exact, intercept=exact, loss=exact, stderr=exact, rvalue=exact)
    for values, w, said in (
        ([1.0, 2.0, 3.0], [1, 0, 0], "1.0 at all points of weight above"),
        ([5.0, 5.0, 7.0], [1, 2, 0], "5.0"),
    ):
        with pytest.raises(ValueError, match=f"two different values.* got {said}"):
            ff.fit_line(values, y[:3], sample_weight=w, backend=backend)


def test_masked_weights_leave_points_out(backend: Any) -> None:
    x, y = FEW
    w = np.ma.masked_array([1.0, 9.0, 1.0, 2.0, 1.0], [False, True, False, False, False])
    one = ff.fit_line(x, y, sample_weight=w, backend=backend)
    other = ff.fit_line(x[[0, 2, 3, 4]], y[[0, 2, 3, 4]], sample_weight=[1, 1, 2, 1])
    assert one.slope == pytest.approx(other.slope, rel=1e-15)
    assert one.n_omitted == 1
    sigma = ff.fit_line(x, y, sigma=w, sample_weight=2.0, backend=backend)
    assert sigma.n_omitted == 1
    assert np.isfinite(sigma.stderr)


@pytest.mark.parametrize(
    "dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.int64, np.uint8, bool]
)
def test_weights_of_any_type(dtype: Any, backend: Any) -> None:
    w = np.array([1, 0, 1, 1, 1])
    one = ff.fit_line(*FEW, sample_weight=w.astype(dtype)[::-1], backend=backend)
    assert_agree(one, ff.fit_line(*FEW, sample_weight=w[::-1].tolist()), slope=1e-15)


def test_scipy_is_needed_for_intervals_and_p_values_alone(run_script: Script) -> None:
    out = run_script(
        "import sys, fastfit as ff\n"
        "sys.modules['scipy'] = None\n"
        "fit = ff.fit_line([1., 2., 3.], [1., 3., 2.], backend='numpy')\n"
        "fit.stderr, fit.covariance, fit.rvalue, fit.to_dict(), repr(fit)\n"
        "print('95 %' in fit.summary(), '+-' in fit.summary())\n"
        "for ask in (lambda: fit.pvalue, fit.conf_int, lambda: fit.prediction_band(1)):\n"
        "    try: ask()\n"
        "    except ImportError as error: print(error)\n"
    )
    missing = "intervals and p-values need SciPy: pip install 'fastfit[stats]'"
    assert out.splitlines() == ["False True", missing, missing, missing]
