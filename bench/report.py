"""Tables from the registry of workloads: ``python -m bench.report peers|files|limits|load [PATTERN...]``.

- ``peers``: how many times faster fastfit is than other installed libraries, for the same numbers; README's table.
- ``files``: the same for files in the cache of the operating system.
- ``limits``: the targets of the project on an idle machine: time in bare reads of the points, memory, cold starts.
- ``load``: mean time on all threads, relative to one thread, while two other processes are busy.

Ratios are medians of times measured in turn in one process, so slow phases of a machine affect both sides. ``load``
compares means, which show rare long delays.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatch

import numpy as np

from bench.others import ONE, READ, versions
from bench.registry import Target, Workload
from bench.workloads import WORKLOADS, passes_of
from fastfit.speed.machine import machine
from fastfit.speed.timing import ratio, timed, times

# Seconds for the rounds of one comparison, and bounds of their number.
SECONDS, FEWEST, MOST = 10.0, 7, 101
# Seconds after which the threads of other libraries have stopped spinning.
REST = 0.3
# For ``load``: busy processes, and seconds per comparison.
BUSY, LOADED_SECONDS = 2, 4.0


def _rounds(*calls: Callable[[], object]) -> int:
    once = sum(max(0.002, timed(call)) for call in calls)
    return max(FEWEST, min(MOST, int(SECONDS / once)))


def peers(workload: Workload) -> None:
    """Print rows of how many times faster fastfit is, once results agree; how many times slower than bare reads."""
    prepared, shown = workload.prepare(), workload.title or f"`{workload.name}`"
    for other in prepared.compared_to():
        calls, is_read = {"fastfit": prepared.call, "other": other.call}, other.name == READ
        if other.numbers is not None:
            got, own = other.numbers(other.call()), prepared.numbers(prepared.call())
            np.testing.assert_allclose(got, own, prepared.rtol, prepared.atol, err_msg=other.name)
        elif not is_read:
            continue  # another call of fastfit
        rounds, inner = _rounds(*calls.values()), None
        if other.threads != ONE and not is_read:
            # Threads of other libraries keep spinning for a while, and fastfit's need a call to wake up after a pause.
            calls = {"rest": lambda: time.sleep(REST), "wake": prepared.call, **calls}
            rounds, inner = min(rounds, 21), 1
        faster = ratio(times(calls, rounds, inner), "other", "fastfit")
        value = f"1 / {1.0 / faster:.3g}" if is_read else f"{faster:.3g}"
        print(f"| {shown} | {other.name} ({other.threads}) | {value} |", flush=True)
        shown = ""


def _print_target(workload: Workload, target: Target, value: float) -> None:
    label = f"{workload.name}, {target.other}" + f" beyond {target.beyond}" * bool(target.beyond)
    missed = " MISSED" * (value > target.most)
    print(f"| {label} | {value:.3g} | {target.most:g}{missed} |", flush=True)


def limits(workload: Workload) -> None:
    """Print a row for each target, and whether it is met."""
    prepared = workload.prepare()
    result = prepared.call()
    prepared.check(result)
    named = {name for target in workload.targets for name in target[1:]}
    calls = {other.name: other.call for other in prepared.compared_to() if other.name in named}
    calls["fastfit"] = prepared.call
    found = {} if "MB" in named else times(calls, _rounds(*calls.values()))
    for target in workload.targets:
        if target.other == "MB":
            value = float(result)
        elif target.other == "passes":
            value = passes_of(result)
        elif target.other == "microseconds":
            value = 1e6 * statistics.median(found["fastfit"])
        else:
            less = found.get(target.beyond, [0.0] * len(found["fastfit"]))
            found["more"] = [a - b for a, b in zip(found["fastfit"], less, strict=True)]
            value = ratio(found, "more", target.other)
        _print_target(workload, target, value)


def load(workload: Workload) -> None:
    """Print the mean time on all threads, relative to one thread, while other processes are busy."""
    prepared = workload.prepare()
    (target,), (other,) = workload.targets, prepared.compared_to()
    prepared.check(prepared.call())
    on_all: list[float] = []
    on_one: list[float] = []
    command = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(BUSY):
            stack.callback(stack.enter_context(subprocess.Popen(command)).kill)
        end = time.perf_counter() + LOADED_SECONDS
        while time.perf_counter() < end:
            on_all += [timed(prepared.call) for _ in range(5)]
            on_one += [timed(other.call) for _ in range(5)]
    _print_target(workload, target, statistics.mean(on_all) / statistics.mean(on_one))


# Reports: the function that prints the rows of a workload, which workloads are in it, and the heads of its columns.
_FASTER, _AT_MOST = "fastfit | compared to | times faster", "workload | value | at most"
REPORTS: dict[str, tuple[Callable[[Workload], None], Callable[[Workload], object], str]] = {
    "peers": (peers, lambda w: w.title, _FASTER),
    "files": (peers, lambda w: w.name.startswith("scan/"), _FASTER),
    "limits": (limits, lambda w: w.targets and not w.name.startswith("load/"), _AT_MOST),
    "load": (load, lambda w: w.name.startswith("load/"), _AT_MOST),
}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("report", choices=REPORTS)
    parser.add_argument("patterns", nargs="*", default=["*"], help="workloads, such as 'fit/*'")
    options = parser.parse_args()
    print_rows, belongs, head = REPORTS[options.report]
    print(f"| {head} |\n|---|---|---|")
    for name, workload in WORKLOADS.items():
        if belongs(workload) and any(fnmatch(name, each) for each in options.patterns):
            print_rows(workload)
    about = machine()
    print(
        f"\n`python -m bench.report {options.report}` on {about['processor']}, {about['threads']} threads, "
        f"fastfit {about['fastfit']}, Python {about['python']}, {about['date']}; {versions()}"
    )


if __name__ == "__main__":
    main()
