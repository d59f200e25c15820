"""Points in Dask: the line is that of memory, and neither workers, chunks nor their order change a bit of it."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

ROBUST = [name for name in LOSSES if name != "squared_error"]
# Nanoseconds since 1970, some three minutes of 2026, which float64 would round to multiples of 256.
TIMES = 1_790_000_000_000_000_000 + np.random.default_rng(7).integers(0, 200_000_000_000, size=N)
HUBER = ff.Huber(f_scale=1.5)
FRAME = pd.DataFrame({"x": X, "y": Y, "w": W})
NAN, INF = float("nan"), float("inf")


def array(values: Any, chunks: Any = CHUNK) -> Any:
    return da.from_array(values, chunks=chunks)


def frame(npartitions: int = 7, **more: Any) -> Any:
    return dd.from_pandas(FRAME.assign(**more), npartitions=npartitions)


def pair() -> tuple[Any, Any]:
    return array(X), array(Y)


def bits(fit: LineFit) -> tuple[Any, ...]:
    numbers = fit.slope, fit.intercept, fit.loss, fit.stderr, fit.intercept_stderr, fit.rvalue
    f_scale = None if fit.f_scale is None else fit.f_scale.hex()
    return (*(value.hex() for value in numbers), f_scale, fit.n_points, fit.n_iter, fit.n_passes)


def assert_same(fit: LineFit, expected: LineFit) -> None:
    """Check the line of least squares, and its errors, to the last bit."""
    assert_alike(fit, expected, 0.0)


def changed(values: Any, changes: dict[int, float]) -> Any:
    values = values.copy()
    for place, value in changes.items():
        values[place] = value
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

        blocks = array(values)
        key = f"{name}-{id(self)}"
        return blocks.map_blocks(seen, dtype=blocks.dtype, meta=np.empty(0), name=key)

    def compute(self, graph: Any, keys: Any, **options: Any) -> Any:
        self.n_computes += 1
        return get_sync(graph, keys, **options)


# The line of memory


@pytest.mark.parametrize(
    "chunks",
    [N, -1, (CHUNK, 1, N - CHUNK - 3, 2), 100],
    ids=["1", "whole", "uneven", "many"],
)
def test_least_squares_is_that_of_memory_however_it_is_cut(chunks: Any) -> None:
    chunks = (chunks,) if isinstance(chunks, tuple) else chunks
    assert_same(ff.fit_line(array(X, chunks), array(Y, chunks)), ff.fit_line(X, Y))


@pytest.mark.parametrize("name", ROBUST)
def test_robust_losses_of_partitions_that_lie_side_by_side(name: str) -> None:
    place = np.argsort(X)
    fit = ff.fit_line(array(X[place]), array(Y[place]), loss=name)
    assert_alike(fit, ff.fit_line(X, Y, loss=name), 1e-6)


@pytest.mark.parametrize("fan_in", [2, 3, 11, 12, 32])
@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_results_are_combined_on_as_many_levels_as_it_takes(
    fan_in: int, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points_in_dask, "FAN_IN", fan_in)
    assert_alike(ff.fit_line(*pair(), loss=loss), ff.fit_line(X, Y, loss=loss), 1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("room", [10, 1000])
def test_a_median_of_more_residuals_than_there_is_room_for(
    weighted: bool, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_ROOM", room)
    fit = ff.fit_line(*pair(), loss="huber", sample_weight=array(W) if weighted else None)
    assert_alike(fit, ff.fit_line(X, Y, loss="huber", sample_weight=W if weighted else None), 1e-6)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("squared_error", {"sample_weight": 2.5}),
        ("squared_error", {"sigma": 0.25, "absolute_sigma": True}),
        ("huber", {"sample_weight": 2.5}),
    ],
)
def test_one_weight_or_sigma_for_all(loss: str, options: Any) -> None:
    options = {**options, "loss": loss, "backend": "numpy"}
    rel = 1e-6 if loss == "huber" else 1e-15
    assert_alike(ff.fit_line(*pair(), **options), ff.fit_line(X, Y, **options), rel)


def test_sigma_of_very_different_sizes_in_different_partitions() -> None:
    sigma = SIGMA * np.repeat(np.array([1.0, 1e-40, 1e30, 1.0, 1e5, 1e-3]), N // 6)
    fit = ff.fit_line(*pair(), sigma=array(sigma), absolute_sigma=True)
    assert_alike(fit, ff.fit_line(X, Y, sigma=sigma, absolute_sigma=True), 1e-15)


def test_a_partition_without_points_has_no_say_in_the_unit_of_weights() -> None:
    options: Any = {"nan_policy": "omit", "absolute_sigma": True}
    sigma = 1e170 * SIGMA
    sigma[:CHUNK] = NAN
    fit = ff.fit_line(*pair(), sigma=array(sigma), **options)
    assert_alike(fit, ff.fit_line(X, Y, sigma=sigma, **options), 1e-15)


@needs_compiler
@pytest.mark.parametrize("loss", ["huber", ff.Tukey(f_scale=40.0)])
@pytest.mark.parametrize("of_time", [False, True])
def test_robust_fits_of_many_points_begin_with_a_sample(loss: Any, of_time: bool) -> None:
    rng = np.random.default_rng(1)
    n = 80_000
    u = rng.permutation(n)
    x = 1_790_000_000_000_000_000 + 1000 * u if of_time else u.astype(float)
    y = 0.01 * u + 10.0 * rng.standard_t(2, size=n)
    fit = ff.fit_line(array(x, 7000), array(y, 7000), loss=loss)
    expected = ff.fit_line(x, y, loss=loss)
    # The scale of so many points is found to 5 digits, and each way starts from other points.
    assert_alike(fit, expected, 1e-4 if loss == "huber" else 1e-8)
    assert fit.slope == pytest.approx(expected.slope, rel=1e-7)
    assert fit.n_passes <= 12
    with DaskPoints(array(x, 7000), array(y, 7000)).opened(Reading(), Plan()) as points:
        sample = points.subsample(100)
    assert isinstance(sample, ArrayPoints)
    assert sample.n_points == pytest.approx(n / 32, rel=0.01)


@needs_compiler
@pytest.mark.parametrize("chunk", [65_536, 70_000, 10_000])
def test_a_sample_that_parts_leave_a_little_short_is_used(chunk: int) -> None:
    rng = np.random.default_rng(4)
    x = rng.random(140_000)
    y = 0.5 * x + rng.standard_t(2, x.size)
    assert ff.fit_line(array(x, chunk), array(y, chunk), loss="tukey").n_passes <= 12


# Bits

LOSSES_OF_BITS = ["squared_error", HUBER, "huber"]
SCHEDULERS: list[dict[str, Any]] = [
    {"scheduler": "synchronous"},
    {"scheduler": "threads", "num_workers": 4},
]


@pytest.mark.parametrize("loss", LOSSES_OF_BITS[:2], ids=["least squares", "huber"])
def test_no_bit_depends_on_which_partition_is_ready_first(loss: Any) -> None:
    n_chunks = 8
    expected = bits(ff.fit_line(array(X, N // n_chunks), array(Y, N // n_chunks), loss=loss))
    orders = set()
    rng = np.random.default_rng(3)
    for places in (range(n_chunks), range(n_chunks)[::-1], *map(rng.permutation, [n_chunks] * 3)):
        done: list[int] = []

        def late(block: Any, places: Any, done: list[int], block_info: Any = None) -> Any:
            own = block_info[0]["chunk-location"][0]
            time.sleep(0.004 * int(places[own]))
            done.append(own)
            return block

        x = array(X, N // n_chunks)
        x = x.map_blocks(late, list(places), done, dtype=float, meta=np.empty(0))
        with dask.config.set(scheduler="threads", num_workers=n_chunks):
            assert bits(ff.fit_line(x, array(Y, N // n_chunks), loss=loss)) == expected
        orders.add(tuple(done[:n_chunks]))
    assert len(orders) > 1


@pytest.mark.parametrize("loss", LOSSES_OF_BITS, ids=["least squares", "huber", "huber, mad"])
def test_chunks_that_do_not_match(loss: Any) -> None:
    found = set()
    for scheduler in SCHEDULERS:
        x, y, w = array(X, N // 4), array(Y, N // 7), array(W, N)
        with dask.config.set(**scheduler):
            fit = ff.fit_line(x, y, sample_weight=w, loss=loss)
        found.add(bits(fit))
    assert len(found) == 1
    assert_alike(fit, ff.fit_line(X, Y, sample_weight=W, loss=loss), 1e-9)


def test_many_fits_at_once() -> None:
    """Passes of different fits are not taken for each other, even where Dask's own names leave nothing to chance."""
    factors = np.arange(1.0, 9.0)
    with dask.config.set({"tokenize.ensure-deterministic": True}), ThreadPoolExecutor(4) as pool:
        fits = list(pool.map(lambda f: ff.fit_line(array(X), array(f * Y), loss=HUBER), factors))
    for factor, fit in zip(factors, fits, strict=True):
        assert_alike(fit, ff.fit_line(X, factor * Y, loss=HUBER), 1e-9)


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


# Chunks of every kind


@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_chunks_of_unknown_sizes(loss: Any) -> None:
    x, y = pair()
    own = x > 3.0
    fit = ff.fit_line(x[own], y[own], sample_weight=array(W)[own], loss=loss)
    chosen = X > 3.0
    assert_alike(fit, ff.fit_line(X[chosen], Y[chosen], sample_weight=W[chosen], loss=loss), 1e-9)


def test_chunks_of_unknown_sizes_beside_known_ones() -> None:
    x, y = pair()
    fit = ff.fit_line(x[x > -INF], y)
    assert_same(fit, ff.fit_line(X, Y))
    # Where they are of other lengths, no partition is paired with another.
    short = CHUNK // 3
    with pytest.raises(ValueError, match=f"partition .* same length; got .* and {short}"):
        ff.fit_line(x[x > 3.0], array(Y, short)[: 12 * short])


def test_different_numbers_of_unknown_chunks() -> None:
    x, y = array(X), array(Y, CHUNK // 2)
    with pytest.raises(ValueError, match=r"'x': 12, 'y': 24.*compute_chunk_sizes\(\)"):
        ff.fit_line(x[x > 3.0], y[array(X, CHUNK // 2) > 3.0])
    with pytest.raises(ValueError, match=r"'x': 12, 'y': 24.*compute_chunk_sizes\(\)"):
        ff.fit_line(x[x > 3.0], y)
    with pytest.raises(ValueError, match=r"y is an array of NumPy.*compute_chunk_sizes\(\)"):
        ff.fit_line(x[x > 3.0], Y[X > 3.0])
    known = x[x > 3.0].compute_chunk_sizes()
    fit = ff.fit_line(known, y[array(X, CHUNK // 2) > 3.0].compute_chunk_sizes())
    assert_same(fit, ff.fit_line(X[X > 3.0], Y[X > 3.0]))


def test_lengths_that_differ_inside_a_partition() -> None:
    x, y = array(X), array(Y)
    place = 5 * CHUNK + 2
    other = array(changed(X, {place: INF}))
    sizes = f"got {CHUNK:,} and {CHUNK - 1:,}"
    with pytest.raises(
        ValueError, match=f"partition 5: x and y must have the same length; {sizes}"
    ):
        ff.fit_line(x[x < INF], y[other < INF])
    with pytest.raises(ValueError, match="partition 5: sample_weight must have the length of x"):
        ff.fit_line(x, y, sample_weight=array(W)[other < INF])
    table, few = frame(4), frame(4, z=changed(X, {place: INF}))
    with pytest.raises(ValueError, match=r"partition \d: x and y must have the same length"):
        ff.fit_line(table["x"], few[few["z"] < INF]["y"])


@pytest.mark.parametrize("loss", ["squared_error", HUBER])
@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize("where", ["first", "last", "middle", "all but one"])
def test_empty_partitions(loss: Any, kind: str, where: str) -> None:
    place = np.arange(N)
    third, two_thirds = N // 3, 2 * N // 3
    kept = {
        "first": place >= third,
        "last": place < two_thirds,
        "middle": (place < third) | (place >= two_thirds),
        "all but one": (place >= third) & (place < N // 2),
    }[where]
    if kind == "array":
        x, y, own = (array(values, N // 6) for values in (X, Y, kept))
        fit = ff.fit_line(x[own], y[own], loss=loss)
    else:
        table = frame(6, kept=kept)
        table = table[table["kept"]]
        fit = ff.fit_line(table["x"], table["y"], loss=loss)
    assert_alike(fit, ff.fit_line(X[kept], Y[kept], loss=loss), 1e-9)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param(TIMES, Y, id="time stamps in x"),
        pytest.param(X, TIMES, id="time stamps in y"),
        pytest.param(X, Y > 5.0, id="bool in y"),
        pytest.param(1e150 * X, 1e-100 * Y, id="very large and very small"),
        pytest.param(np.repeat([1e-200, 1.0], N // 2) * X, Y, id="different partitions"),
    ],
)
def test_numbers_that_are_shifted_or_scaled(x: Any, y: Any) -> None:
    expected = ff.fit_line(x, y)
    assert_same(ff.fit_line(array(x), array(y)), expected)
    table = frame(6, x=x, y=y)
    assert_same(ff.fit_line(table["x"], table["y"]), expected)
    scale = float(np.median(np.abs(np.asarray(y, dtype=float) - expected.predict(x)))) or 0.1
    loss = ff.Huber(f_scale=scale)
    assert_alike(ff.fit_line(array(x), array(y), loss=loss), ff.fit_line(x, y, loss=loss), 1e-9)


NUMBERS: dict[str, tuple[Any, Any]] = {
    "float32": (X.astype(np.float32), Y),
    "float32 and float16": (X.astype(np.float32), Y.astype(np.float16)),
    "time stamps in both": (TIMES.astype(np.uint64), TIMES[::-1]),
    "longdouble": (TIMES.astype(np.longdouble), Y),
    "bool in x": (X > 3.0, Y),
    "int8 and other byte order": ((10 * X).astype(np.int8), Y.astype(">f8")),
    "x constant in every partition": (np.arange(N) // (N // 2), Y),
    "one array as both": (X, X),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_every_type(name: str) -> None:
    x, y = NUMBERS[name]
    own = array(x)
    assert_same(ff.fit_line(own, own if x is y else array(y)), ff.fit_line(x, y))


@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_a_single_partition_or_empty_ones_change_no_bit(loss: Any) -> None:
    table, expected = frame(1), bits(ff.fit_line(X, Y, loss=loss))
    assert bits(ff.fit_line(array(X, N), array(Y, N), loss=loss)) == expected
    assert bits(ff.fit_line(table["x"], table["y"], loss=loss)) == expected
    sizes = ((0, CHUNK, 0, N - CHUNK, 0),)
    fit = ff.fit_line(da.rechunk(array(X), sizes), da.rechunk(array(Y), sizes))
    assert_same(fit, ff.fit_line(X, Y))


@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_single_columns(loss: Any) -> None:
    table, expected = frame(), bits(ff.fit_line(*pair(), loss=loss))
    x, y = array(X[:, None], (CHUNK, 1)), array(Y[:, None], (CHUNK, 1))
    assert bits(ff.fit_line(x, y, loss=loss)) == expected
    assert bits(ff.fit_line(x, array(Y), loss=loss)) == expected
    fit = ff.fit_line(table[["x"]], table["y"], loss=loss)
    assert bits(fit) == bits(ff.fit_line(table["x"], table["y"], loss=loss))


@pytest.mark.parametrize("own", [Y, Y.tolist(), pd.Series(Y)], ids=lambda own: type(own).__name__)
def test_columns_in_memory_beside_those_of_dask(own: Any) -> None:
    expected = bits(ff.fit_line(*pair()))
    assert bits(ff.fit_line(array(X), own)) == expected
    swapped = ff.fit_line(own, array(X))
    assert bits(swapped) == bits(ff.fit_line(array(Y), array(X)))
    weighted = ff.fit_line(X, Y, sample_weight=array(W))
    assert bits(weighted) == bits(ff.fit_line(*pair(), sample_weight=array(W)))


@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_masked_arrays(loss: Any) -> None:
    x, y = np.ma.masked_less(X, 2.0), np.ma.masked_greater(Y, 8.0)
    w = np.ma.masked_less(W, 0.1)
    fit = ff.fit_line(array(x), array(y), sample_weight=array(w), loss=loss)
    expected = ff.fit_line(x, y, sample_weight=w, loss=loss)
    assert expected.n_omitted > 0
    assert_alike(fit, expected, 1e-9)
    # Those of NumPy beside arrays of Dask keep their masks.
    rel = 1e-15 if loss == "squared_error" else 1e-9
    exact = 0.0 if loss == "squared_error" else 1e-9
    assert_alike(ff.fit_line(array(X), y, loss=loss), ff.fit_line(X, y, loss=loss), exact)
    fit = ff.fit_line(array(X), Y, sample_weight=w, loss=loss)
    assert_alike(fit, ff.fit_line(X, Y, sample_weight=w, loss=loss), rel)
    fit = ff.fit_line(da.ma.masked_less(array(X), 2.0), array(Y), loss=loss)
    assert_alike(fit, ff.fit_line(x, Y, loss=loss), 1e-9)


def test_weights_of_zero_and_tiny_weights_in_a_partition() -> None:
    for factor in (0.0, 1e-90):
        w = W * np.repeat([factor, 1.0], N // 2)
        fit = ff.fit_line(*pair(), sample_weight=array(w))
        assert_alike(fit, ff.fit_line(X, Y, sample_weight=w), 1e-15)


# NaN

HOLES = changed(Y, {3 * CHUNK + 17: NAN, 3 * CHUNK + 30: NAN})


def test_nan_is_an_error_that_names_the_partition() -> None:
    # How many there are in all is not known.
    message = r"partition 3: y must be finite; got NaN at index 17\. Pass nan_policy='omit'"
    with pytest.raises(ValueError, match=message):
        ff.fit_line(array(X), array(HOLES))
    with pytest.raises(ValueError, match=message):
        ff.fit_line(array(X), array(HOLES), loss="huber")
    table = frame(12, y=HOLES)
    with pytest.raises(ValueError, match="partition 3: y must be finite; got NaN at index"):
        ff.fit_line(table["x"], table["y"])
    with pytest.raises(ValueError, match="partition 3: sample_weight must be finite; got NaN"):
        ff.fit_line(*pair(), sample_weight=array(HOLES - HOLES + 1.0))
    with pytest.raises(ValueError, match="partition 3: y must be finite"):
        ff.Moments.of(array(X), array(HOLES))


@pytest.mark.parametrize("policy", ["raise", "omit"])
@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_infinity_is_an_error(policy: Any, loss: Any) -> None:
    for value in (INF, -INF):
        y = changed(Y, {CHUNK + 4: value, 2: NAN if policy == "omit" else 0.0})
        message = "partition 1: y must be finite; got infinity at index 4"
        with pytest.raises(ValueError, match=message):
            ff.fit_line(array(X), array(y), loss=loss, nan_policy=policy)


# Data frames


def test_data_frames_with_calculated_columns_filters_and_missing_values() -> None:
    table = frame()
    table = table[table["y"] > 0.0]
    kept = Y > 0.0
    assert_same(ff.fit_line(table["x"], table["y"]), ff.fit_line(X[kept], Y[kept]))
    fit = ff.fit_line(table["x"] - 3.0, table["y"] * 2.0, sample_weight=table["w"] + 1.0)
    expected = ff.fit_line(X[kept] - 3.0, Y[kept] * 2.0, sample_weight=W[kept] + 1.0)
    assert_alike(fit, expected, 1e-15)
    own = pd.array(np.arange(N), dtype="Int64")
    own[::9] = pd.NA
    table = frame(i=own)
    fit = ff.fit_line(table["i"], table["y"], nan_policy="omit")
    assert_same(fit, ff.fit_line(own, Y, nan_policy="omit"))


def test_data_frames_that_do_not_fit() -> None:
    table = frame()
    with pytest.raises(ValueError, match="as many partitions each; got {'x': 7, 'y': 5}"):
        ff.fit_line(table["x"], frame(5)["y"])
    none = table[table["x"] > INF]
    with pytest.raises(ValueError, match="at least two points for a line; got 0"):
        ff.fit_line(none["x"], none["y"])
    assert ff.Moments.of(none["x"], none["y"]) == ff.Moments()
    with pytest.raises(ValueError, match="x must be one-dimensional"):
        ff.fit_line(table, table["y"])
    with pytest.raises(ValueError, match="x must be one-dimensional.*name one of its columns"):
        ff.fit_line(table, array(Y))
    with pytest.raises(ValueError, match="sample_weight must be one-dimensional"):
        ff.fit_line(table["x"], table["y"], sample_weight=table)


@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_a_column_beside_an_array(loss: Any) -> None:
    table = frame(6)
    sizes = tuple(table["x"].map_partitions(len).compute())
    fit = ff.fit_line(table["x"], array(Y, (sizes,)), loss=loss)
    assert bits(fit) == bits(ff.fit_line(table["x"], table["y"], loss=loss))
    fit = ff.fit_line(table["x"].to_dask_array(lengths=True), array(Y), loss=loss)
    assert_alike(fit, ff.fit_line(X, Y, loss=loss), 1e-9)
    with pytest.raises(ValueError, match=r"partition [01]: x and y must have the same length"):
        ff.fit_line(table["x"], array(Y, ((sizes[0] - 1, sizes[1] + 1, *sizes[2:]),)))


def test_a_source_is_read_once_a_pass_for_all_columns() -> None:
    reads: Counter[int] = Counter()

    def read(k: int) -> Any:
        reads[k] += 1
        return FRAME[k * CHUNK : (k + 1) * CHUNK]

    table = dd.from_map(read, range(12), meta=FRAME[:0])
    assert not reads
    fit = ff.fit_line(table["x"], table["y"], sample_weight=table["w"])
    assert_alike(fit, ff.fit_line(X, Y, sample_weight=W), 1e-15)
    assert reads == dict.fromkeys(range(12), 1)
    reads.clear()
    some = table[table["x"] > 3.0]
    ff.fit_line(some["x"] - 3.0, some["y"])
    assert reads == dict.fromkeys(range(12), 1)
    reads.clear()
    fit = ff.fit_line(table["x"], table["y"], loss=HUBER)
    assert fit.n_passes > 2
    assert reads == dict.fromkeys(range(12), fit.n_passes)


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
    assert table.npartitions > 2
    monkeypatch.setattr(csv, "pandas_read_text", counted)
    fit = ff.fit_line(table["x"], table["y"])
    assert n_reads == table.npartitions
    table = pd.read_csv(path)
    assert_same(fit, ff.fit_line(table["x"], table["y"]))


# When something is computed


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_nothing_is_computed_before_a_fit_asks_for_it(kind: str) -> None:
    table = frame()
    x, y = pair() if kind == "array" else (table["x"], table["y"])
    with dask.config.set(scheduler=never):
        points = DaskPoints(x, y, sigma=2.0)
        assert points.has_sigma
        assert "sigma" in repr(points)
        with points.opened(Reading(), Plan()) as opened:
            assert opened.n_passes == 0
            with pytest.raises(AssertionError, match="something was computed"):
                opened.moments()


@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "gradient_descent"},
        {"loss": HUBER},
        {"loss": "huber"},
        {"loss": HUBER, "solver": "gradient_descent"},
    ],
    ids=str,
)
def test_one_compute_per_pass(kind: str, options: Any) -> None:
    counted, table = Counted(), frame()
    x, y = pair() if kind == "array" else (table["x"], table["y"])
    with dask.config.set(scheduler=counted.compute):
        fit = ff.fit_line(x, y, **options)
    assert counted.n_computes == fit.n_passes
    if "loss" in options:
        assert fit.n_passes > 2
    else:
        assert fit.n_passes == 1


def test_every_chunk_is_computed_once_a_pass() -> None:
    counted = Counted()
    x, y, w = (counted.column(each, name) for name, each in zip("xyw", (X, Y, W), strict=True))
    with dask.config.set(scheduler=counted.compute):
        fit = ff.fit_line(x, y, sample_weight=w, loss=HUBER)
    assert len(counted.chunks) == 36
    assert set(counted.chunks.values()) == {fit.n_passes}
    assert counted.n_computes == fit.n_passes > 2


def test_what_x_and_y_are_made_from_is_computed_once() -> None:
    counted = Counted()
    both = counted.column(X, "x")
    fit = ff.fit_line(both, 2.0 * both + array(Y))
    assert set(counted.chunks.values()) == {1}
    assert_same(fit, ff.fit_line(X, 2.0 * X + Y))


def test_arrays_that_are_persisted_are_computed_no_more() -> None:
    counted = Counted()
    x, y = counted.column(X, "x").persist(), counted.column(Y, "y").persist()
    fit = ff.fit_line(x, y, loss=HUBER)
    assert fit.n_passes > 2
    assert set(counted.chunks.values()) == {1}
    assert bits(fit) == bits(ff.fit_line(*pair(), loss=HUBER))


# Wrong input

AX, AY = PAIR = pair()
NUMBERS_WANTED = "must be an array of numbers"
SHORT, LENGTHS = array(W[:5], 5), r"same length; got.*"
EARLY: list[tuple[type[Exception], str, Any, Any]] = [
    (TypeError, f"y {NUMBERS_WANTED}; got None", (AX, None), {}),
    (TypeError, f"y {NUMBERS_WANTED}; got None", (AX,), {}),
    (TypeError, f"x {NUMBERS_WANTED}; got None", (None, AY), {}),
    (TypeError, f"y {NUMBERS_WANTED}; got 2.0", (AX, 2.0), {}),
    (TypeError, f"x {NUMBERS_WANTED}; got 'text'", ("text", AY), {}),
    (TypeError, f"x {NUMBERS_WANTED}", (dask.delayed(X), AY), {}),
    (TypeError, f"x {NUMBERS_WANTED}", (bag.from_sequence([1.0, 2.0]), AY), {}),
    (TypeError, "y must hold real numbers; got complex", (AX, Y + 1j), {}),
    (ValueError, f"{LENGTHS}{N:,}.*{N - 1:,}", (AX, array(Y[1:])), {}),
    (ValueError, f"{LENGTHS}{N:,}.*{N - 1:,}", (AX, Y[1:]), {}),
    (ValueError, LENGTHS + r"5 \(sample_weight\)", PAIR, {"sample_weight": SHORT}),
    (ValueError, LENGTHS + r"5 \(sample_weight\)", PAIR, {"sample_weight": W[:5]}),
    (ValueError, LENGTHS + r"3 \(sigma\)", PAIR, {"sigma": [1.0, 2.0, 3.0]}),
    (ValueError, r"x must be one-dim.*shape \(\d+, 2\)", (da.stack(PAIR, axis=1), AY), {}),
    (ValueError, r"y must be one-dimensional", (AX, np.ones((N, 2))), {}),
    (ValueError, "checkpoint must be None unless x comes from scan", PAIR, {"checkpoint": "c"}),
    (ValueError, "nan_policy must be 'raise' or 'omit'", PAIR, {"nan_policy": "drop"}),
    (ValueError, "loss must be 'squared_error' or", PAIR, {"loss": "absolute"}),
    (TypeError, "loss must be .*got int 3", PAIR, {"loss": 3}),
    (ValueError, "solver must be", PAIR, {"solver": "magic"}),
    (ValueError, "backend must be 'numba' or 'numpy'", PAIR, {"backend": "cupy"}),
    (ValueError, "n_threads must be", PAIR, {"n_threads": 0}),
    (TypeError, "fit_intercept must be True or False", PAIR, {"fit_intercept": "no"}),
    (ValueError, "absolute_sigma must be False", PAIR, {"absolute_sigma": True}),
    (ValueError, "sigma must be None unless", PAIR, {"sigma": array(SIGMA), "loss": "huber"}),
    (ValueError, "y must be left out when x is points", (DaskPoints(*PAIR), Y), {}),
]
FEW, CONSTANT = "at least two points for a line; got", "x must hold at least two different values"
NEGATIVE, ZERO = array(changed(W, {3: -1.0})), array(changed(SIGMA, {CHUNK + 3: 0.0}))
LATE: list[tuple[type[Exception], str, Any, Any]] = [
    (TypeError, "y must hold real numbers; got complex", (AX, array(Y + 1j)), {}),
    (TypeError, "x must hold real numbers", (array(X.astype(str)), AY), {}),
    (TypeError, "x must hold real numbers", (array(X.astype(object) * 1j), AY), {}),
    (TypeError, "got dates or times", (array(TIMES.astype("M8[ns]")), AY), {}),
    (TypeError, f"sample_weight {NUMBERS_WANTED}.*text", PAIR, {"sample_weight": "text"}),
    (
        ValueError,
        "weight must not be negative; got -1.0 at index 3",
        PAIR,
        {"sample_weight": NEGATIVE},
    ),
    (ValueError, "partition 1: sigma must be .* got 0.0 at index 3", PAIR, {"sigma": ZERO}),
    (ValueError, f"{CONSTANT}.*got 3.5 at all", (array(np.full(N, 3.5)), AY), {}),
    (ValueError, CONSTANT, (da.full(N, 3.5, chunks=CHUNK), AY), {"loss": "huber"}),
    (ValueError, "sample_weight must be above zero", PAIR, {"sample_weight": array(0.0 * W)}),
    (ValueError, f"{FEW} 0", (AX[:0], AY[:0]), {}),
    (ValueError, f"{FEW} 0", (AX[AX > INF], AY[AX > INF]), {"loss": "tukey"}),
    (ValueError, f"{FEW} 1", (AX[:1], AY[:1]), {}),
    (ValueError, f"got 0 after leaving out {N:,}", (AX, array(NAN * Y)), {"nan_policy": "omit"}),
]


@pytest.mark.parametrize(("error", "message", "columns", "options"), EARLY)
def test_wrong_arguments_are_found_before_anything_is_computed(
    error: type[Exception], message: str, columns: Any, options: Any
) -> None:
    with dask.config.set(scheduler=never), pytest.raises(error, match=message):
        ff.fit_line(*columns, **options)


@pytest.mark.parametrize(("error", "message", "columns", "options"), LATE)
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_wrong_values(
    error: type[Exception], message: str, columns: Any, options: Any, kind: str
) -> None:
    options = {"backend": "numpy", **options}
    if kind == "frame":
        if any(np.isnan(each.shape[0]) or each.dtype == object for each in columns):
            pytest.skip("not as columns of a data frame")
        columns = [dd.from_dask_array(each) for each in columns]
        options = {
            k: dd.from_dask_array(v) if hasattr(v, "chunks") else v for k, v in options.items()
        }
    with pytest.raises(error, match=message):
        ff.fit_line(*columns, **options)


# Threads


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_a_task_has_one_thread_of_ours(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = frame()
    x, y = pair() if kind == "array" else (table["x"], table["y"])
    for n_threads in (None, 1, 4):
        with DaskPoints(x, y).opened(Reading(n_threads=n_threads), Plan()) as opened:
            assert opened.reading.n_threads == 1
    seen: list[int | None] = []
    original = parts.Part.points

    def noted(part: parts.Part, *args: Any) -> ArrayPoints:
        points = original(part, *args)
        seen.append(points._n_threads)
        return points

    monkeypatch.setattr(parts.Part, "points", noted)
    found = {bits(ff.fit_line(x, y, loss=HUBER, n_threads=k)) for k in (None, 1, 4)}
    assert len(found) == 1
    assert len(seen) > 3 * x.npartitions
    assert set(seen) == {1}


# A cluster of processes


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    if not COMPILED:
        pytest.skip("two processes that compile nothing are no faster")
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("array", HUBER),
        ("frame", "squared_error"),
        ("frame", HUBER),
        ("persisted", HUBER),
        ("unknown", "squared_error"),
    ],
)
def test_processes_find_the_same_bits(client: Any, kind: str, loss: Any) -> None:
    table = frame(6)
    x, y = pair() if kind != "frame" else (table["x"], table["y"])
    if kind == "unknown":
        x, y = x[array(X) > 3.0], y[array(X) > 3.0]
    options: Any = {"loss": loss, "backend": "numba" if kind == "array" else "numpy"}
    with dask.config.set(scheduler="threads", num_workers=2):
        expected = ff.fit_line(x, y, **options)
    with client.as_current():
        if kind == "persisted":
            x, y = x.persist(), y.persist()
        fit = ff.fit_line(x, y, **options)
    assert bits(fit) == bits(expected)
    message = "partition 3: y must be finite; got NaN at index 17"
    with client.as_current(), pytest.raises(ValueError, match=message):
        ff.fit_line(array(X), array(HOLES), backend="numpy")


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES_OF_BITS[:2], ids=["least squares", "huber"])
def test_a_worker_that_is_killed_changes_no_bit(client: Any, loss: Any, tmp_path: Path) -> None:
    log = tmp_path / "started"
    log.touch()
    expected = ff.fit_line(*pair(), loss=loss)

    def noted(name: str) -> Callable[[Any], Any]:
        def note(block: Any) -> Any:
            with open(name, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.05)
            return block

        return note

    def started() -> list[int]:
        return [int(line) for line in log.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    killed: list[int] = []

    def kill() -> None:
        # In the first pass, or in the second.
        first = 3 if loss == "squared_error" else 15
        deadline = time.monotonic() + 60.0
        while len(started()) < first and time.monotonic() < deadline:
            time.sleep(0.005)
        victim = started()[-1]
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    client.wait_for_workers(2, timeout=60)
    before = set(client.run(os.getpid).values())
    x, y = pair()
    x = x.map_blocks(noted(str(log)), dtype=float, meta=np.empty(0))
    killer = threading.Thread(target=kill)
    killer.start()
    with client.as_current():
        fit = ff.fit_line(x, y, loss=loss)
    killer.join()
    assert bits(fit) == bits(expected)
    assert set(killed) < before
    # What it was at was done again, by others.
    assert len(started()) > fit.n_passes * x.npartitions
    client.wait_for_workers(2, timeout=60)
    assert not set(killed) & set(client.run(os.getpid).values())


# What can be done with it


@pytest.mark.parametrize("loss", ["squared_error", HUBER])
def test_plot_draws_a_sample(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_SHOWN", 12)
    counted = Counted()
    with dask.config.set(scheduler=counted.compute):
        fit = ff.fit_line(*pair(), loss=loss)
        again = pickle.loads(pickle.dumps(fit))
        ax = fit.plot(confidence_band=True)
    assert bits(again) == bits(fit)
    with pytest.raises(ValueError, match="no points to draw"):
        again.plot()
    # One pass more, if the fit has kept no points.
    assert counted.n_computes == fit.n_passes + (loss == "squared_error")
    dots: Any = ax.lines[0].get_xydata()
    assert 12 <= len(dots) < N / 20, len(dots)
    assert {tuple(dot) for dot in dots} <= set(zip(X, Y, strict=True))
    assert f"{N:,} points" in ax.get_title()
    x = np.arange(10.0)  # so few are drawn one by one
    dots = ff.fit_line(array(x, 3), array(x**2, 3), loss=loss).plot().lines[0]
    np.testing.assert_array_equal(dots.get_xydata(), np.column_stack([x, x**2]))


def test_a_sample_stays_small_and_is_spread_over_all_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastfit.points.sample._MOST_KEPT", 40)
    n = 6000
    x, chunks = np.arange(n, dtype=float), ((n // 2, *[n // 12] * 6),)
    columns = array(x, chunks), array(x % 7.0, chunks)
    reading = Reading(backend="numpy", sampled=32)
    source = DaskPoints(*columns, sample_weight=array(1.0 + x, chunks))
    with source.opened(reading, Plan()) as points:
        kept = points.x
        assert 20 <= kept.size <= 40
        np.testing.assert_array_equal(points.y, kept % 7.0)
    assert (np.diff(kept) > 0.0).all()
    # Half of the points are in the first partition.
    assert 0.4 < np.mean(kept < n // 2) < 0.6


def test_points_that_were_made_before() -> None:
    """They can be fitted as often as wanted, each time in a way of its own."""
    points = DaskPoints(*pair())
    for options in ({}, {"loss": HUBER}, {"fit_intercept": False}):
        fit = ff.fit_line(points, **options)
        assert bits(fit) == bits(ff.fit_line(*pair(), **options))
    with_sigma = DaskPoints(*pair(), sigma=array(SIGMA))
    fit = ff.fit_line(with_sigma, absolute_sigma=True)
    assert_alike(fit, ff.fit_line(X, Y, sigma=SIGMA, absolute_sigma=True), 1e-15)
    points = DaskPoints(*pair(), sample_weight=array(W))
    assert repr(points) == "DaskPoints(x, y, sample_weight; 12 partitions)"
