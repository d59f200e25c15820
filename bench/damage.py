"""Damaged files: ``python -m bench.damage [--files 200000] [--seed 0] [FORMAT ...]`` (Linux).

Files of 3,000 rows, as several programs write them, get bits flipped and bytes cut, doubled, inserted, zeroed or moved,
and are fitted in processes of their own. A fault is a process that ends or hangs, more than 1 GB of memory, an error
that does not name the file, or anything on stderr. The number of a file and the seed make the same file again.
"""

from __future__ import annotations

import argparse
import collections
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import fastfit as ff

ROWS = 3000
# Limits: seconds per file; resident memory and address space per process, in bytes.
MOST_SECONDS, MOST_MEMORY, MOST_ADDRESSES = 120, 1 << 30, 16 << 30
CHUNK = 5000  # files per process


def originals(ending: str) -> list[bytes]:
    """Return sound files of a format, of two columns x and y, as several programs and options write them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS).round(3)
    table = {"x": x, "y": (2 * x + 1).round(3)}
    return [_bytes(write) for write in WRITERS[ending](table)]


def _bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _parquet(table: dict[str, np.ndarray]) -> Iterator[Callable[[io.BytesIO], object]]:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow, frame = pa.table(table), pl.DataFrame(table)
    yield lambda f: pq.write_table(arrow, f, row_group_size=1000)
    yield lambda f: pq.write_table(arrow, f, compression="zstd", data_page_size=4096)
    yield lambda f: pq.write_table(arrow, f, compression="none", use_dictionary=False)
    yield lambda f: pq.write_table(arrow, f, compression="gzip", data_page_version="2.0")
    yield lambda f: pq.write_table(
        arrow, f, use_dictionary=False, column_encoding="BYTE_STREAM_SPLIT"
    )
    yield lambda f: frame.write_parquet(f, row_group_size=1000)
    yield lambda f: frame.with_columns(pl.col("y").cast(pl.Int64)).write_parquet(f)
    yield lambda f: frame.with_columns(pl.when(pl.col("x") > 0).then("y").alias("y")).write_parquet(
        f
    )


def _arrow(table: dict[str, np.ndarray]) -> Iterator[Callable[[io.BytesIO], object]]:
    import polars as pl
    import pyarrow as pa
    from pyarrow import feather

    arrow, frame = pa.table(table), pl.DataFrame(table)
    yield lambda f: feather.write_feather(arrow, f)
    yield lambda f: feather.write_feather(arrow, f, compression="zstd", chunksize=1000)
    yield lambda f: feather.write_feather(arrow, f, compression="uncompressed")
    yield frame.write_ipc
    yield lambda f: frame.with_columns(pl.when(pl.col("x") > 0).then("y").alias("y")).write_ipc(f)


def _csv(table: dict[str, np.ndarray]) -> Iterator[Callable[[io.BytesIO], object]]:
    import polars as pl

    frame = pl.DataFrame(table)
    yield frame.write_csv
    yield lambda f: frame.write_csv(f, separator=";", decimal_comma=True)
    yield lambda f: frame.write_csv(f, quote_style="always")
    yield lambda f: frame.with_columns(pl.when(pl.col("x") > 0).then("y").alias("y")).write_csv(f)


def _packed(table: dict[str, np.ndarray]) -> Iterator[Callable[[io.BytesIO], object]]:
    import gzip

    for write in _csv(table):
        yield lambda f, write=write: f.write(gzip.compress(_bytes(write), mtime=0))  # type: ignore[misc]


def _npy(table: dict[str, np.ndarray]) -> Iterator[Callable[[io.BytesIO], object]]:
    array = np.column_stack([table["x"], table["y"]])
    records = np.zeros(ROWS, dtype=[("x", "f8"), ("y", "f4")])
    records["x"], records["y"] = table["x"], table["y"]
    yield lambda f: np.save(f, array)
    yield lambda f: np.save(f, np.asfortranarray(array))
    yield lambda f: np.save(f, records)


WRITERS = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".csv": _csv,
    ".csv.gz": _packed,
    ".npy": _npy,
}


def damaged(sound: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to three kinds of damage."""
    data = bytearray(sound)
    for _ in range(rng.integers(1, 4)):
        n = len(data)
        if n < 2:
            break
        # Headers and footers decide the most: half of the damage is near an end.
        near = min(n, 400)
        places = (rng.integers(near), n - 1 - rng.integers(near), *rng.integers(n, size=2))
        start = int(places[rng.integers(4)])
        size = min((1, 2, 8, int(rng.integers(1, 300)))[rng.integers(4)], n - start)
        piece = data[start : start + size]
        match rng.integers(7):
            case 0:
                for place in rng.integers(start, start + size, size=rng.integers(1, 9)):
                    data[place] ^= 1 << int(rng.integers(8))
            case 1:
                del data[start : n if rng.random() < 0.3 else start + size]
            case 2:
                data[start:start] = piece
            case 3:
                data[start:start] = rng.bytes(size)
            case 4:
                data[start : start + size] = bytes(size)
            case 5:
                data[start : start + size] = rng.bytes(size)
            case _:
                del data[start : start + size]
                place = int(rng.integers(len(data) + 1))
                data[place:place] = piece
    return bytes(data)


def fit_all(ending: str, first: int, end: int, seed: int, found: Path) -> None:
    """Damage and fit files; write a line about each."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    warnings.simplefilter("ignore")
    sound = originals(ending)
    ff.fit_line([0.0, 1.0, 2.0], [0.0, 1.0, 3.0])  # compiled, or loaded, before time is limited
    path = found.with_name(f"t{ending}")
    with found.open("w", buffering=1) as lines:
        for number in range(first, end):
            rng = np.random.default_rng([seed, number])
            path.write_bytes(damaged(sound[number % len(sound)], rng))
            said, held = os.fstat(2).st_size, _held()
            signal.alarm(MOST_SECONDS)
            try:
                fit = ff.fit_line(ff.scan(path, "x", "y"))
                off = abs(fit.slope - 2) + abs(fit.intercept - 1)
                outcome = "the same line" if off < 1e-9 else "another line"
            except BaseException as error:
                is_ours = isinstance(error, ValueError) and str(path) in str(error)
                outcome = "refused" if is_ours else f"FAULT: {error!r}"
            signal.alarm(0)
            if _held() > max(held, MOST_MEMORY):
                outcome = f"FAULT: held {_held() >> 20} MB; {outcome}"
            if os.fstat(2).st_size > said:
                outcome = f"FAULT: wrote to stderr; {outcome}"
            lines.write(f"{outcome[:300]!r}\n")


def _held() -> int:
    """Return the most memory that the process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def outcomes(ending: str, first: int, end: int, seed: int) -> list[str]:
    """Return the outcome of each file. A process that crashes is a fault; another one goes on after that file."""
    found: list[str] = []
    while first + len(found) < end:
        with tempfile.TemporaryDirectory() as name:
            lines, errors = Path(name) / "found", Path(name) / "stderr"
            arguments = [ending, str(first + len(found)), str(end), str(seed), str(lines)]
            with errors.open("wb") as stderr:
                command = [sys.executable, "-m", "bench.damage", "--fit", *arguments]
                code = subprocess.run(command, stderr=stderr, check=False).returncode
            found += lines.read_text().splitlines() if lines.exists() else []
            if code == 1:
                raise RuntimeError(errors.read_text(errors="replace"))
            if code:
                said = errors.read_text(errors="replace")[-300:]
                found.append(f"FAULT: the process ended with {code}: {said!r}")
    return found


def count(ending: str, files: int, seed: int) -> collections.Counter[str]:
    """Return how often each outcome came; faults are printed, each with the number of its file."""
    chunk = min(CHUNK, -(-files // 2))
    counts = collections.Counter[str]()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        starts = range(0, files, chunk)
        chunks = pool.map(lambda k: outcomes(ending, k, min(k + chunk, files), seed), starts)
        for start, found in zip(starts, chunks, strict=True):
            for number, outcome in enumerate(found, start):
                counts["fault" if "FAULT" in outcome else outcome.strip("'")] += 1
                if "FAULT" in outcome:
                    print(ending, number, outcome, flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", default=list(WRITERS), metavar="FORMAT")
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        ending, first, end, seed, found = arguments.fit
        fit_all(ending, int(first), int(end), int(seed), Path(found))
        return
    for ending in arguments.formats:
        counts = count(ending, arguments.files, arguments.seed)
        print(ending, ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items())), flush=True)


if __name__ == "__main__":
    main()
