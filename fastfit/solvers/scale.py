"""Find the residual scale that is consistent with the line fitted at that scale: a root in one unknown."""

from __future__ import annotations

import math


class ScaleSearch:
    """Secant search, within a bracket, for the scale that equals the scale of the line fitted at it.

    A line fitted at a scale far too small has a larger scale, and at a scale far too large a smaller one; so there is
    one in between that is consistent. Secants find it in a few trials; the bracket makes sure of it.
    """

    def __init__(self, tol: float, rate: float = 0.0) -> None:
        self._tol = tol
        # Derivative of the scale of the line by the scale it is fitted at.
        self.rate = rate
        self._low, self._high = 0.0, math.inf
        self._last: tuple[float, float] | None = None

    def is_settled(self, scale: float, own: float) -> bool:
        """Whether the line fitted at a scale has the same scale, or the bracket is too narrow to go on."""
        return abs(own - scale) <= self._tol * scale or self._high <= (1.0 + self._tol) * self._low

    def guess(self, scale: float, own: float) -> float:
        """Return where a secant predicts the consistent scale, with the last slope."""
        trial = scale + (own - scale) / (1.0 - self.rate) if self.rate != 1.0 else own
        # A secant may point anywhere; never further than a hundredfold.
        return min(max(trial, 0.01 * scale), 100.0 * scale)

    def next(self, scale: float, own: float) -> float:
        """Return the scale to try next; ``own`` is the scale of the line fitted at ``scale``."""
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
