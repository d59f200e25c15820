"""The gate: what it makes of times, and what it says of trees that are the same, slower, or broken."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import compare
from tests.conftest import needs_compiler

ROOT = Path(compare.__file__).resolve().parent.parent

# What a slower tree has in place of the end of the fused loop: a tenth of its points once more. Nothing may be left
# out as useless, since 0 times a sum may be NaN.
LOOP_ENDS = """            total += value
            grad_slope -= first * u
            grad_offset -= first
        return total, grad_slope, grad_offset
"""
A_TENTH_MORE = """            total += value
            grad_slope -= first * u
            grad_offset -= first
        more = more_slope = more_level = 0.0
        for i in range(x.size // 10):
            u = difference(np.float64(x[i]), x_center)
            v = difference(np.float64(y[i]), y_center)
            value, first, _, _ = point(loss, v - (slope * u + level))
            value, first = weight(w, i) * value, weight(w, i) * first
            more += value
            more_slope -= first * u
            more_level -= first
        return total + 0.0 * more, grad_slope + 0.0 * more_slope, grad_offset + 0.0 * more_level
"""


def plant(tree: Path, file: str, old: str, new: str) -> None:
    """Change a text that stands once in a file of a tree."""
    text = (tree / file).read_text()
    assert text.count(old) == 1, f"{file} no longer has just one place to plant a slowdown in"
    (tree / file).write_text(text.replace(old, new))


def plant_a_tenth(tree: Path) -> None:
    plant(tree, "fastfit/kernels/passes.py", LOOP_ENDS, A_TENTH_MORE)


def plant_no_vectors(tree: Path) -> None:
    old = 'BLOCK_SUMS: dict[str, Any] = {**_ALWAYS, "fastmath": {"reassoc", "contract"}}'
    plant(tree, "fastfit/kernels/flags.py", old, old.replace('"reassoc", ', ""))


def noisy(seed: int, n: int, ratio: float = 1.0, noise: float = 0.01) -> tuple[Any, Any]:
    """Return paired times of a machine that is slow half of the time, with one pair in ten disturbed."""
    rng = np.random.default_rng(seed)
    phase = np.where(rng.random(n) < 0.5, 1.0, 1.6)
    times = 1e-4 * phase * np.exp(noise * rng.standard_normal((2, n)))
    times[rng.integers(0, 2, n), np.arange(n)] *= np.where(rng.random(n) < 0.1, 1.3, 1.0)
    return times[0], ratio * times[1]


@pytest.mark.parametrize("n_pairs", [compare.FEWEST_PAIRS, 15, compare.MOST_PAIRS])
@pytest.mark.parametrize("noise", [0.002, 0.01, 0.05])
def test_chance_alone_is_not_slower(n_pairs: int, noise: float) -> None:
    workloads = 20
    verdicts = [
        compare.judge("w", *noisy(seed, n_pairs, noise=noise), workloads) for seed in range(400)
    ]
    # Twenty runs of the gate, of which one in a thousand may fail.
    assert not [v for v in verdicts if v.state in {"slower", "faster"}]
    # Of intervals of 99 %, so many hold the truth; those of few pairs are wide.
    covered = sum(v.low <= 1.0 <= v.high for v in verdicts)
    assert covered >= 0.98 * len(verdicts)


@pytest.mark.parametrize("n_pairs", [compare.FEWEST_PAIRS, 15, compare.MOST_PAIRS])
def test_a_tenth_is_seen_once_there_are_pairs_enough(n_pairs: int) -> None:
    verdicts = [
        compare.judge("w", *noisy(seed, n_pairs, ratio=1.1, noise=0.005), 20) for seed in range(300)
    ]
    enough = [v for v in verdicts if v.threshold <= compare.WANTED and v.state != "unclear"]
    assert enough
    assert sum(v.state == "slower" for v in enough) >= 0.99 * len(enough)
    if n_pairs == compare.MOST_PAIRS:
        assert len(enough) >= 0.99 * len(verdicts)


def test_faster_is_told_too() -> None:
    head, base = noisy(1, 31, ratio=1.1, noise=0.005)
    verdict = compare.judge("w", base, head, 20)
    assert verdict.state == "faster"
    assert verdict.confidence > 0.999


@pytest.mark.parametrize("seed", range(20))
def test_processes_of_two_kinds_are_no_alarm(seed: int) -> None:
    """As where memory happens to be laid out well or badly: both sides have either."""
    rng = np.random.default_rng(seed)
    for n_pairs in (9, 15, 31):
        kinds = np.where(rng.random((2, n_pairs)) < 0.5, 1.0, 1.12)
        base, head = 1e-4 * kinds * np.exp(0.001 * rng.standard_normal((2, n_pairs)))
        assert compare.judge("w", base, head, 20).state not in {"slower", "faster"}


def test_noise_that_would_hide_a_tenth_is_said_to() -> None:
    verdict = compare.judge("w", *noisy(3, 9, ratio=1.05, noise=0.2), 20)
    assert verdict.state == "unclear"
    assert verdict.high > 1.1
    assert verdict.confidence < 0.99


def test_small_changes_are_none_however_sure() -> None:
    base = np.full(31, 1e-4)
    verdict = compare.judge("w", base, 1.02 * base)
    assert verdict.state == "same"
    assert verdict.ratio == pytest.approx(1.02)
    assert verdict.relative_threshold == compare.SMALLEST
    assert compare.judge("w", base, 1.04 * base).state == "slower"


def test_both_thresholds_must_be_passed() -> None:
    """Short times with a clear ratio, and long ones that differ by anything: the median says nothing in seconds."""
    base = np.array([1e-6] * 5 + [1.0, 1.2, 0.9, 1.1])
    head = np.array([1.1e-6] * 5 + [1.5, 0.8, 0.5, 1.7])
    verdict = compare.judge("w", base, head)
    assert math.isclose(verdict.ratio, 1.1)
    assert verdict.absolute_threshold > 1e-3
    assert verdict.state != "slower"


def test_units_do_not_matter() -> None:
    base, head = noisy(4, 15, ratio=1.1)
    one, other = compare.judge("w", base, head), compare.judge("w", 1e3 * base, 1e3 * head)
    assert one.state == other.state == "slower"
    assert one.relative_threshold == pytest.approx(other.relative_threshold)
    assert 1e3 * one.absolute_threshold == pytest.approx(other.absolute_threshold)
    assert "w is slower by" in str(one)


Tree = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the package and its benchmarks, committed."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("fastfit", "bench"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".gitignore").write_text("__pycache__/\n.benchmarks/\n")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        [*identity, "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


@pytest.fixture
def gate(repository: Path) -> Any:
    """Compare a working tree with what is committed, without installing either."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "bench/compare.py", "--shared-environment", *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)

    yield run
    subprocess.run(["git", "checkout", "-q", "."], cwd=repository, check=True)


def report(repository: Path) -> Any:
    return json.loads((repository / ".benchmarks" / "compare.json").read_text())


LOOPS = ("-k", "loop/LossGradient/squared_error", "-k", "loop/LossGradient/huber")


@needs_compiler
def test_identical_trees_pass(
    gate: Tree, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "link"))  # as the temporary folder of macOS is
    result = gate(*LOOPS[:2])
    assert list((tmp_path / "real").iterdir()) == []  # nothing is left behind
    assert result.returncode == 0, result.stdout + result.stderr
    assert "not slower: 1 workloads" in result.stdout
    found = report(repository)
    assert found["slower"] == []
    for workload in found["workloads"]:
        assert len(workload["base"]) == len(workload["head"]) >= compare.FEWEST_PAIRS
        assert min(workload["base"]) > 0.0
        assert workload["low"] <= workload["ratio"] <= workload["high"]
    assert (repository / ".benchmarks" / "compare.md").read_text().strip() == result.stdout.strip()
    assert result.stderr == ""  # no progress in a pipe


@needs_compiler
def test_a_loop_that_is_slower_by_a_tenth_fails(gate: Tree, repository: Path) -> None:
    plant_a_tenth(repository)
    result = gate(*LOOPS)
    assert result.returncode == 1, result.stdout + result.stderr
    assert set(report(repository)["slower"]) == {name for name in LOOPS if name != "-k"}
    assert "loop/LossGradient/squared_error is slower by" in result.stdout


@needs_compiler
def test_a_loop_that_is_no_longer_vectorised_fails(gate: Tree, repository: Path) -> None:
    plant_no_vectors(repository)
    result = gate("-k", "loop/LossGradient/squared_error", "--minutes", "0")
    assert result.returncode == 1, result.stdout + result.stderr
    (workload,) = report(repository)["workloads"]
    assert workload["ratio"] > 1.5
    assert workload["confidence"] > 0.999


@needs_compiler
def test_wrong_results_fail(gate: Tree, repository: Path) -> None:
    old = "        return total, grad_slope, grad_offset\n"
    plant(repository, "fastfit/kernels/passes.py", old, old.replace("total,", "1.01 * total,"))
    result = gate(
        "-k", "loop/LossGradient/squared_error", "-k", "loop/ProductSums", "--minutes", "0"
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert (
        "broken: AssertionError" in report(repository)["notes"]["loop/LossGradient/squared_error"]
    )
    assert [w["name"] for w in report(repository)["workloads"]] == ["loop/ProductSums"]


@needs_compiler
def test_what_runs_nowhere_says_nothing_of_head(gate: Tree, repository: Path) -> None:
    name = "loop/LossGradient/squared_error"
    old = "np.testing.assert_allclose(rows[0], expected, rtol=1e-9, atol=1e-9 * BLOCK)"
    plant(repository, "bench/workloads.py", old, "raise AssertionError('planted')")
    result = gate("-k", name)
    assert result.returncode == 2
    assert f"{name}: runs in neither (AssertionError: planted)" in result.stderr


@needs_compiler
def test_what_base_does_not_have_is_new(gate: Tree, repository: Path) -> None:
    """Benchmarks of head that do not run in base: there, base's own are taken."""
    old = "from fastfit.speed.timing import ratio, times\n"
    plant(repository, "bench/measure.py", old, old + "from fastfit.speed.timing import another\n")
    plant(repository, "fastfit/timing.py", "def repeats_for", "another = 1\n\n\ndef repeats_for")
    plant(
        repository,
        "bench/workloads.py",
        'f"loop/{name}"',
        'f"loop/{name}".replace("huber", "renamed")',
    )
    result = gate(*LOOPS, "-k", "loop/LossGradient/renamed", "--minutes", "0")
    assert result.returncode == 0, result.stdout + result.stderr
    notes = report(repository)["notes"]
    assert "timed with its own benchmarks" in notes["base"]
    assert notes["loop/LossGradient/renamed"].startswith("new")
    assert notes["loop/LossGradient/huber"].startswith("gone")
    assert [w["name"] for w in report(repository)["workloads"]] == [
        "loop/LossGradient/squared_error"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-revision"], "no-such-revision"),
        (["HEAD", "-k", "nothing/*"], "no workload matches nothing"),
    ],
)
def test_nothing_to_compare(gate: Tree, arguments: list[str], message: str) -> None:
    result = gate(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("compare: error: ")
    assert message in result.stderr


def test_benchmarks_that_do_not_run_in_head(gate: Tree, repository: Path) -> None:
    (repository / "fastfit" / "timing.py").write_text("raise RuntimeError('broken')")
    result = gate()
    assert result.returncode == 2
    assert "the benchmarks do not run in head: RuntimeError: broken" in result.stderr


def test_a_process_that_dies_or_hangs_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "suite" / "bench").mkdir(parents=True)
    (tmp_path / "suite" / "bench" / "__init__.py").touch()
    worker = tmp_path / "suite" / "bench" / "worker.py"
    worker.write_text("import os; print('{}', flush=True); input(); os._exit(7)")
    process = compare.Process(compare.Side("head", "", tmp_path))
    process.greet()
    assert "exit code 7" in process.ask("time", seconds=1.0)["error"]
    with pytest.raises(compare.NoComparison, match="head failed while it was timed, at x"):
        process.must("prepare", name="x")
    process.close()
    monkeypatch.setattr(compare, "LONGEST", 0.2)
    worker.write_text("import time; time.sleep(60)")
    hanging = compare.Process(compare.Side("head", "", tmp_path))
    hanging.greet()
    assert "ended with exit code" in hanging.greeting["error"]
    hanging.close()
