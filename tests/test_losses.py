"""The formulas of losses, and laws that hold for each of them."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

import fastfit as ff
from fastfit.losses import LOSSES, MAD_TO_STD, RobustLoss
from fastfit.vector_math import log1p
from tests.conftest import loss_of

ROBUST: dict[str, Any] = {
    name: kind for name, kind in LOSSES.items() if issubclass(kind, RobustLoss)
}
RESIDUALS = np.linspace(-12.0, 12.0, 2401)

# As the docstrings have them, written another way.
FORMULAS: dict[str, Any] = {
    "squared_error": lambda r, c: r**2,
    "huber": lambda r, c: np.where(np.abs(r) <= c, r**2, 2 * c * np.abs(r) - c**2),
    "soft_l1": lambda r, c: 2 * c**2 * np.expm1(0.5 * np.log1p((r / c) ** 2)),
    "cauchy": lambda r, c: c**2 * np.log1p((r / c) ** 2),
    "tukey": lambda r, c: np.where(
        np.abs(r) <= c, c**2 / 3 * (1 - (1 - (r / c) ** 2) ** 3), c**2 / 3
    ),
}


def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
    found = loss.point(loss, np.asarray(residual, dtype=float))
    return tuple(np.broadcast_to(part, np.shape(residual)) for part in found)  # type: ignore[return-value]


@pytest.mark.parametrize("f_scale", [0.01, 1.5, 300.0])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_is_that_of_the_formula(name: str, f_scale: float) -> None:
    value, *_ = point(loss_of(name, f_scale), RESIDUALS)
    expected = FORMULAS[name](RESIDUALS, f_scale)
    # The formula of tukey loses digits by cancellation: an ulp of c**2.
    atol = 4e-16 * f_scale**2 * (name == "tukey")
    np.testing.assert_allclose(value, expected, rtol=1e-14, atol=atol)


@pytest.mark.parametrize("f_scale", [0.7, 4.0])
@pytest.mark.parametrize("name", LOSSES)
def test_slope_and_curvature_are_derivatives(name: str, f_scale: float) -> None:
    loss = loss_of(name, f_scale)
    step = 1e-5
    # Not across the kink that a slope or curvature may have at f_scale.
    r = RESIDUALS[np.abs(np.abs(RESIDUALS) - f_scale) > 2 * step]
    value, *derivatives = point(loss, r)[:3]
    change = np.subtract(point(loss, r + step)[:2], point(loss, r - step)[:2]) / (2 * step)
    # Rounding of values over the step; the third derivative times its square is less.
    np.testing.assert_allclose(change, derivatives, rtol=1e-8, atol=1e-9)
    assert (value >= 0.0).all()


@pytest.mark.parametrize("name", LOSSES)
@given(residual=st.floats(-1e6, 1e6), f_scale=st.floats(1e-3, 1e3))
def test_squared_residual_to_leading_order(name: str, residual: float, f_scale: float) -> None:
    small = residual * 1e-10 * f_scale
    value, slope, curvature, weight = (float(part) for part in point(loss_of(name, f_scale), small))
    # A residual of 1e-4 f_scale bends a loss by its square.
    found, expected = (value, slope, curvature, weight), (small * small, 2 * small, 2.0, 1.0)
    assert found == pytest.approx(expected, rel=1e-7, abs=0)


@pytest.mark.parametrize("name", LOSSES)
def test_weight_makes_a_parabola_that_lies_nowhere_below(name: str) -> None:
    """What makes a step of weighted least squares safe."""
    loss = loss_of(name, 1.5)
    value, slope, curvature, weight = point(loss, RESIDUALS)
    np.testing.assert_allclose(slope, 2 * weight * RESIDUALS, rtol=1e-14, atol=1e-300)
    assert (curvature <= 2.0).all()
    assert name not in ROBUST or bool((curvature >= 0.0).all()) == ROBUST[name].is_convex
    assert (np.diff(weight[RESIDUALS >= 0]) <= 1e-16).all()
    for i in range(0, RESIDUALS.size, 100):
        parabola = value[i] + weight[i] * (RESIDUALS**2 - RESIDUALS[i] ** 2)
        assert (parabola >= value - 1e-12).all()


@pytest.mark.parametrize("name", LOSSES)
def test_symmetric_and_scaled(name: str) -> None:
    there, back = point(loss_of(name, 1.5), RESIDUALS), point(loss_of(name, 1.5), -RESIDUALS)
    larger = point(loss_of(name, 6.0), 4.0 * RESIDUALS)
    for part, (sign, power) in enumerate(((1, 16), (-1, 4), (1, 1), (1, 1))):
        np.testing.assert_array_equal(back[part], sign * there[part])
        np.testing.assert_array_equal(larger[part], power * there[part])


@pytest.mark.parametrize("name", ROBUST)
def test_tuning_constant_gives_95_percent_efficiency(name: str) -> None:
    """The variance of least squares over that of the loss, for normal residuals."""
    c = ROBUST[name].tuning
    loss = loss_of(name, c)

    def mean(function: Any) -> float:
        pieces = [(-np.inf, -c), (-c, c), (c, np.inf)]
        return sum(
            integrate.quad(lambda r: function(r) * stats.norm.pdf(r), *piece, epsabs=1e-12)[0]
            for piece in pieces
        )

    bend = mean(lambda r: float(point(loss, r)[2]))
    square = mean(lambda r: float(point(loss, r)[1]) ** 2)
    # Constants are customarily rounded to three or four digits.
    assert bend**2 / square == pytest.approx(0.95, abs=2e-5)
    assert stats.norm.ppf(0.75) * MAD_TO_STD == pytest.approx(1.0, rel=1e-15)


@given(z=st.floats(1e-307, 1e300))
def test_log1p(z: float) -> None:
    assert float(log1p(np.float64(z))) == pytest.approx(math.log1p(z), rel=7e-16, abs=0)


def test_log1p_on_the_edges() -> None:
    root = math.sqrt(2.0) - 1.0
    z = np.array([0, 1e-307, 1e-300, 1e-17, 2**-53, root, np.nextafter(root, 1), 1, 3, 2.0**53])
    np.testing.assert_allclose(log1p(z), np.log1p(z), rtol=7e-16)
    beyond = np.array([np.nan, np.inf])
    np.testing.assert_array_equal(log1p(beyond), beyond)


@pytest.mark.parametrize("name", LOSSES)
def test_nan_shows(name: str) -> None:
    assert np.isnan(point(loss_of(name), np.array([np.nan]))[0]).all()


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize(
    ("f_scale", "kind", "came"),
    [
        (0.0, ValueError, "0.0"),
        (-1.0, ValueError, "-1.0"),
        (math.nan, ValueError, "nan"),
        (math.inf, ValueError, "inf"),
        ("MAD", ValueError, "'MAD'"),
        (None, TypeError, "None"),
        (True, TypeError, "True"),
        ([1.0], TypeError, r"\[1.0\]"),
    ],
)
def test_bad_f_scale(name: str, f_scale: Any, kind: type[Exception], came: str) -> None:
    with pytest.raises(kind, match=f"f_scale must be 'mad' or a finite number above 0; .*{came}"):
        ROBUST[name](f_scale)


def test_losses_are_values() -> None:
    assert ff.Huber(2) == ff.Huber(2.0)
    assert ff.Huber(2.0) != ff.SoftL1(2.0)
    assert ff.Huber(2.0) != ff.Huber(3.0)
    assert hash(ff.Huber(2)) == hash(ff.Huber(2.0))
    assert len({ff.Huber(), ff.SoftL1(), ff.Huber("mad")}) == 2
    assert repr(ff.Cauchy(0.25)) == "Cauchy(f_scale=0.25)"
    assert type(ff.Cauchy(np.float64(0.25)).f_scale) is float
    for loss in (ff.Tukey(), ff.Tukey(1.5)):
        assert pickle.loads(pickle.dumps(loss)) == copy.deepcopy(loss) == loss
