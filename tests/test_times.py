"""Times as x: the line of rational arithmetic, in the unit asked for, whatever holds them."""

from __future__ import annotations

import contextlib
import datetime
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfit as ff

pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))

NANOSECONDS = {"W": 604_800, "D": 86_400, "h": 3600, "m": 60, "s": 1}
NANOSECONDS = {unit: 10**9 * n for unit, n in NANOSECONDS.items()}
NANOSECONDS |= {"ms": 10**6, "us": 10**3, "ns": 1}
# Whole seconds at odd distances, and y of a quarter's precision: every float here is exact.
SECONDS = 1_735_689_600 + np.cumsum(np.arange(50) * 7919 % 1013)
TIMES = SECONDS.astype("M8[s]").astype("M8[us]")
Y = np.round(0.001 * (SECONDS - SECONDS[0]) + np.sin(np.arange(50.0)), 2)


def exact_line(stamps: Any, y: Any, unit: str) -> tuple[float, float]:
    """Return slope and intercept for whole nanoseconds, by rational arithmetic."""
    xs = [Fraction(int(stamp), NANOSECONDS[unit]) for stamp in stamps]
    ys = list(map(Fraction, map(float, y)))
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    xy = sum((a - x_mean) * (b - y_mean) for a, b in zip(xs, ys, strict=True))
    slope = xy / sum((a - x_mean) ** 2 for a in xs)
    return float(slope), float(y_mean - slope * x_mean)


@pytest.mark.parametrize("unit", NANOSECONDS)
@pytest.mark.parametrize("own", ["s", "ms", "us", "ns"])
def test_the_line_is_exact_in_every_unit(own: str, unit: Any) -> None:
    fit = ff.fit_line(TIMES.astype(f"M8[{own}]"), Y, datetime_unit=unit)
    slope, intercept = exact_line(SECONDS * 10**9, Y, unit)
    assert fit.slope == pytest.approx(slope, rel=2.3e-16)
    assert fit.intercept == pytest.approx(intercept, rel=2.3e-16)
    assert fit.datetime_unit == unit


def test_nanoseconds_with_gaps_are_exact_to_an_ulp() -> None:
    stamps = 1_735_689_600_000_000_000 + np.cumsum(np.arange(100) * 7919 % 1013)
    y = 0.01 * (stamps - stamps[0]) + np.cos(np.arange(100.0))
    times = pd.Series(stamps.view("M8[ns]"))
    times[17] = pd.NaT
    fit = ff.fit_line(times, y, nan_policy="omit", datetime_unit="us")
    expected = exact_line(np.delete(stamps, 17), np.delete(y, 17), "us")
    assert (fit.slope, fit.intercept) == pytest.approx(expected, rel=2.3e-16)
    assert fit.n_omitted == 1
    with pytest.raises(ValueError, match="x must be finite; got NaN at index 17"):
        ff.fit_line(times, y)


CONTAINERS: dict[str, Any] = {
    "pandas": pd.Series,
    "pandas, zoned": lambda t: pd.Series(t).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
    "index": pd.DatetimeIndex,
    "index, zoned": lambda t: pd.DatetimeIndex(t, tz="UTC").tz_convert("Asia/Tokyo"),
    "polars": pl.Series,
    "polars, zoned": lambda t: pl.Series(t).dt.replace_time_zone("UTC"),
    "pyarrow": pa.array,
    "datetimes": lambda t: t.astype("M8[us]").tolist(),
    "datetimes, zoned": lambda t: [
        each.replace(tzinfo=datetime.UTC).astimezone(datetime.timezone(datetime.timedelta(hours=9)))
        for each in t.astype("M8[us]").tolist()
    ],
    "pandas on Arrow": lambda t: pd.Series(t).convert_dtypes(dtype_backend="pyarrow"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_times_of_every_library(kind: str) -> None:
    fit = ff.fit_line(CONTAINERS[kind](TIMES), Y, datetime_unit="h")
    expected = exact_line(SECONDS * 10**9, Y, "h")
    assert (fit.slope, fit.intercept) == pytest.approx(expected, rel=2.3e-16)


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d,
        pl.Series,
        pa.array,
        lambda d: d.tolist(),
        lambda d: pl.Series(d).to_list(),
        lambda d: pd.Series(d).dt.date,
    ],
)
def test_dates_count_from_1970(make: Any) -> None:
    days = np.array(["2024-02-28", "2024-02-29", "2024-03-01", "2024-03-04"], dtype="M8[D]")
    fit = ff.fit_line(make(days), [1.0, 3.0, 5.0, 11.0], datetime_unit="D")
    # 2024-02-28 is day 19,781.
    assert (fit.slope, fit.intercept) == (2.0, 1.0 - 2 * 19_781)
    assert "-39561 +- 0 at 1970-01-01\n" in fit.summary()


def test_months_are_calendar_months_and_durations_of_months_have_no_length() -> None:
    months = np.array(["2024-01", "2024-02", "2024-03"], dtype="M8[M]")
    fit = ff.fit_line(months, [0.0, 31.0, 60.0], datetime_unit="D")
    assert (fit.slope, fit.intercept) == (1.0, -19_723.0)
    with pytest.raises(TypeError, match=r"x must hold times with a unit of fixed length; got tim"):
        ff.fit_line(np.arange(3).astype("m8[M]"), [0.0, 1.0, 2.0])


@pytest.mark.parametrize("make", [lambda d: d, pd.Series, pl.Series, pa.array, list])
def test_durations_count_from_zero(make: Any) -> None:
    hours = np.array([0, 1, 2, 5]).astype("m8[h]").astype("m8[us]")
    fit = ff.fit_line(make(hours), [1.0, 3.0, 5.0, 11.0], datetime_unit="m")
    assert (fit.slope, fit.intercept) == (2.0 / 60.0, 1.0)
    assert "1970" not in fit.summary()
    assert fit.predict(datetime.timedelta(hours=10)) == pytest.approx(21.0, rel=1e-15)


def test_seconds_are_the_default_and_errors_are_per_unit() -> None:
    fit = ff.fit_line(TIMES, Y)
    plain = ff.fit_line(SECONDS, Y)
    assert (fit.slope, fit.intercept, fit.loss) == (plain.slope, plain.intercept, plain.loss)
    assert fit.datetime_unit == "s"
    assert plain.datetime_unit is None
    daily = ff.fit_line(TIMES, Y, datetime_unit="D")
    scale = np.array([86_400.0, 1.0])
    assert daily.stderr == pytest.approx(86_400 * plain.stderr, rel=1e-14)
    assert daily.intercept_stderr == pytest.approx(plain.intercept_stderr, rel=1e-14)
    assert daily.pvalue == pytest.approx(plain.pvalue, rel=1e-10)
    np.testing.assert_allclose(daily.covariance, plain.covariance * np.outer(scale, scale))
    np.testing.assert_allclose(daily.conf_int(), plain.conf_int() * scale[:, None])


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_descents_and_robust_lines_are_per_unit(loss: str) -> None:
    hours = (SECONDS - SECONDS[0]) / 3600.0
    x = (SECONDS - SECONDS[0]).astype("m8[s]")
    raw = ff.GradientDescent(
        init=(1.0, 2.0), learning_rate=0.01, standardize=False, max_iter=20, record_every=1
    )
    solvers = [raw] if loss == "squared_error" else [raw, ff.Newton(record_every=1)]
    for solver in solvers:
        options: dict[str, Any] = {"loss": loss, "solver": solver}
        with pytest.warns(ff.ConvergenceWarning) if solver is raw else contextlib.nullcontext():
            fit = ff.fit_line(x, Y, datetime_unit="h", **options)
        with pytest.warns(ff.ConvergenceWarning) if solver is raw else contextlib.nullcontext():
            plain = ff.fit_line(hours, Y, **options)
        assert fit.slope == pytest.approx(plain.slope, rel=1e-10)
        assert fit.stderr == pytest.approx(plain.stderr, rel=1e-8, nan_ok=True)
        assert fit.history is not None
        assert plain.history is not None
        for name in ("slope", "intercept", "grad_slope", "loss"):
            own, other = getattr(fit.history, name), getattr(plain.history, name)
            np.testing.assert_allclose(own, other, rtol=1e-7, atol=1e-12)


def test_predictions_are_for_times() -> None:
    fit = ff.fit_line(TIMES, Y, datetime_unit="D")
    plain = ff.fit_line(SECONDS, Y)
    expected = plain.predict(SECONDS)
    for x in (TIMES, TIMES.astype("M8[ns]"), pd.Series(TIMES), TIMES.astype("M8[us]").tolist()):
        # The last place of numbers of up to 50.
        np.testing.assert_allclose(fit.predict(x), expected, rtol=1e-15, atol=1e-14)
    assert fit.predict(TIMES[3]) == pytest.approx(expected[3], rel=1e-15)
    low, high = fit.prediction_band(TIMES[:3])
    np.testing.assert_allclose([low, high], plain.prediction_band(SECONDS[:3]), atol=1e-14)
    assert np.isnan(fit.predict(np.datetime64("NaT")))
    for wrong in (SECONDS, 5.0, TIMES - TIMES[0]):
        with pytest.raises(TypeError, match="x must hold points in time, as when the line was"):
            fit.predict(wrong)
    with pytest.raises(TypeError, match="x must hold real numbers; got times"):
        plain.predict(TIMES)


def test_texts_have_the_unit() -> None:
    fit = ff.fit_line(np.array([0, 1, 2]).astype("M8[D]"), [1.0, 3.0, 5.0], datetime_unit="D")
    assert repr(fit).startswith("LineFit: y = 2 per D x + 1,")
    assert "y = 2 per D x + 1" in fit.summary()
    assert fit.to_dict()["datetime_unit"] == "D"


@pytest.mark.parametrize(
    ("x", "unit", "error", "message"),
    [
        ([1.0, 2.0], "D", ValueError, "datetime_unit must be None unless x holds times; x holds"),
        (TIMES[:2], "day", ValueError, r"datetime_unit must be 'W' or 'D' .*; got 'day'"),
        (np.arange(2).astype("m8[ps]"), "s", ValueError, "whole numbers of ns .*1 picoseconds.*1"),
        (np.array([3e11, 4e11]).astype("M8[s]"), "ns", ValueError, "whole numbers of ns within 64"),
        ([datetime.date(2020, 1, 1), 3], None, TypeError, "times throughout; got int 3 at index 1"),
    ],
)
def test_wrong_times_and_units(x: Any, unit: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ff.fit_line(x, [1.0, 2.0], datetime_unit=unit)


@pytest.mark.parametrize("name", ["y", "sample_weight", "sigma"])
def test_only_x_may_hold_times(name: str) -> None:
    given: dict[str, Any] = {"y": Y, name: np.arange(1, 51).astype("m8[s]")}
    with pytest.raises(TypeError, match=rf"{name} must hold real numbers; got times .*convert"):
        ff.fit_line(SECONDS, **given)


def test_drop_ins_and_regressors_take_numbers() -> None:
    estimator = pytest.importorskip("fastfit.estimator")
    with pytest.raises(TypeError, match="x must hold real numbers; got times"):
        ff.compat.linregress(TIMES, Y)
    with pytest.raises((TypeError, ValueError), match=r"real numbers|datetime64"):
        estimator.LineRegressor().fit(TIMES[:, None], Y)


def test_moments_of_one_unit_merge_from_any_resolution() -> None:
    whole = ff.Moments.of(TIMES, Y, datetime_unit="h")
    merged = ff.Moments.of(TIMES[:20].astype("M8[ns]"), Y[:20], datetime_unit="h").update(
        TIMES[20:].astype("M8[ms]"), Y[20:], datetime_unit="h"
    )
    for name in ("x_mean", "xx", "xy", "yy"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-15)
    assert whole.x_mean == pytest.approx(float(np.mean(SECONDS / 3600.0)), rel=1e-14)
    again = ff.Moments.from_json(merged.to_json())
    assert again == merged
    fit = again.fit()
    assert fit.datetime_unit == "h"
    assert (fit.slope, fit.intercept) == pytest.approx(
        exact_line(SECONDS * 10**9, Y, "h"), rel=2.3e-16
    )
    for other in (ff.Moments.of(SECONDS, Y), ff.Moments.of(TIMES, Y, datetime_unit="D")):
        with pytest.raises(ValueError, match="moments must have one unit of x to be merged"):
            whole.merge(other)
    changed = json.loads(whole.to_json())
    changed["times"]["base"] = "W"
    with pytest.raises(ValueError, match="text must be JSON as Moments.to_json writes it"):
        ff.Moments.from_json(json.dumps(changed))


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv of dates", "dask", "dask frame"])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_times_of_files_and_dask(tmp_path: Path, kind: str, loss: str) -> None:
    days = (SECONDS - SECONDS[0]).astype("M8[D]").astype("M8[us]")
    times = days if kind == "csv of dates" else TIMES
    table = pl.DataFrame({"t": times, "v": Y})
    expected = ff.fit_line(times, Y, loss=loss, datetime_unit="h")
    x: Any
    y: Any = None
    if kind.startswith("dask"):
        dask = pytest.importorskip("dask.dataframe")
        frame = dask.from_pandas(table.to_pandas(), npartitions=3)
        x, y = frame["t"], frame["v"]
        if kind == "dask":
            x, y = x.to_dask_array(lengths=True), y.to_dask_array(lengths=True)
    else:
        path = tmp_path / f"t.{kind.partition(' ')[0]}"
        if kind == "csv of dates":
            table = table.with_columns(pl.col("t").cast(pl.Date))
        (table.write_parquet if kind == "parquet" else table.write_csv)(path)
        x = ff.scan(path, x="t", y="v")
    fit = ff.fit_line(x, y, loss=loss, datetime_unit="h")
    assert fit.slope == pytest.approx(expected.slope, rel=1e-8 if loss == "huber" else 2.3e-16)
    assert fit.datetime_unit == "h"


def test_streamed_times_are_in_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of different resolution, too large to keep, and a checkpoint."""
    monkeypatch.setattr("fastfit.points.files.streams.KEPT", 64)
    for number, unit in enumerate(("ms", "us")):
        rows = slice(25 * number, 25 * number + 25)
        times = pl.Series(TIMES[rows]).cast(pl.Datetime(unit))
        pl.DataFrame({"t": times, "v": Y[rows]}).write_parquet(tmp_path / f"{number}.parquet")
    for _ in range(2):
        fit = ff.fit_line(
            ff.scan(tmp_path / "*.parquet", x="t", y="v"),
            datetime_unit="D",
            checkpoint=tmp_path / "checkpoint.json",
        )
        expected = exact_line(SECONDS * 10**9, Y, "D")
        assert (fit.slope, fit.intercept) == pytest.approx(expected, rel=2.3e-16)


def test_the_command_line_has_the_unit(tmp_path: Path) -> None:
    testing, cli = pytest.importorskip("typer.testing"), pytest.importorskip("fastfit.cli")
    path = tmp_path / "t.csv"
    pl.DataFrame({"t": TIMES, "v": Y}).write_csv(path)
    arguments = ["fit", str(path), "--x", "t", "--y", "v", "--datetime-unit", "h"]
    assert "per h x" in testing.CliRunner().invoke(cli.app, arguments).stdout


@pytest.mark.parametrize("n", [50, 5000])
def test_pictures_have_an_axis_of_time(n: int) -> None:
    pytest.importorskip("matplotlib")
    times, y = np.datetime64("2024-01-01", "s") + np.arange(n), np.arange(n) % 7.0
    fit = ff.fit_line(times, y, datetime_unit="h", backend="numpy")
    ax = fit.plot(confidence_band=True, prediction_band=True)
    low, high = ax.get_xlim()
    start = 19_723.0  # days since 1970
    assert start - 0.01 < low <= start < start + (n - 1) / 86_400 <= high + 1e-9
    lasts = (times - times[0]).astype("m8[s]")
    ax = ff.fit_line(lasts, y, datetime_unit="m", backend="numpy").plot()
    assert ax.get_xlabel() == "x (m)"
    assert ax.get_xlim()[1] >= (n - 1) / 60


@pytest.mark.parametrize("units", [("us", "ns"), ("ns", "us"), ("s", "ms")])
@pytest.mark.parametrize("loss", ["squared_error", "huber", "tukey"])
@pytest.mark.parametrize("kept", [0, 1 << 26])
def test_files_whose_times_have_different_units(
    units: tuple[str, str], loss: Any, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pandas 2 and 3 write them: passes after the first mixed up the units, and gave slopes of 1e70."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("fastfit.points.files.streams.KEPT", kept)
    rng = np.random.default_rng(0)
    t = np.datetime64("2020-01-01") + np.arange(400).astype("m8[s]")
    y = np.arange(400.0) + rng.standard_t(3, size=400)
    for k, unit in enumerate(units):
        place = slice(200 * k, 200 * k + 200)
        table = pa.table({"x": t[place].astype(f"M8[{unit}]"), "y": y[place]})
        parquet.write_table(table, tmp_path / f"{k}.parquet", version="2.6")
    fit = ff.fit_line(ff.scan(tmp_path, "x", "y"), loss=loss)
    expected = ff.fit_line(t, y, loss=loss)
    assert fit.slope == pytest.approx(expected.slope, rel=1e-7)
    assert fit.converged


def test_finer_times_in_a_later_file_are_an_error_that_helps(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for k, unit in enumerate(["us", "ns"]):
        start = np.datetime64("2020-01-01").astype(f"M8[{unit}]")
        t = start + np.arange(4 * k, 4 * k + 4)
        table = pa.table({"x": t, "y": np.arange(4.0)})
        parquet.write_table(table, tmp_path / f"{k}.parquet", version="2.6")
    points = ff.scan(tmp_path, "x", "y")
    with pytest.raises(ff.FileError, match="1.parquet: column 'x' .* pass datetime_unit='ns'"):
        ff.fit_line(points)
    assert ff.fit_line(points, datetime_unit="ns").n_points == 8


def test_parts_of_dask_with_different_units() -> None:
    da = pytest.importorskip("dask.array")
    t = np.datetime64("2020-01-01") + np.arange(200).astype("m8[s]")
    y = np.arange(200.0) + np.random.default_rng(0).standard_t(3, size=200)
    x = da.concatenate(
        [da.from_array(t[:100].astype("M8[us]")), da.from_array(t[100:].astype("M8[ns]"))]
    )
    fit = ff.fit_line(x, da.from_array(y, chunks=100), loss="huber")
    assert fit.slope == pytest.approx(ff.fit_line(t, y, loss="huber").slope, rel=1e-6)


def test_missing_times_beside_dask_are_missing() -> None:
    pa, da = pytest.importorskip("pyarrow"), pytest.importorskip("dask.array")
    x = pa.array([datetime.datetime(2020, 1, day) if day != 2 else None for day in (1, 2, 3, 4)])
    y = da.from_array(np.array([1.0, 9.0, 3.0, 5.0]), chunks=2)
    with pytest.raises(ValueError, match="x must be finite"):
        ff.fit_line(x, y, datetime_unit="D")
    fit = ff.fit_line(x, y, datetime_unit="D", nan_policy="omit")
    assert fit.slope == pytest.approx(9.0 / 7.0, rel=1e-14)


def test_times_that_64_bits_do_not_hold_are_refused(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    nanoseconds = np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(1, "D")
    fit = ff.fit_line(nanoseconds, np.arange(5.0), datetime_unit="D")
    assert fit.predict(np.datetime64("2020-01-06")) == pytest.approx(5.0)
    with pytest.raises(
        ValueError,
        match="x must hold times that are whole numbers of ns within 64 bits; got 2300-01-01",
    ):
        fit.predict(np.datetime64("2300-01-01"))
    mixed = [datetime.datetime(9999, 12, 31), pd.Timestamp("2020-01-02").as_unit("ns")]
    with pytest.raises(
        ValueError, match="x must hold times within 64 bits of datetime64.ns.; got 9999"
    ):
        ff.fit_line(mixed, [1.0, 2.0])
    durations = [pd.Timedelta(1500 * k, "ns") for k in range(5)]
    assert ff.fit_line(durations, np.arange(5.0), datetime_unit="ns").slope == pytest.approx(
        1 / 1500
    )
    path = tmp_path / "t.csv"
    path.write_text(
        "x,y\n2300-01-01T00:00:00.0000001,3\n2020-01-01T00:00:00,1\n2020-01-02T00:00:00,2\n"
    )
    with pytest.raises(ff.FileError, match="must lie in the years 1678 to 2261; got 2020 to 2300"):
        ff.fit_line(ff.scan(path))


def test_times_of_96_bits_beyond_2262(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    days = [
        datetime.datetime(2020, 1, 1),
        datetime.datetime(2020, 1, 2),
        datetime.datetime(9999, 12, 31),
    ]
    table = pa.table({"x": pa.array(days, pa.timestamp("us")), "y": [1.0, 2.0, 3.0]})
    parquet.write_table(table, tmp_path / "t.parquet", use_deprecated_int96_timestamps=True)
    fit = ff.fit_line(ff.scan(tmp_path / "t.parquet"), datetime_unit="D")
    assert fit.slope == pytest.approx(ff.fit_line(days, [1.0, 2.0, 3.0], datetime_unit="D").slope)


def test_predict_at_missing_times_of_any_shape() -> None:
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]")
    fit = ff.fit_line(days, [1.0, 2.0, 3.0], datetime_unit="D")
    at = np.array([[None, np.datetime64("NaT")], [np.datetime64("2020-01-04"), None]], dtype=object)
    np.testing.assert_allclose(fit.predict(at), [[np.nan, np.nan], [4.0, np.nan]])
    np.testing.assert_allclose(fit.predict(at[:, :1]), [[np.nan], [4.0]])
