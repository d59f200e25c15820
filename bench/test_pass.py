"""One pass over the points, for every loss, type and layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.measure import bare_read, loss_of, points, ratio, times
from fastfit.kernels import parallel, reference
from fastfit.kernels.passes import BLOCK, LossGradient, LossGradientCurvature
from fastfit.kernels.products import ProductSums, WeightedProductSums
from fastfit.losses import LOSSES

SIZES = [1_000, 1_000_000, 10_000_000]
LINE, CENTER = (0.3, 0.1), (0.5, 0.6)


def _layout(name: str, n: int) -> tuple[Any, Any]:
    x, y = points(n, np.float32 if name == "float32" else np.float64)
    if name == "columns":
        table = np.column_stack([x, y])
        table.flags.writeable = False
        return table[:, 0], table[:, 1]
    return x, y


def _note(benchmark: Any, x: Any, y: Any, run: Any) -> None:
    """Note points per second and the share of the read limit, measured in turn."""
    n_bytes = x.size * (x.itemsize + y.itemsize)
    benchmark.extra_info.update(points=x.size, bytes=n_bytes)
    if not benchmark.enabled:
        return
    contiguous = np.ascontiguousarray(x), np.ascontiguousarray(y)
    found = times({"pass": run, "read": lambda: bare_read(*contiguous)}, rounds=9)
    benchmark.extra_info.update(
        points_per_second=x.size / benchmark.stats.stats.median,
        share_of_read_limit=1.0 / ratio(found, "pass", "read"),
    )


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("layout", ["float64", "float32", "columns"])
@pytest.mark.parametrize(
    "what", [LossGradient(), LossGradientCurvature()], ids=lambda w: type(w).__name__
)
@pytest.mark.parametrize("loss", LOSSES)
def test_pass(benchmark: Any, loss: str, what: Any, layout: str, n: int) -> None:
    x, y = _layout(layout, n)
    # Some residuals to either side of where a robust loss bends.
    arguments: Any = (what, loss_of(loss, 0.1), x, y, None, CENTER, LINE)
    result = benchmark(parallel.run, *arguments)
    # float64 sums of n terms, in another order.
    np.testing.assert_allclose(result, reference.run(*arguments), rtol=1e-9, atol=1e-9 * n)
    _note(benchmark, x, y, lambda: parallel.run(*arguments))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_moments(benchmark: Any, n: int, weighted: bool) -> None:
    x, y = points(n)
    expected = (float(BLOCK), float(BLOCK))
    arguments: Any = (ProductSums(), None, x, y, None, CENTER, expected)
    if weighted:
        arguments = (WeightedProductSums(), None, x, y, x, CENTER, (*expected, float(BLOCK)))
    result = benchmark(parallel.run, *arguments)
    if n < SIZES[-1]:  # the reference adds up exactly, and takes seconds
        # Both parts of each number; the lower ones are of the order of 1e-16 of the higher.
        expected_line = reference.run(*arguments).line
        np.testing.assert_allclose(result.line, expected_line, rtol=1e-12, atol=1e-20)
    _note(benchmark, x, y, lambda: parallel.run(*arguments))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("share", [0.001, 0.02])
def test_gather(benchmark: Any, share: float, n: int) -> None:
    """The residuals next to the median, out of all: what the scale of ``f_scale="mad"`` takes."""
    x, y = points(n)
    residuals = np.abs(y - CENTER[1] - (LINE[0] * (x - CENTER[0]) + LINE[1]))
    low, high = np.quantile(residuals, [0.5 - share / 2, 0.5 + share / 2])
    arguments: Any = (x, y, None, CENTER, (*LINE, float(low), float(high)), 1 << 18)
    found = benchmark(parallel.gather, *arguments)
    # Residuals on the bounds may be rounded to either side.
    assert abs(found.up_to - found.below - share * n) <= 3
    assert found.is_complete
    _note(benchmark, x, y, lambda: parallel.gather(*arguments))


@pytest.mark.parametrize("n", SIZES)
def test_pass_in_numpy(benchmark: Any, n: int) -> None:
    """The three expressions that people write: what a pass replaces."""
    x, y = points(n)
    slope, intercept = LINE

    def three_expressions() -> tuple[Any, Any, Any]:
        residual = y - (slope * x + intercept)
        return np.mean(residual**2), np.mean(-2 * residual * x), np.mean(-2 * residual)

    result = benchmark(three_expressions)
    compiled = parallel.run(LossGradient(), LOSSES["squared_error"](), x, y, None, (0.0, 0.0), LINE)
    np.testing.assert_allclose(result, np.array(compiled) / n, rtol=1e-9)
    _note(benchmark, x, y, three_expressions)
