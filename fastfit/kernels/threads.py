"""Blocks over threads: when a parallel region may be entered, with how many threads, and when not.

A parallel region could abort the process beside another region, in a forked child, or under the ``workqueue`` layer
while other Python threads exist. Wherever that may be, the serial driver is taken: it gives the same bits.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numba

from fastfit.kernels.forks import forked

# Below four blocks (32,768 points) handing work to threads costs more than it saves.
PARALLEL_BLOCKS = 4

_region = threading.Lock()


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


@contextlib.contextmanager
def _at_most(n_threads: int | None) -> Iterator[None]:
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
    if forked():
        return False  # GNU OpenMP ends a forked child that enters a region
    layer = thread_layer()
    if layer == "workqueue":
        # It aborts the process when two threads enter it, of any library, and whether threading knows them or not.
        return len(sys._current_frames()) == 1
    return layer is not None


@functools.cache
def thread_layer() -> str | None:
    """Start Numba's threads and return the name of their layer, None if there is none to use."""
    if _numba_has_started_threads() and _threads_were_lost_in_a_fork():
        return None
    try:
        numba.get_num_threads()
        return str(numba.threading_layer())
    except Exception:  # no layer that was asked for can be loaded, or none has that name
        return None


def _numba_has_started_threads() -> bool:
    try:
        from numba.np.ufunc import parallel
    except ImportError:
        return False
    return bool(getattr(parallel, "_is_initialized", False))


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
