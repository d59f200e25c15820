"""One process of a comparison: it times workloads on command, in the revision that it was started with.

A command is a line of JSON on stdin, its answer one on stdout: ``{"do": "prepare", "name": ...}``, then any number of
``{"do": "time", "name": ..., "seconds": ...}``, answered by the shortest time of a call, then ``{"do": "drop"}``.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from typing import Any

# Shorter than this, and a call is repeated: the clock, and calling it, would show.
SHORTEST = 0.002
# What takes longer has one turn in each process.
LONG = 0.3


class Worker:
    """Holds the workload that is being timed."""

    def __init__(self, workloads: dict[str, Any]) -> None:
        self._workloads = workloads
        self._call: Any = None
        self._repeats = 1

    def prepare(self, name: str, check: bool = False) -> dict[str, Any]:
        """Make the points, compile, check the result if asked to, and find out how often to call."""
        prepared = self._workloads[name].prepare()
        result = prepared.call()
        if check:
            prepared.check(result)
        self._call, self._repeats = prepared.call, 1
        once = self._once()
        self._repeats = max(1, math.ceil(SHORTEST / once))
        return {"is_long": once > LONG}

    def _once(self) -> float:
        start = time.perf_counter()
        for _ in range(self._repeats):
            self._call()
        return (time.perf_counter() - start) / self._repeats

    def time(self, seconds: float) -> dict[str, Any]:
        """Call for so many seconds, and return the shortest time; the first call, after a rest, does not count."""
        if self._repeats > 1:
            self._call()
        end = time.perf_counter() + seconds
        best = self._once()
        while time.perf_counter() < end:
            best = min(best, self._once())
        return {"seconds": best}

    def drop(self) -> dict[str, Any]:
        """Let go of the workload, and collect what the collector, switched off, has left."""
        self._call = None
        gc.collect()
        return {}


def main() -> None:
    """Answer commands until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed meanwhile is no answer

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        import fastfit
        from bench.workloads import WORKLOADS
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        return
    gc.disable()
    in_gate = {name: workload.in_gate for name, workload in WORKLOADS.items()}
    answer({"workloads": in_gate, "fastfit": str(fastfit.__file__)})
    worker = Worker(WORKLOADS)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer(getattr(worker, command.pop("do"))(**command))
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
