"""Columns of files, and errors that name file and column."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfit.columns import real_array
from fastfit.fit import fit_line
from fastfit.points.files.cells import MISSING
from fastfit.points.files.formats import open_table
from fastfit.points.files.scan import FilePoints, scan
from fastfit.points.files.table import BATCH, FileError, NotAsTyped, Table
from tests.noisy import write_table

pl = pytest.importorskip("polars")

NAN = float("nan")
TABLE = {"x": [1.0, 2.0, 3.0], "name": ["a", "b", "c"], "y": [2.0, None, 6.0], "n": [1, 2, None]}
LONG = {"x": np.arange(1000.0), "y": np.arange(1000.0) ** 2}
each_format = pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz"])


def batches_of(points: FilePoints) -> list[Any]:
    """Return the columns batch by batch, as a pass sees them."""
    columns = list(points.columns.values())
    try:
        return list(points.table(0).batches(columns))
    except NotAsTyped:
        return list(points.table(0).batches(columns, as_text=True))


def read_columns(path: Any, x: str | None = None, y: str | None = None) -> tuple[Any, ...]:
    found = batches_of(scan(path, x, y))
    assert found, "no rows"
    return tuple(
        np.concatenate([real_array(part, "x") for part in parts])
        for parts in zip(*found, strict=True)
    )


def save(path: Path, array: Any) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


@each_format
def test_tables(tmp_path: Path, name: str) -> None:
    path = write_table(pl.DataFrame(TABLE), tmp_path / name)
    np.testing.assert_array_equal(read_columns(path, "x", "y"), [[1, 2, 3], [2, NAN, 6]])
    np.testing.assert_array_equal(read_columns(str(path), "n", "n"), [[1, 2, NAN]] * 2)


@each_format
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ("x", "z", r"t\..* has no column 'z'; it has 'x', 'name', 'y', 'n'"),
        ("x", "name", "column 'name' holds text: 'a' in data row 1"),
        ("x", None, "does not have just two columns.*it has 'x', 'name', 'y', 'n'"),
    ],
)
def test_wrong_columns(tmp_path: Path, name: str, x: str, y: str | None, message: str) -> None:
    path = write_table(pl.DataFrame(TABLE), tmp_path / name)
    with pytest.raises(FileError, match=message):
        read_columns(path, x, y)


INTEGERS = "x,y\n" + "1700000000000000001,2\n" * 5000  # more than show which types columns have


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        *((f"x,y\n1,2\n{word},4\n5,{word}\n", [1, NAN, 5], [2, 4, NAN]) for word in ("", *MISSING)),
        ("x,y\n1 ,\n 2, \n3 ,\n", [1.0, 2.0, 3.0], [NAN] * 3),
        ("x, y\n1,18446744073709551616\n2,4\n3,9\n", [1, 2, 3], [2.0**64, 4, 9]),
        ("x,y\n1,2\n3,4\n5,", [1, 3, 5], [2, 4, NAN]),  # perhaps cut off, which nobody can tell
        (INTEGERS, [1700000000000000001] * 3, [2] * 3),
        (INTEGERS + "1.5,2\n", [1.7e18, 1.7e18, 1.5], [2.0] * 3),
        (INTEGERS + "1.5,2\nNA,3\n 7 ,3\n", [1.5, NAN, 7], [2.0, 3.0, 3.0]),
    ],
)
def test_numbers_of_csv(csv: Path, text: str, x: Any, y: Any) -> None:
    csv.write_text(text)
    for found, expected in zip(read_columns(csv), (x, y), strict=True):
        np.testing.assert_array_equal(found[-3:], expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n" + "1,2\n" * 5000 + "3,oops\n", "column 'y' holds text: 'oops' in data row 5,001"),
        (INTEGERS + "1.5,2\nNA,3\nseven,3\n", "column 'x' holds text: 'seven' in data row 5,003"),
        ("1,2\n2,4\n3,7\n", "has no header: its first line holds the numbers 1, 2; add"),
        ("x,y\n1,2\n3,4\n5", "t.csv is cut off: its last line has 1 of 2 fields"),
        ("x,y\n1,2\n3,4,5\n", "t.csv: line 3 has 3 fields, and the header 2"),
    ],
)
def test_wrong_csv(csv: Path, text: str, message: str) -> None:
    csv.write_text(text)
    with pytest.raises(FileError, match=message):
        read_columns(csv)


def test_names_of_columns_may_be_numbers(csv: Path) -> None:
    csv.write_text("1,2\n2,4\n3,7\n")
    np.testing.assert_array_equal(read_columns(csv, "1", "2"), [[2, 3], [4, 7]])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_names_of_files_and_columns_are_no_patterns(tmp_path: Path, suffix: str) -> None:
    for name, value in (("a1", 1), ("a[1]", 100)):
        table = pl.DataFrame({"x": [1, 2], "*": [value, 2 * value], "^x.*$": [3, 4]})
        path = write_table(table, tmp_path / f"{name}.{suffix}")
    np.testing.assert_array_equal(read_columns(path, "*", "^x.*$"), [[100, 200], [3, 4]])


def test_two_columns_need_no_names(csv: Path) -> None:
    csv.write_text("a,b\n1,2\n3,4\n")
    for names, expected in (
        ((None, None), [1, 3]),
        (("b", None), [2, 4]),
        ((None, "a"), [2, 4]),
        ((None, "b"), [1, 3]),
    ):
        np.testing.assert_array_equal(read_columns(csv, *names)[0], expected)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("batch", [2, BATCH])
def test_npy_tables(tmp_path: Path, order: Any, batch: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("fastfit.points.files.table.BATCH", batch)
    table = np.asarray(np.arange(15.0).reshape(5, 3), order=order)
    path = save(tmp_path / "t.npy", table)
    np.testing.assert_array_equal(read_columns(path, "2", "0"), table.T[[2, 0]])
    np.testing.assert_array_equal(read_columns(save(path, table[:, :2])), table.T[:2])


RECORDS = np.zeros(3, dtype=[("t", "i4"), ("v", "f8"), ("s", "U3")])


def test_npy_records(tmp_path: Path) -> None:
    t, v = read_columns(save(tmp_path / "records.npy", RECORDS), "t", "v")
    assert (t.dtype, v.dtype) == (np.int32, np.float64)


@pytest.mark.parametrize(
    ("array", "y", "message"),
    [
        (np.ones((4, 3)), "3", "has no column '3'; it has '0', '1', '2'"),
        (RECORDS, "s", "column 's' holds no numbers but <U3"),
        (np.arange(3.0), "1", r"must hold a table .* got shape \(3,\) of float64"),
        (np.array([["a", "b"]]), "1", "must hold a table of numbers.*of <U1"),
        (np.ones((2, 2), dtype=complex), "1", "must hold real numbers; got complex128"),
        (np.array([[1, None]]), "1", "is no readable .npy file: Array can't be memory-mapped"),
    ],
)
def test_wrong_npy(tmp_path: Path, array: Any, y: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_columns(save(tmp_path / "t.npy", array), "t" if array is RECORDS else "0", y)


def test_something_else_named_npy(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.ones(3))
    with pytest.raises(FileError, match=r"is no .npy file but an archive"):
        read_columns((tmp_path / "t.npz").rename(tmp_path / "archive.npy"))
    (tmp_path / "t.npy").write_text("hello")
    with pytest.raises(FileError, match=r"no readable .npy file: it holds no plain numbers"):
        read_columns(tmp_path / "t.npy")


def test_wide_npy_is_read_in_parts_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastfit.points.files.npy._READ", 5000)
    table = np.arange(64_000.0).reshape(1000, 64)
    (columns,) = batches_of(scan(save(tmp_path / "wide.npy", table), "3", "40"))
    arrays = [column.array for column in columns]
    np.testing.assert_array_equal(arrays, table.T[[3, 40]])
    for column in arrays:
        assert column.base is None or column.base.size == column.size


def test_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none.csv does not exist"):
        read_columns(tmp_path / "none.csv")
    with pytest.raises(FileError, match="is a folder without files to read"):
        scan(tmp_path)
    for name in ("e.csv", "e.csv.gz", "e.parquet", "e.npy"):
        (tmp_path / name).touch()
        with pytest.raises(FileError, match=f"{name} is empty"):
            read_columns(tmp_path / name, "x", "y")
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(FileError, match=r"of no known format; its name must end in .parquet, .csv"):
        read_columns(tmp_path / "notes.md")
    (tmp_path / "head.csv").write_text("x,y\n")
    with pytest.raises(FileError, match=r"head.csv has columns but no rows"):
        fit_line(scan(tmp_path / "head.csv"))


@pytest.mark.parametrize(
    "name", ["t.parquet", "t.csv", "t.csv.gz", "t.arrow", "t.feather", "t.npy"]
)
def test_batches_are_alike(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastfit.points.files.table.BATCH", 256)
    table = open_table(str(write_table(pl.DataFrame(LONG), tmp_path / name)))
    found = list(table.batches(("1", "0") if name == "t.npy" else ("y", "x")))
    assert [y.array.size for y, _ in found] == [256, 256, 256, 232]
    arrays = [[column.array for column in batch] for batch in found]
    np.testing.assert_array_equal(np.hstack(arrays), [LONG["y"], LONG["x"]])
    assert table.count() == pytest.approx(1000, rel=0.2)


@pytest.mark.parametrize("name", ["t.arrow", "t.parquet", "t.csv.gz", "t.npy"])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, name: str, share: float) -> None:
    path = write_table(pl.DataFrame(LONG), tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FileError, match=f"{name}.*(cannot be read|is no readable)") as caught:
        read_columns(path, *(("0", "1") if name == "t.npy" else ("x", "y")))
    assert "\n" not in str(caught.value)


def test_a_panic_of_polars_says_that_the_file_is_damaged() -> None:
    def read(columns: list[str], as_text: bool) -> Any:
        raise pl.exceptions.PanicException("index out of bounds")

    table = Table("t.parquet", ["x"], read, lambda: 0)
    with pytest.raises(FileError, match=r"t.parquet cannot be read: it is damaged \(index out"):
        list(table.batches(["x"]))


def test_arrow_of_other_numbers_and_gaps(tmp_path: Path) -> None:
    columns = {
        "i": [1, None, 3],
        "b": [True, False, None],
        "t": ["1", " 2 ", None],
        "d": [None] * 3,
    }
    path = write_table(pl.DataFrame(columns), tmp_path / "t.arrow")
    np.testing.assert_array_equal(read_columns(path, "i", "b"), [[1, NAN, 3], [1, 0, NAN]])
    np.testing.assert_array_equal(read_columns(path, "t", "d"), [[1, 2, NAN], [NAN] * 3])
    lists = pl.DataFrame({"x": [[1], [2]], "y": [1, 2]})
    path = write_table(lists, tmp_path / "lists.parquet")
    with pytest.raises(
        FileError, match=r"column 'x' must hold real numbers or times; got .*list<.*; derive"
    ):
        read_columns(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.arrow"])
def test_without_the_libraries(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(pl.DataFrame(LONG), tmp_path / name)
    monkeypatch.setitem(sys.modules, "polars" if ".csv" in name else "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'fastfit\[files\]'"):
        scan(path)


def test_a_batch_is_a_few_megabytes() -> None:
    assert 1 << 20 < 16 * BATCH < 1 << 24
