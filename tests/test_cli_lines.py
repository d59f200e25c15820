"""The command line: lines of groups and windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import fastfit as ff
from tests.test_cli import call


@pytest.fixture
def table(tmp_path: Path, rng: np.random.Generator) -> pl.DataFrame:
    """Return points of twelve sensors, written to two files as well."""
    n = 600
    times = np.datetime64("2024-01-01", "us") + np.cumsum(rng.integers(1, 10**9, n))
    sensor = rng.integers(0, 12, n)
    frame = pl.DataFrame(
        {"t": times, "v": rng.standard_normal(n), "sensor": sensor, "site": sensor % 2 + 7}
    ).with_columns(site=pl.format("site-{}", "site"))
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    return frame


NAMES = ["--x", "t", "--y", "v", "--datetime-unit", "D"]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_groups_are_printed_and_written(table: pl.DataFrame, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"lines.{ending}"
    by = ["--by", "site", "--by", "sensor"]
    done = call("fit", str(tmp_path / f"t.{ending}"), *NAMES, *by, "--out", str(out))
    assert (done.exit_code, done.stderr) == (0, "")
    for line in ("lines         12", "converged     12", "most significant"):
        assert line in done.stdout.splitlines()
    assert "site    sensor" in done.stdout
    found = getattr(pl, f"read_{ending}")(out)
    expected = ff.fit_groups("t", "v", ["site", "sensor"], data=table, datetime_unit="D")
    np.testing.assert_allclose(found["slope"], expected.slope, rtol=1e-12)
    assert expected.keys is not None
    assert found["sensor"].to_list() == expected.keys["sensor"].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["t.parquet", "t.csv", out.name]
    )


@pytest.mark.parametrize("out", ["t.csv", "sub/../t.csv", "new.csv"])
@pytest.mark.usefixtures("table")
def test_files_that_are_read_are_not_written(tmp_path: Path, out: str) -> None:
    (tmp_path / "sub").mkdir()
    before = (tmp_path / "t.csv").read_bytes()
    (tmp_path / "t.parquet").unlink()
    given = str(tmp_path if out == "new.csv" else tmp_path / "*.csv")
    done = call("fit", given, *NAMES, "--by", "sensor", "--out", str(tmp_path / out))
    assert done.exit_code == 2
    assert "--out must not be among the files that are read" in done.stderr
    assert (tmp_path / "t.csv").read_bytes() == before


def test_groups_as_json(table: pl.DataFrame, tmp_path: Path) -> None:
    done = call("fit", str(tmp_path / "t.csv"), *NAMES, "--by", "sensor", "--json")
    found = json.loads(done.stdout)
    expected = ff.fit_groups("t", "v", "sensor", data=table, datetime_unit="D")
    assert (found["n_lines"], found["n_ungrouped"]) == (12, 0)
    assert found["lines"]["slope"] == pytest.approx(expected.slope.tolist(), rel=1e-9)
    assert found["lines"]["sensor"] == list(range(12))


@pytest.mark.parametrize(("rolling", "window"), [("20", 20), ("7h", "7h")])
@pytest.mark.parametrize("by", [[], ["sensor"]])
def test_windows_are_written(
    table: pl.DataFrame, tmp_path: Path, rolling: str, window: Any, by: list[str]
) -> None:
    out, picture = tmp_path / "lines.parquet", tmp_path / "lines.png"
    options = [*NAMES, "--rolling", rolling, "--out", str(out), "--plot", str(picture)]
    for key in by:
        options += ["--by", key]
    done = call("fit", str(tmp_path / "t.csv"), *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "windows         600" in done.stdout
    expected = ff.fit_rolling("t", "v", window, by=by or None, data=table, datetime_unit="D")
    found = pl.read_parquet(out)
    np.testing.assert_allclose(found["slope"], expected.slope, rtol=1e-9, atol=1e-12)
    assert found["t"].to_list() == table["t"].to_list()
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_rows_without_a_key_are_written(tmp_path: Path, ending: str) -> None:
    (tmp_path / "points.csv").write_text("x,y,k\n1,2,1\n2,4,1\n3,5,\n4,4,2\n5,7,2\n")
    out = tmp_path / f"lines.{ending}"
    options = ["--x", "x", "--y", "y", "--by", "k", "--rolling", "2", "--out", str(out)]
    assert call("fit", str(tmp_path / "points.csv"), *options).exit_code == 0
    found = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert found["k"].to_list() == [1, 1, None, 2, 2]


def test_durations_are_keys(tmp_path: Path) -> None:
    times = pl.Series([1, 1, 2, 2]).cast(pl.Duration("ms"))
    path, out = tmp_path / "points.parquet", tmp_path / "lines.csv"
    pl.DataFrame({"x": [0, 1] * 2, "y": [1.0, 2.0] * 2, "k": times}).write_parquet(path)
    shown = call("fit", str(path), "--x", "x", "--y", "y", "--by", "k", "--out", str(out))
    assert "2 milliseconds" in shown.stdout
    assert pl.read_csv(out)["k"].to_list() == ["PT0.001S", "PT0.002S"]
    pl.DataFrame({"x": [0, 1] * 2, "y": [1.0, 2.0] * 2, "k": [b"a"] * 4}).write_parquet(path)
    shown = call("fit", str(path), "--x", "x", "--y", "y", "--by", "k", "--out", str(out))
    assert "--out must end in .parquet where keys are bytes, as 'k' are" in shown.stderr


def test_windows_by_width_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{k},{k * k}\n" for k in range(30)))
    done = call("fit", str(tmp_path / "a.csv"), "--rolling", "2.5", "--json")
    found = json.loads(done.stdout)["lines"]
    assert found["n_points"] == [1, 2, *[3] * 28]
    assert found["slope"][2] == pytest.approx(2.0)
    text = call("fit", str(tmp_path / "a.csv"), "--rolling", "7D").stderr
    assert "got '7D': write a width in x as a number with a point, such as 7.0" in text
    few = ["--rolling", "5", "--step", "4", "--min-points", "2", "--json"]
    found = json.loads(call("fit", str(tmp_path / "a.csv"), *few).stdout)["lines"]
    assert found["n_points"] == [1, *[5] * 7]
    assert found["slope"][1:] == pytest.approx([4.0 + 8.0 * k for k in range(7)])


@pytest.mark.usefixtures("table")
def test_an_exit_code_says_that_no_line_could_be_fitted(tmp_path: Path) -> None:
    done = call("fit", str(tmp_path / "t.csv"), *NAMES, "--by", "sensor", "--min-points", "5000")
    assert done.exit_code == 3
    assert done.stderr.startswith("fastfit: warning: no line could be fitted")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "sensors"], "has no column 'sensors'"),
        (["--by", "sensor", "--out", "lines.txt"], "--out must end in .parquet or .csv"),
        (["--by", "sensor", "--out", "no/lines.csv"], "--out must be in a folder that exists"),
        (["--by", "sensor", "--init", "1,2"], "--init must be left out with --by or --rolling"),
        (["--rolling", "9", "--backend", "numpy"], "--backend must be left out with --by"),
        (["--out", "lines.csv"], "--out must be left out without --by or --rolling"),
        (["--min-points", "3"], "--min-points must be left out without --by or --rolling"),
        (["--by", "sensor", "--step", "2"], "--step must be left out without --rolling"),
        (["--step", "2"], "--step must be left out without --rolling"),
        (["--rolling", "-2.5"], "window must be a number of rows, a timedelta"),
        (["--rolling", "0"], "window must be an integer of at least 1; got 0"),
        (["--rolling", "7 parsecs"], "window must be a whole number and a unit"),
        (["--by", "sensor", "--by", "sensor"], "a list of different names"),
    ],
)
@pytest.mark.usefixtures("table")
def test_bad_options_are_told(tmp_path: Path, options: list[str], message: str) -> None:
    done = call("fit", str(tmp_path / "t.csv"), *NAMES, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
