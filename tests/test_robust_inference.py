"""Errors of robust lines: the sandwich formula against NumPy, statsmodels and repeated experiments."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.robust.scale import HuberScale

import fastfit as ff
from tests.conftest import COMPILED
from tests.test_losses import ROBUST


def points(n: int, seed: int = 20) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = 5 + 3 * rng.normal(size=n)
    return x, 2 * x + 1 + rng.standard_t(3, size=n)


def sandwich(loss: Any, x: Any, y: Any, w: Any, fit: ff.LineFit, intercept: bool = True) -> Any:
    design = np.column_stack([x, np.ones_like(x)]) if intercept else x[:, None]
    _, slope, curvature, _ = loss.point(loss, y - fit.slope * x - fit.intercept)
    bread = np.linalg.inv((design * (w * curvature)[:, None]).T @ design)
    meat = (design * (w * slope**2)[:, None]).T @ design
    return w.sum() / (w.sum() - design.shape[1]) * bread @ meat @ bread


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_covariance_is_that_of_the_formula(
    name: str, weighted: bool, offset: float, backend: Any
) -> None:
    x, y = points(300)
    w = np.random.default_rng(1).integers(0, 4, size=300).astype(float) if weighted else None
    loss = ROBUST[name](2.0)
    fit = ff.fit_line(x + offset, y, loss=loss, sample_weight=w, backend=backend)
    # At an offset, the formula itself loses digits; shifted, only the intercept differs.
    plain = ff.fit_line(x, y, loss=loss, sample_weight=w, backend=backend)
    expected = sandwich(loss, x, y, np.ones(300) if w is None else w, plain)
    shift = np.array([[1.0, 0.0], [-offset, 1.0]])
    expected = shift @ expected @ shift.T
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-8)
    errors = [fit.stderr, fit.intercept_stderr]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(expected)), rtol=1e-9)
    at = np.array([-3.0, 0.5, 20.0]) + offset
    design = np.column_stack([at, np.ones(3)])
    half = np.sqrt(np.einsum("ij,jk,ik->i", design, expected, design))
    low, high = fit.confidence_band(at)
    reach = fit.conf_int()[0, 1] - fit.slope
    np.testing.assert_allclose(high - low, 2 * half * reach / fit.stderr, rtol=1e-5)


@pytest.mark.parametrize("name", ROBUST)
def test_without_intercept(name: str) -> None:
    x, y = points(300)
    loss = ROBUST[name](2.0)
    fit = ff.fit_line(x, y - 1, loss=loss, fit_intercept=False)
    expected = sandwich(loss, x, y - 1, np.ones(300), fit, intercept=False)
    assert fit.stderr == pytest.approx(math.sqrt(expected[0, 0]), rel=1e-9)
    np.testing.assert_allclose(fit.covariance, [[expected[0, 0], 0.0], [0.0, 0.0]], rtol=1e-9)
    low, high = fit.confidence_band(np.array([-2.0, 0.0, 4.0]))
    reach = fit.conf_int()[0, 1] - fit.slope
    np.testing.assert_allclose(high - low, 2 * reach * np.array([2.0, 0.0, 4.0]), rtol=1e-12)


class _Known(HuberScale):  # type: ignore[misc]
    """A scale that is known, for statsmodels."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self._scale = scale

    def __call__(self, df_resid: Any, nobs: Any, resid: Any) -> float:
        return self._scale


# Of the norms that statsmodels has.
NORMS = {"huber": sm.robust.norms.HuberT, "tukey": sm.robust.norms.TukeyBiweight}


def of_statsmodels(name: str, x: Any, y: Any) -> Any:
    return sm.RLM(y, sm.add_constant(x), M=NORMS[name](ROBUST[name].tuning))


@pytest.mark.parametrize("name", NORMS)
def test_line_and_scale_are_those_of_statsmodels(name: str) -> None:
    """With f_scale="mad", both find the scale that is consistent with the line."""
    x, y = points(2000)
    theirs = of_statsmodels(name, x, y).fit(maxiter=500, tol=1e-12)
    fit = ff.fit_line(x, y, loss=name)
    np.testing.assert_allclose([fit.intercept, fit.slope], theirs.params, rtol=1e-7)
    assert fit.f_scale == pytest.approx(ROBUST[name].tuning * theirs.scale, rel=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_errors_are_those_of_statsmodels(name: str) -> None:
    """Its formulas assume a constant spread, ours do not; they agree where it is constant, up to chance."""
    x, y = points(40_000 if COMPILED else 4_000)
    fit = ff.fit_line(x, y, loss=ROBUST[name](1.3 * ROBUST[name].tuning))
    for cov in ("H1", "H2", "H3"):
        theirs = of_statsmodels(name, x, y).fit(scale_est=_Known(1.3), cov=cov)
        np.testing.assert_allclose([fit.intercept, fit.slope], theirs.params, rtol=1e-6)
        # The kurtosis of x and of the bent residuals over the root of n: 1 %.
        errors = [fit.intercept_stderr, fit.stderr]
        np.testing.assert_allclose(errors, theirs.bse, rtol=0.025 if COMPILED else 0.08)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("spread", [pytest.param("even", marks=pytest.mark.slow), "growing"])
def test_errors_match_the_scatter_of_repeated_experiments(name: str, spread: str) -> None:
    rng = np.random.default_rng(21)
    x = np.linspace(0.0, 1.0, 200)
    size = 1.0 if spread == "even" else 0.2 + 4 * x**2
    lines, errors = [], []
    for _ in range(400 if COMPILED else 100):
        y = 2 * x + 1 + size * rng.standard_t(3, size=200)
        fit = ff.fit_line(x, y, loss=name, backend="numba" if COMPILED else "numpy")
        lines.append((fit.slope, fit.intercept))
        errors.append((fit.stderr, fit.intercept_stderr))
    # A standard deviation of 400 numbers is known to 3.5 %.
    rtol = 0.12 if COMPILED else 0.25
    np.testing.assert_allclose(np.mean(errors, axis=0), np.std(lines, axis=0), rtol=rtol)


@pytest.mark.parametrize("name", ROBUST)
def test_other_results_of_a_robust_line(name: str) -> None:
    x, y = points(300)
    fit = ff.fit_line(x, y, loss=name)
    assert fit.rvalue == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-12)
    r = y - fit.slope * x - fit.intercept
    assert fit.residual_std == pytest.approx(math.sqrt((r @ r) / 298), rel=1e-12)
    assert 0 <= fit.pvalue < 1e-10
    assert np.isnan(fit.prediction_band(np.arange(3.0))).all()
    assert math.isnan(fit.prediction_band(1.0)[0])
    with pytest.raises(ValueError, match="sigma must be None unless"):
        fit.prediction_band(1.0, sigma=2.0)
    assert f"{fit.f_scale:.6g}" in fit.summary()
    assert fit.to_dict()["f_scale"] == fit.f_scale
    again = pickle.loads(pickle.dumps(fit))
    assert (again.stderr, again.f_scale) == (fit.stderr, fit.f_scale)
    assert copy.copy(fit).conf_int().tolist() == fit.conf_int().tolist()
    assert "converged after" in repr(fit)


def test_errors_that_points_do_not_determine_are_nan() -> None:
    for fit in (
        ff.fit_line([1.0, 2.0], [3.0, 4.0], loss="huber"),
        ff.fit_line(*points(50), loss="huber", sample_weight=0.01),
        # All residuals are on the straight part of the loss: no curvature, so no errors.
        ff.fit_line([0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0], loss=ff.Huber(1e-3)),
    ):
        assert np.isnan([fit.stderr, *fit.covariance.flat]).all()
    assert ff.fit_line(*points(50)).f_scale is None
