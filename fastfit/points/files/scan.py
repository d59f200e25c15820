"""Points in files: one file, several, or a folder of them, which may be larger than memory."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fastfit.points.base import Plan, Points, Reading, Source
from fastfit.points.files.checkpoint import Checkpoint
from fastfit.points.files.formats import has_types, open_table
from fastfit.points.files.lazy import query
from fastfit.points.files.options import FileOptions
from fastfit.points.files.paths import File, Paths, files_of
from fastfit.points.files.progress import display
from fastfit.points.files.streams import StreamedPoints
from fastfit.points.files.table import FileError, Table, is_url, resolve_columns


def scan(
    paths: Paths | Any,
    x: str | None = None,
    y: str | None = None,
    sample_weight: str | None = None,
    *,
    sigma: str | None = None,
    by: str | Sequence[str] | None = None,
    separator: str | None = None,
    decimal_comma: bool | None = None,
    comment: str | None = None,
    skip_rows: int | None = None,
    null_values: Sequence[str] = (),
    encoding: str | None = None,
    sheet_name: str | None = None,
    format: str | None = None,
) -> FilePoints:
    """Return columns of files as points to fit a line to, however many there are.

    ``fit_line(scan(...))`` reads the named columns in batches, so files may be larger than memory. Points that take up
    to 64 MB are kept in memory and fitted as arrays. Larger files are read once for least squares, 5 to 10 times as a
    rule for a robust loss (the log of ``fastfit`` says so at level INFO), and once per step for a descent with
    ``passes="samples"``.

    Parameters
    ----------
    paths : str, path, sequence of these, or polars.LazyFrame
        Files whose names end in ``.parquet``, ``.csv``, ``.tsv``, ``.txt``, ``.dat`` (also with ``.gz`` or ``.zst``
        after that), ``.arrow``, ``.feather``, ``.npy`` or ``.xlsx``; a pattern such as ``"2013-*.parquet"``; or a
        folder, with all such files in it and below. A folder named as in ``year=2013`` is a column too. ``"-"`` is
        standard input; it and pipes are copied to a temporary file, and their first bytes say of which format they
        are. Parquet, CSV and Arrow may also be URLs that Polars reads (``s3://``, ``gs://``, ``https://`` ...), with
        credentials from the environment, if the server sends parts of files. Files are read in the order given, files
        of a pattern or folder in the order of their names. A query of Polars derives columns or filters rows.
    x, y : str, optional
        Names of the columns; in a ``.npy`` table without names, their numbers from 0. They may be left out
        if the first file has just two columns.
    sample_weight, sigma : str, optional
        Names of columns of weights and of standard deviations of y, as in :func:`fit_line`.
    by : str or list of str, optional
        Names of columns of keys, for :func:`fit_groups`; of numbers, text, times or categories. In text files and names
        of folders they are text, and integers if all of a column are.
    separator : str, optional
        What separates the fields of a text file, one character; by default, a comma, semicolon, tab, vertical bar or
        blanks, as its first lines show. The log of ``fastfit`` names what is not a comma, at level INFO.
    decimal_comma : bool, optional
        Whether numbers of a text file have a comma for a decimal point; by default, as its first lines show.
    comment : str, optional
        Prefix of comment lines, "" for none; by default "#", if one of the first 200 lines starts with it, and an error
        names a line that could be either.
    skip_rows : int, optional
        Number of lines above the header; by default, those that have other numbers of fields (none in a workbook).
    null_values : sequence of str
        More words for a missing value; the notes list the known ones.
    encoding : str, optional
        Encoding of a text file, such as ``"latin-1"``; UTF-8 by default, or UTF-16 if it has a mark.
    sheet_name : str, optional
        Sheet of a workbook; the first one by default.
    format : str, optional
        Format of the files, such as ``"csv"`` or ``"parquet"``; by default, what their names end in.

    Returns
    -------
    FilePoints
        To be passed to ``fit_line`` or ``objective``.

    Raises
    ------
    FileError
        A ValueError: if a file is missing, empty, damaged or of an unknown format, or has no such column; in a fit also
        if a column does not hold numbers, or a file changes while it is read. The message names file and place.
    ImportError
        If a library is missing: PyArrow reads Parquet and Arrow, and Polars text (``pip install 'fastfit[files]'``);
        workbooks need ``fastfit[excel]``.

    Notes
    -----
    Missing values are NaN, which ``nan_policy`` deals with. In text files these are empty fields, words such as nan,
    NA, <NA>, null and None, a point or hyphen alone, and errors of spreadsheets such as #DIV/0!. Text files need a line
    of names, which may be a comment if x and y are given. Blank lines and a row of units below the names are left out.
    If each row has one field more than the header, the first is taken for the name of the row, as R and pandas do. A
    row of any other length is an error that names its line (but for URLs). Columns of x may hold dates and times as ISO
    8601 writes them, with or without a zone.

    Examples
    --------
    >>> import polars as pl
    >>> import fastfit as ff
    >>> table = pl.LazyFrame({"t": [0, 60, 120], "v": [1.0, 2.0, 3.0]})
    >>> ff.fit_line(ff.scan(table.select("v", hours=pl.col("t") / 3600), x="hours", y="v"))
    LineFit: y = 60 x + 1, loss 0, 3 points, exact
    """
    columns = {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma}
    for name, column in columns.items():
        if column is not None and not isinstance(column, str):
            raise TypeError(
                f"{name} must be the name of a column, as a string (of a .npy table without names its number, "
                f"such as '0'); got {column!r}"
            )
    if by is not None and not isinstance(by, (str, list, tuple)):
        raise TypeError(f"by must be the name of a column, or a list of names; got {by!r}")
    keys = [by] if isinstance(by, str) else list(by or ())
    if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise TypeError(
            f"by must be the name of a column, or a list of different names; got {by!r}"
        )
    if isinstance(null_values, str):
        raise TypeError(f"null_values must be a list of words; got {null_values!r}")
    options = FileOptions(
        *(separator, decimal_comma, comment, skip_rows, tuple(null_values), encoding),
        sheet_name=sheet_name,
        format=format,
        keys=tuple(keys),
    )
    if _is_query(paths):
        wrong = sorted(options.given() | ({"format"} if format else set()))
        if wrong:
            raise ValueError(f"{' and '.join(wrong)} must be left out for a query of Polars")
        return FilePoints([], paths, columns, options)
    return FilePoints(files_of(paths, format), None, columns, options)


class FilePoints(Source):
    """Columns of files as points; :func:`scan` makes them.

    Attributes
    ----------
    paths : list of str
        The files, in the order in which they are read; none for a query.
    columns : dict of str to str
        The names of the columns that are read, by what they are used as.
    keys : tuple of str
        The names of the columns of keys.
    text_keys : set of str
        Keys without a type, which are read as text: columns of text files, and names of folders.
    """

    refusal, instead = "comes from scan", ", where {name}='column' names it"

    def __init__(
        self,
        files: list[File],
        lazy: Any,
        columns: Mapping[str, str | None],
        options: FileOptions,
    ) -> None:
        self._files, self._lazy = files, lazy
        self._last: tuple[int, Table] | None = None
        asked = {name: column for name, column in columns.items() if name in "xy" or column}
        wanted = *filter(None, asked.values()), *options.keys
        self._options = replace(options, wanted=wanted)
        others = [column for name, column in asked.items() if name not in "xy" and column]
        self.keys = options.keys
        first = self.table(0)
        found = resolve_columns(first, asked["x"], asked["y"], [*others, *self.keys])
        are_text = bool(files) and not any(has_types(file.path, options) for file in files)
        self.text_keys = {key for key in self.keys if are_text or key in first.folder_names}
        self.columns: dict[str, str] = dict(zip(asked, found, strict=False))
        both = sorted(set(self.columns.values()) & set(self.keys))
        if both:
            raise ValueError(f"by must name other columns than x, y and weights; got {both[0]!r}")
        self.names = self.columns["x"], self.columns["y"]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": None}

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}={column!r}" for name, column in self.columns.items())
        columns += f", by={list(self.keys)}" if self.keys else ""
        return f"FilePoints({self._where()}, {columns})"

    def _where(self) -> str:
        if not self._files:
            return "a query"
        more = f" and {len(self._files) - 1:,} more" if len(self._files) > 1 else ""
        return f"{self._files[0].path}{more}"

    @property
    def has_sigma(self) -> bool:
        """Whether a column of standard deviations was named."""
        return "sigma" in self.columns

    @property
    def paths(self) -> list[str]:
        """The files, in the order in which they are read."""
        return [file.path for file in self._files]

    @property
    def n_tables(self) -> int:
        """Number of files, or 1 for a query."""
        return len(self._files) or 1

    @property
    def n_bytes(self) -> list[int]:
        """Sizes of the files."""
        return [file.size for file in self._files] or [0]

    def table(self, number: int) -> Table:
        """Return one of the files, opened; it must be what it was when it was first seen."""
        if not self._files:
            return query(self._lazy, self.keys)
        file = self._files[number]
        file.require_unchanged()
        last = self._last
        if last is None or last[0] != number:
            opened = open_table(file.path, keys=file.keys, options=self._options)
            self._last = last = number, opened
        return last[1]

    def require_unchanged(self, number: int) -> None:
        """Raise FileError if one of the files has changed."""
        if self._files:
            self._files[number].require_unchanged()

    @contextmanager
    def opened(self, reading: Reading, plan: Plan) -> Iterator[Points]:
        """Yield the points: in memory if they are few, else to be read at every pass, with progress shown."""
        with self._checkpoint(reading, plan) as checkpoint, display(plan.progress) as shown:
            if shown is not None:
                resumed = checkpoint.path.name if checkpoint and checkpoint.has_begun else None
                shown.expect(plan.n_passes, resumed)
            watch = None if shown is None else shown.watch
            streamed = StreamedPoints(self, reading, checkpoint, watch)
            points = None if plan.in_parts else streamed.in_memory()
            if points is None:
                plan.announce()
            try:
                yield points or streamed
            except ValueError as error:
                if type(error) is not ValueError or any(path in str(error) for path in self.paths):
                    raise
                raise FileError(f"{self._where()}: {error}") from error
            finally:
                streamed.end_checkpoint()
                self._last = None  # which may hold all of a text

    @contextmanager
    def _checkpoint(self, reading: Reading, plan: Plan) -> Iterator[Checkpoint | None]:
        """Yield the checkpoint that is asked for, and write what it keeps however the fit ends."""
        if plan.checkpoint is None:
            yield None
            return
        if not self._files:
            raise ValueError("checkpoint must be None for a query, whose files are not known")
        own = {"nan_policy": reading.nan_policy, "backend": reading.backend}
        checkpoint = Checkpoint(
            plan.checkpoint, {**self._identity(), **own, **plan.identity}, self.n_tables
        )
        try:
            yield checkpoint
        except KeyboardInterrupt as interrupt:
            if checkpoint.has_begun:
                note = f"the same call goes on from {checkpoint.path}"
            else:
                note = f"the first file was not read to its end, so nothing is in {checkpoint.path} yet"
            interrupt.add_note(note)
            raise
        finally:
            checkpoint.close()

    def _identity(self) -> dict[str, str]:
        """Return what identifies these files and columns, by the names that errors use."""
        digest = hashlib.sha256()
        for file in self._files:
            where = file.path if is_url(file.path) else os.path.abspath(file.path)
            digest.update(repr((where, file.size, file.changed)).encode())
        total = sum(self.n_bytes)
        columns = ", ".join(f"{name}={column!r}" for name, column in self.columns.items())
        count = "1 file" if len(self._files) == 1 else f"{len(self._files):,} files"
        return {
            "data": f"{count} of {total:,} bytes (names, sizes, times of change: {digest.hexdigest()[:12]})",
            "columns": columns,
            "layout of text": repr(self._options),
        }


def _is_query(paths: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(paths, polars.LazyFrame)
