"""Every workload under pytest-benchmark: ``python -m pytest bench``."""

from __future__ import annotations

from typing import Any

import pytest

from bench.measure import ratio, times
from bench.workloads import WORKLOADS, Workload

ROUNDS = 5


@pytest.mark.benchmark(disable_gc=True, warmup=False, min_time=0.002, max_time=0.3, min_rounds=3)
@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=str)
def test_workload(benchmark: Any, workload: Workload) -> None:
    prepared = workload.prepare()
    prepared.check(prepared.call())  # the first call compiles, and touches every page
    result = benchmark(prepared.call)
    n_bytes = workload.n_passes(result) * workload.n_bytes
    assert n_bytes > 0 or workload.n_points == 0
    benchmark.extra_info.update(points=workload.n_points, bytes=n_bytes)
    if not benchmark.enabled:
        return
    median = benchmark.stats.stats.median
    benchmark.extra_info.update(points_per_second=workload.n_points / median)
    calls = {"ours": prepared.call, "read": prepared.read, "replaced": prepared.replaced}
    found = times({name: call for name, call in calls.items() if call}, rounds=ROUNDS)
    if "read" in found:
        reads = ratio(found, "ours", "read") / workload.n_passes(result)
        benchmark.extra_info.update(share_of_read_limit=1.0 / reads)
    if "replaced" in found:
        benchmark.extra_info.update(times_faster=ratio(found, "replaced", "ours"))
