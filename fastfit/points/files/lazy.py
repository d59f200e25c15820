"""Queries of Polars, read in batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from fastfit.containers import Values
from fastfit.points.files import table
from fastfit.points.files.ahead import ahead
from fastfit.points.files.cells import parsed
from fastfit.points.files.table import Batch, Table, polars, readable


def query(lazy: Any, keys: tuple[str, ...] = ()) -> Table:
    """Return the table that a query of Polars yields."""
    path = "the query"
    with readable(path):
        return table_of_query(path, lazy, keys)


def table_of_query(path: str, lazy: Any, keys: tuple[str, ...] = ()) -> Table:
    """Return the table of a query, some of whose columns are keys; ``path`` is what errors call it."""
    pl = polars("a query")

    def count() -> int:
        return int(lazy.select(pl.len()).collect().item())

    def converted(cells: Any, row: int) -> Values:
        return Values(cells) if cells.name in keys else parsed(path, cells, row)

    def read(columns: list[str], _: bool) -> Iterator[Batch]:
        return batches_of(lazy, columns, converted)

    return Table(path, list(lazy.collect_schema()), read, count)


def batches_of(
    lazy: Any, columns: Sequence[str], converted: Callable[[Any, int], Values]
) -> Iterator[Batch]:
    """Yield columns of a query in batches.

    Parameters
    ----------
    lazy : polars.LazyFrame
        The query.
    columns : sequence of str
        Names of its columns.
    converted : callable
        Returns the values of a Series, whose first row in all of the query is its second argument.
    """
    pl = polars("a query")
    # By name, since a plain string may also be a pattern of names.
    wanted = lazy.select(pl.selectors.by_name(*columns))
    row = 0
    with contextlib.closing(_frames(wanted, table.BATCH)) as frames:
        for frame in frames:
            yield tuple(converted(frame[name], row) for name in columns)
            row += frame.height


def _frames(lazy: Any, size: int) -> Generator[Any, None, None]:
    """Yield the rows of a query, which a thread computes some batches ahead.

    ``collect_batches`` of Polars does so, too, but if Polars panics, it ends as if there were no more rows.
    """
    return ahead(
        lambda put: lazy.sink_batches(put, chunk_size=size, maintain_order=True, engine="streaming")
    )
