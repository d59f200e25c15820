"""Points of files that are too many for memory: every pass reads them batch by batch, and keeps what it finds."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import numpy as np

from fastfit.points.base import Points, Reading
from fastfit.points.files import readers
from fastfit.points.files.readers import FileError, Retyped, Table
from fastfit.points.parts import Part, PartedPoints, Pass, Survey

if TYPE_CHECKING:
    from fastfit.points.files.checkpoint import Checkpoint

# The others decode: beside them, threads of ours would wait for each other.
_SHARE_OF_THREADS = max(1, (os.cpu_count() or 1) // 4)
# Points of no more bytes than these are kept in memory, and read from there.
KEPT = 64 << 20
# Of more files than these, rows are not counted before they are read.
_MOST_COUNTED = 100


class ReadSoFar(NamedTuple):
    """How far reading has come: the pass, its rows and bytes of files, and the share of the pass; NaN if not known."""

    n_pass: int
    rows: int
    n_bytes: float
    share: float


Watch = Callable[[ReadSoFar], None]
Walk = Iterator[tuple[int, Part]]


class Tables(Protocol):
    """The files, or the query, that points come from."""

    columns: dict[str, str]

    @property
    def paths(self) -> list[str]:
        """The files, in the order in which they are read; none for a query."""

    @property
    def n_tables(self) -> int:
        """How many files there are, or 1 for a query."""

    @property
    def n_bytes(self) -> list[int]:
        """Sizes of the files."""

    def table(self, number: int) -> Table:
        """Return one of the files, opened."""

    def require_unchanged(self, number: int) -> None:
        """Raise FileError if one of the files has changed."""


class _NoCheckpoint:
    """What keeps nothing."""

    has_begun, n_passes = False, 0

    def __init__(self) -> None:
        self.stages: dict[int, int] = {}

    def found(self, task: Any) -> None:
        """Nothing."""

    def under_way(self, task: Any) -> None:
        """Nothing."""

    def keep(self, task: Any, place: Mapping[str, Any], found: Any, *, now: bool = False) -> None:
        """Nothing is kept."""

    def ended(self, task: Any, found: Any) -> None:
        """Nothing is kept."""


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
        Told how far reading has come.
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
            reading = replace(reading, n_threads=_SHARE_OF_THREADS)
        super().__init__(reading)
        self._source, self._watch = source, watch
        self._checkpoint: Checkpoint | _NoCheckpoint = checkpoint or _NoCheckpoint()
        # How patiently each file has to be read, and how many rows it has, as far as that is known.
        self._stages = self._checkpoint.stages
        self._rows: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._bytes_before = [0, *itertools.accumulate(source.n_bytes)]
        self._told = -1, 0
        self._begun: Walk | None = None
        # Up to which row of which file what was found is right, whatever comes.
        self._sure: tuple[int, int] | None = None

    def in_memory(self) -> Points | None:
        """Return all points as arrays, if they are few; else what was read serves the first pass."""
        if self._checkpoint.has_begun or self._are_surely_many():
            return None
        walk, head, size = self._walk(0, 0), [], 0
        while True:
            try:
                for number, part in walk:
                    head.append((number, part))
                    size += sum(values.nbytes for values in part.values)
                    if size > KEPT:
                        self._begun = _chained(head, walk)
                        return None
            except Retyped:
                walk, head, size = self._walk(0, 0), [], 0
                continue
            break
        if not head:
            self._raise_empty()
        columns = list(zip(*(part.values for _, part in head), strict=True))
        if any(map(_lose_digits, columns)):
            self._begun = _chained(head, iter(()))
            return None
        arrays: dict[str, Any] = dict(
            zip(self._source.columns, map(np.concatenate, columns), strict=True)
        )
        whole = Part(**arrays)
        try:
            points = whole.points(replace(self.reading, n_threads=self._given_threads))
            points.moments()
        except (TypeError, ValueError):
            for _, part in head:  # which names file and place
                Survey(self.reading).of(part)
            raise
        return points

    def _are_surely_many(self) -> bool:
        """Whether files say, or show, that there are more points than are kept; reading them in vain takes longer."""
        most = 2 * KEPT // (8 * len(self._source.columns))  # twice, as a count of lines is a guess
        count = 0
        if len(self._source.paths) > _MOST_COUNTED:
            return sum(self._source.n_bytes) > 2 * KEPT
        for number in range(len(self._source.paths)):
            count += self._counted(number)
            if count > most:
                return True
        return False

    def _reduce(self, task: Pass) -> Any:
        """Return what a pass over all files finds, from the first batch to the last."""
        found = self._checkpoint.found(task)
        if found is not None:
            return found
        number = row = 0
        under_way = self._checkpoint.under_way(task)
        if under_way is not None:
            place, found = under_way
            number, row = place["file"], place["row"]
        walk, self._begun = self._begun or self._walk(number, row), None
        at_start, sure = found, ((number, row), found)
        entered = number if row else None
        self._sure = None
        try:
            while True:
                try:
                    for current, part in walk:
                        if self._sure is not None:
                            sure, self._sure = (self._sure, found), None
                            self._keep(task, *sure)
                        if current != number:
                            number, at_start = current, found
                        own = task.of(part)
                        found = own if found is None else task.joined(found, own)
                        self._tell(number, part.first + part.values[0].size)
                    break
                except Retyped as error:
                    if error.number == entered:  # what was found before this file is not known
                        walk, number, entered = self._walk(0, 0), 0, None
                        found = at_start = None
                    else:
                        found = at_start if error.number == number else found
                        walk, number, at_start = self._walk(error.number, 0), error.number, found
                    sure = (number, 0), found
        except OSError:  # of the checkpoint itself
            raise
        except BaseException:
            self._keep(task, *(sure if self._sure is None else (self._sure, found)), now=True)
            raise
        if found is None:
            self._raise_empty()
        self._checkpoint.ended(task, found)
        return found

    def _keep(self, task: Pass, place: tuple[int, int], found: Any, *, now: bool = False) -> None:
        if found is not None:
            where = {"file": place[0], "row": place[1]}
            self._checkpoint.keep(task, where, found, now=now)

    def _walk(self, number: int, row: int) -> Walk:
        """Yield batches with the numbers of their files, from a row of a file on.

        A reader that works on several batches at once may leave some out before it tells that they are damaged. So what
        was found up to a batch is to be relied on only where ``_sure`` says so, when the next batch is asked for:
        at the end of a file or of a query, and anywhere in files that were read to their end before.
        """
        for number in range(number, self._source.n_tables):  # noqa: B020, PLR1704
            table = self._source.table(number)
            table.stage = self._stages.get(number, 0)
            names = list(self._source.columns)
            asked = [self._source.columns[name] for name in names]
            columns = readers.chosen(table, asked[0], asked[1], asked[2:])
            keeps = not isinstance(self._checkpoint, _NoCheckpoint)
            was_read = number in self._rows or self._checkpoint.n_passes > 0
            is_sure = keeps and (table.in_order or was_read)
            most = table.most if keeps and not is_sure else None
            try:
                is_more = True
                while is_more:
                    end = row + (most or 0)
                    for arrays in table.batches(columns, row, most):
                        own = dict(zip(names, arrays, strict=True))
                        yield number, Part(**own, name=table.path, first=row)
                        row += arrays[0].size
                        self._sure = (number, row) if is_sure else None
                    is_more = most is not None and row == end
                    self._sure = number, row
            except Retyped as error:
                self._stages[number] = table.stage + 1
                error.number = number
                raise
            except FileError:
                self._source.require_unchanged(number)  # which would explain it
                raise
            self._source.require_unchanged(number)
            self._rows[number], row = row, 0
            self._sure = number + 1, 0

    def _raise_empty(self) -> NoReturn:
        where = "the query has" if not self._source.paths else f"{self._source.paths[0]} has"
        if len(self._source.paths) > 1:
            where = f"the {len(self._source.paths):,} files, such as {self._source.paths[0]}, have"
        raise FileError(f"{where} columns but no rows")

    # How far reading has come

    def _tell(self, number: int, row: int) -> None:
        if self._watch is None:
            return
        expected = self._rows.get(number) or self._counted(number)
        part = min(row / expected, 1.0) if expected else math.nan
        sizes, total = self._source.n_bytes, self._bytes_before[-1]
        n_bytes = self._bytes_before[number] + part * sizes[number]
        share = n_bytes / total if total else part
        if self._told[0] != number:
            before = sum(self._rows.get(each, 0) for each in range(number))
            self._told = number, before
        self._watch(ReadSoFar(self.n_passes + 1, self._told[1] + row, n_bytes, share))

    def _counted(self, number: int) -> int:
        if number not in self._counts:
            table = self._source.table(number) if self._source.paths else None
            self._counts[number] = 0 if table is None else table.count()
        return self._counts[number]


def _lose_digits(arrays: Sequence[Any]) -> bool:
    """Whether integers of arrays would be rounded if these were one."""
    if len({array.dtype for array in arrays}) == 1:
        return False
    whole = (array for array in arrays if array.dtype.kind in "iu" and array.dtype.itemsize == 8)
    return any(max(-int(array.min()), int(array.max())) > 2**53 for array in whole if array.size)


def _chained(head: list[tuple[int, Part]], rest: Walk) -> Walk:
    """Yield what was read, each batch forgotten when it is passed on, and then the rest."""
    head.reverse()
    while head:
        yield head.pop()
    yield from rest
