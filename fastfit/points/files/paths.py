"""Paths, folders and patterns to files, each with its size and time of change when it was first seen."""

from __future__ import annotations

import functools
import glob
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

from fastfit.points.files.formats import ending_of
from fastfit.points.files.packed import GZIP, ZSTD
from fastfit.points.files.table import FileError, is_url

# First bytes of formats.
_STARTS = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\x93NUMPY": ".npy",
    GZIP: ".csv.gz",
    ZSTD: ".csv.zst",
    b"PK\x03\x04": ".xlsx",
}
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class File(NamedTuple):
    """A file, the columns that its folders stand for, and its size in bytes and time of change when first seen."""

    path: str
    keys: tuple[tuple[str, str], ...]
    size: int
    changed: int

    @classmethod
    def at(cls, path: str, keys: tuple[tuple[str, str], ...] = ()) -> File:
        """Return the file as it is now; URLs have size and time 0."""
        if is_url(path):
            return cls(path, keys, 0, 0)
        seen = os.stat(path)
        return cls(path, keys, seen.st_size, seen.st_mtime_ns)

    def require_unchanged(self) -> None:
        """Raise FileError if the file has changed since it was first seen."""
        try:
            now = self.at(self.path, self.keys)
        except OSError as error:
            raise FileError(f"{self.path} has vanished since it was first read") from error
        if now != self:
            raise FileError(
                f"{self.path} has changed since it was first read: {self.size:,} bytes then, {now.size:,} now, "
                "or another time of change"
            )


def files_of(paths: Any, kind: str | None = None) -> list[File]:
    """Return the files that paths stand for, of any ending if their format is given; FileError if there are none."""
    if isinstance(paths, (str, os.PathLike)):
        path = os.fspath(paths)
        if not isinstance(path, str):
            raise TypeError(f"paths must be text; got {path!r}")
        return _of_path(path, kind)
    if not isinstance(paths, Sequence) or isinstance(paths, bytes):
        kind = type(paths).__name__
        raise TypeError(f"paths must be a path, a list of paths or a query of Polars; got {kind}")
    if not paths:
        raise ValueError("paths must hold at least one path; got none")
    return [file for path in paths for file in files_of(path, kind)]


def _of_path(path: str, kind: str | None) -> list[File]:
    if is_url(path):
        return [File.at(path)]
    if path == "-" or _is_stream(path):
        return [File.at(_copied(path, kind))]
    if os.path.isdir(path):
        return _files_below(path, kind)
    if os.path.exists(path):
        return [File.at(path, _keys(path))]
    matching = sorted(glob.glob(path, recursive=True))
    if not matching:
        kind = "matches no file" if glob.has_magic(path) else "does not exist"
        raise FileError(f"{path or repr(path)} {kind}")
    found: dict[str, File] = {}  # a pattern may match a folder and also what is in it
    for each in matching:
        name = os.path.basename(each)
        if name[0] == "_" and os.path.basename(path)[0] != "_" and not os.path.isdir(each):
            continue  # such as _SUCCESS, which a job leaves with its files
        for file in (
            _files_below(each, kind) if os.path.isdir(each) else [File.at(each, _keys(each))]
        ):
            found.setdefault(os.path.realpath(file.path), file)
    if not found:
        raise FileError(f"{path} matches no file to read")
    return list(found.values())


def _is_stream(path: str) -> bool:
    """Whether a path names a pipe, as a shell makes one for <(...): it can be read only once."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="fastfit-")


def _copied(path: str, kind: str | None) -> str:
    """Return a copy of standard input ("-") or a pipe; its first bytes say of which format, if it is not given."""
    with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as stream:
        head = stream.read(8)
        found = next((end for start, end in _STARTS.items() if head.startswith(start)), ".csv")
        ending = f".{kind}" if kind else found
        name = "stdin" if path == "-" else f"pipe-{os.path.basename(path)}"
        copy = os.path.join(tempfile.mkdtemp(dir=_folder().name), name + ending)
        with open(copy, "wb") as file:
            file.write(head)
            shutil.copyfileobj(stream, file)
    if not head:
        raise FileError(f"{'standard input' if path == '-' else path} is empty")
    return copy


def _files_below(folder: str, kind: str | None) -> list[File]:
    """Return all files in a folder and below, sorted by name, without hidden ones and those such as _SUCCESS."""
    found = []
    seen = set()
    for where, folders, names in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        if os.path.realpath(where) in seen:  # links may form a circle
            folders.clear()
            continue
        seen.add(os.path.realpath(where))
        folders[:] = sorted(name for name in folders if name[0] not in "._" or "=" in name)
        for name in sorted(names):
            if name[0] in "._":
                continue
            path = os.path.join(where, name)
            if not (kind or ending_of(name)):
                raise FileError(
                    f"{path} is of no known format; leave it out with a pattern such as "
                    f"{os.path.join(folder, '**', '*.parquet')}"
                )
            found.append(File.at(path, _keys(path)))
    if not found:
        raise FileError(f"{folder} is a folder without files to read")
    endings = sorted({ending_of(file.path) for file in found if not kind})
    if len(endings) > 1:
        raise FileError(
            f"{folder} holds files of several formats, {' and '.join(endings)}, which may be the same points "
            f"twice; name those to read with a pattern such as {os.path.join(folder, '**', '*' + endings[0])}"
        )
    return sorted(found)


def _raise_unreadable(error: OSError) -> NoReturn:
    raise FileError(f"{error.filename} cannot be read: {error.strerror}") from error


def _keys(path: str) -> tuple[tuple[str, str], ...]:
    """Return names and values of the columns that folders of a path stand for, as in year=2013."""
    folders = os.path.dirname(path).split(os.sep)
    pairs = (folder.partition("=") for folder in folders)
    return tuple((name, unquote(value)) for name, equals, value in pairs if equals and name)
