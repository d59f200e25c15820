"""Text files as they come: the line of the same numbers in a plain table, or an error that names the cell."""

from __future__ import annotations

import gzip
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit.kernels.fields import FieldCounter
from fastfit.points.files import rows
from tests.conftest import Script, needs_compiler

pl = pytest.importorskip("polars")

# y = 2 x + 0.5 through all points.
T = [1.5, 2.5, 4.0, 7.25]
V = [3.5, 5.5, 8.5, 15.0]
ROWS = list(zip(T, V, strict=True))
PLAIN = "t,v\n" + "".join(f"{t},{v}\n" for t, v in ROWS)


def comma(value: float) -> str:
    return str(value).replace(".", ",")


TEXTS: dict[str, str] = {
    "plain": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "blanks": "  t    v\n" + "".join(f" {t:8}  {v:8}\n" for t, v in ROWS),
    "decimal commas": "t;v\n" + "".join(f"{comma(t)};{comma(v)}\n" for t, v in ROWS),
    "comments": "# made by hand\n" + PLAIN.replace("2.5", "# half\n2.5", 1) + "# end\n",
    "a preamble": "Station 7\nlast changed, by X, on Monday\n\n" + PLAIN,
    "a row of units": PLAIN.replace("t,v\n", "t,v\ns,m\n"),
    "trailing separators": PLAIN.replace("\n", ",\n"),
    "trailing separators in rows": PLAIN.replace("\n", ",\n").replace("t,v,", "t,v"),
    "a trailing separator in the header": PLAIN.replace("t,v", "t,v,"),
    "row names": "t,v\n" + "".join(f"{9 * k},{t},{v}\n" for k, (t, v) in enumerate(ROWS)),
    "quotes": '"t","v","note"\n' + "".join(f'"{t}","{v}","a, ""b""\nc"\n' for t, v in ROWS),
    "blank lines": PLAIN.replace("\n", "\n\n"),
    "other columns of text": "a,t,b,v\n" + "".join(f"x,{t},yes,{v}\n" for t, v in ROWS),
    "blanks around": PLAIN.replace(",", " , "),
    "exponents": "t,v\n" + "".join(f"{t:e},{v:E}\n" for t, v in ROWS),
}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".dat"])
@pytest.mark.parametrize("kind", TEXTS)
def test_layouts_are_found(kind: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    path.write_text(TEXTS[kind])
    fit = ff.fit_line(ff.scan(path, x="t", y="v"))
    assert (fit.slope, fit.intercept) == pytest.approx((2.0, 0.5), rel=1e-14)
    assert (fit.n_points, fit.n_omitted) == (4, 0)


@needs_compiler
def test_a_blank_line_is_no_row_and_a_missing_row_is(tmp_path: Path) -> None:
    """Also where the first blank line is far down, words for missing values are given, and columns are numbers."""
    path = tmp_path / "t.csv"
    rows = "1,2,0\n3,4,0\n" * 50_000 + "\n9,nix,0\nnix,nix,nix\n\n,,\n  \n5,6,0\n\n\n"
    path.write_text("t,v,w\n" + rows)
    points = ff.scan(path, x="t", y="v", null_values=["nix"])
    fit = ff.fit_line(points, nan_policy="omit")
    assert (fit.slope, fit.n_points, fit.n_omitted) == pytest.approx((1.0, 100_001, 3), rel=1e-14)
    with pytest.raises(ValueError, match=r"t.csv: x must be finite; got NaN at index 100,001"):
        ff.fit_line(points)


@pytest.mark.parametrize("n_before", [1, 3000])
@pytest.mark.parametrize("blank", ["", " ", "   "])
def test_a_line_of_blanks_is_blank(blank: str, n_before: int, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,v\n" + "1,2\n" * n_before + f"{blank}\n3,4\n{blank}\n")
    fit = ff.fit_line(ff.scan(path))
    assert (fit.slope, fit.n_points, fit.n_omitted) == pytest.approx((1.0, n_before + 1, 0))


@needs_compiler
def test_a_file_of_blank_lines_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,v\n\n\n")
    with pytest.raises(
        ff.FileError, match="t.csv has columns but no rows: its first lines are blank"
    ):
        ff.fit_line(ff.scan(path))


def test_blank_lines_change_nothing_else(tmp_path: Path) -> None:
    """Numbers for missing values, truth values and rows of nothing but separators are read as without blank lines."""
    path = tmp_path / "t.csv"
    for end in ("", "\n", "\n \n\n"):
        path.write_text("t,v\n1,2\n3,4\n4,-999.0\n,\n5,6.0\n" + end)
        fit = ff.fit_line(ff.scan(path, null_values=["-999"]), nan_policy="omit")
        assert (fit.slope, fit.n_points, fit.n_omitted) == pytest.approx((1.0, 3, 2))
        with pytest.raises(ValueError, match="x must be finite; got NaN at index 3"):
            ff.fit_line(ff.scan(path))
        path.write_text("t,v\n1,true\n3,False\n2,TRUE\n" + end)
        assert ff.fit_line(ff.scan(path)).slope == pytest.approx(-0.5)
    # As text, since a cell far down is none of the numbers that the first rows promise.
    path.write_text("t,v\n" + "1,2\n3,4\n" * 2000 + "4,-999.0\n5,NA\n2,3\n")
    fit = ff.fit_line(ff.scan(path, null_values=["-999"]), nan_policy="omit")
    assert (fit.slope, fit.n_points, fit.n_omitted) == pytest.approx((1.0, 4001, 2))


HEADERS_IN_COMMENTS = {
    "numpy.savetxt": "# t v\n" + PLAIN.partition("\n")[2].replace(",", " "),
    "commas": "# made by hand, on Monday\n#t,v\n" + PLAIN.partition("\n")[2],
}


@pytest.mark.parametrize("kind", HEADERS_IN_COMMENTS)
def test_names_may_stand_in_the_comment_above_the_rows(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(HEADERS_IN_COMMENTS[kind])
    fit = ff.fit_line(ff.scan(path, x="t", y="v"))
    assert (fit.slope, fit.intercept, fit.n_points) == pytest.approx((2.0, 0.5, 4), rel=1e-14)
    # If nobody asks for these names, a comment is a comment, also of as many words as there are columns.
    with pytest.raises(ff.FileError, match="its first line holds the numbers 1.5, 3.5"):
        ff.scan(path)


def test_a_header_of_numbers_below_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("# source, WHO\n2010,2011\n5,6\n7,9\n")
    fit = ff.fit_line(ff.scan(path, x="2010", y="2011"))
    assert (fit.slope, fit.n_points) == pytest.approx((1.5, 2))
    with pytest.raises(ff.FileError, match="its first line holds the numbers 2010, 2011"):
        ff.scan(path)


def test_the_names_that_are_asked_for_show_the_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\tt\tv\n1,5\t2,5\tx,y,z\n2,5\t4,5\tx,y,z\n3,5\t6,5\tx,y,z\n")
    assert ff.fit_line(ff.scan(path, x="a", y="t")).slope == pytest.approx(2.0)


@pytest.mark.parametrize("row", ["#ff0000,7.25,15", "#N/A,7.25,15", "#c,7.25,15"])
@pytest.mark.parametrize("n_before", [1, pytest.param(50_000, marks=needs_compiler)])
def test_a_comment_that_may_be_a_row_is_an_error(row: str, n_before: int, tmp_path: Path) -> None:
    """All rows but the last lie on y = 2 x + 0.5; with it, they still do, and there is one more."""
    path = tmp_path / "t.csv"
    rows = [f"c,{t},{v}" for t, v in ROWS] * n_before
    path.write_text("\n".join(["# colours, of a lamp", "c,t,v", *rows, row, ""]))
    wrong = (
        rf"t.csv: line {len(rows) + 3:,} starts with '#', but has fields as a row: pass comment=''"
    )
    with pytest.raises(ff.FileError, match=wrong):
        ff.fit_line(ff.scan(path, x="t", y="v"))
    fit = ff.fit_line(ff.scan(path, x="t", y="v", comment="#"))
    assert (fit.slope, fit.n_points) == pytest.approx((2.0, len(rows)), rel=1e-14)
    path.write_text("\n".join(["c,t,v", "#0000ff,1,2.5", *rows, row, ""]))
    fit = ff.fit_line(ff.scan(path, x="t", y="v", comment=""))
    assert (fit.slope, fit.n_points) == pytest.approx((2.0, len(rows) + 2), rel=1e-14)


@pytest.mark.parametrize("n_before", [0, pytest.param(50_000, marks=needs_compiler)])
def test_a_prefix_of_comments_counts_whole(n_before: int, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("c,t,v\n" + "a,1,2\na,2,4\n" * n_before + "a,3,6\n/b,4\n//b,4\n//\na,5,10\n")
    line = 2 * n_before + 3
    with pytest.raises(ff.FileError, match=f"line {line:,} has 2 fields, and the header 3"):
        ff.fit_line(ff.scan(path, x="t", y="v", comment="//"))


def test_integers_of_64_bits_keep_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,v\n" + "".join(f"{2**64 - k},{k * k}\n" for k in (1, 2, 3)))
    assert ff.fit_line(ff.scan(path)).slope == pytest.approx(-4.0, rel=1e-14)  # of k^2 at 1, 2, 3


def test_times_with_and_without_zones_do_not_mix(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv"]
    paths[0].write_text("t,v\n2020-01-01T00:00:00,1\n2020-01-02T00:00:00,2\n")
    paths[1].write_text("t,v\n2020-01-03T02:00:00+02:00,3\n2020-01-03T23:00:00-01:00,4\n")
    paths[2].write_text("t,v\n2020-01-03T02:00:00+02:00,3\n2020-01-03T23:00:00,4\n")
    fit = ff.fit_line(
        ff.scan(
            paths[1],
        ),
        datetime_unit="D",
    )
    assert fit.slope == pytest.approx(1.0, rel=1e-14)
    with pytest.raises(
        ff.FileError, match=r"b.csv: column 't' holds times with a time zone, and earlier"
    ):
        ff.fit_line(ff.scan(paths[:2]))
    with pytest.raises(
        ff.FileError, match=r"c.csv: .* '2020-01-03T23:00:00' in data row 2; times must be"
    ):
        ff.fit_line(ff.scan(paths[2]))


@needs_compiler
def test_the_check_of_rows_ends_with_the_fit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(("t,v\nno,1\n" + "1,2\n3,4\n" * 5_000_000).encode(), 1))
    with pytest.raises(ff.FileError, match="column 't' holds text: 'no' in data row 1"):
        ff.fit_line(ff.scan(path))
    deadline = time.monotonic() + 20
    while any("fastfit-rows" in each.name for each in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "what", ["scan", *(pytest.param(each, marks=pytest.mark.slow) for each in ("path", "query"))]
)
def test_a_child_that_was_forked_after_polars_was_used_gets_an_error(
    what: str, run_script: Script, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PLAIN)
    opened = {"path": "None", "scan": "ff.scan(PATH)", "query": "ff.scan(pl.scan_csv(PATH))"}[what]
    code = f"""
        import multiprocessing
        import fastfit as ff
        import polars as pl

        PATH = {str(path)!r}

        def child(answers):
            try:
                answers.put(str(ff.fit_line(points or ff.scan(PATH))))
            except ff.FileError as error:
                answers.put(str(error))

        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        points = None
        for is_parent_first in (False, True):
            if is_parent_first:
                points = {opened}
                ff.fit_line(points or ff.scan(PATH))
            process = context.Process(target=child, args=(answers,))
            process.start()
            print(answers.get(timeout=60))
            process.join()
    """
    first, second = run_script(textwrap.dedent(code)).splitlines()
    assert first.startswith("LineFit: y = 2 x + 0.5")
    assert "was forked after Polars had been used" in second


def test_scanned_files_can_be_pickled(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PLAIN)
    points = pickle.loads(pickle.dumps(ff.scan(path)))
    assert ff.fit_line(points).slope == pytest.approx(2.0, rel=1e-14)


def test_what_other_threads_forget_of_a_file_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PLAIN)
    points = ff.scan(path)
    for _ in range(2):  # the second time, the check is known
        batches = points.table(0).batches(["t", "v"])
        next(batches)
        rows._known.clear()
        assert list(batches) == []


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with a mark"])
def test_encodings_and_line_ends(encoding: str, line_end: str, tmp_path: Path) -> None:
    text = PLAIN.replace("\n", line_end)
    data = text.encode(encoding.partition(" ")[0])
    if "mark" in encoding:
        data = b"\xfe\xff" + data
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    fit = ff.fit_line(ff.scan(path))
    assert (fit.slope, fit.n_points) == pytest.approx((2.0, 4), rel=1e-14)


def test_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("t,v,Größe\n".encode("latin-1") + b"1,2,\xe4\n2,4,\xe4\n")
    assert ff.fit_line(ff.scan(path, x="t", y="v")).slope == pytest.approx(2.0)
    fit = ff.fit_line(ff.scan(path, x="t", y="v", encoding="latin-1"))
    assert fit.slope == pytest.approx(2.0)
    with pytest.raises(ff.FileError, match="'no such'; pass another"):
        ff.scan(path, encoding="no such")
    with pytest.raises(ff.FileError, match="t.csv is not text in the encoding 'ascii'"):
        ff.scan(path, encoding="ascii")


@pytest.mark.parametrize("ending", [".csv.gz", ".tsv.zst", ".txt.gz"])
def test_packed_text(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    text = TEXTS["decimal commas"].encode()
    if ending.endswith("zst"):
        pl.DataFrame({"t": T, "v": V}).lazy().sink_csv(path, compression="zstd")
    else:
        path.write_bytes(gzip.compress(text))
    fit = ff.fit_line(ff.scan(path, x="t", y="v"))
    assert (fit.slope, fit.n_points) == pytest.approx((2.0, 4), rel=1e-14)


def test_options_say_what_the_first_lines_do_not(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("one; two\nt:v\n1,5:3,5\n2,5:5,5\n// no row\n4:8,5\nnix:1\n7,25:15\n")
    points = ff.scan(
        path,
        separator=":",
        decimal_comma=True,
        comment="//",
        skip_rows=1,
        null_values=["nix"],
    )
    fit = ff.fit_line(points, nan_policy="omit")
    assert (fit.slope, fit.intercept, fit.n_omitted) == pytest.approx((2.0, 0.5, 1))


WORDS = ["NAN", "<NA>", ".", "-", "#DIV/0!", "1.#QNAN", "NULL", "N/A", "", " "]


@pytest.mark.parametrize("word", WORDS)
def test_words_for_missing_values(word: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PLAIN + f"9,{word}\n{word},9\n")
    fit = ff.fit_line(ff.scan(path), nan_policy="omit")
    assert (fit.slope, fit.n_points, fit.n_omitted) == pytest.approx((2.0, 4, 2))


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        ("1,5", "pass decimal_comma=True"),
        ("$5", "numbers must have no"),
        ("1 234.5", "numbers must have no"),
        ("nix", r"pass null_values=\['nix'\] if it stands for a missing value"),
    ],
)
def test_a_cell_that_is_no_number_is_named_with_what_helps(
    cell: str, advice: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t;v\n" + "1;2\n" * 3000 + f"3;{cell}\n1;2\n")
    with pytest.raises(
        ff.FileError, match=rf"t.csv: column 'v' holds text: .* row 3,001; {advice}"
    ):
        ff.fit_line(ff.scan(path, decimal_comma=False))


@pytest.mark.parametrize("row", ["1,,3,9", "1,2", "1", "1,2,3,4,5"])
@pytest.mark.parametrize("before", [0, 3, 100_000])
def test_a_row_of_another_length_is_named(row: str, before: int, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,v,w\n" + "1,2,3\n4,5,6\n" * (before // 2 + 1) + f"{row}\n7,8,9\n")
    line = 2 * (before // 2 + 1) + 2
    wrong = rf"t.csv: line {line:,} has {row.count(',') + 1} fields, and the header 3: correct it"
    with pytest.raises(ff.FileError, match=wrong):
        ff.fit_line(ff.scan(path, x="t", y="v"), nan_policy="omit")


def test_rows_that_balance_each_other_are_found(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,v,w\n" + "1,2,3\n4,5,6\n" * 500 + "1,2\n1,2,3,4\n" + "7,8,9\n" * 9)
    with pytest.raises(ff.FileError, match="line 1,002 has 2 fields, and the header 3"):
        ff.fit_line(ff.scan(path, x="t", y="v"))


@pytest.mark.parametrize("chunk", [8, 64, 1 << 20])
def test_fields_are_counted_across_quotes_comments_and_chunks(chunk: int) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(4000):
        kind = rng.integers(0, 12)
        row = ",".join(str(n) for n in rng.integers(0, 10**6, 3))
        rows.append({0: "", 1: "# a,b,c,d", 2: 'x,"a,\n""b",3'}.get(int(kind), row))
    good = np.frombuffer(("\n".join(rows) + "\n").encode(), np.uint8)

    def first(data: Any) -> Any:
        counter = FieldCounter(",", 3, "#")
        for start in range(0, data.size, chunk):
            found = counter.first_irregular(data[start : start + chunk].tobytes())
            if found is not None:
                return start + found[0], found[1]
        return None

    assert first(good) is None
    for place in (0, 1999, 3999):
        lines = [*rows[:place], "1,2,3,4", *rows[place:]]
        bad = np.frombuffer(("\n".join(lines) + "\n").encode(), np.uint8)
        expected = len(("\n".join(lines[: place + 1]) + "\n").encode())
        assert first(bad) == (expected, 4)


def test_the_log_says_what_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.csv"
    with caplog.at_level(logging.INFO, "fastfit"):
        path.write_text(TEXTS["decimal commas"])
        ff.scan(path)
        assert "is read with separator=';', decimal_comma=True, comment=None" in caplog.text
        path.write_text(TEXTS["row names"])
        ff.scan(path)
        assert "the first field of each row, which the header does not name" in caplog.text


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,v,t\n1,2,3\n2,3,4\n")
    with pytest.raises(ff.FileError, match="has several columns 't'; give them other names"):
        ff.scan(path, x="t", y="v")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"separator": ";;"}, ValueError, "separator must be one character, .*; got ';;'"),
        ({"separator": 5}, ValueError, "separator must be one character"),
        ({"comment": 5}, ValueError, "comment must be a text, .*; got 5"),
        ({"null_values": "x"}, TypeError, "null_values must be a list of words; got 'x'"),
        ({"skip_rows": -1}, ValueError, "skip_rows must be an integer of at least 0; got -1"),
    ],
)
def test_wrong_options(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PLAIN)
    with pytest.raises(error, match=message):
        ff.scan(path, **options)


def test_options_are_for_text(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"t": T, "v": V}).write_parquet(path)
    with pytest.raises(
        ValueError, match="separator must be left out: .*t.parquet is of a format without it"
    ):
        ff.scan(path, separator=";")


@pytest.mark.slow  # each starts four processes
@pytest.mark.parametrize("kind", ["csv.gz", "csv", "parquet", "arrow", "npy"])
def test_standard_input_and_pipes_are_read_by_their_first_bytes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind}"
    table = pl.DataFrame({"t": T, "v": V})
    if kind == "npy":
        np.save(path, table.to_numpy())
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(PLAIN.encode()))
    else:
        (
            table.write_csv
            if kind == "csv"
            else getattr(table, f"write_{kind}".replace("arrow", "ipc"))
        )(path)
    pytest.importorskip("typer")
    command = f"{sys.executable} -m fastfit fit --backend numpy"
    for shell in (f"{command} - < {path}", f"{command} <(cat {path})"):
        result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
        assert "y = 2 x + 0.5" in result.stdout, result.stderr
    for text, why in (("", " is empty\n"), ("a,b\n1,2\nx,3\n", ": column 'a' holds text: 'x'")):
        failed = subprocess.run(
            [*command.split(), "-"], input=text, capture_output=True, text=True, check=False
        )
        assert failed.returncode == 2
        assert failed.stderr.startswith(f"fastfit: error: standard input{why}")


def test_a_pipe_is_read_once_and_its_copy_at_every_pass(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(PLAIN,))
    writer.start()
    points = ff.scan(pipe)
    writer.join(10)
    for _ in range(2):
        assert ff.fit_line(points).slope == pytest.approx(2.0, rel=1e-14)
    assert points.paths[0].endswith("pipe-pipe.csv")


def test_the_command_line_has_the_options_and_a_shells_advice(tmp_path: Path) -> None:
    testing, cli = pytest.importorskip("typer.testing"), pytest.importorskip("fastfit.cli")
    path = tmp_path / "t.csv"
    path.write_text("t:v\n1,5:3,5\n2,5:5,5\n4:8,5\nnix:1\n")
    arguments = ["fit", str(path), "--separator", ":"]
    result = testing.CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert "column 't' holds text: 'nix' in data row 4; pass --null-value 'nix'" in result.output
    result = testing.CliRunner().invoke(cli.app, [*arguments, "--null-value", "nix"])
    assert "y = 2 x + 0.5" in result.output


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zst"])
def test_rows_of_other_lengths_in_packed_text(ending: str, tmp_path: Path) -> None:
    text = PLAIN + "1,,2\n"
    path = tmp_path / f"t{ending}"
    if ending.endswith("gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        pa = pytest.importorskip("pyarrow")
        with pa.output_stream(path, compression="zstd") as file:
            file.write(text.encode())
    with pytest.raises(ff.FileError, match="line 6 has 3 fields, and the header 2"):
        ff.fit_line(ff.scan(path))


def test_packed_text_in_other_encodings_and_with_any_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(PLAIN.encode("utf-16")))
    assert ff.fit_line(ff.scan(path)).slope == pytest.approx(2.0, rel=1e-14)
    path = tmp_path / "t.txt"  # is packed, though its name does not say so
    path.write_bytes(gzip.compress(TEXTS["blanks"].encode()))
    assert ff.fit_line(ff.scan(path)).slope == pytest.approx(2.0, rel=1e-14)


TIMES = {
    "UTC": ("2020-01-01T00:00:00Z", "2020-01-01T00:00:10Z", "2020-01-01T00:00:30Z"),
    "a zone": (
        "2020-01-01 02:00:00+02:00",
        "2020-01-01 02:00:10+02:00",
        "2020-01-01 02:00:30+02:00",
    ),
    "no zone": ("2020-01-01T00:00:00", "2020-01-01T00:00:10", "2020-01-01T00:00:30"),
    "fractions": ("2020-01-01 00:00:00.0", "2020-01-01 00:00:10.0", "2020-01-01 00:00:30.0"),
    "minutes": ("2020-01-01 00:00", "2020-01-01 00:01", "2020-01-01 00:03"),
    "days": ("2020-01-01", "2020-01-02", "2020-01-04"),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_text(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "t,v\n" + "".join(f"{t},{v}\n" for t, v in zip(TIMES[kind], (1, 2, 4), strict=True))
    )
    fit = ff.fit_line(ff.scan(path), datetime_unit="s")
    step = {"minutes": 60.0, "days": 86400.0}.get(kind, 10.0)
    assert fit.slope == pytest.approx(1.0 / step, rel=1e-14)
    start = np.datetime64("2020-01-01T00:00")
    assert fit.predict(start) == pytest.approx(1.0, rel=1e-9)


def test_nanoseconds_of_text_keep_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "".join(f"2020-01-01T00:00:00.{k:09},{3 * k}\n" for k in range(5))
    path.write_text("t,v\n" + rows)
    assert ff.fit_line(ff.scan(path), datetime_unit="ns").slope == 3.0


@pytest.mark.parametrize("cell", ["01/02/2020", "1.2.2020", "13-01-2020"])
def test_dates_whose_order_is_not_known_are_refused(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"t,v\n{cell},1\n{cell},2\n")
    with pytest.raises(ff.FileError, match=rf"holds text: '{cell}' in data row 1; times must be"):
        ff.fit_line(ff.scan(path))


def test_the_format_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    path.write_text(PLAIN)
    with pytest.raises(ff.FileError, match=r"t.log is of no known format; .* or pass format"):
        ff.scan(path)
    assert ff.fit_line(ff.scan(path, format="csv")).n_points == 4
    assert ff.fit_line(ff.scan(tmp_path, format="txt")).n_points == 4  # all that is in the folder
    with pytest.raises(ValueError, match=r"format must be one of parquet, csv, .*; got 'log'"):
        ff.scan(path, format="log")
    pl.DataFrame({"t": T, "v": V}).write_parquet(path)
    assert ff.fit_line(ff.scan(path, format="parquet")).n_points == 4


@pytest.mark.parametrize("n", [1, 5000])
@pytest.mark.parametrize("option", [None, True])
def test_a_point_among_decimal_commas_is_no_decimal_point(
    n: int, option: bool | None, tmp_path: Path
) -> None:
    """1.004 may be a thousand and four: it was taken for 1.004 without a word."""
    path = tmp_path / "t.csv"
    path.write_text("t;v\n0,0;1,5\n1,0;2,4\n" + "2,0;3,5\n" * n + "3,0;1.004\n")
    with pytest.raises(
        ff.FileError, match=rf"'1.004' in data row {n + 3:,}; numbers must have no sep"
    ):
        ff.fit_line(ff.scan(path, decimal_comma=option))
    path.write_text("t;v;note\n0,0;1,5;1.\n1,0;2,4;a.b\n3,0;3,5;v1.2\n")  # points in other columns
    assert ff.fit_line(ff.scan(path, x="t", y="v")).n_points == 3


def test_thousands_are_not_taken_for_decimals(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('t,v\n1,"1,000"\n2,"2,000"\n3,"3,500"\n')
    with pytest.raises(
        ff.FileError, match="'1,000' in data row 1; numbers must have no separators of"
    ):
        ff.fit_line(ff.scan(path))


@pytest.mark.parametrize("units", ["s;mV;", "s;mV;-", "s;;", ";mV;text", "-;mV;"])
def test_rows_of_units_with_gaps(units: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"t;v;name\n{units}\n0,5;1,5;A\n1,5;3,5;B\n2,5;5,5;C\n")
    fit = ff.fit_line(ff.scan(path, x="t", y="v"))
    assert (fit.slope, fit.n_points, fit.n_omitted) == (2.0, 3, 0)


def test_a_first_row_of_text_and_gaps_is_no_row_of_units(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,t,v\nA,,\nB,1,2\nC,2,4\n")
    fit = ff.fit_line(ff.scan(path, x="t", y="v"), nan_policy="omit")
    assert (fit.n_points, fit.n_omitted) == (2, 1)


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize("last", ["3,6,9", "3"])
def test_a_last_row_without_a_line_end_is_checked(last: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    data = f"x,y\n1,2\n2,4\n{last}".encode()
    path.write_bytes(gzip.compress(data) if ending == "csv.gz" else data)
    with pytest.raises(ff.FileError, match="line 4 has|is cut off"):
        ff.fit_line(ff.scan(path))


def test_names_that_are_near_and_names_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time,value\n1,2\n2,4\n")
    with pytest.raises(ff.FileError, match="no column 'tme'.*; did you mean 'time'"):
        ff.scan(path, x="tme", y="value")
    path.write_bytes("Zeit;Größe\n1;2\n2;4\n".encode("latin-1"))
    with pytest.raises(ff.FileError, match="it is not UTF-8: pass encoding, such as 'latin-1'"):
        ff.scan(path, x="Zeit", y="Größe")
    assert ff.fit_line(ff.scan(path, x="Zeit", y="Größe", encoding="latin-1")).slope == 2.0


def test_advice_is_what_the_format_takes(tmp_path: Path) -> None:
    table = pl.DataFrame({"t": [1.0, 2.0], "v": ["a", "1,5"]})
    table.write_parquet(tmp_path / "t.parquet")
    for points in (ff.scan(tmp_path / "t.parquet"), ff.scan(table.lazy(), x="t", y="v")):
        with pytest.raises(ff.FileError, match="'a' in data row 1; derive a column of numbers"):
            ff.fit_line(points)
    with pytest.raises(ValueError, match="null_values must be left out for a query of Polars"):
        ff.scan(table.lazy(), x="t", y="v", null_values=["a"])


def test_null_values_may_be_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastfit.points.files.table.BATCH", 4)
    path = tmp_path / "t.csv"
    for more in ("", "NA,1\n", "-999,1\n"):
        path.write_text("x,y\n-999,2\n1,4\n2,6\n3,8\n" + more + "-999,7\n")
        fit = ff.fit_line(ff.scan(path, null_values=["-999"]), nan_policy="omit")
        assert (fit.slope, fit.n_points) == (2.0, 3)


def test_a_quote_inside_a_field_is_refused(tmp_path: Path) -> None:
    """Up to the next quote, rows would be taken for one field."""
    path = tmp_path / "t.csv"
    path.write_text('x,y,c\n1,2,5" pipe\n3,4,6" pipe\n5,6,z\n7,9,z\n')
    with pytest.raises(ff.FileError, match="line 2 has a quotation mark inside a field"):
        ff.fit_line(ff.scan(path, x="x", y="y"))
    path.write_text('x,y,c\n1,2,"5"" pipe"\n3,4, "6, 7"\n5,6,z\n7,8,""\n')
    assert ff.fit_line(ff.scan(path, x="x", y="y")).n_points == 4


def test_commas_that_may_separate_thousands(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x;y\n1;1,000\n2;2,000\n3;3,000\n")
    with pytest.raises(
        ff.FileError, match="commas as in '1,000' may separate thousands or decimals"
    ):
        ff.scan(path)
    assert ff.fit_line(ff.scan(path, decimal_comma=True)).slope == pytest.approx(1.0)


@pytest.mark.parametrize("end", ["# end", '# it"s', "#"])
def test_a_last_line_that_is_no_row_needs_no_line_end(end: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("# made by hand\n" + PLAIN + end)
    assert ff.fit_line(ff.scan(path), nan_policy="omit").slope == pytest.approx(2.0, rel=1e-14)
