"""What ``fastfit bench`` measures, and what it says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import fastfit
from fastfit.kernels import compiled
from fastfit.kernels.bare_read import bare_read
from fastfit.kernels.block import BLOCK
from fastfit.losses import LOSSES, RobustLoss
from fastfit.speed import throughput, timing
from fastfit.speed.machine import machine, share_available
from fastfit.speed.picture import draw_throughput
from fastfit.speed.throughput import Report, Throughput
from tests.conftest import needs_compiler


@pytest.mark.parametrize("n", [0, 1, BLOCK, 4 * BLOCK + 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_bare_read_reads_all(n: int, dtype: Any) -> None:
    x, y = np.arange(n, dtype=dtype), np.full(n, 0.5, dtype=dtype)
    for n_threads in (1, None):
        assert bare_read(x, y, n_threads) == n * (n - 1) / 2 + 0.5 * n


def test_calls_are_timed_in_turn() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = timing.times(calls, rounds=2, inner=3)
    assert "".join(order) == "ab" + 2 * "aaabbb"
    assert [len(times) for times in found.values()] == [2, 2]


def test_short_calls_are_repeated() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    repeats = timing.repeats_for(call)
    assert repeats > 100
    calls = 0
    assert 0.0 < timing.timed(call, repeats) < 1.0
    assert calls == repeats
    assert timing.ratio({"a": [2.0, 6.0, 3.0], "b": [1.0, 2.0, 3.0]}, "a", "b") == 2.0


def test_numpys_way_finds_our_lines() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=500)
    y = 2.0 * x + 1.0 + rng.standard_t(3, size=500)
    for name, loss in LOSSES.items():
        if isinstance(loss(), RobustLoss):
            fit = fastfit.fit_line(x, y, loss=name, backend="numpy")
            theirs = throughput.reweighted_least_squares(x, y, loss)
            # They stop at steps of 1e-8, which come ever closer by a factor.
            np.testing.assert_allclose(theirs, (fit.slope, fit.intercept), rtol=1e-5)
    found = throughput.three_expressions(x, y, (2.0, 1.0))
    value, gradient = fastfit.objective(x, y)((2.0, 1.0))
    np.testing.assert_allclose(found, (value, *gradient), rtol=1e-12)


def test_machine_says_what_a_report_needs() -> None:
    found = machine()
    assert {"fastfit", "numba", "numpy", "llvmlite", "python", "platform"} <= set(found)
    assert found["fastfit"] == fastfit.__version__
    assert found["threads"] == compiled.description()["threads"] >= 1
    assert found["processors"] >= 1
    assert found["processor_type"]
    sizes = list(found["caches"].values())
    assert sizes == sorted(sizes)
    json.dumps(found)


@pytest.fixture
def report() -> Report:
    fits = [
        Throughput("least squares", 1_000, 2e-5, 1, 0.1, 4.0),
        Throughput("least squares", 1_000_000, 1e-3, 1, 0.9, 120.0),
        Throughput("huber", 1_000, 4e-4, 13, 0.08, math.nan),
        Throughput("huber", 1_000_000, 5e-3, 6, 0.5, 60.0),
    ]
    caches = {"L1": 32768, "L2": 1 << 20}
    about = {"processor": "An Example", "threads": 2, "caches": caches, "share_available": 1.0}
    return Report(about, {1_000: 2e-6, 1_000_000: 9e-4}, {1_000: 8e-5, 1_000_000: 0.12}, fits)


def test_a_report_as_text(report: Report) -> None:
    lines = str(report).splitlines()
    assert "caches           L1 32 KiB, L2 1,024 KiB" in lines
    (huber,) = (line for line in lines if line.startswith("huber") and " 1,000 " in line)
    assert huber.split() == ["huber", "1,000", "400", "us", "2.5e+06", "13", "8%", "-"]
    (exact,) = (line for line in lines if line.startswith("least") and "1,000,000" in line)
    assert exact.split()[2:] == ["1,000,000", "1", "ms", "1e+09", "1", "90%", "120", "x"]
    assert any("17.8" in line for line in lines)  # GB/s of the read


def test_a_report_as_json(report: Report) -> None:
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["fits"][2]["times_faster_than_numpy"] is None
    assert found["fits"][1]["points_per_second"] == pytest.approx(1e9)
    assert found["read"][1] == {
        "n_points": 1_000_000,
        "seconds": 9e-4,
        "bytes_per_second": pytest.approx(16e6 / 9e-4),
    }


def test_a_picture_of_a_report(report: Report, tmp_path: Path) -> None:
    figure = draw_throughput(report)
    (ax,) = figure.axes
    names = [line.get_label() for line in ax.lines]
    assert {"bare read of x and y", "least squares", "huber", "numpy.polyfit"} <= set(names)
    roof = ax.lines[names.index("bare read of x and y")]
    np.testing.assert_allclose(np.asarray(roof.get_ydata(), float), [5e8, 1e6 / 9e-4])
    assert [text.get_text().strip() for text in ax.texts] == ["L1", "L2"]
    figure.savefig(tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 10_000


def test_a_report_says_of_a_busy_machine_and_of_shares_above_one() -> None:
    about = {"caches": {}, "share_available": 0.95}
    fit = Throughput("descent step", 1_000, 1e-6, 1, 0.8, 5.0)
    quiet = str(Report(about, {1_000: 1e-6}, {}, [fit]))
    assert "busy" not in quiet
    assert "Above 100 %" not in quiet
    busy = str(Report(about | {"share_available": 0.42}, {1_000: 1e-6}, {}, [fit]))
    assert "The machine was busy: fits could use 42% of its processor time" in busy
    assert "Above 100 %" in str(
        Report(about, {1_000: 1e-6}, {}, [fit._replace(share_of_read_limit=1.2)])
    )


@needs_compiler
def test_busy_threads_get_processor_time() -> None:
    assert 0.02 < share_available(1) < 1.1


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="max_points must be 1,000 or more; got 999"):
        throughput.measure(999)
    with pytest.raises(ValueError, match="n_threads must be"):
        throughput.measure(1_000, 0)


def test_nothing_is_measured_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(RuntimeError, match="NUMBA_DISABLE_JIT must be unset"):
        throughput.measure(1_000)


@pytest.mark.slow  # measures for some seconds, as does the command in its own test
@needs_compiler
def test_all_kinds_of_fits_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "_SECONDS_FOR_FITS", 0.1)
    monkeypatch.setattr(throughput, "_SECONDS_FOR_NUMPY", 0.01)
    said: list[float] = []
    found = throughput.measure(2_000, 1, lambda share, what: said.append(share))
    assert list(found.read) == list(found.numpy) == [1_000, 2_000]
    kinds = {fit.kind for fit in found.fits}
    assert kinds == {"least squares", "descent step", *LOSSES} - {"squared_error"}
    for fit in found.fits:
        assert fit.seconds > 0.0
        assert fit.share_of_read_limit > 0.0
        assert fit.n_passes >= 1
        assert fit.times_faster_than_numpy > 0.0
    assert found.machine["threads"] == 1
    assert said == sorted(said)
    assert said[0] == 0.0
    assert said[-1] == 1.0
