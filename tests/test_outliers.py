"""Outliers of a line: weights of points, which are far out, and whether these lie to one side."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from tests.conftest import needs_compiler

# Of so many fits and points, loops in Python would take minutes.
pytestmark = needs_compiler

X = np.linspace(0.0, 10.0, 200)


def scattered(seed: int, n: int = 1000) -> tuple[Any, Any, np.random.Generator]:
    """Return x, normal noise, and the generator they are from."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-5, 10, n), rng.normal(0, 1, n), rng


# Weights at residuals of 0, 1, 2 and 20 for f_scale = 2, by the formulas of the literature.
WEIGHTS: dict[str, Any] = {
    "squared_error": [1, 1, 1, 1],
    "huber": [1, 1, 1, 0.1],
    "soft_l1": [1, 1.25**-0.5, 2**-0.5, 101**-0.5],
    "cauchy": [1, 1 / 1.25, 1 / 2, 1 / 101],
    "tukey": [1, 0.75**2, 0, 0],
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_points(name: str) -> None:
    # Through all points but the outermost, which balance each other: the line is y = 3 x + 1 for every loss.
    x = np.concatenate([X, X])
    y = 3 * x + 1 + np.repeat([0.25, -0.25], X.size)
    kind = {"squared_error": ff.SquaredError, "huber": ff.Huber, "soft_l1": ff.SoftL1}
    kind |= {"cauchy": ff.Cauchy, "tukey": ff.Tukey}
    loss = kind[name]() if name == "squared_error" else kind[name](2.0)
    fit = ff.fit_line(x, y, loss=loss)
    at = np.array([0.0, 1.0, 2.0, 20.0])
    places = np.array([5.0, 6.0, 7.0, 8.0])
    for sign in (1, -1):
        found = fit.weights(places, 3 * places + 1 + sign * at)
        np.testing.assert_allclose(found, WEIGHTS[name], atol=1e-12)
    assert np.isnan(fit.weights([1.0, np.nan], [np.nan, 1.0])).all()
    assert fit.weights(5.0, 16.0) == 1.0
    assert isinstance(fit.weights(5.0, 16.0), float)
    with pytest.raises(ValueError, match=r"x and y must have shapes that fit together; got \(2,\)"):
        fit.weights([1.0, 2.0], [1.0, 2.0, 3.0])


def test_weights_where_most_points_lie_on_the_line() -> None:
    y = 0.1 * X + 0.3
    y[::7] += 5.0
    fit = ff.fit_line(X, y, loss="huber")
    assert fit.f_scale == 0.0
    expected = np.ones(X.size)
    expected[::7] = 0.0
    np.testing.assert_array_equal(fit.weights(X, y), expected)
    np.testing.assert_array_equal(fit.is_outlier(X, y), expected == 0.0)


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "tukey"])
def test_outliers_are_those_beyond_three_standard_deviations(loss: str) -> None:
    x, noise, _ = scattered(3, 10_000)
    y = 2 * x + 1 + noise
    y[:1000] += np.tile([20.0, -20.0], 500)
    fit = ff.fit_line(x, y, loss=loss)
    found = fit.is_outlier(x, y)
    assert found[:1000].all()
    # Of normal residuals, 0.27 %; the scale is some 10 % larger by the outliers.
    assert 5 <= found[1000:].sum() <= 30
    assert fit.is_outlier(0.0, 1.0) is False
    assert fit.is_outlier(0.0, 9.0) is True
    assert not fit.is_outlier(0.0, np.nan)


def test_outliers_of_least_squares() -> None:
    x, noise, _ = scattered(4)
    fit = ff.fit_line(x, 2 * x + 1 + noise)
    bound = 3 * fit.residual_std
    around = fit.predict(0.0) + np.array([-1.01, -0.99, 0.99, 1.01]) * bound
    assert fit.is_outlier(np.zeros(4), around).tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match="is_outlier has no sigma of these points"):
        ff.fit_line(x, noise, sigma=0.5).is_outlier(x, noise)


@pytest.mark.parametrize("n", [51, 5001])
@pytest.mark.parametrize("kind", ["arrays", "weights", "lists", "files", "big numbers", "dask"])
def test_median_of_absolute_residuals(kind: str, n: int, tmp_path: Any) -> None:
    x, noise, rng = scattered(5, n)
    w = None
    y = 2 * x + 1 + noise
    given: dict[str, Any] = {"x": x, "y": y}
    if kind == "weights":
        w = rng.integers(0, 4, x.size).astype(float)
        given["sample_weight"] = w
    elif kind == "lists":
        x, y = x[:51], y[:51]
        given = {"x": x.tolist(), "y": y.tolist()}
    elif kind == "files":
        np.save(tmp_path / "t.npy", np.column_stack([x, y]))
        given = {"x": ff.scan(tmp_path / "t.npy")}
    elif kind == "big numbers":
        x, y = 1e200 * x, 1e140 * y
        given = {"x": x, "y": y}
    elif kind == "dask":
        array = pytest.importorskip("dask.array")
        given = {name: array.from_array(values, chunks=999) for name, values in given.items()}
    fit = ff.fit_line(**given, loss="huber")
    residual = abs(y - fit.predict(x))
    if w is not None:
        residual = np.repeat(residual, w.astype(int))
    assert fit.median_abs_residual == pytest.approx(np.median(residual), rel=1e-12)


@pytest.mark.parametrize("n", [50, 2000])
@pytest.mark.parametrize("where", ["x", "y", "times"])
def test_large_integers_and_times_keep_their_digits(where: str, n: int) -> None:
    """Medians, weights and outliers are those of the same points without the large offset."""
    rng, k = np.random.default_rng(9), np.arange(n)
    y = 2 * k + rng.integers(-3, 4, n)
    y[5] += 900
    offset = 1_700_000_000_000_000_001
    x, v = k + offset * (where == "x"), y + offset * (where == "y")
    at = (k + offset).astype("datetime64[ns]") if where == "times" else x
    plain, fit = ff.fit_line(k, y, loss="huber"), ff.fit_line(at, v, loss="huber")
    assert fit.median_abs_residual == pytest.approx(plain.median_abs_residual, rel=1e-7)
    np.testing.assert_allclose(fit.weights(at, v), plain.weights(k, y), rtol=1e-6)
    assert np.flatnonzero(fit.is_outlier(at, v)).tolist() == [5]


def test_what_cannot_be_told_of_a_point_is_nan() -> None:
    x, noise, _ = scattered(4, 50)
    fit = ff.fit_line(x, noise, loss="huber")
    assert np.isnan(fit.weights([np.inf, 0.0], [np.inf, np.nan])).all()
    assert not fit.is_outlier([np.inf, 0.0], [np.inf, np.nan]).any()
    masked = np.ma.masked_array(noise, mask=np.arange(50) == 3)
    assert np.flatnonzero(np.isnan(fit.weights(x, masked))).tolist() == [3]
    missing = ff.fit_line(x, np.where(x > 0, np.nan, x), loss="huber", nan_policy="propagate")
    assert np.isnan(missing.weights(x, noise)).all()
    assert not missing.is_outlier(x, noise).any()


def test_the_median_of_points_that_are_gone_is_that_of_a_sample() -> None:
    x, noise, rng = scattered(6, 50_000)
    for w in (None, rng.uniform(0, 2, x.size)):
        fit = ff.fit_line(x.tolist(), noise.tolist(), sample_weight=w)
        copied = pickle.loads(pickle.dumps(fit))
        # A sample of a thousand knows it to some 4 %.
        assert fit.median_abs_residual == pytest.approx(np.median(abs(noise)), rel=0.15)
        assert "median |residual|" in fit.summary()
        assert "about 0." in fit.summary()
        with pytest.raises(ValueError, match="needs points: moments have none, and a pickle"):
            _ = copied.median_abs_residual
    with pytest.raises(ValueError, match="median_abs_residual needs points: moments have none"):
        _ = ff.Moments.of([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]).fit().median_abs_residual


@pytest.mark.parametrize("loss", ["huber", "soft_l1"])
@pytest.mark.parametrize("is_one_sided", [True, False])
def test_outliers_to_one_side_are_told(loss: str, is_one_sided: bool) -> None:
    """Of 100 data sets with 5 to 30 % of outliers: at least 95 to one side, at most 2 to both."""
    told = 0
    for seed in range(100):
        x, noise, rng = scattered(seed, int(rng_between(seed, 300, 3000)))
        out = rng.random(x.size) < rng.uniform(0.05, 0.3)
        signs = rng.choice([-1, 1], out.sum()) if not is_one_sided else rng.choice([-1, 1])
        noise[out] += signs * (rng.uniform(3, 6) + rng.exponential(5.0, out.sum()))
        fit = ff.fit_line(x, 2 * x + 1 + 1e3 * noise, loss=loss)
        told += "far above the line" in fit.message
    assert told >= 95 if is_one_sided else told <= 2


def rng_between(seed: int, low: float, high: float) -> float:
    """Return a number between these, evenly spread on a logarithmic scale."""
    return float(low * (high / low) ** np.random.default_rng(seed).random())


def test_what_the_message_says_of_outliers_is_true(tmp_path: Any) -> None:
    x, noise, rng = scattered(7, 1000)
    y = 2 * x + 1 + noise
    y[:100] += 5 + rng.exponential(5.0, 100)
    fit = ff.fit_line(x, y, loss="huber")
    assert (
        fit.intercept - 1.0 > 4 * fit.intercept_stderr
    )  # 34 standard errors, without a word, once
    assert abs(ff.fit_line(x, y, loss="tukey").intercept - 1.0) < 0.1
    assert fit.f_scale is not None
    spread = fit.f_scale / 1.345
    far = y - fit.predict(x)
    above, below = (far > 2.5 * spread).sum(), (far < -2.5 * spread).sum()
    assert (
        f"Of 1,000 points looked at, {above} lie far above the line and {below} far below, which shifts the intercept "
        "of Huber: if these are outliers, pass loss='tukey'"
    ) in fit.message
    assert "far above the line" in fit.summary()
    assert pickle.loads(pickle.dumps(fit)).message == fit.message
    # As many points by their weights.
    weighted = ff.fit_line(x, y, loss="huber", sample_weight=np.full(x.size, 1e-3))
    assert f"{above} lie far above" in weighted.message
    zero = ff.fit_line(x, y, loss="huber", sample_weight=np.r_[np.zeros(100), np.ones(900)])
    assert zero.message == ff.Status.CONVERGED.value
    # Larger files are judged by their sample.
    np.save(tmp_path / "t.npy", np.tile(np.column_stack([x, y]), (5000, 1)))
    assert "far above the line" in ff.fit_line(ff.scan(tmp_path / "t.npy"), loss="huber").message
    # A line that did not converge is no line to judge them by.
    solver = ff.GradientDescent(max_iter=2, learning_rate=1e-3)
    with pytest.warns(ff.ConvergenceWarning):
        stopped = ff.fit_line(x, y, loss="huber", solver=solver)
    assert "far above" not in stopped.message
    # Tukey's loss leaves them out, and so does Cauchy's, nearly.
    for loss in ("tukey", "cauchy"):
        assert ff.fit_line(x, y, loss=loss).message == ff.Status.CONVERGED.value
