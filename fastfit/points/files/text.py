"""Text: CSV, TSV and the like, packed or not, by Polars; its rows are checked at the same time."""

from __future__ import annotations

import codecs
import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.containers import Values
from fastfit.points.files.cells import keys_of, parsed
from fastfit.points.files.layout import layout_of
from fastfit.points.files.lazy import batches_of
from fastfit.points.files.options import FileOptions
from fastfit.points.files.packed import opened, unpacked
from fastfit.points.files.rows import Found, checked, require_whole_last_line
from fastfit.points.files.table import Batch, FileError, NotAsTyped, Table, is_url, polars
from fastfit.times import is_time

# Rows from which the types of columns are inferred.
_TYPED_BY = 1000
# Lines that show the layout.
_LINES = 200
# Bytes in which they are looked for.
_SHOWN = 1 << 20
# Bytes that show the encoding, and from which rows are counted.
_HEAD = 1 << 16


def text(path: str, options: FileOptions) -> Table:
    """Open a text file; its first lines supply the options of its layout that are left out."""
    pl = polars("text")
    source = _utf8(path, options)
    layout = layout_of(path, _first_lines(path, source), options)
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
        require_whole_last_line(path, source, layout)

    def read(columns: list[str], as_text: bool) -> Iterator[Batch]:
        if len(seen) < len(layout.names):
            if seen:
                raise FileError(f"{path} has columns but no rows: its first lines are blank")
            return
        fields = dict(zip(layout.names, seen, strict=False))
        # The types that the first rows show; where these hold nothing, numbers are the best guess.
        types = {fields[name]: seen[fields[name]] for name in columns}
        guess = {pl.Null: pl.Float64, pl.Int128: pl.String}  # text keeps the digits of integers
        types = {field: guess.get(kind, kind) for field, kind in types.items()}
        gaps: list[bool] = []  # whether columns of a batch have any

        def converted(cells: Any, row: int) -> Values:
            if cells.name in options.keys:
                keys: Any = keys_of(cells, options.null_values).array
                gaps.append(keys.null_count() > 0)
                return Values(keys)
            helpful = ("decimal_comma", "null_values")
            found = parsed(path, cells, row, options.null_values, layout.decimal_comma, helpful)
            # A text of blanks alone is missing once it is parsed.
            gaps.append(_has_gaps(found) if cells.dtype == pl.String else cells.null_count() > 0)
            return found

        if as_text:
            types = dict.fromkeys(types, pl.String)
        # As text in all files, be it that they look like numbers in some.
        types |= {fields[name]: pl.String for name in columns if name in options.keys}
        lazy = pl.scan_csv(source(), schema_overrides=types, **scan_options).select(
            pl.col(fields[name]).alias(name) for name in columns
        )
        is_checked = len(layout.names) > 1 and not is_url(path)
        with checked(path, source, layout) if is_checked else nullcontext(_unchecked) as check:
            row = 0
            try:
                for batch in batches_of(lazy, columns, converted):
                    # A blank line has no value in any column.
                    yield _without(batch, check().blanks - row) if all(gaps) else batch
                    gaps.clear()
                    row += batch[0].array.size
            except (FileError, pl.exceptions.ComputeError) as error:
                check()  # a row of another length explains any other error
                if as_text or isinstance(error, FileError):
                    raise
                raise NotAsTyped from error
            if not as_text and layout.decimal_comma and check().has_points:
                # Polars takes it for a decimal point; it may separate thousands, or be part of a text.
                raise NotAsTyped
            check()

    count = functools.partial(_count_lines, path)
    return Table(path, list(layout.names), read, count, may_lack_header=True, above=layout.above)


def _unchecked() -> Found:
    """Return what may be in a text that is not checked."""
    return Found(has_points=True, blanks=np.empty(0, int))


def _has_gaps(values: Values) -> bool:
    """Whether any value of a column is missing."""
    array, missing = values.array, values.missing
    is_missing = np.isnat(array) if is_time(array) else np.isnan(array)
    return bool(is_missing.any() or (missing is not None and missing.any()))


def _without(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    """Return a batch without some rows, counted from its first; rows of other batches may be among them."""
    kept = np.ones(batch[0].array.size, bool)
    kept[rows[(rows >= 0) & (rows < kept.size)]] = False
    if kept.all():
        return batch
    return tuple(
        values._replace(
            array=values.array[kept]
            if isinstance(values.array, np.ndarray)
            else values.array.filter(kept),
            missing=None if values.missing is None else values.missing[kept],
        )
        for values in batch
    )


def _utf8(path: str, options: FileOptions) -> Callable[[], Any]:
    """Return a function that returns a text file as Polars reads it: its path, or its bytes in UTF-8."""
    if is_url(path):
        return lambda: path
    with opened(lambda: path) as file:
        head = file.read(_HEAD)
    marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = options.encoding or marks.get(head[:2], "utf-8")
    has_line_feeds = b"\n" in head or b"\r" not in head
    try:
        if codecs.lookup(encoding).name == "utf-8" and has_line_feeds:
            return lambda: path
        with opened(lambda: path) as file:
            decoded = file.read().decode(encoding)
    except (LookupError, UnicodeError) as error:
        raise FileError(f"{path} is not text in the encoding {encoding!r}; pass another") from error
    data = decoded.replace("\r\n", "\n").replace("\r", "\n").encode()
    return lambda: io.BytesIO(data)


def _first_lines(path: str, source: Callable[[], Any]) -> list[str]:
    if is_url(path):
        found = polars("text").scan_csv(
            path,
            has_header=False,
            separator="\x1f",
            quote_char=None,
            infer_schema=False,
            n_rows=_LINES,
            encoding="utf8-lossy",
            empty_string_is_null=False,
            truncate_ragged_lines=True,
            glob=False,
        )
        return [line.rstrip("\r") for line in found.collect().to_series().to_list()]
    with opened(source) as file:
        lines = file.read(_SHOWN).split(b"\n")
        rest = file.readline()
    if rest and len(lines) > 1:
        lines.pop()  # which is cut
    elif rest:
        lines[0] += rest
    lines = lines[:_LINES] if lines[-1] else lines[:-1][:_LINES]
    return [line.decode("utf-8-sig", errors="replace").rstrip("\r\n") for line in lines]


def _single_blanks(source: Callable[[], Any]) -> Callable[[], Any]:
    """Return the same text with one blank between fields, in memory."""
    with opened(source) as file:
        lines = file.read().splitlines()
    data = b"\n".join(b" ".join(line.split()) for line in lines) + b"\n"
    return lambda: io.BytesIO(data)


def _count_lines(path: str) -> int:
    """Return about how many lines there are, judged by the first ones; 0 for a URL."""
    if is_url(path):
        return 0
    with open(path, "rb") as file, unpacked(file) as bytes_:
        head = bytes_.read(_HEAD)
        # The size of the whole, if it is packed as its start is.
        size = os.path.getsize(path) * len(head) / max(file.tell(), 1)
    return int(head.count(b"\n") * size / max(len(head), 1))
