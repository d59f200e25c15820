"""How fits scale past this machine: time per point to a billion, cost of joining, and what 10^12 points would take.

``python -m bench.scale``: points are generated chunk by chunk by Dask and never all there, so memory does not limit
their number. Takes about four minutes; ``--most 8`` stops at 10^8 points.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import polars as pl

import fastfit as ff
from fastfit.points.base import Reading
from fastfit.points.dask import FAN_IN
from fastfit.points.parts import MomentPass, Part

# Points to a chunk, 8 MB: as large as a cache, and a billion points are a thousand chunks.
CHUNK = 1 << 19
PARTITIONS = (10, 100, 1000, 10_000, 100_000)
WORKERS = (10, 100, 1000)
# Seconds that a scheduler takes for a task.
TASK = 1e-3


def generated(place: Any, n: int = CHUNK) -> Any:
    """Return one column of random numbers, cheap to make: what is to be measured is the fit."""
    return np.random.Generator(np.random.SFC64(int(place[0]))).random(n)


def columns(n: int) -> tuple[Any, Any]:
    """Return x and y that are made when a chunk is asked for."""
    chunks = -(-n // CHUNK)
    found = []
    for seed in range(2):
        place = da.arange(seed * chunks, (seed + 1) * chunks, chunks=1)
        sizes = ((CHUNK,) * chunks,)
        found.append(da.map_blocks(generated, place, dtype=float, chunks=sizes))
    return found[0], found[1]


def seconds(call: Callable[[], object], rounds: int) -> float:
    call()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def time_per_point(most: int) -> None:
    print("| points | chunks | ns a point, made and fitted | beside a million |\n|---|---|---|---|")
    at_first = None
    for power in range(6, most + 1):
        n = -(-(10**power) // CHUNK) * CHUNK
        x, y = columns(n)
        rounds = 2 if power > 8 else min(51, 4 * 10 ** (8 - power) + 1)
        each = seconds(lambda x=x, y=y: ff.fit_line(x, y), rounds) / n  # type: ignore[misc]
        at_first = at_first or each
        row = f"{n:,} | {n // CHUNK:,} | {1e9 * each:.3g} | {each / at_first:.3g}"
        print(f"| {row} |", flush=True)


def cost_of_joining() -> dict[int, float]:
    """Print, and return, what joining takes in one process, for numbers of partitions."""
    rng = np.random.default_rng(0)
    task = MomentPass(Reading(n_threads=1))
    parts = [task.chunk(Part(rng.random(1000), rng.random(1000))) for _ in range(100)]
    found = {}
    print("\n| partitions | joined in one process, s | joins in a row, on a tree |\n|---|---|---|")
    for count in PARTITIONS:
        start = time.perf_counter()
        level = [parts[k % 100] for k in range(count)]
        depth = 0
        while len(level) > 1:
            groups = [level[k : k + FAN_IN] for k in range(0, len(level), FAN_IN)]
            depth += len(groups[0]) - 1
            level = []
            for one, *others in groups:
                for other in others:
                    one = task.combine(one, other)  # noqa: PLW2901
                level.append(one)
        found[count] = time.perf_counter() - start
        print(f"| {count:,} | {found[count]:.3g} | {depth} |", flush=True)
    return found


def overhead_of_dask(count: int = 1000) -> float:
    """Print, and return, the seconds that a task takes that has next to nothing to do, scheduler included."""
    x = da.from_array(np.arange(count * 10.0), chunks=10, name="small")
    took = seconds(lambda: ff.fit_line(x, x * 2.0 + (x % 3.0)), 3)
    print(f"\nA partition of ten points costs {1e6 * took / count:.0f} us.")
    return took / count


def rate_from_memory(n: int = 50_000_000) -> float:
    """Return points per second and process, one thread each, from memory."""
    rng = np.random.default_rng(0)
    x, y = rng.random(n), rng.random(n)
    return n / seconds(lambda: ff.fit_line(x, y, n_threads=1), 5)


def rate_from_parquet(n: int = 20_000_000) -> float:
    """Return points per second and core, from a file of float64 that the system has in its cache."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        pl.DataFrame({"x": rng.random(n), "y": rng.random(n)}).write_parquet(path)
        return n / seconds(lambda: ff.fit_line(ff.scan(path)), 5) / (os.cpu_count() or 1)


def plan(joining: dict[int, float], rates: dict[str, float], points: float = 1e12) -> None:
    """Print what so many points would take on workers of one core each.

    Assumed is that each core reads as fast as one does here, that partitions are evenly spread, and that a scheduler
    takes 1 ms a task (as the documentation of Dask says), which goes on while workers read.
    """
    for name, rate in rates.items():
        print(f"\nFrom {name}: {rate:.3g} points a second and core.")
    print(
        "\n| workers | partitions | scheduling, s | joining, s | " + ", s | ".join(rates) + ", s |"
    )
    print("|---|---|---|---|" + "---|" * len(rates))
    for workers in WORKERS:
        for partitions in (10_000, 100_000):
            scheduling = partitions * TASK
            # Joins of a partition's share on each worker, and those that wait for each other up the tree.
            each = joining[partitions] / partitions
            depth = math.ceil(math.log(partitions, FAN_IN)) * (FAN_IN - 1)
            joined = (partitions / workers + depth) * each
            whole = (max(points / (workers * rate), scheduling) + joined for rate in rates.values())
            row = f"{workers:,} | {partitions:,} | {scheduling:.3g} | {joined:.2g} | "
            print(f"| {row}{' | '.join(f'{s:,.0f}' for s in whole)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=9, help="largest power of ten of points")
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} processors, Dask {dask.__version__}, threaded scheduler\n")
    time_per_point(chosen.most)
    joining = cost_of_joining()
    overhead_of_dask()
    plan(joining, {"memory": rate_from_memory(), "Parquet": rate_from_parquet()})


if __name__ == "__main__":
    main()
