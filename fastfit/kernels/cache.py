"""Compiled code on disk, trusted only where it can be proved to be what was asked for.

Numba's own cache keeps one index for all signatures of a function, written without a lock, stamped with the
function's own source file alone, and an unreadable file is an exception in the caller. Here every compiled
signature has one file, named after a hash of all it depends on (the code as it was loaded, not the files it came
from); the file repeats that description, and a digest of its bytes. A stale file is never looked up; a truncated,
swapped or damaged one is compiled anew; processes that race write the same code to the same name, each by an
atomic rename; and where nothing can be written, nothing is.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
import uuid
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import llvmlite
import numba
from numba import types
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

from fastfit import double_double, elementary, least_squares, losses
from fastfit.kernels import flags, passes, products

_PACKAGE = Path(__file__).parent.parent
_DIGEST_SIZE = hashlib.sha256().digest_size


# Compiler settings of Numba's that change machine code and are not part of its own description of the target.
_SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "ENABLE_AVX",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
)


def _stamp(function: Any) -> str:
    """Return a digest of all that goes into a kernel, as it was loaded: files may have changed since."""
    digest = hashlib.sha256()
    modules = (losses, elementary, double_double, least_squares, passes, products, flags)
    for namespace in (*map(vars, modules), function.__globals__):
        for name, value in sorted(namespace.items()):
            # Registries, here and in the module of the function, are no part of compiled code.
            registry = isinstance(value, dict) and namespace is not vars(flags)
            if not (name.startswith("__") or registry):
                digest.update(f"{name} {_content(value)}\n".encode())
    return digest.hexdigest()


def _content(value: Any) -> str:
    """Return what a global contributes to compiled code: the bytecode of functions, the value of constants."""
    value = getattr(value, "py_func", value)  # of a compiled function, what was compiled
    value = value.__code__ if isinstance(value, FunctionType) else value
    if isinstance(value, CodeType):
        constants = [_content(constant) for constant in value.co_consts]
        return f"{value.co_code.hex()} {value.co_names} {constants}"
    if isinstance(value, type) and value.__module__.startswith("fastfit."):
        members = ((k, getattr(v, "__func__", v)) for k, v in sorted(vars(value).items()))
        return str([(k, _content(v)) for k, v in members if isinstance(v, FunctionType)])
    if isinstance(value, dict):
        return str(sorted((str(k), _content(v)) for k, v in value.items()))
    if isinstance(value, (set, frozenset)):
        return str(sorted(map(str, value)))
    if isinstance(value, tuple):
        return str([_content(item) for item in value])
    return repr(value) if isinstance(value, (int, float, str, type(None))) else ""


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

    def __init__(self, function: Any) -> None:
        self._function = function
        self._name = function.__name__.strip("_")

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
                _stamp(self._function),
                [getattr(numba.config, name, None) for name in _SETTINGS],
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
