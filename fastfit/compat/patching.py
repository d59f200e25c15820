"""Put the drop-ins in the place of SciPy's and NumPy's functions, for all code that looks them up there."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastfit.compat.numpy import polyfit
from fastfit.compat.scipy import linregress

_log = logging.getLogger("fastfit")
_lock = threading.RLock()
# What stands where, and what stood there before.
_PLACES: dict[tuple[str, str], Any] = {
    ("numpy", "polyfit"): polyfit,
    ("scipy.stats", "linregress"): linregress,
}
_before: dict[tuple[str, str], Any] = {}
# Contexts of ``patched`` that are open, and whether ``patch`` was called.
_open, _lasting = 0, False


def patch() -> list[str]:
    """Replace ``numpy.polyfit`` and ``scipy.stats.linregress`` by fastfit's, until ``unpatch``.

    Code that looks them up in these modules, in any library, calls fastfit's from now on; names that were imported
    before (``from scipy.stats import linregress``) stay what they are. Nothing else is changed. A second call changes
    nothing, and any thread may call it.

    Returns
    -------
    list of str
        The functions that are replaced now, such as ``"numpy.polyfit"``; SciPy's only where it is installed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfit.compat import patch, unpatch
    >>> "numpy.polyfit" in patch()
    True
    >>> np.polyfit([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 1)
    array([2., 1.])
    >>> unpatch()
    """
    global _lasting  # noqa: PLW0603
    with _lock:
        _lasting = True
        return _replace()


def unpatch() -> None:
    """Put back what ``patch`` replaced, unless something else stands there by now."""
    global _lasting  # noqa: PLW0603
    with _lock:
        _lasting = False
        if not _open:
            _restore()


@contextmanager
def patched() -> Iterator[list[str]]:
    """Replace the functions as ``patch`` does within a ``with`` block; yields what ``patch`` returns.

    Blocks may be nested, and open in several threads: the last to end puts the functions back.
    """
    global _open  # noqa: PLW0603
    with _lock:
        _open += 1
        replaced = _replace()
    try:
        yield replaced
    finally:
        with _lock:
            _open -= 1
            if not (_open or _lasting):
                _restore()


def _replace() -> list[str]:
    for (module_name, name), own in _PLACES.items():
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        current = getattr(module, name)
        if current is not own:
            _before[module_name, name] = current
            setattr(module, name, own)
            _log.info("%s.%s is fastfit's", module_name, name)
    return [".".join(place) for place in _before]


def _restore() -> None:
    for (module_name, name), before in _before.items():
        module = importlib.import_module(module_name)
        if getattr(module, name) is _PLACES[module_name, name]:
            setattr(module, name, before)
    _before.clear()
