"""Workbooks (``.xlsx``) by Polars; a sheet is read whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastfit.containers import Values
from fastfit.points.files.cells import keys_of, parsed
from fastfit.points.files.lazy import batches_of
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import Batch, FileError, Table, is_url, library, polars

# Rows among which the header is looked for.
_TOP = 100


def workbook(path: str, options: FileOptions) -> Table:
    """Open a sheet of a workbook, the first one by default."""
    if is_url(path):
        raise FileError(f"{path} is a URL; download it")
    pl = polars("a workbook", "excel")
    fastexcel = library("fastexcel", "a workbook", "excel")
    with open(path, "rb") as file:
        data = file.read()
    sheets = fastexcel.read_excel(data).sheet_names
    if options.sheet_name not in (None, *sheets):
        there = ", ".join(map(repr, sheets))
        raise FileError(f"{path} has no sheet {options.sheet_name!r}; it has {there}")
    sheet = options.sheet_name or sheets[0]
    skipped = options.skip_rows or 0

    def rows(has_header: bool, **more: Any) -> Any:
        return pl.read_excel(
            data,
            sheet_name=sheet,
            has_header=has_header,
            read_options={"header_row" if has_header else "skip_rows": skipped, **more},
            infer_schema_length=None,
            raise_if_empty=False,
        )

    frame = rows(True)
    # Polars renames columns of one name. Empty rows may stand above the header.
    top = (row for row in rows(False, n_rows=_TOP, dtypes="string").rows() if any(row))
    own, names = [str(cell) for cell in next(top, ())], list(frame.columns)
    if len(own) == len(names):
        names = [
            name if own.count(name) > 1 else unique for name, unique in zip(own, names, strict=True)
        ]

    def converted(cells: Any, row: int) -> Values:
        if cells.name in options.keys:
            return keys_of(cells, options.null_values)
        return parsed(path, cells, row, options.null_values, helpful=("null_values",))

    def read(columns: list[str], _: bool) -> Iterator[Batch]:
        return batches_of(frame.lazy(), columns, converted)

    return Table(path, names, read, lambda: int(frame.height))
