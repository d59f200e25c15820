"""The formats of files, by the endings of their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from fastfit.points.files.columnar import arrow, parquet
from fastfit.points.files.npy import npy
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import FileError, Table, is_url, readable
from fastfit.points.files.text import text
from fastfit.points.files.workbook import workbook

Opened = Callable[[str, FileOptions], Table]
FORMATS: dict[str, Opened] = {
    ".parquet": parquet,
    **{
        each + packed: text
        for each in (".csv", ".tsv", ".txt", ".dat")
        for packed in ("", ".gz", ".zst")
    },
    ".arrow": arrow,
    ".feather": arrow,
    ".npy": npy,
    ".xlsx": workbook,
}
_FIND = FileOptions()
_OF_TEXT = {"separator", "decimal_comma", "comment", "skip_rows", "null_values", "encoding"}
# The options that a format has, if any.
_OPTIONS: dict[Opened, set[str]] = {
    text: _OF_TEXT,
    workbook: {"sheet_name", "skip_rows", "null_values"},
}


def open_table(
    path: str, *, keys: Sequence[tuple[str, str]] = (), options: FileOptions = _FIND
) -> Table:
    """Open a file or URL; the ending of its name says how.

    Parameters
    ----------
    path : str
        A name that ends in one of ``FORMATS``, if ``options`` do not say which it is.
    keys : sequence of (str, str)
        Names and values of columns that the folders of the file stand for, as in ``year=2013``.
    options : FileOptions
        What the caller says of the file.

    Raises
    ------
    FileError
        If it is missing, empty, damaged or of no known format.
    ValueError
        If the format is unknown, or has no such option.
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
    ending = f".{options.format}" if options.format else ending_of(path)
    opened = FORMATS.get(ending)
    if opened is None:
        known = [each for each in FORMATS if not each.endswith((".gz", ".zst"))]
        if options.format:
            names = ", ".join(each[1:] for each in known)
            raise ValueError(f"format must be one of {names}; got {options.format!r}")
        raise FileError(
            f"{path} is of no known format; its name must end in {', '.join(known)} (text also in .gz or .zst), "
            "or pass format"
        )
    wrong = sorted(options.given() - _OPTIONS.get(opened, set()))
    if wrong:
        raise ValueError(
            f"{' and '.join(wrong)} must be left out: {path} is of a format without it"
        )
    with readable(path):
        return opened(path, options).with_folders(keys, options.keys)


def has_types(path: str, options: FileOptions = _FIND) -> bool:
    """Return whether a file says of which type its columns are, as all but text files do."""
    ending = f".{options.format}" if options.format else ending_of(path)
    return FORMATS.get(ending) is not text


def ending_of(path: str) -> str:
    """Return the longest ending in ``FORMATS`` that a name has; "" for none."""
    return max((each for each in FORMATS if path.lower().endswith(each)), key=len, default="")
