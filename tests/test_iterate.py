"""The loop over steps: what ends it, and what a rule and an observer see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit import Status
from fastfit.losses import LOSSES
from fastfit.points.dask import DaskPoints
from fastfit.points.opening import points_of
from fastfit.solvers.iterate import iterate
from tests.conftest import needs_compiler
from tests.test_newton import heavy, problem


class Halving:
    """Halve a number until it is at most 1; step nowhere from an odd one."""

    def check(self, state: int) -> Status | None:
        return Status.CONVERGED if state <= 1 else None

    def step(self, state: int) -> int | None:
        return None if state % 2 else state // 2


@pytest.mark.parametrize(
    ("start", "max_iter", "before", "outcome"),
    [
        (8, 10, 0, (1, 3, Status.CONVERGED)),
        (8, 3, 0, (1, 3, Status.CONVERGED)),
        (8, 2, 0, (2, 2, Status.MAX_ITER)),
        (8, 2, 5, (2, 7, Status.MAX_ITER)),
        (12, 10, 0, (3, 2, Status.STALLED)),
        (1, 10, 0, (1, 0, Status.CONVERGED)),
        (8, 0, 0, (8, 0, Status.MAX_ITER)),
    ],
)
def test_what_ends_the_loop(start: int, max_iter: int, before: int, outcome: Any) -> None:
    assert iterate(Halving(), start, max_iter, n_iter=before) == outcome


def test_an_observer_sees_every_state_and_may_stop_the_loop() -> None:
    seen = []

    def record(n_iter: int, state: int) -> bool:
        seen.append((n_iter, state))
        return state == 2

    assert iterate(Halving(), 8, 9, record=record) == (2, 2, Status.STOPPED)
    assert seen == [(0, 8), (1, 4), (2, 2)]
    # A fit that has converged anyway says so.
    assert iterate(Halving(), 1, 9, record=lambda *_: True).status is Status.CONVERGED


@pytest.mark.parametrize("loss", ["huber", "tukey"])
def test_passes_over_points_outside_memory_are_limited(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask.array as da

    x, y = (da.from_array(values, chunks=1000) for values in heavy(1, 3000, slope=0.5))
    monkeypatch.setattr(DaskPoints, "max_passes", 4)
    with pytest.warns(ff.ConvergenceWarning, match=r"read 200 times before"):
        fit = ff.fit_line(x, y, loss=loss)
    assert fit.status is Status.MAX_PASSES
    assert fit.n_passes <= 40  # each stage that is left ends after one more
    assert np.isfinite([fit.slope, fit.intercept]).all()
    monkeypatch.undo()
    assert ff.fit_line(x, y, loss=loss).converged


@pytest.mark.parametrize("exponent", [-500, 500])
def test_numbers_are_reported_in_the_units_of_the_caller(exponent: int) -> None:
    """Data so large or small are scaled by a power of two; what is reported is scaled back."""
    x, y = heavy(2, 200)
    plain = ff.fit_line(x, y, loss="huber")
    scaled = ff.fit_line(x, np.ldexp(y, exponent), loss="huber")
    assert plain.f_scale is not None
    assert scaled.f_scale == pytest.approx(np.ldexp(plain.f_scale, exponent), rel=1e-9)
    # Products of deviations, of which one is large and one small, stay in range.
    moments = ff.Moments.of(np.ldexp(x, exponent), np.ldexp(y, -exponent // 2))
    assert moments.sums.exponents != (0, 0)
    expected = np.ldexp(ff.Moments.of(x, y).xy, exponent - exponent // 2)
    assert moments.xy == pytest.approx(expected, rel=1e-12)


def elsewhere(x: Any, y: Any, max_passes: int = 200) -> Any:
    """Return points that claim to be outside memory."""
    points: Any = points_of(x, y)
    points.max_passes = max_passes
    return points


@pytest.mark.parametrize("name", ["huber", "soft_l1", "cauchy", "tukey"])
@pytest.mark.parametrize("f_scale", ["mad", 0.01])
@pytest.mark.parametrize("limit", [1, 5, 20])
def test_a_limit_on_passes_ends_the_fit(name: str, f_scale: Any, limit: int) -> None:
    kind: Any = LOSSES[name]
    for seed in (1, 2, 3):
        x, y, _ = problem(seed)
        points = elsewhere(x, y, limit)
        solution = ff.Newton().solve(points, kind(f_scale))
        if solution.status is Status.CONVERGED:
            assert solution.slope == ff.Newton().solve(points_of(x, y), kind(f_scale)).slope
            continue
        assert solution.status is Status.MAX_PASSES
        # One pass for the moments; then each start is still evaluated, and a median or a trial of steps completed.
        assert limit <= points.n_passes <= limit + 12
        assert np.isfinite([solution.slope.high, solution.intercept.high, solution.loss]).all()


@needs_compiler
def test_points_outside_memory_are_read_some_200_times_at_most() -> None:
    x = np.arange(18.0)
    y = x + 5 + 0.1 * np.sin(7 * x)
    y[[9, 12, 14, 16]] = 1e100 * np.array([0.04, 1.4, 0.4, 0.8])
    points = points_of(x, y)
    assert ff.Newton().solve(points, ff.Cauchy(1.0)).status is Status.CONVERGED
    assert points.n_passes > 1000
    points = elsewhere(x, y)
    assert ff.Newton().solve(points, ff.Cauchy(1.0)).status is Status.MAX_PASSES
    assert 200 <= points.n_passes <= 212
