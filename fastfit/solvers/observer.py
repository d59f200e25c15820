"""Who watches a solver: the history that is recorded, and the callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastfit.exact.coordinates import Axes, Evaluation
from fastfit.outcome import History, Iterate
from fastfit.validation import positive_integer

Callback = Callable[[Iterate], Any]


def check_watchers(record_every: Any, callback: Any) -> None:
    """Raise TypeError or ValueError if these options are not what they must be."""
    if record_every is not None:
        positive_integer(record_every, "record_every")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None; got {callback!r}")


class Observer:
    """Keeps the states that are to be recorded, and shows the callback what it is to see."""

    def __init__(
        self, record_every: int | None, callback: Callback | None, raw: Axes, fit_intercept: bool
    ) -> None:
        self._every, self._callback = record_every, callback
        self._raw, self._fit_intercept = raw, fit_intercept
        self._recorded: list[Iterate] = []
        self._called = 0
        self.looks = record_every is not None or callback is not None

    def restart(self) -> None:
        """Forget what was recorded: it is of another loss."""
        self._recorded.clear()

    def sees(self, n_iter: int, line: tuple[float, float], here: Evaluation) -> bool:
        """Whether the callback, having seen this state, asks to stop."""
        recording = self._every is not None and (n_iter % self._every == 0 or not self._recorded)
        calling = self._callback is not None and n_iter > self._called
        if not recording and not calling:
            return False
        state = self._state(n_iter, line, here)
        if recording:
            self._recorded.append(state)
        if self._callback is None or not calling:
            return False
        self._called = n_iter
        try:
            return bool(self._callback(state))
        except StopIteration:
            return True

    def _state(self, n_iter: int, line: tuple[float, float], here: Evaluation) -> Iterate:
        slope, intercept = self._raw.line_from_frame(*line)
        gradient = self._raw.gradient_from_frame(here.grad_slope, here.grad_offset)
        loss = self._raw.loss_from_frame(here.loss)
        return Iterate(n_iter, slope, intercept if self._fit_intercept else 0.0, *gradient, loss)

    def history(self, n_iter: int, line: tuple[float, float], here: Evaluation) -> History | None:
        """Return the recorded states, with this last one."""
        if self._recorded and self._recorded[-1].iteration != n_iter:
            self._recorded.append(self._state(n_iter, line, here))
        return History.of(self._recorded) if self._recorded else None
