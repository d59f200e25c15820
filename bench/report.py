"""Tables from the registry of workloads: ``python -m bench.report peers|files|limits|load [PATTERN...]``.

- ``peers``: how many times faster fastfit is than other libraries, for the same numbers on the same arrays. README has
  this table. Libraries that are not installed are left out.
- ``files``: the same for files in the cache of the system.
- ``limits``: the targets of the project on an idle machine: time in bare reads of the points, memory, cold starts.
- ``load``: mean time on all threads over that on one thread, while two other processes are busy.

Ratios are medians of times measured in turn in one process, so that a machine that is slow for a while is slow for
both. Those of ``load`` are ratios of means, which see rare long delays.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch

import numpy as np

from bench.others import ONE, READ, Other, versions
from bench.workloads import WORKLOADS, Prepared, Target, Workload
from fastfit.speed.machine import machine
from fastfit.speed.timing import ratio, timed, times

# Seconds for the rounds of one comparison, and bounds of their number.
SECONDS, FEWEST, MOST = 10.0, 7, 101
# Seconds after which the threads of other libraries have stopped spinning.
REST = 0.3
# Busy processes, and seconds of each comparison beside them.
BUSY, LOADED_SECONDS = 2, 4.0


def _rounds(*calls: Callable[[], object]) -> int:
    once = sum(max(0.002, timed(call)) for call in calls)
    return max(FEWEST, min(MOST, int(SECONDS / once)))


def times_faster(prepared: Prepared, other: Other) -> float:
    """Return the time of another call over ours, once their answers agree."""
    theirs, ours = other.call(), prepared.call()
    if other.numbers is not None:
        got, expected = other.numbers(theirs), prepared.numbers(ours)
        np.testing.assert_allclose(got, expected, prepared.rtol, prepared.atol, err_msg=other.name)
    calls = {"ours": prepared.call, "theirs": other.call}
    rounds = _rounds(*calls.values())
    if other.threads == ONE or other.name == READ:
        return ratio(times(calls, rounds), "theirs", "ours")
    # Threads of other libraries go on spinning for a while, and ours need a call to wake up after the pause.
    calls = {"rest": lambda: time.sleep(REST), "wake": prepared.call, **calls}
    return ratio(times(calls, min(rounds, 21), inner=1), "theirs", "ours")


def peers(workload: Workload) -> None:
    """Print rows of how many times faster fastfit is; for bare reads, how many times slower."""
    prepared, shown = workload.prepare(), workload.title or f"`{workload.name}`"
    for other in prepared.compared_to():
        if other.numbers is None and other.name != READ:
            continue  # another call of fastfit
        faster = times_faster(prepared, other)
        value = f"1 / {1.0 / faster:.3g}" if other.name == READ else f"{faster:.3g}"
        print(f"| {shown} | {other.name} ({other.threads}) | {value} |", flush=True)
        shown = ""


def _print_target(workload: Workload, target: Target, value: float) -> None:
    what = f"{workload.name}, {target.other}" + (f" beyond {target.beyond}" * bool(target.beyond))
    print(
        f"| {what} | {value:.3g} | {target.most:g}{' MISSED' * (value > target.most)} |", flush=True
    )


def limits(workload: Workload) -> None:
    """Print rows of what has a target, and whether it is met."""
    prepared = workload.prepare()
    result = prepared.call()
    prepared.check(result)
    named = {name for target in workload.targets for name in target[1:]}
    calls = {other.name: other.call for other in prepared.compared_to() if other.name in named}
    calls["ours"] = prepared.call
    found = {} if named & {"MB"} else times(calls, _rounds(*calls.values()))
    for target in workload.targets:
        if target.other == "MB":
            value = float(result)
        elif target.other == "passes":
            value = workload.n_passes(result)
        elif target.other == "microseconds":
            value = 1e6 * statistics.median(found["ours"])
        else:
            less = found.get(target.beyond, [0.0] * len(found["ours"]))
            found["more"] = [a - b for a, b in zip(found["ours"], less, strict=True)]
            value = ratio(found, "more", target.other)
        _print_target(workload, target, value)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep processes of a pure Python loop running."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def load(workload: Workload) -> None:
    """Print the ratio of mean times on all threads and on one, beside busy processes."""
    prepared = workload.prepare()
    (target,), (other,) = workload.targets, prepared.compared_to()
    prepared.check(prepared.call())
    found: tuple[list[float], list[float]] = ([], [])
    with busy(BUSY):
        end = time.perf_counter() + LOADED_SECONDS
        while time.perf_counter() < end:
            for call, taken in zip((prepared.call, other.call), found, strict=True):
                taken += [timed(call) for _ in range(5)]
    _print_target(workload, target, statistics.mean(found[0]) / statistics.mean(found[1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", choices=("peers", "files", "limits", "load"))
    parser.add_argument("patterns", nargs="*", default=["*"], help="workloads, such as 'fit/*'")
    options = parser.parse_args()
    is_load = options.report == "load"
    is_table = options.report in {"peers", "files"}
    head = "fastfit | compared to | times faster" if is_table else "workload | value | at most"
    print(f"| {head} |\n|---|---|---|")
    for name, workload in WORKLOADS.items():
        wanted = {
            "peers": bool(workload.title),
            "files": name.startswith("scan/"),
            "limits": bool(workload.targets) and not name.startswith("load/"),
            "load": name.startswith("load/"),
        }
        if wanted[options.report] and any(fnmatch(name, each) for each in options.patterns):
            (peers if is_table else load if is_load else limits)(workload)
    about = machine()
    print(
        f"\n`python -m bench.report {options.report}` on {about['processor']}, {about['threads']} threads, "
        f"fastfit {about['fastfit']}, Python {about['python']}, {about['date']}; {versions()}"
    )


if __name__ == "__main__":
    main()
