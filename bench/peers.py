"""fastfit beside others, in turn, on the same arrays: ``python -m bench.peers [--points N]``. README's table is its.

Every row is the time of another way to the same numbers over ours: the median of pairs timed one after the other in
one process, the answers compared before. Bare reads of the same points are told apart. Peers that are not installed
are left out.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

import fastfit as ff
from bench.measure import bare_read, heavy_tailed, points, ratio, times
from fastfit.compat import linregress
from fastfit.kernels import compiled
from fastfit.kernels.gradient import LossGradient
from fastfit.losses import SquaredError
from fastfit.speed.machine import machine
from fastfit.speed.throughput import reweighted_least_squares, three_expressions

FOLDER = Path(__file__).resolve().parent.parent / ".benchmarks"
LINE = (0.3, 0.1)
REST = 0.3
READ = "bare read"
ONE, BLAS = "1 thread", "threads of BLAS"
OURS = f"{compiled.description()['threads']} threads"

Call = Callable[[], Any]
Answer = Callable[[Any], Any]


class Peer(NamedTuple):
    """Another way to the same numbers: its name and version, the call, and where in its result the numbers are."""

    name: str
    call: Call
    numbers: Answer
    threads: str = ONE


class Task(NamedTuple):
    """What is done: our way, and where in its result the numbers are, and how close the others come to them."""

    name: str
    ours: Call
    numbers: Answer
    peers: list[Peer]
    rtol: float = 1e-9
    atol: float = 0.0
    rounds: int = 7


def installed(name: str) -> str | None:
    """Return a package's name with its version, None if it is not installed."""
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return None


def _line(result: Any) -> tuple[float, float]:
    return result.slope, result.intercept


def _as_is(result: Any) -> Any:
    return result


def read_limit(x: Any, y: Any) -> Peer:
    """Return the bare read, which has no numbers to compare."""
    return Peer(READ, lambda: bare_read(x, y), lambda _: None, OURS)


def of_least_squares(x: Any, y: Any) -> Iterator[Peer]:
    """Yield other ways to the line of least squares."""
    yield read_limit(x, y)
    yield Peer("numpy.polyfit", lambda: np.polyfit(x, y, 1), _as_is, BLAS)
    if installed("scipy"):
        from scipy import stats

        yield Peer("scipy.stats.linregress", lambda: stats.linregress(x, y), _line, BLAS)
    if installed("scikit-learn"):
        from sklearn.linear_model import LinearRegression

        column = x[:, None]
        yield Peer(
            "sklearn LinearRegression",
            lambda: LinearRegression().fit(column, y),
            lambda model: (model.coef_[0], model.intercept_),
            BLAS,
        )
    if installed("statsmodels"):
        import statsmodels.api as sm

        design = sm.add_constant(x)
        yield Peer(
            "statsmodels OLS",
            lambda: sm.OLS(y, design).fit(),
            lambda fit: fit.params[::-1],
            BLAS,
        )
    if installed("polars"):
        import polars as pl

        table = pl.DataFrame({"x": x, "y": y})
        slope = pl.cov("x", "y") / pl.var("x")
        yield Peer(
            "Polars cov / var",
            lambda: table.select(slope, pl.mean("y") - slope * pl.mean("x")).row(0),
            _as_is,
            f"{pl.thread_pool_size()} threads",
        )
    yield from _of_duckdb(x, y)
    yield from _of_jax_least_squares(x, y)


def _of_duckdb(x: Any, y: Any) -> Iterator[Peer]:
    if not (installed("duckdb") and installed("pyarrow")):
        return
    import duckdb
    import pyarrow as pa

    table = pa.table({"x": x, "y": y})
    connection = duckdb.connect()
    connection.register("points", table)
    query = "select regr_slope(y, x), regr_intercept(y, x) from points"
    ((threads,),) = connection.sql("select current_setting('threads')").fetchall()
    yield Peer(
        "DuckDB regr_slope, regr_intercept",
        lambda: connection.sql(query).fetchall()[0],
        _as_is,
        f"{threads} threads",
    )


def _jax() -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def _of_jax_least_squares(x: Any, y: Any) -> Iterator[Peer]:
    if not installed("jax"):
        return
    jax = _jax()
    on_device = jax.device_put(x), jax.device_put(y)

    @jax.jit
    def fit(x: Any, y: Any) -> Any:
        u, v = x - x.mean(), y - y.mean()
        slope = (u * v).sum() / (u * u).sum()
        return slope, y.mean() - slope * x.mean()

    call = lambda: jax.block_until_ready(fit(*on_device))  # noqa: E731
    yield Peer("JAX, jitted closed form", call, _as_is, "threads of XLA")


def of_a_step(x: Any, y: Any) -> Iterator[Peer]:
    """Yield other ways to mean loss and gradient."""
    yield read_limit(x, y)
    yield Peer("NumPy's three expressions", lambda: three_expressions(x, y, LINE), _as_is)
    if installed("jax"):
        jax = _jax()
        on_device = jax.device_put(x), jax.device_put(y)

        def loss(line: Any, x: Any, y: Any) -> Any:
            return ((y - (line[0] * x + line[1])) ** 2).mean()

        both = jax.jit(jax.value_and_grad(loss))
        line = jax.numpy.array(LINE)
        yield Peer(
            "JAX, jitted value_and_grad",
            lambda: jax.block_until_ready(both(line, *on_device)),
            lambda result: (result[0], *result[1]),
            "threads of XLA",
        )


def of_huber_given(x: Any, y: Any) -> Iterator[Peer]:
    """Yield other ways to Huber's line, its scale given."""
    if installed("scipy"):
        from scipy.optimize import least_squares

        def residuals(p: Any) -> Any:
            return p[0] * x + p[1] - y

        yield Peer(
            "scipy least_squares(loss='huber')",
            lambda: least_squares(residuals, (0.0, 0.0), loss="huber", f_scale=1.5),
            lambda result: result.x,
            BLAS,
        )


def of_huber(x: Any, y: Any) -> Iterator[Peer]:
    """Yield other ways to Huber's line, with the scale from the residuals."""
    yield Peer(
        "reweighted least squares in NumPy",
        lambda: reweighted_least_squares(x, y, ff.Huber),
        _as_is,
    )
    if installed("statsmodels"):
        import statsmodels.api as sm

        design = sm.add_constant(x)
        yield Peer(
            "statsmodels RLM",
            lambda: sm.RLM(y, design).fit(),
            lambda fit: fit.params[::-1],
            BLAS,
        )
    if installed("scikit-learn"):
        from sklearn.linear_model import HuberRegressor

        column = x[:, None]
        yield Peer(
            "sklearn HuberRegressor",
            lambda: HuberRegressor().fit(column, y),
            lambda model: (model.coef_[0], model.intercept_),
            BLAS,
        )


def process(code: str) -> str:
    """Return what a fresh process prints."""
    # As installed: with the bytecode on disk.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


def tasks(n: int) -> Iterator[Task]:
    """Yield what is done in several ways, with the points for it."""
    x, y = points(n)
    yield Task(
        f"`fit_line(x, y)`, {n:,} points",
        lambda: ff.fit_line(x, y),
        _line,
        list(of_least_squares(x, y)),
        rounds=11,
    )
    nothing: Any = (LossGradient(), SquaredError(), x, y, None, (0.0, 0.0), LINE)
    yield Task(
        f"one step of gradient descent, {n:,} points",
        lambda: compiled.run(*nothing),
        lambda sums: np.array(sums) / n,
        list(of_a_step(x, y)),
        rounds=21,
    )
    descent = ff.GradientDescent(
        init=(-2.0, 1.0), learning_rate=0.01, standardize=False, max_iter=5000, record_every=250
    )

    def descend() -> ff.LineFit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ff.ConvergenceWarning)
            return ff.fit_line(x, y, solver=descent)

    yield Task(
        f"5,000 steps, {n:,} points",
        descend,
        _line,
        [read_limit(x, y)],
        rounds=21,
    )
    few = points(1_000)
    yield Task(
        "`compat.linregress(x, y)`, 1,000 points",
        lambda: linregress(*few),
        _line,
        [
            peer._replace(threads=ONE)
            for peer in of_least_squares(*few)
            if "linregress" in peer.name
        ],
        rounds=101,
    )
    u, v = heavy_tailed(n // 10)
    yield Task(
        f"`fit_line(x, y, loss=ff.Huber(1.5))`, {n // 10:,} points",
        lambda: ff.fit_line(u, v, loss=ff.Huber(1.5)),
        _line,
        [read_limit(u, v), *of_huber_given(u, v)],
        # It stops where the gain in loss is small; the error of the slope is 1e-3.
        rtol=0.0,
        atol=1e-5,
    )
    yield Task(
        f'`fit_line(x, y, loss="huber")`, {n // 10:,} points',
        lambda: ff.fit_line(u, v, loss="huber"),
        _line,
        list(of_huber(u, v)),
        # Scales and tuning constants differ: lines agree to a part of their error of 1e-3.
        rtol=0.0,
        atol=5e-4,
    )
    data = "import numpy as np; x = np.arange(1e6) % 1000; y = 2 * x + 1; "
    theirs = data + "from scipy import stats; print(stats.linregress(x, y).slope)"
    yield Task(
        "a fresh process that imports and fits 1,000,000 points",
        functools.partial(process, data + "import fastfit; print(fastfit.fit_line(x, y).slope)"),
        float,
        [Peer("scipy.stats.linregress", functools.partial(process, theirs), float)],
    )


def compared(task: Task, peer: Peer) -> dict[str, Any]:
    """Return a row: how long a peer takes over ours, if the answers agree."""
    answer = peer.numbers(peer.call())
    if answer is not None:
        expected = np.asarray(task.numbers(task.ours()), dtype=float)
        np.testing.assert_allclose(
            np.asarray(answer, dtype=float),
            expected,
            rtol=task.rtol,
            atol=task.atol,
            err_msg=peer.name,
        )
    calls: dict[str, Call] = {"ours": task.ours, "theirs": peer.call}
    if peer.threads == ONE or answer is None:
        found = times(calls, rounds=task.rounds)
    else:
        # Threads of others spin on for a while after their work; and what has rested takes a while to wake up.
        calls = {"rest": lambda: time.sleep(REST), "wake": task.ours, **calls}
        found = times(calls, rounds=task.rounds, inner=1)
    return {
        "task": task.name,
        "peer": peer.name,
        "threads": peer.threads,
        "ratio": ratio(found, "theirs", "ours"),
        "seconds": min(found["theirs"]),
        "our_seconds": min(found["ours"]),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table of peers, and a line of bare reads."""
    lines = ["| ours | beside | times faster |", "|---|---|---|"]
    reads, before = [], None
    for row in rows:
        if row["peer"] == READ:
            reads.append(f"{row['task']}: {1.0 / row['ratio']:.2g}")
            continue
        task = row["task"] if row["task"] != before else ""
        before = row["task"]
        lines.append(f"| {task} | {row['peer']} ({row['threads']}) | {row['ratio']:.3g} |")
    return "\n".join([*lines, "", f"In bare reads of x and y: {'; '.join(reads)}."])


def main(
    n_points: Annotated[
        int, typer.Option("--points", help="Points of the large tasks.", min=10_000)
    ] = 10_000_000,
) -> None:
    """Time fastfit beside others, and print and save a table of ratios."""
    rows: list[dict[str, Any]] = []
    console = Console(stderr=True)
    for task in tasks(n_points):
        what = task.name.replace("`", "")
        peers = track(
            task.peers, what, console=console, transient=True, disable=not console.is_terminal
        )
        rows.extend(compared(task, peer) for peer in peers)
    about = machine()
    packages = ("numba", "numpy", "scipy", "scikit-learn", "statsmodels", "polars", "duckdb", "jax")
    versions = ", ".join(filter(None, map(installed, packages)))
    table = (
        f"{markdown(rows)}\n\n`python -m bench.peers` on {about['processor']} ({about['processor_type']}), "
        f"{about['threads']} threads, Python {about['python']}, {about['date']}; {versions}"
    )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "peers.md").write_text(table + "\n", encoding="utf-8")
    content = {"machine": about, "versions": versions, "rows": rows}
    (FOLDER / "peers.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    typer.echo(table)


if __name__ == "__main__":
    typer.run(main)
