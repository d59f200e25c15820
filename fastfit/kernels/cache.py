"""Compiled code on disk, read only where it can be proved to be what was asked for.

Numba's own cache keeps one index for all signatures of a function, written without a lock, stamped with the
function's own source file alone, and an unreadable file is an exception in the caller. Here every compiled
signature has one file. Its name is a hash of all that the code depends on: the sources and options of every function
it may contain (as they were loaded, not as their files are now), versions, processor and compiler settings. The file
repeats that description, and a digest of its bytes. So stale code is never looked up; a truncated, swapped or damaged
file is compiled again; processes that race write the same code to the same name, each by an atomic rename.

Files are unpickled, which runs code. So on POSIX they are read only if they and their folder belong to the user or to
root, and nobody else can write them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import stat
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import llvmlite
import numba
from numba import types

from fastfit import losses
from fastfit._version import __version__
from fastfit.kernels import flags

_PACKAGE = Path(__file__).parent.parent
# The ending of files that are being written.
_UNFINISHED = ".tmp"
_DIGEST_SIZE = hashlib.sha256().digest_size
_VERSIONS = (__version__, numba.__version__, llvmlite.__version__, sys.version)

# Compiler settings of Numba that change machine code and are not part of its own description of the target.
_SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "ENABLE_AVX",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
)


@functools.cache
def _stamp() -> str:
    """Return a digest of versions and of all that kernels are made from, as it was loaded: files may have changed."""
    digest = hashlib.sha256(repr(_VERSIONS).encode())
    marked = [
        f"{function.__module__}.{function.__qualname__} {_content(function)} {_content(options)}"
        for function, options in flags.MARKED
    ]
    digest.update("\n".join(sorted(marked)).encode())  # independent of the order of imports
    modules = {function.__module__ for function, _ in flags.MARKED} | {losses.__name__}
    for name in sorted(modules):
        digest.update(f"{name} {_globals(name)}".encode())
    return digest.hexdigest()[:16]


def _globals(module: str) -> list[str]:
    """Return what the globals of a module contribute to compiled code; registries contribute nothing."""
    return [
        f"{name} {_content(value)}"
        for name, value in sorted(vars(sys.modules[module]).items())
        if not (name.startswith("__") or isinstance(value, (dict, list)))
    ]


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
    """Return the folders that may hold the compiled code of this installation, the preferred first."""
    installation = hashlib.sha256(repr((str(_PACKAGE), sys.prefix)).encode()).hexdigest()[:12]
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR) / f"fastfit-{installation}"]
    folders = [_PACKAGE / "kernels" / "__pycache__"]
    with contextlib.suppress(ImportError):
        from numba.misc.appdirs import AppDirs

        folders.append(Path(AppDirs(appname="fastfit", appauthor=False).user_cache_dir))
    return [folder / f"fastfit-{installation}" for folder in folders]


def folder_of_compiled_code() -> Path:
    """Return the folder that compiled code is read from, or would be written to."""
    folders = _folders()
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _is_known(numba_type: Any) -> bool:
    """Whether the digest of sources covers the formula that an argument type carries."""
    if isinstance(numba_type, types.BaseNamedTuple):
        cls = numba_type.instance_class
        module = sys.modules.get(cls.__module__)
        # By identity: a class of the caller may bear the name of one of fastfit.
        is_own = getattr(module, cls.__name__, None) is cls
        return is_own and str(cls.__module__).startswith("fastfit.")
    return True


def _is_trusted(seen: os.stat_result) -> bool:
    """Whether a file or folder belongs to the user or to root, and nobody else can write it."""
    if os.name != "posix":
        return True
    return seen.st_uid in (os.geteuid(), 0) and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(path: Path) -> bytes:
    """Return the bytes of a file that can be trusted, else raise OSError."""
    with open(path, "rb") as file:
        if not (_is_trusted(os.stat(path.parent)) and _is_trusted(os.fstat(file.fileno()))):
            raise PermissionError(f"{path} can be written by other users")
        return file.read()


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o755, exist_ok=True)
    if not _is_trusted(os.stat(path.parent)):
        raise PermissionError(f"{path.parent} can be written by other users")
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        # Never writable by others, not even for a moment: who has opened a file keeps the right to write it.
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what other versions of the code, and killed processes, have left in the folder of this installation."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            is_old = path.suffix == ".nbc" and not path.name.startswith(f"{_stamp()}-")
            hour_ago = time.time() - 3600.0
            if is_old or (path.suffix == _UNFINISHED and path.stat().st_mtime < hour_ago):
                path.unlink()


def _disk_cache() -> Any:
    """Return the cache, None where this version of Numba has other private parts than it is made of."""
    try:
        from numba.core.caching import _Cache
        from numba.core.compiler import CompileResult
        from numba.core.runtime import rtsys
        from numba.core.serialize import dumps

        rebuild = CompileResult._rebuild
        CompileResult._reduce  # noqa: B018  # used by save_overload
    except (ImportError, AttributeError):
        return None

    # Before it looks up compiled code, Numba loads all it can compile: 0.4 s, half of it to import SciPy where that
    # is installed. Machine code needs no more than the runtime library. That is known of these versions, by test.
    needs_runtime_only = numba.version_info.short in {(0, 68)}

    class DiskCache(_Cache):  # type: ignore[misc]  # Numba is untyped
        """The cache of one compiled function; takes the place of the one Numba would attach to it."""

        def __init__(
            self,
            function: Callable[..., Any],
            options: dict[str, Any],
        ) -> None:
            self._function, self._options = function, options
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

        def _key(self, signature: Any, codegen: Any) -> tuple[str, str]:
            """Return the name of the file for a signature, and all that it stands for."""
            key = repr(
                (
                    *(_stamp(), self._name, str(signature), _content(self._options)),
                    _globals(self._function.__module__),
                    [getattr(numba.config, name, None) for name in _SETTINGS],
                    codegen.magic_tuple(),
                )
            )
            digest = hashlib.sha256(key.encode()).hexdigest()[:32]
            return f"{_stamp()}-{self._name}-{digest}.nbc", key

        def load_overload(self, signature: Any, target_context: Any) -> Any:
            """Return the compiled code for a signature, or None if there is none to be trusted."""
            # Whatever is wrong with a file, or with this version of Numba, the answer is the same: compile.
            with contextlib.suppress(Exception):
                if needs_runtime_only:
                    rtsys.initialize(target_context)
                else:
                    target_context.refresh()
                types_ = signature.args if hasattr(signature, "args") else signature
                if not all(map(_is_known, types_)):
                    return None
                name, key = self._key(signature, target_context.codegen())
                for folder in _folders():
                    with contextlib.suppress(OSError):
                        content = _read(folder / name)
                        digest, payload = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
                        if hashlib.sha256(payload).digest() != digest:
                            continue
                        stored_key, reduced = pickle.loads(payload)
                        if stored_key == key:
                            return rebuild(target_context, *reduced)
            return None

        def save_overload(self, signature: Any, compiled: Any) -> None:
            """Keep compiled code in the first folder that takes it."""
            # A cache that cannot be written costs time, no more.
            with contextlib.suppress(Exception):
                if compiled.library.has_dynamic_globals:
                    return
                if not all(map(_is_known, compiled.signature.args)):
                    return
                name, key = self._key(signature, compiled.codegen)
                payload = dumps((key, compiled._reduce()))
                content = hashlib.sha256(payload).digest() + payload
                for folder in _folders():
                    with contextlib.suppress(OSError):
                        _write_atomically(folder / name, content)
                        _sweep(folder)
                        return

    try:
        DiskCache(_disk_cache, {})
    except TypeError:  # the class it takes the place of has other abstract methods
        return None
    return DiskCache


DiskCache = _disk_cache()
