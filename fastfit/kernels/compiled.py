"""The passes compiled by Numba, and how they are run.

A pass and a loss travel into compiled code as named tuples, whose classes carry the loop and the formula. Serial and
parallel drivers are one source, compiled twice: they call the same loop on the same blocks and add the block sums in
the same order, so the result is the same to the last bit with any number of threads.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba.extending import register_jitable

from fastfit.exact import least_squares
from fastfit.exact.double_double import DoubleDouble
from fastfit.exact.least_squares import Centred
from fastfit.kernels import center, flags, median, threads
from fastfit.kernels import specialised as _specialised  # noqa: F401  # registers all functions with Numba
from fastfit.kernels.block import BLOCK, block_sums, finish, weights_at
from fastfit.kernels.cache import DiskCache
from fastfit.kernels.median import GROUPS, ResidualWindow, window


@numba.njit(**flags.TOTAL)
def _add_up(rows: Any) -> Any:
    """Return the sums of the columns, in order, and their rounding errors (Neumaier)."""
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


def _sums(
    kernel: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, params: Any, rows: Any
) -> Any:
    for b in numba.prange(rows.shape[0]):
        # Not min(), and not in a function: so LLVM makes a loop of its own for whole blocks, which is 5 to 15 % faster.
        start = b * BLOCK
        stop = start + BLOCK
        if stop > x.size:  # noqa: PLR1730
            stop = x.size
        part = slice(start, stop)
        sums = block_sums(kernel, loss, x[part], y[part], weights_at(w, part), center, params)
        for k in range(len(sums)):
            rows[b, k] = sums[k]
    totals, lost = _add_up(rows)
    return finish(kernel, x.size, center, totals, lost)


def _gather(
    x: Any, y: Any, w: Any, center: Any, params: Any, values: Any, weights: Any, found: Any
) -> Any:
    n_blocks, n_groups = (x.size + BLOCK - 1) // BLOCK, found.shape[0]
    for g in numba.prange(n_groups):
        start, stop = g * n_blocks // n_groups, (g + 1) * n_blocks // n_groups
        group = slice(start * BLOCK, min(stop * BLOCK, x.size))
        into = values[g], weights_at(weights, g)
        sums = median.gather(x[group], y[group], weights_at(w, group), center, params, *into)
        found[g, 0], found[g, 1], found[g, 2] = sums


def jit(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Return a function compiled by type at its first call of each, and kept on disk."""
    compiled = numba.njit(**options)(function)
    if DiskCache is not None and not numba.config.DISABLE_JIT:
        compiled._cache = DiskCache(function, options)
    return compiled


def on_threads_or_not(function: Callable[..., Any]) -> dict[bool, Any]:
    """Return a driver compiled with threads (True) and without: outside of them, ``prange`` is ``range``."""
    return {True: jit(function, flags.PARALLEL_DRIVER), False: jit(function, flags.DRIVER)}


DRIVERS = {"sums": on_threads_or_not(_sums), "gather": on_threads_or_not(_gather)}
_GLANCE = jit(center.glance, flags.BLOCK_SUMS)


def _merge(a: Any, b: Any) -> Any:
    """Return the merged sums as a flat tuple, from two flat tuples."""
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
# Machine code by the types of its arguments: the choice by type that Numba makes would take 2 microseconds a call.
_ready: dict[tuple[Any, ...], Any] = {}


def _protect_forks() -> None:
    """Hold the compiler's lock while forking, or a child forked while a thread compiles inherits it locked for ever."""
    try:
        from numba.core.compiler_lock import global_compiler_lock as lock
    except ImportError:
        return
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


_protect_forks()


def run(
    kernel: Any,
    loss: Any,
    x: Any,
    y: Any,
    w: Any,
    center: tuple[float, float],
    params: tuple[float, ...],
    n_threads: int | None = None,
) -> Any:
    """Return the sums of one pass over all points.

    Parameters
    ----------
    kernel : a pass
        What to sum, such as ``LossGradient()``; see ``block``.
    loss : Loss or None
        The loss, for a pass that has one.
    x, y : ndarray, shape (n,)
        The points, float64 or float32, contiguous or strided.
    w : ndarray, shape (n,), or None
        Their weights.
    center : (float, float)
        Subtracted from ``x`` and ``y``.
    params : tuple of float
        The other numbers the pass needs.
    n_threads : int or None
        At most this many threads; by default ``NUMBA_NUM_THREADS``, or the processors available to this process. The
        result does not depend on it.

    Returns
    -------
    The ``result`` of the pass.
    """
    n_blocks = -(-x.size // BLOCK)
    arguments = (kernel, loss, x, y, w, center, params, np.empty((n_blocks, len(kernel))))
    return kernel.result(threads.on_threads(n_blocks, n_threads, _driver, arguments))


def gather(
    x: Any,
    y: Any,
    w: Any,
    center: tuple[float, float],
    params: tuple[float, float, float, float],
    room: int,
    n_threads: int | None = None,
) -> ResidualWindow:
    """Return the absolute residuals within a bracket, from one pass over all points, as far as there is room for them.

    Parameters
    ----------
    x, y, w, center, n_threads
        As in ``run``.
    params : (float, float, float, float)
        Slope and offset of the line, and the lower and upper bound, both of them within.
    room : int
        How many values may be kept, of all groups together.
    """
    n_blocks = -(-x.size // BLOCK)
    n_groups = min(n_blocks, GROUPS)
    shape = (n_groups, room // max(n_groups, 1) + 1)
    weights = None if w is None else np.empty(shape)
    arguments = (x, y, w, center, params, np.empty(shape), weights, np.empty((n_groups, 3)))
    threads.on_threads(n_blocks, n_threads, _gatherer, arguments)
    return window(*arguments[-3:])


def glance(x: Any, y: Any, step: int) -> tuple[float, float, float, float]:
    """Return rough centers of x and of y and mean squares about them, from every ``step``-th point."""
    key = ("glance", x.dtype.char, x.flags.num, y.dtype.char, y.flags.num)
    code = _ready.get(key) or _compiled(_GLANCE, key, x, y, step)
    return code(x, y, step)  # type: ignore[no-any-return]


def merged(a: Centred, b: Centred) -> Centred:
    """Return the sums of the points of both, as ``least_squares.merged`` does, twenty times faster."""
    rows = _row(a), _row(b)
    code = _ready.get(("merge",)) or _compiled(_MERGE, ("merge",), *rows)
    numbers = code(*rows)
    return Centred(*map(DoubleDouble._make, zip(numbers[::2], numbers[1::2], strict=True)))


def _row(sums: Centred) -> tuple[float, ...]:
    return (*sums.w, *sums.x_mean, *sums.y_mean, *sums.xx, *sums.xy, *sums.yy)


def _driver(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled driver of sums for arguments of these types."""
    kernel, loss, x, y, w, *_ = arguments
    # All that machine code depends on: arrays are in native byte order, center is a pair of floats, and
    # params has as many as the kernel says. Written out, as a fit of few points takes little longer than this.
    key: tuple[Any, ...]
    key = (parallel, type(kernel), type(loss), x.dtype.char, x.flags.num, y.dtype.char, y.flags.num)
    if w is not None:
        key += (w.dtype.char, w.flags.num)
    if loss:
        key += tuple(map(type, loss))
    return _ready.get(key) or _compiled(DRIVERS["sums"][parallel], key, *arguments)


def _gatherer(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled driver that gathers from arrays of these types."""
    x, y, w, *_ = arguments
    key = ("gather", parallel, *((v.dtype.char, v.flags.num) for v in (x, y, w) if v is not None))
    return _ready.get(key) or _compiled(DRIVERS["gather"][parallel], key, *arguments)


def code_for(function: Any, key: tuple[Any, ...], *arguments: Any) -> Any:
    """Return the machine code of a function for arguments of these types, which the key stands for."""
    return _ready.get(key) or _compiled(function, key, *arguments)


def _compiled(function: Any, key: tuple[Any, ...], *arguments: Any) -> Any:
    """Return the machine code of a function for arguments of these types."""
    if numba.config.DISABLE_JIT:
        code = functools.partial(_in_floats, function)
    else:
        try:
            code = function.compile(tuple(map(numba.typeof, arguments)))
        except Exception as error:
            raise _not_compiled(arguments[1], error) from error
    _ready[key] = code
    return code


def _not_compiled(loss: Any, error: Exception) -> Exception:
    """Return an error about the formula of a caller's loss, which is the only code that fastfit does not know."""
    kind = type(loss)
    if not hasattr(loss, "point") or kind.__module__.startswith("fastfit."):
        return error
    # The innermost reason stands last.
    reasons = re.findall(
        r"^\W*((?:Unknown|Untyped|Cannot|Invalid|Use of|Unsupported|cannot|Undecided|NameError).*)$",
        str(error),
        re.MULTILINE,
    )
    why = " ".join((reasons or [str(error).splitlines()[0]])[-1].split())
    return TypeError(
        f"{kind.__name__}.point cannot be compiled by Numba; use numbers, NumPy and fastfit.vector_math alone, or pass "
        f"backend='numpy': {why}"
    )


def _in_floats(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function that is not compiled returns, in the numbers that compiled code returns."""
    found = function(*arguments)
    return tuple(map(float, found)) if isinstance(found, tuple) else found


def compiles() -> bool:
    """Whether the compiler is switched on."""
    return not numba.config.DISABLE_JIT


def description() -> dict[str, Any]:
    """Return what compiles the passes and what runs them, for reports."""
    return {
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "processor_type": llvmlite.binding.get_host_cpu_name(),
        "threads": min(numba.get_num_threads(), threads.default_threads()),
        "thread_layer": threads.thread_layer(),
    }
