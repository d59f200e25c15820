"""Text: CSV, TSV and the like, packed or not, by Polars; rows of other lengths are looked for at the same time."""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import gzip
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fastfit.containers import Values
from fastfit.points.files.cells import parsed
from fastfit.points.files.layout import Layout, layout_of, lines_of
from fastfit.points.files.lazy import batches_of
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import Batch, FileError, NotAsTyped, Table, is_url, library

# Rows from which the types of columns are inferred.
_TYPED_BY = 1000
# Bytes that are looked through at a time for irregular rows: they stay in cache.
_READ_TEXT = 1 << 18
# Bytes in which the last line is looked for, and from which rows are counted.
_TAIL = 1 << 16
# First bytes of packed files.
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def text(path: str, options: FileOptions) -> Table:
    """Open a text file; its first lines supply the options of its layout that are left out."""
    pl = library("polars", "text")
    source = _utf8(path, options)
    layout = layout_of(path, lines_of(source()), options)
    if layout.separator == " ":
        source = _single_blanks(source)
    scan_options: dict[str, Any] = {
        "has_header": False,
        "skip_lines": layout.n_skipped,
        "separator": layout.separator,
        "decimal_comma": layout.decimal_comma,
        "comment_prefix": layout.comment,
        "encoding": "utf8-lossy",
        "infer_schema_length": _TYPED_BY,
        "truncate_ragged_lines": True,  # rows are checked here
        "raise_if_empty": False,
        "glob": False,
        "null_values": list(options.null_values) or None,
    }
    seen = dict(pl.scan_csv(source(), **scan_options).collect_schema())
    if not is_url(path):
        _require_whole_last_line(path, source, layout)

    def converted(cells: Any, row: int) -> Values:
        helpful = ("decimal_comma", "null_values")
        return parsed(path, cells, row, options.null_values, layout.decimal_comma, helpful)

    def read(columns: list[str], as_text: bool) -> Iterator[Batch]:
        if not seen:
            return
        has_check = len(layout.names) > 1 and not is_url(path)
        check = _check_of_rows(path, source, layout) if has_check else None
        if layout.decimal_comma and check is None and not as_text:
            raise NotAsTyped  # Polars would take a separator of thousands for a decimal point
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
            yield from batches_of(lazy, columns, converted)
        except (FileError, pl.exceptions.ComputeError) as error:
            if check is not None:
                check.result()  # a row of another length explains any other error
            if as_text or isinstance(error, FileError):
                raise
            raise NotAsTyped from error
        if check is not None and check.result() and layout.decimal_comma and not as_text:
            raise NotAsTyped  # a point may be a separator of thousands, or part of a text

    count = functools.partial(_count_lines, path)
    return Table(path, list(layout.names), read, count, may_lack_header=True)


def _unpacked(file: Any) -> Any:
    """Return the bytes of a file, unpacked as its first bytes say."""
    head = file.read(4)
    file.seek(0)
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(_ZSTD):
        pa = library("pyarrow", "text that is packed by Zstandard")
        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"))
    return file


@contextlib.contextmanager
def _opened(source: Callable[[], Any]) -> Iterator[Any]:
    """Yield the bytes of a text file, unpacked."""
    found = source()
    with open(found, "rb") if isinstance(found, str) else found as file, _unpacked(file) as bytes_:
        yield bytes_


def _utf8(path: str, options: FileOptions) -> Callable[[], Any]:
    """Return a function that returns a text file as Polars reads it: its path, or its bytes in UTF-8."""
    if is_url(path):
        return lambda: path
    with _opened(lambda: path) as file:
        head = file.read(_TAIL)
    marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = options.encoding or marks.get(head[:2], "utf-8")
    has_line_feeds = b"\n" in head or b"\r" not in head
    try:
        if codecs.lookup(encoding).name == "utf-8" and has_line_feeds:
            return lambda: path
        with _opened(lambda: path) as file:
            decoded = file.read().decode(encoding)
    except (LookupError, UnicodeError) as error:
        raise FileError(f"{path} is not text in the encoding {encoding!r}; pass another") from error
    data = decoded.replace("\r\n", "\n").replace("\r", "\n").encode()
    return lambda: io.BytesIO(data)


def _single_blanks(source: Callable[[], Any]) -> Callable[[], Any]:
    """Return the same text with one blank between fields, in memory."""
    with _opened(source) as file:
        lines = file.read().splitlines()
    data = b"\n".join(b" ".join(line.split()) for line in lines) + b"\n"
    return lambda: io.BytesIO(data)


def _require_regular_rows(path: str, source: Callable[[], Any], layout: Layout) -> bool:
    """Raise FileError about the first row with more or fewer fields than the header has; return if there are points."""
    from fastfit.kernels.fields import FieldCounter

    counter = FieldCounter(layout.separator, len(layout.names), layout.comment)
    with _opened(source) as file:
        n_read = sum(len(file.readline()) for _ in range(layout.n_skipped))
        has_points, data = False, b"\n"
        while data:
            data = file.read(_READ_TEXT)
            has_points = has_points or b"." in data
            found = counter.first_irregular(data or b"\n")  # the last row may lack its line end
            if found is None:
                n_read += len(data)
                continue
            with _opened(source) as again:
                rows = again.read(n_read + found[0])
            line = rows.count(b"\n") + (not rows.endswith(b"\n"))
            if not found[1]:
                raise FileError(
                    f"{path}: line {line:,} has a quotation mark inside a field; remove it, or double it inside quotes"
                )
            raise FileError(
                f"{path}: line {line:,} has {found[1]:,} fields, and the header {len(layout.names):,}: "
                "correct it, or pass comment or skip_rows if it is no row"
            )
    return has_points


def _check_of_rows(path: str, source: Callable[[], Any], layout: Layout) -> Future[bool]:
    """Look for irregular rows in a thread of its own, while the file is parsed."""
    pool = ThreadPoolExecutor(1)
    try:
        if source() is not path:
            return pool.submit(_require_regular_rows, path, source, layout)
        now = os.stat(path)
        return pool.submit(
            _require_regular_file, os.path.abspath(path), path, now.st_size, now.st_mtime_ns, layout
        )
    finally:
        pool.shutdown(wait=False)


@functools.lru_cache(maxsize=4096)
def _require_regular_file(where: str, path: str, size: int, changed: int, layout: Layout) -> bool:
    """Cache that check for an unchanged file on disk."""
    return _require_regular_rows(path, lambda: path, layout)


def _require_whole_last_line(path: str, source: Callable[[], Any], layout: Layout) -> None:
    """Raise FileError if the last line has no line end, and too few fields or a quote that is not closed."""
    with _opened(source) as file:
        if not file.seekable() or isinstance(file, gzip.GzipFile):
            return
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read()
    last = tail[tail.rfind(b"\n") + 1 :].decode(errors="replace")
    is_comment = layout.comment is not None and last.startswith(layout.comment)
    if not last.strip() or is_comment or b"\n" not in tail:
        return
    if last.count('"') % 2:  # which makes Polars panic
        raise FileError(f"{path} is cut off: its last line ends within quotes")
    fields = next(csv.reader([last.replace("\r", "")], delimiter=layout.separator))
    if len(fields) < len(layout.names):
        raise FileError(
            f"{path} is cut off: its last line has {len(fields)} of {len(layout.names)} fields, and no end"
        )


def _count_lines(path: str) -> int:
    """Return about how many lines there are, judged by the first ones; 0 for a URL."""
    if is_url(path):
        return 0
    with open(path, "rb") as file, _unpacked(file) as unpacked:
        head = unpacked.read(_TAIL)
        # The size of the whole, if it is packed as its start is.
        size = os.path.getsize(path) * len(head) / max(file.tell(), 1)
    return int(head.count(b"\n") * size / max(len(head), 1))
