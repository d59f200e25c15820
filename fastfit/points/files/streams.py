"""Points in files too large for memory: every pass reads the files again, batch by batch."""

from __future__ import annotations

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

import numpy as np

from fastfit.containers import Values
from fastfit.cpus import available_cpus
from fastfit.points.base import Points, Reading
from fastfit.points.files.checkpoint import Checkpoint
from fastfit.points.files.table import FileError, NotAsTyped, Table, resolve_columns
from fastfit.points.parts import MomentPass, Part, PartedPoints, Pass
from fastfit.times import is_time, unit_for

# Points that take at most this many bytes are kept in memory, and read from there.
KEPT = 64 << 20
# With more files than this, rows are not counted beforehand.
_MOST_COUNTED = 100

T = TypeVar("T")


class ReadSoFar(NamedTuple):
    """How far reading has come: the pass, its rows and bytes of files, and its share of the pass (NaN: not known).

    ``n_rows`` is about how many rows there are, 0 if that is not known.
    """

    n_pass: int
    rows: int
    n_bytes: float
    share: float
    n_rows: int = 0


Watch = Callable[[ReadSoFar], None]


class Tables(Protocol):
    """The files, or the query, that points come from."""

    columns: dict[str, str]
    keys: tuple[str, ...]

    @property
    def paths(self) -> list[str]:
        """The files, in the order in which they are read; none for a query."""

    @property
    def n_tables(self) -> int:
        """Number of files, or 1 for a query."""

    @property
    def n_bytes(self) -> list[int]:
        """Sizes of the files."""

    def table(self, number: int) -> Table:
        """Return one of the files, opened."""

    def require_unchanged(self, number: int) -> None:
        """Raise FileError if one of the files has changed."""


class StreamedPoints(PartedPoints):
    """Points of files that are read at every pass, batch by batch, in the order of the files.

    Parameters
    ----------
    source : Tables
        The files and columns.
    reading : Reading
        How they are read.
    checkpoint : Checkpoint or None
        Keeps what passes have found.
    watch : callable or None
        Called after every batch with how far reading has come.
    """

    def __init__(
        self,
        source: Tables,
        reading: Reading,
        checkpoint: Checkpoint | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._given_threads = reading.n_threads
        if reading.n_threads is None:
            # The decoder uses the other processors; more threads here would only compete.
            reading = replace(reading, n_threads=max(1, available_cpus() // 4))
        super().__init__(reading)
        self._source, self._checkpoint, self._watch = source, checkpoint, watch
        # CSV files that are read as text, since their first rows did not show the types of all.
        self._as_text: set[int] = set()
        # Type of the first times of x; with a unit of slopes that is finer, they are converted to that.
        self._time_dtype: np.dtype[Any] | None = None
        self._has_zone = False
        # Files that were read in part, by ``in_memory``, and whose parts serve the first pass.
        self._begun: dict[int, Iterator[Part]] = {}
        # Rows of the files that were read to their ends; estimates; and the rows of this pass before the current file.
        self._rows: dict[int, int] = {}
        self._estimates: dict[int, int] = {}
        self._rows_before = 0
        self._bytes_before = [0, *itertools.accumulate(source.n_bytes)]

    def in_memory(self) -> Points | None:
        """Return all points as arrays if they are few, else None; what was read by then serves the first pass."""
        if self._has_resumed() or self._are_surely_many():
            return None
        head: list[Part] = []
        begun: dict[int, Iterator[Part]] = {}
        room = KEPT
        for number in range(self._source.n_tables):
            first, rest = self._typed(number, functools.partial(_up_to, room))
            begun[number] = _chained(first, rest)
            room -= sum(map(_n_bytes, first))
            if room < 0:
                self._begun = begun
                return None
            head += first
        if not head:
            self._raise_empty()
        columns = list(zip(*(part.values for part in head), strict=True))
        if any(map(_lose_digits, columns)):
            self._begun = begun
            return None
        arrays: dict[str, Any] = dict(zip(self._source.columns, map(_joined, columns), strict=True))
        try:
            points = Part(**arrays).points(replace(self.reading, n_threads=self._given_threads))
            points.moments()
        except (TypeError, ValueError):
            for part in head:  # raises the same, but names file and place
                MomentPass(self.reading).chunk(part)
            raise
        return points

    def end_checkpoint(self) -> None:
        """Keep nothing more: later passes are for pictures."""
        self._checkpoint = None

    def parts(self, number: int) -> Iterator[Part]:
        """Yield the points of a file, batch by batch.

        Raises
        ------
        FileError
            If the file cannot be read, or has changed since it was first seen.
        NotAsTyped
            If the file has to be read again from its start, as text.
        """
        table = self._source.table(number)
        x, y, *others = self._source.columns.values()
        columns = resolve_columns(table, x, y, [*others, *self._source.keys])
        row = 0
        try:
            for arrays in table.batches(columns, as_text=number in self._as_text):
                named = dict(zip(self._source.columns, arrays, strict=False))
                named["x"] = self._in_one_unit(table.path, columns[0], named["x"])
                keys = tuple(values.array for values in arrays[len(named) :])
                yield Part(**named, name=table.path, first=row, keys=keys)
                row += arrays[0].array.size
        except FileError:
            self._source.require_unchanged(number)  # a change explains any other error
            raise
        self._source.require_unchanged(number)
        self._rows[number] = row

    def _in_one_unit(self, path: str, column: str, x: Values) -> Values:
        """Return x with times in the unit of the first batch: files, and batches of text, may differ.

        Raises
        ------
        FileError
            If times are not whole numbers of that unit.
        """
        if not is_time(x.array):
            return x
        own = x.array.dtype
        if self._time_dtype is None:
            base = unit_for(x.array, self.reading.datetime_unit, "x").base
            self._time_dtype, self._has_zone = np.dtype(f"{own.kind}8[{base}]"), x.has_zone
        if x.has_zone != self._has_zone:
            now, before = ("with", "without") if x.has_zone else ("without", "with")
            raise FileError(
                f"{path}: column {column!r} holds times {now} a time zone, and earlier ones are {before}: "
                "write all of them in one way"
            )
        wanted = self._time_dtype
        if own.kind != wanted.kind or own == wanted:
            return x
        found = x.array.astype(wanted)
        if ((found.astype(own) != x.array) & ~np.isnat(x.array)).any():
            raise FileError(
                f"{path}: column {column!r} holds times ({own}) that are not whole numbers of the unit of earlier ones "
                f"({wanted}), or out of its range; pass datetime_unit={np.datetime_data(own)[0]!r} if they are finer"
            )
        return x._replace(array=found)

    def _typed(self, number: int, use: Callable[[Iterator[Part]], T]) -> T:
        """Return the result of ``use`` for the parts of a file; again as text, if types were guessed wrong."""
        try:
            begun = self._begun.pop(number) if number in self._begun else self.parts(number)
            return use(begun)
        except NotAsTyped:
            self._as_text.add(number)
            return use(self.parts(number))

    def _reduce(self, task: Pass) -> Any:
        """Return what a pass over all files finds, from the first batch to the last.

        A reader that decodes several batches at once may skip a damaged one before it raises. So results are reliable
        only at the end of a file, and are kept there.
        """
        done, found = 0, None
        if self._checkpoint is not None:
            done, found = self._checkpoint.resume(task)
        self._rows_before = 0
        for number in range(done, self._source.n_tables):
            found = self._typed(number, functools.partial(self._through, number, task, found))
            self._rows_before += self._rows[number]
            if self._checkpoint is not None and found is not None:
                self._checkpoint.keep(task, number + 1, found)
        if found is None:
            self._raise_empty()
        return found

    def _through(self, number: int, task: Pass, found: Any, parts: Iterator[Part]) -> Any:
        """Return what a pass has found after a file, given what it had found before it."""
        for part in parts:
            own = task.chunk(part)
            found = own if found is None else task.combine(found, own)
            self._report(number, part.first + part.values[0].array.size)
        return found

    def _has_resumed(self) -> bool:
        return self._checkpoint is not None and self._checkpoint.has_begun

    def _are_surely_many(self) -> bool:
        """Whether there are clearly more points than are kept, so that it would be a waste to read up to the limit."""
        if len(self._source.paths) > _MOST_COUNTED:
            return sum(self._source.n_bytes) > 2 * KEPT
        most = 2 * KEPT // (8 * len(self._source.columns))  # twice, as lines are counted roughly
        counts = map(self._estimated, range(len(self._source.paths)))
        return any(count > most for count in itertools.accumulate(counts))

    def _estimated(self, number: int) -> int:
        """Return about how many rows a file has, 0 if that is not known."""
        if number not in self._estimates:
            table = self._source.table(number) if self._source.paths else None
            self._estimates[number] = 0 if table is None else table.count()
        return self._estimates[number]

    def _report(self, number: int, row: int) -> None:
        """Report that a file has been read up to a row."""
        if self._watch is None:
            return
        expected = self._rows.get(number) or self._estimated(number)
        part = min(row / expected, 1.0) if expected else math.nan
        start, end = self._bytes_before[number : number + 2]
        n_bytes, total = start + part * (end - start), self._bytes_before[-1]
        share = n_bytes / total if total else part
        rows = self._rows_before + row
        self._watch(ReadSoFar(self.n_passes + 1, rows, n_bytes, share, self._rows_in_all()))

    def _rows_in_all(self) -> int:
        """Return about how many rows there are, 0 if that is not known."""
        if len(self._source.paths) > _MOST_COUNTED:
            return 0
        found = [self._rows.get(k) or self._estimated(k) for k in range(self._source.n_tables)]
        return sum(found) if all(found) else 0

    def _raise_empty(self) -> NoReturn:
        where = "the query has" if not self._source.paths else f"{self._source.paths[0]} has"
        if len(self._source.paths) > 1:
            where = f"the {len(self._source.paths):,} files, such as {self._source.paths[0]}, have"
        raise FileError(f"{where} columns but no rows")


def _n_bytes(part: Part) -> int:
    return sum(values.array.nbytes for values in part.values)


def _joined(batches: Sequence[Values]) -> Values:
    """Return batches of one column as one."""
    missing = None
    if any(batch.missing is not None for batch in batches):
        missing = np.concatenate(
            [
                np.zeros(batch.array.size, bool) if batch.missing is None else batch.missing
                for batch in batches
            ]
        )
    return Values(np.concatenate([batch.array for batch in batches]), missing)


def _up_to(room: int, parts: Iterator[Part]) -> tuple[list[Part], Iterator[Part]]:
    """Return parts until they take more than some bytes, and the iterator of those that are left."""
    first: list[Part] = []
    for part in parts:
        first.append(part)
        room -= _n_bytes(part)
        if room < 0:
            break
    return first, parts


def _chained(first: list[Part], rest: Iterator[Part]) -> Iterator[Part]:
    """Yield what was read, each part forgotten once it is passed on, and then the rest."""
    held = deque(first)
    while held:
        yield held.popleft()
    yield from rest


def _lose_digits(batches: Sequence[Values]) -> bool:
    """Whether integers or times would be rounded if batches of different types were joined."""
    arrays = [batch.array for batch in batches]
    if len({array.dtype for array in arrays}) == 1:
        return False
    if any(map(is_time, arrays)):
        return True
    whole = (a for a in arrays if a.dtype.kind in "iu" and a.dtype.itemsize == 8 and a.size)
    return any(max(-int(a.min()), int(a.max())) > 2**53 for a in whole)
