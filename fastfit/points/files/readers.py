"""Columns of one file, in batches: ``.npy`` by NumPy, all else by Polars.

The bounds of batches depend on the file alone. Polars decodes on its own threads, some batches ahead. Nothing is mapped
into memory while it is read, since a mapped file that shrinks ends the process (SIGBUS).
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.points.files.layout import MISSING, Layout, TextOptions, is_number, layout_of, lines_of

# Rows per batch: 8 MB of x and y, which are decoded, added up and forgotten while they are in cache.
BATCH = 1 << 19
# Bytes of a .npy table that are read at a time, all of its columns.
_READ = 1 << 25
# Rows of a CSV file from which the types of its columns are inferred.
_TYPED_BY = 1000
# Bytes of a CSV file that are looked through at a time for irregular rows: they stay in cache.
_READ_TEXT = 1 << 18
# Endings of packed files.
_PACKED = (".gz", ".zst")
# Bytes in which the last line of a CSV file is looked for, and from which its rows are counted.
_TAIL = 1 << 16

# Columns of one batch: Series of Polars, or arrays of NumPy.
Arrays = tuple[Any, ...]
_FIND = TextOptions()


class FileError(ValueError):
    """A file that cannot be read as asked; the message names file and place."""


class NotAsTyped(Exception):  # noqa: N818  # nothing is wrong yet
    """A CSV file does not parse as its first rows suggest: read it again from its start, as text."""


@dataclass(frozen=True)
class Table:
    """Columns of one file, or of one query.

    Attributes
    ----------
    path : str
        The name that errors use.
    names : list of str
        Names of the columns.
    read : callable
        Yields the named columns, each named once, in batches; ``as_text`` as in ``batches``.
    rows : callable
        Returns about how many rows there are, 0 if that cannot be told without reading them.
    folder_names : tuple of str
        Those of the columns that folders stand for.
    """

    path: str
    names: list[str]
    read: Callable[[list[str], bool], Iterable[Arrays]]
    rows: Callable[[], int]
    folder_names: tuple[str, ...] = ()

    def batches(self, columns: Sequence[str], *, as_text: bool = False) -> Iterator[Arrays]:
        """Yield columns in batches of ``BATCH`` rows.

        Parameters
        ----------
        columns : sequence of str
            Names of the columns; one may be asked for twice.
        as_text : bool
            Whether a CSV file is read as text and parsed here: slower, but it accepts every spelling of a number,
            and an error names the cell. Other formats ignore it.

        Raises
        ------
        FileError
            If the file cannot be read, or a column does not hold numbers.
        NotAsTyped
            If a CSV file has to be read again, as text. Batches that came before do not count.
        """
        different = list(dict.fromkeys(columns))
        with _readable(self.path):
            for arrays in self.read(different, as_text):
                found = dict(zip(different, arrays, strict=True))
                yield tuple(found[name] for name in columns)

    def count(self) -> int:
        """Return about how many rows there are, 0 if that is not known."""
        with _readable(self.path):
            return self.rows()


def open_table(
    path: str, *, keys: Sequence[tuple[str, str]] = (), options: TextOptions = _FIND
) -> Table:
    """Open a file or URL; the ending of its name says how.

    Parameters
    ----------
    path : str
        A name that ends in one of ``FORMATS``.
    keys : sequence of (str, str)
        Names and values of columns that the folders of the file stand for, as in ``year=2013``.
    options : TextOptions
        What the caller says of the layout of text.

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
    ending = ending_of(path)
    opened = FORMATS.get(ending)
    if opened is None:
        raise FileError(f"{path} is of no known format; its name must end in {', '.join(FORMATS)}")
    if opened is not _csv and options != TextOptions():
        raise ValueError(
            f"separator, decimal_comma, comment, skip_rows, null_values and encoding are for text; {path} is none"
        )
    with _readable(path):
        return _with_folders(opened(path, options), keys)


def ending_of(path: str) -> str:
    """Return the longest ending in ``FORMATS`` that a name has; "" for none."""
    return max((each for each in FORMATS if path.lower().endswith(each)), key=len, default="")


def is_url(path: str) -> bool:
    """Whether a path is a URL."""
    scheme, _, rest = path.partition("://")
    return bool(rest) and scheme.isalnum()


def resolve_columns(
    table: Table, x: str | None, y: str | None, others: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the columns to read; raise FileError, with a list of all, if they are not there."""
    names = table.names
    there = "; it has " + (", ".join(map(repr, names)) if names else "none")
    stripped = {name.strip(): name for name in names}  # "x, y" in a header means "x" and "y"
    asked = (x, y, *others)
    found = [name if name is None or name in names else stripped.get(name) for name in asked]
    for name, is_there in zip(asked, found, strict=True):
        if name is not None and is_there is None:
            raise FileError(f"{table.path} has no column {name!r}{there}")
        if is_there is not None and names.count(is_there) > 1:
            raise FileError(f"{table.path} has several columns {is_there!r}; give them other names")
    known = [name for name in found if name is not None]
    left = [name for name in names if name and name not in (*known, *table.folder_names)]
    missing = len(found) - len(known)
    if missing and (len(left) != missing or len(set(known)) != len(known)):
        count = "two columns" if len(found) == 2 else f"{len(found)} columns"
        hint = "; pass separator if these are several" if len(names) == 1 else ""
        raise FileError(
            f"{table.path} does not have just {count}, so x and y must be named{there}{hint}"
        )
    is_text = FORMATS.get(ending_of(table.path)) is _csv
    if missing == 2 and is_text and all(map(_is_number, names)):
        raise FileError(
            f"{table.path} has no header: its first line holds the numbers {', '.join(names)}; "
            "add a line of names, or give x and y if those are names"
        )
    return tuple(left.pop(0) if name is None else name for name in found)


def query(lazy: Any) -> Table:
    """Return the table that a query of Polars yields."""
    path = "the query"
    with _readable(path):
        schema = lazy.collect_schema()
    return _polars_table(path, lazy, dict(schema))


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn errors of a library about a file into a ``FileError`` of one line."""
    try:
        yield
    except (FileError, NotAsTyped, ImportError, MemoryError):
        raise
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path} cannot be read: {_one_line(error)}") from error
    except BaseException as error:
        known = getattr(sys.modules.get("polars"), "exceptions", None)
        if known is not None and isinstance(error, known.PolarsError):
            raise FileError(f"{path} cannot be read: {_one_line(error)}") from error
        # A damaged Parquet file may make Polars panic, with an exception that is no Exception.
        if known is not None and isinstance(error, known.PanicException):
            raise FileError(f"{path} cannot be read: it is damaged ({_one_line(error)})") from error
        raise


def _one_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_folders(table: Table, keys: Sequence[tuple[str, str]]) -> Table:
    """Return the table with the columns that its folders stand for, each of one value."""
    new = {name: value for name, value in keys if name not in table.names}
    if not new:
        return table

    def read(columns: list[str], as_text: bool) -> Iterator[Arrays]:
        own = [name for name in columns if name not in new]
        if not own:
            raise FileError(
                f"{table.path}: x, y or a weight must be a column of files, and not of folders alone; "
                f"got {' and '.join(map(repr, columns))}"
            )
        for arrays in table.read(own, as_text):
            found = dict(zip(own, arrays, strict=True))
            n = len(arrays[0])
            yield tuple(
                found[name] if name in found else np.full(n, _key(table.path, name, new[name]))
                for name in columns
            )

    return replace(table, names=[*table.names, *new], folder_names=tuple(new), read=read)


def _key(path: str, name: str, text: str) -> float:
    if text == "__HIVE_DEFAULT_PARTITION__":
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise FileError(f"{path}: column {name!r} holds text: {text!r}, by its folder") from None


def _needed(what: str) -> Any:
    """Return Polars; raise ImportError that says how to install it."""
    try:
        return __import__("polars")
    except ImportError as error:
        raise ImportError(f"reading {what} needs Polars: pip install 'fastfit[files]'") from error


# Parquet and queries


def _parquet(path: str, _: TextOptions) -> Table:
    pl = _needed("Parquet")
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return _polars_table(path, lazy, dict(lazy.collect_schema()))


def _polars_table(path: str, lazy: Any, schema: dict[str, Any]) -> Table:
    pl = _needed("Parquet and CSV")

    def count() -> int:
        return int(lazy.select(pl.len()).collect().item())

    return Table(path, list(schema), lambda columns, _: _polars_batches(path, lazy, columns), count)


def _polars_batches(
    path: str,
    lazy: Any,
    columns: list[str],
    words: Sequence[str] = MISSING,
    decimal_comma: bool = False,
) -> Iterator[Arrays]:
    import polars as pl

    # By name, since a plain string may also be a pattern of names.
    wanted = lazy.select(pl.selectors.by_name(*columns))
    row = 0
    for batch in wanted.collect_batches(chunk_size=BATCH, maintain_order=True, engine="streaming"):
        yield tuple(_parsed(path, batch[name], row, words, decimal_comma) for name in columns)
        row += batch.height


def _require_numbers_or_times(path: str, name: str, dtype: Any) -> None:
    import polars as pl

    if not (dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.Boolean, pl.Null)):
        raise FileError(
            f"{path}: column {name!r} holds no numbers but {dtype}; derive a column of numbers with a query of Polars"
        )


# CSV


def _csv(path: str, options: TextOptions) -> Table:
    pl = _needed("CSV")
    source = _utf8(path, options)
    lines = lines_of(source())
    layout = layout_of(path, lines, options)
    if layout.separator == " ":
        source = _single_blanks(source)
    n_fields = len(layout.names)
    scan_options: dict[str, Any] = {
        "has_header": False,
        "skip_lines": layout.n_skipped,
        "separator": layout.separator,
        "decimal_comma": layout.decimal_comma,
        "comment_prefix": layout.comment,
        "encoding": "utf8-lossy",
        "infer_schema_length": _TYPED_BY,
        "try_parse_dates": True,
        "truncate_ragged_lines": True,  # rows are checked here
        "raise_if_empty": False,
        "glob": False,
    }
    seen = dict(pl.scan_csv(source(), **scan_options).collect_schema())
    is_packed = isinstance(source(), str) and (is_url(path) or path.lower().endswith(_PACKED))
    if not is_packed:
        _require_whole_last_line(path, source(), layout)
    words = (*MISSING, *options.null_values)

    def read(columns: list[str], as_text: bool) -> Iterator[Arrays]:
        if not seen:
            return
        check = None if is_packed or n_fields < 2 else _check_of_rows(path, source(), layout)
        fields = dict(zip(layout.names, seen, strict=False))
        # The types that the first rows show; where these hold nothing, numbers are the best guess.
        types = {fields[name]: seen[fields[name]] for name in columns}
        types = {field: pl.Float64 if kind == pl.Null else kind for field, kind in types.items()}
        if as_text:
            types = dict.fromkeys(types, pl.String)
        lazy = pl.scan_csv(source(), schema_overrides=types, **scan_options).select(
            pl.col(fields[name]).alias(name) for name in columns
        )
        try:
            yield from _polars_batches(path, lazy, columns, words, layout.decimal_comma)
        except (FileError, pl.exceptions.ComputeError) as error:
            if check is not None:
                check.result()  # a row of another length explains any other error
            if as_text or isinstance(error, FileError):
                raise
            raise NotAsTyped from error
        if check is not None:
            check.result()

    return Table(path, list(layout.names), read, functools.partial(_count_lines, path))


def _utf8(path: str, options: TextOptions) -> Callable[[], Any]:
    """Return a function that returns a text file as Polars reads it: its path, or its bytes in UTF-8."""
    if is_url(path) or path.lower().endswith(_PACKED):
        return lambda: path
    with open(path, "rb") as file:
        head = file.read(_TAIL)
    marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = options.encoding or marks.get(head[:2], "utf-8")
    has_line_feeds = b"\n" in head or b"\r" not in head
    try:
        if codecs.lookup(encoding).name == "utf-8" and has_line_feeds:
            return lambda: path
        text = Path(path).read_bytes().decode(encoding)
    except (LookupError, UnicodeError) as error:
        raise FileError(f"{path} is not text in the encoding {encoding!r}; pass another") from error
    data = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    return lambda: io.BytesIO(data)


def _single_blanks(source: Callable[[], Any]) -> Callable[[], Any]:
    """Return the same text with one blank between fields, in memory."""
    data = _bytes(source())
    data = b"\n".join(b" ".join(line.split()) for line in data.splitlines()) + b"\n"
    return lambda: io.BytesIO(data)


def _bytes(source: Any) -> bytes:
    return Path(source).read_bytes() if isinstance(source, str) else source.getvalue()


def _require_regular_rows(path: str, source: Any, layout: Layout) -> None:
    """Raise FileError about the first row with more or fewer fields than the header has."""
    from fastfit.kernels.fields import FieldCounter

    counter = FieldCounter(layout.separator, len(layout.names), layout.comment)
    with open(source, "rb") if isinstance(source, str) else source as file:
        for _ in range(layout.n_skipped):
            file.readline()
        n_read = file.tell()
        while data := file.read(_READ_TEXT):
            found = counter.first_irregular(data)
            if found is not None:
                file.seek(0)
                line = file.read(n_read + found[0]).count(b"\n")
                raise FileError(
                    f"{path}: line {line:,} has {found[1]:,} fields, and the header {len(layout.names):,}: "
                    "correct it, or pass comment or skip_rows if it is no row"
                )
            n_read += len(data)


def _check_of_rows(path: str, source: Any, layout: Layout) -> Future[None]:
    """Look for irregular rows in a thread of its own, while the file is parsed."""
    pool = ThreadPoolExecutor(1)
    try:
        if source is not path:
            return pool.submit(_require_regular_rows, path, source, layout)
        now = os.stat(path)
        return pool.submit(_require_regular_file, path, now.st_size, now.st_mtime_ns, layout)
    finally:
        pool.shutdown(wait=False)


@functools.lru_cache(maxsize=4096)
def _require_regular_file(path: str, size: int, changed: int, layout: Layout) -> None:
    """Do the same for a file, once as long as it does not change."""
    _require_regular_rows(path, path, layout)


def _parsed(path: str, column: Any, first: int, words: Sequence[str], decimal_comma: bool) -> Any:
    """Return a column of numbers or times, text parsed (spaces may surround numbers); or raise about a wrong cell."""
    import polars as pl

    if column.dtype != pl.String:
        _require_numbers_or_times(path, column.name, column.dtype)
        return column
    text = column.str.strip_chars()
    plain = text.str.replace(",", ".", literal=True) if decimal_comma else text
    numbers = _as_numbers(plain)
    if numbers.null_count() == column.null_count():
        return numbers
    missing = text.is_in(["", *words])
    plain = plain.set(missing, None)
    numbers = _as_numbers(plain)
    if numbers.null_count() > plain.null_count():
        with contextlib.suppress(pl.exceptions.ComputeError):  # no format of times fits
            times = plain.str.to_datetime(time_unit="us", strict=False)
            if times.null_count() == plain.null_count():
                return times
        wrong = (numbers.is_null() & plain.is_not_null()).arg_max()
        raise FileError(
            f"{path}: column {column.name!r} holds text: {column[wrong]!r} in data row {first + wrong + 1:,}; "
            + _advice(text[wrong], decimal_comma)
        )
    return numbers


def _as_numbers(text: Any) -> Any:
    """Return numbers, whole ones as integers, which keep their digits; what is no number is null."""
    import polars as pl

    whole = text.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)


def _advice(cell: str, decimal_comma: bool) -> str:
    """Return what helps to read a cell that is no number."""
    if is_number(cell, not decimal_comma):
        return f"pass decimal_comma={not decimal_comma}"
    if any(sign.isdigit() for sign in cell):
        return "numbers must have no units, currency or separators of thousands"
    return f"pass null_values=[{cell!r}] if it stands for a missing value"


def _require_whole_last_line(path: str, source: Any, layout: Layout) -> None:
    """Raise FileError if the last line has fewer fields than the header and no line end: the file is cut off."""
    with open(source, "rb") if isinstance(source, str) else source as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read()
    last = tail[tail.rfind(b"\n") + 1 :].decode(errors="replace")
    if not last or b"\n" not in tail or '"' in last:
        return
    n_fields, n_columns = (
        len(next(csv.reader([last], delimiter=layout.separator))),
        len(layout.names),
    )
    if n_fields < n_columns:
        raise FileError(
            f"{path} is cut off: its last line has {n_fields} of {n_columns} fields, and no end"
        )


def _count_lines(path: str) -> int:
    """Return about how many lines there are, judged by the length of the first ones; 0 for a URL."""
    if is_url(path):
        return 0
    if path.lower().endswith(".gz"):
        import gzip

        with open(path, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            head = file.read(_TAIL)
            # The size of the whole, if it is packed as its start is.
            size = os.path.getsize(path) * len(head) / max(packed.tell(), 1)
            return int(head.count(b"\n") * size / max(len(head), 1))
    with open(path, "rb") as plain:
        head = plain.read(_TAIL)
    return int(head.count(b"\n") * os.path.getsize(path) / max(len(head), 1))


# Arrow and Feather


def _arrow(path: str, _: TextOptions) -> Table:
    pl = _needed("Arrow and Feather")
    # Polars reads what a URL names, and would map what a path names into memory.
    lazy = pl.scan_ipc(path if is_url(path) else Path(path).absolute().as_uri(), glob=False)
    return _polars_table(path, lazy, dict(lazy.collect_schema()))


# NumPy


def _npy(path: str, _: TextOptions) -> Table:
    if is_url(path):
        raise FileError(f"{path} is a URL, which NumPy does not read; copy the file")
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        # NumPy advises to unpickle what it does not know, which would run code from the file.
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
    names = list(dtype.names or map(str, range(shape[1])))
    # A table in Fortran's order holds one column after the other, any other one row after the other.
    in_columns = dtype.names is None and not table.flags.c_contiguous
    del table  # and the map with it
    row = dtype if dtype.names or in_columns else np.dtype([(name, dtype) for name in names])

    def read(columns: list[str], _: bool) -> Iterator[Arrays]:
        kinds = [dtype if dtype.names is None else dtype[name] for name in columns]
        for name, kind in zip(columns, kinds, strict=True):
            if kind.kind not in "biufmM":
                raise FileError(f"{path}: column {name!r} holds no numbers but {kind}")
        step = max(1, _READ // row.itemsize)
        with open(path, "rb") as file:
            for start in range(0, shape[0], BATCH):
                n = min(BATCH, shape[0] - start)
                found = tuple(np.empty(n, kind) for kind in kinds)
                if in_columns:
                    for column, name in zip(found, columns, strict=True):
                        place = names.index(name) * shape[0] + start
                        column[:] = _items(file, dtype, offset, place, n)
                else:
                    for k in range(0, n, step):
                        rows = _items(file, row, offset, start + k, min(step, n - k))
                        for column, name in zip(found, columns, strict=True):
                            column[k : k + step] = rows[name]
                yield found

    return Table(path, names, read, lambda: int(shape[0]))


def _items(file: Any, dtype: Any, offset: int, first: int, count: int) -> NDArray[Any]:
    """Return some items of the array that starts at an offset of a file."""
    file.seek(offset + first * dtype.itemsize)
    items = np.fromfile(file, dtype, count)
    if items.size < count:
        raise OSError("it ends before its header says")
    return items


FORMATS: dict[str, Callable[[str, TextOptions], Table]] = {
    ".parquet": _parquet,
    **{
        text + packed: _csv
        for text in (".csv", ".tsv", ".txt", ".dat")
        for packed in ("", *_PACKED)
    },
    ".arrow": _arrow,
    ".feather": _arrow,
    ".npy": _npy,
}
