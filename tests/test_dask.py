"""Points in Dask: the line is that of memory, and neither workers, chunks nor their order change a bit of it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fastfit as ff
from fastfit.losses import LOSSES
from fastfit.points import parts
from fastfit.points.arrays import ArrayPoints
from fastfit.points.base import Plan, Reading
from fastfit.points.opening import source_of
from fastfit.result import LineFit
from tests.conftest import COMPILED, Script, needs_compiler
from tests.noisy import CHUNK, SIGMA, N, W, X, Y, assert_alike

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
bag = pytest.importorskip("dask.bag")
get_sync = pytest.importorskip("dask.local").get_sync
points_in_dask = pytest.importorskip("fastfit.points.dask")
DaskPoints = points_in_dask.DaskPoints

# Nanoseconds since 1970, some three minutes of 2026, which float64 would round to multiples of 256.
TIMES = 1_790_000_000_000_000_000 + np.random.default_rng(7).integers(0, 200_000_000_000, size=N)
HUBER = ff.Huber(f_scale=1.5)
FRAME = pd.DataFrame({"x": X, "y": Y, "w": W})
NAN, INF = float("nan"), float("inf")
both_losses = pytest.mark.parametrize("loss", ["squared_error", HUBER], ids=["squares", "huber"])


def array(values: Any, chunks: Any = CHUNK) -> Any:
    return da.from_array(values, chunks=chunks)


def arrays(*columns: Any, chunks: Any = CHUNK) -> tuple[Any, ...]:
    return tuple(array(values, chunks) for values in columns)


def frame(npartitions: int = 7, **more: Any) -> Any:
    return dd.from_pandas(FRAME.assign(**more), npartitions=npartitions)


def xy(table: Any) -> tuple[Any, Any]:
    return table["x"], table["y"]


AX, AY = PAIR = arrays(X, Y)
AW, TABLE = array(W), frame()


@pytest.fixture(params=["array", "frame"])
def columns(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return PAIR if request.param == "array" else xy(TABLE)


def fit_of(columns: Any, **options: Any) -> LineFit:
    """Return the line of x, y and perhaps weights."""
    return ff.fit_line(*columns[:2], **dict(zip(["sample_weight"], columns[2:]), **options))  # noqa: B905


def check(columns: Any, expected: Any, rel: float = 0.0, **options: Any) -> None:
    """Check the line of columns of Dask against that of others, to the last bit if rel is 0."""
    assert_alike(fit_of(columns, **options), fit_of(expected, **options), rel)


def bits(fit: LineFit) -> tuple[Any, ...]:
    numbers = fit.slope, fit.intercept, fit.loss, fit.stderr, fit.intercept_stderr, fit.rvalue
    f_scale = None if fit.f_scale is None else fit.f_scale.hex()
    return (*(value.hex() for value in numbers), f_scale, fit.n_points, fit.n_iter, fit.n_passes)


def changed(values: Any, changes: dict[int, float]) -> Any:
    values = values.copy()
    values[list(changes)] = list(changes.values())
    return values


def never(*_: Any, **__: Any) -> Any:
    """Stand for a scheduler that nothing may be asked of."""
    raise AssertionError("something was computed")


class Counted:
    """Columns whose chunks count how often they are computed, and a scheduler that counts what it is asked."""

    def __init__(self) -> None:
        self.chunks: Counter[tuple[str, int]] = Counter()
        self.n_computes = 0

    def column(self, values: Any, name: str) -> Any:
        def seen(block: Any, block_info: Any = None) -> Any:
            self.chunks[name, block_info[0]["chunk-location"][0]] += 1
            return block

        key = f"{name}-{id(self)}"
        return array(values).map_blocks(seen, dtype=float, meta=np.empty(0), name=key)

    def compute(self, graph: Any, keys: Any, **options: Any) -> Any:
        self.n_computes += 1
        return get_sync(graph, keys, **options)


# The line of memory: of x, y and weights in Dask, and of the same numbers in NumPy

PLACE, THIRD = np.arange(N), N // 3
KEPT = {
    "first": PLACE >= THIRD,
    "last": PLACE < 2 * THIRD,
    "middle": (PLACE < THIRD) | (PLACE >= 2 * THIRD),
    "all but one": (PLACE >= THIRD) & (PLACE < N // 2),
}
ABOVE = AX > 3.0
HIGH_X, HIGH_Y, HIGH_W = (each[X > 3.0] for each in (X, Y, W))
HALF_X, HALF_Y = arrays(X, Y, chunks=CHUNK // 2)
SIZED = AX[ABOVE].compute_chunk_sizes(), HALF_Y[HALF_X > 3.0].compute_chunk_sizes()
MASKED = X_MASKED, Y_MASKED, W_MASKED = (
    *(np.ma.masked_less(X, 2.0), np.ma.masked_greater(Y, 8.0)),
    np.ma.masked_less(W, 0.1),
)
UNLIKE = array(X, N // 4), array(Y, N // 7), array(W, N)
EMPTY = ((0, CHUNK, 0, N - CHUNK, 0),)
SOME_X, SOME_Y, SOME_W = (TABLE[TABLE["y"] > 0.0][name] for name in "xyw")
PX, PY, PW = (each[Y > 0.0] for each in (X, Y, W))
LINES: dict[str, tuple[Any, Any, float]] = {
    "uneven": (arrays(X, Y, chunks=((CHUNK, 1, N - CHUNK - 3, 2),)), (X, Y), 0.0),
    "many": (arrays(X, Y, chunks=100), (X, Y), 0.0),
    "chunks that do not match": (UNLIKE, (X, Y, W), 1e-15),
    "some empty": (tuple(da.rechunk(each, EMPTY) for each in PAIR), (X, Y), 0.0),
    "unknown": ((AX[ABOVE], AY[ABOVE], AW[ABOVE]), (HIGH_X, HIGH_Y, HIGH_W), 1e-15),
    "unknown beside known": ((AX[AX > -INF], AY), (X, Y), 0.0),
    "sizes that were computed": (SIZED, (HIGH_X, HIGH_Y), 0.0),
    "masked": (arrays(*MASKED), MASKED, 1e-15),
    "masked y of NumPy": ((AX, Y_MASKED), (X, Y_MASKED), 0.0),
    "masked weights of NumPy": ((AX, Y, W_MASKED), (X, Y, W_MASKED), 1e-15),
    "masked by Dask": ((da.ma.masked_less(AX, 2.0), AY), (X_MASKED, Y), 0.0),
    "filtered": ((SOME_X, SOME_Y), (PX, PY), 0.0),
    "derived": ((SOME_X - 3.0, 2.0 * SOME_Y, SOME_W + 1.0), (PX - 3.0, 2.0 * PY, PW + 1.0), 1e-15),
    "beside a frame": ((frame(6)["x"].to_dask_array(lengths=True), AY), (X, Y), 0.0),
}
own: Any
for name, own in KEPT.items():
    few, table = arrays(X, Y, own, chunks=N // 6), frame(6, kept=own)
    LINES[f"{name} empty"] = ((few[0][few[2]], few[1][few[2]]), (X[own], Y[own]), 0.0)
    LINES[f"{name} of a frame empty"] = (xy(table[table["kept"]]), (X[own], Y[own]), 0.0)
for factor in (0.0, 1e-90):
    own = W * np.repeat([factor, 1.0], N // 2)
    LINES[f"weights of {factor}"] = ((*PAIR, array(own)), (X, Y, own), 1e-15)


@both_losses
@pytest.mark.parametrize("name", LINES)
def test_columns_of_every_kind_have_the_line_of_memory(name: str, loss: Any) -> None:
    columns, expected, rel = LINES[name]
    check(columns, expected, 1e-9 if loss is HUBER else rel, loss=loss)


SPREAD = SIGMA * np.repeat(np.array([1.0, 1e-40, 1e30, 1.0, 1e5, 1e-3]), N // 6)
LACKING = np.where(PLACE < CHUNK, NAN, 1e170 * SIGMA)


@pytest.mark.parametrize(
    ("options", "rel"),
    [
        ({"sample_weight": 2.5, "backend": "numpy"}, 1e-15),
        ({"sigma": 0.25, "absolute_sigma": True, "backend": "numpy"}, 1e-15),
        ({"sample_weight": 2.5, "backend": "numpy", "loss": "huber"}, 1e-6),
        # Of very different sizes in different partitions; one without any has no say in the unit of weights.
        ({"sigma": SPREAD, "absolute_sigma": True}, 1e-15),
        ({"sigma": LACKING, "absolute_sigma": True, "nan_policy": "omit"}, 1e-15),
    ],
)
def test_one_weight_for_all_and_sigma_of_every_size(options: Any, rel: float) -> None:
    check(PAIR, (X, Y), rel, **options)


def test_missing_integers_of_a_data_frame() -> None:
    x = pd.array(PLACE, dtype="Int64")
    x[::9] = pd.NA
    check(xy(frame(x=x)), (x, Y), nan_policy="omit")


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "squared_error"])
def test_robust_losses_of_partitions_that_lie_side_by_side(name: str) -> None:
    place = np.argsort(X)
    check(arrays(X[place], Y[place]), (X, Y), 1e-6, loss=name)


@pytest.mark.parametrize("fan_in", [2, 3, 11, 12, 32])
@both_losses
def test_results_are_combined_on_as_many_levels_as_it_takes(
    fan_in: int, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points_in_dask, "FAN_IN", fan_in)
    check(PAIR, (X, Y), 1e-13, loss=loss)


@pytest.mark.parametrize("columns", [(X, Y), (X, Y, W)], ids=["plain", "weighted"])
@pytest.mark.parametrize("room", [10, 1000])
def test_a_median_of_more_residuals_than_there_is_room_for(
    columns: Any, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_ROOM", room)
    check(arrays(*columns), columns, 1e-6, loss="huber")


NUMBERS: dict[str, tuple[Any, Any]] = {
    "float32": (X.astype(np.float32), Y),
    "float32 and float16": (X.astype(np.float32), Y.astype(np.float16)),
    "time stamps in x": (TIMES, Y),
    "time stamps in y": (X, TIMES),
    "time stamps in both": (TIMES.astype(np.uint64), TIMES[::-1]),
    "longdouble": (TIMES.astype(np.longdouble), Y),
    "bool in x": (X > 3.0, Y),
    "bool in y": (X, Y > 5.0),
    "int8 and other byte order": ((10 * X).astype(np.int8), Y.astype(">f8")),
    "x constant in every partition": (np.arange(N) // (N // 2), Y),
    "one array as both": (X, X),
    "very large and very small": (1e150 * X, 1e-100 * Y),
    "different partitions": (np.repeat([1e-200, 1.0], N // 2) * X, Y),
}


# With float32 in one column, each pass of a robust fit is compiled once more.
FLOATS32 = ("float32", "float32 and float16", "bool in y")


def columns_of(x: Any, y: Any) -> tuple[Any, Any]:
    own = array(x)
    return own, own if x is y else array(y)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_every_type_and_size(name: str) -> None:
    x, y = NUMBERS[name]
    check(columns_of(x, y), (x, y))
    check(xy(frame(6, x=x, y=y)), (x, y))


@pytest.mark.parametrize(
    "name",
    [pytest.param(k, marks=pytest.mark.slow) if k in FLOATS32 else k for k in NUMBERS],
)
def test_robust_lines_of_numbers_of_every_type_and_size(name: str) -> None:
    x, y = NUMBERS[name]
    residuals = np.asarray(y, dtype=float) - ff.fit_line(x, y).predict(x)
    scale = float(np.median(np.abs(residuals))) or 0.1
    check(columns_of(x, y), (x, y), 1e-9, loss=ff.Huber(f_scale=scale))


@needs_compiler
@pytest.mark.parametrize("loss", ["huber", ff.Tukey(f_scale=40.0)])
@pytest.mark.parametrize("of_time", [False, True])
def test_robust_fits_of_many_points_begin_with_a_sample(loss: Any, of_time: bool) -> None:
    rng = np.random.default_rng(1)
    n = 80_000
    u = rng.permutation(n)
    x = 1_790_000_000_000_000_000 + 1000 * u if of_time else u.astype(float)
    y = 0.01 * u + 10.0 * rng.standard_t(2, size=n)
    columns = arrays(x, y, chunks=7000)
    fit, expected = ff.fit_line(*columns, loss=loss), ff.fit_line(x, y, loss=loss)
    # The scale of so many points is found to 5 digits, and each way starts from other points.
    assert_alike(fit, expected, 1e-4 if loss == "huber" else 1e-8)
    assert fit.slope == pytest.approx(expected.slope, rel=1e-7)
    assert fit.n_passes <= 12
    with DaskPoints(*columns).opened(Reading(), Plan()) as points:
        sample = points.subsample(100)
    assert isinstance(sample, ArrayPoints)
    assert sample.n_points == pytest.approx(n / 32, rel=0.01)


@needs_compiler
@pytest.mark.parametrize("chunk", [65_536, 70_000, 10_000])
def test_a_sample_that_parts_leave_a_little_short_is_used(chunk: int) -> None:
    rng = np.random.default_rng(4)
    x = rng.random(140_000)
    y = 0.5 * x + rng.standard_t(2, x.size)
    assert ff.fit_line(*arrays(x, y, chunks=chunk), loss="tukey").n_passes <= 12


# Bits

SIX = frame(6)
SIZES = tuple(SIX["x"].map_partitions(len).compute())
SAME: dict[str, tuple[Any, Any]] = {
    "two single columns": (arrays(X[:, None], Y[:, None], chunks=(CHUNK, 1)), PAIR),
    "one single column": ((array(X[:, None], (CHUNK, 1)), AY), PAIR),
    "a frame of one column": ((TABLE[["x"]], TABLE["y"]), xy(TABLE)),
    "a column beside an array": ((SIX["x"], array(Y, (SIZES,))), xy(SIX)),
    "weights of Dask alone": ((X, Y, AW), (*PAIR, AW)),
    "an array in memory": (arrays(X, Y, chunks=N), (X, Y)),
    "a frame in memory": (xy(frame(1)), (X, Y)),
}
for own in (Y, Y.tolist(), pd.Series(Y)):
    SAME[f"y is {type(own).__name__}"] = ((AX, own), PAIR)
    SAME[f"x is {type(own).__name__}"] = ((own, AX), (AY, AX))


@both_losses
@pytest.mark.parametrize("name", SAME)
def test_points_that_are_the_same_have_the_same_bits(name: str, loss: Any) -> None:
    one, other = (bits(fit_of(columns, loss=loss)) for columns in SAME[name])
    assert one == other


@both_losses
def test_no_bit_depends_on_which_partition_is_ready_first(loss: Any) -> None:
    n_chunks = 8
    x, y = arrays(X, Y, chunks=N // n_chunks)
    expected = bits(ff.fit_line(x, y, loss=loss))
    orders = set()
    rng = np.random.default_rng(3)
    for places in (range(n_chunks), range(n_chunks)[::-1], *map(rng.permutation, [n_chunks] * 3)):
        done: list[int] = []

        def late(block: Any, places: Any, done: list[int], block_info: Any = None) -> Any:
            own = block_info[0]["chunk-location"][0]
            time.sleep(0.004 * int(places[own]))
            done.append(own)
            return block

        slow = x.map_blocks(late, list(places), done, dtype=float, meta=np.empty(0))
        with dask.config.set(scheduler="threads", num_workers=n_chunks):
            assert bits(ff.fit_line(slow, y, loss=loss)) == expected
        orders.add(tuple(done[:n_chunks]))
    assert len(orders) > 1


def test_many_fits_at_once() -> None:
    """Passes of different fits are not taken for each other, even where Dask's own names leave nothing to chance."""
    with dask.config.set({"tokenize.ensure-deterministic": True}), ThreadPoolExecutor(4) as pool:
        columns = [(X, factor * Y) for factor in range(1, 9)]
        fits = list(pool.map(lambda each: fit_of(arrays(*each), loss=HUBER), columns))
    for each, fit in zip(columns, fits, strict=True):
        assert_alike(fit, fit_of(each, loss=HUBER), 1e-9)


def test_tasks_of_forked_processes_have_names_of_their_own(run_script: Script) -> None:
    """On one cluster, tasks of the same name are taken to be the same, whoever asks for them."""
    out = run_script(
        """
import os
import dask, numpy as np
import dask.array as da
import fastfit as ff
from dask.local import get_sync
x, y = (da.from_array(np.array(v), chunks=3) for v in ([1.0, 2, 3, 4, 5, 6], [3.0, 1, 4, 1, 5, 9]))
def show(graph, keys, **options):
    names = {str(key[0]) for key in graph.__dask_graph__()}
    print(*(name for name in names if "fastfit" in name), flush=True)
    return get_sync(graph, keys, **options)
for _ in range(2):
    child = os.fork()
    if child == 0:
        with dask.config.set(scheduler=show):
            ff.fit_line(x, y, backend="numpy")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    )
    one, other = map(set, map(str.split, out.splitlines()))
    assert one
    assert not one & other


# When something is computed


def test_a_source_is_read_once_a_pass_for_all_columns() -> None:
    reads: Counter[int] = Counter()

    def read(k: int) -> Any:
        reads[k] += 1
        return FRAME[k * CHUNK : (k + 1) * CHUNK]

    table = dd.from_map(read, range(12), meta=FRAME[:0])
    some = table[table["x"] > 3.0]
    assert not reads
    for columns, options in (
        ((*xy(table), table["w"]), {}),
        ((some["x"] - 3.0, some["y"]), {}),
        (xy(table), {"loss": HUBER}),
    ):
        reads.clear()
        fit = fit_of(columns, **options)
        assert reads == dict.fromkeys(range(12), fit.n_passes)
        assert (fit.n_passes == 1) is not bool(options)


def test_a_csv_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv = pytest.importorskip("dask.dataframe.io.csv")
    path = tmp_path / "table.csv"
    FRAME.to_csv(path, index=False)
    n_reads, read = 0, csv.pandas_read_text

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal n_reads
        n_reads += 1
        return read(*args, **options)

    table = dd.read_csv(path, blocksize=8_000)
    monkeypatch.setattr(csv, "pandas_read_text", counted)
    fit = ff.fit_line(*xy(table))
    assert n_reads == table.npartitions > 2
    assert_alike(fit, ff.fit_line(*xy(pd.read_csv(path))), 0.0)


def test_nothing_is_computed_before_a_fit_asks_for_it(columns: Any) -> None:
    with dask.config.set(scheduler=never):
        points = DaskPoints(*columns, sigma=2.0)
        assert points.has_sigma
        assert "sigma" in repr(points)
        with points.opened(Reading(), Plan()) as opened:
            assert opened.n_passes == 0
            with pytest.raises(AssertionError, match="something was computed"):
                opened.moments()


@pytest.mark.parametrize("solver", ["auto", "gradient_descent"])
@pytest.mark.parametrize("loss", ["squared_error", HUBER, "huber"], ids=str)
def test_one_compute_per_pass(columns: Any, loss: Any, solver: str) -> None:
    counted = Counted()
    with dask.config.set(scheduler=counted.compute):
        fit = ff.fit_line(*columns, loss=loss, solver=solver)
    assert counted.n_computes == fit.n_passes
    assert fit.n_passes == 1 if loss == "squared_error" else fit.n_passes > 2


def test_every_chunk_is_computed_once_a_pass() -> None:
    counted = Counted()
    columns = [counted.column(each, name) for name, each in zip("xyw", (X, Y, W), strict=True)]
    fit = fit_of(columns, loss=HUBER)
    assert len(counted.chunks) == 36
    assert set(counted.chunks.values()) == {fit.n_passes}


def test_what_x_and_y_are_made_from_is_computed_once() -> None:
    counted = Counted()
    both = counted.column(X, "x")
    check((both, 2.0 * both + AY), (X, 2.0 * X + Y))
    assert set(counted.chunks.values()) == {1}


def test_arrays_that_are_persisted_are_computed_no_more() -> None:
    counted = Counted()
    x, y = counted.column(X, "x").persist(), counted.column(Y, "y").persist()
    fit = ff.fit_line(x, y, loss=HUBER)
    assert fit.n_passes > 2
    assert set(counted.chunks.values()) == {1}
    assert bits(fit) == bits(ff.fit_line(*PAIR, loss=HUBER))


# Wrong input

NUMBERS_WANTED = "must be an array of numbers"
LENGTHS, SHORT, OTHER = r"same length; got.*", array(W[:5], 5), HALF_Y[HALF_X > 3.0]
EARLY: list[tuple[type[Exception], str, Any, Any]] = [
    (TypeError, f"y {NUMBERS_WANTED}; got None", (AX,), {}),
    (TypeError, f"x {NUMBERS_WANTED}; got None", (None, AY), {}),
    (TypeError, f"y {NUMBERS_WANTED}; got 2.0", (AX, 2.0), {}),
    (TypeError, f"x {NUMBERS_WANTED}; got 'text'", ("text", AY), {}),
    (TypeError, f"x {NUMBERS_WANTED}", (dask.delayed(X), AY), {}),
    (TypeError, f"x {NUMBERS_WANTED}", (bag.from_sequence([1.0, 2.0]), AY), {}),
    (TypeError, "y must hold real numbers; got complex", (AX, Y + 1j), {}),
    (ValueError, f"{LENGTHS}{N:,}.*{N - 1:,}", (AX, array(Y[1:])), {}),
    (ValueError, f"{LENGTHS}{N:,}.*{N - 1:,}", (AX, Y[1:]), {}),
    (ValueError, LENGTHS + r"5 \(sample_weight\)", (*PAIR, SHORT), {}),
    (ValueError, LENGTHS + r"5 \(sample_weight\)", (*PAIR, W[:5]), {}),
    (ValueError, LENGTHS + r"3 \(sigma\)", PAIR, {"sigma": [1.0, 2.0, 3.0]}),
    (ValueError, r"x must be one-dim.*shape \(\d+, 2\)", (da.stack(PAIR, axis=1), AY), {}),
    (ValueError, "y must be one-dimensional", (AX, np.ones((N, 2))), {}),
    (ValueError, "x must be one-dimensional.*name one of its columns", (TABLE, AY), {}),
    (ValueError, "many partitions each; got {'x': 7, 'y': 5}", (TABLE["x"], frame(5)["y"]), {}),
    (ValueError, r"'x': 12, 'y': 24.*compute_chunk_sizes\(\)", (AX[ABOVE], OTHER), {}),
    (ValueError, r"'x': 12, 'y': 24.*_sizes\(\)", (AX[ABOVE], HALF_Y), {}),
    (ValueError, r"y is an array of NumPy.*compute_chunk_sizes\(\)", (AX[ABOVE], HIGH_Y), {}),
    (ValueError, "checkpoint must be None unless x comes from scan", PAIR, {"checkpoint": "c"}),
    (ValueError, "nan_policy must be 'raise' or 'omit'", PAIR, {"nan_policy": "drop"}),
    (ValueError, "loss must be 'squared_error' or", PAIR, {"loss": "absolute"}),
    (TypeError, "fit_intercept must be True or False", PAIR, {"fit_intercept": "no"}),
    (ValueError, "absolute_sigma must be False", PAIR, {"absolute_sigma": True}),
    (ValueError, "sigma must be None unless", PAIR, {"sigma": array(SIGMA), "loss": "huber"}),
    (ValueError, "y must be left out when x is points", (DaskPoints(*PAIR), Y), {}),
]
FEW, CONSTANT = "at least two points for a line; got", "x must hold at least two different values"
NEGATIVE, ZERO = array(changed(W, {3: -1.0})), array(changed(SIGMA, {CHUNK + 3: 0.0}))
HOLES = array(changed(Y, {3 * CHUNK + 17: NAN, 3 * CHUNK + 30: NAN}))
WHERE_NAN = 0.0 * HOLES + 1.0
AT_17, PASS = "y must be finite; got NaN at index 17", r"\. Pass nan_policy='omit'"
SIZES_GOT = f"must have the same length; got {CHUNK} and {CHUNK - 1}"
ONE_LESS = array(changed(X, {5 * CHUNK + 2: INF})) < INF
FULL, LESS = frame(4), frame(4, z=changed(X, {5 * CHUNK + 2: INF}))
FULL_X, LESS_Y, NONE = FULL["x"], LESS[LESS["z"] < INF]["y"], TABLE[TABLE["x"] > INF]
THIRDS = array(Y, CHUNK // 3)[: CHUNK // 3 * 12]
MOVED = array(Y, ((SIZES[0] - 1, SIZES[1] + 1, *SIZES[2:]),))
LATE: list[tuple[type[Exception], str, Any, Any]] = [
    (TypeError, "y must hold real numbers; got complex", (AX, array(Y + 1j)), {}),
    (TypeError, "x must hold real numbers", (array(X.astype(str)), AY), {}),
    (TypeError, "x must hold real numbers", (array(X.astype(object) * 1j), AY), {}),
    (TypeError, "y must hold real numbers; got times", (AX, array(TIMES.astype("M8[ns]"))), {}),
    (TypeError, f"sample_weight {NUMBERS_WANTED}.*text", PAIR, {"sample_weight": "text"}),
    (ValueError, "weight must not be negative; got -1.0 at index 3", (*PAIR, NEGATIVE), {}),
    (ValueError, "partition 1: sigma must be .* got 0.0 at index 3", PAIR, {"sigma": ZERO}),
    (ValueError, f"{CONSTANT}.*got 3.5 at all", (array(np.full(N, 3.5)), AY), {}),
    (ValueError, CONSTANT, (da.full(N, 3.5, chunks=CHUNK), AY), {"loss": "huber"}),
    (ValueError, "sample_weight must be above zero", (*PAIR, array(0.0 * W)), {}),
    (ValueError, f"{FEW} 0", (AX[:0], AY[:0]), {}),
    (ValueError, f"{FEW} 0", (AX[AX > INF], AY[AX > INF]), {"loss": "tukey"}),
    (ValueError, f"{FEW} 0", xy(NONE), {}),
    (ValueError, f"{FEW} 1", (AX[:1], AY[:1]), {}),
    (ValueError, f"got 0 after leaving out {N:,}", (AX, array(NAN * Y)), {"nan_policy": "omit"}),
    (TypeError, "x must be one column; got a DataFrame of 3", (TABLE, TABLE["y"]), {}),
    (TypeError, "sample_weight must be one column; got a Data", (*xy(TABLE), TABLE), {}),
    # Where NaN is found, how many there are in all is not known.
    (ValueError, f"partition 3: {AT_17}{PASS}", (AX, HOLES), {}),
    (ValueError, f"partition 3: {AT_17}{PASS}", (AX, HOLES), {"loss": "huber"}),
    (ValueError, "partition 3: sample_weight must be finite; got NaN", (*PAIR, WHERE_NAN), {}),
    # Where lengths differ, no partition is paired with another.
    (ValueError, f"partition .* {LENGTHS} and {CHUNK // 3}", (AX[ABOVE], THIRDS), {}),
    (ValueError, f"partition 5: x and y {SIZES_GOT}", (AX[AX < INF], AY[ONE_LESS]), {}),
    (ValueError, "partition 5: sample_weight must have the length", (*PAIR, AW[ONE_LESS]), {}),
    (ValueError, r"partition \d: x and y must have the same length", (FULL_X, LESS_Y), {}),
    (ValueError, "partition [01]: x and y must have the same length", (SIX["x"], MOVED), {}),
]
for value, policy, loss in product((INF, -INF), ("raise", "omit"), ("squared_error", HUBER)):
    own = array(changed(Y, {CHUNK + 4: value, 2: NAN if policy == "omit" else 0.0}))
    text = "partition 1: y must be finite; got infinity at index 4"
    LATE.append((ValueError, text, (AX, own), {"loss": loss, "nan_policy": policy}))


def is_convertible(column: Any) -> bool:
    """Whether an array of Dask can be a column of a data frame."""
    return isinstance(column, da.Array) and column.shape[0] >= 0 and column.dtype != object


def framed(value: Any) -> Any:
    return dd.from_dask_array(value) if isinstance(value, da.Array) else value


LATE += [
    (error, text, [*map(framed, columns)], {name: framed(each) for name, each in options.items()})
    for error, text, columns, options in LATE
    if all(map(is_convertible, columns))
]


@pytest.mark.parametrize(("error", "message", "columns", "options"), EARLY)
def test_wrong_arguments_are_found_before_anything_is_computed(
    error: type[Exception], message: str, columns: Any, options: Any
) -> None:
    with dask.config.set(scheduler=never), pytest.raises(error, match=message):
        fit_of(columns, **options)


@pytest.mark.parametrize(("error", "message", "columns", "options"), LATE)
def test_wrong_values(error: type[Exception], message: str, columns: Any, options: Any) -> None:
    with pytest.raises(error, match=message):
        fit_of(columns, **{"backend": "numpy", **options})


def test_moments_of_nan_and_of_no_points() -> None:
    with pytest.raises(ValueError, match="partition 3: y must be finite"):
        ff.Moments.of(AX, HOLES)
    assert ff.Moments.of(*xy(NONE)) == ff.Moments()


def test_a_task_has_one_thread_of_ours(columns: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for n_threads in (None, 1, 4):
        with DaskPoints(*columns).opened(Reading(n_threads=n_threads), Plan()) as opened:
            assert opened.reading.n_threads == 1
    seen: list[int | None] = []
    original = parts.Part.points

    def noted(part: parts.Part, *args: Any) -> ArrayPoints:
        points = original(part, *args)
        seen.append(points._n_threads)
        return points

    monkeypatch.setattr(parts.Part, "points", noted)
    found = {bits(ff.fit_line(*columns, loss=HUBER, n_threads=k)) for k in (None, 1, 4)}
    assert len(found) == 1
    assert len(seen) > 3 * columns[0].npartitions
    assert set(seen) == {1}


# A cluster of processes


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    if not COMPILED:
        pytest.skip("two processes that compile nothing are no faster")
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    cluster = distributed.LocalCluster(**options, silence_logs=logging.CRITICAL)
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "persisted", "backend", "loss"),
    [
        (PAIR, False, "numba", HUBER),
        (PAIR, True, "numpy", HUBER),
        (xy(SIX), False, "numpy", "squared_error"),
        (xy(SIX), False, "numpy", HUBER),
        ((AX[ABOVE], AY[ABOVE]), False, "numpy", "squared_error"),
    ],
)
def test_processes_find_the_same_bits(
    client: Any, columns: Any, persisted: bool, backend: Any, loss: Any
) -> None:
    with dask.config.set(scheduler="threads", num_workers=2):
        expected = ff.fit_line(*columns, loss=loss, backend=backend)
    with client.as_current():
        given = [column.persist() for column in columns] if persisted else columns
        fit = ff.fit_line(*given, loss=loss, backend=backend)
        with pytest.raises(ValueError, match=f"partition 3: {AT_17}"):
            ff.fit_line(AX, HOLES, backend="numpy")
    assert bits(fit) == bits(expected)


@pytest.mark.slow
@both_losses
def test_a_worker_that_is_killed_changes_no_bit(client: Any, loss: Any, tmp_path: Path) -> None:
    log = tmp_path / "started"
    log.touch()
    expected = ff.fit_line(*PAIR, loss=loss)

    def note(block: Any, name: str) -> Any:
        with open(name, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        return block

    def started() -> list[int]:
        return [int(line) for line in log.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    def kill() -> int:
        # In the first pass, or in the second.
        first = 3 if loss == "squared_error" else 15
        deadline = time.monotonic() + 60.0
        while len(started()) < first and time.monotonic() < deadline:
            time.sleep(0.005)
        victim = started()[-1]
        os.kill(victim, signal.SIGKILL)
        return victim

    client.wait_for_workers(2, timeout=60)
    before = client.run(os.getpid).values()
    x = AX.map_blocks(note, str(log), dtype=float, meta=np.empty(0))
    with ThreadPoolExecutor(1) as pool, client.as_current():
        killed = pool.submit(kill)
        fit = ff.fit_line(x, AY, loss=loss)
    assert bits(fit) == bits(expected)
    assert killed.result() in before
    # What it was at was done again, by others.
    assert len(started()) > fit.n_passes * x.npartitions
    client.wait_for_workers(2, timeout=60)
    assert killed.result() not in client.run(os.getpid).values()


# What can be done with it


@both_losses
def test_plot_draws_a_sample(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_SHOWN", 12)
    counted = Counted()
    with dask.config.set(scheduler=counted.compute):
        fit = ff.fit_line(*PAIR, loss=loss)
        ax = fit.plot(confidence_band=True)
    # One pass more, if the fit has kept no points.
    assert counted.n_computes == fit.n_passes + (loss == "squared_error")
    dots: Any = ax.lines[0].get_xydata()
    assert 12 <= len(dots) < N / 20, len(dots)
    assert {tuple(dot) for dot in dots} <= set(zip(X, Y, strict=True))
    assert f"{N:,} points" in ax.get_title()
    x = np.arange(10.0)  # so few are drawn one by one
    dots = ff.fit_line(*arrays(x, x**2, chunks=3), loss=loss).plot().lines[0]
    np.testing.assert_array_equal(dots.get_xydata(), np.column_stack([x, x**2]))


def test_a_sample_is_small_and_spread_over_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastfit.points.sample._MOST_KEPT", 40)
    n = 6000
    x, chunks = np.arange(n, dtype=float), ((n // 2, *[n // 12] * 6),)
    source = DaskPoints(*arrays(x, x % 7.0, 1.0 + x, chunks=chunks))
    with source.opened(Reading(backend="numpy", sampled=32), Plan()) as points:
        kept = points.x
        assert 20 <= kept.size <= 40
        np.testing.assert_array_equal(points.y, kept % 7.0)
    assert (np.diff(kept) > 0.0).all()
    # Half of the points are in the first partition.
    assert 0.4 < np.mean(kept < n // 2) < 0.6


def test_points_that_were_made_before() -> None:
    """They can be fitted as often as wanted, each time in a way of its own."""
    points = DaskPoints(*PAIR)
    for options in ({}, {"loss": HUBER}, {"fit_intercept": False}):
        assert bits(ff.fit_line(points, **options)) == bits(ff.fit_line(*PAIR, **options))
    fit = ff.fit_line(DaskPoints(*PAIR, sigma=array(SIGMA)), absolute_sigma=True)
    assert_alike(fit, ff.fit_line(X, Y, sigma=SIGMA, absolute_sigma=True), 1e-15)
    assert repr(DaskPoints(*PAIR, AW)) == "DaskPoints(x, y, sample_weight; 12 partitions)"


@pytest.mark.parametrize("chunked", [("x", "y"), ("y",)])
def test_data_arrays_of_xarray_stay_in_their_chunks(chunked: Any) -> None:
    xarray = pytest.importorskip("xarray")
    time = np.datetime64("2020-01-01") + np.arange(1000).astype("m8[h]")
    data = xarray.Dataset({"x": ("time", time), "y": ("time", 2.0 * np.arange(1000.0))})
    lazy = data.assign({name: data[name].chunk(time=300) for name in chunked})
    assert "4 partitions" in repr(source_of(lazy.x, lazy.y, None, None))
    fit = ff.fit_line("x", "y", data=lazy, datetime_unit="h")
    assert fit.to_dict() == ff.fit_line("x", "y", data=data, datetime_unit="h").to_dict()
    assert (fit.slope, fit.predict(time[0])) == (2.0, 0.0)
