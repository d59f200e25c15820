"""Fits to files: the answer of the in-memory fit, from one file or many, and what can happen to files meanwhile."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

import fastfit as ff
from fastfit.points.base import Plan, Reading
from fastfit.points.files import progress, streams
from fastfit.points.files.progress import Display
from fastfit.points.files.scan import FilePoints
from fastfit.points.files.streams import ReadSoFar, StreamedPoints
from fastfit.points.files.table import FileError, Table
from tests.conftest import Script, needs_compiler
from tests.noisy import assert_alike, write_table

pl = pytest.importorskip("polars")

N, BATCH = 1500, 250


@pytest.fixture(scope="module")
def table() -> Any:
    rng = np.random.default_rng(3)
    x = rng.normal(size=N)
    y, w = 2.0 * x + 1.0 + rng.standard_t(2, size=N), rng.integers(1, 4, size=N).astype(float)
    return pl.DataFrame({"x": x, "y": y, "w": w, "t": np.arange(N) + 1_700_000_000_000_000_000})


@pytest.fixture(scope="module")
def path(table: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "t.parquet"
    table.write_parquet(path, row_group_size=BATCH // 7)
    return path


@pytest.fixture
def points(path: Path) -> FilePoints:
    return ff.scan(path, x="x", y="y")


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no points in memory, and make batches small."""
    monkeypatch.setattr(streams, "KEPT", 0)
    monkeypatch.setattr("fastfit.points.files.table.BATCH", BATCH)


FORMATS = ["t.parquet", "t.csv", "t.arrow", "t.npy"]


def test_few_points_are_fitted_as_arrays_are(table: Any, path: Path) -> None:
    points = ff.scan(path, x="x", y="y", sample_weight="w")
    for loss in ("squared_error", "huber", "tukey"):
        fit = ff.fit_line(points, loss=loss)
        expected = ff.fit_line(table["x"], table["y"], sample_weight=table["w"], loss=loss)
        assert fit.to_dict() == expected.to_dict()


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_time_stamps_keep_their_digits(table: Any, path: Path, fit_intercept: bool) -> None:
    fit = ff.fit_line(ff.scan(path, x="t", y="y"), fit_intercept=fit_intercept)
    assert fit.slope == ff.fit_line(table["t"], table["y"], fit_intercept=fit_intercept).slope


@needs_compiler
@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("loss", ["huber", pytest.param("tukey", marks=pytest.mark.slow)])
def test_robust_fits_of_many_points_begin_with_a_sample(
    loss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastfit.points.files.table.BATCH", 30_000)
    rng = np.random.default_rng(3)
    x = rng.normal(size=150_000)
    y = 2.0 * x + 1.0 + rng.standard_t(2, size=x.size)
    pl.DataFrame({"x": x, "y": y}).write_parquet(tmp_path / "t.parquet", row_group_size=4321)
    points = ff.scan(tmp_path / "t.parquet")
    fit, expected = ff.fit_line(points, loss=loss), ff.fit_line(x, y, loss=loss)
    assert_alike(fit, expected, 1e-5)  # the scale of many points is known to 5 digits
    assert fit.n_passes <= expected.n_passes + 4
    mean_loss, in_memory = ff.objective(points, loss=loss), ff.objective(x, y, loss=loss)
    assert mean_loss._points.n_passes <= fit.n_passes
    assert mean_loss((2.0, 1.0))[0] == pytest.approx(in_memory((2.0, 1.0))[0], rel=1e-5)


@pytest.mark.usefixtures("streamed")
def test_the_bits_do_not_depend_on_threads_nor_on_the_format(table: Any, tmp_path: Path) -> None:
    found = set()
    for name in FORMATS:
        points = ff.scan(write_table(table.select("x", "y"), tmp_path / name))
        for n_threads in (None, 1, 4):
            fit = ff.fit_line(points, loss="huber", n_threads=n_threads)
            found.add((fit.slope, fit.intercept, fit.loss, fit.stderr, fit.f_scale))
    assert len(found) == 1


@pytest.mark.parametrize("kept", [0, 1 << 30])
@pytest.mark.parametrize(("name", "place"), [("y", 3), ("x", N - 5)])
def test_missing_values_are_named_by_file_whether_points_are_kept_or_not(
    kept: int, name: str, place: int, table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEPT", kept)
    gaps = pl.when(pl.int_range(pl.len()) == place).then(None).otherwise(name).alias(name)
    for number, each in enumerate((table, table.with_columns(gaps))):
        each.write_parquet(tmp_path / f"{number}.parquet", row_group_size=BATCH)
    points = ff.scan(tmp_path, x="x", y="y")
    match = rf"1.parquet: {name} must be finite; got NaN at index {place:,}\. Pass nan_policy"
    with pytest.raises(ValueError, match=match):
        ff.fit_line(points)
    assert ff.fit_line(points, nan_policy="omit").n_omitted == 1


# Where files are


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set: two years of two files, one of them empty, with a note of the job that wrote them."""
    root = tmp_path / "data"
    for year, days in ((2012, 3), (2013, 2)):
        for part, n in (("b", days), ("a", 0 if year == 2013 else 1)):
            where = root / f"year={year}"
            where.mkdir(parents=True, exist_ok=True)
            x = np.arange(n, dtype=float) + year
            pl.DataFrame({"x": x, "y": 3.0 * x}).write_parquet(where / f"{part}.parquet")
    (root / "_SUCCESS").touch()
    (root / ".hidden.parquet").touch()
    return root


def test_folders_patterns_and_lists(folder: Path) -> None:
    everything = ["2012/a", "2012/b", "2013/a", "2013/b"]
    paths = [str(folder / f"year={each}.parquet") for each in everything]
    for given, expected in (
        (folder, paths),
        (str(folder), paths),
        (folder / "year=2012", paths[:2]),
        (folder / "*" / "b.parquet", [paths[1], paths[3]]),
        (folder / "**" / "*.parquet", paths),
        (folder / "year=*", paths),
        ([paths[3], paths[0]], [paths[3], paths[0]]),
        ([folder / "year=2013", paths[0]], [paths[2], paths[3], paths[0]]),
    ):
        assert ff.scan(given, x="x", y="y").paths == expected
    assert ff.fit_line(ff.scan(folder, x="x", y="y")).n_points == 6


def test_folders_are_columns(folder: Path) -> None:
    fit = ff.fit_line(ff.scan(folder, x="year", y="x"))
    expected = ff.fit_line([2012.0] * 4 + [2013.0] * 2, [2012, 2012, 2013, 2014, 2013, 2014])
    assert fit.to_dict() == expected.to_dict()
    for pattern in (folder / "*" / "*.parquet", folder / "year=*", sorted(folder.glob("*/*.p*"))):
        assert ff.fit_line(ff.scan(pattern, x="year", y="x")).slope == expected.slope
    (folder / "year=2013").rename(folder / "year=next")
    with pytest.raises(FileError, match="column 'year' holds text: 'next', by its folder"):
        ff.fit_line(ff.scan(folder, x="year", y="x"))
    (folder / "year=next").rename(folder / "year=__HIVE_DEFAULT_PARTITION__")
    assert ff.fit_line(ff.scan(folder, x="x", y="year"), nan_policy="omit").n_omitted == 2


def test_wrong_paths(folder: Path, tmp_path: Path) -> None:
    wrong: list[tuple[Any, type[Exception], str]] = [
        (tmp_path / "none.parquet", FileError, "none.parquet does not exist"),
        (tmp_path / "*.parquet", FileError, r"\*.parquet matches no file"),
        ([], ValueError, "paths must hold at least one path"),
        (7, TypeError, "paths must be a path, a list of paths or a query of Polars; got int"),
        ([7], TypeError, "paths must be a path, .* got int"),
        (None, TypeError, "paths must be a path, .* got NoneType"),
        ("nowhere://a/b.parquet", FileError, "nowhere://a/b.parquet cannot be read"),
        ("https://a/b.npy", FileError, "is a URL, which NumPy does not read"),
    ]
    for path, kind, message in wrong:
        with pytest.raises(kind, match=message):
            ff.scan(path, x="x", y="y")
    with pytest.raises(TypeError, match="x must be the name of a column, as a string .*; got 3"):
        ff.scan(folder, x=3, y="y")  # type: ignore[arg-type]
    (folder / "notes.md").touch()
    with pytest.raises(FileError, match="notes.md is of no known format; leave it out with a pat"):
        ff.scan(folder, x="x", y="y")
    (folder / "notes.md").rename(folder / "notes.csv")
    with pytest.raises(FileError, match="holds files of several formats, .csv and .parquet, which"):
        ff.scan(folder, x="x", y="y")


def test_columns_of_folders_do_not_count_where_there_are_just_two(tmp_path: Path) -> None:
    root = tmp_path / "run=3"
    root.mkdir()
    (root / "t.csv").write_text("a,b\n1,2\n3,4\n")
    assert ff.scan(root).columns == {"x": "a", "y": "b"}
    assert ff.scan(root / "t.csv", x="b").columns == {"x": "b", "y": "a"}
    assert ff.scan(root / "t.csv", x="run", y="b").columns == {"x": "run", "y": "b"}
    with pytest.raises(FileError, match="of files, and not of folders alone; got 'run'"):
        ff.fit_line(ff.scan(root, x="run", y="run"))
    (tmp_path / "t.csv").write_text("a:b\n1:2\n")
    with pytest.raises(FileError, match="it has 'a:b'; pass separator if these are several"):
        ff.scan(tmp_path / "t.csv")


def test_files_are_read_once_whatever_a_pattern_matches(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    pl.DataFrame({"x": [1.0], "y": [2.0]}).write_parquet(tmp_path / "other" / "c.parquet")
    (folder / "link").symlink_to(tmp_path / "other")
    (folder / "round").symlink_to(folder)
    for pattern in (folder, folder / "*", folder / "**" / "*.parquet"):
        found = [*map(os.path.realpath, ff.scan(pattern, x="x", y="y").paths)]
        assert len(found) == len(set(found)) == 5, pattern


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="has no modes of folders")
def test_a_folder_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("year=2013"):
            raise PermissionError(13, "Permission denied", str(path))
        return own(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(FileError, match="year=2013 cannot be read: Permission denied"):
        ff.scan(folder, x="x", y="y")


def test_integers_keep_their_digits_beside_floats(tmp_path: Path) -> None:
    i = np.arange(1000)
    pl.DataFrame({"x": i + 2**60, "y": 2 * i}).write_parquet(tmp_path / "1.parquet")
    few = pl.DataFrame({"x": [2.0**60, 2.0**60 + 4096.0], "y": [0, 8192]})
    few.write_parquet(tmp_path / "2.parquet")
    fit = ff.fit_line(ff.scan(tmp_path))
    assert (fit.slope, fit.n_points) == (2.0, 1002)


def test_a_url(path: Path, points: FilePoints) -> None:
    fit = ff.fit_line(ff.scan(f"file://{path}", x="x", y="y"))
    assert fit.slope == ff.fit_line(points).slope


@pytest.mark.usefixtures("streamed")
def test_a_query_of_polars_derives_and_filters(table: Any, path: Path) -> None:
    query = pl.scan_parquet(path).filter(pl.col("w") > 1.0).select("y", double=2.0 * pl.col("x"))
    fit = ff.fit_line(ff.scan(query, x="double", y="y"), loss="huber")
    chosen = table.filter(pl.col("w") > 1.0)
    assert_alike(fit, ff.fit_line(2.0 * chosen["x"], chosen["y"], loss="huber"), 1e-5)
    with pytest.raises(FileError, match="the query has no column 'z'"):
        ff.scan(query, x="z", y="y")
    with pytest.raises(ValueError, match="checkpoint must be None for a query"):
        ff.fit_line(ff.scan(query, x="double", y="y"), checkpoint="c.json")
    with pytest.raises(FileError, match="the query has columns but no rows"):
        ff.fit_line(ff.scan(query.filter(pl.lit(False)), x="double", y="y"))


def test_opened_points(table: Any, path: Path, points: FilePoints) -> None:
    assert repr(points) == f"FilePoints({path}, x='x', y='y')"
    with points.opened(Reading(), Plan()) as opened:
        assert opened.moments() == ff.Moments.of(table["x"], table["y"]).sums
        assert (opened.n_points, opened.n_effective, opened.n_omitted) == (N, N, 0)
        assert (opened.n_passes, opened.unit_sigma) == (1, 1.0)
        assert opened.median_absolute_residual(2.0, 1.0) > 0.0
        assert opened.residuals(*ff.Exact().solve(opened, ff.SquaredError())[:2]) is not None
        few = opened.subsample(10)
        assert few is not None
        assert few.frame == opened.frame


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"y": [1.0]}, ValueError, "x comes from scan, where y='column' names it"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight must be left out when x comes from"),
        ({"nan_policy": "ignore"}, ValueError, "nan_policy must be"),
        ({"absolute_sigma": True}, ValueError, "absolute_sigma must be False unless sigma"),
        ({"progress": "yes"}, TypeError, "progress must be True or False"),
    ],
)
def test_arguments_that_files_leave_no_room_for(
    points: FilePoints, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ff.fit_line(points, **options)


def test_arguments_that_need_files_or_the_squared_error(path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoint must be None unless x comes from scan"):
        ff.fit_line([1.0, 2.0], [1.0, 2.0], checkpoint="c.json")
    with pytest.raises(ValueError, match="sigma must be None unless loss is 'squared_error'"):
        ff.fit_line(ff.scan(path, x="x", y="y", sigma="w"), loss="huber")


@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_many_empty_files(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEPT", kept)
    for number in range(101):
        (tmp_path / f"{number}.csv").write_text("x,y\n")
    with pytest.raises(FileError, match=r"101 files, such as .*0.csv, have columns but no rows"):
        ff.fit_line(ff.scan(tmp_path))


# What happens to files


@pytest.mark.usefixtures("streamed")
def test_a_column_that_turns_to_text_in_the_third_file(tmp_path: Path) -> None:
    for number, y in enumerate((["1", "2"], ["3", "4"], ["5", "six"])):
        (tmp_path / f"{number}.csv").write_text("x,y\n" + "\n".join(f"{number},{v}" for v in y))
    with pytest.raises(FileError, match=r"2.csv: column 'y' holds text: 'six' in data row 2"):
        ff.fit_line(ff.scan(tmp_path, x="x", y="y"))
    pl.DataFrame({"x": [1.0], "z": [2.0]}).write_parquet(tmp_path / "2.parquet")
    (tmp_path / "2.csv").unlink()
    with pytest.raises(FileError, match="2.parquet has no column 'y'; it has 'x', 'z'"):
        ff.fit_line(ff.scan(tmp_path / "*", x="x", y="y"))


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (os.unlink, "vanished since it was first read"),
        (lambda path: os.utime(path, (1, 1)), "changed since it was first read"),
        (lambda path: os.truncate(path, 5000), "changed since .* bytes then, 5,000 now"),
    ],
)
def test_a_file_that_is_not_what_it_was(
    table: Any, tmp_path: Path, happens: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.parquet", "b.parquet"):
        table.write_parquet(tmp_path / name, row_group_size=BATCH)
    reads, own = 0, Table.batches

    def counted(self: Table, *arguments: Any, **options: Any) -> Any:
        nonlocal reads
        for batch in own(self, *arguments, **options):
            reads += 1
            if reads == 3 * (N // BATCH) + 1:  # of the second file, in the second pass
                happens(self.path)
            yield batch

    monkeypatch.setattr(Table, "batches", counted)
    with pytest.raises(FileError, match=f"b.parquet has {message}"):
        ff.fit_line(ff.scan(tmp_path, x="x", y="y"), loss=ff.Huber(1.0))


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_shrinks_under_the_reader_does_not_end_the_process(
    table: Any, tmp_path: Path, name: str
) -> None:
    path = write_table(table.select("x", "y"), tmp_path / name)
    parts = StreamedPoints(ff.scan(path), Reading()).parts(0)
    next(parts)
    os.truncate(path, path.stat().st_size // 100)
    with pytest.raises(FileError, match=f"{name} has changed"):
        list(parts)


# What it says meanwhile


@pytest.mark.usefixtures("streamed")
def test_progress_is_reported_batch_by_batch(path: Path) -> None:
    told: list[ReadSoFar] = []
    points = StreamedPoints(ff.scan([path, path], x="x", y="y"), Reading(), watch=told.append)
    points.moments()
    points.evaluate(ff.SquaredError(), 0.0, 0.0)
    size = 2 * path.stat().st_size
    assert [each.n_pass for each in told] == [1] * (len(told) // 2) + [2] * (len(told) // 2)
    for passed in (told[: len(told) // 2], told[len(told) // 2 :]):
        shares = [each.share for each in passed]
        assert shares == sorted(shares)
        assert 0.0 < shares[0] < 0.2
        assert passed[-1][:4] == (passed[-1].n_pass, 2 * N, size, 1.0)
        assert {each.n_rows for each in passed} == {2 * N}


def test_one_thread_at_a_time_shows_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within it, the same thread gets that line; another one gets none until it has ended."""
    monkeypatch.setattr(progress, "_terminal", object)
    monkeypatch.setattr("rich.progress.Progress", MagicMock())

    def shown() -> Any:
        with progress.display() as line:
            return line

    with ThreadPoolExecutor(1) as pool:
        with progress.display() as first:
            assert first is not None
            assert shown() is first
            with progress.display(False) as unwanted:
                assert unwanted is None
            assert pool.submit(shown).result() is None
        with pytest.raises(ValueError, match="an error"), progress.display():
            raise ValueError("an error")
        other = pool.submit(shown).result()
    assert other is not None
    assert other is not first


def test_the_line_that_is_shown() -> None:
    bar = MagicMock()
    display = Display(bar)
    display.expect(7)
    display.watch(ReadSoFar(2, 1_000_000, 12_345_678.0, 0.25))
    display.watch(ReadSoFar(9, 10, 999.0, 0.5))  # more than were expected
    display.watch(ReadSoFar(1, 1000, 0.0, 0.5, 2000))
    display.expect(None, "c.json")
    display.watch(ReadSoFar(3, 10, 0.0, float("nan")))
    display.share(0.25, "huber")
    assert [(*call.kwargs.values(),) for call in bar.update.call_args_list] == [
        ("pass 2 of about 7: 1,000,000 rows, 12.3 MB", 7, 1.25),
        ("pass 9 of about 9: 10 rows, 999 bytes", 9, 8.5),
        ("pass 1 of about 7: 1,000 rows of about 2,000", 7, 0.5),
        ("from c.json on, pass 3: 10 rows", None, 0.0),
        ("huber", 1.0, 0.25),
    ]


@pytest.mark.parametrize("has_widgets", [True, False])
def test_a_notebook_has_a_line_if_widgets_can_be_drawn(
    has_widgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: has_widgets or None)
    assert (progress._terminal() is not None) == has_widgets


@pytest.mark.usefixtures("streamed")
def test_it_says_in_advance_how_often_it_will_read(
    points: FilePoints, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fastfit"):
        ff.fit_line(points)
        ff.fit_line(points, loss="huber")
        ff.fit_line(points, loss=ff.Huber(1.0))
        ff.fit_line(points, solver=ff.GradientDescent(passes="samples"))
    assert [record.getMessage() for record in caplog.records] == [
        "SquaredError() reads all points once",
        "Huber(f_scale='mad') reads all points about 7 times",
        "Huber(f_scale=1.0) reads all points about 5 times",
    ]


def test_it_is_silent_in_a_pipe(points: FilePoints, capfd: pytest.CaptureFixture[str]) -> None:
    ff.fit_line(points, loss="huber")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("streamed")
def test_a_fit_of_files_can_be_drawn(points: FilePoints) -> None:
    for loss in ("squared_error", "huber"):
        axes = ff.fit_line(points, loss=loss).plot()
        assert axes.get_title().startswith(f"{N:,} points")
        assert str(axes.lines[-1].get_label()).startswith("y = ")


@pytest.mark.slow
@needs_compiler
def test_memory_is_bounded_and_readers_do_not_outlive_their_use(
    table: Any, tmp_path: Path, run_script: Script
) -> None:
    # 20 million rows are 320 MB, of which a pass may hold a fraction. What libraries take is measured before.
    path = tmp_path / "long.parquet"
    long = pl.DataFrame({name: np.tile(table[name].to_numpy(), 13_000) for name in "xy"})
    long.write_parquet(path, row_group_size=1 << 20, compression="uncompressed")
    size = 16 * long.height >> 20
    out = run_script(
        "import resource, fastfit as ff, polars as pl\n"
        "pl.scan_parquet(PATH).head(1000).collect()\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "ff.fit_line([0.0, 1.0, 2.0] * 20000, [0.0, 1.0, 2.5] * 20000)\n"
        "before = peak()\n"
        "ff.fit_line(ff.scan(PATH, x='x', y='y'))\n"
        "print(peak() - before)".replace("PATH", repr(str(path)))
    )
    assert int(out) < size


@pytest.mark.usefixtures("streamed")
def test_several_threads_may_fit_files_at_once(points: FilePoints) -> None:
    expected = ff.fit_line(points, loss="huber").to_dict()
    with ThreadPoolExecutor(3) as pool:
        fits = pool.map(lambda _: ff.fit_line(points, loss="huber"), range(3))
        assert [fit.to_dict() for fit in fits] == [expected] * 3
