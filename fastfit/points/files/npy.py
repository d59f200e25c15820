"""Tables of NumPy (``.npy``), read in pieces.

Nothing is read through a map of the file into memory, since a mapped file that shrinks ends the process (SIGBUS).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.containers import Values
from fastfit.points.files import table
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import Batch, FileError, Table

# Bytes of a table that are read at a time, all of its columns.
_READ = 1 << 25


def npy(path: str, _: FileOptions) -> Table:
    """Open a table of numbers with rows and columns, or of records."""
    if table.is_url(path):
        raise FileError(f"{path} is a URL, which NumPy does not read; copy the file")
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # whatever evaluating a damaged header may raise
        # NumPy advises to unpickle what it does not know, which would run code from the file.
        why = "it holds no plain numbers" if "pickle" in str(error) else table.one_line(error)
        raise FileError(f"{path} is no readable .npy file: {why}") from error
    if not isinstance(mapped, np.memmap):
        raise FileError(f"{path} is no .npy file but an archive of several (.npz)")
    dtype, shape, offset = mapped.dtype, mapped.shape, mapped.offset
    if dtype.kind == "c":
        raise FileError(f"{path} must hold real numbers; got {dtype}: save its real part")
    if dtype.names is None and (len(shape) != 2 or dtype.kind not in "biuf"):
        raise FileError(
            f"{path} must hold a table of numbers with rows and columns; got shape {shape} of {dtype}. "
            "Single arrays are passed to fit_line as np.load(path, mmap_mode='r')"
        )
    names = list(dtype.names or map(str, range(shape[1])))
    # A table in Fortran's order holds one column after the other, any other one row after the other.
    in_columns = dtype.names is None and not mapped.flags.c_contiguous
    del mapped  # only its header was used
    row = dtype if dtype.names or in_columns else np.dtype((dtype, shape[1:]))

    def read(columns: list[str], _: bool) -> Iterator[Batch]:
        kinds = [dtype if dtype.names is None else dtype[name] for name in columns]
        for name, kind in zip(columns, kinds, strict=True):
            if kind.kind not in "biufmM":
                raise FileError(f"{path}: column {name!r} holds no numbers but {kind}")
        places: list[Any] = list(columns) if dtype.names else list(map(names.index, columns))
        step = max(1, _READ // row.itemsize)
        with open(path, "rb") as file:
            for start in range(0, shape[0], table.BATCH):
                n = min(table.BATCH, shape[0] - start)
                found = tuple(np.empty(n, kind) for kind in kinds)
                if in_columns:
                    for column, place in zip(found, places, strict=True):
                        column[:] = _items(file, dtype, offset, place * shape[0] + start, n)
                else:
                    for k in range(0, n, step):
                        rows = _items(file, row, offset, start + k, min(step, n - k))
                        for column, place in zip(found, places, strict=True):
                            column[k : k + step] = rows[place] if dtype.names else rows[:, place]
                yield tuple(map(Values, found))

    return Table(path, names, read, lambda: int(shape[0]))


def _items(file: Any, dtype: Any, offset: int, first: int, count: int) -> NDArray[Any]:
    """Return some items of the array that starts at an offset of a file."""
    file.seek(offset + first * dtype.itemsize)
    items = np.fromfile(file, dtype, count)
    if len(items) < count:
        raise OSError("it is shorter than its header says")
    return items
