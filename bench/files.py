"""Fits to files and to Dask, beside others that read the same: times, memory, and kills.

``python -m bench.files``: writes some 5 GB to a temporary folder, and takes about five minutes.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import polars as pl

import fastfit as ff
from fastfit.speed.timing import ratio, times

N = 10_000_000
COLUMNS = ("x", "y")


def table(n: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    return pl.DataFrame({"x": x, "y": 0.5 * x + rng.normal(size=n)})


def of_polars(lazy: pl.LazyFrame) -> float:
    moments = lazy.select(
        slope=pl.cov("x", "y") / pl.var("x"), x=pl.mean("x"), y=pl.mean("y")
    ).collect()
    return float(moments["slope"][0])


def of_duckdb(path: Path) -> float:
    import duckdb  # of the extra "peers"

    query = f"select regr_slope(y, x), regr_intercept(y, x) from '{path}'"
    (found,) = duckdb.sql(query).fetchall()
    return float(found[0])


def beside(what: str, own: Callable[[], Any], others: dict[str, Callable[[], Any]]) -> None:
    """Print how many times longer ours takes than each of others, in turn with it alone: threads of others linger."""
    slope = own().slope
    for name, other in others.items():
        assert abs(other() - slope) <= 1e-9 * abs(slope)
        found = times({"fastfit": own, name: other}, rounds=21)
        print(f"| {what} | {name} | {ratio(found, 'fastfit', name):.3g} |", flush=True)


def speed(folder: Path) -> None:
    small = table(N)
    scans: dict[str, Callable[[Path], pl.LazyFrame]] = {
        "parquet": pl.scan_parquet,
        "csv": pl.scan_csv,
        "arrow": pl.scan_ipc,
    }
    small.write_parquet(folder / "t.parquet", row_group_size=1 << 20, compression="snappy")
    small.write_parquet(folder / "zstd.parquet")
    small.write_csv(folder / "t.csv")
    small.write_ipc(folder / "t.arrow")
    print("| exact fit of 10 million rows | beside | times the time |\n|---|---|---|")
    for name in ("t.parquet", "zstd.parquet", "t.csv", "t.arrow"):
        path = folder / name
        scan = scans[path.suffix[1:]]
        others: dict[str, Callable[[], Any]] = {
            "Polars cov / var": lambda scan=scan, path=path: of_polars(scan(path))  # type: ignore[misc]
        }
        if path.suffix == ".parquet":
            others["DuckDB regr_slope"] = lambda path=path: of_duckdb(path)  # type: ignore[misc]
        beside(name, lambda path=path: ff.fit_line(ff.scan(path, *COLUMNS)), others)  # type: ignore[misc]
    x, y = (small[name].to_numpy() for name in COLUMNS)
    for loss in ("huber", "tukey"):
        streamed = ff.fit_line(ff.scan(folder / "t.parquet", *COLUMNS), loss=loss)
        in_memory = ff.fit_line(x, y, loss=loss)
        print(
            f"| passes of {loss}, from the file; in memory | | {streamed.n_passes}; {in_memory.n_passes} |"
        )


def dask_beside_memory(n: int = 100_000_000, chunks: int = 64) -> None:
    big = table(n)
    x, y = (big[name].to_numpy() for name in COLUMNS)
    # With a name given, Dask does not hash the arrays.
    there = [da.from_array(v, chunks=-(-n // chunks), name=k) for k, v in (("x", x), ("y", y))]
    calls: dict[str, Callable[[], Any]] = {
        "dask": lambda: ff.fit_line(*there),
        "memory": lambda: ff.fit_line(x, y),
    }
    assert calls["dask"]().slope == calls["memory"]().slope
    found = times(calls, rounds=21)
    print(
        f"| Dask, {n:,} points in {chunks} chunks | in memory | {ratio(found, 'dask', 'memory'):.3g} |"
    )


def long_parquet(path: Path, millions: int) -> None:
    import pyarrow.parquet

    part = table(1_000_000).to_arrow()
    with pyarrow.parquet.ParquetWriter(path, part.schema) as writer:
        for number in range(millions):
            writer.write_table(table(1_000_000, number).to_arrow())


def peak(path: Path) -> int:
    """Return the peak memory of a process that fits a file, in MB; on Linux, by what it says of itself."""
    code = "import sys; from fastfit.cli import app; "
    code += "app(['fit', sys.argv[1], '--x', 'x', '--y', 'y'], standalone_mode=False); "
    code += "print(*(line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line))"
    command = [sys.executable, "-c", code, str(path)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(out.split()[-1]) // 1000


def kills(path: Path, count: int) -> None:
    """Kill a robust fit at random moments, let it go on, and compare the bits."""
    command = [sys.executable, "-m", "fastfit", "fit", str(path), "--x", "x", "--y", "y"]
    command += ["--loss", "huber", "--json"]
    start = time.perf_counter()
    expected = subprocess.run(command, check=True, capture_output=True).stdout
    took = time.perf_counter() - start
    same = gone_on = 0
    rng = random.Random(1)
    for number in range(count):
        checkpoint = path.with_name(f"{number}.json")
        again = [*command, "--checkpoint", str(checkpoint)]
        process = subprocess.Popen(again, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.2, 1.0) * took)
        process.kill()
        process.wait()
        gone_on += checkpoint.exists() and checkpoint.stat().st_size > 1000
        same += subprocess.run(again, check=True, capture_output=True).stdout == expected
        checkpoint.unlink()
    print(f"| killed {count} times, {gone_on} with something to go on from | same bits | {same} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        speed(folder)
        dask_beside_memory()
        once, twice = folder / "100.parquet", folder / "200.parquet"
        long_parquet(once, 100)
        print(f"| peak memory, 100 million rows | MB | {peak(once)} |", flush=True)
        kills(once, chosen.kills)
        once.unlink()
        long_parquet(twice, 200)
        print(f"| peak memory, 200 million rows | MB | {peak(twice)} |")


if __name__ == "__main__":
    main()
