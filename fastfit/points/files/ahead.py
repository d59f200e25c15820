"""What a thread of its own produces, some items ahead of who takes them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator
from typing import Any

# Items that are produced ahead.
_AHEAD = 2


def ahead(produce: Callable[[Callable[[Any], bool]], object]) -> Generator[Any, None, None]:
    """Yield what a function produces in a thread of its own.

    Parameters
    ----------
    produce : callable
        Is given a function to pass items to. That waits while two items are ahead, and returns whether to stop.

    Raises
    ------
    BaseException
        What ``produce`` raised, after the items that came before.
    """
    found: queue.Queue[Any] = queue.Queue(_AHEAD)
    has_ended = threading.Event()

    def put(item: Any) -> bool:
        found.put((item, None))
        return has_ended.is_set()

    def run() -> None:
        error: BaseException | None = None
        try:
            produce(put)
        except BaseException as raised:
            error = raised
        found.put((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item, error = found.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        has_ended.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                found.get(timeout=0.01)
