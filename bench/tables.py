"""Workloads of tables that hold many lines: windows that move along rows, and groups of rows."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastfit as ff
from bench import others
from bench.others import READ, Other
from bench.registry import Prepared
from fastfit.kernels.bare_read import bare_read


@functools.lru_cache(maxsize=2)
def series(n: int, gaps: str) -> tuple[Any, Any]:
    """Return n points along a noisy line, about 5 % of them missing if asked for."""
    rng = np.random.default_rng(n)
    x = np.cumsum(rng.random(n) + 0.5)
    y = 0.3 * x + 5.0 * rng.standard_normal(n)
    if gaps == "gaps":
        y[rng.random(n) < 0.05] = np.nan
    return x, y


@functools.lru_cache(maxsize=1)
def table(n: int, n_groups: int, order: str) -> tuple[Any, Any, Any]:
    """Return n points, and the number of the group of each."""
    rng = np.random.default_rng(n_groups)
    codes = rng.integers(0, n_groups, n, dtype=np.int32)
    x = 100.0 * rng.random(n)
    return x, 0.3 * x + rng.standard_normal(n), np.sort(codes) if order == "sorted" else codes


def _read(x: Any, y: Any, codes: Any) -> None:
    bare_read(x, y)
    items = codes[: codes.size // 4 * 4].view(np.float64)
    bare_read(items[: items.size // 2], items[items.size // 2 :])


def _check_windows(slopes: Any, x: Any, y: Any, window: int) -> None:
    for end in (window + 3, x.size // 2, x.size):
        some = slice(end - window, end)
        there = ~np.isnan(y[some])
        slope = ff.fit_line(x[some][there], y[some][there]).slope
        np.testing.assert_allclose(slopes[end - 1], slope, 1e-9)


def windows(window: int, gaps: str, n: int) -> Prepared:
    """Prepare lines of windows of rows, to be compared with a bare read of x and y."""
    x, y = series(n, gaps)
    return Prepared(
        functools.partial(ff.fit_rolling, x, y, window, min_points=2),
        lambda fits: _check_windows(fits.slope, x, y, window),
        lambda: [others.read(x, y)],
        lambda _: (),
    )


def slopes(window: int, gaps: str, n: int) -> Prepared:
    """Prepare slopes of windows of rows alone, to be compared with a bare read of x and y."""
    x, y = series(n, gaps)
    return Prepared(
        functools.partial(ff.rolling_slope, x, y, window, min_points=2),
        lambda slope: _check_windows(slope, x, y, window),
        lambda: [others.read(x, y)],
        lambda _: (),
    )


def windows_peers(window: int, n: int) -> Prepared:
    """Prepare slopes of windows of rows, to be compared with other libraries."""
    x, y = series(n, "full")
    return Prepared(
        functools.partial(ff.rolling_slope, x, y, window),
        lambda slope: _check_windows(slope, x, y, window),
        lambda: others.windows(x, y, window),
        lambda slope: slope[[window, n // 2, n - 1]],
        rtol=1e-4,  # of pandas, numbagg and RollingOLS, whose errors grow along the rows
    )


def _check_groups(fits: Any, x: Any, y: Any, codes: Any) -> None:
    for k in range(3):
        own = codes == codes[k]
        slope = fits.slope[np.searchsorted(fits.keys["key"], codes[k])]
        np.testing.assert_allclose(slope, ff.fit_line(x[own], y[own]).slope, 1e-9)


def groups(order: str, n_groups: int, n: int) -> Prepared:
    """Prepare lines of groups with integer keys, to be compared with a bare read and other libraries."""
    x, y, codes = table(n, n_groups, order)
    return Prepared(
        functools.partial(ff.fit_groups, x, y, codes),
        lambda fits: _check_groups(fits, x, y, codes),
        lambda: [
            Other(READ, functools.partial(_read, x, y, codes), others.ALL),
            *others.groups(x, y, codes),
        ],
        lambda fits: np.sort(fits.slope)[:5],
    )


def groups_of_text(n_groups: int, n: int) -> Prepared:
    """Prepare lines of groups of a Polars table with text keys."""
    import polars as pl

    x, y, codes = table(n, n_groups, "mixed")
    frame = pl.DataFrame({"x": x, "y": y, "key": codes}).with_columns(
        key=pl.format("sensor-{}", pl.col("key"))
    )
    return Prepared(
        functools.partial(ff.fit_groups, "x", "y", "key", data=frame),
        lambda fits: np.testing.assert_equal(fits.size, np.unique(codes).size),
        lambda: others.groups_of_polars(frame),
        lambda fits: np.sort(fits.slope)[:5],
    )


def groups_of_file(n_groups: int, n: int) -> Prepared:
    """Prepare lines of groups of a Parquet file."""
    import polars as pl

    x, y, codes = table(n, n_groups, "mixed")
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "table.parquet"
    pl.DataFrame({"x": x, "y": y, "key": codes}).write_parquet(path)

    def fit() -> Any:
        return ff.fit_groups(ff.scan(path, "x", "y", by="key"), progress=False)

    def compared_to() -> Iterator[Other]:
        yield from others.groups_of_file(path)

    return Prepared(
        fit,
        lambda fits: np.testing.assert_equal(fits.size, np.unique(codes).size),
        compared_to,
        lambda fits: np.sort(fits.slope)[:5],
    )
