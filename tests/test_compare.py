"""The gate: its statistics on made-up times, and its answers for trees that are the same, slower, or broken.

Most trees here are tiny: a package of one function and two workloads, which start in milliseconds. One test, marked
slow, runs the gate on the real package.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import compare
from bench.judge import FEWEST_PAIRS, SMALLEST, Verdict, judge
from tests.conftest import needs_compiler

ROOT = Path(compare.__file__).resolve().parent.parent


def noisy(seed: int, n: int, ratio: float = 1.0, noise: float = 0.01) -> tuple[Any, Any]:
    """Return paired times of a machine that is slow half of the time, with one pair in ten disturbed."""
    rng = np.random.default_rng(seed)
    phase = np.where(rng.random(n) < 0.5, 1.0, 1.6)
    times = 1e-4 * phase * np.exp(noise * rng.standard_normal((2, n)))
    times[rng.integers(0, 2, n), np.arange(n)] *= np.where(rng.random(n) < 0.1, 1.3, 1.0)
    return times[0], ratio * times[1]


numbers_of_pairs = pytest.mark.parametrize("n_pairs", [FEWEST_PAIRS, 15, compare.MOST_PAIRS])


@numbers_of_pairs
@pytest.mark.parametrize(
    "noise",
    [0.002, pytest.param(0.01, marks=pytest.mark.slow), pytest.param(0.05, marks=pytest.mark.slow)],
)
def test_chance_alone_is_not_slower(n_pairs: int, noise: float) -> None:
    verdicts = [judge("w", *noisy(seed, n_pairs, noise=noise), 20) for seed in range(400)]
    # 400 workloads are twenty runs of the gate, of which one in a thousand may fail.
    assert not [v for v in verdicts if v.state in {"slower", "faster"}]
    # 99 % intervals hold the true ratio; allow for the chance of 400 draws.
    covered = sum(v.low <= 1.0 <= v.high for v in verdicts)
    assert covered >= 0.98 * len(verdicts)


@numbers_of_pairs
def test_a_tenth_is_found_with_enough_pairs(n_pairs: int) -> None:
    verdicts = [judge("w", *noisy(seed, n_pairs, 1.1, 0.005), 20) for seed in range(300)]
    enough = [v for v in verdicts if v.is_precise]
    assert enough
    assert sum(v.state == "slower" for v in enough) >= 0.99 * len(enough)
    if n_pairs == compare.MOST_PAIRS:
        assert len(enough) >= 0.99 * len(verdicts)


def test_faster_is_reported_too() -> None:
    head, base = noisy(1, 31, ratio=1.1, noise=0.005)
    verdict = judge("w", base, head, 20)
    assert verdict.state == "faster"
    assert verdict.confidence > 0.999


@pytest.mark.parametrize("seed", range(20))
def test_processes_of_two_kinds_are_no_alarm(seed: int) -> None:
    """The layout of memory may make a process fast or slow, on both sides."""
    rng = np.random.default_rng(seed)
    for n_pairs in (9, 15, 31):
        kinds = np.where(rng.random((2, n_pairs)) < 0.5, 1.0, 1.12)
        base, head = 1e-4 * kinds * np.exp(0.001 * rng.standard_normal((2, n_pairs)))
        assert judge("w", base, head, 20).state not in {"slower", "faster"}


def test_noise_that_could_hide_a_tenth_is_unclear() -> None:
    verdict = judge("w", *noisy(3, 9, ratio=1.05, noise=0.2), 20)
    assert verdict.state == "unclear"
    assert verdict.high > 1.1
    assert verdict.confidence < 0.99


def test_small_changes_do_not_count_however_sure() -> None:
    base = np.full(31, 1e-4)
    verdict = judge("w", base, 1.02 * base)
    assert (verdict.state, verdict.relative_threshold) == ("same", SMALLEST)
    assert verdict.ratio == pytest.approx(1.02)
    assert judge("w", base, 1.04 * base).state == "slower"


def test_both_thresholds_must_be_passed() -> None:
    """Short times with a clear ratio, and long ones that differ at random: the median is not clear in seconds."""
    base = np.array([1e-6] * 5 + [1.0, 1.2, 0.9, 1.1])
    head = np.array([1.1e-6] * 5 + [1.5, 0.8, 0.5, 1.7])
    verdict = judge("w", base, head)
    assert math.isclose(verdict.ratio, 1.1)
    assert verdict.absolute_threshold > 1e-3
    assert verdict.state != "slower"


def test_units_do_not_matter() -> None:
    base, head = noisy(4, 15, ratio=1.1)
    one, other = judge("w", base, head), judge("w", 1e3 * base, 1e3 * head)
    assert one.state == other.state == "slower"
    assert one.relative_threshold == pytest.approx(other.relative_threshold)
    assert 1e3 * one.absolute_threshold == pytest.approx(other.absolute_threshold)
    assert "w is slower by" in str(one)


def plant(tree: Path, file: str, old: str, new: str) -> None:
    """Change a text that stands once in a file of a tree."""
    text = (tree / file).read_text()
    assert text.count(old) == 1, f"{file} no longer has just one place to plant a change in"
    (tree / file).write_text(text.replace(old, new))


def committed(root: Path) -> Path:
    """Commit all files of a folder to a new repository, and return the folder."""
    (root / ".gitignore").write_text("__pycache__/\n.benchmarks/\n")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def report(repository: Path) -> Any:
    return json.loads((repository / ".benchmarks" / "compare.json").read_text())


FASTFIT = """def fit(n):
    return sum(range(n))
"""
WORKLOADS = """from types import SimpleNamespace
import fastfit

def prepare(n):
    def check(result):
        assert result == n * (n - 1) // 2, "wrong sum"
    return SimpleNamespace(call=lambda: fastfit.fit(n), check=check)

WORKLOADS = {
    "loop/short": SimpleNamespace(prepare=lambda: prepare(1_000), in_gate=True),
    "loop/long": SimpleNamespace(prepare=lambda: prepare(2_000), in_gate=False),
}
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of a tiny package, that the gate compares with short turns, in this process."""
    root = tmp_path / "repository"
    sources = {"bench/__init__": "", "bench/workloads": WORKLOADS, "fastfit/__init__": FASTFIT}
    for name, source in sources.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.py").write_text(source)
    monkeypatch.setattr(compare, "ROOT", root)
    monkeypatch.setattr(compare, "SECONDS", 0.002)
    return committed(root)


def gate(*arguments: str) -> int:
    return compare.main(["HEAD", "--shared-environment", "--minutes", "0", *arguments])


@pytest.mark.slow  # starts processes
def test_the_workloads_of_the_gate_are_compared(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "link"))  # as on macOS
    code = gate()
    found, printed = report(tiny), capsys.readouterr()
    assert code == bool(found["slower"])  # a machine may be too busy for turns as short as these
    assert list((tmp_path / "real").iterdir()) == []  # nothing is left behind
    (workload,) = found["workloads"]
    assert workload["name"] == "loop/short"
    assert len(workload["base"]) == len(workload["head"]) == FEWEST_PAIRS
    assert min(workload["base"]) > 0.0
    assert workload["low"] <= workload["ratio"] <= workload["high"]
    assert (tiny / ".benchmarks" / "compare.md").read_text().strip() == printed.out.strip()
    assert printed.err == ""  # no progress in a pipe


def test_a_slowdown_fails(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tiny, "fastfit/__init__.py", "return sum(", "return sum(range(2 * n)) * 0 + sum(")
    assert gate("-k", "loop/*") == 1
    found = report(tiny)
    assert set(found["slower"]) == {"loop/short", "loop/long"}
    assert all(w["ratio"] > 1.5 and w["confidence"] > 0.999 for w in found["workloads"])
    assert "loop/long is slower by" in capsys.readouterr().out


@pytest.mark.slow  # starts processes
def test_sides_take_turns(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    ask = compare.ask

    def record(processes: list[compare.Process], do: str, **arguments: Any) -> Any:
        turns.extend(process.name[0] for process in processes if do == "time")
        return ask(processes, do, **arguments)

    monkeypatch.setattr(compare, "ask", record)
    gate()
    assert "".join(turns).startswith("bhhbbh" + "hbbhhb" + "bhhbbh")


def test_wrong_results_fail(tiny: Path) -> None:
    plant(tiny, "fastfit/__init__.py", "return sum(range(n))", "return sum(range(n)) + (n < 1_500)")
    assert gate("-k", "loop/*") == 1
    assert report(tiny)["notes"] == {"loop/short": "broken: AssertionError: wrong sum"}
    assert [w["name"] for w in report(tiny)["workloads"]] == ["loop/long"]


WRONG_SUM = ("bench/workloads.py", "assert result == n", "assert result == 2 * n")
BROKEN = ("fastfit/__init__.py", "def fit", "raise RuntimeError('broken')\ndef fit")


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (WRONG_SUM, (), "loop/short: runs in neither (AssertionError: wrong sum)"),
        (BROKEN, (), "the benchmarks do not run in head: RuntimeError: broken"),
        (None, ("-k", "nothing/*"), "compare: error: no workload matches nothing/*\n"),
    ],
)
def test_where_nothing_can_be_timed_there_is_no_comparison(
    tiny: Path, change: Any, arguments: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if change:
        plant(tiny, *change)
    assert gate(*arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow  # starts processes
def test_what_base_does_not_have_is_new(tiny: Path) -> None:
    """Benchmarks of head that do not run in base: base runs its own."""
    plant(tiny, "bench/workloads.py", "import fastfit", "import fastfit\nfrom fastfit import new")
    plant(tiny, "bench/workloads.py", "loop/long", "loop/renamed")
    plant(tiny, "fastfit/__init__.py", "def fit", "new = 1\n\n\ndef fit")
    code = gate("-k", "loop/*")
    found = report(tiny)
    assert code == bool(found["slower"])
    assert "timed with its own benchmarks" in found["notes"]["base"]
    assert found["notes"]["loop/renamed"].startswith("new")
    assert found["notes"]["loop/long"].startswith("gone")
    assert [w["name"] for w in found["workloads"]] == ["loop/short"]


@pytest.mark.slow  # starts processes
def test_no_such_revision(tiny: Path) -> None:
    """The gate runs as a script."""
    command = [sys.executable, str(ROOT / "bench" / "compare.py"), "no-such-revision"]
    result = subprocess.run(command, cwd=tiny, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("compare: error: ")
    assert "no-such-revision" in result.stderr


def test_a_process_that_dies_or_hangs_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = tmp_path / "suite" / "bench"
    bench.mkdir(parents=True)
    (bench / "__init__.py").touch()
    worker = bench / "worker.py"
    worker.write_text("import os; print('{}', flush=True); input(); os._exit(7)")
    side = compare.Side("head", tmp_path, in_place=True)
    with compare.started(side) as (processes, greetings):
        assert greetings == [{}]
        assert "exit code 7" in compare.ask(processes, "time", seconds=1.0)[0]["error"]
        with pytest.raises(compare.NoComparison, match="head failed while it was timed, at x"):
            compare.ask(processes, "prepare", must=True, name="x")
    monkeypatch.setattr(compare, "LONGEST", 0.2)
    worker.write_text("import time; time.sleep(60)")
    with compare.started(side) as (_, greetings):
        assert "ended with exit code" in greetings[0]["error"]


# The end of the fused loop, and what a slower tree has in its place: a tenth of its points once more. The compiler
# cannot leave it out, since 0 times a sum may be NaN.
LOOP_ENDS = "    return total, grad_slope, grad_offset\n"
A_TENTH_MORE = """    more = more_slope = more_offset = 0.0
    for i in range(x.size // 10):
        u = difference(np.float64(x[i]), x_center)
        v = difference(np.float64(y[i]), y_center)
        value, derivative, _, _ = point(loss, v - (slope * u + offset))
        k = weight(w, i)
        more += k * value
        more_slope -= k * derivative * u
        more_offset -= k * derivative
    return total + 0.0 * more, grad_slope + 0.0 * more_slope, grad_offset + 0.0 * more_offset
"""


def verdicts_of(package: Path, *workloads: str) -> tuple[int, dict[str, Verdict]]:
    """Compare the working tree of the real package with what is committed, and put it back."""
    command = [sys.executable, "bench/compare.py", "HEAD", "--shared-environment"]
    command += [argument for name in workloads for argument in ("-k", name)]
    result = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
    assert result.returncode in {0, 1}, result.stdout + result.stderr
    subprocess.run(["git", "checkout", "-q", "."], cwd=package, check=True)
    found = report(package)
    assert not found["notes"], found["notes"]
    return result.returncode, {v["name"]: Verdict(**v) for v in found["workloads"]}


SQUARED, HUBER = "loop/LossGradient/squared_error", "loop/LossGradient/huber"


@needs_compiler
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_gate_on_the_package(tmp_path: Path) -> None:
    for name in ("fastfit", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    package = committed(tmp_path)
    code, found = verdicts_of(package, SQUARED)
    assert code == 0, found
    assert found[SQUARED].state != "slower"

    # A tenth is found in at least one of two loops, and in neither is the time mistaken for the same. (A busy
    # machine may leave one of them unclear, or short of one of the thresholds.)
    plant(package, "fastfit/kernels/gradient.py", LOOP_ENDS, A_TENTH_MORE)
    code, found = verdicts_of(package, SQUARED, HUBER)
    assert code == 1, found
    assert any(verdict.state == "slower" for verdict in found.values())
    assert all(verdict.ratio > 1.03 for verdict in found.values())

    old = 'BLOCK_SUMS: dict[str, Any] = {**_ALWAYS, "fastmath": {"reassoc", "contract"}}'
    plant(package, "fastfit/kernels/flags.py", old, old.replace('"reassoc", ', ""))
    code, found = verdicts_of(package, SQUARED)  # no longer vectorised
    assert code == 1, found
    assert found[SQUARED].ratio > 1.5
    assert found[SQUARED].confidence > 0.999
