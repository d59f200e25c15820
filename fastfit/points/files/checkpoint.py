"""What passes have found, kept in a file, so that a fit which was ended goes on from there.

A solver asks for one pass after the other, each determined by what the ones before have found. So the results of the
passes are all that has to be kept: a fit that is started again is told them, up to the pass that was under way.
"""

from __future__ import annotations

import base64
import glob
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastfit.exact.double_double import DoubleDouble
from fastfit.exact.least_squares import Centred
from fastfit.exact.moment_sums import MomentSums

_log = logging.getLogger("fastfit")
_FORMAT, _VERSION = "fastfit.Checkpoint", 1
# Written so seldom that it takes a twentieth of the time at most, and not more often than this, in seconds.
_SHARE, _SHORTEST = 0.05, 0.25


class Checkpoint:
    """A file that keeps the results of passes, and how far the one under way has come.

    Parameters
    ----------
    path : str or Path
        Where it is. If it is there, it is read.
    fit : mapping of str to str
        What determines the fit: its files, columns and options, each by the name that an error is to use.

    Raises
    ------
    ValueError
        If the file is no checkpoint, is damaged, or belongs to another fit.
    OSError
        If it cannot be read, or its folder is missing or cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], fit: Mapping[str, str]) -> None:
        self.path = Path(path)
        self._fit = dict(fit)
        self._passes: list[dict[str, Any]] = []
        # How patiently files have to be read, by their numbers: readers write it, and it is kept.
        self.stages: dict[int, int] = {}
        self._under_way: dict[str, Any] | None = None
        self._next = 0
        self._last, self._cost = time.monotonic(), 0.0
        if self.path.is_dir():
            raise ValueError(f"checkpoint must be a file; {self.path} is a folder")
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
            left.unlink(missing_ok=True)  # by a process that was killed while it wrote
        if self.path.exists():
            self._read()
            if self.has_begun:
                _log.info("%s goes on after %d passes", self.path, len(self._passes))
        else:
            self.save()

    @property
    def has_begun(self) -> bool:
        """Whether there is anything that a pass has found."""
        return bool(self._passes or self._under_way)

    @property
    def n_passes(self) -> int:
        """How many passes were made to their end."""
        return len(self._passes)

    def found(self, task: Any) -> Any:
        """Return what the next pass has found, None if it has not ended. It must be this one."""
        if self._next == len(self._passes):
            return None
        entry = self._passes[self._next]
        self._require_task(entry, task)
        self._next += 1
        return _decoded(entry["found"])

    def under_way(self, task: Any) -> tuple[dict[str, Any], Any] | None:
        """Return the place that this pass had come to, and what it had found; None if it had not begun."""
        if self._under_way is None:
            return None
        self._require_task(self._under_way, task)
        return self._under_way["place"], _decoded(self._under_way["found"])

    def keep(self, task: Any, place: Mapping[str, Any], found: Any, *, now: bool = False) -> None:
        """Keep what a pass has found so far, if the last time is long enough ago."""
        due = self._last + max(_SHORTEST, self._cost / _SHARE)
        if now or time.monotonic() > due:
            entry = {"task": _name(task), "place": dict(place), "found": _encoded(found)}
            self._under_way = entry
            self.save()

    def ended(self, task: Any, found: Any) -> None:
        """Keep what a whole pass has found."""
        self._passes.append({"task": _name(task), "found": _encoded(found)})
        self._next, self._under_way = len(self._passes), None
        self.save()

    def save(self) -> None:
        """Write the file: whole, or not at all.

        Raises
        ------
        OSError
            If it cannot be written. What was there before is still there.
        """
        start = time.monotonic()
        head = {"format": _FORMAT, "version": _VERSION, "fit": self._fit}
        state = {"stages": self.stages, "passes": self._passes, "under_way": self._under_way}
        text = json.dumps({**head, **state})
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "w", encoding="utf-8") as file:
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
            fit, self._passes, self._under_way = (
                written[name] for name in ("fit", "passes", "under_way")
            )
            entries = [*self._passes, *([self._under_way] if self._under_way else [])]
            for entry in entries:
                _decoded(entry["found"])
            self.stages.update((int(key), int(stage)) for key, stage in written["stages"].items())
            names = {*fit, *self._fit}
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(f"{must_be} is damaged") from error
        for name in sorted(names):
            own, its = self._fit.get(name), fit.get(name)
            if own != its:
                raise ValueError(
                    f"checkpoint {self.path} belongs to another fit. Its {name}: {its}. Those of this fit: {own}. "
                    "Give another path, or delete it"
                )

    def _require_task(self, entry: Mapping[str, Any], task: Any) -> None:
        if entry["task"] != _name(task):
            raise ValueError(
                f"checkpoint {self.path} has other passes than this fit makes: it was written on another "
                "kind of machine, or by other versions; delete it"
            )


def _name(task: Any) -> str:
    """Return what tells a pass apart: its kind, and its numbers to the last bit (a repr of a float is exact)."""
    return repr(task)


def _encoded(found: Any) -> Any:
    """Return numbers, arrays and moments in what JSON knows, to the last bit."""
    if isinstance(found, MomentSums):
        sums = [part.hex() for number in found.centred for part in number]
        return {"moments": [found.count, sums, *found.exponents]}
    if isinstance(found, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(found, dtype="<f8").tobytes())
        return {"array": data.decode("ascii")}
    if isinstance(found, float):
        return {"float": found.hex()}
    if isinstance(found, tuple):
        name = type(found).__name__
        return {"tuple": name, "items": [_encoded(item) for item in found]}
    return found


def _decoded(written: Any) -> Any:
    if not isinstance(written, dict):
        return written
    if "moments" in written:
        count, sums, x_exponent, y_exponent = written["moments"]
        parts = list(map(float.fromhex, sums))
        pairs = map(DoubleDouble._make, zip(parts[::2], parts[1::2], strict=True))
        return MomentSums(count, Centred(*pairs), x_exponent, y_exponent)
    if "array" in written:
        array = np.frombuffer(base64.b64decode(written["array"]), dtype="<f8")
        return array.astype(np.float64)
    if "float" in written:
        return float.fromhex(written["float"])
    from fastfit.kernels.median import ResidualWindow
    from fastfit.points import parts as rooms

    items = [_decoded(item) for item in written["items"]]
    kinds = {
        kind.__name__: kind for kind in (rooms.Surveyed, rooms.Sample, rooms.Sums, ResidualWindow)
    }
    kind = kinds.get(written["tuple"])
    return tuple(items) if kind is None else kind(*items)
