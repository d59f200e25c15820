"""The compiled passes, against the reference, against exact arithmetic, and against themselves."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastfit.exact.least_squares import Centred
from fastfit.kernels import compiled, reference, threads
from fastfit.kernels.block import BLOCK
from fastfit.kernels.center import center_for
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.moments import OmittingProductSums, ProductSums
from fastfit.kernels.residuals import ResidualSums
from fastfit.losses import LOSSES, SquaredError
from tests import oracle
from tests.conftest import COMPILED, Script, loss_of, needs_compiler, read_only

LOSS_PASSES = (LossGradient(), LossGradientCurvature())
SIZES = [0, 1, 2, 3, BLOCK - 1, BLOCK, 2 * BLOCK + 1]
LINE = (1.75, -0.5)
PRECISE_LINE = (1.75, 1e-17, -0.5, -1e-17)
# Some blocks have more than they are expected to have, and some less.
SIZES_OF_BLOCKS = (float(BLOCK), 10.0 * BLOCK, 2.0 * BLOCK)
GIVEN: dict[Any, Any] = {ResidualSums: PRECISE_LINE, ProductSums: SIZES_OF_BLOCKS}


def arrays(n: int, dtype: Any = float, layout: str = "contiguous", offset: float = 0.0) -> Any:
    rng = np.random.default_rng(n)
    x = (offset + rng.normal(size=n)).astype(dtype)
    y = (offset + 2 * rng.normal(size=n)).astype(dtype)
    if layout == "reversed":
        return read_only(x[::-1]), read_only(y[::-1])
    table = np.column_stack([x, y])
    assert table.flags.c_contiguous
    return tuple(map(read_only, (x, y) if layout == "contiguous" else table.T))


def weights_of(n: int, kind: str | None = "weights", dtype: Any = np.float64) -> Any:
    if kind is None:
        return None
    return read_only(np.random.default_rng(n + 1).random(n).astype(dtype))


def loss_for(what: Any) -> Any:
    """Return a loss for a pass that has one."""
    return SquaredError() if isinstance(what, (LossGradient, LossGradientCurvature)) else None


def by_name(what: Any) -> str:
    return str(getattr(what, "__module__", what)).rpartition(".")[2]


both = pytest.mark.parametrize("run", [compiled.run, reference.run], ids=by_name)


def assert_equal_to_20_digits(got: Any, expected: Any, n: int, scale: float) -> None:
    """Centred sums in two floats agree, by the sizes of what goes into them."""
    for name in Centred._fields:
        a, b = getattr(got, name), getattr(expected, name)
        assert abs((a.high - b.high) + (a.low - b.low)) <= 1e-20 * scale * max(n, 1), name


# Every loss with every pass; every pass with types, layouts and weights, one example of each: a pair of them compiles
# the same loop from the same parts. Columns and reversed arrays are strided alike.
KINDS = [
    *((loss, what, np.float64, "contiguous", None) for loss in LOSSES for what in LOSS_PASSES),
    ("huber", LOSS_PASSES[1], np.float32, "contiguous", "weights"),
    *(
        (None if loss_for(what) is None else "squared_error", what, dtype, layout, weights)
        for what in (*LOSS_PASSES, ResidualSums())
        for dtype, layout, weights in (
            (np.float64, "columns", None),
            (np.float64, "reversed", None),
            (np.float64, "contiguous", "weights"),
        )
    ),
    *(
        pytest.param(*each, marks=pytest.mark.slow)
        for each in (
            ("squared_error", LOSS_PASSES[0], np.float32, "contiguous", None),
            ("squared_error", LOSS_PASSES[1], np.float32, "contiguous", None),
            (None, ResidualSums(), np.float32, "contiguous", None),
            ("huber", LOSS_PASSES[1], np.float32, "columns", "weights"),
        )
    ),
    (None, ProductSums(), np.float64, "contiguous", None),
    (None, ProductSums(), np.float64, "columns", None),
    (None, ProductSums(), np.float32, "reversed", None),
    (None, ProductSums(), np.float64, "contiguous", "weights"),
    pytest.param(
        *(None, ProductSums(), np.float32, "contiguous", "weights"), marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("loss", "what", "dtype", "layout", "weights"), KINDS, ids=str)
def test_compiled_equals_reference(
    loss: Any, what: Any, weights: str | None, dtype: Any, layout: str, n: int, offset: float
) -> None:
    x, y = arrays(n, dtype, layout, offset)
    w, loss = weights_of(n, weights, dtype), loss and loss_of(loss)
    arguments = (what, loss, x, y, w, (offset, offset), GIVEN.get(type(what), LINE))
    got, expected = compiled.run(*arguments), reference.run(*arguments)
    if not isinstance(what, ProductSums):
        assert type(got) is type(what)
        # Each of n terms of order 1 (up to 100) is rounded a few times: far below 1e-12 of their summed sizes.
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12 * max(n, 1))
    elif n > 0:
        # Means near the offset have an ulp of their low part of 1e-26; products are of order 10.
        assert_equal_to_20_digits(got.sums, expected.sums, n, 10.0)
        assert got.negative == 0.0
        if n > 2:
            np.testing.assert_allclose(got.line, expected.line, rtol=1e-13, atol=1e-13)


@both
@pytest.mark.parametrize("expected", [0.0, 1e-300, 1e-6, 1.0, 1e6, 1e20, 1e300])
def test_moments_do_not_depend_on_what_was_expected(run: Any, expected: float) -> None:
    x, y = arrays(2 * BLOCK + 5 if COMPILED else 400)
    what, sizes = ProductSums(), (expected, expected, expected)
    for weights in (None, weights_of(x.size)):
        got = run(what, None, x, y, weights, (0.0, 0.0), sizes).sums
        best = reference.run(what, None, x, y, weights, (0.0, 0.0), sizes).sums
        # A grid that is too coarse by a factor f leaves 80 bits less those of f: some 1e-4 at 1e20 times.
        scale = max(1.0, min(expected, 1e20) / 1e6)
        assert_equal_to_20_digits(got, best, x.size, 10.0 * scale)


@both
def test_moments_against_exact_arithmetic(run: Any, rng: np.random.Generator) -> None:
    x, y, w = map(
        read_only, (rng.lognormal(0.0, 3.0, size=600), rng.normal(size=600), rng.random(600))
    )
    for weights in (None, w):
        sizes = (600 * float(x @ x), 600.0, 600.0)
        got = run(ProductSums(), None, x, y, weights, (0.0, 0.0), sizes).sums
        exact = oracle.moments(x, y, weights)
        for name in Centred._fields:
            a, b = getattr(got, name), exact[name]
            size = float(exact["xx"] * exact["yy"]) ** 0.5 if name == "xy" else 1.0 + float(abs(b))
            assert abs(Fraction(a.high) + Fraction(a.low) - b) <= 1e-22 * size, name


@pytest.mark.parametrize("n", [5, BLOCK + 1, *([5 * BLOCK + 3] if COMPILED else [])])
@both
def test_points_with_nan_are_left_out_in_the_same_pass(run: Any, n: int) -> None:
    x, y = arrays(n)
    w = weights_of(n)
    clean = np.ones(n, dtype=bool)
    x, y, w = (each.copy() for each in (x, y, w))
    for column, where in ((x, 0), (y, n // 2), (w, n - 1), (x, n - 1)):
        column[where] = np.nan
        clean[where] = False
    x, y, w, *some = map(read_only, (x, y, w, x[clean], y[clean], w[clean]))
    for weights, kept in ((w, some[2]), (None, None)):
        got = run(OmittingProductSums(), None, x, y, weights, (0.0, 0.0), SIZES_OF_BLOCKS)
        best = run(ProductSums(), None, *some[:2], kept, (0.0, 0.0), SIZES_OF_BLOCKS)
        assert_equal_to_20_digits(got.sums, best.sums, n, 10.0)
        assert (got.dropped, best.dropped) == (n - clean.sum(), 0.0)
    y = read_only(np.where(np.arange(n) == 1, np.inf, y))
    found = run(OmittingProductSums(), None, x, y, None, (0.0, 0.0), SIZES_OF_BLOCKS)
    assert not np.isfinite(found.v_mean + found.sums.yy.high)


@both
def test_negative_weights_show(run: Any) -> None:
    w = np.ones(1000)
    w[[3, 700]] = (-0.5, -0.25)
    found = run(ProductSums(), None, *arrays(1000), read_only(w), (0.0, 0.0), (1e4, 1e4, 1e4))
    assert found.negative == -0.75


@pytest.mark.parametrize("what", [*LOSS_PASSES, ResidualSums(), ProductSums()], ids=repr)
@both
def test_a_weight_of_two_is_the_point_twice(run: Any, what: Any) -> None:
    x, y = arrays(500)
    w = np.random.default_rng(2).integers(0, 4, size=500)
    loss, rest = loss_for(what), ((0.25, 0.5), GIVEN.get(type(what), LINE))
    one = run(what, loss, x, y, read_only(w.astype(float)), *rest)
    other = run(what, loss, *(read_only(np.repeat(each, w)) for each in (x, y)), None, *rest)
    if isinstance(what, ProductSums):
        assert_equal_to_20_digits(one.sums, other.sums, 500, 10.0)
    else:
        np.testing.assert_allclose(one, other, rtol=1e-12)


@both
def test_residuals_of_a_line_that_all_but_meets_the_points(run: Any) -> None:
    """Residuals of 1e-16 of numbers that themselves are rounded to 1e-16."""
    x = read_only(np.linspace(1.0, 2.0, 300))
    y = read_only(1e6 * (x / 3.0 + 0.1))
    slope, level = (1e6 / 3.0, 1e-11), (1e5, -2e-12)
    got = run(ResidualSums(), None, x, y, None, (0.0, 0.0), (*slope, *level))
    exact_slope, exact_level = (sum(map(Fraction, pair)) for pair in (slope, level))
    r = [Fraction(b) - exact_slope * Fraction(a) - exact_level for a, b in zip(x, y, strict=True)]
    assert got.rr == pytest.approx(float(sum(e * e for e in r)), rel=1e-13)
    size = float(sum(map(abs, r)))
    assert got.r == pytest.approx(float(sum(r)), abs=1e-13 * size)
    mixed = sum(e * Fraction(a) for e, a in zip(r, x, strict=True))
    assert got.ru == pytest.approx(float(mixed), abs=2e-13 * size)


@pytest.mark.parametrize(
    "mixed",
    [(np.float64, np.float32), pytest.param((np.float32, np.float64), marks=pytest.mark.slow)],
)
def test_types_of_x_and_y_may_differ(mixed: tuple[Any, Any]) -> None:
    x, y = arrays(1000)
    x, y = read_only(x.astype(mixed[0])), read_only(y.astype(mixed[1]))
    arguments = (LossGradient(), SquaredError(), x, y, None, (0.0, 0.0), LINE)
    np.testing.assert_allclose(compiled.run(*arguments), reference.run(*arguments), rtol=1e-12)


@pytest.mark.parametrize("kernels", [compiled, reference], ids=["compiled", "reference"])
@pytest.mark.parametrize(
    ("mean", "spread", "center"),
    [
        (0.0, 1.0, 0.0),
        (3.0, 1.0, 0.0),
        (1000.0, 1.0, 1000.0),
        (1.7e18, 1e6, 1.7e18),
        (-5.0, 0.0, -5.0),
        (np.nan, 1.0, 0.0),
        (np.inf, 1.0, 0.0),
        (1e200, 1e199, 0.0),
    ],
)
def test_a_glance_finds_a_center(kernels: Any, mean: float, spread: float, center: float) -> None:
    x = read_only(mean + spread * np.linspace(-1.7, 1.7, 1001))
    y = read_only(np.zeros(1001))
    x_center, uu, y_center, vv = kernels.glance(x, y, 3)
    assert (y_center, vv) == (0.0, 0.0)
    assert abs(x_center - center) <= 0.51 * spread
    if np.isfinite(mean) and spread < 1e100:
        # The size of a block is to be told within a factor of 16.
        square = spread**2 + (mean - x_center) ** 2
        assert 0.5 * square <= uu <= 2.5 * square


@given(mean=st.floats(-1e15, 1e15), spread=st.floats(1e-3, 1e3), off=st.floats(-5.0, 5.0))
def test_shifts_by_the_center_are_exact(mean: float, spread: float, off: float) -> None:
    """For values around the mean, whose digits are those that float64 leaves there."""
    center, _ = center_for(mean, spread**2)
    value = mean + off * spread
    if center and abs(off) * spread > abs(center) / 2:
        return
    assert Fraction(value) - Fraction(float(center)) == Fraction(float(value - center))


@both
@pytest.mark.parametrize("offset", [0.0, 1e10, 1.7e18])
def test_sums_against_exact_arithmetic(run: Any, offset: float, rng: np.random.Generator) -> None:
    x, y = read_only(offset + 1000.0 * rng.random((2, 3000)))
    center = (float(x[0]), float(y[0]))
    got = run(LossGradientCurvature(), SquaredError(), x, y, None, center, LINE)
    exact = oracle.squared_error_sums(x, y, center, LINE)
    sizes = oracle.squared_error_sums(np.abs(x - x[0]), np.abs(y - y[0]), (0, 0), (-1.75, -0.5))
    for name in exact._fields:
        # Rounding of a term is a few ulp of the sizes that go into it; their sum here is an upper bound.
        error = abs(Fraction(getattr(got, name)) - getattr(exact, name))
        assert error <= abs(getattr(sizes, name)) * Fraction(1e-14), name


@both
@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        *((loss, None) for loss in LOSSES),
        ("huber", "weights"),
        *(
            pytest.param(loss, "weights", marks=pytest.mark.slow)
            for loss in LOSSES
            if loss != "huber"
        ),
    ],
)
def test_derivatives_are_those_of_the_loss(run: Any, loss: str, weights: str | None) -> None:
    x, y = arrays(500)
    slope, level = LINE
    # Not where a loss has a kink in its slope: a step would reach across.
    off = np.abs(np.abs(y - 0.2 - (slope * (x - 0.1) + level)) - 1.5) > 0.01
    x, y = read_only(x[off]), read_only(y[off])
    w = weights_of(x.size, weights)
    step = 1e-5

    def sums(along: float, across: float) -> Any:
        line = (slope + along, level + across)
        return run(LossGradientCurvature(), loss_of(loss, 1.5), x, y, w, (0.1, 0.2), line)

    here, left, right = sums(0.0, 0.0), sums(-step, 0.0), sums(step, 0.0)
    down, up = sums(0.0, -step), sums(0.0, step)
    changes = [right.loss - left.loss, up.loss - down.loss, right.grad_slope - left.grad_slope]
    changes += [up.grad_slope - down.grad_slope, up.grad_offset - down.grad_offset]
    # Central differences are exact for a parabola, up to the rounding of the loss over the step. The fourth
    # derivatives of the others add some 1e-10 a point.
    assert np.divide(changes, 2 * step) == pytest.approx(here[1:6], rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_both_passes_have_the_same_loss_and_gradient(loss: str) -> None:
    rest = (loss_of(loss), *arrays(BLOCK + 7, offset=3.0), None, (3.0, 3.0), LINE)
    short, long = (compiled.run(what, *rest) for what in LOSS_PASSES)
    np.testing.assert_allclose(short, long[:3], rtol=1e-13)


@pytest.mark.parametrize(
    ("bad", "where"),
    [(np.nan, 0), (np.inf, BLOCK // 2), (-np.inf, BLOCK), (np.nan, 2 * BLOCK + 16)],
)
@both
@pytest.mark.parametrize("name", ["x", "y"])
def test_nan_and_infinity_show_in_every_pass(run: Any, where: int, bad: float, name: str) -> None:
    x, y = (each.copy() for each in arrays(2 * BLOCK + 17))
    (x if name == "x" else y)[where] = bad
    x, y = read_only(x), read_only(y)
    for what in (*LOSS_PASSES, ResidualSums()):
        rest = ((0.0, 0.0), GIVEN.get(type(what), LINE))
        assert not np.isfinite(sum(run(what, loss_for(what), x, y, None, *rest))), what
    for w in (None, read_only(np.ones(x.size))):
        found = run(ProductSums(), None, x, y, w, (0.0, 0.0), SIZES_OF_BLOCKS)
        m = found.sums
        shows = found.u_mean + m.xx.high if name == "x" else found.v_mean + m.yy.high
        assert not np.isfinite(shows), w is None


def test_block_sums_are_added_up_with_compensation() -> None:
    rows = np.array([[1e16, 1.0], [1.0, 1e16], [1.0, 1.0], [-1e16, -1e16]])
    total, lost = compiled._add_up(rows)
    np.testing.assert_array_equal(total + lost, [2.0, 2.0])


@needs_compiler
def test_number_of_threads_is_limited_for_a_while() -> None:
    before = numba.get_num_threads()
    with threads._at_most(1):
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


BITS = """
import numba, numpy as np
from fastfit.exact.least_squares import Centred
from fastfit.kernels import compiled
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.moments import ProductSums
from fastfit.kernels.residuals import ResidualSums
from fastfit.losses import LOSSES
from tests.conftest import loss_of
rng = np.random.default_rng(1)
line, sizes = (1.5, 2.0), (8192.0, 9000.0, 8000.0)
for n in (1, 2, 8191, 8192, 8193, 65536, 65537, 300_000, 1_000_003):
    x, y = 1e5 + rng.normal(size=(2, n))
    weights = rng.random(n)
    center = (1e5, 1e5)
    # Each kernel, with weights or none: what differs between the drivers does not depend on types, layouts and losses.
    runs = [
        (LossGradientCurvature(), loss_of("huber"), x, y, weights, center, line),
        (LossGradient(), loss_of("squared_error"), x, y, None, center, line),
        (ProductSums(), None, x, y, None, center, sizes),
        (ProductSums(), None, x, y, weights, center, sizes),
        (ResidualSums(), None, x, y, None, center, (1.5, 1e-17, 2.0, 1e-17)),
    ]
    for arguments in runs:
        results = {repr(compiled.run(*arguments, k)) for k in (None, 1, 2, 3, 8)}  # NaN included
        assert len(results) == 1, (n, arguments[:2], results)
    for w in (None, weights):
        given = (*line, 0.5, 0.75)
        found = [compiled.gather(x, y, w, center, given, 5000, k) for k in (1, 2, 3, 8)]
        assert len({repr([np.asarray(part).tobytes() for part in one]) for one in found}) == 1
print(numba.threading_layer(), numba.config.NUMBA_NUM_THREADS)
"""


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_one_two_three_and_eight_threads_give_the_same_bits(run_script: Script, layer: str) -> None:
    out = run_script(BITS, NUMBA_NUM_THREADS="8", NUMBA_THREADING_LAYER=layer)
    assert out.split() == [layer, "8"]
