"""The command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fastfit
from fastfit.cli import app
from fastfit.losses import LOSSES
from fastfit.speed import throughput
from tests.conftest import DATA, needs_compiler, start_script

FLIGHTS = str(DATA / "flights.parquet")
COLUMNS = ["--x", "distance", "--y", "air_time"]


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def fitted(path: str, options: str = "") -> Any:
    """Return what ``fastfit fit PATH OPTIONS --json`` prints."""
    return json.loads(call("fit", path, *options.split(), "--json").stdout)


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,3\n2,5\n,9\n3,7\nNaN,1\n4,9.5\n")
    return str(path)


@needs_compiler
def test_flights() -> None:
    result = call("fit", FLIGHTS, *COLUMNS, "--solver", "gradient_descent")
    assert (result.exit_code, result.stderr) == (0, "")
    numbers = {"slope": "0.126119 +- 0.000030", "points": "327,346", "left out": "9,430"}
    for line in (*(f"{name:<23} {value}" for name, value in numbers.items()), "Converged"):
        assert line in result.stdout


def test_json_of_a_reference_fit_of_the_flights() -> None:
    found = fitted(FLIGHTS, " ".join([*COLUMNS, "--backend numpy --record-every 1"]))
    assert found["slope"] == pytest.approx(0.12611932467386064, rel=1e-12)
    assert (found["n_points"], found["n_omitted"]) == (327_346, 9_430)
    assert found["converged"] is True
    assert found["history"]["iteration"][0] == 0


def test_rows_with_a_missing_value_are_left_out_and_counted(csv: str) -> None:
    found = fitted(csv, "--x x --y y")
    assert (found["n_points"], found["n_omitted"]) == (4, 2)
    assert found["slope"] == pytest.approx(2.15, rel=1e-12)


def test_solver_options(csv: str) -> None:
    options = "--init=-2,1 --learning-rate 0.01 --no-standardize --max-iter 3 --record-every 2"
    result = call("fit", csv, *f"{options} --tol 0 --threads 1".split())
    assert result.exit_code == 3
    table, summary = result.stdout.split("\n\n")
    rows = [line.split() for line in table.splitlines()]
    assert [row[0] for row in rows] == ["iteration", "0", "2", "3"]
    assert rows[1][1:3] == ["-2.00", "1.00"]
    assert "MAX_ITER" in summary
    random = "--init random --seed 1 --max-iter 1 --learning-rate 0.1"
    assert fitted(csv, random) == fitted(csv, random)


def test_a_diverging_fit_says_so_and_still_prints_its_best_line(csv: str) -> None:
    result = call("fit", csv, "--learning-rate", "5")
    assert result.exit_code == 3
    assert "DIVERGED" in result.stdout
    assert "--learning-rate must be below 1 for these data" in result.stderr
    assert result.stderr.startswith("fastfit: warning: Diverged")
    assert fitted(csv, "--learning-rate 5")["status"] == "DIVERGED"


FLIGHT, HUBER = ["fit", FLIGHTS, *COLUMNS], ["fit", "{csv}", "--loss", "huber"]
EXACT, NEWTON = (["fit", "{csv}", "--solver", solver] for solver in ("exact", "newton"))
LEFT_OUT, CSV = "must be left out with", ["fit", "{csv}"]
TEN_TO_15 = ["bench", "--max-points", str(10**15)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "missing.csv"], "missing.csv does not exist"),
        ([*FLIGHT, "--x", "dist"], "no column 'dist'; it has 'carrier', 'dis"),
        (
            [*FLIGHT, "--x", "carrier"],
            "column 'carrier' holds text: 'UA' in data row 1; name a column of numbers",
        ),
        (["fit", FLIGHTS, "--x", "distance"], "--x and --y must be given"),
        ([*FLIGHT, "--learning-rate", "fast"], "--learning-rate must be 'auto' or a"),
        ([*FLIGHT, "--init", "1"], "--init must be SLOPE,INTERCEPT"),
        ([*FLIGHT, "--max-iter", "0"], "--max-iter must be an integer of at least 1; got 0"),
        ([*FLIGHT, "--threads", "0"], "--threads must be an integer of at least 1; got 0"),
        ([*FLIGHT, "--plot", "/dev/null/p.png"], "the folder of the picture does not"),
        (
            [*FLIGHT, "--plot", "p.doc"],
            "name must end in .png, .svg, .pdf or another format of matplotlib",
        ),
        ([*FLIGHT, "--seed", "3"], "--seed must be left out without --init random"),
        ([*CSV, "--bands"], "--bands must be left out without --plot"),
        ([*CSV, "--sigma", "y", "--loss", "huber"], "--sigma must be left out with --loss huber"),
        ([*CSV, "--plot", "/proc/a.png"], "the picture /proc/a.png cannot be written: "),
        (["fit", ""], "'' does not exist"),
        ([*CSV, "--weight", "nope"], "no column 'nope'; it has 'x', 'y'"),
        ([*CSV, "--absolute-sigma"], "--absolute-sigma needs --sigma"),
        ([*CSV, "--loss", "hubert"], "loss must be 'squared_error' or 'huber' or"),
        ([*CSV, "--f-scale", "2"], f"--f-scale {LEFT_OUT} squared error, which has none"),
        ([*HUBER, "--f-scale", "-2"], "--f-scale must be 'mad' or a finite number above 0"),
        ([*HUBER, "--f-scale", "two"], "--f-scale must be 'mad' or a finite number above 0"),
        ([*HUBER, "--solver", "exact"], "--solver exact needs --loss squared_error"),
        ([*NEWTON, "--seed", "3"], f"--seed {LEFT_OUT} --solver newton, which"),
        ([*EXACT, "--tol", "0.1"], f"--tol {LEFT_OUT} --solver exact, which"),
        (["bench", "--max-points", "10"], "--max-points must be 1,000 or more; got 10"),
        (["bench", "--threads", "0"], "--threads must be an integer of at least 1; got 0"),
        (["bench", "--plot", "missing/bench.png"], "the folder of the picture does not exist"),
        pytest.param(TEN_TO_15, "Unable to allocate", marks=needs_compiler),
    ],
)
def test_errors_are_one_line_and_exit_code_2(csv: str, arguments: list[str], message: str) -> None:
    result = call(*(each.replace("{csv}", csv) for each in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("fastfit: error: ")


def test_json_of_a_descent_that_overflows(csv: str) -> None:
    far = fitted(csv, "--learning-rate 1e200 --record-every 1")
    assert far["history"]["loss"][-1] is None


def test_plots_are_written(csv: str, tmp_path: Path) -> None:
    for arguments in (["fit", csv], ["demo", "--backend", "numpy"]):
        picture = tmp_path / f"{arguments[0]}.png"
        assert call(*arguments, "--plot", str(picture)).exit_code == 0
        assert picture.read_bytes().startswith(b"\x89PNG")
    picture = tmp_path / "bands.svg"
    assert call("fit", csv, "--plot", str(picture), "--bands").exit_code == 0
    assert "95 % prediction band" in picture.read_text()


def test_version_and_help() -> None:
    assert call("--version").stdout == f"fastfit {fastfit.__version__}\n"
    assert "Fit a line to two columns of files" in call("fit", "--help").stdout
    assert call("fit", "--no-such-option").exit_code == 2


def test_as_a_module_without_a_traceback() -> None:
    command = [sys.executable, "-m", "fastfit", "fit", "missing.csv"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == "fastfit: error: missing.csv does not exist\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str) -> None:
    process = start_script(
        f"import sys; sys.modules[{missing!r}] = None; from fastfit.__main__ import main; main()"
    )
    _, err = process.communicate()
    assert process.returncode == 1
    assert err == "fastfit: the command line needs Typer and Rich: pip install 'fastfit[cli]'\n"


TERMINAL = {"TTY_COMPATIBLE": "1", "FORCE_COLOR": "1"}
ITERATION, PASS = "iteration 1 of at most 10,000, loss", "pass 1: 6 rows"


@pytest.mark.parametrize(
    ("options", "environment", "shown"),
    [
        pytest.param(["--tol", "1e-9"], {}, [], marks=pytest.mark.slow),
        (["--tol", "1e-9"], TERMINAL, [ITERATION]),
        ([], TERMINAL, [PASS]),
        pytest.param(["--no-progress"], TERMINAL, [], marks=pytest.mark.slow),
    ],
)
def test_progress_is_shown_on_a_terminal(
    csv: str, options: list[str], environment: dict[str, str], shown: list[str]
) -> None:
    arguments = ["fastfit", "fit", csv, "--backend", "numpy", *options]
    code = "import sys; from fastfit.points.files import streams; streams.KEPT = 0; "
    code += f"sys.argv = {arguments}; from fastfit.__main__ import main; main()"
    out, err = start_script(code, **environment).communicate()
    assert out.startswith("line ")
    seen = {each for each in (ITERATION, PASS) if each in err}
    # What took long before the first iteration may be seen besides.
    assert set(shown) <= seen <= ({ITERATION, PASS} if shown else set())


def test_weights_and_sigma(tmp_path: Path) -> None:
    weighted = str(tmp_path / "w.csv")
    Path(weighted).write_text("t,v,n,s\n1,3,1,.1\n2,5,2,.2\n3,8,1,.1\n4,9,,.3\n5,10,0,.4\n")
    table = np.array([[1, 3, 1, 0.1], [2, 5, 2, 0.2], [3, 8, 1, 0.1], [5, 10, 0, 0.4]])
    x, y, n, s = table.T
    named = "--x t --y v --weight n --backend numpy"
    found = fitted(weighted, named)
    expected = fastfit.fit_line(x, y, sample_weight=n, backend="numpy")
    assert (found["slope"], found["stderr"]) == (expected.slope, expected.stderr)
    assert (found["n_points"], found["n_omitted"]) == (4, 1)
    found = fitted(weighted, f"{named} --sigma s --absolute-sigma --no-intercept")
    given: dict[str, Any] = {"sample_weight": n, "sigma": s, "backend": "numpy"}
    expected = fastfit.fit_line(x, y, **given, absolute_sigma=True, fit_intercept=False)
    assert (found["slope"], found["stderr"]) == (expected.slope, expected.stderr)
    assert found["intercept"] == 0.0
    # The columns that are left are x and y.
    found = fitted(weighted, "--weight n --sigma s --backend numpy")
    assert found["slope"] == fastfit.fit_line(x, y, **given).slope


def test_solvers_on_the_command_line(csv: str) -> None:
    exact = fitted(csv)
    assert exact["message"].startswith("Exact")
    assert exact == fitted(csv, "--solver exact")
    for options, n_passes in (("--passes samples", 3), ("--tol 1e-9", 1)):
        found = fitted(csv, options)
        assert (found["n_iter"], found["n_passes"]) == (1, n_passes)
        assert found["slope"] == pytest.approx(exact["slope"], rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_on_the_command_line(loss: str) -> None:
    found = fitted(FLIGHTS, f"--x dep_delay --y arr_delay --loss {loss} --backend numpy")
    assert found["converged"] is True
    # On time means early arrival: a minute of delay is a minute.
    assert 0.98 < found["slope"] < 1.03
    assert -8.0 < found["intercept"] < -5.0
    assert (found["f_scale"] is None) == (loss == "squared_error")


def test_f_scale_and_newton_on_the_command_line(csv: str) -> None:
    huber = "--loss huber --f-scale 0.1"
    found = fitted(csv, huber)
    assert found["f_scale"] == 0.1
    history = fitted(csv, f"{huber} --record-every 1")["history"]
    assert history["slope"][-1] == pytest.approx(found["slope"], rel=1e-12)
    descent = fitted(csv, f"{huber} --init=0,0")
    assert descent["slope"] == pytest.approx(found["slope"], rel=1e-6)
    assert descent["n_iter"] > found["n_iter"]
    assert fitted(csv, "--solver newton")["slope"] == pytest.approx(2.15, rel=1e-12)


@needs_compiler
def test_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(throughput, "_SECONDS_FOR_FITS", 0.1)
    monkeypatch.setattr(throughput, "_SECONDS_FOR_NUMPY", 0.01)
    picture = tmp_path / "bench.png"
    options = f"--max-points 1000 --threads 1 --json --plot {picture}"
    result = call("bench", *options.split())
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["machine"]["fastfit"] == fastfit.__version__
    assert {fit["n_points"] for fit in found["fits"]} == {1000}
    assert picture.stat().st_size > 10_000
    assert result.stderr == ""  # no progress in a pipe
    result = call("bench", "--max-points", "1000")
    assert "faster than NumPy" in result.stdout


def test_info() -> None:
    result = call("info")
    assert result.exit_code == 0
    found = json.loads(call("info", "--json").stdout)
    assert found["fastfit"] == fastfit.__version__
    assert found["libraries"]["scipy"] is not None
    assert found["threads"] >= 1
    for name in ("processor", "thread layer", "compiled code", "  polars"):
        assert f"\n{name} " in result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three files."""
    root = tmp_path / "data"
    root.mkdir()
    for number, text in enumerate(
        ("x,y\n0,0\n5,10.5\n", "x,y\n1,2\n6,12.5\n", "y,x,name\n4,2,a\n")
    ):
        (root / f"{number}.csv").write_text(text)
    return root


def test_many_files_folders_and_patterns(folder: Path) -> None:
    named = "--x x --y y"
    whole = fitted(str(folder), named)
    assert whole["n_points"] == 5
    each = call("fit", *map(str, sorted(folder.iterdir())), *named.split(), "--json")
    assert json.loads(each.stdout) == whole
    assert fitted(str(folder / "[12].csv"), named)["n_points"] == 3
    (folder / "1.csv").write_text("x,y\n1,2\n3,four\n")
    failed = call("fit", str(folder))
    message = f"{folder / '1.csv'}: column 'y' holds text: 'four' in data row 2; pass --null-value "
    message += "'four' if it stands for a missing value"
    assert (failed.exit_code, failed.stderr) == (2, f"fastfit: error: {message}\n")


def test_checkpoints_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    arguments = ("fit", str(folder), "--checkpoint", str(path), "--no-progress", "--json")
    first = call(*arguments)
    assert json.loads(path.read_text())["format"] == "fastfit.Checkpoint"
    assert call(*arguments).stdout == first.stdout
    for wrong, message in (
        ("--loss=huber", "another fit. Its loss: SquaredError(). This fit has: Huber"),
        ("--no-intercept", "Its fit_intercept: True. This fit has: False"),
        (f"--checkpoint={folder / '0.csv'}", "checkpoint must be a file that fastfit wrote"),
        (f"--checkpoint={tmp_path / 'none' / 'c'}", "cannot be written: No such file"),
    ):
        failed = call(*arguments, wrong)
        assert (failed.exit_code, failed.stdout) == (2, "")
        assert message in failed.stderr


def test_an_interrupt_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, checkpoint: Any, **__: Any) -> None:
        interrupt = KeyboardInterrupt()
        if checkpoint is not None:
            interrupt.add_note("the same call goes on from c")
        raise interrupt

    monkeypatch.setattr("fastfit.cli.fit_line", interrupted)
    for more, after in (((), ""), (("--checkpoint", "c"), "; the same command goes on from c")):
        ended = call("fit", str(folder), *more)
        assert ended.exit_code == 130
        assert ended.stderr == f"fastfit: interrupted{after}\n"


def test_levels_on_the_command_line(csv: str) -> None:
    assert "  99 % interval" in call("fit", csv, "--level", "0.99").stdout
    found = fitted(csv, "--level 0.99")
    wide, narrow = (np.diff(fitted(csv, f"--level {p}")["conf_int"][0])[0] for p in (0.99, 0.5))
    assert found["level"] == 0.99
    assert wide > 2 * narrow
    result = call("fit", csv, "--level", "95")
    assert result.exit_code == 2
    assert result.stderr.endswith("--level must be a probability between 0 and 1; got 95.0\n")


def test_outliers_to_one_side_are_told_in_a_shells_words(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 500)
    y = 2 * x + np.sin(1e4 * x)
    y[::10] += 20.0
    np.save(tmp_path / "t.npy", np.column_stack([x, y]))
    result = call("fit", str(tmp_path / "t.npy"), "--loss", "huber")
    assert result.exit_code == 0
    assert "use --loss tukey, which" in " ".join(result.stdout.split())
