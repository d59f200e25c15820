"""No thread layer, concurrent caller, fork or pool ends the process or changes a bit. Each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastfit.kernels.threads import Pace
from tests.conftest import Script, needs_compiler

pytestmark = needs_compiler

# A child has a minute, should it wait for a lock that nobody is left to release.
TOOLS = """
import _thread, contextlib, os, signal, sys, threading, time
import numpy as np
def in_a_fork(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if work() else 3)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
def thread_of(loop):
    threading.Thread(target=loop).start()
@contextlib.contextmanager
def repeated(work, start=thread_of):
    started, stop, stopped = (threading.Event() for _ in range(3))
    def loop():
        started.set()
        while not stop.is_set():
            work()
        stopped.set()
    start(loop)
    started.wait()
    try:
        yield
    finally:
        stop.set()
        stopped.wait()
def meets_a_line(n=100_000):
    import fastfit as ff
    x = np.arange(float(n))
    return abs(ff.fit_line(x, 2 * x + 1).slope - 2) < 1e-12
"""
PREPARE = (
    TOOLS
    + """
import numba
import fastfit as ff
from fastfit.kernels import compiled, threads
rng = np.random.default_rng(0)
x = rng.normal(size=400_000)
y = 3 * x + rng.normal(size=x.size)
def answer(**options):
    fit = ff.fit_line(x, y, **options)
    return fit.slope.hex(), fit.intercept.hex(), fit.loss.hex()
"""
)
# A parallel loop of the caller's own, or of another library.
THEIRS = "from tests.parallel_loop import theirs\n"
ANSWERS_DURING_THEIRS = """
expected = answer(n_threads=1)
theirs(x)
with repeated(lambda: theirs(x), start):
    found = {answer() for _ in range(50)}
assert found == {expected}, found
"""
SLOW = pytest.mark.slow  # compiles from scratch, or much the same as its neighbours

Ends = Callable[..., None]
# By default it is one of the others; workqueue is the one that may abort.
layers = pytest.mark.parametrize(
    "layer", ["workqueue", *(pytest.param(k, marks=SLOW) for k in ("omp", "default"))]
)


@pytest.fixture
def assert_ends(run_script: Script) -> Ends:
    """Run code on four threads, and check that it comes to its end."""

    def run(code: str, layer: str = "default", **environment: str) -> None:
        environment = {"NUMBA_NUM_THREADS": "4", "NUMBA_THREADING_LAYER": layer, **environment}
        assert run_script(code + "\nprint('fine')", **environment) == "fine\n"

    return run


@layers
def test_many_python_threads_at_once(assert_ends: Ends, layer: str) -> None:
    code = """
expected = answer(n_threads=1)
assert answer() == expected
found = []
def work():
    for _ in range(15):
        found.append(answer())
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert set(found) == {expected} and len(found) == 120, set(found)
"""
    assert_ends(PREPARE + code, layer)


@layers
def test_beside_a_parallel_region_of_the_caller(assert_ends: Ends, layer: str) -> None:
    """The workqueue layer aborts when two Python threads enter it, whoever they belong to."""
    assert_ends(PREPARE + THEIRS + "start = thread_of" + ANSWERS_DURING_THEIRS, layer)


@SLOW
def test_beside_a_thread_that_threading_does_not_know(assert_ends: Ends) -> None:
    """One that starts in the middle of a region of ours cannot be seen, and ends the process under this layer."""
    start = "start = lambda loop: _thread.start_new_thread(loop, ())"
    assert_ends(PREPARE + THEIRS + start + ANSWERS_DURING_THEIRS, "workqueue")


@SLOW
@pytest.mark.parametrize(
    "delay", [0.3, *(pytest.param(k, marks=pytest.mark.long) for k in (0.05, 0.8))]
)
def test_fork_while_another_thread_compiles(
    assert_ends: Ends, tmp_path: Path, delay: float
) -> None:
    # All modules first: a child forked while a thread imports one waits for it for ever, in any library.
    code = f"""
import fastfit.fit
from fastfit.kernels import compiled
thread = threading.Thread(target=meets_a_line, args=(1000,))
thread.start()
time.sleep({delay})
in_a_fork(lambda: meets_a_line(1000))
thread.join()
"""
    assert_ends(TOOLS + code, NUMBA_CACHE_DIR=str(tmp_path))


@SLOW
def test_fork_after_import_with_other_threads_in_the_child(assert_ends: Ends) -> None:
    code = """
import fastfit as ff
theirs(np.ones(100_000))
def work():
    for _ in range(8):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return meets_a_line()
in_a_fork(work)
"""
    assert_ends(THEIRS + TOOLS + code, "omp")


@layers
def test_after_fork(assert_ends: Ends, layer: str) -> None:
    code = """
expected = answer()
in_a_fork(lambda: answer() == expected and answer(n_threads=2) == expected)
assert answer() == expected
"""
    assert_ends(PREPARE + code, layer)


@SLOW
def test_first_import_in_a_child_of_a_process_with_numba_threads(assert_ends: Ends) -> None:
    assert_ends(THEIRS + TOOLS + "theirs(np.ones(100_000))\nin_a_fork(meets_a_line)", "omp")


def test_fork_while_another_thread_is_in_a_region(assert_ends: Ends) -> None:
    code = """
expected = answer()
with repeated(answer):
    for _ in range(5):
        in_a_fork(lambda: answer() == expected)
"""
    assert_ends(PREPARE + code)


@pytest.mark.parametrize(
    "start", ["fork", *(pytest.param(k, marks=SLOW) for k in ("spawn", "forkserver"))]
)
def test_process_pool(assert_ends: Ends, start: str) -> None:
    code = f"""
import multiprocessing
import numpy as np
import fastfit as ff
from concurrent.futures import ProcessPoolExecutor
x = np.random.default_rng(0).normal(size=200_000)
y = 3 * x + 1
if __name__ == "__main__":
    expected = ff.fit_line(x, y)
    context = multiprocessing.get_context({start!r})
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        fits = list(pool.map(ff.fit_line, [x] * 4, [y] * 4))
    assert {{fit.slope for fit in fits}} == {{expected.slope}}
"""
    assert_ends(code)


@pytest.mark.parametrize("layer", [pytest.param("tbb", marks=SLOW), "no-such-layer"])
def test_a_thread_layer_that_cannot_be_loaded(assert_ends: Ends, layer: str) -> None:
    code = "assert answer() == answer(n_threads=1)\n"
    # It may be there after all.
    assert_ends(PREPARE + code + "assert threads.thread_layer() in (None, 'tbb')", layer)


def test_one_thread_only(assert_ends: Ends) -> None:
    assert_ends(PREPARE + "assert answer() == answer(n_threads=1)", NUMBA_NUM_THREADS="1")


@SLOW
def test_the_thread_count_and_environment_of_the_caller_are_left_as_they_were(
    assert_ends: Ends,
) -> None:
    code = """
numba.set_num_threads(3)
answer(n_threads=2)
assert numba.get_num_threads() == 3
answer()
assert not {"GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY"} & set(os.environ)
"""
    assert_ends(PREPARE + code)


def test_a_fit_on_one_thread_is_logged_once_with_its_reason(run_script: Script) -> None:
    code = """
import logging
logging.basicConfig(level="INFO", format="%(name)s: %(message)s", stream=sys.stdout)
with threads._region:
    answer()
    answer()
threads.thread_layer = lambda: None
answer()
answer(n_threads=1)
"""
    assert run_script(PREPARE + code, NUMBA_NUM_THREADS="2").splitlines() == [
        "fastfit: a fit runs on one thread: another fit is using the threads",
        "fastfit: a fit runs on one thread: no thread layer of Numba can be used",
    ]


@pytest.mark.parametrize(
    "start", ["spawn", *(pytest.param(k, marks=SLOW) for k in ("forkserver", "fork"))]
)
def test_a_spawned_child_is_no_fork(run_script: Script, start: str) -> None:
    """Another library may have started Numba's threads there before; a forked child has lost them."""
    first = THEIRS + "import numpy as np\ntheirs(np.ones(100_000))\n"
    child = "from fastfit.kernels import threads\nprint(threads._obstacle(), flush=True)"
    before, child = (first, child) if start == "fork" else ("", first + child)
    code = f"""
import multiprocessing
process = multiprocessing.get_context({start!r}).Process(target=exec, args=({child!r}, {{}}))
process.start()
process.join()
"""
    out = run_script(before + code, NUMBA_THREADING_LAYER="omp", NUMBA_NUM_THREADS="2")
    assert out == ("no thread layer of Numba can be used\n" if start == "fork" else "None\n")


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "2"), ({"NUMBA_NUM_THREADS": "5"}, "5")], ids=["quota", "user"]
)
def test_the_default_number_of_threads_honours_the_quota(
    run_script: Script, given: dict[str, str], expected: str
) -> None:
    out = run_script(
        "import os, fastfit.cpus\n"
        "os.sched_getaffinity = lambda pid: range(8)\n"
        "fastfit.cpus.available_cpus = lambda: 2\n"
        "from fastfit.kernels import threads\n"
        "print(threads.default_threads())",
        **given,
    )
    assert out.strip() == expected


def test_threads_pause_while_they_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread is used for a while after a call on threads that took longer; the next one decides again."""
    clock = [0.0]
    monkeypatch.setattr("fastfit.kernels.threads.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Pace, "patience", 0.1)
    pace, n_blocks = Pace(), 1000

    def call(times_one_thread: float, *, is_parallel: bool) -> None:
        def take() -> None:
            clock[0] += times_one_thread * n_blocks * Pace.ASSUMED

        pace.timed(take, (), n_blocks, is_parallel=is_parallel)

    call(0.5, is_parallel=True)
    assert not pace.is_paused()
    for _ in range(3):  # while there is patience
        call(3.0, is_parallel=True)
        assert not pace.is_paused()
    pauses = []
    for _ in range(12):
        call(3.0, is_parallel=True)
        start = clock[0]
        while pace.is_paused():
            clock[0] += 1e-3
        pauses.append(clock[0] - start)
    assert pauses[0] == pytest.approx(3.0 * n_blocks * Pace.ASSUMED, abs=2e-3)  # as long as it took
    assert pauses[-1] == pytest.approx(Pace.LONGEST, abs=2e-3)
    call(0.5, is_parallel=True)
    call(3.0, is_parallel=True)
    clock[0] += pauses[0] + 1e-3
    assert not pace.is_paused()  # short again
    # What one thread takes is measured: if it is as slow, the threads are not to blame.
    for _ in range(8):
        call(3.0, is_parallel=False)
    call(3.0, is_parallel=True)
    assert not pace.is_paused()
