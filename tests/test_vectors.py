"""Every hot loop compiles to vector instructions: read from the code that LLVM makes of it.

A slip here costs a factor of four in cache and shows nowhere else. What keeps a loop from it: additions that may not
be reordered (``flags.BLOCK_SUMS``), a division that checks for zero (``error_model``), a call of the maths library, a
sum behind a branch, an index that may be negative. Columns of a table, with others between their values, are not among
the loops here: LLVM reckons that picking those up one by one is cheaper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from fastfit.kernels import bare_read, flags, median
from fastfit.kernels.block import block_sums
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.moments import OmittingProductSums, ProductSums
from fastfit.kernels.residuals import ResidualSums
from fastfit.losses import LOSSES
from tests.conftest import loss_of, needs_compiler

pytestmark = needs_compiler

LINE, SIZES = (1.75, -0.5), (1e4, 1e4, 1e4)
ARITHMETIC = re.compile(r"= (?:fadd|fsub|fmul|fdiv|fneg)|= (?:tail )?call .*@llvm\.fm")
VECTOR = re.compile(r"<(?:vscale x )?\d+ x (?:double|float)>")


class Loop(NamedTuple):
    """An innermost loop: the function and block it starts at, its text, and whether LLVM marked it."""

    place: str
    text: str
    marked: bool

    @property
    def counts(self) -> bool:
        return ARITHMETIC.search(self.text) is not None

    @property
    def has_vectors(self) -> bool:
        return any(map(VECTOR.search, ARITHMETIC_LINE.findall(self.text)))

    @property
    def is_fast(self) -> bool:
        """Whether it has vectors, or is what a loop that has them leaves over; and calls no function one by one."""
        return (self.marked or self.has_vectors) and not CALL.search(self.text)


# Of a function that is no instruction: LLVM gives even vectors of logarithms to the library, one by one.
INSTRUCTIONS = r"llvm\.(?:fma|fmuladd|fabs|sqrt|copysign|floor|ceil|rint|trunc|m\w+|vector)\b"
CALL = re.compile(rf"call [^@\n]*\b(?:double|float)>? @(?!{INSTRUCTIONS})")
ARITHMETIC_LINE = re.compile(rf"^.*(?:{ARITHMETIC.pattern}).*$", re.MULTILINE)


def innermost_loops(code: str) -> list[Loop]:
    """Return the innermost loops of all functions in LLVM's code."""
    says = set(re.findall(r'^(!\d+) = !{!"llvm.loop.isvectorized", i32 1}', code, re.M))
    distinct = re.findall(r"^(!\d+) = distinct !{(.*)}$", code, re.M)
    marks = {number for number, items in distinct if says & set(items.split(", "))}
    found = []
    for name, content in re.findall(r"^define .*?@\"?([^\s\"(]+).*?{\n(.*?)^}", code, re.M | re.S):
        blocks = dict(re.findall(r"^([^\s:]+):.*\n((?:(?: .*)?\n)*)", content, re.M))
        follow = {
            block: [after for after in re.findall(r"label %([^\s,]+)", text) if after in blocks]
            for block, text in blocks.items()
        }
        loops: dict[str, set[str]] = {}
        for latch, start in back_edges(next(iter(blocks)), follow):
            loops[start] = loops.get(start, {start}) | body(latch, start, follow)
        for start, inside in loops.items():
            # What unrolling leaves over bears no mark; the loop it belongs to is looked at.
            leftover = start.endswith((".prol", ".epil"))
            if not leftover and not any(other in inside for other in loops if other != start):
                text = "".join(blocks[block] for block in inside)
                marked = marks & set(re.findall(r"!llvm\.loop (!\d+)", text))
                found.append(Loop(f"{name}: {start}", text, bool(marked)))
    return found


def back_edges(
    block: str, follow: dict[str, list[str]], path: tuple[str, ...] = (), done: Any = None
) -> Iterator[tuple[str, str]]:
    """Find the edges that lead back to a block on the way to them: those that close a loop."""
    done = set() if done is None else done
    for after in follow[block]:
        if after in (*path, block):
            yield block, after
        elif after not in done:
            yield from back_edges(after, follow, (*path, block), done)
    done.add(block)


def body(latch: str, start: str, follow: dict[str, list[str]]) -> set[str]:
    """Return the blocks from which the end of a loop is reached without its start."""
    inside, waiting = {start, latch}, {latch} - {start}
    while waiting:
        waiting = {block for block, ahead in follow.items() if waiting & set(ahead)} - inside
        inside |= waiting
    return inside


def one_block(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
    return block_sums(what, loss, x, y, w, center, given)


def marks(x: Any, y: Any, w: Any, center: Any, given: Any, found: Any) -> Any:
    return median.mark(x, y, w, center, given, found)


def compiled(function: Any, options: dict[str, Any], *arguments: Any) -> str:
    dispatcher = numba.njit(**options)(function)
    dispatcher.compile(tuple(map(numba.typeof, arguments)))
    return str(dispatcher.inspect_llvm(dispatcher.signatures[0]))


def column(dtype: Any = np.float64) -> Any:
    values = np.ones(64, dtype=dtype)
    values.flags.writeable = False
    return values


def assert_vectors(code: str, what: str) -> None:
    loops = [loop for loop in innermost_loops(code) if loop.counts]
    assert loops, f"{what}: there is no loop with arithmetic"
    # What a vector loop leaves over is done one by one, in a loop that bears the same mark.
    scalar = [loop.place for loop in loops if not loop.is_fast]
    if not any(loop.has_vectors for loop in loops):
        scalar.append("none of them has a vector in it")
    assert not scalar, (
        f"{what}: not vectorised: {'; '.join(scalar)}. Look at what changed in its formula in losses.py, in its loop "
        "in kernels/, and in flags.py. LLVM says what it minds with llvmlite.binding.set_option('', "
        "'--pass-remarks-analysis=loop-vectorize') before the loop is compiled."
    )


SHORT, LONG = LossGradient(), LossGradientCurvature()
# The other formulas are as simple.
OFTEN = ("huber", "tukey")
KINDS = [
    *(
        pytest.param(
            *(LONG, loss, np.float64, False), marks=() if loss in OFTEN else pytest.mark.slow
        )
        for loss in LOSSES
    ),
    (SHORT, "squared_error", np.float64, False),
    *(
        pytest.param(SHORT, loss, np.float64, False, marks=pytest.mark.slow)
        for loss in LOSSES
        if loss != "squared_error"
    ),
    *(pytest.param(LONG, loss, np.float64, True, marks=pytest.mark.slow) for loss in LOSSES),
    (ResidualSums(), None, np.float64, False),
    *((ProductSums(), None, np.float64, weighted) for weighted in (False, True)),
    (OmittingProductSums(), None, np.float64, False),
    pytest.param(OmittingProductSums(), None, np.float64, True, marks=pytest.mark.slow),
    pytest.param(SHORT, "squared_error", np.float32, False, marks=pytest.mark.slow),
    pytest.param(ProductSums(), None, np.float32, False, marks=pytest.mark.slow),
]
GIVEN: dict[Any, Any] = {
    ResidualSums: (*LINE, *LINE),
    ProductSums: SIZES,
    OmittingProductSums: SIZES,
}


@pytest.mark.parametrize(("what", "loss", "dtype", "weighted"), KINDS, ids=str)
def test_fused_loops_are_vectorised(
    what: Any, loss: str | None, dtype: Any, weighted: bool
) -> None:
    x, w, given = column(dtype), column() if weighted else None, GIVEN.get(type(what), LINE)
    arguments = (what, loss_of(loss) if loss else None, x, x, w, (0.5, 0.25), given)
    code = compiled(one_block, flags.DRIVER, *arguments)
    assert_vectors(code, f"{type(what).__name__}, {loss}, {dtype.__name__}")


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loop_that_looks_for_the_median_is_vectorised(weighted: bool) -> None:
    x = column()
    arguments = (x, x, x if weighted else None, (0.5, 0.25), (*LINE, 1.0, 2.0), np.zeros(64))
    assert_vectors(compiled(marks, flags.DRIVER, *arguments), "mark")


def sums(x: Any) -> Any:
    total = 0.0
    for i in range(x.size):
        total += x[i] * x[i]
    return total


@pytest.mark.parametrize(
    ("loop", "arguments"),
    [(getattr(bare_read.read_block, "py_func", None), 2), (sums, 1)],
    ids=["read", "sums"],
)
def test_the_bare_read_and_sums_that_may_be_reordered_are_vectorised(
    loop: Any, arguments: int
) -> None:
    code = compiled(loop, flags.BLOCK_SUMS, *[column()] * arguments)
    assert_vectors(code, loop.__name__)


def calls_the_library(x: Any) -> Any:
    total = 0.0
    for i in range(x.size):
        total += np.log(x[i])
    return total


def sums_behind_a_branch(x: Any) -> Any:
    total = 0.0
    for i in range(x.size):
        if x[i] > 0.5:
            total += np.sqrt(x[i]) / (1.0 + x[i])
            if total > 1e300:
                return total
    return total


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (sums, {**flags.BLOCK_SUMS, "fastmath": {"contract"}}),
        (calls_the_library, flags.BLOCK_SUMS),
        (sums_behind_a_branch, flags.BLOCK_SUMS),
    ],
)
def test_a_loop_that_is_not_vectorised_is_noticed(function: Any, options: Any) -> None:
    code = compiled(function, options, column())
    with pytest.raises(AssertionError, match="not vectorised"):
        assert_vectors(code, function.__name__)
