"""Statistics of the gate: whether head is slower than base, or noise alone could explain the difference."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Probability that noise alone fails a run of the gate, over all its workloads. It assumes noise about one value, with
# outliers; ONE_IN guards against processes that come in two kinds, fast and slow.
FALSE_ALARMS = 1e-3
# Head is slower only if at most one pair in five says the opposite.
ONE_IN = 5
# Smallest relative slowdown that counts: the placement of code alone changes times by a few percent.
SMALLEST = 0.03
# Fewest pairs of processes per workload.
FEWEST_PAIRS = 9
# Largest threshold, relative to base, at which a workload needs no more pairs.
WANTED = 0.06
# Head / base; a result is unclear if its 99 % interval reaches beyond this.
HIDDEN = 1.1
# Lower bound of the relative error of one pair, given by clocks and calls.
RESOLUTION = 5e-4
# The error of the median is itself an estimate, so the difference over it has heavier tails than a normal distribution.
# In simulations the tails with more pairs were as heavy as with FEWEST_PAIRS.
_TAILS = stats.t(FEWEST_PAIRS - 1)


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
    def is_precise(self) -> bool:
        """Whether the workload needs no more pairs."""
        threshold = max(self.relative_threshold, self.absolute_threshold / self.base_median)
        return threshold <= WANTED and self.state != "unclear"

    def __str__(self) -> str:
        by = "" if self.state == "same" else f" by {abs(self.ratio - 1.0):.1%}"
        interval = f"99 % interval {self.low - 1.0:+.1%} to {self.high - 1.0:+.1%}"
        confidence = percent(self.confidence)
        return f"{self.name} is {self.state}{by} ({interval}, confidence {confidence})"


def percent(probability: float) -> str:
    return "> 99.99 %" if probability > 0.9999 else f"{100 * probability:.2f} %"


def _error_of_median(values: NDArray[np.float64]) -> float:
    """Return the standard error of the median (Maritz and Jarrett, Journal of the ASA 73, 1978)."""
    with np.errstate(invalid="ignore"):  # equal values: the root of 0 less rounding error
        return float(np.nan_to_num(stats.mstats.mjci(values, [0.5])[0]))


def judge(name: str, base: ArrayLike, head: ArrayLike, n_workloads: int = 1) -> Verdict:
    """Compare the times of a workload in base and head, in seconds; each index is one pair of processes.

    The probability of a false alarm is shared among the ``n_workloads`` of a run.
    """
    base, head = np.asarray(base, dtype=float), np.asarray(head, dtype=float)
    logs = np.log(head / base)
    middle = float(np.median(logs))
    ratio, sign = math.exp(middle), math.copysign(1.0, middle)
    error = max(_error_of_median(logs), RESOLUTION / math.sqrt(logs.size))
    beyond_chance = float(_TAILS.isf(FALSE_ALARMS / n_workloads))
    relative = max(SMALLEST, math.expm1(beyond_chance * error))
    # The difference in seconds must also exceed the noise that remains when base is scaled by the ratio.
    absolute = beyond_chance * _error_of_median(head - ratio * base)
    margin = float(_TAILS.isf(0.005)) * error
    if (
        math.expm1(abs(middle)) > relative
        and sign * float(np.median(head - base)) > absolute
        and int((sign * logs <= 0.0).sum()) <= logs.size // ONE_IN
    ):
        state = "slower" if middle > 0.0 else "faster"
    else:
        state = "unclear" if math.exp(middle + margin) > HIDDEN else "same"
    return Verdict(
        name,
        base.tolist(),
        head.tolist(),
        ratio,
        low=math.exp(middle - margin),
        high=math.exp(middle + margin),
        relative_threshold=relative,
        absolute_threshold=absolute,
        confidence=max(0.0, 1.0 - n_workloads * float(_TAILS.sf(abs(middle) / error))),
        state=state,
    )
