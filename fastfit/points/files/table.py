"""Columns of one file, in batches, whatever its format; the errors of all files."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastfit.containers import Values, values_of

# Rows per batch: 8 MB of x and y, which are decoded, added up and forgotten while they are in cache.
BATCH = 1 << 19

# The process that uses Polars; more are children that were forked afterwards.
_polars_used_by: set[int] = set()

# Columns of one batch.
Batch = tuple[Values, ...]


class FileError(ValueError):
    """A file that cannot be read as asked; the message names file and place."""


class NotAsTyped(Exception):  # noqa: N818  # nothing is wrong yet
    """A text file does not parse as its first rows suggest: read it again from its start, as text."""


@dataclass(frozen=True)
class Table:
    """Columns of one file, or of one query.

    Attributes
    ----------
    path : str
        The name that errors use.
    names : list of str
        Names of the columns.
    read : callable
        Yields the named columns, each named once, in batches; ``as_text`` as in ``batches``.
    rows : callable
        Returns about how many rows there are, 0 if that cannot be told without reading them.
    folder_names : tuple of str
        Names of the columns whose values come from folder names.
    may_lack_header : bool
        Whether names are the first row as it is, even if it holds numbers.
    above : str
        The comment above the first row, "" for none.
    """

    path: str
    names: list[str]
    read: Callable[[list[str], bool], Iterable[Batch]]
    rows: Callable[[], int]
    folder_names: tuple[str, ...] = ()
    may_lack_header: bool = False
    above: str = ""

    def batches(self, columns: Sequence[str], *, as_text: bool = False) -> Iterator[Batch]:
        """Yield columns in batches of at most ``BATCH`` rows, whose bounds depend on the file alone.

        Parameters
        ----------
        columns : sequence of str
            Names of the columns; one may be asked for twice.
        as_text : bool
            Whether a text file is read as text and parsed here: slower, but it accepts every spelling of a number,
            and an error names the cell. Other formats ignore it.

        Raises
        ------
        FileError
            If the file cannot be read, or a column does not hold numbers.
        NotAsTyped
            If a text file has to be read again, as text. Discard earlier batches.
        """
        different = list(dict.fromkeys(columns))
        with readable(self.path):
            for batch in self.read(different, as_text):
                found = dict(zip(different, batch, strict=True))
                yield tuple(found[name] for name in columns)

    def count(self) -> int:
        """Return about how many rows there are, 0 if that is not known."""
        with readable(self.path):
            return self.rows()

    def with_folders(self, keys: Sequence[tuple[str, str]], text: Sequence[str] = ()) -> Table:
        """Return the table with the columns that its folders stand for, each of one value; some of text."""
        new = {name: value for name, value in keys if name not in self.names}
        if not new:
            return self

        def value_of(name: str) -> Any:
            return new[name] if name in text else _key(self.path, name, new[name])

        def read(columns: list[str], as_text: bool) -> Iterator[Batch]:
            own = [name for name in columns if name not in new]
            if not own:
                raise FileError(
                    f"{self.path}: x, y or a weight must be a column of files, and not of folders alone; "
                    f"got {' and '.join(map(repr, columns))}"
                )
            for batch in self.read(own, as_text):
                found = dict(zip(own, batch, strict=True))
                n = batch[0].array.size
                yield tuple(
                    found[name] if name in found else Values(np.full(n, value_of(name)))
                    for name in columns
                )

        return replace(self, names=[*self.names, *new], folder_names=tuple(new), read=read)


def _key(path: str, name: str, text: str) -> float:
    if text == "__HIVE_DEFAULT_PARTITION__":
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise FileError(f"{path}: column {name!r} holds text: {text!r}, by its folder") from None


def resolve_columns(
    table: Table, x: str | None, y: str | None, others: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the columns to read; raise FileError, with a list of all, if they are not there."""
    names = table.names
    there = "; it has " + (", ".join(map(repr, names)) if names else "none")
    stripped = {name.strip(): name for name in names}  # "x, y" in a header means "x" and "y"
    asked = (x, y, *others)
    found = [name if name is None or name in names else stripped.get(name) for name in asked]
    for name, is_there in zip(asked, found, strict=True):
        if name is not None and is_there is None:
            _require_header(table)
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if any("\ufffd" in each for each in names):
                hint = "; it is not UTF-8: pass encoding, such as 'latin-1'"
            raise FileError(f"{table.path} has no column {name!r}{there}{hint}")
        if is_there is not None and names.count(is_there) > 1:
            raise FileError(f"{table.path} has several columns {is_there!r}; give them other names")
    known = [name for name in found if name is not None]
    left = [name for name in names if name and name not in (*known, *table.folder_names)]
    missing = len(found) - len(known)
    if missing and (len(left) != missing or len(set(known)) != len(known)):
        count = "two columns" if len(found) == 2 else f"{len(found)} columns"
        hint = "; pass separator if these are several" if len(names) == 1 else ""
        raise FileError(
            f"{table.path} does not have just {count}, so x and y must be named{there}{hint}"
        )
    if missing == 2:
        _require_header(table)
    return tuple(left.pop(0) if name is None else name for name in found)


def _require_header(table: Table) -> None:
    """Raise FileError if the names of columns are numbers."""
    if table.may_lack_header and table.names and all(map(is_float, table.names)):
        above = f", or by names of the comment above it, {table.above!r}" if table.above else ""
        raise FileError(
            f"{table.path} has no header: its first line holds the numbers {', '.join(table.names[:5])}; "
            f"add a line of names, or give x and y if the numbers are names{above}"
        )


def is_float(text: str) -> bool:
    """Return whether Python reads a text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_url(path: str) -> bool:
    """Whether a path is a URL."""
    scheme, _, rest = path.partition("://")
    return bool(rest) and scheme.isalnum()


def library(name: str, what: str, extra: str = "files") -> Any:
    """Return an optional library; raise ImportError that says how to install it."""
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(f"reading {what} needs {name}: pip install 'fastfit[{extra}]'") from error


def polars(what: str, extra: str = "files") -> Any:
    """Return Polars, about to be used; raise FileError where its threads are gone, so that it would wait for ever."""
    found = library("polars", what, extra)
    _polars_used_by.add(os.getpid())
    if len(_polars_used_by) > 1:
        raise FileError(
            f"reading {what} needs a process of its own: this one was forked after Polars had been used; start "
            "processes by multiprocessing.get_context('spawn')"
        )
    return found


def column(path: str, name: str, values: Any) -> Values:
    """Return a column of a file as an array of numbers or times, and which are missing."""
    try:
        return values_of(values, f"column {name!r}")
    except TypeError as error:
        raise FileError(
            f"{path}: {error}; derive a column of numbers with a query of Polars"
        ) from error


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn errors of a library about a file into a ``FileError`` of one line."""
    try:
        yield
    except (FileError, NotAsTyped, ImportError):
        raise
    except Exception as error:
        if type(error) is MemoryError:  # not ArrowMemoryError: a damaged file claims a huge size
            raise
        raise FileError(f"{path} cannot be read: {one_line(error)}") from error
    except BaseException as error:
        # A damaged file may make Polars panic, with an exception that is no Exception.
        if type(error).__name__ == "PanicException":
            raise FileError(f"{path} cannot be read: it is damaged ({one_line(error)})") from error
        raise


def one_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
