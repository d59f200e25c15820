"""Parquet, Arrow and Feather by PyArrow, which refuses damaged files where Polars may end the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastfit.containers import Values
from fastfit.points.files import table
from fastfit.points.files.cells import parsed
from fastfit.points.files.lazy import table_of_query
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import Batch, Table, column, is_url, library

# Batches that are decoded ahead.
_AHEAD = 2


def parquet(path: str, _: FileOptions) -> Table:
    """Open a Parquet file, or a URL by Polars."""
    if is_url(path):
        pl = library("polars", "a URL")
        return table_of_query(path, pl.scan_parquet(path, glob=False, hive_partitioning=False))
    library("pyarrow", "Parquet")
    from pyarrow import dataset

    # Reading ahead into new memory took a fifth longer; reading in pieces would believe the size that a page claims.
    options = dataset.ParquetFragmentScanOptions(
        page_checksum_verification=True, pre_buffer=False, use_buffered_stream=False
    )
    return _of_fragment(path, dataset.ParquetFileFormat(default_fragment_scan_options=options))


def arrow(path: str, _: FileOptions) -> Table:
    """Open an Arrow or Feather file, or a URL by Polars."""
    if is_url(path):
        return table_of_query(path, library("polars", "a URL").scan_ipc(path, glob=False))
    library("pyarrow", "Arrow and Feather")
    from pyarrow import dataset

    return _of_fragment(path, dataset.IpcFileFormat())


def _of_fragment(path: str, kind: Any) -> Table:
    from pyarrow import fs

    fragment = kind.make_fragment(path, filesystem=fs.LocalFileSystem())

    def read(columns: list[str], _: bool) -> Iterator[Batch]:
        scanner = fragment.scanner(
            columns=columns, batch_size=table.BATCH, batch_readahead=_AHEAD, fragment_readahead=1
        )
        row = 0
        for found in _of_even_size(scanner.to_batches(), table.BATCH):
            yield tuple(_converted(path, name, found[name], row) for name in columns)
            row += found.num_rows

    return Table(path, list(fragment.physical_schema.names), read, fragment.count_rows)


def _converted(path: str, name: str, values: Any, row: int) -> Values:
    """Return a column, text parsed."""
    if "string" not in str(values.type):
        return column(path, name, values)
    return parsed(path, library("polars", "text").Series(name, values), row)


def _of_even_size(batches: Iterator[Any], size: int) -> Iterator[Any]:
    """Yield tables of just so many rows, the last one of those that are left, whatever the row groups of the file."""
    import pyarrow as pa

    held: list[Any] = []
    n_held = 0
    for batch in batches:
        batch.validate()
        rest = batch
        while n_held + rest.num_rows >= size:
            # Put together in PyArrow's memory, which is warm from the batches before.
            yield pa.Table.from_batches([*held, rest.slice(0, size - n_held)]).combine_chunks()
            rest = rest.slice(size - n_held)
            held, n_held = [], 0
        if rest.num_rows:
            held.append(rest)
            n_held += rest.num_rows
    if held:
        yield pa.Table.from_batches(held).combine_chunks()
