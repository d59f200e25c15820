"""fit_rolling, rolling_slope and fit_expanding, compared with rational arithmetic, with pandas, and with each other."""

from __future__ import annotations

import datetime
import decimal
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import fastfit as ff
from fastfit.kernels import moving
from fastfit.kernels.windows import ROW_ALONE
from fastfit.outcome import Status
from tests.conftest import COMPILED, compiles, compiles_much, needs_compiler
from tests.hostile import HOSTILE, N, exact_line, exact_slope, long_series

RNG = np.random.default_rng(18)


@pytest.mark.filterwarnings("ignore:.*could not be fitted:fastfit.ConvergenceWarning")
@pytest.mark.parametrize("window", [3, 30, 300])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_window_is_the_line_of_its_own_points(name: str, window: int) -> None:
    x, y = HOSTILE[name]
    fits = ff.fit_rolling(x, y, window, min_points=2)
    for k in range(0, N, 7 if window < 300 else 61):
        low = max(k - window + 1, 0)
        expected = exact_line(x[low : k + 1], y[low : k + 1])
        assert (expected is None) == math.isnan(fits.slope[k])
        if expected is None:
            continue
        slope, left, xx, yy = expected
        size = max(abs(slope), Fraction(math.sqrt(yy / xx)))
        assert abs(Fraction(fits.slope[k]) - slope) <= Fraction(1e-14) * size, k
        if left > yy * Fraction(2) ** -100:  # else it is rounding of y
            n = fits.n_points[k]
            assert fits.loss[k] * n == pytest.approx(float(left), rel=1e-9), k
        if name == "constant":
            assert fits.slope[k] == fits.loss[k] == 0.0


LONG = long_series(4000)
FLIGHTS = Path(__file__).parent / "data" / "flights.parquet"
MOMENTS = ff.Moments.of([1.0, 2.0], [1.0, 2.0])


def test_two_points_have_no_residuals() -> None:
    """Nor a zero below zero, where the line falls."""
    loss = ff.fit_rolling(None, [1.0, 0.0, -1.5], 2).loss[1:]
    assert loss.tolist() == [0.0, 0.0]
    assert not np.signbit(loss).any()


def test_infinity_outside_of_a_window_leaves_no_trace() -> None:
    """Also where all points that have a weight lie on one side of the pivot."""
    y, weights = [1.0, 3.0, math.inf, 5.0, 4.0, 6.0], [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    with pytest.warns(ff.ConvergenceWarning, match="3 of 6"):
        fits = ff.fit_rolling(None, y, 3, sample_weight=weights, min_points=2)
    assert fits.status.tolist()[2:] == [ff.Status.INFINITE] * 3 + [ff.Status.CONVERGED]
    assert fits.slope[5] == 2.0


@needs_compiler  # up to 4,096 points, windows with an outlier are summed again
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="longdouble is float64 here")
@pytest.mark.parametrize("window", [5000, None])
@pytest.mark.parametrize("row", [0, 1, 129, 4999, 5000, 5001, 8999])
@pytest.mark.parametrize("far", [(1e3, 1e2), (1e6, -1e6), (0.0, 1e3)], ids=str)
def test_outliers_cost_no_digits_of_windows_too_wide_to_be_summed_again(
    far: tuple[float, float], row: int, window: int | None
) -> None:
    """The first sums are of distances from row 1, of expanding windows, or from 4,999 and 5,000, of rolling ones."""
    x, y = np.random.default_rng(1).standard_normal((2, 9000))
    x[row], y[row] = x[row] + far[0], y[row] + far[1]
    fits = ff.fit_expanding(x, y) if window is None else ff.fit_rolling(x, y, window)
    for end in (5000, 5001, 5100, 6000, 8000, 9000):
        some = slice(0 if window is None else end - window, end)
        u, v = (each[some].astype(np.longdouble) for each in (x, y))
        u, v = u - u.mean(), v - v.mean()
        slope, size = (u * v).sum() / (u * u).sum(), np.sqrt((v * v).sum() / (u * u).sum())
        assert abs(fits.slope[end - 1] - slope) <= 1e-14 * max(abs(slope), size), end


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("window", [1500, None])
def test_wide_windows_are_as_exact_as_narrow_ones(name: str, window: int | None) -> None:
    x, y = LONG[name]
    fits = ff.fit_expanding(x, y) if window is None else ff.fit_rolling(x, y, window)
    for end in (1500, 2001, 2400, 3500, 4000):
        some = slice(0 if window is None else end - window, end)
        size, slope, left = exact_slope(x[some], y[some])
        assert abs(float(Fraction(fits.slope[end - 1]) - slope)) <= 1e-14 * size, end
        assert fits.loss[end - 1] * fits.n_points[end - 1] == pytest.approx(float(left), rel=1e-11)


@pytest.mark.filterwarnings("ignore:.*could not be fitted:fastfit.ConvergenceWarning")
@pytest.mark.parametrize("window", [5, 64])
@pytest.mark.parametrize("before", [1e12, np.nan, np.inf, -3.0])
def test_what_lies_before_a_window_leaves_no_trace(window: int, before: float) -> None:
    x, y = HOSTILE["gaps"]
    changed = y.copy()
    changed[:200] = before
    a, b = (ff.fit_rolling(x, each, window, min_points=2) for each in (y, changed))
    for name in ("slope", "intercept", "stderr", "rvalue", "n_points"):
        one, other = (getattr(fits, name)[199 + window :] for fits in (a, b))
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("closed", ["right", "left", "both", "neither"])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("window", [1, 2, 5, 30, 1000])
def test_windows_of_rows_are_those_of_pandas(window: int, center: bool, closed: Any) -> None:
    y = HOSTILE["gaps"][1]
    options: dict[str, Any] = {"center": center, "closed": closed}
    fits = ff.fit_rolling(None, y, window, **options, min_points=2)
    theirs = pd.Series(y).rolling(window, **options, min_periods=1).count().fillna(0.0)
    np.testing.assert_array_equal(fits.n_points, theirs)
    means = pd.Series(y).rolling(window, **options, min_periods=1).mean()
    there = fits.n_points > 1
    np.testing.assert_allclose(
        (fits.intercept + fits.slope * mean_row(y, window, **options))[there], means[there], 1e-9
    )


def mean_row(y: Any, window: int, **options: Any) -> Any:
    rows = pd.Series(np.where(np.isnan(y), np.nan, np.arange(float(y.size))))
    return rows.rolling(window, **options, min_periods=1).mean().to_numpy()


@pytest.mark.parametrize("closed", ["right", "left", "both", "neither"])
@pytest.mark.parametrize("width", ["7h", datetime.timedelta(hours=7), np.timedelta64(420, "m")])
def test_windows_of_time_are_those_of_pandas(width: Any, closed: Any) -> None:
    x, y = HOSTILE["gaps"]
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta((x * 3600.0).round(), unit="s")
    fits = ff.fit_rolling(times, y, width, closed=closed, datetime_unit="h")
    theirs = pd.Series(y, index=times).rolling("7h", closed=closed).count()
    np.testing.assert_array_equal(fits.n_points, theirs.fillna(0.0))
    k = 20
    hours = np.asarray((times - times[0]).total_seconds()) / 3600.0
    some = (hours[k] - hours <= 7.0 - (closed in ("right", "neither")) * 1e-9) & (hours <= hours[k])
    some &= (hours < hours[k]) | (closed in ("right", "both"))
    assert fits.slope[k] == pytest.approx(float(exact_line(hours[some], y[some])[0]), rel=1e-9)  # type: ignore[index]


def test_widths_of_numbers_and_ties() -> None:
    x = np.array([0.0, 1.0, 1.0, 2.0, 5.0, 5.5])
    y = np.array([0.0, 1.0, 3.0, 2.0, 1.0, 7.0])
    assert ff.fit_rolling(x, y, 1.0, window_in="x").n_points.tolist() == [1, 2, 2, 1, 1, 2]
    both = ff.fit_rolling(x, y, 1.0, window_in="x", closed="both")
    assert both.n_points.tolist() == [1, 3, 3, 3, 1, 2]
    around = ff.fit_rolling(x, y, 2, window_in="x", center=True, closed="both")
    assert around.n_points.tolist() == [3, 4, 4, 3, 2, 2]


def test_expanding_windows_and_steps() -> None:
    x, y = HOSTILE["gaps and outliers"]
    fits = ff.fit_expanding(x, y, min_points=3)
    every = ff.fit_expanding(x, y, step=10)
    for k in (10, 40, 200, N - 1):
        one = ff.fit_line(x[: k + 1], y[: k + 1], nan_policy="omit")
        assert fits.slope[k] == pytest.approx(one.slope, rel=1e-13)
        assert fits.stderr[k] == pytest.approx(one.stderr, rel=1e-9)
        assert fits.n_omitted[k] == one.n_omitted
        if k % 10 == 0:
            assert every.slope[k // 10] == fits.slope[k]
    assert every.shape == (40,)
    rolled = ff.fit_rolling(x, y, 12, step=7, min_points=2)
    np.testing.assert_allclose(
        rolled.slope, ff.fit_rolling(x, y, 12, min_points=2).slope[::7], 1e-11
    )


@pytest.mark.slow  # weights have loops of their own, which compile for long
@pytest.mark.filterwarnings("ignore:.*could not be fitted:fastfit.ConvergenceWarning")
def test_weights_count_as_repeated_points() -> None:
    x, y = HOSTILE["gaps"]
    weights = RNG.integers(0, 3, N).astype(float)
    fits = ff.fit_rolling(x, y, 25, sample_weight=weights, min_points=2)
    for k in (30, 100, 399):
        some = slice(k - 24, k + 1)
        one = ff.fit_line(x[some], y[some], sample_weight=weights[some], nan_policy="omit")
        assert fits.slope[k] == pytest.approx(one.slope, rel=1e-12)
        assert fits.stderr[k] == pytest.approx(one.stderr, rel=1e-9)
        assert fits[k].slope == fits.slope[k]
    weights[300] = -1.0
    bad = ff.fit_rolling(x, y, 15, sample_weight=weights, min_points=2)
    assert {bad.status[k] for k in range(300, 315)} == {Status.BAD_WEIGHTS}
    assert bad.status[299] is bad.status[315] is Status.CONVERGED


def test_lines_through_the_origin() -> None:
    x, y = HOSTILE["noise"]
    fits = ff.fit_rolling(x, y, 20, fit_intercept=False)
    one = ff.fit_line(x[80:100], y[80:100], fit_intercept=False)
    assert fits.slope[99] == pytest.approx(one.slope, rel=1e-13)
    assert fits.intercept[99] == 0.0
    assert fits.stderr[99] == pytest.approx(one.stderr, rel=1e-12)


@pytest.mark.slow  # so have threads
@pytest.mark.skipif(not COMPILED, reason="threads are of the compiled loops")
def test_any_number_of_threads_gives_the_same_bits(rng: np.random.Generator) -> None:
    x, y = np.cumsum(rng.random(300_000)), rng.standard_normal(300_000)
    found = [ff.fit_rolling(x, y, 50, n_threads=k) for k in (1, 2, 8)]
    for name in ("slope", "intercept", "loss"):
        assert len({getattr(fits, name).tobytes() for fits in found}) == 1


@pytest.mark.filterwarnings("error")
def test_windows_without_a_line_have_a_status_and_mostly_no_warning() -> None:
    with pytest.warns(ff.ConvergenceWarning, match=r"1 of 5 lines .*\(1 infinite\)"):
        fits = ff.fit_rolling([0.0, 1.0, 1.0, 1.0, np.inf], [1.0, np.nan, 2.0, 3.0, 4.0], 2)
    names = [each.name for each in fits.status]
    assert names == [*["TOO_FEW_POINTS"] * 3, "CONSTANT_X", "INFINITE"]
    assert np.isnan(fits.slope).all()
    assert ff.fit_rolling(None, [], 3).shape == (0,)
    assert ff.fit_expanding(None, [1.0]).n_points.tolist() == [1]


TWO_DAYS = np.array(["2024-01-01", "2024-01-02"], "M8[D]")


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((None, [1.0, 2.0], 0), {}, ValueError, "window must be an integer of at least 1; got 0"),
        ((None, [1.0, 2.0], 2.5), {}, TypeError, "window must be an integer, a timedelta or text"),
        ((None, [1.0, 2.0], None), {}, TypeError, "window must be an integer, a timedelta or text"),
        (([0.0, 1.0], [1.0, 2.0], "7D"), {}, TypeError, "window must be a number, as x holds num"),
        ((None, [1.0, 2.0], "7 days"), {}, TypeError, "x must hold times for the window '7 days'"),
        (([0.0, 1.0], [1.0, 2.0, 3.0], 2), {}, ValueError, "x must have the length of y, 3; got 2"),
        ((None, [[1.0]], 2), {}, ValueError, "y must have one dimension; got 2"),
        ((None, [1.0], 2), {"closed": "up"}, ValueError, "closed must be"),
        ((None, [1.0], 2), {"step": 0}, ValueError, "step must be"),
        (
            (None, [1.0], 2),
            {"min_points": 1},
            ValueError,
            "min_points must be an integer of at least 2",
        ),
        (
            (None, [1.0], 2),
            {"min_points": 3},
            ValueError,
            "min_points must be at most 2, as windows have no more rows; got 3",
        ),
        ((None, [1.0], 2), {"min_points": np.int64(9)}, ValueError, "at most 2, .*; got 9"),
        ((None, [1.0], 2), {"by": da.ones(1)}, TypeError, "by must hold its values; got Array of"),
        ((TWO_DAYS, [1.0, 2.0], "9" * 400 + "D"), {}, ValueError, "window must be a whole number"),
        ((None, [1.0], 2), {"window_in": "rows"}, ValueError, "window_in must be"),
        (([1.0, 0.0], [1.0, 2.0], 1.0), {"window_in": "x"}, ValueError, "it does so at index 1"),
        (([0.0, np.nan], [1.0, 2.0], 1.0), {"window_in": "x"}, ValueError, "x must be finite"),
        (([0.0, 1.0], [1.0, 2.0], -1.0), {"window_in": "x"}, ValueError, "window must be a pos"),
        (([0.0, 1.0], ["a", "b"], 2), {}, TypeError, "y must"),
        ((None, [1.0, 2.0]), {}, TypeError, "window must be an integer, .*; got None"),
        ((5, [1.0, 2.0], 2), {}, ValueError, "x must have one dimension; got 0$"),
        (
            (MOMENTS,),
            {"window": 3},
            TypeError,
            "x must be points, .*; got Moments, which holds sum",
        ),
        (
            (ff.scan(FLIGHTS, "distance", "air_time"), 30),
            {},
            TypeError,
            r"for files, call it as \(points, window=...\)",
        ),
        (([1.0, 2.0], 5), {}, TypeError, r"call it as \(None, y, window\); got y=5"),
        (([1.0, 2.0], "7D"), {}, TypeError, r"call it as \(None, y, window\); got y='7D'"),
        ((None, None, 2), {}, TypeError, "y must be an array of numbers; got None"),
        (
            (np.array(["2024-01-01", "NaT"], "M8[D]"), [1.0, 2.0], "7D"),
            {},
            ValueError,
            "x must be finite .*; got NaT at index 1",
        ),
        (
            (None, da.ones(3), 2),
            {},
            TypeError,
            "y must hold its values; got Array of Dask: .* compute",
        ),
    ],
)
def test_bad_input_is_told(arguments: Any, options: Any, kind: Any, message: str) -> None:
    for call in (ff.fit_rolling, ff.rolling_slope):
        with pytest.raises(kind, match=message):
            call(*arguments, **options)


@pytest.mark.parametrize(
    "window",
    [
        *("7", "D", "7 parsecs", "-7D", "0h", "", "2M", "1.5D"),
        *(np.timedelta64("NaT", "s"), np.timedelta64(1, "M"), datetime.timedelta(days=-1)),
    ],
)
def test_a_width_that_is_no_time_is_told(window: Any) -> None:
    times = np.array(["2024-01-01", "2024-01-02"], "datetime64[D]")
    with pytest.raises(ValueError, match="window must be"):
        ff.fit_rolling(times, [1.0, 2.0], window)
    with pytest.raises(TypeError, match="window must be a number of rows, a timedelta, or text"):
        ff.fit_rolling(times, [1.0, 2.0], 3.0, window_in="x")


def test_infinity_and_gaps_leave_no_trace() -> None:
    with pytest.warns(ff.ConvergenceWarning, match="2 of 7 lines"):
        fits = ff.fit_rolling(None, [1.0, np.inf, 2.0, np.nan, np.nan, 1.0, 2.0], 2)
    assert [each.name for each in fits.status][-1] == "CONVERGED"


def test_tables_of_windows_keep_the_index_of_a_series() -> None:
    days = pd.date_range("2024-01-01", periods=12)
    y = pd.Series(RNG.standard_normal(12), days)
    for fits in (ff.fit_rolling(days, y, "4D", step=2), ff.fit_expanding(None, y, step=2)):
        pd.testing.assert_index_equal(fits.to_frame().index, days[::2])
        pd.testing.assert_index_equal(fits[2:4].to_frame().index, days[4:8:2])
    with pytest.raises(ValueError, match="must have the same labels"):
        ff.fit_rolling(pd.Series(np.arange(12.0)), y, 3)


def test_windows_and_steps_wider_than_the_data_hold_all_of_it() -> None:
    x, y = HOSTILE["noise"]
    whole = ff.fit_line(x, y).slope
    for window in (N, 10**30):
        for options in ({}, {"center": True}, {"closed": "both"}):
            given: dict[str, Any] = {"min_points": 2, **options}
            fits = ff.fit_rolling(x, y, window, **given)
            row = N // 2 if options.get("center") else N - 1
            assert fits.slope[row] == pytest.approx(whole, rel=1e-13)
    assert ff.fit_rolling(x, y, 5, step=10**30, min_points=2).shape == (1,)


@pytest.mark.slow  # as weights do
def test_far_points_without_weight_cost_no_digits() -> None:
    x, y = np.arange(60.0), RNG.standard_normal(60)
    weights = np.ones(60)
    x[::9], y[::7], weights[::9], weights[::7] = 1e15, -1e15, 0.0, 0.0
    fits = ff.fit_rolling(x, y, 20, sample_weight=weights, min_points=2)
    for k in range(20, 60):
        some = slice(k - 19, k + 1)
        there = weights[some] > 0.0
        found = exact_line(x[some][there], y[some][there])
        assert found is not None
        assert fits.slope[k] == pytest.approx(float(found[0]), rel=1e-13)


def test_integers_and_times_that_floats_cannot_hold() -> None:
    times = np.datetime64("2024-01-01T00:00:00.000000001", "ns") + 7 * np.arange(50)
    y = 2**60 + 3 * np.arange(50)
    fits = ff.fit_rolling(times, y, 10, datetime_unit="ns")
    assert fits.slope[9:] == pytest.approx(3.0 / 7.0, rel=1e-15)
    assert fits.loss[9:].max() < 1e-25
    one = ff.fit_line(times[:10], y[:10], datetime_unit="ns")
    assert fits.intercept[9] == pytest.approx(one.intercept, rel=1e-15)


def test_a_width_of_any_size_is_no_overflow() -> None:
    times = np.datetime64("2024-01-01", "ns") + np.timedelta64(7, "ns") * np.arange(9)
    for width in ("99999999W", "9" * 30 + "D"):
        fits = ff.fit_rolling(times, np.arange(9.0), width, datetime_unit="ns")
        assert fits.n_points.tolist() == [*range(1, 10)]
    small = ff.fit_rolling(times, np.arange(9.0), pd.Timedelta(15, unit="ns"))
    assert small.n_points.tolist() == [1, 2, *[3] * 7]


# Groups, tables, robust losses


def series(rng: np.random.Generator, n: int = 240) -> dict[str, Any]:
    times = np.datetime64("2024-01-01", "h") + np.cumsum(rng.integers(0, 3, n))
    keys = rng.choice(np.array(["b", "a", "c", None], object), n, p=[0.4, 0.4, 0.15, 0.05])
    y = rng.standard_normal(n)
    y[rng.random(n) < 0.1] = np.nan
    return {"t": times, "v": y, "k": keys, "w": rng.random(n), "s": rng.random(n) + 0.1}


@pytest.mark.parametrize("options", [{}, {"center": True}, {"closed": "both"}, {"step": 3}])
@pytest.mark.parametrize("window", [4, "9h"])
def test_windows_within_groups_are_those_of_each_group(
    rng: np.random.Generator, window: Any, options: dict[str, Any]
) -> None:
    table = series(rng)
    fits = ff.fit_rolling("t", "v", window, by="k", data=table, min_points=3, **options)
    step = options.pop("step", 1)
    expected = np.full(len(table["v"]), np.nan)
    for key in "abc":
        own = np.flatnonzero(table["k"] == key)
        alone = ff.fit_rolling(table["t"][own], table["v"][own], window, min_points=3, **options)
        expected[own] = alone.slope
    np.testing.assert_array_equal(fits.slope, expected[::step])
    is_keyless = np.array([key is None for key in table["k"]])[::step]
    assert (fits.n_points[is_keyless] == 0).all()
    assert (fits.n_points + fits.n_omitted)[~is_keyless].min() >= 1


@pytest.mark.filterwarnings("ignore:.*could not be fitted:fastfit.ConvergenceWarning")
@pytest.mark.parametrize("spoilt", [None, "infinite", "constant"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step": 3, "center": True},
        {"by": "k", "min_points": 3},
        {"by": "k", "step": 2, "closed": "both"},
        {"sample_weight": "w", "fit_intercept": False},
        {"datetime_unit": "D"},
    ],
    ids=str,
)
@pytest.mark.parametrize("window", [4, "9h"])
def test_slopes_alone_are_those_of_the_lines(
    rng: np.random.Generator, window: Any, options: dict[str, Any], spoilt: str | None
) -> None:
    table = series(rng)
    if spoilt == "infinite":
        table["v"][100] = np.inf
    elif spoilt == "constant":
        table["t"][100:110] = table["t"][100]
    slope = ff.rolling_slope("t", "v", window, data=table, **options)
    fits = ff.fit_rolling("t", "v", window, data=table, **options)
    np.testing.assert_array_equal(slope, fits.slope)
    assert slope.dtype == np.float64
    assert np.isfinite(slope).mean() > 0.3
    assert np.isnan(slope).any() or spoilt != "infinite"


@pytest.mark.parametrize("options", [{}, {"step": 3, "fit_intercept": False}, {"by": "k"}], ids=str)
def test_windows_are_predicted_at_their_own_rows(
    rng: np.random.Generator, options: dict[str, Any]
) -> None:
    table = series(rng)
    fits = ff.fit_rolling("t", "v", "9h", data=table, **options)
    hours = (table["t"] - table["t"][0]) / np.timedelta64(1, "s")
    start = (table["t"][0] - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    at = hours[:: options.get("step", 1)] + start
    expected = fits.slope * at + fits.intercept
    np.testing.assert_allclose(fits.predict(), expected, rtol=1e-6, atol=1e-5)
    one = next(k for k in range(50, 60) if not np.isnan(fits.slope[k]))
    place = table["t"][:: options.get("step", 1)][one]
    assert fits.predict()[one] == pytest.approx(fits[one].predict([place])[0], rel=1e-9)
    groups = ff.fit_groups("t", "v", "k", data=table)
    with pytest.raises(TypeError, match="x must be given for lines that are not of windows"):
        groups.predict()


def test_slopes_near_a_line_do_not_need_a_fit_of_the_lines(rng: np.random.Generator) -> None:
    """The first windows have too few points, and these lie on a line."""
    x = np.arange(300.0)
    y = x + 1e-3 * rng.standard_normal(300)
    options: dict[str, Any] = {"through_origin": False, "min_points": 10}
    slope, has_suspects = moving.slopes(x, y, None, ROW_ALONE._replace(before=9), 1, **options)
    assert not has_suspects
    assert np.isnan(slope[:9]).all()
    np.testing.assert_allclose(slope[9:], 1.0, rtol=1e-3)


def test_slopes_alone_of_any_input() -> None:
    y = np.array([1.0, 3.0, np.nan, 5.0, 2.0])
    expected = ff.fit_rolling(None, y, 3, min_points=2).slope
    for given in (y, y.tolist(), pd.Series(y), y.astype(np.float32)):
        np.testing.assert_array_equal(ff.rolling_slope(None, given, 3, min_points=2), expected)
    assert ff.rolling_slope(None, [], 3).shape == (0,)
    huge: dict[str, Any] = {"window_in": "x", "min_points": 10**400}
    assert np.isnan(ff.rolling_slope(np.arange(5.0), y, 3.0, **huge)).all()
    table = pd.DataFrame({"t": pd.date_range("2024", periods=5), "v": y})
    slope = ff.rolling_slope("t", "v", "2D", data=table, datetime_unit="D")
    np.testing.assert_array_equal(slope, [np.nan, 2.0, np.nan, np.nan, -3.0])
    indexed = table.set_index("t")["v"]
    np.testing.assert_array_equal(ff.rolling_slope(None, indexed, "2D", datetime_unit="D"), slope)
    with pytest.warns(
        ff.ConvergenceWarning, match=r"\(2 infinite\); fit_rolling\(\.\.\.\)\.status says why"
    ):
        ff.rolling_slope(None, [1.0, np.inf, 1.0], 2)


def test_expanding_windows_within_groups() -> None:
    fits = ff.fit_expanding(None, [0.0, 5.0, 2.0, 7.0, 1.0], by=[1, 2, 1, 2, 1])
    np.testing.assert_allclose(fits.slope, [np.nan, np.nan, 1.0, 1.0, 0.25])


def test_widths_within_groups_need_x_that_rises_there_alone() -> None:
    x, keys = [0.0, 5.0, 1.0, 4.0], ["a", "b", "a", "b"]
    with pytest.raises(ValueError, match="must not decrease within each group .* index 3"):
        ff.fit_rolling(x, [1.0] * 4, 2.0, window_in="x", by=keys)
    fits = ff.fit_rolling([0.0, 5.0, 1.0, 6.0], [1.0, 2.0, 3.0, 5.0], 2.0, window_in="x", by=keys)
    np.testing.assert_array_equal(fits.slope, [np.nan, np.nan, 2.0, 3.0])


@pytest.mark.parametrize(
    "loss", [pytest.param("huber", marks=compiles), pytest.param("tukey", marks=compiles_much)]
)
@pytest.mark.parametrize("options", [{"window": 20}, {"window": "15h"}, {"window": 12, "step": 5}])
def test_robust_windows_are_robust_lines_of_their_points(
    rng: np.random.Generator, loss: str, options: dict[str, Any]
) -> None:
    table = series(rng, 60)
    t, v, w = (table[name] for name in "tvw")
    v[17] = 300.0
    fits = ff.fit_rolling(t, v, loss=loss, sample_weight=w, min_points=5, **options)
    plain = ff.fit_rolling(t, v, sample_weight=w, min_points=5, **options)
    np.testing.assert_array_equal(fits.n_points, plain.n_points)
    rows = np.arange(0, 60, options.get("step", 1))
    width = options["window"]
    for k, row in enumerate(rows):
        if isinstance(width, str):
            some = (t <= t[row]) & (t > t[row] - np.timedelta64(15, "h"))
        else:
            some = (np.arange(60) <= row) & (np.arange(60) > row - width)
        some &= ~np.isnan(v)
        if some.sum() < 5:
            assert np.isnan(fits.slope[k])
            continue
        one = ff.fit_line(t[some], v[some], loss=loss, sample_weight=w[some])
        assert fits.slope[k] == pytest.approx(one.slope, rel=1e-9, abs=1e-12)
        assert fits.stderr[k] == pytest.approx(one.stderr, rel=1e-6, nan_ok=True)


def test_sigma_and_sample_weights_of_windows() -> None:
    rng = np.random.default_rng(5)
    x, y, w, s = np.arange(40.0), rng.standard_normal(40), rng.random(40), rng.random(40) + 0.1
    for given in (
        {"sigma": s},
        {"sigma": s, "sample_weight": w},
        {"sigma": s, "absolute_sigma": True},
    ):
        options: dict[str, Any] = given
        fits = ff.fit_rolling(x, y, 15, **options)
        some = slice(20, 35)
        own = {name: value[some] if np.ndim(value) else value for name, value in options.items()}
        one = ff.fit_line(x[some], y[some], **own)
        for name in ("slope", "intercept", "stderr", "intercept_stderr", "residual_std"):
            assert getattr(fits, name)[34] == pytest.approx(getattr(one, name), rel=1e-11), name


def test_windows_of_tables(rng: np.random.Generator) -> None:
    pl = pytest.importorskip("polars")
    table = series(rng)
    frame = pd.DataFrame(table)
    frame.index = pd.Index(np.arange(len(frame)) * 2, name="row")
    expected = ff.fit_rolling(table["t"], table["v"], 7, min_points=2).slope
    of_pandas = ff.fit_rolling("t", "v", 7, min_points=2, data=frame)
    pd.testing.assert_index_equal(of_pandas.to_frame().index, frame.index)
    assert of_pandas.keys is not None
    assert list(of_pandas.keys) == ["row"]
    polars = pl.DataFrame({"t": table["t"].astype("datetime64[us]"), "v": table["v"]})
    for data in (polars, polars.lazy(), polars.to_arrow()):
        fits = ff.fit_rolling("t", "v", 7, min_points=2, data=data)
        np.testing.assert_allclose(fits.slope, expected, rtol=1e-12)
        kind = type(fits.to_frame()).__module__.partition(".")[0]
        assert kind == type(data).__module__.partition(".")[0]
    np.testing.assert_array_equal(of_pandas.slope, expected)


KEYS: dict[str, list[Any]] = {
    "Categorical": ["a", "b"],
    "String": ["a", "b"],
    "Int16": [1, 2],
    "Float32": [1.5, 2.5],
    "Boolean": [False, True],
    "Binary": [b"a", b"b"],
    "Decimal": [decimal.Decimal("1.1"), decimal.Decimal("2.2")],
    "Date": [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)],
    "Time": [datetime.time(1), datetime.time(2)],
    "Duration": [datetime.timedelta(1), datetime.timedelta(2)],
    "Datetime": [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 2)],
}


@pytest.mark.parametrize("has_missing", [False, True])
@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize("kind", KEYS)
def test_tables_of_lines_have_the_keys_of_their_table(
    kind: str, library: str, has_missing: bool
) -> None:
    """Of the same type and value, to the nanosecond, and with its time zone."""
    pl = pytest.importorskip("polars")
    times = pl.Series(1_600_000_000_000_000_001 + np.arange(8) * 10**17, dtype=pl.Datetime("ns"))
    zoned = {"t": times.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")}
    data = pl.DataFrame({**zoned, "y": np.arange(8.0) ** 2})
    own = pl.Series("key", [*KEYS[kind] * 3, None if has_missing else KEYS[kind][0], KEYS[kind][1]])
    own = own.cast(getattr(pl, kind)) if kind not in ("Decimal", "Duration", "Datetime") else own
    data = data.with_columns(own)
    table = data if library == "polars" else data.to_arrow()
    windows = ff.fit_rolling("t", "y", 3, by="key", data=table).to_frame()
    groups = ff.fit_groups("t", "y", "key", data=table).to_frame()
    if library == "pyarrow":
        assert windows.schema.field("t").type == table.schema.field("t").type
        for found in (windows, groups):
            assert found.schema.field("key").type == table.schema.field("key").type
        windows, groups = pl.from_arrow(windows), pl.from_arrow(groups)
        data = pl.from_arrow(table)
    assert windows["t"].equals(data["t"])
    assert windows["key"].equals(data["key"])
    assert data.join(groups, on="key").height == 8 - has_missing


def test_tables_of_no_groups_have_the_types_of_their_table() -> None:
    pl = pytest.importorskip("polars")
    data = pl.DataFrame(schema={"x": pl.Float64, "y": pl.Float64, "key": pl.String})
    found = ff.fit_groups("x", "y", "key", data=data).to_frame().schema
    assert found["key"] == found["status"] == pl.String
    found = ff.fit_groups("x", "y", "key", data=data.to_arrow()).to_frame().schema
    assert str(found.field("key").type) == "large_string"
    assert str(found.field("status").type) == "string"


def test_keys_of_windows_keep_their_names() -> None:
    """Also where x or an index has the name of one; a table has those that its index does not show."""
    frame = pd.DataFrame({"v": np.arange(8.0) ** 2, "x": pd.Categorical([*"abababab"])})
    keys = ff.fit_rolling(None, frame["v"].to_numpy(), 3, by=frame["x"]).keys
    assert keys is not None
    assert keys["x"].tolist() == [*"abababab"]
    assert keys["x_x"].tolist() == [*range(8)]
    fits = ff.fit_rolling(None, "v", 3, by="x", data=frame.rename_axis("x"))
    assert fits.keys is not None
    assert list(fits.keys) == ["x", "x_index"]
    found = fits.to_frame()
    pd.testing.assert_series_equal(found["x"], frame["x"], check_index=False)
    assert found.index.name == "x"
    plain = ff.fit_rolling([3.0, 4.0, 5.0], [1.0, 2.0, 4.0], 2).to_frame()
    assert plain["x"].tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("policy", ["raise", "propagate"])
def test_missing_values_of_windows(policy: Any) -> None:
    y = [1.0, 2.0, np.nan, 4.0, 6.0, 8.0]
    if policy == "raise":
        with pytest.raises(ValueError, match="with nan_policy='raise'; got it in y at index 2"):
            ff.fit_rolling(None, y, 3, min_points=2, nan_policy=policy)
    else:
        with pytest.warns(ff.ConvergenceWarning, match="3 not finite"):
            fits = ff.fit_rolling(None, y, 3, min_points=2, nan_policy=policy)
        np.testing.assert_array_equal(fits.slope, [np.nan, 1.0, *[np.nan] * 3, 2.0])


@pytest.mark.parametrize("by", [None, ["a", "a", "a", "b", "b", "b", "b"]])
def test_windows_of_time_end_to_the_nanosecond(by: list[str] | None) -> None:
    """Over ten years, float64 would round times to 32 of them."""
    day, far = 86_400_000_000_000, 300_000_000_000_000_000
    counts = [0, day, 1 + day, far, far + day - 1, far + day, far + day + 1]
    times = 1_000_000_000_000_000_001 + np.array(counts)
    y = pd.Series(np.arange(7.0) ** 2, times.astype("M8[ns]"))
    expected = y.rolling("1D").count() if by is None else y.groupby(by).rolling("1D").count()
    for x in (y.index, pd.Index(times.astype("M8[ns]"))):
        fits = ff.fit_rolling(x, y.to_numpy(), "1D", by=by)
        assert fits.n_points.tolist() == expected.tolist() == [1, 1, 2, 1, 2, 2, 3]


def test_an_index_of_times_is_x_for_windows_of_time() -> None:
    days = pd.date_range("2024-01-01", periods=40)
    y = pd.Series(RNG.standard_normal(40), days, name="v")
    expected = ff.fit_rolling(days, y, "7D")
    for fits in (ff.fit_rolling(None, y, "7D"), ff.fit_rolling(None, "v", "7D", data=y.to_frame())):
        np.testing.assert_array_equal(fits.slope, expected.slope)
        assert fits.datetime_unit == "s"
    with pytest.raises(TypeError, match="x must hold times for the window '7D'; got None"):
        ff.fit_rolling(None, y.to_numpy(), "7D")


@pytest.mark.parametrize("loss", ["squared_error", pytest.param("huber", marks=compiles)])
def test_rows_without_a_key_have_no_points(loss: str) -> None:
    key = np.array([*["a", "b"] * 5, None, None], object)
    w = np.ones(12)
    x = np.arange(12.0)
    for weights in (None, w):
        fits = ff.fit_rolling(x, x * x, 3, by=key, loss=loss, sample_weight=weights)
        assert fits.n_ungrouped == 2
        assert [each.name for each in fits.status[10:]] == ["TOO_FEW_POINTS"] * 2
        assert fits.n_points[10:].tolist() == fits.n_omitted[10:].tolist() == [0, 0]


@needs_compiler
def test_wide_windows_on_a_line_take_no_time_and_have_no_errors() -> None:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.random(100_000) + 0.5)
    for y in (3.0 * x, 3.0 * x + 1e-9 * rng.standard_normal(x.size)):
        for fits in (ff.fit_expanding(x, y), ff.fit_rolling(x, y, 20_000)):
            assert fits.converged[20_000:].all()
            np.testing.assert_allclose(fits.slope[20_000:], 3.0, rtol=1e-14)
            assert np.isnan(fits.stderr[20_000:]).all()
            assert np.isnan(fits.loss[20_000:]).all()
        few = ff.fit_expanding(x[:4096], y[:4096])
        assert (few.stderr[50:] < 1e-9).all()
