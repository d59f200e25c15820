"""No thread layer, concurrent caller, fork or pool ends the process or changes a bit. Each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastfit.kernels.threads import Pace
from tests.conftest import Script, needs_compiler, start_script

pytestmark = needs_compiler

PREPARE = """
import os, sys, threading
import numba, numpy as np
import fastfit as ff
from fastfit.kernels import compiled
rng = np.random.default_rng(0)
x = rng.normal(size=400_000)
y = 3 * x + rng.normal(size=x.size)
def answer(**options):
    fit = ff.fit_line(x, y, **options)
    return fit.slope.hex(), fit.intercept.hex(), fit.loss.hex()
"""

# A parallel loop of the caller's own, or of another library.
THEIRS = "from tests.parallel_loop import theirs\n"

LAYERS = ["omp", "workqueue", "default"]


@pytest.mark.parametrize("layer", LAYERS)
def test_many_python_threads_at_once(run_script: Script, layer: str) -> None:
    out = run_script(
        PREPARE
        + """
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
print("fine")
""",
        NUMBA_THREADING_LAYER=layer,
        NUMBA_NUM_THREADS="4",
    )
    assert out == "fine\n"


@pytest.mark.parametrize("layer", LAYERS)
def test_beside_a_parallel_region_of_the_caller(run_script: Script, layer: str) -> None:
    """The workqueue layer aborts when two Python threads enter it, whoever they belong to."""
    out = run_script(
        PREPARE
        + THEIRS
        + """
expected = answer(n_threads=1)
theirs(x)
stop = False
def loop():
    while not stop:
        theirs(x)
thread = threading.Thread(target=loop)
thread.start()
found = {answer() for _ in range(50)}
stop = True
thread.join()
assert found == {expected}, found
print("fine")
""",
        NUMBA_THREADING_LAYER=layer,
        NUMBA_NUM_THREADS="4",
    )
    assert out == "fine\n"


def test_beside_a_thread_that_threading_does_not_know(run_script: Script) -> None:
    out = run_script(
        PREPARE
        + THEIRS
        + """
import _thread
expected = answer(n_threads=1)
theirs(x)
# A thread that starts in the middle of a region of ours cannot be seen, and ends the process under this layer.
stop, started, stopped = False, threading.Event(), threading.Event()
def loop():
    started.set()
    while not stop:
        theirs(x)
    stopped.set()
_thread.start_new_thread(loop, ())
started.wait()
found = {answer() for _ in range(50)}
stop = True
stopped.wait()
assert found == {expected}, found
print("fine")
""",
        NUMBA_THREADING_LAYER="workqueue",
        NUMBA_NUM_THREADS="4",
    )
    assert out == "fine\n"


SLOW = pytest.mark.slow  # compiles from scratch, or much the same as its neighbours


@pytest.mark.parametrize(
    "delay", [pytest.param(0.05, marks=SLOW), 0.3, pytest.param(0.8, marks=SLOW)]
)
def test_fork_while_another_thread_compiles(tmp_path: Path, delay: float) -> None:
    """The child must not wait for a lock that nobody is left to release."""
    process = start_script(
        """
import os, signal, threading, time
import numpy as np
import fastfit as ff
from fastfit.kernels import compiled
x = np.arange(1000.0)
thread = threading.Thread(target=ff.fit_line, args=(x, 2 * x + 1))
thread.start()
time.sleep(DELAY)
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if abs(ff.fit_line(x, 2 * x + 1).slope - 2) < 1e-12 else 3)
_, status = os.waitpid(child, 0)
thread.join()
assert status == 0, status
print("fine")
""".replace("DELAY", str(delay)),
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    out, err = process.communicate(timeout=120)
    assert (out, process.returncode) == ("fine\n", 0), err


def test_fork_after_import_with_other_threads_in_the_child(run_script: Script) -> None:
    out = run_script(
        THEIRS
        + """
import os, threading, time, numpy as np
import fastfit as ff
theirs(np.ones(100_000))
child = os.fork()
if child == 0:
    for _ in range(8):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    x = np.arange(100_000.0)
    os._exit(0 if abs(ff.fit_line(x, 2 * x + 1).slope - 2) < 1e-12 else 3)
_, status = os.waitpid(child, 0)
assert status == 0, status
print("fine")
""",
        NUMBA_THREADING_LAYER="omp",
        NUMBA_NUM_THREADS="4",
    )
    assert out == "fine\n"


@pytest.mark.parametrize("layer", LAYERS)
def test_after_fork(run_script: Script, layer: str) -> None:
    out = run_script(
        PREPARE
        + """
expected = answer()
child = os.fork()
if child == 0:
    os._exit(0 if answer() == expected and answer(n_threads=2) == expected else 3)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert answer() == expected
print("fine")
""",
        NUMBA_THREADING_LAYER=layer,
        NUMBA_NUM_THREADS="4",
    )
    assert out == "fine\n"


def test_first_import_in_a_child_of_a_process_with_numba_threads(run_script: Script) -> None:
    out = run_script(
        THEIRS
        + """
import os, numpy as np
theirs(np.ones(100_000))
child = os.fork()
if child == 0:
    import fastfit as ff
    x = np.arange(100_000.0)
    os._exit(0 if abs(ff.fit_line(x, 2 * x + 1).slope - 2) < 1e-12 else 3)
_, status = os.waitpid(child, 0)
assert status == 0, status
print("fine")
""",
        NUMBA_THREADING_LAYER="omp",
        NUMBA_NUM_THREADS="4",
    )
    assert out == "fine\n"


def test_fork_while_another_thread_is_in_a_region(run_script: Script) -> None:
    out = run_script(
        PREPARE
        + """
expected = answer()
stop = False
def loop():
    while not stop:
        answer()
thread = threading.Thread(target=loop)
thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if answer() == expected else 3)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
stop = True
thread.join()
print("fine")
"""
    )
    assert out == "fine\n"


@pytest.mark.parametrize("start", ["fork", "spawn", pytest.param("forkserver", marks=SLOW)])
def test_process_pool(run_script: Script, start: str) -> None:
    out = run_script(
        """
import multiprocessing, sys
import numpy as np
import fastfit as ff
from concurrent.futures import ProcessPoolExecutor
x = np.random.default_rng(0).normal(size=200_000)
y = 3 * x + 1
if __name__ == "__main__":
    expected = ff.fit_line(x, y)
    context = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else START)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        fits = list(pool.map(ff.fit_line, [x] * 4, [y] * 4))
    assert {fit.slope for fit in fits} == {expected.slope}
    print("fine")
""".replace("START", repr(start))
    )
    assert out == "fine\n"


@pytest.mark.parametrize("layer", ["tbb", "no-such-layer"])
def test_a_thread_layer_that_cannot_be_loaded(run_script: Script, layer: str) -> None:
    out = run_script(
        PREPARE
        + """
assert answer() == answer(n_threads=1)
from fastfit.kernels import threads
print(threads.thread_layer())
""",
        NUMBA_THREADING_LAYER=layer,
    )
    assert out in ("None\n", "tbb\n")  # tbb may be there after all


def test_one_thread_only(run_script: Script) -> None:
    out = run_script(
        PREPARE + "assert answer() == answer(n_threads=1); print('fine')", NUMBA_NUM_THREADS="1"
    )
    assert out == "fine\n"


def test_the_caller_s_thread_count_is_left_as_it_was(run_script: Script) -> None:
    out = run_script(
        PREPARE
        + """
numba.set_num_threads(3)
answer(n_threads=2)
print(numba.get_num_threads())
""",
        NUMBA_NUM_THREADS="4",
    )
    assert out == "3\n"


PARALLEL = """
import logging, os, sys
logging.basicConfig(level="INFO", format="%(name)s: %(message)s", stream=sys.stdout)
"""


def test_a_fit_on_one_thread_is_logged_once_with_its_reason(run_script: Script) -> None:
    out = run_script(
        PARALLEL
        + PREPARE
        + """
from fastfit.kernels import threads
with threads._region:
    answer()
    answer()
threads.thread_layer = lambda: None
answer()
answer(n_threads=1)
""",
        NUMBA_NUM_THREADS="2",
    )
    assert out.splitlines() == [
        "fastfit: a fit runs on one thread: another fit is using the threads",
        "fastfit: a fit runs on one thread: no thread layer of Numba can be used",
    ]


@pytest.mark.parametrize("start", ["spawn", "forkserver", "fork"])
def test_a_spawned_child_is_no_fork(run_script: Script, tmp_path: Path, start: str) -> None:
    """Another library may have started Numba's threads there before; a forked child has lost them."""
    script = tmp_path / "child.py"
    script.write_text(
        THEIRS
        + """
import multiprocessing, sys
import numpy as np
def child():
    if sys.argv[1] != "fork":
        theirs(np.ones(100_000))
    from fastfit.kernels import threads
    print(threads._obstacle())
if __name__ == "__main__":
    if sys.argv[1] == "fork":
        theirs(np.ones(100_000))
    process = multiprocessing.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join()
"""
    )
    out = run_script(
        f"import runpy, sys; sys.argv = [{str(script)!r}, {start!r}]; "
        f"runpy.run_path({str(script)!r}, run_name='__main__')",
        NUMBA_THREADING_LAYER="omp",
        NUMBA_NUM_THREADS="2",
    )
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


def test_the_environment_is_left_as_it_was(run_script: Script) -> None:
    out = run_script(
        PREPARE
        + """
names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
answer()
assert not any(name in os.environ for name in names)
print("fine")
""",
        NUMBA_NUM_THREADS="2",
    )
    assert out == "fine\n"


def test_threads_pause_while_they_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread is used for a while after a call on threads that took longer; the next one decides again."""
    clock = [0.0]
    monkeypatch.setattr("fastfit.kernels.threads.time.perf_counter", lambda: clock[0])
    pace, n_blocks = Pace(), 1000

    def call(times_one_thread: float, *, is_parallel: bool) -> None:
        def take() -> None:
            clock[0] += times_one_thread * n_blocks * Pace.ASSUMED

        pace.timed(take, (), n_blocks, is_parallel=is_parallel)

    call(0.5, is_parallel=True)
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
