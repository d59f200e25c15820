"""Fits that are ended and go on: after a kill, after an interrupt, with a full disk; and checkpoints of other fits."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit.points import parts
from fastfit.points.files import scan as files
from fastfit.points.files import streams
from fastfit.points.files.checkpoint import Checkpoint, _decoded, _encoded
from fastfit.points.files.readers import FileError, Table
from tests.conftest import COMPILED, needs_compiler, start_script

pl = pytest.importorskip("polars")

N = 60_000 if COMPILED else 1000
BATCH = 5000 if COMPILED else 100
BACKEND: Any = "numba" if COMPILED else "numpy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoint")
    rng = np.random.default_rng(5)
    for number in range(3):
        x = rng.normal(size=N // 3)
        y = 2.0 * x + rng.standard_t(2, size=x.size)
        table = pl.DataFrame({"x": x, "y": y, "w": rng.random(x.size)})
        if number == 1:  # a file whose types its first rows do not show
            table = table.with_columns(
                x=pl.col("x").cast(str), y=pl.Series(["NA", *table["y"].cast(str)[1:]])
            )
            table = pl.concat([pl.DataFrame({"x": ["1"], "y": ["2"], "w": [1.0]})] * 2000 + [table])
            table.write_csv(root / f"{number}.csv")
        else:
            table.write_parquet(root / f"{number}.parquet")
    return root


@pytest.fixture(autouse=True)
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no points in memory, make batches small, and write the checkpoint after each."""
    monkeypatch.setattr(streams, "KEPT", 0)
    monkeypatch.setattr("fastfit.points.files.readers.BATCH", BATCH)
    monkeypatch.setattr("fastfit.points.files.readers._MOST", 2 * BATCH)
    monkeypatch.setattr("fastfit.points.files.checkpoint._SHORTEST", 0.0)
    monkeypatch.setattr("fastfit.points.files.checkpoint._SHARE", 1e9)


def points_of(folder: Path, **columns: str) -> files.FilePoints:
    return ff.scan(folder / "*", x="x", y="y", **columns)


class Ended(BaseException):
    """What ends a fit without a chance to tidy up, as a kill does."""


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({}, {}),
        ({"sample_weight": "w"}, {"loss": "huber"}),
        pytest.param({}, {"loss": "tukey"}, marks=needs_compiler),
        ({}, {"solver": ff.GradientDescent(passes="samples", max_iter=5, tol=0.0)}),
        ({"sigma": "w"}, {"solver": ff.Exact()}),
    ],
)
@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_a_fit_that_was_ended_goes_on_to_the_same_bits(
    folder: Path,
    tmp_path: Path,
    columns: dict[str, str],
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = points_of(folder, **columns)
    options = {"nan_policy": "omit", "backend": BACKEND, **options}
    expected = ff.fit_line(points, **options).to_dict()
    own = Table.batches
    batches = 0

    def counted(self: Table, *arguments: Any) -> Any:
        nonlocal batches
        for batch in own(self, *arguments):
            batches += 1
            if batches == last:
                raise Ended
            yield batch

    last = 0
    with monkeypatch.context() as counting:
        counting.setattr(Table, "batches", counted)
        ff.fit_line(points, **options)
    total = batches
    rng = np.random.default_rng(1)
    moments = sorted({int(k) for k in rng.integers(1, total + 1, size=6)})
    endings = 0
    for number, moment in enumerate(moments):
        path = tmp_path / f"{number}.json"
        batches, last = 0, moment
        with monkeypatch.context() as ending:
            ending.setattr(Table, "batches", counted)
            try:
                ff.fit_line(points, **options, checkpoint=path)
            except Ended:
                endings += 1
        batches, last = 0, 0
        with monkeypatch.context() as counting:
            counting.setattr(Table, "batches", counted)
            assert ff.fit_line(points, **options, checkpoint=path).to_dict() == expected
        # Read again is what came after the last checkpoint, and as a rule no more: a file may have to be typed anew.
        assert batches <= total - moment + 1 + 2 * N // BATCH
        # A fit that has ended is not read again at all.
        batches = 0
        with monkeypatch.context() as counting:
            counting.setattr(Table, "batches", counted)
            assert ff.fit_line(points, **options, checkpoint=path).to_dict() == expected
        assert batches == 0
    # How many batches come before a reader tells that types are wrong differs from time to time.
    assert endings >= len(moments) - 1


_FIT = """
import fastfit as ff
from fastfit.points import parts
from fastfit.points.files import readers, streams
streams.KEPT, readers.BATCH, readers._MOST = 0, {batch}, 2 * {batch}
import fastfit.points.files.checkpoint as checkpoint
checkpoint._SHORTEST, checkpoint._SHARE = 0.02, 1e9
own = parts.Survey.of, parts.SumUp.of, parts.Gather.of
for kind, of in zip((parts.Survey, parts.SumUp, parts.Gather), own):
    def slow(self, part, of=of):
        print("part", flush=True)
        return of(self, part)
    kind.of = slow
points = ff.scan({folder!r} + "/*", x="x", y="y")
fit = ff.fit_line(points, loss="huber", nan_policy="omit", checkpoint={path!r})
print(fit.slope.hex(), fit.intercept.hex(), fit.stderr.hex(), fit.f_scale.hex())
"""


def _seen(process: subprocess.Popen[str], most: int) -> int:
    """Wait until a process has read so many parts, and return how many it did before it ended."""
    assert process.stdout is not None
    count = 0
    while count < most and process.stdout.readline() == "part\n":
        count += 1
    return count


@needs_compiler
def test_a_fit_that_is_killed_goes_on_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    fit = ff.fit_line(points_of(folder), loss="huber", nan_policy="omit")
    assert fit.f_scale is not None
    expected = " ".join(v.hex() for v in (fit.slope, fit.intercept, fit.stderr, fit.f_scale))
    path = tmp_path / "c.json"
    code = _FIT.format(batch=BATCH, folder=str(folder), path=str(path))
    kills = 0
    for after in (5, 11, 25, 40):
        process = start_script(code)
        seen = _seen(process, after)
        process.kill()
        process.communicate()
        kills += seen == after
    assert kills == 4
    assert len(json.loads(path.read_text())["passes"]) >= 2
    process = start_script(code)
    out, err = process.communicate(timeout=120)
    assert out.split("\n")[-2] == expected, err
    assert list(tmp_path.iterdir()) == [path]


@needs_compiler
@pytest.mark.skipif(os.name == "nt", reason="has no SIGINT for a child alone")
def test_an_interrupt_leaves_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    code = _FIT.format(batch=BATCH, folder=str(folder), path=str(path))
    code = code.replace(
        "_SHORTEST, checkpoint._SHARE = 0.02", "_SHORTEST, checkpoint._SHARE = 60.0"
    )
    code = code.replace('print("part', 'time.sleep(0.02); print("part').replace(
        "import", "import time,", 1
    )
    process = start_script(code)
    assert _seen(process, 34) == 34
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert err.endswith("KeyboardInterrupt\n")
    written = json.loads(path.read_text())
    assert len(written["passes"]) == 2
    place = written["under_way"]["place"]
    assert (place["file"], place["row"]) > (0, 0)


def test_a_checkpoint_of_another_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    points = points_of(folder)
    given: dict[str, Any] = {"checkpoint": path, "nan_policy": "omit"}
    ff.fit_line(points, loss=ff.Huber(1.0), **given)
    before = path.read_bytes()
    others: list[tuple[files.FilePoints, dict[str, Any], str]] = [
        (
            points,
            {"loss": ff.Huber(2.0)},
            r"another fit. Its loss: Huber\(f_scale=1.0\). Those of this fit: Huber\(f",
        ),
        (points, {"solver": ff.GradientDescent()}, "Its solver: Newton"),
        (points, {"nan_policy": "propagate"}, "Its nan_policy: omit. Those of this fit: propagate"),
        (points, {"fit_intercept": False}, "Its fit_intercept: True. Those of this fit: False"),
        (points, {"backend": "numpy"}, "Its backend: numba. Those of this fit: numpy"),
        (
            points_of(folder, sample_weight="w"),
            {},
            "Its columns: x='x', y='y'. Those of this fit: x='x', y",
        ),
        (ff.scan(folder / "*", x="y", y="x"), {}, "belongs to another fit. Its columns: "),
        (
            ff.scan(folder / "0.parquet", x="x", y="y"),
            {},
            "Its data: 3 files of .* Those of this fit: 1 f",
        ),
    ]
    for other, options, message in others:
        with pytest.raises(ValueError, match=message):
            ff.fit_line(other, **{**given, "loss": ff.Huber(1.0), **options})
    os.utime(folder / "2.parquet", (1, 1))
    with pytest.raises(ValueError, match="belongs to another fit. Its data: 3 files"):
        ff.fit_line(points_of(folder), loss=ff.Huber(1.0), **given)
    assert path.read_bytes() == before
    # The number of threads changes no bit.
    assert path.exists()


@needs_compiler
def test_threads_may_change(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    points = points_of(folder)
    one, two = (
        ff.fit_line(points, loss="huber", nan_policy="omit", checkpoint=path, n_threads=n)
        for n in (1, 2)
    )
    assert one.to_dict() == two.to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "is something else"),
        ("", "is something else"),
        ("[1, 2]", "is something else"),
        ('{"x": 1}', "is something else"),
        ('{"format": "fastfit.Checkpoint", "version": 99}', "is of version 99, not 1"),
        ('{"format": "fastfit.Checkpoint", "version": 1}', "is damaged"),
        (
            '{"format": "fastfit.Checkpoint", "version": 1, "fit": {}, "passes": [{}], "under_way": null}',
            "is damaged",
        ),
    ],
)
def test_what_is_no_checkpoint_stays_as_it_is(
    folder: Path, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"checkpoint must be a file that fastfit .*{message}"):
        ff.fit_line(points_of(folder), checkpoint=path)
    assert path.read_text() == text
    with pytest.raises(ValueError, match="checkpoint must be a file; .* is a folder"):
        ff.fit_line(points_of(folder), checkpoint=tmp_path)


def test_binary_files_are_no_checkpoints(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is something else"):
        ff.fit_line(points_of(folder), checkpoint=folder / "0.parquet")


def test_a_folder_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the checkpoint .*none/c.json cannot be written: No such"):
        ff.fit_line(points_of(folder), checkpoint=tmp_path / "none" / "c.json")


def test_a_full_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    full, saves = False, 0
    own = os.fsync

    def fsync(handle: int) -> None:
        nonlocal saves
        saves += 1
        if saves > 10 and full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        own(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    expected = ff.fit_line(
        points_of(folder), loss="huber", nan_policy="omit", backend=BACKEND
    ).to_dict()
    full = True
    with pytest.raises(OSError, match=r"c.json cannot be written: No space left .* is kept"):
        ff.fit_line(
            points_of(folder), loss="huber", nan_policy="omit", checkpoint=path, backend=BACKEND
        )
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text())["under_way"] is not None
    full = False
    fit = ff.fit_line(
        points_of(folder), loss="huber", nan_policy="omit", checkpoint=path, backend=BACKEND
    )
    assert fit.to_dict() == expected


def test_chance_is_refused(folder: Path, tmp_path: Path) -> None:
    for rng, got in ((None, "got None"), (np.random.default_rng(1), "got Generator")):
        solver = ff.GradientDescent(init="random", rng=rng)
        with pytest.raises(ValueError, match=f"rng must be an integer .*{got}"):
            ff.fit_line(points_of(folder), solver=solver, checkpoint=tmp_path / "c.json")
    assert not list(tmp_path.iterdir())


def test_few_points_need_none_but_have_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEPT", 1 << 30)
    path = tmp_path / "c.json"
    fit = ff.fit_line(points_of(folder), nan_policy="omit", checkpoint=path)
    assert json.loads(path.read_text())["passes"] == []
    again = ff.fit_line(points_of(folder), nan_policy="omit", checkpoint=path)
    assert again.to_dict() == fit.to_dict()


def test_an_error_keeps_what_was_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.json"
    own = Table.batches

    def vanishing(self: Table, *arguments: Any) -> Any:
        for batch in own(self, *arguments):
            if self.path.endswith("2.parquet") and arguments[1] == 2 * BATCH:
                raise FileError("the disk is gone")
            yield batch

    with monkeypatch.context() as broken:
        broken.setattr(Table, "batches", vanishing)
        with pytest.raises(FileError, match="the disk is gone"):
            ff.fit_line(points_of(folder), nan_policy="omit", checkpoint=path)
    written = json.loads(path.read_text())
    assert written["under_way"]["place"] == {"file": 2, "row": 2 * BATCH}
    assert written["stages"] == {"1": 2}
    fit = ff.fit_line(points_of(folder), nan_policy="omit", checkpoint=path)
    assert fit.to_dict() == ff.fit_line(points_of(folder), nan_policy="omit").to_dict()


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_types_are_kept_between_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The types of a file are known only at its end, and a fit that goes on in a later pass must know them too.
    path = tmp_path / "t.csv"
    path.write_text(
        "x,y\n" + "".join(f"{k},{2 * k + k % 7}\n" for k in range(12 * BATCH)) + "5,10.5\n"
    )
    points = ff.scan(path)
    solver = ff.GradientDescent(max_iter=2, passes="samples")
    expected = ff.fit_line(points, solver=solver).to_dict()
    own = Table.batches
    batches = last = 0

    def counted(self: Table, *arguments: Any) -> Any:
        nonlocal batches
        for batch in own(self, *arguments):
            batches += 1
            if batches == last:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(Table, "batches", counted)
    ff.fit_line(points, solver=solver)
    total = batches
    for first in range(total - 30, total, 3):
        checkpoint = tmp_path / f"{first}.json"
        for moment in (first, 4, 3):
            batches, last = 0, moment
            with contextlib.suppress(KeyboardInterrupt):
                ff.fit_line(points, solver=solver, checkpoint=checkpoint)
        last = 0
        assert ff.fit_line(points, solver=solver, checkpoint=checkpoint).to_dict() == expected


@pytest.mark.parametrize("wrong", [3, True, b"c.json", "", 1.5])
def test_what_is_no_path(folder: Path, wrong: Any) -> None:
    with pytest.raises(TypeError, match="checkpoint must be the path of a file, or None; got"):
        ff.fit_line(points_of(folder), checkpoint=wrong)


def test_numbers_come_back_to_the_last_bit() -> None:
    moments = ff.Moments.of([1.0, 2.0, 1e9], [0.1, 0.2, 0.7])
    sample = parts.Sample(64, np.array([0.1, np.nan]), np.array([np.inf, -0.0]), None)
    for found in (
        parts.Surveyed(3, 1, moments, 3.0, 0.5, sample),
        parts.Sums((0.1, float("nan")), (float("inf"), 1e-300)),
        parts.Near(1.0, 2.5, np.array([0.1]), np.array([2.0]), False, 4),
        parts.Near(1.0, 2.5, np.empty(0), None, True),
    ):
        again = _decoded(json.loads(json.dumps(_encoded(found))))
        assert type(again) is type(found)
        assert repr(again) == repr(found)


def test_passes_that_are_not_those_of_the_fit(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    kept = Checkpoint(path, {"loss": "huber"})
    kept.ended("one pass", 1.0)
    again = Checkpoint(path, {"loss": "huber"})
    with pytest.raises(ValueError, match="has other passes than this fit makes"):
        again.found("another pass")
    assert Checkpoint(path, {"loss": "huber"}).found("one pass") == 1.0
