"""The median of residuals, gathered in passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastfit.columns import columns
from fastfit.kernels import compiled, reference
from fastfit.kernels.block import BLOCK
from fastfit.kernels.median import ResidualWindow
from fastfit.points import arrays
from fastfit.points.arrays import ArrayPoints
from fastfit.points.median import weighted_median
from tests.conftest import COMPILED, needs_compiler, read_only

LINE = (0.25, 0.125)


KINDS: dict[str, Any] = {
    "normal": lambda n, rng: rng.normal(size=n),
    "heavy": lambda n, rng: np.exp(20.0 * rng.normal(size=n)),
    "few values": lambda n, rng: rng.integers(0, 3, size=n).astype(float),
    "one value": lambda n, rng: np.full(n, 3.0),
    "sorted": lambda n, rng: np.sort(rng.standard_cauchy(size=n)),
    "half alike": lambda n, rng: np.where(np.arange(n) <= n // 2, 7.0, rng.normal(size=n)),
}


def case(
    kind: str, n: int, weighted: bool, seed: int, backend: str = "numba"
) -> tuple[ArrayPoints, float]:
    """Return points, their moments known, and the median of their residuals by NumPy."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 8, size=n) * (0.0 if kind in ("one value", "half alike") else 1.0)
    y = KINDS[kind](n, rng)
    w = np.r_[1, rng.integers(0, 4, size=n - 1)] if weighted else None
    points = ArrayPoints(columns(x, y, w), backend=backend)
    points.moments()
    x_center, y_center = points.frame.x_center.high, points.frame.y_center.high
    r = np.abs((y - y_center) - (LINE[0] * (x - x_center) + LINE[1]))
    return points, float(np.median(r if w is None else np.repeat(r, w)))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40 if COMPILED else 10)
@given(
    n=st.integers(1, 300),
    weighted=st.booleans(),
    guess=st.sampled_from([None, (0.99, 1.01), (1.5, 2.0), (0.0, 0.5), (1.0, 1.0)]),
    room=st.sampled_from([1, 3, 20, 1 << 18]),
    backend=st.sampled_from(["numba", "numpy"]),
    seed=st.integers(0, 1000),
)
def test_median_is_that_of_numpy(
    kind: str, n: int, weighted: bool, guess: Any, room: int, backend: str, seed: int
) -> None:
    points, expected = case(kind, n, weighted, seed, backend)
    near = guess and (guess[0] * expected, guess[1] * expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_ROOM", room)
        patch.setattr(arrays, "BLOCK", 1)
        got = points.median_absolute_residual(*LINE, near)
    assert got == pytest.approx(expected, rel=1e-14, abs=1e-15)


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_many_points(kind: str, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    points, expected = case(kind, 30 * BLOCK + 17, weighted, seed=4)
    assert points.median_absolute_residual(*LINE) == pytest.approx(expected, rel=1e-14)
    # With a good guess, it is a single pass; with little room and none, a few.
    monkeypatch.setattr(arrays, "_ROOM", 4000)
    for near, most in (((0.999 * expected, 1.001 * expected), 1), (None, 12)):
        if kind not in ("normal", "sorted") and most == 1:
            continue  # more values are alike, or nearly so, than there is room for
        before = points.n_passes
        got = points.median_absolute_residual(*LINE, near)
        assert got == pytest.approx(expected, rel=1e-14)
        assert points.n_passes - before <= most


@needs_compiler
@pytest.mark.parametrize("seed", range(10))
def test_half_of_the_weight_at_the_edge_of_many_equal_numbers(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, expected = case("half alike", 30 * BLOCK + 17, True, seed)
    monkeypatch.setattr(arrays, "_ROOM", 4000)
    before = points.n_passes
    assert points.median_absolute_residual(*LINE) == expected
    assert points.n_passes - before <= 16  # each pass halves the floats left, at worst: 110


@needs_compiler
@pytest.mark.parametrize("kind", ["ties below", "ties below, descending", "ulps apart", "sorted"])
def test_hostile_orders_take_some_twenty_passes(
    kind: str, rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the 60 to 80 that it takes to halve floats until few are left."""
    u = np.sort(rng.random(40 * BLOCK))
    y = {
        "ties below": np.where(np.arange(u.size) % 2, 1.0 + u, 1.0),
        "ties below, descending": np.sort(np.where(u > 0.5, 1.0 + u, 1.0))[::-1].copy(),
        "ulps apart": 1.0 + 1e-13 * u,
        "sorted": u,
    }[kind]
    monkeypatch.setattr(arrays, "_ROOM", 4000)
    points = ArrayPoints(columns(np.arange(u.size), y))
    points.moments()
    before = points.n_passes
    center = points.frame.y_center.high
    found = points.median_absolute_residual(0.0, -center)
    assert found == pytest.approx(np.median(np.abs((y - center) + center)), rel=1e-15)
    assert points.n_passes - before <= 30


@pytest.mark.parametrize("weight", [0.1, 1e-3, 7.3])
@pytest.mark.parametrize("n", [2, 3, 10, 101, 1000])
def test_weights_that_are_all_the_same_change_nothing(n: int, weight: float) -> None:
    """Half of all weights is met, though sums of 0.1 are rounded."""
    x, y = np.random.default_rng(n).normal(size=(2, n))
    found = []
    for w in (None, np.full(n, weight)):
        points = ArrayPoints(columns(x, y, w))
        points.moments()
        found.append(points.median_absolute_residual(*LINE))
    assert found[0] == found[1]


@pytest.mark.parametrize("gather", [compiled.gather, reference.gather], ids=["compiled", "numpy"])
@pytest.mark.parametrize(
    "n", [0, 1, BLOCK + 1, pytest.param(70 * BLOCK + 3, marks=[needs_compiler, pytest.mark.slow])]
)
@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("weighted", [False, True])
def test_gather(gather: Any, n: int, dtype: Any, weighted: bool) -> None:
    rng = np.random.default_rng(n)
    # Small integers: every residual is exact.
    x, y = read_only(rng.integers(-50, 50, size=(2, n)).astype(dtype))
    w = read_only(rng.integers(0, 4, size=n).astype(dtype)) if weighted else None
    r = np.abs((y - 2.0) - (0.5 * (x - 1.0) + 0.25)).astype(np.float64)
    k = np.ones(n) if w is None else w.astype(np.float64)
    low, high = 3.25, 20.0
    inside = (low <= r) & (r <= high)
    found = gather(x, y, w, (1.0, 2.0), (0.5, 0.25, low, high), max(n, 1))
    assert (found.below, found.up_to) == (k[r < low].sum(), k[r <= high].sum())
    # 64 parts have room for a 64th of all each, and one may have more.
    if found.is_complete:
        order = np.argsort(found.values)
        np.testing.assert_array_equal(found.values[order], np.sort(r[inside]))
        if w is not None:
            assert found.weights.sum() == k[inside].sum()
    small = gather(x, y, w, (1.0, 2.0), (0.5, 0.25, low, high), 64)
    assert (small.below, small.up_to) == (found.below, found.up_to)
    assert small.is_complete == (inside.sum() == small.values.size)
    assert np.isin(small.values, r[inside]).all()


@pytest.mark.parametrize("weight", [0.7, 0.123, 1.0])
@pytest.mark.parametrize("error", [0.0, 1e-13, -1e-13, 1e-9, -1e-9])
def test_sums_that_are_rounded_end_the_search(weight: float, error: float) -> None:
    """Half of the weight ends just at a gap, and no sum says so exactly."""
    values = np.repeat([1.0, 2.0], 500)
    seen: list[tuple[float, float]] = []

    def gather(low: float, high: float) -> ResidualWindow:
        assert len(seen) < 100
        seen.append((low, high))
        inside = (low <= values) & (values <= high)
        weights = np.full(np.count_nonzero(inside), weight)
        below = weight * (1.0 + error) * np.count_nonzero(values < low)
        up_to = weight * (1.0 + error) * np.count_nonzero(values <= high)
        return ResidualWindow(below, up_to, values[inside], weights, True)

    for near in (None, (1.4, 1.6), (0.5, 1.5), (1.5, 2.5)):
        seen.clear()
        # Rounding of more than it knows of decides for either number.
        expected = {1.5} if abs(error) < 1e-12 else {1.0, 1.5, 2.0}
        assert weighted_median(gather, 1000 * weight, near) in expected


def test_places_of_the_part_are_spread_over_all_points() -> None:
    n = 100_000
    points = ArrayPoints(columns(np.arange(n, dtype=float), np.arange(n, dtype=float)))
    few = points.subsample(1000)
    assert few is not None
    assert few.n_points == 1000
    assert (np.diff(few.x) > 0).all()
    assert float(np.ptp(few.x)) > 0.99 * n
    # Every residue is seen about as often.
    counts = np.bincount(few.x.astype(int) % 10, minlength=10)
    assert int(counts.min()) > 60
    assert points.subsample(60_000) is None
