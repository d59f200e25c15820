"""Losses that users write: fitted like those of fastfit, or an error that says what is wrong with the formula."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastfit as ff
from bench.own_losses import GemanMcClure, LogCosh
from fastfit.formulas import require_sound
from fastfit.kernels import compiled as _compiled  # noqa: F401  # tells Numba of exp
from fastfit.losses import LOSSES
from fastfit.vector_math import exp, select
from tests.conftest import needs_compiler


class OwnHuber(ff.RobustLoss):
    """The loss of Huber, as a user would write it."""

    tuning = 1.345
    is_convex = True

    @staticmethod
    def point(loss: Any, residual: Any) -> Any:
        c, size = loss.f_scale, abs(residual)
        far = size > c
        weight = select(far, c / select(far, size, 1.0), 1.0)
        value = select(far, 2.0 * c * size - c * c, residual * residual)
        return value, 2.0 * weight * residual, select(far, 0.0, 2.0), weight


@given(z=st.floats(-708.0, 709.0))
def test_exp(z: float) -> None:
    assert float(exp(np.float64(z))) == pytest.approx(float(np.exp(z)), rel=5e-16, abs=0)


@numba.njit
def compiled_exp(z: Any) -> Any:
    return exp(z)


@pytest.mark.parametrize("function", [exp, compiled_exp], ids=["numpy", "compiled"])
def test_exp_of_whatever_holds_numbers(function: Any) -> None:
    ends = [-np.inf, -1e300, -709.0, 0.0, 709.1, 1e300, np.inf, np.nan]
    for z, expected in zip(ends, [0, 0, 0, 1, np.inf, np.inf, np.inf, np.nan], strict=True):
        np.testing.assert_array_equal(function(np.float64(z)), expected)
    numbers: tuple[Any, ...] = (-300.5, -1e-3, 3.3, 50, np.float32(3.3))
    for number in numbers:
        assert float(function(number)) == pytest.approx(
            float(np.exp(np.float64(number))), rel=5e-16
        )
    if function is exp:
        small = np.array([10, -20, 80], np.float32)
        np.testing.assert_allclose(exp(small), np.exp(small.astype(float)), rtol=5e-16)
        assert np.ndim(exp(1.0)) == 0
        np.testing.assert_array_equal(exp(np.array(ends)), [0, 0, 0, 1, *[np.inf] * 3, np.nan])


@pytest.fixture(scope="module")
def points() -> tuple[Any, Any]:
    rng = np.random.default_rng(8)
    x = rng.uniform(-2, 5, 3000)
    return x, 3 * x - 1 + rng.standard_t(2, 3000)


@needs_compiler
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_copy_of_hubers_loss_gives_hubers_line(points: Any, backend: Any) -> None:
    for f_scale in ("mad", 0.7):
        own = ff.fit_line(*points, loss=OwnHuber(f_scale), backend=backend)
        expected = ff.fit_line(*points, loss=ff.Huber(f_scale), backend=backend)
        assert own.slope == pytest.approx(expected.slope, rel=1e-12)
        assert own.intercept == pytest.approx(expected.intercept, rel=1e-12)
        assert own.stderr == pytest.approx(expected.stderr, rel=1e-9)
        assert own.f_scale == pytest.approx(expected.f_scale, rel=1e-7)


def test_the_line_of_an_own_loss_is_where_its_gradient_vanishes(points: Any) -> None:
    x, y = points
    fit = ff.fit_line(x, y, loss=LogCosh(1.5))
    slope = 2 * 1.5 * np.tanh((y - fit.predict(x)) / 1.5)
    assert np.abs([slope.mean(), (slope * x).mean()]).max() < 1e-9
    assert fit.loss == pytest.approx(
        np.mean(2 * 1.5**2 * np.log(np.cosh((y - fit.predict(x)) / 1.5)))
    )


@needs_compiler
def test_own_losses_on_every_kind_of_points(points: Any, tmp_path: Path) -> None:
    x, y = points
    expected = ff.fit_line(x, y, loss=LogCosh(1.5))
    np.save(tmp_path / "t.npy", np.column_stack([x, y]))
    given: list[tuple[Any, Any]] = [(x, y), (ff.scan(tmp_path / "t.npy"), None)]
    array = pytest.importorskip("dask.array")
    given.append((array.from_array(x, chunks=700), array.from_array(y, chunks=700)))
    solvers = (ff.Newton(), ff.GradientDescent())
    for each in given:
        for solver in solvers:
            fit = ff.fit_line(*each, loss=LogCosh(1.5), solver=solver)
            assert fit.slope == pytest.approx(expected.slope, rel=1e-8)
    assert ff.fit_line(x, y, loss=LogCosh, f_scale=1.5).slope == expected.slope
    assert ff.fit_line(x, y, loss=LogCosh).f_scale == pytest.approx(1.2047 * 1.4826 * 0.82, rel=0.1)
    regressor = pytest.importorskip("fastfit.estimator").LineRegressor(loss=LogCosh(1.5))
    assert regressor.fit(x[:, None], y).coef_[0] == expected.slope
    assert pickle.loads(pickle.dumps(LogCosh(1.5))) == LogCosh(1.5)
    value = ff.objective(x, y, loss=LogCosh(1.5)).value((expected.slope, expected.intercept))
    assert value == pytest.approx(expected.loss, rel=1e-12)


@pytest.mark.parametrize(
    "kind", [*(LOSSES[name] for name in LOSSES if name != "squared_error"), LogCosh]
)
def test_losses_that_are_sound(kind: Any) -> None:
    """They pass, and a copy with another weight far out does not."""

    def point(loss: Any, residual: Any) -> Any:
        value, slope, curvature, weight = kind.point(loss, residual)
        return (
            value,
            slope,
            curvature,
            select(abs(residual) > loss.f_scale, 0.99, 1.0) * weight + 1e-3,
        )

    assert require_sound(kind) is None  # type: ignore[func-returns-value]
    with pytest.raises(ValueError, match="Own.point must"):
        require_sound(own(point, tuning=kind.tuning, is_convex=kind.is_convex))


geman_mcclure = GemanMcClure.point


def own(formula: Any, /, **constants: Any) -> Any:
    """Return a class with this formula."""
    given = {"tuning": 3.787, "is_convex": False, "point": staticmethod(formula), **constants}
    return type("Own", (ff.RobustLoss,), given)


def changed(part: int) -> Any:
    """Return a formula of which one part is 1 % too large."""

    def point(loss: Any, residual: Any) -> Any:
        found = list(geman_mcclure(loss, residual))
        found[part] = 1.01 * found[part]
        return tuple(found)

    return point


def lp(p: float) -> Any:
    def point(loss: Any, residual: Any) -> Any:
        z = abs(residual)
        return (
            z**p,
            p * np.sign(residual) * z ** (p - 1),
            p * (p - 1) * z ** (p - 2),
            p / 2 * z ** (p - 2),
        )

    return point


def unscaled(loss: Any, residual: Any) -> Any:
    return geman_mcclure(ff.Cauchy(1.0), residual)


def rising(loss: Any, residual: Any) -> Any:
    square = residual * residual / loss.f_scale**2
    return (
        residual**2 * (1 + square),
        2 * residual * (1 + 2 * square),
        2 + 12 * square,
        1 + 2 * square,
    )


def branching(loss: Any, residual: Any) -> Any:
    return geman_mcclure(loss, residual) if residual > 0 else geman_mcclure(loss, -residual)


def not_finite(loss: Any, residual: Any) -> Any:
    c = loss.f_scale
    value = 2 * c * c * np.log(np.cosh(residual / c))
    tanh = np.tanh(residual / c)
    return value, 2 * c * tanh, 2 - 2 * tanh**2, c * tanh / residual


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (
            own(changed(0)),
            ValueError,
            "must have the derivative of its value as slope; at a residual",
        ),
        (
            own(changed(1)),
            ValueError,
            "must have the derivative of its value as slope; at a residual",
        ),
        (own(changed(2)), ValueError, "must have the derivative of its slope as curvature"),
        (own(changed(3)), ValueError, "must have a weight of 1 at 0"),
        (own(geman_mcclure, is_convex=True), ValueError, "must have a curvature of at least 0"),
        (own(geman_mcclure, is_convex=1), TypeError, "Own.is_convex must be True or False; got 1"),
        (
            own(geman_mcclure, tuning=0),
            ValueError,
            r"tuning must be a number above 0, given .*; got 0",
        ),
        (own(geman_mcclure, tuning=None), TypeError, "Own.tuning must be a number above 0"),
        (own(lp(1.5)), ValueError, "must have a value of 0 at 0|must be near the squared residual"),
        (own(unscaled), ValueError, r"must scale with f_scale, value by its square .*\(value at"),
        (own(rising), ValueError, "must have a weight that does not rise"),
        (own(branching), TypeError, "must take a number, or an array of them .*select in place of"),
        (own(not_finite), ValueError, "must have a finite value; at a residual of"),
        (own(lambda loss, r: (unknown, r, r, r)), NameError, "name 'unknown' is not defined"),  # type: ignore[name-defined]  # noqa: F821
        (own(lambda loss, r: (r, r)), TypeError, "must return value, slope, .*; got 2 numbers"),
        (own(lambda loss, r: 1 / 0), TypeError, "got ZeroDivisionError: division by zero"),
        (own(geman_mcclure, point=geman_mcclure), TypeError, "Own.point must be a staticmethod"),
        (own(geman_mcclure, point=classmethod(geman_mcclure)), TypeError, "must be a staticmethod"),
        (
            own(geman_mcclure, __new__=lambda cls, f_scale="mad": ff.RobustLoss.__new__(cls)),
            TypeError,
            "Own must have no __new__ and no",
        ),
        (own(geman_mcclure, __init__=lambda self: None), TypeError, "write a class for each value"),
        (
            type("Own", (ff.RobustLoss,), {"tuning": 1.0, "is_convex": False}),
            TypeError,
            "Own.point",
        ),
    ],
)
def test_what_is_wrong_with_a_formula(kind: Any, error: type[Exception], message: str) -> None:
    for _ in range(2):  # it is not taken for sound the second time
        with pytest.raises(error, match=f"^Own.*{message.removeprefix('Own')}"):
            kind()


@needs_compiler
def test_a_formula_that_numba_cannot_compile() -> None:
    def with_import(loss: Any, residual: Any) -> Any:
        import math

        return geman_mcclure(loss, residual * math.cos(0.0))

    def with_dict(loss: Any, residual: Any) -> Any:
        return geman_mcclure(loss, residual * {"one": [1.0]}["one"][0])

    x = [0.0, 1.0, 2.0, 3.0]
    for formula, reason in ((with_import, "opcode (IMPORT_NAME)"), (with_dict, "")):
        loss = own(formula)(2.0)
        wrong = "Own.point cannot be compiled by Numba; use numbers, NumPy"
        with pytest.raises(TypeError, match=wrong) as raised:
            ff.fit_line(x, [0.0, 1.0, 2.0, 9.0], loss=loss)
        assert reason in str(raised.value)
        assert "block_sums" not in str(raised.value)
        assert ff.fit_line(x, [0.0, 1.0, 2.0, 9.0], loss=loss, backend="numpy").converged


def test_a_loss_has_no_parameter_but_its_scale() -> None:
    loss = own(geman_mcclure)(2.0)
    loss.k = 0.1
    with pytest.raises(TypeError, match="loss must have no attribute but f_scale; Own has 'k'"):
        ff.fit_line([0.0, 1.0, 2.0], [0.0, 1.0, 3.0], loss=loss)


@pytest.mark.parametrize(
    ("loss", "f_scale", "error", "message"),
    [
        ("Huber", None, ValueError, r"got 'Huber'; did you mean 'huber'\?"),
        ("SoftL1", None, ValueError, r"got 'SoftL1'; did you mean 'soft_l1'\?"),
        ("lad", None, ValueError, "loss must be 'squared_error' or .*; got 'lad'$"),
        (int, None, TypeError, "or such an object; got type <class 'int'>"),
        ("squared_error", 1.0, ValueError, "f_scale must be left out with squared error"),
        (ff.Huber(2.0), 1.0, ValueError, "f_scale must be left out with a loss object"),
        ("huber", -1.0, ValueError, "f_scale must be 'mad' or a finite number above 0; got -1.0"),
    ],
)
def test_names_and_scales(loss: Any, f_scale: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ff.fit_line([0.0, 1.0, 2.0], [0.0, 1.0, 3.0], loss=loss, f_scale=f_scale)


@needs_compiler
def test_classes_and_scales_stand_for_objects(points: Any) -> None:
    expected = ff.fit_line(*points, loss=ff.Tukey(2.0)).to_dict()
    for loss in ("tukey", ff.Tukey):
        assert ff.fit_line(*points, loss=loss, f_scale=2.0).to_dict() == expected
    assert ff.fit_line(*points, loss=ff.SquaredError).message.startswith("Exact")
    assert ff.fit_line(*points, loss=ff.Huber, f_scale="mad").f_scale == (
        ff.fit_line(*points, loss="huber").f_scale
    )
