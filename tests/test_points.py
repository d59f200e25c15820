"""Points in memory: moments, evaluations, frames and what they cost."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fastfit.columns import columns
from fastfit.exact.coordinates import Axes, Symmetric
from fastfit.losses import SquaredError
from fastfit.moments import Moments
from fastfit.points import arrays
from fastfit.points.arrays import ArrayPoints
from tests import oracle
from tests.conftest import COMPILED

AXES = Axes(u_origin=3.0, u_unit=0.5, v_origin=-7.0, v_unit=4.0)


def make(x: Any, y: Any, backend: str = "numba", **options: Any) -> ArrayPoints:
    return ArrayPoints(columns(x, y), backend=backend, **options)


@pytest.mark.parametrize("offset", [0.0, 1e9, -1.7e18])
def test_moments_against_exact_arithmetic(
    backend: str, offset: float, rng: np.random.Generator
) -> None:
    x = offset + 1e4 * rng.random(2000)
    y = 3.0 + rng.normal(size=2000)
    moments = make(x, y, backend).moments()
    exact = oracle.moments(x, y)
    for name, value in exact.items():
        got = getattr(moments.centred, name)
        scale = float(exact["xx"] * exact["yy"]) ** 0.5 if name == "xy" else abs(float(value))
        # 80 bits, but for the mean of time stamps, which has 106 of its own size.
        assert abs(float(Fraction(got.high) + Fraction(got.low) - value)) < 1e-21 * scale, name
        public = "weight_sum" if name == "w" else name
        assert getattr(Moments(moments), public) == float(value), name


def test_clean_points_are_read_once_for_moments(backend: str) -> None:
    points = make(np.arange(100.0), np.arange(100.0) ** 2, backend)
    assert points.n_passes == 0
    first = points.moments()
    assert points.n_passes == 1
    assert points.moments() is first
    points.evaluate(SquaredError(), 1.0, 2.0)
    assert points.n_passes == 2


def test_evaluation_is_the_mean(backend: str, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 1000))
    points = make(x, y, backend)
    points.moments()
    center = points.frame.x_center.high, points.frame.y_center.high
    got = points.evaluate(SquaredError(), 0.5, 0.25, curvature=True)
    exact = oracle.squared_error_sums(x, y, center, (0.5, 0.25))
    assert got.curvature is not None
    flat = [got.loss, got.grad_slope, got.grad_offset, *got.curvature]
    assert flat == pytest.approx([float(total / 1000) for total in exact], rel=1e-12)
    assert points.evaluate(SquaredError(), 0.5, 0.25).curvature is None


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param((0, 1e12), id="one far point, first"),
        pytest.param((-1, 1e12), id="one far point, last"),
        pytest.param((slice(None, None, 20), 1e8), id="far points just where the sample looks"),
        pytest.param((slice(1, None, 2), -1e8), id="two clusters"),
    ],
)
def test_a_misleading_sample_is_mended(backend: str, hidden: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=20_000 if COMPILED else 4_000)
    x[hidden[0]] += hidden[1]
    y = 2 * x + 1
    moments = make(x, y, backend).moments()
    spread = np.longdouble(x) - np.longdouble(x).mean()
    expected = float((spread * spread).sum())
    # longdouble has 64 bits.
    assert oracle.relative_error(moments.centred.xx.high, expected) < 1e-15


@pytest.mark.parametrize("factor", [1e-320, 1e-305, 1e-200, 1e-160, 1e160, 1e200, 1.5e308])
def test_extreme_sizes_are_scaled_by_a_power_of_two(backend: str, factor: float) -> None:
    x = factor * np.array([0.25, 0.5, 1.0])
    points = make(x, [1.0, 2.0, 5.0], backend)
    moments = points.moments()
    assert moments.is_finite
    assert 1e-100 < moments.centred.xx.high < 1e100
    assert (moments.frame.x_exponent != 0) == (not 1e-100 < factor < 1e100)
    np.testing.assert_array_equal(points.x, x)


def test_opposite_extremes(backend: str) -> None:
    moments = make([-1.7e308, 1.7e308, 0.0], [1.0, 3.0, 2.0], backend).moments()
    assert moments.is_finite
    slope = moments.least_squares().slope.high
    assert slope == pytest.approx(1 / (1.7e308 * 2.0**moments.frame.x_exponent), rel=1e-15)


def test_axes_there_and_back() -> None:
    assert AXES.line_from_frame(*AXES.line_to_frame(1.25, -2.5)) == pytest.approx((1.25, -2.5))


def test_derivatives_on_axes_are_those_of_the_loss_on_axes() -> None:
    """The chain rule, by differences: a change of axes and a change of the line commute."""
    points = make([0.0, 1.0, 3.0, 4.0], [1.0, 0.0, 2.0, 5.0])
    points.moments()
    step = 1e-3

    def at(i: int, j: int, **options: Any) -> Any:
        line = AXES.line_to_frame(0.5 + i * step, 0.75 + j * step)
        return points.evaluate(SquaredError(), *line, **options)

    loss = {(i, j): AXES.loss_from_frame(at(i, j).loss) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    here = at(0, 0, curvature=True)
    differences = (loss[1, 0] - loss[-1, 0], loss[0, 1] - loss[0, -1])
    gradient = AXES.gradient_from_frame(here.grad_slope, here.grad_offset)
    assert gradient == pytest.approx(np.divide(differences, 2 * step))
    steep = loss[1, 0] - 2 * loss[0, 0] + loss[-1, 0]
    cross = (loss[1, 1] - loss[1, -1] - loss[-1, 1] + loss[-1, -1]) / 4
    level = loss[0, 1] - 2 * loss[0, 0] + loss[0, -1]
    found = AXES.curvature_from_frame(here.curvature)
    assert found == pytest.approx(np.divide((steep, cross, level), step**2), rel=1e-6)


def test_largest_eigenvalue() -> None:
    curvature = Symmetric(3.0, 1.5, 2.0)
    matrix = [[3.0, 1.5], [1.5, 2.0]]
    assert curvature.largest_eigenvalue == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-15)


def test_no_copy_is_made_of_clean_arrays(tmp_path: Any) -> None:
    n = 50_000 if COMPILED else 20_000
    x = np.arange(n, dtype=float)
    np.save(tmp_path / "y.npy", 2 * x + 1)
    y = np.load(tmp_path / "y.npy", mmap_mode="r")

    def work() -> None:
        points = make(x, y)
        points.moments()
        points.evaluate(SquaredError(), 2.0, 0.0)

    if COMPILED:
        work()  # compiles
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10 + 100_000


@pytest.mark.parametrize("y", [[1.0, 3.0, 2.0], [1.0, 1.0, 1.0]])
def test_sums_that_are_never_sound_are_not_used(
    backend: str, y: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_CANCELLATION", 0.0)  # no data are known that do it
    with pytest.raises(ValueError, match="too far apart for float64; rescale them"):
        make([1.0, 2.0, 4.0], y, backend).moments()
