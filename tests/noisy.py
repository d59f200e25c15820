"""Points with t(2) noise, shared by tests of kinds of points, how fits to them are compared, and files of tables."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfit.result import LineFit
from tests.conftest import COMPILED

N = 6000 if COMPILED else 600
CHUNK = N // 12

_RNG = np.random.default_rng(20261123)
X = 3.0 + _RNG.normal(size=N)
Y = 2.0 * X - 1.0 + _RNG.standard_t(2, size=N)
W = _RNG.integers(0, 4, size=N) + _RNG.random(N)
SIGMA = np.exp(_RNG.normal(size=N))


def assert_alike(fit: LineFit, expected: LineFit, rel: float) -> None:
    """Check a line, its errors and its counts, floats to a relative tolerance (0: to the last bit)."""
    names = ("slope", "intercept", "loss", "stderr", "intercept_stderr", "rvalue", "f_scale")
    for name in (*names, "residual_std"):
        wanted = getattr(expected, name)
        assert getattr(fit, name) == (
            wanted and pytest.approx(wanted, rel=rel, abs=0.0, nan_ok=True)
        ), name
    assert (fit.n_points, fit.n_omitted) == (expected.n_points, expected.n_omitted)
    assert fit.status is expected.status


def write_table(table: Any, path: Path) -> Path:
    """Write a data frame of Polars in the format that a path asks for, in groups of 300 rows."""
    if path.name.endswith(".npy"):
        np.save(path, table.to_numpy())
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    elif path.suffix in (".arrow", ".feather"):
        table.write_ipc(path, record_batch_size=300)
    elif path.suffix == ".parquet":
        table.write_parquet(path, row_group_size=300)
    else:
        table.write_csv(path)
    return path
