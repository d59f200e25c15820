"""The compiled passes, against the reference, against exact arithmetic, and against themselves."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastfit.kernels import parallel, reference
from fastfit.kernels.passes import BLOCK, LossGradient, LossGradientCurvature, ProductSums
from fastfit.losses import LOSSES, SquaredError
from tests import oracle
from tests.conftest import COMPILED, Script, needs_compiler

PASSES = (LossGradient(), LossGradientCurvature(), ProductSums())
SIZES = [0, 1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, *([1_000_003] if COMPILED else [])]
LINE = (1.75, -0.5)


def arrays(n: int, dtype: Any, layout: str, offset: float) -> tuple[Any, Any]:
    rng = np.random.default_rng(n)
    x = (offset + rng.normal(size=n)).astype(dtype)
    y = (offset + 2 * rng.normal(size=n)).astype(dtype)
    if layout == "contiguous":
        return x, y
    if layout == "reversed":
        return x[::-1], y[::-1]
    table = np.column_stack([x, y])
    assert table.flags.c_contiguous
    return table[:, 0], table[:, 1]


def by_name(what: Any) -> str:
    return type(what).__name__


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("layout", ["contiguous", "columns", "reversed"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("what", PASSES, ids=by_name)
@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_equals_reference(
    loss: str, what: Any, dtype: Any, layout: str, n: int, offset: float
) -> None:
    x, y = arrays(n, dtype, layout, offset)
    arguments = (what, LOSSES[loss](), x, y, (offset, offset), LINE)
    got, expected = parallel.run(*arguments), reference.run(*arguments)
    assert type(got) is type(what)
    # Each of n terms of order 1 (up to 100) is rounded a few times: far below 1e-12 of their summed sizes.
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12 * max(n, 1))


@pytest.mark.parametrize("mixed", [(np.float64, np.float32), (np.float32, np.float64)])
def test_types_of_x_and_y_may_differ(mixed: tuple[Any, Any]) -> None:
    x, y = arrays(1000, np.float64, "contiguous", 0.0)
    x, y = x.astype(mixed[0]), y[::-1].astype(mixed[1])[::-1]
    arguments = (LossGradient(), SquaredError(), x, y, (0.0, 0.0), LINE)
    np.testing.assert_allclose(parallel.run(*arguments), reference.run(*arguments), rtol=1e-12)


@pytest.mark.parametrize("run", [parallel.run, reference.run], ids=["compiled", "reference"])
@pytest.mark.parametrize("offset", [0.0, 1e10, 1.7e18])
def test_sums_against_exact_arithmetic(run: Any, offset: float) -> None:
    rng = np.random.default_rng(5)
    x = offset + 1000.0 * rng.random(3000)
    y = offset + 1000.0 * rng.random(3000)
    center = (float(x[0]), float(y[0]))
    got = run(LossGradientCurvature(), SquaredError(), x, y, center, LINE)
    exact = oracle.squared_error_sums(x, y, center, LINE)
    sizes = oracle.squared_error_sums(np.abs(x - x[0]), np.abs(y - y[0]), (0, 0), (-1.75, -0.5))
    for name in exact._fields:
        # Rounding of a term is a few ulp of the sizes that go into it; their sum here is an upper bound.
        error = abs(Fraction(getattr(got, name)) - getattr(exact, name))
        assert error <= abs(getattr(sizes, name)) * Fraction(1e-14), name


@pytest.mark.parametrize("run", [parallel.run, reference.run], ids=["compiled", "reference"])
@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives_are_those_of_the_loss(run: Any, loss: str) -> None:
    x, y = arrays(500, np.float64, "contiguous", 0.0)
    step = 1e-4

    def sums(slope: float, level: float) -> Any:
        line = (slope, level)
        return run(LossGradientCurvature(), LOSSES[loss](), x, y, (0.1, 0.2), line)

    slope, level = LINE
    here = sums(slope, level)
    left, right = sums(slope - step, level), sums(slope + step, level)
    down, up = sums(slope, level - step), sums(slope, level + step)
    numerical = {
        "grad_slope": right.loss - left.loss,
        "grad_level": up.loss - down.loss,
        "slope_slope": right.grad_slope - left.grad_slope,
        "slope_level": up.grad_slope - down.grad_slope,
        "level_level": up.grad_level - down.grad_level,
    }
    for name, change in numerical.items():
        # Central differences are exact for a parabola, up to the rounding of the loss over the step.
        assert change / (2 * step) == pytest.approx(getattr(here, name), rel=1e-7, abs=1e-6), name


@pytest.mark.parametrize("loss", LOSSES)
@given(residual=st.floats(-1e6, 1e6))
def test_loss_equals_the_squared_residual_to_leading_order(loss: str, residual: float) -> None:
    chosen = LOSSES[loss]()
    small = residual * 1e-9
    value, first, second = chosen.point(chosen, small)
    assert value == pytest.approx(
        small * small, rel=1e-6, abs=0
    )  # a residual of 1e-3 may bend a loss so much
    assert first == pytest.approx(2 * small, rel=1e-6, abs=0)
    assert second == pytest.approx(2.0, rel=1e-6)


def test_both_passes_have_the_same_loss_and_gradient() -> None:
    x, y = arrays(BLOCK + 7, np.float64, "contiguous", 3.0)
    rest = (SquaredError(), x, y, (3.0, 3.0), LINE)
    short, long = parallel.run(LossGradient(), *rest), parallel.run(LossGradientCurvature(), *rest)
    np.testing.assert_allclose(
        short, long[:3], rtol=1e-13
    )  # the same sums, unrolled in another way


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, BLOCK // 2, BLOCK, 4 * BLOCK + 16])
@pytest.mark.parametrize("run", [parallel.run, reference.run], ids=["compiled", "reference"])
def test_nan_and_infinity_show_in_every_pass(run: Any, where: int, bad: float) -> None:
    clean_x, clean_y = arrays(4 * BLOCK + 17, np.float64, "contiguous", 0.0)
    for name in ("x", "y"):
        x, y = clean_x.copy(), clean_y.copy()
        (x if name == "x" else y)[where] = bad
        for what in PASSES:
            got = run(what, SquaredError(), x, y, (0.0, 0.0), LINE)
            assert not np.isfinite(sum(got)), (by_name(what), name)


@needs_compiler
@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40 * BLOCK), n_threads=st.integers(1, 2))
def test_threads_do_not_change_a_bit(n: int, n_threads: int) -> None:
    x, y = arrays(n, np.float64, "contiguous", 1.0)
    arguments = (LossGradientCurvature(), SquaredError(), x, y, (1.0, 1.0), LINE)
    assert parallel.run(*arguments, n_threads=n_threads) == parallel.run(*arguments)


def test_block_sums_are_added_up_with_compensation() -> None:
    rows = np.array([[1e16, 1.0], [1.0, 1e16], [1.0, 1.0], [-1e16, -1e16]])
    np.testing.assert_array_equal(parallel._add_up(rows), [2.0, 2.0])


@needs_compiler
def test_number_of_threads_is_limited_for_a_while() -> None:
    before = numba.get_num_threads()
    with parallel._at_most(1):
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


BITS = """
import numba, numpy as np
from fastfit.kernels import parallel
from fastfit.kernels.passes import LossGradient, LossGradientCurvature, ProductSums
from fastfit.losses import LOSSES
rng = np.random.default_rng(1)
seen = set()
for n in (8191, 8192, 8193, 32768, 32769, 300_000, 1_000_003):
    table = 1e5 + rng.normal(size=(n, 2))
    for x, y in (
        (table[:, 0], table[:, 1]),
        (table[:, 0].copy(), table[:, 1].copy()),
        table.T.astype(np.float32),
    ):
        for what in (LossGradient(), LossGradientCurvature(), ProductSums()):
            for loss in LOSSES.values():
                results = {
                    parallel.run(what, loss(), x, y, (1e5, 1e5), (1.5, 2.0), n_threads)
                    for n_threads in (1, 2, 3, 8)
                }
                assert len(results) == 1, (n, x.dtype, x.strides, what, loss, results)
print(numba.threading_layer(), numba.config.NUMBA_NUM_THREADS)
"""


@needs_compiler
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_one_two_three_and_eight_threads_give_the_same_bits(run_script: Script, layer: str) -> None:
    out = run_script(BITS, NUMBA_NUM_THREADS="8", NUMBA_THREADING_LAYER=layer)
    assert out.split() == [layer, "8"]
