"""What a workload is: a call, a check of its result, what it is compared to, and its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bench.others import READ, Call, Other, line


class Prepared(NamedTuple):
    """A workload with its points: the timed call, and a ``check`` that asserts that its result is right.

    ``compared_to`` makes the other calls, whose ``numbers`` must agree within ``rtol`` and ``atol``.
    """

    call: Call
    check: Callable[[Any], object]
    compared_to: Callable[[], Iterable[Other]] = tuple
    numbers: Callable[[Any], Any] = line
    rtol: float = 1e-9
    atol: float = 0.0


class Target(NamedTuple):
    """The largest ratio of the workload's time, less the time of ``beyond``, to the time of the call ``other``.

    ``other`` may also be ``microseconds`` (per call), or ``passes`` or ``MB`` (of the result).
    """

    most: float
    other: str = READ
    beyond: str = ""


class Workload(NamedTuple):
    """A workload without its points, which ``prepare`` makes. ``title`` is its row in README's table, if it has one."""

    name: str
    n_points: int
    prepare: Callable[[], Prepared]
    in_gate: bool
    title: str
    targets: list[Target]
