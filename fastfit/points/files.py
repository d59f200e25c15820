"""Columns of a file: Parquet, CSV (plain or gzipped) and ``.npy``, read into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

# What stands for a missing value in a CSV file, besides nothing at all.
MISSING = ("nan", "NaN", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None")
FORMATS = (".parquet", ".csv", ".csv.gz", ".npy")


class FileError(ValueError):
    """A file that cannot be read as asked; the message names file and column."""


def read_columns(
    path: str | Path, x: str | None = None, y: str | None = None, *others: str
) -> tuple[NDArray[Any], ...]:
    """Return two or more columns of a file; a missing value is NaN. In CSV, so are the words in ``MISSING``.

    Parameters
    ----------
    path : str or Path
        A file whose name ends in ``.parquet``, ``.csv``, ``.csv.gz`` or ``.npy``.
    x, y : str, optional
        Names of the columns; of a ``.npy`` table without names, their numbers from 0. May be left out
        where the file has just two.
    *others : str
        Further columns.

    Raises
    ------
    FileError
        If the file is missing, empty, damaged or of another format, has no such column, or holds something
        else than numbers there.
    ImportError
        If Polars is missing, which reads Parquet and CSV: ``pip install 'fastfit[cli]'``.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder; give a file")
    if not path.exists():
        raise FileError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise FileError(f"{path} is empty")
    name = path.name.lower()
    if name.endswith(".npy"):
        return _read_npy(path, x, y, others)
    if name.endswith(".parquet"):
        return _read_table(path, x, y, others, parquet=True)
    if name.endswith((".csv", ".csv.gz")):
        return _read_table(path, x, y, others, parquet=False)
    raise FileError(f"{path} is of no known format; its name must end in {', '.join(FORMATS)}")


def _chosen(
    path: Path, names: list[str], x: str | None, y: str | None, others: tuple[str, ...]
) -> list[str]:
    """Return the names of the columns to read, or raise with a list of those there are."""
    there = "; it has " + (", ".join(map(repr, names)) if names else "none")
    stripped = {name.strip(): name for name in names}  # "x, y" in a header means "x" and "y"
    asked = [None if name is None else stripped.get(name, name) for name in (x, y, *others)]
    asked = [
        name if name in names else found for name, found in zip((x, y, *others), asked, strict=True)
    ]
    for name in asked:
        if name is not None and name not in names:
            raise FileError(f"{path} has no column {name!r}{there}")
    known = [name for name in asked if name is not None]
    if len(known) == len(asked):
        return known
    left = [name for name in names if name not in known]
    if len(left) + len(known) != len(asked) or len(set(known)) != len(known):
        count = "two columns" if len(asked) == 2 else f"{len(asked)} columns"
        raise FileError(f"{path} does not have just {count}, so x and y must be named{there}")
    return [left.pop(0) if name is None else name for name in asked]


def _read_npy(
    path: Path, x: str | None, y: str | None, others: tuple[str, ...]
) -> tuple[NDArray[Any], ...]:
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        # NumPy's advice for anything it does not know is to unpickle it, which runs code from the file.
        why = "it holds no plain numbers" if "pickle" in str(error) else _one_line(error)
        raise FileError(f"{path} is no readable .npy file: {why}") from error
    if not isinstance(table, np.ndarray):
        raise FileError(f"{path} is no .npy file but an archive of several (.npz)")
    if table.dtype.names is None and (table.ndim != 2 or table.dtype.kind not in "biuf"):
        raise FileError(
            f"{path} must hold a table of numbers with rows and columns; "
            f"got shape {table.shape} of {table.dtype}"
        )
    if table.dtype.names is None:
        names = [str(number) for number in range(table.shape[1])]
        chosen: tuple[Any, ...] = tuple(map(int, _chosen(path, names, x, y, others)))
        columns = [table[:, number] for number in chosen]
    else:
        chosen = tuple(_chosen(path, list(table.dtype.names), x, y, others))
        columns = [table[name] for name in chosen]
    for name, column in zip(chosen, columns, strict=True):
        if column.dtype.kind not in "biuf":
            raise FileError(f"{path}: column {name!r} holds no numbers but {column.dtype}")
    return tuple(columns)


def _read_table(
    path: Path, x: str | None, y: str | None, others: tuple[str, ...], *, parquet: bool
) -> tuple[NDArray[Any], ...]:
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError(
            "reading Parquet and CSV needs Polars: pip install 'fastfit[cli]'"
        ) from error
    try:
        if parquet:
            lazy = pl.scan_parquet(path, glob=False)
        else:
            # A column is typed by all of its values: text in the last row makes it a text column.
            lazy = pl.scan_csv(
                path, glob=False, infer_schema_length=None, null_values=list(MISSING)
            )
        names = lazy.collect_schema().names()
        if not parquet and x is None and y is None and all(map(_is_number, names)):
            raise FileError(
                f"{path} has no header: its first line holds the numbers {', '.join(names)}; "
                "add a line of names, or give x and y if those are names"
            )
        chosen = _chosen(path, names, x, y, others)
        # By name, since a plain string may also be a pattern of names.
        table = lazy.select(pl.selectors.by_name(*dict.fromkeys(chosen))).collect()
    except FileError:
        raise
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read: {_one_line(error)}") from error
    except BaseException as error:
        # A damaged Parquet file may make Polars panic, which it raises past Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise FileError(f"{path} cannot be read: it is damaged ({_one_line(error)})") from error
    if not table.height:
        raise FileError(f"{path} has columns but no rows")
    return tuple(_numbers(path, table[name]) for name in chosen)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(path: Path, column: pl.Series) -> NDArray[Any]:
    """Return a column as an array, its missing values as NaN, or raise if it holds something else."""
    import polars as pl

    if column.dtype == pl.String:
        return _parsed(path, column)
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise FileError(f"{path}: column {column.name!r} holds no numbers but {column.dtype}")
    # NumPy has no decimals, no 128-bit integers and no missing value but NaN.
    signed = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
    unsigned = (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
    if column.null_count() or column.dtype not in (*signed, *unsigned, pl.Float32, pl.Float64):
        column = column.cast(pl.Float64).fill_null(float("nan"))
    return column.to_numpy()


def _parsed(path: Path, column: pl.Series) -> NDArray[Any]:
    """Return a column of text as numbers (spaces may surround them), or raise about the first that is none."""
    numbers = np.full(len(column), np.nan)
    for row, text in enumerate(column):
        if text is not None and text.strip() not in ("", *MISSING):
            try:
                numbers[row] = float(text)
            except ValueError:
                raise FileError(
                    f"{path}: column {column.name!r} holds text: {text!r} in data row {row + 1:,}"
                ) from None
    return numbers


def _one_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
