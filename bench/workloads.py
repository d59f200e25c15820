"""The registry of workloads: what is timed, a check of its result, what it is compared to, and its targets.

Read by ``test_workloads.py`` (pytest-benchmark), ``compare.py`` (the gate) and ``report.py`` (tables and targets).
Names say what is called, on what, and for how many points: ``pass/LossGradient/huber/float64/1_000_000``. The speed of
memory can hide a slower loop, so ``loop/...`` is each fused loop alone, on one block in cache.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

import fastfit as ff
from bench import others
from bench.others import ONE, READ, Call, Other, as_it_is, line, read
from fastfit.kernels import compiled, flags, reference
from fastfit.kernels.bare_read import read_block
from fastfit.kernels.block import BLOCK, block_sums
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.moments import ProductSums
from fastfit.losses import LOSSES
from fastfit.speed.throughput import points_with_outliers

ROBUST = [name for name in LOSSES if name != "squared_error"]
LINE, CENTER = (0.3, 0.1), (0.5, 0.6)
SMALL, MEDIUM, LARGE = 1_000, 1_000_000, 10_000_000
GROWTH = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
# How often a loop alone reads its block in one call.
_TURNS = 64


@dataclass(frozen=True)
class Prepared:
    """A workload with its points.

    ``check`` asserts that the result is right. ``compared_to`` yields the other calls, made only then; their
    ``numbers`` must agree with ours to ``rtol`` and ``atol``.
    """

    call: Call
    check: Callable[[Any], object]
    compared_to: Callable[[], Iterable[Other]] = tuple
    numbers: Callable[[Any], Any] = line
    rtol: float = 1e-9
    atol: float = 0.0


class Target(NamedTuple):
    """The most a workload should take: its time, less that of ``beyond``, over the time of the other call.

    ``other`` may also be ``microseconds`` (per call), or ``passes`` or ``MB`` (of the result).
    """

    most: float
    other: str = READ
    beyond: str = ""


@dataclass(frozen=True)
class Workload:
    """A workload without its points, which ``prepare`` makes. A ``title`` puts it into the table of README."""

    name: str
    n_points: int
    prepare: Callable[[], Prepared]
    in_gate: bool
    title: str
    targets: list[Target]

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def n_passes(result: Any) -> int:
        """Return how often the points were read; 1 for results that do not say."""
        return int(getattr(result, "n_passes", 0)) or 1


def loss_of(name: str, f_scale: float) -> Any:
    """Return a loss with this ``f_scale``, if it has one."""
    loss: Any = LOSSES[name]()
    return loss._make([f_scale] * len(loss))


@functools.lru_cache(maxsize=4)
def points(n: int, layout: str = "float64") -> tuple[Any, Any]:
    """Return n seeded points about a line, read-only as the passes see them."""
    if layout == "outliers":
        return points_with_outliers(n, seed=n)
    rng = np.random.default_rng(n)
    x: Any = rng.random(n).astype("f" if layout == "float32" else "d")
    y: Any = (0.25 * x + 0.5 + 0.1 * rng.standard_normal(n)).astype(x.dtype)
    if layout == "columns":
        x, y = np.column_stack([x, y]).T
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _close(result: Any, expected: Any, rtol: float = 1e-9, atol: float = 0.0) -> None:
    np.testing.assert_allclose(result, expected, rtol=rtol, atol=atol)


def _expected_line(x: Any, y: Any, w: Any = None) -> tuple[float, float]:
    """Return the least-squares line in NumPy's arithmetic; its error is about 1e-12 on these points."""
    x_mean, y_mean = np.average(x, weights=w), np.average(y, weights=w)
    u = (x - x_mean) * (1.0 if w is None else w)
    slope = float(u @ (y - y_mean)) / float(u @ (x - x_mean))
    return slope, float(y_mean) - slope * float(x_mean)


def _repeat(kernel: Any, loss: Any, x: Any, y: Any, w: Any, params: Any, rows: Any) -> None:
    for r in range(rows.shape[0]):
        # Another center in each turn, or else the compiler could take the loop out of this one.
        sums = block_sums(kernel, loss, x, y, w, (CENTER[0], CENTER[1] + 1e-9 * r), params)
        for k in range(len(sums)):
            rows[r, k] = sums[k]


def _repeat_read(x: Any, y: Any, rows: Any) -> None:
    for r in range(rows.shape[0]):
        rows[r, 0], rows[r, 1] = read_block(x, y)


_LOOP, _READ_LOOP = (compiled.jit(function, flags.DRIVER) for function in (_repeat, _repeat_read))


def _loop(kernel: Any, loss: Any, params: tuple[float, ...], weighted: bool = False) -> Prepared:
    x, y = (column.copy() for column in points(BLOCK))
    w = np.ones(BLOCK) if weighted else None
    rows = np.empty((_TURNS, len(kernel)))

    def check(_: object) -> None:
        if loss is not None:
            expected = reference.run(kernel, loss, x, y, w, CENTER, params)
            _close(rows[0], expected, 1e-9, 1e-9 * BLOCK)
        else:
            got, u = kernel._make(rows[0]), x - CENTER[0]
            _close(got.uu + got.uu_rest, u @ u, 1e-12)

    turns = _TURNS + (_TURNS // 2 if weighted else 0)  # as many bytes
    bare = functools.partial(_READ_LOOP, x, y, np.empty((turns, 2)))
    call = functools.partial(_LOOP, kernel, loss, x, y, w, params, rows)
    return Prepared(call, check, lambda: [Other(READ, bare)])


def _a_pass(kernel: Any, loss: str, layout: str, n: int, n_threads: int | None = None) -> Prepared:
    x, y = points(n, layout)

    def run(x: Any, y: Any, backend: Any = compiled, **options: Any) -> Any:
        # The robust losses bend amid the residuals, whose standard deviation is 0.1.
        return backend.run(kernel, loss_of(loss, 0.1), x, y, None, CENTER, LINE, **options)

    def compared_to() -> Iterator[Other]:
        yield read(*(points(n) if layout == "columns" else (x, y)), n_threads)
        if layout != "float64":
            yield Other("contiguous float64", functools.partial(run, *points(n)))
        if loss == "squared_error" and kernel == LossGradient():
            yield from others.steps(x, y, (LINE[0], LINE[1] + CENTER[1] - LINE[0] * CENTER[0]))

    return Prepared(
        functools.partial(run, x, y, n_threads=n_threads),
        # Sums of n terms in another order.
        lambda sums: _close(sums, run(x, y, reference), 1e-9, 1e-9 * n),
        compared_to,
        # Mean loss, and its gradient by slope and intercept.
        lambda sums: np.array([sums[0], sums[1] + CENTER[0] * sums[2], sums[2]]) / n,
    )


def _moments(weighted: bool, n: int) -> Prepared:
    x, y = points(n)
    w = x.copy() if weighted else None
    sizes = (float(BLOCK),) * 3
    reads = [read(x, y), *([] if w is None else [read(w[: n // 2], w[n // 2 :])])]

    def check(result: Any) -> None:
        _close(result.line.slope.high, _expected_line(x, y, w)[0])
        _close(result.sums.y_mean.high, np.average(y, weights=w), 1e-12)

    call = functools.partial(compiled.run, ProductSums(), None, x, y, w, CENTER, sizes)
    return Prepared(call, check, lambda: [Other(READ, lambda: [one.call() for one in reads])])


def _gather(share: float, n: int) -> Prepared:
    x, y = points(n)
    residuals = np.abs(y - CENTER[1] - (LINE[0] * (x - CENTER[0]) + LINE[1]))
    bounds = map(float, np.quantile(residuals, [0.5 - share / 2, 0.5 + share / 2]))
    params: Any = (*LINE, *bounds)

    def check(found: Any) -> None:
        # Residuals on the bounds may be rounded to either side.
        assert abs(found.up_to - found.below - share * n) <= 3
        assert found.is_complete

    call = functools.partial(compiled.gather, x, y, None, CENTER, params, 1 << 18)
    return Prepared(call, check, lambda: [read(x, y)])


def _fit(solver: Any, n: int, n_threads: int | None = None, peers: bool = False) -> Prepared:
    x, y = points(n)
    return Prepared(
        functools.partial(ff.fit_line, x, y, solver=solver, n_threads=n_threads),
        lambda fit: _close(line(fit), _expected_line(x, y)),
        lambda: [read(x, y, n_threads), *(others.least_squares(x, y) if peers else ())],
    )


def _robust_fit(loss: str, scale: str, n: int, n_threads: int | None = None) -> Prepared:
    x, y = points(n, "outliers")
    given = loss_of(loss, 2.0)
    fit = functools.partial(ff.fit_line, x, y, n_threads=n_threads)

    def check(found: ff.LineFit) -> None:
        assert found.converged
        assert abs(found.slope - 0.5) < 5 * found.stderr

    def compared_to() -> Iterator[Other]:
        yield read(x, y, n_threads)
        if scale == "mad":
            yield Other("f_scale given", functools.partial(fit, loss=given))
        if (loss, n) == ("huber", MEDIUM):
            yield from others.huber(x, y, None if scale == "mad" else 2.0)

    call = functools.partial(fit, loss=LOSSES[loss]() if scale == "mad" else given)
    # The standard error of the slope is 1e-3 for a million points. Fits with a given scale agree to a hundredth of
    # that; those with "mad" differ in how they estimate the scale.
    return Prepared(call, check, compared_to, rtol=0.0, atol=5e-4 if scale == "mad" else 1e-5)


def _raw_steps(passes: str, n: int, steps: int) -> Prepared:
    x, y = points(n)
    start, rate = (-2.0, 1.0), 0.01
    solver = ff.GradientDescent(
        start, rate, standardize=False, max_iter=steps, record_every=steps // 10, passes=passes
    )

    def descend() -> ff.LineFit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ff.ConvergenceWarning)
            return ff.fit_line(x, y, solver=solver)

    def check(fit: ff.LineFit) -> None:
        assert fit.n_iter == steps
        x_mean, y_mean, xx, xy = np.mean(x), np.mean(y), np.mean(x * x), np.mean(x * y)
        slope, intercept = start
        for _ in range(steps):
            by_slope = slope * xx + intercept * x_mean - xy
            by_intercept = slope * x_mean + intercept - y_mean
            slope, intercept = slope - 2 * rate * by_slope, intercept - 2 * rate * by_intercept
        _close(line(fit), (slope, intercept), 1e-12)

    return Prepared(descend, check, lambda: [read(x, y)])


def _under_load(loss: str, n: int) -> Prepared:
    x, y = points(n, "outliers")
    fit = functools.partial(ff.fit_line, x, y, loss=loss)
    one = functools.partial(fit, n_threads=1)
    return Prepared(fit, lambda fit: _close(line(fit), line(one())), lambda: [Other(ONE, one)])


def _drop_in(name: str, n: int) -> Prepared:
    from fastfit import compat, estimator

    x, y = points(n)
    own: dict[str, tuple[Call, str]] = {
        "linregress": (lambda: compat.linregress(x, y), "scipy.stats.linregress"),
        "polyfit": (lambda: compat.polyfit(x, y, 1), "numpy.polyfit"),
        "LineRegressor": (
            lambda: estimator.LineRegressor().fit(x[:, None], y),
            "sklearn LinearRegression",
        ),
    }
    call, replaced = own[name]
    other = next(each for each in others.least_squares(x, y) if each.name == replaced)
    numbers: Any = other.numbers
    if n == SMALL:
        other = other._replace(threads=ONE)
    return Prepared(
        call,
        lambda result: _close(numbers(result), numbers(other.call())),
        lambda: [read(x, y), other],
        numbers,
    )


FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "parquet": ("parquet", {}),  # Zstandard
    "parquet-snappy": ("parquet", {"row_group_size": 1 << 20, "compression": "snappy"}),
    "csv": ("csv", {}),
    "arrow": ("ipc", {}),
}


def _scanned(kind: str, n: int) -> Prepared:
    import polars as pl

    x, y = points(n)
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    suffix, options = FILES[kind]
    path = folder / f"t.{suffix.replace('ipc', 'arrow')}"
    getattr(pl.DataFrame({"x": x, "y": y}), f"write_{suffix}")(path, **options)
    return Prepared(
        lambda: ff.fit_line(ff.scan(path, "x", "y")),
        lambda fit: _close(line(fit), _expected_line(x, y)),
        lambda: others.files(path, suffix),
    )


def _on_dask(loss: Any, n: int) -> Prepared:
    import dask.array as da

    x, y = points(n)
    # With a name given, Dask does not hash the arrays.
    columns = [da.from_array(v, chunks=-(-n // 64), name=name) for name, v in (("x", x), ("y", y))]
    in_memory = functools.partial(ff.fit_line, x, y, loss=loss)
    return Prepared(
        functools.partial(ff.fit_line, *columns, loss=loss),
        lambda fit: _close(line(fit), line(in_memory())),
        lambda: [read(x, y), Other("in memory", in_memory)],
    )


def _moments_of(n: int) -> Prepared:
    x, y = points(n)
    return Prepared(
        functools.partial(ff.Moments.of, x, y),
        lambda found: _close(found.fit().slope, _expected_line(x, y)[0]),
        lambda: [read(x, y)],
    )


def _objective(n: int) -> Prepared:
    x, y = points(n)
    mean_loss, numpys = ff.objective(x, y), next(others.steps(x, y, LINE))
    # Two lines in turn: an objective remembers the last one, so the same line again would cost no pass.
    lines = itertools.cycle([LINE, (LINE[0], LINE[1] + 1e-12)])
    return Prepared(
        lambda: mean_loss(next(lines)),
        lambda result: _close(result[0], numpys.call()[0]),
        lambda: [read(x, y), numpys],
        lambda result: (result[0], *result[1]),
    )


def _evaluate(n: int) -> Prepared:
    from fastfit.points.arrays import ArrayPoints
    from fastfit.validation import Columns

    ours, numpys = (ArrayPoints(Columns(*points(n)), backend=each) for each in ("numba", "numpy"))
    ours.moments(), numpys.moments()
    arguments = (loss_of("squared_error", 0.0), *LINE)
    return Prepared(
        lambda: ours.evaluate(*arguments),
        lambda found: _close(found.loss, numpys.evaluate(*arguments).loss),
    )


_POINTS = "import numpy as np; x = np.arange(1e6) % 1000; y = 2 * x + 1; "
_FIT = _POINTS + "import fastfit as ff; print(ff.fit_line(x, y{}).slope)"
_SCIPY = _POINTS + "from scipy import stats; print(stats.linregress(x, y).slope)"
# Prints by how many MB a fit raises the peak of memory. Memory is first filled up to the peak so far, so that what the
# fit needs shows on top of it.
_PEAK = """
import resource, numpy as np, fastfit as ff
def points(n): return np.random.default_rng(0).random(n), np.random.default_rng(1).random(n)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
ff.fit_line(*points(100_000), loss={loss!r}); x, y = points(10_000_000)
held = int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 2**20
filler = np.ones(max(0, int((peak() - held) * 2**17))); before = peak()
fit = ff.fit_line(x, y, loss={loss!r}); print(peak() - before)
"""


def _process(
    code: str, bounds: tuple[float, float], cold: bool = False, name: str = "", other: str = ""
) -> Prepared:
    """Return a workload that runs code in a fresh process; what it prints, or 0, must be within bounds."""

    def run(code: str) -> float:
        # With bytecode on disk, as for an installed package.
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with tempfile.TemporaryDirectory() as folder:
            kept |= {"NUMBA_CACHE_DIR": folder} if cold else {}
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, env=kept, check=True, capture_output=True, text=True)
        return float(done.stdout or 0.0)

    def check(found: float) -> None:
        assert bounds[0] <= found <= bounds[1], found

    named = [Other(name, lambda: run(other), ONE, as_it_is)] if other else ()
    return Prepared(lambda: run(code), check, lambda: named, as_it_is)


def _registered() -> Iterator[tuple[str, int, Callable[[], Prepared]]]:  # noqa: PLR0912  # a list
    """Yield names, numbers of points, and what prepares the workloads."""
    of = functools.partial
    derivatives = LossGradient(), LossGradientCurvature()
    # Each fused loop alone, on a block that is in cache: where a slower loop shows.
    for kernel in derivatives:
        for loss in LOSSES:
            prepare = of(_loop, kernel, loss_of(loss, 0.1), LINE)
            yield f"loop/{type(kernel).__name__}/{loss}", _TURNS * BLOCK, prepare
    for name, weighted in (("ProductSums", False), ("WeightedProductSums", True)):
        prepare = of(_loop, ProductSums(), None, (float(BLOCK),) * 3, weighted)
        yield f"loop/{name}", _TURNS * BLOCK, prepare
    # Every pass over the points, for every loss, type and layout, without a fit around it.
    for n in (SMALL, MEDIUM, LARGE):
        for kernel in derivatives:
            for loss in LOSSES:
                # Columns of a table are read at the speed of memory, so one loss is enough.
                for layout in ("float64", "float32", *(["columns"] if loss == ROBUST[0] else [])):
                    name = f"pass/{type(kernel).__name__}/{loss}/{layout}/{n:_}"
                    yield name, n, of(_a_pass, kernel, loss, layout, n)
        for name, weighted in (("plain", False), ("weighted", True)):
            yield f"moments/{name}/{n:_}", n, of(_moments, weighted, n)
        for share in (0.001, 0.02):
            yield f"gather/{share}/{n:_}", n, of(_gather, share, n)
        # Whole fits, by every solver and for every loss.
        yield f"fit/exact/{n:_}", n, of(_fit, "exact", n, peers=n == LARGE)
        yield f"fit/descent/{n:_}", n, of(_fit, "gradient_descent", n)
        yield f"fit/descent-samples/{n:_}", n, of(_fit, ff.GradientDescent(passes="samples"), n)
        for loss in ROBUST:
            for scale in ("given", "mad"):
                yield f"fit/{loss}-{scale}/{n:_}", n, of(_robust_fit, loss, scale, n)
        for kind in ("samples", "moments") if n < LARGE else ():
            yield f"fit/100-raw-steps-{kind}/{n:_}", n, of(_raw_steps, kind, n, 100)
    yield f"fit/5_000-raw-steps/{LARGE:_}", LARGE, of(_raw_steps, "auto", LARGE, 5000)
    # A thousand to fifty million points, and one thread to all.
    for n in GROWTH:
        yield f"growth/exact/{n:_}", n, of(_fit, "exact", n)
        yield f"growth/huber-mad/{n:_}", n, of(_robust_fit, "huber", "mad", n)
    for k in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        yield (
            f"threads/pass/{k}",
            LARGE,
            of(_a_pass, LossGradient(), "squared_error", "float64", LARGE, k),
        )
        yield f"threads/exact/{k}", LARGE, of(_fit, "exact", LARGE, k)
        yield f"threads/huber-mad/{k}", LARGE, of(_robust_fit, "huber", "mad", LARGE, k)
    # All threads compared to one, for ``report.py load`` to time while other processes are busy.
    for n in (30_000, 100_000, 1_000_000):
        for loss in ("squared_error", "huber"):
            yield f"load/{loss}/{n:_}", n, of(_under_load, loss, n)
    for name in ("linregress", "polyfit", "LineRegressor"):
        for n in (SMALL, MEDIUM):
            yield f"drop-in/{name}/{n:_}", n, of(_drop_in, name, n)
    # Points in files, compared to other readers, and in arrays of Dask, compared to the same in memory.
    for kind in FILES:
        yield f"scan/{kind}/{LARGE:_}", LARGE, of(_scanned, kind, LARGE)
    yield f"dask/exact/{LARGE:_}", LARGE, of(_on_dask, "squared_error", LARGE)
    yield f"dask/huber/{LARGE:_}", LARGE, of(_on_dask, ff.Huber(1.5), LARGE)
    # What is called often on few points.
    for n in (10, 100, 1_000):
        yield f"latency/fit_line/{n:_}", n, of(_fit, "exact", n)
        yield f"latency/moments/{n:_}", n, of(_moments_of, n)
        yield f"latency/objective-new-line/{n:_}", n, of(_objective, n)
        yield f"latency/evaluate/{n:_}", n, of(_evaluate, n)
    # Fresh processes: one that imports fastfit, one that fits, two that have to compile first; and peak memory.
    nothing, two = (0.0, 0.0), (2.0 - 1e-9, 2.0 + 1e-9)
    numpys, scipys = ("import numpy", "import numpy"), ("scipy.stats.linregress", _SCIPY)
    fit, huber = _FIT.format(""), _FIT.format(", loss=ff.Huber(1.0)")
    yield "process/import", 0, of(_process, "import fastfit", nothing, False, *numpys)
    # Importing fastfit loads next to nothing; this is what the first use of a name costs.
    yield (
        "process/import-fit_line",
        0,
        of(_process, "from fastfit import fit_line", nothing, False, *numpys),
    )
    yield "process/fit", MEDIUM, of(_process, fit, two, False, *scipys)
    yield "process/compile", MEDIUM, of(_process, fit, two, True)
    yield "process/compile-huber", MEDIUM, of(_process, huber, two, True)
    for loss in ("squared_error", "tukey") if sys.platform == "linux" else ():
        peak = of(_process, _PEAK.format(loss=loss), (0.0, 160.0))
        yield f"memory/{loss}/{LARGE:_}", LARGE, peak


# The workloads of the gate, with all of loop/.
GATE = {
    *("pass/LossGradient/squared_error/float64/10_000_000", "gather/0.001/1_000_000"),
    *("fit/exact/1_000", "fit/exact/10_000_000", "fit/descent-samples/1_000_000"),
    *("fit/huber-mad/1_000", "fit/huber-mad/1_000_000", "process/import", "process/fit"),
}
# The rows of the table in README.
TITLES = {
    "fit/exact/10_000_000": "`fit_line(x, y)`, 10,000,000 points",
    "pass/LossGradient/squared_error/float64/10_000_000": "one step of gradient descent, 10,000,000 points",
    "fit/5_000-raw-steps/10_000_000": "5,000 steps, 10,000,000 points",
    "drop-in/linregress/1_000": "`compat.linregress(x, y)`, 1,000 points",
    "fit/huber-given/1_000_000": "`fit_line(x, y, loss=ff.Huber(2.0))`, 1,000,000 points",
    "fit/huber-mad/1_000_000": '`fit_line(x, y, loss="huber")`, 1,000,000 points',
    "process/fit": "a fresh process that imports and fits 1,000,000 points",
}
# The targets of the project, of all workloads that match a pattern.
TARGETS = {
    "pass/LossGradient/squared_error/float64/10_000_000": [Target(1.2)],
    "pass/LossGradient/squared_error/float32/10_000_000": [Target(0.65, "contiguous float64")],
    "pass/LossGradient/huber/columns/10_000_000": [Target(2.0, "contiguous float64")],
    "pass/LossGradientCurvature/[!c]*/float64/10_000_000": [Target(1.4)],
    "pass/LossGradientCurvature/cauchy/float64/10_000_000": [Target(2.2)],
    "threads/pass/1": [Target(1.25)],
    "fit/exact/10_000_000": [Target(1.3)],
    "fit/5_000-raw-steps/10_000_000": [Target(8.0)],
    "fit/huber-given/10_000_000": [Target(4, "passes"), Target(6.0)],
    "fit/[!h]*-given/10_000_000": [Target(8, "passes")],
    "fit/*-mad/10_000_000": [Target(4.0, beyond="f_scale given")],
    "load/*": [Target(1.5, ONE)],
    "latency/fit_line/1_000": [Target(30.0, "microseconds")],
    "latency/evaluate/1_000": [Target(15.0, "microseconds")],
    "memory/squared_error/10_000_000": [Target(16.0, "MB")],
    "memory/tukey/10_000_000": [Target(32.0, "MB")],
    "process/import": [Target(1.15, "import numpy")],
    "process/fit": [Target(0.6, "scipy.stats.linregress")],
}
WORKLOADS = {
    name: Workload(
        name,
        n,
        prepare,
        name in GATE or name.startswith("loop/"),
        TITLES.get(name, ""),
        [each for pattern in TARGETS if fnmatch(name, pattern) for each in TARGETS[pattern]],
    )
    for name, n, prepare in _registered()
}
