"""What is timed: every workload with a stable name, its points, and a check of its result.

``test_workloads.py`` times them under pytest-benchmark, ``compare.py`` in two revisions in turn. Names tell what is
called, on what, and the number of points: ``pass/LossGradient/huber/float64/1_000_000``. Memory hides a slower loop, so
``loop/...`` is each fused loop alone, on one block in cache, and ``pass/...`` the same with all around it.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

import fastfit as ff
from bench.measure import bare_read, heavy_tailed, loss_of, points
from fastfit.kernels import compiled, flags, reference
from fastfit.kernels.bare_read import read_block
from fastfit.kernels.block import BLOCK, block_sums
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.moments import ProductSums
from fastfit.losses import LOSSES
from fastfit.speed.throughput import three_expressions

Call = Callable[[], Any]

ROBUST = [name for name in LOSSES if name != "squared_error"]
LINE, CENTER = (0.3, 0.1), (0.5, 0.6)
SMALL, MEDIUM, LARGE = 1_000, 1_000_000, 10_000_000
GROWTH = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
# A block is read so many times by a loop alone.
_TURNS = 64


@dataclass(frozen=True)
class Prepared:
    """A workload with its points: what is called, and what must hold for the result.

    ``read`` reads the same points and nothing else, on as many threads; ``replaced`` is what people use instead.
    """

    call: Call
    check: Callable[[Any], None]
    read: Call | None = None
    replaced: Call | None = None


@dataclass(frozen=True)
class Workload:
    """What is timed, without its points.

    ``n_bytes`` is what one pass reads; ``n_passes`` tells how many a result took.
    """

    name: str
    n_points: int
    n_bytes: int
    prepare: Callable[[], Prepared]
    in_gate: bool = False
    # Of moments, and of what has none, it is one.
    n_passes: Callable[[Any], int] = lambda result: int(getattr(result, "n_passes", 0)) or 1

    def __str__(self) -> str:
        return self.name


@functools.lru_cache(maxsize=4)
def _points(n: int, layout: str = "float64") -> tuple[Any, Any]:
    if layout == "heavy_tailed":
        return heavy_tailed(n)
    x, y = points(n, np.float32 if layout == "float32" else np.float64)
    if layout == "columns":
        table = np.column_stack([x, y])
        table.flags.writeable = False
        return table[:, 0], table[:, 1]
    return x, y


def _close(expected: Any, rtol: float, atol: float = 0.0) -> Callable[[Any], None]:
    """Return a check against what ``expected`` returns, asked for once it is needed."""
    return lambda result: np.testing.assert_allclose(result, expected(), rtol=rtol, atol=atol)


def _expected_line(x: Any, y: Any) -> tuple[float, float]:
    """Return the line of least squares in NumPy's arithmetic: good to some 1e-12 on points that are not hostile."""
    u, v = x - x.mean(), y - y.mean()
    slope = float(u @ v) / float(u @ u)
    return slope, float(y.mean()) - slope * float(x.mean())


def _line(fit: ff.LineFit) -> tuple[float, float]:
    return fit.slope, fit.intercept


def _repeat(what: Any, loss: Any, x: Any, y: Any, w: Any, given: Any, rows: Any) -> None:
    for r in range(rows.shape[0]):
        # Another line each time: what comes out the same need not be calculated again.
        sums = block_sums(what, loss, x, y, w, (CENTER[0], CENTER[1] + 1e-9 * r), given)
        for k in range(len(sums)):
            rows[r, k] = sums[k]


def _repeat_read(x: Any, y: Any, rows: Any) -> None:
    for r in range(rows.shape[0]):
        rows[r, 0], rows[r, 1] = read_block(x, y)


_LOOP, _READ_LOOP = (compiled.jit(function, flags.DRIVER) for function in (_repeat, _repeat_read))


def loops() -> Iterator[Workload]:
    """Each fused loop alone, on a block that is in cache: where a slower loop shows."""
    sizes = (float(BLOCK), float(BLOCK), float(BLOCK))
    passes: list[tuple[str, Any, Any, tuple[float, ...], bool]] = [
        (f"{type(what).__name__}/{loss}", what, loss_of(loss, 0.1), LINE, False)
        for what in (LossGradient(), LossGradientCurvature())
        for loss in LOSSES
    ]
    passes.append(("ProductSums", ProductSums(), None, sizes, False))
    passes.append(("WeightedProductSums", ProductSums(), None, sizes, True))

    def prepare(what: Any, loss: Any, given: Any, weighted: bool) -> Prepared:
        x, y = (column.copy() for column in _points(BLOCK))
        w = np.ones(BLOCK) if weighted else None
        rows = np.empty((_TURNS, len(what)))

        def check(_: object) -> None:
            if loss is not None:
                expected = reference.run(what, loss, x, y, w, CENTER, given)
                np.testing.assert_allclose(rows[0], expected, rtol=1e-9, atol=1e-9 * BLOCK)
            else:
                got = what._make(rows[0])
                u = x - CENTER[0]
                np.testing.assert_allclose(got.uu + got.uu_rest, u @ u, rtol=1e-12)

        arguments: Any = (what, loss, x, y, w, given, rows)
        turns = _TURNS + (_TURNS // 2 if weighted else 0)  # as many bytes
        read = functools.partial(_READ_LOOP, x, y, np.empty((turns, 2)))
        return Prepared(functools.partial(_LOOP, *arguments), check, read)

    for name, *arguments in passes:
        yield Workload(
            f"loop/{name}",
            _TURNS * BLOCK,
            _TURNS * BLOCK * (24 if arguments[-1] else 16),
            functools.partial(prepare, *arguments),
            in_gate=True,
        )


def _a_pass(what: Any, loss: str, layout: str, n: int) -> Prepared:
    x, y = _points(n, layout)
    # Some residuals to either side of where a robust loss bends.
    arguments: Any = (what, loss_of(loss, 0.1), x, y, None, CENTER, LINE)
    # float64 sums of n terms, in another order.
    check = _close(lambda: reference.run(*arguments), rtol=1e-9, atol=1e-9 * n)
    contiguous = np.ascontiguousarray(x), np.ascontiguousarray(y)
    read = functools.partial(bare_read, *contiguous)
    numpys = None
    if loss == "squared_error" and isinstance(what, LossGradient):
        numpys = functools.partial(three_expressions, x, y, LINE)
    return Prepared(functools.partial(compiled.run, *arguments), check, read, numpys)


def passes() -> Iterator[Workload]:
    """Every pass over the points for every loss, type and layout, without the result's wrapping."""
    in_gate = {("LossGradient", "squared_error", "float64", LARGE)}
    for what in (LossGradient(), LossGradientCurvature()):
        for loss in LOSSES:
            # Columns of a table are read at the speed of memory, whatever the loss.
            layouts = ("float64", "float32", *(("columns",) if loss in ROBUST[:1] else ()))
            for layout in layouts:
                for n in (SMALL, MEDIUM, LARGE):
                    name = type(what).__name__
                    yield Workload(
                        f"pass/{name}/{loss}/{layout}/{n:_}",
                        n,
                        n * (8 if layout == "float32" else 16),
                        functools.partial(_a_pass, what, loss, layout, n),
                        in_gate=(name, loss, layout, n) in in_gate,
                    )


def _moments(weighted: bool, n: int) -> Prepared:
    x, y = _points(n)
    sizes = (float(BLOCK),) * 3
    what: Any = ProductSums()
    w = x.copy() if weighted else None

    def read() -> None:
        bare_read(x, y)
        if w is not None:
            bare_read(w[: n // 2], w[n // 2 :])

    def check(result: Any) -> None:
        k = np.ones(n) if w is None else w
        x_mean, y_mean = np.average(x, weights=k), np.average(y, weights=k)
        slope = float((k * (x - x_mean)) @ (y - y_mean)) / float((k * (x - x_mean)) @ (x - x_mean))
        np.testing.assert_allclose(result.line.slope.high, slope, rtol=1e-9)
        np.testing.assert_allclose(result.sums.y_mean.high, y_mean, rtol=1e-12)

    arguments: Any = (what, None, x, y, w, CENTER, sizes)
    return Prepared(functools.partial(compiled.run, *arguments), check, read)


def _gather(share: float, n: int) -> Prepared:
    x, y = _points(n)
    residuals = np.abs(y - CENTER[1] - (LINE[0] * (x - CENTER[0]) + LINE[1]))
    low, high = np.quantile(residuals, [0.5 - share / 2, 0.5 + share / 2])

    def check(found: Any) -> None:
        # Residuals on the bounds may be rounded to either side.
        assert abs(found.up_to - found.below - share * n) <= 3
        assert found.is_complete

    arguments: Any = (x, y, None, CENTER, (*LINE, float(low), float(high)), 1 << 18)
    read = functools.partial(bare_read, x, y)
    return Prepared(functools.partial(compiled.gather, *arguments), check, read)


def sums() -> Iterator[Workload]:
    """The passes without a loss: moments, and the residuals next to the median."""
    for n in (SMALL, MEDIUM, LARGE):
        for weighted in (False, True):
            name = f"moments/{'weighted' if weighted else 'plain'}/{n:_}"
            n_bytes = n * (24 if weighted else 16)
            yield Workload(name, n, n_bytes, functools.partial(_moments, weighted, n))
        for share in (0.001, 0.02):
            name = f"gather/{share}/{n:_}"
            in_gate = (share, n) == (0.001, MEDIUM)
            yield Workload(name, n, 16 * n, functools.partial(_gather, share, n), in_gate)


SOLVERS: dict[str, Any] = {
    "exact": ff.Exact(),
    "descent": ff.GradientDescent(),
    "descent-samples": ff.GradientDescent(passes="samples"),
}


def _fit(solver: str, n: int, n_threads: int | None = None) -> Prepared:
    x, y = _points(n)

    def check(fit: ff.LineFit) -> None:
        np.testing.assert_allclose(_line(fit), _expected_line(x, y), rtol=1e-9)

    call = functools.partial(ff.fit_line, x, y, solver=SOLVERS[solver], n_threads=n_threads)
    return Prepared(call, check, functools.partial(bare_read, x, y, n_threads))


def _robust_fit(loss: str, scale: str, n: int, n_threads: int | None = None) -> Prepared:
    x, y = _points(n, "heavy_tailed")
    chosen = LOSSES[loss]() if scale == "mad" else loss_of(loss, 2.0)

    def check(fit: ff.LineFit) -> None:
        assert fit.converged
        assert abs(fit.slope - 0.5) < 5 * fit.stderr

    call = functools.partial(ff.fit_line, x, y, loss=chosen, n_threads=n_threads)
    return Prepared(call, check, functools.partial(bare_read, x, y, n_threads))


def _raw_steps(passes: str, n: int) -> Prepared:
    x, y = _points(n)
    start = (-2.0, 1.0)
    solver = ff.GradientDescent(
        init=start,
        learning_rate=0.01,
        standardize=False,
        max_iter=100,
        record_every=10,
        passes=passes,
    )

    def descend() -> ff.LineFit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ff.ConvergenceWarning)
            return ff.fit_line(x, y, solver=solver)

    def check(fit: ff.LineFit) -> None:
        slope, intercept = start
        for _ in range(100):
            residual = y - (slope * x + intercept)
            slope += 0.01 * 2 * np.mean(residual * x)
            intercept += 0.01 * 2 * np.mean(residual)
        np.testing.assert_allclose(_line(fit), (slope, intercept), rtol=1e-12)

    return Prepared(descend, check, functools.partial(bare_read, x, y))


def fits() -> Iterator[Workload]:
    """Whole fits, validation and Python included, by every solver and for every loss."""
    in_gate = {
        *(("exact", SMALL), ("exact", LARGE), ("descent-samples", MEDIUM)),
        *(("huber-mad", SMALL), ("huber-mad", MEDIUM)),
    }
    for n in (SMALL, MEDIUM, LARGE):
        prepare: dict[str, Callable[[], Prepared]] = {
            solver: functools.partial(_fit, solver, n) for solver in SOLVERS
        }
        for loss in ROBUST:
            for scale in ("given", "mad"):
                prepare[f"{loss}-{scale}"] = functools.partial(_robust_fit, loss, scale, n)
        if n < LARGE:
            for kind in ("samples", "moments"):
                prepare[f"100-raw-steps-{kind}"] = functools.partial(_raw_steps, kind, n)
        for name, prepared in prepare.items():
            yield Workload(f"fit/{name}/{n:_}", n, 16 * n, prepared, (name, n) in in_gate)


def growth() -> Iterator[Workload]:
    """Fits of a thousand to fifty million points."""
    for n in GROWTH:
        yield Workload(f"growth/exact/{n:_}", n, 16 * n, functools.partial(_fit, "exact", n))
        robust = functools.partial(_robust_fit, "huber", "mad", n)
        yield Workload(f"growth/huber-mad/{n:_}", n, 16 * n, robust)


def threads() -> Iterator[Workload]:
    """Fits on one thread to all."""
    for k in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        exact = functools.partial(_fit, "exact", LARGE, k)
        robust = functools.partial(_robust_fit, "huber", "mad", LARGE, k)
        yield Workload(f"threads/exact/{k}", LARGE, 16 * LARGE, exact)
        yield Workload(f"threads/huber-mad/{k}", LARGE, 16 * LARGE, robust)


def _drop_in(name: str, n: int) -> Prepared:
    x, y = _points(n)
    ours: Call
    theirs: Call
    if name == "linregress":
        from scipy import stats

        from fastfit.compat import linregress

        ours, theirs = (functools.partial(f, x, y) for f in (linregress, stats.linregress))
    elif name == "polyfit":
        from fastfit.compat import polyfit

        ours, theirs = (functools.partial(f, x, y, 1) for f in (polyfit, np.polyfit))
    else:
        from sklearn.linear_model import LinearRegression

        from fastfit.estimator import LineRegressor

        column = x[:, None]
        ours = lambda: _coefficients(LineRegressor().fit(column, y))  # noqa: E731
        theirs = lambda: _coefficients(LinearRegression().fit(column, y))  # noqa: E731
    # The best of them are right to some 1e-12.
    check = _close(lambda: np.asarray(theirs(), dtype=float), rtol=1e-9)
    return Prepared(ours, check, functools.partial(bare_read, x, y), theirs)


def _scanned(suffix: str, n: int) -> Prepared:
    import polars as pl

    x, y = _points(n)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = f"{folder}/t.{suffix}"
    getattr(pl.DataFrame({"x": x, "y": y}), f"write_{suffix}")(path)
    lazy = getattr(pl, f"scan_{suffix}")(path)

    def replaced() -> Any:
        return lazy.select(pl.cov("x", "y") / pl.var("x"), pl.mean("y")).collect()

    expected = functools.partial(_expected_line, x, y)
    return Prepared(
        lambda: ff.fit_line(ff.scan(path)),
        lambda fit: _close(expected, 1e-9)(_line(fit)),
        None,
        replaced,
    )


def _on_dask(loss: Any, n: int) -> Prepared:
    import dask.array as da

    x, y = _points(n)
    there = [da.from_array(v, chunks=-(-n // 64), name=name) for name, v in (("x", x), ("y", y))]

    def in_memory() -> ff.LineFit:
        return ff.fit_line(x, y, loss=loss)

    return Prepared(
        lambda: ff.fit_line(there[0], there[1], loss=loss),
        lambda fit: _close(lambda: _line(in_memory()), 1e-9)(_line(fit)),
        lambda: bare_read(x, y),
        in_memory,
    )


def elsewhere() -> Iterator[Workload]:
    """Points in files, and in arrays of Dask: beside Polars, and beside the same points in memory."""
    for suffix in ("parquet", "csv"):
        prepare = functools.partial(_scanned, suffix, LARGE)
        yield Workload(f"scan/{suffix}/{LARGE:_}", LARGE, 16 * LARGE, prepare)
    for name, loss in (("exact", "squared_error"), ("huber", ff.Huber(1.5))):
        prepare = functools.partial(_on_dask, loss, LARGE)
        yield Workload(f"dask/{name}/{LARGE:_}", LARGE, 16 * LARGE, prepare)


def _coefficients(model: Any) -> tuple[float, float]:
    return float(np.ravel(model.coef_)[0]), float(model.intercept_)


def drop_ins() -> Iterator[Workload]:
    """The drop-ins, against what they replace."""
    for name in ("linregress", "polyfit", "LineRegressor"):
        for n in (SMALL, MEDIUM):
            prepare = functools.partial(_drop_in, name, n)
            yield Workload(f"drop-in/{name}/{n:_}", n, 16 * n, prepare)


def _latency(what: str, n: int) -> Prepared:
    x, y = _points(n)
    read = functools.partial(bare_read, x, y)
    if what == "moments":
        slope, _ = _expected_line(x, y)
        check = lambda m: np.testing.assert_allclose(m.fit().slope, slope, rtol=1e-9)  # noqa: E731
        return Prepared(functools.partial(ff.Moments.of, x, y), check, read)
    numpys = functools.partial(three_expressions, x, y, LINE)
    loss, _, _ = numpys()
    check = lambda result: np.testing.assert_allclose(result[0], loss, rtol=1e-9)  # noqa: E731
    return Prepared(functools.partial(ff.objective(x, y), LINE), check, read, numpys)


def latency() -> Iterator[Workload]:
    """What is called often on few points."""
    for n in (10, 100, 1_000):
        yield Workload(f"latency/fit_line/{n:_}", n, 16 * n, functools.partial(_fit, "exact", n))
        for what in ("moments", "objective"):
            prepare = functools.partial(_latency, what, n)
            yield Workload(f"latency/{what}/{n:_}", n, 16 * n, prepare)


_IMPORT = "import fastfit"
_POINTS = "import numpy as np; x = np.arange(1e6) % 1000; y = 2 * x + 1; "
_FIT = _POINTS + "import fastfit as ff; print(ff.fit_line(x, y{}).slope)"
_SCIPY = _POINTS + "from scipy import stats; print(stats.linregress(x, y).slope)"


def _process(code: str, replaced: str | None, cold: bool) -> Prepared:
    # As installed: with the bytecode on disk.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def call(code: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            more = {"NUMBA_CACHE_DIR": folder} if cold else {}
            command = [sys.executable, "-c", code]
            result = subprocess.run(
                command, env=environment | more, check=True, capture_output=True, text=True
            )
        return result.stdout

    def check(out: str) -> None:
        assert out == "" if code == _IMPORT else abs(float(out) - 2.0) < 1e-9, out

    theirs = None if replaced is None else functools.partial(call, replaced)
    return Prepared(functools.partial(call, code), check, None, theirs)


def processes() -> Iterator[Workload]:
    """Cold starts: a process that imports fastfit, one that fits, and some that have to compile first."""
    for name, code, replaced, cold in (
        ("import", _IMPORT, "import numpy", False),
        ("fit", _FIT.format(""), _SCIPY, False),
        ("compile", _FIT.format(""), None, True),
        ("compile-huber", _FIT.format(", loss=ff.Huber(1.0)"), None, True),
    ):
        n = 0 if code == _IMPORT else MEDIUM
        prepare = functools.partial(_process, code, replaced, cold)
        yield Workload(f"process/{name}", n, 16 * n, prepare, in_gate=not cold)


WORKLOADS = {
    workload.name: workload
    for kind in (
        *(loops, passes, sums, fits, growth, threads),
        *(drop_ins, elsewhere, latency, processes),
    )
    for workload in kind()
}
