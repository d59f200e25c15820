"""Text packed by gzip or Zstandard, as the first bytes of a file say."""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any

from fastfit.points.files.table import library

# First bytes of packed files.
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def unpacked(file: Any) -> Any:
    """Return the bytes of an open file, unpacked if they are packed."""
    head = file.read(4)
    file.seek(0)
    if head.startswith(GZIP):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(ZSTD):
        pa = library("pyarrow", "text that is packed by Zstandard")
        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"))
    return file


@contextlib.contextmanager
def opened(source: Callable[[], Any]) -> Iterator[Any]:
    """Yield the bytes of the text that a function returns, as a path or a file in memory, unpacked."""
    found = source()
    with open(found, "rb") if isinstance(found, str) else found as file, unpacked(file) as bytes_:
        yield bytes_
