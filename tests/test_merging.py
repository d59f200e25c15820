"""Sums of lines over parts of their points, and what they merge to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastfit.lines.batched import Options
from fastfit.lines.merging import merged
from fastfit.lines.parts import sums_of_lines, sums_of_part
from fastfit.lines.result import LineFits
from fastfit.lines.series import LineSums, Series
from fastfit.outcome import Status
from tests.conftest import compiles_much

pytestmark = compiles_much
N, M = 100, 6
FEW = (13, 14, 50, 51, 52, 80)
EACH = tuple(range(1, N))
X = np.arange(float(N))


def fitted(
    x: Any,
    y: Any,
    w: Any = None,
    sigma: Any = None,
    cuts: Sequence[int] | None = None,
    *,
    backend: str = "numba",
    fit_intercept: bool = True,
    min_points: int = 2,
) -> LineFits:
    """Return lines from parts of the points, or from all of them at once."""
    through_origin = not fit_intercept
    whole = Series.of(x, y, 0, w, sigma, None)
    options = Options.of(
        loss="squared_error",
        fit_intercept=fit_intercept,
        has_sigma=sigma is not None,
        absolute_sigma=False,
        nan_policy="omit",
        min_points=min_points,
        n_threads=1,
        backend=backend,
    )
    if cuts is None:
        sums = whole.fit(through_origin=through_origin, n_threads=1, backend=backend)
    else:
        parts = []
        for low, high in zip((0, *cuts), (*cuts, len(y)), strict=True):
            some = [None if v is None else v[low:high] for v in (x, y, w, sigma)]
            part = Series.of(some[0], some[1], 0, some[2], some[3], None)
            parts.append(
                sums_of_part(
                    part,
                    through_origin=through_origin,
                    backend=backend,
                    is_alone=False,
                    is_repeated=False,
                )
            )
        sums = merged(parts, through_origin=through_origin)
    return options.fits(sums, whole.n, None, 0)


def assert_same(found: LineFits, whole: LineFits, errors: float = 1e-13) -> None:
    """Compare lines: slopes and intercepts relative to the size of their terms, errors as given."""
    np.testing.assert_array_equal(found.codes, whole.codes)
    np.testing.assert_array_equal(found.n_points, whole.n_points)
    np.testing.assert_array_equal(found.n_omitted, whole.n_omitted)
    np.testing.assert_allclose(found.slope, whole.slope, rtol=1e-13)
    size = abs(whole.intercept) + abs(whole.slope) * np.nan_to_num(whole.intercept_stderr) / (
        np.where(whole.stderr > 0.0, whole.stderr, 1.0)
    )
    ok = whole.converged
    assert (abs(found.intercept - whole.intercept)[ok] <= 1e-13 * size[ok]).all()
    for name in ("stderr", "intercept_stderr", "residual_std", "loss", "rvalue"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(whole, name), rtol=errors, atol=1e-300, err_msg=name
        )


@pytest.fixture
def y(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=(N, M)) + 0.3 * X[:, np.newaxis]


@pytest.fixture
def gaps(y: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Values with gaps: among them lines without points in some parts, or in all."""
    y[rng.random(y.shape) < 0.3] = np.nan
    y[:50, 2] = y[14:, 4] = y[:, 3] = np.nan
    return y


@pytest.mark.parametrize("cuts", [FEW, EACH, (50,)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_parts_make_the_whole(y: Any, cuts: Any, fit_intercept: bool, backend: str) -> None:
    options: Any = {"fit_intercept": fit_intercept, "backend": backend}
    assert_same(fitted(X, y, cuts=cuts, **options), fitted(X, y, **options))


@pytest.mark.parametrize("cuts", [FEW, EACH])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gaps(gaps: Any, cuts: Any, fit_intercept: bool, backend: str) -> None:
    options: Any = {"fit_intercept": fit_intercept, "backend": backend}
    assert_same(fitted(X, gaps, cuts=cuts, **options), fitted(X, gaps, **options))


@pytest.mark.parametrize("kind", ["weight", "sigma", "both"])
def test_weights(gaps: Any, kind: str, backend: str, rng: np.random.Generator) -> None:
    weight = None if kind == "sigma" else rng.integers(0, 3, gaps.shape).astype(float)
    sigma = None if kind == "weight" else rng.random(gaps.shape) + 0.1
    for cuts in (FEW, EACH):
        found = fitted(X, gaps, weight, sigma, cuts, backend=backend)
        assert_same(found, fitted(X, gaps, weight, sigma, backend=backend))


@pytest.mark.parametrize("offset", [1e10, -1e10, 1e15])
def test_far_from_zero(gaps: Any, offset: float) -> None:
    for cuts in (FEW, EACH):
        assert_same(fitted(X, gaps + offset, cuts=cuts), fitted(X, gaps + offset))
        whole = fitted(X + offset, gaps)
        assert_same(fitted(X + offset, gaps, cuts=cuts), whole)
        own = np.ascontiguousarray(np.broadcast_to((X + offset)[:, np.newaxis], gaps.shape))
        assert_same(fitted(own, gaps, cuts=cuts), whole)


@pytest.mark.parametrize("noise", [1e-6, 1e-9, 0.0])
@pytest.mark.parametrize("offset", [0.0, 1e10])
def test_nearly_perfect_lines(y: Any, noise: float, offset: float) -> None:
    """A rounded slope leaves residuals of its own: relative to the true ones, they grow as those shrink."""
    exact = 3.7 * X[:, np.newaxis] + offset
    values = exact + noise * y
    found, whole = fitted(X, values, cuts=FEW), fitted(X, values)
    np.testing.assert_allclose(found.slope, whole.slope, rtol=1e-15 * 3)
    np.testing.assert_allclose(found.residual_std, whole.residual_std, rtol=1e-13, atol=1e-13)


def test_the_same_x_within_parts(y: Any, backend: str, rng: np.random.Generator) -> None:
    x = np.repeat(np.arange(25.0) + 0.1, 4)
    weight = rng.random(y.shape)
    for w in (None, weight):
        for cuts in ((4, 8, 12, 50, 52), (3, 4, 8, 13, 50)):
            assert_same(
                fitted(x, y, w, cuts=cuts, backend=backend), fitted(x, y, w, backend=backend)
            )
    for part in (fitted(np.full(N, 0.1), y, cuts=FEW), fitted(np.full(N, 0.1), y, cuts=EACH)):
        assert (part.status == Status.CONSTANT_X).all()


def test_two_x_one_in_each_part(y: Any) -> None:
    x = np.repeat([1.0, 2.5], N // 2)
    assert_same(fitted(x, y, cuts=(N // 2,)), fitted(x, y))


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("cuts", [FEW, EACH])
def test_infinity_spoils_its_line_alone(gaps: Any, bad: float, cuts: Any) -> None:
    gaps[13, 0] = gaps[40, 1] = gaps[51, 2] = bad
    found, whole = fitted(X, gaps, cuts=cuts), fitted(X, gaps)
    assert (found.status[:3] == Status.INFINITE).all()
    np.testing.assert_array_equal(found.codes[3:], whole.codes[3:])
    np.testing.assert_allclose(found.slope, whole.slope, rtol=1e-13)


@pytest.mark.parametrize("cuts", [FEW, EACH])
def test_bad_weights_spoil_their_line_alone(y: Any, cuts: Any) -> None:
    weight = np.ones(y.shape)
    weight[13, 0] = weight[60, 1] = -1.0
    weight[51, 2] = np.inf
    found = fitted(X, y, weight, cuts=cuts)
    assert (found.status[:3] == Status.BAD_WEIGHTS).all()
    assert found.converged[3:].all()


def test_infinite_x_of_its_own_spoils_its_line_alone(y: Any) -> None:
    x = np.ascontiguousarray(np.broadcast_to(X[:, np.newaxis], y.shape))
    x[13, 0] = x[60, 1] = np.inf
    found = fitted(x, y, cuts=FEW)
    assert np.isnan(found.slope[:2]).all()
    np.testing.assert_allclose(found.slope[2:], fitted(X, y).slope[2:], rtol=1e-13)


def test_points_of_all_parts_count(y: Any) -> None:
    y[3:, 0] = np.nan
    found = fitted(X, y, cuts=(1, 2, 3), min_points=3)
    assert found.converged.all()
    assert fitted(X, y, cuts=(1, 2, 3), min_points=4).codes.tolist() == [1, 0, 0, 0, 0, 0]


def test_one_part_is_itself(y: Any) -> None:
    assert_same(fitted(X, y, cuts=()), fitted(X, y))


@pytest.mark.parametrize("order", ["lines last", "points last", "between"])
@pytest.mark.parametrize("kind", ["plain", "gaps", "weights", "float32", "few", "int"])
def test_lines_have_the_same_bits_beside_any_others(
    order: str, kind: str, rng: np.random.Generator
) -> None:
    n = 5 if kind == "few" else 40
    shape, axis = {
        "lines last": ((n, 3, 5), 0),
        "points last": ((3, 5, n), 2),
        "between": ((3, n, 5), 1),
    }[order]
    y = rng.normal(size=shape) * 1e3
    y = y.astype(np.float32) if kind == "float32" else y.astype(int) if kind == "int" else y
    if kind == "gaps":
        y[rng.random(shape) < 0.2] = np.nan
    w = rng.random(shape) if kind == "weights" else None
    x = np.cumsum(rng.random(n))

    def sums(index: Any, function: Any) -> LineSums:
        series = Series.of(x, y[index], axis, None if w is None else w[index], None, None)
        found = function(
            series, through_origin=False, backend="numba", is_alone=False, is_repeated=False
        )
        assert isinstance(found, LineSums)
        return found

    for function in (sums_of_lines, sums_of_part):
        whole = sums(..., function)
        for widths in ((1, 1), (1, 5), (3, 1), (2, 3)):
            for i in range(0, 3, widths[0]):
                for j in range(0, 5, widths[1]):
                    lines = slice(i, i + widths[0]), slice(j, j + widths[1])
                    index = (*lines[:axis], slice(None), *lines[axis:])
                    part = sums(index, function)
                    for name in ("slope", "intercept", "residual_square", "y_mean", "y_low"):
                        one, all_of_them = getattr(part, name), getattr(whole, name)
                        if np.ndim(all_of_them):
                            all_of_them = all_of_them[lines]
                        assert np.array_equal(
                            np.broadcast_to(one, part.slope.shape),
                            np.broadcast_to(all_of_them, part.slope.shape),
                            equal_nan=True,
                        ), name
