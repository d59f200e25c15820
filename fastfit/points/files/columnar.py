"""Parquet, Arrow and Feather by PyArrow, which refuses damaged files where Polars may end the process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

from fastfit.containers import Values
from fastfit.points.files import table
from fastfit.points.files.ahead import ahead
from fastfit.points.files.cells import parsed
from fastfit.points.files.lazy import table_of_query
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import Batch, FileError, Table, column, is_url, library, polars

# Batches of Parquet that are decoded ahead.
_AHEAD = 2


def parquet(path: str, options: FileOptions) -> Table:
    """Open a Parquet file, or a URL by Polars."""
    if is_url(path):
        pl = polars("a URL")
        lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        return table_of_query(path, lazy, options.keys)
    library("pyarrow", "Parquet")
    from pyarrow import dataset, fs

    # Reading ahead into new memory took a fifth longer; a buffered stream would trust the size that a page claims.
    scanning = dataset.ParquetFragmentScanOptions(
        page_checksum_verification=True, pre_buffer=False, use_buffered_stream=False
    )
    # Times of 96 bits, as Spark writes them, are whole microseconds; as nanoseconds those after 2262 would wrap.
    reading = dataset.ParquetReadOptions(coerce_int96_timestamp_unit="us")
    kind = dataset.ParquetFileFormat(read_options=reading, default_fragment_scan_options=scanning)
    fragment = kind.make_fragment(path, filesystem=fs.LocalFileSystem())

    def batches(columns: list[str]) -> Iterator[Any]:
        return iter(
            fragment.scanner(
                columns=columns,
                batch_size=table.BATCH,
                batch_readahead=_AHEAD,
                fragment_readahead=1,
            ).to_batches()
        )

    return _table(path, fragment.physical_schema, batches, fragment.count_rows, options.keys)


def arrow(path: str, options: FileOptions) -> Table:
    """Open an Arrow or Feather file, or a URL by Polars."""
    if is_url(path):
        return table_of_query(path, polars("a URL").scan_ipc(path, glob=False), options.keys)
    pa = library("pyarrow", "Arrow and Feather")
    from pyarrow import ipc

    # Nothing is mapped into memory: a mapped file that shrinks ends the process.
    with pa.OSFile(path) as file:
        schema = ipc.open_file(file).schema

    def batches(columns: list[str]) -> Iterator[Any]:
        included = sorted(map(schema.names.index, columns))
        reading = ipc.IpcReadOptions(included_fields=included)

        def produce(put: Callable[[Any], bool]) -> None:
            with pa.OSFile(path) as file:
                reader = ipc.open_file(file, options=reading)
                for number in range(reader.num_record_batches):
                    if put(reader.get_batch(number)):
                        return

        return ahead(produce)

    def count() -> int:
        # As if all batches had the length of the first: PyArrow's own count crashes on some damaged files.
        with pa.OSFile(path) as file:
            reader = ipc.open_file(file, options=ipc.IpcReadOptions(included_fields=[0]))
            n_batches = int(reader.num_record_batches)
            return n_batches * int(reader.get_batch(0).num_rows) if n_batches else 0

    return _table(path, schema, batches, count, options.keys)


def _table(
    path: str,
    schema: Any,
    batches: Callable[[list[str]], Iterator[Any]],
    count: Callable[[], int],
    keys: tuple[str, ...],
) -> Table:
    """Return the table of a file whose record batches PyArrow reads."""

    def read(columns: list[str], _: bool) -> Iterator[Batch]:
        for name in columns:
            if name not in keys:
                _require_numbers(path, name, schema.field(name).type)
        row = 0
        with contextlib.closing(_of_even_size(batches(columns), table.BATCH)) as found:
            for each in found:
                yield tuple(
                    Values(each[name]) if name in keys else _converted(path, name, each[name], row)
                    for name in columns
                )
                row += each.num_rows

    return Table(path, list(schema.names), read, count)


def _require_numbers(path: str, name: str, kind: Any) -> None:
    """Raise FileError about a column of lists, structures and the like, before anything of it is read."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        raise FileError(
            f"{path}: column {name!r} must hold real numbers or times; got {kind}; "
            "derive a column of numbers with a query of Polars"
        )


def _converted(path: str, name: str, values: Any, row: int) -> Values:
    """Return a column, text parsed."""
    if "string" not in str(values.type):
        return column(path, name, values)
    if "dictionary" in str(values.type):
        values = values.cast(values.type.value_type)
    return parsed(path, polars("text").Series(name, values), row)


def _of_even_size(batches: Iterator[Any], size: int) -> Generator[Any, None, None]:
    """Yield tables of ``size`` rows (the last may be shorter), whatever the row groups of the file."""
    import pyarrow as pa

    held: list[Any] = []
    n_held = 0
    for batch in batches:
        # Text and categories refer to places in other buffers, which are checked one by one.
        is_plain = all(pa.types.is_primitive(kind) for kind in batch.schema.types)
        batch.validate(full=not is_plain)
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
