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

import numba
import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import overload
from numba.np.ufunc import parallel as numba_threads

from fastfit.kernels import flags, forks, reference
from fastfit.kernels.cache import DiskCache
from fastfit.kernels.passes import BLOCK, block_sums, difference, point
from fastfit.kernels.reference import Pass

# Below four blocks (32,768 points) handing work to threads costs more than it saves.
PARALLEL_BLOCKS = 4


@overload(difference, jit_options=flags.POINT)
def _difference(a: Any, b: Any) -> Any:
    return difference


@overload(point, jit_options=flags.POINT)
def _point(loss: Any, residual: Any) -> Any:
    return loss.instance_class.point


@overload(block_sums, jit_options=flags.BLOCK_SUMS)
def _block_sums(what: Any, loss: Any, x: Any, y: Any, center: Any, line: Any) -> Any:
    return what.instance_class.block


@numba.njit(**flags.TOTAL)
def _add_up(rows: Any) -> Any:
    """Return the sum of the rows, in order, with Neumaier's compensation."""
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
        if np.isfinite(total[k]):
            total[k] += lost[k]
    return total


def _serial(what: Any, loss: Any, x: Any, y: Any, center: Any, line: Any, rows: Any) -> Any:
    for b in range(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        sums = block_sums(what, loss, x[block], y[block], center, line)
        for k in range(len(sums)):
            rows[b, k] = sums[k]
    return _add_up(rows)


def _parallel(what: Any, loss: Any, x: Any, y: Any, center: Any, line: Any, rows: Any) -> Any:
    for b in numba.prange(rows.shape[0]):
        block = slice(b * BLOCK, min((b + 1) * BLOCK, x.size))
        sums = block_sums(what, loss, x[block], y[block], center, line)
        for k in range(len(sums)):
            rows[b, k] = sums[k]
    return _add_up(rows)


def _compile(function: Callable[..., Any], options: dict[str, Any], *, cached: bool) -> Any:
    compiled = numba.njit(**options)(function)
    if cached and not numba.config.DISABLE_JIT:
        compiled._cache = DiskCache(function)
    return compiled


_SOURCES = {True: (_parallel, flags.PARALLEL_DRIVER), False: (_serial, flags.DRIVER)}
_DRIVERS = {parallel: _compile(*source, cached=True) for parallel, source in _SOURCES.items()}
_checked: dict[tuple[Any, ...], Any] = {}

_region = threading.Lock()

# A child that is forked off while another thread compiles would inherit the compiler's lock, locked for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def run(
    what: Pass,
    loss: Any,
    x: Any,
    y: Any,
    center: tuple[float, float],
    line: tuple[float, ...],
    n_threads: int | None = None,
) -> Pass:
    """Return the sums of one pass over all points.

    Parameters
    ----------
    what : LossGradient, LossGradientCurvature or ProductSums
        What to sum: any instance of the pass.
    loss : Loss or None
        The loss, for a pass that has one.
    x, y : ndarray, shape (n,)
        The points, float64 or float32, contiguous or strided.
    center : (float, float)
        Subtracted from ``x`` and ``y``.
    line : (float, float) or ()
        Slope and level of the line, for a pass that has one.
    n_threads : int or None
        At most this many threads; None leaves it to Numba (``NUMBA_NUM_THREADS``, by default all
        processors). The result does not depend on it.

    Returns
    -------
    Pass
        The sums, of the type of ``what``.
    """
    n_blocks = -(-x.size // BLOCK)
    arguments = (what, loss, x, y, center, line, np.empty((n_blocks, len(what))))
    if n_blocks >= PARALLEL_BLOCKS and n_threads != 1 and _region.acquire(blocking=False):
        try:
            if _threads_are_safe():
                with _at_most(n_threads):
                    return type(what)._make(_driver(True, *arguments)(*arguments).tolist())
        finally:
            _region.release()
    return type(what)._make(_driver(False, *arguments)(*arguments).tolist())


def _driver(parallel: bool, *arguments: Any) -> Any:
    """Return the compiled driver for arguments of these types, checked once against the reference.

    It is the machine code itself: Numba's own choice by type would take another 2 microseconds a call.
    """
    what, loss, x, y, *_ = arguments
    # All that tells arguments apart for the compiler; center and line are pairs of floats, or empty as what says.
    key = (parallel, type(what), type(loss), *map(type, loss or ()))
    key += (x.dtype.str, x.flags.num, y.dtype.str, y.flags.num)
    driver = _checked.get(key)
    if driver is None:
        compiled = _DRIVERS[parallel]
        if not _agrees(compiled, *arguments):
            compiled = _compile(*_SOURCES[parallel], cached=False)
            if not _agrees(compiled, *arguments):
                raise RuntimeError(
                    "the compiled kernels disagree with NumPy on this machine; pass backend='numpy', "
                    f"and please report this (Numba {numba.__version__}, NumPy {np.__version__})"
                )
        driver = compiled
        if not numba.config.DISABLE_JIT:
            driver = compiled.compile(tuple(map(numba.typeof, arguments)))
        _checked[key] = driver
    return driver


def _agrees(
    driver: Any, what: Pass, loss: Any, x: Any, y: Any, center: Any, line: Any, rows: Any
) -> bool:
    """Whether a compiled driver gives the reference's sums on a few points like these.

    Two blocks and 67 points: every part of the drivers, and of a vectorised loop, has its share.
    """
    count = np.arange(2 * BLOCK + 67) % 67
    sample_x, sample_y = _like(x, count), _like(y, count + (count % 3 == 0))
    arguments = (what, loss, sample_x, sample_y, (0.25, -0.5), (0.75, 0.125)[: len(line)])
    expected = reference.run(*arguments)
    got = driver(*arguments, np.empty_like(rows, shape=(3, len(what))))
    # Both sum some 16,000 numbers of order 1,000 in float64; wrong code is not wrong in the tenth digit.
    return bool(np.allclose(got, expected, rtol=1e-10, atol=1e-10))


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
