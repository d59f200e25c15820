"""Whole fits, validation and Python included."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from bench.measure import bare_read, heavy_tailed, loss_of, points, ratio, times
from fastfit.losses import LOSSES

SOLVERS: dict[str, Any] = {
    "exact": ff.Exact(),
    "descent": ff.GradientDescent(),
    "descent-samples": ff.GradientDescent(passes="samples"),
}


@pytest.mark.parametrize("n", [1_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("solver", SOLVERS)
def test_fit(benchmark: Any, solver: str, n: int) -> None:
    x, y = points(n)
    fit = benchmark(ff.fit_line, x, y, solver=SOLVERS[solver])
    expected = np.polyfit(x, y, 1)
    np.testing.assert_allclose([fit.slope, fit.intercept], expected, rtol=1e-9)
    _note(benchmark, x, y, fit.n_passes, lambda: ff.fit_line(x, y, solver=SOLVERS[solver]))


@pytest.mark.parametrize("n", [1_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("scale", ["fixed", "mad"])
@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "squared_error"])
def test_robust_fit(benchmark: Any, loss: str, scale: str, n: int) -> None:
    x, y = heavy_tailed(n)
    chosen = LOSSES[loss]() if scale == "mad" else loss_of(loss, 2.0)
    fit = benchmark(ff.fit_line, x, y, loss=chosen)
    assert fit.converged
    assert abs(fit.slope - 0.5) < 5 * fit.stderr
    _note(benchmark, x, y, fit.n_passes, lambda: ff.fit_line(x, y, loss=chosen))


@pytest.mark.parametrize("n", [1_000, 1_000_000])
@pytest.mark.parametrize("passes", ["samples", "moments"])
def test_a_hundred_raw_steps(benchmark: Any, passes: str, n: int) -> None:
    x, y = points(n)
    solver = ff.GradientDescent(
        init=(-2.0, 1.0),
        learning_rate=0.01,
        standardize=False,
        max_iter=100,
        record_every=10,
        passes=passes,
    )

    def descend() -> ff.LineFit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ff.ConvergenceWarning)
            return ff.fit_line(x, y, solver=solver)

    fit = benchmark(descend)
    slope, intercept = -2.0, 1.0
    for _ in range(100):
        residual = y - (slope * x + intercept)
        slope += 0.01 * 2 * np.mean(residual * x)
        intercept += 0.01 * 2 * np.mean(residual)
    np.testing.assert_allclose([fit.slope, fit.intercept], [slope, intercept], rtol=1e-12)
    _note(benchmark, x, y, fit.n_passes, descend)


def _note(benchmark: Any, x: Any, y: Any, n_passes: int, fit: Any) -> None:
    benchmark.extra_info.update(
        points=x.size, passes=n_passes, bytes=n_passes * (x.nbytes + y.nbytes)
    )
    if not benchmark.enabled:
        return
    found = times({"fit": fit, "read": lambda: bare_read(x, y)}, rounds=5)
    benchmark.extra_info.update(
        points_per_second=x.size / benchmark.stats.stats.median,
        share_of_read_limit=n_passes / ratio(found, "fit", "read"),
    )
