"""Blocks over threads: when a parallel region may be entered, with how many threads, and when not.

A parallel region could abort the process while another region runs, in a forked child, or under the ``workqueue``
layer while other Python threads exist; and on a busy machine it may be slower than one thread. In all these cases
the serial driver is used: it gives the same bits. The log of ``fastfit`` says so once, at level INFO.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numba

from fastfit.cpus import available_cpus
from fastfit.kernels.forks import forked

# With fewer than eight blocks (up to 57,344 points), a second thread gains next to nothing.
PARALLEL_BLOCKS = 8
# How long OpenMP threads spin before they sleep: 0.5 to 1.5 ms for GNU's, set as a number of turns; 1 ms for LLVM's.
# That covers the time between two passes of a fit. By default they spin some ten times
# longer, which costs whole time slices while other processes are busy.
_SPINNING = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}

_log = logging.getLogger("fastfit")
_region = threading.Lock()


def on_threads(
    n_blocks: int,
    n_threads: int | None,
    compiled: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    """Return what compiled code makes of its arguments, on threads where that pays and is safe."""
    most = n_threads or default_threads()
    if n_blocks < PARALLEL_BLOCKS or most == 1:
        return compiled(False, *arguments)(*arguments)
    if not _region.acquire(blocking=False):
        _log_serial("another fit is using the threads")
        return compiled(False, *arguments)(*arguments)
    try:
        obstacle = _obstacle()
        if obstacle is not None:
            _log_serial(obstacle)
            return compiled(False, *arguments)(*arguments)
        parallel = compiled(True, *arguments)
        pace = _paces.get(parallel) or _paces.setdefault(parallel, Pace())
        if pace.is_paused():
            _log_serial("threads took longer than one thread should, as happens on a busy machine")
            return pace.timed(compiled(False, *arguments), arguments, n_blocks)
        is_limited = most < numba.config.NUMBA_NUM_THREADS
        with _at_most(most) if is_limited else contextlib.nullcontext():
            return pace.timed(parallel, arguments, n_blocks, is_parallel=True)
    finally:
        _region.release()


@functools.cache
def _log_serial(why: str) -> None:
    """Log, the first time for each reason, that a fit which would use threads takes one."""
    _log.info("a fit runs on one thread: %s", why)


@functools.cache
def default_threads() -> int:
    """Return the default number of threads: ``NUMBA_NUM_THREADS``, or the processors available to this process."""
    if "NUMBA_NUM_THREADS" in os.environ:
        return int(numba.config.NUMBA_NUM_THREADS)
    return min(int(numba.config.NUMBA_NUM_THREADS), available_cpus())


class Pace:
    """Whether threads are faster than one thread for some compiled code, from the times of its last calls.

    On a busy machine, threads wait for each other for whole time slices: some milliseconds, in which one thread would
    long be done. A call on threads that takes longer than one thread would is therefore followed by a
    pause in which one thread is used; pauses double while threads stay slower.

    New threads may share one processor until the system moves them apart, which was seen to take up to 0.4 seconds of
    work. So in each process the first late calls are followed by no pause.
    """

    # Seconds per block of one thread until it is measured: 2 ns per point.
    ASSUMED = 16e-6
    # A call on threads is late after this many times what one thread would take, and the time to wake threads up.
    LATE, WAKING = 1.5, 1e-4
    SHORTEST, LONGEST = 5e-3, 1.0
    # Seconds of late calls that are let pass in this process.
    patience = 0.5

    def __init__(self) -> None:
        self._serial = self.ASSUMED
        self._until, self._pause = 0.0, self.SHORTEST

    def is_paused(self) -> bool:
        """Whether one thread is to be used for now."""
        return time.perf_counter() < self._until

    def timed(
        self,
        code: Callable[..., Any],
        arguments: tuple[Any, ...],
        n_blocks: int,
        *,
        is_parallel: bool = False,
    ) -> Any:
        """Return what code makes of its arguments, and learn from the time it takes."""
        start = time.perf_counter()
        found = code(*arguments)
        end = time.perf_counter()
        each = (end - start) / n_blocks
        if not is_parallel:
            self._serial = 0.5 * (self._serial + each)
        elif end - start > self.LATE * n_blocks * self._serial + self.WAKING:
            if Pace.patience > 0.0:
                Pace.patience -= end - start
                return found
            self._until = end + min(max(self._pause, end - start), self.LONGEST)
            self._pause = min(2.0 * self._pause, self.LONGEST)
        else:
            self._pause = self.SHORTEST
        return found


# By the code that runs on threads.
_paces: dict[Any, Pace] = {}


@contextlib.contextmanager
def _at_most(n_threads: int) -> Iterator[None]:
    """Limit Numba to this many threads, in this Python thread, for a while."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(n_threads, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _obstacle() -> str | None:
    """Return why no parallel region may be entered here and now, the lock on regions being held; None if it may."""
    if forked():
        return "this process was forked"  # GNU OpenMP ends a forked child that enters a region
    layer = thread_layer()
    if layer is None:
        return "no thread layer of Numba can be used"
    # It aborts the process if two threads enter it, of any library, even threads unknown to Python's threading.
    if layer == "workqueue" and len(sys._current_frames()) > 1:
        return "Numba's thread layer 'workqueue' allows one Python thread; tbb or OpenMP allow more"
    return None


@functools.cache
def thread_layer() -> str | None:
    """Start Numba's threads and return the name of their layer, None if there is none to use."""
    if _numba_has_started_threads() and _threads_were_lost_in_a_fork():
        return None
    try:
        with _spinning_briefly():
            numba.get_num_threads()
            return str(numba.threading_layer())
    except Exception:  # no layer that was asked for can be loaded, or none has that name
        return None


@contextlib.contextmanager
def _spinning_briefly() -> Iterator[None]:
    """Let a thread layer that is loaded here spin briefly, unless the user has set how it waits."""
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", *_SPINNING)):
        os.environ.update(_SPINNING)
        try:
            yield
        finally:
            for name in _SPINNING:
                os.environ.pop(name, None)
    else:
        yield


def _numba_has_started_threads() -> bool:
    try:
        from numba.np.ufunc import parallel
    except ImportError:
        return False
    return bool(getattr(parallel, "_is_initialized", False))


def _threads_were_lost_in_a_fork() -> bool:
    """Whether a parent of this process may have started Numba's threads, before fastfit was loaded.

    Numba does not record it. A child forked by multiprocessing has a parent process there; a spawned one is recognised
    by its command line. Any other child has fewer threads than Numba started, unless it has started more itself.
    """
    spawned = any("from multiprocessing." in argument for argument in sys.orig_argv)
    if multiprocessing.parent_process() is not None and not spawned:
        return True
    try:
        return len(os.listdir("/proc/self/task")) < int(numba.config.NUMBA_NUM_THREADS)
    except OSError:  # not Linux: no GNU OpenMP, and fork is not the default
        return False
