"""What watches a solver: the recorded history, and the callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastfit.exact.coordinates import Axes
from fastfit.outcome import History, Iterate
from fastfit.solvers.iterate import State
from fastfit.validation import positive_integer

Callback = Callable[[Iterate], Any]


def check_watchers(record_every: Any, callback: Any) -> None:
    """Raise TypeError or ValueError if these options are invalid."""
    if record_every is not None:
        positive_integer(record_every, "record_every")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None; got {callback!r}")


class Observer:
    """Records every ``record_every``-th state, and shows each state to the callback once."""

    def __init__(
        self, record_every: int | None, callback: Callback | None, raw: Axes, fit_intercept: bool
    ) -> None:
        self._every, self._callback = record_every, callback
        self._raw, self._fit_intercept = raw, fit_intercept
        self._recorded: list[Iterate] = []
        self._called = 0
        self.is_active = record_every is not None or callback is not None

    def restart(self) -> None:
        """Forget the recorded states: they belong to another loss."""
        self._recorded.clear()

    def record(self, n_iter: int, state: State) -> bool:
        """Record a state and show it to the callback; return whether that asks to stop."""
        recording = self._every is not None and (n_iter % self._every == 0 or not self._recorded)
        calling = self._callback is not None and n_iter > self._called
        if not recording and not calling:
            return False
        iterate = self._iterate(n_iter, state)
        if recording:
            self._recorded.append(iterate)
        if self._callback is None or not calling:
            return False
        self._called = n_iter
        try:
            return bool(self._callback(iterate))
        except StopIteration:
            return True

    def _iterate(self, n_iter: int, state: State) -> Iterate:
        """Return a state in the caller's coordinates."""
        current = state.evaluation
        slope, intercept = self._raw.line_from_frame(*state.line)
        gradient = self._raw.gradient_from_frame(current.grad_slope, current.grad_offset)
        loss = self._raw.loss_from_frame(current.loss)
        return Iterate(n_iter, slope, intercept if self._fit_intercept else 0.0, *gradient, loss)

    def history(self, n_iter: int, state: State) -> History | None:
        """Return the recorded states and the last one; None if none were recorded."""
        if self._recorded and self._recorded[-1].iteration != n_iter:
            self._recorded.append(self._iterate(n_iter, state))
        return History.of(self._recorded) if self._recorded else None
