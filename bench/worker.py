"""One process of the gate: it times workloads on command, in the revision that it was started with.

Commands and answers are lines of JSON, on stdin and stdout: ``{"do": "prepare", "name": ...}``, then any number of
``{"do": "time", "seconds": ...}``, answered by the shortest time of a call, then ``{"do": "drop"}``.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from typing import Any

# A shorter call is repeated within one measurement, since reading the clock takes time too; in seconds.
SHORTEST = 0.002
# A longer call has one turn in each process.
LONG = 0.3


class Worker:
    """Holds the workload that is timed."""

    def __init__(self, workloads: dict[str, Any]) -> None:
        self._workloads = workloads
        self._call: Any = None
        self._repeats = 1

    def prepare(self, name: str, check: bool = False) -> dict[str, Any]:
        """Make the points, compile, check the result if asked to, and find how often to repeat a call."""
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
        """Return the shortest time of a call during some seconds; the first short call after a pause is left out."""
        if self._repeats > 1:
            self._call()
        end = time.perf_counter() + seconds
        best = self._once()
        while time.perf_counter() < end:
            best = min(best, self._once())
        return {"seconds": best}

    def drop(self) -> dict[str, Any]:
        """Free the workload, and run the garbage collector, which is switched off while calls are timed."""
        self._call = None
        gc.collect()
        return {}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what workloads print must not mix with the answers
    try:
        import fastfit
        from bench.workloads import WORKLOADS

        in_gate = {name: workload.in_gate for name, workload in WORKLOADS.items()}
        greeting: dict[str, Any] = {"workloads": in_gate, "fastfit": str(fastfit.__file__)}
    except Exception as error:
        greeting = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(greeting), file=answers, flush=True)
    if "error" in greeting:
        return
    gc.disable()
    worker = Worker(WORKLOADS)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
