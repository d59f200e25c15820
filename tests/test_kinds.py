"""One line for every kind of points: in Dask, in files and as moments it is that of the same points in arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fastfit as ff
from fastfit.losses import LOSSES
from fastfit.outcome import Status
from fastfit.points.files import streams
from tests.conftest import loss_of
from tests.noisy import CHUNK, SIGMA, N, W, X, Y, assert_alike
from tests.oracle import assert_agree

pl = pytest.importorskip("polars")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

# NaN in some of x and of the weights, and in a whole partition of y.
X_GAPS, Y_GAPS, W_GAPS = X.copy(), Y.copy(), W.copy()
X_GAPS[::11] = Y_GAPS[CHUNK : 2 * CHUNK] = W_GAPS[5::7] = np.nan
SIGMA_GAPS = np.where(np.isnan(W_GAPS), np.nan, SIGMA)

Columns = dict[str, Any]
KINDS: dict[str, Callable[[Columns, Path], Columns]] = {}


def kind(make: Callable[[Columns, Path], Columns]) -> Callable[[Columns, Path], Columns]:
    """Register a kind of points: what turns arrays into arguments of ``fit_line``."""
    KINDS[make.__name__] = make
    return make


@kind
def dask_arrays(columns: Columns, folder: Path) -> Columns:
    return {name: da.from_array(values, chunks=CHUNK) for name, values in columns.items()}


@kind
def dask_frame(columns: Columns, folder: Path) -> Columns:
    table = dd.from_pandas(pd.DataFrame(columns), npartitions=7)
    return {name: table[name] for name in columns}


@kind
def files(columns: Columns, folder: Path) -> Columns:
    table = pl.DataFrame(columns)
    table[: N // 3].write_parquet(folder / "1.parquet")
    table[N // 3 :].write_parquet(folder / "2.parquet")
    names: Any = {name: name for name in columns}
    return {"x": ff.scan(folder / "*.parquet", **names)}


@pytest.fixture(autouse=True)
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no points of files in memory, and make batches small."""
    monkeypatch.setattr(streams, "KEPT", 0)
    monkeypatch.setattr("fastfit.points.files.table.BATCH", CHUNK)


PLAIN: Columns = {"x": X, "y": Y}
WEIGHTED, WITH_SIGMA = {**PLAIN, "sample_weight": W}, {**PLAIN, "sigma": SIGMA}
GAPS: Columns = {"x": X_GAPS, "y": Y_GAPS}
OMIT: Columns = {"nan_policy": "omit"}
SAMPLES = ff.GradientDescent(passes="samples", max_iter=20, record_every=5)
PRECISE = ff.Newton(tol=1e-13)
HUBER = ff.Huber(f_scale=1.5)
NAMES = [name for name in LOSSES if name != "squared_error"]
# Least squares agree to the last bit without weights, whose sums may be rounded in another order. With a given scale,
# what is found differs by rounding; the scale of the residuals is known to 5 digits.
CASES: list[tuple[Columns, Columns, float]] = [
    (PLAIN, {}, 0.0),
    (PLAIN, {"backend": "numpy"}, 0.0),
    (PLAIN, {"fit_intercept": False}, 0.0),
    (WEIGHTED, {}, 1e-15),
    (WEIGHTED, {"fit_intercept": False}, 1e-15),
    (PLAIN, {"nan_policy": "propagate"}, 0.0),
    (WITH_SIGMA, {}, 1e-15),
    (WITH_SIGMA, {"absolute_sigma": True}, 1e-15),
    ({**WEIGHTED, "sigma": SIGMA}, {}, 1e-15),
    (GAPS, OMIT, 0.0),
    ({**GAPS, "sample_weight": W_GAPS}, OMIT, 1e-15),
    ({**GAPS, "sigma": SIGMA_GAPS}, {**OMIT, "absolute_sigma": True}, 1e-15),
    (PLAIN, {"solver": ff.GradientDescent(record_every=1)}, 0.0),
    *((PLAIN, {"loss": loss_of(name), "solver": PRECISE}, 1e-9) for name in NAMES),
    *((PLAIN, {"loss": name}, 1e-6) for name in NAMES),
    (PLAIN, {"loss": HUBER, "backend": "numpy"}, 1e-9),
    (PLAIN, {"loss": HUBER, "fit_intercept": False}, 1e-9),
    (PLAIN, {"loss": HUBER, "solver": ff.GradientDescent(record_every=1)}, 1e-9),
    (PLAIN, {"solver": SAMPLES, "backend": "numpy"}, 1e-9),
    (WEIGHTED, {"loss": HUBER}, 1e-9),
    (WEIGHTED, {"loss": "huber"}, 1e-6),
    (WEIGHTED, {"loss": ff.Tukey(f_scale=4.0), "fit_intercept": False}, 1e-9),
    (GAPS, {"loss": HUBER, **OMIT}, 1e-9),
    ({**GAPS, "sample_weight": W_GAPS}, {"loss": "huber", **OMIT}, 1e-6),
]


def named(case: Any) -> str:
    """Return what a case is called: its columns and options."""
    columns, options, _ = case
    gaps = ["gaps"] if columns["x"] is X_GAPS else []
    return (
        " ".join([*gaps, *list(columns)[2:], *(str(o)[:30] for o in options.values())]) or "plain"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_lines_are_those_of_arrays(kind: str, case: Any, tmp_path: Path) -> None:
    columns, options, rel = case
    expected = ff.fit_line(**columns, **options)
    fit = ff.fit_line(**KINDS[kind](columns, tmp_path), **options)
    assert_alike(fit, expected, rel)
    assert (fit.n_omitted > CHUNK) == (columns["x"] is X_GAPS)
    if rel <= 1e-15:
        assert fit.n_passes == 1
    elif isinstance(options.get("loss"), str):
        assert fit.n_passes <= expected.n_passes + 4
    else:
        assert fit.n_passes == expected.n_passes
    if expected.history is not None:
        assert fit.history is not None
        np.testing.assert_allclose(fit.history.loss, expected.history.loss, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_arrays(kind: str, weighted: bool, tmp_path: Path) -> None:
    columns = WEIGHTED if weighted else PLAIN
    expected = ff.Moments.of(*columns.values())
    given = KINDS[kind](columns, tmp_path)
    found = [ff.fit_line(**given)]
    if kind != "files":
        for moments in (ff.Moments.of(*given.values()), ff.Moments().update(*given.values())):
            for name in ("count", "weight_sum", "x_mean", "y_mean", "xx", "xy", "yy"):
                assert getattr(moments, name) == getattr(expected, name), name
            found.append(ff.fit_line(moments))
    for fit in found:
        assert_agree(fit, ff.fit_line(expected), slope=0.0, intercept=0.0, stderr=0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["squared_error", HUBER, "tukey"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_propagate(kind: str, loss: Any, value: float, tmp_path: Path) -> None:
    y = Y.copy()
    y[CHUNK] = value
    given = KINDS[kind]({"x": X, "y": y}, tmp_path)
    fit = ff.fit_line(**given, loss=loss, nan_policy="propagate")
    assert np.isnan([fit.slope, fit.intercept, fit.loss, fit.stderr]).all()
    assert (fit.status, fit.n_points, fit.n_passes) == (Status.NOT_FINITE, N, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["squared_error", HUBER, "huber"])
def test_objectives_are_those_of_arrays(kind: str, loss: Any, tmp_path: Path) -> None:
    found = ff.objective(**KINDS[kind](PLAIN, tmp_path), loss=loss)
    expected = ff.objective(X, Y, loss=loss)
    for line in ([1.0, 2.0], [2.0, -1.0], [0.0, 0.0]):
        value, gradient = found(line)
        wanted, slope = expected(line)
        assert value == pytest.approx(wanted, rel=1e-12)
        # Near the minimum, the gradient is the small difference of large numbers.
        size = 1e-12 * float(np.abs(expected([0.0, 0.0])[1]).max())
        np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["squared_error", HUBER, "huber"])
def test_neither_threads_nor_partitions_in_flight_change_a_bit(
    kind: str, loss: Any, tmp_path: Path
) -> None:
    dask = pytest.importorskip("dask")
    given = KINDS[kind](PLAIN, tmp_path)
    found = set()
    for n_threads, scheduler in ((None, "synchronous"), (1, "threads"), (4, "threads")):
        with dask.config.set(scheduler=scheduler, num_workers=n_threads or 2):
            fit = ff.fit_line(**given, loss=loss, n_threads=n_threads)
        found.add(tuple(map(repr, fit.to_dict().items())))
    assert len(found) == 1
