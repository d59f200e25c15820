"""Columns of files, and errors that name file and column."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfit.fit import fit_line
from fastfit.points.files.readers import BATCH, MISSING, FileError, NotAsTyped, Table, open_table
from fastfit.points.files.scan import FilePoints, scan
from tests.conftest import DATA

pl = pytest.importorskip("polars")

TABLE = {"x": [1.0, 2.0, 3.0], "name": ["a", "b", "c"], "y": [2.0, None, 6.0], "n": [1, 2, None]}


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
    return tuple(map(np.concatenate, zip(*found, strict=True)))


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
    with pytest.raises(FileError, match="is a folder without files to read"):
        scan(tmp_path)
    for name in ("e.csv", "e.csv.gz", "e.parquet", "e.npy"):
        (tmp_path / name).touch()
        with pytest.raises(FileError, match=f"{name} is empty"):
            read_columns(tmp_path / name, "x", "y")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileError, match=r"of no known format; its name must end in .parquet, .csv"):
        read_columns(tmp_path / "notes.txt")
    (tmp_path / "head.csv").write_text("x,y\n")
    with pytest.raises(FileError, match=r"head.csv has columns but no rows"):
        fit_line(scan(tmp_path / "head.csv"))


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


LONG = {"x": np.arange(1000.0), "y": np.arange(1000.0) ** 2, "name": ["a"] * 1000}


def write(path: Path) -> Path:
    """Write a table of 1,000 rows in the format that a path asks for."""
    table = pl.DataFrame(LONG)
    if path.name.endswith(".npy"):
        np.save(path, table.select("x", "y").to_numpy())
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    elif path.suffix in (".arrow", ".feather"):
        table.write_ipc(path, record_batch_size=300)
    else:
        getattr(table, f"write_{path.suffix[1:]}")(path)
    return path


NAMES = ["t.parquet", "t.csv", "t.csv.gz", "t.arrow", "t.feather", "t.npy"]


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_alike(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastfit.points.files.readers.BATCH", 256)
    table = open_table(str(write(tmp_path / name)))
    names = ("1", "0") if name == "t.npy" else ("y", "x")
    found = list(table.batches(names))
    assert [y.size for y, _ in found] == [256, 256, 256, 232]
    np.testing.assert_array_equal(np.concatenate([y for y, _ in found]), LONG["y"])
    np.testing.assert_array_equal(np.concatenate([x for _, x in found]), LONG["x"])
    assert table.count() == pytest.approx(1000, rel=0.2)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_either_order_in_batches(
    tmp_path: Path, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastfit.points.files.readers.BATCH", 7)
    table = np.asarray(np.arange(60.0).reshape(20, 3), order=order)
    np.save(tmp_path / "t.npy", table)
    x, y = read_columns(tmp_path / "t.npy", "2", "0")
    np.testing.assert_array_equal(x, table[:, 2])
    np.testing.assert_array_equal(y, table[:, 0])


def test_wide_npy_is_read_in_parts_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastfit.points.files.readers._READ", 5000)
    table = np.arange(64_000.0).reshape(1000, 64)
    np.save(tmp_path / "wide.npy", table)
    (columns,) = batches_of(scan(tmp_path / "wide.npy", "3", "40"))
    for column, place in zip(columns, (3, 40), strict=True):
        np.testing.assert_array_equal(column, table[:, place])
        assert column.base is None or column.base.size == column.size


def test_a_column_of_csv_that_turns_from_integers_to_floats_words_and_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    whole = "1700000000000000001,2\n" * 5000
    path.write_text("x,y\n" + whole)
    (x, _), *_ = batches_of(scan(path))
    assert x.dtype == np.int64
    assert x[0] == 1700000000000000001
    path.write_text("x,y\n" + whole + "1.5,2\n")
    x, _ = read_columns(path)
    assert x.dtype == np.float64
    assert x[-1] == 1.5
    path.write_text("x,y\n" + whole + "1.5,2\nNA,3\n 7 ,3\n")
    x, y = read_columns(path)
    np.testing.assert_array_equal(x[-3:], [1.5, np.nan, 7.0])
    assert y[-1] == 3.0
    path.write_text("x,y\n" + whole + "1.5,2\nNA,3\nseven,3\n")
    with pytest.raises(FileError, match="column 'x' holds text: 'seven' in data row 5,003"):
        read_columns(path)


def test_a_csv_cut_off_in_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n3,4\n5")
    with pytest.raises(FileError, match="t.csv is cut off: its last line has 1 of 2 fields"):
        scan(path)
    path.write_text("x,y\n1,2\n3,4\n5,")  # which nobody can tell from a missing value
    np.testing.assert_array_equal(read_columns(path)[1], [2, 4, np.nan])
    path.write_text("x,y\n1,2\n3,4,5\n")
    with pytest.raises(FileError, match="t.csv cannot be read: found more fields"):
        read_columns(path)


@pytest.mark.parametrize("name", ["t.arrow", "t.parquet", "t.csv.gz", "t.npy"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / name)
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
    table = pl.DataFrame(
        {"i": [1, None, 3], "b": [True, False, None], "t": ["1", " 2 ", None], "d": [None] * 3}
    )
    table.write_ipc(tmp_path / "t.arrow")
    i, b = read_columns(tmp_path / "t.arrow", "i", "b")
    np.testing.assert_array_equal(i, [1, np.nan, 3])
    np.testing.assert_array_equal(b, [1, 0, np.nan])
    t, d = read_columns(tmp_path / "t.arrow", "t", "d")
    np.testing.assert_array_equal(t, [1, 2, np.nan])
    assert np.isnan(d).all()
    dates = pl.DataFrame({"x": pl.date_range(pl.date(2013, 1, 1), pl.date(2013, 1, 3), eager=True)})
    dates.with_columns(y=pl.col("x")).write_parquet(tmp_path / "dates.parquet")
    with pytest.raises(FileError, match="column 'x' holds no numbers but Date; derive a column"):
        read_columns(tmp_path / "dates.parquet")


def test_without_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("t.parquet", "t.csv", "t.arrow"):
        path = write(tmp_path / name)
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "polars", None)
            with pytest.raises(ImportError, match=r"pip install 'fastfit\[files\]'"):
                scan(path)


def test_a_batch_is_a_few_megabytes() -> None:
    assert 1 << 20 < 16 * BATCH < 1 << 24
