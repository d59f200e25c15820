"""The scale of residuals that is that of the line found with it: a root in one unknown."""

from __future__ import annotations

import math


class ScaleSearch:
    """Search for the scale that a line found with it has itself.

    A line found with a scale far too small has a larger one, and with a scale far too large a smaller one; so there is
    one in between that it keeps. Secants find it in a few trials; bounds make sure of it.
    """

    def __init__(self, tol: float, rate: float = 0.0) -> None:
        self._tol = tol
        # By how much the scale of the line changes with that which it was found with.
        self.rate = rate
        self._low, self._high = 0.0, math.inf
        self._last: tuple[float, float] | None = None

    def is_settled(self, scale: float, own: float) -> bool:
        """Whether the line found with a scale has the same, or there is no scale left to try."""
        return abs(own - scale) <= self._tol * scale or self._high <= (1.0 + self._tol) * self._low

    def guess(self, scale: float, own: float) -> float:
        """Return the scale that a line keeps, if lines change as they did last."""
        trial = scale + (own - scale) / (1.0 - self.rate) if self.rate != 1.0 else own
        # A secant may point anywhere; never further than a hundredfold.
        return min(max(trial, 0.01 * scale), 100.0 * scale)

    def next(self, scale: float, own: float) -> float:
        """Return the scale to try next, after the line found with one had a scale of its own."""
        if own > scale:
            self._low = max(self._low, scale)
        else:
            self._high = min(self._high, scale)
        if self._last is not None and scale != self._last[0]:
            self.rate = (own - self._last[1]) / (scale - self._last[0])
        self._last = scale, own
        trial = self.guess(scale, own)
        if self._low < trial < self._high:
            return trial
        if self._low < own < self._high:
            return own
        if self._low == 0.0:
            return 0.1 * self._high
        return 10.0 * self._low if self._high == math.inf else math.sqrt(self._low * self._high)
