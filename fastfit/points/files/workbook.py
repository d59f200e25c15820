"""Workbooks (``.xlsx``) by Polars; a sheet is read whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastfit.points.files.cells import parsed
from fastfit.points.files.lazy import batches_of
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import Batch, FileError, Table, is_url, library


def workbook(path: str, options: FileOptions) -> Table:
    """Open a sheet of a workbook, the first one by default."""
    if is_url(path):
        raise FileError(f"{path} is a URL; download it")
    pl = library("polars", "a workbook", "excel")
    fastexcel = library("fastexcel", "a workbook", "excel")
    with open(path, "rb") as file:
        data = file.read()
    sheets = fastexcel.read_excel(data).sheet_names
    if options.sheet_name not in (None, *sheets):
        there = ", ".join(map(repr, sheets))
        raise FileError(f"{path} has no sheet {options.sheet_name!r}; it has {there}")
    frame: Any = pl.read_excel(
        data,
        sheet_name=options.sheet_name or sheets[0],
        read_options={"header_row": options.skip_rows} if options.skip_rows else None,
        infer_schema_length=None,
        raise_if_empty=False,
    )

    def read(columns: list[str], _: bool) -> Iterator[Batch]:
        return batches_of(
            frame.lazy(),
            columns,
            lambda cells, row: parsed(
                path, cells, row, options.null_values, helpful=("null_values",)
            ),
        )

    return Table(path, list(frame.columns), read, lambda: int(frame.height))
