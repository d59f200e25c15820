"""Fits that are ended and go on: after a kill, an interrupt, an error, a full disk; and checkpoints of other fits."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit.kernels.median import ResidualWindow
from fastfit.points.files import checkpoint as rooms
from fastfit.points.files import streams
from fastfit.points.files.checkpoint import Checkpoint
from fastfit.points.files.scan import FilePoints
from fastfit.points.files.table import FileError, Table
from fastfit.points.parts import MomentResult, SumResult
from fastfit.points.sample import Sample
from tests.conftest import COMPILED, needs_compiler, start_script
from tests.noisy import write_table

pl = pytest.importorskip("polars")

N, BATCH = 1500, 400  # points of a file, and of a batch
N_FILES = 3
BACKEND: Any = "numba" if COMPILED else "numpy"
OMIT: dict[str, Any] = {"nan_policy": "omit", "backend": BACKEND}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of one format each, the second with types that its first rows do not show."""
    root = tmp_path_factory.mktemp("checkpoint")
    rng = np.random.default_rng(5)
    for number, suffix in enumerate(("npy", "csv", "parquet")):
        x = rng.normal(size=N)
        y = 2.0 * x + rng.standard_t(2, size=N)
        table = pl.DataFrame({"0": x, "1": y, "2": rng.random(N)})
        path = write_table(table, root / f"{number}.{suffix}")
        if suffix == "csv":
            path.write_text("0,1,2\n" + "1,2,1\n" * 1200 + "1,NA,1\n" + path.read_text()[6:])
    return root


@pytest.fixture(autouse=True)
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no points in memory, make batches small, and write the checkpoint after each file."""
    monkeypatch.setattr(streams, "KEPT", 0)
    monkeypatch.setattr("fastfit.points.files.table.BATCH", BATCH)
    monkeypatch.setattr(rooms, "_SHORTEST", 0.0)
    monkeypatch.setattr(rooms, "_SHARE", 1e9)


def points_of(folder: Path, **columns: Any) -> FilePoints:
    return ff.scan(folder / "*", x="0", y="1", **columns)


@pytest.fixture
def points(folder: Path) -> FilePoints:
    return points_of(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.json"


class Ended(BaseException):
    """Ends a fit at a batch."""


class Reads:
    """Counts the batches and whole files that fits read, and ends a fit at a batch if it is to."""

    def start(self, last: int = 0, error: BaseException | None = None) -> None:
        self.batches = self.files = 0
        self.last, self.error = last, error or Ended()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    reads, own = Reads(), Table.batches
    reads.start()

    def batches(table: Table, *arguments: Any, **options: Any) -> Any:
        for batch in own(table, *arguments, **options):
            reads.batches += 1
            if reads.batches == reads.last:
                raise reads.error
            yield batch
        reads.files += 1

    monkeypatch.setattr(Table, "batches", batches)
    return reads


SAMPLES = ff.GradientDescent(passes="samples", max_iter=3, tol=0.0)


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({}, {}),
        ({"sample_weight": "2"}, {"loss": "huber"}),
        pytest.param({}, {"loss": "tukey"}, marks=[pytest.mark.slow, needs_compiler]),
        ({}, {"solver": SAMPLES}),
        ({"sigma": "2"}, {"solver": ff.Exact()}),
    ],
)
@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_a_fit_that_was_ended_goes_on_to_the_same_bits(
    folder: Path, tmp_path: Path, reads: Reads, columns: dict[str, str], options: dict[str, Any]
) -> None:
    points, options = points_of(folder, **columns), {**OMIT, **options}
    expected = ff.fit_line(points, **options).to_dict()
    batches, files = reads.batches, reads.files
    # In the second file while it is read as typed, and in the last pass; of a single pass, in every file.
    for last in (2, 6, 10, batches) if files == N_FILES else (6, batches - 7):
        path = tmp_path / f"{last}.json"
        reads.start(last)
        try:
            ff.fit_line(points, **options, checkpoint=path)
        except Ended:
            ended = reads.files
        else:  # a reader may find the wrong type some batches sooner or later
            assert last == batches
            ended = files
        reads.start()
        assert ff.fit_line(points, **options, checkpoint=path).to_dict() == expected
        # What was read up to the end of a file is not read again.
        assert reads.files == files - ended
        reads.start()
        assert ff.fit_line(points, **options, checkpoint=path).to_dict() == expected
        assert reads.batches == 0


@needs_compiler
@pytest.mark.slow
def test_a_single_file_of_float32_goes_on_from_its_last_whole_pass(
    tmp_path: Path, reads: Reads
) -> None:
    """The subsample that robust fits start from keeps its type, and so the bits of what follows."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=140_000).astype("f")
    y = (2.0 * x + rng.standard_t(2, size=x.size)).astype("f")
    pl.DataFrame({"x": x, "y": y}).write_parquet(tmp_path / "t.parquet")
    points = ff.scan(tmp_path / "t.parquet")
    for n_passes in (1, 2):
        path = tmp_path / f"{n_passes}.json"
        reads.start()
        expected = ff.fit_line(points, loss="tukey")
        each = reads.batches // expected.n_passes
        reads.start(each * n_passes + each // 2)
        with pytest.raises(Ended):
            ff.fit_line(points, loss="tukey", checkpoint=path)
        written = json.loads(path.read_text())
        assert (len(written["passes"]), written["under_way"]) == (n_passes, None)
        reads.start()
        fit = ff.fit_line(points, loss="tukey", checkpoint=path)
        assert fit.to_dict() == expected.to_dict()
        assert reads.files == expected.n_passes - n_passes


_FIT = """
import fastfit as ff
from fastfit.points.files import checkpoint, streams, table
streams.KEPT, table.BATCH = 0, {batch}
checkpoint._SHORTEST, checkpoint._SHARE = {shortest}, 1e9
own = streams.StreamedPoints.parts
def parts(self, number):
    for part in own(self, number):
        print("part", flush=True)
        yield part
streams.StreamedPoints.parts = parts
points = ff.scan({folder!r} + "/*", x="0", y="1")
fit = ff.fit_line(points, loss="huber", nan_policy="omit", backend="numpy", checkpoint={path!r})
print(fit.slope.hex(), fit.intercept.hex(), fit.stderr.hex(), fit.f_scale.hex())
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no SIGINT for a child alone")
def test_a_fit_that_is_killed_and_interrupted_goes_on_to_the_same_bits(
    folder: Path, points: FilePoints, path: Path
) -> None:
    fit = ff.fit_line(points, loss="huber", nan_policy="omit", backend="numpy")
    assert fit.f_scale is not None
    expected = " ".join(v.hex() for v in (fit.slope, fit.intercept, fit.stderr, fit.f_scale))
    given = {"batch": BATCH, "folder": str(folder), "path": str(path)}
    n_passes = 0
    # Killed, a process leaves what it has written; interrupted, it writes what it has found at the end of a file.
    for ending, shortest in ((signal.SIGKILL, 0.0), (signal.SIGINT, 60.0)):
        process = start_script(_FIT.format(**given, shortest=shortest))
        assert process.stdout is not None
        for _ in range(40):
            assert process.stdout.readline() == "part\n"
        process.send_signal(ending)
        process.communicate(timeout=60)
        assert process.returncode != 0
        written = json.loads(path.read_text())
        assert len(written["passes"]) > n_passes
        n_passes = len(written["passes"])
    process = start_script(_FIT.format(**given, shortest=60.0))
    out, err = process.communicate(timeout=120)
    assert out.split("\n")[-2] == expected, err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FileError("the disk is gone")])
def test_an_interrupt_or_error_keeps_what_was_found_up_to_the_last_file(
    points: FilePoints, path: Path, reads: Reads, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "_SHORTEST", 60.0)
    expected = ff.fit_line(points, **OMIT).to_dict()
    reads.start(reads.batches - 1, error)
    with pytest.raises(type(error)) as raised:
        ff.fit_line(points, **OMIT, checkpoint=path)
    notes = [f"the same call goes on from {path}"] if isinstance(error, KeyboardInterrupt) else []
    assert getattr(raised.value, "__notes__", []) == notes
    written = json.loads(path.read_text())
    assert (written["passes"], written["under_way"]["files"]) == ([], N_FILES - 1)
    reads.start()
    assert ff.fit_line(points, **OMIT, checkpoint=path).to_dict() == expected
    assert reads.files == 1


def test_an_interrupt_in_the_first_file_says_that_nothing_is_kept(
    points: FilePoints, path: Path, reads: Reads
) -> None:
    reads.start(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as raised:
        ff.fit_line(points, **OMIT, checkpoint=path)
    assert raised.value.__notes__ == [
        f"the first file was not read to its end, so nothing is in {path} yet"
    ]


def test_fits_with_one_checkpoint_do_not_disturb_each_other(points: FilePoints, path: Path) -> None:
    expected = ff.fit_line(points, loss="huber", **OMIT).to_dict()

    def fit(n_threads: int) -> dict[str, Any]:
        given: Any = {**OMIT, "n_threads": n_threads if COMPILED else None, "checkpoint": path}
        return ff.fit_line(points, loss="huber", **given).to_dict()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(fit, [1, 2, 1])) == [expected] * 3
    assert [fit(1), fit(2)] == [expected] * 2  # threads may change
    assert list(path.parent.iterdir()) == [path]


def test_a_picture_after_the_fit_writes_no_checkpoint(points: FilePoints, path: Path) -> None:
    fit = ff.fit_line(points, nan_policy="omit", checkpoint=path)
    path.unlink()
    assert fit._points is not None
    fit._points.columns()  # reads the files again
    assert not path.exists()


def test_files_of_killed_processes_are_removed_and_those_of_others_are_left(tmp_path: Path) -> None:
    path = tmp_path / "[c].json"  # whose name is no pattern
    old, new, other = (
        tmp_path / f".{name}.tmp" for name in ("[c].json.1", "[c].json.2", "c.json.3")
    )
    new.touch()
    for each in (old, other):
        each.touch()
        os.utime(each, (time.time() - 7200.0,) * 2)
    Checkpoint(path, {}, 1)
    assert set(tmp_path.iterdir()) == {path, new, other}


def test_a_checkpoint_of_another_fit_is_refused(
    folder: Path, points: FilePoints, path: Path
) -> None:
    given: dict[str, Any] = {"checkpoint": path, "nan_policy": "omit", "backend": "numpy"}
    given["loss"] = ff.Huber(1.0)
    ff.fit_line(points, **given)
    before, wanted = path.read_bytes(), ". This fit has: "
    others: list[tuple[FilePoints, dict[str, Any], str]] = [
        (points, {"loss": ff.Huber(2.0)}, rf"loss: Huber\(f_scale=1.0\){wanted}Huber\("),
        (points, {"solver": ff.GradientDescent()}, "solver: Newton"),
        (points, {"nan_policy": "propagate"}, f"nan_policy: omit{wanted}propagate"),
        (points, {"fit_intercept": False}, f"fit_intercept: True{wanted}False"),
        (points, {"backend": "numba"}, f"backend: numpy{wanted}numba"),
        (points_of(folder, sample_weight="2"), {}, f"columns: x='0', y='1'{wanted}x='0', y"),
        (ff.scan(folder / "*", x="1", y="0"), {}, "columns: "),
        (ff.scan(folder / "0.npy", x="0", y="1"), {}, f"data: 3 files of .*{wanted}1 f"),
    ]
    os.utime(folder / "2.parquet", (1, 1))
    others.append((points_of(folder), {}, "data: 3 files"))
    for other, options, message in others:
        with pytest.raises(ValueError, match=f"belongs to another fit. Its {message}"):
            ff.fit_line(other, **{**given, **options})
    assert path.read_bytes() == before


_HEAD = '{"format": "fastfit.Checkpoint", "version": 1, "fit": {}'
_NO_FILES = '{"task": "a pass", "found": null}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "is something else") for text in ("hello", "", "\x00\xff", "[1, 2]", '{"x": 1}')),
        ('{"format": "fastfit.Checkpoint", "version": 99}', "is of version 99, not 1"),
        ('{"format": "fastfit.Checkpoint", "version": 1}', "is damaged"),
        (_HEAD + ', "passes": [{}], "under_way": null}', "is damaged"),
        (_HEAD + ', "passes": [], "under_way": ' + _NO_FILES + "}", "is damaged"),
    ],
)
def test_what_is_no_checkpoint_stays_as_it_is(
    points: FilePoints, path: Path, text: str, message: str
) -> None:
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"checkpoint must be a file that fastfit .*{message}"):
        ff.fit_line(points, checkpoint=path)
    assert path.read_bytes() == text.encode("latin-1")


def test_folders_that_are_in_the_way_or_missing(points: FilePoints, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoint must be a file; .* is a folder"):
        ff.fit_line(points, checkpoint=tmp_path)
    with pytest.raises(OSError, match=r"the checkpoint .*none/c.json cannot be written: No such"):
        ff.fit_line(points, checkpoint=tmp_path / "none" / "c.json")


def test_a_full_disk(points: FilePoints, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: Any = {"loss": "huber", **OMIT}
    own, saves = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal saves
        saves += 1
        if saves > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        own(handle)

    expected = ff.fit_line(points, **given).to_dict()
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match=r"c.json cannot be written: No space left .* is kept"):
            ff.fit_line(points, **given, checkpoint=path)
    assert saves == 10  # what failed once is not tried again
    assert list(path.parent.iterdir()) == [path]
    assert json.loads(path.read_text())["under_way"] is not None
    assert ff.fit_line(points, **given, checkpoint=path).to_dict() == expected


def test_chance_is_refused(points: FilePoints, path: Path) -> None:
    for rng, got in ((None, "got None"), (np.random.default_rng(1), "got Generator")):
        solver = ff.GradientDescent(init="random", rng=rng)
        with pytest.raises(ValueError, match=f"rng must be an integer .*{got}"):
            ff.fit_line(points, solver=solver, checkpoint=path)
    assert not list(path.parent.iterdir())


def test_few_points_need_none_but_have_one(
    points: FilePoints, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEPT", 1 << 30)
    fit = ff.fit_line(points, **OMIT, checkpoint=path)
    assert json.loads(path.read_text())["passes"] == []
    assert ff.fit_line(points, **OMIT, checkpoint=path).to_dict() == fit.to_dict()


@pytest.mark.parametrize("wrong", [3, True, b"c.json", "", 1.5])
def test_what_is_no_path(points: FilePoints, wrong: Any) -> None:
    with pytest.raises(TypeError, match="checkpoint must be the path of a file, or None; got"):
        ff.fit_line(points, checkpoint=wrong)


def test_numbers_come_back_to_the_last_bit_and_in_their_type() -> None:
    moments = replace(ff.Moments.of([1.0, 2.0, 1e9], [0.1, 0.2, 0.7]).sums, line=None)
    x, y = np.array([0.1, np.nan], dtype="f"), np.array([np.inf, -0.0])
    for found in (
        MomentResult(3, 1, moments, 3.0, 0.5, Sample(64, x, y, None)),
        SumResult((0.1, float("nan")), (float("inf"), 1e-300)),
        ResidualWindow(1.0, 2.5, np.array([0.1]), np.array([2.0]), False, 4),
        ResidualWindow(1.0, 2.5, np.empty(0), None, True),
    ):
        again = rooms._decoded(json.loads(json.dumps(rooms._encoded(found))))
        assert type(again) is type(found)
        assert repr(again) == repr(found)


def test_passes_that_are_not_those_of_the_fit(path: Path) -> None:
    kept = Checkpoint(path, {"loss": "huber"}, 2)
    kept.keep("one pass", 2, 1.0)
    kept.keep("the next", 1, 2.0)
    again = Checkpoint(path, {"loss": "huber"}, 2)
    for name, found in (("one pass", (2, 1.0)), ("the next", (1, 2.0))):
        with pytest.raises(ValueError, match="has other passes than this fit makes"):
            again.resume("another pass")
        assert again.resume(name) == found
