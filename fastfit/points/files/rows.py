"""Checks of the rows of a text file, which parsers leave out: their lengths, quotes, comments and blank lines."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.points.files.cells import is_number
from fastfit.points.files.layout import Layout, fields_of
from fastfit.points.files.packed import opened
from fastfit.points.files.table import FileError

# Bytes that are looked through at a time: they stay in cache.
_CHUNK = 1 << 18
# Bytes in which the last line is looked for.
_TAIL = 1 << 16
# Results of checks, by the files they are about; largest number of them.
_MOST_KNOWN = 4096
_known: dict[tuple[Any, ...], Found] = {}


class Found(NamedTuple):
    """What a text file holds: any point (as in 1.5), and the places of blank lines among the rows."""

    has_points: bool
    blanks: NDArray[np.int64]


@contextlib.contextmanager
def checked(
    path: str, source: Callable[[], Any], layout: Layout
) -> Generator[Callable[[], Found], None, None]:
    """Look through the rows of a file in a thread of its own, while the caller parses it.

    Yields a function that waits for the result; it raises FileError about the first row that has another number of
    fields than the header, a quotation mark inside a field, or is a row that would be taken for a comment. Leaving the
    context ends the thread.
    """
    key = None
    if source() is path:
        now = os.stat(path)
        key = (
            os.path.abspath(path),
            now.st_ino,
            now.st_size,
            now.st_mtime_ns,
            now.st_ctime_ns,
            layout,
        )
        known = _known.get(key)
        if known is not None:
            yield lambda: known
            return
    stopped: list[bool] = []
    pool = ThreadPoolExecutor(1, "fastfit-rows")
    future: Future[Found] = pool.submit(_look, path, source, layout, stopped)
    try:
        yield future.result
        if key is not None:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[key] = future.result()
    finally:
        stopped.append(True)
        pool.shutdown(wait=False)


def _look(path: str, source: Callable[[], Any], layout: Layout, stopped: list[bool]) -> Found:
    found = _counted(path, source, layout, stopped, None)
    return (
        _counted(path, source, layout, stopped, len(found.blanks)) if found.blanks.size else found
    )


def _counted(
    path: str,
    source: Callable[[], Any],
    layout: Layout,
    stopped: list[bool],
    n_blank: int | None,
) -> Found:
    """Look through all rows; for the places of blank lines, whose number must be known, once more."""
    from fastfit.kernels.fields import FieldCounter

    counter = FieldCounter(layout.separator, len(layout.names), layout.comment, n_blank)
    with opened(source) as file:
        n_read = sum(len(file.readline()) for _ in range(layout.n_skipped))
        has_points, last = False, b"\n"
        while not stopped and (data := file.read(_CHUNK)):
            if layout.may_hide_rows:  # whole lines
                data += b"" if data.endswith(b"\n") else file.readline()
                _require_comments(path, source, layout, data, n_read)
            has_points = has_points or b"." in data
            _require_regular(path, source, layout, counter.first_irregular(data), n_read)
            n_read, last = n_read + len(data), data[-1:]
        if last != b"\n" and not stopped:
            _require_regular(path, source, layout, counter.first_irregular(b"\n"), n_read)
    return Found(has_points, np.zeros(counter.n_blank, int) if n_blank is None else counter.blanks)


def _require_regular(
    path: str, source: Callable[[], Any], layout: Layout, found: tuple[int, int] | None, before: int
) -> None:
    """Raise FileError if a row is irregular: ``found`` is its end and number of fields, ``before`` the bytes before."""
    if found is None:
        return
    line = _line(source, before + found[0])
    if not found[1]:
        raise FileError(
            f"{path}: line {line:,} has a quotation mark inside a field; remove it, or double it inside quotes"
        )
    raise FileError(
        f"{path}: line {line:,} has {found[1]:,} fields, and the header {len(layout.names):,}: "
        "correct it, or pass comment or skip_rows if it is no row"
    )


def _require_comments(
    path: str, source: Callable[[], Any], layout: Layout, lines: bytes, before: int
) -> None:
    """Raise FileError about the first comment that looks like a row; ``before`` is the number of bytes before lines."""
    if not (lines.startswith(b"#") or b"\n#" in lines):
        return
    for found in re.finditer(rb"^#.*", lines, re.MULTILINE):
        fields = fields_of([found[0].decode(errors="replace")], layout.separator)[0]
        numbers = (is_number(field, layout.decimal_comma) for field in fields[1:])
        if len(fields) == len(layout.names) and any(numbers):
            line = _line(source, before + found.end())
            raise FileError(
                f"{path}: line {line:,} starts with '#', but has fields as a row: pass comment='' if it is one, or "
                "comment='#' if it is a comment"
            )


def _line(source: Callable[[], Any], n_bytes: int) -> int:
    """Return the number of the line in which the first bytes of a text end."""
    with opened(source) as file:
        text = file.read(n_bytes)
    return int(text.count(b"\n")) + (not text.endswith(b"\n"))


def require_whole_last_line(path: str, source: Callable[[], Any], layout: Layout) -> None:
    """Raise FileError if the last line has no line end, and too few fields or a quote that is not closed."""
    with opened(source) as file:
        if not file.seekable() or isinstance(file, gzip.GzipFile):
            return
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read()
    last = tail[tail.rfind(b"\n") + 1 :].decode(errors="replace")
    is_comment = bool(layout.comment) and last.startswith(layout.comment or "")
    if not last.strip() or is_comment or b"\n" not in tail:
        return
    if last.count('"') % 2:  # which makes Polars panic
        raise FileError(f"{path} is cut off: its last line ends within quotes")
    n_fields = len(fields_of([last], layout.separator)[0])
    if n_fields < len(layout.names):
        raise FileError(
            f"{path} is cut off: its last line has {n_fields} of {len(layout.names)} fields, and no end"
        )
