"""Statistics of the gate: whether head is slower than base, or chance alone could explain the times."""

from __future__ import annotations

import functools
import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Probability that chance alone fails a run of the gate, all its workloads together. It holds for noise about one
# value, with outliers; ONE_IN guards against processes that come in two kinds, fast and slow.
FALSE_ALARMS = 1e-3
# Head is slower only if at most one pair in five says the opposite.
ONE_IN = 5
# Smallest slowdown that counts: where compilers and linkers place code alone changes times by a few percent.
SMALLEST = 0.03
# Fewest pairs of processes per workload.
FEWEST_PAIRS = 9
# A workload gets more pairs until its threshold is below this.
WANTED = 0.06
# A result is unclear if the 99 % interval of head / base reaches beyond this ratio.
HIDDEN = 1.1
# Lower bound of the relative error of one pair: clocks and calls are no more precise than this.
RESOLUTION = 5e-4


@dataclass(frozen=True)
class Verdict:
    """The result for one workload; times are in seconds, one for each process.

    ``ratio`` is head / base, with its 99 % interval from ``low`` to ``high``. ``confidence`` is the probability that
    the difference is not due to chance, all workloads of the run taken together. ``state`` is ``slower``, ``faster``,
    ``same``, or ``unclear`` if the interval reaches beyond 1.1.
    """

    name: str
    base: list[float] = field(repr=False)
    head: list[float] = field(repr=False)
    ratio: float
    low: float
    high: float
    relative_threshold: float
    absolute_threshold: float
    confidence: float
    state: str

    @property
    def base_median(self) -> float:
        """Median time of base, in seconds."""
        return statistics.median(self.base)

    @property
    def threshold(self) -> float:
        """The larger of the two thresholds, relative to base."""
        return max(self.relative_threshold, self.absolute_threshold / self.base_median)

    @property
    def is_precise(self) -> bool:
        """Whether more pairs would tell nothing new."""
        return self.threshold <= WANTED and self.state != "unclear"

    def __str__(self) -> str:
        by = "" if self.state == "same" else f" by {abs(self.ratio - 1.0):.1%}"
        interval = f"99 % interval {self.low - 1.0:+.1%} to {self.high - 1.0:+.1%}"
        return (
            f"{self.name} is {self.state}{by} ({interval}, confidence {percent(self.confidence)})"
        )


def percent(share: float) -> str:
    return "> 99.99 %" if share > 0.9999 else f"{100 * share:.2f} %"


@functools.cache
def _median_weights(n: int) -> NDArray[np.float64]:
    """Return the weights of the sorted values in Maritz and Jarrett's estimate of the median."""
    m = int(0.5 * n + 0.5)
    return np.diff(stats.beta(m - 1, n - m).cdf(np.arange(n + 1) / n))


def _error_of_median(values: NDArray[np.float64]) -> float:
    """Return the standard error of the median by Maritz and Jarrett (Journal of the ASA 73, 1978)."""
    weights, values = _median_weights(values.size), np.sort(values)
    return math.sqrt(max(0.0, float(weights @ values**2) - float(weights @ values) ** 2))


@functools.cache
def _quantile(probability: float) -> float:
    # The error is itself an estimate, so its ratio to the difference has heavier tails than a normal distribution.
    # Simulations show that the tails stay those of the fewest pairs, however many pairs there are.
    return float(stats.t.isf(probability, FEWEST_PAIRS - 1))


def judge(name: str, base: ArrayLike, head: ArrayLike, n_workloads: int = 1) -> Verdict:
    """Compare paired times of base and head.

    Parameters
    ----------
    name : str
        The workload.
    base, head : array_like, shape (n,)
        Times in seconds; those of one pair of processes stand at the same index. At least 5.
    n_workloads : int
        Number of workloads judged in one run, among which the false alarms are shared.
    """
    base, head = np.asarray(base, dtype=float), np.asarray(head, dtype=float)
    logs = np.log(head / base)
    middle = float(np.median(logs))
    error = max(_error_of_median(logs), RESOLUTION / math.sqrt(logs.size))
    beyond_chance = _quantile(FALSE_ALARMS / n_workloads)
    relative = max(SMALLEST, math.expm1(beyond_chance * error))
    ratio = math.exp(middle)
    # The difference in seconds must also exceed the noise that remains when base is scaled by the ratio.
    absolute = beyond_chance * _error_of_median(head - ratio * base)
    difference = float(np.median(head - base))
    margin = _quantile(0.005) * error
    numbers: dict[str, Any] = {
        "ratio": ratio,
        "low": math.exp(middle - margin),
        "high": math.exp(middle + margin),
        "relative_threshold": relative,
        "absolute_threshold": absolute,
        "confidence": max(
            0.0, 1.0 - n_workloads * float(stats.t.sf(abs(middle) / error, FEWEST_PAIRS - 1))
        ),
    }
    state = "unclear" if numbers["high"] > HIDDEN else "same"
    opposite = int((logs * math.copysign(1.0, middle) <= 0.0).sum())
    if (
        math.expm1(abs(middle)) > relative
        and difference * math.copysign(1.0, middle) > absolute
        and opposite <= logs.size // ONE_IN
    ):
        state = "slower" if middle > 0.0 else "faster"
    return Verdict(name, base.tolist(), head.tolist(), state=state, **numbers)
