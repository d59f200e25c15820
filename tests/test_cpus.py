"""The number of processors follows affinity and the CPU quota of control groups, read from files made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastfit import cpus


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that the process may use eight processors and that no group limits it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "_CGROUPS", tmp_path)
    monkeypatch.setattr(cpus, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("expected", "files"),
    [
        (8, {}),
        (8, {"cpu.max": "max 100000\n"}),
        (2, {"cpu.max": "200000 100000\n"}),
        (3, {"cpu.max": "200001 100000\n"}),
        (1, {"cpu.max": "1000 100000\n"}),
        (8, {"cpu.max": "9900000 100000\n"}),
        (8, {"cpu.max": ""}),
        (8, {"cpu.max": "200000\n"}),
        (8, {"cpu.max": "two 100000\n"}),
        (8, {"cpu.max": "200000 0\n"}),
        (4, {"cpu/cpu.cfs_quota_us": "350000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        (8, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        (8, {"cpu/cpu.cfs_quota_us": "350000\n"}),
        # Groups in groups: the tightest counts, whichever it is.
        (2, {"own": "0::/a/b\n", "a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}),
        (3, {"own": "0::/a/b\n", "a/b/cpu.max": "300000 100000", "a/cpu.max": "400000 100000"}),
        (8, {"own": "0::/a\n", "b/cpu.max": "200000 100000"}),
        (8, {"own": "nonsense\n\n3:memory:/x\n", "x/cpu.max": "100000 100000"}),
        (
            5,
            {
                "own": "4:cpuset:/\n2:cpu,cpuacct:/a\n0::/\n",
                "cpu/a/cpu.cfs_quota_us": "500000",
                "cpu/a/cpu.cfs_period_us": "100000",
            },
        ),
    ],
)
def test_quotas_of_control_groups(root: Path, expected: int, files: dict[str, str]) -> None:
    write(root, files)
    assert cpus.available_cpus() == expected


def test_affinity_limits_and_a_system_without_it_has_all_processors(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, {"cpu.max": "300000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
    assert cpus.available_cpus() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    for count, expected in ((6, 3), (2, 2), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert cpus.available_cpus() == expected


def test_files_that_are_no_text_limit_nothing(root: Path) -> None:
    (root / "own").write_bytes(b"\xff\xfe")
    (root / "cpu.max").write_bytes(b"\xff\xfe")
    assert cpus.available_cpus() == 8


def test_this_machine() -> None:
    assert 1 <= cpus.available_cpus() <= (os.cpu_count() or 1)
