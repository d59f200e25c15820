"""Compiled code on disk, trusted only where it can be proved to be what was asked for.

Numba's own cache keeps one index for all signatures of a function, written without a lock, stamped with the
function's own source file alone, and an unreadable file is an exception in the caller. Here every compiled
signature has one file, named after a hash of all it depends on; the file repeats that description, and a digest
of its bytes. A stale file is never looked up; a truncated, swapped or damaged one is compiled anew; processes
that race write the same bytes to the same name, each by an atomic rename; and where nothing can be written,
nothing is.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import types
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

_PACKAGE = Path(__file__).parent.parent
_DIGEST_SIZE = hashlib.sha256().digest_size


@cache
def _source_stamp() -> str:
    """Return a digest of every source a kernel is compiled from."""
    digest = hashlib.sha256()
    for source in sorted([*_PACKAGE.glob("kernels/*.py"), _PACKAGE / "losses.py"]):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _folders() -> list[Path]:
    """Return the folders that may hold compiled code, the preferred first."""
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR) / "fastfit"]
    user_wide = AppDirs(appname="fastfit", appauthor=False).user_cache_dir
    return [_PACKAGE / "kernels" / "__pycache__", Path(user_wide)]


def _is_ours(numba_type: Any) -> bool:
    """Whether the source stamp covers the formula that an argument type carries."""
    if isinstance(numba_type, types.BaseNamedTuple):
        return str(numba_type.instance_class.__module__).startswith("fastfit.")
    return True


# Before it looks up compiled code, Numba loads all it can compile: 0.4 s, half of it to import SciPy where that is
# installed. Machine code needs no more than the runtime library. That is known of these versions, by test.
_NEED_RUNTIME_ONLY = {(0, 68)}


def _prepare(target_context: Any) -> None:
    """Make the symbols known that compiled code refers to."""
    if numba.version_info.short in _NEED_RUNTIME_ONLY:
        rtsys.initialize(target_context)
    else:
        target_context.refresh()


class DiskCache(_Cache):  # type: ignore[misc]  # Numba is untyped
    """The cache of one compiled function; takes the place of the one Numba would attach to it."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def cache_path(self) -> str:
        """The preferred folder."""
        return str(_folders()[0])

    def enable(self) -> None:
        """Do nothing: the cache is always on."""

    def disable(self) -> None:
        """Do nothing: the cache is always on."""

    def flush(self) -> None:
        """Do nothing: a file that is out of date is never looked up."""

    def _key(self, signature: Any, codegen: Any) -> str:
        return repr(
            (
                self._name,
                str(signature),
                _source_stamp(),
                codegen.magic_tuple(),
                numba.__version__,
                llvmlite.__version__,
                sys.version,
                sys.abiflags if hasattr(sys, "abiflags") else "",
            )
        )

    def _file_name(self, key: str) -> str:
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.nbc"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature, or None if there is none to be trusted."""
        _prepare(target_context)
        key = self._key(signature, target_context.codegen())
        for folder in _folders():
            # Whatever is wrong with a file, the answer is the same: compile.
            with contextlib.suppress(Exception):
                content = (folder / self._file_name(key)).read_bytes()
                digest, payload = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
                if hashlib.sha256(payload).digest() != digest:
                    continue
                stored_key, reduced = pickle.loads(payload)
                if stored_key == key:
                    return CompileResult._rebuild(target_context, *reduced)
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep compiled code in the first folder that takes it."""
        if compiled.library.has_dynamic_globals or not all(map(_is_ours, compiled.signature.args)):
            return
        with contextlib.suppress(Exception):  # a cache that can't be written costs time, no more
            key = self._key(signature, compiled.codegen)
            payload = dumps((key, compiled._reduce()))
            content = hashlib.sha256(payload).digest() + payload
            for folder in _folders():
                with contextlib.suppress(OSError):
                    _write_atomically(folder / self._file_name(key), content)
                    return


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
