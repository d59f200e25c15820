"""The objective for minimisers of others."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from iminuit import Minuit
from scipy.optimize import check_grad, minimize

import fastfit as ff
from fastfit.losses import LOSSES
from tests.conftest import loss_of


def points(n: int = 400) -> tuple[Any, Any]:
    rng = np.random.default_rng(30)
    x = 5 + 3 * rng.normal(size=n)
    return x, 2 * x + 1 + rng.standard_t(2, size=n)


@pytest.mark.parametrize(
    ("name", "weighted"),
    [
        *((name, False) for name in LOSSES),
        ("huber", True),
        *(pytest.param(k, True, marks=pytest.mark.slow) for k in LOSSES if k != "huber"),
    ],
)
def test_loss_and_gradient(name: str, weighted: bool, backend: Any) -> None:
    x, y = points()
    w = np.random.default_rng(1).random(400) if weighted else None
    loss = loss_of(name)
    objective = ff.objective(x, y, loss=loss, sample_weight=w, backend=backend)
    value, gradient = objective((1.5, 2.0))
    expected = np.average(loss.point(loss, y - 1.5 * x - 2.0)[0], weights=w)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-12)
    assert gradient.shape == (2,)
    assert (
        check_grad(objective.value, objective.gradient, [1.5, 2.0]) < 1e-5 * np.abs(gradient).max()
    )
    assert (objective.value([1.5, 2.0]), objective.loss, objective.n_points) == (value, loss, 400)


@pytest.mark.parametrize("name", LOSSES)
def test_scipy_minimize(name: str) -> None:
    x, y = points()
    objective = ff.objective(x, y, loss=name)
    fit = ff.fit_line(x, y, loss=name)
    found = minimize(objective, (1.5, 2.0), jac=True, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found.x, [fit.slope, fit.intercept], rtol=1e-6)
    assert found.fun == pytest.approx(fit.loss, rel=1e-10)
    assert fit.f_scale == getattr(objective.loss, "f_scale", None)


@pytest.mark.parametrize("name", LOSSES)
def test_iminuit(name: str) -> None:
    x, y = points()
    objective = ff.objective(x, y, loss=name)
    fit = ff.fit_line(x, y, loss=name)
    minuit = Minuit(objective.value, np.array([1.5, 2.0]), grad=objective.gradient)
    minuit.tol = 1e-6
    minuit.migrad()
    assert minuit.valid
    np.testing.assert_allclose(minuit.values, [fit.slope, fit.intercept], rtol=1e-4)


def test_one_pass_for_value_and_gradient() -> None:
    x, y = points()
    objective = ff.objective(x, y, loss=ff.Huber(1.0))
    before = objective._points.n_passes
    for line in ((1.0, 2.0), (1.5, 2.0), (1.5, 2.5)):
        objective.value(line)
        objective.gradient(line)
    assert objective._points.n_passes - before == 3


@pytest.mark.parametrize("scale", [1.0, 2.0**200])
def test_offsets_and_extremes_cost_no_digits(scale: float) -> None:
    x, y = points()
    plain = ff.objective(x, y, loss=ff.Cauchy(1.0))((1.5, 2.0))
    shifted = ff.objective(x + 2.0**20, scale * y, loss=ff.Cauchy(scale))
    # x is rounded by the shift, to 1e-10.
    value, gradient = shifted((1.5 * scale, (2.0 - 1.5 * 2.0**20) * scale))
    assert value == pytest.approx(plain[0] * scale**2, rel=1e-8)
    assert gradient[1] == pytest.approx(plain[1][1] * scale, rel=1e-7)
    assert gradient[0] == pytest.approx((plain[1][0] + plain[1][1] * 2.0**20) * scale, rel=1e-7)


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ((1.0,), ValueError, r"params must be two numbers.*shape \(1,\)"),
        (3.0, ValueError, r"params must be two numbers.*shape \(\)"),
        ([[1.0, 2.0]], ValueError, r"shape \(1, 2\)"),
        ("ab", TypeError, "params must be two real numbers"),
        ((1j, 2.0), TypeError, "params must be two real numbers"),
    ],
)
def test_bad_params(params: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        ff.objective([1.0, 2.0, 3.0], [2.0, 1.0, 3.0])(params)


def test_params_that_are_not_finite() -> None:
    objective = ff.objective([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 0.0], loss="huber")
    assert math.isnan(objective((math.nan, 0.0))[0])
    assert not math.isfinite(objective((math.inf, 0.0))[0])


def test_bad_points() -> None:
    with pytest.raises(ValueError, match="y must be finite; got NaN at index 1"):
        ff.objective([1.0, 2.0, 3.0], [2.0, math.nan, 3.0])
    omitted = ff.objective([1.0, 2.0, 3.0], [2.0, math.nan, 3.0], nan_policy="omit")
    assert omitted.n_points == 2
    with pytest.raises(ValueError, match="at least two different values"):
        ff.objective([1.0, 1.0], [2.0, 3.0])
    with pytest.raises(ValueError, match="loss must be"):
        ff.objective([1.0, 2.0], [2.0, 3.0], loss="huber2")
    with pytest.raises(ValueError, match="nan_policy must be 'raise' or 'omit'"):
        ff.objective([1.0, 2.0], [2.0, 3.0], nan_policy="propagate")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="f_scale must be a number for these points"):
        ff.objective([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], loss="tukey")
    assert "Huber(f_scale=" in repr(
        ff.objective([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 0.0], loss="huber")
    )


def test_a_copy_goes_to_another_process() -> None:
    x, y = points()
    objective = ff.objective(x, y, loss="huber")
    value, gradient = objective((1.5, 2.0))
    again = pickle.loads(pickle.dumps(objective))
    assert again((1.5, 2.0))[0] == value
    np.testing.assert_array_equal(again((1.5, 2.0))[1], gradient)
