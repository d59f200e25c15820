"""The loop over steps: check, record, step. Gradient descent, Newton's method and the search for a scale all run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from fastfit.exact.coordinates import Evaluation
from fastfit.outcome import Status

S = TypeVar("S")
# Slope and offset of a line, in the frame of the points.
Line = tuple[float, float]


class State(NamedTuple):
    """A line, and the mean loss and derivatives there."""

    line: Line
    evaluation: Evaluation


class Outcome(NamedTuple, Generic[S]):
    """Where a loop ended, after how many steps, and why."""

    state: S
    n_iter: int
    status: Status


class Rule(Protocol[S]):
    """What a solver supplies: when to end, and how to step."""

    def check(self, state: S) -> Status | None:
        """Return the status that ends the loop at this state, None to go on."""

    def step(self, state: S) -> S | None:
        """Return the next state, None if no step changes anything."""


def iterate(
    rule: Rule[S],
    state: S,
    max_iter: int,
    *,
    n_iter: int = 0,
    record: Callable[[int, S], bool] | None = None,
) -> Outcome[S]:
    """Step until the rule ends the loop, the observer asks to stop, or ``max_iter`` steps were made.

    Parameters
    ----------
    rule : Rule
        Checks a state and steps to the next.
    state : State
        Where to start.
    max_iter : int
        The largest number of steps.
    n_iter : int
        Steps made before, from which on they are counted.
    record : callable, optional
        Shown every state; returns whether to stop.
    """
    last = n_iter + max_iter
    while True:
        status = rule.check(state)
        if record is not None and record(n_iter, state):
            status = status or Status.STOPPED
        if status is None and n_iter >= last:
            status = Status.MAX_ITER
        if status is None:
            following = rule.step(state)
            if following is not None:
                state, n_iter = following, n_iter + 1
                continue
            status = Status.STALLED
        return Outcome(state, n_iter, status)
