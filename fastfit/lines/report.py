"""Many lines as the command line prints and writes them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.lines.result import LineFits
from fastfit.tables import table_of

# Lines of a list.
_SHOWN = 8
_NAMES = ("slope", "stderr", "pvalue", "intercept", "n_points")
_ENDINGS = (".parquet", ".csv")


def check_path(path: Path, given: list[str]) -> None:
    """Raise at once what would keep a table from being written after a long fit; ``given`` are the files that are read.

    Raises
    ------
    ValueError
        If its name does not end in .parquet or .csv, its folder does not exist, or it is one of the files, or in a
        folder of them.
    ImportError
        If Polars is missing.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ValueError(f"--out must end in {' or '.join(_ENDINGS)}; got {str(path)!r}")
    if not path.parent.is_dir():
        raise ValueError(f"--out must be in a folder that exists; got {str(path)!r}")
    for each in given:
        if path.resolve() == Path(each).resolve() or Path(each).resolve() in path.resolve().parents:
            raise ValueError(f"--out must not be among the files that are read; got {str(path)!r}")
    if importlib.util.find_spec("polars") is None:
        raise ImportError("writing lines needs polars: pip install 'fastfit[files]'")


def write(fits: LineFits, path: Path) -> None:
    """Write all lines, with their keys first, to a file of Parquet or text; it is there as a whole or not at all."""
    table = table_of("polars", fits.columns(), {})
    is_text = path.suffix.lower() == ".csv"
    for name, kind in table.schema.items() if is_text else ():
        if str(kind) == "Binary":
            raise ValueError(
                f"--out must end in .parquet where keys are bytes, as {name!r} are; got {str(path)!r}"
            )
        if str(kind).startswith("Duration"):
            table = table.with_columns(table[name].dt.to_string("iso"))
    part = path.with_name(f".{path.name}.part")
    try:
        if is_text:
            table.write_csv(part)
        else:
            table.write_parquet(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def text_of(fits: LineFits) -> str:
    """Return counts and quartiles, the first lines, and those with the smallest p-values."""
    blocks = [fits.summary()]
    if fits.n_ungrouped:
        blocks[0] += f"\nrows without a key  {fits.n_ungrouped:,}"
    there = np.flatnonzero(fits.converged)
    columns = fits.columns()
    if there.size:
        blocks.append("first lines\n" + _table(columns, there[:_SHOWN]))
    if there.size > _SHOWN and "pvalue" in columns:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(fits.slope[there] / fits.stderr[there])
        order = np.lexsort((-t, columns["pvalue"][there]))  # p-values may all be 0
        blocks.append("most significant\n" + _table(columns, there[order[:_SHOWN]]))
    return "\n\n".join(blocks)


def _table(columns: dict[str, NDArray[Any]], rows: NDArray[np.int64]) -> str:
    """Return some lines as text, a line each."""
    keys = list(columns)[: list(columns).index("slope")]
    names = [*keys, *(name for name in _NAMES if name in columns)]
    cells = [[name, *(_cell(columns[name][row]) for row in rows)] for name in names]
    widths = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if k < len(keys) else f"{cell:>{width}}"
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in zip(*cells, strict=True)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    is_count = isinstance(value, np.integer) and not isinstance(value, np.timedelta64)
    return f"{value:,}" if is_count else str(value)
