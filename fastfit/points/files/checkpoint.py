"""What passes over files have found, kept in a file, so that a fit which was ended goes on from there.

A solver asks for one pass after another, and the results of the earlier ones determine the next. So these results are
all that has to be kept: a fit that is started again gets them instead of reading. Of the pass under way, the result at
the end of the last whole file is kept: a fit that is killed within a file reads that file again.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastfit.exact.double_double import DoubleDouble
from fastfit.exact.least_squares import Centred
from fastfit.exact.moment_sums import MomentSums
from fastfit.kernels.median import ResidualWindow
from fastfit.points.parts import MomentResult, SumResult
from fastfit.points.sample import Sample
from fastfit.times import TimeUnit

_log = logging.getLogger("fastfit")
_FORMAT, _VERSION = "fastfit.Checkpoint", 1
# At most this share of the time goes into writing the file, and at least these seconds lie between two writes.
_SHARE, _SHORTEST = 0.05, 0.25
# Seconds after which a temporary file that nobody writes to has been left by a process that was killed.
_ABANDONED = 3600.0
# The named tuples that results are made of, by their names.
_RESULTS: dict[str, Any] = {
    kind.__name__: kind for kind in (MomentResult, SumResult, ResidualWindow, Sample)
}


class Checkpoint:
    """A file that keeps the results of passes over files, and how far the one under way has come.

    Two fits may use one path at a time: each writes whole files, of which the last stays.

    Parameters
    ----------
    path : str or Path
        Where it is. If it is there, it is read; else it is written.
    fit : mapping of str to str
        What determines the fit: its files, columns and options, each by the name that an error is to use.
    n_files : int
        How many files a pass reads.

    Raises
    ------
    ValueError
        If the file is no checkpoint, is damaged, or belongs to another fit.
    OSError
        If it cannot be read, or its folder is missing or cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], fit: Mapping[str, str], n_files: int) -> None:
        self.path = Path(path)
        self._fit, self._n_files = dict(fit), n_files
        # Results of whole passes, encoded; of those, how many this fit has asked for.
        self._passes: list[dict[str, Any]] = []
        self._next = 0
        # The task of the pass under way, how many files it has read, and what it has found in them.
        self._under_way: tuple[str, int, Any] | None = None
        self._last, self._cost, self._is_saved = time.monotonic(), 0.0, True
        if self.path.is_dir():
            raise ValueError(f"checkpoint must be a file; {self.path} is a folder")
        self._remove_abandoned()
        if self.path.exists():
            self._read()
            if self.has_begun:
                _log.info("%s goes on after %d passes", self.path, len(self._passes))
        else:
            self.save()

    @property
    def has_begun(self) -> bool:
        """Whether there is the result of a pass, or of a part of one."""
        return bool(self._passes or self._under_way)

    def resume(self, task: Any) -> tuple[int, Any]:
        """Return how many files the next pass, which must be ``task``, has read already, and what it found in them."""
        name = _name(task)
        if self._next < len(self._passes):
            entry = self._passes[self._next]
            self._require_task(entry["task"], name)
            self._next += 1
            return self._n_files, _decoded(entry["found"])
        if self._under_way is None:
            return 0, None
        self._require_task(self._under_way[0], name)
        return self._under_way[1:]

    def keep(self, task: Any, n_read: int, found: Any) -> None:
        """Keep what a pass has found in its first files; write it at the end of the pass, and now and then before."""
        self._is_saved = False
        if n_read == self._n_files:
            self._passes.append({"task": _name(task), "found": _encoded(found)})
            self._next, self._under_way = len(self._passes), None
            self.save()
        else:
            self._under_way = _name(task), n_read, found
            if time.monotonic() > self._last + max(_SHORTEST, self._cost / _SHARE):
                self.save()

    def close(self) -> None:
        """Write what has not been written yet."""
        if not self._is_saved:
            self.save()

    def save(self) -> None:
        """Write the file: whole, or not at all.

        Raises
        ------
        OSError
            If it cannot be written. What was there before is still there.
        """
        start = time.monotonic()
        self._is_saved = True  # set before writing, so that close() does not retry after a failure
        head = {"format": _FORMAT, "version": _VERSION, "fit": self._fit}
        under_way = None
        if self._under_way is not None:
            task, n_read, found = self._under_way
            under_way = {"task": task, "files": n_read, "found": _encoded(found)}
        text = json.dumps({**head, "passes": self._passes, "under_way": under_way})
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                why = error.strerror or str(error)
                kept = "; what was there before is kept" if self.path.exists() else ""
                raise OSError(
                    f"the checkpoint {self.path} cannot be written: {why}{kept}"
                ) from error
            raise
        self._last = time.monotonic()
        self._cost = self._last - start

    def _remove_abandoned(self) -> None:
        """Remove what processes left that were killed while they wrote; a file that is being written is new."""
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
            with contextlib.suppress(OSError):
                if left.stat().st_mtime < time.time() - _ABANDONED:
                    left.unlink()

    def _read(self) -> None:
        must_be = f"checkpoint must be a file that fastfit wrote, or none; {self.path}"
        try:
            written = json.loads(self.path.read_text(encoding="utf-8"))
            known = isinstance(written, dict) and written.get("format") == _FORMAT
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"{must_be} is something else")
        if written.get("version") != _VERSION:
            raise ValueError(f"{must_be} is of version {written.get('version')!r}, not {_VERSION}")
        try:
            fit, self._passes, under_way = (
                written[name] for name in ("fit", "passes", "under_way")
            )
            for entry in self._passes:
                _decoded(entry["found"])
            if under_way is not None:
                found = _decoded(under_way["found"])
                self._under_way = under_way["task"], int(under_way["files"]), found
            names = {*fit, *self._fit}
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(f"{must_be} is damaged") from error
        for name in sorted(names):
            own, its = self._fit.get(name), fit.get(name)
            if own != its:
                raise ValueError(
                    f"checkpoint {self.path} belongs to another fit. Its {name}: {its}. This fit has: {own}. "
                    "Give another path, or delete it"
                )

    def _require_task(self, own: str, asked: str) -> None:
        if own != asked:
            raise ValueError(
                f"checkpoint {self.path} has other passes than this fit makes: it was written on another "
                "kind of machine, or by other versions; delete it"
            )


def _name(task: Any) -> str:
    """Return the identity of a pass: its kind, and its numbers to the last bit (a repr of a float is exact)."""
    return repr(task)


def _encoded(found: Any) -> Any:
    """Return numbers, arrays and moments as JSON types, to the last bit."""
    if isinstance(found, MomentSums):
        sums = [part.hex() for number in found.centred for part in number]
        return {"moments": [found.count, sums, *found.exponents, found.times]}
    if isinstance(found, np.ndarray):
        data = base64.b64encode(found.tobytes()).decode("ascii")
        return {"array": data, "dtype": found.dtype.str}
    if isinstance(found, float):
        return {"float": found.hex()}
    if isinstance(found, tuple):
        return {"tuple": type(found).__name__, "items": [_encoded(item) for item in found]}
    return found


def _decoded(written: Any) -> Any:
    if not isinstance(written, dict):
        return written
    if "moments" in written:
        count, sums, x_exponent, y_exponent, times = written["moments"]
        parts = list(map(float.fromhex, sums))
        pairs = map(DoubleDouble._make, zip(parts[::2], parts[1::2], strict=True))
        times = None if times is None else TimeUnit.of(*times)
        return MomentSums(count, Centred(*pairs), x_exponent, y_exponent, times=times)
    if "array" in written:
        return np.frombuffer(base64.b64decode(written["array"]), written["dtype"]).copy()
    if "float" in written:
        return float.fromhex(written["float"])
    items = [_decoded(item) for item in written["items"]]
    kind = _RESULTS.get(written["tuple"])
    return tuple(items) if kind is None else kind(*items)
