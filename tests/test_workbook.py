"""Sheets of workbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fastfit as ff

pl = pytest.importorskip("polars")
pytest.importorskip("fastexcel")
xlsxwriter = pytest.importorskip("xlsxwriter")

ROWS = [("t", "v", "note"), (1, 3.5, "a"), (2, 5.5, "b"), (3, None, "c"), (4, 9.5, "d")]


def write(path: Path, **sheets: list[tuple[Any, ...]]) -> Path:
    with xlsxwriter.Workbook(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for k, row in enumerate(rows):
                sheet.write_row(k, 0, row)
    return path


def test_the_first_sheet_or_a_named_one(tmp_path: Path) -> None:
    path = write(tmp_path / "t.xlsx", one=ROWS, two=[("t", "v"), (0, 1), (1, 4)])
    fit = ff.fit_line(ff.scan(path, x="t", y="v"), nan_policy="omit")
    assert (fit.slope, fit.intercept) == pytest.approx((2.0, 1.5), rel=1e-14)
    assert (fit.n_points, fit.n_omitted) == (3, 1)
    assert ff.fit_line(ff.scan(path, sheet_name="two")).slope == 3.0
    with pytest.raises(ff.FileError, match="t.xlsx has no sheet 'three'; it has 'one', 'two'"):
        ff.scan(path, sheet_name="three")
    with pytest.raises(ff.FileError, match="column 'note' holds text: 'a' in data row 1"):
        ff.fit_line(ff.scan(path, x="t", y="note"))


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.xlsx", one=[("t", "v", "t"), (1, 3.5, 5), (2, 5.5, 6)])
    with pytest.raises(ff.FileError, match="t.xlsx has several columns 't'; give them other names"):
        ff.scan(path, x="t", y="v")


def test_empty_rows_above_the_header(tmp_path: Path) -> None:
    for n_empty in (1, 2, 7):
        rows = [(None,)] * n_empty + [(None, *row) for row in ROWS[:3]]
        path = write(tmp_path / f"{n_empty}.xlsx", one=rows)
        assert ff.fit_line(ff.scan(path, x="t", y="v")).slope == pytest.approx(2.0)


def test_rows_above_the_header_and_words_for_missing_values(tmp_path: Path) -> None:
    rows = [("Station 7",), ("t", "v"), (1, 2), (2, 4), ("none today", 5), (4, "n/a"), (5, 10)]
    path = write(tmp_path / "t.xlsx", one=rows)
    points = ff.scan(path, x="t", y="v", skip_rows=1, null_values=["none today"])
    fit = ff.fit_line(points, nan_policy="omit")
    assert (fit.slope, fit.n_points) == (2.0, 3)


def test_options_of_text_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.xlsx", one=ROWS)
    with pytest.raises(ValueError, match="separator must be left out: .*t.xlsx is of a format"):
        ff.scan(path, separator=";")
    path = tmp_path / "t.csv"
    path.write_text("t,v\n1,2\n")
    with pytest.raises(ValueError, match="sheet_name must be left out: .*t.csv is of a format"):
        ff.scan(path, sheet_name="one")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_workbook(share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "t.xlsx", one=ROWS)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ff.FileError, match=r"t.xlsx cannot be read"):
        ff.scan(path)


def test_times_and_an_empty_sheet(tmp_path: Path) -> None:
    import datetime

    with xlsxwriter.Workbook(tmp_path / "t.xlsx", {"default_date_format": "yyyy-mm-dd"}) as book:
        sheet = book.add_worksheet("days")
        sheet.write_row(0, 0, ["t", "v"])
        for k in range(3):
            sheet.write_datetime(k + 1, 0, datetime.datetime(2020, 1, 1 + k))
            sheet.write_number(k + 1, 1, 7.0 * k)
        book.add_worksheet("empty")
    fit = ff.fit_line(ff.scan(tmp_path / "t.xlsx"), datetime_unit="D")
    assert fit.slope == pytest.approx(7.0, rel=1e-14)
    with pytest.raises(ff.FileError, match="does not have just two columns"):
        ff.scan(tmp_path / "t.xlsx", sheet_name="empty")


def test_numbers_that_stand_for_missing_values(tmp_path: Path) -> None:
    path = write(tmp_path / "t.xlsx", one=[("t", "v"), (1, 2), (2, -999), (3, 6), (-999, 7)])
    fit = ff.fit_line(ff.scan(path, null_values=["-999"]), nan_policy="omit")
    assert (fit.slope, fit.n_points, fit.n_omitted) == (2.0, 2, 2)
