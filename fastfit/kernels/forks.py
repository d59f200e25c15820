"""Detect forks: a child forked after fastfit was loaded must not use threads, as Numba's do not survive a fork."""

from __future__ import annotations

import os

_forked = False


def forked() -> bool:
    """Whether this process is a forked child."""
    return _forked


def _after_fork() -> None:
    global _forked  # noqa: PLW0603
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
