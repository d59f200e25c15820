"""Times as ratios: what is compared runs in turn, round by round, for the machine may be shared and noisy."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping

Call = Callable[[], object]

# Shorter than this, and a call is repeated: the clock, and calling it, would show.
SHORTEST = 0.002


def timed(call: Call, repeats: int = 1) -> float:
    """Return the seconds that one of so many calls takes."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def repeats_for(call: Call) -> int:
    """Return how often to call, so that it takes 2 ms or more, after one call that compiles and touches every page."""
    call()
    once = timed(call)
    if once >= SHORTEST:
        return 1
    once = min(once, timed(call), timed(call))
    return math.ceil(SHORTEST / max(once, 1e-9))


def times(
    calls: Mapping[str, Call], rounds: int, inner: int | None = None
) -> dict[str, list[float]]:
    """Return the times of each call, one a round, all calls taking their turn in every round.

    Each is called once before, and in a round ``inner`` times, or as often as makes 2 ms.
    """
    repeats = {name: repeats_for(call) if inner is None else inner for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            seconds = timed(call, repeats[name] if number else 1)
            if number:
                found[name].append(seconds)
    return found


def ratio(found: Mapping[str, list[float]], name: str, base: str) -> float:
    """Return the median over the rounds of the time of one call over that of another."""
    return statistics.median(a / b for a, b in zip(found[name], found[base], strict=True))
