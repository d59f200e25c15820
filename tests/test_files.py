"""Columns of files, and errors that name file and column."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfit.points.files import MISSING, FileError, read_columns
from tests.conftest import DATA

pl = pytest.importorskip("polars")

TABLE = {"x": [1.0, 2.0, 3.0], "name": ["a", "b", "c"], "y": [2.0, None, 6.0], "n": [1, 2, None]}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    table = pl.DataFrame(TABLE)
    table.write_parquet(tmp_path / "t.parquet")
    table.write_csv(tmp_path / "t.csv")
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write((tmp_path / "t.csv").read_bytes())
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz"])
def test_tables(files: dict[str, Path], name: str) -> None:
    x, y = read_columns(files[name], "x", "y")
    np.testing.assert_array_equal(x, [1, 2, 3])
    np.testing.assert_array_equal(y, [2, np.nan, 6])
    n, again = read_columns(str(files[name]), "n", "n")
    np.testing.assert_array_equal(n, [1, 2, np.nan])
    np.testing.assert_array_equal(again, n)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz"])
def test_wrong_columns(files: dict[str, Path], name: str) -> None:
    with pytest.raises(FileError, match=r"t\..* has no column 'z'; it has 'x', 'name', 'y', 'n'"):
        read_columns(files[name], "x", "z")
    with pytest.raises(FileError, match="column 'name' holds text: 'a' in data row 1"):
        read_columns(files[name], "x", "name")
    with pytest.raises(
        FileError, match="does not have just two columns.*it has 'x', 'name', 'y', 'n'"
    ):
        read_columns(files[name], "x")


def test_text_in_the_last_row_of_a_long_csv(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("x,y\n" + "1,2\n" * 5000 + "3,oops\n")
    with pytest.raises(FileError, match="column 'y' holds text: 'oops' in data row 5,001"):
        read_columns(path)


@pytest.mark.parametrize("word", ["", *MISSING])
def test_words_for_missing_values(tmp_path: Path, word: str) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text(f"x,y\n1,2\n{word},4\n5,{word}\n")
    x, y = read_columns(path)
    np.testing.assert_array_equal(x, [1, np.nan, 5])
    np.testing.assert_array_equal(y, [2, 4, np.nan])


def test_spaces_around_numbers_and_columns_without_any(tmp_path: Path) -> None:
    path = tmp_path / "spaces.csv"
    path.write_text("x,y\n1 ,\n 2, \n3 ,\n")
    x, y = read_columns(path)
    np.testing.assert_array_equal(x, [1, 2, 3])
    np.testing.assert_array_equal(y, [np.nan] * 3)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_names_of_files_and_columns_are_no_patterns(tmp_path: Path, suffix: str) -> None:
    for name, value in (("a1", 1), ("a[1]", 100)):
        table = pl.DataFrame({"x": [1, 2], "*": [value, 2 * value], "^x.*$": [3, 4]})
        getattr(table, f"write_{suffix}")(tmp_path / f"{name}.{suffix}")
    _, y = read_columns(tmp_path / f"a[1].{suffix}", "x", "*")
    np.testing.assert_array_equal(y, [100, 200])
    _, y = read_columns(tmp_path / f"a[1].{suffix}", "x", "^x.*$")
    np.testing.assert_array_equal(y, [3, 4])


def test_spaces_in_the_header_and_integers_of_128_bits(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("x, y\n1,18446744073709551616\n2,4\n")
    x, y = read_columns(path, "x", "y")
    np.testing.assert_array_equal(y, [2.0**64, 4.0])
    assert x.dtype == np.int64


def test_two_columns_need_no_names(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    for names, expected in (
        ((None, None), [1, 3]),
        (("b", None), [2, 4]),
        ((None, "a"), [2, 4]),
        ((None, "b"), [1, 3]),
    ):
        x, _ = read_columns(path, *names)
        np.testing.assert_array_equal(x, expected)


def test_npy_tables(tmp_path: Path) -> None:
    table = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "t.npy", table)
    x, y = read_columns(tmp_path / "t.npy", "2", "0")
    np.testing.assert_array_equal(x, table[:, 2])
    np.testing.assert_array_equal(y, table[:, 0])
    with pytest.raises(FileError, match="has no column '3'; it has '0', '1', '2'"):
        read_columns(tmp_path / "t.npy", "0", "3")
    np.save(tmp_path / "two.npy", table[:, :2])
    np.testing.assert_array_equal(read_columns(tmp_path / "two.npy")[1], table[:, 1])
    records = np.zeros(3, dtype=[("t", "i4"), ("v", "f8"), ("s", "U3")])
    np.save(tmp_path / "records.npy", records)
    assert read_columns(tmp_path / "records.npy", "t", "v")[0].dtype == np.int32
    with pytest.raises(FileError, match="column 's' holds no numbers but <U3"):
        read_columns(tmp_path / "records.npy", "t", "s")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(3.0), r"must hold a table .* got shape \(3,\) of float64"),
        (np.array([["a", "b"]]), "must hold a table of numbers.*of <U1"),
        (np.ones((2, 2), dtype=complex), "must hold a table of numbers.*of complex128"),
        (np.array([[1, None]]), "is no readable .npy file: Array can't be memory-mapped"),
    ],
)
def test_wrong_npy(tmp_path: Path, array: Any, message: str) -> None:
    np.save(tmp_path / "t.npy", array, allow_pickle=True)
    with pytest.raises(FileError, match=message):
        read_columns(tmp_path / "t.npy", "0", "1")


def test_something_else_named_npy(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.ones(3))
    (tmp_path / "t.npz").rename(tmp_path / "archive.npy")
    with pytest.raises(FileError, match=r"is no .npy file but an archive"):
        read_columns(tmp_path / "archive.npy")
    (tmp_path / "t.npy").write_text("hello")
    with pytest.raises(FileError, match=r"no readable .npy file: it holds no plain numbers"):
        read_columns(tmp_path / "t.npy")


def test_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none.csv does not exist"):
        read_columns(tmp_path / "none.csv")
    with pytest.raises(FileError, match="is a folder; give a file"):
        read_columns(tmp_path)
    for name in ("e.csv", "e.csv.gz", "e.parquet", "e.npy"):
        (tmp_path / name).touch()
        with pytest.raises(FileError, match=f"{name} is empty"):
            read_columns(tmp_path / name, "x", "y")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileError, match=r"of no known format; its name must end in .parquet, .csv"):
        read_columns(tmp_path / "notes.txt")
    (tmp_path / "head.csv").write_text("x,y\n")
    with pytest.raises(FileError, match=r"head.csv has columns but no rows"):
        read_columns(tmp_path / "head.csv")


@pytest.mark.parametrize("keep", [4, 100, 200_000])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.parquet").write_bytes((DATA / "flights.parquet").read_bytes()[:keep])
    with pytest.raises(FileError, match=r"cut.parquet cannot be read: ") as caught:
        read_columns(tmp_path / "cut.parquet", "distance", "air_time")
    assert "\n" not in str(caught.value)


def test_truncated_gzip_and_npy(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(files["t.csv.gz"].read_bytes()[:-12])
    with pytest.raises(FileError, match=r"cut.csv.gz cannot be read: "):
        read_columns(tmp_path / "cut.csv.gz", "x", "y")
    np.save(tmp_path / "t.npy", np.ones((100, 2)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "t.npy").read_bytes()[:-8])
    with pytest.raises(FileError, match=r"cut.npy is no readable .npy file"):
        read_columns(tmp_path / "cut.npy")


def test_a_csv_without_header_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text("1,2\n2,4\n3,7\n")
    with pytest.raises(
        FileError, match="has no header: its first line holds the numbers 1, 2; add"
    ):
        read_columns(path)
    # Names may be numbers, as those of a table without names are.
    x, y = read_columns(path, "1", "2")
    np.testing.assert_array_equal([x, y], [[2, 3], [4, 7]])
