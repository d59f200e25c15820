"""Times as ratios: calls are timed in turn, round by round, since the machine may be shared and noisy."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping

Call = Callable[[], object]

# A shorter call is repeated within one measurement, since reading the clock takes time too; in seconds.
SHORTEST = 0.002


def timed(call: Call, repeats: int = 1) -> float:
    """Return the mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def repeats_for(call: Call) -> int:
    """Return how many calls take 2 ms or more, after one call that compiles and touches every page."""
    call()
    once = timed(call)
    if once >= SHORTEST:
        return 1
    once = min(once, timed(call), timed(call))
    return math.ceil(SHORTEST / max(once, 1e-9))


def times(
    calls: Mapping[str, Call], rounds: int, inner: int | None = None
) -> dict[str, list[float]]:
    """Return the times of each call in seconds, one per round; in every round all calls take their turn.

    Each time is the mean of ``inner`` calls, or of as many as take 2 ms. A round that is not counted comes first.
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
    """Return the ratio of the times of two calls, as the median over the rounds."""
    return statistics.median(a / b for a, b in zip(found[name], found[base], strict=True))
