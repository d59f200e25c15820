"""The calls that workloads are compared to: a bare read of the points, and other libraries that are installed."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastfit as ff
from fastfit.kernels import compiled
from fastfit.kernels.bare_read import bare_read
from fastfit.speed.throughput import reweighted_least_squares, three_expressions

Call = Callable[[], Any]

READ = "bare read"
# The threads a call runs on.
ONE, ALL, BLAS = "1 thread", f"{compiled.description()['threads']} threads", "threads of BLAS"
LIBRARIES = ("numba", "numpy", "scipy", "scikit-learn", "statsmodels", "polars", "duckdb", "jax")


class Other(NamedTuple):
    """A call that a workload is compared to; ``numbers`` returns the part of its result that must agree."""

    name: str
    call: Call
    threads: str = ONE
    numbers: Callable[[Any], Any] | None = None


def versions() -> str:
    """Return the installed libraries with their versions."""
    found = {each.name: each.version for each in importlib.metadata.distributions()}
    return ", ".join(f"{name} {found[name]}" for name in LIBRARIES if name in found)


def read(x: Any, y: Any, n_threads: int | None = None) -> Other:
    """Return the call that gives the lower limit of time for points in memory."""
    return Other(READ, functools.partial(bare_read, x, y, n_threads), ALL)


def identity(result: Any) -> Any:
    return result


def line(result: Any) -> tuple[float, float]:
    return result.slope, result.intercept


def sklearn_line(model: Any) -> tuple[float, float]:
    return float(np.ravel(model.coef_)[0]), float(model.intercept_)


def _statsmodels(name: str, model: str, x: Any, y: Any) -> Other:
    import statsmodels.api as sm

    design = sm.add_constant(x)
    return Other(name, lambda: getattr(sm, model)(y, design).fit(), BLAS, lambda r: r.params[::-1])


def _jax(x: Any, y: Any) -> tuple[Any, Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax, (jax.device_put(x), jax.device_put(y))


def _polars(frame: Any) -> Other:
    import polars as pl

    slope = pl.cov("x", "y") / pl.var("x")
    query = frame.lazy().select(slope.alias("slope"), y=pl.mean("y") - slope * pl.mean("x"))
    threads = f"{pl.thread_pool_size()} threads"
    return Other("Polars cov / var", lambda: query.collect().row(0), threads, identity)


def _duckdb(table: str, points: Any = None) -> Other:
    """Return DuckDB's line of a file, or of points registered under the name of the table."""
    import duckdb

    connection = duckdb.connect()
    if points is not None:
        connection.register(table, points)
    query = f"select regr_slope(y, x), regr_intercept(y, x) from {table}"
    ((threads,),) = connection.sql("select current_setting('threads')").fetchall()
    call = lambda: connection.sql(query).fetchall()[0]  # noqa: E731
    return Other("DuckDB regr_slope, regr_intercept", call, f"{threads} threads", identity)


def least_squares(x: Any, y: Any) -> Iterator[Other]:
    """Yield other ways to the least-squares line."""
    yield Other("numpy.polyfit", lambda: np.polyfit(x, y, 1), BLAS, identity)
    with suppress(ImportError):
        from scipy import stats

        yield Other("scipy.stats.linregress", lambda: stats.linregress(x, y), BLAS, line)
    with suppress(ImportError):
        from sklearn.linear_model import LinearRegression

        fit = functools.partial(LinearRegression().fit, x[:, None], y)
        yield Other("sklearn LinearRegression", fit, BLAS, sklearn_line)
    with suppress(ImportError):
        yield _statsmodels("statsmodels OLS", "OLS", x, y)
    with suppress(ImportError):
        import polars as pl

        yield _polars(pl.DataFrame({"x": x, "y": y}))
    with suppress(ImportError):
        import pyarrow as pa

        yield _duckdb("points", pa.table({"x": x, "y": y}))
    with suppress(ImportError):
        jax, on_device = _jax(x, y)

        @jax.jit
        def closed_form(x: Any, y: Any) -> Any:
            u, v = x - x.mean(), y - y.mean()
            slope = (u * v).sum() / (u * u).sum()
            return slope, y.mean() - slope * x.mean()

        call = lambda: jax.block_until_ready(closed_form(*on_device))  # noqa: E731
        yield Other("JAX, jitted closed form", call, "threads of XLA", identity)


def files(path: Path, suffix: str) -> Iterator[Other]:
    """Yield other ways to the least-squares line of a file."""
    import polars as pl

    yield _polars(getattr(pl, f"scan_{suffix}")(path))
    if suffix == "parquet":
        with suppress(ImportError):
            yield _duckdb(f"'{path}'")


def steps(x: Any, y: Any, at: tuple[float, float]) -> Iterator[Other]:
    """Yield other ways to the mean squared error of a line and its gradient."""
    in_numpy = functools.partial(three_expressions, x, y, at)
    yield Other("NumPy's three expressions", in_numpy, ONE, identity)
    with suppress(ImportError):
        jax, on_device = _jax(x, y)

        def loss(line: Any, x: Any, y: Any) -> Any:
            return ((y - (line[0] * x + line[1])) ** 2).mean()

        both, start = jax.jit(jax.value_and_grad(loss)), jax.numpy.array(at)
        call = lambda: jax.block_until_ready(both(start, *on_device))  # noqa: E731
        numbers = lambda result: (result[0], *result[1])  # noqa: E731
        yield Other("JAX, jitted value_and_grad", call, "threads of XLA", numbers)


def huber(x: Any, y: Any, f_scale: float | None = None) -> Iterator[Other]:
    """Yield other ways to Huber's line: for a given scale, or with the scale estimated from the residuals."""
    if f_scale is not None:
        with suppress(ImportError):
            from scipy import optimize

            residuals = lambda p: p[0] * x + p[1] - y  # noqa: E731
            given: Any = {"x0": (0.0, 0.0), "loss": "huber", "f_scale": f_scale}
            fit = functools.partial(optimize.least_squares, residuals, **given)
            yield Other("scipy least_squares(loss='huber')", fit, BLAS, lambda result: result.x)
        return
    in_numpy = functools.partial(reweighted_least_squares, x, y, ff.Huber)
    yield Other("reweighted least squares in NumPy", in_numpy, ONE, identity)
    with suppress(ImportError):
        yield _statsmodels("statsmodels RLM", "RLM", x, y)
    with suppress(ImportError):
        from sklearn.linear_model import HuberRegressor

        fit = functools.partial(HuberRegressor().fit, x[:, None], y)
        yield Other("sklearn HuberRegressor", fit, BLAS, sklearn_line)
