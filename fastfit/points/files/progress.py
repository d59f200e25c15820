"""How far long work has come: one line on a terminal or in a notebook, nothing in a pipe or without Rich."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastfit.outcome import Iterate
from fastfit.points.files.streams import ReadSoFar

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


class Display:
    """A line with a progress bar on stderr.

    Parameters
    ----------
    bar : rich.progress.Progress
        Draws the line.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("reading the points", total=None)
        self._n_passes: int | None = None
        self._resumed = ""

    def expect(self, n_passes: int | None, resumed: str | None = None) -> None:
        """Expect about this many passes, so that the bar covers all of them; None if their number is not known.

        ``resumed`` is the name of the checkpoint that the work goes on from, if it does.
        """
        self._n_passes = n_passes
        self._resumed = f"from {resumed} on, " if resumed else ""

    def watch(self, so_far: ReadSoFar) -> None:
        """Show how far reading has come."""
        n_passes = self._n_passes and max(self._n_passes, so_far.n_pass)
        which = f"pass {so_far.n_pass}"
        if n_passes and n_passes > 1:
            which += f" of about {n_passes}"
        text = f"{self._resumed}{which}: {so_far.rows:,} rows"
        if so_far.n_rows > so_far.rows:
            text += f" of about {so_far.n_rows:,}"
        if so_far.n_bytes > 0.0:
            text += f", {_in_units(so_far.n_bytes)}"
        known = so_far.share == so_far.share and n_passes
        done = so_far.n_pass - 1 + so_far.share if known else 0.0
        self._bar.update(
            self._task, description=text, total=n_passes if known else None, completed=done
        )

    def iterate(self, state: Iterate, most: int) -> None:
        """Show how far a descent on moments has come, which reads no points."""
        text = f"iteration {state.iteration:,} of at most {most:,}, loss {state.loss:.6g}"
        self._bar.update(self._task, description=text, total=most, completed=state.iteration)

    def share(self, done: float, text: str) -> None:
        """Show what is being worked on, and which share of all work is done, from 0 to 1."""
        self._bar.update(self._task, description=text, total=1.0, completed=done)


# The one line that is shown at a time, and the lock held by the thread whose work it shows.
_line = threading.RLock()
_shown: list[Display] = []


@contextmanager
def display(wanted: bool = True) -> Iterator[Display | None]:
    """Show a progress line and yield its display, or None if no line is shown.

    Within such a context, the same thread gets the line that is there already, and other threads none.
    """
    console = _terminal() if wanted else None
    if console is None or not _line.acquire(blocking=False):
        yield None
        return
    try:
        if _shown:
            yield _shown[0]
            return
        from rich import progress
        from rich.table import Column

        # On a narrow terminal the text is cut, and no other column.
        columns = (
            progress.SpinnerColumn(),
            progress.BarColumn(bar_width=16),
            progress.TimeElapsedColumn(),
            progress.TextColumn("elapsed,"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("left,"),
            progress.TextColumn(
                "{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")
            ),
        )
        with progress.Progress(*columns, console=console, transient=True) as bar:
            _shown.append(Display(bar))
            try:
                yield _shown[0]
            finally:
                _shown.clear()
    finally:
        _line.release()


def _terminal() -> Any:
    """Return the console of stderr; None if it is neither a terminal nor a notebook, or a library is missing."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(stderr=True)
    if console.is_jupyter:  # where Rich draws with widgets
        return console if importlib.util.find_spec("ipywidgets") else None
    return console if console.is_terminal else None


def _in_units(n_bytes: float) -> str:
    unit = 0
    while n_bytes >= 1000.0 and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000.0, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"
