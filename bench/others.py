"""The calls that workloads are compared to: a bare read of the points, and other libraries that are installed."""

from __future__ import annotations

import functools
import importlib
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
LIBRARIES = (
    "numba",
    "numpy",
    "scipy",
    "scikit-learn",
    "statsmodels",
    "pandas",
    "polars",
    "duckdb",
    "numbagg",
    "jax",
)


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


def _sklearn_line(model: Any) -> tuple[float, float]:
    return float(np.ravel(model.coef_)[0]), float(model.intercept_)


def _statsmodels_line(fit: Any) -> Any:
    return fit.params[::-1]


def _optional(module: str) -> Any:
    """Return a module, or None if it is not installed."""
    with suppress(ImportError):
        return importlib.import_module(module)
    return None


def _jax() -> Any:
    jax = _optional("jax")
    if jax:
        jax.config.update("jax_enable_x64", True)
    return jax


def _polars(pl: Any, frame: Any) -> Other:
    slope = pl.cov("x", "y") / pl.var("x")
    query = frame.lazy().select(slope.alias("slope"), y=pl.mean("y") - slope * pl.mean("x"))
    threads = f"{pl.thread_pool_size()} threads"
    return Other("Polars cov / var", lambda: query.collect().row(0), threads, identity)


def _duckdb(connection: Any, table: str) -> Other:
    query = f"select regr_slope(y, x), regr_intercept(y, x) from {table}"
    ((threads,),) = connection.sql("select current_setting('threads')").fetchall()
    call = lambda: connection.sql(query).fetchall()[0]  # noqa: E731
    return Other("DuckDB regr_slope, regr_intercept", call, f"{threads} threads", identity)


def least_squares(x: Any, y: Any) -> Iterator[Other]:
    """Yield other ways to the least-squares line."""
    yield Other("numpy.polyfit", lambda: np.polyfit(x, y, 1), BLAS, identity)
    if stats := _optional("scipy.stats"):
        yield Other("scipy.stats.linregress", lambda: stats.linregress(x, y), BLAS, line)
    if linear_model := _optional("sklearn.linear_model"):
        fit = functools.partial(linear_model.LinearRegression().fit, x[:, None], y)
        yield Other("sklearn LinearRegression", fit, BLAS, _sklearn_line)
    if sm := _optional("statsmodels.api"):
        design = sm.add_constant(x)
        yield Other("statsmodels OLS", lambda: sm.OLS(y, design).fit(), BLAS, _statsmodels_line)
    if pl := _optional("polars"):
        yield _polars(pl, pl.DataFrame({"x": x, "y": y}))
    if (duckdb := _optional("duckdb")) and (pa := _optional("pyarrow")):
        yield _duckdb(duckdb.connect().register("points", pa.table({"x": x, "y": y})), "points")
    if jax := _jax():

        @jax.jit
        def closed_form(x: Any, y: Any) -> Any:
            u, v = x - x.mean(), y - y.mean()
            slope = (u * v).sum() / (u * u).sum()
            return slope, y.mean() - slope * x.mean()

        on_device = jax.device_put(x), jax.device_put(y)
        call = lambda: jax.block_until_ready(closed_form(*on_device))  # noqa: E731
        yield Other("JAX, jitted closed form", call, "threads of XLA", identity)


def many_lines(x: Any, y: Any) -> Iterator[Other]:
    """Yield the calls that fit a line to each column of y, as far as they can with the gaps there are."""
    has_gaps = bool(np.isnan(y).any())
    first: Any = lambda found: np.asarray(found)[0][:5]  # noqa: E731
    if not has_gaps:
        yield Other("numpy.polyfit(x, y, 1)", lambda: np.polyfit(x, y, 1), BLAS, first)
    if stats := _optional("scipy.stats"):
        linregress = functools.partial(
            stats.linregress, x[:, None], y, axis=0, nan_policy="omit" if has_gaps else "propagate"
        )
        yield Other("scipy.stats.linregress(axis=0)", linregress, ONE, first)
    if xarray := _optional("xarray"):
        data = xarray.DataArray(y, dims=("t", "line"), coords={"t": x})
        slopes: Any = lambda found: found["polyfit_coefficients"].values[0][:5]  # noqa: E731
        yield Other("xarray polyfit", lambda: data.polyfit("t", 1), BLAS, slopes)
    if sm := _optional("statsmodels.api"):
        design = sm.add_constant(x)

        def one_by_one() -> list[float]:
            return [sm.OLS(each, design, missing="drop").fit().params[1] for each in y.T]

        yield Other("statsmodels OLS in a loop", one_by_one, BLAS, lambda found: found[:5])


def windows(x: Any, y: Any, window: int) -> Iterator[Other]:
    """Yield the calls that find slopes of windows; RollingOLS for few points."""
    some = [window, x.size // 2, x.size - 1]
    if pd := _optional("pandas"):
        u, v = pd.Series(x), pd.Series(y)
        call = lambda: u.rolling(window).cov(v) / u.rolling(window).var()  # noqa: E731
        yield Other("pandas rolling cov / var", call, ONE, lambda found: found.to_numpy()[some])
    if pl := _optional("polars"):
        frame = pl.DataFrame({"x": x, "y": y}).lazy()
        slope = pl.rolling_cov("x", "y", window_size=window) / pl.col("x").rolling_var(window)
        query = frame.select(slope.alias("slope"))
        slopes: Any = lambda found: found["slope"].to_numpy()[some]  # noqa: E731
        threads = f"{pl.thread_pool_size()} threads"
        yield Other("Polars rolling_cov / rolling_var", query.collect, threads, slopes)
    if numbagg := _optional("numbagg"):

        def cov_over_var() -> Any:
            return numbagg.move_cov(x, y, window=window) / numbagg.move_var(x, window=window)

        yield Other("numbagg move_cov / move_var", cov_over_var, ONE, lambda found: found[some])
    if x.size <= 100_000 and (rolling := _optional("statsmodels.regression.rolling")):
        design = np.column_stack([x, np.ones_like(x)])
        model = rolling.RollingOLS(y, design, window=window)
        fit = functools.partial(model.fit, params_only=True)
        yield Other("statsmodels RollingOLS", fit, BLAS, lambda found: found.params[some, 0])


_BY_KEY = "select regr_slope(y, x) as slope, regr_intercept(y, x) from {} group by key"


def _grouped_by_duckdb(connection: Any, source: str, name: str) -> Other:
    ((threads,),) = connection.sql("select current_setting('threads')").fetchall()
    call = lambda: connection.sql(_BY_KEY.format(source)).fetchnumpy()  # noqa: E731
    return Other(name, call, f"{threads} threads", lambda found: np.sort(found["slope"])[:5])


def groups(x: Any, y: Any, codes: Any) -> Iterator[Other]:
    """Yield the calls that find a line for each number of a group."""
    if (duckdb := _optional("duckdb")) and (pa := _optional("pyarrow")):
        connection = duckdb.connect()
        connection.register("points", pa.table({"x": x, "y": y, "key": codes}))
        yield _grouped_by_duckdb(connection, "points", "DuckDB regr_slope, regr_intercept by key")
    if pl := _optional("polars"):
        yield from groups_of_polars(pl.DataFrame({"x": x, "y": y, "key": codes}))


def groups_of_polars(frame: Any) -> Iterator[Other]:
    """Yield the call of Polars that finds slopes of groups."""
    pl: Any = _optional("polars")
    query = frame.lazy().group_by("key").agg(slope=pl.cov("x", "y") / pl.var("x"))
    threads = f"{pl.thread_pool_size()} threads"
    slopes: Any = lambda found: np.sort(found["slope"].to_numpy())[:5]  # noqa: E731
    yield Other("Polars group_by, cov / var", query.collect, threads, slopes)


def groups_of_file(path: Path) -> Iterator[Other]:
    """Yield the call of DuckDB that finds the lines of the groups of a file."""
    if duckdb := _optional("duckdb"):
        name = "DuckDB regr_slope, regr_intercept of the file by key"
        yield _grouped_by_duckdb(duckdb.connect(), f"'{path}'", name)


def files(path: Path, suffix: str) -> Iterator[Other]:
    """Yield other ways to the least-squares line of a file."""
    pl, duckdb = _optional("polars"), _optional("duckdb")
    yield _polars(pl, getattr(pl, f"scan_{suffix}")(path))
    if suffix == "parquet" and duckdb:
        yield _duckdb(duckdb.connect(), f"'{path}'")


def steps(x: Any, y: Any, at: tuple[float, float]) -> Iterator[Other]:
    """Yield other ways to the mean squared error of a line and its gradient."""
    in_numpy = functools.partial(three_expressions, x, y, at)
    yield Other("NumPy's three expressions", in_numpy, ONE, identity)
    if jax := _jax():

        def loss(line: Any, x: Any, y: Any) -> Any:
            return ((y - (line[0] * x + line[1])) ** 2).mean()

        both = jax.jit(jax.value_and_grad(loss))
        on_device = [jax.device_put(each) for each in (np.array(at), x, y)]
        call = lambda: jax.block_until_ready(both(*on_device))  # noqa: E731
        numbers = lambda result: (result[0], *result[1])  # noqa: E731
        yield Other("JAX, jitted value_and_grad", call, "threads of XLA", numbers)


def huber(x: Any, y: Any, f_scale: float | None = None) -> Iterator[Other]:
    """Yield other ways to Huber's line: for a given scale, or with the scale estimated from the residuals."""
    if f_scale is not None:
        if optimize := _optional("scipy.optimize"):
            residuals = lambda p: p[0] * x + p[1] - y  # noqa: E731
            given: Any = {"x0": (0.0, 0.0), "loss": "huber", "f_scale": f_scale}
            fit = functools.partial(optimize.least_squares, residuals, **given)
            yield Other("scipy least_squares(loss='huber')", fit, BLAS, lambda result: result.x)
        return
    in_numpy = functools.partial(reweighted_least_squares, x, y, ff.Huber)
    yield Other("reweighted least squares in NumPy", in_numpy, ONE, identity)
    if sm := _optional("statsmodels.api"):
        design = sm.add_constant(x)
        yield Other("statsmodels RLM", lambda: sm.RLM(y, design).fit(), BLAS, _statsmodels_line)
    if linear_model := _optional("sklearn.linear_model"):
        fit = functools.partial(linear_model.HuberRegressor().fit, x[:, None], y)
        yield Other("sklearn HuberRegressor", fit, BLAS, _sklearn_line)
