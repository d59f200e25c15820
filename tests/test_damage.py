"""Damaged files: an error that names the file, and a process that goes on; ``python -m bench.damage`` tries more."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from tests.conftest import needs_compiler

pl = pytest.importorskip("polars")


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the resource limits of Linux")
@pytest.mark.parametrize(
    "ending",
    [
        ".parquet",
        ".csv",
        ".csv.gz",
        *(pytest.param(k, marks=pytest.mark.long) for k in (".arrow", ".npy")),
    ],
)
def test_damaged_files_never_end_the_process(
    ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import damage

    counts = damage.count(ending, files=1500, seed=7)
    assert counts["fault"] == 0, capsys.readouterr().out
    assert counts["refused"] > 1000
    assert sum(counts.values()) == 1500


def test_a_quote_that_is_never_closed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Polars panics at it, and would leave out the rows without a word."""
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "1,2\n" * 3000 + '1,"')
    with pytest.raises(ff.FileError, match="t.csv is cut off: its last line ends within quotes"):
        ff.fit_line(ff.scan(path))
    assert capfd.readouterr().err == ""
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ff.FileError, match="t.csv.gz cannot be read: it is damaged"):
        ff.fit_line(ff.scan(packed))


def npy_with_header(header: str, version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + np.ones(6).tobytes()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2",  # tokenize.TokenError, from NumPy
        "{'descr': '<f8', 'fortran_order': False, 'shape': (300, 2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 30 + ", 2)}",
        "{'descr': '<f8', 'fortran_order': 3, 'shape': (3, 2)}",
        "{'descr': [('x', '<f8'), ('x', '<f8')], 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 2)}",
        "[" * 200,
    ],
)
def test_headers_of_npy_that_lie(header: str, tmp_path: Path) -> None:
    path = tmp_path / "t.npy"
    path.write_bytes(npy_with_header(header))
    with pytest.raises(ff.FileError, match=r"t\.npy"):
        ff.fit_line(ff.scan(path))
    path.write_bytes(npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2)}"))
    with pytest.raises(ff.FileError, match=r"t\.npy: .*constant|t\.npy: .*differ"):
        ff.fit_line(ff.scan(path))


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.csv", "t.npy"])
def test_numbers_without_a_line_name_the_file(name: str, tmp_path: Path) -> None:
    x = np.arange(3.0)
    y = np.array([1e308, -1e308, 1e308])
    table = pl.DataFrame({"x": x, "y": y})
    path = tmp_path / name
    if name == "t.npy":
        np.save(path, np.column_stack([x, y]))
    else:
        {"t.parquet": table.write_parquet, "t.arrow": table.write_ipc, "t.csv": table.write_csv}[
            name
        ](path)
    with pytest.raises(ff.FileError, match=rf"{name}: .*rescale y"):
        ff.fit_line(ff.scan(path))


def test_an_error_of_polars_in_the_middle_of_a_query_is_raised(monkeypatch: Any) -> None:
    def fail(frame: Any) -> Any:
        raise RuntimeError("nothing more")

    lazy = pl.LazyFrame({"x": [1.0, 2.0], "y": [1.0, 2.0]}).map_batches(
        fail, schema={"x": pl.Float64, "y": pl.Float64}
    )
    with pytest.raises(ff.FileError, match="the query cannot be read: .*nothing more"):
        ff.fit_line(ff.scan(lazy, x="x", y="y"))
