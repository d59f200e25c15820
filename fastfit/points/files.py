"""Points in files: one, a folder or a data set of them, larger than memory, read batch by batch at every pass."""

from __future__ import annotations

import functools
import glob
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import unquote

import numpy as np

from fastfit.coordinates import Evaluation, Frame
from fastfit.double_double import DoubleDouble
from fastfit.losses import Loss
from fastfit.moments import Moments
from fastfit.points import readers
from fastfit.points.base import Points, Reading, Residuals, Source
from fastfit.points.parts import Part, PartedPoints, Pass, Survey
from fastfit.points.readers import FileError, Retyped, Table

if TYPE_CHECKING:
    from fastfit.points.checkpoint import Checkpoint

# The others decode: beside them, threads of ours would wait for each other.
_SHARE_OF_THREADS = max(1, (os.cpu_count() or 1) // 4)
# Points of no more bytes than these are kept in memory, and read from there.
KEPT = 64 << 20

# Of more files than these, rows are not counted before they are read.
_MOST_COUNTED = 100

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class ReadSoFar(NamedTuple):
    """How far reading has come: the pass, its rows and bytes of files, and the share of the pass; NaN if not known."""

    n_pass: int
    rows: int
    n_bytes: float
    share: float


Watch = Callable[[ReadSoFar], None]
Walk = Iterator[tuple[int, Part]]


class _File(NamedTuple):
    """A file, the columns that its folders stand for, and its size and time of change when it was first seen."""

    path: str
    keys: tuple[tuple[str, str], ...]
    size: int
    changed: int

    @classmethod
    def at(cls, path: str, keys: tuple[tuple[str, str], ...] = ()) -> _File:
        if readers.is_url(path):
            return cls(path, keys, 0, 0)
        seen = os.stat(path)
        return cls(path, keys, seen.st_size, seen.st_mtime_ns)

    def require_unchanged(self) -> None:
        """Raise FileError if the file is not what it was when it was first seen."""
        try:
            now = self.at(self.path, self.keys)
        except OSError as error:
            raise FileError(f"{self.path} has vanished since it was first read") from error
        if now != self:
            raise FileError(
                f"{self.path} has changed since it was first read: {self.size:,} bytes then, {now.size:,} now, "
                "or another time of change"
            )


def scan(
    paths: Paths | Any,
    x: str | None = None,
    y: str | None = None,
    sample_weight: str | None = None,
    *,
    sigma: str | None = None,
) -> FilePoints:
    """Return columns of files as points to fit a line to, however many there are.

    ``fit_line(scan(...))`` reads the files in batches that are forgotten, so files may be larger than memory. Points
    that take up to 64 MB are kept, and fitted as arrays are. More are read once for least squares, 5 to 10 times as a
    rule for a robust loss (the log of ``fastfit`` says it in advance at level INFO), and once a step for a descent with
    ``passes="samples"``. Only the named columns are read.

    Parameters
    ----------
    paths : str, path, sequence of these, or polars.LazyFrame
        Files whose names end in ``.parquet``, ``.csv``, ``.csv.gz``, ``.arrow``, ``.feather`` or ``.npy``; a pattern
        such as ``"2013-*.parquet"``; a folder, with all such files in it and below. Folders named as in ``year=2013``
        are columns. Of Parquet, CSV and Arrow also a URL that Polars reads (``s3://``, ``gs://``, ``https://`` ...),
        with credentials from the environment, of a server that sends parts of files.
        Files are read in the order given, those of a pattern or folder by name. A query of Polars is read as it
        is: so a column is derived, or rows are filtered.
    x, y : str, optional
        Names of the columns; of a ``.npy`` table without names, their numbers from 0. They may be left out
        where the first file has just two.
    sample_weight, sigma : str, optional
        Names of columns of weights and of standard deviations of y, as in :func:`fit_line`.

    Returns
    -------
    FilePoints
        The first argument of ``fit_line`` or ``objective``. Nothing but names is read yet.

    Raises
    ------
    FileError
        A ValueError: if a file is missing, empty, damaged or of another format, has no such column, or one that
        does not hold numbers; or, in a fit, changes while it is read. The message names file and place.
    ImportError
        If Polars is missing, which reads all but ``.npy``: ``pip install 'fastfit[files]'``.

    Notes
    -----
    Missing values are NaN, and left to ``nan_policy``. In CSV, besides nothing at all, so are nan, NaN, NA, N/A, n/a,
    #N/A, null, NULL and None, and a blank line is a row of missing values. CSV files need a line of names.

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
    if _is_query(paths):
        return FilePoints([], paths, columns)
    return FilePoints(_files(paths), None, columns)


class FilePoints(Source):
    """Columns of files as points; :func:`scan` makes them.

    Attributes
    ----------
    paths : list of str
        The files, in the order in which they are read; none for a query.
    columns : dict of str to str
        The names of the columns that are read, by what they stand for.
    """

    def __init__(self, files: list[_File], lazy: Any, columns: Mapping[str, str | None]) -> None:
        self._files, self._lazy = files, lazy
        asked = {name: column for name, column in columns.items() if name in "xy" or column}
        others = [column for name, column in asked.items() if name not in "xy" and column]
        found = readers.chosen(self.table(0), asked["x"], asked["y"], others)
        self.columns: dict[str, str] = dict(zip(asked, found, strict=True))

    def __repr__(self) -> str:
        where = "a query"
        if self._files:
            more = f" and {len(self._files) - 1:,} more" if len(self._files) > 1 else ""
            where = f"{self._files[0].path}{more}"
        columns = ", ".join(f"{name}={column!r}" for name, column in self.columns.items())
        return f"FilePoints({where}, {columns})"

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
        """How many files there are, or 1 for a query."""
        return len(self._files) or 1

    @property
    def n_bytes(self) -> list[int]:
        """Sizes of the files."""
        return [file.size for file in self._files] or [0]

    def table(self, number: int) -> Table:
        """Return one of the files, opened; it must be what it was when it was first seen."""
        if not self._files:
            return readers.query(self._lazy)
        file = self._files[number]
        file.require_unchanged()
        return readers.open_table(file.path, keys=file.keys)

    def require_unchanged(self, number: int) -> None:
        """Raise FileError if one of the files has changed."""
        if self._files:
            self._files[number].require_unchanged()

    def prepared(
        self,
        reading: Reading,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        fit: Mapping[str, str] | None = None,
        watch: Watch | None = None,
    ) -> Points:
        """Return the points as a fit needs them: in memory if they are few, and else to be read at every pass.

        Parameters
        ----------
        reading : Reading
            How they are to be read.
        checkpoint : str or path, optional
            A file that keeps what passes have found.
        fit : mapping of str to str, optional
            What determines the fit, for the checkpoint to tell whether it belongs to it.
        watch : callable, optional
            Told how far reading has come, after every batch.
        """
        kept: Checkpoint | None = None
        if checkpoint is not None:
            if not self._files:
                raise ValueError("checkpoint must be None for a query, whose files are not known")
            from fastfit.points.checkpoint import Checkpoint

            own = {"nan_policy": reading.nan_policy, "backend": reading.backend}
            kept = Checkpoint(checkpoint, {**self._identity(), **own, **(fit or {})})
        streamed = StreamedPoints(self, reading, kept, watch)
        return streamed.in_memory() or streamed

    def _identity(self) -> dict[str, str]:
        """Return what tells these files and columns from others."""
        import hashlib

        digest = hashlib.sha256()
        for file in self._files:
            where = file.path if readers.is_url(file.path) else os.path.abspath(file.path)
            digest.update(repr((where, file.size, file.changed)).encode())
        total = sum(self.n_bytes)
        columns = ", ".join(f"{name}={column!r}" for name, column in self.columns.items())
        count = "1 file" if len(self._files) == 1 else f"{len(self._files):,} files"
        return {
            "data": f"{count} of {total:,} bytes (names, sizes, times of change: {digest.hexdigest()[:12]})",
            "columns": columns,
        }

    # Points that were not told how to be read

    @functools.cached_property
    def _plain(self) -> Points:
        return self.prepared(Reading())

    @property
    def n_points(self) -> int:
        """Number of points."""
        return self._plain.n_points

    @property
    def n_omitted(self) -> int:
        """Number of points that were left out."""
        return self._plain.n_omitted

    @property
    def n_passes(self) -> int:
        """How often all points have been read so far."""
        return self._plain.n_passes

    @property
    def repeats(self) -> float:
        """How many points there are, one of weight 2 counted twice."""
        return self._plain.repeats

    @property
    def weight_unit(self) -> float:
        """The standard deviation that a weight of 1 stands for."""
        return self._plain.weight_unit

    @property
    def frame(self) -> Frame:
        """The coordinates in which lines are evaluated."""
        return self._plain.frame

    def moments(self) -> Moments:
        """Return the moments of the points, as ``Points.moments`` says; NaN is an error."""
        return self._plain.moments()

    def evaluate(
        self, loss: Loss, slope: float, level: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean loss of a line and its derivatives, as ``Points.evaluate`` says."""
        return self._plain.evaluate(loss, slope, level, curvature=curvature)

    def median_absolute_residual(
        self, slope: float, level: float, near: tuple[float, float] | None = None
    ) -> float:
        """Return the median of the absolute residuals, as ``Points.median_absolute_residual`` says."""
        return self._plain.median_absolute_residual(slope, level, near)

    def thinned(self, n: int) -> Points | None:
        """Return about n of the points, as ``Points.thinned`` says."""
        return self._plain.thinned(n)

    def residuals(self, slope: DoubleDouble, level: DoubleDouble) -> Residuals | None:
        """Return sums of the residuals of a precise line, as ``Points.residuals`` says."""
        return self._plain.residuals(slope, level)


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
    source : FilePoints
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
        source: FilePoints,
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
            points = whole.points(replace(self._reading, n_threads=self._given_threads))
            points.moments()
        except (TypeError, ValueError):
            for _, part in head:  # which names file and place
                Survey(self._reading).of(part)
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


def _is_query(paths: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(paths, polars.LazyFrame)


def _files(paths: Any) -> list[_File]:
    """Return the files that paths mean, or raise about one that means none."""
    if isinstance(paths, (str, os.PathLike)):
        path = os.fspath(paths)
        if not isinstance(path, str):
            raise TypeError(f"paths must be text; got {path!r}")
        return _files_of(path)
    if not isinstance(paths, Sequence) or isinstance(paths, bytes):
        kind = type(paths).__name__
        raise TypeError(f"paths must be a path, a list of paths or a query of Polars; got {kind}")
    if not paths:
        raise ValueError("paths must hold at least one path; got none")
    return [file for path in paths for file in _files(path)]


def _files_of(path: str) -> list[_File]:
    if readers.is_url(path):
        return [_File.at(path)]
    if os.path.isdir(path):
        return _files_below(path)
    if os.path.exists(path):
        return [_File.at(path, _keys(path))]
    matching = sorted(glob.glob(path, recursive=True))
    if not matching:
        kind = "matches no file" if glob.has_magic(path) else "does not exist"
        raise FileError(f"{path} {kind}")
    found: dict[str, _File] = {}  # a pattern may match a folder, and what is in it
    for each in matching:
        name = os.path.basename(each)
        if name[0] == "_" and os.path.basename(path)[0] != "_" and not os.path.isdir(each):
            continue  # what a job leaves beside its files
        for file in _files_below(each) if os.path.isdir(each) else [_File.at(each, _keys(each))]:
            found.setdefault(os.path.realpath(file.path), file)
    if not found:
        raise FileError(f"{path} matches no file to read")
    return list(found.values())


def _files_below(folder: str) -> list[_File]:
    """Return all files in a folder and below, by name, but hidden ones and those of jobs, such as _SUCCESS."""
    found = []
    seen = set()
    for where, folders, names in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        if os.path.realpath(where) in seen:  # links may go round in a circle
            folders.clear()
            continue
        seen.add(os.path.realpath(where))
        folders[:] = sorted(name for name in folders if name[0] not in "._" or "=" in name)
        for name in sorted(names):
            if name[0] in "._":
                continue
            path = os.path.join(where, name)
            if not name.lower().endswith(tuple(readers.FORMATS)):
                raise FileError(
                    f"{path} is of no known format; leave it out with a pattern such as "
                    f"{os.path.join(folder, '**', '*.parquet')}"
                )
            found.append(_File.at(path, _keys(path)))
    if not found:
        raise FileError(f"{folder} is a folder without files to read")
    endings = sorted({readers.ending_of(file.path) for file in found})
    if len(endings) > 1:
        raise FileError(
            f"{folder} holds files of several formats, {' and '.join(endings)}, which may be the same points "
            f"twice; name those to read with a pattern such as {os.path.join(folder, '**', '*' + endings[0])}"
        )
    return sorted(found)


def _raise_unreadable(error: OSError) -> NoReturn:
    raise FileError(f"{error.filename} cannot be read: {error.strerror}") from error


def _keys(path: str) -> tuple[tuple[str, str], ...]:
    """Return the columns that folders of a path stand for, such as year=2013."""
    folders = os.path.dirname(path).split(os.sep)
    pairs = (folder.partition("=") for folder in folders)
    return tuple((name, unquote(value)) for name, equals, value in pairs if equals and name)
