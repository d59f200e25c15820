"""One process of the gate: it times workloads on command, in the revision that it was started with.

Commands and answers are lines of JSON, on stdin and stdout. The answer to ``start`` comes first, unasked. Then, for
each workload: ``{"do": "prepare", "name": ...}``, any number of ``{"do": "time", "seconds": ...}``, ``{"do": "drop"}``.
This file also times old revisions, so it imports nothing but their ``WORKLOADS``.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import sys
import time
import timeit
from typing import Any

# Shortest time to measure, in seconds: shorter calls are repeated, since reading the clock takes time too.
SHORTEST = 0.002
# Seconds; a longer call has one turn in each process.
LONG = 0.3


class Worker:
    """The commands, and the workload that is timed."""

    def start(self) -> dict[str, Any]:
        """Import the benchmarks; return which workloads belong to the gate, and which fastfit runs."""
        import fastfit
        from bench.workloads import WORKLOADS

        gc.disable()
        self.workloads: dict[str, Any] = WORKLOADS
        in_gate = {name: workload.in_gate for name, workload in WORKLOADS.items()}
        return {"workloads": in_gate, "fastfit": str(fastfit.__file__)}

    def prepare(self, name: str, check: bool = False) -> dict[str, Any]:
        """Make the points, compile, optionally check the result, and find how often to repeat a call."""
        prepared = self.workloads[name].prepare()
        result = prepared.call()
        if check:
            prepared.check(result)
        self.timer = timeit.Timer(prepared.call)
        seconds = self.timer.timeit(1)
        self.repeats = max(1, math.ceil(SHORTEST / seconds))
        return {"is_long": seconds > LONG}

    def time(self, seconds: float) -> dict[str, Any]:
        """Return the shortest mean time of ``repeats`` calls, measured again and again for ``seconds``."""
        if self.repeats > 1:
            self.timer.timeit(1)  # the first short call after a pause is not counted
        end = time.perf_counter() + seconds
        found = [self.timer.timeit(self.repeats)]
        while time.perf_counter() < end:
            found.append(self.timer.timeit(self.repeats))
        return {"seconds": min(found) / self.repeats}

    def drop(self) -> dict[str, Any]:
        """Free the workload and collect garbage, which does not happen while calls are timed."""
        self.timer = timeit.Timer()
        gc.collect()
        return {}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the output of workloads out of the answers
    worker = Worker()
    for line in itertools.chain(['{"do": "start"}'], sys.stdin):
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
