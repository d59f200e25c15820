"""Columns of one file, in batches: ``.npy`` by NumPy, all else by Polars.

Bounds of batches depend on the file alone. Polars decodes on its own threads, some batches ahead. Nothing is mapped
into memory: a file that shrinks while it is mapped ends the process.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows to a batch: 8 MB of x and y, which is decoded, read and forgotten while it is in cache.
BATCH = 1 << 19
# Bytes of a table that are read at a time, all of its columns.
_READ = 1 << 25
# With a checkpoint, so many rows of a Parquet file are read at a time: then they are known to be right.
_MOST = 32 * BATCH
# What stands for a missing value in a CSV file, besides nothing at all.
MISSING = ("nan", "NaN", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None")
# So many rows tell of what type a column of a CSV file is, until one shows that they do not.
_TYPED_BY = 1000
# The last line of a CSV file is looked for in so many bytes, and the rows are counted from as many.
_TAIL = 1 << 16

Arrays = tuple[NDArray[Any], ...]


class FileError(ValueError):
    """A file that cannot be read as asked; the message names file and place."""


class Retyped(Exception):  # noqa: N818  # it is not an error
    """A column holds something that its first rows did not show: the file has to be read again from its start."""

    number = 0


@dataclass
class Table:
    """One file, or one query, of which columns can be read.

    Attributes
    ----------
    path : str
        What errors name.
    names : list of str
        Of its columns.
    stage : int
        How a CSV file is to be read: raised with ``Retyped``, each time to something more patient.
    keys : tuple of str
        Those of the names that folders stand for.
    in_order : bool
        Whether batches are read one after the other, so that an error comes where it is. Polars may leave out a batch
        that is damaged, and raise the error batches later.
    most : int or None
        So many rows are read at little more cost than all at once, if need be; None if not.
    """

    path: str
    names: list[str]
    _batches: Callable[[Table, list[str], int, int | None], Iterable[Arrays]]
    _count: Callable[[], int] = field(default=lambda: 0)
    stage: int = 0
    keys: tuple[str, ...] = ()
    in_order: bool = False
    most: int | None = None

    def batches(
        self, columns: Sequence[str], start: int = 0, most: int | None = None
    ) -> Iterator[Arrays]:
        """Yield columns in batches of ``BATCH`` rows, missing values as NaN, from a row on, of all rows or of some.

        Raises
        ------
        FileError
            If the file cannot be read, or a column does not hold numbers.
        Retyped
            If the file has to be read again from its start.
        """
        different = list(dict.fromkeys(columns))
        with _readable(self.path):
            for arrays in self._batches(self, different, start, most):
                found = dict(zip(different, arrays, strict=True))
                yield tuple(found[name] for name in columns)

    def count(self) -> int:
        """Return about how many rows there are."""
        with _readable(self.path):
            return self._count()


def open_table(path: str, *, keys: Sequence[tuple[str, str]] = ()) -> Table:
    """Return a file or URL, opened as its name says.

    Parameters
    ----------
    path : str
        A name that ends in one of ``FORMATS``.
    keys : sequence of (str, str)
        Names and values of columns that the folders of the file stand for, as in ``year=2013``.

    Raises
    ------
    FileError
        If it is missing, empty, damaged or of no known format.
    ImportError
        If the library that reads it is missing.
    """
    if not is_url(path):
        if not os.path.exists(path):
            raise FileError(f"{path} does not exist")
        if os.path.isdir(path):
            raise FileError(f"{path} is a folder, and not a file")
        if os.path.getsize(path) == 0:
            raise FileError(f"{path} is empty")
    opened = FORMATS.get(ending_of(path))
    if opened is None:
        raise FileError(f"{path} is of no known format; its name must end in {', '.join(FORMATS)}")
    with _readable(path):
        return _with_keys(opened(path), keys)


def ending_of(path: str) -> str:
    """Return the ending in ``FORMATS`` that a name has, the longest; "" for none."""
    return max((each for each in FORMATS if path.lower().endswith(each)), key=len, default="")


def is_url(path: str) -> bool:
    """Whether a path is a URL."""
    scheme, _, rest = path.partition("://")
    return bool(rest) and scheme.isalnum()


def chosen(table: Table, x: str | None, y: str | None, others: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns to read, or raise with a list of those there are."""
    names = table.names
    there = "; it has " + (", ".join(map(repr, names)) if names else "none")
    stripped = {name.strip(): name for name in names}  # "x, y" in a header means "x" and "y"
    asked = (x, y, *others)
    found = [name if name is None or name in names else stripped.get(name) for name in asked]
    for name, is_there in zip(asked, found, strict=True):
        if name is not None and is_there is None:
            raise FileError(f"{table.path} has no column {name!r}{there}")
    known = [name for name in found if name is not None]
    left = [name for name in names if name not in known and name not in table.keys]
    missing = len(found) - len(known)
    if missing and (len(left) != missing or len(set(known)) != len(known)):
        count = "two columns" if len(found) == 2 else f"{len(found)} columns"
        hint = ""
        if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
            hint = (
                "; if something else than commas separates them, pass a query such as "
                "polars.scan_csv(path, separator=';')"
            )
        raise FileError(
            f"{table.path} does not have just {count}, so x and y must be named{there}{hint}"
        )
    is_csv = table.path.lower().endswith((".csv", ".csv.gz"))
    if missing == 2 and is_csv and all(map(_is_number, names)):
        raise FileError(
            f"{table.path} has no header: its first line holds the numbers {', '.join(names)}; "
            "add a line of names, or give x and y if those are names"
        )
    return tuple(left.pop(0) if name is None else name for name in found)


def query(lazy: Any) -> Table:
    """Return a query of Polars, of which columns can be read."""
    path = "the query"
    with _readable(path):
        schema = lazy.collect_schema()
    return _polars_table(path, lazy, dict(schema))


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn whatever a reading library raises into a ``FileError`` of one line."""
    try:
        yield
    except (FileError, Retyped, ImportError, MemoryError):
        raise
    except (OSError, ValueError, EOFError) as error:  # of NumPy
        raise FileError(f"{path} cannot be read: {_one_line(error)}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "polars":
            raise
        raise FileError(f"{path} cannot be read: {_one_line(error)}") from error
    except BaseException as error:
        # A damaged Parquet file may make Polars panic, which it raises past Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise FileError(f"{path} cannot be read: it is damaged ({_one_line(error)})") from error


def _one_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_keys(table: Table, keys: Sequence[tuple[str, str]]) -> Table:
    """Return a table that also has the columns that folders stand for, each of one value."""
    new = {name: value for name, value in keys if name not in table.names}
    if not new:
        return table

    def batches(self: Table, columns: list[str], start: int, most: int | None) -> Iterator[Arrays]:
        table.stage = self.stage
        own = [name for name in columns if name not in new]
        if not own:
            raise FileError(
                f"{self.path}: x, y or a weight must be a column of files, and not of folders alone; "
                f"got {' and '.join(map(repr, columns))}"
            )
        for arrays in table._batches(table, own, start, most):
            found = dict(zip(own, arrays, strict=True))
            n = arrays[0].size
            yield tuple(
                found[name] if name in found else np.full(n, _key(self.path, name, new[name]))
                for name in columns
            )

    return replace(table, names=[*table.names, *new], keys=tuple(new), _batches=batches)


def _key(path: str, name: str, text: str) -> float:
    if text == "__HIVE_DEFAULT_PARTITION__":
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise FileError(f"{path}: column {name!r} holds text: {text!r}, by its folder") from None


def _needed(what: str) -> Any:
    """Return Polars, or say how to install it."""
    try:
        return __import__("polars")
    except ImportError as error:
        raise ImportError(f"reading {what} needs Polars: pip install 'fastfit[files]'") from error


# Parquet and queries


def _parquet(path: str) -> Table:
    pl = _needed("Parquet")
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return _polars_table(path, lazy, dict(lazy.collect_schema()))


def _polars_table(path: str, lazy: Any, schema: dict[str, Any]) -> Table:
    pl = _needed("Parquet and CSV")

    def batches(_: Table, columns: list[str], start: int, most: int | None) -> Iterator[Arrays]:
        place = start
        part = lazy.slice(start, most) if start or most else lazy
        for batch in _in_batches(pl, part, columns):
            yield tuple(_parsed(path, batch[name], place) for name in columns)
            place += batch.height

    def count() -> int:
        return int(lazy.select(pl.len()).collect().item())

    return Table(path, list(schema), batches, count, most=_MOST)


def _in_batches(pl: Any, lazy: Any, columns: list[str]) -> Iterator[Any]:
    # By name, since a plain string may also be a pattern of names.
    wanted = lazy.select(pl.selectors.by_name(*columns))
    yield from wanted.collect_batches(chunk_size=BATCH, maintain_order=True, engine="streaming")


def _require_numeric(path: str, name: str, dtype: Any) -> None:
    import polars as pl

    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise FileError(
            f"{path}: column {name!r} holds no numbers but {dtype}; derive a column of "
            "numbers with a query of Polars, such as pl.col('t').dt.epoch('s')"
        )


def _numbers(column: Any) -> NDArray[Any]:
    """Return a column as an array, its missing values as NaN."""
    import polars as pl

    # NumPy has no decimals, no 128-bit integers and no missing value but NaN.
    signed = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
    unsigned = (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
    if column.null_count() or column.dtype not in (*signed, *unsigned, pl.Float32, pl.Float64):
        column = column.cast(pl.Float64).fill_null(float("nan"))
    return column.to_numpy()  # type: ignore[no-any-return]


# CSV

# What is tried, one after the other: the types that the first rows show; numbers; numbers and words for missing
# values; text, from which numbers are parsed here.
_AS_SEEN, _AS_FLOATS, _WITH_WORDS, _AS_TEXT = range(4)


def _csv(path: str) -> Table:
    pl = _needed("CSV")
    options = {"glob": False, "infer_schema_length": _TYPED_BY}
    seen = dict(pl.scan_csv(path, **options).collect_schema())
    if not is_url(path) and not path.lower().endswith(".gz"):
        _require_whole_last_line(path, len(seen))

    def batches(table: Table, columns: list[str], start: int, _: int | None) -> Iterator[Arrays]:
        types = {name: _type_at(pl, seen[name], table.stage) for name in columns}
        words = list(MISSING) if table.stage >= _WITH_WORDS else None
        lazy = pl.scan_csv(path, schema_overrides=types, null_values=words, **options)
        place = start
        try:
            for batch in _in_batches(pl, lazy.slice(start) if start else lazy, columns):
                yield tuple(_parsed(path, batch[name], place) for name in columns)
                place += batch.height
        except pl.exceptions.ComputeError as error:
            if table.stage == _AS_TEXT or "could not parse" not in str(error):
                raise
            raise Retyped from error

    return Table(path, list(seen), batches, functools.partial(_count_lines, path))


def _type_at(pl: Any, seen: Any, stage: int) -> Any:
    if stage == _AS_TEXT or seen == pl.String:
        return pl.String
    if not (seen.is_numeric() or seen in (pl.Boolean, pl.Null)):
        return seen
    return seen if stage == _AS_SEEN and seen != pl.Null else pl.Float64


def _parsed(path: str, column: Any, start: int) -> NDArray[Any]:
    """Return a column as numbers; of text (spaces may surround them), or raise about the first that is none."""
    import polars as pl

    if column.dtype != pl.String:
        _require_numeric(path, column.name, column.dtype)
        return _numbers(column)
    text = column.str.strip_chars()
    text = text.set(text.is_in(["", *MISSING]), None)
    numbers = text.cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() & text.is_not_null()).arg_max()
    if wrong is not None and numbers[wrong] is None and text[wrong] is not None:
        raise FileError(
            f"{path}: column {column.name!r} holds text: {column[wrong]!r} in data row {start + wrong + 1:,}"
        )
    return _numbers(numbers)


def _require_whole_last_line(path: str, n_columns: int) -> None:
    """Raise FileError if the last line is cut off: one without an end that has fewer fields than the header."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _TAIL))
        tail = file.read()
    last = tail[tail.rfind(b"\n") + 1 :].decode(errors="replace")
    if not last or b"\n" not in tail or '"' in last:
        return
    n_fields = len(next(csv.reader([last])))
    if n_fields < n_columns:
        raise FileError(
            f"{path} is cut off: its last line has {n_fields} of {n_columns} fields, and no end"
        )


def _count_lines(path: str) -> int:
    """Return about how many lines there are, by the length of the first."""
    if is_url(path):
        return 0
    if path.lower().endswith(".gz"):
        import gzip

        with open(path, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            head = file.read(_TAIL)
            # About how much it was packed, by what the start has taken.
            size = os.path.getsize(path) * len(head) / max(packed.tell(), 1)
            return int(head.count(b"\n") * size / max(len(head), 1))
    with open(path, "rb") as plain:
        head = plain.read(_TAIL)
    return int(head.count(b"\n") * os.path.getsize(path) / max(len(head), 1))


# Arrow and Feather


def _arrow(path: str) -> Table:
    pl = _needed("Arrow and Feather")
    # As a URL, it is read; by its path, it would be mapped into memory.
    lazy = pl.scan_ipc(path if is_url(path) else Path(path).absolute().as_uri(), glob=False)
    return _polars_table(path, lazy, dict(lazy.collect_schema()))


def _in_even_batches(parts: Iterable[Arrays], start: int) -> Iterator[Arrays]:
    """Yield arrays of any lengths again in batches of ``BATCH`` rows, from a row on."""
    held: list[Arrays] = []
    size = 0
    for arrays in parts:
        skipped = min(start, arrays[0].size)
        start -= skipped
        while skipped < arrays[0].size:
            more = tuple(array[skipped : skipped + BATCH - size] for array in arrays)
            held.append(more)
            size += more[0].size
            skipped += more[0].size
            if size == BATCH:
                yield _joined(held)
                held, size = [], 0
    if held:
        yield _joined(held)


def _joined(held: list[Arrays]) -> Arrays:
    return held[0] if len(held) == 1 else tuple(map(np.concatenate, zip(*held, strict=True)))


# NumPy


def _npy(path: str) -> Table:
    if is_url(path):
        raise FileError(f"{path} is a URL, which NumPy does not read; copy the file")
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        # NumPy's advice for anything it does not know is to unpickle it, which runs code from the file.
        why = "it holds no plain numbers" if "pickle" in str(error) else _one_line(error)
        raise FileError(f"{path} is no readable .npy file: {why}") from error
    if not isinstance(table, np.memmap):
        raise FileError(f"{path} is no .npy file but an archive of several (.npz)")
    dtype, shape, offset = table.dtype, table.shape, table.offset
    if dtype.names is None and (len(shape) != 2 or dtype.kind not in "biuf"):
        raise FileError(
            f"{path} must hold a table of numbers with rows and columns; got shape {shape} of {dtype}. "
            "Single arrays are passed to fit_line as np.load(path, mmap_mode='r')"
        )
    in_columns = dtype.names is None and not table.flags.c_contiguous
    del table  # and the map with it
    names = list(dtype.names or map(str, range(shape[1])))

    def batches(_: Table, columns: list[str], start: int, most: int | None) -> Iterator[Arrays]:
        for name in columns:
            kind = dtype if dtype.names is None else dtype[name]
            if kind.kind not in "biuf":
                raise FileError(f"{path}: column {name!r} holds no numbers but {kind}")
        return _in_even_batches(parts(columns, start), 0)

    def parts(columns: list[str], start: int) -> Iterator[Arrays]:
        n_rows, places = shape[0], [names.index(name) for name in columns]
        width = 1 if in_columns or dtype.names is not None else shape[1]
        step = max(1, min(BATCH, _READ // (width * dtype.itemsize)))
        with open(path, "rb") as file:
            for first in range(start, n_rows, step):
                count = min(step, n_rows - first)
                if in_columns:
                    starts = (place * n_rows + first for place in places)
                    yield tuple(_items(file, dtype, offset, start, count) for start in starts)
                    continue
                # Copies, so that the other columns are not kept.
                rows = _items(file, dtype, offset, first * width, count * width)
                if dtype.names is None:
                    table = rows.reshape(count, width)
                    yield tuple(table[:, place].copy() for place in places)
                else:
                    yield tuple(rows[name].copy() for name in columns)

    return Table(path, names, batches, lambda: shape[0], in_order=True)


def _items(file: Any, dtype: Any, offset: int, first: int, count: int) -> NDArray[Any]:
    """Return some items of the array that starts at an offset of a file."""
    file.seek(offset + first * dtype.itemsize)
    items = np.fromfile(file, dtype, count)
    if items.size < count:
        raise OSError("it ends before its header says")
    return items


FORMATS: dict[str, Callable[[str], Table]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".npy": _npy,
}
