"""Robust lines through many series: each is the line that fit_line finds, whatever the others hold."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit.losses import LOSSES
from tests.conftest import COMPILED, compiles_much, needs_compiler

ROBUST = [name for name in LOSSES if name != "squared_error"]
_OTHERS = [pytest.param(name, marks=compiles_much) for name in ROBUST if name != "huber"]
pytestmark = compiles_much
FIELDS = ("slope", "intercept", "loss", "f_scale", "stderr", "intercept_stderr", "residual_std")
SIGMA = 0.5


class GemanMcClure(ff.RobustLoss):
    tuning = 3.787
    is_convex = False

    @staticmethod
    def point(loss: Any, residual: Any) -> Any:
        share = 1.0 / (1.0 + (residual / loss.f_scale) ** 2)
        weight = share * share
        return (
            residual**2 * share,
            2.0 * weight * residual,
            2.0 * weight * (4.0 * share - 3.0),
            weight,
        )


def series(rng: np.random.Generator, n: int, *shape: int) -> tuple[Any, Any]:
    """Return x and values along the first axis, with gaps and up to 40 % of outliers."""
    x = np.arange(n) * 0.25 - 3.0
    y = SIGMA * rng.normal(size=(n, *shape)) + 0.3 * x.reshape(-1, *(1 for _ in shape))
    far = rng.random(y.shape) < rng.uniform(0.0, 0.4, size=shape)
    y[far] += 10.0 * rng.normal(size=np.count_nonzero(far))
    y[rng.random(y.shape) < 0.08] = np.nan
    return x, y


def assert_agrees(fits: Any, place: Any, line: Any, rel: float = 1e-9) -> None:
    """Require that a line, and the LineFit of it, are those of fit_line."""
    one = fits[place]
    for name in FIELDS:
        expected = getattr(line, name)
        slack = 1e-9 * line.intercept_stderr if name == "intercept" else 0.0
        assert getattr(fits, name)[place] == pytest.approx(expected, rel=rel, abs=slack), name
        assert getattr(one, name) == pytest.approx(expected, rel=rel, abs=slack), name
    for name in ("rvalue", "n_points", "n_omitted"):
        assert getattr(fits, name)[place] == pytest.approx(getattr(line, name), rel=1e-12), name
    assert one.status is fits.status[place] is line.status
    errors = np.maximum(np.sqrt(np.diag(line.covariance)), 1e-150)
    size = np.outer(errors, errors)
    for covariance in (fits.covariance[place], one.covariance):
        np.testing.assert_allclose(covariance / size, line.covariance / size, atol=1e-8)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"sample_weight": True},
    "origin": {"fit_intercept": False},
    "own x": {"own_x": True},
    "float32": {"dtype": np.float32},
}


@needs_compiler
@pytest.mark.parametrize("f_scale", [1.0, "mad"])
@pytest.mark.parametrize(
    "given",
    [
        "plain",
        "origin",
        *(pytest.param(k, marks=compiles_much) for k in ("weights", "own x", "float32")),
    ],
)
def test_each_line_is_that_of_fit_line(given: str, f_scale: Any, rng: np.random.Generator) -> None:
    options = dict(OPTIONS[given])
    x, y = series(rng, 60, 3, 2)
    y = y.astype(options.pop("dtype", np.float64))
    weights = rng.integers(0, 4, size=y.shape) * 0.5 if options.pop("sample_weight", 0) else None
    if options.pop("own_x", False):
        x = x[:, None, None] + rng.normal(size=y.shape)
    fits = ff.fit_lines(x, y, loss="huber", f_scale=f_scale, sample_weight=weights, **options)
    assert fits.shape == (3, 2)
    for place in np.ndindex(3, 2):
        whole = (slice(None), *place)
        own_x = x if x.ndim == 1 else x[whole]
        line = ff.fit_line(
            *(own_x, y[whole].astype(np.float64)),
            loss=ff.Huber(f_scale),
            sample_weight=None if weights is None else weights[whole],
            nan_policy="omit",
            **options,
        )
        assert_agrees(fits, place, line)
        assert fits.pvalue[place] == pytest.approx(line.pvalue, rel=1e-6)
        np.testing.assert_allclose(fits.conf_int(0.9)[place], line.conf_int(0.9), rtol=1e-8)
        np.testing.assert_allclose(fits[place].conf_int(0.9), line.conf_int(0.9), rtol=1e-8)
        for predicted in (fits.predict(2.5)[place], fits[place].predict(2.5)):
            assert predicted == pytest.approx(line.predict(2.5), rel=1e-9)


@needs_compiler
@pytest.mark.parametrize("f_scale", ["given", "mad"])
@pytest.mark.parametrize("loss", ["huber", *_OTHERS])
def test_the_minima_are_those_of_fit_line(
    loss: str, f_scale: str, rng: np.random.Generator
) -> None:
    kind: Any = LOSSES[loss]
    found_loss = kind(kind.tuning * SIGMA if f_scale == "given" else "mad")
    others = 0
    for n in (20, 45, 130):
        x, y = series(rng, n, 40)
        fits = ff.fit_lines(x, y, loss=found_loss)
        for k in range(40):
            line = ff.fit_line(x, y[:, k], loss=found_loss, nan_policy="omit")
            assert fits.status[k] is line.status is ff.Status.CONVERGED
            assert fits.f_scale is not None
            assert fits.f_scale[k] == pytest.approx(line.f_scale, rel=1e-6)
            assert fits.loss[k] <= line.loss * (1.0 + (1e-12 if f_scale == "given" else 1e-6))
            if abs(fits.slope[k] - line.slope) > 1e-6 * line.stderr:
                others += 1
                continue
            assert fits.stderr[k] == pytest.approx(line.stderr, rel=1e-7)
    assert others == 0


@pytest.mark.parametrize(
    "loss", ["huber", *_OTHERS, pytest.param(GemanMcClure, marks=compiles_much)]
)
def test_the_reference_finds_the_same_lines(loss: Any, rng: np.random.Generator) -> None:
    x, y = series(rng, 40, 2)
    cases: list[dict[str, Any]] = [{"f_scale": 1.5}, {}]
    for options in cases:
        fits, reference = (
            ff.fit_lines(x, y, loss=loss, **options, backend=each) for each in ("numba", "numpy")
        )
        np.testing.assert_array_equal(fits.codes, reference.codes)
        for name in FIELDS:
            pair = getattr(fits, name), getattr(reference, name)
            np.testing.assert_allclose(*pair, rtol=1e-7, atol=1e-8, err_msg=name)


@needs_compiler
@pytest.mark.long
@pytest.mark.parametrize("layout", ["rows", "lines", "blocks"])
def test_bits_depend_on_the_line_alone(layout: str, rng: np.random.Generator) -> None:
    x, y = series(rng, 60, 600)

    def fitted(values: Any, **options: Any) -> Any:
        if layout == "lines":
            return ff.fit_lines(x, np.ascontiguousarray(values.T), axis=1, loss="huber", **options)
        if layout == "blocks":
            own = np.repeat(x[:, None], values.shape[1], axis=1)
            return ff.fit_lines(own, values, loss="huber", **options)
        return ff.fit_lines(x, np.ascontiguousarray(values), loss="huber", **options)

    def same(fits: Any, others: Any) -> None:
        for name in (*FIELDS, "codes"):
            np.testing.assert_array_equal(getattr(fits, name), getattr(others, name))

    whole = fitted(y)
    for n_threads in (1, 2):
        same(fitted(y, n_threads=n_threads), whole)
    same(fitted(y[:, 5:80]), whole[5:80])
    spoilt = y.copy()
    spoilt[3, 1:5] = 1e200
    with pytest.warns(ff.ConvergenceWarning, match="4 of 600 lines"):
        same(fitted(spoilt)[5:], whole[5:])


def test_bad_lines_spoil_no_other(rng: np.random.Generator) -> None:
    x, y = series(rng, 30, 8)
    w = np.ones(y.shape)
    good = ff.fit_lines(x, y, loss="huber", sample_weight=w)
    y[4, 1] = -1e200
    y[1:, 2] = np.nan
    w[:, 3] = 0.0
    w[5, 4] = -1.0
    y[:, 5] = np.where(np.arange(30) % 4 > 0, 2.0 + x, y[:, 5])
    y[:, 6] = 1.0 - 2.0 * x
    with pytest.warns(ff.ConvergenceWarning, match="4 of 8 lines could not be fitted"):
        fits = ff.fit_lines(x, y, loss="huber", sample_weight=w)
    assert [each.name for each in fits.status] == [
        *("CONVERGED", "INFINITE", "TOO_FEW_POINTS", "BAD_WEIGHTS", "BAD_WEIGHTS"),
        *("CONVERGED", "CONVERGED", "CONVERGED"),
    ]
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(fits, name)[[0, 7]], getattr(good, name)[[0, 7]])
        assert np.isnan(getattr(fits, name)[1:5]).all()
    # A majority on a line, and all points on one: the scale is 0.
    np.testing.assert_allclose(fits.slope[5:7], [1.0, -2.0])
    assert fits.f_scale is not None
    np.testing.assert_array_equal(fits.f_scale[5:7], [0.0, 0.0])
    assert math.isnan(fits.stderr[5])
    assert math.isnan(fits[5].stderr)


def test_the_same_x() -> None:
    y = np.arange(12.0).reshape(4, 3)
    own = np.repeat(np.arange(4.0)[:, None], 3, axis=1)
    own[:, 1] = 2.0
    with pytest.warns(ff.ConvergenceWarning, match="1 constant x"):
        fits = ff.fit_lines(own, y, loss="huber", f_scale=1.0)
    assert fits.converged.tolist() == [True, False, True]


def test_a_scale_far_too_small(rng: np.random.Generator) -> None:
    x, y = series(rng, 30, 3)
    y[:, [0, 2]] *= 1e145
    with pytest.warns(ff.ConvergenceWarning, match="2 undetermined"):
        fits = ff.fit_lines(x, y, loss="tukey", f_scale=1.0)
    assert fits.converged.tolist() == [False, True, False]
    assert fits.status[0] is ff.Status.UNDETERMINED
    assert np.isnan(fits.slope[[0, 2]]).all()
    assert "UNDETERMINED" in str(fits.to_dict()["status"])
    with pytest.warns(ff.ConvergenceWarning, match="3 undetermined"):
        assert not ff.fit_lines(x, y, loss="huber", f_scale=1e-200).converged.any()


@needs_compiler
@pytest.mark.long
@pytest.mark.parametrize("loss", [GemanMcClure, GemanMcClure(2.0)])
def test_a_loss_of_your_own(loss: Any, rng: np.random.Generator) -> None:
    x, y = series(rng, 50, 3)
    fits = ff.fit_lines(x, y, loss=loss)
    for k in range(3):
        assert_agrees(fits, k, ff.fit_line(x, y[:, k], loss=loss, nan_policy="omit"), rel=1e-7)


def test_times(rng: np.random.Generator) -> None:
    _, y = series(rng, 30, 2)
    days = np.datetime64("2024-03-01") + np.arange(30)
    fits = ff.fit_lines(days, y, loss="huber", f_scale=1.0, datetime_unit="D")
    for k in range(2):
        line = ff.fit_line(
            *(days, y[:, k]), loss=ff.Huber(1.0), nan_policy="omit", datetime_unit="D"
        )
        assert_agrees(fits, k, line, rel=1e-8)
        np.testing.assert_allclose(fits.predict(days)[:, k], line.predict(days), rtol=1e-10)


def test_values_of_any_size(rng: np.random.Generator) -> None:
    x, y = series(rng, 30, 2)
    fits = ff.fit_lines(x, y, loss="tukey")
    for factor in (2.0**300, 2.0**-300):
        scaled = ff.fit_lines(x, y * factor, loss="tukey")
        for name in ("slope", "f_scale", "stderr"):
            pair = getattr(scaled, name) / factor, getattr(fits, name)
            np.testing.assert_allclose(*pair, rtol=1e-12, err_msg=name)
            assert getattr(scaled[0], name) == pytest.approx(getattr(scaled, name)[0], rel=1e-9)


@needs_compiler
@pytest.mark.long
def test_many_points_of_a_line(rng: np.random.Generator) -> None:
    x, y = series(rng, 20_000, 2)
    for loss in ("huber", "tukey"):
        fits = ff.fit_lines(x, y, loss=loss)
        for k in range(2):
            assert_agrees(fits, k, ff.fit_line(x, y[:, k], loss=loss, nan_policy="omit"), rel=1e-7)


def test_arguments() -> None:
    x, y = [0.0, 1.0, 2.0, 3.0], np.ones((4, 2))
    with pytest.raises(ValueError, match="sigma must be None unless loss is 'squared_error'"):
        ff.fit_lines(x, y, loss="huber", sigma=x)
    with pytest.raises(ValueError, match="f_scale must be left out with squared error"):
        ff.fit_lines(x, y, f_scale=1.0)
    with pytest.raises(ValueError, match="loss must be"):
        ff.fit_lines(x, y, loss="hubert")
    assert ff.fit_lines(x, y).f_scale is None
    flat = ff.fit_lines(x, y, loss="huber")
    assert (flat.slope == 0.0).all()
    assert (flat.loss == 0.0).all()


def test_what_is_shown(rng: np.random.Generator) -> None:
    x, y = series(rng, 30, 4)
    fits = ff.fit_lines(x, y, loss=ff.Huber(1.0))
    assert "f_scale" in fits.to_dict()
    assert fits.f_scale is not None
    assert (fits.f_scale == 1.0).all()
    assert "f_scale" in fits[0].summary()
    assert fits[1:][0].slope == fits[1].slope
    assert np.isnan(fits[0].prediction_band(0.0)).all()
    fits.plot()


def test_a_search_that_does_not_end_has_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    if COMPILED:
        pytest.skip("changes what is compiled")
    monkeypatch.setattr("fastfit.kernels.robust_lines.MOST_STEPS", 1)
    rng = np.random.default_rng(0)
    x, y = series(rng, 30, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits = ff.fit_lines(x, y, loss="huber", f_scale=0.5)
    assert any("2 of 2 lines did not converge" in str(each.message) for each in caught)
    assert fits.status[0] is ff.Status.MAX_ITER
    assert np.isfinite(fits.slope).all()
    assert np.isnan(fits.stderr).all()
    assert "2 not converged" in repr(fits)
    assert math.isnan(fits[0].stderr)
