"""The passes compiled by Numba, and blocks spread over threads.

Both drivers call the same block loop on the same blocks and add the block sums in the same order, so the result
is the same to the last bit with any number of threads. That makes it safe to take the serial driver wherever a
parallel region could abort the process: beside another region, in a forked child, or under the ``workqueue``
layer while other Python threads exist.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic, overload, register_jitable
from numba.np.ufunc import parallel as numba_threads

from fastfit import double_double, elementary, least_squares
from fastfit.double_double import DoubleDouble
from fastfit.kernels import flags, forks, passes, products, reference
from fastfit.kernels.cache import DiskCache
from fastfit.kernels.passes import BLOCK, GROUPS, Gathered, block_sums, finish, part
from fastfit.least_squares import Centred

# Below four blocks (32,768 points) handing work to threads costs more than it saves.
PARALLEL_BLOCKS = 4


@intrinsic
def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` rounded once: an instruction of its own, which vectorises."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@overload(double_double.fused, jit_options=flags.POINT, strict=False)
def _fused(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: _fma(a, b, c)  # noqa: PLW0108  # an intrinsic is no function


@overload(elementary.chosen, jit_options=flags.POINT, strict=False)
def _chosen(condition: Any, a: Any, b: Any) -> Any:
    return lambda condition, a, b: a if condition else b


@overload(passes.weight, jit_options=flags.POINT, strict=False)
def _weight(w: Any, i: Any) -> Any:
    if isinstance(w, types.NoneType):
        return lambda w, i: 1.0
    return lambda w, i: np.float64(w[i])


@overload(passes.put, jit_options=flags.POINT, strict=False)
def _put(values: Any, i: Any, value: Any) -> Any:
    if isinstance(values, types.NoneType):
        return lambda values, i, value: None
    return passes.put


@overload(passes.point, jit_options=flags.POINT)
def _point(loss: Any, residual: Any) -> Any:
    return loss.instance_class.point


@overload(products.holds, jit_options=flags.POINT)
def _holds(what: Any, u: Any, v: Any, k: Any) -> Any:
    return what.instance_class.holds


@overload(block_sums, jit_options=flags.BLOCK_SUMS)
def _block_sums(what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any) -> Any:
    return what.instance_class.block


@overload(passes.part, jit_options=flags.DRIVER, strict=False)
def _part_of(w: Any, block: Any) -> Any:
    return (lambda w, block: None) if isinstance(w, types.NoneType) else lambda w, block: w[block]


@overload(finish, jit_options=flags.TOTAL)
def _finish(what: Any, n: Any, center: Any, sums: Any, lost: Any) -> Any:
    return what.instance_class.finish


_INLINED = {
    "POINT": (
        elementary.log_of_one_plus,
        passes.distance,
        passes.difference,
        passes.exact_difference,
        products.on_grid,
        products.product_on_grid,
        passes.residual,
    ),
    "BLOCK_SUMS": (
        passes.gather,
        passes.mark,
        passes.rough_center,
        passes.center_for,
        products.grid_for,
        products.products,
        products.weighted_products,
    ),
    "TOTAL": (
        double_double.two_sum,
        double_double.two_product,
        double_double.add,
        double_double.negative,
        double_double.subtract,
        double_double.multiply,
        double_double.divide,
        least_squares._not_negative,
        least_squares.centred,
        least_squares.line_of,
        least_squares.merged,
        products.joined,
        products.finished,
    ),
}
for _options, _functions in _INLINED.items():
    for _function in _functions:
        register_jitable(**getattr(flags, _options))(_function)


@numba.njit(**flags.TOTAL)
def _add_up(rows: Any) -> Any:
    """Return the sums of the columns, in order, and what they lost in rounding (Neumaier)."""
    total = np.zeros(rows.shape[1])
    lost = np.zeros(rows.shape[1])
    for b in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            term = rows[b, k]
            raised = total[k] + term
            if abs(total[k]) >= abs(term):
                lost[k] += (total[k] - raised) + term
            else:
                lost[k] += (term - raised) + total[k]
            total[k] = raised
    for k in range(rows.shape[1]):
        # Infinity and NaN stand as they are: their compensation is NaN.
        if not np.isfinite(total[k]):
            lost[k] = 0.0
    return total, lost


def _serial(
    what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any, rows: Any
) -> Any:
    for b in range(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        sums = block_sums(what, loss, x[block], y[block], part(w, block), center, given)
        for k in range(len(sums)):
            rows[b, k] = sums[k]
    sums, lost = _add_up(rows)
    return finish(what, x.size, center, sums, lost)


def _parallel(
    what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any, rows: Any
) -> Any:
    for b in numba.prange(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        sums = block_sums(what, loss, x[block], y[block], part(w, block), center, given)
        for k in range(len(sums)):
            rows[b, k] = sums[k]
    sums, lost = _add_up(rows)
    return finish(what, x.size, center, sums, lost)


def _gather_serial(
    x: Any, y: Any, w: Any, center: Any, given: Any, values: Any, weights: Any, found: Any
) -> Any:
    n_blocks, n_groups = (x.size + BLOCK - 1) // BLOCK, found.shape[0]
    for g in range(n_groups):
        start, stop = g * n_blocks // n_groups, (g + 1) * n_blocks // n_groups
        group = slice(start * BLOCK, min(stop * BLOCK, x.size))
        into = values[g], part(weights, g)
        sums = passes.gather(x[group], y[group], part(w, group), center, given, *into)
        found[g, 0], found[g, 1], found[g, 2] = sums


def _gather_parallel(
    x: Any, y: Any, w: Any, center: Any, given: Any, values: Any, weights: Any, found: Any
) -> Any:
    n_blocks, n_groups = (x.size + BLOCK - 1) // BLOCK, found.shape[0]
    for g in numba.prange(n_groups):
        start, stop = g * n_blocks // n_groups, (g + 1) * n_blocks // n_groups
        group = slice(start * BLOCK, min(stop * BLOCK, x.size))
        into = values[g], part(weights, g)
        sums = passes.gather(x[group], y[group], part(w, group), center, given, *into)
        found[g, 0], found[g, 1], found[g, 2] = sums


def jit(function: Callable[..., Any], options: dict[str, Any], *, cached: bool = True) -> Any:
    """Return a function compiled by type at its first call of each, and kept on disk if ``cached``."""
    compiled = numba.njit(**options)(function)
    if cached and not numba.config.DISABLE_JIT:
        compiled._cache = DiskCache(function)
    return compiled


# By what they do, and whether on threads.
_SOURCES = {
    ("sums", True): (_parallel, flags.PARALLEL_DRIVER),
    ("sums", False): (_serial, flags.DRIVER),
    ("gather", True): (_gather_parallel, flags.PARALLEL_DRIVER),
    ("gather", False): (_gather_serial, flags.DRIVER),
}
_DRIVERS = {name: jit(*source) for name, source in _SOURCES.items()}
_GLANCE = jit(passes.glance, flags.BLOCK_SUMS)


def _merge(a: Any, b: Any) -> Any:
    """Return the numbers of merged sums in a row, from those of two."""
    one = Centred(*_in_pairs(a))
    m = least_squares.merged(one, Centred(*_in_pairs(b)))
    return (
        *(m.w.high, m.w.low, m.x_mean.high, m.x_mean.low, m.y_mean.high, m.y_mean.low),
        *(m.xx.high, m.xx.low, m.xy.high, m.xy.low, m.yy.high, m.yy.low),
    )


@register_jitable(**flags.TOTAL)
def _in_pairs(row: Any) -> Any:
    return (
        DoubleDouble(row[0], row[1]),
        DoubleDouble(row[2], row[3]),
        DoubleDouble(row[4], row[5]),
        DoubleDouble(row[6], row[7]),
        DoubleDouble(row[8], row[9]),
        DoubleDouble(row[10], row[11]),
    )


_MERGE = jit(_merge, flags.TOTAL)
_ready: dict[tuple[Any, ...], Any] = {}

_region = threading.Lock()

# A child that is forked off while another thread compiles would inherit the compiler's lock, locked for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def run(
    what: Any,
    loss: Any,
    x: Any,
    y: Any,
    w: Any,
    center: tuple[float, float],
    given: tuple[float, ...],
    n_threads: int | None = None,
) -> Any:
    """Return the sums of one pass over all points.

    Parameters
    ----------
    what : a pass
        What to sum: any instance of a class of ``passes``.
    loss : Loss or None
        The loss, for a pass that has one.
    x, y : ndarray, shape (n,)
        The points, float64 or float32, contiguous or strided.
    w : ndarray, shape (n,), or None
        Their weights.
    center : (float, float)
        Subtracted from ``x`` and ``y``.
    given : tuple of float
        What else the pass needs.
    n_threads : int or None
        At most this many threads; None leaves it to Numba (``NUMBA_NUM_THREADS``, by default all
        processors). The result does not depend on it.

    Returns
    -------
    What the pass makes of its sums, by ``finish``.
    """
    n_blocks = -(-x.size // BLOCK)
    arguments = (what, loss, x, y, w, center, given, np.empty((n_blocks, len(what))))
    return what.result(on_threads(n_blocks, n_threads, _driver, arguments))


def gather(
    x: Any,
    y: Any,
    w: Any,
    center: tuple[float, float],
    given: tuple[float, float, float, float],
    room: int,
    n_threads: int | None = None,
) -> Gathered:
    """Return the absolute residuals within bounds, from one pass over all points, as far as there is room for them.

    Parameters
    ----------
    x, y, w, center, n_threads
        As in ``run``.
    given : (float, float, float, float)
        Slope and level of the line, and the lower and upper bound, both of them within.
    room : int
        How many values may be kept, of all groups together.
    """
    n_blocks = -(-x.size // BLOCK)
    n_groups = min(n_blocks, GROUPS)
    shape = (n_groups, room // max(n_groups, 1) + 1)
    weights = None if w is None else np.empty(shape)
    arguments = (x, y, w, center, given, np.empty(shape), weights, np.empty((n_groups, 3)))
    on_threads(n_blocks, n_threads, _gatherer, arguments)
    return reference.gathered(*arguments[-3:])


def on_threads(
    n_blocks: int,
    n_threads: int | None,
    compiled: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    """Return what compiled code makes of its arguments, on threads where that pays and is safe."""
    if n_blocks >= PARALLEL_BLOCKS and n_threads != 1 and _region.acquire(blocking=False):
        try:
            if _threads_are_safe():
                with _at_most(n_threads):
                    return compiled(True, *arguments)(*arguments)
        finally:
            _region.release()
    return compiled(False, *arguments)(*arguments)


def glance(x: Any, y: Any, step: int) -> tuple[float, float, float, float]:
    """Return rough centers of x and of y and mean squares about them, from every ``step``-th point."""
    key = ("glance", x.dtype.char, x.flags.num, y.dtype.char, y.flags.num)
    code = _ready.get(key) or _compiled(_GLANCE, key, x, y, step)
    return code(x, y, step)  # type: ignore[no-any-return]


def merged(a: Centred, b: Centred) -> Centred:
    """Return the moments of the points of both, as ``least_squares.merged`` does, twenty times faster."""
    code = _ready.get(("merge",)) or _checked_merge()
    return _centred(code(_row(a), _row(b)))


def _checked_merge() -> Any:
    """Return the machine code that merges, or what is not compiled if that on disk does not agree with it."""
    a, b = (
        Centred(*(DoubleDouble(k + third, 2.0**-60) for k in range(1, 7)))
        for third in (1 / 3, 2 / 3)
    )
    expected = least_squares.merged(a, b)
    if _centred(_MERGE(_row(a), _row(b))) != expected:
        _ready["merge",] = _merge
        return _merge
    return _compiled(_MERGE, ("merge",), _row(a), _row(b))


def _row(sums: Centred) -> tuple[float, ...]:
    return (*sums.w, *sums.x_mean, *sums.y_mean, *sums.xx, *sums.xy, *sums.yy)


def _centred(row: Any) -> Centred:
    return Centred(*map(DoubleDouble._make, zip(row[::2], row[1::2], strict=True)))


def _driver(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled driver for arguments of these types, checked once against the reference."""
    what, loss, x, y, w, *_ = arguments
    # All that tells arguments apart for the compiler: arrays are in native byte order, center is a pair of floats, and
    # given has as many as what says. Written out, as a fit of few points takes little longer than this.
    key: tuple[Any, ...]
    key = (parallel, type(what), type(loss), x.dtype.char, x.flags.num, y.dtype.char, y.flags.num)
    if w is not None:
        key += (w.dtype.char, w.flags.num)
    if loss:
        key += tuple(map(type, loss))
    return _ready.get(key) or _checked("sums", parallel, key, _agrees, arguments)


def _gatherer(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled driver that gathers from arrays of these types, checked once against the reference."""
    x, y, w, *_ = arguments
    key = ("gather", parallel, *((v.dtype.char, v.flags.num) for v in (x, y, w) if v is not None))
    return _ready.get(key) or _checked("gather", parallel, key, _gathers_alike, arguments)


def _checked(
    kind: str,
    parallel: bool,
    key: tuple[Any, ...],
    agrees: Callable[..., bool],
    arguments: tuple[Any, ...],
) -> Any:
    """Return the machine code of a driver that agrees with the reference, compiled anew if that on disk does not."""
    compiled = _DRIVERS[kind, parallel]
    if not agrees(compiled, *arguments):
        compiled = jit(*_SOURCES[kind, parallel], cached=False)
        if not agrees(compiled, *arguments):
            raise RuntimeError(
                "the compiled kernels disagree with NumPy on this machine; pass backend='numpy', "
                f"and please report this (Numba {numba.__version__}, NumPy {np.__version__})"
            )
    return _compiled(compiled, key, *arguments)


def _compiled(function: Any, key: tuple[Any, ...], *arguments: Any) -> Any:
    """Return the machine code of a function itself: Numba's choice by type would take 2 microseconds a call."""
    if numba.config.DISABLE_JIT:
        code = functools.partial(_in_floats, function)
    else:
        code = function.compile(tuple(map(numba.typeof, arguments)))
    _ready[key] = code
    return code


def _in_floats(function: Callable[..., Any], *arguments: Any) -> tuple[float, ...]:
    """Return what a function that is not compiled returns, if anything, in the numbers that compiled code returns."""
    return tuple(map(float, function(*arguments) or ()))


def _agrees(
    driver: Any, what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any, rows: Any
) -> bool:
    """Whether a compiled driver gives the reference's sums on a few points like these.

    Two blocks and 67 points: every part of the drivers, and of a vectorised loop, has its share.
    """
    count = np.arange(2 * BLOCK + 67) % 67
    sample_x, sample_y = _like(x, count / 3.0), _like(y, count + (count % 3 == 0))
    weights = None if w is None else _like(w, count % 5 + 0.75)
    # Lines, or sizes of which the first two blocks have more, and the last has less.
    example = (1e5, 1e5, 1e4) if isinstance(what, reference.PRODUCTS) else (0.75, 0.125, 0.5, 3.0)
    given = example[: len(given)]
    if loss:
        loss = loss._make(
            [5.0] * len(loss)
        )  # that of the points may be out of all proportion to these
    arguments = (what, loss, sample_x, sample_y, weights, (0.25, -0.5), given)
    expected = _flat(reference.run(*arguments))
    got = _flat(what.result(driver(*arguments, np.empty_like(rows, shape=(3, len(what))))))
    # Both sum some 16,000 numbers of order 1,000; wrong code is not wrong in the tenth digit, nor, where numbers have
    # two parts, in the twentieth.
    size = max(abs(high) for high, _ in expected)
    errors = (abs((a[0] - b[0]) + (a[1] - b[1])) for a, b in zip(got, expected, strict=True))
    precise = any(low != 0.0 for _, low in expected)
    return max(errors) <= (1e-20 if precise else 1e-10) * size


def _gathers_alike(
    driver: Any,
    x: Any,
    y: Any,
    w: Any,
    center: Any,
    given: Any,
    values: Any,
    weights: Any,
    found: Any,
) -> bool:
    """Whether a compiled driver gathers what the reference does, from residuals that are exact."""
    count = np.arange(2 * BLOCK + 67) % 67
    sample_x, sample_y = _like(x, count), _like(y, 2.0 * count + count % 3)
    sample = sample_x, sample_y, None if w is None else _like(w, count % 5 + 0.75)
    line_and_bounds = (0.75, 0.125, 8.0, 64.0)
    shape = (3, 6001)
    into = np.empty(shape), None if w is None else np.empty(shape), np.empty((3, 3))
    driver(*sample, (0.25, -0.5), line_and_bounds, *into)
    got = reference.gathered(*into)
    expected = reference.gather(*sample, (0.25, -0.5), line_and_bounds, 3 * 6000)
    if got.below != expected.below or got.up_to != expected.up_to or not got.is_complete:
        return False
    pairs = [np.array([g.values, *([] if w is None else [g.weights])]) for g in (got, expected)]
    one, other = (pair[:, np.lexsort(pair)] for pair in pairs)  # they come in no order
    return np.array_equal(one, other)


def _flat(result: Any) -> list[tuple[float, float]]:
    """Return the numbers in a result as pairs, each with the lower part that it may have."""
    if isinstance(result, float):
        return [(result, 0.0)]
    if isinstance(result, DoubleDouble):
        return [(result.high, result.low)]
    return [pair for item in result for pair in _flat(item)]


def _like(values: Any, content: Any) -> Any:
    """Return content as an array that the compiler cannot tell from values."""
    table = np.empty((content.size, 1 if values.flags.c_contiguous else 2), dtype=values.dtype)
    column = table[:, 0]
    column[:] = content
    column.flags.writeable = values.flags.writeable
    return column


@contextlib.contextmanager
def _at_most(n_threads: int | None) -> Any:
    """Limit Numba to so many threads, in this Python thread, for a while."""
    before = numba.get_num_threads()
    if n_threads is None or n_threads >= before:
        yield
        return
    numba.set_num_threads(n_threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _threads_are_safe() -> bool:
    """Whether a parallel region may be entered here and now, the lock on regions being held."""
    if forks.forked:
        return False  # GNU OpenMP ends a forked child that enters a region
    layer = _thread_layer()
    if layer == "workqueue":
        # It aborts the process when two threads enter it, ours or not, and whether threading knows them or not.
        return len(sys._current_frames()) == 1
    return layer is not None


def compiles() -> bool:
    """Whether the compiler is switched on."""
    return not numba.config.DISABLE_JIT


def description() -> dict[str, Any]:
    """Return what compiles the passes and what runs them, for reports."""
    return {
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "processor_type": llvmlite.binding.get_host_cpu_name(),
        "threads": numba.get_num_threads(),
        "thread_layer": _thread_layer(),
    }


@functools.cache
def _thread_layer() -> str | None:
    """Start Numba's threads and return the name of their layer, None if there is none to use."""
    if numba_threads._is_initialized and _threads_were_lost_in_a_fork():
        return None
    try:
        numba.get_num_threads()
        return str(numba.threading_layer())
    except Exception:  # no layer that was asked for can be loaded, or none has that name
        return None


def _threads_were_lost_in_a_fork() -> bool:
    """Whether a parent of this process may have started Numba's threads, before fastfit was loaded.

    Numba does not tell. A child of multiprocessing knows that it is one; another has fewer threads than Numba
    started, unless it started as many of its own since.
    """
    if multiprocessing.parent_process() is not None:
        return True
    try:
        return len(os.listdir("/proc/self/task")) < int(numba.config.NUMBA_NUM_THREADS)
    except OSError:  # not Linux: no GNU OpenMP, and fork is not the default
        return False
