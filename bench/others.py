"""What workloads are compared to: a bare read of the points, and other libraries, as far as they are installed."""

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
# How many threads a call runs on.
OURS, ONE, BLAS = f"{compiled.description()['threads']} threads", "1 thread", "threads of BLAS"
LIBRARIES = ("numba", "numpy", "scipy", "scikit-learn", "statsmodels", "polars", "duckdb", "jax")


class Other(NamedTuple):
    """A call that a workload is compared to; ``numbers`` returns the part of its result that must agree."""

    name: str
    call: Call
    threads: str = ONE
    numbers: Callable[[Any], Any] | None = None


def versions() -> str:
    """Return the libraries that are installed, with their versions."""
    found = {each.name: each.version for each in importlib.metadata.distributions()}
    return ", ".join(f"{name} {found[name]}" for name in LIBRARIES if name in found)


def read(x: Any, y: Any, n_threads: int | None = None) -> Other:
    """Return the lower limit of time for points in memory."""
    return Other(READ, functools.partial(bare_read, x, y, n_threads), OURS)


def identity(result: Any) -> Any:
    return result


def line(result: Any) -> tuple[float, float]:
    return result.slope, result.intercept


def coefficients(model: Any) -> tuple[float, float]:
    """Return the line of a regressor of scikit-learn."""
    return float(np.ravel(model.coef_)[0]), float(model.intercept_)


def _of_statsmodels(fit: Any) -> Any:
    return fit.params[::-1]


def _jax(x: Any, y: Any) -> tuple[Any, Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax, (jax.device_put(x), jax.device_put(y))


def least_squares(x: Any, y: Any) -> Iterator[Other]:
    """Yield other ways to the line of least squares."""
    yield Other("numpy.polyfit", lambda: np.polyfit(x, y, 1), BLAS, identity)
    with suppress(ImportError):
        from scipy import stats

        yield Other("scipy.stats.linregress", lambda: stats.linregress(x, y), BLAS, line)
    with suppress(ImportError):
        from sklearn.linear_model import LinearRegression

        fit = functools.partial(LinearRegression().fit, x[:, None], y)
        yield Other("sklearn LinearRegression", fit, BLAS, coefficients)
    with suppress(ImportError):
        import statsmodels.api as sm

        design = sm.add_constant(x)
        yield Other("statsmodels OLS", lambda: sm.OLS(y, design).fit(), BLAS, _of_statsmodels)
    with suppress(ImportError):
        import polars as pl

        frame, slope = pl.DataFrame({"x": x, "y": y}), pl.cov("x", "y") / pl.var("x")
        columns = slope, pl.mean("y") - slope * pl.mean("x")
        threads = f"{pl.thread_pool_size()} threads"
        yield Other("Polars cov / var", lambda: frame.select(*columns).row(0), threads, identity)
    with suppress(ImportError):
        import pyarrow as pa

        yield duckdb_regr("points", pa.table({"x": x, "y": y}))
    with suppress(ImportError):
        jax, on_device = _jax(x, y)

        @jax.jit
        def closed_form(x: Any, y: Any) -> Any:
            u, v = x - x.mean(), y - y.mean()
            slope = (u * v).sum() / (u * u).sum()
            return slope, y.mean() - slope * x.mean()

        call = lambda: jax.block_until_ready(closed_form(*on_device))  # noqa: E731
        yield Other("JAX, jitted closed form", call, "threads of XLA", identity)


def duckdb_regr(table: str, points: Any = None) -> Other:
    """Return DuckDB's line of a file, or of points registered under the name of the table."""
    import duckdb

    connection = duckdb.connect()
    if points is not None:
        connection.register(table, points)
    query = f"select regr_slope(y, x), regr_intercept(y, x) from {table}"
    ((threads,),) = connection.sql("select current_setting('threads')").fetchall()
    call = lambda: connection.sql(query).fetchall()[0]  # noqa: E731
    return Other("DuckDB regr_slope, regr_intercept", call, f"{threads} threads", identity)


def files(path: Path, suffix: str) -> Iterator[Other]:
    """Yield other ways to the line of least squares of a file."""
    import polars as pl

    lazy, slope = getattr(pl, f"scan_{suffix}")(path), pl.cov("x", "y") / pl.var("x")
    query = lazy.select(slope.alias("slope"), y=pl.mean("y") - slope * pl.mean("x"))
    threads = f"{pl.thread_pool_size()} threads"
    yield Other("Polars cov / var", lambda: query.collect().row(0), threads, identity)
    if suffix == "parquet":
        with suppress(ImportError):
            yield duckdb_regr(f"'{path}'")


def steps(x: Any, y: Any, at: tuple[float, float]) -> Iterator[Other]:
    """Yield other ways to the mean squared error of a line and its gradient."""
    numpys = functools.partial(three_expressions, x, y, at)
    yield Other("NumPy's three expressions", numpys, ONE, identity)
    with suppress(ImportError):
        jax, on_device = _jax(x, y)

        def loss(line: Any, x: Any, y: Any) -> Any:
            return ((y - (line[0] * x + line[1])) ** 2).mean()

        both, start = jax.jit(jax.value_and_grad(loss)), jax.numpy.array(at)
        yield Other(
            "JAX, jitted value_and_grad",
            lambda: jax.block_until_ready(both(start, *on_device)),
            "threads of XLA",
            lambda result: (result[0], *result[1]),
        )


def huber(x: Any, y: Any, f_scale: float | None = None) -> Iterator[Other]:
    """Yield other ways to Huber's line, for a given scale, or else with the scale from the residuals."""
    if f_scale is not None:
        with suppress(ImportError):
            from scipy import optimize

            def residuals(p: Any) -> Any:
                return p[0] * x + p[1] - y

            given: Any = {"x0": (0.0, 0.0), "loss": "huber", "f_scale": f_scale}
            fit = functools.partial(optimize.least_squares, residuals, **given)
            yield Other("scipy least_squares(loss='huber')", fit, BLAS, lambda result: result.x)
        return
    numpys = functools.partial(reweighted_least_squares, x, y, ff.Huber)
    yield Other("reweighted least squares in NumPy", numpys, ONE, identity)
    with suppress(ImportError):
        import statsmodels.api as sm

        design = sm.add_constant(x)
        yield Other("statsmodels RLM", lambda: sm.RLM(y, design).fit(), BLAS, _of_statsmodels)
    with suppress(ImportError):
        from sklearn.linear_model import HuberRegressor

        fit = functools.partial(HuberRegressor().fit, x[:, None], y)
        yield Other("sklearn HuberRegressor", fit, BLAS, coefficients)
