"""Every workload under pytest-benchmark: ``python -m pytest bench``. With ``--benchmark-disable``, each runs once."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

from bench.others import READ
from bench.registry import Workload
from bench.workloads import GATE, TARGETS, TITLES, WORKLOADS, passes_of
from fastfit.speed.timing import ratio, times


@pytest.mark.benchmark(disable_gc=True, warmup=False, min_time=0.002, max_time=0.3, min_rounds=3)
@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_workload(benchmark: Any, workload: Workload) -> None:
    prepared = workload.prepare()
    prepared.check(prepared.call())  # this call compiles and touches every page
    n_passes = passes_of(benchmark(prepared.call))
    info: dict[str, Any] = {"points": workload.n_points, "passes": n_passes}
    if benchmark.enabled:
        info["points_per_second"] = workload.n_points / benchmark.stats.stats.median
        info["times_faster"] = {}
        for other in prepared.compared_to():
            found = times({"fastfit": prepared.call, other.name: other.call}, rounds=5)
            info["times_faster"][other.name] = ratio(found, other.name, "fastfit")
        if READ in info["times_faster"]:
            info["share_of_read_limit"] = n_passes * info["times_faster"].pop(READ)
    benchmark.extra_info.update(info)


def test_every_entry_is_about_a_workload() -> None:
    assert GATE | set(TITLES) <= set(WORKLOADS)
    for pattern in TARGETS:
        assert fnmatch.filter(WORKLOADS, pattern) or pattern.startswith("memory/"), pattern
