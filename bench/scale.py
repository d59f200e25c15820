"""Scaling beyond memory and one machine: ``python -m bench.scale [POWER]``.

- Time per point of 10^6 to 10^9 (or 10^POWER) points, which Dask generates chunk by chunk.
- Peak memory of a process that fits a Parquet file of 100 and of 200 million rows (Linux).
- An estimate for 10^12 points on workers of one core each. It assumes that each core reads as fast as one does here,
  and that Dask's scheduler takes 1 ms per task (as its documentation says) while workers read.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import fastfit as ff
from fastfit.points.dask import FAN_IN
from fastfit.speed.timing import times

# Points per chunk: 8 MB, the size of a cache.
CHUNK = 1 << 19
POINTS, WORKERS, PARTITIONS = 1e12, (10, 100, 1000), (10_000, 100_000)
SECONDS_PER_TASK = 1e-3


def columns(n: int) -> list[Any]:
    """Return x and y, each chunk generated when it is read."""

    def generated(place: Any) -> Any:
        return np.random.Generator(np.random.SFC64(int(place[0]))).random(CHUNK)

    count = n // CHUNK
    places = (da.arange(k * count, (k + 1) * count, chunks=1) for k in range(2))
    sizes = ((CHUNK,) * count,)
    return [da.map_blocks(generated, place, dtype=float, chunks=sizes) for place in places]


def write(path: Path, millions: int) -> None:
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, pa.schema({"x": pa.float64(), "y": pa.float64()})) as writer:
        for _ in range(millions):
            writer.write_table(pa.table({"x": rng.random(1_000_000), "y": rng.random(1_000_000)}))


def peak(path: Path) -> int:
    """Return the peak memory of a process that fits a file, in MB."""
    code = f"import fastfit as ff; ff.fit_line(ff.scan({str(path)!r}, 'x', 'y')); "
    code += "print(*(line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line))"
    return int(subprocess.check_output([sys.executable, "-c", code])) // 1000


def seconds(call: Callable[[], object], rounds: int = 5) -> float:
    return statistics.median(times({"": call}, rounds, inner=1)[""])


def main(most: int = 9) -> None:
    print("| points | ns per point, generated and fitted |\n|---|---|")
    for power in range(6, most + 1):
        n = -(-(10**power) // CHUNK) * CHUNK
        rounds = 2 if power > 8 else min(51, 4 * 10 ** (8 - power) + 1)
        taken = seconds(functools.partial(ff.fit_line, *columns(n)), rounds)
        print(f"| {n:,} | {1e9 * taken / n:.3g} |", flush=True)
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 20_000_000))
    rates = {"memory": x.size / seconds(lambda: ff.fit_line(x, y, n_threads=1))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        write(path, 20)
        taken = seconds(lambda: ff.fit_line(ff.scan(path)))
        rates["Parquet"] = x.size / taken / (os.cpu_count() or 1)
        for millions in (100, 200):
            write(path, millions)
            print(f"peak memory, {millions} million rows of Parquet: {peak(path)} MB", flush=True)
    parts = [ff.Moments.of(rng.random(1000), rng.random(1000)) for _ in range(1000)]
    per_merge = seconds(lambda: functools.reduce(ff.Moments.merge, parts)) / len(parts)
    small = da.from_array(np.arange(1e4), chunks=10, name="small")
    per_task = seconds(lambda: ff.fit_line(small, small * 2.0 + (small % 3.0))) / 1000
    print(f"a merge: {1e6 * per_merge:.2g} us; a partition of ten points: {1e6 * per_task:.0f} us")
    print("".join(f"from {name}: {rate:.3g} points/s and core\n" for name, rate in rates.items()))
    print("| workers | partitions | scheduling, s | merging, s |", ", s | ".join(rates) + ", s |")
    print("|---|---|---|---|---|---|")
    for workers, partitions in itertools.product(WORKERS, PARTITIONS):
        scheduling = partitions * SECONDS_PER_TASK
        # A worker merges its share of the partitions; merges up the tree wait for each other.
        depth = math.ceil(math.log(partitions, FAN_IN)) * (FAN_IN - 1)
        merging = (partitions / workers + depth) * per_merge
        reading = [max(POINTS / (workers * rate), scheduling) + merging for rate in rates.values()]
        row = f"{workers:,} | {partitions:,} | {scheduling:.3g} | {merging:.2g}"
        print(f"| {row} | {' | '.join(f'{s:,.0f}' for s in reading)} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
