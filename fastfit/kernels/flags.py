"""Numba's options, each with its reason, and the mark that gives a function its options.

Measured on 2 cores with AVX2, at 8,192 points in cache and at 10 million points; see ``bench/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_ALWAYS: dict[str, Any] = {
    # Division by zero gives infinity, as in NumPy, instead of a branch that keeps a loop from vectorising.
    "error_model": "numpy",
    # Passes hold no Python object, so other Python threads may run meanwhile.
    "nogil": True,
}

# One point: the arithmetic happens as written. Without "reassoc" the shift `x - x_center` cannot be merged
# with what follows, which would lose every digit of a time stamp. "contract" (a fused multiply-add) only
# ever rounds less, and is 15 to 25 % faster in cache.
POINT: dict[str, Any] = {**_ALWAYS, "fastmath": {"contract"}}

# The formula of a loss, and functions that it calls: a long one would stay a call, and its loop would not vectorise
# (a log-cosh is five times faster inlined).
FORMULA: dict[str, Any] = {**POINT, "forceinline": True}

# Sums over one block: additions may be reordered ("reassoc"), without which no reduction vectorises. No other
# flag of fastmath: "nnan" and "ninf" would let NaN and infinity slip through.
BLOCK_SUMS: dict[str, Any] = {**_ALWAYS, "fastmath": {"reassoc", "contract"}}

# Sums of blocks: compensated, so nothing may be reordered or contracted.
TOTAL: dict[str, Any] = {**_ALWAYS, "fastmath": set()}

# A few lines of such arithmetic, which a long loop would else call, and then not vectorise.
INLINED: dict[str, Any] = {**TOTAL, "forceinline": True}
INLINED_SUMS: dict[str, Any] = {**BLOCK_SUMS, "forceinline": True}

DRIVER: dict[str, Any] = {**_ALWAYS, "fastmath": set()}
PARALLEL_DRIVER: dict[str, Any] = {**DRIVER, "parallel": True}

# Every function that kernels are compiled from, with its options. Marking needs no Numba: ``compiled`` reads this list.
MARKED: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def compiled(options: dict[str, Any]) -> Callable[[F], F]:
    """Mark a function as part of a kernel, to be compiled with these options; as it stands, it is plain Python."""

    def mark(function: F) -> F:
        MARKED.append((function, options))
        return function

    return mark
