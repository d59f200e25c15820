"""A parallel loop of another library, compiled once for all processes of the tests."""

from __future__ import annotations

from typing import Any

import numba


@numba.njit(parallel=True, nogil=True, cache=True)
def theirs(values: Any) -> Any:
    total = 0.0
    for i in numba.prange(values.size):
        total += values[i]
    return total
