"""The registry of workloads: what is timed, a check of its result, what it is compared to, and its targets.

Read by ``test_workloads.py`` (pytest-benchmark), ``compare.py`` (the gate) and ``report.py`` (tables and targets).
A name is the call, its points and their number: ``pass/LossGradient/huber/float64/1_000_000``. ``loop/...`` is each
fused loop alone, on one block in cache: reading from memory can hide a slower loop.
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
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numba
import numpy as np

import fastfit as ff
from bench import others, tables
from bench.others import ONE, READ, Call, Other, identity, line, read
from bench.own_losses import OWN
from bench.registry import Prepared, Target, Workload
from fastfit.kernels import compiled, flags, reference
from fastfit.kernels.bare_read import bare_read, read_block
from fastfit.kernels.block import BLOCK, block_sums
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.moments import ProductSums
from fastfit.losses import LOSSES
from fastfit.speed.throughput import points_with_outliers

ROBUST = [name for name in LOSSES if name != "squared_error"]
_CLASSES = LossGradient, LossGradientCurvature, ProductSums
KERNELS: dict[str, Any] = {each.__name__: each() for each in _CLASSES}
LINE, CENTER = (0.3, 0.1), (0.5, 0.6)
SMALL, MEDIUM, LARGE = SIZES = (1_000, 1_000_000, 10_000_000)
_TURNS = 64  # blocks per call of a loop alone


def passes_of(result: Any) -> int:
    """Return how often the points were read; 1 for results without a count."""
    return int(getattr(result, "n_passes", 0)) or 1


def loss_of(name: str, f_scale: float) -> Any:
    """Return a loss with this ``f_scale``, if it has one."""
    kinds: dict[str, Any] = {**LOSSES, **OWN}
    loss = kinds[name]()
    return loss._make([f_scale] * len(loss))


@functools.lru_cache(maxsize=4)
def points(n: int, layout: str = "float64") -> tuple[Any, Any]:
    """Return n seeded points about a line; read-only, as passes see them."""
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
    """Return the least-squares line in NumPy's arithmetic; its relative error is about 1e-12 for these points."""
    (xx, xy), _ = np.cov(x, y, aweights=w)
    return xy / xx, np.average(y, weights=w) - xy / xx * np.average(x, weights=w)


def _repeat(kernel: Any, loss: Any, x: Any, y: Any, w: Any, params: Any, rows: Any) -> None:
    for r in range(rows.shape[0]):
        # Each turn has another center, so the compiler cannot hoist the block sums.
        sums = block_sums(kernel, loss, x, y, w, (CENTER[0], CENTER[1] + 1e-9 * r), params)
        for k in range(len(sums)):
            rows[r, k] = sums[k]


def _repeat_read(x: Any, y: Any, rows: Any) -> None:
    for r in range(rows.shape[0]):
        rows[r, 0], rows[r, 1] = read_block(x, y)


_LOOP, _READ_LOOP = (compiled.jit(function, flags.DRIVER) for function in (_repeat, _repeat_read))


def _loop(kernel: str, loss: str = "") -> Prepared:
    x, y = (column.copy() for column in points(BLOCK))
    weighted = kernel.startswith("Weighted")
    w, rows = np.ones(BLOCK) if weighted else None, np.empty((_TURNS, 20))
    sums, params = KERNELS[kernel.removeprefix("Weighted")], LINE if loss else (float(BLOCK),) * 3
    arguments = (sums, loss_of(loss, 0.1) if loss else None, x, y, w)

    def check(_: object) -> None:
        found = sums._make(rows[0, : len(sums)])
        if loss:
            _close(found, reference.run(*arguments, CENTER, params), 1e-9, 1e-9 * BLOCK)
        else:
            _close(found.uu + found.uu_rest, (x - CENTER[0]) @ (x - CENTER[0]), 1e-12)

    turns = _TURNS * 3 // 2 if weighted else _TURNS  # the same number of bytes
    bare = functools.partial(_READ_LOOP, x, y, np.empty((turns, 2)))
    return Prepared(lambda: _LOOP(*arguments, params, rows), check, lambda: [Other(READ, bare)])


def _pass(kernel: str, loss: str, layout: str, n: int, n_threads: int | None = None) -> Prepared:
    x, y = points(n, layout)

    def run(x: Any, y: Any, backend: Any = compiled, **options: Any) -> Any:
        # f_scale is the standard deviation of the residuals, so both branches of a loss are taken.
        formula = loss_of(loss, 0.1)
        return backend.run(KERNELS[kernel], formula, x, y, None, CENTER, LINE, **options)

    def compared_to() -> Iterator[Other]:
        yield read(*(points(n) if layout == "columns" else (x, y)), n_threads)
        if loss in OWN:
            yield Other("soft_l1", _pass(kernel, "soft_l1", layout, n, n_threads).call)
        if layout != "float64":
            yield Other("contiguous float64", functools.partial(run, *points(n)))
        if (kernel, loss) == ("LossGradient", "squared_error"):
            yield from others.steps(x, y, (LINE[0], LINE[1] + CENTER[1] - LINE[0] * CENTER[0]))

    return Prepared(
        functools.partial(run, x, y, n_threads=n_threads),
        # n terms are summed in another order.
        lambda sums: _close(sums, run(x, y, reference), 1e-9, 1e-9 * n),
        compared_to,
        # The mean loss and its gradient by slope and intercept.
        lambda sums: np.array([sums[0], sums[1] + CENTER[0] * sums[2], sums[2]]) / n,
    )


def _moments(kind: str, n: int) -> Prepared:
    x, y = points(n)
    w = x.copy() if kind == "weighted" else None
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
    params: Any = (*LINE, *np.quantile(residuals, [0.5 - share / 2, 0.5 + share / 2]).tolist())

    def check(found: Any) -> None:
        # A residual equal to a bound may be rounded to either side.
        assert abs(found.up_to - found.below - share * n) <= 3
        assert found.is_complete

    call = functools.partial(compiled.gather, x, y, None, CENTER, params, 1 << 18)
    return Prepared(call, check, lambda: [read(x, y)])


SOLVERS: dict[str, Any] = {
    "exact": "exact",
    "descent": "gradient_descent",
    "descent-samples": ff.GradientDescent(passes="samples"),
}


def _fit(solver: str, n: int, n_threads: int | None = None) -> Prepared:
    x, y = points(n)
    peers = solver == "exact" and n == LARGE and n_threads is None
    return Prepared(
        functools.partial(ff.fit_line, x, y, solver=SOLVERS[solver], n_threads=n_threads),
        lambda fit: _close(line(fit), _expected_line(x, y)),
        lambda: [read(x, y, n_threads), *(others.least_squares(x, y) if peers else ())],
    )


def _robust_fit(kind: str, n: int, n_threads: int | None = None) -> Prepared:
    loss, _, scale = kind.partition("-")
    x, y = points(n, "outliers")
    given = loss_of(loss, 2.0)
    fit: Any = functools.partial(ff.fit_line, x, y, n_threads=n_threads)

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
    # The standard error of the slope is 1e-3 for a million points. With the scale given, fits agree to 1 % of that;
    # with "mad", libraries estimate the scale differently.
    return Prepared(call, check, compared_to, rtol=0.0, atol=5e-4 if scale == "mad" else 1e-5)


def _on_threads(kind: str, n_threads: int) -> Prepared:
    if kind == "pass":
        return _pass("LossGradient", "squared_error", "float64", LARGE, n_threads)
    return (_robust_fit if kind == "huber-mad" else _fit)(kind, LARGE, n_threads)


def _raw_steps(kind: str, n: int) -> Prepared:
    x, y = points(n)
    start, rate, steps = (-2.0, 1.0), 0.01, int(kind.partition("-")[0])
    passes = kind.rpartition("-")[2].replace("steps", "auto")
    options: Any = {"max_iter": steps, "record_every": steps // 10, "passes": passes}
    solver = ff.GradientDescent(start, rate, standardize=False, **options)

    def descend() -> ff.LineFit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ff.ConvergenceWarning)
            return ff.fit_line(x, y, solver=solver)

    def check(fit: ff.LineFit) -> None:
        assert fit.n_iter == steps
        x_mean, found = np.mean(x), np.array(start)
        by_line = np.array([[np.mean(x * x), x_mean], [x_mean, 1.0]])
        constant = np.array([np.mean(x * y), np.mean(y)])
        for _ in range(steps):
            found -= 2 * rate * (by_line @ found - constant)
        _close(line(fit), found, 1e-12)

    return Prepared(descend, check, lambda: [read(x, y)])


def _under_load(loss: str, n: int) -> Prepared:
    x, y = points(n, "outliers")
    fit = functools.partial(ff.fit_line, x, y, loss=loss)
    one = functools.partial(fit, n_threads=1)
    return Prepared(fit, lambda fit: _close(line(fit), line(one())), lambda: [Other(ONE, one)])


def _drop_in(name: str, n: int) -> Prepared:
    from fastfit import compat, estimator

    x, y = points(n)
    own: dict[str, Call] = {
        "linregress": lambda: compat.linregress(x, y),
        "polyfit": lambda: compat.polyfit(x, y, 1),
        "LineRegressor": lambda: estimator.LineRegressor().fit(x[:, None], y),
    }
    replaced = {"LineRegressor": "sklearn"}.get(name, name)
    other = next(each for each in others.least_squares(x, y) if replaced in each.name)
    other = other._replace(threads=ONE) if n == SMALL else other
    numbers: Any = other.numbers
    check = lambda result: _close(numbers(result), numbers(other.call()))  # noqa: E731
    return Prepared(own[name], check, lambda: [read(x, y), other], numbers)


def _scanned(kind: str, n: int) -> Prepared:
    import polars as pl

    x, y = points(n)
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / f"t.{kind.removesuffix('-snappy')}"
    suffix = path.suffix[1:].replace("arrow", "ipc")
    snappy: Any = {"row_group_size": 1 << 20, "compression": "snappy"}  # the default is Zstandard
    write = getattr(pl.DataFrame({"x": x, "y": y}), f"write_{suffix}")
    write(path, **snappy if kind == "parquet-snappy" else {})
    return Prepared(
        lambda: ff.fit_line(ff.scan(path, "x", "y")),
        lambda fit: _close(line(fit), _expected_line(x, y)),
        lambda: others.files(path, suffix),
    )


def _on_dask(kind: str, n: int) -> Prepared:
    import dask.array as da

    x, y = points(n)
    loss: Any = "squared_error" if kind == "exact" else ff.Huber(1.5)
    # The names save hashing the arrays.
    columns = [da.from_array(v, chunks=-(-n // 64), name=name) for name, v in (("x", x), ("y", y))]
    in_memory = functools.partial(ff.fit_line, x, y, loss=loss)
    return Prepared(
        functools.partial(ff.fit_line, *columns, loss=loss),
        lambda fit: _close(line(fit), line(in_memory())),
        lambda: [read(x, y), Other("in memory", in_memory)],
    )


# Many lines: points and lines, type, and whether the points lie along the first axis.
_STACKS: dict[str, tuple[int, int, str, bool]] = {
    "rows_float32": (100, 1_000_000, "f", True),
    "rows_float64": (300, 100_000, "d", True),
    "series_float64": (300, 100_000, "d", False),
    "peers": (100, 20_000, "d", True),
    "few": (100, 5_000, "d", True),
}


@functools.lru_cache(maxsize=1)
def stack(kind: str, gaps: str) -> tuple[Any, Any]:
    """Return x and the values of many seeded lines, of which a twentieth is missing with ``gaps``."""
    n, m, dtype, in_rows = _STACKS[kind]
    rng = np.random.default_rng(n)
    x = np.arange(n) * 1.0
    y = rng.standard_normal((n, m) if in_rows else (m, n), dtype=np.float32).astype(dtype)
    y += (0.01 * (x[:, None] if in_rows else x)).astype(dtype)
    if gaps == "gaps":
        for row in y:
            row[rng.random(row.size, dtype=np.float32) < 0.05] = np.nan
    y.flags.writeable = False
    return x, y


def _first_lines(kind: str, fits: Any, x: Any, y: Any) -> None:
    """Check some lines with NumPy."""
    for k in range(3):
        own = y[:, k] if _STACKS[kind][3] else y[k]
        there = ~np.isnan(own)
        expected = np.polyfit(x[there], own[there].astype(float), 1)
        _close((fits.slope[k], fits.intercept[k]), expected, 1e-9, 1e-11)


def _many(kind: str, gaps: str) -> Prepared:
    x, y = stack(kind, gaps)
    more: dict[str, Any] = {"axis": 0 if _STACKS[kind][3] else 1}
    together = [y]
    if gaps == "weights":
        more["sample_weight"] = np.ones_like(y)
        together.append(more["sample_weight"])

    def read_all() -> None:
        for each in together:
            items = each.reshape(-1)
            bare_read(items[: items.size // 2], items[items.size // 2 :])

    one_thread = functools.partial(ff.fit_lines, x, y, **more, n_threads=1)
    return Prepared(
        functools.partial(ff.fit_lines, x, y, **more),
        lambda fits: _first_lines(kind, fits, x, y),
        lambda: [Other(READ, read_all, others.ALL), Other("one thread", one_thread)],
        lambda _: (),
    )


def _many_peers(kind: str, gaps: str) -> Prepared:
    x, y = stack(kind, gaps)
    return Prepared(
        functools.partial(ff.fit_lines, x, y),
        lambda fits: _first_lines(kind, fits, x, y),
        lambda: others.many_lines(x, y),
        lambda fits: np.asarray(fits.slope)[:5],
    )


def _many_drop_in(name: str, gaps: str) -> Prepared:
    from fastfit import compat

    x, y = stack("peers" if name == "polyfit" else "few", gaps)
    own: dict[str, Call] = {
        "polyfit": lambda: compat.polyfit(x, y, 1),
        "linregress": lambda: compat.linregress(x[:, None], y, axis=0, nan_policy="omit"),
    }
    other = next(each for each in others.many_lines(x, y) if name in each.name)
    numbers: Any = other.numbers
    return Prepared(
        own[name],
        lambda found: _close(numbers(found), numbers(other.call()), 1e-9),
        lambda: [other],
        numbers,
    )


def _single(_: str, n: int) -> Prepared:
    x, y = points(n)
    return Prepared(
        functools.partial(ff.fit_lines, x, y),
        lambda fits: _close(line(fits), _expected_line(x, y)),
        lambda: [Other("fit_line", functools.partial(ff.fit_line, x, y))],
    )


def _moments_of(_: str, n: int) -> Prepared:
    x, y = points(n)
    return Prepared(
        functools.partial(ff.Moments.of, x, y),
        lambda found: _close(found.fit().slope, _expected_line(x, y)[0]),
        lambda: [read(x, y)],
    )


def _objective(_: str, n: int) -> Prepared:
    x, y = points(n)
    mean_loss, in_numpy = ff.objective(x, y), next(others.steps(x, y, LINE))
    # Two lines in turn: an objective keeps its last result, so the same line again would cost no pass.
    lines = itertools.cycle([LINE, (LINE[0], LINE[1] + 1e-12)])
    return Prepared(
        lambda: mean_loss(next(lines)),
        lambda result: _close(result[0], in_numpy.call()[0]),
        lambda: [read(x, y), in_numpy],
        lambda result: (result[0], *result[1]),
    )


def _evaluate(_: str, n: int) -> Prepared:
    from fastfit.columns import Columns
    from fastfit.points.arrays import ArrayPoints

    columns = Columns(*points(n))
    in_numba, in_numpy = (ArrayPoints(columns, backend=each) for each in ("numba", "numpy"))
    in_numba.moments(), in_numpy.moments()
    arguments = (loss_of("squared_error", 0.0), *LINE)
    return Prepared(
        lambda: in_numba.evaluate(*arguments),
        lambda found: _close(found.loss, in_numpy.evaluate(*arguments).loss),
    )


# Prints by how many MB a fit raises the peak of memory. A filler first raises the memory in use to the peak so far.
_PEAK = """
import resource, numpy as np, fastfit as ff
def points(n): return np.random.default_rng(0).random(n), np.random.default_rng(1).random(n)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
ff.fit_line(*points(100_000), loss={loss!r}); x, y = points(10_000_000)
held = int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 2**20
filler = np.ones(max(0, int((peak() - held) * 2**17))); before = peak()
fit = ff.fit_line(x, y, loss={loss!r}); print(peak() - before)
"""
_POINTS = "import numpy as np; x = np.arange(1e6) % 1000; y = 2 * x + 1; "
_FIT = _POINTS + "import fastfit as ff; print(ff.fit_line(x, y{}).slope)"
_SCIPY = _POINTS + "from scipy import stats; print(stats.linregress(x, y).slope)"
_TWO = (2.0 - 1e-9, 2.0 + 1e-9)
# Fresh processes: the code, bounds of the number it prints (or 0), and the name and code of the one it is compared to.
# ``import fastfit`` loads almost nothing; the first use of a name does.
PROCESSES: dict[str, tuple[str, tuple[float, float], tuple[str, ...]]] = {
    "import": ("import fastfit", (0.0, 0.0), ("import numpy", "import numpy")),
    "import-fit_line": ("from fastfit import fit_line", (0.0, 0.0), ("import numpy",) * 2),
    "fit": (_FIT.format(""), _TWO, ("scipy.stats.linregress", _SCIPY)),
    "compile": (_FIT.format(""), _TWO, ()),
    "compile-huber": (_FIT.format(", loss=ff.Huber(1.0)"), _TWO, ()),
    "squared_error": (_PEAK.format(loss="squared_error"), (0.0, 160.0), ()),
    "tukey": (_PEAK.format(loss="tukey"), (0.0, 160.0), ()),
}


def _process(kind: str, _: int = 0) -> Prepared:
    code, (low, high), other = PROCESSES[kind]

    def run(code: str) -> float:
        # Bytecode is kept on disk, as for an installed package.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with tempfile.TemporaryDirectory() as folder:
            env |= {"NUMBA_CACHE_DIR": folder} if kind.startswith("compile") else {}
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        return float(done.stdout or 0.0)

    def check(found: float) -> None:
        assert low <= found <= high, found

    compared_to = [Other(other[0], lambda: run(other[1]), ONE, identity)] if other else []
    return Prepared(lambda: run(code), check, lambda: compared_to, identity)


# Workloads of the gate, in addition to loop/.
GATE = {
    *("pass/LossGradient/squared_error/float64/10_000_000", "gather/0.001/1_000_000"),
    *("fit/exact/1_000", "fit/exact/10_000_000", "fit/descent-samples/1_000_000"),
    *("fit/huber-mad/1_000", "fit/huber-mad/1_000_000", "process/import", "process/fit"),
    *("many/peers/full", "many/peers/gaps", "windows/100/full/1_000_000"),
    *("groups/mixed/10_000/1_000_000", "groups/sorted/10_000/1_000_000"),
}
# Rows of README's table.
TITLES = {
    "fit/exact/10_000_000": "`fit_line(x, y)`, 10,000,000 points",
    "pass/LossGradient/squared_error/float64/10_000_000": "one step of gradient descent, 10,000,000 points",
    "fit/5_000-raw-steps/10_000_000": "5,000 steps, 10,000,000 points",
    "drop-in/linregress/1_000": "`compat.linregress(x, y)`, 1,000 points",
    "fit/huber-given/1_000_000": "`fit_line(x, y, loss=ff.Huber(2.0))`, 1,000,000 points",
    "fit/huber-mad/1_000_000": '`fit_line(x, y, loss="huber")`, 1,000,000 points',
    "many-peers/peers/full": "`fit_lines(x, y)`, 20,000 lines of 100 points",
    "many-peers/few/gaps": "`fit_lines(x, y)`, 5,000 lines of 100 points, with gaps",
    "windows-peers/100/1_000_000": "`rolling_slope(x, y, 100)`, 1,000,000 windows",
    "groups/mixed/10_000/10_000_000": "`fit_groups(x, y, key)`, 10,000,000 rows, 10,000 groups",
    "process/fit": "a fresh process that imports and fits 1,000,000 points",
}
# Targets of the project, for all workloads that match a pattern.
TARGETS = {
    "pass/LossGradient/squared_error/float64/10_000_000": [Target(1.2)],
    "pass/LossGradient/squared_error/float32/10_000_000": [Target(0.65, "contiguous float64")],
    "pass/LossGradient/huber/columns/10_000_000": [Target(2.0, "contiguous float64")],
    "pass/LossGradientCurvature/[!c]*/float64/10_000_000": [Target(1.4)],
    "pass/LossGradientCurvature/cauchy/float64/10_000_000": [Target(2.2)],
    "pass/*/geman_mcclure/*": [Target(1.3, "soft_l1")],
    "pass/*/log_cosh/*": [Target(1.3, "soft_l1")],
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
    "many/rows_float32/full": [Target(2.4), Target(0.59, "one thread")],
    "many/rows_float32/gaps": [Target(3.3), Target(0.59, "one thread")],
    "many/rows_float64/full": [Target(1.5)],
    "many/rows_float64/gaps": [Target(1.7)],
    "many/series_float64/full": [Target(1.2)],
    "many/series_float64/gaps": [Target(1.4)],
    "many/rows_float64/weights": [Target(1.6)],
    "many-peers/peers/full": [
        Target(0.1, "numpy.polyfit(x, y, 1)"),
        Target(0.002, "scipy.stats.linregress(axis=0)"),
    ],
    "many-peers/few/gaps": [Target(0.005, "xarray polyfit")],
    "many-drop-in/polyfit/full": [Target(0.2, "numpy.polyfit(x, y, 1)")],
    "many-drop-in/linregress/*": [Target(0.02, "scipy.stats.linregress(axis=0)")],
    "many-single/line/1_000": [Target(2.0, "fit_line")],
    "windows/*/full/10_000_000": [Target(13.0)],
    "windows/*/gaps/10_000_000": [Target(18.0)],
    "slopes/*/full/10_000_000": [Target(8.0)],
    "slopes/*/gaps/10_000_000": [Target(14.0)],
    "windows-peers/100/1_000_000": [
        Target(0.1, "pandas rolling cov / var"),
        Target(0.125, "Polars rolling_cov / rolling_var"),
    ],
    "windows-peers/100/100_000": [Target(0.0005, "statsmodels RollingOLS")],
    "groups/sorted/10_000/10_000_000": [Target(1.6)],
    "groups/mixed/100/10_000_000": [Target(0.25, "DuckDB regr_slope, regr_intercept by key")],
    "groups/mixed/10_000/10_000_000": [Target(0.333, "DuckDB regr_slope, regr_intercept by key")],
    "groups/mixed/1_000_000/10_000_000": [
        Target(0.167, "DuckDB regr_slope, regr_intercept by key")
    ],
    "groups-text/10_000/10_000_000": [Target(0.5, "Polars group_by, cov / var")],
    "groups-file/10_000/10_000_000": [
        Target(1.2, "DuckDB regr_slope, regr_intercept of the file by key")
    ],
    "process/import": [Target(1.15, "import numpy")],
    "process/fit": [Target(0.6, "scipy.stats.linregress")],
}


def _grid(
    prepare: Callable[..., Prepared], kind: str, *parts: Iterable[Any], n_points: int | None = None
) -> Iterator[Workload]:
    """Yield a workload for each combination of parts of its name, which are the arguments of ``prepare``."""
    for arguments in itertools.product(*parts):
        name = "/".join([kind, *(f"{a:_}" if isinstance(a, int) else str(a) for a in arguments)])
        yield Workload(
            name,
            arguments[-1] if n_points is None else n_points,
            functools.partial(prepare, *arguments),
            name in GATE or kind == "loop",
            TITLES.get(name, ""),
            [target for each in TARGETS if fnmatch(name, each) for target in TARGETS[each]],
        )


_DERIVATIVES, _PRODUCTS = list(KERNELS)[:2], ("ProductSums", "WeightedProductSums")
_ROBUST = [f"{loss}-{scale}" for loss in ROBUST for scale in ("given", "mad")]
_100_STEPS = ("100-raw-steps-samples", "100-raw-steps-moments")
_GROWTH, _FEW = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000), (10, 100, 1_000)
_THREADS = range(1, numba.config.NUMBA_NUM_THREADS + 1)
_ON_LINUX = [LARGE] if sys.platform == "linux" else []
WORKLOADS = {
    workload.name: workload
    for workload in itertools.chain(
        # Tables: windows and groups.
        _grid(tables.windows, "windows", (8, 100, 10_000), ("full", "gaps"), SIZES[1:]),
        _grid(tables.slopes, "slopes", (8, 100, 10_000), ("full", "gaps"), SIZES[1:]),
        _grid(tables.windows_peers, "windows-peers", [100], (100_000, 1_000_000)),
        _grid(tables.groups, "groups", ("mixed", "sorted"), (100, 10_000), SIZES[1:]),
        _grid(tables.groups, "groups", ("mixed", "sorted"), [1_000_000], [LARGE]),
        _grid(tables.groups_of_text, "groups-text", [10_000], SIZES[1:]),
        _grid(tables.groups_of_file, "groups-file", [10_000], SIZES[1:]),
        # Fused loops alone, on a block in cache.
        _grid(_loop, "loop", _DERIVATIVES, LOSSES, n_points=_TURNS * BLOCK),
        _grid(_loop, "loop", _PRODUCTS, n_points=_TURNS * BLOCK),
        # Passes without a fit around them. Strided columns are limited by memory, so one loss is enough.
        _grid(_pass, "pass", _DERIVATIVES, LOSSES, ("float64", "float32"), SIZES),
        _grid(_pass, "pass", _DERIVATIVES, ROBUST[:1], ["columns"], SIZES),
        _grid(_pass, "pass", _DERIVATIVES, OWN, ["float64"], [LARGE]),
        _grid(_moments, "moments", ("plain", "weighted"), SIZES),
        _grid(_gather, "gather", (0.001, 0.02), SIZES),
        _grid(_fit, "fit", SOLVERS, SIZES),
        _grid(_robust_fit, "fit", _ROBUST, SIZES),
        _grid(_raw_steps, "fit", _100_STEPS, (SMALL, MEDIUM)),
        _grid(_raw_steps, "fit", ["5_000-raw-steps"], [LARGE]),
        _grid(_fit, "growth", ["exact"], _GROWTH),
        _grid(_robust_fit, "growth", ["huber-mad"], _GROWTH),
        _grid(_on_threads, "threads", ("pass", "exact", "huber-mad"), _THREADS, n_points=LARGE),
        # All threads compared with one; ``report.py load`` times them while other processes are busy.
        _grid(_under_load, "load", ("squared_error", "huber"), (30_000, 100_000, 1_000_000)),
        _grid(_drop_in, "drop-in", ("linregress", "polyfit", "LineRegressor"), (SMALL, MEDIUM)),
        # Many lines, compared with the read of y, and with other libraries.
        *(
            _grid(_many, "many", [kind], more, n_points=_STACKS[kind][0] * _STACKS[kind][1])
            for kind, more in (
                ("rows_float32", ("full", "gaps")),
                ("rows_float64", ("full", "gaps", "weights")),
                ("series_float64", ("full", "gaps")),
                ("peers", ("full", "gaps")),
            )
        ),
        _grid(_many_peers, "many-peers", ["peers"], ["full"], n_points=2_000_000),
        _grid(_many_peers, "many-peers", ["few"], ["gaps"], n_points=500_000),
        _grid(_many_drop_in, "many-drop-in", ["polyfit"], ["full"], n_points=2_000_000),
        _grid(_many_drop_in, "many-drop-in", ["linregress"], ("full", "gaps"), n_points=500_000),
        _grid(_single, "many-single", ["line"], [SMALL]),
        # Files, compared with other readers, and Dask, compared with memory.
        _grid(_scanned, "scan", ("parquet", "parquet-snappy", "csv", "arrow"), [LARGE]),
        _grid(_on_dask, "dask", ("exact", "huber"), [LARGE]),
        _grid(lambda _, n: _fit("exact", n), "latency", ["fit_line"], _FEW),
        _grid(_moments_of, "latency", ["moments"], _FEW),
        _grid(_objective, "latency", ["objective-new-line"], _FEW),
        _grid(_evaluate, "latency", ["evaluate"], _FEW),
        _grid(_process, "process", ("import", "import-fit_line"), n_points=0),
        _grid(_process, "process", ("fit", "compile", "compile-huber"), n_points=MEDIUM),
        _grid(_process, "memory", ("squared_error", "tukey"), _ON_LINUX),
    )
}
